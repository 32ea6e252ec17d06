package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/cluster/clustertest"
	"github.com/remit-authz/remit/fsm"
)

// A group is a cluster whose nodes have real data directories and a network in memory.
type group struct {
	t       *testing.T
	network *clustertest.Network
}

// A member is one of its nodes: state and log, without the API in front.
type member struct {
	*group
	dir   string // the data directory
	state *fsm.State
	port  *clustertest.Endpoint
	cfg   cluster.Config
	node  *cluster.Node
}

func newGroup(t *testing.T) *group {
	return &group{t: t, network: clustertest.NewNetwork(1, clustertest.Quality{})}
}

// load opens the state of a node, which start then runs at an address.
func (g *group) load(dir, address string) *member {
	g.t.Helper()
	m := &member{group: g, dir: dir}
	var err error
	if m.state, err = fsm.Open(fsm.Config{Dir: filepath.Join(dir, stateDir)}); err != nil {
		g.t.Fatal(err)
	}
	m.port = g.network.Join(raft.ServerAddress(address))
	m.cfg = cluster.Config{
		Dir: filepath.Join(dir, raftDir), FSM: m.state, Snapshots: m.state.Snapshots(), DurableIndex: m.state.DurableIndex,
		Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers, TermStart: fsm.TermStart, Published: m.state.Published,
		Transport: m.port, Peers: m.port, TrailingLogs: 1,
	}
	g.t.Cleanup(m.stop)
	return m
}

func (m *member) start(first ...cluster.Peer) *member {
	m.t.Helper()
	m.cfg.Bootstrap = first
	var err error
	if m.node, err = cluster.Open(m.t.Context(), m.cfg); err != nil {
		m.t.Fatal(err)
	}
	return m
}

func (m *member) ready() *member {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if err := m.node.WaitReady(ctx); err != nil {
		m.t.Fatal(err)
	}
	return m
}

// stop stops a node that runs.
func (m *member) stop() {
	if m.node == nil {
		return
	}
	if err := errors.Join(m.node.Close(), m.state.Close()); err != nil {
		m.t.Error(err)
	}
	m.node = nil
}

func (m *member) peer() cluster.Peer {
	return cluster.Peer{ID: m.node.ID(), Address: string(m.port.LocalAddr())}
}

// found begins a group of three, with an epoch.
func (g *group) found() []*member {
	g.t.Helper()
	var all []*member
	var first []cluster.Peer
	for i := range 3 {
		m := g.load(g.t.TempDir(), fmt.Sprintf("host%d:1", i))
		id, err := cluster.Identify(m.cfg)
		if err != nil {
			g.t.Fatal(err)
		}
		first = append(first, cluster.Peer{ID: id, Address: string(m.port.LocalAddr())})
		all = append(all, m)
	}
	for _, m := range all {
		m.start(first...)
	}
	for _, m := range all {
		m.ready()
	}
	epoch, err := newEpoch(0)
	if err != nil {
		g.t.Fatal(err)
	}
	all[0].do(&fsm.Command{Body: &fsm.SetEpoch{To: epoch}})
	return all
}

func (m *member) propose(ctx context.Context, c *fsm.Command) error {
	encoded, err := c.Encode()
	if err != nil {
		return err
	}
	answer, err := m.node.Propose(ctx, encoded)
	if err != nil {
		return err
	}
	result, err := fsm.DecodeResult(answer)
	if err != nil {
		return err
	}
	return result.Err
}

func (m *member) do(c *fsm.Command) {
	m.t.Helper()
	if err := m.propose(m.t.Context(), c); err != nil {
		m.t.Fatal(err)
	}
}

func newStore(name string) *fsm.Command {
	return &fsm.Command{Store: fsm.StoreID(ulid.Make()), Principal: "test", Body: &fsm.CreateStore{Name: name}}
}

// grow has nodes with empty data directories join.
func (m *member) grow(addresses ...string) []*member {
	m.t.Helper()
	all := []*member{m}
	for _, address := range addresses {
		n := m.load(m.t.TempDir(), address).start()
		if err := m.node.AddNonvoter(m.t.Context(), n.peer()); err != nil {
			m.t.Fatal(err)
		}
		n.ready()
		if err := m.node.Promote(m.t.Context(), n.node.ID()); err != nil {
			m.t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// same checks that all nodes come to the same state, in which stores are.
func (g *group) same(all []*member, stores ...string) {
	g.t.Helper()
	index, err := all[0].node.ReadIndex(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	first := all[0].state.Current()
	for _, m := range all {
		if err := m.state.Published(g.t.Context(), index); err != nil {
			g.t.Fatal(err)
		}
		root := m.state.Current()
		if root.Hash() != first.Hash() || root.Epoch() != first.Epoch() || root.Epoch() == 0 {
			g.t.Errorf("%s is at %d with %v, epoch %x; the first is at %d with %v, epoch %x",
				m.port.LocalAddr(), root.Revision(), root.Hash(), root.Epoch(), first.Revision(), first.Hash(), first.Epoch())
		}
		if sum, err := m.state.Recount(); err != nil || sum != root.Hash().Bytes() {
			g.t.Errorf("%s: the rows hash to %x, %v; the state hash is %v", m.port.LocalAddr(), sum, err, root.Hash())
		}
		var names []string
		root.Stores(fsm.StoreID{}, func(s *fsm.Store) bool { names = append(names, s.StoreName()); return true })
		slices.Sort(names)
		if !slices.Equal(names, stores) {
			g.t.Errorf("%s has the stores %v, want %v", m.port.LocalAddr(), names, stores)
		}
	}
}

func TestABackupBecomesAClusterOfThree(t *testing.T) {
	backups, dir := saved(t), filepath.Join(t.TempDir(), "data")
	restored, err := Restore(t.Context(), RestoreConfig{Backups: backups, DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	first := newGroup(t).load(dir, "host0:1").start().ready()
	// Its log is empty behind its snapshot, so who joins gets that.
	all := first.grow("host1:1", "host2:1")
	all[1].do(newStore("written by a joiner"))
	first.same(all, "acme", "written by a joiner")
	if epoch := all[2].state.Epoch(); epoch != restored.Epoch {
		t.Errorf("a joiner has the epoch %x, restored was %x", epoch, restored.Epoch)
	}
	for _, m := range all {
		if members := m.node.Status().Members; len(members) != 3 || slices.ContainsFunc(members, func(m cluster.Member) bool { return !m.Voter }) {
			t.Errorf("%s sees the members %+v", m.port.LocalAddr(), members)
		}
	}
	// And without the one that was restored.
	first.stop()
	all[1].ready()
	all[1].do(newStore("written without the first"))
	first.same(all[1:], "acme", "written by a joiner", "written without the first")
}
