package graph

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// pageSize is how many edges a Memory and an Overlay put on a page. A page of a
// Memory is a window on its slice and costs nothing; the bound only keeps readers
// honest about paging.
const pageSize = 256

// A Memory is a store in maps: plain, complete, and fast enough for tests, for running
// store files without a server, and as the measure of other views. It may be changed
// while nobody else uses it; then it is a View like any other.
type Memory struct {
	revision Revision
	time     time.Time

	ids   map[model.TypeID]map[string]ID
	names map[model.TypeID][]string // by sequence, from 1

	subjects map[Userset]*adjacency // edges by userset, in the order of Subject.Compare
	objects  map[grant]*adjacency   // edges by subject, in the order of objects

	mu    sync.Mutex // guards order, which reading builds
	order []Userset  // the keys of subjects, sorted; nil if it must be built

	documents map[ID]Document
	versions  map[ID]uint64 // outlive the documents
	rows      int
}

// A grant is one end of a tuple as Objects asks for it.
type grant struct {
	relation model.RelationID
	subject  Subject
}

// An adjacency is a sorted set of edges, and when each was written.
type adjacency struct {
	edges   []Edge
	written []int64
}

// NewMemory makes an empty store that shows the given revision and time.
func NewMemory(revision Revision, at time.Time) *Memory {
	return &Memory{
		revision:  revision,
		time:      at,
		ids:       map[model.TypeID]map[string]ID{},
		names:     map[model.TypeID][]string{},
		subjects:  map[Userset]*adjacency{},
		objects:   map[grant]*adjacency{},
		documents: map[ID]Document{},
		versions:  map[ID]uint64{},
	}
}

// Put adds the tuple, or replaces the one that differs in condition or expiry alone.
// The model must allow it: see CheckTuple.
func (m *Memory) Put(p *model.Plan, t Tuple) error {
	resolved, err := CheckTuple(p, t)
	if err != nil {
		return err
	}
	row, err := resolved.row(t, m.Entity(resolved.Object, t.Object.ID), m.Entity(resolved.Subject, t.Subject.ID))
	if err != nil {
		return err
	}
	m.PutRow(row)
	return nil
}

// Remove deletes the tuple, whatever its condition and expiry, and reports whether it
// was there.
func (m *Memory) Remove(p *model.Plan, t Tuple) (bool, error) {
	if err := t.Validate(); err != nil {
		return false, err
	}
	r, err := ResolveRelation(p, t.Object.Type, t.Relation)
	if err != nil {
		return false, err
	}
	kind, err := ResolveKind(p, t.Subject.Type, t.Subject.Relation)
	if err != nil {
		return false, err
	}
	object, ok := m.ids[r.Type.ID][t.Object.ID]
	subject, known, err := m.Lookup(kind.Type.ID, t.Subject.ID)
	if !ok || !known || err != nil {
		return false, err
	}
	s := Subject{ID: subject}
	if kind.Relation != nil {
		s.Relation = kind.Relation.ID
	}
	return m.RemoveRow(Userset{Object: object, Relation: r.ID}, s), nil
}

// Entity is the id of a name, which is given out if the name is new. The name "*" is
// the wildcard.
func (m *Memory) Entity(t model.TypeID, name string) ID {
	if name == "*" {
		return Wildcard(t)
	}
	if id, ok := m.ids[t][name]; ok {
		return id
	}
	if m.ids[t] == nil {
		m.ids[t] = map[string]ID{}
	}
	m.names[t] = append(m.names[t], name)
	id := MakeID(t, uint64(len(m.names[t])))
	m.ids[t][name] = id
	return id
}

// PutRow adds a tuple in ids, whatever the model.
func (m *Memory) PutRow(row Row) {
	u := row.Userset
	a := m.subjects[u]
	if a == nil {
		a = &adjacency{}
		m.subjects[u] = a
		m.order = nil
	}
	if a.put(row.Edge, row.Written) {
		m.rows++
	}
	g := grant{relation: u.Relation, subject: row.Edge.Subject}
	b := m.objects[g]
	if b == nil {
		b = &adjacency{}
		m.objects[g] = b
	}
	reverse := row.Edge
	reverse.Subject = Subject{ID: u.Object}
	b.put(reverse, row.Written)
}

// RemoveRow deletes a tuple in ids and reports whether it was there.
func (m *Memory) RemoveRow(u Userset, s Subject) bool {
	a := m.subjects[u]
	if a == nil || !a.remove(s) {
		return false
	}
	m.rows--
	if len(a.edges) == 0 {
		delete(m.subjects, u)
		m.order = nil
	}
	g := grant{relation: u.Relation, subject: s}
	b := m.objects[g]
	b.remove(Subject{ID: u.Object})
	if len(b.edges) == 0 {
		delete(m.objects, g)
	}
	return true
}

