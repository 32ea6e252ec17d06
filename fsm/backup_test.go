package fsm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
)

const restoredEpoch = 0xabcdef

// save takes a backup and saves it, at a time of its own.
func save(t testing.TB, s *State, d *BackupDir, at int, full bool) (m *BackupManifest, files int, written uint64) {
	t.Helper()
	m, files, written, err := trySave(t, s, d, at, full)
	if err != nil {
		t.Fatal(err)
	}
	return m, files, written
}

func trySave(t testing.TB, s *State, d *BackupDir, at int, full bool) (m *BackupManifest, files int, written uint64, err error) {
	t.Helper()
	b, err := s.Backup(t.Context(), "test", time.UnixMilli(epochMs).Add(time.Duration(at)*time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	w, err := d.Begin(full)
	if err != nil {
		return nil, 0, 0, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	if _, err := w.Start(b.Manifest().Encode()); err != nil {
		return nil, 0, 0, err
	}
	if err := b.WriteTo(t.Context(), w, w.Have()); err != nil {
		return nil, 0, 0, err
	}
	written, _ = w.Progress()
	return b.Manifest(), w.Files(), written, w.Commit()
}

// restored opens what a backup is restored to.
func restored(t testing.TB, d *BackupDir, m *BackupManifest) *State {
	t.Helper()
	dir := "restored-" + m.Name()
	if err := d.Restore(t.Context(), m, dir, restoredEpoch, nil); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{Dir: dir, FS: d.fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// withEpoch is a state's hash, had it another epoch.
func withEpoch(h Hash, from, to uint64) Hash {
	key := groupKey(groupEpoch)
	if from != 0 {
		h = h.sub(rowHash(key, encodeNumber(from)))
	}
	return h.add(rowHash(key, encodeNumber(to)))
}

func TestABackupIsTheStateAtItsRevision(t *testing.T) {
	for _, epoch := range []uint64{0, 77} {
		m, w := filled(t)
		if epoch != 0 {
			m.do(&Command{Body: &SetEpoch{To: epoch}})
		}
		d := &BackupDir{fs: m.fs, dir: "far/backups"}
		was := m.s.Current()
		b, _, _ := save(t, m.s, d, 0, false)
		m.do(&Command{Store: storeNumber(8), Body: &CreateStore{Name: "later"}})
		if b.Revision() != was.Revision() || b.Hash() != was.Hash() || b.Epoch != epoch || !b.Time().Equal(was.Time()) {
			t.Errorf("manifest %+v, the state was at %d with %v", b, was.Revision(), was.Hash())
		}
		if err := d.Verify(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		stores, err := d.Stores(b)
		if err != nil {
			t.Fatal(err)
		}
		var want []BackedStore
		was.Stores(StoreID{}, func(s *Store) bool {
			want = append(want, BackedStore{s.ID(), s.StoreName(), s.CreatedTime(), s.TupleCount(), s.Managed()})
			return true
		})
		if diff := cmp.Diff(want, stores); diff != "" {
			t.Errorf("stores (-want +got):\n%s", diff)
		}

		s := restored(t, d, b)
		w.compareAll(t, s)
		checkHash(t, s)
		root := s.Current()
		if root.Revision() != was.Revision() || root.Epoch() != restoredEpoch || root.Hash() != withEpoch(was.Hash(), epoch, restoredEpoch) {
			t.Errorf("restored at %d, epoch %x, hash %v", root.Revision(), root.Epoch(), root.Hash())
		}
		// The other history goes on, and can be saved in its turn.
		again := &machine{t: t, fs: m.fs, s: s, now: m.now, index: uint64(root.Revision())}
		again.do(&Command{Store: storeNumber(9), Body: &CreateStore{Name: "other"}})
		again.checkHash()
		save(t, s, d, 1, false)
		if err := d.Verify(t.Context(), nil, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestBackupsWhileEntriesAreApplied(t *testing.T) {
	m := newMachine(t)
	m.store(0)
	m.store(1)
	d := &BackupDir{fs: m.fs, dir: "backups"}
	r := &chance{rand.New(rand.NewPCG(rand.Uint64(), 1)), t}
	var mu sync.Mutex
	hashes := map[graph.Revision]Hash{}
	ctx, stop := context.WithCancel(t.Context())
	var applying sync.WaitGroup
	applying.Go(func() {
		for ctx.Err() == nil {
			commands := make([]*Command, 1+r.IntN(3))
			for i := range commands {
				commands[i] = r.command(graph.Revision(m.index+1), m.now)
			}
			m.apply(commands...)
			root := m.s.Current()
			mu.Lock()
			hashes[root.Revision()] = root.Hash()
			mu.Unlock()
			if r.IntN(50) == 0 {
				if err := m.s.db.Flush(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	var taken []*BackupManifest
	for i := range volume(6, 40) {
		before := m.s.Current().Revision()
		if err := m.s.Published(t.Context(), uint64(before)+20); err != nil {
			t.Fatal(err)
		}
		before = m.s.Current().Revision()
		b, _, _ := save(t, m.s, d, i, false)
		if b.Revision() < before {
			t.Errorf("the backup is at %d, readers were at %d", b.Revision(), before)
		}
		taken = append(taken, b)
	}
	stop()
	applying.Wait()
	for _, b := range taken {
		if b.Hash() != hashes[b.Revision()] {
			t.Errorf("the hash at %d is %v, the backup has %v", b.Revision(), hashes[b.Revision()], b.Hash())
		}
		s := restored(t, d, b)
		root := s.Current()
		if got := withEpoch(root.Hash(), restoredEpoch, restoredEpoch+1); got != withEpoch(b.Hash(), b.Epoch, restoredEpoch+1) {
			t.Errorf("restored at %d: hash %v", b.Revision(), got)
		}
		compareAsOf(t, m.s, s)
	}
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

// compareAsOf compares the tuples of a restored state with those that the living one
// shows as of its revision.
func compareAsOf(t *testing.T, living, restored *State) {
	t.Helper()
	restored.Current().Stores(StoreID{}, func(s *Store) bool {
		view, err := living.ViewAt(s.ID(), restored.Current().Revision())
		if errors.Is(err, ErrStoreNotFound) || errors.Is(err, ErrRevisionGone) {
			return true // deleted since, or cleaned up
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rowsOf(t, view), rowsOf(t, s.View())); diff != "" {
			t.Errorf("store %v at %d (-living +restored):\n%s", s.ID(), restored.Current().Revision(), diff)
		}
		return true
	})
}

// rowsOf are all tuples of a view.
func rowsOf(t *testing.T, v graph.Scanner) []graph.Row {
	t.Helper()
	var all []graph.Row
	c := &graph.RowCursor{Rows: make([]graph.Row, 0, 100)}
	for {
		if err := v.Rows(c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Rows...)
		if c.Done {
			return all
		}
		c.After, c.Rows = c.Rows[len(c.Rows)-1], c.Rows[:0]
	}
}

func TestALaterBackupBringsOnlyWhatIsNew(t *testing.T) {
	m := newMachine(t)
	store := m.store(0)
	d := &BackupDir{fs: m.fs, dir: "backups"}
	fill := func(from, to int) {
		for i := from; i < to; i += 100 {
			var ops []Operation
			for j := range 100 {
				ops = append(ops, create(viewer(fmt.Sprint("plan", i+j), fmt.Sprint("anna", rand.Uint64()))))
			}
			m.do(write(store, ops...))
		}
		if err := m.s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() { // or compactions replace what a later backup would share
		t.Helper()
		if err := m.s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
			t.Fatal(err)
		}
	}
	fill(0, 10_000)
	settle()
	first, _, whole := save(t, m.s, d, 0, false)
	if whole != first.Size() {
		t.Errorf("the first save brought %d bytes, the backup has %d", whole, first.Size())
	}
	fill(10_000, 10_100)
	second, files, written := save(t, m.s, d, 1, false)
	if written*2 > second.Size() || files == 0 || files >= len(second.Files) {
		t.Errorf("the second save brought %d files and %d bytes of %d", files, written, second.Size())
	}
	if _, _, written := save(t, m.s, d, 2, true); written < whole/2 {
		t.Errorf("a full save brought %d bytes", written)
	}

	// A file that has gone is brought again.
	gone := slices.MaxFunc(second.Files, func(a, b BackupFile) int { return compare(a.Size, b.Size) })
	if err := m.fs.Remove(d.path(backupFiles, gone.Sum.String())); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context(), nil, nil); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "it is missing") {
		t.Errorf("verify of a folder that lacks a file says %v", err)
	}
	save(t, m.s, d, 3, false)
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
	// One that is damaged is mended by a full save, if the state still has it.
	settle()
	third, _, _ := save(t, m.s, d, 4, false)
	gone = slices.MaxFunc(third.Files, func(a, b BackupFile) int { return compare(a.Size, b.Size) })
	damage(t, m.fs, d.path(backupFiles, gone.Sum.String()), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	save(t, m.s, d, 5, false)
	if err := d.Verify(t.Context(), nil, nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("verify of a damaged file says %v", err)
	}
	save(t, m.s, d, 6, true)
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}

	removed, freed, err := d.Prune(2)
	if err != nil || len(removed) != 5 || removed[0] != first.Name() || freed == 0 {
		t.Errorf("Prune(2) = %v, %d, %v", removed, freed, err)
	}
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
	left, err := d.List()
	if err != nil || len(left) != 2 {
		t.Fatalf("%d backups are left: %v", len(left), err)
	}
	w := map[BackupSum]bool{}
	for _, s := range left {
		for _, f := range s.Manifest.missing(nil) {
			w[f.Sum] = true
		}
		restored(t, d, s.Manifest)
	}
	if names, err := m.fs.List(d.path(backupFiles)); err != nil || len(names) != len(w) {
		t.Errorf("%d files are left, the backups list %d: %v", len(names), len(w), err)
	}
}

func damage(t testing.TB, fs vfs.FS, path string, change func([]byte) []byte) (undo func()) {
	t.Helper()
	was, err := readFile(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	put(change(slices.Clone(was)))
	return func() { put(slices.Clone(was)) }
}

func TestDamageIsToldWithItsPlace(t *testing.T) {
	m, _ := filled(t)
	if err := m.s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	m.do(&Command{Store: storeNumber(8), Body: &CreateStore{Name: "later"}})
	d := &BackupDir{fs: m.fs, dir: "backups"}
	b, _, _ := save(t, m.s, d, 0, false)
	var places []string
	for _, f := range b.missing(nil) {
		places = append(places, m.fs.PathJoin(backupFiles, f.Sum.String()))
	}
	places = append(places, b.Name()+backupSuffix)
	if len(places) < 4 {
		t.Fatalf("the backup has only the files %v", places)
	}
	refusal := func(what, place string) {
		t.Helper()
		for _, names := range [][]string{nil, {b.Name()}} {
			err := d.Verify(t.Context(), names, nil)
			if err == nil || !strings.Contains(err.Error(), place) {
				t.Errorf("%s of %s: verify says %v", what, place, err)
			}
		}
		dir := fmt.Sprint("restored-", rand.Uint64())
		found, err := d.Find("")
		if err == nil {
			err = d.Restore(t.Context(), found, dir, restoredEpoch, nil)
		}
		if !errors.Is(err, ErrCorrupt) && !strings.Contains(place, backupSuffix) {
			t.Errorf("%s of %s: restore says %v", what, place, err)
		}
		if err == nil || !strings.Contains(err.Error(), place) && !errors.Is(err, ErrNoBackup) {
			t.Errorf("%s of %s: restore says %v", what, place, err)
		}
		if _, err := m.fs.Stat(m.fs.PathJoin(dir, currentFile)); err == nil {
			t.Errorf("%s of %s: something was restored", what, place)
		}
	}
	for _, place := range places {
		path := d.path(place)
		for range 8 {
			undo := damage(t, m.fs, path, func(b []byte) []byte { b[rand.IntN(len(b))] ^= 1 << rand.IntN(8); return b })
			refusal("a flipped bit", place)
			undo()
		}
		for _, size := range []int{0, 1, -1} {
			undo := damage(t, m.fs, path, func(b []byte) []byte { return b[:(size+len(b))%len(b)] })
			refusal("a shorter version", place)
			undo()
		}
		undo := damage(t, m.fs, path, func(b []byte) []byte { return append(b, 0) })
		refusal("a longer version", place)
		undo()
		if err := m.fs.Rename(path, "away"); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(place, backupSuffix) {
			if err := d.Verify(t.Context(), []string{b.Name()}, nil); !errors.Is(err, ErrNoBackup) {
				t.Errorf("verify of a backup without manifest says %v", err)
			}
		} else {
			refusal("the loss", place)
		}
		if err := m.fs.Rename("away", path); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"notes.txt", "files/notes.txt", "files/" + strings.Repeat("ab", 32)} {
		f, err := m.fs.Create(d.path(name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := d.Verify(t.Context(), nil, nil); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name+": it belongs to no backup") {
			t.Errorf("verify with an extra file %s says %v", name, err)
		}
		if err := m.fs.Remove(d.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Verify(t.Context(), nil, nil); err != nil {
		t.Errorf("after all was mended, verify says %v", err)
	}
}

func TestTheChunkThatIsDamagedIsTold(t *testing.T) {
	b := make([]byte, 2*backupChunk+100)
	sums := newBackupSummer()
	_, _ = sums.Write(b)
	want := sums.file("a")
	for _, test := range []struct {
		at   int
		text string
	}{
		{5, "bytes from 0 to 1048575 "},
		{backupChunk, "bytes from 1048576 to 2097151 "},
		{2*backupChunk + 99, "bytes from 2097152 to 2097251 "},
	} {
		b[test.at] ^= 1
		sums := newBackupSummer()
		for i := 0; i < len(b); i += 70_001 {
			_, _ = sums.Write(b[i:min(i+70_001, len(b))])
		}
		b[test.at] ^= 1
		if err := want.compare("a", sums.file("a")); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("damage at %d: %v, want %s", test.at, err, test.text)
		}
	}
}

// The files may be as they were written, and yet not be what the manifest says.
func TestAManifestOfAnotherStateIsRefused(t *testing.T) {
	m, _ := filled(t)
	d := &BackupDir{fs: m.fs, dir: "backups"}
	b, _, _ := save(t, m.s, d, 0, false)
	for what, change := range map[string]func(*BackupManifest){
		"hash":     func(b *BackupManifest) { b.applied.hash.lo++ },
		"time":     func(b *BackupManifest) { b.applied.time++ },
		"revision": func(b *BackupManifest) { b.applied.index++ },
		"epoch":    func(b *BackupManifest) { b.Epoch++ },
		"version":  func(b *BackupManifest) { b.ClusterVersion = 1 },
	} {
		lie := *b
		change(&lie)
		if err := d.verifyState(&lie); err == nil {
			t.Errorf("a manifest of another %s verifies", what)
		}
		if err := d.Restore(t.Context(), &lie, "restored-"+what, restoredEpoch, nil); err == nil {
			t.Errorf("a manifest of another %s is restored", what)
		}
	}
	newer := *b
	newer.ClusterVersion = ClusterVersion + 1
	if err := d.Restore(t.Context(), &newer, "restored", restoredEpoch, nil); err == nil {
		t.Error("a state that this program cannot follow is restored")
	}
	if err := d.Restore(t.Context(), b, "data", restoredEpoch, nil); err == nil {
		t.Error("a restore goes where there is something")
	}
	if err := d.Restore(t.Context(), b, "restored", b.Epoch, nil); err == nil {
		t.Error("a restore keeps the epoch")
	}
}

func TestAFullDiskEndsASave(t *testing.T) {
	for range volume(30, 300) {
		m, _ := filled(t)
		full := &fullDisk{word: "backups"}
		full.left.Store(1 << 30)
		d := &BackupDir{fs: errorfs.Wrap(m.fs, full), dir: "backups"}
		save(t, m.s, d, 0, false)
		m.do(&Command{Store: storeNumber(8), Body: &CreateStore{Name: "later"}})
		full.left.Store(rand.Int64N(40))
		_, _, _, err := trySave(t, m.s, d, 1, false)
		spared := full.left.Swap(1<<30) >= 0
		if spared != (err == nil) || err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("on a full disk, save says %v", err)
		}
		stored, listErr := d.List()
		if listErr != nil {
			t.Fatal(listErr)
		}
		// The manifest may stand, if only what comes after it failed.
		if len(stored) == 0 || err == nil && len(stored) != 2 {
			t.Errorf("%d backups after a save that says %v", len(stored), err)
		}
		if err := d.Verify(t.Context(), nil, nil); err != nil {
			t.Error(err)
		}
		save(t, m.s, d, 2, false)
		if err := d.Verify(t.Context(), nil, nil); err != nil {
			t.Error(err)
		}
	}
}

func TestPowerLossBetweenTheStepsOfASave(t *testing.T) {
	for range volume(3, 60) {
		m, _ := filled(t)
		fs := &crashingFS{MemFS: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(rand.Uint64(), 2))}
		d := &BackupDir{fs: fs, dir: "backups"}
		first, _, _ := save(t, m.s, d, 0, false)
		m.do(&Command{Store: storeNumber(8), Body: &CreateStore{Name: "later"}})
		fs.arm(true)
		save(t, m.s, d, 1, false)
		saved := len(fs.clones)
		if _, _, err := d.Prune(1); err != nil {
			t.Fatal(err)
		}
		fs.arm(false)
		if saved < 8 || len(fs.clones) < saved+3 {
			t.Fatalf("only %d moments to crash at", len(fs.clones))
		}
		for i, clone := range fs.clones {
			d := &BackupDir{fs: clone, dir: "backups"}
			if err := d.Verify(t.Context(), nil, nil); err != nil {
				t.Fatalf("crash %d: %v", i, err)
			}
			stored, err := d.List()
			if err != nil {
				t.Fatal(err)
			}
			if i < saved && stored[0].Name != first.Name() {
				t.Errorf("crash %d lost the older backup", i)
			}
			save(t, m.s, d, 3, false)
			if err := d.Verify(t.Context(), nil, nil); err != nil {
				t.Fatalf("crash %d, and another save: %v", i, err)
			}
			if names, err := clone.List(d.path(backupIncoming)); err == nil {
				t.Errorf("crash %d left %v", i, names)
			}
		}
	}
}

func TestOneSaveAtATime(t *testing.T) {
	m := newMachine(t)
	m.store(0)
	d := &BackupDir{fs: m.fs, dir: "backups"}
	w, err := d.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Begin(false); err == nil {
		t.Error("two saves at once")
	}
	if _, err := w.Write([]byte{1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("bytes without a manifest: %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(t.Context(), nil, nil); !errors.Is(err, ErrNoBackup) {
		t.Errorf("verify of an empty folder: %v", err)
	}

	var taken []*Backup
	for range maxBackups {
		b, err := m.s.Backup(t.Context(), "test", time.UnixMilli(epochMs), nil)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, b)
	}
	if _, err := m.s.Backup(t.Context(), "test", time.UnixMilli(epochMs), nil); !errors.Is(err, ErrBackups) {
		t.Errorf("one backup more: %v", err)
	}
	for _, b := range taken {
		if err := errors.Join(b.Close(), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := m.s.Backup(stopped, "test", time.UnixMilli(epochMs), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a backup that nobody waits for: %v", err)
	}
	if names, err := m.fs.List("data/snapshots"); err != nil || len(names) != 0 {
		t.Errorf("backups leave %v, %v", names, err)
	}
	save(t, m.s, d, 0, false)
	if _, _, _, err := trySave(t, m.s, d, 0, false); err == nil {
		t.Error("two backups of one name")
	}
}

func sampleBackup() *BackupManifest {
	return &BackupManifest{
		Created: time.UnixMilli(epochMs).UTC(), Program: "v1.2.3", Epoch: 1 << 63, ClusterVersion: 1,
		applied: appliedRow{index: 300, term: 4, time: epochMs, hash: Hash{1, 2}},
		Files: []BackupFile{
			{Name: "000001.sst", Size: backupChunk + 1, Sum: BackupSum{5}, chunks: []uint32{7, 8}},
			{Name: "marker", Sum: BackupSum{6}},
		},
	}
}

func TestBackupBytes(t *testing.T) {
	m := sampleBackup()
	if m.Name() != "20231114T221320.000Z-300" {
		t.Errorf("name %s", m.Name())
	}
	b := m.Encode()
	golden(t, "backup", []string{"backup " + hex.EncodeToString(b)})
	back, err := DecodeBackup(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, back, cmp.AllowUnexported(BackupManifest{}, BackupFile{}, appliedRow{}, Hash{}), cmp.Comparer(func(a, b []uint32) bool { return slices.Equal(a, b) })); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	for i := range b {
		if _, err := DecodeBackup(b[:i]); err == nil {
			t.Errorf("the first %d bytes decode", i)
		}
		bad := slices.Clone(b)
		bad[i] ^= 1
		if _, err := DecodeBackup(bad); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a flipped bit at %d: %v", i, err)
		}
	}
	for what, change := range map[string]func(*BackupManifest){
		"a path":        func(m *BackupManifest) { m.Files[0].Name = "../a" },
		"no order":      func(m *BackupManifest) { slices.Reverse(m.Files) },
		"twice a name":  func(m *BackupManifest) { m.Files[1].Name = m.Files[0].Name },
		"a lack of sum": func(m *BackupManifest) { m.Files[1].Size = 1 },
	} {
		m := sampleBackup()
		change(m)
		if _, err := DecodeBackup(m.Encode()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a manifest with %s: %v", what, err)
		}
	}
	newer := signed(append([]byte(backupMagic), backupFormat+1))
	var unknown *formatError
	if _, err := DecodeBackup(newer); !errors.As(err, &unknown) {
		t.Errorf("a manifest of a later format: %v", err)
	}
}

// signed puts the checksum behind a manifest.
func signed(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(slices.Clone(b), sum[:]...)
}

func FuzzDecodeBackup(f *testing.F) {
	b := sampleBackup().Encode()
	f.Add(b[:len(b)-sha256.Size])
	f.Add([]byte(backupMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = DecodeBackup(b)
		whole := signed(b) // or no input but the seeds would get any further
		m, err := DecodeBackup(whole)
		if err != nil {
			return
		}
		if again := m.Encode(); string(again) != string(whole) {
			t.Errorf("%x encodes as %x", whole, again)
		}
		_, _ = m.Name(), m.missing(nil)
	})
}
