package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// What a change does.
const (
	changeAdd      = "add"
	changePromote  = "promote"
	changeDemote   = "demote"
	changeRemove   = "remove"
	changeTransfer = "transfer"

	// changeReaddress is what a member asks for that is reached at another address now, be
	// it a voter or not.
	changeReaddress = "readdress"
)

// A change is one of the members, or of who leads them.
type change struct {
	What string `json:"what"`
	Peer
	// Own says that the node asks for itself. The leader makes sure that it is the one that
	// is found at the address.
	Own bool `json:"own,omitempty"`
	// Supports is, of a node that is to be added, the latest cluster version that it can
	// follow; 0 if whoever asks does not know.
	Supports uint64 `json:"supports,omitempty"`
}

// AddNonvoter gives a node the log, but no vote. Like all that follow, it is done by the
// leader, which this node asks if need be; it returns when the change is committed, and
// one that is made already is no error. ErrMembership means that it cannot be made,
// ErrUnknownOutcome that it may be made or not, and any other error that it is not.
func (n *Node) AddNonvoter(ctx context.Context, p Peer) error {
	return n.change(ctx, change{What: changeAdd, Peer: p})
}

// Promote gives a non-voter the vote, unless it is a replica. It should be close to the end
// of the log, or the others may have to wait for it.
func (n *Node) Promote(ctx context.Context, id string) error {
	return n.change(ctx, change{What: changePromote, Peer: Peer{ID: id}})
}

// Demote takes a voter's vote, unless it is the last one's. The autopilot gives it none
// until the node starts anew; a node that is to have none for ever is a Config.Replica.
func (n *Node) Demote(ctx context.Context, id string) error {
	return n.change(ctx, change{What: changeDemote, Peer: Peer{ID: id}})
}

// Remove ends a node's membership, unless it is the last voter's. A leader that is to be
// removed or demoted hands over and returns ErrNoLeader: whoever asks again reaches the
// next one, who does it.
func (n *Node) Remove(ctx context.Context, id string) error {
	return n.change(ctx, change{What: changeRemove, Peer: Peer{ID: id}})
}

// TransferLeadership has another voter lead: the one with the id, or with "" the one that
// is furthest. If it fails, the leader goes on.
func (n *Node) TransferLeadership(ctx context.Context, id string) error {
	return n.change(ctx, change{What: changeTransfer, Peer: Peer{ID: id}})
}

func (n *Node) change(ctx context.Context, c change) error {
	if n.cfg.Peers == nil && c.What == changeAdd {
		// It could never start again with a member that it cannot reach.
		return fmt.Errorf("%w: node %s was started alone, so no other can join it", ErrMembership, n.id)
	}
	if n.tenure.serving() != 0 {
		return n.changeHere(ctx, c)
	}
	if n.cfg.Peers == nil {
		return n.idle()
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = n.askLeader(ctx, askChange, payload)
	return changes(ctx, err)
}

// changeHere makes a change on the leader, one after the other.
func (n *Node) changeHere(ctx context.Context, c change) error {
	if c.Own {
		if n.tenure.serving() == 0 {
			return n.idle()
		}
		if err := n.meet(ctx, c); err != nil {
			return err
		}
	}
	if err := n.enter(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer n.calls.Done()
		// Close waits for this, and whoever asked may have no deadline.
		ctx, cancel := n.whileRunning(ctx)
		defer cancel()
		select {
		case n.changing <- struct{}{}:
			defer func() { <-n.changing }()
		case <-ctx.Done():
			done <- n.idle()
			return
		}
		if c.What == changeTransfer {
			done <- n.transfer(c.ID)
			return
		}
		done <- n.reshape(ctx, c, nil)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return unknown(ctx.Err())
	}
}

// reshape changes the configuration that is there now, and no other. It is for who holds
// changing. If allowed is not nil it may object, too.
func (n *Node) reshape(ctx context.Context, c change, allowed func(present raft.Configuration) error) error {
	if n.tenure.serving() == 0 {
		return n.idle()
	}
	present := n.raft.GetConfiguration().Configuration()
	index, err := n.configured(ctx)
	if err != nil {
		return err
	}
	needless, err := c.judge(present)
	if err == nil && !needless {
		err = n.admit(ctx, c, present)
	}
	if err == nil && !needless && allowed != nil {
		err = allowed(present)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMembership, err)
	}
	if needless {
		return nil
	}
	if c.ID == n.id && (c.What == changeDemote || c.What == changeRemove) {
		// Cut off with this entry in its log alone it would hold no election, being no voter
		// by it, and of two voters the other could win none, its log being shorter.
		if err := n.transfer(""); err != nil {
			return fmt.Errorf("%w: leadership could not be handed over before this node is changed: %v", ErrMembership, err) //nolint:errorlint // an unknown transfer is no unknown change
		}
		return fmt.Errorf("%w: leadership was handed over, the next leader can change this node", ErrNoLeader)
	}
	id, address := raft.ServerID(c.ID), raft.ServerAddress(c.Address)
	var future raft.IndexFuture
	switch c.What {
	case changeAdd, changeReaddress: // a voter keeps its vote
		future = n.raft.AddNonvoter(id, address, index, n.cfg.ElectionTimeout)
	case changePromote:
		for _, s := range present.Servers {
			if s.ID == id {
				address = s.Address
			}
		}
		future = n.raft.AddVoter(id, address, index, n.cfg.ElectionTimeout)
	case changeDemote:
		future = n.raft.DemoteVoter(id, index, n.cfg.ElectionTimeout)
	case changeRemove:
		future = n.raft.RemoveServer(id, index, n.cfg.ElectionTimeout)
	}
	if err := outcomeOf(future.Error()); err != nil {
		return err
	}
	n.log.Info("members changed", "change", c.What, "member", c.ID, "revision", future.Index())
	return nil
}

