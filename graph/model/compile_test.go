package model

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// describe prints a rewrite with its ops and the names it refers to.
func describe(rw *Rewrite) string {
	var children []string
	for _, c := range rw.Children {
		children = append(children, describe(c))
	}
	inner := strings.Join(children, " ")
	switch rw.Op {
	case OpDirect:
		return "direct"
	case OpComputed:
		return rw.Relation.Type.Name + "#" + rw.Relation.Name
	case OpTupleToUserset:
		var asked []string
		for _, r := range rw.Computed {
			asked = append(asked, r.Type.Name+"#"+r.Name)
		}
		return fmt.Sprintf("(%s of %s: %s)", rw.ComputedName, rw.Tupleset.Name, strings.Join(asked, " "))
	case OpUnion:
		return "(union " + inner + ")"
	case OpIntersection:
		return "(intersection " + inner + ")"
	case OpExclusion:
		return "(exclusion " + inner + ")"
	default:
		return "?"
	}
}

func describeAllowed(r *Relation) string {
	var parts []string
	for _, a := range r.Allowed {
		text := a.Type.Name
		if a.Relation != nil {
			text += "#" + a.Relation.Name
		}
		if a.Wildcard {
			text += ":*"
		}
		if a.Condition != nil {
			text += fmt.Sprintf(" with %s(%d)", a.Condition.Name(), a.ConditionID)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func TestCompile(t *testing.T) {
	m := mustParse(t, `model
  schema 1.1
type user
type folder
  relations
    define parent: [folder, team]
    define viewer: [user] or viewer from parent
type team
  relations
    define viewer: [user, user, team#viewer, user:* with late, user with late]
type doc
  relations
    define parent: [user, team, folder]
    define a: [user]
    define b: [user] or (a or (c or viewer from parent)) or (a and (c and (b2 and a)))
    define b2: (a or c) but not (a and (c but not a))
    define c: a
condition late(x: int) { x > 1 }
`)
	table := NewTable()
	// Types get ids in another order than the model has.
	table.Define(Declarations{Types: []TypeDeclaration{{Name: "gone", Relations: []string{"x"}}, {Name: "team"}}, Conditions: []string{"gone"}})
	table.Define(m.Declarations())
	p, err := m.Compile("01", table)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID() != "01" {
		t.Errorf("ID() = %q", p.ID())
	}

	got := map[string]string{}
	seen := map[int]bool{}
	var walk func(rw *Rewrite)
	walk = func(rw *Rewrite) {
		if seen[rw.Index] {
			t.Errorf("index %d stands twice", rw.Index)
		}
		seen[rw.Index] = true
		for _, c := range rw.Children {
			walk(c)
		}
	}
	last := TypeID(0)
	for _, ty := range p.Types() {
		if ty.ID <= last {
			t.Errorf("types are not sorted: %d after %d", ty.ID, last)
		}
		last = ty.ID
		if found, ok := p.Type(ty.Name); !ok || found != ty || p.TypeByID(ty.ID) != ty {
			t.Errorf("type %s is not found by its name and id", ty.Name)
		}
		if id, _ := table.TypeID(ty.Name); id != ty.ID {
			t.Errorf("type %s has id %d, want %d", ty.Name, ty.ID, id)
		}
		for _, r := range ty.Relations {
			if found, ok := ty.Relation(r.Name); !ok || found != r || p.Relation(r.ID) != r {
				t.Errorf("relation %s is not found by its name and id", r.Name)
			}
			walk(r.Rewrite)
			got[ty.Name+"#"+r.Name] = describe(r.Rewrite) + " [" + describeAllowed(r) + "]"
		}
	}
	for i := range len(seen) {
		if !seen[i] {
			t.Errorf("index %d is left out", i)
		}
	}
	want := map[string]string{
		"folder#parent": "direct [folder, team]",
		"folder#viewer": "(union direct (viewer of parent: team#viewer folder#viewer)) [user]",
		"team#viewer":   "direct [user, team#viewer, user:* with late(2), user with late(2)]",
		"doc#parent":    "direct [user, team, folder]",
		"doc#a":         "direct [user]",
		"doc#b":         "(union direct doc#a doc#c (viewer of parent: team#viewer folder#viewer) (intersection doc#a doc#c doc#b2 doc#a)) [user]",
		"doc#b2":        "(exclusion (union doc#a doc#c) (intersection doc#a (exclusion doc#c doc#a))) []",
		"doc#c":         "doc#a []",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}

	if c := p.Condition(2); c == nil || c.Name() != "late" {
		t.Errorf("Condition(2) = %v, want late", c)
	}
	if p.Condition(0) != nil || p.Condition(1) != nil || p.Condition(99) != nil {
		t.Error("there is a condition that the model does not have")
	}
	if p.TypeByID(0) != nil || p.TypeByID(1) != nil || p.TypeByID(99) != nil {
		t.Error("there is a type that the model does not have")
	}
	if p.Relation(0) != nil || p.Relation(1) != nil || p.Relation(99) != nil {
		t.Error("there is a relation that the model does not have")
	}
	if n := testing.AllocsPerRun(100, func() {
		p.Type("doc")
		p.TypeByID(3)
		p.Relation(3)
	}); n != 0 {
		t.Errorf("lookups allocate %v times", n)
	}
}

func TestCompileNeedsEverySymbol(t *testing.T) {
	m := mustParse(t, head+"type doc\n  relations\n    define viewer: [user with late]\ncondition late(x: int) { x > 1 }\n")
	table := NewTable()
	table.Define(Declarations{Types: []TypeDeclaration{{Name: "doc"}}})
	_, err := m.Compile("01", table)
	if !errors.Is(err, ErrUndefined) {
		t.Fatalf("Compile = %v, want ErrUndefined", err)
	}
	for _, name := range []string{"type user", "relation doc#viewer", "condition late"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("Compile = %v, want it to name %s", err, name)
		}
	}
}

func TestCompileIsTheSameEveryTime(t *testing.T) {
	m := library(t)
	table := NewTable()
	table.Define(m.Declarations())
	describePlan := func() string {
		p, err := m.Compile("01", table)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, ty := range p.Types() {
			for _, r := range ty.Relations {
				fmt.Fprintln(&b, ty.Name, r.Name, r.Rewrite.Index, describe(r.Rewrite))
			}
		}
		return b.String()
	}
	want := describePlan()
	for range 10 {
		if got := describePlan(); got != want {
			t.Fatalf("plans differ:\n%s", cmp.Diff(want, got))
		}
	}
}
