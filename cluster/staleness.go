package cluster

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Staleness is how long ago, at most, what readers of this node see was the newest state.
// Everything that was acknowledged longer ago than that is in it.
//
// It is 0 while the node serves as the leader: then it shows all that it acknowledges. While
// a write of its log hangs, it is for how long it has. A leader that was cut off believes that it leads for LeaderLeaseTimeout more, in which
// another can have been elected only if the clocks of nodes run at different speeds; after
// leadership was handed over, until the new leader's first message. What a node hears of
// such a leader is as old as it. On every other node it is the time since the leader must
// have known of nothing newer: a leader sends a member one message at a time, each with its
// commit index, so what a message says was true when the one before had arrived. Only if
// a message was given up on the way and arrives all the same is it older. Clocks of different
// nodes are not compared.
//
// While all is well it is a few CommitTimeouts, although hints show what is new sooner; it
// grows while the node hears nothing or does not keep up, and is math.MaxInt64 if it never
// heard of a leader. Reads that must not be stale at all use ReadIndex.
func (n *Node) Staleness() time.Duration {
	if n.tenure.serving() == 0 {
		return n.fresh.age(time.Now())
	}
	// While a write of the log hangs, Raft does not notice that it has lost its leadership.
	if hung := time.Duration(n.stalled.Load()); hung > n.cfg.LeaderLeaseTimeout {
		return hung
	}
	return 0
}

// Lag returns how many entries are known here to be committed that readers of this node do
// not see yet, be it that they have not arrived or that they are not applied.
func (n *Node) Lag() uint64 {
	shown := n.machine.shown() // read first, so it cannot be ahead
	return max(n.raft.CommitIndex(), n.fresh.committed.Load(), shown) - shown
}

// freshness keeps what was heard of the leader.
type freshness struct {
	committed atomic.Uint64 // the highest commit index that a leader told
	newest    atomic.Int64  // when what is shown now was the newest, as a mark; 0 for never

	epoch time.Time // what marks count from; set before the first message

	mu     sync.Mutex
	term   uint64    // guarded by mu; of the last message's leader
	last   time.Time // guarded by mu; when that arrived
	oldest told      // guarded by mu; the oldest message whose commit index is not shown yet
	latest told      // guarded by mu; the latest of those behind it
}

// told is a commit index, and a time when a leader knew of no later one.
type told struct {
	index uint64 // 0 for none
	at    time.Time
}

// hear takes a message of a term's leader, while entries up to shown are shown.
func (f *freshness) hear(term, commit, shown uint64, now time.Time) {
	if commit == 0 {
		return // a heartbeat, which does not wait for the message before it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.committed.Load() < commit {
		f.committed.Store(commit)
	}
	before := told{commit, f.last}
	followed := f.term == term && !f.last.IsZero()
	f.term, f.last = term, now
	switch {
	case !followed:
	case commit <= shown:
		f.oldest, f.latest = told{}, told{}
		f.mark(before.at)
	case f.oldest.index == 0:
		f.oldest = before
	default:
		// The oldest stays until it is shown: under load there is always one newer.
		f.latest = before
	}
}

// show is told that entries up to shown are shown.
func (f *freshness) show(shown uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.oldest.index != 0 && f.oldest.index <= shown {
		f.mark(f.oldest.at)
		f.oldest, f.latest = f.latest, told{}
	}
}

// mark is called with mu held.
func (f *freshness) mark(at time.Time) {
	if m := int64(at.Sub(f.epoch)) + 1; m > f.newest.Load() {
		f.newest.Store(m)
	}
}

func (f *freshness) age(now time.Time) time.Duration {
	m := f.newest.Load()
	if m == 0 {
		return math.MaxInt64
	}
	return max(now.Sub(f.epoch)-time.Duration(m-1), 0)
}
