package cluster

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// A Health is what the leader thinks of the members.
type Health struct {
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
	// Healthy is whether every member is.
	Healthy bool `json:"healthy"`
	// FailureTolerance is how many of the healthy voters may fail before there is no quorum
	// of healthy ones, 0 if there is none to spare.
	FailureTolerance int `json:"failure_tolerance"`
	// Voters are their ids, the leader first and then the best.
	Voters []string `json:"voters"`
	// Refusal is why writes are refused, empty if they are not.
	Refusal string `json:"refusal,omitempty"`
	// Autopilot is what holds at present, defaults filled in.
	Autopilot AutopilotConfig `json:"autopilot"`
	Members   []MemberHealth  `json:"members"` // by id
}

// A MemberHealth is what the leader thinks of a member. Durations are in nanoseconds.
type MemberHealth struct {
	Member
	// Healthy is whether it answers, hears the leader and is close to the end of the log,
	// and Since when that last changed; zero if nothing is known yet. A new leader begins
	// to count anew.
	Healthy bool      `json:"healthy"`
	Since   time.Time `json:"since,omitzero"`
	Replica bool      `json:"replica,omitempty"` // never to be given a vote
	Demoted bool      `json:"demoted,omitempty"` // to be given none until it starts anew or a person does it

	Reachable   bool          `json:"reachable"`       // it answered when it was last asked
	Error       string        `json:"error,omitempty"` // why it did not
	Unreachable time.Duration `json:"unreachable"`     // for how long it has not
	LastContact time.Duration `json:"last_contact"`    // how long ago it had heard of the leader, when it answered; negative if never
	Lag         uint64        `json:"lag"`             // how many entries its log was behind
	Delay       time.Duration `json:"delay"`           // how long its answer took
	ClockOffset time.Duration `json:"clock_offset"`    // how far its clock was ahead of the leader's, give or take half of Delay
	ReadOnly    string        `json:"read_only,omitempty"`
	Version     string        `json:"version,omitempty"`
	Supports    uint64        `json:"supports"`
}

// Health returns what the leader thinks of the members. A node that does not lead asks the
// one that does; without one it returns ErrNoLeader.
func (n *Node) Health(ctx context.Context) (Health, error) {
	if n.tenure.serving() != 0 || n.cfg.Peers == nil {
		return n.healthHere(ctx)
	}
	data, err := n.askLeader(ctx, askHealth, nil)
	if err = changesNothing(ctx, err); err != nil {
		return Health{}, err
	}
	var h Health
	if err := json.Unmarshal(data, &h); err != nil {
		return Health{}, err
	}
	return h, nil
}

// healthHere tells on the leader. In the moment in which it begins to serve it waits until
// there is something to tell.
func (n *Node) healthHere(ctx context.Context) (Health, error) {
	for {
		term, ended := n.tenure.watch()
		if term == 0 {
			return Health{}, n.idle()
		}
		pilot, changed := n.helm.watch()
		if pilot != nil {
			return n.healthBy(pilot, term), nil
		}
		select {
		case <-changed:
		case <-ended:
		case <-ctx.Done():
			return Health{}, ctx.Err()
		}
	}
}

// healthBy tells what an autopilot thinks in a term.
func (n *Node) healthBy(pilot *autopilot.Autopilot, term uint64) Health {
	state := pilot.GetState()
	h := Health{Leader: n.id, Term: term, Healthy: state.Healthy, FailureTolerance: state.FailureTolerance, Autopilot: n.autopilotConfig()}
	if _, err := n.stamp(); err != nil {
		h.Refusal = err.Error()
	}
	for _, id := range state.Voters {
		h.Voters = append(h.Voters, string(id))
	}
	seen, index := n.lookout.all()
	for _, m := range n.Status().Members {
		s := seen[m.ID]
		it := MemberHealth{
			Member: m, Replica: s.status.Replica, Demoted: s.status.Demoted,
			Reachable: s.err == nil && !s.asked.IsZero(), Unreachable: s.unreachable(),
			LastContact: s.status.SinceContact, Delay: s.delay, ClockOffset: s.offset,
			ReadOnly: s.status.ReadOnly, Version: s.status.Version, Supports: s.status.Supports,
			Lag: max(index, s.status.LastIndex) - s.status.LastIndex,
		}
		if m.ID == n.id {
			it.Lag = 0
		}
		if s.err != nil {
			it.Error = s.err.Error()
		}
		if server := state.Servers[raft.ServerID(m.ID)]; server != nil {
			it.Healthy, it.Since = server.Health.Healthy, server.Health.StableSince
		}
		h.Members = append(h.Members, it)
	}
	slices.SortFunc(h.Members, func(a, b MemberHealth) int { return strings.Compare(a.ID, b.ID) })
	return h
}

// A franchise remembers whether this node had a vote since it started.
type franchise struct{ had atomic.Bool }

// lost says whether it had one, and has none by s.
func (f *franchise) lost(s Status) bool {
	for _, m := range s.Members {
		if m.ID == s.ID {
			return f.note(m.Voter)
		}
	}
	f.had.Store(false) // who is added again begins anew
	return false
}

// note takes notice of whether this node, a member, has a vote, and says whether it lost it.
func (f *franchise) note(votes bool) (lost bool) {
	if votes {
		f.had.Store(true)
	}
	return !votes && f.had.Load()
}

// votes takes notice of a configuration.
func (n *Node) votes(c raft.Configuration) {
	for _, s := range c.Servers {
		if string(s.ID) == n.id {
			n.vote.note(s.Suffrage == raft.Voter)
			return
		}
	}
	n.vote.had.Store(false)
}
