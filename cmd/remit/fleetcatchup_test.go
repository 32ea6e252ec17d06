package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// How much there is to catch up with; 0 is little, and with REMIT_TEST_ALL 2.5 million of the
// one and a million of the other.
var (
	fleetTuples    = flag.Int("fleet.tuples", 0, "how many tuples an empty node is to join in TestFleetCatchesUp")
	fleetRevisions = flag.Int("fleet.revisions", 0, "how many revisions a node is to be behind in TestFleetCatchesUp")
)

// mostCatchUp is how many times the leader's p99 may be its usual one while it helps
// another node to catch up.
const mostCatchUp = 3.0

// A node that was away for long, and one that has nothing yet, catch up under a write load,
// with REMIT_TEST_ALL of a quarter of what the cluster can take, and the leader's callers
// hardly notice.
func TestFleetCatchesUp(t *testing.T) {
	tuples, revisions := cmp.Or(*fleetTuples, volume(20_000, 2_500_000)), cmp.Or(*fleetRevisions, volume(2_000, 1_000_000))
	f := newFleet(t, 3, 0, "--snapshot-interval=5s", "--trailing-logs="+fmt.Sprint(volume(1_000, 200_000)),
		"--snapshot-threshold="+fmt.Sprint(volume(500, 65_536)))
	f.startAll()
	store := f.prepare()
	c := f.client(client.Config{})
	began := time.Now()
	f.fill(c, store, tuples)
	t.Logf("%d tuples written in %s", tuples, time.Since(began).Round(time.Millisecond))

	leader := f.leader()
	away := f.others(leader)[0]
	rate := 50.0 // a short run claims nothing, and is not to wear the machine out
	if os.Getenv("REMIT_TEST_ALL") != "" {
		rate = f.window(store, 32, 5*time.Second).rate / 4
	}
	p := f.pace(f.client(client.Config{}, leader), store, rate)
	defer p.stop()
	usual := p.during(func() { <-time.After(time.Duration(volume(2, 20)) * time.Second) })
	t.Logf("at %.0f writes a second the leader's p99 is %s", rate, usual)

	away.kill()
	from := uint64(leader.metric("remit_raft_applied_index"))
	p.pause(func() { f.advance(store, leader, from+uint64(revisions)) })
	began = time.Now()
	while := p.during(func() {
		away.start()
		f.awaitFor("the node that was away shows the present", 20*time.Minute, func() bool { return away.ready("?max_lag=1s") })
	})
	t.Logf("a node that is %d revisions behind catches up in %s; meanwhile the leader's p99 is %s, %.2f times the usual",
		revisions, time.Since(began).Round(time.Millisecond), while, float64(while)/float64(usual))
	f.wantCalm("a node that was away", while, usual)

	began = time.Now()
	n := f.add("empty")
	n.flags = []string{"--bootstrap-expect=0"}
	while = p.during(func() {
		n.start()
		f.awaitFor("the empty node shows the present", 20*time.Minute, func() bool { return n.ready("?max_lag=1s") })
	})
	t.Logf("an empty node joins %d tuples in %s; meanwhile the leader's p99 is %s, %.2f times the usual",
		tuples, time.Since(began).Round(time.Millisecond), while, float64(while)/float64(usual))
	f.wantCalm("an empty node", while, usual)
	p.stop()
	if err := p.err(); err != nil {
		t.Error(err)
	}
	f.wantEqual()
}

// wantCalm compares a p99 with the usual one, where that can be told.
func (f *fleet) wantCalm(who string, while, usual time.Duration) {
	if os.Getenv("REMIT_TEST_ALL") != "" && float64(while) > mostCatchUp*float64(usual) {
		f.t.Errorf("while %s catches up the leader's p99 is %s, want at most %.0f times the usual %s", who, while, mostCatchUp, usual)
	}
}

// fill writes tuples, thousands at a time.
func (f *fleet) fill(c *client.Client, store string, tuples int) {
	f.t.Helper()
	const batch = 5_000
	for n := 0; n < tuples; n += batch {
		var operations []*remitv1.Operation
		for i := n; i < min(n+batch, tuples); i++ {
			operations = append(operations, &remitv1.Operation{
				Kind:  remitv1.Operation_KIND_TOUCH,
				Tuple: &remitv1.Tuple{Object: fmt.Sprintf("document:fill-%d", i), Relation: "viewer", Subject: fmt.Sprintf("user:u%d", i%10_000)},
			})
		}
		if _, err := c.Tuples.Write(f.t.Context(), &remitv1.WriteRequest{Store: store, Operations: operations}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// advance writes until the leader has applied an entry, with writers enough to keep its log
// busy, and few enough that most entries hold one command.
func (f *fleet) advance(store string, leader *fleetNode, to uint64) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	c := f.client(client.Config{}, leader)
	var writing sync.WaitGroup
	for i := range 4 {
		w := f.writer(c, store, fmt.Sprintf("advance-%d", i))
		writing.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := w.call(ctx, n%1000); err != nil && ctx.Err() == nil {
					f.t.Error(err)
					return
				}
			}
		})
	}
	told := time.Now()
	f.awaitFor(fmt.Sprintf("revision %d is reached", to), 60*time.Minute, func() bool {
		at := uint64(leader.metric("remit_raft_applied_index"))
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			f.t.Logf("revision %d of %d", at, to)
		}
		return at >= to || f.t.Failed()
	})
	cancel()
	writing.Wait()
}

// A pacer writes at fixed times, whether what it wrote before has been answered or not.
type pacer struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	paused bool            // guarded by mu
	took   []time.Duration // guarded by mu; since during began
	fault  error           // guarded by mu; the first
}

func (f *fleet) pace(c *client.Client, store string, rate float64) *pacer {
	ctx, cancel := context.WithCancel(f.t.Context())
	p := &pacer{cancel: cancel}
	w := f.writer(c, store, "paced")
	p.running.Go(func() {
		tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			p.mu.Lock()
			paused := p.paused
			p.mu.Unlock()
			if paused {
				continue
			}
			due := time.Now()
			p.running.Go(func() {
				err := w.call(ctx, n%10_000)
				p.mu.Lock()
				defer p.mu.Unlock()
				switch {
				case err == nil:
					p.took = append(p.took, time.Since(due))
				case ctx.Err() == nil && p.fault == nil:
					p.fault = err
				}
			})
		}
	})
	f.t.Cleanup(p.stop)
	return p
}

// during returns the p99 of what is written while something is done.
func (p *pacer) during(do func()) time.Duration {
	p.mu.Lock()
	p.took = nil
	p.mu.Unlock()
	do()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.took) == 0 {
		return 0
	}
	slices.Sort(p.took)
	return p.took[len(p.took)*99/100]
}

// pause writes nothing while something is done.
func (p *pacer) pause(do func()) {
	set := func(paused bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.paused = paused
	}
	set(true)
	defer set(false)
	do()
}

func (p *pacer) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}

func (p *pacer) stop() {
	p.cancel()
	p.running.Wait()
}
