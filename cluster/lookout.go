package cluster

import (
	"context"
	"maps"
	"sync"
	"time"
)

// A lookout is what a leader has seen of the members: it asks each of them every second how
// it is. What was seen in an earlier term is forgotten.
type lookout struct {
	mu    sync.Mutex
	index uint64            // guarded by mu; the end of the leader's log before it last asked
	seen  map[string]report // guarded by mu; by id, this node among them
}

// A report is how a member was when it last said so.
type report struct {
	status MemberStatus
	asked  time.Time     // when it was asked for that; zero if it never answered
	delay  time.Duration // how long the answer took
	offset time.Duration // how far its clock was ahead of this node's, give or take half of delay
	err    error         // why it did not answer the last time, nil if it did
	first  time.Time     // when it was first asked
}

// statusAge is for how long a leader may go by what a member has said: some rounds may
// fail. Clocks go on from what they were, and what a disk has left changes slowly.
const statusAge = 10 * time.Second

// fresh says whether one may go by s.
func (s report) fresh() bool { return !s.asked.IsZero() && time.Since(s.asked) <= statusAge }

// unreachable returns for how long the member has not answered, 0 if it did the last time.
func (s report) unreachable() time.Duration {
	switch {
	case s.err == nil:
		return 0
	case s.asked.IsZero():
		return time.Since(s.first)
	}
	return time.Since(s.asked)
}

// begin forgets all.
func (l *lookout) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.index = map[string]report{}, 0
}

// note keeps what a member said, here being this node's clock when the answer came.
func (l *lookout) note(s Surveyed, here time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was, known := l.seen[s.ID]
	if l.seen == nil || s.asked.Before(was.asked) {
		return
	}
	if !known {
		was.first = s.asked
	}
	if was.err = s.Err; s.Err == nil {
		was.status, was.asked, was.delay = *s.Status, s.asked, s.Delay
		was.offset = s.Status.Clock.Sub(here.Add(-s.Delay / 2))
	}
	l.seen[s.ID] = was
}

// round begins another: index is the end of this node's log, and who is no member any more
// is forgotten.
func (l *lookout) round(index uint64, members []Member) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index = index
	maps.DeleteFunc(l.seen, func(id string, _ report) bool {
		for _, m := range members {
			if m.ID == id {
				return false
			}
		}
		return true
	})
}

// all returns what was seen, and the end of this node's log before.
func (l *lookout) all() (seen map[string]report, index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.seen), l.index
}

// look asks every member once. After each answer it calls then, if that is not nil.
func (n *Node) look(ctx context.Context, then func()) {
	members := n.Status().Members
	index, _ := n.lastEntry()
	n.lookout.round(index, members)
	var asking sync.WaitGroup
	for _, m := range members {
		asking.Go(func() {
			s := n.surveyOne(ctx, m)
			if ctx.Err() != nil && s.Err != nil {
				return // nobody knows whether it would have answered
			}
			n.lookout.note(s, n.cfg.Clock())
			if then != nil {
				then()
			}
		})
	}
	asking.Wait()
}

// lookFirst looks while a term is being opened. What it returns is closed when this node
// knows that it may write, when all have answered, or after half an election's time: the
// term must not wait for a member that is gone, and until enough is known writes are
// refused.
func (n *Node) lookFirst(ctx context.Context) <-chan struct{} {
	n.lookout.begin()
	known := make(chan struct{})
	tell := sync.OnceFunc(func() { close(known) })
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ElectionTimeout/2)
	n.leader.Go(func() {
		defer cancel()
		defer tell()
		n.look(ctx, func() {
			if _, err := n.stamp(); err == nil {
				tell()
			}
		})
	})
	return known
}

// lookInterval is how often a leader asks every member how it is: a request of some hundred
// bytes to each, a second.
const lookInterval = time.Second

// oversee is the goroutine that looks after the members while this node serves as the
// leader, until ctx ends.
func (n *Node) oversee(ctx context.Context) {
	for {
		term, changed := n.tenure.watch()
		if term != 0 {
			n.preside(ctx, changed)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// preside looks after the members for one tenure. Nothing that it began is left when it
// returns.
func (n *Node) preside(ctx context.Context, changed <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	})
	stop := n.startAutopilot(ctx)
	defer stop()
	again := time.NewTicker(lookInterval)
	defer again.Stop()
	for {
		n.yieldLeadership(ctx)
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		n.look(ctx, nil)
	}
}
