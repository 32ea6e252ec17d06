package rpc

import (
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/structpb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

const inlineModel = `model
  schema 1.1

type user

type group
  relations
    define member: [user]

type document
  relations
    define editor: [user with $expression, group#member with $expression]
    define viewer: [user] or editor
`

// expression is the operation that writes a tuple with an expression of its own.
func expression(t testing.TB, text string, context map[string]any) *remitv1.Operation {
	t.Helper()
	fields, err := structpb.NewStruct(context)
	if err != nil {
		t.Fatal(err)
	}
	o := touch(t, text)[0]
	o.Tuple.Condition = &remitv1.Condition{Name: "$expression", Context: fields}
	return o
}

// A tuple's own expression comes through every layer and back.
func TestInlineExpressions(t *testing.T) {
	r := newRig(t)
	made, err := r.stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	store := made.Store.Id
	if _, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(inlineModel)}); err != nil {
		t.Fatal(err)
	}
	_, err = r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		expression(t, "document:plan#editor@user:anna", map[string]any{
			"expression": "channel == 'X'", "parameters": map[string]any{"channel": "string"},
		}),
		expression(t, "document:plan#editor@group:ops#member", map[string]any{
			"expression": "ip.in_cidr('10.0.0.0/8') && now < timestamp('2100-01-01T00:00:00Z')",
			"parameters": map[string]any{"ip": "ipaddress", "now": "timestamp"},
		}),
		touch(t, "group:ops#member@user:bert")[0],
		touch(t, "document:plan#viewer@user:carl")[0],
	}})
	if err != nil {
		t.Fatal(err)
	}
	with := func(context map[string]any) *remitv1.Scope {
		t.Helper()
		scope := scopeOf(store)
		if scope.Context, err = structpb.NewStruct(context); err != nil {
			t.Fatal(err)
		}
		return scope
	}
	for _, c := range []struct {
		question string
		context  map[string]any
		want     bool
	}{
		{"document:plan#viewer@user:anna", map[string]any{"channel": "X"}, true},
		{"document:plan#viewer@user:anna", map[string]any{"channel": "Y"}, false},
		{"document:plan#viewer@user:bert", map[string]any{"ip": "10.1.2.3"}, true},
		{"document:plan#viewer@user:bert", map[string]any{"ip": "11.1.2.3"}, false},
		{"document:plan#viewer@user:carl", nil, true},
	} {
		if got := r.check(with(c.context), c.question); got != c.want {
			t.Errorf("Check(%s) with %v = %t, want %t", c.question, c.context, got, c.want)
		}
	}
	_, err = r.ask(scopeOf(store), "document:plan#viewer@user:anna")
	code, _, detail := detailOf(t, err)
	if code != connect.CodeInvalidArgument || detail.Reason != remitv1.ErrorReason_ERROR_REASON_CONTEXT_MISSING ||
		strings.Join(detail.Missing, " ") != "channel" {
		t.Errorf("Check without the channel = %v, %v: %v", code, detail, err)
	}

	read, err := r.tuples.Read(t.Context(), &remitv1.ReadRequest{
		Store: store, Filter: &remitv1.TupleFilter{Object: "document:plan", Relation: "editor", Subject: "user:anna"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(read.Tuples) != 1 || read.Tuples[0].Tuple.Condition.GetName() != "$expression" ||
		read.Tuples[0].Tuple.Condition.GetContext().AsMap()["expression"] != "channel == 'X'" {
		t.Errorf("Read = %v, want the tuple with its expression", read.Tuples)
	}

	for says, o := range map[string]*remitv1.Operation{
		"1:11: the expression ends too early":       expression(t, "document:plan#editor@user:dora", map[string]any{"expression": "channel =="}),
		"the context lacks expression":              expression(t, "document:plan#editor@user:dora", nil),
		`"text" is no type`:                         expression(t, "document:plan#editor@user:dora", map[string]any{"expression": "true", "parameters": map[string]any{"a": "text"}}),
		"does not take this subject with":           expression(t, "document:plan#viewer@user:dora", map[string]any{"expression": "true"}),
		"1:3: > cannot be applied to (string, int)": expression(t, "document:plan#editor@user:dora", map[string]any{"expression": "a > 1"}),
	} {
		_, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{o}})
		code, message, detail := detailOf(t, err)
		if code != connect.CodeInvalidArgument || !strings.Contains(message, says) ||
			!strings.HasPrefix(detail.Field, "operations[0].tuple.condition") {
			t.Errorf("Write = %v in %q: %s, want it to say %q", code, detail.Field, message, says)
		}
	}
	scope := with(map[string]any{"channel": "X"})
	scope.ContextualTuples = []*remitv1.Tuple{
		expression(t, "document:plan#editor@user:erik", map[string]any{"expression": "channel == 'X'"}).Tuple,
	}
	if !r.check(scope, "document:plan#viewer@user:erik") {
		t.Error("Check of a contextual tuple with an expression = false, want true")
	}
}
