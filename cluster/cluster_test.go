package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// peers is a cluster in memory.
type peers struct {
	t       testing.TB
	network *clustertest.Network
	rng     *rand.Rand
	options []func(*Config)
	made    int // how many there were

	mu  sync.Mutex // held to change all and what a peer is; one goroutine does
	all []*peer    // in the order in which they came

	stopping sync.WaitGroup // of nodes that crashed and do not know it
}

// peer is one node of it, or the place of one that has crashed.
type peer struct {
	*rig
	Peer
	port *clustertest.Endpoint
	down *atomic.Bool // this run of the node is over; nothing it says counts
}

// normal is a network without faults.
var normal = clustertest.Quality{Delay: time.Millisecond, Jitter: time.Millisecond}

// newPeers makes a cluster of voters and waits until each serves.
func newPeers(t testing.TB, seed uint64, voters int, options ...func(*Config)) *peers {
	t.Helper()
	c := &peers{t: t, network: clustertest.NewNetwork(seed, normal), rng: rand.New(rand.NewPCG(seed, 3)), options: options}
	t.Cleanup(c.close)
	var first []Peer
	for i := range voters {
		first = append(first, named(i))
	}
	for range voters {
		c.add(first)
	}
	c.ready()
	return c
}

func named(i int) Peer { return Peer{ID: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("host%d:1", i)} }

// add starts another node, with an empty disk.
func (c *peers) add(bootstrap []Peer) *peer {
	c.t.Helper()
	p := &peer{Peer: named(c.made)}
	c.made++
	c.start(p, clustertest.NewDisk(), bootstrap)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, p)
	return p
}

func (c *peers) start(p *peer, disk clustertest.Disk, bootstrap []Peer) {
	c.t.Helper()
	port := c.network.Join(raft.ServerAddress(p.Address))
	r := newRig(c.t, disk, append([]func(*Config){func(cfg *Config) {
		cfg.NodeID, cfg.Transport, cfg.Peers, cfg.Bootstrap = p.ID, port, port, bootstrap
	}}, c.options...)...)
	r.open()
	c.mu.Lock()
	defer c.mu.Unlock()
	p.rig, p.port, p.down = r, port, new(atomic.Bool)
}

// any returns some node as it is now, for those who do not start and crash them.
func (c *peers) any(rng *rand.Rand) (p peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.all[rng.IntN(len(c.all))]
}

// crash cuts a node's power. What it did not sync is lost, but for some blocks.
func (c *peers) crash(p *peer, percent int) (left clustertest.Disk) {
	p.down.Store(true)
	p.port.Leave()
	left = p.disk.Crash(percent, c.rng)
	dead := p.rig
	c.stopping.Go(func() {
		if err := errors.Join(dead.node.Close(), dead.logs.Close(), dead.toy.journal.Close()); err != nil {
			c.t.Errorf("close of a crashed node: %v", err)
		}
	})
	return left
}

// restart starts a node that crashed on what its disk has left. Its flags are the same as
// ever, so it is told to bootstrap again.
func (c *peers) restart(p *peer, left clustertest.Disk) {
	c.t.Helper()
	c.start(p, left, p.cfg.Bootstrap)
}

// up returns the nodes that run.
func (c *peers) up() []*peer {
	return slices.DeleteFunc(slices.Clone(c.all), func(p *peer) bool { return p.down.Load() })
}

// ready waits until every node serves.
func (c *peers) ready() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for _, p := range c.up() {
		if err := p.node.WaitReady(ctx); err != nil {
			_, why := p.node.ReadIndex(c.t.Context())
			c.t.Fatalf("node %s at %d: %v, %v; it is %+v", p.ID, p.toy.durableIndex(), err, why, p.node.Status())
		}
	}
}

// leader waits for a node that leads and that all know to lead.
func (c *peers) leader() *peer {
	c.t.Helper()
	for range 1000 {
		up := c.up()
		for _, p := range up {
			if p.node.Status().Serving && !slices.ContainsFunc(up, func(q *peer) bool { return q.node.Leader() != p.ID }) {
				return p
			}
		}
		pass(50 * time.Millisecond)
	}
	c.t.Fatal("no leader")
	return nil
}

// others returns the nodes beside one.
func (c *peers) others(than *peer) []*peer {
	return slices.DeleteFunc(c.up(), func(p *peer) bool { return p == than })
}

// link changes the links in both directions between two nodes.
func (c *peers) link(a, b *peer, q clustertest.Quality) {
	c.oneWay(a, b, q)
	c.oneWay(b, a, q)
}

func (c *peers) oneWay(from, to *peer, q clustertest.Quality) {
	c.network.Set(raft.ServerAddress(from.Address), raft.ServerAddress(to.Address), q)
}

var cut = clustertest.Quality{Cut: true}

// isolate cuts a node off, in both directions.
func (c *peers) isolate(p *peer) {
	for _, q := range c.all {
		if q != p {
			c.link(p, q, cut)
		}
	}
}

// close stops all nodes.
func (c *peers) close() {
	c.t.Helper()
	c.network.Heal()
	var closing sync.WaitGroup
	for _, p := range c.up() {
		closing.Go(func() {
			if err := errors.Join(p.node.Close(), p.logs.Close(), p.toy.journal.Close()); err != nil {
				c.t.Errorf("close node %s: %v", p.ID, err)
			}
		})
	}
	closing.Wait()
	c.stopping.Wait()
}

