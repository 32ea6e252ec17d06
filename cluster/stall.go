package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A disk that hangs does not end a leader. Raft's one goroutine for everything waits for
// the write, while others go on sending heartbeats, so the followers see a leader and
// nothing is committed any more. Nor can leadership be handed over, which is that same
// goroutine's work. So a leader that cannot write falls silent: it lets no message out,
// and the others elect one of themselves when their timeouts are over.
//
// A follower whose disk hangs keeps no quorum from working, and only ends.

// A writeWatch sees whether the log's writes end. It costs a write two additions.
type writeWatch struct {
	under atomic.Int64  // writes under way
	ended atomic.Uint64 // writes that have ended
}

func (w *writeWatch) begin() { w.under.Add(1) }

func (w *writeWatch) end() {
	w.ended.Add(1)
	w.under.Add(-1)
}

// A stallClock tells how long no write has ended although one was under way. It counts
// only time in which it was looked at: after a pause of the whole process or machine the
// disk gets its time as if there had been none.
type stallClock struct {
	last    time.Time
	under   bool // at the last look
	ended   uint64
	stalled time.Duration
}

// look is called every interval, roughly. It returns never more than the write has taken.
func (c *stallClock) look(w *writeWatch, now time.Time, interval time.Duration) time.Duration {
	passed := min(now.Sub(c.last), 2*interval)
	// In this order, a write that ends meanwhile is not taken for one that hangs.
	under := w.under.Load() > 0
	ended := w.ended.Load()
	if under && c.under && ended == c.ended {
		c.stalled += passed
	} else {
		c.stalled = 0
	}
	c.last, c.under, c.ended = now, under, ended
	return c.stalled
}

// stallLooks is how often the log is looked at in the shorter of the two times that matter.
const stallLooks = 20

// watchWrites is the goroutine that acts when the log cannot be written, until ctx ends.
func (n *Node) watchWrites(ctx context.Context) {
	interval := max(min(n.cfg.StallTransfer, n.cfg.StallFatal)/stallLooks, time.Millisecond)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	clock := stallClock{last: time.Now()}
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		stalled := clock.look(&n.logs.writes, time.Now(), interval)
		n.stalled.Store(int64(stalled))
		switch {
		case stalled >= n.cfg.StallFatal:
			// Should Fatal return, the node stays silent and its log broken.
			_ = n.logs.check("write the log", fmt.Errorf("a write has not ended in %s (the limit is %s), so the disk hangs; "+
				"look at the disk under the data directory, then start this node again", stalled, n.cfg.StallFatal))
			return
		case n.outbox == nil:
		case stalled >= n.cfg.StallTransfer && n.raft.State() == raft.Leader:
			if n.outbox.silent.CompareAndSwap(false, true) {
				n.log.ErrorContext(ctx, "log cannot be written, giving up leadership", "node", n.id, "stalled", stalled, "fatal_after", n.cfg.StallFatal)
			}
		case stalled == 0 && n.outbox.silent.CompareAndSwap(true, false):
			// If another one leads, the next message tells it.
			n.log.WarnContext(ctx, "log can be written again", "node", n.id)
		}
	}
}

// hangs returns why the node takes no commands as the leader at present, nil if it does.
func (n *Node) hangs() error {
	if n.outbox == nil || !n.outbox.silent.Load() {
		return nil
	}
	return fmt.Errorf("%w: node %s has not been able to write its log for %s", ErrNoLeader, n.id, time.Duration(n.stalled.Load()))
}
