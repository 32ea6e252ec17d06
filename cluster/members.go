package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// A Member is a node that gets the log.
type Member struct {
	Peer
	Voter  bool `json:"voter"`
	Leader bool `json:"leader"` // as far as the node that was asked knows
}

// A Status is how a node sees the cluster and itself.
type Status struct {
	ID      string   `json:"id"`
	Members []Member `json:"members"` // by id; none if this node was never joined
	State   string   `json:"state"`   // Follower, Candidate or Leader
	Serving bool     `json:"serving"` // it leads, and its term is open
	Term    uint64   `json:"term"`

	// Commit is the last index that this node knows to be committed, and Applied the last
	// that its state machine was given.
	Commit  uint64 `json:"commit"`
	Applied uint64 `json:"applied"`

	// LastContact is when a follower last heard of the leader; zero if never, or on the
	// leader.
	LastContact time.Time `json:"last_contact,omitzero"`
}

// Status tells what this node knows, without asking another.
func (n *Node) Status() Status {
	s := Status{
		ID: n.id, State: n.raft.State().String(), Serving: n.tenure.serving() != 0,
		Term: n.raft.CurrentTerm(), LastContact: n.raft.LastContact(),
	}
	// In this order, so that Applied is never the later one.
	s.Applied = n.raft.AppliedIndex()
	s.Commit = max(n.raft.CommitIndex(), s.Applied)
	if s.State == raft.Leader.String() {
		s.LastContact = time.Time{}
	}
	leader := n.Leader()
	for _, m := range n.servers() {
		s.Members = append(s.Members, Member{
			Peer:  Peer{ID: string(m.ID), Address: string(m.Address)},
			Voter: m.Suffrage == raft.Voter, Leader: leader != "" && string(m.ID) == leader,
		})
	}
	slices.SortFunc(s.Members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return s
}

// An electorate is who votes, as this node's log has it.
type electorate struct {
	others []Peer // beside this node
	self   bool   // this node votes, too
	quorum int
}

func (n *Node) electorate() (e electorate) {
	for _, s := range n.servers() {
		switch {
		case s.Suffrage != raft.Voter:
		case string(s.ID) == n.id:
			e.self = true
		default:
			e.others = append(e.others, Peer{ID: string(s.ID), Address: string(s.Address)})
		}
	}
	e.quorum = e.voters()/2 + 1
	return e
}

// voters is how many vote.
func (e electorate) voters() int { return len(e.others) + e.own() }

// needed is how many of the others make a quorum with this node.
func (e electorate) needed() int { return e.quorum - e.own() }

func (e electorate) own() int {
	if e.self {
		return 1
	}
	return 0
}

// committed returns the last configuration that is known here to be committed: the state
// machine has seen it, or it is in a snapshot. It is empty if there is none.
func (n *Node) committed() (c configuration, err error) {
	list, err := n.cfg.Snapshots.List()
	if err != nil {
		return configuration{}, fmt.Errorf("list snapshots: %w", err)
	}
	if seen := n.machine.configured.Load(); seen != nil {
		c = *seen
	}
	if len(list) > 0 && list[0].ConfigurationIndex > c.index {
		c = configuration{list[0].Configuration, list[0].ConfigurationIndex}
	}
	return c, nil
}
