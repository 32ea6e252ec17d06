package backend

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
)

// ModelScope is the scope that every new model bumps, and that a write judged by the
// newest model requires: a model written meanwhile makes the write be judged anew.
const ModelScope = "model"

// A Writer turns changes into commands, proposes them, and plans them anew when others
// changed what they rest on. It is the only way in which anything is written.
type Writer struct {
	reader *Reader
	system bool // it may write to the system store: the keyring's
}

// NewWriter makes a writer. It plans by the newest state that the reader knows.
func NewWriter(r *Reader) *Writer { return &Writer{reader: r} }

// A Change makes the command of a change at the newest state that this node shows. It is
// called again when the state has moved on in a way that matters to the command. If it
// refuses, it is asked once more in a state that shows every write acknowledged before the
// call: what a client wrote on another node a moment ago must not be unknown here. Without a
// command there is nothing to write.
type Change func(root *fsm.Root) (*fsm.Command, error)

// Do carries a change out, on behalf of the context's caller, and waits a little until this
// node shows it. A refusal by the state machine is an error that unwraps to one of fsm's;
// others are those of the Change and of the Proposer. The result is nil if there was nothing
// to write. There is no system store for it, but for the keyring's.
//
// While there is no leader it waits for one, for at most LeaderTimeout, and a command that
// bears a key is proposed again if its outcome is unknown. So neither a transfer of
// leadership nor the loss of a leader is an error for a write with a key, and for one
// without only the loss is, if it was under way.
func (w *Writer) Do(ctx context.Context, plan Change) (*fsm.Result, error) {
	s := submission{reader: w.reader}
	fresh, sought := false, false
	for attempt := 0; ; attempt++ {
		if err := limit.Enter(ctx); err != nil {
			return nil, err
		}
		command, err := w.plan(plan)
		if err != nil && !fresh && mayBeStale(err) {
			if err := w.reader.CatchUp(ctx); err != nil {
				return nil, s.stillOpen(err)
			}
			fresh = true
			command, err = w.plan(plan)
		}
		if err != nil {
			return nil, s.stillOpen(err)
		}
		if command == nil {
			return nil, nil
		}
		if command.Store == SystemStore && !w.system {
			return nil, ErrStoreNotFound // as it is for every reader
		}
		result, err := s.propose(ctx, command)
		switch {
		case err != nil:
			return nil, err
		case result.Err == nil:
			return result, nil
		case errors.Is(result.Err, fsm.ErrStoreNotFound) && !sought:
			sought = true // another one may bear the name by now
		case !outdated(command, result.Err):
			return nil, s.stillOpen(result.Err)
		case attempt == MaxReplans:
			return nil, s.stillOpen(fmt.Errorf("%w: planned %d times: %w", ErrAborted, attempt+1, result.Err))
		}
		// This node may lag behind the one that refused.
		if err := w.reader.WaitFor(ctx, result.Revision); err != nil {
			return nil, s.stillOpen(err)
		}
	}
}

// plan asks a Change for its command, which nodes of the cluster can follow.
func (w *Writer) plan(change Change) (*fsm.Command, error) {
	root := w.reader.Config.State.Current()
	command, err := change(root)
	if err == nil && command != nil {
		err = supported(root, command)
	}
	return command, err
}

// outdated reports whether a command was refused because what it was planned by has changed
// since. The preconditions of a planner are what it has read; those of others are what
// their callers ask for.
func outdated(command *fsm.Command, refusal error) bool {
	return errors.Is(refusal, fsm.ErrScope) || command.Planned && errors.Is(refusal, fsm.ErrPrecondition)
}

// mayBeStale reports whether a Change that refuses might not in a newer state.
func mayBeStale(err error) bool {
	return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) &&
		!errors.Is(err, identity.ErrForbidden)
}

// propose proposes a command that needs no plan.
func (w *Writer) propose(ctx context.Context, command *fsm.Command) (*fsm.Result, error) {
	s := submission{reader: w.reader}
	result, err := s.propose(ctx, command)
	if err == nil && result.Err != nil && s.open != nil {
		return nil, s.stillOpen(result.Err)
	}
	return result, err
}

// A submission is a change on its way. It may be proposed several times.
type submission struct {
	reader *Reader
	open   error // an earlier proposal has this unknown outcome, and may still take effect
}

