package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// ErrInstant says that a question is about an instant whose expired tuples the newest
// state no longer holds.
var ErrInstant = errors.New("the newest state no longer knows what held at this instant")

// A reader finds what a question is about: the store, the state, the model, the
// instant. It is safe for concurrent use.
type reader struct {
	config *Config
	plans  planCache
	newest atomic.Pointer[tokenText]
	ids    ids
}

// A tokenText is the token of the state that was last asked for, so that most answers
// need not encode theirs.
type tokenText struct {
	token Token
	text  string
}

// A snapshot is a store at one revision.
type snapshot struct {
	head    *fsm.Store // the store in the newest state, whose names include all older ones
	base    graph.Scanner
	symbols *model.Table
	models  []*fsm.Model // oldest first, as of the revision
	asOf    time.Time    // the instant that an exact state stands for; zero: the newest was asked for
	horizon int64        // the expiry horizon, as of the revision
}

// open resolves a scope.
func (r *reader) open(ctx context.Context, scope *remitv1.Scope) (*question, error) {
	snapshot, err := r.snapshot(ctx, "scope.store", scope.GetStore(), "scope.consistency", scope.GetConsistency())
	if err != nil {
		return nil, err
	}
	q := &question{snapshot: snapshot, reader: r}
	if q.plan, err = r.plan(&q.snapshot, "scope.model_id", scope.GetModelId()); err != nil {
		return nil, err
	}
	switch {
	case scope.GetAt() != nil:
		if q.at, err = instantOf("scope.at", scope.GetAt()); err != nil {
			return nil, err
		}
		if q.horizon > 0 && q.at.UnixMilli() < q.horizon {
			return nil, at("scope.at", fmt.Errorf("%w: it knows from %s on; ask for the state of that time with consistency.at_exact_time",
				ErrInstant, time.UnixMilli(q.horizon).UTC().Format(time.RFC3339Nano)))
		}
	case !q.asOf.IsZero():
		q.at = q.asOf
	default:
		q.at = later(r.config.Clock(), q.base.Time())
	}
	return q, q.take(scope)
}

// reopen resolves the scope of a later page: the state, the model and the instant are
// those of the first.
func (r *reader) reopen(ctx context.Context, scope *remitv1.Scope, c *cursor) (*question, error) {
	snapshot, err := r.pinned(ctx, "scope.store", scope.GetStore(), c)
	if err != nil {
		return nil, err
	}
	q := &question{snapshot: snapshot, reader: r, at: c.at}
	if q.plan, err = r.plan(&q.snapshot, "cursor", c.model); err != nil {
		return nil, err
	}
	return q, q.take(scope)
}

// take adds what the scope itself brings to the question.
func (q *question) take(scope *remitv1.Scope) error {
	var err error
	if q.given, err = contextOf("scope.context", scope.GetContext()); err != nil {
		return err
	}
	if err := q.checkContext("scope.context", q.given); err != nil {
		return err
	}
	return q.add("scope.contextual_tuples", scope.GetContextualTuples())
}

// snapshot finds a store in the state that the consistency asks for.
func (r *reader) snapshot(ctx context.Context, storeField, store, field string, c *remitv1.Consistency) (snapshot, error) {
	revision, err := r.await(ctx, field, c)
	if err != nil {
		return snapshot{}, err
	}
	root := r.config.State.Current()
	head, err := findStore(root, storeField, store)
	if err != nil {
		return snapshot{}, err
	}
	s := headOf(head)
	if revision == 0 {
		return s, nil
	}
	if revision != root.Revision() {
		if s, err = r.pastOf(head, revision); err != nil {
			return snapshot{}, at(field, err)
		}
	}
	// Whether others have written since must not change what an exact state answers, so
	// its instant is its own, be it the newest or not.
	if s.asOf = s.base.Time(); c.GetAtExactTime() != nil {
		s.asOf = c.GetAtExactTime().AsTime()
	}
	return s, nil
}

// pinned finds the state that a cursor belongs to.
func (r *reader) pinned(ctx context.Context, storeField, store string, c *cursor) (snapshot, error) {
	root := r.config.State.Current()
	if c.epoch != epochOf(root) {
		return snapshot{}, at("cursor", ErrCursorExpired)
	}
	// Another node may have given out the cursor and be ahead of this one.
	if err := r.waitFor(ctx, c.revision); err != nil {
		return snapshot{}, at("cursor", err)
	}
	root = r.config.State.Current()
	head, err := findStore(root, storeField, store)
	if err != nil {
		return snapshot{}, err
	}
	if head.ID() != c.store {
		// The name stands for another store now.
		return snapshot{}, at("cursor", ErrCursorExpired)
	}
	if c.revision == root.Revision() {
		return headOf(head), nil
	}
	s, err := r.pastOf(head, c.revision)
	if errors.Is(err, fsm.ErrRevisionGone) {
		return snapshot{}, at("cursor", ErrCursorExpired)
	}
	return s, err
}

func headOf(s *fsm.Store) snapshot {
	return snapshot{head: s, base: s, symbols: s.Symbols(), models: s.Models(), horizon: s.ExpiryHorizon()}
}

