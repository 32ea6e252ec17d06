package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// machine is the state machine as Raft sees it. It adds two rules that Raft does
// not keep: a failed restore ends the node, and no snapshot is taken while the
// entries that the state machine already holds are being replayed.
type machine struct {
	raft.BatchingFSM
	fail    func(error)
	metrics *metrics
	fresh   *freshness
	started atomic.Bool // set when Raft runs; before that, Open reports a failed restore

	// durable is what the state machine held at the start, seen the last index
	// that it was handed since. In between, Raft would label a snapshot with
	// seen, although it contains everything up to durable.
	durable atomic.Uint64
	seen    atomic.Uint64

	// configured is the last entry seen here that says who the members are; nil if none did.
	configured atomic.Pointer[configuration]

	// members is told of each of them that comes after known, the end of the log at the
	// start; nil if nobody wants to know.
	members func(raft.Configuration)
	known   uint64

	before func()        // called when a snapshot begins
	holds  func() uint64 // Config.DurableIndex

	refused error // of the restore at start, before Raft runs
}

// A configuration is one that is committed.
type configuration struct {
	raft.Configuration
	index uint64
}

// errReplaying is why a snapshot is refused during the replay. The next one comes.
var errReplaying = errors.New("the log is being replayed")

// Apply applies one entry.
func (m *machine) Apply(entry *raft.Log) any {
	var result any
	m.metrics.applying(1, func() { result = m.BatchingFSM.Apply(entry) })
	m.note(entry)
	return result
}

// ApplyBatch applies entries in their order.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	var results []any
	m.metrics.applying(len(entries), func() { results = m.BatchingFSM.ApplyBatch(entries) })
	m.note(entries...)
	return results
}

func (m *machine) note(entries ...*raft.Log) {
	for _, e := range entries {
		if e.Type == raft.LogConfiguration {
			c := raft.DecodeConfiguration(e.Data)
			m.configured.Store(&configuration{c, e.Index})
			if m.members != nil && e.Index > m.known {
				m.members(c)
			}
		}
	}
	m.seen.Store(entries[len(entries)-1].Index)
	m.fresh.show(m.shown())
}

// Snapshot begins a snapshot at the last index applied.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if seen, durable := m.seen.Load(), m.durable.Load(); seen < durable {
		return nil, fmt.Errorf("snapshot at %d of state at %d: %w", seen, durable, errReplaying)
	}
	m.before()
	start := time.Now()
	snapshot, err := m.BatchingFSM.Snapshot()
	return m.metrics.snapshotting(snapshot, err, start)
}

// Restore replaces the state. Raft only logs a failure and goes on: at the
// start with the next older snapshot, whose remains could mix with those of the
// first, and later with a state that is neither the old nor the new one.
func (m *machine) Restore(source io.ReadCloser) error {
	if m.refused != nil {
		return m.refused
	}
	start := time.Now()
	if err := m.BatchingFSM.Restore(source); err != nil {
		err = fmt.Errorf("restore a snapshot: %w", err)
		if m.started.Load() {
			m.fail(err)
		} else {
			m.refused = err
		}
		return err
	}
	m.metrics.restored(start)
	m.durable.Store(0)
	m.seen.Store(m.holds())
	m.fresh.show(m.shown())
	return nil
}

// shown returns up to where readers see the log.
func (m *machine) shown() uint64 { return max(m.seen.Load(), m.durable.Load()) }
