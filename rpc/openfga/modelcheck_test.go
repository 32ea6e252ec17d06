package openfga

import (
	"errors"
	"strings"
	"testing"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/remit-authz/remit/graph/model"
)

// modelOfJSON makes a model of types and conditions as JSON, which may be wrong in every
// way.
func modelOfJSON(t testing.TB, types string, conditions string) *openfgav1.AuthorizationModel {
	t.Helper()
	m := &openfgav1.AuthorizationModel{}
	text := `{"schema_version":"1.1","type_definitions":[` + types + `],"conditions":{` + conditions + `}}`
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return m
}

// typeDef writes a type as JSON. A relation is its name, its rewrite and its type
// restrictions.
func typeDef(name string, relations ...[3]string) string {
	var rewrites, metadata []string
	for _, r := range relations {
		rewrites = append(rewrites, `"`+r[0]+`":`+r[1])
		metadata = append(metadata, `"`+r[0]+`":{"directly_related_user_types":[`+r[2]+`]}`)
	}
	return `{"type":"` + name + `","relations":{` + strings.Join(rewrites, ",") + `},"metadata":{"relations":{` + strings.Join(metadata, ",") + `}}}`
}

const (
	invalidModelCode = Code(openfgav1.ErrorCode_invalid_authorization_model)

	this    = `{"this":{}}`
	anyUser = `{"type":"user"}`
)

func computed(relation string) string { return `{"computedUserset":{"relation":"` + relation + `"}}` }

func from(relation, tupleset string) string {
	return `{"tupleToUserset":{"tupleset":{"relation":"` + tupleset + `"},"computedUserset":{"relation":"` + relation + `"}}}`
}

func operator(name string, operands ...string) string {
	return `{"` + name + `":{"child":[` + strings.Join(operands, ",") + `]}}`
}

func butNot(base, subtract string) string {
	return `{"difference":{"base":` + base + `,"subtract":` + subtract + `}}`
}

func userset(typ, relation string) string {
	return `{"type":"` + typ + `","relation":"` + relation + `"}`
}

func conditionDef(name, expression, parameters string) string {
	return `"` + name + `":{"name":"` + name + `","expression":"` + expression + `","parameters":{` + parameters + `}}`
}

