package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

func withoutHints(c *Config) { c.noHints = true }

// BenchmarkFollowerSees measures how long after the leader's answer a follower shows the
// write, on a network without delay and logs on this machine's disk. It reports medians.
func BenchmarkFollowerSees(b *testing.B) {
	for _, run := range []struct {
		name    string
		options []func(*Config)
	}{{"hints", nil}, {"without", []func(*Config){withoutHints}}} {
		b.Run(run.name, func(b *testing.B) {
			onDisk := func(c *Config) { c.Dir, c.Logs, c.Stable = b.TempDir(), nil, nil }
			c := &peers{
				t: b, network: clustertest.NewNetwork(1, clustertest.Quality{}), rng: rand.New(rand.NewPCG(1, 3)),
				options: append([]func(*Config){onDisk}, run.options...),
			}
			defer c.close()
			first := []Peer{named(0), named(1), named(2)}
			for range first {
				c.add(first)
			}
			c.ready()
			l := c.leader()
			f := c.others(l)[0]
			var took []time.Duration
			for b.Loop() {
				l.propose("a command")
				at := l.toy.durableIndex()
				answered := time.Now()
				must(b, f.toy.published(b.Context(), at))
				took = append(took, time.Since(answered))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
		})
	}
}

func TestFollowersLearnOfTheLastCommitAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options []func(*Config)
		soon    bool
	}{
		{"with hints", nil, true},
		{"control: without them it takes Raft's next message", []func(*Config){withoutHints}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rare := func(c *Config) { c.CommitTimeout = 200 * time.Millisecond }
				c := newPeers(t, 1, 3, append(tt.options, rare)...)
				l := c.leader()
				replica := c.add(nil)
				must(t, l.node.AddNonvoter(t.Context(), replica.Peer))
				c.ready()
				const within = 10 * time.Millisecond
				early := 0
				for i := range 5 {
					pass(3 * time.Second)
					l.propose(fmt.Sprint("command ", i))
					at := l.toy.durableIndex()
					pass(within)
					for _, p := range c.others(l) {
						if p.toy.durableIndex() >= at {
							early++
						} else if tt.soon {
							t.Errorf("node %s does not show the write after %s", p.ID, within)
						}
					}
				}
				// Raft's next message to a node is on its way by chance at times.
				if !tt.soon && early > 7 {
					t.Errorf("without hints %d of 15 writes were seen after %s, want few", early, within)
				}
				if tt.soon && l.node.Counters().Hints < 15 {
					t.Errorf("%d hints were sent, want one to each of 3 members for each of 5 writes", l.node.Counters().Hints)
				}
			})
		})
	}
}

func TestNoHintsAreSentWhileEntriesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3, slow(time.Millisecond))
		l := c.leader()
		before := l.node.Counters()
		var writing sync.WaitGroup
		for client := range 16 {
			writing.Go(func() {
				for i := range 50 {
					l.propose(fmt.Sprintf("%d/%d", client, i))
				}
			})
		}
		writing.Wait()
		pass(time.Second)
		after := l.node.Counters()
		if entries, hints := after.Entries-before.Entries, after.Hints-before.Hints; entries < 50 || hints < 2 || hints*5 > entries {
			t.Errorf("%d hints were sent for %d entries, want two when all was done and few before", hints, entries)
		}
	})
}

func TestNoHintsAreSentToAClientThatHardlyPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3, slow(hintDelay/5))
		l := c.leader()
		for _, p := range c.others(l) {
			c.link(l, p, clustertest.Quality{Delay: hintDelay / 20})
		}
		pass(time.Second)
		before := l.node.Counters().Hints
		for i := range 100 {
			l.propose("x")
			pass(hintDelay * time.Duration(1+i%8) / 10)
		}
		if hints := l.node.Counters().Hints - before; hints != 0 {
			t.Errorf("%d hints were sent before the client was done, want none", hints)
		}
		pass(2 * hintDelay)
		if hints := l.node.Counters().Hints - before; hints != 2 {
			t.Errorf("%d hints were sent, want one to each of 2 members", hints)
		}
	})
}

// Hints are sent again by a bad network at any time. Whatever arrives, a follower may commit
// only what its leader has.
func TestStrayHintsDoNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		old := c.leader()
		old.propose("first")
		c.same()
		term := old.node.raft.CurrentTerm()

		// The old leader writes what no quorum gets, and another leads.
		for _, q := range c.others(old) {
			c.link(old, q, cut)
		}
		done := make(chan error, 1)
		go func() { _, err := old.node.Propose(t.Context(), []byte("lost")); done <- err }()
		synctest.Wait()
		ahead := old.node.raft.LastIndex()
		pass(5 * time.Second)
		if err := <-done; err == nil {
			t.Fatal("a write without a quorum was acknowledged")
		}
		var now *peer
		for _, p := range c.others(old) {
			if p.node.Status().Serving {
				now = p
			}
		}
		if now == nil {
			t.Fatal("nobody leads")
		}
		now.propose("second")
		later := now.node.raft.CurrentTerm()
		for _, p := range c.all {
			commit := p.node.raft.CommitIndex()
			for _, at := range []position{
				{term, ahead},
				{term, ahead + 100},
				{later, ahead + 100},
				{later + 1, commit},
				{later + 1, ahead},
				{0, ahead},
				{term, 0},
			} {
				must(t, p.node.hinted(at.encode()))
				synctest.Wait()
				if got := p.node.raft.CommitIndex(); got != commit {
					t.Errorf("node %s, told of index %d in term %d, takes %d for committed, had %d", p.ID, at.index, at.term, got, commit)
				}
			}
		}
		c.network.Heal()
		pass(5 * time.Second)
		if all := c.same(); slices.Contains(all, "lost") || !slices.Contains(all, "second") {
			t.Errorf("the log is %q", all)
		}
	})
}

func TestMessageTakesAHintAlong(t *testing.T) {
	entries := []*raft.Log{{Index: 8, Term: 3}, {Index: 9, Term: 3}}
	for _, tt := range []struct {
		name    string
		hint    position
		message raft.AppendEntriesRequest
		want    uint64
	}{
		{"as far as it reaches", position{3, 20}, raft.AppendEntriesRequest{Term: 3, Entries: entries, LeaderCommitIndex: 7}, 9},
		{"as far as the hint reaches", position{3, 8}, raft.AppendEntriesRequest{Term: 3, Entries: entries, LeaderCommitIndex: 7}, 8},
		{"not backwards", position{3, 8}, raft.AppendEntriesRequest{Term: 3, Entries: entries, LeaderCommitIndex: 9}, 9},
		{"not of another leader", position{2, 8}, raft.AppendEntriesRequest{Term: 3, Entries: entries, LeaderCommitIndex: 7}, 7},
		{"not without entries", position{3, 8}, raft.AppendEntriesRequest{Term: 3, LeaderCommitIndex: 7}, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInbox(nil)
			i.hints.put(tt.hint)
			if got := i.hasten(&tt.message).LeaderCommitIndex; got != tt.want {
				t.Errorf("the commit index is %d, want %d", got, tt.want)
			}
		})
	}
}
