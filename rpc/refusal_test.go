package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/token"
)

// A refusal is a request that must fail, and how.
type refusal struct {
	name   string
	call   func(r *rig) error
	code   connect.Code
	reason remitv1.ErrorReason
	field  string
	says   []string // what the message must contain
}

func write(ops ...*remitv1.Operation) func(r *rig) error {
	return func(r *rig) error { return r.tryWrite(&remitv1.WriteRequest{Store: "acme", Operations: ops}) }
}

func (r *rig) tryWrite(req *remitv1.WriteRequest) error {
	_, err := r.tuples.Write(r.t.Context(), req)
	return err
}

func op(kind remitv1.Operation_Kind, object, relation, subject string) *remitv1.Operation {
	return &remitv1.Operation{Kind: kind, Tuple: &remitv1.Tuple{Object: object, Relation: relation, Subject: subject}}
}

func put(object, relation, subject string) *remitv1.Operation {
	return op(remitv1.Operation_KIND_TOUCH, object, relation, subject)
}

func asking(object, relation, subject string) func(r *rig) error {
	return func(r *rig) error { return r.tryCheck(scopeOf("acme"), object, relation, subject) }
}

func (r *rig) tryCheck(scope *remitv1.Scope, object, relation, subject string) error {
	_, err := r.access.Check(r.t.Context(), &remitv1.CheckRequest{
		Scope: scope, Question: &remitv1.Question{Object: object, Relation: relation, Subject: subject},
	})
	return err
}

func scoped(change func(r *rig, s *remitv1.Scope)) func(r *rig) error {
	return func(r *rig) error {
		scope := scopeOf("acme")
		change(r, scope)
		return r.tryCheck(scope, "document:plan", "reader", "user:anna")
	}
}

func consistent(change func(r *rig, c *remitv1.Consistency)) func(r *rig) error {
	return scoped(func(r *rig, s *remitv1.Scope) {
		s.Consistency = &remitv1.Consistency{}
		change(r, s.Consistency)
	})
}

func writeModel(source *remitv1.ModelSource) func(r *rig) error {
	return func(r *rig) error {
		_, err := r.models.WriteModel(r.t.Context(), &remitv1.WriteModelRequest{Store: "acme", Source: source})
		return err
	}
}

const (
	invalid      = connect.CodeInvalidArgument
	notFound     = connect.CodeNotFound
	precondition = connect.CodeFailedPrecondition
	exhausted    = connect.CodeResourceExhausted
)