// propose says on whose behalf the command is, proposes it, and waits until this node shows
// what it did: that it does not in time is no error, for it is done.
func (s *submission) propose(ctx context.Context, command *fsm.Command) (*fsm.Result, error) {
	if err := stamp(ctx, command); err != nil {
		return nil, err
	}
	encoded, err := command.Encode()
	if err != nil {
		return nil, err
	}
	limit.Leave(ctx) // planning takes the processor, replicating does not
	ctx, span := s.reader.Config.Tracer.Start(ctx, "propose")
	answer, err := s.submit(ctx, encoded, command.Key != "")
	span.End(err)
	if err != nil {
		return nil, err
	}
	result, err := fsm.DecodeResult(answer)
	if err == nil && result.Err == nil {
		s.reader.show(ctx, result.Revision)
	}
	return result, err
}

// submit proposes until there is an answer, as long as that is safe: nothing happened, or
// the command's key makes sure that it takes effect once. A command without a key could be
// given one here, but that would keep two rows, of some 200 bytes together, for a day for
// every write, so that the few that are under way when a leader is lost need not be made
// again by those who made them. Whoever wants that brings a key, as the client for Go does.
func (s *submission) submit(ctx context.Context, command []byte, keyed bool) ([]byte, error) {
	p := s.reader.patience()
	for {
		answer, err := s.reader.Config.Node.Propose(ctx, command)
		switch {
		case err == nil:
			return answer, nil
		case errors.Is(err, cluster.ErrUnknownOutcome):
			if s.open = err; !keyed {
				return nil, err
			}
		case !errors.Is(err, cluster.ErrNoLeader):
			return nil, s.stillOpen(err)
		}
		if !p.wait(ctx) {
			return nil, s.stillOpen(err)
		}
	}
}

// stillOpen is an error that says that nothing happened, unless an earlier proposal might
// still take effect: then that is what the caller must know.
func (s *submission) stillOpen(err error) error {
	if s.open == nil || errors.Is(err, cluster.ErrUnknownOutcome) {
		return err
	}
	return fmt.Errorf("%w; when it was repeated: %s", s.open, err.Error())
}

// show waits until this node shows a revision, for at most ShowTimeout.
func (r *Reader) show(ctx context.Context, revision graph.Revision) {
	if r.Config.State.Current().Revision() >= revision {
		return
	}
	ctx, span := r.Config.Tracer.Start(ctx, "show revision")
	bound, cancel := context.WithTimeout(ctx, ShowTimeout)
	defer cancel()
	span.End(r.Config.State.Published(bound, uint64(revision)))
}

// Replayed finds the answer of an earlier write with this command's key and content.
// A retry must get it even if the write could not be planned any more. It proposes a
// write that can never take effect: of two with one key, only the first does anything.
func (w *Writer) Replayed(ctx context.Context, store fsm.StoreID, key string, hash [32]byte) (*fsm.Result, bool, error) {
	if key == "" {
		return nil, false, nil
	}
	result, err := w.propose(ctx, &fsm.Command{
		Store: store, Key: key, Hash: hash, Body: &fsm.Write{},
		Requires: []fsm.ScopeVersion{{Scope: ModelScope, Version: math.MaxUint64}},
	})
	switch {
	case err != nil:
		return nil, false, err
	case result.Err == nil && result.Replayed:
		return result, true, nil
	case errors.Is(result.Err, fsm.ErrIdempotencyConflict):
		return nil, false, result.Err
	default:
		return nil, false, nil
	}
}

// A ContentHash digests what a client wants written, so that a retry can be told from
// another write under the same key. It sees the request's values one after the other;
// unlike the bytes of a message they are the same in every release.
type ContentHash struct {
	sum hash.Hash
	buf []byte
}

// NewContentHash begins the digest of a kind of change.
func NewContentHash(kind string) *ContentHash {
	h := &ContentHash{sum: sha256.New()}
	h.String(kind)
	return h
}

// String adds a text.
func (h *ContentHash) String(s string) {
	h.buf = binary.AppendUvarint(h.buf[:0], uint64(len(s)))
	h.buf = append(h.buf, s...)
	h.sum.Write(h.buf)
}

// Int adds a number.
func (h *ContentHash) Int(i int64) {
	h.buf = binary.AppendVarint(h.buf[:0], i)
	h.sum.Write(h.buf)
}

// Tuple adds a tuple with all that is stored with it.
func (h *ContentHash) Tuple(t graph.Tuple) {
	h.String(t.Object.String())
	h.String(t.Relation)
	h.String(t.Subject.String())
	h.String(t.Condition)
	if t.Expires.IsZero() {
		h.Int(0)
	} else {
		h.Int(t.Expires.UnixMilli())
	}
	// What cannot be encoded is refused before anything is compared.
	encoded, _ := value.Encode(t.Context)
	h.String(string(encoded))
}

// Done returns the digest.
func (h *ContentHash) Done() (sum [32]byte) {
	h.sum.Sum(sum[:0])
	return sum
}