// pastOf is a store at a revision that is not the newest.
func (r *reader) pastOf(head *fsm.Store, revision graph.Revision) (snapshot, error) {
	past, err := r.config.State.ViewAt(head.ID(), revision)
	if err != nil {
		return snapshot{}, err
	}
	// What had left the head by then lies before both of these.
	horizon := min(head.ExpiryHorizon(), past.Time().UnixMilli())
	return snapshot{head: head, base: past, symbols: head.Symbols(), models: past.Models(), horizon: horizon}, nil
}

// await waits until this node shows the state that a query asks for. The revision it
// returns is the exact one, or 0 if the newest will do.
func (r *reader) await(ctx context.Context, field string, c *remitv1.Consistency) (graph.Revision, error) {
	switch want := c.GetRequirement().(type) {
	case *remitv1.Consistency_AtLeastAsFresh:
		token, err := ParseToken(want.AtLeastAsFresh)
		if err != nil {
			return 0, at(field+".at_least_as_fresh", err)
		}
		if token.Epoch != r.epoch() {
			// Its revision means nothing here, but what it stands for is older than now.
			return 0, r.catchUp(ctx)
		}
		if err := r.waitFor(ctx, token.Revision); err != nil {
			return 0, at(field+".at_least_as_fresh", err)
		}
		return 0, nil
	case *remitv1.Consistency_AtExactSnapshot:
		token, err := ParseToken(want.AtExactSnapshot)
		if err == nil && token.Epoch != r.epoch() {
			err = ErrOtherEpoch
		}
		if err == nil {
			err = r.waitFor(ctx, token.Revision)
		}
		if err != nil {
			return 0, at(field+".at_exact_snapshot", err)
		}
		return token.Revision, nil
	case *remitv1.Consistency_AtExactTime:
		t, err := instantOf(field+".at_exact_time", want.AtExactTime)
		if err != nil {
			return 0, err
		}
		return r.revisionAt(ctx, field+".at_exact_time", t)
	case *remitv1.Consistency_FullyConsistent:
		return 0, r.catchUp(ctx)
	default:
		return 0, nil
	}
}

// catchUp waits until this node shows every write that was acknowledged before.
func (r *reader) catchUp(ctx context.Context) error {
	index, err := r.config.Node.ReadIndex(ctx)
	if err != nil {
		return err
	}
	return r.waitFor(ctx, graph.Revision(index))
}

// waitFor waits for a revision, for a bounded time.
func (r *reader) waitFor(ctx context.Context, revision graph.Revision) error {
	if r.config.State.Current().Revision() >= revision {
		return nil
	}
	bound, cancel := context.WithTimeout(ctx, freshnessTimeout)
	defer cancel()
	err := r.config.State.Published(bound, uint64(revision))
	if err != nil && ctx.Err() == nil && bound.Err() != nil {
		return fmt.Errorf("%w within %s: this node is at revision %d, %d is asked for",
			ErrNotReached, freshnessTimeout, r.config.State.Current().Revision(), revision)
	}
	return err
}

// revisionAt finds the state at an instant of the past.
func (r *reader) revisionAt(ctx context.Context, field string, t time.Time) (graph.Revision, error) {
	if now := later(r.config.Clock(), r.config.State.Current().Time()); t.After(now) {
		return 0, at(field, fmt.Errorf("%w: it lies in the future of %s", ErrRequest, now.Format(time.RFC3339Nano)))
	}
	if t.After(r.config.State.Current().Time()) {
		// What this node has not seen yet may have happened before t.
		if err := r.catchUp(ctx); err != nil {
			return 0, err
		}
	}
	revision, err := r.config.State.RevisionAt(t)
	if err != nil {
		return 0, at(field, err)
	}
	return revision, nil
}

// findStore finds a store by id or by name. What reads as an id is never a name: a
// question to a store that was deleted must not reach another one.
func findStore(root *fsm.Root, field, store string) (*fsm.Store, error) {
	if id, err := fsm.ParseStoreID(store); err == nil {
		if s, ok := root.Store(id); ok {
			return s, nil
		}
		return nil, at(field, fmt.Errorf("%w: no store has the id %s", ErrStoreNotFound, id))
	}
	switch named := root.StoresNamed(store); len(named) {
	case 1:
		return named[0], nil
	case 0:
		return nil, at(field, fmt.Errorf("%w: no store has the name %q, and it is no id", ErrStoreNotFound, store))
	default:
		ids := make([]string, 0, len(named))
		for _, s := range named {
			if len(ids) == 10 {
				ids = append(ids, fmt.Sprintf("and %d more", len(named)-10))
				break
			}
			ids = append(ids, s.ID().String())
		}
		return nil, at(field, fmt.Errorf("%w: %q is the name of %s; give one of these ids", ErrStoreAmbiguous, store, strings.Join(ids, ", ")))
	}
}

// token names the state that the question saw.
func (q *question) token() string { return q.reader.token(q.base.Revision()) }

func (r *reader) token(revision graph.Revision) string {
	t := Token{Epoch: r.epoch(), Revision: revision}
	if last := r.newest.Load(); last != nil && last.token == t {
		return last.text
	}
	text := t.String()
	r.newest.Store(&tokenText{t, text})
	return text
}

// epoch is the cluster's, as tokens hold it.
func (r *reader) epoch() [16]byte { return epochOf(r.config.State.Current()) }

func epochOf(root *fsm.Root) (e [16]byte) {
	binary.BigEndian.PutUint64(e[8:], root.Epoch())
	return e
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
