package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"connectrpc.com/validate"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/observe"
)

// gathered is what a registry holds: a metric's value by its name and labels, written
// name{a="b"}. Of a histogram it is the number of observations.
func gathered(t testing.TB, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			key := family.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch family.GetType() {
			case dto.MetricType_COUNTER:
				values[key] = m.Counter.GetValue()
			case dto.MetricType_GAUGE:
				values[key] = m.Gauge.GetValue()
			case dto.MetricType_HISTOGRAM:
				values[key] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return values
}

// A lockedBuffer takes the log of several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// requests are the logged calls.
func (l *lockedBuffer) requests(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]any
	for line := range strings.Lines(l.b.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry["msg"] == "request" {
			all = append(all, entry)
		}
	}
	return all
}

// Every call is counted once, with its face and the code that the face has for its
// error, over each transport; and logged if that is wanted.
func TestCallsAreCountedAndLogged(t *testing.T) {
	registry, logged := prometheus.NewRegistry(), &lockedBuffer{}
	r := newRig(t, func(c *Config) {
		c.Metrics, c.Requests, c.Log = registry, observe.All, slog.New(slog.NewJSONHandler(logged, nil))
	})
	store := r.store("acme", acme...)
	s := r.serve()
	conn := dial(t, s.GRPCAddr())

	check := &remitv1.CheckRequest{Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"}}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "r-1")
	if err := conn.Invoke(ctx, remitv1connect.AccessServiceCheckProcedure, check, &remitv1.CheckResponse{}); err != nil {
		t.Fatal(err)
	}
	access := remitv1connect.NewAccessServiceClient(connect.NewClient(connectinprocess.New(s.Connect())))
	if _, err := access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf("nowhere"), Question: check.Question}); err == nil {
		t.Fatal("a store that does not exist was asked")
	}
	fga := openfgav1.NewOpenFGAServiceClient(conn)
	key := &openfgav1.CheckRequestTupleKey{Object: "document:plan", Relation: "secret", User: "user:olga"}
	if _, err := fga.Check(t.Context(), &openfgav1.CheckRequest{StoreId: store, TupleKey: key}); err == nil {
		t.Fatal("a relation that does not exist was asked")
	}
	if _, err := fga.Check(t.Context(), &openfgav1.CheckRequest{StoreId: store}); err == nil {
		t.Fatal("a question without a tuple was answered")
	}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}

	got := gathered(t, registry)
	for key, want := range map[string]float64{
		`remit_rpc_requests_total{code="ok",face="remit",rpc="AccessService/Check"}`:                  1,
		`remit_rpc_requests_total{code="not_found",face="remit",rpc="AccessService/Check"}`:           1,
		`remit_rpc_duration_seconds{face="remit",rpc="AccessService/Check"}`:                          2,
		`remit_rpc_in_flight{face="remit",rpc="AccessService/Check"}`:                                 0,
		`remit_rpc_requests_total{code="validation_error",face="openfga",rpc="OpenFGAService/Check"}`: 1,
		`remit_rpc_requests_total{code="invalid_argument",face="openfga",rpc="OpenFGAService/Check"}`: 1,
		`remit_rpc_requests_total{code="ok",face="openfga",rpc="OpenFGAService/Check"}`:               0,
		`remit_rpc_requests_total{code="ok",face="health",rpc="Health/Check"}`:                        1,
		`remit_query_edges{}`: 1,
		`remit_rpc_requests_total{code="ok",face="remit",rpc="StoreService/CreateStore"}`: 0,
		`remit_rpc_duration_seconds{face="authzen",rpc="AuthZenService/Evaluation"}`:      0,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s = %v, %v, want %v", key, value, ok, want)
		}
	}
	for key := range got {
		if strings.Contains(key, store) || strings.Contains(key, "acme") || strings.Contains(key, "olga") {
			t.Errorf("%s names what a client named", key)
		}
	}

	var lines []string
	for _, entry := range logged.requests(t) {
		for _, key := range slices.Collect(maps.Keys(entry)) {
			if !slices.Contains([]string{"time", "level", "msg", "request_id", "rpc", "code", "duration", "store"}, key) {
				t.Errorf("a request is logged with %s", key)
			}
		}
		store, _ := entry["store"].(string)
		lines = append(lines, entry["rpc"].(string)+" "+entry["code"].(string)+" "+store)
		switch id := entry["request_id"]; {
		case entry["rpc"] == "remit.v1.AccessService/Check" && entry["code"] == "ok":
			if id != "r-1" {
				t.Errorf("the request r-1 is logged as %v", id)
			}
		case strings.HasPrefix(entry["rpc"].(string), "openfga"):
			if text, _ := id.(string); len(text) != 36 {
				t.Errorf("a request that OpenFGA's face named is logged as %v", id)
			}
		}
	}
	want := []string{
		"remit.v1.AccessService/Check ok " + store,
		"remit.v1.AccessService/Check not_found nowhere",
		"openfga.v1.OpenFGAService/Check validation_error " + store,
		"openfga.v1.OpenFGAService/Check invalid_argument " + store,
		"grpc.health.v1.Health/Check ok ",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("logged\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// What is logged depends on how a call ends and how long it takes.
func TestSelectionsOfRequests(t *testing.T) {
	question := &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"}
	for _, test := range []struct {
		requests observe.Selection
		slow     time.Duration
		want     []string
	}{
		{observe.Off, 1, nil},
		{observe.Errors, 1, []string{"not_found"}},
		{observe.Slow, time.Hour, []string{"not_found"}},
		{observe.Slow, 1, []string{"ok", "not_found"}},
		{observe.All, time.Hour, []string{"ok", "not_found"}},
	} {
		t.Run(string(test.requests)+" "+test.slow.String(), func(t *testing.T) {
			logged := &lockedBuffer{}
			r := newRig(t, func(c *Config) {
				c.Requests, c.SlowRequest, c.Log = test.requests, test.slow, slog.New(slog.NewJSONHandler(logged, nil))
			})
			store := r.store("acme", acme...)
			s := r.serve()
			access := remitv1connect.NewAccessServiceClient(connect.NewClient(connectinprocess.New(s.Connect())))
			if _, err := access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf(store), Question: question}); err != nil {
				t.Fatal(err)
			}
			if _, err := access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf("nowhere"), Question: question}); err == nil {
				t.Fatal("a store that does not exist was asked")
			}
			var codes []string
			for _, entry := range logged.requests(t) {
				codes = append(codes, entry["code"].(string))
			}
			if !slices.Equal(codes, test.want) {
				t.Errorf("logged %v, want %v", codes, test.want)
			}
		})
	}
}

