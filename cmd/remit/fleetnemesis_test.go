package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/remit-authz/remit/cluster/clustertest"
	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A nemesis does to a fleet what machines, networks and people do. What it does follows
// from a seed; how the fleet's processes take turns does not.
type nemesis struct {
	f       *fleet
	seed    uint64
	began   time.Time
	longest time.Duration // that something stays wrong
	disk    *fleetDisk    // is one node's own; nil where none can be made
	ops     *client.Client
	working func() int  // counts what the fleet does for its users
	told    func() bool // somebody has seen what must not be
	kinds   []mishap
	counts  map[string]int

	mu    sync.Mutex
	story []string // guarded by mu
}

// A mishap goes wrong, stays so for a while, and is mended by what it returns.
type mishap struct {
	name    string
	alone   bool // nothing else may be wrong, neither before nor meanwhile
	strike  func(m *nemesis, rng *rand.Rand, n *fleetNode) (mend func())
	proxied bool // only a proxy can do it
}

// mishaps are all that may happen. Those that stand twice are likelier.
var mishaps = []mishap{
	{name: "kill", strike: (*nemesis).kill},
	{name: "kill the leader", strike: (*nemesis).killLeader},
	{name: "kill the leader", strike: (*nemesis).killLeader},
	{name: "kill all", alone: true, strike: (*nemesis).killAll},
	{name: "pause", strike: (*nemesis).pause},
	{name: "pause the leader", strike: (*nemesis).pauseLeader},
	{name: "cut off", strike: (*nemesis).cutOff},
	{name: "cut the leader off", strike: (*nemesis).cutLeaderOff},
	{name: "deafen", strike: (*nemesis).deafen},
	{name: "silence", strike: (*nemesis).silence},
	{name: "bridge", strike: (*nemesis).bridge},
	{name: "slow links", strike: (*nemesis).slowLinks, proxied: true},
	{name: "reset connections", strike: (*nemesis).resetConnections, proxied: true},
	{name: "restart", strike: (*nemesis).restart},
	{name: "hand leadership over", strike: (*nemesis).handOver},
	{name: "clock of the leader", strike: (*nemesis).leaderClock},
	{name: "lose the disk", alone: true, strike: (*nemesis).loseDisk},
	{name: "damage the log", alone: true, strike: (*nemesis).damageLog},
	{name: "fill the disk", strike: (*nemesis).fillDisk},
	{name: "slow the disk", strike: (*nemesis).slowDisk},
	{name: "stall the disk", strike: (*nemesis).stallDisk},
}

// newNemesis is one that goes on for a length. What it has done is told when the test ends.
func newNemesis(f *fleet, seed uint64, length time.Duration) *nemesis {
	m := &nemesis{f: f, seed: seed, began: time.Now(), longest: 1200 * time.Millisecond, kinds: mishaps, counts: map[string]int{}}
	if length > time.Minute {
		m.longest = 6 * time.Second
	}
	f.t.Cleanup(func() {
		f.t.Logf("what happened, with -fleet.seed=%d:\n%s", seed, strings.Join(m.story, "\n"))
	})
	return m
}

func (m *nemesis) tell(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.story = append(m.story, fmt.Sprintf("%8.3fs  %s", time.Since(m.began).Seconds(), fmt.Sprintf(format, args...)))
}

// rage lets things go wrong for a time.
func (m *nemesis) rage(length time.Duration) {
	began := time.Now()
	report := began
	for step := uint64(0); time.Since(began) < length && !m.told(); step++ {
		// All come before one comes again.
		round, turn := step/uint64(len(m.kinds)), step%uint64(len(m.kinds))
		first := m.kinds[rand.New(rand.NewPCG(m.seed, ^round)).Perm(len(m.kinds))[turn]]
		rng := rand.New(rand.NewPCG(m.seed, step))
		second := m.kinds[rng.IntN(len(m.kinds))]
		order := rng.Perm(len(m.f.nodes))
		hold := 300*time.Millisecond + time.Duration(rng.Int64N(int64(m.longest)))
		both, calm := rng.IntN(3) == 0, rng.IntN(3) == 0
		if first.alone {
			m.recovers()
		}
		mend := first.strike(m, rng, m.f.nodes[order[0]])
		m.counts[first.name]++
		mendSecond := func() {}
		if both && !first.alone && !second.alone && first.name != second.name {
			mendSecond = second.strike(m, rng, m.f.nodes[order[1]])
			m.counts[second.name]++
		}
		m.wait(hold)
		mend()
		mendSecond()
		m.f.net.Heal()
		if calm || first.alone {
			m.recovers()
			m.tell("all is well")
		}
		if time.Since(report) > 30*time.Second {
			report = time.Now()
			m.f.t.Logf("after %s: %d things went wrong, %d answers", time.Since(m.began).Round(time.Second), step+1, m.working())
		}
	}
}