// same waits until all nodes have the same state and returns it.
func (c *peers) same() []string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	index := uint64(0)
	for _, p := range c.up() {
		i, err := p.node.ReadIndex(ctx)
		for err != nil && ctx.Err() == nil { // leadership may be on its way
			pass(50 * time.Millisecond)
			i, err = p.node.ReadIndex(ctx)
		}
		if err != nil {
			c.t.Fatalf("ReadIndex of node %s: %v; it is %+v", p.ID, err, p.node.Status())
		}
		index = max(index, i)
	}
	for _, p := range c.up() {
		must(c.t, p.toy.published(ctx, index))
	}
	// An entry whose writer was told nothing may be committed just now, and be here before it
	// is there.
	for {
		first := c.up()[0]
		want, differs := first.toy.all(), ""
		for _, p := range c.up()[1:] {
			if diff := cmp.Diff(want, p.toy.all()); diff != "" {
				differs = fmt.Sprintf("node %s differs from node %s (-want +got):\n%s", p.ID, first.ID, diff)
			}
		}
		if differs == "" {
			return want
		}
		if ctx.Err() != nil {
			c.t.Fatal(differs)
		}
		pass(10 * time.Millisecond)
	}
}

func TestEveryNodeTakesWritesAndConsistentReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		var want []string
		for round := range 5 {
			for _, p := range c.all {
				command := fmt.Sprintf("%s/%d", p.ID, round)
				want = append(want, command)
				p.propose(command)
				for _, q := range c.all {
					if _, err := q.node.ReadIndex(t.Context()); err != nil {
						t.Fatalf("ReadIndex of node %s: %v", q.ID, err)
					}
					if diff := cmp.Diff(want, q.toy.history()); diff != "" {
						t.Fatalf("what node %s sees (-want +got):\n%s", q.ID, diff)
					}
				}
			}
		}
		l := c.leader()
		for _, p := range c.all {
			counts := p.node.Counters()
			if p == l && (counts.Forwarded != 0 || counts.Rounds == 0) {
				t.Errorf("the leader counts %+v, want rounds and nothing forwarded", counts)
			}
			if p != l && (counts.Forwarded != 5 || counts.Asks < 15) {
				t.Errorf("node %s counts %+v, want 5 commands forwarded and 15 reads", p.ID, counts)
			}
		}
	})
}

func TestReadersShareARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		l := c.leader()
		for _, p := range c.all {
			rounds, asks := l.node.Counters().Rounds, p.node.Counters().Asks
			var readers sync.WaitGroup
			for range 500 {
				readers.Go(func() {
					if _, err := p.node.ReadIndex(t.Context()); err != nil {
						t.Errorf("ReadIndex of node %s: %v", p.ID, err)
					}
				})
			}
			readers.Wait()
			rounds, asks = l.node.Counters().Rounds-rounds, p.node.Counters().Asks-asks
			t.Logf("500 readers of node %s: %d rounds, %d questions to the leader", p.ID, rounds, asks)
			// Who comes during a round waits for the next.
			if rounds < 1 || rounds > 3 || asks > 3 {
				t.Errorf("500 readers of node %s took %d rounds and %d questions to the leader, want at most 3 of each", p.ID, rounds, asks)
			}
		}
	})
}

// verified reads as if VerifyLeader were enough.
func verified(ctx context.Context, p *peer) ([]string, error) {
	index := p.node.raft.CommitIndex()
	if err := p.node.raft.VerifyLeader().Error(); err != nil {
		return nil, err
	}
	if err := p.toy.published(ctx, index); err != nil {
		return nil, err
	}
	return p.toy.history(), nil
}

// confirmed reads as a Node does.
func confirmed(ctx context.Context, p *peer) ([]string, error) {
	if _, err := p.node.ReadIndex(ctx); err != nil {
		return nil, err
	}
	return p.toy.history(), nil
}

func TestReplacedLeaderWhoHearsLateServesNoStaleRead(t *testing.T) {
	const trials = 10
	for _, guard := range []struct {
		name  string
		read  func(context.Context, *peer) ([]string, error)
		stale bool // it is known to be too weak
	}{
		{"VerifyLeader", verified, true},
		{"ReadIndex", confirmed, false},
	} {
		t.Run(guard.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newPeers(t, 1, 3)
				stale, refused := 0, 0
				for i := range trials {
					old := c.leader()
					next := c.others(old)[i%2]
					for _, p := range c.others(old) {
						c.oneWay(p, old, clustertest.Quality{Delay: 300 * time.Millisecond})
					}
					pass(2 * time.Second)
					// Raft is asked directly: a Node would refuse reads from here on.
					transfer := old.node.raft.LeadershipTransferToServer(raft.ServerID(next.ID), raft.ServerAddress(next.Address))
					for !next.node.Status().Serving {
						pass(time.Millisecond)
					}
					command := fmt.Sprint(i)
					next.propose(command)
					switch seen, err := guard.read(t.Context(), old); {
					case err != nil:
						refused++
					case !slices.Contains(seen, command):
						stale++
					}
					must(t, transfer.Error())
					c.network.Heal()
					c.ready()
				}
				t.Logf("%d reads: %d stale, %d refused", trials, stale, refused)
				if guard.stale && stale == 0 {
					t.Error("no read was stale, so the experiment proves nothing")
				}
				if !guard.stale && stale > 0 {
					t.Errorf("%d of %d reads were stale", stale, trials)
				}
			})
		})
	}
}
