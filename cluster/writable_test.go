package cluster

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// disks say which nodes have no room.
type disks struct{ full sync.Map }

var errFull = errors.New("1 MiB is left on /data, less than is kept back")

func (d *disks) set(p *peer, full bool) { d.full.Store(p.ID, full) }

func (d *disks) option(cfg *Config) {
	cfg.Writable = func() error {
		if full, _ := d.full.Load(cfg.NodeID); full == true {
			return errFull
		}
		return nil
	}
}

// terms counts the terms that were opened.
func (c *peers) terms() (n uint64) {
	for _, p := range c.all {
		n += p.node.Counters().Terms
	}
	return n
}

// wantRefusal expects writes to be refused everywhere, with a reason.
func (c *peers) wantRefusal(reason string) {
	c.t.Helper()
	for _, p := range c.up() {
		if _, err := p.node.Propose(c.t.Context(), []byte("x")); !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), reason) {
			c.t.Errorf("Propose at node %s: error %v, want %v and %q", p.ID, err, ErrReadOnly, reason)
		}
	}
}

func TestLeaderWithoutRoomHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disks
		c := newPeers(t, 1, 3, d.option)
		pass(3 * time.Second)
		l := c.leader()
		next, last := c.others(l)[0], c.others(l)[1]
		d.set(l, true)
		d.set(next, true)
		pass(lookInterval)
		c.wantRefusal(errFull.Error())
		// Two of three should not be written, so nobody gains by another leader.
		pass(time.Minute)
		c.wantRefusal(errFull.Error())
		if _, err := l.node.ReadIndex(t.Context()); err != nil {
			t.Errorf("ReadIndex: %v, want reads to go on", err)
		}
		d.set(next, false)
		c.within(yieldInterval+2*time.Second, "handed over", func() bool { return c.leader() != l })
		c.ready()
		c.leader().propose("under another")

		// The leader has room, and a quorum has not.
		l = c.leader()
		d.set(next, true)
		d.set(last, true)
		d.set(l, false)
		d.set(c.others(l)[0], true)
		d.set(c.others(l)[1], true)
		pass(2 * lookInterval)
		terms := c.terms()
		c.wantRefusal("no quorum")
		pass(time.Minute)
		if c.terms() != terms || c.leader() != l {
			t.Errorf("%d terms were opened while nobody could do better", c.terms()-terms)
		}
		h, err := last.node.Health(t.Context())
		must(t, err)
		if !strings.Contains(h.Refusal, errFull.Error()) {
			t.Errorf("health tells %q", h.Refusal)
		}
		d.set(c.others(l)[0], false)
		pass(2 * lookInterval)
		last.propose("again")
		c.same()
	})
}

// Leadership goes to and fro no faster than is bounded, however fast disks fill and empty.
func TestLeadershipIsNotPassedOnAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disks
		c := newPeers(t, 1, 3, d.option)
		before := c.terms()
		const minutes = 5
		for range minutes * 60 {
			for _, p := range c.all {
				d.set(p, p.node.Status().Serving) // whoever leads has no room
			}
			pass(time.Second)
		}
		// Each of three nodes hands over once in an interval at most.
		if passed, most := c.terms()-before, uint64(3*minutes*time.Minute/yieldInterval); passed > most || passed == 0 {
			t.Errorf("leadership was passed on %d times in %d minutes, want 1 to %d", passed, minutes, most)
		}
		for _, p := range c.all {
			d.set(p, false)
		}
		pass(2 * lookInterval)
		c.leader().propose("x")
		c.same()
	})
}

func TestNodeThatIsAloneRefusesWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d disks
		r := newRig(t, clustertest.NewDisk(), d.option)
		n := r.open()
		r.propose("a")
		d.full.Store("n1", true)
		if _, err := n.Propose(t.Context(), []byte("b")); !errors.Is(err, ErrReadOnly) || !errors.Is(err, errFull) {
			t.Errorf("Propose: error %v, want %v and %v", err, ErrReadOnly, errFull)
		}
		if _, err := n.ReadIndex(t.Context()); err != nil {
			t.Errorf("ReadIndex: %v, want reads to go on", err)
		}
		h, err := n.Health(t.Context())
		if err != nil || h.Refusal == "" || len(h.Members) != 1 || !h.Members[0].Voter {
			t.Errorf("Health = %+v, %v", h, err)
		}
		d.full.Store("n1", false)
		r.propose("c")
		r.close()
	})
}
