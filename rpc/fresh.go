package rpc

import (
	"context"
	"math"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/token"
)

// freshInterceptor lets a call begin once this node shows the state of the token in its
// header, if it has one: so a client that carries its newest token sees no older state
// than it saw, on whichever node and in whichever call. What a request says itself of the
// state that it wants comes on top of that.
//
// Where this node does not lead, the answer to a read says how old it may be.
func freshInterceptor(r *reader) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			if info, ok := connect.CallInfoForServerContext(ctx); ok {
				if text := info.RequestHeader().Get(token.Header); text != "" {
					if err := r.AtLeast(ctx, text); err != nil {
						return at(token.Header, err)
					}
				}
				if spec.IdempotencyLevel == connect.IdempotencyNoSideEffects {
					if stale := r.Config.Node.Staleness(); stale > 0 {
						stream = &staleStream{ServerStream: stream, info: info, stale: stale, since: time.Now()}
					}
				}
			}
			return next(ctx, spec, stream)
		}
	}
}

// A staleStream tells how old its first answer may be. What is read is read after the call
// began: so it lacks at most what was lacking then, and what has been acknowledged since.
type staleStream struct {
	connect.ServerStream
	info  *connect.CallInfo
	stale time.Duration // when the call began
	since time.Time     // when it did; zero once it has been told
}

// Send sends an answer.
func (s *staleStream) Send(msg any) error {
	s.tell()
	return s.ServerStream.Send(msg)
}

// SendHeaders flushes the headers.
func (s *staleStream) SendHeaders() error {
	s.tell()
	return s.ServerStream.SendHeaders()
}

func (s *staleStream) tell() {
	if s.since.IsZero() {
		return
	}
	took := time.Since(s.since)
	s.since = time.Time{}
	stale := s.stale + min(took, math.MaxInt64-s.stale)
	ms := int64(stale / time.Millisecond)
	if stale%time.Millisecond > 0 {
		ms++
	}
	s.info.ResponseHeader().Set(token.StalenessHeader, strconv.FormatInt(ms, 10))
}
