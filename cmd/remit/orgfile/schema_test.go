package orgfile_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

// examples are the organisation files that are meant to be read.
const examples = "../../../scripts/examples/*.org.yaml"

func TestTheSchemaTakesWhatTheParserTakes(t *testing.T) {
	s := newSchema(t)
	names, err := filepath.Glob(examples)
	if err != nil || len(names) == 0 {
		t.Fatalf("%d examples, %v", len(names), err)
	}
	names = append(names, "testdata/all.org.yaml", "testdata/all.canonical.yaml", "../demo/acme.org.yaml")
	for _, name := range names {
		if _, err := orgfile.Read(name); err != nil {
			t.Error(err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range s.faults(t, data) {
			t.Errorf("%s: %s", name, fault)
		}
	}
	volume := crmtest.VolumeOf(t, "./cmd/remit/orgfile", 10, 100)
	for n := volume.First; n < volume.First+volume.Count; n++ {
		_, o := volume.Organisation(n, 0)
		if faults := s.faults(t, []byte(written(t, o))); len(faults) > 0 {
			t.Fatalf("%s\n%s", strings.Join(faults, "\n"), volume.Again(n))
		}
	}
	for _, text := range hardTexts {
		o := small()
		o.Name, o.Records[0].ID = text, text
		if faults := s.faults(t, []byte(written(t, o))); len(faults) > 0 {
			t.Errorf("%q: %s", text, faults[0])
		}
	}
}

func TestTheSchemaRefusesWhatTheParserRefuses(t *testing.T) {
	s := newSchema(t)
	for _, bad := range badFiles {
		var document yaml.Node
		if yaml.Unmarshal([]byte(bad.text), &document) != nil || bad.name == "an alias of itself" {
			continue // what is no YAML has no schema
		}
		faults := s.faults(t, []byte(bad.text))
		if unseen := len(faults) == 0; unseen != bad.unseen {
			t.Errorf("%s: the schema sees %q; that it sees none is to be %v", bad.name, faults, bad.unseen)
		}
	}
}

// TestEveryKeyOfTheParserIsInTheSchema compares the keys that faults name with those that
// the schema has, so that no key can be forgotten in one of them.
func TestEveryKeyOfTheParserIsInTheSchema(t *testing.T) {
	s := newSchema(t)
	for _, test := range []struct{ text, definition string }{
		{"organisation: {?: 1}", "organisation"},
		{"modules: {a: {?: 1}}", "module"},
		{"profiles: {a: {?: 1}}", "profile"},
		{"fields: {m: {a: {?: 1}}}", "field"},
		{"roles: {a: {?: 1}}", "role"},
		{"shifts: {a: {?: 1}}", "shift"},
		{"users: {a: {?: 1}}", "user"},
		{"groups: {a: {?: 1}}", "group"},
		{"teams: {a: {?: 1}}", "team"},
		{"rules: {a: {?: 1}}", "rule"},
		{"records: {m: {a: {?: 1}}}", "record"},
		{"tests: [{?: 1}]", "test"},
		{"tests: [{name: x, change: {?: 1}}]", "change"},
	} {
		_, err := orgfile.Parse("a", []byte(strings.Replace(test.text, "?", "unknown_key", 1)))
		if err == nil {
			t.Fatalf("%s has no fault", test.text)
		}
		_, list, ok := strings.Cut(strings.Split(err.Error(), "\n")[0], "known are ")
		if !ok {
			t.Fatalf("%s: the fault names no keys: %v", test.text, err)
		}
		known := strings.Split(list, ", ")
		slices.Sort(known)
		definition := s.root["$defs"].(map[string]any)[test.definition].(map[string]any)
		if got := slices.Sorted(maps.Keys(definition["properties"].(map[string]any))); !slices.Equal(got, known) {
			t.Errorf("%s has in the schema %q, want %q", test.definition, got, known)
		}
	}
}

// A schema validates as JSON Schema says, as far as the schema of organisation files goes:
// a keyword that it does not know is a failure, not a pass.
type schema struct{ root map[string]any }

func newSchema(t *testing.T) *schema {
	t.Helper()
	data, err := json.Marshal(orgfile.Schema())
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{}
	if err := json.Unmarshal(data, &s.root); err != nil {
		t.Fatal(err)
	}
	return s
}

// faults validates a YAML text as an editor sees it.
func (s *schema) faults(t *testing.T, data []byte) []string {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Content) == 0 {
		return s.check(s.root, nil, "")
	}
	return s.check(s.root, plain(document.Content[0]), "")
}

// plain is a YAML node as JSON has it. An instant is a text, as in YAML 1.2.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := []any{}
		for _, element := range n.Content {
			l = append(l, plain(element))
		}
		return l
	case yaml.AliasNode:
		return plain(n.Alias)
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return n.Value == "true"
	case "!!int", "!!float":
		var f float64
		if n.Decode(&f) == nil && !math.IsNaN(f) {
			return f
		}
	}
	return n.Value
}

