package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// keyMember is where a node keeps that it was a member once, in the stable store. Never
// change it.
var keyMember = []byte("RemitMember")

// A joiner has its node become a member, and be one at the address it has.
type joiner struct {
	node    *Node
	member  bool   // a configuration that was committed has named this node, in this run or before
	outside string // why it is no member any more, if somebody was told
	promise []Peer // with whom this node would have begun a cluster

	asked    bool      // a leader took a request of this node
	refusals int       // that came one after the other
	silent   time.Time // since when no leader is heard
	told     time.Time // when something was last logged
}

const (
	// standInterval is how often a member looks whether it still is one.
	standInterval = time.Second
	// refusedInterval is how long a node waits after a leader refused it, at first and at
	// most: it takes a person, or minutes, to change that.
	refusedInterval, refusedMost = 5 * time.Second, time.Minute
	// askTimeout bounds one request to be joined: it waits for a commit.
	askTimeout = 5 * time.Second
	// silence is how long a member hears of no leader before it asks others whether there
	// is one that does not know it: long beside some elections.
	silence = 10 * time.Second
)

// join is the goroutine that looks after this node's membership, until ctx ends. A node
// that was never a member asks for it; one that is at another address now has that
// changed. One that was removed does neither: somebody wanted it away.
func (n *Node) join(ctx context.Context) {
	j := joiner{node: n, silent: time.Now()}
	mark, err := n.logs.Get(keyMember)
	if err != nil && err.Error() != "not found" {
		n.log.ErrorContext(ctx, "this node does not ask to be joined", "error", err)
		return
	}
	j.member = len(mark) > 0
	if j.promise, err = promised(n.logs); err != nil {
		n.log.ErrorContext(ctx, "this node does not ask to be joined", "error", err)
		return
	}
	for {
		wait := j.step(ctx)
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return
		}
	}
}

// step does what is to be done now, and returns about how long to wait for the next.
func (j *joiner) step(ctx context.Context) time.Duration {
	n := j.node
	servers := n.servers()
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return string(s.ID) == n.id })
	if i >= 0 && !j.member && n.cfg.Find != nil && !n.enrolled() {
		// The leader that wrote so may be gone, and the next one know nothing of it.
		if !j.unheard() {
			return standInterval
		}
		return j.ask(ctx, changeAdd, servers)
	}
	if i >= 0 {
		j.remember(ctx)
		if j.forgotten(ctx, servers) {
			return silence
		}
		if servers[i].Address == n.transport.LocalAddr() {
			return standInterval
		}
		return j.ask(ctx, changeReaddress, servers)
	}
	if j.member {
		if len(servers) > 0 {
			j.leave(ctx, "its log says so")
		}
		return standInterval
	}
	if n.cfg.Find == nil {
		return standInterval
	}
	return j.ask(ctx, changeAdd, servers)
}

// enrolled says whether a configuration that is committed names this node: as the first one
// is that somebody begins with.
func (n *Node) enrolled() bool {
	c, err := n.committed()
	if err != nil {
		return false
	}
	if c.index == 0 {
		return among(n.founders(), n.id)
	}
	return slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return string(s.ID) == n.id })
}

// remember keeps that the node is a member. A node that nobody looks for asks for nothing,
// and need not remember.
func (j *joiner) remember(ctx context.Context) {
	n := j.node
	if j.asked {
		n.log.InfoContext(ctx, "joined", "node", n.id, "address", n.transport.LocalAddr())
		j.asked = false
	}
	if j.member || n.cfg.Find == nil {
		return
	}
	if err := n.logs.Set(keyMember, []byte{1}); err != nil {
		return // the node has failed, and says so
	}
	j.member = true
}

// leave tells that the node is no member any more.
func (j *joiner) leave(ctx context.Context, how string) {
	if j.outside == how {
		return
	}
	j.outside = how
	n := j.node
	n.log.WarnContext(ctx, "this node was removed from the cluster, and does not ask to be joined again",
		"node", n.id, "address", n.transport.LocalAddr(), "how", how,
		"hint", fmt.Sprintf("stop it; to have it back, run: remit cluster join %s %s; "+
			"or empty its data directory, and it comes back as a new node", n.id, n.transport.LocalAddr()))
}

// forgotten says whether a leader does not have this member any more: it was removed while
// it was away, and nobody tells it.
func (j *joiner) forgotten(ctx context.Context, servers []raft.Server) bool {
	n := j.node
	if !j.unheard() {
		return false
	}
	addresses, _ := j.addresses(ctx, servers)
	for _, g := range greet(ctx, n.cfg.Peers, addresses, n.present()) {
		if g.err == nil && g.hello.ID != "" && g.hello.ID == g.hello.Leader.ID {
			if !g.hello.Knows {
				j.leave(ctx, fmt.Sprintf("node %s at %s leads, and does not have it as a member", g.hello.ID, g.hello.Address))
			}
			return !g.hello.Knows
		}
	}
	return false
}

// unheard says whether this node has heard of no leader for long.
func (j *joiner) unheard() bool {
	if address, _ := j.node.raft.LeaderWithID(); address != "" {
		j.silent, j.outside = time.Now(), ""
	}
	return time.Since(j.silent) >= silence
}

