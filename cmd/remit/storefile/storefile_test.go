package storefile_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph"
)

const model = `model: |
  model
    schema 1.1
  type user
  type team
    relations
      define member: [user, team#member]
  type doc
    relations
      define viewer: [user, user:*, team#member, user with office]
  condition office(net: string, floor: int) {
    net == "lan" && floor > 1
  }
`

// files makes a file system of name and text pairs.
func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

func tupleTexts(tuples []storefile.Tuple) []string {
	var texts []string
	for _, t := range tuples {
		text := t.String()
		if t.Condition != "" {
			text += " with " + t.Condition
		}
		texts = append(texts, text)
	}
	return texts
}

func TestTuplesAreReadInEveryFormat(t *testing.T) {
	for _, test := range []struct{ name, file, text string }{
		{"yaml", "t.yaml", "- user: user:ann\n  relation: viewer\n  object: doc:1\n- {user: team:x#member, relation: viewer, object: doc:1}\n- {user: 'user:*', relation: viewer, object: doc:2}\n"},
		{"yml", "t.yml", "- {user: user:ann, relation: viewer, object: 'doc:1'}\n- {user: team:x#member, relation: viewer, object: 'doc:1'}\n- {user: 'user:*', relation: viewer, object: 'doc:2'}\n"},
		{"json", "t.json", `[{"user":"user:ann","relation":"viewer","object":"doc:1"},{"user":"team:x#member","relation":"viewer","object":"doc:1"},{"user":"user:*","relation":"viewer","object":"doc:2"}]`},
		{"yaml that is called json", "t.json", "- {user: user:ann, relation: viewer, object: 'doc:1'}\n- {user: team:x#member, relation: viewer, object: 'doc:1'}\n- {user: 'user:*', relation: viewer, object: 'doc:2'}\n"},
		{"jsonl with empty lines", "t.jsonl", "{\"user\":\"user:ann\",\"relation\":\"viewer\",\"object\":\"doc:1\"}\n\n  {\"user\":\"team:x#member\",\"relation\":\"viewer\",\"object\":\"doc:1\"}\r\n{\"user\":\"user:*\",\"relation\":\"viewer\",\"object\":\"doc:2\"}"},
		{"csv", "t.csv", "user_type,user_id,user_relation,relation,object_type,object_id\nuser,ann,,viewer,doc,1\nteam,x,member,viewer,doc,1\nuser,*,,viewer,doc,2\n"},
		{"csv with other columns in another order", "t.csv", "object_id, object_type ,relation,user_id,user_type,user_relation,condition_name\n1,doc,viewer,ann,user,,\n1,doc,viewer,x,team,member,\n2,doc,viewer,*,user,,\n"},
		{"csv with a byte order mark", "t.csv", "\ufeffuser_type,user_id,user_relation,relation,object_type,object_id\r\nuser,ann,,viewer,doc,1\r\nteam,x,member,viewer,doc,1\r\nuser,*,,viewer,doc,2\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := storefile.ReadFS(files("s.fga.yaml", model+"tuple_file: ./"+test.file+"\n", test.file, test.text), "s.fga.yaml")
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"doc:1#viewer@user:ann", "doc:1#viewer@team:x#member", "doc:2#viewer@user:*"}
			if diff := cmp.Diff(want, tupleTexts(file.Tuples)); diff != "" {
				t.Errorf("tuples (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConditionsKeepTheirContexts(t *testing.T) {
	want := map[string]any{"net": "lan", "floor": int64(3)}
	for _, test := range []struct{ name, file, text string }{
		{"yaml", "t.yaml", "- user: user:ann\n  relation: viewer\n  object: doc:1\n  condition:\n    name: office\n    context: {net: lan, floor: 3}\n  expires_at: 2030-01-02T03:04:05Z\n"},
		{"json", "t.json", `[{"user":"user:ann","relation":"viewer","object":"doc:1","condition":{"name":"office","context":{"net":"l\u0061n","floor":3}},"expires_at":"2030-01-02T03:04:05Z"}]`},
		{"csv", "t.csv", "user_type,user_id,relation,object_type,object_id,condition_name,condition_context,expires_at\nuser,ann,viewer,doc,1,office,\"{\"\"net\"\": \"\"lan\"\", \"\"floor\"\": 3}\",2030-01-02T03:04:05Z\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := storefile.ReadFS(files("s.fga.yaml", model+"tuple_files: ["+test.file+"]\n", test.file, test.text), "s.fga.yaml")
			if err != nil {
				t.Fatal(err)
			}
			got := file.Tuples[0]
			if got.Condition != "office" || !cmp.Equal(got.Context, want) {
				t.Errorf("condition %s %v, want office %v", got.Condition, got.Context, want)
			}
			if expires := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC); !got.Expires.Equal(expires) {
				t.Errorf("expires %s, want %s", got.Expires, expires)
			}
		})
	}
}

func TestTestsAreRead(t *testing.T) {
	text := model + `
tests:
  - name: one
    description: more of it
    tuples: [{user: user:ann, relation: viewer, object: doc:1}]
    tuple_file: more.yaml
    check:
      - user: user:ann
        objects: [doc:1, doc:2]
        context: {floor: 2, list: [1, 2.5, true, null, {a: b}], at: 2026-01-01T00:00:00Z}
        assertions:
          viewer: true
      - {users: [user:ann, user:bob], object: doc:1, assertions: {viewer: no}}
    list_objects:
      - {user: user:ann, type: doc, assertions: {viewer: [doc:1]}}
      - user: user:bob
        type: doc
        assertions:
          viewer:
    list_users:
      - object: doc:1
        user_filter:
          - type: user
          - type: team
            relation: member
        assertions:
          viewer: {users: [user:ann, team:x#member]}
`
	file, err := storefile.ReadFS(files("s.fga.yaml", text, "more.yaml", "[{user: user:bob, relation: viewer, object: 'doc:2'}]"), "s.fga.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []storefile.Test{{
		Name: "one", Description: "more of it",
		Checks: []storefile.Check{
			{
				Users: []string{"user:ann"}, Objects: []string{"doc:1", "doc:2"},
				Context: map[string]any{
					"floor": int64(2), "at": "2026-01-01T00:00:00Z",
					"list": []any{int64(1), 2.5, true, nil, map[string]any{"a": "b"}},
				},
				Assertions: []storefile.CheckAssertion{{Relation: "viewer", Allowed: true}},
			},
			{Users: []string{"user:ann", "user:bob"}, Objects: []string{"doc:1"}, Assertions: []storefile.CheckAssertion{{Relation: "viewer"}}},
		},
		ListObjects: []storefile.ListObjects{
			{User: "user:ann", Type: "doc", Assertions: []storefile.ListAssertion{{Relation: "viewer", Want: []string{"doc:1"}}}},
			{User: "user:bob", Type: "doc", Assertions: []storefile.ListAssertion{{Relation: "viewer"}}},
		},
		ListUsers: []storefile.ListUsers{{
			Object: "doc:1", Filters: []storefile.UserFilter{{Type: "user"}, {Type: "team", Relation: "member"}},
			Assertions: []storefile.ListAssertion{{Relation: "viewer", Want: []string{"user:ann", "team:x#member"}}},
		}},
	}}
	ignore := cmp.Options{
		cmpopts.IgnoreTypes(storefile.Place{}), cmpopts.IgnoreFields(storefile.Test{}, "Tuples"),
	}
	if diff := cmp.Diff(want, file.Tests, ignore); diff != "" {
		t.Errorf("tests (-want +got):\n%s", diff)
	}
	if got := tupleTexts(file.Tests[0].Tuples); !cmp.Equal(got, []string{"doc:1#viewer@user:ann", "doc:2#viewer@user:bob"}) {
		t.Errorf("tuples of the test: %v", got)
	}
}

