package openfga

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

const assertionsModel = `model
  schema 1.1

type user

type repo
  relations
    define reader: [user, user with condX]
    define can_read: reader

condition condX(x: int) {
  x > 0
}`

func assertion(object, relation, user string, contextual ...*openfgav1.TupleKey) *openfgav1.Assertion {
	return &openfgav1.Assertion{
		TupleKey:         &openfgav1.AssertionTupleKey{Object: object, Relation: relation, User: user},
		Expectation:      true,
		ContextualTuples: contextual,
	}
}

func (r *rig) assertions(store, modelID string) []*openfgav1.Assertion {
	r.t.Helper()
	option, of := header()
	res, err := r.ReadAssertions(r.t.Context(), &openfgav1.ReadAssertionsRequest{StoreId: store, AuthorizationModelId: modelID}, option)
	if err != nil {
		r.t.Fatal(err)
	}
	if res.AuthorizationModelId != modelID || of(HeaderModelID) != modelID {
		r.t.Errorf("assertions of %s come as those of %s, %s", modelID, res.AuthorizationModelId, of(HeaderModelID))
	}
	return res.Assertions
}

func TestAssertionsAreReadAsTheyWereWritten(t *testing.T) {
	r := newRig(t)
	store, modelID := r.store(assertionsModel)
	other := r.model(store, assertionsModel)
	if got := r.assertions(store, modelID); len(got) != 0 {
		t.Errorf("assertions of a new model: %v", got)
	}
	withContext := assertion("repo:test", "can_read", "user:elbuo")
	withContext.Context = fields(t, "x", 10, "more", []any{"a", 1.5, nil})
	false1 := assertion("repo:test", "reader", "user:elbuo")
	false1.Expectation = false
	for _, tc := range []struct {
		name       string
		assertions []*openfgav1.Assertion
	}{
		{"some", []*openfgav1.Assertion{false1, assertion("repo:test", "reader", "user:maria"), assertion("repo:test", "reader", "user:maria")}},
		{"of a computed relation", []*openfgav1.Assertion{assertion("repo:test", "can_read", "user:elbuo")}},
		{"with a contextual tuple", []*openfgav1.Assertion{assertion("repo:test", "can_read", "user:elbuo", key(t, "repo:test#reader@user:elbuo"))}},
		{"with a context", []*openfgav1.Assertion{withContext}},
		{"with a condition", []*openfgav1.Assertion{assertion("repo:test", "can_read", "user:elbuo", conditional(t, "repo:test#reader@user:elbuo", "condX", "x", 0))}},
		{"none", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.WriteAssertions(t.Context(), &openfgav1.WriteAssertionsRequest{StoreId: store, AuthorizationModelId: modelID, Assertions: tc.assertions})
			if err != nil {
				t.Fatal(err)
			}
			wantProto(t, &openfgav1.Assertions{Assertions: r.assertions(store, modelID)}, &openfgav1.Assertions{Assertions: tc.assertions})
			if got := r.assertions(store, other); len(got) != 0 {
				t.Errorf("assertions of another model: %v", got)
			}
		})
	}
	if got := r.changes(store); len(got) != 0 {
		t.Errorf("assertions are changes of tuples: %v", got)
	}
}

