// Package trace tells a collector of OpenTelemetry what calls did, and for how long.
//
// A span is one call of any face, or a part of one: waiting for a revision, evaluating,
// proposing. It says which store, model and revision it was about, how many edges were
// visited, and with which code it ended; never tuples, subjects or the texts of errors,
// which may hold some. otelconnect would put those texts into the status of a span, and
// does not know OpenFGA's codes; so the interceptor is this package's own.
//
// Spans wait in the SDK's bounded queue. A collector that is slow or away costs spans, and
// no call anything. A nil Tracer does nothing.
package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config is what a Tracer needs. The zero value traces nothing.
type Config struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP. Without a path it is
	// /v1/traces there. Default: nothing is traced.
	Endpoint string
	// Sample is the share of traces, from 0 to 1, that are told; a caller that brings a
	// trace has decided for it. Default: 0, those of callers alone.
	Sample float64

	// Node and Version say who tells.
	Node, Version string
	// Outcome names the code of an error. Default: connect's codes.
	Outcome func(err error) string
	// Log receives what keeps spans from being told. Default: nothing is logged.
	Log *slog.Logger
}

// Validate reports every fault.
func (c *Config) Validate() error {
	var faults []error
	if _, err := c.endpoint(); err != nil {
		faults = append(faults, err)
	}
	if !(c.Sample >= 0 && c.Sample <= 1) {
		faults = append(faults, fmt.Errorf("trace-sample is %v, must be from 0 to 1", c.Sample))
	}
	return errors.Join(faults...)
}

// endpoint is the whole URL; empty if there is none.
func (c *Config) endpoint() (string, error) {
	if c.Endpoint == "" {
		return "", nil
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil:
		return "", errors.New("trace-endpoint is no URL") // what was given may hold a password
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return "", errors.New("trace-endpoint must be a URL of http or https, with a host")
	case u.User != nil:
		return "", errors.New("trace-endpoint must not say who calls; OTEL_EXPORTER_OTLP_HEADERS can")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// A Tracer makes spans and tells a collector of them. It is safe for concurrent use.
type Tracer struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	outcome  func(err error) string
}

// Open makes a tracer; nil if there is no endpoint. It must be closed. Nothing is sent
// before there is a span.
func Open(ctx context.Context, config Config) (*Tracer, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	endpoint, err := config.endpoint()
	if endpoint == "" || err != nil {
		return nil, err
	}
	inner, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("open traces: %w", err)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Outcome == nil {
		config.Outcome = func(err error) string { return connect.CodeOf(err).String() }
	}
	provider := sdk.NewTracerProvider(
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(config.Sample))),
		sdk.WithBatcher(&exporter{SpanExporter: inner, log: config.Log}),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "remit"),
			attribute.String("service.version", config.Version),
			attribute.String("service.instance.id", config.Node),
		)),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/remit-authz/remit"), outcome: config.Outcome}, nil
}

// closing is how long the last spans may take to be sent.
const closing = 5 * time.Second

// Close sends what there is, as far as the collector takes it.
func (t *Tracer) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("close traces: %w", err)
	}
	return nil
}

// An exporter keeps failures to itself, but for a line in the log once in a while.
type exporter struct {
	sdk.SpanExporter
	log        *slog.Logger
	complained atomic.Int64 // nanoseconds since 1970
}

// ExportSpans implements sdk.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	now := time.Now().UnixNano()
	if last := e.complained.Load(); now-last >= int64(time.Minute) && e.complained.CompareAndSwap(last, now) {
		e.log.WarnContext(ctx, "traces are not taken", "error", err, "spans", len(spans))
	}
	return nil
}

// Interceptors are what a face puts before everything else; none if nothing is traced.
func (t *Tracer) Interceptors() []connect.ServerInterceptor {
	if t == nil {
		return nil
	}
	return []connect.ServerInterceptor{t.intercept}
}

// intercept makes a span of each call, below the caller's if there is one.
func (t *Tracer) intercept(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		protocol := ""
		if info, ok := connect.CallInfoForServerContext(ctx); ok {
			protocol = info.Protocol
			ctx = propagation.TraceContext{}.Extract(ctx, carrier{info.RequestHeader()})
		}
		name := strings.TrimPrefix(spec.Procedure, "/")
		service, method, _ := strings.Cut(name, "/")
		ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
			attribute.String("rpc.system", cmp.Or(protocol, "json")),
			attribute.String("rpc.service", service),
			attribute.String("rpc.method", method),
		))
		ended := false
		defer func() {
			switch {
			case !ended: // a panic, on its way to the transport
				span.SetAttributes(attribute.String("remit.code", "panic"))
				span.SetStatus(codes.Error, "")
			case err != nil:
				t.fail(span, err)
			default:
				span.SetAttributes(attribute.String("remit.code", "ok"))
			}
			span.End()
		}()
		err = next(ctx, spec, stream)
		ended = true
		return err
	}
}

// fail says of a span with which code it ended.
func (t *Tracer) fail(span trace.Span, err error) {
	span.SetAttributes(attribute.String("remit.code", t.outcome(err)))
	span.SetStatus(codes.Error, "")
}

// A carrier is where a caller's trace is read from.
type carrier struct{ header *connect.Header }

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string { return c.header.Get(key) }

// Set implements propagation.TextMapCarrier; nothing is sent on.
func (c carrier) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string { return nil }

// A Span is a part of a call under way. The zero value is none.
type Span struct {
	span   trace.Span
	call   trace.Span // that it is a part of
	tracer *Tracer
}

// Start begins a part of the call of a context.
func (t *Tracer) Start(ctx context.Context, name string) (context.Context, Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	call := trace.SpanFromContext(ctx)
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, Span{span, call, t}
}

// Recorded reports whether anybody will be told of the span.
func (s Span) Recorded() bool { return s.span != nil }

// Int says something of the span.
func (s Span) Int(name string, value int64) {
	if s.span != nil {
		s.span.SetAttributes(attribute.Int64(name, value))
	}
}

// Text says something of the span.
func (s Span) Text(name, value string) {
	if s.span != nil {
		s.span.SetAttributes(attribute.String(name, value))
	}
}

// End ends the span.
func (s Span) End(err error) {
	if s.span == nil {
		return
	}
	if err != nil {
		s.tracer.fail(s.span, err)
	}
	s.span.End()
}

// About says what the span, and the call that it is a part of, are about.
func (s Span) About(store, model string, revision uint64) {
	if s.span == nil {
		return
	}
	about := []attribute.KeyValue{
		attribute.String("remit.store", store), attribute.String("remit.model", model), attribute.Int64("remit.revision", int64(revision)),
	}
	s.span.SetAttributes(about...)
	if s.call != nil {
		s.call.SetAttributes(about...)
	}
}