func TestModelsAreReadInEveryForm(t *testing.T) {
	const dsl = "model\n  schema 1.1\ntype user\ntype doc\n  relations\n    define owner: [user]\n"
	const json = `{"schema_version":"1.1","type_definitions":[{"type":"user"},{"type":"doc","relations":{"owner":{"this":{}}},"metadata":{"relations":{"owner":{"directly_related_user_types":[{"type":"user"}]}}}}]}`
	for _, test := range []struct {
		name  string
		files []string
	}{
		{"a .fga file", []string{"model_file: m/a.fga\n", "m/a.fga", dsl}},
		{"a file of another name is the language", []string{"model_file: a.txt\n", "a.txt", dsl}},
		{"a .json file", []string{"model_file: ./a.json\n", "a.json", json}},
		{"inline JSON", []string{"model: '" + json + "'\n"}},
		{"modules, relative to fga.mod", []string{
			"model_file: m/fga.mod\n",
			"m/fga.mod", "schema: '1.2'\ncontents:\n  - core.fga\n  - sub/docs.fga\n",
			"m/core.fga", "module core\ntype user\n", "m/sub/docs.fga", "module docs\ntype doc\n  relations\n    define owner: [user]\n",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := storefile.ReadFS(files(append([]string{"s.fga.yaml"}, test.files...)...), "s.fga.yaml")
			if err != nil {
				t.Fatal(err)
			}
			documents, ok := file.Plan.Type("doc")
			if !ok {
				t.Fatal("the model has no type doc")
			}
			if _, ok := documents.Relation("owner"); !ok {
				t.Error("the model has no relation doc#owner")
			}
		})
	}
}

