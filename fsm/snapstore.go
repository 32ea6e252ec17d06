package fsm

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

const (
	// keptSnapshots bounds how many snapshots are kept: their hard links pin old files
	// as compactions replace them. Two, so that there is one while one is made.
	keptSnapshots = 2

	stateDir      = "state"   // the checkpoint within a snapshot
	pendingPrefix = "pending" // a checkpoint that no snapshot has adopted yet
)

// A snapshotStore keeps snapshots as directories with a manifest and a Pebble
// checkpoint. A directory without a manifest is no snapshot: the manifest is written
// last and removed first.
type snapshotStore struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	mu       sync.Mutex
	sequence uint64
	open     map[string]int // streams by snapshot
	all      map[string]*manifest
	made     map[string]uint64 // directories made since the start, and the generation they hold files of; 0 is another node's
	changed  chan struct{}     // closed when one of them goes, or a stream ends; nil if nobody waits
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// Snapshots is the store that Raft keeps its snapshots in.
func (s *State) Snapshots() raft.SnapshotStore { return s.snaps }

func openSnapshots(fs vfs.FS, dir string, log *slog.Logger) (*snapshotStore, error) {
	st := &snapshotStore{fs: fs, dir: dir, log: log, open: map[string]int{}, all: map[string]*manifest{}, made: map[string]uint64{}}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		b, err := readFile(fs, st.path(name, manifestName))
		switch {
		case errors.Is(err, iofs.ErrNotExist):
			st.log.Info("snapshot left over by a crash removed", "snapshot", name)
			if err := fs.RemoveAll(st.path(name)); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		m, err := decodeManifest(b)
		if err != nil {
			// Kept for a person to look at; Raft does not see it.
			st.log.Error("snapshot unreadable", "snapshot", name, "error", err)
			continue
		}
		st.all[name] = m
	}
	return st, nil
}

func (st *snapshotStore) path(elem ...string) string {
	return st.fs.PathJoin(append([]string{st.dir}, elem...)...)
}

// fresh is a name that no directory has, for files of a generation.
func (st *snapshotStore) fresh(prefix string, generation uint64) string {
	st.mu.Lock()
	defer st.mu.Unlock()
	for {
		st.sequence++
		name := fmt.Sprintf("%s-%d", prefix, st.sequence)
		if _, err := st.fs.Stat(st.path(name)); errors.Is(err, iofs.ErrNotExist) {
			st.made[name] = generation
			return name
		}
	}
}

// Create implements raft.SnapshotStore.
func (st *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("snapshot version %d is not supported", version)
	}
	return &snapshotSink{
		store: st,
		id:    st.fresh(fmt.Sprintf("%d-%d", term, index), 0),
		m: manifest{
			version: uint64(version), index: index, term: term,
			configuration: raft.EncodeConfiguration(configuration), configurationIndex: configurationIndex,
		},
	}, nil
}

// List implements raft.SnapshotStore: newest first.
func (st *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	var metas []*raft.SnapshotMeta
	for _, id := range st.newestFirst() {
		metas = append(metas, st.all[id].meta(id))
	}
	return metas, nil
}

func (st *snapshotStore) newestFirst() []string {
	ids := make([]string, 0, len(st.all))
	for id := range st.all {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		x, y := st.all[a], st.all[b]
		switch {
		case x.index != y.index:
			return compare(y.index, x.index)
		case x.term != y.term:
			return compare(y.term, x.term)
		}
		return st.compareAge(b, a)
	})
	return ids
}