// wait lets a while go by, unless somebody saw what must not be.
func (m *nemesis) wait(length time.Duration) {
	over := time.NewTimer(length)
	defer over.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !m.told() {
		select {
		case <-over.C:
			return
		case <-tick.C:
		}
	}
}

// recovers waits until the fleet is whole and works, by itself.
func (m *nemesis) recovers() {
	m.f.t.Helper()
	for _, n := range m.f.nodes {
		n.awaitReady()
	}
	before := m.working()
	m.f.await("the cluster works again", func() bool { return m.working() > before+5 || m.told() })
}

// leader is who leads, as far as somebody says so, and otherwise another node.
func (m *nemesis) leader(other *fleetNode) *fleetNode {
	for _, n := range m.f.nodes {
		if !n.running() {
			continue
		}
		if info, err := n.info(m.f.t.Context()); err == nil && info.GetLeaderId() == info.GetNodeId() {
			return n
		}
	}
	return other
}

func (m *nemesis) kill(_ *rand.Rand, n *fleetNode) (mend func()) {
	n = m.awake(n)
	m.tell("%s is killed", n.name)
	n.kill()
	return func() {
		m.tell("%s starts", n.name)
		n.start()
	}
}

func (m *nemesis) killLeader(rng *rand.Rand, n *fleetNode) (mend func()) {
	return m.kill(rng, m.leader(n))
}

// awake is a node that another mishap has not ended, or one that runs in its place.
func (m *nemesis) awake(n *fleetNode) *fleetNode {
	for _, other := range append([]*fleetNode{n}, m.f.nodes...) {
		if other.running() {
			return other
		}
	}
	return n
}

func (m *nemesis) killAll(_ *rand.Rand, _ *fleetNode) (mend func()) {
	m.tell("all are killed")
	for _, n := range m.f.nodes {
		n.kill()
	}
	return func() {
		m.tell("all start")
		for _, n := range m.f.nodes {
			n.start()
		}
	}
}

func (m *nemesis) pause(_ *rand.Rand, n *fleetNode) (mend func()) {
	n = m.awake(n)
	m.tell("%s is paused", n.name)
	n.signal(syscall.SIGSTOP)
	life := n.life
	return func() {
		if n.running() && n.life == life {
			m.tell("%s goes on", n.name)
			n.signal(syscall.SIGCONT)
		}
	}
}

func (m *nemesis) pauseLeader(rng *rand.Rand, n *fleetNode) (mend func()) {
	return m.pause(rng, m.leader(n))
}

// heal is how mishaps of the network end: all of them, after each step.
func (m *nemesis) heal() { m.tell("the network is whole") }

func (m *nemesis) cutOff(_ *rand.Rand, n *fleetNode) (mend func()) {
	m.tell("%s is cut off", n.name)
	m.f.net.Isolate(n.name)
	return m.heal
}

func (m *nemesis) cutLeaderOff(rng *rand.Rand, n *fleetNode) (mend func()) {
	return m.cutOff(rng, m.leader(n))
}

func (m *nemesis) deafen(_ *rand.Rand, n *fleetNode) (mend func()) {
	m.tell("%s hears nobody", n.name)
	m.f.net.Set(clustertest.Anybody, n.name, clustertest.Fault{Cut: true})
	return m.heal
}

func (m *nemesis) silence(_ *rand.Rand, n *fleetNode) (mend func()) {
	m.tell("nobody hears %s", n.name)
	m.f.net.Set(n.name, clustertest.Anybody, clustertest.Fault{Cut: true})
	return m.heal
}

func (m *nemesis) bridge(_ *rand.Rand, n *fleetNode) (mend func()) {
	m.tell("only %s reaches all", n.name)
	others := m.f.others(n)
	for i, a := range others {
		for j, b := range others {
			if i%2 != j%2 {
				m.f.net.Set(a.name, b.name, clustertest.Fault{Cut: true})
			}
		}
	}
	return m.heal
}

func (m *nemesis) slowLinks(rng *rand.Rand, n *fleetNode) (mend func()) {
	fault := clustertest.Fault{
		Delay: time.Duration(rng.IntN(150)) * time.Millisecond, Jitter: time.Duration(1+rng.IntN(100)) * time.Millisecond,
		Rate: 16<<10 + rng.IntN(1<<20),
	}
	name := n.name
	if rng.IntN(3) == 0 {
		name = clustertest.Anybody
	}
	m.tell("links of %s: %+v", name, fault)
	m.f.net.Set(name, clustertest.Anybody, fault)
	m.f.net.Set(clustertest.Anybody, name, fault)
	return m.heal
}

