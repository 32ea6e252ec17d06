package rpc

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2/connectinprocess"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

// The tenant who is measured asks at fixed times, whether it has been answered or not.
const (
	steadyEvery = 4 * time.Millisecond
	stormWindow = 400 * time.Millisecond
	stormers    = 64
)

// A storm is calls that one tenant makes as fast as it can.
type storm struct {
	name string
	call func(ctx context.Context, c clients, store string, caller int) error
}

var storms = []storm{
	{"lists", func(ctx context.Context, c clients, store string, _ int) error {
		_, err := c.access.ListObjects(ctx, &remitv1.ListObjectsRequest{
			Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:olga", PageSize: maxPage,
		})
		return err
	}},
	{"batches", func(ctx context.Context, c clients, store string, _ int) error {
		req := &remitv1.BatchCheckRequest{Scope: scopeOf(store)}
		for i := range 2000 {
			req.Questions = append(req.Questions, &remitv1.BatchQuestion{Question: stormQuestion(i)})
		}
		_, err := c.access.BatchCheck(ctx, req)
		return err
	}},
	{"checks", func(ctx context.Context, c clients, store string, caller int) error {
		_, err := c.access.Check(ctx, &remitv1.CheckRequest{Scope: scopeOf(store), Question: stormQuestion(caller)})
		return err
	}},
}

func stormQuestion(i int) *remitv1.Question {
	return &remitv1.Question{Object: fmt.Sprintf("document:d%d", i), Relation: "reader", Subject: "user:olga"}
}

// mostStorm is how many times a tenant's p99 beside another's storm may be what it is
// without, in the median window. It is what is wanted, and not always what is measured:
// see bench/README.md.
const mostStorm = 2.0

// One tenant's storm of 64 callers leaves another's p99 near what it is without. That can
// be told on a machine that does nothing else, and so is claimed under REMIT_TEST_ALL alone; otherwise there is a short storm of each kind, in which everybody
// must be answered. Windows with and without the storm take turns, so that whatever else
// the machine does meets both alike. All call in one process, without a transport: what is
// measured is the turn that the server gives to whom, and callers take processors beside
// it. Without shares it is told what these are good for.
func TestOneTenantsStormLeavesAnotherAlone(t *testing.T) {
	pairs := 1
	all := os.Getenv("REMIT_TEST_ALL") != ""
	if all {
		pairs = 10
	}
	r := newRig(t)
	loud, quiet := r.stormStore("loud"), r.stormStore("quiet")
	for _, shares := range []bool{true, false} {
		config := r.config
		if !shares {
			if !all {
				continue
			}
			config.Limits.Concurrency = limit.Unlimited
		}
		c := newClients(connectinprocess.New(NewConnectServer(config)))
		steadily(t, c, quiet, stormWindow) // until it is warm
		for _, s := range storms {
			var without, with []float64
			var ratios []float64
			for range pairs {
				calm := steadily(t, c, quiet, stormWindow)
				stop := s.begin(t, c, loud)
				beside := steadily(t, c, quiet, stormWindow)
				stop()
				without, with = append(without, calm...), append(with, beside...)
				ratios = append(ratios, p99(beside)/p99(calm))
			}
			slices.Sort(ratios)
			ratio := p99(with) / p99(without)
			t.Logf("shares %v, %s: p99 %.0f µs without the storm, %.0f µs with it: %.2f times (windows: median %.2f, %.2f to %.2f)", shares, s.name,
				p99(without), p99(with), ratio, ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
			if median := ratios[len(ratios)/2]; all && shares && median > mostStorm {
				t.Errorf("beside a storm of %s the p99 is %.2f times what it is without, want at most %v times", s.name, median, mostStorm)
			}
		}
	}
}

// stormStore makes a store in which a subject reads a page of documents through folders
// and groups.
func (r *rig) stormStore(name string) string {
	r.t.Helper()
	id := r.store(name)
	var tuples []string
	for i := range maxPage {
		tuples = append(tuples, fmt.Sprintf("document:d%d#parent@folder:f%d", i, i%100))
		if len(tuples) == 5000 {
			r.write(id, tuples...)
			tuples = nil
		}
	}
	for i := range 100 {
		tuples = append(tuples, fmt.Sprintf("folder:f%d#viewer@group:g%d#member", i, i%10))
	}
	for i := range 10 {
		tuples = append(tuples, fmt.Sprintf("group:g%d#member@user:olga", i))
	}
	r.write(id, tuples...)
	return id
}

// begin begins a storm, which lasts until stop returns.
func (s *storm) begin(t *testing.T, c clients, store string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var callers, begun sync.WaitGroup
	begun.Add(stormers)
	for i := range stormers {
		callers.Go(func() {
			begun.Done()
			for ctx.Err() == nil {
				if err := s.call(ctx, c, store, i); err != nil && ctx.Err() == nil {
					t.Errorf("a call of the storm: %v", err)
					return
				}
			}
		})
	}
	begun.Wait()
	return func() {
		cancel()
		callers.Wait()
	}
}

// steadily asks for a while, and returns how long each answer took from when its question
// was due, in µs.
func steadily(t *testing.T, c clients, store string, within time.Duration) (took []float64) {
	t.Helper()
	var mu sync.Mutex
	var calls sync.WaitGroup
	req := &remitv1.CheckRequest{Scope: scopeOf(store), Question: stormQuestion(1)}
	begun := time.Now()
	for i := 1; i <= int(within/steadyEvery); i++ {
		due := begun.Add(time.Duration(i) * steadyEvery)
		<-time.After(time.Until(due))
		calls.Go(func() {
			if res, err := c.access.Check(t.Context(), req); err != nil || !res.Allowed {
				t.Errorf("a steady call: %v, %v", res, err)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, float64(time.Since(due).Microseconds()))
		})
	}
	calls.Wait()
	return took
}

func p99(took []float64) float64 {
	slices.Sort(took)
	return took[len(took)*99/100]
}
