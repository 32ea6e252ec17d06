package rpc

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/trace"
)

// A collector gets the spans of a call below the caller's, with what they were about and
// without any name.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	var spans []*otlp.Span
	var all strings.Builder
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Error(r.URL, err)
		}
		mu.Lock()
		defer mu.Unlock()
		all.WriteString(protojson.Format(&request))
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				spans = append(spans, scope.Spans...)
			}
		}
	}))
	defer receiver.Close()
	tracer, err := trace.Open(t.Context(), trace.Config{Endpoint: receiver.URL, Node: "node", Version: "v1", Outcome: Outcome})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *Config) { c.Tracer = tracer })
	store := r.store("acme", acme...)
	s := r.serve()
	conn := dial(t, s.GRPCAddr())
	const caller = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", caller)
	check := &remitv1.CheckRequest{Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"}}
	check.Scope.Consistency = &remitv1.Consistency{Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true}}
	if err := conn.Invoke(ctx, remitv1connect.AccessServiceCheckProcedure, check, &remitv1.CheckResponse{}); err != nil {
		t.Fatal(err)
	}
	write := &remitv1.WriteRequest{Store: store, Operations: touch(t, "folder:plans#viewer@user:canary")}
	if err := conn.Invoke(ctx, remitv1connect.TupleServiceWriteProcedure, write, &remitv1.WriteResponse{}); err != nil {
		t.Fatal(err)
	}
	key := &openfgav1.CheckRequestTupleKey{Object: "document:canary", Relation: "nothing", User: "user:canary"}
	if _, err := openfgav1.NewOpenFGAServiceClient(conn).Check(ctx, &openfgav1.CheckRequest{StoreId: store, TupleKey: key}); err == nil {
		t.Error("a relation that does not exist was asked")
	}
	// Over HTTP, in OpenFGA's JSON.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr().String()+"/stores/"+store+"/check",
		strings.NewReader(`{"tuple_key":{"object":"document:plan","relation":"reader","user":"user:bert"}}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Traceparent", caller)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	_ = res.Body.Close()
	// Nobody asked for this one to be told.
	if err := conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure, check, &remitv1.CheckResponse{}); err != nil {
		t.Fatal(err)
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	parents := map[string]string{"\x01\x23\x45\x67\x89\xab\xcd\xef": "caller"}
	for _, span := range spans {
		parents[string(span.SpanId)] = span.Name
	}
	got := map[string]int{}
	for _, span := range spans {
		text := parents[string(span.ParentSpanId)] + " > " + span.Name
		for _, a := range span.Attributes {
			switch a.Key {
			case "remit.code", "remit.outcome":
				text += " " + a.Value.GetStringValue()
			case "remit.store", "remit.edges":
				text += " " + a.Key
			}
		}
		got[text]++
	}
	const checked, asked = "remit.v1.AccessService/Check", "openfga.v1.OpenFGAService/Check"
	for text, n := range map[string]int{
		"caller > " + checked + " remit.store ok":               1,
		checked + " > catch up":                                 1,
		checked + " > evaluate remit.store remit.edges allowed": 1,
		"caller > remit.v1.TupleService/Write ok":               1,
		"remit.v1.TupleService/Write > propose":                 1,
		"caller > " + asked + " validation_error":               1,
		"caller > " + asked + " remit.store ok":                 1,
		asked + " > evaluate remit.store remit.edges denied":    1,
	} {
		if got[text] != n {
			t.Errorf("there are %d spans %q, want %d, of %v", got[text], text, n, got)
		}
	}
	if len(spans) != 8 {
		t.Errorf("there are %d spans", len(spans))
	}
	if told := all.String(); strings.Contains(told, "canary") || strings.Contains(told, "olga") || strings.Contains(told, "plan") {
		t.Error("the collector is told of names")
	}
}
