package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// keyPromise is where a node without history keeps with whom it begins a cluster if it
// begins one, in the stable store. Never change it.
var keyPromise = []byte("RemitPromise")

// promised returns what a node has promised, nil if it has not.
func promised(stable raft.StableStore) (with []Peer, err error) {
	kept, err := stable.Get(keyPromise)
	if err != nil && err.Error() != "not found" {
		return nil, fmt.Errorf("read with whom this node begins a cluster: %w", err)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(kept, &with); err != nil {
		return nil, fmt.Errorf("read with whom this node begins a cluster, %q: %w", kept, err)
	}
	return with, nil
}

// A former is a node without history that looks for those with whom to begin a cluster.
type former struct {
	node   *Node
	stable raft.StableStore
	self   Peer

	known  map[string]sighting // by id; what was heard lately, or is true for ever
	failed []greeting          // of the last round
	copies []string            // of the last round: ids that more than one process has
	find   error               // of the last round

	mu    sync.Mutex
	says  hello                // guarded by mu
	heard map[string]time.Time // guarded by mu; addresses of which others told, and when

	told time.Time // when something was last logged
	last string    // and what
}

// A sighting is what a node last said of itself.
type sighting struct {
	hello
	at time.Time
}

const (
	// formInterval is how often a node that forms asks the others, about.
	formInterval = 250 * time.Millisecond
	// sightTime is how long a node counts as being there after it was last heard of. Who
	// stops a node that is one too many helps the others by it.
	sightTime = 3 * time.Second
	// rumorTime is how long an address is asked of which another node has told.
	rumorTime = 30 * time.Second
	// tellInterval is how often a node says what it waits for.
	tellInterval = 10 * time.Second
)

// form has a node without history find those with whom it begins a cluster. It returns
// them, the same and in the same order on each, or nobody if the node is to be joined to
// a cluster that exists. It waits until one or the other is certain, or ctx ends. While it
// waits the node answers hellos, and nothing else.
func (n *Node) form(ctx context.Context, stable raft.StableStore, address raft.ServerAddress) ([]Peer, error) {
	promise, err := promised(stable)
	if err != nil {
		return nil, err
	}
	expect := n.cfg.Expect
	if n.cfg.Replica {
		expect = 0 // it never votes
	}
	if promise != nil {
		expect = len(promise)
	}
	if expect == 0 {
		return nil, nil
	}
	self := Peer{ID: n.id, Address: string(address)}
	f := &former{
		node: n, stable: stable, self: self, known: map[string]sighting{}, heard: map[string]time.Time{},
		says: hello{
			Peer: self, Run: n.run, Fresh: true, Expect: expect, Supports: n.supports(),
			Seen: []Peer{self}, Promised: promise != nil,
		},
	}
	if promise != nil {
		f.says.Seen = promise
	}
	n.cfg.Peers.Handle(f.serve)
	for {
		f.round(ctx)
		s := f.next()
		switch {
		case s.promise:
			if err := f.promise(s.voters); err != nil {
				return nil, err
			}
			continue
		case s.voters != nil:
			return s.voters, nil
		case s.join:
			return nil, nil
		}
		f.tell(ctx, s)
		select {
		case <-time.After(formInterval/2 + rand.N(formInterval)):
		case <-ctx.Done():
			return nil, fmt.Errorf("begin a cluster of %d nodes: %s: %w", expect, s.why, ctx.Err())
		}
	}
}

// serve answers what other nodes ask while this one forms.
func (f *former) serve(_ context.Context, kind byte, request []byte) []byte {
	_, payload, err := unframe(request)
	if err == nil && kind != askHello {
		err = fmt.Errorf("%w: node %s is no member yet", ErrNoLeader, f.self.ID)
	}
	var from hello
	if err == nil {
		err = json.Unmarshal(payload, &from)
	}
	if err != nil {
		return ending(nil, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hear(from.Address)
	return ending(json.Marshal(f.says))
}

// hear remembers an address of which another node has told. f.mu is held.
func (f *former) hear(address string) {
	if _, ok := f.heard[address]; (ok || len(f.heard) < maxAddresses) && address != "" && address != f.self.Address {
		f.heard[address] = time.Now()
	}
}

// round asks everybody once.
func (f *former) round(ctx context.Context) {
	found, err := f.node.find(ctx)
	f.mu.Lock()
	for address, at := range f.heard {
		if time.Since(at) > rumorTime {
			delete(f.heard, address)
			continue
		}
		found = append(found, address)
	}
	says := f.says
	f.mu.Unlock()
	slices.Sort(found)
	found = slices.Compact(found)
	found = found[:min(len(found), maxAddresses)]
	greetings := greet(ctx, f.node.cfg.Peers, found, says)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed, f.copies, f.find = nil, nil, err
	runs := map[string]string{f.self.ID: f.node.run}
	for _, g := range greetings {
		if g.err != nil {
			f.failed = append(f.failed, g)
			continue
		}
		if run, ok := runs[g.hello.ID]; ok && run != g.hello.Run {
			f.copies = append(f.copies, g.hello.ID)
		}
		runs[g.hello.ID] = g.hello.Run
		if g.hello.ID == f.self.ID {
			continue
		}
		if g.hello.Fresh && g.hello.Address != g.address {
			// It counts once it answers where it says that it is: there the others look for it
			// when the cluster has begun. Who has history counts wherever it is found: nobody
			// begins beside it.
			f.hear(g.hello.Address)
			continue
		}
		f.known[g.hello.ID] = sighting{g.hello, time.Now()}
		for _, p := range append(g.hello.Seen, g.hello.Leader) {
			f.hear(p.Address)
		}
	}
	for id, s := range f.known {
		// A promise is kept on disk, so it is true for ever. One that is nothing to this node
		// is no better than who made it.
		if time.Since(s.at) > sightTime && (!s.Promised || !among(s.Seen, f.self.ID)) {
			delete(f.known, id)
		}
	}
}

// next says what the node may do now, and tells others whom it sees.
func (f *former) next() step {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := view{self: f.self, expect: f.says.Expect, copies: f.copies}
	if f.says.Promised {
		v.promise = f.says.Seen
	}
	for _, s := range f.known {
		v.others = append(v.others, s.hello)
	}
	slices.SortFunc(v.others, func(a, b hello) int { return strings.Compare(a.ID, b.ID) })
	if !f.says.Promised {
		f.says.Seen = v.seen()
	}
	return v.next()
}

// promise has the node begin with these or with nobody. It is durable before another node
// hears of it, for they rely on it.
func (f *former) promise(with []Peer) error {
	kept, err := json.Marshal(with)
	if err != nil {
		return err
	}
	if err := f.stable.Set(keyPromise, kept); err != nil {
		return fmt.Errorf("keep with whom this node begins a cluster: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.says.Seen, f.says.Promised = with, true
	return nil
}

// tell logs what the node waits for, now and then.
func (f *former) tell(ctx context.Context, s step) {
	said := s.what()
	if since := time.Since(f.told); since < tellInterval && (said == f.last || since < sightTime) {
		return
	}
	f.told, f.last = time.Now(), said
	var unreached []string
	for _, g := range f.failed {
		unreached = append(unreached, fmt.Sprintf("%s: %v", g.address, g.err))
	}
	attrs := []any{"node", f.self.ID, "address", f.self.Address, "expect", f.says.Expect, "reason", s.why}
	if len(unreached) > 0 {
		attrs = append(attrs, "unreached", unreached)
	}
	if f.find != nil {
		attrs = append(attrs, "error", f.find)
	}
	level := slog.LevelInfo
	if s.wrong {
		level = slog.LevelWarn
	}
	f.node.log.Log(ctx, level, "waiting to begin a cluster", attrs...)
}