func (m *nemesis) resetConnections(_ *rand.Rand, n *fleetNode) (mend func()) {
	m.tell("connections of %s are reset", n.name)
	m.f.net.Set(n.name, clustertest.Anybody, clustertest.Fault{Reset: true})
	m.f.net.Set(clustertest.Anybody, n.name, clustertest.Fault{Reset: true})
	return m.heal
}

func (m *nemesis) restart(_ *rand.Rand, n *fleetNode) (mend func()) {
	n = m.awake(n)
	m.tell("%s is stopped", n.name)
	n.signal(syscall.SIGCONT) // one that is paused would not listen
	n.stop()
	return func() {
		m.tell("%s starts", n.name)
		n.start()
	}
}

func (m *nemesis) handOver(_ *rand.Rand, _ *fleetNode) (mend func()) {
	m.transfer("")
	return func() {}
}

// transfer has another node lead, which may be refused: the one of an id, or any.
func (m *nemesis) transfer(id string) {
	ctx, cancel := context.WithTimeout(m.f.t.Context(), 3*time.Second)
	defer cancel()
	_, err := m.ops.Cluster.TransferLeadership(ctx, &remitv1.TransferLeadershipRequest{Id: id, Reason: "a test"})
	m.tell("leadership is handed over to %q: %v", id, err)
}

func (m *nemesis) leaderClock(rng *rand.Rand, n *fleetNode) (mend func()) {
	n = m.leader(n)
	offset := time.Hour
	if rng.IntN(2) == 0 {
		offset = -time.Hour
	}
	m.tell("the clock of %s jumps by %s", n.name, offset)
	n.setClock(offset)
	return func() {
		m.tell("the clock of %s is right", n.name)
		n.setClock(0)
	}
}

// setClock has a node's clock go wrong.
func (n *fleetNode) setClock(offset time.Duration) {
	n.fleet.t.Helper()
	fresh := n.clock() + ".new"
	if err := os.WriteFile(fresh, []byte(offset.String()), 0o600); err != nil {
		n.fleet.t.Fatal(err)
	}
	if err := os.Rename(fresh, n.clock()); err != nil {
		n.fleet.t.Fatal(err)
	}
}

// follower is a voter that does not lead, for what would take a quorum from fewer voters.
func (m *nemesis) follower(n *fleetNode) *fleetNode {
	m.f.awaitVoters(3)
	leader := m.f.leader()
	if n != leader && !n.replica {
		return n
	}
	for _, n := range m.f.voters() {
		if n != leader {
			return n
		}
	}
	return n
}

func (m *nemesis) loseDisk(_ *rand.Rand, n *fleetNode) (mend func()) {
	n = m.follower(n)
	old := n.id()
	m.tell("%s loses its disk", n.name)
	n.kill()
	return func() { m.replace(n, old) }
}

// replace has a node without its data come back as a new one.
func (m *nemesis) replace(n *fleetNode, old string) {
	m.f.t.Helper()
	if err := os.RemoveAll(n.dir); err != nil {
		m.f.t.Fatal(err)
	}
	if _, err := m.ops.Cluster.RemoveMember(m.f.t.Context(), &remitv1.RemoveMemberRequest{Id: old, Reason: "its disk is lost"}); err != nil {
		m.f.t.Fatalf("remove the member whose disk is lost: %v", err)
	}
	m.tell("%s comes back with nothing, for %s", n.name, old)
	n.start()
	n.awaitReady()
	if n.id() == old {
		m.f.t.Fatalf("node %s lost its disk and came back as %s", n.name, old)
	}
	m.f.awaitVoters(3)
}

func (m *nemesis) damageLog(_ *rand.Rand, n *fleetNode) (mend func()) {
	n = m.follower(n)
	old := n.id()
	n.kill()
	m.tell("the end of the log of %s is damaged", n.name)
	m.f.damageEnd(n)
	return func() {
		said := m.f.refuses(n)
		for _, want := range []string{"damaged", "remove"} {
			if !strings.Contains(said, want) {
				m.f.t.Errorf("a node whose log is damaged does not say %q, but:\n%s", want, indent(said))
			}
		}
		m.replace(n, old)
	}
}

// refuses starts a node that must end with an error, and returns what it says on the way.
func (f *fleet) refuses(n *fleetNode, flags ...string) (said string) {
	f.t.Helper()
	log := n.log
	n.log += ".refused"
	defer func() { n.log = log }()
	defer func() { _ = os.Remove(n.log) }()
	n.start(flags...)
	f.await("node "+n.name+" ends", func() bool { return !n.running() })
	text, err := os.ReadFile(n.log)
	if err != nil {
		f.t.Fatal(err)
	}
	if n.cmd.ProcessState.ExitCode() != exitError {
		f.t.Fatalf("node %s should have refused, and ended with %s:\n%s", n.name, n.cmd.ProcessState, indent(string(text)))
	}
	return string(text)
}

