package fsm

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

func TestReadsDoNotAllocate(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	var ops []Operation
	for i := range 600 {
		ops = append(ops, create(viewer("plan", fmt.Sprint("u", i))), create(viewer(fmt.Sprint("d", i), "anna")))
	}
	m.do(write(store, ops...))
	st, _ := m.s.Current().Store(store)
	view := st.View()
	plan, _, _ := view.Lookup(typeDocument, "plan")
	anna, _, _ := view.Lookup(typeUser, "anna")
	user, _, _ := view.Lookup(typeUser, "u77")
	u := graph.Userset{Object: plan, Relation: relViewer}
	var c graph.Cursor
	count := 0
	read := func() {
		if _, ok, _ := view.Contains(u, graph.Subject{ID: user}); !ok {
			t.Error("a tuple is missing")
		}
		if _, ok, _ := view.Lookup(typeUser, "u77"); !ok {
			t.Error("a name is missing")
		}
		count = 0
		for c.Reset(graph.Subject{}); !c.Done; {
			if err := view.Subjects(u, &c); err != nil {
				t.Error(err)
			}
			count += len(c.Edges)
		}
		for c.Reset(graph.Subject{}); !c.Done; {
			if err := view.Objects(relViewer, graph.Subject{ID: anna}, &c); err != nil {
				t.Error(err)
			}
			count += len(c.Edges)
		}
	}
	// Whatever else goes on in the process allocates, too, and never less than nothing.
	least := math.Inf(1)
	for range 20 {
		least = min(least, testing.AllocsPerRun(20, read))
	}
	if least != 0 {
		t.Errorf("%v allocations per read, want none", least)
	}
	if count != 1200 {
		t.Errorf("%d edges, want 1200", count)
	}
}

// The era of some types passes with a tuple of theirs, and with nothing else.
func TestErasPassWithTheirTuples(t *testing.T) {
	m := newMachine(t)
	store, other := m.store(1), m.store(2)
	era := func(types ...model.TypeID) graph.Era {
		t.Helper()
		st, ok := m.s.Current().Store(store)
		if !ok {
			t.Fatal("the store is gone")
		}
		return st.Era(types)
	}
	member := TupleKey{Entity{typeGroup, "eng"}, relMember, Entity{typeUser, "anna"}, 0}
	m.do(write(store, create(viewer("plan", "anna")), create(member)))
	for _, tt := range []struct {
		name            string
		do              *Command
		documents, both bool // whether the era of documents passes, and that of documents and groups
	}{
		{"a document's tuple", write(store, create(viewer("plan", "bert"))), true, true},
		{"the same again", write(store, touch(viewer("plan", "bert"))), true, true},
		{"a group's tuple", write(store, create(TupleKey{Entity{typeGroup, "eng"}, relMember, Entity{typeUser, "bert"}, 0})), false, true},
		{"a deletion", write(store, remove(viewer("plan", "bert"))), true, true},
		{"nothing to delete", write(store, remove(viewer("plan", "bert"))), false, false},
		{"another store", write(other, create(viewer("plan", "anna"))), false, false},
		{"an attribute", write(store, Operation{Kind: PutDocument, Entity: Entity{typeDocument, "plan"}, Fields: mustFields(t, nil)}), false, false},
	} {
		documents, both, none := era(typeDocument), era(typeDocument, typeGroup), era(typeUser)
		m.do(tt.do)
		if got := era(typeDocument) != documents; got != tt.documents {
			t.Errorf("%s: the era of documents passes: %v", tt.name, got)
		}
		if got := era(typeDocument, typeGroup) != both; got != tt.both {
			t.Errorf("%s: the era of documents and groups passes: %v", tt.name, got)
		}
		if era(typeUser) != none {
			t.Errorf("%s: the era of what has no tuples passes", tt.name)
		}
	}
	last := era(typeDocument)
	root := m.s.Current()
	m.do(write(store, remove(viewer("plan", "anna"))))
	if st, _ := root.Store(store); st.Era([]model.TypeID{typeDocument}) != last {
		t.Error("an old root tells a later era")
	}
	m.reopen()
	if loaded := era(typeDocument); loaded.Revision < last.Revision {
		t.Errorf("after a restart the era is %v, was %v", loaded, last)
	}
}

