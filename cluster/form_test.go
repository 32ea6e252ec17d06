package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// forming is some nodes that are to find each other. Each has a disk, which outlives its
// runs.
type forming struct {
	t       *testing.T
	network *clustertest.Network
	rng     *rand.Rand
	all     []*formed
	stops   sync.WaitGroup
}

// formed is one of them.
type formed struct {
	Peer
	c       *forming
	disk    clustertest.Disk
	expect  int
	log     *logLines
	options []func(*Config)
	claims  string // the address that it tells others, if it is not its own

	mu    sync.Mutex
	finds []string // guarded by mu; what Find gives
	fails error    // guarded by mu

	// Of the present run, if there is one.
	rig    *rig
	stop   context.CancelFunc
	opened chan struct{} // closed when Open has returned
	err    error         // what Open returned
}

// logLines is a log that can be searched.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// newForming makes nodes that all find each other and expect as many, unless they are told
// otherwise. None of them runs.
func newForming(t *testing.T, seed uint64, nodes, expect int) *forming {
	c := &forming{
		t: t, rng: rand.New(rand.NewPCG(seed, 5)),
		network: clustertest.NewNetwork(seed, clustertest.Quality{Delay: time.Millisecond, Jitter: 50 * time.Millisecond}),
	}
	for range nodes {
		c.place(expect)
	}
	c.sighted()
	t.Cleanup(c.close)
	return c
}

// A misplaced Transport tells others another address than its own.
type misplaced struct {
	Transport
	says raft.ServerAddress
}

func (m misplaced) LocalAddr() raft.ServerAddress { return m.says }

// place adds a node that finds nobody.
func (c *forming) place(expect int) *formed {
	f := &formed{Peer: named(len(c.all)), c: c, disk: clustertest.NewDisk(), expect: expect, log: &logLines{}}
	c.all = append(c.all, f)
	return f
}

// sighted has every node find every one, itself included.
func (c *forming) sighted() {
	var addresses []string
	for _, f := range c.all {
		addresses = append(addresses, f.Address)
	}
	for _, f := range c.all {
		f.find(addresses...)
	}
}

func (f *formed) find(addresses ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finds = addresses
}

// start runs a node. It does not wait until Open returns.
func (f *formed) start() {
	t := f.c.t
	t.Helper()
	port := f.c.network.Join(raft.ServerAddress(f.Address))
	f.rig = newRig(t, f.disk, append([]func(*Config){func(cfg *Config) {
		cfg.NodeID, cfg.Transport, cfg.Peers, cfg.Expect = f.ID, port, port, f.expect
		if f.claims != "" {
			cfg.Transport = misplaced{port, raft.ServerAddress(f.claims)}
		}
		cfg.Log = slog.New(slog.NewTextHandler(f.log, nil))
		cfg.Autopilot = func() AutopilotConfig { return AutopilotConfig{Off: true} }
		cfg.Find = func(context.Context) ([]string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return slices.Clone(f.finds), f.fails
		}
	}}, f.options...)...)
	ctx, cancel := context.WithCancel(t.Context())
	f.stop, f.opened = cancel, make(chan struct{})
	r, opened := f.rig, f.opened
	go func() {
		defer close(opened)
		r.node, f.err = Open(ctx, r.cfg)
	}()
}

// node waits until Open has returned.
func (f *formed) node() *Node {
	f.c.t.Helper()
	select {
	case <-f.opened:
	case <-time.After(2 * time.Minute):
		f.c.t.Fatalf("node %s does not open; it says\n%s", f.ID, f.log)
	}
	must(f.c.t, f.err)
	return f.rig.node
}

// running says whether Open has returned a node.
func (f *formed) running() bool {
	if f.rig == nil {
		return false
	}
	select {
	case <-f.opened:
		return f.err == nil
	default:
		return false
	}
}

// end stops a run of a node, and leaves what its disk then holds: all, or what a power loss
// leaves.
func (f *formed) end(crash bool) {
	if f.rig == nil {
		return
	}
	if crash {
		f.rig.cfg.Transport.(*clustertest.Endpoint).Leave()
		f.disk = f.disk.Crash(f.c.rng.IntN(100), f.c.rng)
	}
	f.stop()
	<-f.opened
	r := f.rig
	f.rig = nil
	closing := func() {
		var err error
		if r.node != nil {
			err = r.node.Close()
		}
		if err := errors.Join(err, r.logs.Close(), r.toy.journal.Close()); err != nil {
			f.c.t.Errorf("close node %s: %v", f.ID, err)
		}
	}
	if crash {
		f.c.stops.Go(closing)
		return
	}
	closing()
}

