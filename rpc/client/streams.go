package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

const (
	// defaultHeartbeat is how often a watch gives a sign of life unless it is told
	// otherwise, and silences are how many it may miss.
	defaultHeartbeat = 15 * time.Second
	silences         = 3
	// exportSilence is how long an export may bring nothing.
	exportSilence = time.Minute
)

// errSilent says that a stream brought nothing for too long.
var errSilent = errors.New("the server has fallen silent")

// Watch yields what a watch sends. A stream that breaks is opened again where it ended, on
// another node if need be, so that nothing is missed and nothing comes twice; only the
// message that begins a stream comes again with each. What the context ends, and what no
// repetition mends, is the error that is yielded last. To go on later, pass the resume of
// the last message that was dealt with.
func (c *Client) Watch(ctx context.Context, req *remitv1.WatchRequest) iter.Seq2[*remitv1.WatchResponse, error] {
	beat := defaultHeartbeat
	if req.GetHeartbeat() != nil {
		beat = req.GetHeartbeat().AsDuration()
	}
	return func(yield func(*remitv1.WatchResponse, error) bool) {
		again := proto.CloneOf(req)
		follow(ctx, c.repeat, silences*beat, yield,
			func(ctx context.Context) (func() (*remitv1.WatchResponse, error), error) {
				stream, err := c.Watches.Watch(ctx, again)
				if err != nil {
					return nil, err
				}
				return stream.Receive, nil
			},
			func(m *remitv1.WatchResponse) {
				if m.GetResume() != "" {
					again.From = &remitv1.WatchRequest_Resume{Resume: m.GetResume()}
				}
			})
	}
}

// OwnerNotices yields what WatchOwned sends: what others do with an owner's records, and signs
// of life, which have no notices. Streams that break are opened again as those of a Watch
// are. To go on later, pass the token of the last message that was dealt with.
func (c *Client) OwnerNotices(ctx context.Context, req *remitv1.WatchOwnedRequest) iter.Seq2[*remitv1.WatchOwnedResponse, error] {
	return func(yield func(*remitv1.WatchOwnedResponse, error) bool) {
		again := proto.CloneOf(req)
		follow(ctx, c.repeat, silences*defaultHeartbeat, yield,
			func(ctx context.Context) (func() (*remitv1.WatchOwnedResponse, error), error) {
				stream, err := c.Organisations.WatchOwned(ctx, again)
				if err != nil {
					return nil, err
				}
				return stream.Receive, nil
			},
			func(m *remitv1.WatchOwnedResponse) { again.Token = m.GetToken() })
	}
}

// Export yields the parts of a store at one revision. A stream that breaks is opened again
// where it ended, as long as the revision is kept. Without an error at the end the export
// is complete.
func (c *Client) Export(ctx context.Context, req *remitv1.ExportRequest) iter.Seq2[*remitv1.ExportResponse, error] {
	return func(yield func(*remitv1.ExportResponse, error) bool) {
		again := proto.CloneOf(req)
		follow(ctx, c.repeat, exportSilence, yield,
			func(ctx context.Context) (func() (*remitv1.ExportResponse, error), error) {
				stream, err := c.Transfers.Export(ctx, again)
				if err != nil {
					return nil, err
				}
				return stream.Receive, nil
			},
			func(m *remitv1.ExportResponse) {
				if m.GetResume() != "" {
					again.Resume, again.Consistency = m.GetResume(), nil
				}
			})
	}
}

// follow yields what streams bring, one opened after the other where the last ended: seen is
// told of each message that was dealt with. One that comes makes the number of attempts begin
// anew.
func follow[T any](
	ctx context.Context, r *repeater, patience time.Duration, yield func(T, error) bool,
	open func(context.Context) (receive func() (T, error), err error), seen func(T),
) {
	pause := r.config.Pause
	for attempt := 1; ; attempt++ {
		came, stopped, err := readStream(ctx, patience, yield, open, seen)
		if stopped || err == nil {
			return
		}
		if came {
			attempt, pause = 1, r.config.Pause
		}
		if ctx.Err() != nil || attempt >= r.attempts() || !r.worthFollowing(err) {
			var none T
			yield(none, err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// readStream yields what one stream brings. That it is complete is no error.
func readStream[T any](
	ctx context.Context, patience time.Duration, yield func(T, error) bool,
	open func(context.Context) (receive func() (T, error), err error), seen func(T),
) (came, stopped bool, err error) {
	bound, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(patience, func() { cancel(errSilent) })
	defer silence.Stop()
	receive, err := open(bound)
	for err == nil {
		var message T
		if message, err = receive(); err != nil {
			break
		}
		came = true
		// The time that the caller takes is not the server's.
		silence.Stop()
		if !yield(message, nil) {
			return true, true, nil
		}
		silence.Reset(patience)
		seen(message)
	}
	switch {
	case errors.Is(err, io.EOF):
		return came, false, nil
	case errors.Is(context.Cause(bound), errSilent):
		err = connect.NewError(connect.CodeUnavailable, fmt.Sprintf("%v: nothing came for %s", errSilent, patience)).WithCause(errSilent)
	}
	return came, false, err
}

// worthFollowing reports whether a stream that ended may go on when it is opened anew.
func (r *repeater) worthFollowing(err error) bool {
	if Reason(err) == remitv1.ErrorReason_ERROR_REASON_SLOW_READER || errors.Is(err, errSilent) {
		return true
	}
	return r.judge(err, true).again
}