func TestARootDoesNotChange(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(write(store, create(viewer("plan", "anna"))))
	before, _ := m.s.Current().Store(store)
	for i := range 200 {
		m.do(write(store, touch(viewer("plan", fmt.Sprint(i)))))
	}
	m.do(write(store, remove(viewer("plan", "anna"))))
	if !contains(t, before, viewer("plan", "anna")) || contains(t, before, viewer("plan", "7")) {
		t.Error("an old root shows later writes")
	}
	if _, ok, _ := before.Lookup(typeUser, "7"); ok {
		t.Error("an old root knows later names")
	}
	if before.TupleCount() != 1 {
		t.Errorf("an old root counts %d tuples, want 1", before.TupleCount())
	}
}

func TestRowsKeepWithinTheirBounds(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	group := TupleKey{Entity{typeGroup, "eng"}, relMember, Entity{typeUser, "anna"}, 0}
	m.do(write(store, create(group), create(viewer("plan", "anna")), create(viewer("sheet", "anna"))))
	st, _ := m.s.Current().Store(store)
	past, err := m.s.ViewAt(store, st.Revision())
	if err != nil {
		t.Fatal(err)
	}
	plan, _, _ := st.Lookup(typeDocument, "plan")
	for name, v := range map[string]graph.Scanner{"head": st, "past": past} {
		for _, tt := range []struct {
			from, to graph.ID
			want     int
		}{
			{0, 0, 3},
			{graph.MakeID(typeDocument, 0), graph.MakeID(typeDocument, graph.MaxSequence), 2},
			{graph.MakeID(typeGroup, 0), graph.MakeID(typeGroup, graph.MaxSequence), 1},
			{plan, plan, 1},
			{plan + 1, 0, 1},
			{graph.MakeID(typeUser, 0), graph.MakeID(typeUser, 9), 0},
		} {
			c := &graph.RowCursor{From: tt.from, To: tt.to}
			if err := v.Rows(c); err != nil {
				t.Fatal(err)
			}
			if len(c.Rows) != tt.want || !c.Done {
				t.Errorf("%s: Rows(%v, %v) = %d rows, done %v, want %d", name, tt.from, tt.to, len(c.Rows), c.Done, tt.want)
			}
		}
	}
}

func TestViewsKnowTheirLimits(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	first := m.do(write(store, create(viewer("plan", "anna")))).Revision
	m.do(&Command{Store: store, Body: &WriteModel{ID: modelNumber(2), Declarations: declared}})
	last := m.do(write(store, create(viewer("sheet", "bert")))).Revision

	past, err := m.s.ViewAt(store, first)
	if err != nil {
		t.Fatal(err)
	}
	if newest, ok := past.NewestModel(); !ok || newest.ID != modelNumber(1) {
		t.Errorf("the model current then is %v", newest)
	}
	if _, ok := past.Model(modelNumber(2)); ok {
		t.Error("a past view knows a later model")
	}
	if _, ok, err := past.Lookup(typeUser, "bert"); ok || err != nil {
		t.Errorf("a past view knows a later name, error %v", err)
	}
	st, _ := m.s.Current().Store(store)
	bert, _, _ := st.Lookup(typeUser, "bert")
	if _, err := past.Name(bert); !errors.Is(err, graph.ErrUnknownEntity) {
		t.Errorf("Name of a later id = %v, want %v", err, graph.ErrUnknownEntity)
	}
	if _, err := st.Name(graph.MakeID(typeUser, 99)); !errors.Is(err, graph.ErrUnknownEntity) {
		t.Errorf("Name = %v, want %v", err, graph.ErrUnknownEntity)
	}
	for _, v := range []graph.View{st, past} {
		if id, ok, err := v.Lookup(typeUser, "*"); !ok || err != nil || id != graph.Wildcard(typeUser) {
			t.Errorf("Lookup(*) = %v, %v, %v", id, ok, err)
		}
		if name, err := v.Name(graph.Wildcard(typeUser)); err != nil || name != "*" {
			t.Errorf("Name of the wildcard = %q, %v", name, err)
		}
	}
	if _, err := m.s.ViewAt(store, last+1); !errors.Is(err, ErrRevisionUnknown) {
		t.Errorf("ViewAt of the future = %v, want %v", err, ErrRevisionUnknown)
	}
	if _, err := m.s.ViewAt(store, 0); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("ViewAt before the store = %v, want %v", err, ErrRevisionGone)
	}
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: last}})
	if _, _, err := past.Lookup(typeUser, "anna"); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("a view behind the horizon = %v, want %v", err, ErrRevisionGone)
	}
	if _, err := m.s.Changes(store, ChangeQuery{After: Place{Revision: first}}); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("Changes behind the horizon = %v, want %v", err, ErrRevisionGone)
	}
	if _, err := m.s.ViewAt(store, last); err != nil {
		t.Errorf("ViewAt at the horizon: %v", err)
	}
}

