package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// suffrage tells who is who, as a node sees it: "n0* n1 (n2)" is a leader, a voter and a
// non-voter.
func suffrage(p *peer) string {
	var all []string
	for _, m := range p.node.Status().Members {
		s := m.ID
		if m.Leader {
			s += "*"
		}
		if !m.Voter {
			s = "(" + s + ")"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func TestAClusterGrowsAndShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 1)
		first := c.all[0]
		first.propose("a")
		// The snapshot leaves nothing of the log, so who comes later needs it.
		_, err := first.node.Rewrite(t.Context())
		must(t, err)
		for range 2 {
			p := c.add(nil)
			if err := p.node.Promote(t.Context(), p.ID); !errors.Is(err, ErrNoLeader) {
				t.Errorf("a node that was never joined promotes: error %v, want %v", err, ErrNoLeader)
			}
			must(t, first.node.AddNonvoter(t.Context(), p.Peer))
			must(t, p.node.WaitReady(t.Context()))
			if p.toy.restores != 1 {
				t.Errorf("node %s restored %d snapshots, want one", p.ID, p.toy.restores)
			}
			must(t, p.node.AddNonvoter(t.Context(), p.Peer)) // again, and as any node can
			must(t, p.node.Promote(t.Context(), p.ID))
			must(t, p.node.Promote(t.Context(), p.ID))
			p.propose("of " + p.ID)
		}
		replica := c.add(nil)
		must(t, c.all[1].node.AddNonvoter(t.Context(), replica.Peer))
		must(t, replica.node.WaitReady(t.Context()))
		c.same()
		for _, p := range c.all {
			if got, want := suffrage(p), "n0* n1 n2 (n3)"; got != want {
				t.Errorf("members as node %s sees them: %s, want %s", p.ID, got, want)
			}
		}
		status := replica.node.Status()
		if status.State != "Follower" || status.Serving || status.Term != 2 || status.Applied != status.Commit ||
			time.Since(status.LastContact) > time.Second {
			t.Errorf("status of a replica: %+v", status)
		}

		must(t, replica.node.TransferLeadership(t.Context(), "n2"))
		if l := c.leader(); l.ID != "n2" {
			t.Errorf("node %s leads, want n2", l.ID)
		}
		replica.propose("under n2")
		must(t, replica.node.TransferLeadership(t.Context(), ""))
		if l := c.leader(); l.ID == "n2" {
			t.Error("n2 leads, want another")
		}

		must(t, replica.node.Demote(t.Context(), "n2"))
		must(t, replica.node.Demote(t.Context(), "n2"))
		l := c.leader()
		// The leader itself hands over first.
		if err := l.node.Remove(t.Context(), l.ID); !errors.Is(err, ErrNoLeader) {
			t.Errorf("a leader removes itself: error %v, want %v", err, ErrNoLeader)
		}
		if next := c.leader(); next == l {
			t.Errorf("node %s leads, want another", l.ID)
		}
		must(t, l.node.Remove(t.Context(), l.ID))
		c.crash(l, 0)
		must(t, replica.node.WaitReady(t.Context()))
		replica.propose("without " + l.ID)
		must(t, replica.node.Remove(t.Context(), l.ID))
		left := c.leader()
		for _, refused := range []struct {
			what string
			err  error
			want string
		}{
			{"demotion of the last voter", replica.node.Demote(t.Context(), left.ID), "last voter"},
			{"removal of the last voter", left.node.Remove(t.Context(), left.ID), "last voter"},
			{"promotion of a stranger", left.node.Promote(t.Context(), "n9"), "no member"},
			{"an address twice", left.node.AddNonvoter(t.Context(), Peer{"n9", replica.Address}), "remove it first"},
			{"a voter that moves", left.node.AddNonvoter(t.Context(), Peer{left.ID, "elsewhere"}), "remove it before"},
			{"a node without an address", left.node.AddNonvoter(t.Context(), Peer{ID: "n9"}), "address"},
			{"a node with a long id", left.node.AddNonvoter(t.Context(), Peer{strings.Repeat("n", 256), "elsewhere"}), "256 bytes"},
			{"a node without an id", left.node.AddNonvoter(t.Context(), Peer{Address: "elsewhere"}), "id is missing"},
			{"leadership for a non-voter", replica.node.TransferLeadership(t.Context(), "n2"), "no other voter"},
		} {
			if !errors.Is(refused.err, ErrMembership) || !strings.Contains(refused.err.Error(), refused.want) {
				t.Errorf("%s: error %v, want %v and %q", refused.what, refused.err, ErrMembership, refused.want)
			}
		}
		c.same()
	})
}

func TestReadsAreRefusedWhileLeadershipIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newPeers(t, 1, 3)
		l := c.leader()
		next := c.others(l)[0]
		// The other cannot be told, so the transfer takes its time and fails.
		c.oneWay(l, next, cut)
		done := make(chan error, 1)
		go func() { done <- l.node.TransferLeadership(t.Context(), next.ID) }()
		synctest.Wait()
		if _, err := l.node.ReadIndex(t.Context()); !errors.Is(err, ErrNoLeader) {
			t.Errorf("ReadIndex during a transfer: error %v, want %v", err, ErrNoLeader)
		}
		if _, err := l.node.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrNoLeader) {
			t.Errorf("Propose during a transfer: error %v, want %v", err, ErrNoLeader)
		}
		if err := <-done; err == nil {
			t.Error("leadership was transferred to a node that cannot be reached")
		}
		c.network.Heal()
		c.ready()
		c.leader().propose("x")
		c.same()
	})
}