// configured returns the index of the entry that says who the members are; Raft does not
// tell. It is for a leader whose term is open, while it makes no change: every such entry
// is then committed, and was seen by the state machine or is in a snapshot.
func (n *Node) configured(ctx context.Context) (uint64, error) {
	if err := n.cfg.Published(ctx, n.raft.CommitIndex()); err != nil {
		return 0, err
	}
	c, err := n.committed()
	return c.index, err
}

// judge says whether a configuration makes c needless, or why c cannot be made in it.
func (c change) judge(present raft.Configuration) (needless bool, err error) {
	var it *raft.Server
	voters := 0
	for i, s := range present.Servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
		switch {
		case string(s.ID) == c.ID:
			it = &present.Servers[i]
		case (c.What == changeAdd || c.What == changeReaddress) && string(s.Address) == c.Address:
			return false, fmt.Errorf("node %s has the address %s; remove it first if node %s has taken its place (remit cluster remove %s)",
				s.ID, s.Address, c.ID, s.ID)
		}
	}
	if c.ID == "" {
		return false, errors.New("a node's id is missing")
	}
	switch c.What {
	case changeAdd:
		switch {
		case c.Address == "":
			return false, fmt.Errorf("the address of node %s is missing", c.ID)
		case len(c.ID) > maxIDLen:
			return false, fmt.Errorf("the id of the node at %s has %d bytes, at most %d can be named", c.Address, len(c.ID), maxIDLen)
		case it == nil:
			return false, nil
		case string(it.Address) == c.Address:
			return true, nil // a voter, too, gets the log already
		case it.Suffrage == raft.Voter:
			return false, fmt.Errorf("node %s is a voter at %s; remove it before it is added at %s", c.ID, it.Address, c.Address)
		}
		return false, nil
	case changeReaddress:
		switch {
		case c.Address == "":
			return false, fmt.Errorf("the address of node %s is missing", c.ID)
		case it == nil:
			return false, fmt.Errorf("node %s is no member; add it first", c.ID)
		}
		return string(it.Address) == c.Address, nil // whoever votes is the same
	case changePromote, changeDemote:
		switch {
		case it == nil:
			return false, fmt.Errorf("node %s is no member; add it first", c.ID)
		case (it.Suffrage == raft.Voter) == (c.What == changePromote):
			return true, nil
		}
	case changeRemove:
		if it == nil {
			return true, nil
		}
	default:
		return false, fmt.Errorf("this release knows no change %q", c.What)
	}
	if voters == 1 && it.Suffrage == raft.Voter {
		return false, fmt.Errorf("node %s is the last voter; promote another one first", c.ID)
	}
	return false, nil
}

// outcomeOf gives an error of Raft's about a configuration its meaning.
func outcomeOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout):
		// None of them is in the log. The last one waited for an earlier change.
		return fmt.Errorf("%w: %w", ErrNoLeader, err)
	case strings.HasPrefix(err.Error(), "configuration changed since"): // Raft has no name for it
		return fmt.Errorf("%w: %w", ErrMembership, err)
	default:
		return unknown(err)
	}
}

// transfer has another voter lead. From its beginning on, no read relies on this node's
// leadership: the other may lead before this one hears of it.
func (n *Node) transfer(to string) error {
	if n.tenure.serving() == 0 {
		return n.idle()
	}
	if to == n.id {
		return nil
	}
	e := n.electorate()
	target := slices.IndexFunc(e.others, func(p Peer) bool { return p.ID == to })
	switch {
	case e.voters() < 2:
		return fmt.Errorf("%w: there is no other voter that could lead", ErrMembership)
	case to != "" && target < 0:
		return fmt.Errorf("%w: node %s is no voter, so it cannot lead", ErrMembership, to)
	}
	n.draining.Store(true)
	defer n.draining.Store(false)
	var future raft.Future
	if to == "" {
		future = n.raft.LeadershipTransfer()
	} else {
		future = n.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(e.others[target].Address))
	}
	if err := future.Error(); err != nil {
		return unknown(fmt.Errorf("transfer leadership: %w", err))
	}
	return nil
}

// readdress puts the address that this leader has now into the configuration: a node that
// was alone has its id there, under which nobody finds it.
func (n *Node) readdress(ctx context.Context, address raft.ServerAddress) {
	select {
	case n.changing <- struct{}{}:
		defer func() { <-n.changing }()
	case <-ctx.Done():
		return
	}
	index, err := n.configured(ctx)
	if err != nil {
		n.log.WarnContext(ctx, "address not changed", "to", address, "error", err)
		return
	}
	for _, s := range n.servers() {
		if string(s.ID) != n.id || s.Suffrage != raft.Voter || s.Address == address {
			continue
		}
		if err := n.raft.AddVoter(s.ID, address, index, n.cfg.ElectionTimeout).Error(); err != nil {
			n.log.WarnContext(ctx, "address not changed", "from", s.Address, "to", address, "error", err)
			return
		}
		n.log.InfoContext(ctx, "address changed", "from", s.Address, "to", address)
	}
}
