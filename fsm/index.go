package fsm

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"github.com/google/btree"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// degree is the fan-out of the index's trees: nodes of some kilobytes, so that a write
// copies little and a read stays shallow.
const degree = 32

// A storeIndex is one store in memory. Apply owns the one it changes; publish makes a
// copy that nobody changes. Tries and trees share their nodes between copies and copy those
// that a write touches.
type storeIndex struct {
	id         StoreID
	row        storeRow
	tally      tally
	generation uint64 // what apply may change in place

	symbols   *model.Table
	models    []*Model // by ordinal; a slice only grows, so copies may share it
	sequences *btree.BTreeG[sequenceItem]
	names     trie[[]nameItem] // by bucket
	entities  trie[entityItem] // by id, as documents
	documents trie[documentRow]
	forward   tupleIndex[ownedTuple] // by object
	reverse   tupleIndex[heldTuple]  // by subject
	scopes    *btree.BTreeG[scopeItem]

	assertions *btree.BTreeG[assertionsItem]

	erasing []*erasureRow // that are not over, by id; neither it nor they ever change

	nameBytes uint64 // of the entities' names

	// written is, by the type of their objects, when tuples last changed, but for those
	// that have not since loaded. Copies share it until it changes.
	written []graph.Revision
	shared  bool // written is a copy's, too
	loaded  graph.Revision

	// What the upkeep of this store may next have to do; see upkeep.go. Readers have
	// no use for it.
	nextIdempotency int64
	nextCleanup     graph.Revision
}

type sequenceItem struct {
	typ  model.TypeID
	last uint64
}

// A nameItem is an entity by its name.
type nameItem struct {
	name    string
	id      graph.ID
	created graph.Revision
}

// An entityItem is an entity by its id.
type entityItem struct {
	name    string
	created graph.Revision
}

type scopeItem struct {
	name    string
	version uint64
}

type assertionsItem struct {
	model ModelID
	row   assertionsRow
}

func newStoreIndex(id StoreID) *storeIndex {
	return &storeIndex{
		id:              id,
		generation:      newGeneration(),
		symbols:         model.NewTable(),
		sequences:       btree.NewG(degree, func(a, b sequenceItem) bool { return a.typ < b.typ }),
		forward:         tupleIndex[ownedTuple]{kind: ownedTuples},
		reverse:         tupleIndex[heldTuple]{kind: heldTuples},
		scopes:          btree.NewG(degree, func(a, b scopeItem) bool { return a.name < b.name }),
		assertions:      btree.NewG(degree, func(a, b assertionsItem) bool { return a.model.Compare(b.model) < 0 }),
		nextIdempotency: never,
		nextCleanup:     graph.Revision(1<<64 - 1),
	}
}

// nameSeed makes it hard to find names that share a bucket, which would only cost time.
var nameSeed = maphash.MakeSeed()

// nameBits are those of a name's hash that choose its bucket: so many that each holds few
// names of the largest stores.
const nameBits = 20

// bucket is where a name stands, of whatever type.
func bucket(name string) uint64 { return maphash.String(nameSeed, name) >> (64 - nameBits) }

// publish gives a copy for readers. Later changes of s do not show in it.
func (s *storeIndex) publish() *storeIndex {
	s.shared = true
	p := *s
	s.generation = newGeneration()
	p.symbols = s.symbols.Clone()
	p.sequences = s.sequences.Clone()
	p.scopes = s.scopes.Clone()
	p.assertions = s.assertions.Clone()
	return &p
}

func (s *storeIndex) lookup(t model.TypeID, name string) (nameItem, bool) {
	if name == wildcardName {
		return nameItem{name: name, id: graph.Wildcard(t)}, true
	}
	if items := s.names.get(bucket(name)); items != nil {
		for _, item := range *items {
			if item.id.Type() == t && item.name == name {
				return item, true
			}
		}
	}
	return nameItem{}, false
}

func (s *storeIndex) entity(id graph.ID) (entityItem, bool) {
	if e := s.entities.get(uint64(id)); e != nil {
		return *e, true
	}
	return entityItem{}, false
}

func (s *storeIndex) tuple(u graph.Userset, sub graph.Subject) (tupleItem, bool) {
	t, ok := s.forward.get(u.Object, placeAt(u.Relation, sub))
	return tupleItem{u.Object, t}, ok
}

