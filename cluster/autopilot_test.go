package cluster

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// votes says whether a node has a vote as the leader sees it.
func (c *peers) votes(p *peer) bool {
	for _, m := range c.leader().node.Status().Members {
		if m.ID == p.ID {
			return m.Voter
		}
	}
	return false
}

// join starts another node and adds it.
func (c *peers) join() *peer {
	c.t.Helper()
	l := c.leader() // all know it; who is new does not
	p := c.add(nil)
	must(c.t, l.node.AddNonvoter(c.t.Context(), p.Peer))
	must(c.t, p.node.WaitReady(c.t.Context()))
	return p
}

// within waits until something is so, for some time at most.
func (c *peers) within(d time.Duration, what string, so func() bool) {
	c.t.Helper()
	for end := time.Now().Add(d); !so(); pass(100 * time.Millisecond) {
		if time.Now().After(end) {
			h, err := c.leader().node.Health(c.t.Context())
			c.t.Fatalf("after %s: not %s; %+v, %v", d, what, h, err)
		}
	}
}

// piloted has the autopilot do what is in to.
func piloted(to *atomic.Pointer[AutopilotConfig]) func(*Config) {
	return func(cfg *Config) {
		cfg.Autopilot = func() AutopilotConfig {
			if c := to.Load(); c != nil {
				return *c
			}
			return AutopilotConfig{}
		}
	}
}

func TestNewNodeIsPromotedWhenItIsStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		p := c.join()
		pass(9 * time.Second)
		if c.votes(p) {
			t.Error("it has a vote after 9 s")
		}
		c.within(6*time.Second, "promoted", func() bool { return c.votes(p) })
		p.propose("as a voter")
		c.same()
	})
}

func TestReplicaIsNeverPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3, func(cfg *Config) { cfg.Replica = cfg.NodeID == "n3" })
		p := c.join()
		pass(time.Minute)
		must(t, c.leader().node.TransferLeadership(t.Context(), ""))
		pass(time.Minute)
		if c.votes(p) {
			t.Error("a replica has a vote")
		}
		if err := p.node.Promote(t.Context(), p.ID); !errors.Is(err, ErrMembership) || !strings.Contains(err.Error(), "replica") {
			t.Errorf("Promote of a replica: error %v, want %v", err, ErrMembership)
		}
		h, err := p.node.Health(t.Context())
		must(t, err)
		if it := h.Members[3]; !it.Replica || !it.Healthy || it.Voter {
			t.Errorf("health of a replica: %+v", it)
		}
	})
}

func TestFlappingNodeIsNotPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		p := c.join()
		for i := range 10 {
			pass(6 * time.Second)
			if i%3 == 0 {
				// A new leader has seen nothing of it, and is no reason to trust it.
				must(t, c.leader().node.TransferLeadership(t.Context(), ""))
				pass(2 * time.Second)
			}
			c.isolate(p)
			pass(5 * time.Second)
			c.network.Heal()
			if c.votes(p) {
				t.Fatalf("it has a vote after it was away %d times", i+1)
			}
		}
		c.within(20*time.Second, "promoted", func() bool { return c.votes(p) })
	})
}

func TestDeadVoterIsRemovedWhenItIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var config atomic.Pointer[AutopilotConfig]
		config.Store(&AutopilotConfig{DeadAfter: time.Minute})
		c := newPeers(t, 1, 3, piloted(&config))
		dead := c.others(c.leader())[0]
		c.crash(dead, 0)
		next := c.join()
		c.within(15*time.Second, "promoted", func() bool { return c.votes(next) })
		pass(2 * time.Minute)
		if got := len(c.leader().node.Status().Members); got != 4 {
			t.Fatalf("%d members, want 4: nobody asked for removals", got)
		}
		config.Store(&AutopilotConfig{CleanupDeadServers: true, DeadAfter: time.Minute, MinQuorum: 4})
		pass(time.Minute)
		if got := len(c.leader().node.Status().Members); got != 4 {
			t.Fatalf("%d members, want 4: that many voters must be left", got)
		}
		config.Store(&AutopilotConfig{CleanupDeadServers: true, DeadAfter: time.Minute})
		c.within(5*time.Second, "removed", func() bool { return len(c.leader().node.Status().Members) == 3 })

		// The next one that dies has nobody who takes its place.
		c.crash(c.others(c.leader())[0], 0)
		pass(2 * time.Minute)
		if got := len(c.leader().node.Status().Members); got != 3 {
			t.Fatalf("%d members, want 3: no voter may go without a replacement", got)
		}
		// A replica takes no voter's place, and goes itself when it is dead.
		c.options = append(c.options, func(cfg *Config) { cfg.Replica = true })
		replica := c.join()
		pass(2 * time.Minute)
		if got := len(c.leader().node.Status().Members); got != 4 {
			t.Fatalf("%d members, want 4", got)
		}
		c.crash(replica, 0)
		pass(50 * time.Second)
		if got := len(c.leader().node.Status().Members); got != 4 {
			t.Errorf("%d members, want 4: it is not dead yet", got)
		}
		c.within(20*time.Second, "removed", func() bool { return len(c.leader().node.Status().Members) == 3 })
		c.leader().propose("still here")
		c.same()
	})
}

