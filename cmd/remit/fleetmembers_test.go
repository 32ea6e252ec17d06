package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/remit-authz/remit/rpc/client"
	"github.com/remit-authz/remit/rpc/gate/gatetest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// quickPilot gives new nodes a vote soon.
var quickPilot = &remitv1.Autopilot{ServerStabilizationTime: durationpb.New(200 * time.Millisecond)}

// remove ends a node's membership, and then the node.
func (f *fleet) remove(n *fleetNode, voters int) {
	f.t.Helper()
	c := f.client(client.Config{AttemptTimeout: 5 * time.Second})
	if _, err := c.Cluster.RemoveMember(f.t.Context(), &remitv1.RemoveMemberRequest{Id: n.id()}); err != nil {
		f.t.Fatalf("remove node %s: %v", n.name, err)
	}
	f.nodes = f.others(n)
	f.gone = append(f.gone, n)
	f.awaitVoters(voters) // asks the others: who was removed may not have heard of it
	n.stop()
}

// enter starts nodes that were prepared, which join and get their votes.
func (f *fleet) enter(voters int, nodes ...*fleetNode) {
	f.t.Helper()
	f.nodes = append(f.nodes, nodes...)
	for _, n := range nodes {
		n.start()
	}
	for _, n := range nodes {
		n.awaitReady()
	}
	f.awaitVoters(voters)
}

// spare prepares a node that is not part of the fleet yet.
func (f *fleet) spare(name string) *fleetNode {
	n := f.add(name)
	f.nodes = f.others(n)
	return n
}

// A cluster grows to five voters under load, shrinks to three again, has its last old node
// replaced, and a read replica joins: writers notice nothing.
func TestFleetReplacesItsNodes(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.startAll()
	f.pilot(quickPilot)
	store := f.prepare()
	first := slices.Clone(f.nodes)
	var spares []*fleetNode
	for _, name := range []string{"n4", "n5", "n6"} {
		spares = append(spares, f.spare(name))
	}
	everybody := append(slices.Clone(first), spares...)
	writer := f.writer(f.client(client.Config{AttemptTimeout: 3 * time.Second}, everybody...), store, "w")
	stop := probing(t, 5*time.Millisecond, writer)
	f.enter(5, spares[:2]...)
	f.remove(first[0], 4)
	f.remove(first[1], 3)
	replica := f.spare("r1")
	replica.replica = true
	f.enter(4, spares[2], replica)
	f.remove(first[2], 3)
	before := writer.count()
	f.await("writes go on", func() bool { return writer.count() > before+10 })
	stop()
	if err := writer.errors(); err != nil {
		t.Error(err)
	}
	f.wantEqual()
	is, err := f.client(client.Config{}).Cluster.GetCluster(t.Context(), &remitv1.GetClusterRequest{})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[remitv1.Member_Kind]int{}
	for _, m := range is.GetMembers() {
		kinds[m.GetKind()]++
		if (m.GetId() == replica.id()) != (m.GetKind() == remitv1.Member_KIND_REPLICA) {
			t.Errorf("member %s is a %s", m.GetId(), m.GetKind())
		}
	}
	if kinds[remitv1.Member_KIND_VOTER] != 3 || len(is.GetMembers()) != 4 || !is.GetHealthy() {
		t.Errorf("members are %v, want three voters and a replica, all healthy", is)
	}
	t.Logf("%d writes, none failed", writer.count())
}

