package backend

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/token"
)

// SystemStore is the store that the service keeps for itself: keys and what principals may
// do. It is opened by no request, and no list shows it.
var SystemStore = fsm.StoreID{15: 1}

// A Reader finds what a question is about: the store, the state, the model, the
// instant. It is safe for concurrent use.
type Reader struct {
	Config Config

	plans  planCache
	newest atomic.Pointer[tokenText]
	ids    ids

	waiting atomic.Int64 // calls that wait for a leader
}

// A tokenText is the token of the state that was last asked for, so that most answers
// need not encode theirs.
type tokenText struct {
	token token.Token
	text  string
}

// NewReader makes a reader.
func NewReader(config Config) *Reader { return &Reader{Config: config} }

// Now is the present: this node's clock, but never before what the leader has stamped.
func (r *Reader) Now() time.Time {
	return later(r.Config.Clock(), r.Config.State.Current().Time())
}

// NewID makes the id of a store or a model: a ULID behind all that were made before.
func (r *Reader) NewID() ([16]byte, error) { return r.ids.next(r.Config.Clock()) }

// CatchUp waits until this node shows every write that was acknowledged before, on whichever
// node. While there is no leader to ask it waits for one, for at most LeaderTimeout; then the
// error is cluster.ErrNoLeader. If this node does not get so far in that time, the error is
// ErrNotReached.
func (r *Reader) CatchUp(ctx context.Context) (err error) {
	ctx, span := r.Config.Tracer.Start(ctx, "catch up")
	defer func() { span.End(err) }()
	left := limit.Leave(ctx) // whoever waits is not evaluating
	if err = r.catchUp(ctx); err == nil && left {
		err = limit.Enter(ctx)
	}
	return err
}

func (r *Reader) catchUp(ctx context.Context) error {
	p := r.patience()
	bound, cancel := ctx, context.CancelFunc(func() {})
	if !r.leads() { // where it is soon decided, one way or the other
		bound, cancel = context.WithDeadline(ctx, p.until)
	}
	defer cancel()
	for {
		index, err := r.Config.Node.ReadIndex(bound)
		if err == nil {
			err = r.WaitFor(bound, graph.Revision(index))
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() == nil && bound.Err() != nil:
			return fmt.Errorf("%w within %s: this node is at revision %d, and does not hear of the newest",
				ErrNotReached, LeaderTimeout, r.Config.State.Current().Revision())
		case !errors.Is(err, cluster.ErrNoLeader) || !p.wait(bound):
			return err
		}
	}
}

// leads reports whether this node leads, as far as it knows.
func (r *Reader) leads() bool { return r.Config.Node.Leader() == r.Config.Node.ID() }

// WaitFor waits until this node shows a revision, for at most FreshnessTimeout; then
// the error is ErrNotReached.
func (r *Reader) WaitFor(ctx context.Context, revision graph.Revision) (err error) {
	if r.Config.State.Current().Revision() >= revision {
		return nil
	}
	ctx, span := r.Config.Tracer.Start(ctx, "wait for revision")
	defer func() { span.End(err) }()
	left := limit.Leave(ctx)
	bound, cancel := context.WithTimeout(ctx, FreshnessTimeout)
	defer cancel()
	err = r.Config.State.Published(bound, uint64(revision))
	if err != nil && ctx.Err() == nil && bound.Err() != nil {
		return fmt.Errorf("%w within %s: this node is at revision %d, %d is asked for",
			ErrNotReached, FreshnessTimeout, r.Config.State.Current().Revision(), revision)
	}
	if err == nil && left {
		err = limit.Enter(ctx)
	}
	return err
}

// AtLeast waits until this node shows the state that a token names. A token of another
// epoch means nothing here, but what it stands for is older than now.
func (r *Reader) AtLeast(ctx context.Context, text string) error {
	t, err := token.Parse(text)
	switch {
	case err != nil:
		return err
	case t.Epoch != r.Epoch():
		return r.CatchUp(ctx)
	}
	return r.WaitFor(ctx, graph.Revision(t.Revision))
}

// Exactly waits until this node shows the state that a token names, and returns its
// revision. A token of another epoch is ErrOtherEpoch.
func (r *Reader) Exactly(ctx context.Context, text string) (graph.Revision, error) {
	t, err := token.Parse(text)
	revision := graph.Revision(t.Revision)
	if err == nil && t.Epoch != r.Epoch() {
		err = ErrOtherEpoch
	}
	if err == nil {
		err = r.WaitFor(ctx, revision)
	}
	return revision, err
}

// RevisionAt finds the state at an instant of the past. An instant in the future is
// ErrRequest.
func (r *Reader) RevisionAt(ctx context.Context, t time.Time) (graph.Revision, error) {
	if t.After(r.Config.State.Current().Time()) {
		// What this node has not seen yet may have happened before t, and may show that t is
		// not in the future although this node's clock says so.
		if err := r.CatchUp(ctx); err != nil {
			return 0, err
		}
	}
	if now := r.Now(); t.After(now) {
		return 0, fmt.Errorf("%w: it lies in the future of %s", ErrRequest, now.Format(time.RFC3339Nano))
	}
	return r.Config.State.RevisionAt(t)
}