// A node that is there, but does not vote yet, takes nobody's place.
func TestDeadVoterStaysUntilTheNextOneVotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var config atomic.Pointer[AutopilotConfig]
		config.Store(&AutopilotConfig{CleanupDeadServers: true, DeadAfter: time.Minute})
		c := newPeers(t, 1, 3, piloted(&config))
		c.crash(c.others(c.leader())[0], 0)
		pass(5 * time.Minute)
		c.join()
		c.within(30*time.Second, "replaced", func() bool {
			voters, members := 0, c.leader().node.Status().Members
			for _, m := range members {
				if m.Voter {
					voters++
				}
			}
			if voters < 3 {
				t.Fatalf("there are %d voters among %v, want 3 at any time", voters, members)
			}
			return voters == 3 && len(members) == 3
		})
	})
}

// Nothing that is removed may leave fewer voters there than a quorum.
func TestRemovalKeepsTheQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var config atomic.Pointer[AutopilotConfig]
		config.Store(&AutopilotConfig{CleanupDeadServers: true, MinQuorum: 1, DeadAfter: time.Minute})
		c := newPeers(t, 1, 5, piloted(&config))
		gone := c.others(c.leader())[:2]
		for _, p := range gone {
			c.crash(p, 0)
		}
		c.within(2*time.Minute, "removed", func() bool { return len(c.leader().node.Status().Members) == 3 })
		c.leader().propose("three of three")
		// One of three: the two that are left are a quorum of two.
		c.crash(c.others(c.leader())[0], 0)
		c.within(2*time.Minute, "removed", func() bool { return len(c.leader().node.Status().Members) == 2 })
		c.leader().propose("two of two")
		c.same()
	})
}

func TestAutopilotThatIsOffDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var config atomic.Pointer[AutopilotConfig]
		config.Store(&AutopilotConfig{Off: true, CleanupDeadServers: true, DeadAfter: time.Second})
		c := newPeers(t, 1, 3, piloted(&config))
		p := c.join()
		pass(time.Minute)
		if c.votes(p) {
			t.Error("it has a vote")
		}
		c.crash(p, 0)
		pass(time.Minute)
		if got := len(c.leader().node.Status().Members); got != 4 {
			t.Errorf("%d members, want 4", got)
		}
		h, err := c.leader().node.Health(t.Context())
		must(t, err)
		if h.Healthy || !h.Autopilot.Off || h.Members[3].Healthy || h.Members[3].Reachable || h.Members[3].Error == "" {
			t.Errorf("health with a dead member: %+v", h)
		}
		// What it is told holds from the next round on.
		config.Store(&AutopilotConfig{CleanupDeadServers: true, DeadAfter: time.Second})
		c.within(5*time.Second, "removed", func() bool { return len(c.leader().node.Status().Members) == 3 })
	})
}

func TestDemotedVoterStaysDemotedUntilItStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		p := c.others(c.leader())[0]
		must(t, c.leader().node.Demote(t.Context(), p.ID))
		pass(time.Minute)
		must(t, c.leader().node.TransferLeadership(t.Context(), ""))
		pass(time.Minute)
		if c.votes(p) {
			t.Fatal("a demoted voter has a vote again")
		}
		h, err := p.node.Health(t.Context())
		must(t, err)
		for _, it := range h.Members {
			if it.Demoted != (it.ID == p.ID) {
				t.Errorf("member %s: demoted is %t", it.ID, it.Demoted)
			}
		}
		must(t, p.node.Promote(t.Context(), p.ID))
		must(t, c.leader().node.Demote(t.Context(), p.ID))
		pass(time.Minute)
		if c.votes(p) {
			t.Fatal("a voter that was demoted for the second time has a vote again")
		}
		c.restart(p, c.crash(p, 100))
		c.within(30*time.Second, "promoted", func() bool { return c.votes(p) })
		c.same()
	})
}

func TestHealthIsTheLeadersOnEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		pass(5 * time.Second)
		l := c.leader()
		for _, p := range c.all {
			h, err := p.node.Health(t.Context())
			must(t, err)
			if !h.Healthy || h.FailureTolerance != 1 || len(h.Voters) != 3 || h.Voters[0] != l.ID || h.Leader != l.ID ||
				h.Term != 2 || len(h.Members) != 3 || h.Refusal != "" || h.Autopilot.MinQuorum != 3 {
				t.Errorf("health as node %s tells it: %+v", p.ID, h)
			}
			for _, it := range h.Members {
				if !it.Healthy || !it.Reachable || it.Lag != 0 || it.Since.IsZero() || it.LastContact > time.Second ||
					it.ClockOffset.Abs() > it.Delay/2 || (it.ID == l.ID) != (it.Delay == 0) {
					t.Errorf("health of member %s: %+v", it.ID, it)
				}
			}
		}
		dead := c.others(l)[0]
		c.crash(dead, 0)
		c.within(6*time.Second, "unhealthy", func() bool {
			h, err := l.node.Health(t.Context())
			must(t, err)
			return !h.Healthy
		})
		h, err := c.others(l)[0].node.Health(t.Context())
		must(t, err)
		for _, it := range h.Members {
			if it.Healthy != (it.ID != dead.ID) || it.Reachable != it.Healthy || (it.Unreachable > 0) == it.Healthy {
				t.Errorf("health of member %s: %+v", it.ID, it)
			}
		}
		if h.FailureTolerance != 0 {
			t.Errorf("%d voters may fail, want none", h.FailureTolerance)
		}
	})
}

func TestHealthWithoutALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 1)
		stranger := c.add(nil)
		if _, err := stranger.node.Health(t.Context()); !errors.Is(err, ErrNoLeader) {
			t.Errorf("Health of a node that was never joined: error %v, want %v", err, ErrNoLeader)
		}
		if all := stranger.node.Survey(t.Context()); len(all) != 0 {
			t.Errorf("a node that was never joined surveys %v", all)
		}
	})
}