func TestFaultsNameFileLineAndColumn(t *testing.T) {
	for _, test := range []struct {
		name string
		text string
		more []string
		want string // lines
	}{
		{"an empty file", "", nil, "s.fga.yaml:1:1: the file is empty"},
		{"no YAML", "name: a\n  b: c\n", nil, "s.fga.yaml:2:3: not YAML: mapping values are not allowed in this context"},
		{"not a mapping", "- a\n", nil, "s.fga.yaml:1:1: a store file must be a mapping, not a list"},
		{"an unknown key", "name: a\ntupels: []\n", nil, `s.fga.yaml:2:1: unknown key "tupels" in a store file; known are name, model, model_file, tuples, tuple_file, tuple_files, tests`},
		{"a key twice", "name: a\nname: b\n", nil, `s.fga.yaml:2:1: key "name" was given already, in line 1`},
		{"a missing model file", "name: a\nmodel_file: m.fga\n", nil, "s.fga.yaml:2:13: m.fga: file does not exist"},
		{"a missing module", "model_file: fga.mod\n", []string{"fga.mod", "schema: '1.2'\ncontents: [a.fga]\n"}, "fga.mod: a.fga: file does not exist"},
		{
			"faults of an inline model, all of them", "name: a\nmodel: |\n  model\n    schema 1.1\n  type doc\n    relations\n      define x: [usr]\n      define y: z\n", nil,
			"s.fga.yaml:7:18: doc#x accepts usr\ns.fga.yaml:8:17: doc#y refers to z",
		},
		{"a fault of a model file", "model_file: m.fga\n", []string{"m.fga", "model\n  schema 1.1\ntype doc\n  relations\n    define x: [usr]\n"}, "m.fga:5:16: doc#x accepts usr"},
		{
			"a fault of a module", "model_file: fga.mod\n",
			[]string{"fga.mod", "schema: '1.2'\ncontents: [a.fga]\n", "a.fga", "module a\ntype doc\n  relations\n    define x: [usr]\n"},
			"a.fga:4:16: doc#x accepts usr",
		},
		{"a malformed user", model + "tuples:\n  - user: ann\n    relation: viewer\n    object: doc:1\n", nil, `s.fga.yaml:15:11: subject "ann": `},
		{"a malformed object", model + "tuples:\n  - user: user:ann\n    relation: viewer\n    object: 'doc:'\n", nil, `s.fga.yaml:17:13: object "doc:": `},
		{"a tuple without relation", model + "tuples:\n  - {user: user:ann, object: doc:1}\n", nil, "s.fga.yaml:15:5: a tuple needs relation"},
		{"an unknown relation", model + "tuples:\n  - {user: user:ann, relation: viewr, object: doc:1}\n", nil, `s.fga.yaml:15:32: relation "viewr": `},
		{"a subject that the model forbids", model + "tuples:\n  - {user: doc:2, relation: viewer, object: doc:1}\n", nil, `s.fga.yaml:15:12: subject "doc:2": `},
		{"an unknown condition", model + "tuples:\n  - {user: user:ann, relation: viewer, object: doc:1, condition: {name: offce}}\n", nil, `s.fga.yaml:15:73: condition "offce": `},
		{"an unknown key in a tuple", model + "tuples:\n  - {user: user:ann, relation: viewer, object: doc:1, note: x}\n", nil, `s.fga.yaml:15:55: unknown key "note" in a tuple; known are user, relation, object, condition, expires_at`},
		{"an instant that is none", model + "tuples:\n  - {user: user:ann, relation: viewer, object: doc:1, expires_at: soon}\n", nil, `s.fga.yaml:15:67: "soon" is no instant; write it as 2006-01-02T15:04:05Z`},
		{
			"a contradiction", model + "tuples:\n  - {user: user:ann, relation: viewer, object: doc:1}\n  - {user: user:ann, relation: viewer, object: doc:1, condition: {name: office}}\n", nil,
			"s.fga.yaml:16:5: the tuple stands at s.fga.yaml:15:5 already, with another condition or expiry",
		},
		{"user and users", "tests:\n  - name: x\n    check:\n      - {user: user:a, users: [user:b], object: doc:1, assertions: {viewer: true}}\n", nil, "s.fga.yaml:4:9: a check has either user or users, not both"},
		{"neither object nor objects", "tests:\n  - name: x\n    check:\n      - {user: user:a, assertions: {viewer: true}}\n", nil, "s.fga.yaml:4:9: a check needs object or objects"},
		{"an assertion that is neither true nor false", "tests:\n  - name: x\n    check:\n      - {user: user:a, object: doc:1, assertions: {viewer: maybe}}\n", nil, `s.fga.yaml:4:60: what is expected of viewer must be true or false, not "maybe"`},
		{"a list that is none", "tests:\n  - list_objects:\n      - {user: user:a, type: doc, assertions: {viewer: doc:1}}\n", nil, `s.fga.yaml:3:56: what is expected of viewer must be a list, not "doc:1"`},
		{"no user_filter", "tests:\n  - list_users:\n      - {object: doc:1, assertions: {viewer: {users: []}}}\n", nil, "s.fga.yaml:3:9: an entry of list_users needs user_filter, a list of {type, relation}"},
		{"an unknown key in a test", "tests:\n  - name: x\n    checks: []\n", nil, `s.fga.yaml:3:5: unknown key "checks" in a test; known are name, description, tuples, tuple_file, tuple_files, check, list_objects, list_users`},
		{"JSON that ends too early", "tuple_file: t.json\n", []string{"t.json", "[\n  {\"user\": \"user:a\","}, "t.json:2:21: not JSON: it ends too early"},
		{"a wrong line of JSONL", "tuple_file: t.jsonl\n", []string{"t.jsonl", "{\"user\": \"user:a\", \"relation\": \"r\", \"object\": \"doc:1\"}\n{\"user\": user:a}\n"}, "t.jsonl:2:10: not JSON: invalid character 'u'"},
		{"a fault in JSONL", "tuple_file: t.jsonl\n", []string{"t.jsonl", "\n{\"user\": \"user:a\", \"relation\": \"r\", \"object\": \"1\"}\n"}, `t.jsonl:2:47: object "1": `},
		{"an unknown column", "tuple_file: t.csv\n", []string{"t.csv", "user_type,user_id,relation,object_type,object_id,note\n"}, `t.csv:1:50: unknown column "note"; known are user_type, user_id, relation, object_type, object_id, user_relation, condition_name, condition_context, expires_at`},
		{"a missing column", "tuple_file: t.csv\n", []string{"t.csv", "user_type,user_id,relation,object_type\n"}, `t.csv:1:1: column "object_id" is missing`},
		{"a short row", "tuple_file: t.csv\n", []string{"t.csv", "user_type,user_id,relation,object_type,object_id\nuser,a,viewer,doc\n"}, "t.csv:2:1: not CSV: wrong number of fields"},
		{"a wrong context in CSV", "tuple_file: t.csv\n", []string{"t.csv", "user_type,user_id,relation,object_type,object_id,condition_name,condition_context\nuser,a,viewer,doc,1,office,{net}\n"}, "t.csv:2:28: condition_context: not JSON: invalid character 'n'"},
		{"a tuple file without tuples", "tuple_file: t.yaml\n", []string{"t.yaml", "[]\n"}, "t.yaml:1:1: the file holds no tuples"},
		{"a format that is none", "name: x\ntuple_files: [t.txt]\n", []string{"t.txt", "x"}, `t.txt: cannot tell the format from ".txt"`},
		{"an alias without end", "tests: &t\n  - check: *t\n", nil, "s.fga.yaml:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := storefile.ReadFS(files(append([]string{"s.fga.yaml", test.text}, test.more...)...), "s.fga.yaml")
			if err == nil {
				t.Fatalf("read %+v, want an error", file)
			}
			got, want := strings.Split(err.Error(), "\n"), strings.Split(test.want, "\n")
			if len(got) < len(want) {
				t.Fatalf("faults:\n%s\nwant:\n%s", err, test.want)
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("fault %d:\n%s\nwant it to begin with:\n%s", i+1, got[i], want[i])
				}
			}
		})
	}
}

