package fsm

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/remit-authz/remit/graph"
)

var (
	// ErrInterrupted says that a rewriting was cut short by a restore of a snapshot, which
	// brings other files. It changed nothing and may be tried again.
	ErrInterrupted = errors.New("interrupted by a restore")

	// ErrNoRoom says that the disk has no room for a second copy of the state.
	ErrNoRoom = errors.New("no room to rewrite the state")
)

// making is what a State knows of the making of its next generation: by Rewrite, which
// takes its time, or by Restore, which cuts a Rewrite short, as Close does.
type making struct {
	slot chan struct{} // holds one while a generation is made

	mu      sync.Mutex
	cut     context.CancelCauseFunc // ends the Rewrite under way; nil if there is none
	waiting int                     // for the slot, with precedence
	open    error                   // why nobody knows which generation counts; see change

	rewritten atomic.Uint64 // the mark of the present generation
	journal   *journal      // what a Rewrite must catch up with; guarded by State.applying
}

// enter waits until nobody else makes a generation. The context it gives ends with ctx,
// or when somebody comes who has precedence.
func (k *making) enter(ctx context.Context) (context.Context, func(), error) {
	select {
	case k.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waiting > 0 || k.open != nil {
		<-k.slot
		if k.open != nil {
			return nil, nil, k.open
		}
		return nil, nil, ErrInterrupted
	}
	ctx, cut := context.WithCancelCause(ctx)
	k.cut = cut
	return ctx, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		cut(nil)
		k.cut = nil
		<-k.slot
	}, nil
}

// preempt takes the slot from a Rewrite, whose context ends with a cause.
func (k *making) preempt(cause error) (leave func()) {
	k.mu.Lock()
	k.waiting++
	if k.cut != nil {
		k.cut(cause)
	}
	k.mu.Unlock()
	k.slot <- struct{}{}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.waiting--
		<-k.slot
	}
}

// leaveOpen notes that the next generation may count or not: from here on none is made
// and none removed, until the next start sees which.
func (k *making) leaveOpen(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open = err
}

func (k *making) isOpen() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open
}

// Rewritten is the last revision up to which nothing that was deleted is left in the
// files of the state. Snapshots are not meant: Sweep removes those from before.
func (s *State) Rewritten() graph.Revision { return graph.Revision(s.making.rewritten.Load()) }

// Rewrite copies the rows into a new generation and removes the present one: a row that
// was deleted stays in Pebble's files, as bytes that nobody reads, until compactions
// come by, and some of them never do. Entries go on being applied, and readers read:
// both wait only for the moment of the change. progress, if given, is told how many rows
// of how many are copied and compared; the second number is an estimate.
func (s *State) Rewrite(ctx context.Context, progress func(rows, total uint64)) (err error) {
	ctx, leave, err := s.making.enter(ctx)
	if err != nil {
		return fmt.Errorf("rewrite state: %w", err)
	}
	defer leave()
	w := &rewriting{s: s, begun: time.Now(), progress: progress}
	if err := w.run(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("rewrite state: %w", err)
	}
	return nil
}

// A rewriting is one Rewrite under way.
type rewriting struct {
	s        *State
	begun    time.Time
	progress func(rows, total uint64)

	gen     uint64
	dir     string // of the new generation
	work    string // within it, for what must be gone before it counts
	db      *pebble.DB
	journal *journal

	from   *pebble.Snapshot // of the old generation, at at
	at     appliedRow
	copied tableSum
	told   uint64 // rows told to progress
	total  uint64
}

const (
	// workDir is where a rewriting keeps tables and the journal.
	workDir = "rewriting"

	// tellEvery is how many rows go by between two calls of progress.
	tellEvery = 10_000

	// catchUpEnough is how many bytes of batches may be left to catch up with while
	// entries wait, and catchUpRounds how often it is tried to get there.
	catchUpEnough = 256 << 10
	catchUpRounds = 16
)

func (w *rewriting) run(ctx context.Context) (err error) {
	if err := w.open(); err != nil {
		return errors.Join(err, w.abandon())
	}
	if err := errors.Join(w.copy(ctx), w.from.Close()); err != nil {
		return errors.Join(err, w.abandon())
	}
	if err := w.catchUp(ctx); err != nil {
		return errors.Join(err, w.abandon())
	}
	old, held, err := w.change()
	if err != nil {
		return errors.Join(err, w.abandon())
	}
	if err := old.Close(); err != nil {
		return err
	}
	if err := w.s.removeGenerations(); err != nil {
		return err
	}
	w.s.cfg.Log.Info("state rewritten", "revision", w.at.index, "rows", w.copied.rows, "took", time.Since(w.begun), "entries_waited", held)
	return nil
}

