package openfga

import (
	"fmt"
	"strings"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

const validationCode = Code(openfgav1.ErrorCode_validation_error)

// checkPlan is a model with a relation for each kind of tuple.
func checkPlan(t testing.TB) *model.Plan {
	t.Helper()
	restriction := func(condition string) string { return `{"type":"user","condition":"` + condition + `"}` }
	message := modelOfJSON(
		t,
		strings.Join([]string{
			typeDef("user"), typeDef("employee"),
			typeDef("folder", [3]string{"viewer", this, anyUser}),
			typeDef("group", [3]string{"member", this, anyUser + "," + userset("group", "member")}),
			typeDef("doc",
				[3]string{"parent", this, `{"type":"folder"}`},
				[3]string{"viewer", operator("union", this, from("viewer", "parent")), anyUser + "," + userset("group", "member")},
				[3]string{"public", this, `{"type":"user","wildcard":{}},` + restriction("ip")},
				[3]string{"typed", this, restriction("typed") + "," + restriction("none")},
				[3]string{"own", this, restriction("$expression")},
				[3]string{"reader", computed("viewer"), ``},
			),
		}, ","),
		strings.Join([]string{
			conditionDef("ip", "a.in_cidr('10.0.0.0/8')", `"a":{"type_name":"TYPE_NAME_IPADDRESS"}`),
			conditionDef("none", "true", ``),
			conditionDef("unused", "true", ``),
			conditionDef("typed", "i > 1", strings.Join([]string{
				`"i":{"type_name":"TYPE_NAME_INT"}`, `"u":{"type_name":"TYPE_NAME_UINT"}`, `"d":{"type_name":"TYPE_NAME_DOUBLE"}`,
				`"b":{"type_name":"TYPE_NAME_BOOL"}`, `"s":{"type_name":"TYPE_NAME_STRING"}`, `"a":{"type_name":"TYPE_NAME_IPADDRESS"}`,
				`"at":{"type_name":"TYPE_NAME_TIMESTAMP"}`, `"for":{"type_name":"TYPE_NAME_DURATION"}`, `"any":{"type_name":"TYPE_NAME_ANY"}`,
				`"l":{"type_name":"TYPE_NAME_LIST","generic_types":[{"type_name":"TYPE_NAME_STRING"}]}`,
				`"m":{"type_name":"TYPE_NAME_MAP","generic_types":[{"type_name":"TYPE_NAME_LIST","generic_types":[{"type_name":"TYPE_NAME_INT"}]}]}`,
			}, ",")),
		}, ","),
	)
	if err := checkModel(message); err != nil {
		t.Fatal(err)
	}
	m, err := model.FromProto(message)
	if err != nil {
		t.Fatal(err)
	}
	names := model.NewTable()
	names.Define(m.Declarations())
	plan, err := m.Compile("", names)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// keyOf reads object#relation@user, where all of the three may be malformed.
func keyOf(text string) *openfgav1.TupleKey {
	object, rest, _ := strings.Cut(text, "#")
	relation, user, _ := strings.Cut(rest, "@")
	return &openfgav1.TupleKey{Object: object, Relation: relation, User: user}
}

func conditionalKey(t testing.TB, text, name string, context map[string]any) *openfgav1.TupleKey {
	k := keyOf(text)
	k.Condition = &openfgav1.RelationshipCondition{Name: name}
	if context != nil {
		k.Condition.Context = contextOf(t, context)
	}
	return k
}

func contextOf(t testing.TB, context map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(context)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheckTupleSaysWhatOpenFGASays(t *testing.T) {
	p := checkPlan(t)
	for _, test := range []struct{ tuple, want string }{
		{"doc:1#viewer@user:anna", ""},
		{"doc:1#viewer@group:eng#member", ""},
		{"doc:1#public@user:*", ""},
		{"doc:a@b#viewer@user:a@b", ""},
		{"doc:a*#viewer@user:é\u00a0", ""},

		{"doc:1#viewer@", "the 'user' field is malformed"},
		{"doc:1#viewer@user:", "the 'user' field is malformed"},
		{"doc:1#viewer@user:a b", "the 'user' field is malformed"},
		{"doc:1#viewer@user:a:b", "the 'user' field is malformed"},
		{"doc:1#viewer@user:a\u0085", "the 'user' field is malformed"},
		{"doc:1#viewer@group:eng#", "the 'user' field is malformed"},
		{"doc:1#viewer@group:*#member", "the 'user' field is malformed"},
		{"doc:1#viewer@group:a*#member", "the 'user' field is malformed"},
		{"doc:1#viewer@group#member", "the 'user' field is malformed"},
		{"doc:1#viewer@anna", "the 'user' field must be an object (e.g. document:1) or an 'object#relation' or a typed wildcard (e.g. group:*)"},
		{"doc:1#viewer@*", "the 'user' field must be an object (e.g. document:1) or an 'object#relation' or a typed wildcard (e.g. group:*)"},
		{"doc:1#viewer@robot:r2", "type 'robot' not found"},
		{"doc:1#viewer@group:eng#owner", "relation 'group#owner' not found"},

		{"doc#viewer@user:anna", "invalid 'object' field format"},
		{":1#viewer@user:anna", "invalid 'object' field format"},
		{"doc:#viewer@user:anna", "invalid 'object' field format"},
		{"doc:a:b#viewer@user:anna", "invalid 'object' field format"},
		{"doc:a b#viewer@user:anna", "invalid 'object' field format"},
		{"doc:*#viewer@user:anna", "the 'object' field cannot reference a typed wildcard"},
		{"file:1#viewer@user:anna", "type 'file' not found"},
		{"doc:1#@user:anna", "the 'relation' field is malformed"},
		{"doc:1#a b@user:anna", "the 'relation' field is malformed"},
		{"doc:1#a:b@user:anna", "the 'relation' field is malformed"},
		{"doc:1#writer@user:anna", "relation 'doc#writer' not found"},

		{"doc:1#parent@folder:*", "unexpected wildcard relationship with tupleset relation 'doc#parent'"},
		{"doc:1#parent@folder:1#viewer", "unexpected user 'folder:1#viewer' with tupleset relation 'doc#parent'"},
		{"doc:1#parent@user:anna", "type 'user' is not an allowed type restriction for 'doc#parent'"},
		{"doc:1#viewer@employee:joe", "type 'employee' is not an allowed type restriction for 'doc#viewer'"},
		{"doc:1#viewer@user:*", "the typed wildcard 'user:*' is not an allowed type restriction for 'doc#viewer'"},
		{"doc:1#viewer@folder:1#viewer", "'folder#viewer' is not an allowed type restriction for 'doc#viewer'"},
		{"doc:1#reader@user:anna", "type 'user' is not an allowed type restriction for 'doc#reader'"},
		{"doc:1#typed@user:anna", "condition is missing"},
		{"doc:1#public@user:anna", "condition is missing"},
	} {
		err := checkTupleForWrite(p, keyOf(test.tuple))
		if test.want != "" {
			wantError(t, err, validationCode, fmt.Sprintf("Invalid tuple '%s'. Reason: %s", test.tuple, test.want))
			continue
		}
		if err != nil {
			t.Errorf("checkTupleForWrite(%s) = %v", test.tuple, err)
		}
		key := keyOf(test.tuple)
		tuple := graph.Tuple{Object: objectName(key.GetObject()), Relation: key.GetRelation(), Subject: subjectName(key.GetUser())}
		if _, err := graph.CheckTuple(p, tuple); err != nil {
			t.Errorf("graph.CheckTuple(%s) = %v", test.tuple, err)
		}
	}
}

func TestCheckTupleJudgesConditions(t *testing.T) {
	p := checkPlan(t)
	type m = map[string]any
	mistyped := func(parameter, text string) string {
		return "parameter type error on condition 'typed' - failed to convert context parameter '" + parameter + "': " + text
	}
	for _, test := range []struct {
		tuple, condition string
		context          m
		want             string
	}{
		{"doc:1#public@user:anna", "ip", m{"a": "10.0.0.1"}, ""},
		{"doc:1#public@user:anna", "ip", m{}, ""},
		{"doc:1#public@user:anna", "ip", nil, ""},
		{"doc:1#public@user:*", "ip", nil, "invalid condition for type restriction"},
		{"doc:1#viewer@user:anna", "ip", nil, "invalid condition for type restriction"},
		{"doc:1#public@user:anna", "unused", nil, "invalid condition for type restriction"},
		{"doc:1#public@user:anna", "nope", nil, "undefined condition"},
		{"doc:1#public@user:anna", "", nil, "undefined condition"},
		{"doc:1#public@user:anna", "i\tp", nil, "condition name contains forbidden characters"},
		{"doc:1#public@user:anna", "$expression", nil, "invalid condition for type restriction"},
		{"doc:1#public@user:anna", "ip", m{"a\n": 1}, `context key "a\n" contains forbidden characters`},
		{"doc:1#public@user:anna", "ip", m{"a": []any{m{"b": "x\x7f"}}}, `context value "x\x7f" contains forbidden characters`},
		{"doc:1#public@user:anna", "ip", m{"z": 1, "b": 1}, "found invalid context parameter: b"},
		{"doc:1#typed@user:anna", "none", m{"b": 1}, "parameter type error on condition 'none' - no parameters defined for the condition"},

		{"doc:1#typed@user:anna", "typed", m{
			"i": 1, "u": "2", "d": 0.5, "b": true, "s": "x", "a": "::1", "at": "2026-01-01T00:00:00Z", "for": "1h", "any": nil,
			"l": []any{"x"}, "m": m{"k": []any{1, "2"}},
		}, ""},
		{"doc:1#typed@user:anna", "typed", m{"i": 1.5}, mistyped("i", "expected an int value, but found numeric value '1.5'")},
		{"doc:1#typed@user:anna", "typed", m{"i": "x"}, mistyped("i", "expected a int64 value, but found invalid string value 'x'")},
		{"doc:1#typed@user:anna", "typed", m{"i": true}, mistyped("i", "expected type value 'int64', but found 'bool'")},
		{"doc:1#typed@user:anna", "typed", m{"i": nil}, mistyped("i", "expected type value 'int64', but found '%!s(<nil>)'")},
		{"doc:1#typed@user:anna", "typed", m{"i": 1e30}, mistyped("i", "expected an int value, but found numeric value '1e+30'")},
		{"doc:1#typed@user:anna", "typed", m{"u": -1}, mistyped("u", "expected a uint value, but found int64 value '-1'")},
		{"doc:1#typed@user:anna", "typed", m{"u": 0.5}, mistyped("u", "expected a uint value, but found numeric value '0.5'")},
		{"doc:1#typed@user:anna", "typed", m{"d": "0.1"}, mistyped("d", "number cannot be represented as a float64: 0.1")},
		{"doc:1#typed@user:anna", "typed", m{"d": "x"}, mistyped("d", "expected a float64 value, but found invalid string value 'x'")},
		{"doc:1#typed@user:anna", "typed", m{"d": m{}}, mistyped("d", "expected type value 'float64', but found 'map[string]interface {}'")},
		{"doc:1#typed@user:anna", "typed", m{"b": "true"}, mistyped("b", "expected type value 'bool', but found 'string'")},
		{"doc:1#typed@user:anna", "typed", m{"s": 1}, mistyped("s", "expected type value 'string', but found 'float64'")},
		{"doc:1#typed@user:anna", "typed", m{"a": "x"}, mistyped("a", "expected a well-formed IP address, but found: 'x'")},
		{"doc:1#typed@user:anna", "typed", m{"a": 1}, mistyped("a", "expected an ipaddress string, but found: float64 '1'")},
		{"doc:1#typed@user:anna", "typed", m{"at": "x"}, mistyped("at", "expected RFC 3339 formatted timestamp string, but found 'x'")},
		{"doc:1#typed@user:anna", "typed", m{"at": nil}, mistyped("at", "expected RFC 3339 formatted timestamp string, but found: <nil> '<nil>'")},
		{"doc:1#typed@user:anna", "typed", m{"for": "2sm"}, mistyped("for", "expected a valid duration string, but found: '2sm'")},
		{"doc:1#typed@user:anna", "typed", m{"for": 1}, mistyped("for", "expected a duration string, but found: float64 '1'")},
		{"doc:1#typed@user:anna", "typed", m{"l": "x"}, mistyped("l", "list requires a list, found: string")},
		{"doc:1#typed@user:anna", "typed", m{"l": []any{"x", 1}}, mistyped("l", "found an invalid list item at index `1`: expected type value 'string', but found 'float64'")},
		{"doc:1#typed@user:anna", "typed", m{"m": []any{}}, mistyped("m", "map requires a map, found: []interface {}")},
		{"doc:1#typed@user:anna", "typed", m{"m": m{"z": 1, "k": []any{"x"}}}, mistyped("m", "found an invalid value for key 'k': found an invalid list item at index `0`: expected a int64 value, but found invalid string value 'x'")},

		{"doc:1#own@user:anna", "$expression", m{"expression": "x == 'a' && at < timestamp('2026-01-01T00:00:00Z')", "parameters": m{"at": "timestamp"}}, ""},
		{"doc:1#own@user:anna", "$expression", nil, `$expression: missing required context field "expression"`},
		{"doc:1#own@user:anna", "$expression", m{"expression": ""}, `$expression: context field "expression" must be a non-empty string`},
		{"doc:1#own@user:anna", "$expression", m{"expression": "true", "parameters": 1}, `$expression: context field "parameters" must be a struct`},
		{"doc:1#own@user:anna", "$expression", m{"expression": "true", "parameters": m{"x": "text"}}, `$expression: invalid parameter type for parameter "x": unknown parameter type "text"`},
		{"doc:1#own@user:anna", "$expression", m{"expression": "true", "parameters": m{"x": 1}}, `$expression: invalid parameter type for parameter "x": unknown parameter type ""`},
		{"doc:1#own@user:anna", "$expression", m{"expression": "true", "parameters": m{"x": "list"}}, `$expression: invalid parameter type for parameter "x": parameter type "list" requires a generic element type, e.g. "list<any>"`},
		{"doc:1#own@user:anna", "$expression", m{"expression": "true", "parameters": m{"x": "list<int"}}, `$expression: invalid parameter type for parameter "x": malformed generic type "list<int": missing closing >`},
		{"doc:1#own@user:anna", "$expression", m{"expression": "true", "parameters": m{"x": "bool<int>"}}, "failed to compile expression on condition '$expression' - failed to decode parameter type for parameter 'x': condition parameter type `TYPE_NAME_BOOL` requires 0 generic types; found 1"},
		{"doc:1#own@user:anna", "$expression", m{"expression": "'a"}, "$expression: invalid CEL expression: ERROR: <input>:1:1: Syntax error: token recognition error at: ''a'\n | 'a\n | ^\nERROR: <input>:1:3: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 'a\n | ..^"},
		{"doc:1#own@user:anna", "$expression", m{"expression": "x + 1 == 2"}, "failed to compile expression on condition '$expression' - ERROR: $expression:1:3: found no matching overload for '_+_' applied to '(string, int)'\n | x + 1 == 2\n | ..^"},
		{"doc:1#own@user:anna", "$expression", m{"expression": "x"}, "failed to compile expression on condition '$expression' - expected a bool condition expression output, but got 'string'"},
	} {
		key := conditionalKey(t, test.tuple, test.condition, test.context)
		err := checkTupleForWrite(p, key)
		if test.want != "" {
			wantError(t, err, validationCode, fmt.Sprintf("Invalid tuple '%s (condition %s)'. Reason: %s", test.tuple, test.condition, test.want))
			continue
		}
		if err != nil {
			t.Errorf("checkTupleForWrite(%v) = %v", key, err)
		}
	}
}

func TestContextualTuplesHaveCodesOfTheirOwn(t *testing.T) {
	p := checkPlan(t)
	key := keyOf("doc:1#viewer@employee:joe")
	wantError(t, checkContextualTuples(p, []*openfgav1.TupleKey{keyOf("doc:1#viewer@user:anna"), key}), Code(openfgav1.ErrorCode_invalid_tuple),
		"Invalid tuple '"+key.String()+"'. Reason: type 'employee' is not an allowed type restriction for 'doc#viewer'")
	wantError(t, checkContextualTuples(p, []*openfgav1.TupleKey{keyOf("doc:1#typed@user:anna")}), validationCode,
		"Invalid tuple 'doc:1#typed@user:anna'. Reason: condition is missing")
}

func TestCheckQuerySaysWhatOpenFGASays(t *testing.T) {
	p := checkPlan(t)
	for _, test := range []struct {
		name, question, contextual string
		context                    map[string]any
		code                       openfgav1.ErrorCode
		check, batch               string
	}{
		{name: "a direct relation", question: "doc:1#viewer@user:anna"},
		{name: "a computed one", question: "doc:1#reader@group:eng#member"},
		{name: "whoever there is", question: "doc:1#viewer@user:*"},
		{name: "a subject that no tuple could have", question: "doc:1#parent@employee:joe"},
		{
			name: "an unknown relation", question: "doc:1#writer@user:anna", code: openfgav1.ErrorCode_validation_error,
			check: "invalid relation: relation 'doc#writer' not found",
		},
		{
			name: "an untyped user", question: "doc:1#viewer@anna", code: openfgav1.ErrorCode_validation_error,
			check: "invalid relation: the 'user' field must be an object (e.g. document:1) or an 'object#relation' or a typed wildcard (e.g. group:*)",
		},
		{
			name: "the question comes first", question: "doc:1#writer@user:anna", context: map[string]any{"a": "\n"}, contextual: "doc:1#viewer@employee:joe",
			code: openfgav1.ErrorCode_validation_error, check: "invalid relation: relation 'doc#writer' not found",
		},
		{
			name: "then the context", question: "doc:1#viewer@user:anna", context: map[string]any{"a": "\n"}, contextual: "doc:1#viewer@employee:joe",
			code: openfgav1.ErrorCode_validation_error, check: `invalid context: context value "\n" contains forbidden characters`,
		},
		{
			name: "then the contextual tuples", question: "doc:1#viewer@user:anna", contextual: "doc:1#viewer@employee:joe", code: openfgav1.ErrorCode_invalid_tuple,
			check: "Invalid tuple '%!s(<nil>)'. Reason: invalid tuple: Invalid tuple 'doc:1#viewer@employee:joe'. Reason: type 'employee' is not an allowed type restriction for 'doc#viewer'",
			batch: "invalid tuple: Invalid tuple 'doc:1#viewer@employee:joe'. Reason: type 'employee' is not an allowed type restriction for 'doc#viewer'",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var contextual []*openfgav1.TupleKey
			if test.contextual != "" {
				contextual = append(contextual, keyOf(test.contextual))
			}
			names, fault := checkQuery(p, keyOf(test.question), contextOf(t, test.context), contextual)
			if test.check == "" {
				if fault != nil {
					t.Fatalf("checkQuery = %q", fault.text)
				}
				if text := names.object.String() + "#" + names.relation.Name + "@" + names.subject.String(); text != test.question {
					t.Errorf("checkQuery found %s", text)
				}
				return
			}
			if fault == nil {
				t.Fatal("checkQuery found no fault")
			}
			wantError(t, fault.asCheck(), Code(test.code), test.check)
			if test.batch == "" {
				test.batch = test.check
			}
			if b := fault.asBatch(); b.GetInputError() != test.code || b.GetMessage() != test.batch {
				t.Errorf("asBatch = %v, want %v %q", b, test.code, test.batch)
			}
		})
	}
}

func TestCheckQueryDoesNotAllocate(t *testing.T) {
	p := checkPlan(t)
	keys := []*openfgav1.TupleKey{keyOf("doc:1#viewer@user:anna"), keyOf("doc:1#viewer@group:eng#member")}
	if n := testing.AllocsPerRun(100, func() {
		for _, key := range keys {
			if _, fault := checkQuery(p, key, nil, keys); fault != nil {
				t.Fatal(fault.text)
			}
		}
	}); n != 0 {
		t.Errorf("checkQuery allocates %v times, want 0", n)
	}
}

func TestListsAndExpandSayWhatOpenFGASays(t *testing.T) {
	p := checkPlan(t)
	expand := func(object, relation string) error {
		_, err := checkExpand(p, &openfgav1.ExpandRequestTupleKey{Object: object, Relation: relation}, nil)
		return err
	}
	listObjects := func(typ, relation, user string) error {
		_, _, err := checkListObjects(p, typ, relation, user, nil)
		return err
	}
	listUsers := func(typ, relation, filter, filterRelation string) error {
		_, err := checkListUsers(p, &openfgav1.ListUsersRequest{
			Object: &openfgav1.Object{Type: typ, Id: "1"}, Relation: relation,
			UserFilters: []*openfgav1.UserTypeFilter{{Type: filter, Relation: filterRelation}},
		})
		return err
	}
	const (
		typeUnknown     = Code(openfgav1.ErrorCode_type_not_found)
		relationUnknown = Code(openfgav1.ErrorCode_relation_not_found)
	)
	for _, test := range []struct {
		name string
		err  error
		code Code
		text string
	}{
		{"Expand", expand("doc:1", "viewer"), Code(codes.OK), ""},
		{"Expand of nothing", expand("", "viewer"), Code(openfgav1.ErrorCode_invalid_expand_input), "Invalid input. Make sure you provide an object and a relation"},
		{"Expand of no object", expand("doc", "viewer"), validationCode, "invalid 'object' field format"},
		{"Expand of all objects", expand("doc:*", "viewer"), validationCode, "the 'object' field cannot reference a typed wildcard"},
		{"Expand of a type unknown", expand("file:1", "viewer"), validationCode, "type 'file' not found"},
		{"Expand of a relation unknown", expand("doc:1", "writer"), validationCode, "relation 'doc#writer' not found"},
		{"ListObjects", listObjects("doc", "viewer", "user:anna"), Code(codes.OK), ""},
		{"ListObjects of a type unknown", listObjects("file", "viewer", "anna"), typeUnknown, "type 'file' not found"},
		{"ListObjects of a relation unknown", listObjects("doc", "writer", "anna"), relationUnknown, "relation 'doc#writer' not found"},
		{"ListObjects for a malformed user", listObjects("doc", "viewer", "user:a b"), validationCode, "invalid 'user' value: the 'user' field is malformed"},
		{"ListUsers", listUsers("doc", "viewer", "group", "member"), Code(codes.OK), ""},
		{"ListUsers of a type unknown", listUsers("file", "viewer", "user", ""), typeUnknown, "type 'file' not found"},
		{"ListUsers of a relation unknown", listUsers("doc", "writer", "user", ""), relationUnknown, "relation 'doc#writer' not found"},
		{"ListUsers among a type unknown", listUsers("file", "viewer", "robot", ""), typeUnknown, "type 'robot' not found"},
		{"ListUsers among a userset unknown", listUsers("doc", "viewer", "group", "owner"), relationUnknown, "relation 'group#owner' not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.text != "" {
				wantError(t, test.err, test.code, test.text)
			} else if test.err != nil {
				t.Error(test.err)
			}
		})
	}
}

