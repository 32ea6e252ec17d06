// Package observe counts, times and logs the calls of every face.
//
// What it keeps is bounded by the program: its labels are names of procedures and of
// codes, never those of stores, objects or subjects. What it logs names a store, but
// neither tuples nor errors, whose texts may hold some.
package observe

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A Selection is which calls are logged. Each includes those before it.
type Selection string

// The selections.
const (
	Off    Selection = "off"
	Errors Selection = "errors" // what failed
	Slow   Selection = "slow"   // and what took longer than Config.Slow
	All    Selection = "all"
)

// Selections are all there are.
func Selections() []string { return []string{string(Off), string(Errors), string(Slow), string(All)} }

// DefaultSlow is when a call is slow unless Config says otherwise: long behind what a
// question of ordinary size takes.
const DefaultSlow = 100 * time.Millisecond

// HeaderRequestID is by which a client, or a face, names a request.
const HeaderRequestID = "X-Request-Id"

// Config is what an Observer needs. The zero value counts and logs nothing.
type Config struct {
	// Metrics receives the metrics. Default: none are kept.
	Metrics prometheus.Registerer
	// Requests is which calls are logged. Default: Off.
	Requests Selection
	// Slow is how long a call takes that is slow. Default: DefaultSlow.
	Slow time.Duration
	// Log receives the calls. Default: none are logged.
	Log *slog.Logger
	// Outcome names the code of an error, as a face gives it to a transport. Default:
	// connect's codes.
	Outcome func(err error) string
}

// Validate reports every fault.
func (c *Config) Validate() error {
	if c.Requests != "" && !slices.Contains(Selections(), string(c.Requests)) {
		return fmt.Errorf("requests to log are %q, must be one of %s", c.Requests, strings.Join(Selections(), ", "))
	}
	if c.Slow < 0 {
		return fmt.Errorf("log-slow is %s, must not be negative", c.Slow)
	}
	return nil
}

// An Observer stands before the handlers of every face.
type Observer struct {
	config  Config
	logs    bool
	metrics *metrics         // nil: none are kept
	calls   map[string]*call // by procedure; complete before the first call
}

// New makes an observer. The configuration must be valid.
func New(config Config) *Observer {
	if config.Slow == 0 {
		config.Slow = DefaultSlow
	}
	if config.Outcome == nil {
		config.Outcome = func(err error) string { return connect.CodeOf(err).String() }
	}
	o := &Observer{config: config, calls: map[string]*call{}}
	o.logs = config.Log != nil && config.Requests != "" && config.Requests != Off
	if config.Metrics != nil {
		o.metrics = &metrics{edges: newHistogram(edgeCounts), calls: o.calls}
	}
	return o
}

// Interceptors are what a face puts before its own; none if there is nothing to observe.
func (o *Observer) Interceptors() []connect.ServerInterceptor {
	if o.metrics == nil && !o.logs {
		return nil
	}
	return []connect.ServerInterceptor{o.intercept}
}

// Know prepares for the procedures of faces, all of them at once, before any is called.
func (o *Observer) Know(servers ...*connect.Server) {
	for _, server := range servers {
		for spec := range server.Specs() {
			face, rpc := split(spec.Procedure)
			o.calls[spec.Procedure] = newCall(spec.Procedure, face, rpc)
		}
	}
	if o.metrics != nil {
		o.config.Metrics.MustRegister(o.metrics)
	}
}

// Visited is told how many edges each question visits; nil if nobody wants to know.
func (o *Observer) Visited() func(edges int) {
	if o.metrics == nil {
		return nil
	}
	edges := o.metrics.edges
	return func(n int) { edges.observe(int64(n)) }
}

// split takes a procedure apart: /remit.v1.AccessService/Check is Check of the service
// AccessService, and belongs to remit.
func split(procedure string) (face, rpc string) {
	service, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	face, _, _ = strings.Cut(service, ".")
	if dot := strings.LastIndexByte(service, '.'); dot >= 0 {
		service = service[dot+1:]
	}
	if service == "Health" {
		face = "health" // grpc's own service, not a face of that name
	}
	return face, service + "/" + method
}

// intercept stands outermost, so that it sees what the transports see.
func (o *Observer) intercept(next connect.ServerFunc) connect.ServerFunc {
	var last atomic.Pointer[call] // each procedure has a chain of its own, and so looks up once
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		c := last.Load()
		if c == nil || c.key != spec.Procedure {
			known, ok := o.calls[spec.Procedure]
			if !ok {
				return next(ctx, spec, stream)
			}
			c = known
			last.Store(c)
		}
		start, ended := clock(), false
		c.took.begin()
		var seen *watched
		if o.logs {
			seen = &watched{ServerStream: stream}
			stream = seen
		}
		defer func() {
			took, outcome := clock()-start, outcomeOK
			switch {
			case !ended:
				outcome = "panic" // on its way to the transport, which ends the connection
			case err != nil:
				outcome = o.config.Outcome(err)
			}
			c.end(took, outcome)
			if seen != nil && o.wanted(took, outcome) {
				o.log(ctx, c, seen.store, outcome, took)
			}
		}()
		err = next(ctx, spec, stream)
		ended = true
		return err
	}
}

// outcomeOK is the code of a call that did what was asked.
const outcomeOK = "ok"

// wanted reports whether a call is to be logged.
func (o *Observer) wanted(took time.Duration, outcome string) bool {
	switch o.config.Requests {
	case All:
		return true
	case Slow:
		return outcome != outcomeOK || took >= o.config.Slow
	}
	return outcome != outcomeOK
}

// maxLogged bounds what a client can put into one line of the log.
const maxLogged = 128

func (o *Observer) log(ctx context.Context, c *call, store, outcome string, took time.Duration) {
	attrs := make([]slog.Attr, 0, 6)
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		if id := RequestID(info); id != "" {
			attrs = append(attrs, slog.String("request_id", id))
		}
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()))
	}
	attrs = append(attrs, slog.String("rpc", strings.TrimPrefix(c.key, "/")), slog.String("code", outcome), slog.Duration("duration", took))
	if store != "" {
		attrs = append(attrs, slog.String("store", store[:min(len(store), maxLogged)]))
	}
	o.config.Log.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

// RequestID is the id that a face has given the request, or else its client.
func RequestID(info *connect.CallInfo) string {
	id := info.ResponseHeader().Get(HeaderRequestID)
	if id == "" {
		id = info.RequestHeader().Get(HeaderRequestID)
	}
	return id[:min(len(id), maxLogged)]
}

// A watched stream remembers the store that its first request names.
type watched struct {
	connect.ServerStream
	store    string
	received bool
}

// Receive reads a request.
func (w *watched) Receive(msg any) error {
	err := w.ServerStream.Receive(msg)
	if err == nil && !w.received {
		w.received, w.store = true, StoreOf(msg)
	}
	return err
}

// StoreOf is the store that a request names, in any of the ways that the faces have.
func StoreOf(msg any) string {
	switch m := msg.(type) {
	case interface{ GetScope() *remitv1.Scope }:
		return m.GetScope().GetStore()
	case interface {
		GetScope() *remitv1.OrganisationScope
	}:
		return m.GetScope().GetStore()
	case interface{ GetStoreId() string }:
		return m.GetStoreId()
	case interface{ GetStore() string }:
		return m.GetStore()
	}
	return ""
}
