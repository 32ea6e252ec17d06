package openfga

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// A dispatcher stands between every protocol and the handlers.
type dispatcher struct {
	config *Config
}

// intercept is the one interceptor of the server: it bounds, describes and validates a
// call, and turns its error into what the caller's protocol sends. A panic ends the
// request alone: one question must not take down a node that others depend on.
func (d *dispatcher) intercept(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		info, ok := connect.CallInfoForServerContext(ctx)
		if !ok {
			info = &connect.CallInfo{} // a handler that a test calls by itself
		}
		info.Spec = spec // not every transport has said so; the log of decisions does
		defer func() {
			switch r := recover(); r {
			case nil:
			case http.ErrAbortHandler:
				panic(r)
			default:
				d.config.Log.ErrorContext(ctx, "panic", "procedure", spec.Procedure, "panic", r, "stack", string(debug.Stack()))
				err = wire(info, errInternal)
			}
		}()
		if d.config.RequestTimeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, d.config.RequestTimeout)
			defer cancel()
		}
		c := &call{ServerStream: stream, info: info, limit: d.config.MaxMessageBytes, start: time.Now()}
		c.set(HeaderRequestID, &c.request, requestIDFor(spec.Procedure, info))
		// Nothing is done for a caller who has left.
		if err = ctx.Err(); err == nil {
			err = next(ctx, spec, c)
		}
		if err == nil {
			return nil
		}
		c.stamp()
		e, ok := lookup(err)
		if !ok {
			d.config.Log.ErrorContext(ctx, "internal error", "procedure", spec.Procedure, "error", err)
		}
		return wire(info, e)
	}
}

// wire is an error as a protocol sends it. The HTTP interface and callers in process
// get it as it is.
func wire(info *connect.CallInfo, e *Error) error {
	switch info.Protocol {
	case connect.ProtocolNameGRPC, connect.ProtocolNameGRPCWeb:
		return e.raw()
	case connect.ProtocolNameConnect:
		return e.standard()
	}
	return e
}

// A call is the stream of one call.
type call struct {
	connect.ServerStream
	info  *connect.CallInfo
	limit int // bytes of a request
	start time.Time
	sent  bool

	// The values of headers that every call has, kept here to spare each an allocation.
	request, store, duration [1]string
}

// set sets a header of the answer to a value that is kept in the call.
func (c *call) set(key string, room *[1]string, value string) {
	room[0] = value
	c.info.ResponseHeader().SetValues(key, room[:])
}

// A request is what every message of a request can do. Its own methods say which store
// it is about, and whether it keeps the rules of the protocol's fields.
type request interface {
	proto.Message
	ValidateAll() error
}

// Receive reads a request and validates it. The store is told to the client as the
// request names it, whether there is such a store or not.
func (c *call) Receive(msg any) error {
	if err := c.ServerStream.Receive(msg); err != nil {
		return err
	}
	req, ok := msg.(request)
	if !ok {
		return fmt.Errorf("%T is no request", msg)
	}
	if r, ok := msg.(interface{ GetStoreId() string }); ok {
		c.set(HeaderStoreID, &c.store, headerValue(r.GetStoreId()))
	}
	if size := proto.Size(req); size > c.limit {
		return errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", size, c.limit)
	}
	if err := req.ValidateAll(); err != nil {
		return newError(codes.InvalidArgument, err.Error())
	}
	return nil
}

// Send sends an answer.
func (c *call) Send(msg any) error {
	c.stamp()
	return c.ServerStream.Send(msg)
}

// SendHeaders flushes the headers.
func (c *call) SendHeaders() error {
	c.stamp()
	return c.ServerStream.SendHeaders()
}

// stamp notes how long the first answer took, while headers can still be set.
func (c *call) stamp() {
	if c.sent {
		return
	}
	c.sent = true
	c.set(HeaderQueryDuration, &c.duration, strconv.FormatInt(time.Since(c.start).Milliseconds(), 10))
}

// requestID names a request, as a random UUID. It is no secret, so it need not cost a
// call of the operating system.
func requestID() string {
	const hex = "0123456789abcdef"
	hi, lo := rand.Uint64(), rand.Uint64()
	hi = hi&^0xf000 | 0x4000 // version 4
	lo = lo&^(3<<62) | 2<<62 // variant 1
	var id [36]byte
	for i := range id {
		switch i {
		case 8, 13, 18, 23:
			id[i] = '-'
			continue
		}
		hi, lo, id[i] = hi<<4|lo>>60, lo<<4, hex[hi>>60]
	}
	return string(id[:])
}

// maxHeaderValue is how many bytes of a request's text an answer's header returns: far more
// than an id has, and less than would make a client or a proxy refuse the answer.
const maxHeaderValue = 256

// headerValue is a text as a header can carry it: what no header may hold is left out, and
// what is beyond a length.
func headerValue(s string) string {
	s = s[:min(len(s), maxHeaderValue)]
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return headerValueSlow(s)
		}
	}
	return s
}

func headerValueSlow(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] >= ' ' && s[i] <= '~' {
			b = append(b, s[i])
		}
	}
	return string(b)
}
