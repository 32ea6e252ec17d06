package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A finalError ends a stream for a reason of our own: to open it again mends nothing.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// errStalled says that a stream brought nothing for too long.
var errStalled = errors.New("the server has fallen silent")

// following opens a stream, and opens it again where it ended if that may help. The
// function reads one stream and says whenever something has come: a stream that brings
// nothing for longer than --timeout, or than patience, is given up.
func (a *app) following(ctx context.Context, patience time.Duration, read func(ctx context.Context, alive func()) error) error {
	patience = max(patience, a.timeout)
	pause := firstPause
	for attempt := 1; ; attempt++ {
		bound, cancel := context.WithCancelCause(ctx)
		silence := time.AfterFunc(patience, func() { cancel(errStalled) })
		err := read(bound, func() {
			silence.Reset(patience)
			a.answered = true
			attempt, pause = 1, firstPause
		})
		silence.Stop()
		silent := errors.Is(context.Cause(bound), errStalled)
		cancel(nil)
		var final *finalError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return final.err
		case ctx.Err() != nil:
			return err
		case silent:
			err = fmt.Errorf("%w: nothing came from %s for %s", errStalled, a.asked, patience)
		}
		if attempt == maxAttempts || !silent && !a.worthFollowing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
			pause *= 2
		}
	}
}

// worthFollowing reports whether a stream that ended may go on when it is opened anew.
func (a *app) worthFollowing(err error) bool {
	if a.worthRepeating(err) || hasReason(err, remitv1.ErrorReason_ERROR_REASON_SLOW_READER) {
		return true
	}
	// A server that dies leaves a stream without an end, which transports tell in many ways.
	var e *connect.Error
	return a.answered && (!errors.As(err, &e) || !e.IsRemote())
}
