package openfga

import (
	"fmt"
	"strings"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// acmeModel has each kind of rewrite, of subject, and of condition.
const acmeModel = `model
  schema 1.1

type user

type robot

type group
  relations
    define member: [user, user:*, group#member]

type folder
  relations
    define viewer: [user, group#member]

type document
  relations
    define parent: [folder]
    define owner: [user]
    define editor: [user, group#member] or owner
    define viewer: [user, user:*, group#member] or editor or viewer from parent
    define blocked: [user]
    define reader: viewer but not blocked
    define signer: editor and viewer
    define guest: [user with in_region]
    define either: guest or owner

condition in_region(region: string, wanted: string, level: int) {
  region == wanted && level > 2
}
`

// acme is a store with that model.
func acme(r *rig) (store, model string) {
	store, model = r.store(acmeModel,
		"group:all#member@group:design#member",
		"group:design#member@user:anna",
		"folder:plans#viewer@group:all#member",
		"document:plan#parent@folder:plans",
		"document:plan#owner@user:otto",
		"document:plan#blocked@user:anna",
		"document:notice#viewer@user:*",
	)
	if err := r.tryWrite(writes(store,
		conditional(r.t, "document:draft#guest@user:gil", "in_region", "wanted", "north"),
		key(r.t, "document:draft#owner@user:olga"),
	)); err != nil {
		r.t.Fatal(err)
	}
	return store, model
}

func checkKey(t testing.TB, text string) *openfgav1.CheckRequestTupleKey {
	k := key(t, text)
	return &openfgav1.CheckRequestTupleKey{Object: k.Object, Relation: k.Relation, User: k.User}
}

func contextual(keys ...*openfgav1.TupleKey) *openfgav1.ContextualTupleKeys {
	return &openfgav1.ContextualTupleKeys{TupleKeys: keys}
}

func TestCheck(t *testing.T) {
	r := newRig(t)
	store, model := acme(r)
	for _, tc := range []struct {
		name, question string
		model          string
		context        *structpb.Struct
		tuples         []*openfgav1.TupleKey
		want           bool
	}{
		{name: "through usersets and an arrow", question: "document:plan#viewer@user:anna", want: true},
		{name: "by the model that is named", question: "document:plan#viewer@user:anna", model: model, want: true},
		{name: "not who is subtracted", question: "document:plan#reader@user:anna"},
		{name: "who has both of an intersection", question: "document:plan#signer@user:otto", want: true},
		{name: "not who has one of an intersection", question: "document:plan#signer@user:anna"},
		{name: "an unknown user is one of everybody", question: "document:notice#viewer@user:stranger", want: true},
		{name: "everybody where everybody is named", question: "document:notice#viewer@user:*", want: true},
		{name: "everybody is not one of them", question: "document:plan#viewer@user:*"},
		{name: "everybody of another type", question: "document:notice#viewer@robot:*"},
		{name: "a userset", question: "document:plan#viewer@group:design#member", want: true},
		{name: "a userset of itself", question: "document:plan#viewer@document:plan#viewer", want: true},
		{name: "an unknown userset of itself", question: "document:new#viewer@document:new#viewer", want: true},
		{name: "not of another object", question: "document:plan#viewer@document:notice#viewer"},
		{name: "an unknown object", question: "document:nothing#viewer@user:anna"},
		{
			name: "a contextual tuple", question: "document:plan#viewer@user:nina", want: true,
			tuples: r.tuples("group:design#member@user:nina"),
		},
		{
			name: "a contextual tuple of what nobody knows", question: "document:new#viewer@user:new", want: true,
			tuples: r.tuples("document:new#editor@group:new#member", "group:new#member@user:new"),
		},
		{
			name: "a contextual tuple twice", question: "document:plan#viewer@user:nina", want: true,
			tuples: r.tuples("group:design#member@user:nina", "group:design#member@user:nina"),
		},
		{
			name: "a condition that holds", question: "document:draft#guest@user:gil", want: true,
			context: fields(t, "region", "north", "level", 3),
		},
		{
			name: "a condition that does not hold", question: "document:draft#guest@user:gil",
			context: fields(t, "region", "south", "level", 3),
		},
		{
			name: "what is stored comes before the request's context", question: "document:draft#guest@user:gil",
			context: fields(t, "region", "south", "wanted", "south", "level", 3),
		},
		{
			name: "a number as text", question: "document:draft#guest@user:gil", want: true,
			context: fields(t, "region", "north", "level", "3"),
		},
		{
			name: "a contextual tuple comes before a stored one", question: "document:draft#guest@user:gil", want: true,
			context: fields(t, "region", "south", "level", 3),
			tuples:  []*openfgav1.TupleKey{conditional(t, "document:draft#guest@user:gil", "in_region", "wanted", "south")},
		},
		{
			name: "of two contextual tuples the first counts", question: "document:draft#guest@user:gil", want: true,
			context: fields(t, "region", "south", "level", 3),
			tuples: []*openfgav1.TupleKey{
				conditional(t, "document:draft#guest@user:gil", "in_region", "wanted", "south"),
				conditional(t, "document:draft#guest@user:gil", "in_region", "wanted", "north"),
			},
		},
		{
			name: "a condition that cannot be judged and does not matter", question: "document:draft#either@user:gil", want: true,
			tuples: r.tuples("document:draft#owner@user:gil"),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &openfgav1.CheckRequest{
				StoreId: store, AuthorizationModelId: tc.model, TupleKey: checkKey(t, tc.question), Context: tc.context, Trace: true,
			}
			if tc.tuples != nil {
				req.ContextualTuples = contextual(tc.tuples...)
			}
			res, err := r.Check(t.Context(), req)
			if err != nil || res.GetAllowed() != tc.want || res.GetResolution() != "" {
				t.Errorf("Check(%s) = %v, %v, want %t", tc.question, res, err, tc.want)
			}
		})
	}
}

