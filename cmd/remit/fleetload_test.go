package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// prepare makes the store of the load, and returns its id. All nodes hold it then: who
// reads what a node has may not find less than a model.
func (f *fleet) prepare() string {
	f.t.Helper()
	c := f.client(client.Config{})
	made, err := c.Stores.CreateStore(f.t.Context(), &remitv1.CreateStoreRequest{Name: "load"})
	if err != nil {
		f.t.Fatal(err)
	}
	id := made.GetStore().GetId()
	_, err = c.Models.WriteModel(f.t.Context(), &remitv1.WriteModelRequest{
		Store: id, Source: &remitv1.ModelSource{Source: &remitv1.ModelSource_Dsl{Dsl: crashModel}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.wantEqual()
	return id
}

// A fleetProbe calls one after the other and remembers when it was answered.
type fleetProbe struct {
	name string
	call func(ctx context.Context, n int) error

	mu       sync.Mutex
	answered []callSpan
	failed   []error
}

// A callSpan is when a call began and when it was answered.
type callSpan struct{ began, ended time.Time }

// run calls until ctx is done. An error that ctx is the cause of counts for nothing.
func (p *fleetProbe) run(ctx context.Context, pause time.Duration) {
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		err := p.call(ctx, n)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		if err != nil {
			p.failed = append(p.failed, fmt.Errorf("%s, at %s: %w", p.name, began.Format("15:04:05.000"), err))
		} else {
			p.answered = append(p.answered, callSpan{began, time.Now()})
		}
		p.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// since returns when the first call that began after t was answered.
func (p *fleetProbe) since(t time.Time) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.answered {
		if s.began.After(t) {
			return s.ended, true
		}
	}
	return time.Time{}, false
}

// count is how many calls were answered.
func (p *fleetProbe) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.answered)
}

// errors are those so far.
func (p *fleetProbe) errors() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.failed...)
}

// gap is the longest time without an answer between two moments, of all the probes
// together: they are one user who asks in several ways.
func gap(from, to time.Time, probes ...*fleetProbe) (longest time.Duration) {
	var ends []time.Time
	for _, p := range probes {
		p.mu.Lock()
		for _, s := range p.answered {
			if s.ended.After(from) && s.ended.Before(to) {
				ends = append(ends, s.ended)
			}
		}
		p.mu.Unlock()
	}
	slices.SortFunc(ends, time.Time.Compare)
	last := from
	for _, t := range append(ends, to) {
		longest, last = max(longest, t.Sub(last)), t
	}
	return longest
}

// writer is a probe that writes tuples of its own through a client.
func (f *fleet) writer(c *client.Client, store, name string) *fleetProbe {
	return &fleetProbe{name: "write " + name, call: func(ctx context.Context, n int) error {
		_, err := c.Tuples.Write(ctx, &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{
			Kind:  remitv1.Operation_KIND_TOUCH,
			Tuple: &remitv1.Tuple{Object: fmt.Sprintf("document:%s-%d", name, n), Relation: "viewer", Subject: "user:" + name},
		}}})
		return err
	}}
}

// reader is a probe that asks one node for what it holds now.
func (f *fleet) reader(n *fleetNode, store string) *fleetProbe {
	c := f.client(client.Config{Attempts: 1, FailFast: true, Forgetful: true}, n)
	return &fleetProbe{name: "read " + n.name, call: func(ctx context.Context, _ int) error {
		_, err := c.Access.Check(ctx, &remitv1.CheckRequest{
			Scope: &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
				Requirement: &remitv1.Consistency_MinimizeLatency{MinimizeLatency: true},
			}},
			Question: &remitv1.Question{Object: "document:x", Relation: "viewer", Subject: "user:x"},
		})
		return err
	}}
}

// probing runs probes until the returned function is called.
func probing(t *testing.T, pause time.Duration, probes ...*fleetProbe) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, p := range probes {
		running.Go(func() { p.run(ctx, pause) })
	}
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// rounded are durations as people read them.
func rounded(of []time.Duration) (text []string) {
	for _, d := range of {
		text = append(text, d.Round(time.Millisecond).String())
	}
	return text
}
