package fsm

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/remit-authz/remit/graph"
)

// openPlain opens a state whose tables show what they hold.
func openPlain(t testing.TB, fs vfs.FS) *State {
	t.Helper()
	s, err := Open(Config{Dir: "data", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, plainTables: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flush writes what there is in memory into tables.
func (m *machine) flush() {
	m.t.Helper()
	if err := m.s.db.Flush(); err != nil {
		m.t.Fatal(err)
	}
}

// spread brings a name into every kind of file that there is: tables, the bounds of a
// table in Pebble's manifest, the WAL, and the same in snapshots.
func (m *machine) spread(store StoreID, name string) {
	m.t.Helper()
	m.traces(store, name)
	m.flush()
	// A table that holds the name's row and nothing else has the name as its bounds.
	key := nameKey(store, typeUser, name)
	value, ok, err := get(m.s.db, key)
	if err != nil || !ok {
		m.t.Fatal("the name has no row", err)
	}
	if err := m.s.db.Set(key, value, pebble.NoSync); err != nil {
		m.t.Fatal(err)
	}
	m.flush()
	m.mention(store, name)
	snapshot(m.t, m.s, m.index)
}

// mention leaves the name in the WAL, which is written out.
func (m *machine) mention(store StoreID, name string) {
	m.t.Helper()
	m.do(&Command{Store: store, Actor: "user:" + name, Body: &SetRetention{Retention: int64(m.index) * 1000}})
	m.syncWAL()
}

func (m *machine) syncWAL() {
	m.t.Helper()
	if err := m.s.db.LogData(nil, pebble.Sync); err != nil {
		m.t.Fatal(err)
	}
}

// kinds says what kinds of files there are among some.
func kinds(files []string) map[string]bool {
	found := map[string]bool{}
	for _, f := range files {
		kind := "other"
		switch base := f[strings.LastIndex(f, "/")+1:]; {
		case strings.HasSuffix(base, ".sst"):
			kind = "table"
		case strings.HasSuffix(base, ".log"):
			kind = "WAL"
		case strings.HasPrefix(base, "MANIFEST-"):
			kind = "manifest"
		}
		if strings.Contains(f, "/snapshots/") {
			kind = "snapshot's " + kind
		}
		found[kind] = true
	}
	return found
}

// finishRewriting does what a node does until nothing that was erased is left.
func finishRewriting(t testing.TB, s *State, index uint64) {
	t.Helper()
	if s.Rewritten() < s.Current().RewriteRequired() {
		rewriteState(t, s)
	}
	if err := trySnapshot(&machine{t: t, s: s, index: index}); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNoByteOfAnErasedNameIsLeft(t *testing.T) {
	fs := vfs.NewCrashableMem()
	m := &machine{t: t, fs: fs, s: openPlain(t, fs), now: epochMs}
	defer func() {
		if err := m.s.Close(); err != nil {
			t.Error(err)
		}
	}()
	store, name := m.store(1), "anna."+crand.Text()
	m.spread(store, name)
	if err := m.s.Close(); err != nil { // a restart, after which the WAL is another
		t.Fatal(err)
	}
	m.s = openPlain(t, fs)
	m.mention(store, name)
	found := kinds(holding(t, fs, "data", name))
	for _, kind := range []string{"table", "WAL", "manifest", "snapshot's table", "snapshot's WAL", "snapshot's manifest"} {
		if !found[kind] {
			t.Errorf("no %s holds the name, so nothing can be shown of it", kind)
		}
	}
	m.eraseAll(begin(store, 1, Entity{typeUser, name}), 0)
	m.eraseAll(begin(storeNumber(9), 2, Entity{0, name}), 0)
	if rows := rowsWith(t, m.s, name); len(rows) > 0 {
		t.Fatalf("the name stands in %q", rows)
	}
	m.syncWAL()
	found = kinds(holding(t, fs, "data", name))
	for _, kind := range []string{"table", "WAL", "manifest", "snapshot's table"} {
		if !found[kind] {
			t.Errorf("after the erasure no %s holds the name, so the rewriting has nothing to do there", kind)
		}
	}
	// A snapshot that cannot be read is not Raft's any more, but it is there.
	if err := m.fs.MkdirAll("data/snapshots/broken/state", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(fs, "data/snapshots/broken", "MANIFEST.remit", []byte(name)); err != nil {
		t.Fatal(err)
	}
	want := hashOf(m.s)
	finishRewriting(t, m.s, m.index)
	if files := holding(t, fs, "data", name); len(files) > 0 {
		t.Errorf("the name is still in %v", files)
	}
	if files := holding(t, fs, "data", "cleo"); len(files) == 0 {
		t.Error("another name is not found either, so the search finds nothing")
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.s = openPlain(t, fs)
	if hashOf(m.s) != want || m.s.Rewritten() < m.s.Current().RewriteRequired() {
		t.Errorf("after a restart the files are rewritten up to %d of %d", m.s.Rewritten(), m.s.Current().RewriteRequired())
	}
	m.checkHash()
	if files := holding(t, fs, "data", name); len(files) > 0 {
		t.Errorf("after a restart the name is in %v", files)
	}
	// Even where the power goes, no directory comes back.
	if files := holding(t, fs.CrashClone(vfs.CrashCloneCfg{}), "data", name); len(files) > 0 {
		t.Errorf("after a loss of power the name is in %v", files)
	}
}

// Whatever power is lost between two steps of a rewriting, under load: nothing of what
// the log lets go is lost, and what is begun anew ends without a byte of the name.
func TestPowerLossDuringARewriting(t *testing.T) {
	for range volume(1, 40) {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashRewriting(t, rand.New(rand.NewPCG(seed, 9))) })
	}
}

func crashRewriting(t *testing.T, rng *rand.Rand) {
	fs := &crashingFS{MemFS: vfs.NewCrashableMem(), rng: rng}
	m := &machine{t: t, fs: fs, s: openPlain(t, fs), now: epochMs}
	store, name := m.store(1), "anna."+crand.Text()
	m.spread(store, name)
	dropped := m.index // by the log, behind the only snapshot
	m.eraseAll(begin(store, 1, Entity{typeUser, name}), 0)
	m.eraseAll(begin(storeNumber(9), 2, Entity{0, name}), 0)

	fs.arm(true)
	done := make(chan error, 1)
	go func() { done <- m.s.Rewrite(t.Context(), nil) }()
	for running, i := true, 0; running; i++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		m.do(write(store, touch(viewer(fmt.Sprint("plan", i%50), fmt.Sprint("user", i)))))
	}
	before := len(fs.clones) // these were made when the log still had all behind the first snapshot
	fs.arm(false)
	m.do(write(store, touch(viewer("plan", "last"))))
	fs.arm(true)
	finishRewriting(t, m.s, m.index)
	fs.arm(false)
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	if before < 8 || len(fs.clones)-before < 8 {
		t.Fatalf("only %d and %d moments to crash at", before, len(fs.clones)-before)
	}
	for i, clone := range fs.clones {
		s := openPlain(t, clone)
		metas, err := s.Snapshots().List()
		if err != nil {
			t.Fatal(err)
		}
		if len(metas) > 0 && s.DurableIndex() < metas[0].Index {
			t.Errorf("moment %d: the state is at %d, a snapshot of it at %d", i, s.DurableIndex(), metas[0].Index)
		}
		if got := s.DurableIndex(); got < dropped {
			t.Errorf("moment %d: the state is at %d, the log begins behind %d", i, got, dropped)
		}
		s.ApplyBatch(m.logs[dropped:])
		if hashOf(s) != hashOf(m.s) {
			t.Errorf("moment %d: the state differs", i)
		}
		finishRewriting(t, s, m.index)
		checkHash(t, s)
		if files := holding(t, clone, "data", name); len(files) > 0 {
			t.Errorf("moment %d: the name is still in %v", i, files)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARewritingGivesWayToARestore(t *testing.T) {
	m, _ := filled(t)
	meta := snapshot(t, m.s, m.index)
	want := hashOf(m.s)
	m.do(write(storeNumber(0), touch(viewer("plan", "late"))))
	begun, restored := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(restored)
		<-begun
		restore(t, m.s, meta.ID)
	}()
	w := &rewriting{s: m.s}
	ctx, leave, err := m.s.making.enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	close(begun)
	<-ctx.Done()
	if err := errors.Join(w.from.Close(), w.abandon()); err != nil {
		t.Fatal(err)
	}
	leave()
	<-restored
	if hashOf(m.s) != want {
		t.Error("the restore leads elsewhere")
	}
	m.checkHash()
	rewriteState(t, m.s)
	if hashOf(m.s) != want {
		t.Error("the rewriting after it leads elsewhere")
	}
}

func TestASweepWaitsForWhoReads(t *testing.T) {
	m, _ := filled(t)
	meta := snapshot(t, m.s, m.index)
	rewriteState(t, m.s)
	if err := m.s.Sweep(t.Context()); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("Sweep = %v with an old snapshot alone, want %v", err, ErrNoSnapshot)
	}
	_, reader, err := m.s.Snapshots().Open(meta.ID)
	if err != nil {
		t.Fatal(err)
	}
	snapshot(t, m.s, m.index)
	swept := make(chan error, 1)
	go func() { swept <- m.s.Sweep(t.Context()) }()
	for waiting := false; !waiting; {
		select {
		case err := <-swept:
			t.Fatalf("Sweep = %v while the old snapshot is read", err)
		default:
			m.s.snaps.mu.Lock()
			waiting = m.s.snaps.changed != nil
			m.s.snaps.mu.Unlock()
		}
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-swept; err != nil {
		t.Error(err)
	}
	if names, err := m.fs.List("data/snapshots"); err != nil || len(names) != 1 {
		t.Errorf("%v is left of snapshots, %v", names, err)
	}
}

// What a restore brings may be files of a node that has rewritten nothing.
func TestTheMarkComesWithTheFiles(t *testing.T) {
	m, _ := filled(t)
	old := snapshot(t, m.s, m.index)
	_, reader, err := m.s.Snapshots().Open(old.ID)
	if err != nil {
		t.Fatal(err)
	}
	rewriteState(t, m.s)
	fresh := snapshot(t, m.s, m.index)
	at := graph.Revision(m.index)
	if m.s.Rewritten() != at {
		t.Errorf("rewritten up to %d, want %d", m.s.Rewritten(), at)
	}
	other := newMachine(t)
	id, err := receive(other.s, fresh.Index, fresh.Term, stream(t, m.s, fresh.ID))
	if err != nil {
		t.Fatal(err)
	}
	restore(t, other.s, id)
	if other.s.Rewritten() != at {
		t.Errorf("a node that gets the fresh files is rewritten up to %d, want %d", other.s.Rewritten(), at)
	}
	if err := m.s.Restore(wrapped{reader}); err != nil {
		t.Fatal(err)
	}
	if m.s.Rewritten() != 0 {
		t.Errorf("with the old files back the state is rewritten up to %d", m.s.Rewritten())
	}
}
