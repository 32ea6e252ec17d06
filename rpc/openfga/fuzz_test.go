package openfga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
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
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
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

// someModel has most of what a model can have.
const someModel = `model
  schema 1.1
type user
type group
  relations
    define member: [user, user:*, group#member]
type folder
  relations
    define viewer: [user, group#member]
type document
  relations
    define parent: [folder]
    define blocked: [user]
    define owner: [user, user with small]
    define editor: owner or viewer from parent
    define viewer: (editor but not blocked) or (owner and editor)
condition small(x: int) {
  x < 10
}
`

// FuzzNode sends requests to a whole node: STORE and MODEL in them stand for a store
// that it has. Nothing may hold it up, make it panic or be a fault that nobody foresaw.
func FuzzNode(f *testing.F) {
	logged := new(bytes.Buffer)
	r := newRig(f, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(logged, nil)) })
	store, model := r.store(someModel, "document:1#parent@folder:1", "folder:1#viewer@group:1#member", "group:1#member@user:anne",
		"group:1#member@group:2#member", "group:2#member@group:1#member", "document:1#blocked@user:bob", "document:1#owner@user:bob")
	const context = `"context":{"x":5},"contextual_tuples":{"tuple_keys":[{"object":"document:1","relation":"owner","user":"user:eve","condition":{"name":"small","context":{"x":"1"}}}]}`
	for _, seed := range []struct{ method, path, body string }{
		{"POST", "/stores", `{"name":"abc"}`},
		{"GET", "/stores?page_size=2&name=test&continuation_token=abc", ``},
		{"GET", "/stores/STORE", ``},
		{"DELETE", "/stores/01ARZ3NDEKTSV4RRFFQ69G5FAV", ``},
		{"POST", "/stores/STORE/authorization-models", `{"schema_version":"1.1","type_definitions":[{"type":"user","relations":{"a":{"this":{}},"b":{"difference":{"base":{"computedUserset":{"relation":"a"}},"subtract":{"tupleToUserset":{"tupleset":{"relation":"a"},"computedUserset":{"relation":"b"}}}}}},"metadata":{"relations":{"a":{"directly_related_user_types":[{"type":"user","condition":"c"}]}}}}],"conditions":{"c":{"name":"c","expression":"x.size() > 1 && y","parameters":{"x":{"type_name":"TYPE_NAME_LIST","generic_types":[{"type_name":"TYPE_NAME_ANY"}]},"y":{"type_name":"TYPE_NAME_BOOL"}}}}}`},
		{"GET", "/stores/STORE/authorization-models?page_size=1", ``},
		{"GET", "/stores/STORE/authorization-models/MODEL", ``},
		{"POST", "/stores/STORE/write", `{"writes":{"tuple_keys":[{"object":"document:2","relation":"owner","user":"user:eve","condition":{"name":"small","context":{"x":1}}}],"on_duplicate":"ignore"},"deletes":{"tuple_keys":[{"object":"document:2","relation":"parent","user":"folder:9"}],"on_missing":"ignore"},"authorization_model_id":"MODEL"}`},
		{"POST", "/stores/STORE/read", `{"tuple_key":{"object":"document:","user":"user:bob"},"page_size":3}`},
		{"GET", "/stores/STORE/changes?type=document&page_size=3&start_time=2020-01-02T03:04:05Z", ``},
		{"POST", "/stores/STORE/check", `{"tuple_key":{"object":"document:1","relation":"viewer","user":"user:anne"},"trace":true,"consistency":"HIGHER_CONSISTENCY",` + context + `}`},
		{"POST", "/stores/STORE/check", `{"tuple_key":{"object":"document:1","relation":"viewer","user":"folder:1#viewer"},"authorization_model_id":"MODEL"}`},
		{"POST", "/stores/STORE/batch-check", `{"checks":[{"tuple_key":{"object":"document:1","relation":"viewer","user":"user:*"},"correlation_id":"1"},{"tuple_key":{"object":"document:1","relation":"nope","user":"user:bob"},"correlation_id":"2"}]}`},
		{"POST", "/stores/STORE/expand", `{"tuple_key":{"object":"document:1","relation":"viewer"}}`},
		{"POST", "/stores/STORE/list-objects", `{"type":"document","relation":"viewer","user":"user:anne",` + context + `}`},
		{"POST", "/stores/STORE/streamed-list-objects", `{"type":"document","relation":"editor","user":"group:2#member"}`},
		{"POST", "/stores/STORE/list-users", `{"object":{"type":"document","id":"1"},"relation":"viewer","user_filters":[{"type":"group","relation":"member"}]}`},
		{"PUT", "/stores/STORE/assertions/MODEL", `{"assertions":[{"tuple_key":{"object":"document:1","relation":"viewer","user":"user:anne"},"expectation":true}]}`},
		{"GET", "/stores/STORE/assertions/MODEL", ``},
		{"POST", "/stores/STORE/access/v1/evaluation", `{"subject":{"type":"user","id":"bob","properties":{"level":5}},"resource":{"type":"document","id":"1"},"action":{"name":"owner"},"context":{"x":5}}`},
		{"POST", "/stores/STORE/access/v1/evaluations", `{"subject":{"type":"user","id":"bob"},"action":{"name":"viewer"},"evaluations":[{"resource":{"type":"document","id":"1"}},{"resource":{"type":"nope","id":"1"}}],"options":{"evaluations_semantic":"deny_on_first_deny"}}`},
		{"POST", "/stores/STORE/access/v1/evaluations", `{"evaluations":[{"subject":{"type":"user","id":"bob"},"action":{"name":"viewer"},"resource":{"type":"document","id":"1"}},{}],"options":{"evaluations_semantic":2}}`},
		{"POST", "/stores/STORE/access/v1/search/subject", `{"subject":{"type":"user"},"resource":{"type":"document","id":"1"},"action":{"name":"viewer"},"page":{"limit":1}}`},
		{"POST", "/stores/STORE/access/v1/search/resource", `{"subject":{"type":"user","id":"*"},"resource":{"type":"document"},"action":{"name":"viewer"},"page":{"token":"AQYAAA","limit":0}}`},
		{"POST", "/stores/STORE/access/v1/search/action", `{"subject":{"type":"user","id":"bob"},"resource":{"type":"document","id":"1"},"page":{"limit":2}}`},
		{"GET", "/.well-known/authzen-configuration/STORE", ``},
	} {
		f.Add(seed.method, seed.path, seed.body)
	}
	known := strings.NewReplacer("STORE", store, "MODEL", model)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		if strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) || method == "" {
			return
		}
		target = known.Replace(target)
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" || method == http.MethodDelete && strings.Contains(target, store) {
			return // the store is needed
		}
		req := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(known.Replace(body)))
		req.URL, req.RequestURI = u, target
		w := httptest.NewRecorder()
		start := time.Now()
		r.face.Handler().ServeHTTP(w, req)
		if took := time.Since(start); took > fuzzTime {
			t.Errorf("%s %s took %s", method, target, took)
		}
		if strings.Contains(w.Body.String(), internalText) || logged.Len() > 0 {
			t.Errorf("%s %s\n%s\n%d %s\n%s", method, target, body, w.Code, w.Body, logged)
			logged.Reset()
		}
	})
}

