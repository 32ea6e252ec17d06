package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

var (
	fleetSeed     = flag.Uint64("fleet.seed", 0, "the seed of what goes wrong where that is random; 0 takes one at random")
	fleetDuration = flag.Duration("fleet.duration", 0, "for how long things go wrong at random; REMIT_TEST_FLEET says it as well")
)

// faultyFor is for how long things go wrong: usually, and with REMIT_TEST_ALL.
func faultyFor(t *testing.T, usually, all time.Duration) time.Duration {
	t.Helper()
	switch text := os.Getenv("REMIT_TEST_FLEET"); {
	case *fleetDuration > 0:
		return *fleetDuration
	case text != "":
		length, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("REMIT_TEST_FLEET: %v", err)
		}
		return length
	case os.Getenv("REMIT_TEST_ALL") != "":
		return all
	}
	return usually
}

// faultySeed is what goes wrong follows from.
func faultySeed() uint64 {
	if *fleetSeed != 0 {
		return *fleetSeed
	}
	return rand.Uint64()
}

// Processes are killed and paused, links cut and slowed, clocks and disks go wrong, all at
// random, under a load that knows what it was promised: nothing acknowledged is lost,
// nothing is invented, no reader sees less than its kind of reading promises, and in the
// end all nodes hold the same state and tell the same history.
func TestFleetUnderFaults(t *testing.T) {
	seed, length := faultySeed(), faultyFor(t, 10*time.Second, 10*time.Minute)
	var flags []string
	if seed%2 == 0 {
		flags = []string{"--snapshot-threshold=200", "--trailing-logs=50", "--snapshot-interval=100ms"}
	}
	t.Logf("-fleet.seed=%d for %s, with %v", seed, length, flags)
	f := newFaultyFleet(t, 3, 1, flags...)
	m := newNemesis(f, seed, length)
	m.disk = f.giveDisk(f.nodes[1])
	m.torment(func() { m.rage(length) })
}

