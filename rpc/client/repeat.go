package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"net"
	"syscall"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A repeater makes calls anew that failed for a reason that passes.
type repeater struct {
	config *Config
	nodes  *nodes
}

// intercept stands outermost. Calls of one request are repeated until the first answer;
// those that send many messages are made once, for only their sender has the messages.
func (r *repeater) intercept(next connect.ClientFunc) connect.ClientFunc {
	return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
		if spec.StreamType == connect.StreamTypeUnary || spec.StreamType == connect.StreamTypeServer {
			return &repeated{repeater: r, ctx: ctx, spec: spec, next: next}, nil
		}
		to := r.nodes.pick()
		stream, err := next(context.WithValue(ctx, nodeKey{}, to), spec)
		if err != nil {
			r.judge(err, false).apply(r.nodes, to)
			return nil, err
		}
		return &once{stream, r, to}, nil
	}
}

// A once stream tells how its node fares.
type once struct {
	connect.ClientStream
	repeater *repeater
	to       *node
}

// Receive reads an answer.
func (o *once) Receive(msg any) error {
	err := o.ClientStream.Receive(msg)
	if err == nil || errors.Is(err, io.EOF) {
		o.to.answered.Store(true)
	} else {
		o.repeater.judge(err, false).apply(o.repeater.nodes, o.to)
	}
	return err
}

// A repeated call is sent when its answer is first asked for, as often as it takes.
type repeated struct {
	repeater *repeater
	ctx      context.Context //nolint:containedctx // a stream lives as long as its call
	spec     connect.Spec
	next     connect.ClientFunc

	request any
	safe    bool // sending it twice does what sending it once does

	stream connect.ClientStream // of the attempt that was answered
	cancel context.CancelFunc   // of its context
}

// SendHeaders waits for the request, too.
func (c *repeated) SendHeaders() error { return nil }

// Send keeps the request.
func (c *repeated) Send(msg any) error {
	c.request, c.safe = msg, c.spec.IdempotencyLevel != connect.IdempotencyUnknown
	if m, ok := msg.(proto.Message); ok && !c.safe {
		c.request, c.safe = keyed(m)
	}
	return nil
}

// CloseSend has nothing to close.
func (c *repeated) CloseSend() error { return nil }

// Receive makes the call, or reads on once it was answered.
func (c *repeated) Receive(res any) error {
	if c.stream != nil {
		return c.stream.Receive(res)
	}
	pause := c.repeater.config.Pause
	var refused error // what a server has said, if nothing was sent to one since
	for attempt := 1; ; attempt++ {
		to := c.repeater.nodes.pick()
		err := c.attempt(to, res)
		if err == nil || errors.Is(err, io.EOF) {
			to.answered.Store(true)
			return err
		}
		if c.ctx.Err() != nil {
			return err
		}
		v := c.repeater.judge(err, c.safe)
		if to.misplaced(err) != "" {
			v = verdict{shun: true} // another attempt would meet the same port
		}
		v.apply(c.repeater.nodes, to)
		if v.shun {
			err = to.named(err)
		}
		var said *connect.Error
		switch {
		case errors.As(err, &said) && said.IsRemote():
			refused = err
		case !unsent(err):
			refused = nil
		}
		if !v.again || attempt >= c.repeater.attempts() {
			if refused != nil {
				return refused // why a server does not do it, rather than that another is down
			}
			return err
		}
		// At random, so that many clients do not come back all at once.
		wait := max(pause-mathrand.N(pause/2+1), v.after)
		pause = min(2*pause, maxPause)
		select {
		case <-c.ctx.Done():
			return err // why it could not be answered says more than that time is up
		case <-time.After(wait):
		}
		if m, ok := res.(proto.Message); ok {
			proto.Reset(m)
		}
	}
}

// attempts is how often a call is made at most. Where nothing ever listened, and that is
// not to be waited for, each node is asked once.
func (r *repeater) attempts() int {
	if r.config.FailFast && !r.nodes.known() {
		return min(r.config.Attempts, len(r.nodes.all))
	}
	return r.config.Attempts
}

