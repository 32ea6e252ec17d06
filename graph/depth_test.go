package graph

import (
	"errors"
	"fmt"
	"testing"
)

const layered = `
model
  schema 1.1
type user
type group
  relations
    define barred: [user]
    define member: [user, group#member]
    define above: barred or above from over
    define over: [group]
    define welcome: member but not barred
`

// The ways double with every layer, but not the work.
func TestMaxDepthWithManyWays(t *testing.T) {
	const layers = 40
	p := compilePlan(t, layered)
	var tuples []string
	for i := range layers {
		for _, from := range []string{"a", "b"} {
			for _, to := range []string{"a", "b"} {
				tuples = append(tuples, fmt.Sprintf("group:%s%d#member@group:%s%d#member", from, i, to, i+1))
			}
		}
	}
	tuples = append(tuples, fmt.Sprintf("group:b%d#member@user:anna", layers), "group:b20#member@user:bob")
	m := remember(t, p, tuples...)
	for _, test := range []struct {
		question string
		depth    int
		allowed  bool
		err      error
	}{
		{"group:a0#member@user:anna", 0, true, nil},
		{"group:a0#member@user:anna", layers + 1, true, nil},
		{"group:a0#member@user:anna", layers, false, ErrDepth},
		{"group:a0#member@user:bob", 21, true, nil},
		{"group:a0#member@user:bob", 20, false, ErrDepth},
		{"group:a0#member@user:carl", layers + 1, false, nil},
		{"group:a0#member@user:carl", layers, false, ErrDepth},
		{"group:a0#welcome@user:carl", 25, false, ErrDepth},
		{"group:a20#member@user:carl", 25, false, nil},
	} {
		v, u, s := question(t, m, p, test.question)
		q := Query{View: v, Plan: p, At: instant, MaxDepth: test.depth, Budget: 20 * layers}
		if got, err := q.Check(t.Context(), u, s); got != test.allowed || !errors.Is(err, test.err) {
			t.Errorf("Check(%s) within %d = %v, %v, want %v, %v", test.question, test.depth, got, err, test.allowed, test.err)
		}
	}
}

// What one question finds out at its depths does not hold for the next.
func TestMaxDepthIsEachQuestionsOwn(t *testing.T) {
	p := compilePlan(t, layered)
	m := remember(
		t, p,
		"group:1#over@group:2", "group:2#over@group:3", "group:3#barred@user:anna",
		"group:1#member@group:x#member", "group:x#member@group:y#member",
	)
	v, u, s := question(t, m, p, "group:2#above@user:anna")
	e := newEvaluator(t.Context(), &Query{View: v, Plan: p, At: instant, MaxDepth: 2})
	defer e.release()
	e.about(s)
	if ok, err := e.check(u); !ok || err != nil {
		t.Errorf("two steps away: %v, %v, want true", ok, err)
	}
	_, u, _ = question(t, v, p, "group:1#above@user:anna")
	if ok, err := e.check(u); ok || !errors.Is(err, ErrDepth) {
		t.Errorf("three steps away: %v, %v, want ErrDepth", ok, err)
	}
}

func TestConditionErrorNamesTheTuple(t *testing.T) {
	p := compilePlan(t, `
model
  schema 1.1
type user
type group
  relations
    define member: [user, user with low]
type doc
  relations
    define group: [group with low]
    define reader: [user with low, user:* with low, group#member with low] or member from group
    define member: [user]
    define blocked: [user, doc#open]
    define open: reader but not blocked
condition low(level: int) {
  level < 5
}
`)
	const low = " with low"
	for _, test := range []struct{ name, tuple, question string }{
		{"direct", "doc:1#reader@user:anna" + low, "doc:1#reader@user:anna"},
		{"wildcard", "doc:1#reader@user:*" + low, "doc:1#reader@user:anna"},
		{"userset", "doc:1#reader@group:g#member" + low, "doc:1#reader@user:bob"},
		{"tuple-to-userset", "doc:1#group@group:g" + low, "doc:1#reader@user:bob"},
		{"on the way", "group:h#member@user:carl" + low, "doc:2#reader@user:carl"},
		{"by the fixpoint", "doc:1#reader@user:anna" + low, "doc:1#open@user:anna"},
		{"a userset by the fixpoint", "doc:1#reader@group:g#member" + low, "doc:1#open@user:bob"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := remember(t, p, "group:g#member@user:bob", "doc:1#blocked@doc:1#open")
			conditional := func(text string) {
				x, err := parseScenarioTuple(text)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.Put(p, x); err != nil {
					t.Fatal(err)
				}
			}
			conditional("doc:2#group@group:h with low {\"level\":1}")
			conditional(test.tuple)
			v, u, s := question(t, m, p, test.question)
			q := &Query{View: v, Plan: p, At: instant}
			_, searched := q.Check(t.Context(), u, s)
			_, fixed := byFixpoint(t, q, u, s)
			wanted, err := parseScenarioTuple(test.tuple)
			if err != nil {
				t.Fatal(err)
			}
			_, u, s = question(t, v, p, wanted.String())
			for _, err := range []error{searched, fixed} {
				var at *ConditionError
				if !errors.As(err, &at) {
					t.Fatalf("Check = %v, want a ConditionError", err)
				}
				if at.Userset != u || at.Subject != s || at.Condition != "low" || at.Error() != "condition low lacks parameters: level" {
					t.Errorf("Check = %+v, want the tuple %v %v", at, u, s)
				}
			}
		})
	}
}
