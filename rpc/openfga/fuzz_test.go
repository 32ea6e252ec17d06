package openfga

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"
)

// fuzzTime is more than any request may take that no handler holds up.
const fuzzTime = 5 * time.Second

// FuzzREST sends whatever request comes to mind. It is answered in OpenFGA's terms, and
// never with a fault of ours.
func FuzzREST(f *testing.F) {
	const s = "/stores/" + someID
	for _, seed := range []struct{ method, target, contentType, body string }{
		{"POST", s + "/check", "application/json", someCheck},
		{"POST", s + "/check", "", `{"tuple_key":{"object":"document:1"},"context":{"a":[1,null,{"b":1e400}]}}`},
		{"POST", s + "/streamed-list-objects", "", `{"type":"doc","relation":"1-2","user":"user:refused"}`},
		{"POST", s + "/changes", someForm, "type=doc&page_size=1"},
		{"GET", s + "/changes?start_time=9999-99-99&page_size=99999999999", "", ""},
		{"GET", "/stores?name=%zz;a=b&name=", "", ""},
		{"PUT", s + "/assertions/" + someID, "", `{"assertions":[{"tuple_key":{},"expectation":true}]}`},
		{"DELETE", "/stores/%2e%2e/%2F", "", ""},
		{"PATCH", "//", "a/b; c", "{"},
		{"OPTIONS", "*", "", ""},
	} {
		f.Add(seed.method, seed.target, seed.contentType, seed.body)
	}
	p := newPerch(f)
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		target, _, _ = strings.Cut(target, "#")
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" || method == "" || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return // no server would read this as a request
		}
		r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
		r.URL, r.RequestURI = u, target
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w := httptest.NewRecorder()
		start := time.Now()
		p.Handler().ServeHTTP(w, r)
		if took := time.Since(start); took > fuzzTime {
			t.Errorf("%s %q took %s", method, target, took)
		}
		told(t, w, p)
	})
}

// told fails the test unless an answer is one that OpenFGA gives.
func told(t *testing.T, w *httptest.ResponseRecorder, p *perch) {
	t.Helper()
	if w.Code < 400 {
		return
	}
	var e struct {
		Code, Message string
		Error         *struct {
			Code    int
			Message string
			Details []any
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || (e.Code == "") == (e.Error == nil) {
		t.Errorf("%d has the body %q, which is no error", w.Code, w.Body)
	}
	parrots := []string{"Internal Server Error", "no leader", "Request Deadline Exceeded"} // they said so because they were asked
	foreseen := w.Code < 500 || e.Code == "resource_exhausted" || slices.Contains(parrots, e.Message) || e.Error != nil && slices.Contains(parrots, e.Error.Message)
	if !foreseen {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	if log := p.log.String(); strings.Contains(log, "internal error") && !strings.Contains(log, "pebble is on fire") {
		t.Errorf("an error that nobody foresaw: %s", log)
	}
	p.log.Reset()
}

// FuzzGRPC sends any bytes as the request of any procedure, as a port hands them on.
func FuzzGRPC(f *testing.F) {
	p := newPerch(f)
	specs := slices.Collect(p.Server().Specs())
	for i := range specs {
		f.Add(byte(i), []byte(nil))
	}
	for i, m := range map[byte]proto.Message{
		1: &openfgav1.WriteRequest{StoreId: someID, Writes: &openfgav1.WriteRequestWrites{TupleKeys: []*openfgav1.TupleKey{{Object: "doc:1", Relation: "viewer", User: "user:anne"}}}},
		2: checkOf("anne"),
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(i, data)
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		spec := specs[int(which)%len(specs)]
		info := &connect.CallInfo{Protocol: connect.ProtocolNameGRPC}
		start := time.Now()
		err := p.Server().Call(t.Context(), spec.Procedure, info, &rawStream{data: data})
		if took := time.Since(start); took > fuzzTime {
			t.Errorf("%s took %s", spec.Procedure, took)
		}
		for key, values := range info.ResponseHeader().All() {
			for _, v := range values {
				if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s is %q, which no header can hold", key, v)
				}
			}
		}
		if err == nil {
			return
		}
		var ce *connect.Error
		if !errors.As(err, &ce) || !utf8.ValidString(ce.Message()) {
			t.Fatalf("%s ended with %v, which gRPC cannot send", spec.Procedure, err)
		}
		if ce.Code() == connect.Code(errInternal.Code) && ce.Message() != internalText {
			t.Errorf("an internal error says %q", ce.Message())
		}
	})
}

// A rawStream is a request as it comes from a wire.
type rawStream struct{ data []byte }

func (s *rawStream) Receive(msg any) error {
	m, ok := msg.(proto.Message)
	if !ok {
		return context.Canceled
	}
	if err := proto.Unmarshal(s.data, m); err != nil {
		return connect.Errorf(connect.CodeInvalidArgument, "unmarshal message: %v", err)
	}
	return nil
}

func (*rawStream) SendHeaders() error { return nil }
func (*rawStream) Send(any) error     { return nil }
