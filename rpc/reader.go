package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// ErrInstant says that a question is about an instant whose expired tuples the newest
// state no longer holds.
var ErrInstant = errors.New("the newest state no longer knows what held at this instant")

// A reader finds what a message of remit.v1 is about. It is safe for concurrent use.
type reader struct{ *backend.Reader }

// A question is a backend.Question that was asked in remit.v1.
type question struct{ backend.Question }

// A scopeMessage is what every query has in common, as it was asked: a Scope, or the
// OrganisationScope of one that brings neither a model nor anything of its own.
type scopeMessage interface {
	GetStore() string
	GetConsistency() *remitv1.Consistency
	GetAt() *timestamppb.Timestamp
}

// open resolves a scope.
func (r *reader) open(ctx context.Context, scope scopeMessage) (*question, error) {
	snapshot, err := r.snapshot(ctx, "scope.store", scope.GetStore(), "scope.consistency", scope.GetConsistency())
	if err != nil {
		return nil, err
	}
	q := &question{backend.Question{Snapshot: snapshot, Reader: r.Reader}}
	own, _ := scope.(*remitv1.Scope)
	if q.Plan, err = r.Plan(&q.Snapshot, "scope.model_id", own.GetModelId()); err != nil {
		return nil, err
	}
	switch {
	case scope.GetAt() != nil:
		if q.At, err = instantOf("scope.at", scope.GetAt()); err != nil {
			return nil, err
		}
		if q.Horizon > 0 && q.At.UnixMilli() < q.Horizon {
			return nil, at("scope.at", fmt.Errorf("%w: it knows from %s on; ask for the state of that time with consistency.at_exact_time",
				ErrInstant, time.UnixMilli(q.Horizon).UTC().Format(time.RFC3339Nano)))
		}
	case !q.AsOf.IsZero():
		q.At = q.AsOf
	default:
		q.At = r.Now()
	}
	return q, q.take(own)
}

// reopen resolves the scope of a later page: the state, the model and the instant are
// those of the first.
func (r *reader) reopen(ctx context.Context, scope scopeMessage, c *cursor) (*question, error) {
	snapshot, err := r.pinned(ctx, "scope.store", scope.GetStore(), c)
	if err != nil {
		return nil, err
	}
	q := &question{backend.Question{Snapshot: snapshot, Reader: r.Reader, At: c.at}}
	if q.Plan, err = r.Plan(&q.Snapshot, "cursor", c.model); err != nil {
		return nil, err
	}
	own, _ := scope.(*remitv1.Scope)
	return q, q.take(own)
}

// take adds what the scope itself brings to the question, if it can bring anything.
func (q *question) take(scope *remitv1.Scope) error {
	var err error
	if q.Given, err = contextOf("scope.context", scope.GetContext()); err != nil {
		return err
	}
	if err := q.checkContext("scope.context", q.Given); err != nil {
		return err
	}
	return q.add("scope.contextual_tuples", scope.GetContextualTuples())
}

// checkContext takes the request's context. The instant is a field of its own, so a
// parameter that stands for it is refused rather than ignored.
func (q *question) checkContext(path string, m value.Map) error {
	if _, ok := m["now"]; ok && q.Plan.BindsNow {
		return at(path+".now", fmt.Errorf("%w: now is the instant that the question is about: set scope.at instead", ErrContext))
	}
	return nil
}

// add takes tuples that count for this question alone.
func (q *question) add(path string, tuples []*remitv1.Tuple) error {
	for i, message := range tuples {
		where := indexed(path, i)
		tuple, err := tupleOf(where, message)
		if err != nil {
			return err
		}
		if err := q.Put(tuple); err != nil {
			return tupleFault(where, err)
		}
	}
	return nil
}

// tuple names a row.
func (q *question) tuple(row *graph.Row) (*remitv1.Tuple, error) {
	tuple, err := q.Row(row)
	if err != nil {
		return nil, err
	}
	return tupleMessage(tuple)
}

