package fsm

import (
	"fmt"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// A page begins small, because most usersets are, and grows with a cursor that goes on.
const (
	firstPage = 16
	laterPage = 256
)

// Revision implements graph.View.
func (s *Store) Revision() graph.Revision { return s.root.revision }

// Time implements graph.View.
func (s *Store) Time() time.Time { return s.root.Time() }

// Era implements graph.Dated.
func (s *Store) Era(types []model.TypeID) graph.Era {
	last := s.index.loaded
	for _, t := range types {
		if int(t) < len(s.index.written) {
			last = max(last, s.index.written[t])
		}
	}
	return graph.Era{Epoch: s.root.epoch, Revision: last}
}

// Lookup implements graph.View.
func (s *Store) Lookup(t model.TypeID, name string) (graph.ID, bool, error) {
	n, ok := s.index.lookup(t, name)
	return n.id, ok, nil
}

// Name implements graph.View.
func (s *Store) Name(id graph.ID) (string, error) {
	if id.IsWildcard() {
		return wildcardName, nil
	}
	e, ok := s.index.entity(id)
	if !ok {
		return "", unknownID(id)
	}
	return e.name, nil
}

// Contains implements graph.View.
func (s *Store) Contains(u graph.Userset, sub graph.Subject) (graph.Edge, bool, error) {
	t, ok := s.index.tuple(u, sub)
	return t.edge(), ok, nil
}

// TupleRevision is the revision that wrote a tuple as it is, which is what the
// precondition of that name compares; 0 if there is no such tuple.
func (s *Store) TupleRevision(u graph.Userset, sub graph.Subject) graph.Revision {
	t, _ := s.index.tuple(u, sub)
	return t.created
}

// Subjects implements graph.View.
func (s *Store) Subjects(u graph.Userset, c *graph.Cursor) error {
	after := c.After
	page := edgePage(c)
	full := false
	from := placeAt(u.Relation, after)
	s.index.forward.ascend(u.Object, from, func(t ownedTuple) bool {
		if t.relations.object() != u.Relation {
			return false
		}
		if t.place == from {
			return true
		}
		if len(page) == cap(page) {
			full = true
			return false
		}
		page = append(page, t.edge())
		return true
	})
	finishPage(c, page, !full)
	return nil
}

// Objects implements graph.View.
func (s *Store) Objects(r model.RelationID, sub graph.Subject, c *graph.Cursor) error {
	page := edgePage(c)
	full := false
	from := place{relationsOf(r, sub.Relation), c.After.ID}
	s.index.reverse.ascend(sub.ID, from, func(t heldTuple) bool {
		if t.relations != from.relations {
			return false
		}
		if t.end == from.end {
			return true
		}
		if len(page) == cap(page) {
			full = true
			return false
		}
		page = append(page, t.reverseEdge())
		return true
	})
	finishPage(c, page, !full)
	return nil
}

// Document implements graph.View.
func (s *Store) Document(id graph.ID) (graph.Document, bool, error) {
	row, ok := s.index.document(id)
	if !ok || row.deleted {
		return graph.Document{}, false, nil
	}
	return documentOf(&row)
}

func documentOf(row *documentRow) (graph.Document, bool, error) {
	fields, err := value.Decode(row.fields)
	if err != nil {
		return graph.Document{}, false, fmt.Errorf("%w: document: %w", ErrCorrupt, err)
	}
	return graph.Document{Version: row.version, Fields: fields}, true, nil
}

// Rows implements graph.Scanner.
func (s *Store) Rows(c *graph.RowCursor) error {
	page := rowPage(c)
	full := false
	u, sub, skip := rowStart(c)
	from := placeAt(u.Relation, sub)
	s.index.forward.ascendAll(u.Object, from, func(id graph.ID, t ownedTuple) bool {
		if c.To != 0 && id > c.To {
			return false
		}
		if skip && id == u.Object && t.place == from {
			return true
		}
		if len(page) == cap(page) {
			full = true
			return false
		}
		item := tupleItem{id, t}
		page = append(page, item.row())
		return true
	})
	finishRows(c, page, !full)
	return nil
}

// rowStart is where a cursor goes on, and whether the tuple there was already seen.
func rowStart(c *graph.RowCursor) (u graph.Userset, sub graph.Subject, skip bool) {
	if after := c.After.Userset; after.Object != 0 && after.Object >= c.From {
		return after, c.After.Edge.Subject, true
	}
	return graph.Userset{Object: c.From}, graph.Subject{}, false
}

// edgePage is an empty page that fits into the cursor's buffer.
func edgePage(c *graph.Cursor) []graph.Edge {
	size := firstPage
	if c.After != (graph.Subject{}) {
		size = laterPage
	}
	if cap(c.Buffer) < size {
		c.Buffer = make([]graph.Edge, 0, size)
	}
	return c.Buffer[:0]
}

func finishPage(c *graph.Cursor, page []graph.Edge, done bool) {
	c.Edges, c.Done = page, done
	if n := len(page); n > 0 {
		c.After = page[n-1].Subject
	}
}

func rowPage(c *graph.RowCursor) []graph.Row {
	if cap(c.Rows) < laterPage {
		c.Rows = make([]graph.Row, 0, laterPage)
	}
	return c.Rows[:0]
}

func finishRows(c *graph.RowCursor, page []graph.Row, done bool) {
	c.Rows, c.Done = page, done
	if n := len(page); n > 0 {
		c.After = page[n-1]
	}
}