func TestChangesCarryWhoAndWhy(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	c := write(store, create(viewer("plan", "anna")), create(viewer("plan", "bert")))
	c.Principal, c.Actor, c.RequestID, c.Reason = "app", "carl", "r1", "because"
	r := m.do(c)
	page, err := m.s.Changes(store, ChangeQuery{After: EndOf(r.Revision - 1), Limit: 1})
	if err != nil || len(page.Changes) != 1 || !page.More {
		t.Fatalf("%+v, error %v", page, err)
	}
	got := page.Changes[0]
	if got.Kind != TuplePut || got.Revision != r.Revision || got.Time != r.Time || got.Principal != "app" ||
		got.Actor != "carl" || got.RequestID != "r1" || got.Reason != "because" {
		t.Errorf("change %+v", got)
	}
	page, err = m.s.Changes(store, ChangeQuery{After: page.Next, Limit: 1})
	if err != nil || len(page.Changes) != 1 || page.Changes[0].Ordinal != 1 || page.More {
		t.Errorf("behind the first: %+v, error %v", page, err)
	}
	all := allChanges(t, m.s, store, ChangeQuery{})
	if len(all) != 4 || all[0].Kind != StoreCreated || all[1].Kind != ModelWritten {
		t.Errorf("from the beginning: %+v", all)
	}
}

func TestExpiryLeavesTheHeadInSteps(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	expires := m.now + 100
	for range 2 {
		var ops []Operation
		for i := range rowsPerAdvance/2 + 10 {
			ops = append(ops, Operation{Kind: TouchTuple, Tuple: viewer(fmt.Sprint("d", len(m.logs)), fmt.Sprint("u", i)), Expires: expires})
		}
		m.do(write(store, ops...))
		expires++
	}
	m.now += 200
	c := &Command{Store: store, Body: &AdvanceExpiry{Horizon: m.now}}
	if r := m.do(c); !r.Remaining {
		t.Error("the first step says that it is through")
	}
	st, _ := m.s.Current().Store(store)
	if st.TupleCount() != 20 || st.ExpiryHorizon() != expires-1 {
		t.Errorf("%d tuples left, horizon %d, want 20 and %d", st.TupleCount(), st.ExpiryHorizon(), expires-1)
	}
	if r := m.do(c); r.Remaining {
		t.Error("the second step is not through")
	}
	st, _ = m.s.Current().Store(store)
	if st.TupleCount() != 0 || st.ExpiryHorizon() != m.now-2 {
		t.Errorf("%d tuples left, horizon %d", st.TupleCount(), st.ExpiryHorizon())
	}
	m.checkHash()
}

func TestHistoryIsCleanedUp(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	for i := range 50 {
		m.do(write(store, touch(viewer("plan", fmt.Sprint(i%3)))))
	}
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: graph.Revision(m.index)}})
	for _, sp := range []space{spaceForwardPast, spaceReversePast, spaceCleanup} {
		prefix := storePrefix(sp, store)
		if err := scan(m.s.db, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
			t.Errorf("row %x is left", key)
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	m.checkHash()
}
