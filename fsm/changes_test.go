package fsm

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

func member(group, user string) TupleKey {
	return TupleKey{Object: Entity{typeGroup, group}, Relation: relMember, Subject: Entity{typeUser, user}}
}

// A reader of few changes among many of other types gets an answer in bounded work.
func TestAPageOfChangesExaminesSoMuch(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	for i := range 3 {
		ops := make([]Operation, changesPerPage/2)
		for j := range ops {
			ops[j] = create(viewer(fmt.Sprint(i, "-", j), "anna"))
		}
		m.do(write(store, ops...))
	}
	last := m.do(write(store, create(member("eng", "anna")))).Revision
	q := ChangeQuery{Type: typeGroup, Limit: 10}
	page, err := m.s.Changes(store, q)
	if err != nil || len(page.Changes) != 0 || !page.More || page.Next.Revision >= last {
		t.Fatalf("first page %+v, %v, want that it ends early", page, err)
	}
	q.After = page.Next
	page, err = m.s.Changes(store, q)
	if err != nil || len(page.Changes) != 1 || page.More || page.Next != (Place{Revision: last}) {
		t.Fatalf("second page %+v, %v, want the one change", page, err)
	}
	q.After = page.Next
	again, err := m.s.Changes(store, q)
	if err != nil || len(again.Changes) != 0 || again.More || again.Next != page.Next {
		t.Errorf("behind the end %+v, %v, want nothing and the same place", again, err)
	}
	if page, err = m.s.Changes(store, ChangeQuery{}); err != nil || len(page.Changes) != changesPerPage || !page.More {
		t.Errorf("a page without a limit has %d changes, %v, want %d", len(page.Changes), err, changesPerPage)
	}
}

func TestAPageOfLargeChangesEndsEarly(t *testing.T) {
	const size, number = 1 << 18, 40
	m := newMachine(t)
	store := m.store(1)
	for i := range number {
		fields := mustFields(t, value.Map{"text": string(make([]byte, size))})
		m.do(write(store, Operation{Kind: PutDocument, Entity: Entity{typeDocument, fmt.Sprint(i)}, Fields: fields}))
	}
	page, err := m.s.Changes(store, ChangeQuery{})
	if n := len(page.Changes); err != nil || n > changeBytesPerPage/size+3 || !page.More {
		t.Errorf("a page has %d changes of %d bytes, %v", n, size, err)
	}
	if all := allChanges(t, m.s, store, ChangeQuery{}); len(all) != number+2 {
		t.Errorf("%d changes in all, want %d", len(all), number+2)
	}
}

// Who has read a part of a revision's changes goes on behind it, even when that revision
// has become the oldest that is kept.
func TestAReaderOnTheHorizonMissesNothing(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	early := m.do(write(store, create(viewer("early", "anna")))).Revision
	r := m.do(write(store, create(viewer("a", "anna")), create(viewer("b", "anna")), create(viewer("c", "anna")))).Revision
	m.do(write(store, create(viewer("d", "anna"))))
	page, err := m.s.Changes(store, ChangeQuery{After: EndOf(early), Limit: 1})
	if err != nil || len(page.Changes) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	instant := time.UnixMilli(page.Changes[0].Time)
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: r}})
	if rest := allChanges(t, m.s, store, ChangeQuery{After: page.Next}); len(rest) != 3 {
		t.Errorf("%d changes behind the first of the horizon, want 3", len(rest))
	}
	if rest := allChanges(t, m.s, store, ChangeQuery{After: EndOf(r)}); len(rest) != 1 {
		t.Errorf("%d changes behind the horizon, want 1", len(rest))
	}
	for name, q := range map[string]ChangeQuery{
		"the beginning":           {},
		"a place before":          {After: EndOf(early)},
		"an instant before":       {Since: instant.Add(-time.Millisecond)},
		"an instant long before":  {Since: time.UnixMilli(1)},
		"tuples of a type before": {Type: typeGroup},
	} {
		if _, err := m.s.Changes(store, q); !errors.Is(err, ErrRevisionGone) {
			t.Errorf("%s: Changes = %v, want %v", name, err, ErrRevisionGone)
		}
	}
	if rest := allChanges(t, m.s, store, ChangeQuery{Since: instant.Add(time.Millisecond)}); len(rest) != 1 {
		t.Errorf("%d changes since the horizon, want 1", len(rest))
	}
}

