package main

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// mostStallGap is how long writes may stand still when the leader's disk hangs: the 5 s after
// which it falls silent, what it takes when a leader dies, and a few turns of a busy machine.
const mostStallGap = 5*time.Second + mostKillGap + 2*time.Second

// The leader's disk hangs. Another node leads soon and takes writes; the one with the disk
// ends when that does not change, says why, and comes back when the disk does, with
// everything that was acknowledged.
func TestFleetGoesOnWhenADiskHangs(t *testing.T) {
	f := newFleet(t, 3, 0)
	n := f.nodes[0]
	disk := f.giveDisk(n)
	// What writes to the same disk beside the log does not keep the node from ending.
	n.flags = append(n.flags, "--backup-dir="+filepath.Join(filepath.Dir(n.dir), "backups"), "--backup-interval=100ms", "--backup-keep=2")
	f.startAll()
	store := f.prepare()
	writer := f.writer(f.client(client.Config{AttemptTimeout: time.Second, Attempts: 100}), store, "w")
	stop := probing(t, 50*time.Millisecond, writer)
	if _, err := f.client(client.Config{}).Cluster.TransferLeadership(t.Context(), &remitv1.TransferLeadershipRequest{Id: n.id()}); err != nil && f.leader() != n {
		t.Fatal(err)
	}
	f.await("node "+n.name+" leads", func() bool { return f.leader() == n })
	f.await("there is something to lose", func() bool { return writer.count() > 20 })

	began := time.Now()
	var mend func()
	if disk.freezes() {
		mend = disk.freeze(stalled(2 * readyWithin))
	} else {
		t.Log("the leader is paused in place of its disk")
		n.signal(syscall.SIGSTOP)
		mend = func() { n.signal(syscall.SIGCONT) }
	}
	var again time.Time
	f.await("writes are accepted again", func() (ok bool) {
		again, ok = writer.since(began)
		return ok
	})
	t.Logf("writes are accepted %s after the disk began to hang", again.Sub(began).Round(time.Millisecond))
	if gap := again.Sub(began); gap > mostStallGap {
		t.Errorf("writes stood still for %s, want at most %s", gap, mostStallGap)
	}
	f.await("another node leads", func() bool {
		for _, other := range f.others(n) {
			if info, err := other.info(t.Context()); err == nil && info.GetLeaderId() == info.GetNodeId() {
				return true
			}
		}
		return false
	})
	if disk.freezes() {
		t.Logf("the node says: %s", n.awaitSays("so the disk hangs", "look at the disk"))
		t.Logf("%s after the disk began to hang it gives up", time.Since(began).Round(time.Millisecond))
	}
	mend()
	if disk.freezes() {
		f.await("node "+n.name+" ends", func() bool { return !n.running() })
		if state := n.cmd.ProcessState; state.ExitCode() != exitError {
			t.Errorf("a node whose disk hangs ended with %s", state)
		}
		n.start()
	}
	n.awaitReady()
	stop()
	if err := writer.errors(); err != nil {
		t.Error(err)
	}
	f.wantEqual()
	f.holds(store, "w", writer.count())
}