// FuzzMessages asks a whole node what is well formed and may mean anything: every byte
// decides about a field of a request, whose texts come from what the store has and from
// what no store has.
func FuzzMessages(f *testing.F) {
	logged := new(bytes.Buffer)
	r := newRig(f, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(logged, nil)) })
	store, model := r.store(someModel, "document:1#parent@folder:1", "folder:1#viewer@group:1#member", "group:1#member@user:anne",
		"group:1#member@group:2#member", "group:2#member@group:1#member", "document:1#blocked@user:bob", "document:1#owner@user:bob")
	vocabulary := map[protoreflect.Name]string{
		"object":                 "document:1 document:2 folder:1 group:1 group:2",
		"user":                   "user:anne user:bob user:* group:1#member folder:1 group:2#member document:1#viewer",
		"relation":               "viewer editor owner blocked parent member",
		"type":                   "document user group folder",
		"id":                     "1 2 " + model,
		"name":                   "small abc viewer",
		"key":                    "small x viewer member parent",
		"condition":              "small",
		"schema_version":         "1.1 1.2",
		"authorization_model_id": model,
		"continuation_token":     "eyJwayI6IiJ9",
		"on_duplicate":           "ignore error",
		"on_missing":             "ignore error",
		"correlation_id":         "1 2 3 4 5",
		"expression":             "x<10 x<y",
	}
	words := map[protoreflect.Name][]string{}
	for name, text := range vocabulary {
		words[name] = strings.Fields(text)
	}
	words[""] = []string{"", "a b", "nope", "nope:1", "a:b:c", "#@:", "0", "é", "$expression", someID, model, strings.Repeat("x", 300)}
	specs := slices.DeleteFunc(slices.Collect(r.face.Server().Specs()), func(s connect.Spec) bool {
		return strings.HasSuffix(s.Procedure, "/DeleteStore") // the store is needed
	})
	for i := range specs {
		f.Add(byte(i), []byte{200, 1, 200, 33, 200, 5, 200, 27, 200, 30, 200, 4, 200, 7, 90, 91, 92})
		f.Add(byte(i), bytes.Repeat([]byte{250, 13, 240, 28, 230, 6, 251, 25, 1}, 9))
	}
	f.Fuzz(func(t *testing.T, which byte, choices []byte) {
		spec := specs[int(which)%len(specs)]
		method, ok := spec.Schema.(protoreflect.MethodDescriptor)
		if !ok {
			t.Fatalf("%s has no descriptor", spec.Procedure)
		}
		kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName())
		if err != nil {
			t.Fatal(err)
		}
		msg := kind.New()
		g := &generator{choices: choices, words: words}
		g.fill(msg, 0)
		if field := msg.Descriptor().Fields().ByName("store_id"); field != nil {
			msg.Set(field, protoreflect.ValueOfString(store))
		}
		info := &connect.CallInfo{Protocol: connect.ProtocolNameGRPC}
		start := time.Now()
		err = r.face.Server().Call(t.Context(), spec.Procedure, info, &sink{request: msg.Interface()})
		if took := time.Since(start); took > fuzzTime {
			t.Errorf("%s took %s: %v", spec.Procedure, took, msg)
		}
		if err != nil && strings.Contains(err.Error(), internalText) || logged.Len() > 0 {
			t.Errorf("%s: %v\n%v\n%s", spec.Procedure, err, msg, logged)
			logged.Reset()
		}
	})
}

