package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/remit-authz/remit/cluster/clustertest"
	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A fleet is a cluster of real processes on this machine.
type fleet struct {
	t     *testing.T
	flags []string
	net   fleetNetwork // by which nodes reach each other; nil is this machine's own
	nodes []*fleetNode
	gone  []*fleetNode // are no part of it, and may run

	expected []string // parts of errors that nodes may log
}

// A fleetNode is one process after the other on the same data and addresses.
type fleetNode struct {
	fleet   *fleet
	name    string
	dir     string
	replica bool
	flags   []string // beside the fleet's
	join    string   // where it finds others; "" is at the fleet's nodes
	program string   // what it runs; "" is this one
	within  []string // the command by which it is started, with its arguments; empty is none

	addr, grpc, admin, peer, advertise string

	life   int // how often it was started
	cmd    *exec.Cmd
	began  time.Time     // when the process was started
	exited chan struct{} // closed when the process has ended
	log    string        // the file of what it says
}

// newFleet makes nodes; none of them runs yet.
func newFleet(t *testing.T, voters, replicas int, flags ...string) *fleet {
	t.Helper()
	return assemble(t, nil, voters, replicas, flags...)
}

// newFaultyFleet makes nodes that reach each other through a proxy.
func newFaultyFleet(t *testing.T, voters, replicas int, flags ...string) *fleet {
	t.Helper()
	return assemble(t, fleetProxy{clustertest.NewProxy(t)}, voters, replicas, flags...)
}

// A fleetNetwork is what nodes reach each other by, and can go wrong between any two.
type fleetNetwork interface {
	enter(n *fleetNode) // gives a node its place, before it is started for the first time
	knows(n *fleetNode) // is told of a node that has an id
	Set(from, to string, fault clustertest.Fault)
	Isolate(name string)
	Heal()
}

// A fleetProxy stands in front of every node's port for others.
type fleetProxy struct{ *clustertest.Proxy }

func (p fleetProxy) enter(n *fleetNode) { n.advertise = p.Front(n.name, n.peer) }

func (p fleetProxy) knows(n *fleetNode) { p.Name(n.id(), n.name) }

func assemble(t *testing.T, network fleetNetwork, voters, replicas int, flags ...string) *fleet {
	t.Helper()
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN", "REMIT_ADDR"} {
		t.Setenv(name, "")
	}
	f := &fleet{t: t, net: network, flags: append([]string{"--log-level=info", "--bootstrap-expect=" + fmt.Sprint(voters)}, flags...)}
	for i := range voters + replicas {
		n := f.add(fmt.Sprintf("n%d", i+1))
		n.replica = i >= voters
	}
	t.Cleanup(func() {
		for _, n := range append(slices.Clone(f.nodes), f.gone...) {
			n.end()
		}
		f.worry()
		if t.Failed() {
			f.tell()
		}
	})
	return f
}

// add makes one more node.
func (f *fleet) add(name string) *fleetNode {
	ports := freePorts(f.t, 4)
	n := &fleetNode{
		fleet: f, name: name, dir: filepath.Join(f.t.TempDir(), name),
		addr: ports[0], grpc: ports[1], admin: ports[2], peer: ports[3], advertise: ports[3],
		log: filepath.Join(f.t.TempDir(), name+".log"),
	}
	if f.net != nil {
		f.net.enter(n)
	}
	f.nodes = append(f.nodes, n)
	return n
}

// usedPorts keeps tests that run one after the other from meeting each other's leftovers.
var usedPorts = struct {
	sync.Mutex
	m map[string]bool
}{m: map[string]bool{}}

// freePorts finds addresses on which nobody listens, below the ports that systems dial from (Linux
// from 32768): of those one can be taken while its node is away, even by who dials it.
func freePorts(t *testing.T, count int) (addrs []string) {
	t.Helper()
	usedPorts.Lock()
	defer usedPorts.Unlock()
	for len(addrs) < count {
		if len(usedPorts.m) > 5000 {
			t.Fatal("no port is free")
		}
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(10_000))
		if usedPorts.m[addr] {
			continue
		}
		usedPorts.m[addr] = true
		l, err := net.Listen("tcp", addr)
		if err != nil { // somebody has it
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, addr)
	}
	return addrs
}

