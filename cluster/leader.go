package cluster

import (
	"context"

	"github.com/hashicorp/raft"
)

// tenure is the term in which this node serves as the leader. A node that has
// won an election serves only when the entry that opens its term is applied:
// from then on its state holds everything that was acknowledged before, and
// every later entry reaches the state machine.
type tenure struct{ cell[uint64] }

// serving returns the term in which this node serves, 0 for none.
func (t *tenure) serving() uint64 { return t.get() }

// lead is the goroutine that follows Raft's elections, until ctx ends.
func (n *Node) lead(ctx context.Context) {
	for {
		select {
		case won := <-n.elections:
			if won {
				n.open(ctx)
			} else {
				n.tenure.set(0)
				n.log.InfoContext(ctx, "leadership lost", "node", n.id)
			}
		case <-ctx.Done():
			return
		}
	}
}

// open opens this node's term and begins to serve. If leadership is lost on the
// way, Raft reports that next.
func (n *Node) open(ctx context.Context) {
	term := n.raft.CurrentTerm()
	known := n.lookFirst(ctx)
	if err := n.raft.Apply(n.cfg.TermStart(term), 0).Error(); err != nil {
		n.log.WarnContext(ctx, "term not opened", "term", term, "error", err)
		return
	}
	if !n.leads(term) {
		// The entry belongs to another term than it says. That does no harm, but
		// it does not open this one.
		return
	}
	index := n.raft.CommitIndex()
	if err := n.cfg.Published(ctx, index); err != nil {
		if ctx.Err() == nil {
			n.log.ErrorContext(ctx, "state not readable", "term", term, "revision", index, "error", err)
		}
		return
	}
	select {
	case <-known:
	case <-ctx.Done():
		return
	}
	n.counters.terms.Add(1)
	n.tenure.set(term)
	if n.failed() != nil {
		n.tenure.set(0) // fail may have come between
		return
	}
	n.log.InfoContext(ctx, "leadership gained", "node", n.id, "term", term, "revision", index)
	if n.cfg.Peers != nil {
		n.readdress(ctx, n.transport.LocalAddr())
	}
}

// leads says whether this node is the leader of term at this moment. Terms only
// grow, so if it held a term before some step and holds it afterwards, it held
// it all the while.
func (n *Node) leads(term uint64) bool {
	return n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term
}
