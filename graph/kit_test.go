package graph

import (
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/model"
)

// instant is when tests ask, unless they say.
var instant = time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)

// compilePlan compiles a model given in the DSL, over symbols of its own.
func compilePlan(t testing.TB, dsl string) *model.Plan {
	t.Helper()
	return compileOver(t, model.NewTable(), dsl)
}

func compileOver(t testing.TB, table *model.Table, dsl string) *model.Plan {
	t.Helper()
	m, err := model.ParseDSL("model.fga", dsl)
	if err != nil {
		t.Fatalf("parse model: %v", err)
	}
	table.Define(m.Declarations())
	p, err := m.Compile("", table)
	if err != nil {
		t.Fatalf("compile model: %v", err)
	}
	return p
}

// remember makes a Memory of tuples given as text.
func remember(t testing.TB, p *model.Plan, tuples ...string) *Memory {
	t.Helper()
	m := NewMemory(1, instant)
	for _, text := range tuples {
		put(t, m, p, text)
	}
	return m
}

func put(t testing.TB, m *Memory, p *model.Plan, text string) {
	t.Helper()
	if err := m.Put(p, tuple(t, text)); err != nil {
		t.Fatalf("Put(%s): %v", text, err)
	}
}

func tuple(t testing.TB, text string) Tuple {
	t.Helper()
	parsed, err := ParseTuple(text)
	if err != nil {
		t.Fatalf("ParseTuple(%q): %v", text, err)
	}
	return parsed
}

// question turns object#relation@subject into ids; names that the view does not know
// get local ones in an Overlay, which is returned instead of the view.
func question(t testing.TB, v View, p *model.Plan, text string) (View, Userset, Subject) {
	t.Helper()
	parsed := tuple(t, text)
	r, err := ResolveRelation(p, parsed.Object.Type, parsed.Relation)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	kind, err := ResolveKind(p, parsed.Subject.Type, parsed.Subject.Relation)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	object, known, err := v.Lookup(r.Type.ID, parsed.Object.ID)
	if err != nil {
		t.Fatal(err)
	}
	subject, alsoKnown, err := v.Lookup(kind.Type.ID, parsed.Subject.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !known || !alsoKnown {
		o := NewOverlay(v)
		if object, err = o.Entity(r.Type.ID, parsed.Object.ID); err != nil {
			t.Fatal(err)
		}
		if subject, err = o.Entity(kind.Type.ID, parsed.Subject.ID); err != nil {
			t.Fatal(err)
		}
		v = o
	}
	s := Subject{ID: subject}
	if kind.Relation != nil {
		s.Relation = kind.Relation.ID
	}
	return v, Userset{Object: object, Relation: r.ID}, s
}

func relation(t testing.TB, p *model.Plan, typeName, name string) *model.Relation {
	t.Helper()
	r, err := ResolveRelation(p, typeName, name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