// torment has the nodes started and written to, things go wrong, and then holds the fleet to
// all that it has promised.
func (m *nemesis) torment(goWrong func()) {
	f, t := m.f, m.f.t
	t.Helper()
	f.startAll()
	f.pilot(quickPilot)
	store := f.prepareFaulty()
	m.ops = f.client(client.Config{AttemptTimeout: 3 * time.Second, Attempts: 60, Pause: 50 * time.Millisecond, Forgetful: true})

	load := newLoad(m.seed)
	for _, w := range load.writers {
		w.outlived = true
	}
	w := &witnesses{f: f, store: store, registers: newRegisters(f, store)}
	m.working, m.told = w.answers, w.accused
	load.acknowledged = func() { w.count("batches of the load", 1) }
	target := newFleetTarget(f, store)
	stop, last := w.watchOver(load, target)
	m.began = time.Now()
	goWrong()

	m.tell("all is mended")
	f.net.Heal()
	for _, n := range f.nodes {
		n.setClock(0)
		if !n.running() {
			n.start()
		}
	}
	if !w.accused() {
		m.recovers()
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := load.settleAll(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if err := last(); err != nil {
		t.Fatal(err)
	}
	f.wantEqual()
	for _, n := range f.nodes {
		held, err := target.readAt(t.Context(), n)
		if err == nil {
			_, err = load.check(held)
		}
		if err != nil {
			t.Fatalf("node %s: %v", n.name, err)
		}
	}
	f.wantOneHistory(store, load, w.live)
	w.registers.check(t)
	t.Logf("%v; %s; seen: %v", m.counts, load.tally(), w.counts)
	for _, what := range w.kinds() {
		if w.counts[what] == 0 {
			t.Errorf("nobody ever had %s", what)
		}
	}
}

// pilot sets what the leader does about members by itself.
func (f *fleet) pilot(a *remitv1.Autopilot) {
	f.t.Helper()
	if _, err := f.client(client.Config{}).Cluster.SetAutopilot(f.t.Context(), &remitv1.SetAutopilotRequest{Autopilot: a}); err != nil {
		f.t.Fatal(err)
	}
}

const faultsModel = crashModel + `type folder
  relations
    define viewer: [user]
type note
  relations
    define parent: [folder]
    define viewer: [user] or viewer from parent
type counter
  relations
    define holder: [user]
type register
  relations
    define holder: [user]
`

// prepareFaulty makes a store for the load and its witnesses, as prepare does.
func (f *fleet) prepareFaulty() string {
	f.t.Helper()
	store := f.prepare()
	_, err := f.client(client.Config{}).Models.WriteModel(f.t.Context(), &remitv1.WriteModelRequest{
		Store: store, Source: &remitv1.ModelSource{Source: &remitv1.ModelSource_Dsl{Dsl: faultsModel}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.wantEqual()
	return store
}

// patient is a client that no mishap makes give up: it repeats until its caller's time is
// over.
func (f *fleet) patient(config client.Config, nodes ...*fleetNode) *client.Client {
	config.AttemptTimeout, config.Attempts, config.Pause = time.Second, 10000, 20*time.Millisecond
	return f.client(config, nodes...)
}

// A fleetTarget is a fleet under load: written to through patient clients, read at any
// node.
type fleetTarget struct {
	store   string
	nodes   []*fleetNode
	writers []*client.Client
	readers map[*fleetNode]*client.Client
}

func newFleetTarget(f *fleet, store string) *fleetTarget {
	t := &fleetTarget{store: store, nodes: f.nodes, readers: map[*fleetNode]*client.Client{}}
	for i := range loadWriters {
		nodes := slices.Clone(f.nodes) // each begins elsewhere
		at := i % len(nodes)
		t.writers = append(t.writers, f.patient(client.Config{}, append(nodes[at:], nodes[:at]...)...))
	}
	for _, n := range f.nodes {
		t.readers[n] = f.client(client.Config{Attempts: 1, AttemptTimeout: 2 * time.Second, Forgetful: true}, n)
	}
	return t
}

// write implements loadTarget.
func (t *fleetTarget) write(ctx context.Context, writer int, b *loadBatch) (string, error) {
	return writeLoad(ctx, t.writers[writer].Tuples, t.store, writer, b)
}

// read implements loadTarget: it asks one node after the other until one answers.
func (t *fleetTarget) read(ctx context.Context) (map[loadTuple]int64, error) {
	for {
		held, err := t.readAt(ctx, t.nodes[rand.IntN(len(t.nodes))])
		if err == nil || ctx.Err() != nil || !passing(err) {
			return held, err
		}
	}
}

// readAt reads what a node says to be newest.
func (t *fleetTarget) readAt(ctx context.Context, n *fleetNode) (map[loadTuple]int64, error) {
	return readLoad(ctx, t.readers[n].Tuples, t.store, fullyConsistent)
}

var (
	fullyConsistent = &remitv1.Consistency{Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true}}
	minimizeLatency = &remitv1.Consistency{Requirement: &remitv1.Consistency_MinimizeLatency{MinimizeLatency: true}}
)

func atLeastAsFresh(token string) *remitv1.Consistency {
	return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: token}}
}

// witnesses use a fleet while things go wrong, and remember what they have seen that must
// not be.
type witnesses struct {
	f         *fleet
	store     string
	registers *registers
	live      []string // what a watcher was told meanwhile; whole once all have finished

	mu     sync.Mutex
	faults []error        // guarded by mu
	counts map[string]int // guarded by mu
}

// kinds are what must have been seen, or the test shows nothing.
func (*witnesses) kinds() []string {
	return []string{
		"batches of the load", "reads with a token", "reads with a token that found what is new",
		"reads of what a node holds", "reads of own writes", "changes of a watch", "answers about registers",
	}
}

func (w *witnesses) count(what string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts == nil {
		w.counts = map[string]int{}
	}
	w.counts[what] += n
}

// answers is how many batches were acknowledged so far.
func (w *witnesses) answers() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts["batches of the load"]
}

func (w *witnesses) accuse(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Errorf(time.Now().Format("15:04:05.000 ")+format, args...))
}

func (w *witnesses) accused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.faults) > 0
}

// watchOver runs the load and all witnesses until stop is called, which tells what they have
// seen. The one who watches goes on until last is called, when nobody writes any more.
func (w *witnesses) watchOver(load *load, target loadTarget) (stop, last func() error) {
	ctx, cancel := context.WithCancel(w.f.t.Context())
	var working, watching sync.WaitGroup
	working.Go(func() {
		if err := load.run(ctx, target); err != nil {
			w.accuse("%w", err)
		}
	})
	working.Go(func() { w.newEnemy(ctx) })
	working.Go(func() { w.counter(ctx) })
	for _, n := range w.f.nodes {
		reader := w.f.client(client.Config{Attempts: 1, AttemptTimeout: time.Second, Forgetful: true}, n)
		working.Go(func() { w.neverBack(ctx, n, reader) })
	}
	w.registers.run(ctx, &working, w)
	watched, stopWatching := context.WithCancel(w.f.t.Context())
	watching.Go(func() { w.watch(watched) })
	w.f.t.Cleanup(func() {
		cancel()
		stopWatching()
		working.Wait()
		watching.Wait()
	})
	stop = func() error {
		cancel()
		working.Wait()
		return w.verdict()
	}
	last = func() error {
		w.f.mark(w.store)
		defer time.AfterFunc(readyWithin, stopWatching).Stop()
		watching.Wait()
		return w.verdict()
	}
	return stop, last
}