var refusals = []refusal{
	{"a field is missing", func(r *rig) error {
		_, err := r.access.Check(r.t.Context(), &remitv1.CheckRequest{Scope: scopeOf("acme")})
		return err
	}, invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "question", nil},
	{"a page is too long", func(r *rig) error {
		_, err := r.tuples.Read(r.t.Context(), &remitv1.ReadRequest{Store: "acme", PageSize: 10_001})
		return err
	}, invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "page_size", nil},
	{
		"an operation has no kind", write(op(0, "document:a", "owner", "user:anna")),
		invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "operations[0].kind",
		[]string{"must be given"},
	},
	{"a store's name reads as an id", func(r *rig) error {
		_, err := r.stores.CreateStore(r.t.Context(), &remitv1.CreateStoreRequest{Name: "01J00000000000000000000000"})
		return err
	}, invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "name", []string{"form of a store's id"}},
	{"an expiry lies before 1970", func(r *rig) error {
		o := put("document:a", "owner", "user:anna")
		o.Tuple.ExpiresAt = timestamppb.New(time.Unix(-5, 0))
		return write(o)(r)
	}, invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "operations[0].tuple.expires_at", []string{"1970"}},
	{"an expiry is the beginning of time", func(r *rig) error {
		o := put("document:a", "owner", "user:anna")
		o.Tuple.ExpiresAt = timestamppb.New(time.Time{})
		return write(o)(r)
	}, invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "operations[0].tuple.expires_at", []string{"beginning of time"}},

	{
		"the store is unknown", scoped(func(_ *rig, s *remitv1.Scope) { s.Store = "nobody" }),
		notFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND, "scope.store",
		[]string{`"nobody"`},
	},
	{"the store to delete is unknown", func(r *rig) error {
		_, err := r.stores.DeleteStore(r.t.Context(), &remitv1.DeleteStoreRequest{StoreId: "01J00000000000000000000000"})
		return err
	}, notFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND, "store_id", nil},
	{"a store is deleted by name", func(r *rig) error {
		_, err := r.stores.DeleteStore(r.t.Context(), &remitv1.DeleteStoreRequest{StoreId: "acme"})
		return err
	}, notFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND, "store_id", []string{"by id only"}},
	{"two stores bear the name", func(r *rig) error {
		for range 2 {
			if _, err := r.stores.CreateStore(r.t.Context(), &remitv1.CreateStoreRequest{Name: "twin"}); err != nil {
				return err
			}
		}
		return r.tryCheck(scopeOf("twin"), "document:plan", "reader", "user:anna")
	}, precondition, remitv1.ErrorReason_ERROR_REASON_STORE_NAME_AMBIGUOUS, "scope.store", []string{"01", "give one of these ids"}},
	{"the store has no model", func(r *rig) error {
		if _, err := r.stores.CreateStore(r.t.Context(), &remitv1.CreateStoreRequest{Name: "empty"}); err != nil {
			return err
		}
		return r.tryCheck(scopeOf("empty"), "document:plan", "reader", "user:anna")
	}, notFound, remitv1.ErrorReason_ERROR_REASON_MODEL_NOT_FOUND, "scope.model_id", []string{"no model yet"}},
	{
		"the model is unknown", scoped(func(_ *rig, s *remitv1.Scope) { s.ModelId = "01J00000000000000000000000" }),
		notFound, remitv1.ErrorReason_ERROR_REASON_MODEL_NOT_FOUND, "scope.model_id", nil,
	},

	{
		"the object's type is unknown", asking("page:plan", "reader", "user:anna"),
		invalid, remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND, "question.object",
		[]string{"page", "document"},
	},
	{
		"the subject's type is unknown", asking("document:plan", "reader", "robot:anna"),
		invalid, remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND, "question.subject",
		[]string{"robot", "user"},
	},
	{
		"the relation is unknown", asking("document:plan", "raeder", "user:anna"),
		invalid, remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND, "question.relation",
		[]string{"raeder", "reader"},
	},
	{"the filter's relation is unknown", func(r *rig) error {
		_, err := r.tuples.Read(r.t.Context(), &remitv1.ReadRequest{Store: "acme", Filter: &remitv1.TupleFilter{Relation: "raeder"}})
		return err
	}, invalid, remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND, "filter.relation", []string{"raeder"}},
	{"the condition is unknown", func(r *rig) error {
		return write(&remitv1.Operation{Kind: remitv1.Operation_KIND_TOUCH, Tuple: conditional(r.t, "document:a#viewer@user:anna", "in_regoin", nil)})(r)
	}, invalid, remitv1.ErrorReason_ERROR_REASON_CONDITION_NOT_FOUND, "operations[0].tuple.condition.name", []string{"in_regoin"}},

	{"an object has no id", asking("document", "reader", "user:anna"), invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "question.object", nil},
	{"an object is a wildcard", asking("document:*", "reader", "user:anna"), invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "question.object", nil},
	{"an id holds a space", asking("document:a b", "reader", "user:anna"), invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "question.object", nil},
	{"an id holds a hash", asking("document:a#b", "reader", "user:anna"), invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "question.object", nil},
	{
		"an id is too long", asking("document:a", "reader", "user:"+strings.Repeat("x", 1017)),
		invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "question.subject",
		[]string{"1016"},
	},
	{"a subject has an empty relation", asking("document:a", "reader", "group:all#"), invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "question.subject", nil},

	{
		"a model has a syntax error", writeModel(dsl("model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer [user]\n")),
		invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_MODEL, "source",
		[]string{"6:"},
	},
	{
		"a model has no sense", writeModel(dsl("model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [usr]\n")),
		invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_MODEL, "source",
		[]string{"6:", "usr"},
	},
	{
		"a model's JSON is none", writeModel(&remitv1.ModelSource{Source: &remitv1.ModelSource_Json{Json: "{"}}),
		invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_MODEL, "source", nil,
	},

	{
		"the model forbids a tuple", write(put("document:a", "owner", "group:all#member")),
		invalid, remitv1.ErrorReason_ERROR_REASON_TUPLE_NOT_ALLOWED, "operations[0].tuple.subject",
		[]string{"allowed: user"},
	},
	{
		"the model computes a relation", write(put("document:a", "reader", "user:anna")),
		invalid, remitv1.ErrorReason_ERROR_REASON_TUPLE_NOT_ALLOWED, "operations[0].tuple.relation",
		[]string{"computed"},
	},
	{"the model forbids a contextual tuple", scoped(func(r *rig, s *remitv1.Scope) {
		s.ContextualTuples = []*remitv1.Tuple{tuple(r.t, "document:a#parent@user:anna")}
	}), invalid, remitv1.ErrorReason_ERROR_REASON_TUPLE_NOT_ALLOWED, "scope.contextual_tuples[0].subject", []string{"folder"}},

	{
		"a tuple stands in two operations", write(put("document:a", "owner", "user:anna"), put("document:b", "owner", "user:anna"),
			op(remitv1.Operation_KIND_DELETE, "document:a", "owner", "user:anna")),
		invalid, remitv1.ErrorReason_ERROR_REASON_DUPLICATE_OPERATION, "operations[2].tuple",
		[]string{"operations[0]", "operations[2]", "document:a#owner@user:anna"},
	},
	{
		"a tuple exists", write(put("document:new", "owner", "user:anna"), op(remitv1.Operation_KIND_CREATE, "folder:plans", "owner", "user:olga")),
		connect.CodeAlreadyExists, remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS, "operations[1]",
		[]string{"folder:plans#owner@user:olga"},
	},
	{"a required tuple is absent", func(r *rig) error {
		return r.tryWrite(&remitv1.WriteRequest{
			Store: "acme", Operations: []*remitv1.Operation{put("document:new", "owner", "user:anna")},
			Preconditions: []*remitv1.Precondition{{Kind: remitv1.Precondition_KIND_TUPLE_PRESENT, Tuple: tuple(r.t, "document:new#owner@user:bert")}},
		})
	}, precondition, remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED, "preconditions[0]", []string{"document:new#owner@user:bert", "must exist"}},
	{"a forbidden tuple is present", func(r *rig) error {
		return r.tryWrite(&remitv1.WriteRequest{
			Store: "acme", Operations: []*remitv1.Operation{put("document:new", "owner", "user:anna")},
			Preconditions: []*remitv1.Precondition{{Kind: remitv1.Precondition_KIND_TUPLE_ABSENT, Tuple: tuple(r.t, "folder:plans#owner@user:olga")}},
		})
	}, precondition, remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED, "preconditions[0]", []string{"must not exist"}},
	{"a key is used for other content", func(r *rig) error {
		req := &remitv1.WriteRequest{Store: "acme", IdempotencyKey: "k1", Operations: []*remitv1.Operation{put("folder:plans", "owner", "user:olga")}}
		if err := r.tryWrite(req); err != nil {
			return err
		}
		req.Operations = []*remitv1.Operation{put("document:new", "owner", "user:anna")}
		return r.tryWrite(req)
	}, invalid, remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT, "", nil},

	{
		"a condition lacks a parameter", asking("document:eu", "viewer", "user:anna"),
		invalid, remitv1.ErrorReason_ERROR_REASON_CONTEXT_MISSING, "",
		[]string{"region"},
	},
	{"a parameter has the wrong type", func(r *rig) error {
		scope := scopeOf("acme")
		scope.Context = fields(r.t, map[string]any{"region": []any{"eu"}})
		return r.tryCheck(scope, "document:eu", "viewer", "user:anna")
	}, invalid, remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID, "", []string{"region", "string"}},
	{"a stored parameter has the wrong type", func(r *rig) error {
		return write(&remitv1.Operation{
			Kind:  remitv1.Operation_KIND_TOUCH,
			Tuple: conditional(r.t, "document:new#viewer@user:anna", "in_region", map[string]any{"allowed": "eu"}),
		})(r)
	}, invalid, remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID, "operations[0].tuple.condition.context", []string{"allowed"}},
	{"a stored parameter is unknown", func(r *rig) error {
		return write(&remitv1.Operation{
			Kind:  remitv1.Operation_KIND_TOUCH,
			Tuple: conditional(r.t, "document:new#viewer@user:anna", "in_region", map[string]any{"alowed": []any{"eu"}}),
		})(r)
	}, invalid, remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID, "operations[0].tuple.condition.context", []string{"alowed"}},
	{"a caller brings its own now", scoped(func(r *rig, s *remitv1.Scope) {
		s.Context = fields(r.t, map[string]any{"now": "2030-01-01T00:00:00Z"})
	}), invalid, remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID, "scope.context.now", []string{"scope.at"}},

	{"a context is too large", scoped(func(r *rig, s *remitv1.Scope) {
		s.Context = fields(r.t, map[string]any{"region": strings.Repeat("x", MaxContextBytes)})
	}), exhausted, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE, "scope.context", []string{"65536"}},
	{"a model is too large", writeModel(dsl(strings.Repeat("#", 1<<20+1))), exhausted, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE, "source.dsl", nil},
	{"a write has too many operations", func(r *rig) error {
		var ops []*remitv1.Operation
		for i := range 10_001 {
			ops = append(ops, put("document:d"+strconv.Itoa(i), "owner", "user:anna"))
		}
		return write(ops...)(r)
	}, exhausted, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE, "operations", []string{"10000"}},
	{"a write has too many bytes", func(r *rig) error {
		var ops []*remitv1.Operation
		long := strings.Repeat("x", 30_000)
		for i := range 200 {
			ops = append(ops, &remitv1.Operation{
				Kind:  remitv1.Operation_KIND_TOUCH,
				Tuple: conditional(r.t, "document:d"+strconv.Itoa(i)+"#viewer@user:anna", "in_region", map[string]any{"allowed": []any{long}}),
			})
		}
		return write(ops...)(r)
	}, exhausted, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE, "operations", []string{"4194304", "divide"}},

	{"a cursor was altered", func(r *rig) error {
		res, err := r.tuples.Read(r.t.Context(), &remitv1.ReadRequest{Store: "acme", PageSize: 1})
		if err != nil {
			return err
		}
		_, err = r.tuples.Read(r.t.Context(), &remitv1.ReadRequest{Store: "acme", PageSize: 1, Cursor: "B" + res.Cursor[1:]})
		return err
	}, invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR, "cursor", nil},
	{"a cursor is of another request", func(r *rig) error {
		res, err := r.tuples.Read(r.t.Context(), &remitv1.ReadRequest{Store: "acme", PageSize: 1})
		if err != nil {
			return err
		}
		_, err = r.tuples.Read(r.t.Context(), &remitv1.ReadRequest{Store: "acme", Cursor: res.Cursor, Filter: &remitv1.TupleFilter{Object: "folder"}})
		return err
	}, invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR, "cursor", []string{"every other field"}},
	{"a token was altered", consistent(func(r *rig, c *remitv1.Consistency) {
		token := r.reader().Token(3)
		c.Requirement = &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: token[:len(token)-1] + "~"}
	}), invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_TOKEN, "scope.consistency.at_least_as_fresh", nil},
	{"a token of another epoch names no state", consistent(func(_ *rig, c *remitv1.Consistency) {
		c.Requirement = &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token.Token{Epoch: testEpoch(9), Revision: 3}.String()}
	}), precondition, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, "scope.consistency.at_exact_snapshot", nil},
	{"a token is from the future", consistent(func(r *rig, c *remitv1.Consistency) {
		c.Requirement = &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: r.reader().Token(1 << 30)}
	}), connect.CodeUnavailable, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, "scope.consistency.at_least_as_fresh", nil},
	{"a state is from before the store", consistent(func(r *rig, c *remitv1.Consistency) {
		c.Requirement = &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: r.reader().Token(1)}
	}), precondition, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, "scope.consistency", nil},
	{"an exact time lies in the future", consistent(func(_ *rig, c *remitv1.Consistency) {
		c.Requirement = &remitv1.Consistency_AtExactTime{AtExactTime: timestamppb.New(time.Now().Add(time.Hour))}
	}), invalid, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "scope.consistency.at_exact_time", []string{"future"}},
	{"the instant's tuples have expired and gone", func(r *rig) error {
		head, err := backend.FindStore(r.t.Context(), r.config.State.Current(), "", "acme")
		if err != nil {
			return err
		}
		now := r.config.State.Current().Time()
		result := r.propose(&fsm.Command{Store: head.ID(), Body: &fsm.AdvanceExpiry{Horizon: now.UnixMilli()}})
		if result.Err != nil {
			return result.Err
		}
		return scoped(func(_ *rig, s *remitv1.Scope) { s.At = timestamppb.New(now.Add(-time.Second)) })(r)
	}, precondition, remitv1.ErrorReason_ERROR_REASON_INSTANT_UNAVAILABLE, "scope.at", []string{"at_exact_time"}},
	{"the work is too much", func(r *rig) error {
		return r.tryCheck(scopeOf("acme"), "document:far", "viewer", "user:nobody")
	}, precondition, remitv1.ErrorReason_ERROR_REASON_BUDGET_EXCEEDED, "", nil},
}

