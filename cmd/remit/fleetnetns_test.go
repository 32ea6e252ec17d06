package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// A fleetHub is a network namespace that stands between others, one for each node. Every
// node has two links: one to the hub, by which nodes reach each other, and one to this
// process, which is their client and sees nothing of what goes wrong between them. What the
// hub does not carry on is gone: no answer, no reset, as with a real cut.
//
//	           n1 ── hub ── n2
//	            │     │     │
//	this process┴──── n3 ───┘
type fleetHub struct {
	t     *testing.T
	base  netip.Addr // of the addresses, hubAddrs in number
	nodes []string   // by number
	cut   map[[2]int]bool
	down  map[int]bool // are cut off by their link
}

const (
	// hubPrefix is what the names of namespaces begin with, before the id of the process that
	// has made them.
	hubPrefix = "remit-test-"
	// hubNodes is how many nodes there may be, hubAddrs how many addresses that takes, four for
	// each of a node's links, and hubBits how many bits all of them have in common.
	hubNodes = 8
	hubAddrs = 2 * 4 * hubNodes
	hubBits  = 26
)

// hubNetwork is for measurements within one's own network, so nobody else uses it.
var hubNetwork = netip.MustParsePrefix("198.18.0.0/15")

// newFleetInNamespaces makes nodes that have network namespaces of their own. Where that is
// not permitted they reach each other through a proxy, which the log of the test then says.
func newFleetInNamespaces(t *testing.T, voters, replicas int, flags ...string) *fleet {
	t.Helper()
	h := &fleetHub{t: t, cut: map[[2]int]bool{}, down: map[int]bool{}}
	t.Cleanup(func() { // the last thing, when all nodes have ended
		if err := h.remove(); err != nil {
			t.Error(err)
		}
	})
	if err := h.make(); err != nil {
		t.Logf("cuts are not silent but a proxy's, since nodes can have no network namespaces here: %v", err)
		return newFaultyFleet(t, voters, replicas, flags...)
	}
	return assemble(t, h, voters, replicas, append([]string{"--insecure"}, flags...)...)
}

// space is the name of a node's namespace, or of the hub's own.
func (h *fleetHub) space(name string) string { return fmt.Sprint(hubPrefix, os.Getpid(), "-", name) }

// hub is the namespace in the middle.
func (h *fleetHub) hub() string { return h.space("hub") }

// door is the interface of this process's namespace that leads to a node's.
func (h *fleetHub) door(node int) string { return fmt.Sprint("remit", os.Getpid(), "n", node) }

// outside returns the two ends of the link between this process and a node, and inside those
// between the hub and the node.
func (h *fleetHub) outside(node int) (here, there netip.Prefix) { return h.ends(node) }

func (h *fleetHub) inside(node int) (hub, there netip.Prefix) { return h.ends(hubNodes + node) }

func (h *fleetHub) ends(link int) (near, far netip.Prefix) {
	at := h.base
	for range 4*link + 1 {
		at = at.Next()
	}
	return netip.PrefixFrom(at, 30), netip.PrefixFrom(at.Next(), 30)
}

// make makes the hub, without nodes.
func (h *fleetHub) make() error {
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	if err := removeLeftHubs(); err != nil {
		return err
	}
	if err := h.choose(); err != nil {
		return err
	}
	way := [2]int{0, 1}
	for _, line := range [][]string{
		{"ip", "netns", "add", h.hub()},
		// Namespaces take what is set on the machine: this must be as it is by default, so that
		// a cut in one direction is none in the other.
		{
			"nsenter", "--net=" + spaceFile(h.hub()), "sh", "-c",
			"for of in all default; do echo 0 >/proc/sys/net/ipv4/conf/$of/rp_filter; done; echo 1 >/proc/sys/net/ipv4/ip_forward",
		},
		// Without it the sender would be told.
		{"ip", "-n", h.hub(), "route", "add", "blackhole", "default"},
		// What nodes and cuts need is there.
		{"ip", "-n", h.hub(), "link", "add", "probe", "type", "veth", "peer", "name", "other"},
		{"ip", "-n", h.hub(), "link", "del", "probe"},
		append([]string{"ip", "-n", h.hub(), "rule", "add"}, strings.Fields(h.rule(way))...),
		append([]string{"ip", "-n", h.hub(), "rule", "del"}, strings.Fields(h.rule(way))...),
	} {
		if err := command(line[0], line[1:]...); err != nil {
			return err
		}
	}
	return nil
}

func spaceFile(space string) string { return "/run/netns/" + space }

