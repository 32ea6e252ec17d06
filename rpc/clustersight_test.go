package rpc

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/cluster"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// threeSeen is a healthy cluster of a, b and c, which a leads and b looks at.
func threeSeen() *sight {
	s := &sight{self: "b", begun: time.Unix(1000, 0), version: 2, autopilot: cluster.AutopilotConfig{}.WithDefaults()}
	for _, id := range []string{"a", "b", "c"} {
		m := cluster.Surveyed{
			Member: cluster.Member{Peer: cluster.Peer{ID: id, Address: id + ":1"}, Voter: true, Leader: id == "a"},
			Status: &cluster.MemberStatus{
				Status: cluster.Status{ID: id, State: "Follower", Term: 7, Commit: 5000, Applied: 5000},
				About:  cluster.About{Supports: 3, Revision: 5000, StateHash: "aa"},
				Clock:  s.begun.Add(5 * time.Millisecond), LastIndex: 5000, SinceContact: 50 * time.Millisecond,
			},
			Delay: 10 * time.Millisecond,
		}
		if id == "a" {
			m.Status.State, m.Status.Serving, m.Status.SinceContact = "Leader", true, 0
		}
		s.members, s.enrolled = append(s.members, m), append(s.enrolled, true)
	}
	return s
}

func TestWhatIsWrongWithAClusterIsTold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(a, b, c *cluster.Surveyed, s *sight)
		want    []string // kind, node and a part of the text
		leader  string
		tolerat int32
	}{
		{"nothing", func(_, _, _ *cluster.Surveyed, _ *sight) {}, nil, "a", 1},
		{
			"a member down", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status, c.Err = nil, errors.New("no route") },
			[]string{"UNREACHABLE c no route"},
			"a", 0,
		},
		{
			"the leader down", func(a, _, _ *cluster.Surveyed, _ *sight) { a.Status, a.Err = nil, errors.New("no route") },
			[]string{"NO_LEADER  nothing can be written", "UNREACHABLE a no route"},
			"a", 0,
		},
		{"an old leader that does not know", func(a, b, _ *cluster.Surveyed, _ *sight) {
			b.Status.State, b.Status.Term, b.Status.SinceContact = "Leader", 8, 0
			a.Status.Term = 7
		}, nil, "b", 1},
		{
			"a follower that hears nothing", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.SinceContact = 4 * time.Second },
			[]string{"NO_CONTACT c for 4s"},
			"a", 1,
		},
		{
			"a follower that never heard", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.SinceContact = -1 },
			[]string{"NO_CONTACT c ever since it started"},
			"a", 1,
		},
		{
			"a log that is short", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.LastIndex = 3999 },
			[]string{"BEHIND c 1001 entries"},
			"a", 1,
		},
		{"a log that is nearly there", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.LastIndex = 4000 }, nil, "a", 1},
		{
			"a full disk", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.ReadOnly = "no space" },
			[]string{"READ_ONLY c no space"},
			"a", 1,
		},
		{
			"writes that are refused", func(_, _, _ *cluster.Surveyed, s *sight) { s.refusal = "its clock is ahead" },
			[]string{"READ_ONLY  its clock is ahead"},
			"a", 1,
		},
		{
			"a clock that is ahead", func(_, _, c *cluster.Surveyed, s *sight) { c.Status.Clock = s.begun.Add(6 * time.Second) },
			[]string{"CLOCK c 5.995s ahead of that of node b"},
			"a", 1,
		},
		{"a clock that may be right", func(_, _, c *cluster.Surveyed, s *sight) {
			c.Delay, c.Status.Clock = 2*time.Second, s.begun.Add(6500*time.Millisecond)
		}, nil, "a", 1},
		{
			"a clock that is behind", func(a, _, _ *cluster.Surveyed, s *sight) { a.Status.Clock = s.begun.Add(-time.Minute) },
			[]string{"CLOCK a 1m0.005s behind that of node b"},
			"a", 1,
		},
		{
			"a program that is too old", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.Supports = 1 },
			[]string{"VERSION c up to version 1, and this one has version 2"},
			"a", 1,
		},
		{
			"a state that differs", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.StateHash = "bb" },
			[]string{"DIVERGED c is not that of node a"},
			"a", 1,
		},
		{
			"two states that differ", func(_, b, c *cluster.Surveyed, _ *sight) { b.Status.Revision, c.Status.StateHash = 4999, "bb" },
			[]string{"DIVERGED a is not that of node c", "DIVERGED c is not that of node a"},
			"a", 1,
		},
		{"states at other revisions", func(_, _, c *cluster.Surveyed, _ *sight) { c.Status.Revision, c.Status.StateHash = 4999, "bb" }, nil, "a", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := threeSeen()
			tt.change(&s.members[0], &s.members[1], &s.members[2], s)
			res := s.assess()
			if res.LeaderId != tt.leader || res.FailureTolerance != tt.tolerat || res.Healthy != (len(tt.want) == 0) || len(res.Problems) != len(tt.want) {
				t.Fatalf("assess = %v, want leader %s, tolerance %d and %q", res, tt.leader, tt.tolerat, tt.want)
			}
			ill := map[string]bool{}
			for i, p := range res.Problems {
				kind, rest, _ := strings.Cut(tt.want[i], " ")
				node, text, _ := strings.Cut(rest, " ")
				if p.Kind != remitv1.ClusterProblem_Kind(remitv1.ClusterProblem_Kind_value["KIND_"+kind]) || p.NodeId != node || !strings.Contains(p.Text, text) {
					t.Errorf("problem %v, want %s", p, tt.want[i])
				}
				ill[p.NodeId] = true
			}
			for _, m := range res.Members {
				if m.Healthy == ill[m.Id] {
					t.Errorf("member %v, want healthy %v", m, !ill[m.Id])
				}
			}
		})
	}
}

func TestAReplicaThatLagsIsTold(t *testing.T) {
	s := threeSeen()
	c := &s.members[2]
	c.Voter, c.Status.Replica, c.Status.Applied, c.Status.Revision = false, true, 4990, 4990
	s.enrolled[1] = false
	m := s.assess().Members
	if m[2].Kind != remitv1.Member_KIND_REPLICA || m[2].Lag != 10 || m[1].Kind != remitv1.Member_KIND_UNSPECIFIED || m[0].Kind != remitv1.Member_KIND_VOTER {
		t.Errorf("members %v", m)
	}
}
