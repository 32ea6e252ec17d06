package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/remit-authz/remit/graph"
)

// never is later than every instant.
const never = math.MaxInt64

// Config is what a State is opened with.
type Config struct {
	// Dir holds the state and its snapshots. It is created if it does not exist.
	Dir string

	// FS is where Dir is; nil is the disk.
	FS vfs.FS

	// Log receives changes of state; nil discards them.
	Log *slog.Logger

	// CacheBytes is the size of Pebble's block cache; 0 is 64 MiB. The index answers
	// the hot path, so the cache serves the past and compactions.
	CacheBytes int64

	// MemTableBytes is the size of one of Pebble's memtables; 0 is 16 MiB.
	MemTableBytes uint64

	// Fatal is called when the node can no longer follow: a restore failed or the
	// state hash differs from the leader's. The process must end; for a difference, it
	// panics when Fatal returns. nil panics.
	Fatal func(error)

	// plainTables leaves tables uncompressed, for tests that look for bytes in them.
	plainTables bool

	// diskSlow counts how often an operation of the disk was found to be slow.
	diskSlow *atomic.Uint64
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("fsm: no directory"))
	}
	if c.CacheBytes < 0 {
		errs = append(errs, errors.New("fsm: negative cache size"))
	}
	return errors.Join(errs...)
}

func (c *Config) fill() {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.diskSlow == nil {
		c.diskSlow = new(atomic.Uint64)
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 64 << 20
	}
	if c.MemTableBytes == 0 {
		c.MemTableBytes = 16 << 20
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { panic(fmt.Sprintf("fsm: %v", err)) }
	}
}

// A State is the replicated state of one Raft group on one node. Apply, ApplyBatch,
// Snapshot and Restore belong to Raft and are never called concurrently with each
// other; everything else is safe for concurrent use.
type State struct {
	cfg   Config
	lock  io.Closer // of the directory: a second process would clean up under this one
	snaps *snapshotStore

	// dbMu guards db against Restore, which swaps it, and Close. Who reads Pebble
	// holds it for one page at most; Apply needs it only to commit.
	dbMu   sync.RWMutex
	db     *pebble.DB
	gen    uint64
	closed bool

	// applying is held while entries are applied, before dbMu. Backups and rewritings,
	// which Raft knows nothing of, hold it to look between two batches, and a rewriting to
	// change db and gen: so who holds it may use both without dbMu.
	applying sync.Mutex
	backups  backups
	making   making

	// Owned by Raft's apply goroutine, and changed under applying, or with dbMu locked.
	applied appliedRow
	epoch   uint64
	version uint64
	rewrite uint64                  // revision up to which files must be rewritten
	stores  map[StoreID]*storeIndex // as the last applied entry left them
	index   *index                  // the published copies
	erasing map[StoreID]*storeIndex // those in which something is being erased
	recent  hashRing

	root atomic.Pointer[Root]

	cleaned cleaned

	// waitMu guards changed, which is closed at the next publish; nil if nobody waits.
	waitMu  sync.Mutex
	changed chan struct{}
	ended   chan struct{} // closed by Close
}

// Open opens the state in a directory, or begins an empty one, cleans up what a crash
// left behind, and builds the index.
func Open(cfg Config) (*State, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.fill()
	s := &State{cfg: cfg, ended: make(chan struct{}), making: making{slot: make(chan struct{}, 1)}}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open state in %s: %w", cfg.Dir, err), s.closeFiles())
	}
	return s, nil
}

func (s *State) open() (err error) {
	fs, dir := s.cfg.FS, s.cfg.Dir
	if err = makeDir(fs, dir); err != nil {
		return err
	}
	if s.lock, err = fs.Lock(fs.PathJoin(dir, lockFile)); err != nil {
		return err
	}
	if s.snaps, err = openSnapshots(fs, fs.PathJoin(dir, "snapshots"), s.cfg.Log); err != nil {
		return err
	}
	if s.gen, err = currentGeneration(fs, dir); err != nil {
		return err
	}
	if s.db, err = openPebble(&s.cfg, generationDir(fs, dir, s.gen)); err != nil {
		return err
	}
	if err = syncDir(fs, dir); err != nil {
		return err
	}
	l, err := s.build(s.db)
	if err != nil {
		return err
	}
	s.install(l)
	return nil
}

func (s *State) closeFiles() error {
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Close ends all waits and closes Pebble. Raft must have stopped.
func (s *State) Close() error {
	defer s.making.preempt(ErrClosed)()
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.ended)
	if err := s.closeFiles(); err != nil {
		return fmt.Errorf("close state: %w", err)
	}
	return nil
}

// Current is the last published revision.
func (s *State) Current() *Root { return s.root.Load() }

// Epoch identifies the history that revisions count; 0 until SetEpoch.
func (s *State) Epoch() uint64 { return s.Current().epoch }

// StateHash is the state hash at the last published revision.
func (s *State) StateHash() (graph.Revision, [16]byte) {
	r := s.Current()
	return r.revision, r.hash.Bytes()
}

// DurableIndex is the index of the last entry whose effect is in Pebble: Raft may
// skip restoring a snapshot up to it. It is meant for the start, before Raft runs.
func (s *State) DurableIndex() uint64 {
	applied := uint64(s.Current().revision)
	// Raft counts entries that never reach a state machine. A snapshot taken here at
	// Raft's index i holds what was applied then; if all of that is still here, so is
	// everything up to i.
	if i := s.snaps.coveredBy(applied); i > applied {
		return i
	}
	return applied
}

// Published waits until readers see a revision of at least index.
func (s *State) Published(ctx context.Context, index uint64) error {
	for {
		if uint64(s.Current().revision) >= index {
			return nil
		}
		s.waitMu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.waitMu.Unlock()
		if uint64(s.Current().revision) >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return ErrClosed
		}
	}
}

// publish shows readers what has been applied. touched are the stores that changed.
func (s *State) publish(touched []*storeIndex) {
	for _, st := range touched {
		if s.stores[st.id] != st {
			continue // deleted, or made anew, later in the batch
		}
		s.index.stores.ReplaceOrInsert(storeItem{st.id, st.publish()})
	}
	s.root.Store(&Root{
		revision: graph.Revision(s.applied.index),
		term:     s.applied.term,
		time:     s.applied.time,
		hash:     s.applied.hash,
		epoch:    s.epoch,
		version:  s.version,
		rewrite:  graph.Revision(s.rewrite),
		index:    s.index.clone(),
	})
	s.waitMu.Lock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	s.waitMu.Unlock()
}

// read gives f the database; Restore and Close wait for it.
func (s *State) read(f func(db *pebble.DB) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return f(s.db)
}

// recentHashes is how many revisions back a HashCheck can look.
const recentHashes = 4096

// A hashRing remembers the state hash at the last revisions.
type hashRing struct {
	at   [recentHashes]struct{ revision, hi, lo uint64 }
	next int
}

func (r *hashRing) put(revision uint64, h Hash) {
	r.at[r.next].revision, r.at[r.next].hi, r.at[r.next].lo = revision, h.hi, h.lo
	r.next = (r.next + 1) % recentHashes
}

func (r *hashRing) get(revision uint64) (Hash, bool) {
	for i := range r.at {
		if a := &r.at[i]; a.revision == revision && revision != 0 {
			return Hash{a.hi, a.lo}, true
		}
	}
	return Hash{}, false
}