// choose finds addresses that no other process of tests has.
func (h *fleetHub) choose() error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	total := 1 << (32 - hubNetwork.Bits()) / hubAddrs
	for try := range total {
		place := (os.Getpid() + try) % total * hubAddrs
		base := hubNetwork.Addr().As4()
		base[1] += byte(place >> 16)
		base[2], base[3] = byte(place>>8), byte(place)
		h.base = netip.AddrFrom4(base)
		block := netip.PrefixFrom(h.base, hubBits)
		if slices.ContainsFunc(addrs, func(a net.Addr) bool {
			used, err := netip.ParsePrefix(a.String())
			return err == nil && used.Overlaps(block)
		}) {
			continue
		}
		// A client would ask it for the way.
		proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "http", Host: h.base.String()}})
		if err == nil && proxy != nil {
			err = fmt.Errorf("the environment sends calls to %s through an HTTP proxy", h.base)
		}
		return err
	}
	return fmt.Errorf("no addresses of %s are free", hubNetwork)
}

// enter makes a node's namespace and its links.
func (h *fleetHub) enter(n *fleetNode) {
	h.t.Helper()
	node := len(h.nodes)
	if node == hubNodes {
		h.t.Fatalf("a hub has room for %d nodes", hubNodes)
	}
	h.nodes = append(h.nodes, n.name)
	here, there := h.outside(node)
	hub, peer := h.inside(node)
	space, port := h.space(n.name), fmt.Sprint("n", node)
	for _, line := range []string{
		"netns add " + space,
		"-n " + space + " link set lo up",
		"link add " + h.door(node) + " type veth peer name clients netns " + space,
		"addr add " + here.String() + " dev " + h.door(node),
		"link set " + h.door(node) + " up",
		"-n " + space + " addr add " + there.String() + " dev clients",
		"-n " + space + " link set clients up",
		"-n " + h.hub() + " link add " + port + " type veth peer name peers netns " + space,
		"-n " + h.hub() + " addr add " + hub.String() + " dev " + port,
		"-n " + h.hub() + " link set " + port + " up",
		"-n " + space + " addr add " + peer.String() + " dev peers",
		"-n " + space + " link set peers up",
		"-n " + space + " route add default via " + hub.Addr().String(),
	} {
		h.ip(line)
	}
	n.within = []string{"nsenter", "--net=" + spaceFile(space)}
	for _, addr := range []*string{&n.addr, &n.grpc, &n.admin} {
		*addr = moved(*addr, there.Addr())
	}
	n.peer = moved(n.peer, peer.Addr())
	n.advertise = n.peer
}

// moved is the same port at another address.
func moved(addr string, to netip.Addr) string {
	_, port, _ := strings.Cut(addr, ":")
	return net.JoinHostPort(to.String(), port)
}

func (h *fleetHub) knows(*fleetNode) {}

func (h *fleetHub) ip(line string) {
	h.t.Helper()
	if err := command("ip", strings.Fields(line)...); err != nil {
		h.t.Fatal(err)
	}
}

// Set implements fleetNetwork. A hub carries packets or does not, nothing between.
func (h *fleetHub) Set(from, to string, fault clustertest.Fault) {
	h.t.Helper()
	if fault != (clustertest.Fault{Cut: true}) {
		h.t.Fatalf("a hub can cut, and not %+v", fault)
	}
	for a, source := range h.nodes {
		for b, target := range h.nodes {
			way := [2]int{a, b}
			if a == b || h.cut[way] || from != source && from != clustertest.Anybody || to != target && to != clustertest.Anybody {
				continue
			}
			h.cut[way] = true
			h.ip("-n " + h.hub() + " rule add " + h.rule(way))
		}
	}
}

// rule has the hub drop what comes from one node for another.
func (h *fleetHub) rule(way [2]int) string {
	_, from := h.inside(way[0])
	_, to := h.inside(way[1])
	return "from " + from.Addr().String() + " to " + to.Addr().String() + " blackhole"
}

// Isolate implements fleetNetwork: the node's link ends, as if its cable was pulled out.
func (h *fleetHub) Isolate(name string) {
	h.t.Helper()
	node := slices.Index(h.nodes, name)
	h.down[node] = true
	h.ip(fmt.Sprint("-n ", h.hub(), " link set n", node, " down"))
}

// Heal implements fleetNetwork.
func (h *fleetHub) Heal() {
	h.t.Helper()
	for way := range h.cut {
		h.ip("-n " + h.hub() + " rule del " + h.rule(way))
	}
	clear(h.cut)
	for node := range h.down {
		h.ip(fmt.Sprint("-n ", h.hub(), " link set n", node, " up"))
	}
	clear(h.down)
}

// remove leaves nothing.
func (h *fleetHub) remove() (err error) {
	for node, name := range h.nodes {
		// The link goes with the namespace, but later.
		err = errors.Join(err, command("ip", "link", "del", h.door(node)), command("ip", "netns", "del", h.space(name)))
	}
	if _, missing := os.Stat(spaceFile(h.hub())); missing == nil {
		err = errors.Join(err, command("ip", "netns", "del", h.hub()))
	}
	return err
}

