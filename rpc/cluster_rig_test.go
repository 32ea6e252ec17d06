package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2/connectinprocess"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/cluster/clustertest"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
)

// inBubble runs a test in virtual time. Pebble keeps what it used for the next database,
// channels included; those of one bubble must not be met outside of it.
func inBubble(t *testing.T, test func(*testing.T)) {
	synctest.Test(t, test)
	runtime.GC() // what a pool holds outlives one collection,
	runtime.GC() // and not two
}

// A fleet is a cluster of whole nodes in one process: the real state machine on a disk in
// memory, Raft over a network in memory, and the services, called in process. It belongs in
// a bubble.
type fleet struct {
	t       testing.TB
	network *clustertest.Network
	rng     *rand.Rand
	first   []cluster.Peer // the voters that the cluster begins with
	all     []*member
	change  []func(*fleetOptions)

	stopping sync.WaitGroup // of nodes that lost their power and do not know it
}

// fleetOptions is what a test may change of a node before it starts.
type fleetOptions struct {
	Cluster cluster.Config
	API     Config
	// Node stands between the services and the node; nil: nothing does.
	Node func(*cluster.Node) backend.Node
}

// A member is one node of a fleet, or the place of one that is down. A node that starts
// again has another rig at the same place.
type member struct {
	*rig
	cluster.Peer
	fleet *fleet
	at    int
	voter bool
	disk  clustertest.Disk

	mu  sync.Mutex
	run *running // guarded by mu; nil: it is down
}

// running is one run of a node.
type running struct {
	clients clients
	state   *fsm.State
	node    *cluster.Node
	logs    *clustertest.LogStore
	port    *clustertest.Endpoint
	dead    atomic.Bool // it has lost its power, and nothing that it says counts
}

// newFleet starts voters and, beside them, nodes without a vote, and waits until all serve.
func newFleet(t testing.TB, seed uint64, voters, replicas int, change ...func(*fleetOptions)) *fleet {
	t.Helper()
	f := &fleet{
		t: t, rng: rand.New(rand.NewPCG(seed, 3)), change: change,
		network: clustertest.NewNetwork(seed, clustertest.Quality{Delay: time.Millisecond, Jitter: time.Millisecond}),
	}
	t.Cleanup(f.close)
	for i := range voters + replicas {
		m := &member{fleet: f, at: i, voter: i < voters, disk: clustertest.NewDisk()}
		m.Peer = cluster.Peer{ID: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("host%d:1", i)}
		if m.voter {
			f.first = append(f.first, m.Peer)
		}
		f.all = append(f.all, m)
	}
	for _, m := range f.all {
		m.start()
	}
	l := f.leader()
	for _, m := range f.all[voters:] {
		if err := l.running().node.AddNonvoter(t.Context(), m.Peer); err != nil {
			t.Fatal(err)
		}
	}
	l.propose(&fsm.Command{Body: &fsm.SetEpoch{To: testEpochNumber}})
	f.ready()
	return f
}

// start opens a node on its disk. Its flags are the same as ever.
func (m *member) start() {
	t := m.fleet.t
	t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: "state", FS: m.disk.FS, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := clustertest.NewLogStore(m.disk.FS, "log", true)
	if err != nil {
		t.Fatal(err)
	}
	port := join(m.fleet.network.Join, m.Address)
	o := fleetOptions{Cluster: cluster.Config{
		NodeID: m.ID, FSM: state, Snapshots: state.Snapshots(), Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers,
		TermStart: fsm.TermStart, DurableIndex: state.DurableIndex, Published: state.Published,
		Logs: logs, Stable: logs, Transport: port, Peers: port, Replica: !m.voter,
	}}
	if m.voter {
		o.Cluster.Bootstrap = m.fleet.first
	}
	for _, f := range m.fleet.change {
		f(&o)
	}
	node, err := cluster.Open(t.Context(), o.Cluster)
	if err != nil {
		t.Fatalf("start node %s: %v", m.ID, err)
	}
	o.API.State, o.API.Node = state, node
	if o.Node != nil {
		o.API.Node = o.Node(node)
	}
	o.API.defaults()
	r := &rig{t: t, config: o.API, server: NewConnectServer(o.API)}
	r.clients = newClients(connectinprocess.New(r.server))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rig = r
	m.run = &running{clients: r.clients, state: state, node: node, logs: logs, port: port}
}

// close stops what runs.
func (r *running) close() error {
	return errors.Join(r.node.Close(), r.state.Close(), r.logs.Close())
}

// running is the node's present run; nil if it is down. Goroutines beside the one that stops
// and starts nodes call its clients and not the rig's.
func (m *member) running() *running {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run
}

// down marks the node as down and returns what ran.
func (m *member) down() *running {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.run
	m.run = nil
	return r
}

// node is the node at a place.
func (f *fleet) node(i int) *member { return f.all[i] }

// up returns the nodes that run.
func (f *fleet) up() []*member {
	return slices.DeleteFunc(slices.Clone(f.all), func(m *member) bool { return m.running() == nil })
}

// ready waits until every node that runs serves.
func (f *fleet) ready() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, m := range f.up() {
		if err := m.running().node.WaitReady(ctx); err != nil {
			f.t.Fatalf("node %s: %v; it is %+v", m.ID, err, m.running().node.Status())
		}
	}
}

