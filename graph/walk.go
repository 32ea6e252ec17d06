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
		request: condition.Request{Fields: q.Context, At: at, BindNow: !q.UnboundNow},
	}
}

// spend takes from the budget, and looks whether the caller still waits.
func (w *walk) spend(ctx context.Context, edges int) error {
	limit := w.query.Budget
	if limit == 0 {
		limit = DefaultBudget
	}
	if w.spent += edges; w.spent > limit {
		return ErrBudget
	}
	return ctx.Err()
}

// edges yields the edges of a userset behind after that count: allowed by the model,
// not expired, their condition true. It stops when yield returns false. An edge whose
// condition cannot be judged is passed over; if nothing else ends the walk, the first
// such error is returned when all others have been seen.
func (w *walk) edges(ctx context.Context, u Userset, r *model.Relation, after Subject, yield func(*Edge) (bool, error)) error {
	var unjudged error
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
			counts, err := w.counts(r, e)
			switch {
			case err != nil && unjudged == nil:
				unjudged = err
			case counts:
				if more, err := yield(e); err != nil || !more {
					return err
				}
			}
		}
	}
	return unjudged
}

// counts reports whether an edge of the relation counts: allowed by the model, not
// expired, its condition true. The error is an *unjudgedError.
func (w *walk) counts(r *model.Relation, e *Edge) (bool, error) {
	a := admits(r, e)
	if a == nil || e.ExpiredAt(w.now) {
		return false, nil
	}
	if a.Condition == nil {
		return true, nil
	}
	ok, err := a.Condition.Evaluate(e.Context, &w.request)
	if err != nil {
		return false, &unjudgedError{err}
	}
	return ok, nil
}

// An unjudgedError is the third value of one tuple, as opposed to what ends the whole
// request.
type unjudgedError struct{ error }

func (e *unjudgedError) Unwrap() error { return e.error }
