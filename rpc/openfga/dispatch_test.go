package openfga

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
)

func checkOf(user string) *openfgav1.CheckRequest {
	return &openfgav1.CheckRequest{
		StoreId:  someID,
		TupleKey: &openfgav1.CheckRequestTupleKey{Object: "document:1", Relation: "viewer", User: "user:" + user},
	}
}

// over lists the ways to a face on a port.
func over(server *httptest.Server) map[string]*connect.Client {
	return map[string]*connect.Client{
		"grpc":     connect.NewClient(connecthttp.NewTransport(server.Client(), server.URL, connecthttp.WithGRPC())),
		"grpc-web": connect.NewClient(connecthttp.NewTransport(server.Client(), server.URL, connecthttp.WithGRPCWeb())),
		"connect":  connect.NewClient(connecthttp.NewTransport(server.Client(), server.URL)),
		"get":      connect.NewClient(connecthttp.NewTransport(server.Client(), server.URL, connecthttp.WithHTTPGet())),
	}
}

var checkSpec = connect.Spec{
	Procedure: openfgav1.OpenFGAService_Check_FullMethodName, IdempotencyLevel: connect.IdempotencyNoSideEffects,
}

func TestErrorsOnEveryProtocol(t *testing.T) {
	p := newPerch(t, func(c *Config) {
		c.RequestTimeout = 50 * time.Millisecond
		c.ListObjectsDeadline = -1
		c.ListUsersDeadline = -1
	})
	server := p.serve(t)
	for _, tt := range []struct {
		req     *openfgav1.CheckRequest
		raw     connect.Code
		connect connect.Code
		name    string
		text    string
	}{
		{checkOf("refused"), 2021, connect.CodeInvalidArgument, "type_not_found", "type '<type>' not found"},
		{checkOf("panic"), 4000, connect.CodeInternal, "internal_error", "Internal Server Error"},
		{checkOf("unforeseen"), 4000, connect.CodeInternal, "internal_error", "Internal Server Error"},
		{checkOf("late"), 4004, connect.CodeDeadlineExceeded, "deadline_exceeded", "Request Deadline Exceeded"},
		{checkOf("conflict"), 14, connect.CodeUnavailable, "Unavailable", "no leader"},
		{&openfgav1.CheckRequest{StoreId: someID}, 3, connect.CodeInvalidArgument, "InvalidArgument", "invalid CheckRequest.TupleKey: value is required"},
	} {
		for protocol, client := range over(server) {
			t.Run(tt.name+" over "+protocol, func(t *testing.T) {
				var res openfgav1.CheckResponse
				ctx, info := connect.NewClientContext(t.Context())
				err := client.CallUnary(ctx, checkSpec, tt.req, &res)
				var ce *connect.Error
				if !errors.As(err, &ce) {
					t.Fatalf("got %v, want an error of the protocol", err)
				}
				want := tt.raw
				if protocol == "connect" || protocol == "get" {
					want = tt.connect
				}
				if ce.Code() != want || ce.Message() != tt.text {
					t.Errorf("got %d %q, want %d %q", ce.Code(), ce.Message(), want, tt.text)
				}
				if want != tt.raw {
					if got := reason(t, ce); got != tt.name {
						t.Errorf("the detail says %q, want %q", got, tt.name)
					}
				}
				got := info.ResponseHeader().Get(HeaderStoreID) + info.ResponseTrailer().Get(HeaderStoreID)
				if got != someID {
					t.Errorf("the store is told as %q, want %q", got, someID)
				}
			})
		}
	}
	log := p.log.String()
	for _, want := range []string{"a fault of ours", "secret: pebble is on fire", "procedure=/openfga.v1.OpenFGAService/Check"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q was not logged:\n%s", want, log)
		}
	}
	if strings.Contains(log, "no leader") || strings.Contains(log, "<type>") {
		t.Errorf("a foreseen error was logged:\n%s", log)
	}
}