func TestWriteAssertionsRefusesWhatOpenFGARefuses(t *testing.T) {
	r := newRig(t)
	store, modelID := r.store(assertionsModel)
	const unknown = "01JCC8ZD4X84K2W0H0ZA5AQ947"
	big := assertion("repo:test", "can_read", "user:elbuo")
	context := map[string]any{}
	for i := range 100 {
		name := strings.Repeat("a", 512) + strconv.Itoa(i)
		context[name] = name
	}
	big.Context = fields(t, "all", context)
	var long []*openfgav1.Assertion
	for a := range 10 {
		digits := strings.Repeat(strconv.Itoa(a), 500)
		var contextual []*openfgav1.TupleKey
		for range 10 {
			contextual = append(contextual, tk("repo:"+digits[:251], "reader", "user:"+digits))
		}
		long = append(long, assertion("repo:"+digits[:251], "reader", "user:"+digits, contextual...))
	}
	var many []*openfgav1.Assertion
	for i := range 101 {
		many = append(many, assertion(fmt.Sprintf("repo:%d", i), "reader", "user:maria"))
	}
	kept := []*openfgav1.Assertion{assertion("repo:test", "reader", "user:maria")}
	if _, err := r.WriteAssertions(t.Context(), &openfgav1.WriteAssertionsRequest{StoreId: store, AuthorizationModelId: modelID, Assertions: kept}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name         string
		store, model string
		assertions   []*openfgav1.Assertion
		code         Code
		text         string
	}{
		{
			name: "too many", assertions: many,
			code: codeInvalid, text: "invalid WriteAssertionsRequest.Assertions: value must contain no more than 100 item(s)",
		},
		{name: "too long", assertions: long, code: codeLimit, text: "The number of bytes exceeds the allowed limit of 64000"},
		{name: "too long a context", assertions: []*openfgav1.Assertion{big}, code: codeLimit, text: "The number of bytes exceeds the allowed limit of 64000"},
		{
			name: "an unknown relation", assertions: []*openfgav1.Assertion{assertion("repo:test", "invalidrelation", "user:elbuo")},
			code: codeValidation, text: "relation 'repo#invalidrelation' not found",
		},
		{
			name: "an unknown type", assertions: []*openfgav1.Assertion{assertion("unknown:test", "reader", "user:elbuo")},
			code: codeValidation, text: "type 'unknown' not found",
		},
		{
			name: "a contextual tuple with a foreign parameter", assertions: []*openfgav1.Assertion{
				assertion("repo:test", "can_read", "user:elbuo", conditional(t, "repo:test#reader@user:elbuo", "condX", "unknownparam", 0)),
			},
			code: codeValidation, text: "Invalid tuple 'repo:test#reader@user:elbuo (condition condX)'. Reason: found invalid context parameter: unknownparam",
		},
		{
			name: "a contextual tuple with an unknown condition", assertions: []*openfgav1.Assertion{
				assertion("repo:test", "can_read", "user:elbuo", conditional(t, "repo:test#reader@user:elbuo", "condundefined")),
			},
			code: codeValidation, text: "Invalid tuple 'repo:test#reader@user:elbuo (condition condundefined)'. Reason: undefined condition",
		},
		{
			name: "a contextual tuple of a computed relation", assertions: []*openfgav1.Assertion{
				assertion("repo:test", "can_read", "user:elbuo", key(t, "repo:test#can_read@user:elbuo")),
			},
			code: codeValidation, text: "Invalid tuple 'repo:test#can_read@user:elbuo'. Reason: type 'user' is not an allowed type restriction for 'repo#can_read'",
		},
		{
			name: "a contextual tuple of an unknown relation", assertions: []*openfgav1.Assertion{
				assertion("repo:test", "can_read", "user:elbuo", key(t, "repo:test#invalidrelation@user:elbuo")),
			},
			code: codeValidation, text: "Invalid tuple 'repo:test#invalidrelation@user:elbuo'. Reason: relation 'repo#invalidrelation' not found",
		},
		{
			name: "a contextual tuple of an unknown type", assertions: []*openfgav1.Assertion{
				assertion("repo:test", "can_read", "user:elbuo", key(t, "unknown:test#reader@user:elbuo")),
			},
			code: codeValidation, text: "Invalid tuple 'unknown:test#reader@user:elbuo'. Reason: type 'unknown' not found",
		},
		{name: "an unknown model", model: unknown, code: 2001, text: "Authorization Model '" + unknown + "' not found"},
		{name: "an unknown store", store: unknown, code: 2001, text: "Authorization Model '" + modelID + "' not found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &openfgav1.WriteAssertionsRequest{StoreId: store, AuthorizationModelId: modelID, Assertions: tc.assertions}
			if tc.store != "" {
				req.StoreId = tc.store
			}
			if tc.model != "" {
				req.AuthorizationModelId = tc.model
			}
			_, err := r.WriteAssertions(t.Context(), req)
			wantError(t, err, tc.code, tc.text)
		})
	}
	wantProto(t, &openfgav1.Assertions{Assertions: r.assertions(store, modelID)}, &openfgav1.Assertions{Assertions: kept})
	for _, tc := range [][2]string{{store, unknown}, {unknown, modelID}} {
		_, err := r.ReadAssertions(t.Context(), &openfgav1.ReadAssertionsRequest{StoreId: tc[0], AuthorizationModelId: tc[1]})
		wantError(t, err, 2001, "Authorization Model '"+tc[1]+"' not found")
	}
}
