package cluster

import (
	"math"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// What stays in the log behind a snapshot is counted in entries by Raft, and an entry is
// anything from 100 bytes to megabytes. Here it is bounded in bytes, too, by the mean size
// of an entry. And while a member gets a snapshot the entries behind that snapshot stay:
// otherwise they would be gone when it has it, it would need the next one, and so on for
// ever.

// leastTrailing is how many entries stay whatever their size: sixteen messages, so that a
// follower which is only slow needs no snapshot. With the largest commands, 1 GiB.
const leastTrailing = 16 * maxAppendEntries

// trailing is how many entries the next snapshot leaves in the log.
func (n *Node) trailing() uint64 {
	mean := n.logs.sizes.mean()
	if n.cfg.KeepLog || mean == 0 {
		return n.cfg.TrailingLogs
	}
	return min(n.cfg.TrailingLogs, max(uint64(n.cfg.TrailingBytes)/mean, leastTrailing))
}

// trail tells Raft how many entries the snapshot that begins leaves, unless a rewriting has
// said that it is none.
func (n *Node) trail() {
	if !n.running.Load() {
		return
	}
	err := n.reload(func(rc *raft.ReloadableConfig) {
		// Looked at here, where the rewriting cannot come between.
		if !n.truncating.Load() {
			rc.TrailingLogs = n.trailing()
		}
	})
	if err != nil {
		n.log.Warn("trailing entries not adjusted", "error", err)
	}
}

// reload changes Raft's configuration, one after the other.
func (n *Node) reload(change func(*raft.ReloadableConfig)) error {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	rc := n.raft.ReloadableConfig()
	change(&rc)
	return n.raft.ReloadConfig(rc)
}

// holdFactor is how many times TrailingBytes the log may come to for members that get
// snapshots.
const holdFactor = 4

// keep returns the first entry that must stay in the log, whose last one is given, for
// members that get a snapshot from this node; 0 if there are none. A rewriting keeps
// nothing, and a disk that is nearly full has no room for it.
func (n *Node) keep(last uint64) uint64 {
	if !n.running.Load() || n.outbox == nil || n.cfg.noHold || n.truncating.Load() || n.raft.State() != raft.Leader || n.unwritable() != nil {
		return 0
	}
	first, held := n.outbox.fetches.needed(time.Now())
	if !held {
		return 0
	}
	most := n.cfg.TrailingLogs
	if mean := n.logs.sizes.mean(); mean > 0 {
		most = max(uint64(n.cfg.TrailingBytes)/mean, leastTrailing)
	}
	if most *= holdFactor; last > most {
		first = max(first, last-most)
	}
	n.log.Info("log kept for a member that gets a snapshot", "from", first, "last", last)
	return max(first, 1)
}

// entrySizes estimates the mean size of an entry in the log, of newer ones more than of
// older ones.
type entrySizes struct {
	mu             sync.Mutex
	bytes, entries uint64
}

const (
	// entryOverhead is what the log adds to an entry's data, roughly.
	entryOverhead = 64
	// sizesMemory is after how many entries what was before counts half.
	sizesMemory = 1 << 16
	// sizesSamples is how many entries are read at the start.
	sizesSamples = 64
)

func (s *entrySizes) add(entries []*raft.Log) {
	bytes := 0
	for _, e := range entries {
		bytes += entryOverhead + len(e.Data) + len(e.Extensions)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += uint64(bytes)
	if s.entries += uint64(len(entries)); s.entries > sizesMemory {
		s.bytes /= 2
		s.entries /= 2
	}
}

// mean is 0 if there was no entry yet.
func (s *entrySizes) mean() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == 0 {
		return 0
	}
	return max(s.bytes/s.entries, 1)
}

// sample reads some entries of the log from first to last. What cannot be read is left to
// those who need it.
func (s *entrySizes) sample(logs raft.LogStore, first, last uint64) {
	if first == 0 || last < first {
		return
	}
	step := (last-first)/sizesSamples + 1
	for i := first; i <= last; i += step {
		var e raft.Log
		if logs.GetLog(i, &e) == nil {
			s.add([]*raft.Log{&e})
		}
	}
}

// fetches are the members that get a snapshot from this node, or got one and are catching
// up.
type fetches struct {
	last func() uint64 // of the log

	mu sync.Mutex
	by map[raft.ServerID]*fetch // guarded by mu
}

// A fetch is one of them.
type fetch struct {
	sending bool      // the snapshot is under way
	from    uint64    // the entry in front of what it needs next: Raft asks whether it agrees
	moved   time.Time // when it last got anything
}

// fetchPatience is how long the log is held for a member that gets nothing: longer than an
// election and a reconnection.
const fetchPatience = time.Minute

// begin is called when a member is sent the snapshot at an index.
func (f *fetches) begin(id raft.ServerID, index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[raft.ServerID]*fetch{}
	}
	f.by[id] = &fetch{sending: true, from: index, moved: time.Now()}
}

// end is called when the snapshot has arrived and is restored, or has not.
func (f *fetches) end(id raft.ServerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.by[id]; m != nil {
		m.sending, m.moved = false, time.Now()
	}
}

// reached is called when a member has stored entries up to an index.
func (f *fetches) reached(id raft.ServerID, index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.by[id]
	if m == nil {
		return
	}
	if m.from, m.moved = index, time.Now(); index+maxAppendEntries >= f.last() {
		delete(f.by, id)
	}
}

// needed returns the first entry that one of them needs. Who got nothing for too long has
// failed and is forgotten.
func (f *fetches) needed(now time.Time) (first uint64, held bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first = math.MaxUint64
	for id, m := range f.by {
		if !m.sending && now.Sub(m.moved) > fetchPatience {
			delete(f.by, id)
			continue
		}
		first, held = min(first, m.from), true
	}
	return first, held
}
