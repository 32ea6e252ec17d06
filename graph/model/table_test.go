package model

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTableGivesIDsInOrder(t *testing.T) {
	table := NewTable()
	added := table.Define(Declarations{
		Types:      []TypeDeclaration{{"user", nil}, {"doc", []string{"viewer", "editor"}}},
		Conditions: []string{"late"},
	})
	want := Additions{
		Types:      []TypeAddition{{1, "user"}, {2, "doc"}},
		Relations:  []RelationAddition{{1, 2, "viewer"}, {2, 2, "editor"}},
		Conditions: []ConditionAddition{{1, "late"}},
	}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Fatalf("Define (-want +got):\n%s", diff)
	}

	added = table.Define(Declarations{
		Types:      []TypeDeclaration{{"folder", []string{"viewer"}}, {"doc", []string{"owner", "viewer", "owner"}}, {"folder", nil}},
		Conditions: []string{"late", "early"},
	})
	want = Additions{
		Types:      []TypeAddition{{3, "folder"}},
		Relations:  []RelationAddition{{3, 3, "viewer"}, {4, 2, "owner"}},
		Conditions: []ConditionAddition{{2, "early"}},
	}
	if diff := cmp.Diff(want, added); diff != "" {
		t.Fatalf("second Define (-want +got):\n%s", diff)
	}
	if added := table.Define(Declarations{Types: []TypeDeclaration{{"doc", []string{"owner"}}}}); !added.Empty() {
		t.Errorf("Define of what is known = %v", added)
	}
}

func TestTableLooksUpBothWays(t *testing.T) {
	table := NewTable()
	table.Define(library(t).Declarations())
	all := table.All()
	for _, a := range all.Types {
		if id, ok := table.TypeID(a.Name); !ok || id != a.ID || table.TypeName(id) != a.Name {
			t.Errorf("TypeID(%q) = %d, %t, want %d", a.Name, id, ok, a.ID)
		}
	}
	for _, a := range all.Relations {
		id, ok := table.RelationID(a.Type, a.Name)
		typeID, name := table.RelationName(id)
		if !ok || id != a.ID || typeID != a.Type || name != a.Name {
			t.Errorf("RelationID(%d, %q) = %d, %t, want %d", a.Type, a.Name, id, ok, a.ID)
		}
	}
	for _, a := range all.Conditions {
		if id, ok := table.ConditionID(a.Name); !ok || id != a.ID || table.ConditionName(id) != a.Name {
			t.Errorf("ConditionID(%q) = %d, %t, want %d", a.Name, id, ok, a.ID)
		}
	}
	if name := table.TypeName(0) + table.TypeName(99) + table.ConditionName(0) + table.ConditionName(99); name != "" {
		t.Errorf("unknown ids have the names %q", name)
	}
	if id, name := table.RelationName(99); id != 0 || name != "" {
		t.Errorf("RelationName(99) = %d, %q", id, name)
	}
	if n := testing.AllocsPerRun(100, func() {
		id, _ := table.TypeID("book")
		table.RelationID(id, "reads")
		table.ConditionID("until")
	}); n != 0 {
		t.Errorf("lookups allocate %v times", n)
	}
}

func TestTableClonesGrowApart(t *testing.T) {
	table := NewTable()
	table.Define(Declarations{Types: []TypeDeclaration{{"user", nil}}})
	clone := table.Clone()
	table.Define(Declarations{Types: []TypeDeclaration{{"doc", []string{"viewer"}}}})
	clone.Define(Declarations{Types: []TypeDeclaration{{"folder", nil}}})
	if _, ok := clone.TypeID("doc"); ok {
		t.Error("the clone has a type of the original")
	}
	if _, ok := table.TypeID("folder"); ok {
		t.Error("the original has a type of the clone")
	}
	if got := clone.TypeName(2); got != "folder" {
		t.Errorf("TypeName(2) of the clone = %q, want folder", got)
	}
}

func TestTableRestores(t *testing.T) {
	table := NewTable()
	table.Define(library(t).Declarations())
	all := table.All()

	restored := NewTable()
	for i := range all.Relations { // in the wrong order
		if err := restored.Restore(Additions{Types: all.Types}); err != nil {
			t.Fatal(err)
		}
		if err := restored.Restore(Additions{Relations: all.Relations[len(all.Relations)-1-i:]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := restored.Restore(Additions{Conditions: all.Conditions}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, restored.All()); diff != "" {
		t.Errorf("Restore (-want +got):\n%s", diff)
	}

	for i, bad := range []Additions{
		{Types: []TypeAddition{{0, "x"}}},
		{Types: []TypeAddition{{MaxTypeID + 1, "x"}}},
		{Types: []TypeAddition{{1, "x"}}},
		{Types: []TypeAddition{{9, "reader"}}},
		{Relations: []RelationAddition{{0, 1, "x"}}},
		{Relations: []RelationAddition{{99, 98, "x"}}},
		{Relations: []RelationAddition{{1, 1, "x"}}},
		{Relations: []RelationAddition{{99, 1, "guardian"}}},
		{Conditions: []ConditionAddition{{1, "x"}}},
		{Conditions: []ConditionAddition{{3, "until"}}},
	} {
		if err := restored.Restore(bad); err == nil {
			t.Errorf("Restore of bad additions %d: no error", i)
		}
	}
	if diff := cmp.Diff(all, restored.All()); diff != "" {
		t.Errorf("a refused Restore changed the table (-want +got):\n%s", diff)
	}
}

func TestTableIsFullAtSomePoint(t *testing.T) {
	table := NewTable()
	if err := table.Restore(Additions{Types: []TypeAddition{{MaxTypeID - 1, "last"}}}); err != nil {
		t.Fatal(err)
	}
	if err := table.Fits(Declarations{Types: []TypeDeclaration{{"a", nil}, {"last", nil}}}); err != nil {
		t.Errorf("Fits with one id left: %v", err)
	}
	if err := table.Fits(Declarations{Types: []TypeDeclaration{{"a", nil}, {"b", nil}}}); !errors.Is(err, ErrTableFull) {
		t.Errorf("Fits with one id too few = %v, want ErrTableFull", err)
	}
}

func BenchmarkTable(b *testing.B) {
	table := NewTable()
	d := Declarations{}
	for i := range 100 {
		d.Types = append(d.Types, TypeDeclaration{fmt.Sprintf("type%d", i), []string{"viewer", "editor"}})
	}
	table.Define(d)
	b.ReportAllocs()
	for b.Loop() {
		id, _ := table.TypeID("type42")
		table.RelationID(id, "editor")
	}
}