// A node that was alone, with its id for an address, becomes one of three.
func TestANodeThatWasAloneIsJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := clustertest.NewDisk()
		alone := newRig(t, disk, func(cfg *Config) { cfg.NodeID = "n0" })
		alone.open()
		alone.propose("alone")
		alone.close()

		c := newPeers(t, 1, 0)
		first := &peer{Peer: named(0)}
		c.start(first, disk, nil)
		c.all, c.made = append(c.all, first), 1
		c.ready()
		second := c.add(nil)
		must(t, first.node.AddNonvoter(t.Context(), second.Peer))
		must(t, second.node.WaitReady(t.Context()))
		must(t, second.node.Promote(t.Context(), second.ID))
		must(t, first.node.TransferLeadership(t.Context(), second.ID))
		c.ready()
		for _, m := range second.node.Status().Members {
			if m.ID == first.ID && m.Address != first.Address {
				t.Errorf("node %s is at %q, want %q", m.ID, m.Address, first.Address)
			}
		}
		first.propose("among others")
		c.same()
	})
}

func TestWipedDirectoryIsNoOldNode(t *testing.T) {
	// A directory with the file of the id and nothing else, as a careless restore leaves it.
	wiped := func() (Config, string) {
		cfg := toyConfig(openToy(t, clustertest.NewDisk()), raft.NewInmemSnapshotStore())
		cfg.Dir = t.TempDir()
		n, err := Open(t.Context(), cfg)
		must(t, err)
		must(t, n.Close())
		must(t, os.Remove(filepath.Join(cfg.Dir, logFile)))
		cfg = toyConfigIn(t, cfg.Dir)
		return cfg, n.ID()
	}
	for _, tt := range []struct {
		name   string
		change func(*Config, string)
	}{
		{"alone", func(*Config, string) {}},
		{"to be joined", func(cfg *Config, _ string) {
			port := clustertest.NewNetwork(1, normal).Join("here")
			cfg.Transport, cfg.Peers = port, port
		}},
		{"told to bootstrap", func(cfg *Config, id string) {
			port := clustertest.NewNetwork(1, normal).Join("here")
			cfg.Transport, cfg.Peers, cfg.Bootstrap = port, port, []Peer{{id, "here"}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, id := wiped()
			tt.change(&cfg, id)
			for range 2 {
				var refusal *StartError
				if _, err := Open(t.Context(), cfg); !errors.As(err, &refusal) || !strings.Contains(err.Error(), id) {
					t.Errorf("Open of a wiped directory: error %v, want a StartError that names node %s", err, id)
				}
			}
			// Without the file it is a new node.
			must(t, os.Remove(filepath.Join(cfg.Dir, idFile)))
			other, err := Identify(cfg)
			if err != nil || other == id {
				t.Errorf("Identify of a directory wiped whole = %s, %v, want an id other than %s", other, err, id)
			}
			if again, err := Identify(cfg); err != nil || again != other {
				t.Errorf("Identify for the second time = %s, %v, want %s", again, err, other)
			}
		})
	}
}

func TestIDAndLogOfDifferentNodesAreRefused(t *testing.T) {
	var dirs, ids []string
	for range 2 {
		cfg := toyConfigIn(t, t.TempDir())
		n, err := Open(t.Context(), cfg)
		must(t, err)
		must(t, n.Close())
		dirs, ids = append(dirs, cfg.Dir), append(ids, n.ID())
	}
	must(t, os.Rename(filepath.Join(dirs[0], idFile), filepath.Join(dirs[1], idFile)))
	_, err := Open(t.Context(), toyConfigIn(t, dirs[1]))
	var refusal *StartError
	if !errors.As(err, &refusal) || !strings.Contains(err.Error(), ids[0]) || !strings.Contains(err.Error(), ids[1]) {
		t.Errorf("Open with another node's id: error %v, want a StartError that names %v", err, ids)
	}
}

func TestLogThatBearsNoIDGetsOne(t *testing.T) {
	cfg := toyConfigIn(t, t.TempDir())
	n, err := Open(t.Context(), cfg)
	must(t, err)
	must(t, n.Close())
	// As an earlier release left it, with and without its first entry.
	store, err := openLog(cfg.Dir, false)
	must(t, err)
	must(t, store.Set(keyNode, nil))
	must(t, store.Close())
	again, err := Open(t.Context(), toyConfigIn(t, cfg.Dir))
	must(t, err)
	must(t, again.Close())
	if again.ID() != n.ID() {
		t.Errorf("ID() = %s, want %s", again.ID(), n.ID())
	}
	must(t, os.Remove(filepath.Join(cfg.Dir, logFile)))
	if _, err := Open(t.Context(), toyConfigIn(t, cfg.Dir)); err == nil {
		t.Error("the log is gone, and the node opens")
	}
}

// toyConfigIn is that of a node in dir whose state machine is empty.
func toyConfigIn(t *testing.T, dir string) Config {
	cfg := toyConfig(openToy(t, clustertest.NewDisk()), raft.NewInmemSnapshotStore())
	cfg.Dir = dir
	return cfg
}

func TestBootstrapWithoutItselfIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		first      []Peer
	}{
		{"strangers", "not among the first voters", []Peer{{"n7", "host7:1"}}},
		{"this node elsewhere", "not among the first voters", []Peer{{"n1", "host7:1"}}},
		{"an id twice", "that differ", []Peer{{"n1", "here"}, {"n1", "there"}}},
		{"an address twice", "that differ", []Peer{{"n1", "here"}, {"n2", "here"}}},
		{"no address", "want an id", []Peer{{ID: "n1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, clustertest.NewDisk(), func(cfg *Config) {
					port := clustertest.NewNetwork(1, normal).Join("here")
					cfg.Transport, cfg.Peers, cfg.Bootstrap = port, port, tt.first
				})
				if _, err := Open(t.Context(), r.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Open: error %v, want %q", err, tt.want)
				}
				r.close()
			})
		})
	}
}
