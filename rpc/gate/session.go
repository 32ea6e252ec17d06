package gate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/identity"
)

// A session is one call that was let in. It is the stream that the handler sees.
type session struct {
	connect.ServerStream
	gate          *Gate
	rule          rule
	authorization string // what the call brought; as secret as a password
	call          identity.Call

	mu    sync.Mutex
	ended error // why a lasting call may not go on; guarded by mu
}

// admit judges what can be judged before anything is read.
func (s *session) admit(procedure string) error {
	if s.rule.kind == cluster && !s.call.Caller.Grants.Cluster {
		return fmt.Errorf("%w: %s needs the grant cluster to call %s", identity.ErrForbidden, s.call.Caller.Principal, procedure)
	}
	return nil
}

// A named is a message of OpenFGA's or AuthZEN's that is about a store.
type named interface{ GetStoreId() string }

// Receive reads a message. If it names its store literally, the caller must be permitted
// what the call does there.
func (s *session) Receive(msg any) error {
	if err := s.fault(); err != nil {
		return err
	}
	if err := s.ServerStream.Receive(msg); err != nil {
		return err
	}
	if err := s.fault(); err != nil {
		return err
	}
	if !s.rule.literal {
		return nil
	}
	m, ok := msg.(named)
	if !ok {
		return fmt.Errorf("%T names no store, and its procedure needs a permission on one", msg)
	}
	return s.authorize(m.GetStoreId())
}

// authorize judges a message about a store. Of one that does not exist, those learn who
// may do the same with every store.
func (s *session) authorize(text string) error {
	id, err := fsm.ParseStoreID(text)
	if err != nil {
		id = fsm.StoreID{}
	}
	return s.call.Authorize(id)
}

// Send sends an answer, but none of a call that was to be authorized and was not.
func (s *session) Send(msg any) error {
	if err := s.fault(); err != nil {
		return err
	}
	if s.rule.kind == onStore && !s.call.Asked() {
		return errUnasked
	}
	return s.ServerStream.Send(msg)
}

// errUnasked is a fault of ours, and so no sentinel that a client is told of.
var errUnasked = errors.New("a call answers without having asked whether its caller may know")

// fault is why a lasting call may not go on.
func (s *session) fault() error {
	if !s.call.Lasting {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// last serves a call that lasts, and ends it when its credentials, or what it was
// permitted, are there no longer. The context ends then, so that a handler that waits is
// woken, and the caller learns why.
func (s *session) last(ctx context.Context, spec connect.Spec, next connect.ServerFunc) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.watch(ctx, cancel)
	}()
	err := next(ctx, spec, s)
	cancel()
	<-done
	if ended := s.fault(); ended != nil {
		return ended
	}
	return err
}

// watch judges the call again and again until ctx is done.
func (s *session) watch(ctx context.Context, cancel context.CancelFunc) {
	ticker := time.NewTicker(s.gate.recheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := s.judge(ctx)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.mu.Lock()
		s.ended = err
		s.mu.Unlock()
		cancel()
		return
	}
}

// judge authenticates the call anew and compares what its caller may do now with what it
// was permitted.
func (s *session) judge(ctx context.Context) error {
	caller, err := s.gate.authenticate(ctx, s.authorization)
	switch {
	case err != nil:
		return err
	case s.rule.kind == cluster && !caller.Grants.Cluster:
		return fmt.Errorf("%w: %s has lost the grant cluster", identity.ErrForbidden, caller.Principal)
	}
	return s.call.Lost(&caller.Grants)
}