// awaitSays waits until a node has logged a line with all of some texts, and returns it.
func (n *fleetNode) awaitSays(texts ...string) (line string) {
	n.fleet.t.Helper()
	n.fleet.await("node "+n.name+" says "+strings.Join(texts, " … "), func() bool {
		said, err := os.ReadFile(n.log)
		if err != nil {
			return false
		}
		for l := range strings.Lines(string(said)) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(l, text) }) {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

// unharmed is that the cluster writes and is of one mind.
func (f *fleet) unharmed(writer *fleetProbe) {
	f.t.Helper()
	before := writer.count()
	f.await("writes go on", func() bool { return writer.count() > before+3 })
	if err := writer.errors(); err != nil {
		f.t.Error(err)
	}
}

// What must not join does not, is told why, and does the cluster no harm.
func TestFleetRefusesWhoDoesNotBelong(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.startAll()
	f.pilot(quickPilot)
	store := f.prepare()
	writer := f.writer(f.client(client.Config{AttemptTimeout: 3 * time.Second}), store, "w")
	stop := probing(t, 20*time.Millisecond, writer)
	stranger := func(name string) *fleetNode {
		n := f.spare(name)
		f.gone = append(f.gone, n)
		return n
	}

	// A node that is to begin a cluster of three, and knows only itself.
	alone := stranger("alone")
	alone.join = alone.peer
	if said := f.refuses(alone); !strings.Contains(said, "join names only this node") || !strings.Contains(said, "name the others") {
		t.Errorf("a node that is told to join itself says:\n%s", indent(said))
	}
	f.unharmed(writer)

	// The data directory of a member, copied and started a second time.
	original := f.others(f.leader())[0]
	copied := stranger("copied")
	original.stop()
	if err := os.CopyFS(copied.dir, os.DirFS(original.dir)); err != nil {
		t.Fatal(err)
	}
	original.start()
	original.awaitReady()
	copied.start()
	t.Logf("a copy of a member's data says: %s", copied.awaitSays("a copy of its data", "stop one of the two"))
	if copied.ready("") {
		t.Error("a copy of a member's data is ready")
	}
	f.unharmed(writer)
	copied.end()

	// A member that was removed, and starts again. It takes a while to find out.
	f.remove(original, 2)
	original.start()

	// A node of another cluster, which is told to join this one.
	other := newFleet(t, 1, 0)
	other.startAll()
	other.prepare()
	theirs := other.nodes[0]
	theirs.stop()
	foreign := stranger("foreign")
	if err := os.CopyFS(foreign.dir, os.DirFS(theirs.dir)); err != nil {
		t.Fatal(err)
	}
	foreign.start()
	t.Logf("a node of another cluster says: %s", foreign.awaitSays("cluster"))
	f.unharmed(writer)
	foreign.end()

	// The last voter stays.
	other.startAll()
	_, err := other.client(client.Config{}).Cluster.RemoveMember(t.Context(), &remitv1.RemoveMemberRequest{Id: theirs.id()})
	if err == nil || !strings.Contains(err.Error(), "is the last voter; promote another one first") {
		t.Errorf("removal of the last voter: %v", err)
	}
	other.prepareAgain()

	// The one that was removed comes back when its data directory is empty.
	original.awaitSays("was removed from the cluster", "remit cluster join")
	f.unharmed(writer)
	original.end()
	f.awaitVoters(2)
	if err := os.RemoveAll(original.dir); err != nil {
		t.Fatal(err)
	}
	f.gone = slices.DeleteFunc(f.gone, func(n *fleetNode) bool { return n == original })
	f.enter(3, original)
	stop()
	f.wantEqual()
}

// prepareAgain writes something, to show that it can.
func (f *fleet) prepareAgain() {
	f.t.Helper()
	if _, err := f.client(client.Config{}).Stores.CreateStore(f.t.Context(), &remitv1.CreateStoreRequest{Name: "another"}); err != nil {
		f.t.Error(err)
	}
}

// Nodes with certificates of the same CA make a cluster, and one with another's is let in
// by nobody and says so.
func TestFleetKnowsItsNodesByCertificates(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := gatetest.NewCA(t, "ours"), gatetest.NewCA(t, "theirs")
	roots := gatetest.File(t, dir, "ca.crt", ours.PEM())
	cert, key := ours.Node(gatetest.Certificate{}).Files(t, dir, "node")
	f := newFleet(t, 3, 0, "--peer-tls-ca", roots, "--peer-tls-cert", cert, "--peer-tls-key", key)
	f.startAll()
	store := f.prepare()
	writer := f.writer(f.client(client.Config{AttemptTimeout: 3 * time.Second}), store, "w")
	stop := probing(t, 20*time.Millisecond, writer)

	wrong := f.spare("wrong")
	f.gone = append(f.gone, wrong)
	cert, key = theirs.Node(gatetest.Certificate{}).Files(t, dir, "wrong")
	wrong.start("--peer-tls-cert", cert, "--peer-tls-key", key)
	t.Logf("a node with a certificate of another CA says: %s", wrong.awaitSays("certificate"))
	f.unharmed(writer)
	wrong.end()

	plain := f.spare("plain")
	f.gone = append(f.gone, plain)
	plain.start("--peer-tls-ca=", "--peer-tls-cert=", "--peer-tls-key=")
	t.Logf("a node without certificates says: %s", plain.awaitSays("TLS"))
	f.unharmed(writer)
	plain.end()
	stop()
	f.wantEqual()
}

// Settings that contradict each other are refused before anything is made.
func TestFleetSettingsThatContradictEachOther(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for want, args := range map[string][]string{
		"join is given without peer-addr":             {"--join", "127.0.0.1:7071"},
		"replica is given without peer-addr":          {"--replica"},
		"this node is a replica, which never votes":   {"--peer-addr", "127.0.0.1:0", "--replica", "--bootstrap-expect", "3", "--join", "127.0.0.1:7071"},
		"replica needs join or gossip-addr":           {"--peer-addr", "127.0.0.1:0", "--replica"},
		"nothing says where the others are":           {"--peer-addr", "127.0.0.1:0", "--bootstrap-expect", "3"},
		"must be from 0 to 9":                         {"--peer-addr", "127.0.0.1:0", "--bootstrap-expect", "10", "--join", "127.0.0.1:7071"},
		"peer-tls-key":                                {"--peer-addr", "127.0.0.1:0", "--peer-tls-cert", "node.crt"},
		"or give peer-tls-cert":                       {"--peer-addr", "0.0.0.0:7071", "--join", "10.0.0.1:7071"},
		"peer-advertise \"nowhere\" is not host:port": {"--peer-addr", "127.0.0.1:0", "--peer-advertise", "nowhere"},
		"or give gossip-key-file":                     {"--peer-addr", "127.0.0.1:0", "--gossip-addr", "0.0.0.0:7072"},
		"gossip-addr is missing, where to gossip":     {"--peer-addr", "127.0.0.1:0", "--gossip-join", "127.0.0.1:7072"},
	} {
		refused(t, want, append([]string{"serve", "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0", "--data-dir", dir}, args...)...)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("settings were refused and a data directory made: %v", err)
	}
}
