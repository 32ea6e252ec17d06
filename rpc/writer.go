package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// modelScope is the scope that every new model bumps, and that a write judged by the
// newest model requires: a model written meanwhile makes the write be judged anew.
const modelScope = "model"

// A Writer turns changes into commands, proposes them, and plans them anew when others
// changed what they rest on. It is the only way in which anything is written.
type Writer struct {
	reader *reader
}

// A Plan makes the command of a change at the newest state. It is called again when
// the state has moved on in a way that matters to the command.
type Plan func(root *fsm.Root) (*fsm.Command, error)

// Do carries a change out. A refusal by the state machine is an error that unwraps to
// one of fsm's; others are those of the Plan and of the Proposer.
func (w *Writer) Do(ctx context.Context, plan Plan) (*fsm.Result, error) {
	for attempt := 0; ; attempt++ {
		command, err := plan(w.reader.config.State.Current())
		if err != nil {
			return nil, err
		}
		result, err := w.propose(ctx, command)
		switch {
		case err != nil:
			return nil, err
		case result.Err == nil:
			return result, nil
		case !errors.Is(result.Err, fsm.ErrScope):
			return nil, result.Err
		case attempt == maxReplans:
			return nil, fmt.Errorf("%w: planned %d times: %w", ErrAborted, attempt+1, result.Err)
		}
		// This node may lag behind the one that refused.
		if err := w.reader.waitFor(ctx, result.Revision); err != nil {
			return nil, err
		}
	}
}

func (w *Writer) propose(ctx context.Context, command *fsm.Command) (*fsm.Result, error) {
	encoded, err := command.Encode()
	if err != nil {
		return nil, err
	}
	answer, err := w.reader.config.Node.Propose(ctx, encoded)
	if err != nil {
		return nil, err
	}
	return fsm.DecodeResult(answer)
}

// replayed finds the answer of an earlier write with this command's key and content.
// A retry must get it even if the write could not be planned any more. It proposes a
// write that can never take effect: of two with one key, only the first does anything.
func (w *Writer) replayed(ctx context.Context, store fsm.StoreID, key string, hash [32]byte) (*fsm.Result, bool, error) {
	if key == "" {
		return nil, false, nil
	}
	result, err := w.propose(ctx, &fsm.Command{
		Store: store, Key: key, Hash: hash, Body: &fsm.Write{},
		Requires: []fsm.ScopeVersion{{Scope: modelScope, Version: math.MaxUint64}},
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

// requestID is the id that a client gave its request, for the audit trail.
func requestID(ctx context.Context) string {
	info, ok := connect.CallInfoForServerContext(ctx)
	if !ok {
		return ""
	}
	id := info.RequestHeader().Get("X-Request-Id")
	return id[:min(len(id), 128)]
}

// A contentHash digests what a client wants written, so that a retry can be told from
// another write under the same key. It sees the request's values one after the other;
// unlike the bytes of a message they are the same in every release.
type contentHash struct {
	sum hash.Hash
	buf []byte
}

func newContentHash(kind string) *contentHash {
	h := &contentHash{sum: sha256.New()}
	h.string(kind)
	return h
}

func (h *contentHash) string(s string) {
	h.buf = binary.AppendUvarint(h.buf[:0], uint64(len(s)))
	h.buf = append(h.buf, s...)
	h.sum.Write(h.buf)
}

func (h *contentHash) int(i int64) {
	h.buf = binary.AppendVarint(h.buf[:0], i)
	h.sum.Write(h.buf)
}

func (h *contentHash) tuple(t graph.Tuple) {
	h.string(t.Object.String())
	h.string(t.Relation)
	h.string(t.Subject.String())
	h.string(t.Condition)
	if t.Expires.IsZero() {
		h.int(0)
	} else {
		h.int(t.Expires.UnixMilli())
	}
	// What cannot be encoded is refused before anything is compared.
	encoded, _ := value.Encode(t.Context)
	h.string(string(encoded))
}

func (h *contentHash) done() (sum [32]byte) {
	h.sum.Sum(sum[:0])
	return sum
}
