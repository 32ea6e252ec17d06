package fsm

import (
	"testing"

	"github.com/remit-authz/remit/graph"
)

func TestAForkIsAStateOfItsOwn(t *testing.T) {
	m, _ := filled(t)
	m.do(&Command{Body: &SetEpoch{To: 77}})
	if err := m.s.Fork("fork/state"); err != nil {
		t.Fatal(err)
	}
	before := hashOf(m.s)
	if err := m.s.Fork("fork/state"); err == nil {
		t.Error("a fork went where there is one already")
	}
	open := func() *machine {
		t.Helper()
		s, err := Open(Config{Dir: "fork/state", FS: m.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return &machine{t: t, fs: m.fs, s: s, index: m.index, now: m.now}
	}
	f := open()
	if hashOf(f.s) != before || f.s.DurableIndex() != m.index {
		t.Errorf("the fork is at %d with %x, the state was at %d with %x", f.s.DurableIndex(), hashOf(f.s), m.index, before)
	}
	for _, epoch := range []uint64{0, 77} {
		if _, err := f.s.BeginHistory(epoch, "recovered"); err == nil {
			t.Errorf("epoch %d begins another history", epoch)
		}
	}
	// Twice in a row, and both are told.
	for i, epoch := range []uint64{78, 79} {
		term, err := f.s.BeginHistory(epoch, "recovered")
		if err != nil || term != 1 {
			t.Fatalf("BeginHistory = %d, %v", term, err)
		}
		all := groupChanges(t, f.s)
		last := all[len(all)-1]
		if last.Kind != EpochSet || last.From != 77+uint64(i) || last.To != epoch || last.Reason != "recovered" ||
			last.Revision != graph.Revision(m.index) || f.s.Epoch() != epoch {
			t.Errorf("epoch %d is told as %+v", f.s.Epoch(), last)
		}
		f.checkHash()
	}
	after := hashOf(f.s)
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	f = open()
	if hashOf(f.s) != after || f.s.Epoch() != 79 {
		t.Errorf("after a restart the epoch is %d", f.s.Epoch())
	}
	f.do(write(storeNumber(0), touch(viewer("forked", "anna"))))
	f.checkHash()
	if err := f.s.Close(); err != nil {
		t.Fatal(err)
	}
	if hashOf(m.s) != before || m.s.Epoch() != 77 {
		t.Error("what was done to the fork shows in the state that it was made of")
	}
	m.reopen()
	m.do(write(storeNumber(0), touch(viewer("own", "anna"))))
	m.checkHash()
}

func TestAnEmptyStateBeginsNoHistory(t *testing.T) {
	m := newMachine(t)
	if _, err := m.s.BeginHistory(5, "recovered"); err == nil {
		t.Error("a state without a past begins another history")
	}
}