// compareAge orders snapshots of one index: those made since the start behind those of
// before, and each by the number in its name.
func (st *snapshotStore) compareAge(a, b string) int {
	_, x := st.made[a]
	_, y := st.made[b]
	switch {
	case x != y && x:
		return 1
	case x != y:
		return -1
	case len(a) != len(b): // all else is equal in them, so the longer number is the greater
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func compare(a, b uint64) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// Open implements raft.SnapshotStore.
func (st *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	m, ok := st.all[id]
	if !ok {
		return nil, nil, fmt.Errorf("open snapshot %q: %w", id, iofs.ErrNotExist)
	}
	st.open[id]++
	return m.meta(id), newSnapshotReader(st, id, m), nil
}

// release ends a stream; the snapshot may be one that was kept for it alone.
func (st *snapshotStore) release(id string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.open[id]--; st.open[id] == 0 {
		delete(st.open, id)
		st.tell()
	}
	st.reap()
}

// finish makes a directory a snapshot. What the manifest vouches for must be durable
// before it, the entry of the checkpoint's directory included.
func (st *snapshotStore) finish(id string, m *manifest) error {
	if err := syncDir(st.fs, st.path(id)); err != nil {
		return err
	}
	if err := writeFile(st.fs, st.path(id), manifestName, m.encode()); err != nil {
		return err
	}
	if err := syncDir(st.fs, st.dir); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.all[id] = m
	st.reap()
	st.tell()
	return nil
}

// reap deletes snapshots beyond those kept, but none that is being streamed.
func (st *snapshotStore) reap() {
	ids := st.newestFirst()
	if len(ids) <= keptSnapshots {
		return
	}
	for _, id := range ids[keptSnapshots:] {
		if st.open[id] > 0 {
			continue
		}
		delete(st.all, id)
		delete(st.made, id)
		if err := st.remove(id); err != nil {
			st.log.Warn("old snapshot not removed", "snapshot", id, "error", err)
		}
	}
}

// remove deletes a directory. Its manifest goes first, and for good, so that whatever a
// crash or a fault leaves of the rest is no snapshot.
func (st *snapshotStore) remove(id string) error {
	manifest := st.path(id, manifestName)
	switch _, err := st.fs.Stat(manifest); {
	case err == nil:
		if err := st.fs.Remove(manifest); err != nil {
			return err
		}
		if err := syncDir(st.fs, st.path(id)); err != nil {
			return err
		}
	case !errors.Is(err, iofs.ErrNotExist):
		return err
	}
	if err := st.fs.RemoveAll(st.path(id)); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return nil
}

// drop removes a directory that was made since the start and is no snapshot.
func (st *snapshotStore) drop(id string) error {
	err := st.remove(id)
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.made, id)
	st.tell()
	return err
}

// tell wakes who waits for a change; mu is held.
func (st *snapshotStore) tell() {
	if st.changed != nil {
		close(st.changed)
		st.changed = nil
	}
}

// coveredBy is the highest Raft index of a snapshot that was taken here and whose
// state is no newer than an applied index.
func (st *snapshotStore) coveredBy(applied uint64) uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	var index uint64
	for _, m := range st.all {
		if m.local && m.applied.index <= applied {
			index = max(index, m.index)
		}
	}
	return index
}

// A snapshotSink takes a snapshot in: a checkpoint of this node as it is, or a stream.
type snapshotSink struct {
	store *snapshotStore
	id    string
	m     manifest

	receiver *receiver
	adopted  bool
	ended    bool
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.id }

// Write implements raft.SnapshotSink for streams from other nodes.
func (k *snapshotSink) Write(p []byte) (int, error) {
	if k.receiver == nil {
		r, err := newReceiver(k.store.fs, k.store.path(k.id, stateDir))
		if err != nil {
			return 0, err
		}
		k.receiver = r
	}
	return k.receiver.Write(p)
}

// adopt takes a checkpoint of this node over; no byte is copied.
func (k *snapshotSink) adopt(pending string, applied appliedRow, epoch uint64, files []manifestFile) error {
	if err := k.store.fs.Rename(k.store.path(pending), k.store.path(k.id)); err != nil {
		return err
	}
	k.adopted = true
	k.store.mu.Lock()
	k.store.made[k.id] = k.store.made[pending]
	k.store.mu.Unlock()
	k.m.source, k.m.local = k.m.index, true
	k.m.applied, k.m.epoch, k.m.files = applied, epoch, files
	return nil
}

// Close implements raft.SnapshotSink: from here on the snapshot exists.
func (k *snapshotSink) Close() error {
	if k.ended {
		return nil
	}
	k.ended = true
	if err := k.close(); err != nil {
		return errors.Join(fmt.Errorf("finish snapshot %s: %w", k.id, err), k.discard())
	}
	return nil
}

func (k *snapshotSink) close() error {
	if !k.adopted {
		if k.receiver == nil {
			return fmt.Errorf("%w: empty snapshot", ErrCorrupt)
		}
		m, err := k.receiver.complete()
		if err != nil {
			return err
		}
		k.m.source = m.source
		k.m.applied, k.m.epoch, k.m.files = m.applied, m.epoch, m.files
	}
	if k.m.applied.index > k.m.index {
		return fmt.Errorf("%w: snapshot of index %d at index %d", ErrCorrupt, k.m.applied.index, k.m.index)
	}
	return k.store.finish(k.id, &k.m)
}

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	if k.ended {
		return nil
	}
	k.ended = true
	return k.discard()
}

func (k *snapshotSink) discard() error {
	var err error
	if k.receiver != nil {
		err = k.receiver.abandon()
	}
	return errors.Join(err, k.store.drop(k.id))
}