func TestCheckFaults(t *testing.T) {
	r := newRig(t)
	store, _ := acme(r)
	empty, _ := r.store("")
	const nowhere = "01HVMMBCMGZNTGTTYYYYYYYYYY"
	fine := &openfgav1.CheckRequestTupleKey{Object: "document:plan", Relation: "viewer", User: "user:anna"}
	guest := checkKey(t, "document:draft#guest@user:gil")
	for _, tc := range []struct {
		name         string
		store, model string
		key          *openfgav1.CheckRequestTupleKey
		context      *structpb.Struct
		tuples       []*openfgav1.TupleKey
		code         Code
		text         string
	}{
		{name: "no such store", store: nowhere, key: fine, code: 2020, text: "No authorization models found for store '" + nowhere + "'"},
		{name: "an id that no store can have", store: "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", key: fine, code: 2020, text: "No authorization models found for store 'ZZZZZZZZZZZZZZZZZZZZZZZZZZ'"},
		{name: "no such store, with a model", store: nowhere, model: nowhere, key: fine, code: 2001, text: "Authorization Model '" + nowhere + "' not found"},
		{name: "a store without a model", store: empty, key: fine, code: 2020, text: "No authorization models found for store '" + empty + "'"},
		{name: "no such model", model: nowhere, key: fine, code: 2001, text: "Authorization Model '" + nowhere + "' not found"},
		{
			name: "no such type", key: &openfgav1.CheckRequestTupleKey{Object: "report:plan", Relation: "viewer", User: "user:anna"},
			code: 2000, text: "invalid relation: type 'report' not found",
		},
		{
			name: "no such relation", key: &openfgav1.CheckRequestTupleKey{Object: "document:plan", Relation: "printer", User: "user:anna"},
			code: 2000, text: "invalid relation: relation 'document#printer' not found",
		},
		{
			name: "a user without a type", key: &openfgav1.CheckRequestTupleKey{Object: "document:plan", Relation: "viewer", User: "anna"},
			code: 2000, text: "invalid relation: the 'user' field must be an object (e.g. document:1) or an 'object#relation' or a typed wildcard (e.g. group:*)",
		},
		{
			name: "an object that is everything", key: &openfgav1.CheckRequestTupleKey{Object: "document:*", Relation: "viewer", User: "user:anna"},
			code: 2000, text: "invalid relation: the 'object' field cannot reference a typed wildcard",
		},
		{
			name: "a control character in the context", key: fine, context: fields(t, "region", "no\u0000rth"),
			code: 2000, text: `invalid context: context value "no\x00rth" contains forbidden characters`,
		},
		{
			name: "the question before its context", key: &openfgav1.CheckRequestTupleKey{Object: "report:plan", Relation: "viewer", User: "user:anna"},
			context: fields(t, "region", "no\u0000rth"), code: 2000, text: "invalid relation: type 'report' not found",
		},
		{
			name: "a contextual tuple of no relation", key: fine,
			tuples: []*openfgav1.TupleKey{{Object: "group:design", Relation: "boss", User: "user:nina"}},
			code:   2027, text: "Invalid tuple '%!s(<nil>)'. Reason: invalid tuple: Invalid tuple 'group:design#boss@user:nina'. Reason: relation 'group#boss' not found",
		},
		{
			name: "a contextual tuple without its condition", key: fine,
			tuples: []*openfgav1.TupleKey{{Object: "document:plan", Relation: "guest", User: "user:nina"}},
			code:   2027, text: "Invalid tuple '%!s(<nil>)'. Reason: invalid tuple: Invalid tuple 'document:plan#guest@user:nina'. Reason: condition is missing",
		},
		{
			name: "a condition without its context", key: guest,
			code: 2000, text: "failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level region]'",
		},
		{
			name: "a parameter that the result does not depend on", key: guest, context: fields(t, "region", "south"),
			code: 2000, text: "failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level]'",
		},
		{
			name: "a condition of a contextual tuple", key: checkKey(t, "document:new#guest@user:new"),
			tuples: []*openfgav1.TupleKey{conditional(t, "document:new#guest@user:new", "in_region")},
			code:   2000, text: "failed to evaluate relationship condition: 'in_region' - tuple 'document:new#guest@user:new' is missing context parameters '[level region wanted]'",
		},
		{
			name: "a context of the wrong type", key: guest, context: fields(t, "region", "north", "level", "high"),
			code: 2000, text: "failed to evaluate relationship condition: parameter type error on condition 'in_region' - failed to convert context parameter 'level': expected a int64 value, but found invalid string value 'high'",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := &openfgav1.CheckRequest{
				StoreId: store, AuthorizationModelId: tc.model, TupleKey: tc.key, Context: tc.context,
				ContextualTuples: contextual(tc.tuples...),
			}
			if tc.store != "" {
				req.StoreId = tc.store
			}
			_, err := r.Check(t.Context(), proto.CloneOf(req))
			wantError(t, err, tc.code, tc.text)
		})
	}
}

