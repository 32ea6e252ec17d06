package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/cluster/clustertest"
)

func TestAdoptedStateGoesOnAsANodeOfItsOwn(t *testing.T) {
	// A state machine with a past, whose log is left behind.
	old := newRig(t, clustertest.NewDisk())
	old.open()
	old.propose("a")
	old.propose("b")
	past := old.toy.state
	old.close()

	dir, disk := t.TempDir(), clustertest.NewDisk()
	open := func() (*toy, Config) {
		m := openToy(t, disk)
		cfg := toyConfig(m, toySnapshots{disk})
		cfg.Dir = dir
		return m, cfg
	}
	m, cfg := open()
	if _, err := Adopt(cfg, 7); err == nil {
		t.Error("a state machine without a past is adopted")
	}
	m.state = past
	must(t, m.write(0, past))
	if _, err := Adopt(cfg, 0); err == nil {
		t.Error("a state machine is adopted at no term")
	}
	id, err := Adopt(cfg, 7)
	must(t, err)
	if _, err := Adopt(cfg, 7); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("adopted twice: %v", err)
	}

	want := []string{"a", "b"}
	for _, command := range []string{"c", "d"} {
		n, err := Open(t.Context(), cfg)
		must(t, err)
		if n.ID() != id {
			t.Errorf("node %s, adopted was %s", n.ID(), id)
		}
		_, err = n.Propose(t.Context(), []byte(command))
		must(t, err)
		if index, err := n.ReadIndex(t.Context()); err != nil || index <= past.Index {
			t.Errorf("ReadIndex = %d, %v; the adopted state was at %d", index, err, past.Index)
		}
		must(t, errors.Join(n.Close(), m.journal.Close()))
		m, cfg = open()
		want = append(want, command)
		if got := m.history(); !slices.Equal(got, want) {
			t.Errorf("history %v, want %v", got, want)
		}
		if terms := m.all(); !slices.Contains(terms, "term 8") {
			t.Errorf("%v lacks the term behind the adopted one", terms)
		}
	}
	if m.restores != 0 {
		t.Errorf("%d restores of a state that is there", m.restores)
	}
	must(t, m.journal.Close())
}

func TestAdoptRefusesALogThatIsThere(t *testing.T) {
	dir, disk := t.TempDir(), clustertest.NewDisk()
	store, err := openLog(dir, false)
	must(t, err)
	must(t, errors.Join(store.SetUint64(keyTerm, 3), store.Close()))
	m := openToy(t, disk)
	m.state.Index = 5
	cfg := toyConfig(m, toySnapshots{disk})
	cfg.Dir = dir
	var refusal *StartError
	if _, err := Adopt(cfg, 7); !errors.As(err, &refusal) {
		t.Errorf("Adopt = %v, want a StartError", err)
	}
	must(t, m.journal.Close())
}