// A call under way is counted as such, and no longer once it has ended, even by a panic.
func TestCallsInFlight(t *testing.T) {
	registry := prometheus.NewRegistry()
	observer := observe.New(observe.Config{Metrics: registry})
	server := connect.NewServer(observer.Interceptors()...)
	var during float64
	const key = `remit_rpc_in_flight{face="remit",rpc="Test/Call"}`
	server.Register(connect.Method{
		Spec: connect.Spec{StreamType: connect.StreamTypeUnary, Procedure: "/remit.v1.Test/Call"},
		Handler: func(context.Context, connect.Spec, connect.ServerStream) error {
			during = gathered(t, registry)[key]
			panic("as it happens")
		},
	})
	observer.Know(server)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic has gone")
			}
		}()
		_ = server.Call(t.Context(), "/remit.v1.Test/Call", nil, nil)
	}()
	got := gathered(t, registry)
	if after := got[key]; during != 1 || after != 0 {
		t.Errorf("in flight: %v, then %v, want 1 and 0", during, after)
	}
	if n := got[`remit_rpc_requests_total{code="panic",face="remit",rpc="Test/Call"}`]; n != 1 {
		t.Errorf("%v calls have ended by a panic, want 1", n)
	}
}

// observedServer answers questions, with or without metrics and a log of what is denied,
// from one state.
func (r *rig) observedServer(observed bool) *connect.Server {
	config, observer := r.config.backend(), observe.New(observe.Config{})
	if observed {
		registry := prometheus.NewRegistry()
		observer = observe.New(observe.Config{Metrics: registry, Outcome: outcome})
		var err error
		config.Decisions, err = decision.Open(decision.Config{
			Select: decision.Denied, File: filepath.Join(r.t.TempDir(), "decisions.jsonl"), Metrics: registry,
		})
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() {
			if err := config.Decisions.Close(); err != nil {
				r.t.Error(err)
			}
		})
	}
	config.Visited = observer.Visited()
	server := connect.NewServer(append(observer.Interceptors(), errorInterceptor(discard()), validate.NewServerInterceptor(validate.WithoutErrorDetails()))...)
	remitv1connect.RegisterAccessServiceHandler(server, &accessService{reader: &reader{backend.NewReader(config)}})
	observer.Know(server)
	return server
}
