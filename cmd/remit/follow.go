package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/client"
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
// nothing for longer than --timeout, or than patience, is given up. One that is refused for its
// rate is opened when it may be, unless that takes longer than --timeout.
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
		told, limited := toldToWait(err)
		if attempt == maxAttempts || told > a.timeout || !silent && !limited && !a.worthFollowing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(pause, told)):
			pause *= 2
		}
	}
}

// toldToWait is how long to wait before the next attempt, if a stream was refused because its
// store or its caller has asked for too much of late.
func toldToWait(err error) (time.Duration, bool) {
	detail := client.Detail(err)
	return detail.GetRetryAfter().AsDuration(), detail.GetReason() == remitv1.ErrorReason_ERROR_REASON_RATE_LIMITED
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