func TestChangesKnowTheirLimits(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	r := m.do(write(store, create(viewer("plan", "anna")))).Revision
	if _, err := m.s.Changes(storeNumber(9), ChangeQuery{}); !errors.Is(err, ErrStoreNotFound) {
		t.Errorf("Changes of an unknown store = %v, want %v", err, ErrStoreNotFound)
	}
	if _, err := m.s.Changes(store, ChangeQuery{After: Place{Revision: r + 1}}); !errors.Is(err, ErrRevisionUnknown) {
		t.Errorf("Changes behind the future = %v, want %v", err, ErrRevisionUnknown)
	}
	page, err := m.s.Changes(store, ChangeQuery{Since: time.UnixMilli(m.now + 1)})
	if err != nil || len(page.Changes) != 0 || page.More || page.Next != EndOf(r) {
		t.Errorf("Changes since the future: %+v, %v, want nothing yet", page, err)
	}
	if all := allChanges(t, m.s, store, ChangeQuery{Since: time.UnixMilli(1)}); len(all) != 3 {
		t.Errorf("%d changes since before the store, want 3", len(all))
	}
}

// A change carries ids. Their names must be known however long ago the last tuple about
// them went, after cleaning up, a restart and a restore too.
func TestNamesOutliveTheirTuples(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	k := TupleKey{Entity{typeDocument, "gone"}, relViewer, Entity{typeGroup, "lost"}, relMember}
	m.do(write(store, Operation{Kind: CreateTuple, Tuple: k, Condition: conditionOne}))
	horizon := m.do(write(store, create(viewer("plan", "anna")))).Revision
	m.do(write(store, take(k)))
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: horizon}})
	m.do(write(store, touch(viewer("plan", "anna"))))
	named := func(s *State) {
		t.Helper()
		page, err := s.Changes(store, ChangeQuery{After: EndOf(horizon), Limit: 1})
		if err != nil || len(page.Changes) != 1 || page.Changes[0].Kind != TupleDeleted {
			t.Fatalf("%+v, %v", page, err)
		}
		st, _ := page.Root.Store(store)
		row := page.Changes[0].Tuple
		for id, want := range map[graph.ID]string{row.Userset.Object: "gone", row.Edge.Subject.ID: "lost"} {
			if name, err := st.Name(id); err != nil || name != want {
				t.Errorf("Name(%v) = %q, %v, want %q", id, name, err, want)
			}
		}
		if _, name := st.Symbols().RelationName(row.Edge.Subject.Relation); name != "member" {
			t.Errorf("the relation's name is %q", name)
		}
		if name := st.Symbols().ConditionName(row.Edge.Condition); name != "cond" {
			t.Errorf("the condition's name is %q", name)
		}
	}
	named(m.s)
	m.reopen()
	named(m.s)
	restore(t, m.s, snapshot(t, m.s, m.index).ID)
	named(m.s)
}

// Apply commits before it publishes, so what is read may be newer than what is shown.
func TestChangesEndWithTheirRoot(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	shown := m.s.Current()
	later := m.do(write(store, create(viewer("plan", "anna"))))
	for _, q := range []ChangeQuery{
		{After: EndOf(shown.Revision())},
		{Since: time.UnixMilli(later.Time)},
		{Since: time.UnixMilli(later.Time + 1)},
	} {
		page := &ChangePage{Root: shown, Next: q.After}
		if err := page.fill(m.s.db, store, &q); err != nil || len(page.Changes) != 0 || page.Next != EndOf(shown.Revision()) {
			t.Errorf("%+v: %+v, %v, want nothing and the end of %d", q, page, err, shown.Revision())
		}
	}
}
