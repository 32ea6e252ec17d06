package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

const (
	// leastThroughput is what three nodes on one machine may be left of one node's writes,
	// and mostCPU how many times as much each may cost: three nodes do what one did, and
	// tell each other of it.
	leastThroughput = 0.25
	mostCPU         = 3.5
	// mostIdle is how much of a processor, in percent, a node may use to which nobody writes.
	mostIdle = 1.5
	// mostTokenWait is how long a follower may take, in the median, to show a write that
	// the leader has just acknowledged.
	mostTokenWait = 5 * time.Millisecond
)

// metric is the sum of a metric of a node, over its labels.
func (n *fleetNode) metric(name string) (sum float64) {
	n.fleet.t.Helper()
	sum, err := n.measure(name)
	if err != nil {
		n.fleet.t.Fatal(err)
	}
	return sum
}

// measure is metric for a node that may not answer.
func (n *fleetNode) measure(name string) (sum float64, err error) {
	c := http.Client{Timeout: 10 * time.Second, Transport: direct}
	res, err := c.Get("http://" + n.admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = res.Body.Close() }()
	found := false
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", lines.Text(), err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("node %s has no metric %s", n.name, name)
	}
	return sum, nil
}

// cpu is what all nodes have used so far.
func (f *fleet) cpu() (sum time.Duration) {
	for _, n := range f.nodes {
		sum += time.Duration(n.metric("process_cpu_seconds_total") * float64(time.Second))
	}
	return sum
}

// A costWindow is what writes cost for a while.
type costWindow struct {
	rate float64       // per second
	cpu  time.Duration // of all nodes, per write
	took []time.Duration
}

// window has writers write through the leader for a time.
func (f *fleet) window(store string, writers int, length time.Duration) costWindow {
	f.t.Helper()
	c := f.client(client.Config{}, f.leader())
	ctx, cancel := context.WithCancel(f.t.Context()) // a deadline would travel, and come back as an error
	defer cancel()
	defer time.AfterFunc(length, cancel).Stop()
	var running sync.WaitGroup
	faults, took := make([]error, writers), make([][]time.Duration, writers)
	used, began := f.cpu(), time.Now()
	for i := range writers {
		w := f.writer(c, store, fmt.Sprintf("cost-%d", i))
		running.Go(func() {
			for n := 0; ctx.Err() == nil && faults[i] == nil; n++ {
				began := time.Now()
				err := w.call(ctx, n)
				if err == nil {
					took[i] = append(took[i], time.Since(began))
				} else if ctx.Err() == nil {
					faults[i] = err
				}
			}
		})
	}
	running.Wait()
	lasted := time.Since(began)
	used = f.cpu() - used
	if err := errors.Join(faults...); err != nil {
		f.t.Fatal(err)
	}
	all := slices.Concat(took...)
	return costWindow{float64(len(all)) / lasted.Seconds(), used / time.Duration(max(len(all), 1)), all}
}

// Three nodes beside one on the same machine, with the same writers: windows take turns,
// so that whatever else the machine does meets both alike.
func TestFleetCosts(t *testing.T) {
	if os.Getenv("REMIT_TEST_ALL") == "" {
		t.Log("a short run, which claims nothing; REMIT_TEST_ALL makes it one that does")
	}
	one, three := newFleet(t, 1, 0), newFleet(t, 3, 0)
	one.startAll()
	three.startAll()
	stores := map[*fleet]string{one: one.prepare(), three: three.prepare()}
	for _, writers := range []int{1, 64} {
		var rates, cpus []float64
		var last [2]costWindow
		var took [2][]time.Duration
		for range volume(1, 9) {
			for i, f := range []*fleet{one, three} {
				last[i] = f.window(stores[f], writers, time.Duration(volume(1, 3))*time.Second)
				took[i] = append(took[i], last[i].took...)
			}
			rates = append(rates, last[1].rate/last[0].rate)
			cpus = append(cpus, float64(last[1].cpu)/float64(last[0].cpu))
		}
		slices.Sort(rates)
		slices.Sort(cpus)
		rate, cpu := rates[len(rates)/2], cpus[len(cpus)/2]
		t.Logf("%d writers: three nodes write %.2f (%.2f-%.2f) times as much as one, each write costs %.2f (%.2f-%.2f) times the processor; in the last window %.0f/s at %s and %.0f/s at %s",
			writers, rate, rates[0], rates[len(rates)-1], cpu, cpus[0], cpus[len(cpus)-1],
			last[0].rate, last[0].cpu, last[1].rate, last[1].cpu)
		for i, nodes := range []string{"one node", "three nodes"} {
			if len(took[i]) == 0 {
				t.Fatalf("%d writers: on %s no write was answered", writers, nodes)
			}
			slices.Sort(took[i])
			t.Logf("%d writers: on %s a write takes %s in the median, p99 %s", writers, nodes, median(took[i]), took[i][len(took[i])*99/100])
		}
		if os.Getenv("REMIT_TEST_ALL") == "" {
			continue
		}
		if rate < leastThroughput {
			t.Errorf("%d writers: three nodes write %.2f times as much as one, want at least %.2f", writers, rate, leastThroughput)
		}
		if cpu > mostCPU {
			t.Errorf("%d writers: a write costs three nodes %.2f times what it costs one, want at most %.1f", writers, cpu, mostCPU)
		}
	}
}