// startAll starts every node that does not run, and waits until they are ready.
func (f *fleet) startAll() {
	f.t.Helper()
	for _, n := range f.nodes {
		if !n.running() {
			n.start()
		}
	}
	for _, n := range f.nodes {
		n.awaitReady()
	}
}

// join is where nodes find each other.
func (f *fleet) join() string {
	var peers []string
	for _, n := range f.nodes {
		peers = append(peers, n.advertise)
	}
	return strings.Join(peers, ",")
}

// start runs the node's process; it is not ready yet.
func (n *fleetNode) start(flags ...string) {
	f := n.fleet
	f.t.Helper()
	args := append([]string{
		"serve", "--data-dir", n.dir, "--addr", n.addr, "--grpc-addr", n.grpc, "--admin-addr", n.admin,
		"--peer-addr", n.peer, "--peer-advertise", n.advertise, "--join", cmp.Or(n.join, f.join()),
	}, f.flags...)
	if n.replica {
		args = append(args, "--replica", "--bootstrap-expect=0")
	}
	args = append(append(args, n.flags...), flags...)
	said, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	line := append(append(slices.Clone(n.within), cmp.Or(n.program, os.Args[0])), args...)
	n.cmd = exec.Command(line[0], line[1:]...)
	n.cmd.Env = append(os.Environ(), asRemit+"=1", "GORACE=halt_on_error=1 exitcode=66", clockFile+"="+n.clock())
	n.cmd.Stdout, n.cmd.Stderr = said, said
	if err := errors.Join(n.cmd.Start(), said.Close()); err != nil {
		f.t.Fatal(err)
	}
	n.life++
	n.began = time.Now()
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait() // its state is looked at where that matters
		close(exited)
	}(n.cmd, n.exited)
}

// clock is the file that sets the node's clock wrong, if it is there.
func (n *fleetNode) clock() string { return n.log + ".clock" }

// id is what the node is called by others, while it keeps its data directory.
func (n *fleetNode) id() string {
	n.fleet.t.Helper()
	id, err := os.ReadFile(filepath.Join(n.dir, "raft", "node-id"))
	if err != nil {
		n.fleet.t.Fatal(err)
	}
	return strings.TrimSpace(string(id))
}

// running reports whether there is a process that has not ended.
func (n *fleetNode) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

func (n *fleetNode) signal(s os.Signal) {
	n.fleet.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.fleet.t.Fatalf("node %s: %v", n.name, err)
	}
}

// kill ends the process without warning. It must have lasted until then.
func (n *fleetNode) kill() {
	n.fleet.t.Helper()
	n.signal(syscall.SIGKILL)
	<-n.exited
	if n.cmd.ProcessState.Exited() {
		n.fleet.t.Fatalf("node %s had ended by itself: %s", n.name, n.cmd.ProcessState)
	}
}

// stop ends the process as an operator does. One that has only just begun may not listen to
// signals yet.
func (n *fleetNode) stop() {
	n.fleet.t.Helper()
	young := time.Since(n.began) < time.Second
	n.signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(time.Minute):
		n.fleet.t.Fatalf("node %s does not stop", n.name)
	}
	state := n.cmd.ProcessState
	status, _ := state.Sys().(syscall.WaitStatus)
	early := young && status.Signaled() && status.Signal() == syscall.SIGTERM
	if state.ExitCode() != 0 && !early {
		n.fleet.t.Fatalf("node %s ended with %s", n.name, state)
	}
}

// end ends the process whatever it does.
func (n *fleetNode) end() {
	if n.running() {
		_ = n.cmd.Process.Kill() // SIGKILL ends one that is paused, too
		<-n.exited
	}
}

// readyWithin is how long anything that must happen by itself may take on a slow machine.
const readyWithin = 60 * time.Second

// ready reports whether the node says so; query may say how far it may lag.
func (n *fleetNode) ready(query string) bool { return n.says("/readyz" + query) }

// healthy reports whether the node runs, be it that it starts.
func (n *fleetNode) healthy() bool { return n.says("/healthz") }

// direct asks no proxy, whatever the environment says.
var direct = &http.Transport{}