// open begins the new generation and holds the rows of the old one still: from here on
// the journal has what is applied.
func (w *rewriting) open() error {
	s, fs := w.s, w.s.cfg.FS
	if err := w.room(); err != nil {
		return err
	}
	s.applying.Lock()
	w.gen = s.gen + 1 // nobody else changes it while this one has the slot
	s.applying.Unlock()
	w.dir = generationDir(fs, s.cfg.Dir, w.gen)
	w.work = fs.PathJoin(w.dir, workDir)
	if err := removeAll(fs, w.dir); err != nil {
		return err
	}
	if err := fs.MkdirAll(w.work, 0o700); err != nil {
		return err
	}
	var err error
	if w.db, err = openPebble(&s.cfg, w.dir); err != nil {
		return err
	}
	if w.journal, err = newJournal(fs, fs.PathJoin(w.work, "journal")); err != nil {
		return err
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	return s.read(func(db *pebble.DB) error {
		w.from, w.at = db.NewSnapshot(), s.applied
		s.making.journal = w.journal
		for _, st := range s.stores {
			w.total += 2 * st.tally.rows // each is copied and compared
		}
		return nil
	})
}

// room refuses to fill the disk: Pebble ends the process when it cannot write the names
// of its files.
func (w *rewriting) room() error {
	usage, err := w.s.cfg.FS.GetDiskUsage(w.s.cfg.Dir)
	if err != nil {
		return nil //nolint:nilerr // a file system in memory has none
	}
	var need uint64
	err = w.s.read(func(db *pebble.DB) error {
		need = db.Metrics().DiskSpaceUsage() + w.s.cfg.MemTableBytes
		return nil
	})
	if err == nil && usage.AvailBytes < need {
		err = fmt.Errorf("%w: it takes up to %d bytes, %d are free", ErrNoRoom, need, usage.AvailBytes)
	}
	return err
}

// copy copies the rows as tables, which come to lie at the bottom of the new database
// without a compaction, and compares what it then holds.
func (w *rewriting) copy(ctx context.Context) error {
	tables := newTableWriter(&w.s.cfg, w.work)
	err := w.rows(ctx, w.from, func(key, value []byte) error {
		w.copied.add(key, value)
		return tables.add(key, value)
	})
	paths, e := tables.close()
	if err = errors.Join(err, e); err != nil {
		return err
	}
	if w.copied.hash != w.at.hash {
		return fmt.Errorf("%w: the rows hash to %v, the state at %d to %v", ErrCorrupt, w.copied.hash, w.at.index, w.at.hash)
	}
	if len(paths) > 0 {
		if err := w.db.Ingest(ctx, paths); err != nil {
			return err
		}
	}
	var there tableSum
	if err := w.rows(ctx, w.db, func(key, value []byte) error { there.add(key, value); return nil }); err != nil {
		return err
	}
	if w.progress != nil {
		w.progress(w.told, w.told)
	}
	if there != w.copied {
		return fmt.Errorf("%w: %d rows with hash %v were copied, %d with %v are there", ErrCorrupt, w.copied.rows, w.copied.hash, there.rows, there.hash)
	}
	return nil
}

// rows gives f every row but the mark, which says how old the files are.
func (w *rewriting) rows(ctx context.Context, r pebble.Reader, f func(key, value []byte) error) error {
	mark := string(metaKey(metaRewritten))
	return scan(r, []byte{byte(spaceMeta)}, []byte{byte(spaceEnd)}, func(key, value []byte) (bool, error) {
		if string(key) == mark {
			return true, nil
		}
		if w.told++; w.told%tellEvery == 0 {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			if w.progress != nil {
				w.progress(w.told, max(w.told, w.total))
			}
		}
		if w.told%progressEvery == 0 {
			w.s.cfg.Log.Info("rewriting state", "rows", w.told, "estimate", max(w.told, w.total))
		}
		return true, f(key, value)
	})
}

// catchUp applies what was applied meanwhile, until what remains takes no time.
func (w *rewriting) catchUp(ctx context.Context) error {
	for range catchUpRounds {
		n, err := w.journal.replay(ctx, w.db)
		if err != nil {
			return err
		}
		if n <= catchUpEnough {
			break
		}
	}
	// So that little is left to sync while entries wait.
	return w.db.LogData(nil, pebble.Sync)
}

// change puts the new generation in the place of the old one while no entry is applied.
// All that it holds is synced before: Raft may have dropped its log up to any snapshot.
func (w *rewriting) change() (old *pebble.DB, held time.Duration, err error) {
	s := w.s
	s.applying.Lock()
	defer s.applying.Unlock()
	begun := time.Now()
	s.making.journal = nil
	if _, err := w.journal.replay(context.Background(), w.db); err != nil {
		return nil, 0, err
	}
	if err := w.caughtUp(); err != nil {
		return nil, 0, err
	}
	if err := w.db.Set(metaKey(metaRewritten), encodeNumber(w.at.index), pebble.Sync); err != nil {
		return nil, 0, err
	}
	if err := errors.Join(w.journal.close(), removeAll(s.cfg.FS, w.work), syncDir(s.cfg.FS, w.dir), syncDir(s.cfg.FS, s.cfg.Dir)); err != nil {
		return nil, 0, err
	}
	if err := writeCurrent(s.cfg.FS, s.cfg.Dir, w.gen); err != nil {
		// If the name may stand there already, the files it names must not go.
		if now, e := readCurrent(s.cfg.FS, s.cfg.Dir); e != nil || now != s.gen {
			err = errors.Join(fmt.Errorf("the move to generation %d is open: %w", w.gen, err), e)
			s.making.leaveOpen(err)
			s.cfg.Fatal(fmt.Errorf("rewrite state: %w", err))
		}
		return nil, 0, err
	}
	s.dbMu.Lock() // waits for those who read the old one
	old, s.db, s.gen = s.db, w.db, w.gen
	s.dbMu.Unlock()
	s.making.rewritten.Store(w.at.index)
	return old, time.Since(begun), nil
}

// caughtUp compares the new generation with what was applied last.
func (w *rewriting) caughtUp() error {
	v, ok, err := get(w.db, metaKey(metaApplied))
	if err != nil {
		return err
	}
	var applied appliedRow
	if ok {
		if applied, err = decodeApplied(v); err != nil {
			return err
		}
	}
	if applied != w.s.applied {
		return fmt.Errorf("%w: the new files are at %d with hash %v, the state at %d with %v",
			ErrCorrupt, applied.index, applied.hash, w.s.applied.index, w.s.applied.hash)
	}
	return nil
}

// abandon removes what there is of the new generation, unless it may count.
func (w *rewriting) abandon() error {
	w.s.applying.Lock()
	w.s.making.journal = nil
	w.s.applying.Unlock()
	var err error
	if w.journal != nil {
		err = w.journal.close()
	}
	if w.db != nil {
		err = errors.Join(err, w.db.Close())
	}
	if w.dir != "" && w.s.making.isOpen() == nil {
		err = errors.Join(err, removeAll(w.s.cfg.FS, w.dir))
	}
	return err
}

// removeGenerations removes all but the present one. The caller has the slot.
func (s *State) removeGenerations() error {
	fs := s.cfg.FS
	names, err := fs.List(s.cfg.Dir)
	if err != nil {
		return err
	}
	s.applying.Lock()
	current := generationDir(fs, s.cfg.Dir, s.gen)
	s.applying.Unlock()
	for _, name := range names {
		if dir := fs.PathJoin(s.cfg.Dir, name); strings.HasPrefix(name, generationPrefix) && dir != current {
			if err := removeAll(fs, dir); err != nil {
				return fmt.Errorf("remove old state: %w", err)
			}
		}
	}
	return syncDir(fs, s.cfg.Dir)
}

// Sweep removes what else keeps bytes from before the last Rewrite: snapshots, of which
// there must be one from after it, checkpoints, and whatever failed to be removed. It
// waits for backups and snapshots that somebody reads.
func (s *State) Sweep(ctx context.Context) error {
	if err := s.sweep(ctx); err != nil {
		return fmt.Errorf("sweep state: %w", err)
	}
	return nil
}

func (s *State) sweep(ctx context.Context) error {
	entered, leave, err := s.making.enter(ctx)
	if err != nil {
		return err
	}
	s.applying.Lock()
	gen := s.gen
	s.applying.Unlock()
	err = errors.Join(s.removeGenerations(), entered.Err())
	leave() // a restore need not wait for readers of backups
	if err != nil {
		return err
	}
	return s.snaps.sweep(ctx, gen)
}

func removeAll(fs vfs.FS, dir string) error {
	if err := fs.RemoveAll(dir); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return nil
}