func (r *rig) reader() *reader { return &reader{backend.NewReader(r.config.backend())} }

// Every bad input is refused for its own reason, says what is wrong, and writes nothing.
func TestBadInputIsRefused(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Budget = 300 })
	store := r.store("acme", acme...)
	far := []string{"document:far#viewer@group:g0#member"}
	for i := range 400 {
		far = append(far, fmt.Sprintf("group:g%d#member@group:g%d#member", i, i+1))
	}
	r.write(store, far...)
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{
		Kind:  remitv1.Operation_KIND_CREATE,
		Tuple: conditional(t, "document:eu#viewer@user:anna", "in_region", map[string]any{"allowed": []any{"eu"}}),
	}}}); err != nil {
		t.Fatal(err)
	}
	before := r.dump("acme")
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			code, message, detail := detailOf(t, tc.call(r))
			if code != tc.code || detail.Reason != tc.reason || detail.Field != tc.field {
				t.Errorf("got %v, %v, field %q: %s\nwant %v, %v, field %q", code, detail.Reason, detail.Field, message, tc.code, tc.reason, tc.field)
			}
			for _, text := range tc.says {
				if !strings.Contains(message, text) {
					t.Errorf("message %q does not say %q", message, text)
				}
			}
			if tc.reason == remitv1.ErrorReason_ERROR_REASON_CONTEXT_MISSING && !slices.Equal(detail.Missing, []string{"region"}) {
				t.Errorf("missing = %v", detail.Missing)
			}
			if tc.reason == remitv1.ErrorReason_ERROR_REASON_INVALID_MODEL && !strings.Contains(tc.name, "JSON") && (detail.Line != 6 || detail.Column == 0) {
				t.Errorf("place = %d:%d, want line 6", detail.Line, detail.Column)
			}
		})
	}
	if after := r.dump("acme"); after != before {
		t.Errorf("something was written:\nbefore %s\nafter  %s", before, after)
	}
}

