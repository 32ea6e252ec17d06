package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// A stopped node is one of three voters that has entries nobody knows to be committed.
type stopped struct {
	dir     string
	disk    clustertest.Disk
	last    uint64
	pending []string // commands behind what its state machine has
}

// newStopped makes one by hand: two entries are in its state machine, and the log goes on.
func newStopped(t *testing.T) *stopped {
	t.Helper()
	s := &stopped{dir: t.TempDir(), disk: clustertest.NewDisk()}
	m := openToy(t, s.disk)
	cfg := toyConfig(m, toySnapshots{s.disk})
	cfg.Dir = s.dir
	id, err := Identify(cfg)
	must(t, err)
	store, err := openLog(s.dir, false)
	must(t, err)
	members := raft.Configuration{Servers: []raft.Server{
		{ID: raft.ServerID(id), Address: "a:1"}, {ID: "lost1", Address: "b:1"}, {ID: "lost2", Address: "c:1"},
	}}
	command := func(c string) []byte { return toySeal([][]byte{[]byte(c)}, (&schedule{}).begun()) }
	logs := &checked{LogStore: store, fail: func(err error) { t.Error(err) }}
	entries := []*raft.Log{
		{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(members)},
		{Index: 2, Term: 2, Type: raft.LogNoop},
		{Index: 3, Term: 2, Type: raft.LogCommand, Data: toyTermStart(2)},
		{Index: 4, Term: 2, Type: raft.LogCommand, Data: command("known")},
	}
	m.ApplyBatch([]*raft.Log{entries[0], entries[2], entries[3]})
	for i := range 200 { // several slices of a replay
		c := fmt.Sprintf("pending %d", i)
		s.pending = append(s.pending, c)
		entries = append(entries, &raft.Log{Index: uint64(len(entries) + 1), Term: 3, Type: raft.LogCommand, Data: command(c)})
	}
	members.Servers[2].Suffrage = raft.Nonvoter
	s.last = uint64(len(entries) + 2)
	entries = append(entries, &raft.Log{Index: s.last - 1, Term: 3, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(members)},
		&raft.Log{Index: s.last, Term: 4, Type: raft.LogNoop, AppendedAt: (&schedule{}).begun()})
	must(t, errors.Join(logs.StoreLogs(entries), store.SetUint64(keyTerm, 4), store.Close(), m.journal.Close()))
	return s
}

func (s *stopped) open(t *testing.T) (*toy, Config) {
	t.Helper()
	m := openToy(t, s.disk)
	t.Cleanup(func() { must(t, m.journal.Close()) })
	cfg := toyConfig(m, toySnapshots{s.disk})
	cfg.Dir = s.dir
	return m, cfg
}

func TestASurvivorIsExaminedAndItsLogReplayed(t *testing.T) {
	s := newStopped(t)
	m, cfg := s.open(t)
	found, err := Examine(cfg)
	must(t, err)
	if found.Index != s.last || found.Term != 4 || found.Durable != 4 || found.Known() != 4 || found.First != 1 || found.Last != s.last ||
		!found.Appended.Equal((&schedule{}).begun()) {
		t.Errorf("Examine = %+v", found)
	}
	if len(found.Members) != 3 || found.Voters() != 2 || found.Members[2].ID != "lost2" || found.Members[0].ID != found.ID {
		t.Errorf("the members are %+v", found.Members)
	}
	var told uint64
	must(t, Replay(t.Context(), cfg, found.Known(), func(index uint64) { told = index }))
	if want := append([]string{"known"}, s.pending...); !slices.Equal(m.history(), want) || m.durableIndex() != s.last-1 || told != s.last {
		t.Errorf("after the replay, told up to %d, the state is at %d with %v", told, m.durableIndex(), m.history())
	}
	must(t, Replay(t.Context(), cfg, s.last, nil)) // nothing is left

	// The new node begins behind it, alone.
	cfg.Dir = t.TempDir()
	id, err := Adopt(cfg, 4)
	must(t, err)
	n, err := Open(t.Context(), cfg)
	must(t, err)
	if n.ID() != id || id == found.ID {
		t.Errorf("the new node is %s, the old one was %s", n.ID(), found.ID)
	}
	_, err = n.Propose(t.Context(), []byte("after"))
	must(t, errors.Join(err, n.Close()))
	if h := m.history(); h[len(h)-1] != "after" || len(h) != len(s.pending)+2 {
		t.Errorf("the new history is %v", h)
	}
}

func TestWhatIsNoSurvivorIsRefused(t *testing.T) {
	refused := func(cfg Config, want string) {
		t.Helper()
		if _, err := Examine(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Examine = %v, want %q", err, want)
		}
	}
	s := newStopped(t)
	m, cfg := s.open(t)
	empty := cfg
	empty.Dir = t.TempDir()
	refused(empty, "holds no node")
	must(t, keepID(empty.Dir, strings.Repeat("A", idLen)))
	refused(empty, "holds no log")
	if left, err := os.ReadDir(empty.Dir); err != nil || len(left) != 1 {
		t.Errorf("looking left %v, %v", left, err)
	}
	waiting := toyConfigIn(t, t.TempDir())
	_, err := Identify(waiting)
	must(t, err)
	refused(waiting, "never a member")

	// A hole, and an entry that cannot be applied.
	store, err := openLog(s.dir, false)
	must(t, err)
	var e raft.Log
	must(t, store.GetLog(100, &e))
	must(t, store.DeleteRange(100, 100))
	must(t, store.Close())
	refused(cfg, "entry 100 is missing")
	if err := Replay(t.Context(), cfg, 4, nil); !errors.Is(err, errDamaged) {
		t.Errorf("Replay over a hole: %v", err)
	}
	e.Extensions, e.Data = nil, []byte("no entry")
	store, err = openLog(s.dir, false)
	must(t, err)
	must(t, errors.Join(store.StoreLog(&e), store.Close()))
	must(t, m.write(0, toyState{}))
	if err := Replay(t.Context(), cfg, 4, nil); err == nil || !strings.Contains(err.Error(), "cannot be applied") {
		t.Errorf("Replay of what is no entry: %v", err)
	}

	// A log that another process has.
	store, err = openLog(s.dir, false)
	must(t, err)
	refused(cfg, "another process")
	must(t, store.Close())

	must(t, os.Truncate(filepath.Join(s.dir, logFile), 20_000))
	refused(cfg, "cut off")
}