// says reports whether one of the pages about the node says yes.
func (n *fleetNode) says(page string) bool {
	c := http.Client{Timeout: time.Second, Transport: direct}
	res, err := c.Get("http://" + n.admin + page)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

func (n *fleetNode) awaitReady() {
	n.fleet.t.Helper()
	n.fleet.await("node "+n.name+" is ready", func() bool {
		if !n.running() {
			n.fleet.t.Fatalf("node %s has ended: %s", n.name, n.cmd.ProcessState)
		}
		return n.ready("")
	})
	if n.fleet.net != nil {
		n.fleet.net.knows(n)
	}
}

// await waits until something is the case.
func (f *fleet) await(what string, is func() bool) {
	f.t.Helper()
	f.awaitFor(what, readyWithin, is)
}

// awaitFor is await for what may take longer, or must not take as long.
func (f *fleet) awaitFor(what string, most time.Duration, is func() bool) {
	f.t.Helper()
	deadline := time.Now().Add(most)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			f.t.Fatalf("after %s it is still not so that %s", most, what)
		}
		<-tick.C
	}
}

// client is one of the nodes, or of all of them.
func (f *fleet) client(config client.Config, nodes ...*fleetNode) *client.Client {
	f.t.Helper()
	if len(nodes) == 0 {
		nodes = f.nodes
	}
	for _, n := range nodes {
		config.Addrs = append(config.Addrs, n.addr)
	}
	c, err := client.New(config)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.Close)
	return c
}

// info is what a node says of itself.
func (n *fleetNode) info(ctx context.Context) (*remitv1.GetNodeResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := client.New(client.Config{Addrs: []string{n.addr}, Attempts: 1, FailFast: true, Forgetful: true})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Node.GetNode(ctx, &remitv1.GetNodeRequest{})
}

// leader is the node that leads, as itself and another one say.
func (f *fleet) leader() (leader *fleetNode) {
	f.t.Helper()
	f.await("a node leads", func() bool {
		leader = nil
		votes := map[string]int{}
		for _, n := range f.nodes {
			if !n.running() {
				continue
			}
			if info, err := n.info(f.t.Context()); err == nil && info.GetLeaderId() != "" {
				votes[info.GetLeaderId()]++
				if info.GetLeaderId() == info.GetNodeId() {
					leader = n
				}
			}
		}
		return leader != nil && len(votes) == 1
	})
	return leader
}

// others are the nodes but for one.
func (f *fleet) others(n *fleetNode) []*fleetNode {
	return slices.DeleteFunc(slices.Clone(f.nodes), func(o *fleetNode) bool { return o == n })
}

// voters are the nodes that vote.
func (f *fleet) voters() []*fleetNode {
	return slices.DeleteFunc(slices.Clone(f.nodes), func(o *fleetNode) bool { return o.replica })
}

// wantEqual waits until all nodes show the same state.
func (f *fleet) wantEqual() {
	f.t.Helper()
	var last string
	f.await("all nodes have the same revision and hash", func() bool {
		seen := map[string]bool{}
		last = ""
		for _, n := range f.nodes {
			info, err := n.info(f.t.Context())
			if err != nil {
				return false
			}
			at := fmt.Sprintf("%d %s", info.GetRevision(), info.GetStateHash())
			seen[at] = true
			last += n.name + ": " + at + "\n"
		}
		return len(seen) == 1
	})
}

// worry finds what no node may say, whatever has happened to it.
func (f *fleet) worry() {
	for _, n := range f.nodes {
		said, err := os.ReadFile(n.log)
		if err != nil {
			continue
		}
		told := 0
		for line := range strings.Lines(string(said)) {
			if worrying(line) && !slices.ContainsFunc(f.expected, func(e string) bool { return strings.Contains(line, e) }) && told < 10 {
				told++
				f.t.Errorf("node %s said: %s", n.name, strings.TrimSpace(line))
			}
		}
	}
}

// tell prints the end of what each node said.
func (f *fleet) tell() {
	for _, n := range append(slices.Clone(f.nodes), f.gone...) {
		said, err := os.ReadFile(n.log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		if len(lines) > 60 {
			lines = lines[len(lines)-60:]
		}
		f.t.Logf("node %s, the end of its log:\n%s", n.name, indent(strings.Join(lines, "\n")))
	}
}
