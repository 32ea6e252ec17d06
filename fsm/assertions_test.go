package fsm

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func (m *machine) wantAssertions(store StoreID, id ModelID, want string) {
	m.t.Helper()
	st, _ := m.s.Current().Store(store)
	got, ok := st.Assertions(id)
	if string(got) != want || ok != (want != "") {
		m.t.Errorf("assertions of %v are %.20q, %v, want %.20q", id, got, ok, want)
	}
}

func TestAssertionsAreReplacedAndRemoved(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(&Command{Store: store, Body: &WriteModel{ID: modelNumber(7), Declarations: declared}})
	_, none := m.s.StateHash()
	old := m.do(assertions(store, modelNumber(1), "old")).Revision
	before, _ := m.s.Current().Store(store)
	large := strings.Repeat("x", MaxAssertionsSize)
	m.do(assertions(store, modelNumber(1), large))
	m.do(assertions(store, modelNumber(7), "other"))
	if got, _ := before.Assertions(modelNumber(1)); string(got) != "old" {
		t.Errorf("an old root shows %.20q", got)
	}
	for range 2 { // as written, and as loaded
		m.wantAssertions(store, modelNumber(1), large)
		m.wantAssertions(store, modelNumber(7), "other")
		m.checkHash()
		m.reopen()
	}
	for range 2 { // the second time there is nothing to remove
		m.do(assertions(store, modelNumber(1), ""))
		m.do(assertions(store, modelNumber(7), ""))
	}
	m.wantAssertions(store, modelNumber(1), "")
	m.checkHash()
	if _, after := m.s.StateHash(); after != none {
		t.Error("removed assertions leave something in the hash")
	}
	var kinds []ChangeKind
	for _, c := range allChanges(t, m.s, store, ChangeQuery{After: EndOf(old - 1)}) {
		kinds = append(kinds, c.Kind)
		if want := modelNumber(1); len(kinds) == 1 && (c.Model != want || c.Revision != old) {
			t.Errorf("change %+v, want of model %v at %d", c, want, old)
		}
	}
	want := []ChangeKind{AssertionsWritten, AssertionsWritten, AssertionsWritten, AssertionsRemoved, AssertionsRemoved}
	if len(kinds) != len(want) || kinds[2] != want[2] || kinds[3] != want[3] || kinds[4] != want[4] {
		t.Errorf("changes %v, want %v", kinds, want)
	}
}

func TestAssertionsTravelWithSnapshots(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(assertions(store, modelNumber(1), "kept"))
	meta := snapshot(t, m.s, m.index)
	b := stream(t, m.s, meta.ID)
	m.do(assertions(store, modelNumber(1), "later"))

	other := newMachine(t)
	id, err := receive(other.s, meta.Index, meta.Term, b)
	if err != nil {
		t.Fatal(err)
	}
	restore(t, other.s, id)
	other.wantAssertions(store, modelNumber(1), "kept")
	other.checkHash()
	other.s.Apply(m.logs[len(m.logs)-1])
	other.wantAssertions(store, modelNumber(1), "later")
	if hashOf(other.s) != hashOf(m.s) {
		t.Error("the rest of the log leads elsewhere")
	}
}

// A command may have more bytes than assertions may, so Apply judges them again.
func TestAssertionsTooLargeAreRefusedByApply(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	c := assertions(store, modelNumber(1), strings.Repeat("x", MaxAssertionsSize+1))
	l := m.entry(Seal([][]byte{c.encode(c.contentHash())}, time.UnixMilli(m.now+1)))
	if r := m.results(m.s.ApplyBatch([]*raft.Log{l})[0])[0]; !errors.Is(r.Err, ErrTooLarge) {
		t.Errorf("apply = %v, want %v", r.Err, ErrTooLarge)
	}
	m.wantAssertions(store, modelNumber(1), "")
}

func TestAssertionsAreWrittenOncePerKey(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	keyed := func(content string) *Command {
		c := assertions(store, modelNumber(1), content)
		c.Key = "k"
		return c
	}
	m.do(keyed("first"))
	m.do(assertions(store, modelNumber(1), "second"))
	if r := m.do(keyed("first")); !r.Replayed {
		t.Error("the retry was not recognised")
	}
	m.wantAssertions(store, modelNumber(1), "second")
	if r := m.apply(keyed("other"))[0]; !errors.Is(r.Err, ErrIdempotencyConflict) {
		t.Errorf("other content = %v, want %v", r.Err, ErrIdempotencyConflict)
	}
}
