package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// An About is what a program tells of a node beside what the cluster knows.
type About struct {
	// Version is the program's, for people.
	Version string `json:"version,omitempty"`
	// Supports is the latest cluster version that the program can follow.
	Supports uint64 `json:"supports"`
	// Addr and GRPCAddr are where the node's API is reached.
	Addr     string `json:"addr,omitempty"`
	GRPCAddr string `json:"grpc_addr,omitempty"`
	// Revision is what readers of the node see, and StateHash the state's hash there.
	Revision  uint64 `json:"revision"`
	StateHash string `json:"state_hash,omitempty"`
}

// A MemberStatus is what a node says of itself.
type MemberStatus struct {
	Status
	About
	Replica   bool      `json:"replica,omitempty"`   // never to be given a vote
	Demoted   bool      `json:"demoted,omitempty"`   // it had a vote since it started, and lost it
	ReadOnly  string    `json:"read_only,omitempty"` // why it should not write, empty if it can
	Clock     time.Time `json:"clock"`               // its clock, when it answered
	LastIndex uint64    `json:"last_index"`          // of its log
	LastTerm  uint64    `json:"last_term"`

	// SinceContact is how long ago it heard of a leader, in nanoseconds; negative if it
	// never did, and 0 on a leader.
	SinceContact time.Duration `json:"since_contact"`
}

// status is what this node says of itself.
func (n *Node) status() MemberStatus {
	s := MemberStatus{Status: n.Status(), Replica: n.cfg.Replica}
	if n.cfg.About != nil {
		s.About = n.cfg.About()
	}
	s.Demoted = n.vote.lost(s.Status)
	if err := n.unwritable(); err != nil {
		s.ReadOnly = err.Error()
	}
	s.LastIndex, s.LastTerm = n.lastEntry()
	switch {
	case s.Serving:
	case s.LastContact.IsZero():
		s.SinceContact = -1
	default:
		s.SinceContact = time.Since(s.LastContact)
	}
	s.Clock = n.cfg.Clock() // last, so that it is as late as can be
	return s
}

// lastEntry returns index and term of the last entry that this node has, be it in the log
// or in a snapshot. Raft tells them as text alone.
func (n *Node) lastEntry() (index, term uint64) {
	stats := n.raft.Stats()
	number := func(name string) uint64 {
		v, _ := strconv.ParseUint(stats[name], 10, 64) // Raft has formatted it
		return v
	}
	if index = number("last_snapshot_index"); index > number("last_log_index") {
		return index, number("last_snapshot_term")
	}
	return number("last_log_index"), number("last_log_term")
}

// A Surveyed is what a member said when it was asked, or why it did not.
type Surveyed struct {
	Member
	Status *MemberStatus // nil if it did not answer
	Err    error         // why, nil if it did
	Delay  time.Duration // how long the answer took

	asked time.Time // when it was asked
}

// surveyTimeout is how long a member may take to say how it is: long beside the round trip
// between any two places on earth.
const surveyTimeout = time.Second

// Survey asks every member how it is, all at once, and this node itself. It returns one
// Surveyed for each, by id, when all have answered or ctx has ended; a member that does
// not answer within a second is given up. A release that knows no such question answers
// with an error. The members are those that this node knows: one that was never joined
// surveys nobody.
func (n *Node) Survey(ctx context.Context) []Surveyed {
	members := n.Status().Members
	all := make([]Surveyed, len(members))
	var asking sync.WaitGroup
	for i, m := range members {
		asking.Go(func() { all[i] = n.surveyOne(ctx, m) })
	}
	asking.Wait()
	return all
}

// surveyOne asks a node how it is. It need not be a member.
func (n *Node) surveyOne(ctx context.Context, m Member) Surveyed {
	s := Surveyed{Member: m, asked: time.Now()}
	if m.ID == n.id {
		status := n.status()
		s.Status = &status
		return s
	}
	if n.cfg.Peers == nil {
		s.Err = fmt.Errorf("%w: this node has no way to ask node %s", ErrNoLeader, m.ID)
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	data, err := n.ask(ctx, m.Peer, askStatus, nil)
	s.Delay = time.Since(s.asked)
	if err == nil {
		s.Status = new(MemberStatus)
		if err = json.Unmarshal(data, s.Status); err == nil && s.Status.ID != m.ID {
			err = fmt.Errorf("it says that it is node %q", s.Status.ID)
		}
		if err != nil {
			err = fmt.Errorf("status of node %s: %w", m.ID, err)
		}
	}
	if err != nil {
		s.Status, s.Err = nil, err
	}
	return s
}

// Supported returns the latest cluster version that every member can follow, those without
// a vote included. It is an error if one of them does not answer, or does not say.
func (n *Node) Supported(ctx context.Context) (uint64, error) {
	var least uint64
	var faults []error
	all := n.Survey(ctx)
	for i, s := range all {
		switch {
		case s.Err != nil:
			faults = append(faults, s.Err)
		case s.Status.Supports == 0:
			faults = append(faults, fmt.Errorf("node %s does not say which cluster versions it supports", s.ID))
		case i == 0 || s.Status.Supports < least:
			least = s.Status.Supports
		}
	}
	if len(all) == 0 {
		faults = append(faults, fmt.Errorf("%w: this node is no member", ErrNoLeader))
	}
	if err := errors.Join(faults...); err != nil {
		return 0, fmt.Errorf("cluster version that all members support: %w", err)
	}
	return least, nil
}