func TestAnswersNameTheirModelAndState(t *testing.T) {
	r := newRig(t)
	store, old := acme(r)
	newest := r.model(store, strings.Replace(acmeModel, "type robot", "type robot\n\ntype extra", 1))
	req := &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, "document:plan#viewer@user:nina")}

	catch, of := header()
	if _, err := r.Check(t.Context(), req, catch); err != nil || of(HeaderModelID) != newest {
		t.Errorf("%v, %s is %q, want %q", err, HeaderModelID, of(HeaderModelID), newest)
	}
	before := of(HeaderToken)
	r.write(store, "group:design#member@user:nina")
	catch, of = header()
	req.AuthorizationModelId = old
	if res, err := r.Check(withHeader(t.Context(), HeaderToken, before), req, catch); err != nil || !res.Allowed || of(HeaderModelID) != old {
		t.Errorf("%v, %v, %s is %q, want %q", res, err, HeaderModelID, of(HeaderModelID), old)
	}
	if after := of(HeaderToken); before == "" || after == "" || after == before {
		t.Errorf("tokens before and after a write: %q, %q", before, after)
	}
	_, err := r.Check(withHeader(t.Context(), HeaderToken, "made up"), req)
	wantError(t, err, 2000, "Remit-Token: the token is not one that this service gave out: it is cut, altered or made up")
	req.Consistency = openfgav1.ConsistencyPreference_HIGHER_CONSISTENCY
	if res, err := r.Check(t.Context(), req); err != nil || !res.Allowed {
		t.Errorf("with higher consistency: %v, %v, want allowed", res, err)
	}
}

// A tuple that was written by another version of the model does not count.
func TestTuplesThatTheModelInUseForbidsDoNotCount(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("model\n  schema 1.1\ntype user\ntype robot\ntype document\n  relations\n    define viewer: [user, robot]\n",
		"document:plan#viewer@robot:r2", "document:plan#viewer@user:anna")
	r.model(store, "model\n  schema 1.1\ntype user\ntype robot\ntype document\n  relations\n    define viewer: [user]\n")
	req := &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, "document:plan#viewer@robot:r2")}
	if res, err := r.Check(t.Context(), req); err != nil || res.Allowed {
		t.Errorf("Check: %v, %v, want denied", res, err)
	}
	expanded, err := r.Expand(t.Context(), &openfgav1.ExpandRequest{
		StoreId: store, TupleKey: &openfgav1.ExpandRequestTupleKey{Object: "document:plan", Relation: "viewer"},
	})
	want := `root:{name:"document:plan#viewer" leaf:{users:{users:"user:anna"}}}`
	if got := spelled(expanded.GetTree()); err != nil || got != want {
		t.Errorf("Expand: %s, %v, want %s", got, err, want)
	}
}

// spelled is a message as text whose spacing does not vary.
func spelled(m proto.Message) string {
	return strings.ReplaceAll(fmt.Sprint(m), "  ", " ")
}