func (c *forming) close() {
	c.network.Heal()
	for _, f := range c.all {
		f.end(false)
	}
	c.stops.Wait()
}

// members tells who is who as a node sees it, like suffrage.
func (f *formed) members() string {
	if !f.running() {
		return ""
	}
	return suffrage(&peer{rig: f.rig})
}

// until waits for a state.
func (c *forming) until(what string, reached func() bool) {
	c.t.Helper()
	for range 1200 {
		if reached() {
			return
		}
		pass(100 * time.Millisecond)
	}
	for _, f := range c.all {
		c.t.Logf("node %s, members %q:\n%s", f.ID, f.members(), f.log)
	}
	c.t.Fatalf("not reached: %s", what)
}

// voters counts a node's members: all, and those that vote.
func (f *formed) voters() (members, voters int) {
	if f.running() {
		for _, m := range f.rig.node.Status().Members {
			members++
			if m.Voter {
				voters++
			}
		}
	}
	return members, voters
}

// begun waits until all who run are members of one cluster that works.
func (c *forming) begun(voters int) {
	c.t.Helper()
	running := 0
	for _, f := range c.all {
		if f.rig != nil {
			running++
		}
	}
	c.until(fmt.Sprintf("a cluster of %d, %d of them voters", running, voters), func() bool {
		return !slices.ContainsFunc(c.all, func(f *formed) bool {
			m, v := f.voters()
			return f.rig != nil && (m != running || v != voters)
		})
	})
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for _, f := range c.all {
		if f.rig != nil {
			if err := f.rig.node.WaitReady(ctx); err != nil {
				c.t.Fatalf("node %s: %v; it is %+v", f.ID, err, f.rig.node.Status())
			}
		}
	}
}

func TestNodesBeginAClusterWhenAllAreThere(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(c *forming)
	}{
		{"each finds all", func(*forming) {}},
		{"all find one", func(c *forming) {
			for _, f := range c.all {
				f.find(c.all[0].Address)
			}
		}},
		{"each finds the next", func(c *forming) {
			for i, f := range c.all {
				f.find(c.all[(i+1)%3].Address)
			}
		}},
		{"addresses that nobody has, and an error", func(c *forming) {
			for _, f := range c.all {
				f.finds, f.fails = append(f.finds, "nowhere:1"), errors.New("one name is not known")
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newForming(t, 1, 3, 3)
				tt.arrange(c)
				for i, f := range c.all {
					f.start()
					pass(15 * time.Second)
					if i < 2 && f.running() {
						t.Fatalf("node %s opens although only %d of 3 are there", f.ID, i+1)
					}
				}
				c.begun(3)
				if said := c.all[0].log.String(); !strings.Contains(said, "level=INFO msg=\"waiting to begin a cluster\"") {
					t.Errorf("a node that waits says\n%s", said)
				}
				for _, f := range c.all {
					if strings.Contains(f.log.String(), "level=WARN msg=\"waiting") {
						t.Errorf("node %s warns:\n%s", f.ID, f.log)
					}
				}
				c.all[1].rig.propose("a")
			})
		})
	}
}

// A member may be found by another address than its own, be it of a name or of a port that is
// forwarded. Nobody begins a cluster beside it.
func TestNobodyBeginsBesideAMemberThatIsFoundElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 2, 1)
		first, second := c.all[0], c.all[1]
		first.find()
		first.claims = "elsewhere:1"
		first.start()
		c.until("the first has begun", func() bool { _, v := first.voters(); return v == 1 })
		second.start()
		second.node()
		pass(time.Minute)
		if got := second.members(); got != "" {
			t.Errorf("members as the second sees them: %s, want none, since it does not reach the first where that is", got)
		}
	})
}

func TestAClusterOfOneIsJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 3, 0)
		c.all[0].expect = 1
		c.all[0].find() // it has no list
		c.all[0].start()
		c.begun(1)
		c.all[0].rig.propose("alone")
		for _, f := range c.all[1:] {
			f.start()
			f.node() // joining does not hold it up
		}
		c.begun(1)
		if got, want := c.all[2].members(), "n0* (n1) (n2)"; got != want {
			t.Errorf("members: %s, want %s", got, want)
		}
		if a := c.all[0].rig.node.servers()[0].Address; a != raft.ServerAddress(c.all[0].Address) {
			t.Errorf("the first node is at %s, want %s", a, c.all[0].Address)
		}
	})
}

func TestWhoComesLaterIsJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 4, 3)
		for _, f := range c.all[:3] {
			f.start()
		}
		c.begun(3)
		c.all[3].start() // with the flags that the others have
		c.begun(3)
		// And from then on it is what it is, through restarts with the same flags.
		for _, f := range c.all {
			f.end(true)
		}
		for _, f := range c.all {
			f.start()
		}
		c.begun(3)
	})
}

func TestWhatKeepsNodesFromBeginningIsTold(t *testing.T) {
	for _, tt := range []struct {
		name    string
		arrange func(c *forming)
		want    string
		mend    func(c *forming)
	}{
		{"one node is too many", func(c *forming) {
			c.place(3)
			c.sighted()
		}, "stop those that are too many", func(c *forming) { c.all[3].end(false) }},
		{"they expect different numbers", func(c *forming) { c.all[1].expect = 4 }, "give every node the same", func(c *forming) {
			c.all[1].end(false)
			c.all[1].expect = 3
			c.all[1].start()
		}},
		{"a copy of a node", func(c *forming) {
			f := c.place(3)
			f.ID = c.all[0].ID
			c.sighted()
		}, "n0 runs more than once", func(c *forming) { c.all[3].end(false) }},
		{"one says that it is where nobody reaches it", func(c *forming) {
			c.all[2].claims = "elsewhere:1"
		}, "elsewhere:1: ", func(c *forming) {
			c.all[2].end(false)
			c.all[2].claims = ""
			c.all[2].start()
		}},
		{"one does not form", func(c *forming) { c.all[2].expect = 0 }, "2 of 3 nodes are there: n0 at host0:1, n1 at host1:1", func(c *forming) {
			c.all[2].end(false)
			c.all[2].expect = 3
			c.all[2].start()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newForming(t, 1, 3, 3)
				tt.arrange(c)
				for _, f := range c.all {
					f.start()
				}
				pass(20 * time.Second)
				for _, f := range c.all[:2] {
					if f.running() {
						t.Errorf("node %s has begun", f.ID)
					}
					if !strings.Contains(f.log.String(), tt.want) {
						t.Errorf("node %s does not say %q:\n%s", f.ID, tt.want, f.log)
					}
				}
				tt.mend(c)
				c.begun(3)
			})
		})
	}
}

func TestFormingThatIsInterruptedHarmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, 1, 3, 3)
		c.all[0].start()
		pass(time.Second)
		c.all[0].end(false)
		if err := c.all[0].err; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "no other node") {
			t.Errorf("Open whose context ended: error %v, want the context's and what it waited for", err)
		}
		for _, f := range c.all {
			f.start()
		}
		c.begun(3)
	})
}

