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
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:   filepath.Join(dir, logFile),
		NoSync: noSync,
		BoltOptions: &bbolt.Options{
			// A second process is told so instead of waiting for ever.
			Timeout: time.Second,
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
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open log in %s: another process has it open: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open log in %s: %w", dir, err)
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open log in %s: %w", dir, err), store.Close())
	}
	return store, nil
}

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
type guarded struct {
	raft.LogStore
	raft.StableStore
	fail    func(error)
	broken  atomic.Bool
	metrics *metrics

	reading sync.RWMutex // held for reading around each read
	closed  bool         // guarded by reading
}

// errBroken is what an append gets after another write failed.
var errBroken = errors.New("an earlier write of the log failed")

// errClosed is what a read gets after close.
var errClosed = errors.New("the log is closed")

// close waits for reads to end and refuses those that come.
func (g *guarded) close() {
	g.reading.Lock()
	defer g.reading.Unlock()
	g.closed = true
}

// FirstIndex returns the log's first index, 0 when it is empty.
func (g *guarded) FirstIndex() (uint64, error) {
	g.reading.RLock()
	defer g.reading.RUnlock()
	if g.closed {
		return 0, errClosed
	}
	return g.LogStore.FirstIndex()
}

// LastIndex returns the log's last index, 0 when it is empty.
func (g *guarded) LastIndex() (uint64, error) {
	g.reading.RLock()
	defer g.reading.RUnlock()
	if g.closed {
		return 0, errClosed
	}
	return g.LogStore.LastIndex()
}

// GetLog reads one entry.
func (g *guarded) GetLog(index uint64, entry *raft.Log) error {
	g.reading.RLock()
	defer g.reading.RUnlock()
	if g.closed {
		return errClosed
	}
	return g.LogStore.GetLog(index, entry)
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
	return g.check("append to the log", g.metrics.timed(func() error { return g.LogStore.StoreLogs(entries) }))
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
	if low == first {
		for ; high-low >= deleteSlice; low += deleteSlice {
			if err := g.check("truncate the log", g.LogStore.DeleteRange(low, low+deleteSlice-1)); err != nil {
				return err
			}
		}
	} else {
		for ; high-low >= deleteSlice; high -= deleteSlice {
			if err := g.check("truncate the log", g.LogStore.DeleteRange(high-deleteSlice+1, high)); err != nil {
				return err
			}
		}
	}
	return g.check("truncate the log", g.LogStore.DeleteRange(low, high))
}

// IsMonotonic says whether the store refuses gaps.
func (g *guarded) IsMonotonic() bool {
	m, ok := g.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// Set keeps a value of Raft's own, durably when it returns.
func (g *guarded) Set(key, value []byte) error {
	return g.check("write the term and vote", g.StableStore.Set(key, value))
}

// SetUint64 keeps a number of Raft's own, durably when it returns.
func (g *guarded) SetUint64(key []byte, value uint64) error {
	return g.check("write the term and vote", g.StableStore.SetUint64(key, value))
}
