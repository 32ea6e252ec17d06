package graphtest

import (
	"context"
	"errors"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// errFault is what a disturbed view answers in the end.
var errFault = errors.New("the storage has a fault")

// A disturbed view works for so many reads, then does something else once, and works
// again: who missed it does not get a second chance.
type disturbed struct {
	graph.View
	reads int
	then  func() error
}

func (d *disturbed) read() error {
	if d.reads--; d.reads == -1 {
		return d.then()
	}
	return nil
}

// Contains implements graph.View.
func (d *disturbed) Contains(u graph.Userset, s graph.Subject) (graph.Edge, bool, error) {
	if err := d.read(); err != nil {
		return graph.Edge{}, false, err
	}
	return d.View.Contains(u, s)
}

// Subjects implements graph.View.
func (d *disturbed) Subjects(u graph.Userset, c *graph.Cursor) error {
	if err := d.read(); err != nil {
		return err
	}
	return d.View.Subjects(u, c)
}

// Objects implements graph.View.
func (d *disturbed) Objects(r model.RelationID, s graph.Subject, c *graph.Cursor) error {
	if err := d.read(); err != nil {
		return err
	}
	return d.View.Objects(r, s, c)
}

// disturb asks once more while the view fails, the budget ends or the caller goes away
// in the middle. Then the answer is that, or the right one after all; and whoever is
// asked next must not notice.
func (a *asker) disturb(ctx context.Context, j *judge, q *question, n int) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query := a.fresh(q.circumstances)
	switch n % 3 {
	case 0:
		query.View = &disturbed{View: a.view, reads: n % 11, then: func() error { return errFault }}
	case 1:
		query.Budget = 1 + n%23
	default:
		query.View = &disturbed{View: a.view, reads: n % 11, then: func() error { cancel(); return ctx.Err() }}
	}
	got, err := a.ask(ctx, query, q)
	for _, err := range []error{got.err, err} {
		if errors.Is(err, errFault) || errors.Is(err, graph.ErrBudget) || errors.Is(err, context.Canceled) {
			return ""
		}
	}
	if complaint := complain(j, q, &got, err); complaint != "" {
		return "while being disturbed " + complaint
	}
	return ""
}
