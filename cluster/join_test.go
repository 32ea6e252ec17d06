package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// three makes a cluster of three voters that found each other.
func three(t *testing.T) *forming {
	t.Helper()
	c := newForming(t, 1, 3, 3)
	for _, f := range c.all {
		f.start()
	}
	c.begun(3)
	return c
}

// says waits until a node has logged a text.
func (f *formed) says(text string) {
	f.c.t.Helper()
	f.c.until(fmt.Sprintf("node %s says %q", f.ID, text), func() bool { return strings.Contains(f.log.String(), text) })
}

// memberships tells who is at which address, as the first node sees it: "n0@host0:1".
func (c *forming) memberships() string {
	var all []string
	for _, m := range c.all[0].rig.node.Status().Members {
		all = append(all, m.ID+"@"+m.Address)
	}
	return strings.Join(all, " ")
}

// A disk was lost, and a new node comes at the old address. Nobody but a person, or time,
// says that the old one is gone for good.
func TestNewNodeAtAnOldAddressWaitsForTheOldOneToBeRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three(t)
		lost := c.all[2]
		lost.end(true)
		lost.disk, lost.ID = clustertest.NewDisk(), "new"
		lost.start()
		lost.node() // it does not begin another cluster, and does not hold up who opens it
		lost.says("remove it first if node new has taken its place (remit cluster remove n2)")
		pass(time.Minute)
		if n := strings.Count(lost.log.String(), "the leader refuses this node"); n > 8 {
			t.Errorf("a refused node tells it %d times in a minute", n)
		}
		must(t, c.all[0].rig.node.Remove(t.Context(), "n2"))
		c.begun(2)
		if got, want := c.memberships(), "n0@host0:1 n1@host1:1 new@host2:1"; got != want {
			t.Errorf("members: %s, want %s", got, want)
		}
	})
}

func TestMemberAtANewAddressStaysWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three(t)
		replica := c.place(0)
		replica.find(c.all[0].Address)
		replica.start()
		c.begun(3)
		for i, f := range c.all[2:] {
			f.end(true)
			f.Address = fmt.Sprintf("moved%d:1", i)
			f.start()
		}
		c.until("both are at their new addresses", func() bool {
			return c.memberships() == "n0@host0:1 n1@host1:1 n2@moved0:1 n3@moved1:1"
		})
		c.begun(3)
		for _, f := range c.all {
			f.rig.propose("from " + f.ID)
		}
	})
}

func TestRemovedNodeDoesNotComeBackByItself(t *testing.T) {
	for _, tt := range []struct {
		name string
		away bool // while it is removed
	}{{"it hears of it", false}, {"it is away", true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := three(t)
				gone := c.all[2]
				if tt.away {
					gone.end(true)
				}
				c.until("it is removed", func() bool { return c.all[0].rig.node.Remove(t.Context(), gone.ID) == nil })
				if tt.away {
					gone.start()
				}
				for range 2 {
					gone.says("this node was removed from the cluster")
					if !strings.Contains(gone.log.String(), "remit cluster join n2 host2:1") {
						t.Errorf("it does not say what to do:\n%s", gone.log)
					}
					pass(time.Minute)
					if got := c.memberships(); got != "n0@host0:1 n1@host1:1" {
						t.Errorf("members: %s, want it not to be one", got)
					}
					gone.end(true)
					gone.log = &logLines{}
					gone.start()
				}
				must(t, c.all[0].rig.node.AddNonvoter(t.Context(), gone.Peer))
				c.begun(2)
			})
		})
	}
}

func TestNodeThatWasAloneBeginsToBeFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 3, 3)
		alone := newRig(t, c.all[0].disk, func(cfg *Config) { cfg.NodeID = "n0" })
		alone.open()
		alone.propose("alone")
		alone.close()
		for _, f := range c.all {
			f.start() // with flags for three who begin, which two of them do not
		}
		c.begun(1)
		if got, want := c.memberships(), "n0@host0:1 n1@host1:1 n2@host2:1"; got != want {
			t.Errorf("members: %s, want %s", got, want)
		}
	})
}

