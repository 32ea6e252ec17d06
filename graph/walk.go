package graph

import (
	"context"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A walk goes through the edges that count in a query, one page after the other. It
// is how Expand and Explain read the view, plainly; Check has its own, faster way.
type walk struct {
	query   *Query
	spent   int
	now     int64 // milliseconds, for expiry
	request condition.Request
}

func newWalk(q *Query) *walk {
	at := q.At
	if at.IsZero() {
		at = q.View.Time()
	}
	return &walk{
		query:   q,
		now:     at.UnixMilli(),
		request: condition.Request{Fields: q.Context, At: at, BindNow: !q.UnboundNow, Complete: q.EagerConditions},
	}
}

// spend takes from the budget, and looks whether the caller still waits.
func (w *walk) spend(ctx context.Context, edges int) error {
	before := w.spent
	if w.spent += edges; w.spent > w.query.budget() {
		return ErrBudget
	}
	if pace := w.query.Pace; pace != nil && w.spent/pulseEdges > before/pulseEdges {
		return pace(ctx)
	}
	return ctx.Err()
}

// edges yields the edges of a userset behind after that count, and those whose
// condition cannot be judged, with the error that says why. It stops when yield
// returns false.
func (w *walk) edges(ctx context.Context, u Userset, r *model.Relation, after Subject, yield func(e *Edge, unjudged error) (bool, error)) error {
	c := Cursor{After: after}
	for !c.Done {
		if err := w.query.View.Subjects(u, &c); err != nil {
			return err
		}
		if err := w.spend(ctx, len(c.Edges)); err != nil {
			return err
		}
		for i := range c.Edges {
			e := &c.Edges[i]
			counts, unjudged := w.counts(ctx, r, e)
			if !counts && unjudged == nil {
				continue
			}
			if more, err := yield(e, unjudged); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// counts reports whether an edge of the relation counts: allowed by the model, not
// expired, its condition true. An error says why its condition cannot be judged.
func (w *walk) counts(ctx context.Context, r *model.Relation, e *Edge) (bool, error) {
	a := admits(r, e)
	if a == nil || e.ExpiredAt(w.now) {
		return false, nil
	}
	if a.Condition == nil {
		return true, nil
	}
	return a.Condition.EvaluateContext(ctx, e.Context, &w.request)
}
