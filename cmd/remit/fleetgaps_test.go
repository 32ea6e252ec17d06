package main

import (
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

const (
	// mostKillGap is how long writes may stand still when the leader dies, in the median:
	// a heartbeat's time to notice, as much again at random, an election, and the entry
	// that opens the term.
	mostKillGap = 3 * time.Second
	// mostTransferGap is how long they may stand still when leadership is handed over.
	mostTransferGap = 300 * time.Millisecond
	// mostReadGap is how long a node that goes on may leave a reader without an answer:
	// on a machine that three nodes and their clients share, a few of its turns.
	mostReadGap = 500 * time.Millisecond
)

// A leader is killed under load: another one takes writes soon, and the other nodes answer
// from what they hold as if nothing had happened.
func TestFleetOutlivesItsLeader(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.startAll()
	store := f.prepare()
	writer := f.writer(f.client(client.Config{AttemptTimeout: time.Second, Attempts: 100}), store, "w")
	stop := probing(t, 5*time.Millisecond, writer)
	var gaps, readGaps []time.Duration
	for range volume(3, 20) {
		leader := f.leader()
		var readers []*fleetProbe
		for _, n := range f.others(leader) {
			readers = append(readers, f.reader(n, store))
		}
		rest := probing(t, 5*time.Millisecond, readers...)
		f.await("readers are answered", func() bool { return readers[0].count() > 0 && readers[1].count() > 0 })
		began := time.Now()
		leader.kill()
		var again time.Time
		f.await("writes are accepted again", func() (ok bool) {
			again, ok = writer.since(began)
			return ok
		})
		rest()
		gaps = append(gaps, again.Sub(began))
		for _, r := range readers {
			if err := r.errors(); err != nil {
				t.Errorf("while there was no leader: %v", err)
			}
			readGaps = append(readGaps, gap(began, again, r))
		}
		leader.start()
		leader.awaitReady()
	}
	stop()
	if err := writer.errors(); err != nil {
		t.Error(err)
	}
	t.Logf("writes accepted again after %v, median %s; the longest time that a reader of another node waited: %v", rounded(gaps), median(gaps), rounded(readGaps))
	// Of a few kills, one whose election had to be repeated can be the median.
	if m, most := median(gaps), time.Duration(volume(3, 1))*mostKillGap; m > most {
		t.Errorf("writes are accepted again after %s in the median, want at most %s", m, most)
	}
	if m := median(readGaps); m > mostReadGap {
		t.Errorf("readers waited %s in the median, want at most %s", m, mostReadGap)
	}
	f.wantEqual()
}

// Leadership is handed over under load: nobody is told of it, at whichever node.
func TestFleetHandsLeadershipOver(t *testing.T) {
	f := newFleet(t, 3, 1)
	f.startAll()
	store := f.prepare()
	var writers []*fleetProbe
	for _, n := range f.nodes {
		writers = append(writers, f.writer(f.client(client.Config{Attempts: 1, Forgetful: true}, n), store, n.name))
	}
	stop := probing(t, time.Millisecond, writers...)
	all := f.client(client.Config{})
	cluster := remitv1connect.NewClusterServiceClient(all.Connect())
	var gaps []time.Duration
	for range volume(5, 20) {
		before := f.leader()
		began := time.Now()
		if _, err := cluster.TransferLeadership(t.Context(), &remitv1.TransferLeadershipRequest{}); err != nil {
			t.Fatal(err)
		}
		f.await("another node leads", func() bool { return f.leader() != before })
		f.await("writes go on", func() bool { _, ok := writers[0].since(time.Now().Add(-50 * time.Millisecond)); return ok })
		gaps = append(gaps, gap(began, time.Now(), writers...))
	}
	stop()
	for _, w := range writers {
		if err := w.errors(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("the longest time without an acknowledgement around each of %d transfers: %v, median %s", len(gaps), rounded(gaps), median(gaps))
	if m := median(gaps); m > mostTransferGap {
		t.Errorf("writes stood still for %s in the median, want at most %s", m, mostTransferGap)
	}
	f.wantEqual()
}

// Each node is stopped and started again under load: a client that knows three addresses
// and tries at most four times sees no error.
func TestFleetRestartsOneByOne(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.startAll()
	store := f.prepare()
	var probes []*fleetProbe
	for _, name := range []string{"a", "b", "c", "d"} {
		probes = append(probes, f.writer(f.client(client.Config{Attempts: 4}), store, name))
	}
	stop := probing(t, time.Millisecond, probes...)
	for range volume(1, 3) {
		for _, n := range f.nodes {
			n.stop()
			n.start()
			n.awaitReady()
		}
	}
	stop()
	calls := 0
	for _, p := range probes {
		calls += p.count()
		if err := p.errors(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d writes, none failed", calls)
	f.wantEqual()
}