func TestCheckModelSaysWhatOpenFGASays(t *testing.T) {
	user := typeDef("user")
	for _, test := range []struct {
		name       string
		types      []string
		conditions string
		want       string
	}{
		{name: "no fault", types: []string{user, typeDef("doc", [3]string{"viewer", this, anyUser})}},
		{name: "a type twice", types: []string{user, user}, want: "an authorization model cannot contain duplicate types"},
		{name: "a type without a name", types: []string{typeDef("")}, want: "the type name of a type definition cannot be an empty string"},
		{name: "a reserved type", types: []string{typeDef("self")}, want: "the definition of type 'self' is invalid"},
		{
			name: "a relation without a name", types: []string{user, typeDef("doc", [3]string{"", this, anyUser})},
			want: "type 'doc' defines a relation with an empty string for a name",
		},
		{
			name: "a reserved relation", types: []string{user, typeDef("doc", [3]string{"this", this, anyUser})},
			want: "the definition of relation 'this' in object type 'doc' is invalid: self and this are reserved keywords",
		},
		{
			name: "no rewrite", types: []string{typeDef("doc", [3]string{"viewer", `{}`, ``})},
			want: "the definition of relation 'viewer' in object type 'doc' is invalid: invalid userset rewrite definition",
		},
		{
			name: "an operand that is none", types: []string{user, typeDef("doc", [3]string{"viewer", operator("union", this, `{}`), anyUser})},
			want: "the definition of relation 'viewer' in object type 'doc' is invalid: invalid userset rewrite definition",
		},
		{
			name: "itself", types: []string{typeDef("doc", [3]string{"viewer", computed("viewer"), ``})},
			want: "the definition of relation 'viewer' in object type 'doc' is invalid: invalid userset rewrite definition",
		},
		{
			name: "a relation that is not there", types: []string{typeDef("doc", [3]string{"viewer", computed("writer"), ``})},
			want: "'doc#writer' relation is undefined",
		},
		{
			name: "a tupleset that is not there", types: []string{typeDef("doc", [3]string{"viewer", from("viewer", "parent"), ``})},
			want: "'doc#parent' relation is undefined",
		},
		{
			name: "a tupleset that is computed", types: []string{
				user, typeDef("doc", [3]string{"owner", this, anyUser}, [3]string{"parent", computed("owner"), ``}, [3]string{"viewer", from("owner", "parent"), ``}),
			},
			want: "the 'doc#parent' relation is referenced in at least one tupleset and thus must be a direct relation",
		},
		{
			name: "types are judged in the order of their names", types: []string{
				typeDef("b", [3]string{"viewer", computed("nobody"), ``}), typeDef("a", [3]string{"viewer", computed("nothing"), ``}),
			},
			want: "'a#nothing' relation is undefined",
		},
		{
			name: "nothing that is accepted", types: []string{typeDef("doc", [3]string{"viewer", this, ``})},
			want: "the assignable relation 'viewer' in object type 'doc' must contain at least one relation type",
		},
		{
			name: "accepted without a place", types: []string{user, typeDef("doc", [3]string{"owner", this, anyUser}, [3]string{"viewer", computed("owner"), anyUser})},
			want: "the non-assignable relation 'viewer' in object type 'doc' should not contain a relation type",
		},
		{
			name: "an unknown type is accepted", types: []string{typeDef("doc", [3]string{"viewer", this, anyUser})},
			want: "the relation type 'user' on 'viewer' in object type 'doc' is not valid",
		},
		{
			name: "an unknown userset is accepted", types: []string{user, typeDef("doc", [3]string{"viewer", this, userset("user", "friend")})},
			want: "the relation type 'user#friend' on 'viewer' in object type 'doc' is not valid",
		},
		{
			name: "an empty relation is accepted", types: []string{user, typeDef("doc", [3]string{"viewer", this, userset("user", "")})},
			want: "the relation type 'user' on 'viewer' in object type 'doc' has an empty relation reference: empty relation reference",
		},
		{
			name: "a tupleset accepts a wildcard", types: []string{
				typeDef("folder", [3]string{"viewer", this, `{"type":"folder"}`}),
				typeDef("doc", [3]string{"parent", this, `{"type":"folder","wildcard":{}}`}, [3]string{"viewer", from("viewer", "parent"), ``}),
			},
			want: "the relation type 'folder' on 'parent' in object type 'doc' is not valid",
		},
		{
			name: "an unknown condition", types: []string{user, typeDef("doc", [3]string{"viewer", this, `{"type":"user","condition":"c"}`})},
			want: "condition c is undefined for relation viewer",
		},
		{
			name: "expressions of tuples need no condition", types: []string{user, typeDef("doc", [3]string{"viewer", this, `{"type":"user","condition":"$expression"}`})},
		},
		{
			name: "a union of one", types: []string{user, typeDef("doc", [3]string{"viewer", operator("union", this), anyUser})},
			want: "invalid relation: 'doc#viewer' as union has less than 2 children",
		},
		{
			name: "an intersection of none", types: []string{typeDef("doc", [3]string{"viewer", operator("intersection"), ``})},
			want: "invalid relation: 'doc#viewer' as intersection has less than 2 children",
		},
		{
			name: "no way in", types: []string{typeDef("doc", [3]string{"viewer", this, userset("doc", "viewer")})},
			want: "the definition of relation 'viewer' in object type 'doc' is invalid: no entrypoints defined",
		},
		{
			name: "no way in but in a circle", types: []string{typeDef("doc", [3]string{"a", computed("b"), ``}, [3]string{"b", computed("a"), ``})},
			want: "the definition of relation 'a' in object type 'doc' is invalid: potential loop",
		},
		{
			name: "a circle with a way in", types: []string{
				user, typeDef("doc", [3]string{"a", operator("union", this, computed("b")), anyUser}, [3]string{"b", computed("a"), ``}),
			},
			want: "the definition of relation 'a' in object type 'doc' is invalid: an authorization model cannot contain a cycle",
		},
		{
			name: "subtracting what needs oneself", types: []string{
				user, typeDef("doc", [3]string{"a", butNot(this, computed("b")), anyUser}, [3]string{"b", computed("a"), ``}),
			},
			want: "the definition of relation 'a' in object type 'doc' is invalid: potential loop",
		},
		{
			name: "a fault on the way of another relation", types: []string{
				user, typeDef("doc", [3]string{"a", this, userset("doc", "b")}, [3]string{"b", computed("nobody"), ``}),
			},
			want: "undefined type definition for 'doc#nobody'",
		},
		{
			name: "a condition under another name", types: []string{user},
			conditions: `"c":{"name":"d","expression":"true"}`,
			want:       "condition key 'c' does not match condition name 'd'",
		},
		{
			name: "an expression that is none", types: []string{user}, conditions: conditionDef("c", "x ==", `"x":{"type_name":"TYPE_NAME_INT"}`),
			want: "failed to compile expression on condition 'c' - ERROR: c:1:5: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | x ==\n | ....^",
		},
		{
			name: "an unknown parameter", types: []string{user}, conditions: conditionDef("c", "y", `"x":{"type_name":"TYPE_NAME_INT"}`),
			want: "failed to compile expression on condition 'c' - ERROR: c:1:1: undeclared reference to 'y' (in container '')\n | y\n | ^",
		},
		{
			name: "not a bool", types: []string{user}, conditions: conditionDef("c", "x", `"x":{"type_name":"TYPE_NAME_INT"}`),
			want: "failed to compile expression on condition 'c' - expected a bool condition expression output, but got 'int'",
		},
		{
			name: "a pattern that is none", types: []string{user}, conditions: conditionDef("c", "x.matches('(')", `"x":{"type_name":"TYPE_NAME_STRING"}`),
			want: "failed to compile expression on condition 'c' - condition expression construction: error parsing regexp: missing closing ): `(`",
		},
		{
			name: "a list of nothing", types: []string{user}, conditions: conditionDef("c", "true", `"x":{"type_name":"TYPE_NAME_LIST"}`),
			want: "failed to compile expression on condition 'c' - failed to decode parameter type for parameter 'x': condition parameter type `TYPE_NAME_LIST` requires 1 generic types; found 0",
		},
		{
			name: "a type of parameters that is none", types: []string{user}, conditions: conditionDef("c", "true", `"x":{}`),
			want: "failed to compile expression on condition 'c' - failed to decode parameter type for parameter 'x': unknown condition parameter type `TYPE_NAME_UNSPECIFIED`",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := modelOfJSON(t, strings.Join(test.types, ","), test.conditions)
			err := checkModel(m)
			if test.want != "" {
				wantError(t, err, invalidModelCode, test.want)
				return
			}
			if err != nil {
				t.Errorf("checkModel = %v", err)
			}
			if _, err := model.FromProto(m); err != nil {
				t.Errorf("FromProto = %v", err)
			}
		})
	}
}