// A new node at an old address must not be taken for the one that was there: neither may it
// make up a majority for the leader, nor for another candidate.
func TestNewNodeAtAnOldAddressCountsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three(t)
		leader, other, lost := c.all[0], c.all[1], c.all[2]
		for !leader.rig.node.Status().Serving {
			if err := other.rig.node.TransferLeadership(t.Context(), leader.ID); err != nil {
				t.Log(err)
			}
			pass(time.Second)
		}
		between := func(q clustertest.Quality) {
			c.network.Set(raft.ServerAddress(leader.Address), raft.ServerAddress(other.Address), q)
			c.network.Set(raft.ServerAddress(other.Address), raft.ServerAddress(leader.Address), q)
		}
		// What is acknowledged next, only the leader has after the disk is lost.
		between(cut)
		leader.rig.propose("acknowledged")
		lost.end(true)
		lost.disk, lost.ID = clustertest.NewDisk(), "new"
		lost.start()
		lost.says("waiting to be joined")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := leader.rig.node.Propose(ctx, []byte("by the leader and a stranger")); err == nil {
			t.Error("a leader commits with a node that is no member")
		}
		pass(20 * time.Second)
		for _, f := range c.all {
			if f.node().Status().Serving {
				t.Errorf("node %s leads without a majority", f.ID)
			}
		}
		if s := lost.node().Status(); len(s.Members) != 0 || s.Term != 0 || lost.node().raft.LastIndex() != 0 {
			t.Errorf("the new node is %+v with a log to %d, want it to have heard of nothing", s, lost.node().raft.LastIndex())
		}
		between(normal)
		must(t, leader.rig.node.WaitReady(t.Context()))
		if got := leader.rig.toy.history(); len(got) == 0 || got[0] != "acknowledged" {
			t.Errorf("the log holds %q, want what was acknowledged", got)
		}
		c.until("the old one is removed", func() bool { return other.rig.node.Remove(t.Context(), "n2") == nil })
		c.begun(2)
	})
}

// elsewhere is a node that gives an address at which another one is.
type elsewhere struct {
	*clustertest.Endpoint
	address raft.ServerAddress
}

func (e elsewhere) LocalAddr() raft.ServerAddress { return e.address }

func TestNodeThatIsNotFoundWhereItSaysIsNotJoined(t *testing.T) {
	for address, want := range map[raft.ServerAddress]string{
		"host0:1":   "finds node n0",
		"nowhere:1": "is not reached at nowhere:1",
	} {
		t.Run(string(address), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newForming(t, 1, 1, 1)
				c.all[0].start()
				c.begun(1)
				f := c.place(0)
				f.find(c.all[0].Address)
				f.options = []func(*Config){func(cfg *Config) {
					port := elsewhere{cfg.Transport.(*clustertest.Endpoint), address}
					cfg.Transport, cfg.Peers = port, port
				}}
				f.start()
				f.says(want)
				if got := c.memberships(); got != "n0@host0:1" {
					t.Errorf("members: %s, want n0 alone", got)
				}
			})
		})
	}
}

// A node that has promised to begin with some may be counted by them, so it has no part in
// anything else.
func TestPromiseOutlivesTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 5, 3)
		bound := c.all[2]
		logs := openLogs(t, bound.disk, true)
		kept, err := json.Marshal([]Peer{c.all[0].Peer, c.all[1].Peer, bound.Peer})
		must(t, err)
		must(t, logs.Set(keyPromise, kept))
		must(t, logs.Close())
		for _, f := range c.all[2:] {
			f.start()
		}
		bound.says("n0 at host0:1, n1 at host1:1, n2 at host2:1 agreed to begin together, and have to be heard again: n0 at host0:1, n1 at host1:1")
		c.all[3].says("begin without this node")
		pass(time.Minute)
		for _, f := range c.all[2:] {
			if f.running() {
				t.Errorf("node %s has begun, or is to be joined to nothing", f.ID)
			}
		}
		c.all[0].start()
		c.all[1].start()
		c.begun(3)
		if got, want := strings.NewReplacer("*", "").Replace(c.all[4].members()), "n0 n1 n2 (n3) (n4)"; got != want {
			t.Errorf("members: %s, want %s", got, want)
		}
	})
}