// attempt makes the call once. The stream of one that is answered stays open.
func (c *repeated) attempt(to *node, res any) (err error) {
	ctx := context.WithValue(c.ctx, nodeKey{}, to)
	cancel := context.CancelFunc(func() {})
	if bound := c.repeater.config.AttemptTimeout; bound > 0 && c.spec.StreamType == connect.StreamTypeUnary {
		ctx, cancel = context.WithTimeout(ctx, bound)
	}
	stream, err := c.next(ctx, c.spec)
	if err != nil {
		cancel()
		return err
	}
	err = stream.Send(c.request)
	// A server that refuses without reading ends the sending; why, it says in its answer.
	if err == nil || errors.Is(err, io.EOF) {
		if err = stream.CloseSend(); err == nil {
			err = stream.Receive(res)
		}
	}
	if err != nil {
		cancel()
		if errors.Is(err, io.EOF) && c.spec.StreamType != connect.StreamTypeUnary {
			c.stream, c.cancel = stream, cancel // an empty stream, whose trailers may be wanted
			return err
		}
		_ = stream.Close() // it failed already
		return err
	}
	c.stream, c.cancel = stream, cancel
	return nil
}

// Close ends the call.
func (c *repeated) Close() error {
	if c.stream == nil {
		return nil
	}
	defer c.cancel()
	return c.stream.Close()
}

// keyed is a request with an idempotency key, if it has room for one: the caller's own, or
// one that is made for it. The caller's message stays as it is, since it may be sent again
// as another call.
func keyed(m proto.Message) (request any, safe bool) {
	r := m.ProtoReflect()
	field := r.Descriptor().Fields().ByName("idempotency_key")
	if field == nil {
		return m, false
	}
	if r.Get(field).String() != "" {
		return m, true
	}
	copied := r.New()
	r.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		copied.Set(f, v)
		return true
	})
	copied.Set(field, protoreflect.ValueOfString(rand.Text()))
	return copied.Interface(), true
}

// A verdict is what follows from a failed attempt.
type verdict struct {
	again bool          // the same call may do better
	after time.Duration // but not before
	shun  bool          // and rather elsewhere
}

func (v verdict) apply(all *nodes, to *node) {
	if v.shun {
		all.failed(to)
	}
}

// judge says what follows from an error. What may have been done is done again only if
// that is safe.
func (r *repeater) judge(err error, safe bool) verdict {
	var e *connect.Error
	if errors.As(err, &e) && e.IsRemote() {
		detail := Detail(err)
		after := detail.GetRetryAfter().AsDuration()
		switch detail.GetReason() {
		case remitv1.ErrorReason_ERROR_REASON_NO_LEADER, remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
			remitv1.ErrorReason_ERROR_REASON_OVERLOADED, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE,
			remitv1.ErrorReason_ERROR_REASON_IDENTITY_UNAVAILABLE:
			// Refused before anything was done, and not for ever.
			passing := e.Code() == connect.CodeUnavailable || e.Code() == connect.CodeResourceExhausted
			return verdict{again: passing, after: after, shun: passing}
		case remitv1.ErrorReason_ERROR_REASON_RATE_LIMITED:
			return verdict{again: after <= maxPause, after: after} // every node counts alike
		case remitv1.ErrorReason_ERROR_REASON_ABORTED:
			return verdict{again: true}
		}
		if e.Code() == connect.CodeUnavailable { // of a proxy, or with an unknown outcome
			return verdict{again: safe, after: after, shun: true}
		}
		if e.Code() == connect.CodeDeadlineExceeded && r.config.AttemptTimeout > 0 {
			return verdict{again: safe, shun: true} // the server's clock was the first to end the attempt
		}
		return verdict{}
	}
	if unknown := (*tls.CertificateVerificationError)(nil); errors.As(err, &unknown) {
		return verdict{shun: true} // another attempt would meet the same certificate
	}
	if unsent(err) {
		return verdict{again: true, shun: true}
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodeInvalidArgument, connect.CodeResourceExhausted, connect.CodeUnimplemented:
		return verdict{} // of this program: no credentials, or a message that cannot be sent or read
	}
	// The connection broke, which transports tell in many ways, or the attempt took too
	// long: the call's own context is not done.
	return verdict{again: safe, shun: true}
}

// unsent reports whether nobody was reached, so that nothing can have happened.
func unsent(err error) bool {
	var dial *net.OpError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dial) && dial.Op == "dial"
}