// SetDocument gives an entity its attributes; nil fields delete them.
func (m *Memory) SetDocument(id ID, fields value.Map) {
	m.versions[id]++
	if fields == nil {
		delete(m.documents, id)
		return
	}
	m.documents[id] = Document{Version: m.versions[id], Fields: maps.Clone(fields)}
}

// Len is the number of tuples.
func (m *Memory) Len() int { return m.rows }

// Revision implements View.
func (m *Memory) Revision() Revision { return m.revision }

// Time implements View.
func (m *Memory) Time() time.Time { return m.time }

// Lookup implements View.
func (m *Memory) Lookup(t model.TypeID, name string) (ID, bool, error) {
	if name == "*" {
		return Wildcard(t), true, nil
	}
	id, ok := m.ids[t][name]
	return id, ok, nil
}

// Name implements View.
func (m *Memory) Name(id ID) (string, error) {
	if id.IsWildcard() {
		return "*", nil
	}
	names := m.names[id.Type()]
	if n := id.Sequence(); n >= 1 && n <= uint64(len(names)) {
		return names[n-1], nil
	}
	return "", fmt.Errorf("name of %v: %w", id, ErrUnknownEntity)
}

// Contains implements View.
func (m *Memory) Contains(u Userset, s Subject) (Edge, bool, error) {
	a := m.subjects[u]
	if a == nil {
		return Edge{}, false, nil
	}
	i, ok := a.find(s)
	if !ok {
		return Edge{}, false, nil
	}
	return a.edges[i], true, nil
}

// Subjects implements View.
func (m *Memory) Subjects(u Userset, c *Cursor) error {
	m.subjects[u].page(c)
	return nil
}

// Objects implements View.
func (m *Memory) Objects(r model.RelationID, s Subject, c *Cursor) error {
	c.After.Relation = 0
	m.objects[grant{relation: r, subject: s}].page(c)
	return nil
}

// Document implements View.
func (m *Memory) Document(id ID) (Document, bool, error) {
	d, ok := m.documents[id]
	return d, ok, nil
}

// Rows implements Scanner.
func (m *Memory) Rows(c *RowCursor) error {
	c.Rows = c.Rows[:0]
	from, skip := c.After.Userset, c.After.Edge.Subject
	if from.Object < c.From {
		from, skip = Userset{Object: c.From}, Subject{}
	}
	order := m.usersets()
	i, _ := slices.BinarySearchFunc(order, from, compareUsersets)
	for ; i < len(order); i++ {
		u := order[i]
		if c.To != 0 && u.Object > c.To {
			break
		}
		a := m.subjects[u]
		j := 0
		if u == from {
			j = a.after(skip)
		}
		for ; j < len(a.edges); j++ {
			if len(c.Rows) == pageSize {
				return nil
			}
			c.After = Row{Userset: u, Edge: a.edges[j], Written: a.written[j]}
			c.Rows = append(c.Rows, c.After)
		}
	}
	c.Done = true
	return nil
}

// usersets are those with tuples, sorted.
func (m *Memory) usersets() []Userset {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.order == nil {
		m.order = slices.SortedFunc(maps.Keys(m.subjects), compareUsersets)
	}
	return m.order
}

func compareUsersets(a, b Userset) int {
	if c := cmp.Compare(a.Object, b.Object); c != 0 {
		return c
	}
	return cmp.Compare(a.Relation, b.Relation)
}

func (a *adjacency) find(s Subject) (int, bool) {
	lo, hi := 0, len(a.edges)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := a.edges[mid].Subject.Compare(s); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// after is the place of the first edge behind s.
func (a *adjacency) after(s Subject) int {
	i, found := a.find(s)
	if found {
		i++
	}
	return i
}

func (a *adjacency) put(e Edge, written int64) (added bool) {
	i, found := a.find(e.Subject)
	if found {
		a.edges[i], a.written[i] = e, written
		return false
	}
	a.edges = slices.Insert(a.edges, i, e)
	a.written = slices.Insert(a.written, i, written)
	return true
}

func (a *adjacency) remove(s Subject) bool {
	i, found := a.find(s)
	if !found {
		return false
	}
	a.edges = slices.Delete(a.edges, i, i+1)
	a.written = slices.Delete(a.written, i, i+1)
	return true
}

// page moves the cursor to the edges behind it. A nil adjacency has none.
func (a *adjacency) page(c *Cursor) {
	if a == nil {
		c.Edges, c.Done = nil, true
		return
	}
	i := a.after(c.After)
	end := min(i+pageSize, len(a.edges))
	c.Edges, c.Done = a.edges[i:end:end], end == len(a.edges)
	if end > i {
		c.After = a.edges[end-1].Subject
	}
}
