package fsm

import (
	"cmp"
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
// copy that nobody changes. The trees share their nodes between copies and copy those
// that a write touches.
type storeIndex struct {
	id    StoreID
	row   storeRow
	tally tally

	symbols   *model.Table
	models    []*Model // by ordinal; a slice only grows, so copies may share it
	sequences *btree.BTreeG[sequenceItem]
	names     *btree.BTreeG[nameItem]
	entities  *btree.BTreeG[entityItem]
	forward   *btree.BTreeG[tupleItem]
	reverse   *btree.BTreeG[reverseItem]
	documents *btree.BTreeG[documentItem]
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

type nameItem struct {
	typ     model.TypeID
	name    string
	id      graph.ID
	created graph.Revision
}

type entityItem struct {
	id      graph.ID
	name    string
	created graph.Revision
}

type documentItem struct {
	id  graph.ID
	row documentRow
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
		symbols:         model.NewTable(),
		sequences:       btree.NewG(degree, func(a, b sequenceItem) bool { return a.typ < b.typ }),
		names:           btree.NewG(degree, lessName),
		entities:        btree.NewG(degree, func(a, b entityItem) bool { return a.id < b.id }),
		forward:         btree.NewG(degree, lessTuple),
		reverse:         btree.NewG(degree, lessReverse),
		documents:       btree.NewG(degree, func(a, b documentItem) bool { return a.id < b.id }),
		scopes:          btree.NewG(degree, func(a, b scopeItem) bool { return a.name < b.name }),
		assertions:      btree.NewG(degree, func(a, b assertionsItem) bool { return a.model.Compare(b.model) < 0 }),
		nextIdempotency: never,
		nextCleanup:     graph.Revision(1<<64 - 1),
	}
}

func lessName(a, b nameItem) bool {
	if a.typ != b.typ {
		return a.typ < b.typ
	}
	return a.name < b.name
}

// publish gives a copy for readers. Later changes of s do not show in it.
func (s *storeIndex) publish() *storeIndex {
	s.shared = true
	p := *s
	p.symbols = s.symbols.Clone()
	p.sequences = s.sequences.Clone()
	p.names = s.names.Clone()
	p.entities = s.entities.Clone()
	p.forward = s.forward.Clone()
	p.reverse = s.reverse.Clone()
	p.documents = s.documents.Clone()
	p.scopes = s.scopes.Clone()
	p.assertions = s.assertions.Clone()
	return &p
}

func (s *storeIndex) lookup(t model.TypeID, name string) (nameItem, bool) {
	if name == wildcardName {
		return nameItem{typ: t, name: name, id: graph.Wildcard(t)}, true
	}
	return s.names.Get(nameItem{typ: t, name: name})
}

func (s *storeIndex) tuple(u graph.Userset, sub graph.Subject) (tupleItem, bool) {
	return s.forward.Get(tupleAt(u, sub))
}

func (s *storeIndex) document(id graph.ID) (documentRow, bool) {
	d, ok := s.documents.Get(documentItem{id: id})
	return d.row, ok
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
	s.names.ReplaceOrInsert(nameItem{t, name, id, created})
	s.entities.ReplaceOrInsert(entityItem{id, name, created})
	s.nameBytes += uint64(len(name))
}

func (s *storeIndex) removeEntity(e entityItem) {
	s.names.Delete(nameItem{typ: e.id.Type(), name: e.name})
	s.entities.Delete(e)
	s.nameBytes -= uint64(len(e.name))
}

func (s *storeIndex) putTuple(t tupleItem) {
	s.forward.ReplaceOrInsert(t)
	s.reverse.ReplaceOrInsert(t.reverse())
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

func (s *storeIndex) removeTuple(u graph.Userset, sub graph.Subject) {
	s.forward.Delete(tupleAt(u, sub))
	s.reverse.Delete(reverseAt(u.Relation, sub, u.Object))
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
