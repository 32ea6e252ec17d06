package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/graph"
)

// A stateSnapshot is a checkpoint that waits to be persisted.
type stateSnapshot struct {
	store   *snapshotStore
	pending string // its directory
	applied appliedRow
	epoch   uint64
}

// Snapshot implements raft.FSM. It takes a Pebble checkpoint, hard links and a copy of
// the synced WAL, on the goroutine that applies: so the checkpoint is exactly the state
// at the applied index, and Pebble is durable up to it before Raft drops its log.
func (s *State) Snapshot() (raft.FSMSnapshot, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	pending := s.snaps.fresh(pendingPrefix, s.gen)
	if err := s.db.Checkpoint(s.snaps.path(pending, stateDir), pebble.WithFlushedWAL()); err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoint: %w", err), s.snaps.drop(pending))
	}
	return &stateSnapshot{store: s.snaps, pending: pending, applied: s.applied, epoch: s.epoch}, nil
}

// Persist implements raft.FSMSnapshot.
func (p *stateSnapshot) Persist(sink raft.SnapshotSink) error {
	files, err := listFiles(p.store.fs, p.store.path(p.pending, stateDir))
	if err != nil {
		return err
	}
	if own, ok := sink.(*snapshotSink); ok && own.store == p.store {
		if err := own.adopt(p.pending, p.applied, p.epoch, files); err != nil {
			return err
		}
		return own.Close()
	}
	// A store of another kind gets the stream. It knows Raft's index; Restore then
	// takes the state's own.
	m := &manifest{
		version: uint64(raft.SnapshotVersionMax), index: p.applied.index, source: p.applied.index, term: p.applied.term,
		configuration: raft.EncodeConfiguration(raft.Configuration{}), applied: p.applied, epoch: p.epoch, files: files,
	}
	r := newSnapshotReader(p.store, p.pending, m)
	_, err = io.Copy(sink, r)
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	if err != nil {
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (p *stateSnapshot) Release() {
	if err := p.store.drop(p.pending); err != nil {
		p.store.log.Warn("checkpoint not removed", "checkpoint", p.pending, "error", err)
	}
}

// Restore implements raft.FSM: the snapshot becomes the next generation, is verified,
// and takes the place of the present one, which serves readers until then. A node that
// cannot restore must not go on, because Raft would: it ends through Config.Fatal.
func (s *State) Restore(rc io.ReadCloser) error {
	err := s.restore(rc)
	if e := rc.Close(); err == nil {
		err = e
	}
	if err != nil {
		err = fmt.Errorf("restore snapshot: %w", err)
		s.cfg.Fatal(err)
	}
	return err
}

func (s *State) restore(rc io.ReadCloser) error {
	defer s.making.preempt(ErrInterrupted)()
	if err := s.making.isOpen(); err != nil {
		return err
	}
	fs, gen := s.cfg.FS, s.gen+1
	dir := generationDir(fs, s.cfg.Dir, gen)
	if err := fs.RemoveAll(dir); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	m, err := fillGeneration(fs, dir, rc)
	if err != nil {
		return err
	}
	if err := syncDir(fs, s.cfg.Dir); err != nil {
		return err
	}
	db, err := openPebble(&s.cfg, dir)
	if err != nil {
		return err
	}
	l, err := s.prepare(db, m)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	if err := writeCurrent(fs, s.cfg.Dir, gen); err != nil {
		return errors.Join(err, db.Close())
	}
	old, oldDir := s.db, generationDir(fs, s.cfg.Dir, s.gen)
	s.dbMu.Lock() // waits for those who read the old one
	s.db, s.gen = db, gen
	s.install(l)
	s.dbMu.Unlock()
	if err := old.Close(); err != nil {
		return err
	}
	if err := fs.RemoveAll(oldDir); err != nil {
		s.cfg.Log.Warn("old state not removed", "generation", oldDir, "error", err) // the next start does
	}
	s.cfg.Log.Info("snapshot restored", "revision", s.applied.index, "epoch", s.epoch)
	return nil
}

// fillGeneration brings the snapshot's files into a directory, each checked. A snapshot
// of this node's own store is linked rather than copied.
func fillGeneration(fs vfs.FS, dir string, rc io.ReadCloser) (*manifest, error) {
	for r := rc; ; {
		if own, ok := r.(*snapshotReader); ok {
			return own.m, linkGeneration(fs, dir, own)
		}
		w, ok := r.(raft.ReadCloserWrapper)
		if !ok {
			break
		}
		r = w.WrappedReadCloser()
	}
	to, err := newReceiver(fs, dir)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(to, rc); err != nil {
		return nil, errors.Join(err, to.abandon())
	}
	m, err := to.complete()
	if err != nil {
		return nil, errors.Join(err, to.abandon())
	}
	return m, nil
}

// linkGeneration links tables, which Pebble never changes, and copies all other files.
func linkGeneration(fs vfs.FS, dir string, r *snapshotReader) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range r.m.files {
		from, to := r.store.path(r.id, stateDir, f.name), fs.PathJoin(dir, f.name)
		place := vfs.Copy
		if strings.HasSuffix(f.name, ".sst") {
			place = vfs.LinkOrCopy
		}
		if err := place(fs, from, to); err != nil {
			return fmt.Errorf("take over %s: %w", f.name, err)
		}
		got, err := sumFile(fs, to)
		if err != nil {
			return err
		}
		if got.size != f.size || got.sum != f.sum {
			return fmt.Errorf("%w: checksum of %s", ErrCorrupt, f.name)
		}
		if err := syncFile(fs, to); err != nil {
			return err
		}
	}
	return syncDir(fs, dir)
}

func syncFile(fs vfs.FS, name string) error {
	f, err := fs.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// prepare verifies an unpacked state, moves it to the snapshot's index, and builds the
// index in memory.
func (s *State) prepare(db *pebble.DB, m *manifest) (*loader, error) {
	v, ok, err := get(db, metaKey(metaApplied))
	if err != nil {
		return nil, err
	}
	var applied appliedRow
	if ok {
		if applied, err = decodeApplied(v); err != nil {
			return nil, err
		}
	}
	if applied != m.applied {
		return nil, fmt.Errorf("%w: the state is at %d with hash %v, the manifest at %d with %v",
			ErrCorrupt, applied.index, applied.hash, m.applied.index, m.applied.hash)
	}
	sum, err := recount(db)
	if err != nil {
		return nil, err
	}
	if sum != applied.hash {
		return nil, fmt.Errorf("%w: the rows hash to %v, the manifest says %v", ErrCorrupt, sum, applied.hash)
	}
	if err := moveTo(db, m); err != nil {
		return nil, err
	}
	return s.build(db)
}

// moveTo gives the state Raft's index and, if an operator restored the snapshot under
// another index than it was taken at, an epoch of its own: what follows is another
// history. Every node derives the same one.
func moveTo(db *pebble.DB, m *manifest) error {
	applied := m.applied
	applied.index, applied.term = m.index, m.term
	b := db.NewBatch()
	if m.source != m.index {
		if err := replaceEpoch(db, b, &applied, m.epoch, nextEpoch(m), restoredReason); err != nil {
			return err
		}
	}
	if err := b.Set(metaKey(metaApplied), applied.encode(), nil); err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

// replaceEpoch gives a state another epoch, and the applied row the hash that it then has.
// The group's changelog tells of it: no command does.
func replaceEpoch(db *pebble.DB, b *pebble.Batch, applied *appliedRow, from, to uint64, reason string) error {
	key, g := groupKey(groupEpoch), tally{}
	v, ok, err := get(db, tallyKey(StoreID{}))
	if err != nil {
		return err
	}
	if ok {
		if g, err = decodeTally(v); err != nil {
			return err
		}
	}
	replaced := func(h Hash) Hash {
		if from != 0 {
			h = h.sub(rowHash(key, encodeNumber(from)))
		}
		return h.add(rowHash(key, encodeNumber(to)))
	}
	if from == 0 {
		g.rows++
	}
	g.hash, applied.hash = replaced(g.hash), replaced(applied.hash)
	told := Change{Kind: EpochSet, Time: applied.time, Reason: reason, From: from, To: to}
	place, err := epochPlace(db, graph.Revision(applied.index))
	if err != nil {
		return err
	}
	return errors.Join(
		b.Set(key, encodeNumber(to), nil), b.Set(tallyKey(StoreID{}), g.encode(), nil), b.Set(place, told.encode(), nil))
}

// restoredReason is what the changelog says of the epoch of a restored state.
const restoredReason = "restored"

// epochPlace is where the changelog tells of another epoch that no command sets: behind
// whatever commands left at the revision, and behind those before it, if the state was
// given several in a row.
func epochPlace(db *pebble.DB, at graph.Revision) ([]byte, error) {
	for ordinal := uint32(restoredOrdinal); ; ordinal++ {
		key := changeKey(StoreID{}, at, ordinal)
		if _, taken, err := get(db, key); err != nil || !taken {
			return key, err
		}
	}
}

func nextEpoch(m *manifest) uint64 {
	b := append([]byte("restore"), be64(be64(be64(nil, m.epoch), m.index), m.term)...)
	sum := sha256.Sum256(b)
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}