// A cluster to which nobody writes costs little: some times a second its leader tells the
// others that nothing is new.
func TestFleetIdles(t *testing.T) {
	one, three := newFleet(t, 1, 0), newFleet(t, 3, 0)
	one.startAll()
	three.startAll()
	leader := three.leader()
	nodes := append(slices.Clone(one.nodes), leader)
	nodes = append(nodes, three.others(leader)...)
	<-time.After(time.Duration(volume(1, 5)) * time.Second) // what comes after a start is over
	used, began := make([]float64, len(nodes)), time.Now()
	for i, n := range nodes {
		used[i] = n.metric("process_cpu_seconds_total")
	}
	<-time.After(time.Duration(volume(1, 20)) * time.Second)
	took := time.Since(began).Seconds()
	for i, n := range nodes {
		used[i] = 100 * (n.metric("process_cpu_seconds_total") - used[i]) / took
	}
	t.Logf("idle, in percent of a processor: a node alone %.2f, of three the leader %.2f and the others %.2f", used[0], used[1], used[2:])
	if most := slices.Max(used); os.Getenv("REMIT_TEST_ALL") != "" && most > mostIdle {
		t.Errorf("an idle node uses %.2f %% of a processor, want at most %.1f", most, mostIdle)
	}
}

// A consistent read asks a quorum once, together with whoever asks at the same time; and a
// follower shows a write soon after it was acknowledged.
func TestFleetReadsAreCheap(t *testing.T) {
	f := newFleet(t, 3, 0)
	f.startAll()
	store := f.prepare()
	leader := f.leader()
	follower := f.others(leader)[0]
	question := &remitv1.Question{Object: "document:x", Relation: "viewer", Subject: "user:x"}

	// Many at once share rounds: two serve all who come while one is under way.
	const readers, each = 32, 20
	c := f.client(client.Config{Attempts: 1, Forgetful: true}, follower)
	before, asked := leader.metric("remit_read_rounds_total"), follower.metric("remit_read_asks_total")
	began := time.Now()
	faults := make([]error, readers)
	var running sync.WaitGroup
	for i := range readers {
		running.Go(func() {
			for range each {
				_, err := c.Access.Check(t.Context(), &remitv1.CheckRequest{Scope: &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
					Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true},
				}}, Question: question})
				faults[i] = errors.Join(faults[i], err)
			}
		})
	}
	running.Wait()
	if err := errors.Join(faults...); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	rounds, asks := leader.metric("remit_read_rounds_total")-before, follower.metric("remit_read_asks_total")-asked
	t.Logf("%d consistent reads at a follower in %s took %.0f questions to the leader and %.0f rounds of its quorum", readers*each, took.Round(time.Millisecond), asks, rounds)
	if rounds > asks || asks >= readers*each/2 {
		t.Errorf("%d consistent reads took %.0f questions and %.0f rounds: they do not share them", readers*each, asks, rounds)
	}

	// A write at the leader, then a read at the follower that must see it.
	writer := f.client(client.Config{Attempts: 1, Forgetful: true}, leader)
	var waits, floors []time.Duration
	for i := range volume(100, 1000) {
		written, err := writer.Tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{
			Kind: remitv1.Operation_KIND_TOUCH, Tuple: &remitv1.Tuple{Object: fmt.Sprintf("document:d%d", i), Relation: "viewer", Subject: "user:x"},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, into := range []*[]time.Duration{&waits, &floors} { // the second one need not wait any more
			began := time.Now()
			answer, err := c.Access.Check(t.Context(), &remitv1.CheckRequest{Scope: &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
				Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: written.GetToken()},
			}}, Question: &remitv1.Question{Object: fmt.Sprintf("document:d%d", i), Relation: "viewer", Subject: "user:x"}})
			*into = append(*into, time.Since(began))
			if err != nil || !answer.GetAllowed() {
				t.Fatalf("a read with the token of a write: %v, %v", answer, err)
			}
		}
	}
	t.Logf("a read at a follower right after a write took %s in the median, the same again %s", median(waits), median(floors))
	if wait := median(waits) - median(floors); wait > mostTokenWait {
		t.Errorf("a follower shows a write %s after it was acknowledged in the median, want at most %s", wait, mostTokenWait)
	}
}