// dump is everything that a store holds, in words.
func (r *rig) dump(store string) string {
	r.t.Helper()
	head, err := backend.FindStore(r.t.Context(), r.config.State.Current(), "", store)
	if err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, len(head.Models()), head.TupleCount())
	c := graph.RowCursor{}
	for !c.Done {
		if err := head.Rows(&c); err != nil {
			r.t.Fatal(err)
		}
		for i := range c.Rows {
			m, err := backend.RowTuple(head.Symbols(), head, &c.Rows[i])
			if err != nil {
				r.t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s#%s@%s\n", m.Object, m.Relation, m.Subject)
		}
	}
	return b.String()
}

// Whatever JSON a client sends, it gets an answer or a refusal, never an internal
// error and never a panic.
func FuzzCheckAndWrite(f *testing.F) {
	f.Add(`{"scope":{"store":"acme"},"question":{"object":"document:plan","relation":"reader","subject":"user:anna"}}`)
	f.Add(`{"scope":{"store":"acme","context":{"now":1},"contextualTuples":[{"object":"a:b"}]}}`)
	f.Add(`{"store":"acme","operations":[{"kind":"KIND_TOUCH","tuple":{"object":"document:a","relation":"viewer","subject":"user:*","condition":{"name":"until","context":{"end":3}}}}]}`)
	f.Add(`{"store":"acme","operations":[{"kind":3,"tuple":{"object":":","relation":"\u0000","subject":"user:#"},"expiresAt":"9999-12-31T23:59:59.999999999Z"}]}`)
	r := newRig(f)
	r.store("acme", acme...)
	f.Fuzz(func(t *testing.T, body string) {
		if !json.Valid([]byte(body)) {
			return
		}
		check, writing := &remitv1.CheckRequest{}, &remitv1.WriteRequest{}
		if decodeJSON(body, check) == nil {
			_, err := r.access.Check(t.Context(), check)
			refused(t, body, err)
		}
		if decodeJSON(body, writing) == nil {
			_, err := r.tuples.Write(t.Context(), writing)
			refused(t, body, err)
		}
	})
}

func refused(t *testing.T, body string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	code, message, detail := detailOf(t, err)
	if code == connect.CodeInternal || code == connect.CodeUnknown || detail.Reason == 0 {
		t.Errorf("%s is answered %v, %v: %s", body, code, detail.Reason, message)
	}
}
