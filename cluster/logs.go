package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// logFile holds the log, the term and the vote, in Config.Dir.
const logFile = "raft.db"

// openLog opens the log in dir, creating it when missing.
func openLog(dir string, noSync bool) (*raftboltdb.BoltStore, error) {
	if err := checkLogFile(filepath.Join(dir, logFile)); err != nil {
		return nil, openFault(dir, err)
	}
	store, err := openLogFile(dir, noSync)
	if err != nil {
		return nil, err
	}
	// What a crash left of a rewriting never counted.
	if err := errors.Join(removeIfThere(filepath.Join(dir, freshLogFile)), syncDir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("open log in %s: %w", dir, err), store.Close())
	}
	return store, nil
}

func openLogFile(dir string, noSync bool) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:   filepath.Join(dir, logFile),
		NoSync: noSync,
		BoltOptions: &bbolt.Options{
			// A second process is told so instead of waiting for ever.
			Timeout: lockTimeout,
			// The free list would otherwise be written whole with every entry;
			// after a large truncation that made appends seven times slower. The
			// price is a scan of the file at start.
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
			// Growing the map stops every reader and writer. This covers 200,000
			// trailing entries of 2.5 KiB; it reserves addresses, not memory.
			InitialMmapSize: 512 << 20,
		},
		// This value is in every entry on disk. Never change it.
		MsgpackUseNewTimeFormat: true,
	})
	if err != nil {
		return nil, openFault(dir, err)
	}
	return store, nil
}

// openFault says why the log in dir cannot be opened.
func openFault(dir string, err error) error {
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("open log in %s: another process has it open: %w", dir, err)
	case errors.Is(err, errDamaged):
		return fmt.Errorf("open log in %s: %w; %s", dir, err, adviceLog)
	}
	return fmt.Errorf("open log in %s: %w", dir, err)
}

// lockTimeout is how long to wait for another process that has the log open.
const lockTimeout = time.Second

// deleteSlice is how many entries one transaction deletes: a single large one
// held up appends for most of a second.
const deleteSlice = 10_000

// guarded is the log as Raft sees it. A write that fails is the end of the
// node: after a failed sync nobody knows what the disk holds, and Raft would
// step down, be elected again and go on. So the first failure is reported, and
// no later append succeeds.
//
// It also outlives Raft's one goroutine that Raft does not wait for: a reporter
// of the log's age, which could still read when the log is closed.
//
// And the log under it can be exchanged, while every call waits.
type guarded struct {
	fail    func(error)
	broken  atomic.Bool
	metrics *metrics
	writes  writeWatch
	sizes   entrySizes

	// keep returns the first entry that must stay in the log, whose last one is given; 0
	// for none.
	keep func(last uint64) uint64

	using  sync.RWMutex // held for reading around each call, never twice
	logs   raft.LogStore
	stable raft.StableStore
	closed bool
}

// errBroken is what an append gets after another write failed.
var errBroken = errors.New("an earlier write of the log failed")

// errClosed is what a read gets after close.
var errClosed = errors.New("the log is closed")

// close waits for calls to end and refuses those that come.
func (g *guarded) close() {
	g.using.Lock()
	defer g.using.Unlock()
	g.closed = true
}

// exchange has change put another store with the same content in the place of the
// present one, while nobody uses either. If change gives none, the log is lost to this
// process.
func (g *guarded) exchange(change func() (*raftboltdb.BoltStore, error)) error {
	g.using.Lock()
	defer g.using.Unlock()
	if g.closed {
		return errClosed
	}
	store, err := change()
	if store == nil {
		g.closed = true
		return g.check("rewrite the log", err)
	}
	g.logs, g.stable = store, store
	return err
}

// FirstIndex returns the log's first index, 0 when it is empty.
func (g *guarded) FirstIndex() (uint64, error) {
	g.using.RLock()
	defer g.using.RUnlock()
	if g.closed {
		return 0, errClosed
	}
	return g.logs.FirstIndex()
}

// LastIndex returns the log's last index, 0 when it is empty.
func (g *guarded) LastIndex() (uint64, error) {
	g.using.RLock()
	defer g.using.RUnlock()
	if g.closed {
		return 0, errClosed
	}
	return g.logs.LastIndex()
}