// Earliest is the first state of a store that can be asked about, and when it came about.
func (r *Reader) Earliest(store *fsm.Store) (graph.Revision, time.Time, error) {
	for {
		revision := store.HistoryHorizon()
		if revision == store.CreatedRevision() {
			return revision, store.CreatedTime(), nil
		}
		at, err := r.Config.State.TimeOf(revision)
		if !errors.Is(err, fsm.ErrRevisionGone) {
			return revision, at, err
		}
		// The horizon has moved on since the caller looked.
		newer, ok := r.Config.State.Current().Store(store.ID())
		if !ok {
			return 0, time.Time{}, fsm.ErrStoreNotFound
		}
		if newer.HistoryHorizon() == revision {
			return 0, time.Time{}, err
		}
		store = newer
	}
}

// Gone adds to an error that a past state is no longer kept, or never was, what can be
// asked about instead. Other errors stay as they are.
func (r *Reader) Gone(store *fsm.Store, err error) error {
	if !errors.Is(err, fsm.ErrRevisionGone) {
		return err
	}
	revision, at, missing := r.Earliest(store)
	if missing != nil {
		return err
	}
	return &goneError{revision: revision, at: at, created: revision == store.CreatedRevision()}
}

// A goneError is fsm.ErrRevisionGone with the earliest state that can be asked about.
type goneError struct {
	revision graph.Revision
	at       time.Time
	created  bool // it is the one that made the store
}

func (e *goneError) Error() string {
	why := "the state is no longer kept"
	if e.created {
		why = "the store did not exist yet"
	}
	return fmt.Sprintf("%s: the earliest that can be asked about is revision %d of %s", why, e.revision, e.at.Format(time.RFC3339Nano))
}

func (e *goneError) Unwrap() error { return fsm.ErrRevisionGone }

// ExactRevision waits until this node shows a revision. One that no node has reached is
// ErrRequest.
func (r *Reader) ExactRevision(ctx context.Context, revision graph.Revision) error {
	if revision <= r.Config.State.Current().Revision() {
		return nil
	}
	if err := r.CatchUp(ctx); err != nil {
		return err
	}
	if newest := r.Config.State.Current().Revision(); revision > newest {
		return fmt.Errorf("%w: it lies in the future: the newest revision is %d", ErrRequest, newest)
	}
	return nil
}

// FindStore opens a store, by id or by name, for the caller of the context; field names
// where it stood. What reads as an id is never a name: a question to a store that was
// deleted must not reach another one. It is the one way to a store from a request, for it
// asks whether the caller may do what the call does.
func FindStore(ctx context.Context, root *fsm.Root, field, store string) (*fsm.Store, error) {
	if id, err := fsm.ParseStoreID(store); err == nil {
		s, err := OpenStore(ctx, root, id)
		if errors.Is(err, ErrStoreNotFound) {
			return nil, At(field, fmt.Errorf("%w: no store has the id %s", ErrStoreNotFound, id))
		}
		return s, err
	}
	// Of the stores that bear a name, those count that the caller may know of.
	switch named := StoresNamed(ctx, root, store); len(named) {
	case 1:
		return named[0], identity.Authorize(ctx, named[0].ID())
	case 0:
		if err := identity.AuthorizeUnknown(ctx); err != nil {
			return nil, err
		}
		return nil, At(field, fmt.Errorf("%w: no store has the name %q, and it is no id", ErrStoreNotFound, store))
	default:
		ids := make([]string, 0, len(named))
		for _, s := range named {
			if len(ids) == 10 {
				ids = append(ids, fmt.Sprintf("and %d more", len(named)-10))
				break
			}
			ids = append(ids, s.ID().String())
		}
		return nil, At(field, fmt.Errorf("%w: %q is the name of %s; give one of these ids", ErrStoreAmbiguous, store, strings.Join(ids, ", ")))
	}
}

// OpenStore is FindStore by an id that has been read. ErrStoreNotFound says that there is
// no such store.
func OpenStore(ctx context.Context, root *fsm.Root, id fsm.StoreID) (*fsm.Store, error) {
	s, ok := root.Store(id)
	if !ok || id == SystemStore {
		if err := identity.AuthorizeUnknown(ctx); err != nil {
			return nil, err
		}
		return nil, ErrStoreNotFound
	}
	if err := identity.Authorize(ctx, id); err != nil {
		return nil, err
	}
	return s, nil
}

// Stores calls visit with the stores behind an id that the caller of the context may know
// of, in the order of their ids, until it returns false.
func Stores(ctx context.Context, root *fsm.Root, after fsm.StoreID, visit func(*fsm.Store) bool) {
	identity.Filtered(ctx) // also when there is none to be asked about
	root.Stores(after, func(s *fsm.Store) bool {
		return s.ID() == SystemStore || !identity.Visible(ctx, s.ID()) || visit(s)
	})
}

// StoresNamed is Stores for those that bear a name.
func StoresNamed(ctx context.Context, root *fsm.Root, name string) []*fsm.Store {
	return slices.DeleteFunc(slices.Clone(root.StoresNamed(name)), func(s *fsm.Store) bool {
		return s.ID() == SystemStore || !identity.Visible(ctx, s.ID())
	})
}

// Token is the text of the token of a revision.
func (r *Reader) Token(revision graph.Revision) string {
	t := token.Token{Epoch: r.Epoch(), Revision: uint64(revision)}
	if last := r.newest.Load(); last != nil && last.token == t {
		return last.text
	}
	text := t.String()
	r.newest.Store(&tokenText{t, text})
	return text
}

// Epoch is the cluster's, as tokens hold it.
func (r *Reader) Epoch() [16]byte { return EpochOf(r.Config.State.Current()) }

// EpochOf is the epoch of a state, as tokens hold it.
func EpochOf(root *fsm.Root) (e [16]byte) {
	binary.BigEndian.PutUint64(e[8:], root.Epoch())
	return e
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