func TestWarningsAreNoFaults(t *testing.T) {
	text := model + "model_file: other.fga\ntuple_file: t.yaml\n"
	file, err := storefile.ReadFS(files("s.fga.yaml", text,
		"t.yaml", "- {user: user:ann, relation: viewer, object: 'doc:1', note: x}\n- {user: user:ann, relation: viewer, object: 'doc:1'}\n"), "s.fga.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range file.Warnings {
		got = append(got, w.String())
	}
	want := []string{
		"s.fga.yaml:14:13: model_file has no effect beside model",
		`t.yaml:1:55: unknown key "note" in a tuple has no effect; known are user, relation, object, condition, expires_at`,
		"t.yaml:2:3: the tuple stands at t.yaml:1:3 already",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if len(file.Tuples) != 1 {
		t.Errorf("%d tuples, want 1", len(file.Tuples))
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	dsl := "model\n  schema 1.1\n\ntype user\n\ntype doc\n  relations\n    define viewer: [user, user:*, user with office]\n\ncondition office(net: string, floor: int) {\n  net == \"lan\" && floor > 1\n}\n"
	var tuples []graph.Tuple
	for _, id := range []string{
		"1", "a:b", "true", "é", "日本", "x/y.z@w|v", "'", `"`, `\`, "{}", "[a]", "&a", "*b", "!c", "%d", "- e", "e:", "null", "0x1f", "1e3", "2026-01-01",
		"\ufeff", "\u0085x", "\u2028", "\U0001f600", "<tag>", strings.Repeat("z", 512),
	} {
		tuples = append(tuples, graph.Tuple{
			Object: graph.ObjectName{Type: "doc", ID: id}, Relation: "viewer", Subject: graph.SubjectName{Type: "user", ID: id},
			Condition: "office", Context: map[string]any{"net": id, "floor": int64(9007199254740993)},
			Expires: time.Date(2030, 1, 2, 3, 4, 5, 678e6, time.UTC),
		})
	}
	for i := len(tuples) - 1; i >= 0; i-- { // ids that the model refuses are not exported either
		if tuples[i].Validate() != nil {
			tuples = append(tuples[:i], tuples[i+1:]...)
		}
	}
	var out strings.Builder
	w := storefile.NewWriter(&out, "yes: it's \"mine\" #1", dsl)
	for _, tuple := range tuples {
		if err := w.Tuple(tuple); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := storefile.ReadFS(files("s.fga.yaml", out.String()), "s.fga.yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	if file.Name != "yes: it's \"mine\" #1" {
		t.Errorf("name %q", file.Name)
	}
	if strings.TrimSpace(file.Source.DSL) != strings.TrimSpace(dsl) {
		t.Errorf("model:\n%s", file.Source.DSL)
	}
	var got []graph.Tuple
	for _, tuple := range file.Tuples {
		got = append(got, tuple.Tuple)
	}
	if diff := cmp.Diff(tuples, got); diff != "" {
		t.Errorf("tuples (-want +got):\n%s", diff)
	}
}

func FuzzParseTuples(f *testing.F) {
	f.Add(".yaml", "- {user: user:a, relation: r, object: 'doc:1'}")
	f.Add(".json", `[{"user":"user:a","relation":"r","object":"doc:1","condition":{"name":"c","context":{"x":[1,2.5,null]}}}]`)
	f.Add(".jsonl", `{"user":"user:a","relation":"r","object":"doc:1"}`)
	f.Add(".csv", "user_type,user_id,relation,object_type,object_id\nuser,a,r,doc,1\n")
	f.Add(".yaml", "- &a {user: *a}")
	f.Fuzz(func(t *testing.T, extension, text string) {
		tuples, _, err := storefile.ParseTuples("f"+extension, extension, []byte(text))
		if err != nil {
			return
		}
		for _, tuple := range tuples {
			if err := tuple.Validate(); err != nil {
				t.Errorf("%q gave a malformed tuple: %v", text, err)
			}
		}
	})
}
