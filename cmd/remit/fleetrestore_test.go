package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// grow has nodes without data join a fleet of one, until it has three voters.
func (f *fleet) grow() {
	f.t.Helper()
	f.pilot(quickPilot)
	joining := []*fleetNode{f.spare("joined1"), f.spare("joined2")}
	for _, n := range joining {
		n.flags = []string{"--bootstrap-expect=0"}
	}
	f.enter(3, joining...)
}

// holds is that every node knows so many tuples of a writer, by number from 0 on.
func (f *fleet) holds(store, name string, count int) {
	f.t.Helper()
	for _, n := range f.nodes {
		c := f.client(client.Config{AttemptTimeout: 5 * time.Second, Forgetful: true}, n)
		for i := range count {
			answer, err := c.Access.Check(f.t.Context(), &remitv1.CheckRequest{
				Scope: &remitv1.Scope{Store: store, Consistency: fullyConsistent},
				Question: &remitv1.Question{
					Object: fmt.Sprintf("document:%s-%d", name, i), Relation: "viewer", Subject: "user:" + name,
				},
			})
			if err != nil || !answer.GetAllowed() {
				f.t.Fatalf("node %s, tuple %d of %d: %v, %v", n.name, i, count, answer, err)
			}
		}
	}
}

// epoch is what tells the fleet's history from others.
func (f *fleet) epoch() string {
	f.t.Helper()
	is, err := f.client(client.Config{}).Cluster.GetCluster(f.t.Context(), &remitv1.GetClusterRequest{})
	if err != nil {
		f.t.Fatal(err)
	}
	return is.GetEpoch()
}

// anotherHistory is what becomes of a token of the history before.
func (f *fleet) anotherHistory(store, token string) {
	f.t.Helper()
	question := &remitv1.Question{Object: "document:w-0", Relation: "viewer", Subject: "user:w"}
	for _, n := range f.nodes {
		c := f.client(client.Config{AttemptTimeout: 5 * time.Second, Forgetful: true}, n)
		answer, err := c.Access.Check(f.t.Context(), &remitv1.CheckRequest{Scope: &remitv1.Scope{Store: store, Consistency: atLeastAsFresh(token)}, Question: question})
		if err != nil || !answer.GetAllowed() {
			f.t.Errorf("node %s, at least as fresh as a token of before: %v, %v", n.name, answer, err)
		}
		exact := &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token}}
		_, err = c.Access.Check(f.t.Context(), &remitv1.CheckRequest{Scope: &remitv1.Scope{Store: store, Consistency: exact}, Question: question})
		if !hasReason(err, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE) {
			f.t.Errorf("node %s, exactly at a token of before: %v", n.name, err)
		}
	}
}

// A backup that a follower saves under load becomes a cluster of its own: with all that was
// acknowledged before, and a history of which the old one's tokens know nothing.
func TestFleetBeginsWithABackup(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.startAll()
	store := f.prepare()
	writer := f.writer(f.client(client.Config{AttemptTimeout: 3 * time.Second}), store, "w")
	stop := probing(t, time.Millisecond, writer)
	f.await("there is something to save", func() bool { return writer.count() > 30 })
	acknowledged := writer.count()
	folder, dir := t.TempDir(), filepath.Join(t.TempDir(), "restored")
	must(t, "backup", "save", folder, "--addr", f.others(f.leader())[0].addr)
	token := f.token(store)
	stop()
	if err := writer.errors(); err != nil {
		t.Error(err)
	}
	epoch := f.epoch()
	must(t, "backup", "restore", folder, "--data-dir", dir)

	g := newFleet(t, 1, 0)
	g.nodes[0].dir = dir
	g.startAll()
	g.grow()
	if is := g.epoch(); is == epoch {
		t.Errorf("both clusters have the epoch %s", is)
	}
	g.holds(store, "w", acknowledged)
	g.anotherHistory(store, token)
	again := g.writer(g.client(client.Config{}), store, "again")
	for i := range 5 {
		if err := again.call(t.Context(), i); err != nil {
			t.Error(err)
		}
	}
	g.wantEqual()
}

// token is one of the newest state.
func (f *fleet) token(store string) string {
	f.t.Helper()
	res, err := f.client(client.Config{}).Tuples.Read(f.t.Context(), &remitv1.ReadRequest{Store: store, PageSize: 1, Consistency: fullyConsistent})
	if err != nil {
		f.t.Fatal(err)
	}
	return res.GetToken()
}

// Two of three nodes are lost. The third goes on alone when it is told to, with all that it
// has, and grows again; a lost one that comes back after all is not let in.
func TestFleetGoesOnFromOneNode(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.startAll()
	store := f.prepare()
	writer := f.writer(f.client(client.Config{AttemptTimeout: 3 * time.Second}), store, "w")
	stop := probing(t, time.Millisecond, writer)
	f.await("there is something to lose", func() bool { return writer.count() > 30 })
	stop()
	f.wantEqual()
	acknowledged, token, epoch := writer.count(), f.token(store), f.epoch()
	survivor := f.leader()
	lost := f.others(survivor)
	lost[0].stop()
	lost[1].kill()
	survivor.kill()

	// Alone it is never ready.
	survivor.start()
	f.await("the survivor starts", survivor.healthy)
	refused(t, "data directory in use", "cluster", "recover", "--data-dir", survivor.dir)
	survivor.stop()
	if survivor.ready("") {
		t.Error("one node of three is ready")
	}
	told := must(t, "cluster", "recover", "--data-dir", survivor.dir)
	if kept, err := filepath.Glob(filepath.Join(survivor.dir, "before-recovery-*")); err != nil || len(kept) != 1 {
		t.Errorf("recover kept %v, %v, and said:\n%s", kept, err, indent(told))
	}

	f.nodes, f.gone = []*fleetNode{survivor}, slices.Clone(lost)
	survivor.flags = []string{"--bootstrap-expect=0"} // the others' addresses are still in its list
	survivor.join = survivor.peer + "," + lost[0].peer
	survivor.start()
	survivor.awaitReady()
	f.grow()
	if is := f.epoch(); is == epoch {
		t.Errorf("the epoch is still %s", is)
	}
	f.holds(store, "w", acknowledged)
	f.anotherHistory(store, token)

	again := f.writer(f.client(client.Config{}), store, "again")
	stop = probing(t, 20*time.Millisecond, again)
	back := lost[0]
	back.start()
	t.Logf("a lost node that comes back says: %s", back.awaitSays("of another cluster"))
	f.unharmed(again)
	back.end()
	stop()
	f.wantEqual()
}
