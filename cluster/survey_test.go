package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// supporting makes each node support the version that versions has for it.
func supporting(versions map[string]uint64) func(*Config) {
	return func(cfg *Config) {
		cfg.About = func() About { return About{Version: "v-" + cfg.NodeID, Supports: versions[cfg.NodeID]} }
	}
}

// asOldRelease has a node answer as one that knows no question about its status.
func asOldRelease(p *peer) {
	p.port.Handle(func(ctx context.Context, kind byte, request []byte) []byte {
		if kind == askStatus {
			return ending(nil, fmt.Errorf("%w: this release knows no request of kind %d", ErrNoLeader, kind))
		}
		return p.node.serve(ctx, kind, request)
	})
}

func TestSurveyTellsHowEachMemberIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		versions := map[string]uint64{"n0": 3, "n1": 3, "n2": 3, "n3": 2}
		c := newPeers(t, 1, 3, supporting(versions))
		replica := c.add(nil)
		must(t, c.all[0].node.AddNonvoter(t.Context(), replica.Peer))
		must(t, replica.node.WaitReady(t.Context()))
		c.same()
		for _, p := range c.all {
			all := p.node.Survey(t.Context())
			if len(all) != 4 {
				t.Fatalf("node %s surveys %d members, want 4", p.ID, len(all))
			}
			for i, s := range all {
				switch {
				case s.ID != c.all[i].ID || s.Err != nil || s.Status == nil:
					t.Fatalf("node %s surveys %+v, want node %s", p.ID, s, c.all[i].ID)
				case s.Status.ID != s.ID || s.Status.Version != "v-"+s.ID || s.Status.LastIndex != c.all[0].node.raft.LastIndex() || s.Status.LastTerm != 2:
					t.Errorf("node %s says %+v", s.ID, s.Status)
				case (s.ID == p.ID) != (s.Delay == 0):
					t.Errorf("node %s took %s to answer node %s", s.ID, s.Delay, p.ID)
				case s.Status.SinceContact < 0 || s.Status.SinceContact > time.Second || s.Status.Serving != (s.Status.SinceContact == 0):
					t.Errorf("node %s heard of the leader %s ago", s.ID, s.Status.SinceContact)
				}
			}
			if least, err := p.node.Supported(t.Context()); err != nil || least != 2 {
				t.Errorf("all support %d, %v, want 2", least, err)
			}
		}

		asOldRelease(c.all[1])
		c.crash(c.all[2], 0)
		for _, q := range c.others(replica) {
			c.oneWay(replica, q, cut) // it is asked and nobody hears what it says
		}
		begun := time.Now()
		all := c.all[0].node.Survey(t.Context())
		if took := time.Since(begun); took > surveyTimeout {
			t.Errorf("the survey took %s, want at most %s", took, surveyTimeout)
		}
		for i, want := range []string{"", "no request of kind 7", "not reached", "no answer"} {
			if err := all[i].Err; (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
				t.Errorf("node %s: error %v, want %q", all[i].ID, err, want)
			}
			if (all[i].Err == nil) != (all[i].Status != nil) {
				t.Errorf("node %s: error %v and status %+v", all[i].ID, all[i].Err, all[i].Status)
			}
		}
		_, err := c.all[0].node.Supported(t.Context())
		for _, id := range []string{"n1", "n2", "n3"} {
			if err == nil || !strings.Contains(err.Error(), "node "+id) {
				t.Errorf("Supported: error %v, want node %s in it", err, id)
			}
		}
	})
}

func TestMemberThatSaysNoVersionSupportsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3, supporting(map[string]uint64{"n0": 1, "n2": 1}))
		if _, err := c.all[0].node.Supported(t.Context()); err == nil || !strings.Contains(err.Error(), "n1") {
			t.Errorf("Supported: error %v, want node n1 in it", err)
		}
	})
}

func TestNodeThatCannotFollowIsNotAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		present := uint64(2)
		c := newPeers(t, 1, 1, supporting(map[string]uint64{"n0": 3, "n1": 1, "n2": 2}),
			func(cfg *Config) { cfg.ClusterVersion = func() uint64 { return present } })
		old, current := c.add(nil), c.add(nil)
		for _, tt := range []struct {
			what, want string
			c          change
		}{
			{"one that is too old", "later release", change{What: changeAdd, Peer: old.Peer}},
			{"one that says so itself", "later release", change{What: changeAdd, Peer: current.Peer, Supports: 1}},
			{"one that does not run", "start it", change{What: changeAdd, Peer: Peer{"n9", "nowhere:1"}}},
		} {
			err := c.all[0].node.change(t.Context(), tt.c)
			if !errors.Is(err, ErrMembership) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error %v, want %v and %q", tt.what, err, ErrMembership, tt.want)
			}
		}
		must(t, c.all[0].node.AddNonvoter(t.Context(), current.Peer))
		if got := suffrage(c.all[0]); got != "n0* (n2)" {
			t.Errorf("members are %s", got)
		}
	})
}