func reason(t *testing.T, ce *connect.Error) string {
	t.Helper()
	for _, d := range ce.Details() {
		m, err := connectproto.UnmarshalErrorDetail(d)
		if err != nil {
			t.Fatal(err)
		}
		if info, ok := m.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func TestAnswersOnEveryProtocol(t *testing.T) {
	p := newPerch(t)
	for protocol, client := range over(p.serve(t)) {
		t.Run(protocol, func(t *testing.T) {
			ctx, info := connect.NewClientContext(t.Context())
			var res openfgav1.CheckResponse
			if err := client.CallUnary(ctx, checkSpec, checkOf("anne"), &res); err != nil || !res.GetAllowed() {
				t.Fatalf("allowed = %t, %v, want true", res.GetAllowed(), err)
			}
			for key, pattern := range map[string]string{
				HeaderStoreID: "^" + someID + "$", HeaderModelID: "^" + someID + "$", HeaderToken: "^token$",
				HeaderRequestID: "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", HeaderQueryDuration: "^[0-9]+$",
			} {
				if got := info.ResponseHeader().Get(key); !regexp.MustCompile(pattern).MatchString(got) {
					t.Errorf("%s is %q, want %s", key, got, pattern)
				}
			}
			stream, err := client.CallServerStream(t.Context(), connect.Spec{
				Procedure: streamProcedure, StreamType: connect.StreamTypeServer,
			}, &openfgav1.StreamedListObjectsRequest{StoreId: someID, Type: "doc", Relation: "1-2", User: "user:refused"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for {
				var res openfgav1.StreamedListObjectsResponse
				if err = stream.Receive(&res); err != nil {
					break
				}
				got = append(got, res.GetObject())
			}
			if strings.Join(got, " ") != "doc:1 doc:2" {
				t.Errorf("the stream holds %q, want doc:1 and doc:2", got)
			}
			if !strings.Contains(err.Error(), "type 'x' not found") {
				t.Errorf("the stream ends with %v, want the handler's error", err)
			}
		})
	}
}

func TestRequestsAreRefusedBeforeTheHandler(t *testing.T) {
	p := newPerch(t, func(c *Config) { c.MaxMessageBytes = 200 })
	p.parrots.seen = func(_ context.Context, req any) { t.Errorf("the handler got %v", req) }
	client := newClient(p.Server())
	for name, tt := range map[string]struct {
		req  *openfgav1.CheckRequest
		code Code
	}{
		"too large":   {checkOf(strings.Repeat("x", 300)), 8},
		"no store":    {&openfgav1.CheckRequest{TupleKey: checkOf("anne").GetTupleKey()}, 3},
		"no question": {&openfgav1.CheckRequest{StoreId: someID}, 3},
	} {
		_, err := client.Check(t.Context(), tt.req)
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("%s: got %v, want code %d", name, err, tt.code)
		}
	}
}

func TestTimeoutOfRequests(t *testing.T) {
	for _, tt := range []struct {
		timeout time.Duration
		want    bool
	}{{0, true}, {time.Hour, true}, {-1, false}} {
		p := newPerch(t, func(c *Config) { c.RequestTimeout = tt.timeout })
		p.parrots.seen = func(ctx context.Context, _ any) {
			if _, bounded := ctx.Deadline(); bounded != tt.want {
				t.Errorf("a request with RequestTimeout %s is bounded: %t, want %t", tt.timeout, bounded, tt.want)
			}
		}
		if _, err := newClient(p.Server()).Check(t.Context(), checkOf("anne")); err != nil {
			t.Error(err)
		}
	}
}

func TestAbortingAHandlerIsNoPanic(t *testing.T) {
	p := newPerch(t)
	p.parrots.seen = func(context.Context, any) { panic(http.ErrAbortHandler) }
	defer func() {
		if r := recover(); r != http.ErrAbortHandler { //nolint:errorlint // a panic's value is compared as net/http does
			t.Errorf("recovered %v, want the panic passed on", r)
		}
	}()
	_, err := newClient(p.Server()).Check(t.Context(), checkOf("anne"))
	t.Errorf("got %v, want a panic", err)
}

func TestCallsInProcessMoveMessages(t *testing.T) {
	p := newPerch(t)
	var got proto.Message
	p.parrots.seen = func(_ context.Context, req any) { got, _ = req.(proto.Message) }
	want := checkOf("anne")
	want.Trace = true
	if _, err := newClient(p.Server()).Check(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) {
		t.Errorf("the handler got %v, want %v", got, want)
	}
	if _, err := newClient(p.Server()).StreamedListObjects(t.Context(), &openfgav1.StreamedListObjectsRequest{}); err == nil {
		t.Error("a stream in process is no error")
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := requestID()
		if seen[id] {
			t.Fatalf("%s was given twice", id)
		}
		seen[id] = true
	}
}
