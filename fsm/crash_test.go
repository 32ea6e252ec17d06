package fsm

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

var discard = slog.New(slog.DiscardHandler)

// crash is a possible disk after a loss of power at this moment.
func crash(fs *vfs.MemFS, r *rand.Rand) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
}

// recoverFrom opens what a crash left, restores a snapshot if Raft would, applies the
// rest of the log, and compares hashes. The log begins behind the last snapshot that was
// finished before the crash: Raft has dropped what came before.
func recoverFrom(t *testing.T, fs vfs.FS, m *machine, dropped uint64) {
	t.Helper()
	s, err := Open(Config{Dir: "data", FS: fs, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	checkHash(t, s)
	metas, err := s.Snapshots().List()
	if err != nil {
		t.Fatal(err)
	}
	if len(metas) > 0 && s.DurableIndex() < metas[0].Index {
		restore(t, s, metas[0].ID)
	}
	if got := s.DurableIndex(); got < dropped {
		t.Fatalf("durable index %d, the log begins behind %d", got, dropped)
	}
	var rest []*raft.Log
	for _, l := range m.logs {
		if l.Index > dropped {
			rest = append(rest, l)
		}
	}
	s.ApplyBatch(rest)
	if _, want := m.s.StateHash(); hashOf(s) != want {
		t.Fatalf("hash after the crash %x, want %x", hashOf(s), want)
	}
	checkHash(t, s)
}

func TestPowerLossAfterTheFirstStart(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s, err := Open(Config{Dir: "var/lib/data", FS: fs, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := fs.CrashClone(vfs.CrashCloneCfg{}).Stat("var/lib/data/CURRENT"); err != nil {
		t.Errorf("the directory is not durable: %v", err)
	}
}

func TestPowerLoss(t *testing.T) {
	for range volume(3, 60) {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := &chance{rand.New(rand.NewPCG(seed, 1)), t}
			fs := vfs.NewCrashableMem()
			m := &machine{t: t, fs: fs, s: openState(t, fs), now: epochMs}
			m.store(0)
			m.store(1)
			type moment struct {
				disk    *vfs.MemFS
				dropped uint64
			}
			var crashed []moment
			var dropped uint64
			for range 80 {
				m.apply(r.command(0, m.now), r.command(0, m.now))
				switch r.IntN(8) {
				case 0:
					crashed = append(crashed, moment{crash(fs, r.Rand), dropped})
				case 1:
					snapshot(t, m.s, m.index)
					dropped = m.index
					crashed = append(crashed, moment{crash(fs, r.Rand), dropped})
				case 2:
					if err := m.s.db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, c := range crashed {
				recoverFrom(t, c.disk, m, c.dropped)
			}
		})
	}
}

// A crashingFS clones the disk before each of its operations that change a directory:
// between any two steps of a snapshot or a restore the power may go.
type crashingFS struct {
	*vfs.MemFS
	rng *rand.Rand

	mu     sync.Mutex // Pebble removes files on a goroutine of its own
	armed  bool
	clones []*vfs.MemFS // to be read when it is not armed
}

func (f *crashingFS) arm(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = on
}

func (f *crashingFS) step() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.armed {
		f.clones = append(f.clones, crash(f.MemFS, f.rng))
	}
}

func (f *crashingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.step()
	return f.MemFS.Create(name, c)
}

func (f *crashingFS) Rename(from, to string) error {
	f.step()
	return f.MemFS.Rename(from, to)
}

func (f *crashingFS) Link(from, to string) error {
	f.step()
	return f.MemFS.Link(from, to)
}

func (f *crashingFS) OpenDir(name string) (vfs.File, error) {
	f.step()
	return f.MemFS.OpenDir(name)
}

func (f *crashingFS) Remove(name string) error {
	f.step()
	return f.MemFS.Remove(name)
}

func (f *crashingFS) RemoveAll(name string) error {
	f.step()
	return f.MemFS.RemoveAll(name)
}

func TestPowerLossBetweenTheStepsOfARestore(t *testing.T) {
	for range volume(5, 100) {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashRestore(t, rand.New(rand.NewPCG(seed, 2))) })
	}
}

func crashRestore(t *testing.T, rng *rand.Rand) {
	origin, _ := filled(t)
	meta := snapshot(t, origin.s, origin.index)
	b := stream(t, origin.s, meta.ID)

	fs := &crashingFS{MemFS: vfs.NewCrashableMem(), rng: rng}
	m := &machine{t: t, fs: fs, s: openState(t, fs), now: epochMs}
	for _, l := range origin.logs[:10] {
		m.s.Apply(l)
	}
	fs.arm(true)
	id, err := receive(m.s, meta.Index, meta.Term, b)
	if err != nil {
		t.Fatal(err)
	}
	restore(t, m.s, id)
	snapshot(t, m.s, meta.Index)
	fs.arm(false)
	if len(fs.clones) < 20 {
		t.Fatalf("only %d moments to crash at", len(fs.clones))
	}
	for _, c := range fs.clones {
		recoverFrom(t, c, origin, 0)
	}
}

// A deletingFS fails its test if a file of a snapshot goes while the loss of power could
// bring the snapshot's manifest back.
type deletingFS struct {
	*vfs.MemFS
	t       *testing.T
	deleted int
}

func (f *deletingFS) RemoveAll(name string) error {
	manifest := f.PathJoin(name, manifestName)
	if _, err := f.CrashClone(vfs.CrashCloneCfg{}).Stat(manifest); err == nil {
		f.t.Errorf("%s may come back without its files", manifest)
	}
	f.deleted++
	return f.MemFS.RemoveAll(name)
}

func TestASnapshotEndsBeforeItsFiles(t *testing.T) {
	fs := &deletingFS{MemFS: vfs.NewCrashableMem(), t: t}
	m := &machine{t: t, fs: fs, s: openState(t, fs), now: epochMs}
	id := m.store(0)
	fs.deleted = 0
	for i := range keptSnapshots + 2 {
		m.do(write(id, touch(viewer("plan", fmt.Sprint(i)))))
		snapshot(t, m.s, m.index)
	}
	if fs.deleted < 2 {
		t.Errorf("%d directories deleted, want 2 snapshots at least", fs.deleted)
	}
}

func TestLeftOversOfCrashesAreRemoved(t *testing.T) {
	m, _ := filled(t)
	want := hashOf(m.s)
	meta := snapshot(t, m.s, m.index)
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"data/gen-000002", "data/snapshots/pending-9/state", "data/snapshots/1-5-3/state"} {
		if err := m.fs.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.s = openState(t, m.fs)
	if hashOf(m.s) != want {
		t.Error("the state changed")
	}
	for dir, want := range map[string]string{"data/snapshots": meta.ID, "data/gen-000002": ""} {
		names, err := m.fs.List(dir)
		if want == "" {
			if err == nil {
				t.Errorf("%s is still there", dir)
			}
			continue
		}
		if err != nil || len(names) != 1 || names[0] != want {
			t.Errorf("%s holds %v, error %v", dir, names, err)
		}
	}
}

func TestADamagedCurrentFileStopsTheStart(t *testing.T) {
	m := newMachine(t)
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(m.fs, "data", currentFile, []byte("gen-0000")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: "data", FS: m.fs}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open = %v, want %v", err, ErrCorrupt)
	}
}

// CURRENT is durable before the first generation exists, so no crash leaves a generation
// without it: somebody lost the file, and the state beside it must not be deleted.
func TestAMissingCurrentFileStopsTheStart(t *testing.T) {
	m, _ := filled(t)
	want := hashOf(m.s)
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.fs.Rename("data/CURRENT", "data/lost"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: "data", FS: m.fs}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Open = %v, want %v", err, ErrCorrupt)
	}
	if err := m.fs.Rename("data/lost", "data/CURRENT"); err != nil {
		t.Fatal(err)
	}
	m.s = openState(t, m.fs)
	if hashOf(m.s) != want {
		t.Error("the state is gone")
	}
}