// removeLeftHubs removes what tests have left behind that were killed, with what still runs
// in it.
func removeLeftHubs() error {
	spaces, err := os.ReadDir(spaceFile(""))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	err = nil
	for _, s := range spaces {
		rest, ours := strings.CutPrefix(s.Name(), hubPrefix)
		text, _, _ := strings.Cut(rest, "-")
		maker, notNumber := strconv.Atoi(text)
		if !ours || notNumber != nil || runs(maker) {
			continue
		}
		out, left := exec.Command("ip", "netns", "pids", s.Name()).Output()
		for id := range strings.FieldsSeq(string(out)) {
			if pid, notNumber := strconv.Atoi(id); notNumber == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
			}
		}
		err = errors.Join(err, left, command("ip", "netns", "del", s.Name()))
	}
	return err
}

// runs reports whether there is a process of an id that has not ended: one that has, and that
// nobody has asked about, is without a command line.
func runs(pid int) bool {
	line, err := os.ReadFile(fmt.Sprint("/proc/", pid, "/cmdline"))
	return err == nil && len(line) > 0
}

// A fleetCut is a way in which nodes do not hear each other.
type fleetCut struct {
	name   string
	strike func(network fleetNetwork, leader, a, b string)
	elects bool // another node must lead meanwhile; otherwise b hears no leader, or is not heard
}

var cutAll = clustertest.Fault{Cut: true}

var fleetCuts = []fleetCut{
	{"the leader's cable is pulled out", func(w fleetNetwork, leader, _, _ string) { w.Isolate(leader) }, true},
	{"nobody hears the leader", func(w fleetNetwork, leader, _, _ string) { w.Set(leader, clustertest.Anybody, cutAll) }, true},
	{"the leader hears nobody", func(w fleetNetwork, leader, _, _ string) { w.Set(clustertest.Anybody, leader, cutAll) }, true},
	{"a follower hears nobody", func(w fleetNetwork, _, _, b string) { w.Set(clustertest.Anybody, b, cutAll) }, false},
	{"the leader does not hear a follower", func(w fleetNetwork, leader, _, b string) { w.Set(b, leader, cutAll) }, false},
	{"one follower sees the leader and the other, which do not see each other", func(w fleetNetwork, leader, _, b string) {
		w.Set(leader, b, cutAll)
		w.Set(b, leader, cutAll)
	}, false},
}

// cutShort is how long a cut lasts at least: followers wait for a heartbeat for a second or
// two, and then elect.
const cutShort = 2 * time.Second

// cut has the nodes cut as c says, until that has shown and the others go on, and heals them.
func (m *nemesis) cut(c fleetCut) {
	f := m.f
	f.t.Helper()
	m.recovers()
	leader := f.leader()
	others := f.others(leader)
	a, b := others[0], others[1]
	m.tell("%s; %s leads, and the follower is %s", c.name, leader.name, b.name)
	c.strike(f.net, leader.name, a.name, b.name)
	m.counts[c.name]++
	m.wait(cutShort)
	var now *fleetNode
	f.await("it shows that "+c.name, func() bool {
		now = leader
		if !c.elects {
			return !b.ready("?max_lag=1s")
		}
		for _, n := range others {
			if info, err := n.info(f.t.Context()); err == nil && info.GetLeaderId() == info.GetNodeId() {
				now = n
			}
		}
		return now != leader
	})
	before := m.working()
	f.await("the others go on while "+c.name, func() bool { return m.working() > before+20 || m.told() })
	m.tell("%s leads; all is mended", now.name)
	f.net.Heal()
}

// Nodes are cut off from each other in every way there is, for longer than an election, and
// nobody is told: what they send vanishes. Those who can agree go on, and all that holds of
// fleets under faults does. REMIT_TEST_FLEET adds more at random.
func TestFleetInNamespaces(t *testing.T) {
	seed, length := faultySeed(), faultyFor(t, 0, 5*time.Minute)
	t.Logf("-fleet.seed=%d for %s", seed, length)
	// A node that comes back with nothing is not to replay all that was ever written.
	f := newFleetInNamespaces(t, 3, 0, "--snapshot-threshold=2000", "--trailing-logs=1000", "--snapshot-interval=1s")
	m := newNemesis(f, seed, length)
	m.kinds = slices.DeleteFunc(slices.Clone(mishaps), func(k mishap) bool { return k.proxied })
	m.torment(func() {
		for _, c := range fleetCuts {
			if !m.told() {
				m.cut(c)
			}
		}
		m.rage(length)
	})
}