// What each node knows decides what it does; this is all of it.
func TestStepsOfForming(t *testing.T) {
	a, b, c, d := named(0), named(1), named(2), named(3)
	abc, bcd := []Peer{a, b, c}, []Peer{b, c, d}
	fresh := func(p Peer, seen ...Peer) hello { return hello{Peer: p, Fresh: true, Expect: 3, Seen: seen} }
	promised := func(p Peer, seen []Peer) hello {
		return hello{Peer: p, Fresh: true, Expect: 3, Seen: seen, Promised: true}
	}
	for _, tt := range []struct {
		name string
		view view
		want string // join, begin, promise, or part of what it waits for
	}{
		{"nobody is there", view{}, "no other node"},
		{"one is missing", view{others: []hello{fresh(b, a, b)}}, "2 of 3"},
		{"all see all", view{others: []hello{fresh(b, abc...), fresh(c, abc...)}}, "promise " + names(abc)},
		{"one does not see all", view{others: []hello{fresh(b, abc...), fresh(c, c, a)}}, "node n2 does not see all"},
		{"one has promised, and another sees more", view{others: []hello{promised(b, abc), fresh(c, a, b, c, d), fresh(d, a, d)}}, "promise " + names(abc)},
		{"the others have promised among them", view{others: []hello{promised(b, bcd), promised(c, bcd), promised(d, bcd)}}, "begin without this node"},
		{"two sets are promised", view{others: []hello{promised(b, abc), promised(d, []Peer{a, c, d})}}, "both count this one"},
		{"a set of another size is promised", view{others: []hello{promised(b, []Peer{a, b})}}, "expects 3"},
		{"another number is expected", view{others: []hello{{Peer: b, Fresh: true, Expect: 5}}}, "expects 5"},
		{"who does not form does not count", view{others: []hello{{Peer: d, Fresh: true}, fresh(b, abc...), fresh(c, abc...)}}, "promise " + names(abc)},
		{"one too many", view{others: []hello{fresh(b, a, b), fresh(c, a, c), fresh(d, a, d)}}, "4 nodes"},
		{"an address twice", view{others: []hello{fresh(b, abc...), fresh(Peer{c.ID, b.Address}, abc...)}}, "both say that they are at host1:1"},
		{"a copy", view{copies: []string{"n1"}, others: []hello{fresh(b, abc...), fresh(c, abc...)}}, "n1 runs more than once"},
		{"somebody is a member", view{others: []hello{fresh(b, abc...), {Peer: d}}}, "join"},
		{"it is named in a first configuration", view{others: []hello{{Peer: d}, {Peer: b, First: abc}}}, "begin " + names(abc)},
		{"it is not named in a first configuration", view{others: []hello{{Peer: b, First: bcd}}}, "join"},
		{"all have promised", view{promise: abc, others: []hello{promised(b, abc), promised(c, abc)}}, "begin " + names(abc)},
		{"one has not promised yet", view{promise: abc, others: []hello{promised(b, abc), fresh(c, abc...)}}, "have to be heard again: n2 at host2:1"},
		{"one is gone since the promise", view{promise: abc, others: []hello{promised(b, abc)}}, "have to be heard again: n2 at host2:1"},
		{"one has promised others", view{promise: abc, others: []hello{promised(b, abc), promised(c, bcd)}}, "but node n2 with"},
		{"one of those promised is a member", view{promise: abc, others: []hello{{Peer: b}}}, "join"},
		{"another is a member after the promise", view{promise: abc, others: []hello{promised(b, abc), {Peer: d}}}, "have to be heard again: n2"},
		{"those promised have begun", view{promise: abc, others: []hello{{Peer: c, First: abc}}}, "begin " + names(abc)},
		{"others have begun with it after the promise", view{promise: abc, others: []hello{{Peer: d, First: []Peer{a, d}}}}, "has promised to begin with"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.view.self, tt.view.expect = a, 3
			s := tt.view.next()
			got := s.why
			switch {
			case s.join:
				got = "join"
			case s.promise:
				got = "promise " + names(s.voters)
			case s.voters != nil:
				got = "begin " + names(s.voters)
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("next() = %q, want %q", got, tt.want)
			}
		})
	}
}

// firstEntry returns the first entry of a node's log, as it stands on its disk now.
func (f *formed) firstEntry() string {
	if f.rig == nil {
		return ""
	}
	var entry raft.Log
	if err := f.rig.logs.GetLog(1, &entry); err != nil {
		return ""
	}
	return fmt.Sprint(entry.Term, raft.DecodeConfiguration(entry.Data).Servers)
}

// oneCluster fails if two nodes have begun differently.
func (c *forming) oneCluster(what func() string) (begun string) {
	c.t.Helper()
	for _, f := range c.all {
		switch first := f.firstEntry(); {
		case first == "":
		case begun == "":
			begun = first
		case begun != first:
			for _, f := range c.all {
				c.t.Logf("node %s, members %q:\n%s", f.ID, f.members(), f.log)
			}
			c.t.Fatalf("%s: two clusters have begun: %s and %s", what(), begun, first)
		}
	}
	return begun
}

// promises returns the different sets that nodes have promised to begin with.
func (c *forming) promises() (sets []string) {
	for _, f := range c.all {
		if f.rig == nil {
			continue
		}
		with, err := promised(f.rig.logs)
		must(c.t, err)
		if set := names(with); with != nil && !slices.Contains(sets, set) {
			sets = append(sets, set)
		}
	}
	return sets
}

