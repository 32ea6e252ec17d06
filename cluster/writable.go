package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// unwritable returns why this node should not write, nil if it can.
func (n *Node) unwritable() error {
	if n.cfg.Writable == nil {
		return nil
	}
	return n.cfg.Writable()
}

// stamp returns the time for the next entry, or why there must be none.
func (n *Node) stamp() (time.Time, error) {
	now := n.cfg.Clock()
	mine, others := n.unfit(now)
	if mine != nil {
		return now, mine
	}
	return now, others
}

// unfit says why a leader whose clock shows now must not write: for a reason of its own,
// which another leader may not have, or because of others. ErrReadOnly is about what an
// operator has to mend; ErrNoLeader is about what this leader does not know yet.
//
// Two things are required of a quorum, this node included: clocks that this node's is not
// far ahead of, for what it stamps cannot be taken back, and disks that should be written.
// A member of which nothing is known counts for neither. A leader hears of a quorum, or it
// is none, so it knows soon enough.
func (n *Node) unfit(now time.Time) (mine, others error) {
	if err := n.unwritable(); err != nil {
		mine = fmt.Errorf("%w: %w", ErrReadOnly, err)
	}
	e := n.electorate()
	if e.quorum == 1 {
		return mine, nil
	}
	n.lookout.mu.Lock()
	defer n.lookout.mu.Unlock()
	sane, able := e.own(), e.own()
	var leads, full []string
	for _, v := range e.others {
		s := n.lookout.seen[v.ID]
		if !s.fresh() {
			continue
		}
		if by := s.ahead(now); by > n.cfg.MaxClockAhead {
			leads = append(leads, fmt.Sprintf("%s ahead of node %s's", by.Round(100*time.Millisecond), v.ID))
		} else {
			sane++
		}
		if s.status.ReadOnly != "" {
			full = append(full, fmt.Sprintf("node %s: %s", v.ID, s.status.ReadOnly))
		} else {
			able++
		}
	}
	if mine == nil && sane < e.quorum && len(leads) > 0 {
		mine = fmt.Errorf("%w: the clock of node %s is %s, and may be %s ahead of a quorum's; set the clocks right",
			ErrReadOnly, n.id, strings.Join(leads, " and "), n.cfg.MaxClockAhead)
	}
	switch {
	case able < e.quorum && len(full) > 0:
		others = fmt.Errorf("%w: no quorum should be written: %s", ErrReadOnly, strings.Join(full, "; "))
	case sane < e.quorum || able < e.quorum:
		others = fmt.Errorf("%w: too few voters have told their clocks yet", ErrNoLeader)
	}
	return mine, others
}

// yieldInterval is how often a leader hands over because it cannot write: seldom enough
// that nodes whose disks fill and empty do not pass leadership on and on.
const yieldInterval = 10 * time.Second

// yieldLeadership hands over to a voter that can write, if this node cannot for a reason
// of its own and knows of one. Only oversee calls it.
func (n *Node) yieldLeadership(ctx context.Context) {
	mine, _ := n.unfit(n.cfg.Clock())
	if mine == nil || (!n.yielded.IsZero() && time.Since(n.yielded) < yieldInterval) {
		return
	}
	to := n.successor()
	if to == "" {
		return
	}
	n.yielded = time.Now()
	n.log.WarnContext(ctx, "leadership is handed over", "to", to, "reason", mine)
	if err := n.changeHere(ctx, change{What: changeTransfer, Peer: Peer{ID: to}}); err != nil && ctx.Err() == nil {
		n.log.WarnContext(ctx, "leadership not handed over", "to", to, "error", err)
	}
}

// successor returns the voter that should lead if this node should not: one that answered
// the last time, can write, and whose clock is not far ahead of a quorum's. Of several the
// one whose clock most others agree with, and then the one with the longest log. It
// returns "" if there is none, or if it could not write either, for want of others.
func (n *Node) successor() string {
	e := n.electorate()
	seen, _ := n.lookout.all()
	best, agreed, reached := "", 0, uint64(0)
	able := 0
	if n.unwritable() == nil {
		able++
	}
	for _, v := range e.others {
		if s := seen[v.ID]; s.fresh() && s.status.ReadOnly == "" {
			able++
		}
	}
	if able < e.quorum {
		return ""
	}
	for _, v := range e.others {
		s := seen[v.ID]
		if s.err != nil || !s.fresh() || s.status.ReadOnly != "" {
			continue
		}
		sane, agree := 1, 0
		for _, other := range append(e.others, n.self()) {
			o := seen[other.ID]
			if other.ID == v.ID || !o.fresh() {
				continue
			}
			if s.aheadOf(o) <= n.cfg.MaxClockAhead {
				if sane++; o.aheadOf(s) <= n.cfg.MaxClockAhead {
					agree++
				}
			}
		}
		if sane < e.quorum || (best != "" && (agree < agreed || (agree == agreed && s.status.LastIndex <= reached))) {
			continue
		}
		best, agreed, reached = v.ID, agree, s.status.LastIndex
	}
	return best
}
