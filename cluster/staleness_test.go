package cluster

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/cluster/clustertest"
)

func TestStalenessBoundsWhatAReaderMisses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		quality clustertest.Quality
		usual   time.Duration // what it is at most while all is well
	}{
		{"a near network", clustertest.Quality{Delay: time.Millisecond, Jitter: time.Millisecond}, 250 * time.Millisecond},
		{"a far network", clustertest.Quality{Delay: 40 * time.Millisecond, Jitter: 40 * time.Millisecond}, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newPeers(t, 1, 3)
				l := c.leader()
				f := c.others(l)[0]
				c.link(l, f, tt.quality)
				pass(time.Second)

				// When which entry was acknowledged.
				type write struct {
					at    time.Time
					index uint64
				}
				var mu sync.Mutex
				var writes []write
				ctx, stop := context.WithCancel(t.Context())
				var writing sync.WaitGroup
				rng := rand.New(rand.NewPCG(1, 5))
				writing.Go(func() {
					for ctx.Err() == nil {
						if _, err := l.node.Propose(context.WithoutCancel(ctx), []byte("x")); err != nil {
							t.Errorf("Propose: %v", err)
						}
						mu.Lock()
						writes = append(writes, write{time.Now(), l.toy.durableIndex()})
						mu.Unlock()
						pass(time.Duration(rng.IntN(30)) * time.Millisecond)
					}
				})
				check := func() time.Duration {
					t.Helper()
					stale, shown, now := f.node.Staleness(), f.toy.durableIndex(), time.Now()
					mu.Lock()
					defer mu.Unlock()
					for _, w := range writes {
						if w.index > shown && now.Sub(w.at) > stale {
							t.Errorf("entry %d was acknowledged %s ago and is not shown, the staleness is %s", w.index, now.Sub(w.at), stale)
							break
						}
					}
					return stale
				}
				for range 500 {
					if stale := check(); stale > tt.usual {
						t.Errorf("the staleness is %s, want at most %s", stale, tt.usual)
					}
					pass(7 * time.Millisecond)
				}
				// It is cut off from the leader, and readers get what is ever older.
				c.link(l, f, cut)
				cutOff := time.Now()
				for range 100 {
					check()
					pass(7 * time.Millisecond)
				}
				if stale := check(); stale < time.Since(cutOff) {
					t.Errorf("the staleness is %s, %s after the last message", stale, time.Since(cutOff))
				}
				stop()
				writing.Wait()
				c.network.Heal()
				pass(5 * time.Second)
				if stale := check(); stale > tt.usual {
					t.Errorf("the staleness is %s although all is well again", stale)
				}
				if lag := f.node.Lag(); lag != 0 {
					t.Errorf("Lag() = %d, want 0", lag)
				}
			})
		})
	}
}

func TestStalenessOfANodeThatDoesNotApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		l := c.leader()
		f := c.others(l)[0]
		if got := l.node.Staleness(); got != 0 {
			t.Errorf("the leader's staleness is %s, want 0", got)
		}
		pass(time.Second) // it has heard of its leader
		hold := make(chan struct{})
		f.toy.mu.Lock()
		f.toy.hold = hold
		f.toy.mu.Unlock()
		for range 10 {
			l.propose("x")
		}
		pass(3 * time.Second)
		if got := f.node.Staleness(); got < 3*time.Second || got > 4*time.Second {
			t.Errorf("the staleness is %s, want about 3 s", got)
		}
		if got := f.node.Lag(); got < 9 || got > 11 {
			t.Errorf("Lag() = %d, want about 10", got)
		}
		close(hold)
		pass(time.Second)
		if got := f.node.Staleness(); got > 250*time.Millisecond {
			t.Errorf("the staleness is %s, want a few CommitTimeouts", got)
		}
		if got := f.node.Lag(); got != 0 {
			t.Errorf("Lag() = %d, want 0", got)
		}
	})
}

func TestStalenessOfANodeThatNeverHeardOfALeader(t *testing.T) {
	n := newNode(Config{})
	if got := n.Staleness(); got != math.MaxInt64 || !math.IsInf(n.stalenessSeconds(), 1) {
		t.Errorf("the staleness is %s, and %v for metrics", got, n.stalenessSeconds())
	}
}

// A member that is up to date because it got a snapshot shows it, though it was told of no
// entry since.
func TestStalenessAfterASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registries := map[string]*prometheus.Registry{}
		c := newPeers(t, 1, 3, func(c *Config) {
			registries[c.NodeID] = prometheus.NewRegistry()
			c.TrailingLogs, c.Metrics = 1, registries[c.NodeID]
		})
		l := c.leader()
		f := c.others(l)[0]
		c.isolate(f)
		for range 20 {
			l.propose("x")
		}
		must(t, l.node.Snapshot(t.Context()))
		_, err := l.node.Rewrite(t.Context())
		must(t, err)
		c.network.Heal()
		pass(10 * time.Second)
		f.toy.mu.Lock()
		restores := f.toy.restores
		f.toy.mu.Unlock()
		if restores == 0 {
			t.Fatal("no snapshot was restored")
		}
		if stale, lag := f.node.Staleness(), f.node.Lag(); stale > 250*time.Millisecond || lag != 0 {
			t.Errorf("the staleness is %s and Lag() %d, want little and 0", stale, lag)
		}
		sent, got := gathered(t, registries[l.ID]), gathered(t, registries[f.ID])
		for name, value := range map[string]float64{
			"sent": sent["remit_snapshot_send_duration_seconds"], "received": got["remit_snapshot_receive_duration_seconds"],
			"restored": got["remit_snapshot_restore_duration_seconds"],
		} {
			if value != float64(restores) {
				t.Errorf("%v snapshots were %s, want %d", value, name, restores)
			}
		}
	})
}