// disturb does something to nodes that look for each other.
func (c *forming) disturb() (what string) {
	i := c.rng.IntN(len(c.all))
	f := c.all[i]
	switch c.rng.IntN(10) {
	case 0, 1, 2:
		var some []string
		for _, q := range c.all {
			if c.rng.IntN(3) > 0 {
				some = append(some, q.Address)
			}
		}
		f.find(some...)
		return fmt.Sprintf("node %s finds %v", f.ID, some)
	case 3, 4:
		q := c.all[c.rng.IntN(len(c.all))]
		c.network.Set(raft.ServerAddress(f.Address), raft.ServerAddress(q.Address), cut)
		return fmt.Sprintf("cut from %s to %s", f.ID, q.ID)
	case 5:
		q := c.all[c.rng.IntN(len(c.all))]
		slow := clustertest.Quality{Delay: time.Duration(c.rng.IntN(1500)) * time.Millisecond}
		c.network.Set(raft.ServerAddress(f.Address), raft.ServerAddress(q.Address), slow)
		return fmt.Sprintf("%s from %s to %s", slow.Delay, f.ID, q.ID)
	case 6:
		c.network.Heal()
		return "heal"
	default:
		if f.rig == nil {
			f.start()
			return "start " + f.ID
		}
		crash := c.rng.IntN(2) == 0
		f.end(crash)
		return fmt.Sprintf("end %s, crash %t", f.ID, crash)
	}
}

// runForming has nodes with Expect 3 find each other while they come and go and see only
// some. There must never be two clusters. It says how it ended.
func runForming(t *testing.T, seed uint64, nodes int) (end string) {
	synctest.Test(t, func(t *testing.T) {
		c := newForming(t, seed, nodes, 3)
		var done []string
		told := func() string { return fmt.Sprintf("seed %d, %d nodes, %s", seed, nodes, strings.Join(done, "; ")) }
		for range 30 + c.rng.IntN(50) {
			done = append(done, c.disturb())
			pass(time.Duration(c.rng.IntN(1200)) * time.Millisecond)
			c.oneCluster(told)
		}
		done = append(done, "all see all")
		c.network.Heal()
		c.sighted()
		for _, f := range c.all {
			if f.rig == nil {
				f.start()
			}
		}
		whole := func() bool {
			c.oneCluster(told)
			for _, f := range c.all {
				if m, v := f.voters(); f.rig != nil && (m < nodes || v != 3) {
					return false
				}
			}
			return true
		}
		wait := func(reached func() bool) bool {
			for range 600 {
				if reached() {
					return true
				}
				pass(100 * time.Millisecond)
			}
			return false
		}
		switch {
		case wait(whole):
			end = "begun"
		case len(c.promises()) > 1:
			end = "promises that exclude each other" // a person has to choose
		case len(c.promises()) == 0 && nodes > 3:
			// There is one too many. Without it they begin, and then it is joined.
			last := c.all[nodes-1]
			last.end(false)
			if !wait(func() bool { m, _ := c.all[0].voters(); return m == 3 }) {
				break
			}
			last.start()
			if wait(whole) {
				end = "begun without the last"
			}
		}
		if end == "" {
			for _, f := range c.all {
				t.Logf("node %s, members %q:\n%s", f.ID, f.members(), f.log)
			}
			t.Errorf("%s: no cluster begins; promised %q", told(), c.promises())
		}
		leads := func() bool {
			return slices.ContainsFunc(c.all, func(f *formed) bool { return f.running() && f.rig.node.Status().Serving })
		}
		if c.oneCluster(told) != "" && !wait(leads) {
			t.Errorf("%s: nobody leads", told())
		}
	})
	return end
}

func TestSchedulesOfForming(t *testing.T) {
	if *scheduleSeed != 0 {
		t.Log(runForming(t, *scheduleSeed, 3), runForming(t, *scheduleSeed, 4))
		return
	}
	count := 20
	if *scheduleCount > 0 {
		count = *scheduleCount
	}
	for _, nodes := range []int{3, 4} {
		ends := map[string]int{}
		for seed := range uint64(count) {
			ends[runForming(t, seed+1, nodes)]++
			if t.Failed() {
				return
			}
		}
		t.Logf("%d schedules with %d nodes of whom 3 are to begin: %v", count, nodes, ends)
	}
}
