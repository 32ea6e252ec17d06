package openfga

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	someID    = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	someCheck = `{"tuple_key":{"object":"document:1","relation":"viewer","user":"user:anne"}}`
	someForm  = "application/x-www-form-urlencoded"
)

// compact takes out the spaces that protojson strews in.
func compact(t testing.TB, body string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(body)); err != nil {
		return body
	}
	return b.String()
}

// The statuses and bodies are those that a server of OpenFGA v1.22.1 answered.
func TestRESTAnswersAsOpenFGADoes(t *testing.T) {
	const s = "/stores/" + someID
	for _, tt := range []struct {
		name, method, path, body string
		header                   http.Header
		status                   int
		want                     string
	}{
		{"a check", "POST", s + "/check", someCheck, nil, 200, `{"allowed":true,"resolution":""}`},
		{"unknown fields are passed over", "POST", s + "/check", `{"nope":[1],` + someCheck[1:], nil, 200, `{"allowed":true,"resolution":""}`},
		{"so is what follows the message", "POST", s + "/check", someCheck + "trailing", nil, 200, `{"allowed":true,"resolution":""}`},
		{"an unknown name of an enum is passed over", "POST", s + "/check", `{"consistency":"NOPE",` + someCheck[1:], nil, 200, `{"allowed":true,"resolution":""}`},
		{"an unknown number of an enum is not", "POST", s + "/check", `{"consistency":77,` + someCheck[1:], nil, 400, `{"code":"validation_error","message":"invalid CheckRequest.Consistency: value must be one of the defined enum values"}`},
		{"any content type is JSON", "POST", s + "/check", someCheck, http.Header{"Content-Type": {"text/; nope"}, "Accept": {"text/html"}}, 200, `{"allowed":true,"resolution":""}`},
		{"a body cut short", "POST", s + "/check", `{"tuple_key":`, nil, 400, `{"code":"validation_error","message":"malformed JSON"}`},
		{"no body", "POST", s + "/check", ``, nil, 400, `{"code":"tuple_key_value_not_specified","message":"invalid CheckRequest.TupleKey: value is required"}`},
		{"an empty message", "POST", s + "/check", `{}`, nil, 400, `{"code":"tuple_key_value_not_specified","message":"invalid CheckRequest.TupleKey: value is required"}`},
		{"a list", "POST", s + "/check", `[]`, nil, 400, `{"code":"validation_error","message":"syntax error (line 1:1): unexpected token ["}`},
		{"null", "POST", s + "/check", `null`, nil, 400, `{"code":"validation_error","message":"syntax error (line 1:1): unexpected token null"}`},
		{"a number for a message", "POST", s + "/check", `{"tuple_key":5}`, nil, 400, `{"code":"validation_error","message":"syntax error (line 1:14): unexpected token 5"}`},
		{"no JSON", "POST", s + "/check", `<xml>`, nil, 400, `{"code":"validation_error","message":"invalid character '<' looking for beginning of value"}`},
		{"no UTF-8", "POST", s + "/check", strings.Replace(someCheck, "document:1", "document:\xff", 1), nil, 400, `{"code":"validation_error","message":"syntax error (line 1:24): invalid UTF-8 in string"}`},
		{"two faults", "POST", "/stores/abc/check", `{}`, nil, 400, `{"code":"validation_error","message":"invalid CheckRequest.StoreId: value does not match regex pattern \"^[ABCDEFGHJKMNPQRSTVWXYZ0-9]{26}$\"; invalid CheckRequest.TupleKey: value is required"}`},
		{"an empty store", "POST", "/stores//check", someCheck, nil, 400, `{"code":"validation_error","message":"invalid CheckRequest.StoreId: value does not match regex pattern \"^[ABCDEFGHJKMNPQRSTVWXYZ0-9]{26}$\""}`},
		{"a message over the limit", "POST", s + "/write", `{"writes":{"tuple_keys":[{"object":"document:1","relation":"viewer","user":"` + strings.Repeat("x", 700000) + `"}]}}`, nil, 500, `{"code":"resource_exhausted","message":"grpc: received message larger than max (700060 vs. 616448)"}`},

		{"a trailing slash", "POST", s + "/check/", `{}`, nil, 404, `{"code":"undefined_endpoint","message":"Not Found"}`},
		{"a leading slash", "POST", "//stores/" + someID + "/check", `{}`, nil, 404, `{"code":"undefined_endpoint","message":"Not Found"}`},
		{"an escaped slash", "POST", "/stores/a%2Fb/check", `{}`, nil, 404, `{"code":"undefined_endpoint","message":"Not Found"}`},
		{"a verb", "POST", "/stores:check", `{}`, nil, 404, `{"code":"undefined_endpoint","message":"Not Found"}`},
		{"the root", "GET", "/", ``, nil, 404, `{"code":"undefined_endpoint","message":"Not Found"}`},
		{"another path", "GET", "/nope", ``, nil, 404, `{"code":"undefined_endpoint","message":"Not Found"}`},
		{"another method", "GET", s + "/check", ``, nil, 404, `{"code":"unimplemented","message":"Method Not Allowed"}`},
		{"a method that is none", "FOO", "/stores", ``, nil, 404, `{"code":"unimplemented","message":"Method Not Allowed"}`},
		{"HEAD", "HEAD", "/stores", ``, nil, 404, `{"code":"unimplemented","message":"Method Not Allowed"}`},
		{"OPTIONS", "OPTIONS", "/stores", ``, nil, 404, `{"code":"unimplemented","message":"Method Not Allowed"}`},

		{"a new store", "POST", "/stores", `{"name":"abc"}`, nil, 201, `{"id":"` + someID + `","name":"abc","created_at":"2020-01-02T03:04:05Z","updated_at":"2020-01-02T03:04:05Z"}`},
		{"a bad name", "POST", "/stores", `{"name":"ab"}`, nil, 400, `{"code":"validation_error","message":"invalid CreateStoreRequest.Name: value does not match regex pattern \"^[a-zA-Z0-9\\\\s\\\\.\\\\-\\\\/^_&@]{3,64}$\""}`},
		{"a store", "GET", s, ``, nil, 200, `{"id":"` + someID + `","name":"abc","created_at":"2020-01-02T03:04:05Z","updated_at":"2020-01-02T03:04:05Z","deleted_at":null}`},
		{"a store renamed", "PATCH", s, `{"name":"abcd"}`, nil, 404, `{"code":"unimplemented","message":"method UpdateStore not implemented"}`},
		{"a store renamed badly", "PATCH", s, `{"name":"ab"}`, nil, 400, `{"code":"validation_error","message":"invalid UpdateStoreRequest.Name: value does not match regex pattern \"^[a-zA-Z0-9\\\\s\\\\.\\\\-\\\\/^_&@]{3,64}$\""}`},
		{"a store deleted", "DELETE", s, ``, nil, 204, `{}`},
		{"stores", "GET", "/stores", ``, nil, 200, `{"stores":[],"continuation_token":""}`},
		{"a word for a number", "GET", "/stores?page_size=abc", ``, nil, 400, `{"code":"validation_error","message":"parsing field \"page_size\": strconv.ParseInt: parsing \"abc\": invalid syntax"}`},
		{"a page too large", "GET", "/stores?page_size=1000", ``, nil, 400, `{"code":"page_size_invalid","message":"invalid ListStoresRequest.PageSize: value must be inside range [1, 100]"}`},
		{"a parameter twice", "GET", "/stores?page_size=1&page_size=2", ``, nil, 400, `{"code":"validation_error","message":"too many values for field \"page_size\": 1, 2"}`},
		{"an unknown parameter", "GET", "/stores?unknown=1", ``, nil, 200, `{"stores":[],"continuation_token":""}`},
		{"half an instant", "GET", s + "/changes?start_time=2020", ``, nil, 400, `{"code":"validation_error","message":"parsing field \"start_time\": parsing time \"2020\" as \"2006-01-02T15:04:05.999999999Z07:00\": cannot parse \"\" as \"-\""}`},
		{"a parameter that the path has", "GET", s + "/changes?store_id=zzz", ``, nil, 200, `{"changes":[],"continuation_token":""}`},
		{"a form for a GET", "POST", s + "/changes", "type=doc", http.Header{"Content-Type": {someForm}}, 200, `{"changes":[],"continuation_token":"doc"}`},
		{"a form of another type", "POST", s + "/changes", "type=doc", http.Header{"Content-Type": {"application/json"}}, 404, `{"code":"unimplemented","message":"Method Not Allowed"}`},
		{"another method by header", "POST", "/stores", "page_size=1", http.Header{"Content-Type": {someForm}, "X-Http-Method-Override": {"GET"}}, 200, `{"stores":[],"continuation_token":""}`},
		{"no duration", "POST", "/stores", `{"name":"abc"}`, http.Header{"Grpc-Timeout": {"zzz"}}, 400, `{"code":"validation_error","message":"invalid grpc-timeout: zzz"}`},

		{"a write", "POST", s + "/write", `{"writes":{"tuple_keys":[{"object":"document:1","relation":"viewer","user":"user:anne"}]}}`, nil, 200, `{}`},
		{"no tuples to write", "POST", s + "/write", `{"writes":{"tuple_keys":[]}}`, nil, 400, `{"code":"validation_error","message":"invalid WriteRequestWrites.TupleKeys: value must contain at least 1 item(s)"}`},
		{"a read", "POST", s + "/read", `{}`, nil, 200, `{"tuples":[{"key":{"user":"user:anne","relation":"viewer","object":"doc:1","condition":null},"timestamp":"2020-01-02T03:04:05Z"}],"continuation_token":""}`},
		{"a new model", "POST", s + "/authorization-models", `{"schema_version":"1.1","type_definitions":[{"type":"user"}]}`, nil, 201, `{"authorization_model_id":"` + someID + `"}`},
		{"a model without types", "POST", s + "/authorization-models", `{"schema_version":"1.1"}`, nil, 400, `{"code":"type_definitions_too_few_items","message":"invalid WriteAuthorizationModelRequest.TypeDefinitions: value must contain at least 1 item(s)"}`},
		{
			"a model", "GET", s + "/authorization-models/" + someID, ``, nil, 200,
			`{"authorization_model":{"id":"` + someID + `","schema_version":"1.1","type_definitions":[{"type":"doc","relations":{"editor":{"computedUserset":{"object":"","relation":"viewer"}}},"metadata":null}],"conditions":{}}}`,
		},
		{"assertions", "PUT", s + "/assertions/" + someID, `{"assertions":[]}`, nil, 204, `{}`},

		{"a refusal keeps its characters", "POST", s + "/check", strings.Replace(someCheck, "anne", "refused", 1), nil, 400, `{"code":"type_not_found","message":"type '<type>' not found"}`},
		{"a panic", "POST", s + "/check", strings.Replace(someCheck, "anne", "panic", 1), nil, 500, `{"code":"internal_error","message":"Internal Server Error"}`},
		{"an error of ours", "POST", s + "/check", strings.Replace(someCheck, "anne", "unforeseen", 1), nil, 500, `{"code":"internal_error","message":"Internal Server Error"}`},
		{"a cluster without a leader", "POST", s + "/check", strings.Replace(someCheck, "anne", "conflict", 1), nil, 500, `{"code":"unavailable","message":"no leader"}`},

		{"a stream", "POST", s + "/streamed-list-objects", `{"type":"doc","relation":"1-2","user":"user:anne"}`, nil, 200, "{\"result\":{\"object\":\"doc:1\"}}\n{\"result\":{\"object\":\"doc:2\"}}\n"},
		{"an empty stream", "POST", s + "/streamed-list-objects", `{"type":"doc","relation":"none","user":"user:anne"}`, nil, 200, ""},
		{"a stream that fails", "POST", s + "/streamed-list-objects", `{"type":"doc","relation":"1","user":"user:refused"}`, nil, 200, "{\"result\":{\"object\":\"doc:1\"}}\n{\"error\":{\"code\":3,\"message\":\"type 'x' not found\",\"details\":[]}}\n"},
		{"a stream that is refused", "POST", s + "/streamed-list-objects", `{"type":"doc","relation":"none","user":"user:refused"}`, nil, 400, "{\"error\":{\"code\":3,\"message\":\"type 'x' not found\",\"details\":[]}}\n"},
		{"a stream that panics", "POST", s + "/streamed-list-objects", `{"type":"doc","relation":"none","user":"user:panic"}`, nil, 500, "{\"error\":{\"code\":13,\"message\":\"Internal Server Error\",\"details\":[]}}\n"},
		{"a stream without a user", "POST", s + "/streamed-list-objects", `{"type":"doc","relation":"1"}`, nil, 400, "{\"error\":{\"code\":3,\"message\":\"invalid StreamedListObjectsRequest.User: value length must be between 1 and 512 bytes, inclusive\",\"details\":[]}}\n"},
		{"a stream without an end of its body", "POST", s + "/streamed-list-objects", `{"type":`, nil, 400, `{"code":"validation_error","message":"malformed JSON"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPerch(t)
			res := p.do(t, tt.method, tt.path, tt.body, tt.header)
			body := read(t, res.Body)
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
			if got := res.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("the content type is %q", got)
			}
			if !strings.HasSuffix(tt.want, "\n") {
				body = compact(t, body)
			}
			if diff := cmp.Diff(tt.want, body); diff != "" {
				t.Errorf("the body differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRESTReadsPathsAndParameters(t *testing.T) {
	const s = "/stores/" + someID
	for _, tt := range []struct {
		name, method, path, body string
		want                     proto.Message
	}{
		{"query", "GET", "/stores?page_size=7&continuation_token=abc&name=shop", "", &openfgav1.ListStoresRequest{
			PageSize: wrapperspb.Int32(7), ContinuationToken: "abc", Name: "shop",
		}},
		{"names are those of JSON", "GET", s + "/changes?type=doc&page_size=2&pageSize=3&start_time=2020-01-02T03:04:05Z", "", &openfgav1.ReadChangesRequest{
			StoreId: someID, Type: "doc", PageSize: wrapperspb.Int32(2), StartTime: timestamppb.New(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)),
		}},
		{"the path wins over the body", "POST", s + "/check", `{"store_id":"x",` + someCheck[1:], &openfgav1.CheckRequest{
			StoreId: someID, TupleKey: &openfgav1.CheckRequestTupleKey{Object: "document:1", Relation: "viewer", User: "user:anne"},
		}},
		{"two ids in a path", "PUT", s + "/assertions/01ARZ3NDEKTSV4RRFFQ69G5FAW", `{}`, &openfgav1.WriteAssertionsRequest{
			StoreId: someID, AuthorizationModelId: "01ARZ3NDEKTSV4RRFFQ69G5FAW",
		}},
		{"a stream", "POST", s + "/streamed-list-objects", `{"store_id":"x","type":"doc","relation":"1","user":"user:anne"}`, &openfgav1.StreamedListObjectsRequest{
			StoreId: someID, Type: "doc", Relation: "1", User: "user:anne",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPerch(t)
			var got any
			p.parrots.seen = func(_ context.Context, req any) { got = req }
			res := p.do(t, tt.method, tt.path, tt.body, nil)
			if res.StatusCode/100 != 2 {
				t.Fatalf("status %d: %s", res.StatusCode, read(t, res.Body))
			}
			if m, ok := got.(proto.Message); !ok || !proto.Equal(m, tt.want) {
				t.Errorf("the handler got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRESTBoundsBodies(t *testing.T) {
	p := newPerch(t, func(c *Config) { c.MaxMessageBytes = 100 })
	body := `{"name":"abc","padding":"` + strings.Repeat("x", 1000) + `"}`
	res := p.do(t, http.MethodPost, "/stores", body, nil)
	want := `{"code":"resource_exhausted","message":"http: request body too large"}`
	if got := compact(t, read(t, res.Body)); res.StatusCode != http.StatusInternalServerError || got != want {
		t.Errorf("a body over the limit: %d %s, want 500 %s", res.StatusCode, got, want)
	}
}

func TestRESTStreamEndsWithItsClient(t *testing.T) {
	p := newPerch(t)
	server := p.serve(t)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/stores/"+someID+"/streamed-list-objects",
		strings.NewReader(`{"type":"doc","relation":"endless","user":"user:anne"}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != "{\"result\":{\"object\":\"doc:1\"}}\n" {
		t.Fatalf("the first line is %q, %v", line, err)
	}
	leave()
	if err := <-p.parrots.left; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler was told %v, want that the client has gone", err)
	}
	server.Close() // waits for the handler
	if p.log.Len() > 0 {
		t.Errorf("a client that left was logged: %s", p.log)
	}
}

func TestRESTHeaders(t *testing.T) {
	p := newPerch(t)
	var token string
	var whole bool
	p.parrots.seen = func(ctx context.Context, _ any) { token, whole = requestToken(ctx), exact(ctx) }
	res := p.do(t, http.MethodPost, "/stores/"+someID+"/check", someCheck, http.Header{"Remit-Token": {"abc"}, "Remit-Exact": {"true"}})
	if token != "abc" || !whole {
		t.Errorf("the handler saw the token %q and exact %t", token, whole)
	}
	for key, want := range map[string]string{HeaderStoreID: someID, HeaderModelID: someID, HeaderToken: "token"} {
		if got := res.Header.Get(key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for _, key := range []string{HeaderRequestID, HeaderQueryDuration} {
		if len(res.Header.Values(key)) != 1 {
			t.Errorf("%s is %q", key, res.Header.Values(key))
		}
	}
	// The model is told with an error too, and the store even if it is none.
	res = p.do(t, http.MethodPost, "/stores/"+someID+"/check", strings.Replace(someCheck, "anne", "refused", 1), nil)
	if got := res.Header.Get(HeaderModelID); got != someID {
		t.Errorf("an error comes with the model %q, want %q", got, someID)
	}
	res = p.do(t, http.MethodGet, "/stores/a%20b%0A%E2%82%AC", "", nil)
	if got := res.Header.Get(HeaderStoreID); got != "a b" {
		t.Errorf("a strange store is told as %q, want what a header can hold of it", got)
	}
	res = p.do(t, http.MethodGet, "/stores/"+strings.Repeat("x", 100_000), "", nil)
	if got := len(res.Header.Get(HeaderStoreID)); got != maxHeaderValue {
		t.Errorf("a long store is told with %d bytes, want no more than clients take", got)
	}
}

func TestRESTAllowsOtherOrigins(t *testing.T) {
	preflight := func(p *perch, origin string) http.Header {
		return p.do(t, http.MethodOptions, "/stores", "", http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type,x-foo"},
		}).Header
	}
	got := preflight(newPerch(t), "http://x.y")
	for key, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "content-type,x-foo",
	} {
		if got.Get(key) != want {
			t.Errorf("%s is %q, want %q", key, got.Get(key), want)
		}
	}
	p := newPerch(t, func(c *Config) { c.CORSOrigins = []string{"http://good"} })
	if got := preflight(p, "http://evil").Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("an origin that is not allowed is told %q", got)
	}
	if got := preflight(p, "http://good").Get("Access-Control-Allow-Origin"); got != "http://good" {
		t.Errorf("an origin that is allowed is told %q", got)
	}
}

func TestPlainTexts(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"proto: syntax error", "syntax error"},
		{"unexpected EOF", "malformed JSON"},
		{"rpc error: code = InvalidArgument desc = bad", "bad"},
		{"rpc error: code = Code(2000) desc = proto:\u00a0bad", "bad"},
		{"one | caused by: two | caused by: three ", "three"},
		{"as it is", "as it is"},
	} {
		if got := plain(tt.in); got != tt.want {
			t.Errorf("plain(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestRESTCodesOfGRPC(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.Canceled: "cancelled", codes.Unknown: "internal_error", codes.InvalidArgument: "validation_error",
		codes.DeadlineExceeded: "deadline_exceeded", codes.NotFound: "undefined_endpoint", codes.AlreadyExists: "already_exists",
		codes.PermissionDenied: "internal_error", codes.ResourceExhausted: "resource_exhausted", codes.FailedPrecondition: "failed_precondition",
		codes.Aborted: "Aborted", codes.OutOfRange: "out_of_range", codes.Unimplemented: "unimplemented", codes.Internal: "internal_error",
		codes.Unavailable: "unavailable", codes.DataLoss: "data_loss", codes.Unauthenticated: "unauthenticated",
	} {
		if got := restError(newError(code, "")).Code.String(); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
}