func (s *schema) check(schema map[string]any, v any, path string) []string {
	var faults []string
	fault := func(format string, args ...any) {
		faults = append(faults, path+": "+fmt.Sprintf(format, args...))
	}
	for keyword, want := range schema {
		switch keyword {
		case "$schema", "$defs", "title", "description", "properties":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/$defs/")
			faults = append(faults, s.check(s.root["$defs"].(map[string]any)[name].(map[string]any), v, path)...)
		case "type":
			types, several := want.([]any)
			if !several {
				types = []any{want}
			}
			whole := v == math.Trunc(number(v)) && slices.Contains(types, any("integer"))
			if !whole && !slices.Contains(types, any(typeOf(v))) {
				fault("%v is no %v", v, want)
			}
		case "minimum":
			if number(v) < want.(float64) {
				fault("%v is less than %v", v, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				fault("%v is none of %v", v, want)
			}
		case "const":
			if v != want {
				fault("%v is not %v", v, want)
			}
		case "pattern":
			if text, ok := v.(string); ok && !regexp.MustCompile(want.(string)).MatchString(text) {
				fault("%q does not match %s", text, want)
			}
		case "minItems":
			if l, ok := v.([]any); ok && len(l) < int(want.(float64)) {
				fault("it has %d elements", len(l))
			}
		case "uniqueItems":
			l, _ := v.([]any)
			for i, element := range l {
				if slices.Contains(l[:i], element) {
					fault("%v occurs twice", element)
				}
			}
		case "items":
			l, _ := v.([]any)
			for i, element := range l {
				faults = append(faults, s.check(want.(map[string]any), element, fmt.Sprintf("%s[%d]", path, i))...)
			}
		case "required":
			m, ok := v.(map[string]any)
			for _, key := range want.([]any) {
				if _, there := m[key.(string)]; ok && !there {
					fault("%s is missing", key)
				}
			}
		case "additionalProperties":
			faults = append(faults, s.properties(schema, v, path)...)
		case "propertyNames":
			m, _ := v.(map[string]any)
			for key := range m {
				faults = append(faults, s.check(want.(map[string]any), key, path+"."+key)...)
			}
		case "anyOf":
			least := []string{"nothing fits"}
			for i, one := range want.([]any) {
				if found := s.check(one.(map[string]any), v, path); i == 0 || len(found) < len(least) {
					least = found
				}
			}
			faults = append(faults, least...)
		case "not":
			if len(s.check(want.(map[string]any), v, path)) == 0 {
				fault("it is what it must not be: %v", want)
			}
		default:
			fault("keyword %s is unknown", keyword)
		}
	}
	return faults
}

// properties checks the values of a mapping.
func (s *schema) properties(schema map[string]any, v any, path string) []string {
	var faults []string
	m, _ := v.(map[string]any)
	known, _ := schema["properties"].(map[string]any)
	for key, held := range m {
		one, ok := known[key].(map[string]any)
		if !ok {
			one, ok = schema["additionalProperties"].(map[string]any)
		}
		if !ok {
			faults = append(faults, fmt.Sprintf("%s: key %s is unknown", path, key))
			continue
		}
		faults = append(faults, s.check(one, held, path+"."+key)...)
	}
	return faults
}

// number is a number, or none at all.
func number(v any) float64 {
	if f, ok := v.(float64); ok {
		return f
	}
	return math.NaN()
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	default:
		return "object"
	}
}