// Nor is it joined to those of whom it knows that they are none of them.
func TestPromisedNodeIsNotJoinedToStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 1, 1)
		c.all[0].start()
		c.begun(1)
		f := c.place(3)
		f.find(c.all[0].Address)
		logs := openLogs(t, f.disk, true)
		kept, err := json.Marshal([]Peer{f.Peer, {"n8", "host8:1"}, {"n9", "host9:1"}})
		must(t, err)
		must(t, logs.Set(keyPromise, kept))
		must(t, logs.SetUint64(keyTerm, 7)) // it has heard of a term, and so it forms no more
		must(t, logs.Close())
		f.start()
		f.says("node n0 is none of those with whom this node agreed to begin")
		pass(time.Minute)
		if got := c.memberships(); got != "n0@host0:1" {
			t.Errorf("members: %s, want n0 alone", got)
		}
	})
}

// Whoever asks a node for its vote that is a member of nothing, does not get it: the asker
// may mean another one, which had its address.
func TestNodeThatIsNoMemberDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 2, 0)
		c.all[0].expect = 1
		for _, f := range c.all {
			f.find()
			f.start()
			f.node()
		}
		c.until("the first leads", func() bool { return c.all[0].rig.node.Status().Serving })
		asker := c.network.Join("asker:1")
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("asker"), Addr: []byte("asker:1")}
		empty := raft.ServerAddress(c.all[1].Address)
		for term := range uint64(3) {
			var pre raft.RequestPreVoteResponse
			must(t, asker.RequestPreVote("", empty, &raft.RequestPreVoteRequest{
				RPCHeader: header, Term: term + 10, LastLogIndex: 100, LastLogTerm: term + 9,
			}, &pre))
			var vote raft.RequestVoteResponse
			must(t, asker.RequestVote("", empty, &raft.RequestVoteRequest{
				RPCHeader: header, Term: term + 10, LastLogIndex: 100, LastLogTerm: term + 9, LeadershipTransfer: true,
			}, &vote))
			if pre.Granted || vote.Granted {
				t.Errorf("a node that is no member votes in term %d: %+v, %+v", term+10, pre, vote)
			}
		}
		if err := asker.TimeoutNow("", empty, &raft.TimeoutNowRequest{RPCHeader: header}, &raft.TimeoutNowResponse{}); err == nil {
			t.Error("a node that is no member stands for election")
		}
		pass(10 * time.Second)
		if s := c.all[1].rig.node.Status(); s.Term != 0 || s.State != "Follower" {
			t.Errorf("it is %+v, want a follower of no term", s)
		}
		// It is joined as if nothing had been.
		must(t, c.all[0].rig.node.AddNonvoter(t.Context(), c.all[1].Peer))
		c.begun(1)
		must(t, c.all[0].rig.node.Promote(t.Context(), c.all[1].ID))
		c.begun(2)
		must(t, c.all[0].rig.node.TransferLeadership(t.Context(), c.all[1].ID))
		c.until("the second leads", func() bool { return c.all[1].rig.node.Status().Serving })
	})
}

// A leader that is cut off writes a node into its own log and the node's, and is replaced. The
// next leader knows nothing of it, and nothing says that somebody wanted the node away.
func TestNodeWhoseAdditionWasNeverCommittedIsJoined(t *testing.T) {
	for _, again := range []string{"it runs on", "it is started again"} {
		t.Run(again, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := three(t)
				var leader *formed
				c.until("a leader", func() bool {
					for _, f := range c.all {
						if f.rig.node.Status().Serving {
							leader = f
						}
					}
					return leader != nil
				})
				for _, f := range c.all {
					c.network.Set(raft.ServerAddress(f.Address), raft.ServerAddress(leader.Address), cut)
					c.network.Set(raft.ServerAddress(leader.Address), raft.ServerAddress(f.Address), cut)
				}
				f := c.place(0)
				f.find()
				f.start()
				go func() { _ = leader.rig.node.AddNonvoter(t.Context(), f.Peer) }() // it fails
				c.until("its log names it", func() bool { return strings.Contains(f.members(), "(n3)") })
				leader.end(true)
				c.network.Heal()
				if again != "it runs on" {
					f.end(true)
					f.start()
				}
				c.sighted()
				c.until("the others have it", func() bool {
					return !slices.ContainsFunc(c.all, func(f *formed) bool {
						m, v := f.voters()
						return f.rig != nil && (m != 4 || v != 3)
					})
				})
				if strings.Contains(f.log.String(), "was removed") {
					t.Errorf("it says that it was removed:\n%s", f.log)
				}
				leader.start()
				c.begun(3)
			})
		})
	}
}
