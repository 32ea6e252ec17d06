package graph

import (
	"context"
	"slices"

	"github.com/remit-authz/remit/graph/model"
)

// proof finds tuples that suffice for a granted userset and none of which can be left
// out. It begins with those of the derivation. Where an exclusion holds only because
// something else excludes the exclusion, those are not enough: then it begins with
// every tuple that Check looked at.
func (x *explainer) proof(ctx context.Context, u Userset, derivation *Reason) ([]Row, error) {
	rows := derivation.rows(nil, make(map[*Reason]bool))
	v, err := x.with(ctx, u, rows)
	if err != nil {
		return nil, err
	}
	if v != allowed {
		seen := &recorder{View: x.query.View, rows: make(map[edgeKey]Row)}
		q := *x.query
		q.View = seen
		if _, err := x.check(ctx, &q, u); err != nil {
			return nil, err
		}
		rows = seen.sorted()
	}
	// Halves first, then quarters, down to single tuples: what is left after a round of
	// single ones that dropped nothing is minimal.
	for size := max(len(rows)/2, 1); ; size = max(size/2, 1) {
		dropped := false
		for from := 0; from < len(rows); {
			rest := slices.Delete(slices.Clone(rows), from, min(from+size, len(rows)))
			v, err := x.with(ctx, u, rest)
			if err != nil {
				return nil, err
			}
			if v == allowed {
				rows, dropped = rest, true
			} else {
				from += size
			}
		}
		if size == 1 && !dropped {
			return rows, nil
		}
	}
}

// with asks the question of a view that has these tuples only.
func (x *explainer) with(ctx context.Context, u Userset, rows []Row) (truth, error) {
	o := NewOverlay(edgeless{x.query.View})
	for _, row := range rows {
		o.Put(row)
	}
	x.left -= len(rows)
	q := *x.query
	q.View = o
	return x.check(ctx, &q, u)
}

// rows collects the tuples that a reason rests on, each once.
func (r *Reason) rows(to []Row, seen map[*Reason]bool) []Row {
	if seen[r] || !r.Granted {
		return to
	}
	seen[r] = true
	if r.Edge != nil && !slices.ContainsFunc(to, func(row Row) bool { return keyOf(row) == keyOf(*r.Edge) }) {
		to = append(to, *r.Edge)
	}
	for _, child := range r.Children {
		to = child.rows(to, seen)
	}
	return to
}

// An edgeKey is what makes two tuples the same.
type edgeKey struct {
	userset Userset
	subject Subject
}

func keyOf(r Row) edgeKey { return edgeKey{r.Userset, r.Edge.Subject} }

// An edgeless view has the names and documents of another, and no tuples.
type edgeless struct{ View }

func (edgeless) Contains(Userset, Subject) (Edge, bool, error) { return Edge{}, false, nil }

func (edgeless) Subjects(_ Userset, c *Cursor) error {
	c.Edges, c.Done = nil, true
	return nil
}

func (edgeless) Objects(_ model.RelationID, _ Subject, c *Cursor) error {
	c.Edges, c.Done = nil, true
	return nil
}

// A recorder is a view that remembers the tuples that were read through it.
type recorder struct {
	View
	rows map[edgeKey]Row
}

func (r *recorder) record(u Userset, e Edge) {
	row := Row{Userset: u, Edge: e}
	r.rows[keyOf(row)] = row
}

func (r *recorder) Contains(u Userset, s Subject) (Edge, bool, error) {
	e, ok, err := r.View.Contains(u, s)
	if ok {
		r.record(u, e)
	}
	return e, ok, err
}

func (r *recorder) Subjects(u Userset, c *Cursor) error {
	err := r.View.Subjects(u, c)
	for _, e := range c.Edges {
		r.record(u, e)
	}
	return err
}

// sorted are the remembered tuples in the order of a View.
func (r *recorder) sorted() []Row {
	rows := make([]Row, 0, len(r.rows))
	for _, row := range r.rows {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, compareRows)
	return rows
}

func compareRows(a, b Row) int {
	switch {
	case a.Userset.Object != b.Userset.Object:
		return compareIDs(a.Userset.Object, b.Userset.Object)
	case a.Userset.Relation != b.Userset.Relation:
		if a.Userset.Relation < b.Userset.Relation {
			return -1
		}
		return 1
	}
	return a.Edge.Subject.Compare(b.Edge.Subject)
}

func compareIDs(a, b ID) int {
	if a < b {
		return -1
	}
	return 1
}