// verdict is all that was seen and must not be.
func (w *witnesses) verdict() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.faults...)
}

// newEnemy takes a folder from somebody and then puts a note into it: who holds the token
// of the note never sees the note and the old permission together, at no node; and neither
// does anybody who holds no token, since what a node holds is the state of one moment.
func (w *witnesses) newEnemy(ctx context.Context) {
	c := w.f.patient(client.Config{Forgetful: true})
	readers := map[*fleetNode]*client.Client{}
	for _, n := range w.f.nodes {
		readers[n] = w.f.client(client.Config{Attempts: 1, AttemptTimeout: 700 * time.Millisecond, Forgetful: true}, n)
	}
	write := func(kind remitv1.Operation_Kind, object, relation, subject string) string {
		res, err := c.Tuples.Write(ctx, &remitv1.WriteRequest{Store: w.store, Operations: []*remitv1.Operation{{
			Kind: kind, Tuple: &remitv1.Tuple{Object: object, Relation: relation, Subject: subject},
		}}})
		if err != nil && ctx.Err() == nil {
			w.accuse("write %s#%s@%s: %w", object, relation, subject, err)
		}
		return res.GetToken()
	}
	const put, remove = remitv1.Operation_KIND_TOUCH, remitv1.Operation_KIND_DELETE
	for i := 0; ctx.Err() == nil; i++ {
		folder, note := fmt.Sprint("folder:f", i), fmt.Sprint("note:n", i)
		write(put, folder, "viewer", "user:eve")
		write(put, folder, "viewer", "user:ann")
		write(remove, folder, "viewer", "user:eve")
		token := write(put, note, "parent", folder)
		if ctx.Err() != nil || w.accused() {
			return
		}
		var asking sync.WaitGroup
		for n, reader := range readers {
			asking.Go(func() {
				for _, asks := range []struct {
					who         string
					consistency *remitv1.Consistency
				}{{"user:eve", minimizeLatency}, {"user:eve", atLeastAsFresh(token)}, {"user:ann", atLeastAsFresh(token)}} {
					res, err := reader.Access.Check(ctx, &remitv1.CheckRequest{
						Scope:    &remitv1.Scope{Store: w.store, Consistency: asks.consistency},
						Question: &remitv1.Question{Object: note, Relation: "viewer", Subject: asks.who},
					})
					switch withToken := asks.consistency.GetAtLeastAsFresh() != ""; {
					case err != nil && !passing(err) && ctx.Err() == nil:
						w.accuse("node %s, a read of %s: %w", n.name, note, err)
					case err != nil:
					case asks.who == "user:eve" && res.GetAllowed():
						w.accuse("node %s lets user:eve see %s, which was put into %s when she could see it no more; with a token: %v",
							n.name, note, folder, withToken)
					case !withToken:
					case asks.who == "user:eve":
						w.count("reads with a token", 1)
					case !res.GetAllowed():
						w.accuse("node %s does not let user:ann see %s, with the token of its putting", n.name, note)
					default:
						w.count("reads with a token that found what is new", 1)
					}
				}
			})
		}
		asking.Wait()
	}
}

const counterObject = "counter:c"

// counter counts, and reads what it has counted through a client that sees its own writes.
func (w *witnesses) counter(ctx context.Context) {
	c := w.f.patient(client.Config{})
	for i := int64(1); ctx.Err() == nil; i++ {
		_, err := c.Tuples.Write(ctx, &remitv1.WriteRequest{Store: w.store, Operations: []*remitv1.Operation{{
			Kind: remitv1.Operation_KIND_TOUCH, Tuple: markTuple(counterObject, i),
		}}})
		if err == nil {
			var at int64
			if at, err = readMark(ctx, c, w.store, counterObject, nil); err == nil {
				if at != i {
					w.accuse("the counter was set to %d, and its writer reads %d", i, at)
					return
				}
				w.count("reads of own writes", 1)
			}
		}
		if err != nil && ctx.Err() == nil {
			w.accuse("count to %d: %w", i, err)
			return
		}
	}
}

// neverBack reads the counter as a node has it: it only grows, over the node's lives, too.
func (w *witnesses) neverBack(ctx context.Context, n *fleetNode, reader *client.Client) {
	var last int64
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		at, err := readMark(ctx, reader, w.store, counterObject, minimizeLatency)
		switch {
		case err != nil && !passing(err) && ctx.Err() == nil:
			w.accuse("node %s, a read of what it holds: %w", n.name, err)
			return
		case err != nil:
		case at < last:
			w.accuse("node %s went back: it showed %d, then %d", n.name, last, at)
			return
		default:
			last = at
			w.count("reads of what a node holds", 1)
		}
	}
}