func TestWritesSayWhatOpenFGASays(t *testing.T) {
	p := checkPlan(t)
	const most, maxContext = 3, 100
	writes := func(texts ...string) []*openfgav1.TupleKey {
		keys := make([]*openfgav1.TupleKey, len(texts))
		for i, text := range texts {
			keys[i] = keyOf(text)
		}
		return keys
	}
	deletes := func(texts ...string) []*openfgav1.TupleKeyWithoutCondition {
		keys := make([]*openfgav1.TupleKeyWithoutCondition, len(texts))
		for i, k := range writes(texts...) {
			keys[i] = &openfgav1.TupleKeyWithoutCondition{Object: k.GetObject(), Relation: k.GetRelation(), User: k.GetUser()}
		}
		return keys
	}
	if err := checkWrites(p, writes("group:a#member@group:b#member", "doc:1#viewer@user:anna"), maxContext); err != nil {
		t.Error(err)
	}
	wantError(t, checkWrites(p, writes("group:a#member@group:a#member"), maxContext), validationCode,
		"Invalid tuple 'group:a#member@group:a#member'. Reason: cannot write a tuple that is implicit")
	large := conditionalKey(t, "doc:1#typed@user:anna", "typed", map[string]any{"s": strings.Repeat("x", maxContext)})
	wantError(t, checkWrites(p, []*openfgav1.TupleKey{large}, maxContext), validationCode,
		"Invalid tuple 'doc:1#typed@user:anna'. Reason: condition context size limit exceeded: 109 bytes exceeds 100 bytes")

	if err := checkDeletes(deletes("file:1#owner@robot:r2", "x#y@anna", "doc:1#viewer@user:*")); err != nil {
		t.Error(err)
	}
	wantError(t, checkDeletes(deletes("doc:1#viewer@user:a b")), validationCode,
		"Invalid tuple 'doc:1#viewer@user:a b'. Reason: the 'user' field is malformed")

	if err := checkDistinct(deletes("doc:1#viewer@user:a"), writes("doc:1#viewer@user:b", "doc:2#viewer@user:a"), most); err != nil {
		t.Error(err)
	}
	wantError(t, checkDistinct(deletes("doc:1#viewer@user:a"), writes("doc:2#viewer@user:a", "doc:1#viewer@user:a"), most),
		Code(openfgav1.ErrorCode_cannot_allow_duplicate_tuples_in_one_request),
		"duplicate tuple in write: user: 'user:a', relation: 'viewer', object: 'doc:1'")
	wantError(t, checkDistinct(deletes("doc:1#viewer@user:a", "doc:2#viewer@user:a"), writes("doc:3#viewer@user:a", "doc:4#viewer@user:a"), most),
		Code(openfgav1.ErrorCode_exceeded_entity_limit), "The number of write operations exceeds the allowed limit of 3")
}

