package graphtest

import (
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

func TestReference(t *testing.T) {
	const documents = `
model
  schema 1.1
type user
type group
  relations
    define member: [user, user:*, group#member]
type folder
  relations
    define viewer: [user, group#member]
type doc
  relations
    define parent: [folder]
    define viewer: [user, user with one, group#member] or viewer from parent
    define blocked: [user, user:* with both, doc#open]
    define open: viewer but not blocked
    define both: viewer and blocked
condition one(x: int) {
  x == 1
}
condition both(a: bool, b: bool) {
  a && b
}
`
	for _, test := range []struct {
		name       string
		stored     []string
		contextual []string
		context    value.Map
		want       map[string]Truth
	}{{
		name:   "a tuple grants to its subject alone",
		stored: []string{"doc:1#viewer@user:a"},
		want: map[string]Truth{
			"doc:1#viewer@user:a": True, "doc:1#viewer@user:b": False, "doc:2#viewer@user:a": False,
			"doc:1#viewer@user:*": False,
		},
	}, {
		name:   "members of a group of a group view what is in the folder",
		stored: []string{"doc:1#parent@folder:f", "folder:f#viewer@group:g#member", "group:g#member@group:h#member", "group:h#member@user:a"},
		want: map[string]Truth{
			"doc:1#viewer@user:a": True, "doc:1#viewer@group:h#member": True, "doc:1#viewer@user:b": False,
			"folder:f#viewer@doc:1#viewer": False, "doc:1#viewer@folder:f#viewer": True,
		},
	}, {
		name:   "a wildcard is every entity and itself, but no userset",
		stored: []string{"group:g#member@user:*"},
		want: map[string]Truth{
			"group:g#member@user:x": True, "group:g#member@user:*": True, "group:g#member@group:h#member": False,
		},
	}, {
		name: "a userset has itself",
		want: map[string]Truth{"doc:1#viewer@doc:1#viewer": True, "doc:1#open@doc:1#viewer": True, "doc:1#open@doc:1#blocked": False},
	}, {
		name:   "a cycle without a way in grants nothing",
		stored: []string{"group:g#member@group:h#member", "group:h#member@group:g#member"},
		want:   map[string]Truth{"group:g#member@user:a": False, "group:g#member@group:h#member": True},
	}, {
		name:   "a cycle with a way in grants all around",
		stored: []string{"group:g#member@group:h#member", "group:h#member@group:g#member", "group:g#member@user:a"},
		want:   map[string]Truth{"group:g#member@user:a": True, "group:h#member@user:a": True},
	}, {
		name: "two that deny each other are undefined",
		stored: []string{
			"doc:1#viewer@user:a", "doc:2#viewer@user:a", "doc:1#blocked@doc:2#open", "doc:2#blocked@doc:1#open",
		},
		want: map[string]Truth{
			"doc:1#open@user:a": Undefined, "doc:2#open@user:a": Undefined, "doc:1#blocked@user:a": Undefined,
			"doc:1#open@user:b": False, "doc:1#both@user:b": False, "doc:1#both@user:a": Undefined,
		},
	}, {
		name:   "of two that deny each other, the one with nothing to give is denied",
		stored: []string{"doc:1#viewer@user:a", "doc:1#blocked@doc:2#open", "doc:2#blocked@doc:1#open"},
		want:   map[string]Truth{"doc:1#open@user:a": True, "doc:2#open@user:a": False},
	}, {
		name:   "one that denies itself is undefined, unless it has another reason to be blocked",
		stored: []string{"doc:1#viewer@user:a", "doc:1#blocked@doc:1#open", "doc:1#viewer@user:b", "doc:1#blocked@user:b"},
		want:   map[string]Truth{"doc:1#open@user:a": Undefined, "doc:1#open@user:b": False, "doc:1#open@user:c": False},
	}, {
		name: "three that deny in a row alternate",
		stored: []string{
			"doc:1#viewer@user:a", "doc:2#viewer@user:a", "doc:3#viewer@user:a",
			"doc:1#blocked@doc:2#open", "doc:2#blocked@doc:3#open",
		},
		want: map[string]Truth{"doc:3#open@user:a": True, "doc:2#open@user:a": False, "doc:1#open@user:a": True},
	}, {
		name:   "a missing parameter is undefined",
		stored: []string{"doc:1#viewer@user:a with one"},
		want:   map[string]Truth{"doc:1#viewer@user:a": Undefined, "doc:1#open@user:a": Undefined, "doc:1#both@user:a": False},
	}, {
		name:    "a parameter of the request decides",
		stored:  []string{"doc:1#viewer@user:a with one"},
		context: value.Map{"x": int64(1)},
		want:    map[string]Truth{"doc:1#viewer@user:a": True},
	}, {
		name:    "what decides anyway needs no parameter",
		stored:  []string{"doc:1#viewer@user:a", "doc:1#blocked@user:* with both"},
		context: value.Map{"b": false},
		want:    map[string]Truth{"doc:1#open@user:a": True},
	}, {
		name:    "true or undefined is true",
		stored:  []string{"doc:1#viewer@user:a with one", "doc:1#viewer@group:g#member", "group:g#member@user:a"},
		context: value.Map{"b": true},
		want:    map[string]Truth{"doc:1#viewer@user:a": True},
	}, {
		name:       "a contextual tuple replaces a stored one",
		stored:     []string{"doc:1#viewer@user:a"},
		contextual: []string{"doc:1#viewer@user:a with one"},
		context:    value.Map{"x": int64(2)},
		want:       map[string]Truth{"doc:1#viewer@user:a": False},
	}, {
		name:       "what the model forbids does not count",
		stored:     []string{"folder:f#viewer@user:*", "doc:1#open@user:a", "folder:f#viewer@user:a with one"},
		contextual: []string{"doc:1#parent@group:g"},
		context:    value.Map{"x": int64(1)},
		want:       map[string]Truth{"folder:f#viewer@user:a": False, "doc:1#open@user:a": False},
	}} {
		t.Run(test.name, func(t *testing.T) {
			r := NewReference(parse(t, documents).Proto(), tuples(t, test.stored), tuples(t, test.contextual),
				[]graph.ObjectName{{Type: "doc", ID: "1"}}, Circumstances{At: noon, Context: test.context})
			for question, want := range test.want {
				q := tuple(t, question)
				if got := r.Check(q.Object, q.Relation, q.Subject); got != want {
					t.Errorf("Check(%s) = %v, want %v", question, got, want)
				}
			}
		})
	}
}

func TestReferenceInline(t *testing.T) {
	m := parse(t, "model\n  schema 1.1\ntype user\ntype doc\n  relations\n    define viewer: [user with $expression]\n")
	declared := value.Map{"x": "int"}
	for _, test := range []struct {
		name            string
		stored, request value.Map
		want            Truth
	}{
		{"it holds", value.Map{"expression": `x == 1`, "parameters": declared}, value.Map{"x": int64(1)}, True},
		{"it does not", value.Map{"expression": `x == 1`, "parameters": declared}, value.Map{"x": int64(2)}, False},
		{"a value is missing", value.Map{"expression": `x == 1`, "parameters": declared}, nil, Undefined},
		{"stored values are none", value.Map{"expression": `x == 1`, "parameters": declared, "x": int64(1)}, nil, Undefined},
		{"a string needs no declaration", value.Map{"expression": `x == "1"`}, value.Map{"x": "1"}, True},
		{"a value of another type", value.Map{"expression": `x == "1"`}, value.Map{"x": int64(1)}, Undefined},
		{"an int needs one", value.Map{"expression": `x == 1`}, value.Map{"x": int64(1)}, Undefined},
		{"one that is not used, and is missing", value.Map{"expression": `x == "1"`, "parameters": value.Map{"y": "int"}}, value.Map{"x": "1"}, True},
		{"one that is not used, of another type", value.Map{"expression": `x == "1"`, "parameters": value.Map{"y": "int"}}, value.Map{"x": "1", "y": "?"}, Undefined},
		{"no expression", nil, value.Map{"x": "1"}, Undefined},
		{"the instant is bound", value.Map{"expression": `now < until`, "parameters": value.Map{"now": "timestamp", "until": "timestamp"}}, value.Map{"now": "2030-01-01T00:00:00Z", "until": "2026-11-02T12:00:01Z"}, True},
	} {
		granted := tuple(t, "doc:1#viewer@user:a with $expression")
		granted.Context = test.stored
		r := NewReference(m.Proto(), []graph.Tuple{granted}, nil, nil, Circumstances{At: noon, Context: test.request})
		if got := r.Check(granted.Object, "viewer", granted.Subject); got != test.want {
			t.Errorf("%s: Check = %v, want %v", test.name, got, test.want)
		}
	}
}

// What is spoiled has no value, and nothing else is spoiled.
func TestSpoiledContexts(t *testing.T) {
	g := newGenerator(1, 1)
	for range 200 {
		fields := g.inline()
		if err := condition.Inline.CheckContext(fields); err != nil || inlineCondition(fields) == nil {
			t.Fatalf("a generated context is none: %v: %s", err, mapText(fields))
		}
		spoiled := g.spoiled(fields)
		if err := condition.Inline.CheckContext(spoiled); err == nil || inlineCondition(spoiled) != nil {
			t.Fatalf("a spoiled context is one: %s", mapText(spoiled))
		}
	}
}

func TestReferenceExpiry(t *testing.T) {
	m := parse(t, "model\n  schema 1.1\ntype user\ntype doc\n  relations\n    define viewer: [user]\n")
	granted := tuple(t, "doc:1#viewer@user:a")
	granted.Expires = noon
	for at, want := range map[time.Time]Truth{
		noon.Add(-time.Nanosecond): True, noon: False, noon.Add(time.Nanosecond): False,
	} {
		r := NewReference(m.Proto(), []graph.Tuple{granted}, nil, nil, Circumstances{At: at})
		if got := r.Check(granted.Object, "viewer", granted.Subject); got != want {
			t.Errorf("Check at %v = %v, want %v", at, got, want)
		}
	}
}

// Two negations in a cycle are a cycle through a negation: the answer hangs on itself.
func TestEquationsDoubleNegation(t *testing.T) {
	var e equations
	p, q, free := e.variable(), e.variable(), e.variable()
	e.right[p] = &term{kind: isFalse, variable: q}
	e.right[q] = &term{kind: isFalse, variable: p}
	e.right[free] = &term{kind: some, parts: []*term{{kind: isTrue, variable: free}, {kind: constant, value: True}}}
	e.solve()
	for v, want := range map[int]Truth{p: Undefined, q: Undefined, free: True} {
		if got := e.truth(v); got != want {
			t.Errorf("variable %d = %v, want %v", v, got, want)
		}
	}
	for v, want := range map[int]bool{p: true, q: true, free: false} {
		if got := e.reachesNegativeCycle(v); got != want {
			t.Errorf("variable %d reaches a negative cycle = %v, want %v", v, got, want)
		}
	}
}

func TestConditions(t *testing.T) {
	for _, test := range []struct {
		expression string
		fields     value.Map
		want       Truth
	}{
		{`x == 1`, value.Map{"x": 1.0}, True},
		{`x == 1`, nil, Undefined},
		{`a && b`, value.Map{"a": false}, False},
		{`a && b`, value.Map{"a": true}, Undefined},
		{`a || b`, value.Map{"b": true}, True},
		{`a || !b`, value.Map{"b": true}, Undefined},
		{`ip.in_cidr("10.1.0.0/16")`, value.Map{"ip": "10.1.9.9"}, True},
		{`ip.in_cidr("10.1.0.0/16")`, value.Map{"ip": "10.11.9.9"}, False},
		{`now < until`, value.Map{"now": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00.001Z"}, True},
		{`now < until + ttl`, value.Map{"now": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z", "ttl": "0s"}, False},
		{`s in list`, value.Map{"s": "a", "list": value.List{"b", "a"}}, True},
		{`x / y == 1`, value.Map{"x": int64(1), "y": int64(0)}, Undefined},
		{`x / y == 1`, value.Map{"x": int64(3), "y": int64(2)}, True},
		{`tags["k"] == s`, value.Map{"s": "a", "tags": value.Map{}}, Undefined},
		{`a ? x == 1 : s == "a"`, value.Map{"a": true, "x": int64(1)}, True},
		{`a ? x == 1 : s == "a"`, value.Map{"a": false, "x": int64(1)}, Undefined},
	} {
		got := evaluate(test.expression, func(name string) (value.Value, bool) {
			v, ok := test.fields[name]
			return v, ok
		})
		if got != test.want {
			t.Errorf("%s with %v = %v, want %v", test.expression, test.fields, got, test.want)
		}
	}
}

func parse(t *testing.T, dsl string) *model.Model {
	t.Helper()
	m, err := model.ParseDSL("model.fga", dsl)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// tuple reads a tuple, and behind "with" its condition.
func tuple(t *testing.T, text string) graph.Tuple {
	t.Helper()
	text, condition, _ := strings.Cut(text, " with ")
	parsed, err := graph.ParseTuple(text)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Condition = condition
	return parsed
}

func tuples(t *testing.T, texts []string) []graph.Tuple {
	t.Helper()
	var all []graph.Tuple
	for _, text := range texts {
		all = append(all, tuple(t, text))
	}
	return all
}
