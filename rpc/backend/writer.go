package backend

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
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

// A Change makes the command of a change at the newest state. It is called again when
// the state has moved on in a way that matters to the command.
type Change func(root *fsm.Root) (*fsm.Command, error)

// Do carries a change out, on behalf of the context's caller. A refusal by the state
// machine is an error that unwraps to one of fsm's; others are those of the Change and of
// the Proposer. There is no system store for it, but for the keyring's.
func (w *Writer) Do(ctx context.Context, plan Change) (*fsm.Result, error) {
	for attempt := 0; ; attempt++ {
		if err := limit.Enter(ctx); err != nil {
			return nil, err
		}
		command, err := plan(w.reader.Config.State.Current())
		if err != nil {
			return nil, err
		}
		if command.Store == SystemStore && !w.system {
			return nil, ErrStoreNotFound // as it is for every reader
		}
		result, err := w.propose(ctx, command)
		switch {
		case err != nil:
			return nil, err
		case result.Err == nil:
			return result, nil
		case !errors.Is(result.Err, fsm.ErrScope):
			return nil, result.Err
		case attempt == MaxReplans:
			return nil, fmt.Errorf("%w: planned %d times: %w", ErrAborted, attempt+1, result.Err)
		}
		// This node may lag behind the one that refused.
		if err := w.reader.WaitFor(ctx, result.Revision); err != nil {
			return nil, err
		}
	}
}

// propose says on whose behalf the command is, and proposes it.
func (w *Writer) propose(ctx context.Context, command *fsm.Command) (*fsm.Result, error) {
	if err := stamp(ctx, command); err != nil {
		return nil, err
	}
	encoded, err := command.Encode()
	if err != nil {
		return nil, err
	}
	limit.Leave(ctx) // planning takes the processor, replicating does not
	ctx, span := w.reader.Config.Tracer.Start(ctx, "propose")
	answer, err := w.reader.Config.Node.Propose(ctx, encoded)
	span.End(err)
	if err != nil {
		return nil, err
	}
	return fsm.DecodeResult(answer)
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
