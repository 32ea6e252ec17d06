package fsm

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// groupChanges reads the whole changelog of the group.
func groupChanges(t testing.TB, s *State) (all []*Change) {
	t.Helper()
	q := ChangeQuery{Limit: 2}
	for {
		page, err := s.GroupChanges(q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Changes...)
		if q.After = page.Next; !page.More {
			return all
		}
	}
}

// The rows of the group's changelog lie on disks.
func TestGroupChangeBytes(t *testing.T) {
	var lines []string
	for _, c := range []*Change{
		{Kind: StoreAdded, Time: epochMs, Principal: "p", Actor: "a", RequestID: "r", Reason: "w", Store: storeNumber(1), Name: "acme"},
		{Kind: StoreDeleted, Time: epochMs, Store: storeNumber(1), Name: "acme", Tuples: 300},
		{Kind: ClusterVersionSet, Time: epochMs, To: 1},
		{Kind: EpochSet, Time: epochMs, From: 300, To: 1 << 63},
	} {
		b := c.encode()
		lines = append(lines, fmt.Sprint("change-", c.Kind, " ", hex.EncodeToString(b)))
		c.Revision, c.Ordinal = 7, 3
		back, err := decodeChange(changeKey(StoreID{}, 7, 3), b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, back); diff != "" {
			t.Errorf("a change of kind %d (-want +got):\n%s", c.Kind, diff)
		}
		for n := range b {
			if _, err := decodeChange(changeKey(StoreID{}, 7, 3), b[:n]); err == nil {
				t.Errorf("the first %d of %d bytes of a change of kind %d decode", n, len(b), c.Kind)
			}
		}
	}
	golden(t, "changes", lines)
}

// What becomes of stores and of the group outlives the stores, a restart and a restore,
// and none of it is under the state hash.
func TestTheGroupRemembersItsStores(t *testing.T) {
	m := newMachine(t)
	by := func(who string, c *Command) *Command {
		c.Principal, c.Actor, c.RequestID, c.Reason = who, who+"'s user", who+"-1", "because"
		return c
	}
	m.do(by("root", &Command{Body: &SetEpoch{To: 7}}))
	m.do(by("root", &Command{Body: &SetClusterVersion{Version: ClusterVersion}}))
	m.do(by("root", &Command{Body: &SetClusterVersion{Version: ClusterVersion}})) // it is there already
	a, b := storeNumber(1), storeNumber(2)
	m.do(by("ann", &Command{Store: a, Body: &CreateStore{Name: "acme"}}))
	m.do(by("ann", &Command{Store: a, Body: &WriteModel{ID: modelNumber(1), Source: []byte("m"), Declarations: declared}}))
	m.do(by("ann", write(a, create(viewer("plan", "anna")), create(viewer("plan", "bert")))))
	m.apply(by("bob", &Command{Store: b, Body: &CreateStore{Name: "other"}}), by("cleo", &Command{Store: a, Body: &DeleteStore{}}))
	deleted := m.index
	m.apply(by("eve", &Command{Store: a, Body: &DeleteStore{}})) // it is gone already
	again := by("dora", &Command{Store: a, Key: "k", Body: &CreateStore{Name: "acme"}})
	m.apply(again, again)
	want := []string{
		"root 14 from 0 to 7", fmt.Sprint("root 13 from 0 to ", ClusterVersion), "ann 11 acme", "bob 11 other", "cleo 12 acme of 2 tuples", "dora 11 acme",
	}
	tell := func(s *State) (told []string) {
		for _, c := range groupChanges(t, s) {
			line := fmt.Sprint(c.Principal, " ", c.Kind)
			switch c.Kind {
			case StoreAdded:
				line += " " + c.Name
			case StoreDeleted:
				line += fmt.Sprintf(" %s of %d tuples", c.Name, c.Tuples)
				if c.Store != a || c.Revision != graph.Revision(deleted) || c.Ordinal != 1 || c.Actor != "cleo's user" || c.RequestID != "cleo-1" || c.Reason != "because" {
					t.Errorf("the deletion is told as %+v", c)
				}
			default:
				line += fmt.Sprintf(" from %d to %d", c.From, c.To)
			}
			told = append(told, line)
		}
		return told
	}
	same := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, tell(m.s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		m.checkHash()
	}
	same("at first")
	m.reopen()
	same("after a restart")
	m.do(&Command{Store: a, Body: &AdvanceHistory{Horizon: graph.Revision(m.index)}})
	m.do(&Command{Store: b, Body: &AdvanceHistory{Horizon: graph.Revision(m.index)}})
	same("after the stores gave up their pasts")
	meta := snapshot(t, m.s, m.index)
	restore(t, m.s, meta.ID)
	same("after a restore")
	if page, err := m.s.GroupChanges(ChangeQuery{}); err != nil || page.Kept != 1 {
		t.Errorf("the group's changes are kept since %d, %v, want 1", page.Kept, err)
	}

	// Whoever reads the changelogs of all stores does not meet the group's.
	if _, err := m.s.Changes(StoreID{}, ChangeQuery{}); err == nil {
		t.Error("the zero store has a changelog")
	}
	m.s.Current().Stores(StoreID{}, func(st *Store) bool {
		for _, c := range allChanges(t, m.s, st.ID(), ChangeQuery{Kept: true}) {
			if c.Kind >= StoreAdded {
				t.Errorf("store %v tells of the group: %+v", st.ID(), c)
			}
		}
		return true
	})
}