// snapshot finds a store in the state that the consistency asks for.
func (r *reader) snapshot(ctx context.Context, storeField, store, field string, c *remitv1.Consistency) (backend.Snapshot, error) {
	revision, err := r.await(ctx, field, c)
	root := r.Config.State.Current()
	if errors.Is(err, fsm.ErrRevisionGone) {
		// An instant before all that anybody keeps: the store tells since when it can be asked.
		if head, missing := backend.FindStore(ctx, root, storeField, store); missing == nil {
			err = at(field, r.Gone(head, err))
		}
	}
	if err != nil {
		return backend.Snapshot{}, err
	}
	head, err := backend.FindStore(ctx, root, storeField, store)
	if err != nil {
		return backend.Snapshot{}, err
	}
	s := backend.HeadOf(head)
	if revision == 0 {
		return s, nil
	}
	if revision != root.Revision() {
		if s, err = r.PastOf(head, revision); err != nil {
			return backend.Snapshot{}, at(field, r.Gone(head, err))
		}
	}
	// Whether others have written since must not change what an exact state answers, so
	// its instant is its own, be it the newest or not.
	if s.AsOf = s.Base.Time(); c.GetAtExactTime() != nil {
		s.AsOf = c.GetAtExactTime().AsTime()
	}
	return s, nil
}

// pinned finds the state that a cursor belongs to.
func (r *reader) pinned(ctx context.Context, storeField, store string, c *cursor) (backend.Snapshot, error) {
	root := r.Config.State.Current()
	if c.epoch != backend.EpochOf(root) {
		return backend.Snapshot{}, at("cursor", ErrCursorExpired)
	}
	// Another node may have given out the cursor and be ahead of this one.
	if err := r.WaitFor(ctx, c.revision); err != nil {
		return backend.Snapshot{}, at("cursor", err)
	}
	root = r.Config.State.Current()
	head, err := backend.FindStore(ctx, root, storeField, store)
	if err != nil {
		return backend.Snapshot{}, err
	}
	if head.ID() != c.store {
		// The name stands for another store now.
		return backend.Snapshot{}, at("cursor", ErrCursorExpired)
	}
	if c.revision == root.Revision() {
		return backend.HeadOf(head), nil
	}
	s, err := r.PastOf(head, c.revision)
	if errors.Is(err, fsm.ErrRevisionGone) {
		return backend.Snapshot{}, at("cursor", ErrCursorExpired)
	}
	return s, err
}

// await waits until this node shows the state that a query asks for. The revision it
// returns is the exact one, or 0 if the newest will do.
func (r *reader) await(ctx context.Context, field string, c *remitv1.Consistency) (revision graph.Revision, err error) {
	switch want := c.GetRequirement().(type) {
	case *remitv1.Consistency_AtLeastAsFresh:
		field += ".at_least_as_fresh"
		err = r.AtLeast(ctx, want.AtLeastAsFresh)
	case *remitv1.Consistency_AtExactSnapshot:
		field += ".at_exact_snapshot"
		revision, err = r.Exactly(ctx, want.AtExactSnapshot)
	case *remitv1.Consistency_AtExactRevision:
		field += ".at_exact_revision"
		revision = graph.Revision(want.AtExactRevision)
		err = r.ExactRevision(ctx, revision)
	case *remitv1.Consistency_AtExactTime:
		field += ".at_exact_time"
		var t time.Time
		if t, err = instantOf(field, want.AtExactTime); err != nil {
			return 0, err
		}
		revision, err = r.RevisionAt(ctx, t)
	case *remitv1.Consistency_FullyConsistent:
		return 0, r.CatchUp(ctx)
	}
	if err != nil {
		return 0, at(field, err)
	}
	return revision, nil
}

// exact reports whether a consistency names one state of the past.
func exact(c *remitv1.Consistency) bool {
	switch c.GetRequirement().(type) {
	case *remitv1.Consistency_AtExactSnapshot, *remitv1.Consistency_AtExactTime, *remitv1.Consistency_AtExactRevision:
		return true
	}
	return false
}

// asOf says what an answer about an exact state was judged by; nil if the question was
// not about one.
func (q *question) asOf(c *remitv1.Consistency) *remitv1.Moment {
	if !exact(c) {
		return nil
	}
	return q.moment()
}

// moment is what the question is judged by.
func (q *question) moment() *remitv1.Moment {
	return &remitv1.Moment{Revision: uint64(q.Base.Revision()), At: timestamppb.New(q.At)}
}
