package cluster

import (
	"context"
	"fmt"

	"github.com/hashicorp/raft"
)

// admit says why a node must not be added or promoted although the members permit it.
func (n *Node) admit(ctx context.Context, c change, present raft.Configuration) error {
	switch c.What {
	case changeAdd:
		if n.cfg.ClusterVersion == nil {
			return nil
		}
		supports := c.Supports
		if supports == 0 {
			s := n.surveyOne(ctx, Member{Peer: c.Peer})
			if s.Err != nil {
				return fmt.Errorf("node %s does not say which cluster versions it supports; start it before it is added: %w", c.ID, s.Err)
			}
			supports = s.Status.Supports
		}
		if at := n.cfg.ClusterVersion(); supports < at {
			return fmt.Errorf("node %s can follow cluster version %d at most, and the cluster is at %d; install a later release on it",
				c.ID, supports, at)
		}
	case changePromote:
		for _, s := range present.Servers {
			if string(s.ID) != c.ID {
				continue
			}
			// One that does not answer may be promoted all the same: a person wants it. What it
			// says is kept, since from here on a quorum may need it.
			it := n.surveyOne(ctx, Member{Peer: Peer{ID: c.ID, Address: string(s.Address)}})
			n.lookout.note(it, n.cfg.Clock())
			if it.Err == nil && it.Status.Replica {
				return fmt.Errorf("node %s is a replica, which gets no vote; start it as one that may have one", c.ID)
			}
		}
	}
	return nil
}
