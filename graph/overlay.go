package graph

import (
	"fmt"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph/model"
)

// An Overlay is a View with edits of one request upon it: contextual tuples, tuples of
// a test, the preview of a plan. The base is never changed. Names that the base does
// not know get ids that are local to the request, so that an unknown subject can still
// match a wildcard.
//
// An Overlay may be edited while nobody else uses it; then it is a View like any
// other. It may lie on another Overlay.
type Overlay struct {
	base  View
	first uint64 // the first local sequence of this overlay
	next  uint64

	ids   map[localName]ID
	names []localName // by sequence, from first

	subjects map[Userset][]edit
	objects  map[grant][]edit
}

type localName struct {
	typeID model.TypeID
	name   string
}

// An edit puts an edge or removes it.
type edit struct {
	edge    Edge
	written int64
	removed bool
}

// freshSequence is the local sequence that no overlay gives out: ListSubjects asks
// with it for an entity that no tuple mentions.
const freshSequence = 1<<sequenceBits - 1

// NewOverlay makes an Overlay without edits.
func NewOverlay(base View) *Overlay {
	o := &Overlay{base: base, first: localBit}
	if below, ok := base.(*Overlay); ok {
		o.first = below.next
	}
	o.next = o.first
	return o
}

// Entity is the id of a name: the base's own, or a local one if the base does not know
// it. The name "*" is the wildcard. The name's form is not checked here.
func (o *Overlay) Entity(t model.TypeID, name string) (ID, error) {
	id, ok, err := o.Lookup(t, name)
	if err != nil || ok {
		return id, err
	}
	if o.next >= freshSequence {
		return 0, fmt.Errorf("more than %d names in one request: %w", freshSequence-localBit, ErrInvalid)
	}
	if o.ids == nil {
		o.ids = map[localName]ID{}
	}
	n := localName{typeID: t, name: name}
	id = MakeID(t, o.next)
	o.next++
	o.ids[n] = id
	o.names = append(o.names, n)
	return id, nil
}

// PutTuple adds a tuple or replaces the one with the same ends. The model must allow
// it: see CheckTuple.
func (o *Overlay) PutTuple(p *model.Plan, t Tuple) error {
	resolved, err := CheckTuple(p, t)
	if err != nil {
		return err
	}
	object, err := o.Entity(resolved.Object, t.Object.ID)
	if err != nil {
		return err
	}
	subject, err := o.Entity(resolved.Subject, t.Subject.ID)
	if err != nil {
		return err
	}
	row, err := resolved.row(t, object, subject)
	if err != nil {
		return err
	}
	o.Put(row)
	return nil
}

// Put adds a tuple in ids or replaces the one with the same ends.
func (o *Overlay) Put(row Row) {
	o.edit(row.Userset, edit{edge: row.Edge, written: row.Written})
}

// Remove hides the tuple of the base, or the one put before, if there is one.
func (o *Overlay) Remove(u Userset, s Subject) {
	o.edit(u, edit{edge: Edge{Subject: s}, removed: true})
}

func (o *Overlay) edit(u Userset, e edit) {
	if o.subjects == nil {
		o.subjects, o.objects = map[Userset][]edit{}, map[grant][]edit{}
	}
	o.subjects[u] = putEdit(o.subjects[u], e)
	g := grant{relation: u.Relation, subject: e.edge.Subject}
	e.edge.Subject = Subject{ID: u.Object}
	o.objects[g] = putEdit(o.objects[g], e)
}

func putEdit(edits []edit, e edit) []edit {
	i, found := findEdit(edits, e.edge.Subject)
	if found {
		edits[i] = e
		return edits
	}
	return slices.Insert(edits, i, e)
}

func findEdit(edits []edit, s Subject) (int, bool) {
	return slices.BinarySearchFunc(edits, s, func(e edit, s Subject) int { return e.edge.Subject.Compare(s) })
}

// own reports whether the id was given out here, so that the base cannot know it.
func (o *Overlay) own(id ID) bool { return id.IsLocal() && id.Sequence() >= o.first }

// Revision implements View.
func (o *Overlay) Revision() Revision { return o.base.Revision() }

// Time implements View.
func (o *Overlay) Time() time.Time { return o.base.Time() }

// Lookup implements View.
func (o *Overlay) Lookup(t model.TypeID, name string) (ID, bool, error) {
	if id, ok := o.ids[localName{typeID: t, name: name}]; ok {
		return id, true, nil
	}
	return o.base.Lookup(t, name)
}