// GetLog reads one entry.
func (g *guarded) GetLog(index uint64, entry *raft.Log) error {
	g.using.RLock()
	defer g.using.RUnlock()
	if g.closed {
		return errClosed
	}
	return g.logs.GetLog(index, entry)
}

// Get reads a value of Raft's own.
func (g *guarded) Get(key []byte) ([]byte, error) {
	g.using.RLock()
	defer g.using.RUnlock()
	if g.closed {
		return nil, errClosed
	}
	return g.stable.Get(key)
}

// GetUint64 reads a number of Raft's own.
func (g *guarded) GetUint64(key []byte) (uint64, error) {
	g.using.RLock()
	defer g.using.RUnlock()
	if g.closed {
		return 0, errClosed
	}
	return g.stable.GetUint64(key)
}

// write has f write, and keeps what comes of it.
func (g *guarded) write(what string, f func() error) error {
	g.using.RLock()
	defer g.using.RUnlock()
	if g.closed {
		return errClosed
	}
	return g.check(what, f())
}

// watched runs a write that Raft waits for. One that waits for the log's rewriting does not
// count yet.
func (g *guarded) watched(f func() error) error {
	g.writes.begin()
	defer g.writes.end()
	return f()
}

func (g *guarded) check(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	if g.broken.CompareAndSwap(false, true) {
		g.fail(err)
	}
	return err
}

// StoreLog appends one entry.
func (g *guarded) StoreLog(entry *raft.Log) error {
	return g.StoreLogs([]*raft.Log{entry})
}

// StoreLogs appends entries, durably when it returns.
func (g *guarded) StoreLogs(entries []*raft.Log) error {
	if g.broken.Load() {
		return errBroken
	}
	err := g.write("append to the log", func() error {
		return g.watched(func() error {
			return g.metrics.timed(func() error { return g.logs.StoreLogs(entries) })
		})
	})
	if err == nil {
		g.sizes.add(entries)
	}
	return err
}

// DeleteRange deletes the entries from low to high, both included, in slices.
// Raft deletes at one end of the log only. The slices begin at that end, so a
// crash between two of them leaves a log without a hole.
func (g *guarded) DeleteRange(low, high uint64) error {
	first, err := g.FirstIndex()
	if err != nil {
		return err
	}
	last, err := g.LastIndex()
	if err != nil {
		return err
	}
	low, high = max(low, first), min(high, last)
	if first == 0 || low > high {
		return nil
	}
	// What Raft removes behind a snapshot does not reach the end, save for a rewriting. It
	// looks for the first entry every time, so it may be an earlier one.
	if low == first && high < last && g.keep != nil {
		if k := g.keep(last); k > 0 && k <= high {
			if k <= low {
				return nil
			}
			high = k - 1
		}
	}
	if low == first {
		for ; high-low >= deleteSlice; low += deleteSlice {
			if err := g.deleteRange(low, low+deleteSlice-1); err != nil {
				return err
			}
		}
	} else {
		for ; high-low >= deleteSlice; high -= deleteSlice {
			if err := g.deleteRange(high-deleteSlice+1, high); err != nil {
				return err
			}
		}
	}
	return g.deleteRange(low, high)
}

func (g *guarded) deleteRange(low, high uint64) error {
	return g.write("truncate the log", func() error { return g.logs.DeleteRange(low, high) })
}

// IsMonotonic says whether the store refuses gaps.
func (g *guarded) IsMonotonic() bool {
	g.using.RLock()
	defer g.using.RUnlock()
	m, ok := g.logs.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// Set keeps a value of Raft's own, durably when it returns.
func (g *guarded) Set(key, value []byte) error {
	return g.write("write the term and vote", func() error {
		return g.watched(func() error { return g.stable.Set(key, value) })
	})
}

// SetUint64 keeps a number of Raft's own, durably when it returns.
func (g *guarded) SetUint64(key []byte, value uint64) error {
	return g.write("write the term and vote", func() error {
		return g.watched(func() error { return g.stable.SetUint64(key, value) })
	})
}
