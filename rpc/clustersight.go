package rpc

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/remit-authz/remit/cluster"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// maxClockOffset is by how much clocks may differ without anybody being told: a leader that is
// further ahead of the others takes no writes.
const maxClockOffset = 5 * time.Second

// A sight is the cluster as one node sees it at one moment.
type sight struct {
	self      string
	begun     time.Time // by the clock of the node, when it began to ask
	members   []cluster.Surveyed
	enrolled  []bool // of each, whether it is a member
	epoch     string
	version   uint64
	refusal   string                  // why the leader refuses writes; empty if it does not
	autopilot cluster.AutopilotConfig // with its defaults
}

// assess says how the members are, and what a person should know of.
func (s *sight) assess() *remitv1.GetClusterResponse {
	res := &remitv1.GetClusterResponse{AnsweredBy: s.self, Epoch: s.epoch, ClusterVersion: s.version}
	leader := s.leader()
	var commit, last uint64
	if leader != nil && leader.Status != nil {
		last = leader.Status.LastIndex
	}
	reachable := 0
	for i := range s.members {
		m := &s.members[i]
		if m.Status != nil {
			commit = max(commit, m.Status.Commit)
		}
		if m.Voter {
			res.Voters++
			if m.Status != nil {
				reachable++
			}
		}
	}
	if res.Voters > 0 {
		res.Quorum = res.Voters/2 + 1
	}
	res.FailureTolerance = int32(reachable) - int32(res.Quorum)
	problem := func(kind remitv1.ClusterProblem_Kind, node, format string, args ...any) {
		res.Problems = append(res.Problems, &remitv1.ClusterProblem{Kind: kind, NodeId: node, Text: fmt.Sprintf(format, args...)})
	}
	if leader != nil {
		res.LeaderId = leader.ID
	}
	if leader == nil || leader.Status == nil {
		problem(remitv1.ClusterProblem_KIND_NO_LEADER, "", "no member that answers leads, so nothing can be written")
	}
	if s.refusal != "" {
		problem(remitv1.ClusterProblem_KIND_READ_ONLY, "", "writes are refused: %s", strings.TrimPrefix(s.refusal, cluster.ErrReadOnly.Error()+": "))
	}
	diverged := s.diverged()
	for i := range s.members {
		m := &s.members[i]
		before := len(res.Problems)
		s.examine(m, s.enrolled[i], last, problem)
		if other, ok := diverged[m.ID]; ok {
			problem(remitv1.ClusterProblem_KIND_DIVERGED, m.ID, "its state at revision %d is not that of node %s: it must never happen; keep the data of both for those who look into it", m.Status.Revision, other)
		}
		message := s.member(m, s.enrolled[i], commit)
		message.Leader = leader != nil && leader.ID == m.ID
		message.Healthy = len(res.Problems) == before
		res.Members = append(res.Members, message)
	}
	res.Healthy = len(res.Problems) == 0
	return res
}

// leader is who leads: of those that say so the one with the latest term, for a leader that
// was cut off may not know of its end. If none does it is the one that others take for it, which
// then did not answer; nil if there is none.
func (s *sight) leader() *cluster.Surveyed {
	var found, taken *cluster.Surveyed
	for i := range s.members {
		m := &s.members[i]
		switch {
		case m.Status != nil && m.Status.State == "Leader" && (found == nil || found.Status.Term < m.Status.Term):
			found = m
		case m.Status == nil && m.Leader:
			taken = m
		}
	}
	if found != nil {
		return found
	}
	return taken
}

