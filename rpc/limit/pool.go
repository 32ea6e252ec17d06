package limit

import (
	"container/list"
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A tenant is whose turn a call takes: the principal's among those of the store.
type tenant struct {
	store     [16]byte
	principal string
}

// A pool is a number of slots, and those who wait for one.
//
// While nobody waits, taking a slot and giving it back are one atomic operation each and
// know of no tenant. Once somebody waits, slots go by virtual time: to the store that has
// had the least, and in it to the principal that has. A store that was away begins where
// the others are: it goes first, but has saved nothing up.
type pool struct {
	name  string
	slots int64
	queue int // of one principal; a store has storeQueues times as many

	// state is the slots in use in its lower half, and the waiting in its upper. The
	// waiting change under mu alone, and while there are any, slots are taken under it
	// alone, too.
	state    atomic.Int64
	admitted atomic.Uint64

	mu     sync.Mutex
	stores group[[16]byte, *storeFlow] // guarded by mu

	waited prometheus.Observer // seconds of those that had to wait; nil if nobody wants to know
}

// storeQueues is how many full queues of principals a store may have.
const storeQueues = 4

const (
	oneWaiting  = 1 << 32
	runningMask = oneWaiting - 1
)

func newPool(name string, slots, queue int) *pool {
	return &pool{name: name, slots: int64(slots), queue: queue, stores: newGroup[[16]byte](maxIdle, newStoreFlow)}
}

func (p *pool) waiting() int { return int(p.state.Load() >> 32) }
func (p *pool) running() int { return int(p.state.Load() & runningMask) }

// try takes a slot if one is free that nobody waits for.
func (p *pool) try() bool {
	for {
		state := p.state.Load()
		if state >= p.slots { // with somebody waiting it is far more
			return false
		}
		if p.state.CompareAndSwap(state, state+1) {
			p.admitted.Add(1)
			return true
		}
	}
}

// overflow takes a slot beyond those that there are, one for each processor at most, if nobody waits.
func (p *pool) overflow() bool {
	for {
		state := p.state.Load()
		if state >= p.slots+int64(runtime.GOMAXPROCS(0)) {
			return false
		}
		if p.state.CompareAndSwap(state, state+1) {
			return true
		}
	}
}

// A turn is a slot that was waited for.
type turn struct {
	ready   chan struct{} // closed when it is taken
	granted bool          // guarded by the pool's mu
	alone   bool          // no other call of its store ran or waited when it was granted
	flow    *principalFlow
	place   *list.Element // in the flow, until it is granted
	begun   time.Duration
	charged time.Duration // for a time that is not yet known
}

// wait waits for a slot.
func (p *pool) wait(ctx context.Context, of tenant) (*turn, error) {
	begun := clock()
	p.mu.Lock()
	store := p.stores.get(of.store)
	flow := store.principals.get(of.principal)
	if flow.turns.Len() >= p.queue || store.waiting >= storeQueues*p.queue {
		wait := time.Duration(store.waiting) * flow.guess() / time.Duration(p.slots)
		p.mu.Unlock()
		return nil, &RefusedError{Err: ErrQueue, Kind: FullQueue, RetryAfter: min(max(wait, minRetry), maxRetry)}
	}
	t := &turn{ready: make(chan struct{}), flow: flow}
	t.place = flow.turns.PushBack(t)
	store.waiting++
	p.state.Add(oneWaiting)
	p.settle(flow)
	p.grant()
	p.mu.Unlock()
	select {
	case <-t.ready:
		// Whoever is woken runs before all that were ready on this processor, in what is
		// left of the slice of who woke him. Those who wait and wake each other would keep
		// the others out for as long as the runtime lets a goroutine run, 10 ms. One who is
		// alone is in nobody's way, unless there are many such stores.
		if !t.alone || rand.N(lonely) == 0 {
			runtime.Gosched()
		}
	case <-ctx.Done():
		if p.abandon(t) {
			return nil, ctx.Err()
		}
	}
	if p.waited != nil {
		p.waited.Observe((clock() - begun).Seconds())
	}
	return t, nil
}

// lonely is one of how many calls lets others go first although it is its store's only one.
const lonely = 128

const (
	minRetry = 10 * time.Millisecond
	maxRetry = 30 * time.Second
)

// abandon takes a turn out of the queue, unless it has been granted.
func (p *pool) abandon(t *turn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.granted {
		return false
	}
	flow := t.flow
	flow.turns.Remove(t.place)
	flow.store.waiting--
	p.state.Add(-oneWaiting)
	p.settle(flow)
	return true
}

// leave gives a slot back; the turn is nil for one that was not waited for.
func (p *pool) leave(t *turn) {
	if t == nil {
		if p.state.Add(-1)>>32 == 0 {
			return
		}
		p.mu.Lock()
		p.grant()
		p.mu.Unlock()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	flow := t.flow
	took := clock() - t.begun
	flow.learn(took)
	flow.running--
	flow.store.running--
	flow.virtual += took - t.charged
	flow.store.virtual += took - t.charged
	p.settle(flow)
	p.state.Add(-1)
	p.grant()
}

// grant hands out the slots that are free. The caller holds mu.
func (p *pool) grant() {
	for {
		state := p.state.Load()
		if state>>32 == 0 || state&runningMask >= p.slots {
			return
		}
		p.state.Add(1 - oneWaiting)
		p.admitted.Add(1)
		store := p.stores.next()
		flow := store.principals.next()
		t := flow.turns.Remove(flow.turns.Front()).(*turn)
		t.granted, t.begun, t.charged = true, clock(), flow.guess()
		store.waiting--
		store.running++
		flow.running++
		t.alone = store.running == 1 && store.waiting == 0
		store.virtual += t.charged
		flow.virtual += t.charged
		p.settle(flow)
		close(t.ready)
	}
}

// settle puts a flow and its store where they belong after a change. The caller holds mu.
func (p *pool) settle(flow *principalFlow) {
	flow.store.principals.settle(flow)
	p.stores.settle(flow.store)
}
