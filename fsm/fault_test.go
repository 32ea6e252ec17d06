package fsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A fullDisk has no room left from one of its writes on, for files whose path contains
// a word. That leaves out Pebble's own manifest, whose loss ends the process.
type fullDisk struct {
	word string
	left atomic.Int64 // writes until then
}

func (d *fullDisk) MaybeError(op errorfs.Op) error {
	switch {
	case op.Kind == errorfs.OpRemove, op.Kind == errorfs.OpRemoveAll:
		return nil // needs no room
	case op.Kind.ReadOrWrite() != errorfs.OpIsWrite, !strings.Contains(op.Path, d.word):
		return nil
	}
	if d.left.Add(-1) >= 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", op.Path, syscall.ENOSPC)
}

func (d *fullDisk) String() string { return "full disk" }

var errPanic = errors.New("panic")

// attempt runs f, and gives what it panics with as an error.
func attempt(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return f()
}

// A snapshot counts only if everything before it is durable: Raft drops its log behind
// it. So whenever the disk fills up, what snapshots vouch for must survive the loss of
// power that may follow, and no entry may seem applied that is lost with it.
func TestAFullDiskLosesNothingThatASnapshotVouchesFor(t *testing.T) {
	for _, word := range []string{".log", "snapshots", "MANIFEST.remit", ".sst"} {
		for range volume(15, 300) {
			seed := rand.Uint64()
			t.Run(fmt.Sprint(word, "/", seed), func(t *testing.T) { fillDisk(t, word, seed) })
		}
	}
}

func fillDisk(t *testing.T, word string, seed uint64) {
	r := &chance{rand.New(rand.NewPCG(seed, 3)), t}
	disk := vfs.NewCrashableMem()
	full := &fullDisk{word: word}
	full.left.Store(1 << 30)
	fs := errorfs.Wrap(disk, full)
	s, err := Open(Config{Dir: "data", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, fs: fs, s: s, now: epochMs}
	m.store(0)
	m.store(1)
	full.left.Store(r.Int64N(60))
	var dropped uint64
	ended := false
	for i := 0; i < 60 && !ended; i++ {
		err := attempt(func() error {
			m.apply(r.command(0, m.now))
			if r.IntN(4) > 0 {
				return nil
			}
			err := trySnapshot(m)
			if err == nil {
				dropped = m.index
			}
			return err // Raft tries again later
		})
		if err != nil {
			wantFull(t, err)
			ended = errors.Is(err, errPanic)
		}
	}
	clone := crash(disk, r.Rand)
	full.left.Store(1 << 30)
	names, err := fs.List("data/snapshots")
	if err != nil {
		t.Fatal(err)
	}
	if !ended && len(names) > keptSnapshots {
		t.Errorf("%v is left of snapshots", names)
	}
	// The log may hold an entry that this node never saw through.
	healthy := newMachine(t)
	healthy.s.ApplyBatch(m.logs)
	healthy.logs = m.logs
	recoverFrom(t, clone, healthy, dropped)
	if err := s.Close(); err != nil {
		wantFull(t, err)
	}
}

func wantFull(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Fatal(err)
	}
}

// trySnapshot takes a snapshot as Raft does.
func trySnapshot(m *machine) error {
	snap, err := m.s.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Release()
	sink, err := m.s.Snapshots().Create(1, m.index, 1, servers, 1, nil)
	if err != nil {
		return err
	}
	if err := snap.Persist(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// A disk that fills up ends a rewriting, and nothing else.
func TestAFullDiskEndsARewritingAlone(t *testing.T) {
	for _, word := range []string{"rewriting/000001.sst", "rewriting/journal", currentFile + ".tmp"} {
		t.Run(word, func(t *testing.T) {
			full := &fullDisk{word: word}
			m := &machine{t: t, fs: errorfs.Wrap(vfs.NewMem(), full), now: epochMs}
			full.left.Store(1 << 30)
			m.s = openState(t, m.fs)
			store := m.store(0)
			full.left.Store(0)
			ended := make(chan error, 1)
			go func() { ended <- m.s.Rewrite(t.Context(), nil) }()
			var err error
			for running := true; running; {
				m.do(write(store, touch(viewer("plan", fmt.Sprint(m.index)))))
				select {
				case err = <-ended:
					running = false
				default:
				}
			}
			if err == nil {
				t.Fatal("the rewriting succeeded without room")
			}
			wantFull(t, err)
			if m.s.Rewritten() != 0 {
				t.Errorf("rewritten up to %d", m.s.Rewritten())
			}
			m.checkHash()
			full.left.Store(1 << 30)
			want := hashOf(m.s)
			m.reopen()
			rewriteState(t, m.s)
			if hashOf(m.s) != want {
				t.Error("the state differs")
			}
			m.checkHash()
		})
	}
}

// A tornRename lets CURRENT be renamed once, and then cannot sync its directory.
type tornRename struct{ renamed, armed atomic.Bool }

func (d *tornRename) MaybeError(op errorfs.Op) error {
	switch {
	case !d.armed.Load():
	case op.Kind == errorfs.OpRename && strings.HasSuffix(op.Path, currentFile+".tmp"):
		d.renamed.Store(true)
	case d.renamed.Load() && op.Kind == errorfs.OpOpenDir && op.Path == "data":
		return fmt.Errorf("%s: %w", op.Path, syscall.EIO)
	}
	return nil
}

func (d *tornRename) String() string { return "torn rename" }

// When nobody knows which generation counts, the node ends and neither is removed.
func TestARewritingWhoseEndIsOpenKeepsBothGenerations(t *testing.T) {
	disk, torn := vfs.NewCrashableMem(), &tornRename{}
	fs := errorfs.Wrap(disk, torn)
	var fatal error
	s, err := Open(Config{Dir: "data", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20, Fatal: func(err error) { fatal = err }})
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, fs: fs, s: s, now: epochMs}
	store := m.store(0)
	m.do(write(store, touch(viewer("plan", "anna"))))
	torn.armed.Store(true)
	for range 2 { // the second time because a server tries again, if it still can
		if err := s.Rewrite(t.Context(), nil); !errors.Is(err, syscall.EIO) {
			t.Errorf("Rewrite = %v, want %v", err, syscall.EIO)
		}
	}
	if !errors.Is(fatal, syscall.EIO) {
		t.Errorf("the node goes on: %v", fatal)
	}
	if err := s.Sweep(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sweep = %v, want %v", err, syscall.EIO)
	}
	torn.armed.Store(false)
	want := hashOf(s)
	for _, percent := range []int{0, 100} { // the old name, or the new one
		clone := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))})
		s := openState(t, clone)
		s.ApplyBatch(m.logs)
		if hashOf(s) != want {
			t.Errorf("with %d %% of what was not synced the state differs", percent)
		}
		checkHash(t, s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