// Name implements View.
func (o *Overlay) Name(id ID) (string, error) {
	if !o.own(id) {
		return o.base.Name(id)
	}
	if i := id.Sequence() - o.first; i < uint64(len(o.names)) && o.names[i].typeID == id.Type() {
		return o.names[i].name, nil
	}
	return "", fmt.Errorf("name of %v: %w", id, ErrUnknownEntity)
}

// Contains implements View.
func (o *Overlay) Contains(u Userset, s Subject) (Edge, bool, error) {
	if edits, ok := o.subjects[u]; ok {
		if i, found := findEdit(edits, s); found {
			if edits[i].removed {
				return Edge{}, false, nil
			}
			return edits[i].edge, true, nil
		}
	}
	if o.own(u.Object) || o.own(s.ID) {
		return Edge{}, false, nil
	}
	return o.base.Contains(u, s)
}

// Subjects implements View.
func (o *Overlay) Subjects(u Userset, c *Cursor) error {
	edits := o.subjects[u]
	after := c.After
	if o.own(u.Object) {
		c.Edges, c.Done = nil, true
	} else if err := o.base.Subjects(u, c); err != nil {
		return err
	}
	merge(edits, after, c)
	return nil
}

// Objects implements View.
func (o *Overlay) Objects(r model.RelationID, s Subject, c *Cursor) error {
	c.After.Relation = 0
	edits := o.objects[grant{relation: r, subject: s}]
	after := c.After
	if o.own(s.ID) {
		c.Edges, c.Done = nil, true
	} else if err := o.base.Objects(r, s, c); err != nil {
		return err
	}
	merge(edits, after, c)
	return nil
}

// Document implements View.
func (o *Overlay) Document(id ID) (Document, bool, error) {
	if o.own(id) {
		return Document{}, false, nil
	}
	return o.base.Document(id)
}

// merge applies the edits behind after to a page of the base, up to the page's last
// edge; behind the last page, all the rest.
func merge(edits []edit, after Subject, c *Cursor) {
	i, found := findEdit(edits, after)
	if found {
		i++
	}
	end := len(edits)
	if !c.Done {
		var last bool
		if end, last = findEdit(edits, c.After); last {
			end++
		}
	}
	if i >= end {
		return
	}
	merged := make([]Edge, 0, len(c.Edges)+end-i)
	base := c.Edges
	for _, e := range edits[i:end] {
		n := 0
		for n < len(base) && base[n].Subject.Compare(e.edge.Subject) < 0 {
			n++
		}
		merged = append(merged, base[:n]...)
		base = base[n:]
		if len(base) > 0 && base[0].Subject == e.edge.Subject {
			base = base[1:]
		}
		if !e.removed {
			merged = append(merged, e.edge)
		}
	}
	c.Edges = append(merged, base...)
	if n := len(c.Edges); n > 0 && c.Done {
		c.After = c.Edges[n-1].Subject
	}
}

// Rows implements Scanner if the base does; otherwise it is an error.
func (o *Overlay) Rows(c *RowCursor) error {
	base, ok := o.base.(Scanner)
	if !ok {
		return fmt.Errorf("rows of an overlay: its base %T cannot be scanned", o.base)
	}
	after := c.After
	if err := base.Rows(c); err != nil {
		return err
	}
	var edited []Row // those in the page's range, removed ones with Written -1
	for u, edits := range o.subjects {
		if u.Object < c.From || c.To != 0 && u.Object > c.To {
			continue
		}
		for _, e := range edits {
			row := Row{Userset: u, Edge: e.edge, Written: e.written}
			if e.removed {
				row.Written = -1
			}
			if rowOrder(row, after) > 0 && (c.Done || rowOrder(row, c.After) <= 0) {
				edited = append(edited, row)
			}
		}
	}
	if len(edited) == 0 {
		return nil
	}
	slices.SortFunc(edited, rowOrder)
	merged := make([]Row, 0, len(c.Rows)+len(edited))
	rows := c.Rows
	for _, e := range edited {
		for len(rows) > 0 && rowOrder(rows[0], e) < 0 {
			merged, rows = append(merged, rows[0]), rows[1:]
		}
		if len(rows) > 0 && rowOrder(rows[0], e) == 0 {
			rows = rows[1:]
		}
		if e.Written >= 0 {
			merged = append(merged, e)
		}
	}
	c.Rows = append(merged, rows...)
	if n := len(c.Rows); n > 0 && c.Done {
		c.After = c.Rows[n-1]
	}
	return nil
}

func rowOrder(a, b Row) int {
	if c := compareUsersets(a.Userset, b.Userset); c != 0 {
		return c
	}
	return a.Edge.Subject.Compare(b.Edge.Subject)
}