func (m *nemesis) fillDisk(rng *rand.Rand, n *fleetNode) (mend func()) {
	if m.disk == nil {
		return m.cutOff(rng, n)
	}
	m.tell("the disk of %s is full", m.disk.node.name)
	empty, err := m.disk.fill()
	if err != nil {
		m.f.t.Fatal(err)
	}
	return func() {
		m.tell("the disk of %s has room", m.disk.node.name)
		if err := empty(); err != nil {
			m.f.t.Fatal(err)
		}
	}
}

// slowPulses leave a disk a quarter of the time: what a node writes takes as long as on one
// that is overloaded. Nothing stays wrong for longer than they last.
var slowPulses = diskPulses{frozen: 150 * time.Millisecond, between: 50 * time.Millisecond, most: 20 * time.Second}

func (m *nemesis) slowDisk(rng *rand.Rand, n *fleetNode) (mend func()) {
	return m.freezeDisk(rng, n, "slow", slowPulses)
}

// stallDisk is, in a long run, for longer than it takes until others have replaced a leader
// that cannot write its log, some 7 s, and for less than a node goes on with such a disk, 10 s.
func (m *nemesis) stallDisk(rng *rand.Rand, n *fleetNode) (mend func()) {
	length := m.longest * 5 / 4
	stall := m.freezeDisk(rng, n, "stalled", stalled(length))
	over := time.Now().Add(length)
	return func() {
		m.wait(time.Until(over))
		stall()
	}
}

// freezeDisk half of the time makes the node lead whose disk it is.
func (m *nemesis) freezeDisk(rng *rand.Rand, n *fleetNode, how string, p diskPulses) (mend func()) {
	if !m.disk.freezes() || m.disk.frozen || m.disk.node.waits() {
		return m.cutOff(rng, n)
	}
	n = m.disk.node
	if rng.IntN(2) == 0 && n.running() {
		m.transfer(n.id())
	}
	m.tell("the disk of %s is %s", n.name, how)
	thaw := m.disk.freeze(p)
	return func() {
		thaw()
		m.tell("the disk of %s is well", n.name)
	}
}

// waits reports whether a node that runs waits for its disk still, or cannot say: two stalls
// would be one to it.
func (n *fleetNode) waits() bool {
	if !n.running() {
		return false
	}
	stalled, err := n.measure("remit_log_stalled_seconds")
	return err != nil || stalled > 0
}

// damageEnd changes a byte of the newest entry of a log.
func (f *fleet) damageEnd(n *fleetNode) {
	f.t.Helper()
	name := filepath.Join(n.dir, "raft", "raft.db")
	logs, err := raftboltdb.New(raftboltdb.Options{Path: name, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second}})
	if err != nil {
		f.t.Fatal(err)
	}
	last, err := logs.LastIndex()
	var entry raft.Log
	if err == nil {
		err = logs.GetLog(last, &entry)
	}
	if closeErr := logs.Close(); err != nil || closeErr != nil {
		f.t.Fatal(err, closeErr)
	}
	file, err := os.ReadFile(name)
	if err != nil {
		f.t.Fatal(err)
	}
	damaged := 0
	for at := 0; len(entry.Data) > 0; damaged++ {
		i := bytes.Index(file[at:], entry.Data)
		if i < 0 {
			break
		}
		at += i
		file[at+len(entry.Data)/2] ^= 0x10
		at++
	}
	if damaged == 0 {
		f.t.Fatalf("entry %d, of %d bytes, is not in the log's file", last, len(entry.Data))
	}
	if err := os.WriteFile(name, file, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// awaitVoters waits until so many members have a vote, and all that run are members.
func (f *fleet) awaitVoters(count int) {
	f.t.Helper()
	c, err := client.New(client.Config{Addrs: f.addrs(), AttemptTimeout: 2 * time.Second, Forgetful: true})
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	var last string
	defer func() {
		if f.t.Failed() {
			f.t.Log(last)
		}
	}()
	f.await(fmt.Sprintf("%d members vote", count), func() bool {
		is, err := c.Cluster.GetCluster(f.t.Context(), &remitv1.GetClusterRequest{})
		last = fmt.Sprint(is, err)
		return err == nil && int(is.GetVoters()) == count
	})
}

// addrs are where the nodes' API is.
func (f *fleet) addrs() (addrs []string) {
	for _, n := range f.nodes {
		addrs = append(addrs, n.addr)
	}
	return addrs
}