// examine finds the problems of one member.
func (s *sight) examine(m *cluster.Surveyed, enrolled bool, last uint64, problem func(kind remitv1.ClusterProblem_Kind, node, format string, args ...any)) {
	status := m.Status
	if status == nil {
		problem(remitv1.ClusterProblem_KIND_UNREACHABLE, m.ID, "it does not answer: %s", strings.ReplaceAll(m.Err.Error(), cluster.ErrNoLeader.Error()+": ", "")) // it is not about the leader
		return
	}
	if contact := status.SinceContact; enrolled && status.State != "Leader" && (contact < 0 || contact > s.autopilot.LastContactThreshold) {
		when := "ever since it started"
		if contact > 0 {
			when = "for " + contact.Round(time.Millisecond).String()
		}
		problem(remitv1.ClusterProblem_KIND_NO_CONTACT, m.ID, "it has not heard of a leader %s", when)
	}
	if behind := last - min(last, status.LastIndex); behind > s.autopilot.MaxTrailingLogs {
		problem(remitv1.ClusterProblem_KIND_BEHIND, m.ID, "its log is %d entries behind the leader's", behind)
	}
	if status.ReadOnly != "" {
		problem(remitv1.ClusterProblem_KIND_READ_ONLY, m.ID, "it should not write: %s", status.ReadOnly)
	}
	if offset := s.offset(m); offset.Abs()-m.Delay/2 > maxClockOffset {
		direction := "ahead of"
		if offset < 0 {
			direction = "behind"
		}
		problem(remitv1.ClusterProblem_KIND_CLOCK, m.ID, "its clock is %s %s that of node %s", offset.Abs().Round(time.Millisecond), direction, s.self)
	}
	if status.Supports != 0 && status.Supports < s.version {
		problem(remitv1.ClusterProblem_KIND_VERSION, m.ID, "it can follow clusters up to version %d, and this one has version %d", status.Supports, s.version)
	}
}

// offset is by how much a member's clock is ahead of this node's. It answered somewhere
// between the question and the answer.
func (s *sight) offset(m *cluster.Surveyed) time.Duration {
	if m.ID == s.self {
		return 0
	}
	return m.Status.Clock.Sub(s.begun.Add(m.Delay / 2))
}

// diverged are the members whose state is not that of others at the same revision, each with
// one of those. A minority differs from the majority; of two, each differs from the other.
func (s *sight) diverged() map[string]string {
	type state struct {
		revision uint64
		hash     string
	}
	who := map[state][]string{}
	for _, m := range s.members {
		if m.Status != nil && m.Status.StateHash != "" {
			at := state{m.Status.Revision, m.Status.StateHash}
			who[at] = append(who[at], m.ID)
		}
	}
	found := map[string]string{}
	for one, ids := range who {
		for other, others := range who {
			if one.revision != other.revision || one.hash == other.hash || len(ids) > len(others) {
				continue
			}
			for _, id := range ids {
				if known, ok := found[id]; !ok || others[0] < known {
					found[id] = others[0]
				}
			}
		}
	}
	return found
}

// states are what Raft calls the states of a node.
var states = map[string]remitv1.Member_State{
	"Follower":  remitv1.Member_STATE_FOLLOWER,
	"Candidate": remitv1.Member_STATE_CANDIDATE,
	"Leader":    remitv1.Member_STATE_LEADER,
	"Shutdown":  remitv1.Member_STATE_SHUTDOWN,
}

// member is what is told of a member.
func (s *sight) member(m *cluster.Surveyed, enrolled bool, commit uint64) *remitv1.Member {
	message := &remitv1.Member{Id: m.ID, PeerAddr: m.Address}
	switch {
	case !enrolled:
	case m.Voter:
		message.Kind = remitv1.Member_KIND_VOTER
	case m.Status != nil && m.Status.Replica:
		message.Kind = remitv1.Member_KIND_REPLICA
	default:
		message.Kind = remitv1.Member_KIND_NON_VOTER
	}
	if m.Status == nil {
		message.Error = m.Err.Error()
		return message
	}
	status := m.Status
	message.Reachable = true
	message.Addr, message.GrpcAddr, message.Version, message.Supports = status.Addr, status.GRPCAddr, status.Version, status.Supports
	message.State, message.Serving, message.Term = states[status.State], status.Serving, status.Term
	message.LogIndex, message.CommitIndex, message.AppliedIndex = status.LastIndex, status.Commit, status.Applied
	message.Revision, message.StateHash = status.Revision, status.StateHash
	// Raft counts an entry as applied a moment after the state shows it.
	message.Lag = commit - min(commit, max(status.Applied, status.Revision))
	message.ReadOnly = status.ReadOnly
	if status.State != "Leader" && status.SinceContact > 0 {
		message.LastContact = durationpb.New(status.SinceContact)
	}
	message.ClockOffset, message.RoundTrip = durationpb.New(s.offset(m)), durationpb.New(m.Delay)
	return message
}
