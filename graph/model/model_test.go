package model

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph/condition"
)

func mustParse(t testing.TB, text string) *Model {
	t.Helper()
	m, err := ParseDSL("m.fga", text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func library(t testing.TB) *Model {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "models", "library.fga"))
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(t, string(text))
}

// modules reads the model of testdata/modules.
func modules(t testing.TB) *Model {
	t.Helper()
	dir := filepath.Join("testdata", "modules")
	text, err := os.ReadFile(filepath.Join(dir, "fga.mod"))
	if err != nil {
		t.Fatal(err)
	}
	schema, names, err := ParseModFile("fga.mod", string(text))
	if err != nil {
		t.Fatal(err)
	}
	var files []File
	for _, name := range names {
		contents, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: name, Contents: string(contents)})
	}
	m, err := ParseModules(schema, files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRoundTrips(t *testing.T) {
	for name, m := range map[string]*Model{"library": library(t), "modules": modules(t)} {
		t.Run(name, func(t *testing.T) { roundTrip(t, m) })
	}
}

// roundTrip holds a model against what becomes of it as text, as JSON and as a message.
func roundTrip(t testing.TB, m *Model) {
	t.Helper()
	text, err := m.DSL()
	if err != nil {
		t.Fatalf("DSL: %v", err)
	}
	again, err := ParseDSL("again.fga", text)
	if err != nil {
		t.Fatalf("ParseDSL of\n%s\n%v", text, err)
	}
	same(t, "the text", m, again)
	if second, err := again.DSL(); err != nil || second != text {
		t.Errorf("DSL of DSL differs: %v\n%s", err, cmp.Diff(text, second))
	}
	if diff := cmp.Diff(m.Declarations(), again.Declarations()); diff != "" {
		t.Errorf("declarations changed with the text (-want +got):\n%s", diff)
	}

	data, err := m.JSON()
	if err != nil {
		t.Fatalf("JSON: %v", err)
	}
	fromJSON, err := ParseJSON("again.json", data)
	if err != nil {
		t.Fatalf("ParseJSON of\n%s\n%v", data, err)
	}
	same(t, "JSON", m, fromJSON)
	if second, err := fromJSON.JSON(); err != nil || string(second) != string(data) {
		t.Errorf("JSON of JSON differs: %v\n%s", err, cmp.Diff(string(data), string(second)))
	}

	fromProto, err := FromProto(m.Proto())
	if err != nil {
		t.Fatalf("FromProto: %v", err)
	}
	same(t, "the message", m, fromProto)
}

func same(t testing.TB, how string, want, got *Model) {
	t.Helper()
	if !want.Equal(got) || !got.Equal(want) {
		t.Errorf("%s says something else: %v", how, Diff(want, got))
	}
}

func TestDSL(t *testing.T) {
	got, err := modules(t).DSL()
	if err != nil {
		t.Fatal(err)
	}
	const want = `model
  schema 1.2

type loan
  relations
    define room: [room]
    define party: [person with sober] or lends from room

type person

type room
  relations
    define keeper: [person]
    define lends: keeper

condition sober(glasses: int) {
  glasses < 3
}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("DSL (-want +got):\n%s", diff)
	}
}

func TestModulesKeepTheirSource(t *testing.T) {
	m := modules(t)
	room := m.Proto().GetTypeDefinitions()[2]
	if got, want := room.GetMetadata().GetModule(), "places"; got != want {
		t.Errorf("module of type room = %q, want %q", got, want)
	}
	if got, want := room.GetMetadata().GetSourceInfo().GetFile(), "base/places.fga"; got != want {
		t.Errorf("file of type room = %q, want %q", got, want)
	}
	lends := room.GetMetadata().GetRelations()["lends"]
	if got, want := lends.GetModule()+" "+lends.GetSourceInfo().GetFile(), "loans loans.fga"; got != want {
		t.Errorf("source of room#lends = %q, want %q", got, want)
	}
	sober := m.Proto().GetConditions()["sober"].GetMetadata()
	if got, want := sober.GetModule()+" "+sober.GetSourceInfo().GetFile(), "people base/people.fga"; got != want {
		t.Errorf("source of condition sober = %q, want %q", got, want)
	}
}

func TestDeclarationsAreInTheOrderOfTheText(t *testing.T) {
	want := Declarations{
		Types: []TypeDeclaration{
			{Name: "reader", Relations: []string{"guardian"}},
			{Name: "club", Relations: []string{"member", "open"}},
			{Name: "room", Relations: []string{"within", "keeper", "visitor"}},
			{Name: "book", Relations: []string{"shelf", "banned", "borrower", "reads", "allowed"}},
		},
		Conditions: []string{"in_hours", "until"},
	}
	if diff := cmp.Diff(want, library(t).Declarations()); diff != "" {
		t.Errorf("Declarations (-want +got):\n%s", diff)
	}
}

const inlineModel = head + `type doc
  relations
    define owner: [user]
    define viewer: [user with $expression, user:* with late] or owner
condition late(x: int) {
  x > 1
}
`

func TestInlineExpressions(t *testing.T) {
	m := mustParse(t, inlineModel)
	roundTrip(t, m)
	if got, want := m.Declarations().Conditions, []string{"late", condition.InlineName}; !slices.Equal(got, want) {
		t.Errorf("conditions = %q, want %q", got, want)
	}
	p := compiles(t, m)
	doc, _ := p.Type("doc")
	viewer, _ := doc.Relation("viewer")
	for i, want := range []string{condition.InlineName, "late"} {
		a := viewer.Allowed[i]
		if a.Condition.Name() != want || (a.Condition == condition.Inline) != (want == condition.InlineName) {
			t.Errorf("restriction %d is under %s, want %s", i, a.Condition.Name(), want)
		}
		if a.ConditionID == 0 || p.Condition(a.ConditionID) != a.Condition {
			t.Errorf("restriction %d has condition %d, which the plan does not know", i, a.ConditionID)
		}
	}
	table := NewTable()
	table.Define(Declarations{Types: m.Declarations().Types, Conditions: []string{"late"}})
	if _, err := m.Compile("01", table); !errors.Is(err, ErrUndefined) || !strings.Contains(err.Error(), condition.InlineName) {
		t.Errorf("Compile without the name's id = %v, want %v", err, ErrUndefined)
	}
	plain := mustParse(t, strings.Replace(inlineModel, " with $expression", "", 1))
	if got := plain.Declarations().Conditions; !slices.Equal(got, []string{"late"}) {
		t.Errorf("conditions without $expression = %q", got)
	}
	if changes := Diff(plain, m); len(changes) != 1 || changes[0].Subject != "doc#viewer" ||
		changes[0].To != "define viewer: [user with $expression, user:* with late] or owner" {
		t.Errorf("Diff = %+v", changes)
	}
}

func TestParseJSONKeepsTheOrder(t *testing.T) {
	const text = `{"schema_version":"1.1","id":"01","type_definitions":[{"type":"user"},
		{"type":"doc","relations":{"z":{"this":{}},"a":{"computedUserset":{"object":"","relation":"z"}}},
		 "metadata":{"relations":{"a":{},"z":{"directly_related_user_types":[{"type":"user","wildcard":{},"condition":""}]}}}}],
		"unknown":[1,{"x":null}],"conditions":null}`
	m, err := ParseJSON("m.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Declarations{
		Types:      []TypeDeclaration{{Name: "user", Relations: []string{}}, {Name: "doc", Relations: []string{"z", "a"}}},
		Conditions: []string{},
	}
	if diff := cmp.Diff(want, m.Declarations()); diff != "" {
		t.Errorf("Declarations (-want +got):\n%s", diff)
	}
	if m.Proto().GetId() != "" {
		t.Errorf("the model kept the id %q", m.Proto().GetId())
	}
}

func TestFromProtoLeavesItsArgumentAlone(t *testing.T) {
	message := &openfgav1.AuthorizationModel{
		Id: "x", SchemaVersion: "1.1", TypeDefinitions: []*openfgav1.TypeDefinition{{Type: "user"}},
	}
	m, err := FromProto(message)
	if err != nil {
		t.Fatal(err)
	}
	message.TypeDefinitions[0].Type = "changed"
	if message.GetId() != "x" || m.Proto().GetTypeDefinitions()[0].GetType() != "user" {
		t.Error("FromProto shares its argument")
	}
	if _, err := FromProto(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("FromProto(nil) = %v, want ErrInvalid", err)
	}
}

func TestInexpressible(t *testing.T) {
	this := &openfgav1.Userset{Userset: &openfgav1.Userset_This{This: &openfgav1.DirectUserset{}}}
	computed := &openfgav1.Userset{Userset: &openfgav1.Userset_ComputedUserset{ComputedUserset: &openfgav1.ObjectRelation{Relation: "other"}}}
	union := func(children ...*openfgav1.Userset) *openfgav1.Userset {
		return &openfgav1.Userset{Userset: &openfgav1.Userset_Union{Union: &openfgav1.Usersets{Child: children}}}
	}
	for _, tt := range []struct {
		name    string
		rewrite *openfgav1.Userset
		want    string // of the definition, empty if there is none
	}{
		{"types are moved to the front", union(computed, union(computed, this)), "define r: ([user] or other) or other"},
		{"one operand needs no operator", union(union(this)), "define r: [user]"},
		{"types in two places", union(this, this), ""},
		{"subtracted types", &openfgav1.Userset{Userset: &openfgav1.Userset_Difference{
			Difference: &openfgav1.Difference{Base: computed, Subtract: this},
		}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			direct := &openfgav1.RelationMetadata{DirectlyRelatedUserTypes: []*openfgav1.RelationReference{{Type: "user"}}}
			m, err := FromProto(&openfgav1.AuthorizationModel{
				SchemaVersion: "1.1",
				TypeDefinitions: []*openfgav1.TypeDefinition{{Type: "user"}, {
					Type:      "doc",
					Relations: map[string]*openfgav1.Userset{"r": tt.rewrite, "other": this},
					Metadata:  &openfgav1.Metadata{Relations: map[string]*openfgav1.RelationMetadata{"r": direct, "other": direct}},
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			text, err := m.DSL()
			if tt.want == "" {
				if !errors.Is(err, ErrInexpressible) {
					t.Errorf("DSL = %q, %v, want ErrInexpressible", text, err)
				}
				return
			}
			if err != nil || !strings.Contains(text, tt.want+"\n") {
				t.Errorf("DSL = %q, %v, want it to hold %q", text, err, tt.want)
			}
		})
	}
}

// head begins a model that has a type user.
const head = "model\n  schema 1.1\ntype user\n"

func TestLimits(t *testing.T) {
	many := func(n int, format func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(format(i))
		}
		return b.String()
	}
	number := func(i int) string {
		return string(rune('a'+i/676%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i%26))
	}
	const relations = head + "type doc\n  relations\n    define a: [user]\n"
	for _, tt := range []struct {
		name, text, want string
	}{
		{"text", head + strings.Repeat("#", MaxText), "m.fga: the text has 1048605 bytes, and at most 1048576 can be read: split the model or shorten it"},
		{"types", "model\n  schema 1.1\n" + many(MaxTypes+1, func(i int) string { return "type t" + number(i) + "\n" }), "m.fga:1:1: the model defines 1001 types, and at most 1000 are allowed"},
		{"relations", relations + many(MaxRelations, func(i int) string { return "    define r" + number(i) + ": a\n" }), "m.fga:4:6: type doc defines 1001 relations, and at most 1000 are allowed"},
		{"conditions", head + many(MaxConditions+1, func(i int) string { return "condition c" + number(i) + "(x: bool) { x }\n" }), "m.fga:1:1: the model defines 1001 conditions, and at most 1000 are allowed"},
		{"parentheses", relations + "    define b: " + strings.Repeat("(", 100_000) + "a\n", "m.fga:7:79: parentheses nest more than 64 deep: move a part of the definition into a relation of its own"},
		{"operators", relations + "    define b: " + strings.Repeat("(a or ", MaxDepth) + "(a and a" + strings.Repeat(")", MaxDepth+1) + "\n", "m.fga:7:399: parentheses nest more than 64 deep: move a part of the definition into a relation of its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseDSL("m.fga", tt.text)
			if err == nil || err.Error() != tt.want {
				t.Errorf("ParseDSL = %v, want %s", err, tt.want)
			}
		})
	}
	t.Run("what OpenFGA's parser is slow at", func(t *testing.T) {
		var b strings.Builder
		b.WriteString(relations)
		for i := range 500 {
			b.WriteString("    define r" + number(i) + ": " + strings.Repeat("( (", 32) + "a or a" + strings.Repeat(") )", 32) + strings.Repeat("\n#\n", 500) + "\n")
		}
		m := mustParse(t, b.String()+"condition c(x: bool) {"+strings.Repeat("\n", maxBlankLines)+"x }\n")
		if got := m.types[1].relations[500].at; got.line != 7+499*1001 {
			t.Errorf("the last relation stands at %v", got)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		nested := `{"schema_version":"1.1","type_definitions":[{"type":"doc","relations":{"a":` + strings.Repeat(`{"union":{"child":[`, 20_000)
		_, err := ParseJSON("m.json", []byte(nested))
		if err == nil || !strings.Contains(err.Error(), "brackets nest more than") {
			t.Errorf("ParseJSON = %v, want a fault of nesting", err)
		}
	})
	t.Run("message", func(t *testing.T) {
		rewrite := &openfgav1.Userset{Userset: &openfgav1.Userset_This{}}
		for range 5000 {
			rewrite = &openfgav1.Userset{Userset: &openfgav1.Userset_Union{Union: &openfgav1.Usersets{Child: []*openfgav1.Userset{rewrite}}}}
		}
		_, err := FromProto(&openfgav1.AuthorizationModel{SchemaVersion: "1.1", TypeDefinitions: []*openfgav1.TypeDefinition{
			{Type: "doc", Relations: map[string]*openfgav1.Userset{"a": rewrite}},
		}})
		if err == nil || !strings.Contains(err.Error(), "doc#a nests more than 64 operators deep") {
			t.Errorf("FromProto = %v, want a fault of nesting", err)
		}
	})
}

func TestNamesMayHoldWhatOpenFGAAllows(t *testing.T) {
	message := &openfgav1.AuthorizationModel{
		SchemaVersion: "1.1",
		TypeDefinitions: []*openfgav1.TypeDefinition{
			{Type: "no\u00a0break"},
			{
				Type:      "*",
				Relations: map[string]*openfgav1.Userset{"may/see": {Userset: &openfgav1.Userset_This{}}},
				Metadata: &openfgav1.Metadata{Relations: map[string]*openfgav1.RelationMetadata{"may/see": {
					DirectlyRelatedUserTypes: []*openfgav1.RelationReference{{Type: "no\u00a0break"}},
				}}},
			},
		},
	}
	if _, err := FromProto(message); err != nil {
		t.Errorf("FromProto = %v", err)
	}
	message.TypeDefinitions[0].Type = "a space"
	if _, err := FromProto(message); !errors.Is(err, ErrInvalid) {
		t.Errorf("FromProto = %v, want ErrInvalid", err)
	}
}