func TestDepth(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("model\n  schema 1.1\ntype user\ntype group\n  relations\n    define member: [user, group#member]\n")
	var chain []string
	for i := range 30 {
		chain = append(chain, fmt.Sprintf("group:g%d#member@group:g%d#member", i, i+1))
	}
	r.write(store, append(chain, "group:g30#member@user:anna")...)
	ask := func(group int) *openfgav1.CheckRequest {
		return &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, fmt.Sprintf("group:g%d#member@user:anna", group))}
	}
	if res, err := r.Check(t.Context(), ask(6)); err != nil || !res.Allowed {
		t.Errorf("24 steps: %v, %v, want allowed", res, err)
	}
	const tooDeep = "Authorization Model resolution required too many rewrite rules to be resolved. Check your authorization model for infinite recursion or too much nesting"
	_, err := r.Check(t.Context(), ask(0))
	wantError(t, err, 2002, tooDeep)
	if res, err := r.Check(withHeader(t.Context(), HeaderExact, "true"), ask(0)); err != nil || !res.Allowed {
		t.Errorf("exactly: %v, %v, want allowed", res, err)
	}
	batch, err := r.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{
		StoreId: store, Checks: []*openfgav1.BatchCheckItem{{TupleKey: ask(0).TupleKey, CorrelationId: "deep"}},
	})
	want := &openfgav1.CheckError{
		Code:    &openfgav1.CheckError_InputError{InputError: openfgav1.ErrorCode_authorization_model_resolution_too_complex},
		Message: "resolution depth exceeded",
	}
	if got := batch.GetResult()["deep"].GetError(); err != nil || !proto.Equal(got, want) {
		t.Errorf("in a batch: %v, %v, want %v", got, err, want)
	}
}

// An answer that depends on its own negation is no, or an error for who asks for that.
func TestNegationOfItself(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("")
	model := &openfgav1.WriteAuthorizationModelRequest{}
	if err := protojson.Unmarshal([]byte(`{"schema_version": "1.1", "type_definitions": [{"type": "user"}, {"type": "group",
		"relations": {"allowed": {"this": {}}, "banned": {"this": {}}, "member": {"difference": {
			"base": {"computedUserset": {"relation": "allowed"}}, "subtract": {"computedUserset": {"relation": "banned"}}}}},
		"metadata": {"relations": {
			"allowed": {"directly_related_user_types": [{"type": "user"}]},
			"banned": {"directly_related_user_types": [{"type": "user"}, {"type": "group", "relation": "member"}]}}}}]}`), model); err != nil {
		t.Fatal(err)
	}
	model.StoreId = store
	if _, err := r.WriteAuthorizationModel(t.Context(), model); err != nil {
		t.Fatal(err)
	}
	r.write(store, "group:a#allowed@user:anna", "group:a#banned@group:a#member")
	req := &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, "group:a#member@user:anna")}
	if res, err := r.Check(t.Context(), req); err != nil || res.Allowed {
		t.Errorf("Check: %v, %v, want denied", res, err)
	}
	_, err := r.Check(withHeader(t.Context(), HeaderExact, "true"), req)
	wantError(t, err, 2002, "the answer depends on its own negation")
}

// A tuple's own condition that cannot be judged is an error, whoever is behind it. One
// of the model does not matter if another tuple to a userset counts.
func TestConditionsOfTuplesToUsersets(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(`model
  schema 1.1
type user
type group
  relations
    define member: [user]
type document
  relations
    define viewer: [group#member, group#member with flagged, group#member with $expression]
condition flagged(flag: bool) {
  flag
}
`, "group:a#member@user:anna", "document:named#viewer@group:a#member", "document:own#viewer@group:a#member")
	if err := r.tryWrite(writes(store,
		conditional(t, "document:named#viewer@group:b#member", "flagged"),
		conditional(t, "document:alone#viewer@group:b#member", "flagged"),
		conditional(t, "document:own#viewer@group:b#member", "$expression", "expression", "tag == 'red'", "parameters", map[string]any{"tag": "string"}),
	)); err != nil {
		t.Fatal(err)
	}
	for _, question := range []string{"document:named#viewer@user:anna", "document:own#viewer@user:anna"} {
		res, err := r.Check(t.Context(), &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, question)})
		if err != nil || !res.Allowed {
			t.Errorf("Check(%s) = %v, %v, want allowed", question, res, err)
		}
	}
	res, err := r.Check(t.Context(), &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, "document:named#viewer@user:bob")})
	if err != nil || res.Allowed {
		t.Errorf("another tuple counts: %v, %v, want denied", res, err)
	}
	_, err = r.Check(t.Context(), &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, "document:alone#viewer@user:bob")})
	wantError(t, err, 2000, "failed to evaluate relationship condition: 'flagged' - tuple 'document:alone#viewer@group:b#member' is missing context parameters '[flag]'")
	_, err = r.Check(t.Context(), &openfgav1.CheckRequest{StoreId: store, TupleKey: checkKey(t, "document:own#viewer@user:bob")})
	wantError(t, err, 2000, "failed to evaluate relationship condition: '$expression' - missing required parameters: tag")
}
