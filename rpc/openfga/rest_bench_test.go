package openfga

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// BenchmarkREST is a Check over JSON without the network: all but the handler.
func BenchmarkREST(b *testing.B) {
	p := newPerch(b)
	const body = `{"tuple_key":{"object":"document:1","relation":"viewer","user":"user:anne"}}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV/check", strings.NewReader(body))
		r.Header["Content-Type"] = []string{"application/json"}
		w := httptest.NewRecorder()
		p.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body.String())
		}
	}
}

// BenchmarkDispatch is a Check as gRPC's adapter calls it: the interceptor, validation
// and headers.
func BenchmarkDispatch(b *testing.B) {
	p := newPerch(b)
	req := &openfgav1.CheckRequest{
		StoreId:  "01ARZ3NDEKTSV4RRFFQ69G5FAV",
		TupleKey: &openfgav1.CheckRequestTupleKey{Object: "document:1", Relation: "viewer", User: "user:anne"},
	}
	b.ReportAllocs()
	for b.Loop() {
		info := &connect.CallInfo{Protocol: connect.ProtocolNameGRPC}
		s := &localStream{request: req, reply: &openfgav1.CheckResponse{}}
		if err := p.Server().Call(b.Context(), openfgav1.OpenFGAService_Check_FullMethodName, info, s); err != nil {
			b.Fatal(err)
		}
	}
}
