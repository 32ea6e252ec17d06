package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// skews are how far the clocks of nodes are ahead.
type skews struct{ by sync.Map }

func (s *skews) set(id string, by time.Duration) { s.by.Store(id, by) }

func (s *skews) option(cfg *Config) {
	cfg.Clock = func() time.Time {
		by, _ := s.by.LoadOrStore(cfg.NodeID, time.Duration(0))
		return time.Now().Add(by.(time.Duration))
	}
}

// latest returns the latest time that an entry bears, beyond now.
func (c *peers) latest() (ahead time.Duration) {
	p := c.up()[0]
	p.toy.mu.Lock()
	defer p.toy.mu.Unlock()
	ahead = -24 * time.Hour
	for _, at := range p.toy.state.Times {
		ahead = max(ahead, time.Until(at))
	}
	return ahead
}

// lead has a node lead, if the cluster lets it. It is told by Raft, which knows no clocks.
func (c *peers) lead(p *peer) {
	c.t.Helper()
	for range 50 {
		if l := c.leader(); l == p {
			return
		} else if err := l.node.TransferLeadership(c.t.Context(), p.ID); err != nil {
			c.t.Logf("leadership to %s: %v", p.ID, err)
		}
	}
	c.t.Fatalf("node %s does not lead", p.ID)
}

// A leader whose clock is set forward writes nothing more with it, hands over, and is one
// like the others when the clock is right again.
func TestLeaderWhoseClockIsSetForwardWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clocks skews
		c := newPeers(t, 1, 3, clocks.option)
		pass(3300 * time.Millisecond) // somewhere between two rounds
		l := c.leader()
		l.propose("before")
		clocks.set(l.ID, time.Hour)
		// At once, and not when the others are next asked; here and through another node.
		for _, p := range []*peer{l, c.others(l)[0]} {
			_, err := p.node.Propose(t.Context(), []byte("with a wrong clock"))
			if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "1h0m0s ahead of node n") || !strings.Contains(err.Error(), "node "+l.ID) {
				t.Errorf("Propose at node %s: error %v, want %v", p.ID, err, ErrReadOnly)
			}
		}
		if _, err := l.node.ReadIndex(t.Context()); err != nil {
			t.Errorf("ReadIndex: %v, want reads to go on", err)
		}
		c.within(3*time.Second, "handed over", func() bool { return c.leader() != l })
		l.propose("under another")
		if got := c.same(); len(got) != 4 {
			t.Errorf("the log is %q, want two terms and two writes", got)
		}
		clocks.set(l.ID, 0)
		pass(yieldInterval)
		c.lead(l)
		pass(time.Minute)
		if c.leader() != l {
			t.Error("a node whose clock is right again does not go on leading")
		}
		l.propose("again")
		c.same()
	})
}

func TestClocksOfALeaderAndItsVoters(t *testing.T) {
	for _, tt := range []struct {
		name  string
		skews [3]time.Duration
		leads bool // node 0 goes on leading
	}{
		{"all agree", [3]time.Duration{0, 0, 0}, true},
		{"within what is allowed", [3]time.Duration{4 * time.Second, 0, 0}, true},
		{"beyond what is allowed", [3]time.Duration{6 * time.Second, 0, 0}, false},
		{"an hour ahead of one", [3]time.Duration{0, -time.Hour, 0}, true},
		{"an hour ahead of both", [3]time.Duration{time.Hour, 0, 0}, false},
		{"both an hour behind", [3]time.Duration{0, -time.Hour, -time.Hour}, false},
		{"an hour behind", [3]time.Duration{-time.Hour, 0, 0}, true},
		{"two an hour ahead, it too", [3]time.Duration{time.Hour, time.Hour, 0}, true},
		{"two an hour ahead, it not", [3]time.Duration{0, time.Hour, time.Hour}, true},
		{"all differ, and it is the first", [3]time.Duration{2 * time.Hour, time.Hour, 0}, false},
		{"all differ, and it is in between", [3]time.Duration{time.Hour, 2 * time.Hour, 0}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var clocks skews
				c := newPeers(t, 1, 3, clocks.option)
				p := c.all[0]
				c.lead(p)
				for i, by := range tt.skews {
					clocks.set(fmt.Sprintf("n%d", i), by)
				}
				pass(30 * time.Second)
				l := c.leader()
				if (l == p) != tt.leads {
					t.Errorf("node %s leads, node %s is to go on: %t", l.ID, p.ID, tt.leads)
				}
				for _, q := range c.all {
					q.propose("at " + q.ID)
				}
				c.same()
				var terms uint64
				for _, q := range c.all {
					terms += q.node.Counters().Terms
				}
				if terms > 3 {
					t.Errorf("%d terms were opened, want at most three", terms)
				}
			})
		})
	}
}

// The wrong clock of two that are left: who is ahead must not lead, for nobody knows who is
// right, and times cannot be taken back.
func TestOfTwoClocksTheOneBehindLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clocks skews
		c := newPeers(t, 1, 3, clocks.option)
		c.crash(c.others(c.leader())[0], 0)
		pass(statusAge)
		l := c.leader()
		clocks.set(l.ID, time.Hour)
		c.within(5*time.Second, "handed over", func() bool { return c.leader() != l })
		l.propose("under the other")
		if by := c.latest(); by > 0 {
			t.Errorf("an entry bears a time %s ahead", by)
		}
		c.same()
	})
}

// A node with a wrong clock that wins elections never stamps an entry with it.
func TestLeaderJustElectedDoesNotStampWrongTimes(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			var clocks skews
			clocks.set("n0", time.Hour)
			c := newPeers(t, seed, 3, clocks.option)
			wrong := c.all[0]
			var over atomic.Bool
			var written atomic.Int64
			var clients sync.WaitGroup
			for range 4 {
				rng := rand.New(rand.NewPCG(seed, 7))
				clients.Go(func() {
					for !over.Load() {
						ctx, cancel := context.WithTimeout(context.Background(), time.Second)
						if _, err := c.any(rng).node.Propose(ctx, []byte("x")); err == nil {
							written.Add(1)
						}
						cancel()
						pass(20 * time.Millisecond)
					}
				})
			}
			for range 8 {
				if l := c.leader(); l != wrong {
					_ = l.node.TransferLeadership(t.Context(), wrong.ID) // it may have handed over before
				}
				pass(time.Duration(c.rng.IntN(6000)) * time.Millisecond)
			}
			elected := wrong.node.Counters().Terms
			over.Store(true)
			clients.Wait()
			c.leader()
			c.same()
			if by := c.latest(); by > 0 {
				t.Errorf("seed %d: an entry bears a time %s ahead", seed, by)
			}
			if elected == 0 || written.Load() < 20 {
				t.Errorf("seed %d: the wrong one led %d times, %d writes: nothing was tested", seed, elected, written.Load())
			}
		})
	}
}

// An election must not take longer because a leader asks for clocks first.
func TestClocksDoNotDelayAnElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		l := c.leader()
		dead := c.others(l)[0]
		next := c.others(l)[1]
		c.isolate(dead) // its answer never comes
		for range 10 {
			from, to := l, next
			begun := time.Now()
			must(t, from.node.TransferLeadership(t.Context(), to.ID))
			for to.node.tenure.serving() == 0 {
				pass(time.Millisecond)
			}
			to.propose("x")
			if took := time.Since(begun); took > 100*time.Millisecond {
				t.Errorf("leadership and a write took %s", took)
			}
			c.within(time.Second, "known", func() bool { return l.node.Leader() == next.node.Leader() })
			l, next = to, from
		}
		c.network.Heal()
		c.same()
	})
}