// addresses returns where others may be: what is found, and what the log says. An error
// does not hide addresses.
func (j *joiner) addresses(ctx context.Context, servers []raft.Server) ([]string, error) {
	all, err := j.node.find(ctx)
	for _, s := range servers {
		if string(s.ID) != j.node.id {
			all = append(all, string(s.Address))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), maxAddresses)], err
}

// ask puts a request for this node itself to the leader, and returns how long to wait.
func (j *joiner) ask(ctx context.Context, what string, servers []raft.Server) time.Duration {
	n := j.node
	c := change{What: what, Peer: n.self(), Own: true, Supports: n.supports()}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	leader, reasons := j.leader(ctx, what, servers)
	var err error
	switch {
	case n.tenure.serving() != 0:
		err = n.changeHere(ctx, c)
	case leader == Peer{}:
		if j.tell() {
			n.log.InfoContext(ctx, "waiting to be joined", "node", n.id, "address", c.Address, "reasons", reasons)
		}
		return formInterval
	default:
		var payload []byte
		if payload, err = json.Marshal(c); err == nil {
			_, err = n.ask(ctx, leader, askChange, payload)
		}
	}
	switch {
	case err == nil:
		j.asked, j.refusals = what == changeAdd, 0
		return standInterval
	case errors.Is(err, ErrMembership):
		n.log.WarnContext(ctx, "the leader refuses this node", "node", n.id, "address", c.Address,
			"change", what, "leader", leader.ID, "error", err)
		wait := min(refusedInterval<<min(j.refusals, 10), refusedMost)
		j.refusals++
		return wait
	default:
		if j.tell() {
			n.log.InfoContext(ctx, "waiting to be joined", "node", n.id, "address", c.Address, "leader", leader.ID, "error", err)
		}
		return standInterval
	}
}

// tell says whether it is time to log what this node waits for.
func (j *joiner) tell() bool {
	if time.Since(j.told) < tellInterval {
		return false
	}
	j.told = time.Now()
	return true
}

// leader returns the leader as far as anybody knows, or why nobody does.
func (j *joiner) leader(ctx context.Context, what string, servers []raft.Server) (leader Peer, reasons []string) {
	n := j.node
	if address, id := n.raft.LeaderWithID(); id != "" && string(id) != n.id {
		return Peer{ID: string(id), Address: string(address)}, nil
	}
	addresses, err := j.addresses(ctx, servers)
	if err != nil {
		reasons = append(reasons, err.Error())
	}
	if len(addresses) == 0 {
		reasons = append(reasons, "no address of another node is known")
	}
	for _, g := range greet(ctx, n.cfg.Peers, addresses, n.present()) {
		switch h := g.hello; {
		case g.err != nil:
			reasons = append(reasons, fmt.Sprintf("%s: %v", g.address, g.err))
		case h.ID == n.id && h.Run == n.run:
		case h.ID == n.id:
			reasons = append(reasons, fmt.Sprintf("%s: a copy of this node's data runs there; stop one of the two", g.address))
		case what == changeAdd && j.promise != nil && !among(j.promise, h.ID):
			reasons = append(reasons, fmt.Sprintf("%s: node %s is none of those with whom this node agreed to begin, %s; "+
				"if it is to be joined there all the same, empty its data directory, which holds nothing else", g.address, h.ID, names(j.promise)))
		case h.Leader.ID == "":
			reasons = append(reasons, fmt.Sprintf("%s: node %s knows no leader", g.address, h.ID))
		case h.Leader.ID == n.id:
			reasons = append(reasons, fmt.Sprintf("%s: node %s believes that this node leads", g.address, h.ID))
		case leader.ID == "" || h.Leader.ID == h.ID: // the leader's own word is the best
			leader = h.Leader
		}
	}
	return leader, reasons
}

// meet makes sure that a node which asks for itself is the one that others find at the
// address it gives. Many a node gives the address of its own loopback.
func (n *Node) meet(ctx context.Context, c change) error {
	if c.ID == n.id {
		return nil
	}
	g := greet(ctx, n.cfg.Peers, []string{c.Address}, n.present())[0]
	switch {
	case g.err != nil:
		return fmt.Errorf("%w: node %s is not reached at %s, where it says that it is: %w; "+
			"have it give an address by which node %s reaches it (--peer-advertise)", ErrMembership, c.ID, c.Address, g.err, n.id)
	case g.hello.ID != c.ID:
		return fmt.Errorf("%w: at %s, where node %s says that it is, node %s finds node %s; "+
			"have it give an address by which others reach it (--peer-advertise)", ErrMembership, c.Address, c.ID, n.id, g.hello.ID)
	}
	// A copy of a member's data that took its place would lack what the member has
	// acknowledged since: it would vote as if it had forgotten it.
	for _, s := range n.servers() {
		if string(s.ID) != c.ID || string(s.Address) == c.Address {
			continue
		}
		was := greet(ctx, n.cfg.Peers, []string{string(s.Address)}, n.present())[0]
		if was.err == nil && was.hello.ID == c.ID && was.hello.Run != g.hello.Run {
			return fmt.Errorf("%w: node %s runs at %s already, and the one at %s is a copy of its data; "+
				"stop one of the two and empty its data directory, so that it comes back as a new node", ErrMembership, c.ID, s.Address, c.Address)
		}
	}
	return nil
}