func TestAssertionsSayWhatOpenFGASays(t *testing.T) {
	p := checkPlan(t)
	assertion := func(question string, contextual ...string) *openfgav1.Assertion {
		k := keyOf(question)
		a := &openfgav1.Assertion{TupleKey: &openfgav1.AssertionTupleKey{Object: k.GetObject(), Relation: k.GetRelation(), User: k.GetUser()}}
		for _, text := range contextual {
			a.ContextualTuples = append(a.ContextualTuples, keyOf(text))
		}
		return a
	}
	if err := checkAssertion(p, assertion("doc:1#reader@user:anna", "doc:1#viewer@user:anna")); err != nil {
		t.Error(err)
	}
	wantError(t, checkAssertion(p, assertion("doc:1#writer@user:anna")), validationCode, "relation 'doc#writer' not found")
	wantError(t, checkAssertion(p, assertion("doc:1#reader@user:anna", "doc:1#viewer@employee:joe")), validationCode,
		"Invalid tuple 'doc:1#viewer@employee:joe'. Reason: type 'employee' is not an allowed type restriction for 'doc#viewer'")
}

func TestConditionMessageSaysWhatOpenFGASays(t *testing.T) {
	p := checkPlan(t)
	type m = map[string]any
	inline := func(expression string, parameters m) m { return m{"expression": expression, "parameters": parameters} }
	compile := func(expression string, parameters ...condition.Parameter) *condition.Condition {
		c, err := condition.Compile("c", expression, parameters)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	number := condition.Parameter{Name: "i", Type: condition.Type{Kind: condition.KindInt}}
	list := condition.Parameter{Name: "l", Type: condition.Type{Kind: condition.KindList, Element: &number.Type}}
	of := condition.Parameter{Name: "m", Type: condition.Type{Kind: condition.KindMap, Element: &list.Type}}
	for _, test := range []struct {
		name          string
		condition     *condition.Condition
		stored, given m
		want          string
	}{
		{"missing", compile("i > 1 && m.size() > i", number, of), nil, nil, "'c' - tuple 'doc:1#r@user:anna' is missing context parameters '[i m]'"},
		{"mistyped", compile("i > 1", number), nil, m{"i": "x"}, "parameter type error on condition 'c' - failed to convert context parameter 'i': expected a int64 value, but found invalid string value 'x'"},
		{"mistyped within", compile("m.size() > 1", of), nil, m{"m": m{`a"]`: []any{int64(1), "x"}}}, "parameter type error on condition 'c' - failed to convert context parameter 'm': found an invalid value for key 'a\"]': found an invalid list item at index `1`: expected a int64 value, but found invalid string value 'x'"},
		{"whole numbers are called what they are in JSON", compile("m.size() > 1", of), nil, m{"m": int64(1)}, "parameter type error on condition 'c' - failed to convert context parameter 'm': map requires a map, found: float64"},
		{"without a result", compile("1 / i == 1", number), nil, m{"i": int64(0)}, "'c' - failed to evaluate condition expression: division by zero"},
		{"without a key", compile("m['x'][0] == 1", of), nil, m{"m": m{}}, "'c' - failed to evaluate condition expression: no such key: x"},
		{"an address that is none", p.ConditionNamed("ip"), nil, m{"a": "x"}, "parameter type error on condition 'ip' - failed to convert context parameter 'a': expected a well-formed IP address, but found: 'x'"},
		{"a network that is none", compile("ipaddress('::1').in_cidr('x')"), nil, nil, "'c' - failed to evaluate condition expression: 'x' is a malformed CIDR string"},
		{"too much", compile("l.all(a, l.all(b, a == b))", list), nil, m{"l": slicesOf(1000)}, "'c' - failed to evaluate condition expression: operation cancelled: actual cost limit exceeded"},
		{"missing from an inline one", condition.Inline, inline("x == y", m{"x": "int", "y": "int"}), nil, "'$expression' - missing required parameters: x, y"},
		{"mistyped for an inline one", condition.Inline, inline("x == 1", m{"x": "int"}), m{"x": true}, "parameter type error on condition '$expression' - failed to convert context parameter 'x': expected type value 'int64', but found 'bool'"},
		{"an inline one that is none", condition.Inline, m{"expression": "x"}, nil, "'$expression' - failed to compile expression on condition '$expression' - expected a bool condition expression output, but got 'string'"},
		{"an inline one that is not there", condition.Inline, nil, nil, `'$expression' - $expression: missing required context field "expression"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			stored, err := condition.NewContext(test.stored)
			if err != nil {
				t.Fatal(err)
			}
			_, err = test.condition.Evaluate(stored, &condition.Request{Fields: test.given})
			if err == nil {
				t.Fatal("the condition has a result")
			}
			got := conditionMessage("doc:1#r@user:anna", test.condition.Name(), err)
			if want := "failed to evaluate relationship condition: " + test.want; got != want {
				t.Errorf("conditionMessage(%v)\n= %q\nwant %q", err, got, want)
			}
		})
	}
	if got := conditionMessage("doc:1#r@user:anna", "c", graph.ErrBudget); got != "" {
		t.Errorf("conditionMessage of another error = %q, want nothing", got)
	}
}

func slicesOf(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = int64(1)
	}
	return list
}

// What is judged fit here must not be refused further down, where the text would be
// another.
func TestValuesThatConvertMayBeStored(t *testing.T) {
	text := condition.Type{Kind: condition.KindString}
	number := condition.Type{Kind: condition.KindInt}
	types := []condition.Type{{Kind: condition.KindList, Element: &text}, {Kind: condition.KindMap, Element: &number}}
	for _, kind := range parameterKinds {
		if kind != condition.KindList && kind != condition.KindMap {
			types = append(types, condition.Type{Kind: kind})
		}
	}
	values := []any{
		nil, true, false, 0, 1, -1, 1.5, 1e15, 1e19, -1e19, 1e300, 9007199254740993, "", "x", "0", "-0", "+5", "1.0", "1.5", "0.1", "1e3", "1e400", "-1e400",
		"9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "Inf", "0x10", "1_000", strings.Repeat("0", 70) + "1",
		"1h", "-1.5h", "1d", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00+25:00", "2026-01-01", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1/8",
		[]any{},
		[]any{"x"},
		[]any{1},
		map[string]any{},
		map[string]any{"k": 1},
		map[string]any{"k": "x"},
	}
	for _, typ := range types {
		c, err := condition.Compile("c", "true", []condition.Parameter{{Name: "p", Type: typ}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			stored, err := valuesOf(contextOf(t, map[string]any{"p": v}))
			if err != nil {
				t.Fatal(err)
			}
			here := contextFault(c, contextOf(t, map[string]any{"p": v}).GetFields())
			if err := c.CheckContext(stored); here == "" && err != nil {
				t.Errorf("%v as %s is fit here, but later: %v", v, typ, err)
			}
		}
	}
}