// leader waits for a node that leads and that all voters know to lead.
func (f *fleet) leader() *member {
	f.t.Helper()
	for range 1000 {
		up := f.up()
		for _, m := range up {
			if m.running().node.Status().Serving && !slices.ContainsFunc(up, func(o *member) bool { return o.voter && o.running().node.Leader() != m.ID }) {
				return m
			}
		}
		pass(50 * time.Millisecond)
	}
	f.t.Fatal("no leader")
	return nil
}

// follower is a voter that does not lead.
func (f *fleet) follower() *member {
	f.t.Helper()
	l := f.leader()
	for _, m := range f.up() {
		if m != l && m.voter {
			return m
		}
	}
	f.t.Fatal("no follower")
	return nil
}

// toward changes the links from all others to a node, from changes those the other way.
func (f *fleet) toward(i int, q clustertest.Quality) {
	for _, o := range f.all {
		if o.at != i {
			link(f.network.Set, o.Address, f.all[i].Address, q)
		}
	}
}

func (f *fleet) from(i int, q clustertest.Quality) {
	for _, o := range f.all {
		if o.at != i {
			link(f.network.Set, f.all[i].Address, o.Address, q)
		}
	}
}

// join and link call methods of the network, whose addresses have a type of Raft's.

func join[A ~string](do func(A) *clustertest.Endpoint, address string) *clustertest.Endpoint {
	return do(A(address))
}

func link[A ~string](do func(from, to A, q clustertest.Quality), from, to string, q clustertest.Quality) {
	do(A(from), A(to), q)
}

// isolate cuts a node off, in both directions.
func (f *fleet) isolate(i int) {
	f.toward(i, clustertest.Quality{Cut: true})
	f.from(i, clustertest.Quality{Cut: true})
}

// lagTime is how late a node hears that lags: less than what makes it hold an election.
const lagTime = 300 * time.Millisecond

// lag makes a node hear late from all others.
func (f *fleet) lag(i int) { f.toward(i, clustertest.Quality{Delay: lagTime}) }

// heal makes the network well again.
func (f *fleet) heal() { f.network.Heal() }

// stop ends a node in good order.
func (f *fleet) stop(i int) {
	f.t.Helper()
	if r := f.all[i].down(); r != nil {
		if err := r.close(); err != nil {
			f.t.Errorf("close node %s: %v", f.all[i].ID, err)
		}
	}
}

// crash cuts a node's power: of what it did not sync only a part is left, by chance.
func (f *fleet) crash(i, percent int) {
	m := f.all[i]
	r := m.down()
	if r == nil {
		return
	}
	r.dead.Store(true)
	r.port.Leave()
	m.disk = m.disk.Crash(percent, f.rng)
	f.stopping.Go(func() {
		if err := r.close(); err != nil {
			f.t.Errorf("close of node %s, which lost its power: %v", m.ID, err)
		}
	})
}

// restart starts a node that is down on what its disk holds.
func (f *fleet) restart(i int) {
	f.t.Helper()
	if f.all[i].running() == nil {
		f.all[i].start()
	}
}

// transfer has another voter lead, and waits until one does.
func (f *fleet) transfer(to string) {
	f.t.Helper()
	if err := f.leader().running().node.TransferLeadership(context.Background(), to); err != nil {
		f.t.Fatalf("transfer leadership to %q: %v", to, err)
	}
}

// settled waits until all nodes that run show the same, newest revision, and returns it.
func (f *fleet) settled() uint64 {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	index := uint64(0)
	for _, m := range f.up() {
		i, err := m.running().node.ReadIndex(ctx)
		for err != nil && ctx.Err() == nil { // leadership may be on its way
			pass(50 * time.Millisecond)
			i, err = m.running().node.ReadIndex(ctx)
		}
		if err != nil {
			f.t.Fatalf("ReadIndex of node %s: %v; it is %+v", m.ID, err, m.running().node.Status())
		}
		index = max(index, i)
	}
	for _, m := range f.up() {
		if err := m.running().state.Published(ctx, index); err != nil {
			f.t.Fatalf("node %s does not reach revision %d: %v", m.ID, index, err)
		}
	}
	return index
}

// wantSameState compares the states of all nodes that run, at the same revision.
func (f *fleet) wantSameState() {
	f.t.Helper()
	f.settled()
	type at struct{ revision, hash string }
	seen := map[string]at{}
	for _, m := range f.up() {
		revision, hash := m.running().state.StateHash()
		seen[m.ID] = at{fmt.Sprint(revision), fmt.Sprintf("%x", hash)}
	}
	for id, a := range seen {
		if b := seen[f.up()[0].ID]; a != b {
			f.t.Errorf("node %s is at revision %s with hash %s, node %s at %s with %s", id, a.revision, a.hash, f.up()[0].ID, b.revision, b.hash)
		}
	}
}

// close stops all nodes.
func (f *fleet) close() {
	f.t.Helper()
	f.network.Heal()
	var closing sync.WaitGroup
	for i := range f.all {
		closing.Go(func() { f.stop(i) })
	}
	closing.Wait()
	f.stopping.Wait()
}

// pass lets virtual time pass. It is for bubbles only.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // there is no state to wait for: time itself is what the test is about
}
