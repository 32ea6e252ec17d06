package cluster

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// slowSnapshots is a transport over which a snapshot takes its time.
type slowSnapshots struct {
	Transport
	takes time.Duration
}

func (s slowSnapshots) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	pass(s.takes)
	return s.Transport.InstallSnapshot(id, to, args, resp, data)
}

// hasty takes snapshots all the time and leaves little behind them.
func hasty(takes time.Duration) func(*Config) {
	return func(c *Config) {
		c.Transport = slowSnapshots{c.Transport, takes}
		c.TrailingLogs, c.SnapshotThreshold, c.SnapshotInterval = 8, 20, 200*time.Millisecond
	}
}

// steadily writes at a node until ctx ends.
func steadily(ctx context.Context, t *testing.T, p *peer, writing *sync.WaitGroup) {
	writing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := p.node.Propose(context.WithoutCancel(ctx), fmt.Appendf(nil, "steady %d", i)); err != nil {
				t.Errorf("Propose: %v", err)
			}
			pass(5 * time.Millisecond)
		}
	})
}

// A snapshot takes longer than the log behind it would last. The member that gets it must
// find the log where it ends.
func TestMemberThatGetsASnapshotFindsTheLogBehindIt(t *testing.T) {
	for _, tt := range []struct {
		name    string
		control bool
	}{{"the log is held", false}, {"control: it is not", true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newPeers(t, 1, 3, hasty(2*time.Second), func(c *Config) { c.noHold = tt.control })
				l := c.leader()
				f := c.others(l)[0]
				c.isolate(f)
				ctx, stop := context.WithCancel(t.Context())
				var writing sync.WaitGroup
				steadily(ctx, t, l, &writing)
				pass(3 * time.Second)
				c.network.Heal()
				pass(15 * time.Second)
				behind := l.node.raft.CommitIndex() - f.node.machine.shown()
				f.toy.mu.Lock()
				restores := f.toy.restores
				f.toy.mu.Unlock()
				first, err := l.node.logs.FirstIndex()
				must(t, err)
				held := l.node.raft.LastIndex() - first
				stop()
				writing.Wait()
				if tt.control {
					if restores < 3 || behind < 100 {
						t.Errorf("%d snapshots were restored and %d entries are missing, want a loop", restores, behind)
					}
					return
				}
				if restores < 1 || restores > 2 || behind > 50 {
					t.Errorf("%d snapshots were restored and %d entries are missing, want one or two, and few", restores, behind)
				}
				if held > 200 {
					t.Errorf("the log still holds %d entries", held)
				}
				c.same()
			})
		})
	}
}

func TestLogIsNotHeldWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3, hasty(time.Minute), func(c *Config) { c.TrailingBytes = 1 })
		l := c.leader()
		f := c.others(l)[0]
		c.isolate(f)
		ctx, stop := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		steadily(ctx, t, l, &writing)
		pass(3 * time.Second)
		c.network.Heal()
		const most = holdFactor * leastTrailing
		longest := uint64(0)
		for range 100 {
			pass(200 * time.Millisecond)
			first, err := l.node.logs.FirstIndex()
			must(t, err)
			longest = max(longest, l.node.raft.LastIndex()-first)
		}
		stop()
		writing.Wait()
		if longest < most || longest > most+200 {
			t.Errorf("the log held %d entries at most, want %d and what was written since a snapshot", longest, most)
		}
		pass(2 * time.Minute) // the snapshot is given up
	})
}

func TestFetchesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := uint64(1000)
		f := &fetches{last: func() uint64 { return last }}
		want := func(index uint64, wantHeld bool) {
			t.Helper()
			got, held := f.needed(time.Now())
			if held != wantHeld || held && got != index {
				t.Errorf("needed is %d, %t, want %d, %t", got, held, index, wantHeld)
			}
		}
		want(0, false)
		f.reached("a", 500)
		want(0, false) // it got no snapshot
		f.begin("a", 600)
		f.begin("b", 700)
		pass(2 * fetchPatience)
		want(600, true) // still under way
		f.end("a")
		f.end("b")
		f.reached("a", 650)
		want(650, true)
		pass(fetchPatience / 2)
		f.reached("b", 800)
		pass(fetchPatience/2 + 1)
		want(800, true) // a got nothing for too long
		f.reached("b", last-maxAppendEntries)
		want(0, false) // it has caught up
	})
}

func TestTrailingEntriesAreBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := clustertest.NewDisk()
		r := newRig(t, disk, func(c *Config) { c.TrailingLogs, c.TrailingBytes = 10_000, 1<<20 })
		n := r.open()
		large := strings.Repeat("x", 1<<10)
		for range 1000 {
			r.propose(large)
		}
		mean := n.logs.sizes.mean()
		if mean < 1<<10 || mean > 2<<10 {
			t.Fatalf("the mean size is %d, want a little more than 1,024", mean)
		}
		must(t, n.Snapshot(t.Context()))
		first, err := n.logs.FirstIndex()
		must(t, err)
		if left := n.raft.LastIndex() - first + 1; left != 1<<20/mean {
			t.Errorf("%d entries are left, want %d", left, 1<<20/mean)
		}
		r.close()
		// The next process knows it from the log.
		again := newRig(t, disk, func(c *Config) { c.TrailingLogs, c.TrailingBytes = 10_000, 1<<20 })
		defer again.close()
		if got := again.open().logs.sizes.mean(); got < mean*9/10 || got > mean {
			t.Errorf("the mean size after a restart is %d, was %d", got, mean)
		}
	})
}

func TestFewTrailingEntriesStayWhateverTheirSize(t *testing.T) {
	n := newNode(Config{TrailingBytes: 1 << 20})
	n.logs = new(guarded)
	n.logs.sizes.add([]*raft.Log{{Data: make([]byte, 1<<20)}})
	if got := n.trailing(); got != leastTrailing {
		t.Errorf("trailing() = %d, want %d", got, leastTrailing)
	}
	n.cfg.KeepLog = true
	if got := n.trailing(); got != n.cfg.TrailingLogs {
		t.Errorf("trailing() = %d with the log kept, want %d", got, n.cfg.TrailingLogs)
	}
}