// A generator fills messages with what its bytes choose. When they are used up, fields
// stay empty.
type generator struct {
	choices []byte
	words   map[protoreflect.Name][]string // by the field that they suit; any other under ""
}

// next is a number below n, and 0 when nothing is left to choose.
func (g *generator) next(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := g.choices[0]
	g.choices = g.choices[1:]
	return int(c) % n
}

func (g *generator) fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		// Of the alternatives of a field, the last one that is set is the one that stays.
		rare := field.ContainingOneof() != nil || strings.Contains(string(field.Name()), "_id") || field.Name() == "continuation_token"
		if depth > 5 || rare && g.next(4) != 1 || g.next(16) == 0 {
			continue
		}
		switch {
		case field.IsList():
			for range 1 + g.next(3) {
				list := m.Mutable(field).List()
				list.Append(g.value(field, list.NewElement, depth))
			}
		case field.IsMap():
			for range 1 + g.next(3) {
				entries := m.Mutable(field).Map()
				key := g.value(field.MapKey(), nil, depth).MapKey()
				entries.Set(key, g.value(field.MapValue(), entries.NewValue, depth))
			}
		default:
			m.Set(field, g.value(field, func() protoreflect.Value { return m.NewField(field) }, depth))
		}
	}
}

func (g *generator) value(field protoreflect.FieldDescriptor, message func() protoreflect.Value, depth int) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.MessageKind:
		v := message()
		g.fill(v.Message(), depth+1)
		return v
	case protoreflect.EnumKind:
		values := field.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(g.next(values.Len())).Number())
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(g.next(2) == 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(g.next(200)))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(g.next(200)) - 50)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(g.next(200)-50) << (4 * g.next(15)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(g.next(200)-50) / 4)
	}
	words, ok := g.words[field.Name()]
	if !ok || g.next(16) == 1 {
		words = g.words[""]
	}
	return protoreflect.ValueOfString(words[g.next(len(words))])
}

// A sink is a request whose answers nobody wants.
type sink struct{ request proto.Message }

func (s *sink) Receive(msg any) error { return move(msg, s.request) }
func (*sink) SendHeaders() error      { return nil }
func (*sink) Send(any) error          { return nil }

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