// An operator's restore begins another history, and the group says when.
func TestARestoreIsTold(t *testing.T) {
	m := newMachine(t)
	m.store(1)
	id, err := receive(m.s, 100, 9, stream(t, m.s, snapshot(t, m.s, m.index).ID))
	if err != nil {
		t.Fatal(err)
	}
	restore(t, m.s, id)
	all := groupChanges(t, m.s)
	last := all[len(all)-1]
	if last.Kind != EpochSet || last.Revision != 100 || last.To != m.s.Epoch() || last.Reason != "restored" || last.Time != m.s.Current().time {
		t.Errorf("the restore is told as %+v", last)
	}
	m.checkHash()
}

// Every kind of command is here, with what it leaves in the changelogs: a kind that is
// not must be thought about.
func TestWhatEveryCommandLeaves(t *testing.T) {
	m := newMachine(t)
	id := storeNumber(1)
	at := func() graph.Revision { return graph.Revision(m.index) }
	commands := []struct {
		name         string
		command      *Command
		store, group []ChangeKind
	}{
		{"the first epoch", &Command{Body: &SetEpoch{To: 5}}, nil, []ChangeKind{EpochSet}},
		{"a version of the cluster", &Command{Body: &SetClusterVersion{Version: 1}}, nil, []ChangeKind{ClusterVersionSet}},
		{"the same version", &Command{Body: &SetClusterVersion{Version: 1}}, nil, nil},
		{"a comparison of hashes", &Command{Body: &HashCheck{}}, nil, nil},
		{"a new store", &Command{Store: id, Body: &CreateStore{Name: "acme"}}, []ChangeKind{StoreCreated}, []ChangeKind{StoreAdded}},
		{"a model", &Command{Store: id, Body: &WriteModel{ID: modelNumber(1), Source: []byte("m"), Declarations: declared}}, []ChangeKind{ModelWritten}, nil},
		{"assertions", assertions(id, modelNumber(1), "a"), []ChangeKind{AssertionsWritten}, nil},
		{"no assertions", assertions(id, modelNumber(1), ""), []ChangeKind{AssertionsRemoved}, nil},
		{"a retention", &Command{Store: id, Body: &SetRetention{Retention: 1}}, []ChangeKind{RetentionSet}, nil},
		{"the same retention", &Command{Store: id, Body: &SetRetention{Retention: 1}}, nil, nil},
		{"a tuple and a document", write(id, create(viewer("plan", "anna")), Operation{Kind: PutDocument, Entity: Entity{typeUser, "anna"}, Fields: mustFields(t, value.Map{})}), []ChangeKind{TuplePut, DocumentPut}, nil},
		{"the same removed", write(id, take(viewer("plan", "anna")), Operation{Kind: DeleteDocument, Entity: Entity{typeUser, "anna"}}), []ChangeKind{TupleDeleted, DocumentDeleted}, nil},
		// Nothing that anybody stored changes with a scope: it only orders writes.
		{"a scope alone", &Command{Store: id, Bumps: []string{"a"}, Body: &Write{}}, nil, nil},
		{"a tuple that expires", write(id, Operation{Kind: CreateTuple, Tuple: viewer("plan", "bert"), Expires: epochMs + 1}), []ChangeKind{TuplePut}, nil},
		{"its expiry", &Command{Store: id, Body: &AdvanceExpiry{Horizon: epochMs + 1}}, []ChangeKind{TupleExpired}, nil},
		// What is given up follows from the retention, whose change is told, and how far
		// that is can always be asked: a row each minute would tell no more.
		{"a horizon", &Command{Store: id, Body: &AdvanceHistory{Horizon: 1}}, nil, nil},
		{"the store's end", &Command{Store: id, Body: &DeleteStore{}}, nil, []ChangeKind{StoreDeleted}},
	}
	tried := map[bodyKind]bool{}
	for _, c := range commands {
		tried[c.command.Body.kind()] = true
		c.command.Principal = "p"
		before := at()
		m.do(c.command)
		check := func(where string, want []ChangeKind, got []*Change) {
			t.Helper()
			var kinds []ChangeKind
			for _, g := range got {
				if kinds = append(kinds, g.Kind); g.Principal != "p" || g.Time != m.now {
					t.Errorf("%s: %+v does not say who and when", c.name, g)
				}
			}
			if !reflect.DeepEqual(kinds, want) {
				t.Errorf("%s: the %s is told %v, want %v", c.name, where, kinds, want)
			}
		}
		page, err := m.s.GroupChanges(ChangeQuery{After: EndOf(before)})
		if err != nil {
			t.Fatal(err)
		}
		check("group", c.group, page.Changes)
		if _, ok := m.s.Current().Store(id); ok {
			check("store", c.store, allChanges(t, m.s, id, ChangeQuery{After: EndOf(before), Kept: true}))
		}
	}
	for k := kindCreateStore; k < kindEnd; k++ {
		if !tried[k] && k != kindErase { // whose row is told with the erasing
			t.Errorf("a command of kind %d is not tried", k)
		}
	}
}

// A directory of a release whose groups had no changelog opens, and tells since when it
// has one.
func TestAGroupThatBeganWithoutAChangelog(t *testing.T) {
	m := newMachine(t)
	m.store(1)
	prefix := storePrefix(spaceChange, StoreID{})
	if err := m.s.db.DeleteRange(prefix, prefixEnd(prefix), nil); err != nil {
		t.Fatal(err)
	}
	m.reopen()
	page, err := m.s.GroupChanges(ChangeQuery{})
	if err != nil || page.Kept != 0 || len(page.Changes) != 0 || page.More {
		t.Errorf("an empty changelog reads as %+v, %v", page, err)
	}
	r := m.do(&Command{Store: storeNumber(2), Body: &CreateStore{Name: "later"}})
	if page, err = m.s.GroupChanges(ChangeQuery{Since: time.UnixMilli(1), Kept: true}); err != nil || page.Kept != r.Revision || len(page.Changes) != 1 {
		t.Errorf("it reads as %+v, %v, want that it begins at %d", page, err, r.Revision)
	}
	m.checkHash()
}