// The types that may be followed are printed as messages, whose spaces vary from build
// to build.
func TestCheckModelNamesWhatATuplesetAccepts(t *testing.T) {
	m := modelOfJSON(t, typeDef("user")+","+typeDef("doc", [3]string{"parent", this, anyUser}, [3]string{"viewer", from("viewer", "parent"), ``}), "")
	wantError(t, checkModel(m), invalidModelCode,
		`undefined relation: viewer does not appear as a relation in any of the directly related user types [`+m.TypeDefinitions[1].Metadata.Relations["parent"].DirectlyRelatedUserTypes[0].String()+`]`)
}

func TestCheckModelOfOtherSchemas(t *testing.T) {
	for version, ok := range map[string]bool{"1.1": true, "1.2": true, "1.0": false, "1.3": false, "": false} {
		m := modelOfJSON(t, typeDef("user"), "")
		m.SchemaVersion = version
		switch err := checkModel(m); {
		case ok && err != nil:
			t.Errorf("checkModel of schema %q = %v", version, err)
		case !ok:
			wantError(t, err, invalidModelCode, "invalid schema version")
		}
	}
}

func TestModelOfBoundsModels(t *testing.T) {
	limits := &Config{}
	limits.defaults()
	request := &openfgav1.WriteAuthorizationModelRequest{}
	for range 101 {
		request.TypeDefinitions = append(request.TypeDefinitions, &openfgav1.TypeDefinition{})
	}
	_, err := modelOf(request, limits)
	wantError(t, err, Code(openfgav1.ErrorCode_exceeded_entity_limit), "The number of type definitions in an authorization model exceeds the allowed limit of 100")

	// 28 bytes of an id, 5 of the version and 16 of the definition come along.
	request = &openfgav1.WriteAuthorizationModelRequest{TypeDefinitions: []*openfgav1.TypeDefinition{{Type: strings.Repeat("t", 256<<10)}}}
	_, err = modelOf(request, limits)
	wantError(t, err, Code(openfgav1.ErrorCode_exceeded_entity_limit), "model exceeds size limit: 262185 bytes vs 262144 bytes")

	request = &openfgav1.WriteAuthorizationModelRequest{TypeDefinitions: []*openfgav1.TypeDefinition{{Type: "user"}}}
	m, err := modelOf(request, limits)
	if err != nil || m.GetSchemaVersion() != "1.1" || m.GetId() != "" {
		t.Errorf("modelOf = %v, %v, want schema 1.1 and no id", m, err)
	}
}

// A model in which each type doubles the ways that OpenFGA would try does not keep us.
func TestCheckModelGivesUpOnHostileModels(t *testing.T) {
	var types []string
	const most = 99
	name := func(i int) string { return "t" + strings.Repeat("x", i) }
	for i := range most {
		next := `{"type":"` + name(i+1) + `"}`
		types = append(types, typeDef(name(i), [3]string{"p", this, next}, [3]string{"r", operator("union", from("r", "p"), from("r", "p")), ``}))
	}
	types = append(types, typeDef(name(most), [3]string{"r", this, userset(name(most), "r")}))
	m := modelOfJSON(t, strings.Join(types, ","), "")
	start := time.Now()
	if err := checkModel(m); err != nil {
		var fault *Error
		if !errors.As(err, &fault) {
			t.Fatalf("checkModel = %v, want an *Error", err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("checkModel took %v", took)
	}
	if _, err := model.FromProto(m); err == nil {
		t.Error("FromProto accepts a relation that nothing can make true")
	}
}