func (s *storeIndex) document(id graph.ID) (documentRow, bool) {
	if d := s.documents.get(uint64(id)); d != nil {
		return *d, true
	}
	return documentRow{}, false
}

func (s *storeIndex) scope(name string) uint64 {
	v, _ := s.scopes.Get(scopeItem{name: name})
	return v.version
}

func (s *storeIndex) model(id ModelID) (*Model, bool) {
	for _, m := range s.models {
		if m.ID == id {
			return m, true
		}
	}
	return nil, false
}

func (s *storeIndex) addEntity(t model.TypeID, name string, id graph.ID, created graph.Revision) {
	s.putName(name, id, created)
	s.entities.put(s.generation, uint64(id), entityItem{name, created})
	s.nameBytes += uint64(len(name))
}

// putName adds a name that there is not.
func (s *storeIndex) putName(name string, id graph.ID, created graph.Revision) {
	var items []nameItem
	if old := s.names.get(bucket(name)); old != nil {
		items = *old
	}
	s.names.put(s.generation, bucket(name), append(slices.Clip(items), nameItem{name, id, created}))
}

func (s *storeIndex) removeEntity(id graph.ID, name string) {
	items := slices.DeleteFunc(slices.Clone(*s.names.get(bucket(name))), func(n nameItem) bool { return n.id == id })
	if len(items) == 0 {
		s.names.remove(s.generation, bucket(name))
	} else {
		s.names.put(s.generation, bucket(name), items)
	}
	s.entities.remove(s.generation, uint64(id))
	s.nameBytes -= uint64(len(name))
}

func (s *storeIndex) putTuple(t tupleItem) {
	s.forward.put(s.generation, t.object, t.ownedTuple)
	s.reverse.put(s.generation, t.end, t.reverse())
}

func (s *storeIndex) removeTuple(u graph.Userset, sub graph.Subject) {
	p := placeAt(u.Relation, sub)
	s.forward.remove(s.generation, u.Object, p)
	s.reverse.remove(s.generation, sub.ID, place{p.relations, u.Object})
}

// touch notes that a tuple whose object is of a type changes.
func (s *storeIndex) touch(t model.TypeID, rev graph.Revision) {
	if int(t) < len(s.written) && s.written[t] == rev {
		return
	}
	if s.shared {
		s.written, s.shared = slices.Clone(s.written), false
	}
	for int(t) >= len(s.written) {
		s.written = append(s.written, 0)
	}
	s.written[t] = rev
}

func contextBytes(c *condition.Context) []byte {
	if c == nil {
		return nil
	}
	return c.Encoded()
}

// edgeOf turns a stored row into an edge. The row must not alias memory that changes.
func edgeOf(sub graph.Subject, r *tupleRow) (graph.Edge, error) {
	c, err := condition.DecodeContext(r.context)
	if err != nil {
		return graph.Edge{}, err
	}
	return graph.Edge{Subject: sub, Condition: r.condition, Context: c, Expires: r.expires}, nil
}

// A Model is one version of a store's model, as it was written.
type Model struct {
	ID       ModelID
	Revision graph.Revision
	Created  time.Time
	Source   []byte // the caller must not change it

	ordinal uint64
}

func (m *Model) row() *modelRow {
	return &modelRow{revision: m.Revision, ordinal: m.ordinal, time: m.Created.UnixMilli(), source: m.Source}
}

// An index is all stores in memory.
type index struct {
	stores *btree.BTreeG[storeItem] // the zero store is the group's
	named  *btree.BTreeG[namedStore]
}

type storeItem struct {
	id    StoreID
	index *storeIndex
}

// namedStore orders stores by name; a name may belong to several.
type namedStore struct {
	name string
	id   StoreID
}

func newIndex() *index {
	return &index{
		stores: btree.NewG(degree, func(a, b storeItem) bool { return a.id.Compare(b.id) < 0 }),
		named: btree.NewG(degree, func(a, b namedStore) bool {
			if c := cmp.Compare(a.name, b.name); c != 0 {
				return c < 0
			}
			return a.id.Compare(b.id) < 0
		}),
	}
}

func (x *index) clone() *index { return &index{stores: x.stores.Clone(), named: x.named.Clone()} }

func (x *index) get(id StoreID) (*storeIndex, bool) {
	item, ok := x.stores.Get(storeItem{id: id})
	return item.index, ok
}
