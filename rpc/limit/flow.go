package limit

import (
	"container/heap"
	"container/list"
	"time"
)

// A share is what a store has had, or a principal of it, in the virtual time of those that
// take turns with it.
type share struct {
	virtual time.Duration
	place   int // in the heap, from 1; 0: it is not in there
	running int
}

func (s *share) base() *share { return s }

// A storeFlow is the calls of one store.
type storeFlow struct {
	share
	store      [16]byte
	waiting    int
	principals group[string, *principalFlow]
}

func newStoreFlow(store [16]byte) *storeFlow {
	f := &storeFlow{store: store}
	f.principals = newGroup(maxIdlePrincipals, func(name string) *principalFlow { return &principalFlow{store: f, name: name} })
	return f
}

func (f *storeFlow) key() [16]byte { return f.store }
func (f *storeFlow) wants() bool   { return f.waiting > 0 }

// A principalFlow is the calls of one principal to one store.
type principalFlow struct {
	share
	store   *storeFlow
	name    string
	turns   list.List     // of *turn
	average time.Duration // of its last calls; 0: there were none
}

func (f *principalFlow) key() string { return f.name }
func (f *principalFlow) wants() bool { return f.turns.Len() > 0 }

// firstGuess is what a call is charged of whose principal nothing is known.
const firstGuess = 100 * time.Microsecond

// guess is how long the next call may take: about what the last have.
func (f *principalFlow) guess() time.Duration {
	if f.average == 0 {
		return firstGuess
	}
	return f.average
}

func (f *principalFlow) learn(took time.Duration) { f.average = max(1, (7*f.guess()+took)/8) }

// A flow is one of several that take turns.
type flow[K comparable] interface {
	base() *share
	key() K
	wants() bool
}

// maxIdle and maxIdlePrincipals bound the stores, and the principals of a store, that are
// remembered for what they owe while they neither want nor have a turn.
const (
	maxIdle           = 4096
	maxIdlePrincipals = 256
)

// A group is flows that take turns. Those that want one are a heap, the one that has had
// the least first.
type group[K comparable, F flow[K]] struct {
	make  func(K) F
	idle  int // how many are remembered that neither want nor have a turn
	byKey map[K]F
	queue []F           // the heap
	now   time.Duration // the virtual time: when the last turn began
}

func newGroup[K comparable, F flow[K]](idle int, make func(K) F) group[K, F] {
	return group[K, F]{make: make, idle: idle, byKey: map[K]F{}}
}

// get finds a flow, or makes one. It begins with the present: what it has not used is
// gone, what it owes is not.
func (g *group[K, F]) get(key K) F {
	f, ok := g.byKey[key]
	if !ok {
		if len(g.byKey)-len(g.queue) >= g.idle {
			g.forget()
		}
		f = g.make(key)
		g.byKey[key] = f
	}
	if s := f.base(); s.place == 0 && s.running == 0 {
		s.virtual = max(s.virtual, g.now)
	}
	return f
}

// next is the flow whose turn it is.
func (g *group[K, F]) next() F {
	f := g.queue[0]
	g.now = max(g.now, f.base().virtual)
	return f
}

// settle puts a flow where it belongs after a change.
func (g *group[K, F]) settle(f F) {
	switch s := f.base(); {
	case f.wants() && s.place == 0:
		heap.Push(g, f)
	case f.wants():
		heap.Fix(g, s.place-1)
	case s.place != 0:
		heap.Remove(g, s.place-1)
	}
	if s := f.base(); s.place == 0 && s.running == 0 && s.virtual <= g.now {
		delete(g.byKey, f.key())
	}
}

// forget forgets the flows that want nothing, and what they owe.
func (g *group[K, F]) forget() {
	for key, f := range g.byKey {
		if s := f.base(); s.place == 0 && s.running == 0 {
			delete(g.byKey, key)
		}
	}
}

// Len, Less, Swap, Push and Pop are for package heap.
func (g *group[K, F]) Len() int { return len(g.queue) }

// Less is part of heap.Interface.
func (g *group[K, F]) Less(i, j int) bool {
	return g.queue[i].base().virtual < g.queue[j].base().virtual
}

// Swap is part of heap.Interface.
func (g *group[K, F]) Swap(i, j int) {
	g.queue[i], g.queue[j] = g.queue[j], g.queue[i]
	g.queue[i].base().place, g.queue[j].base().place = i+1, j+1
}

// Push is part of heap.Interface.
func (g *group[K, F]) Push(f any) {
	g.queue = append(g.queue, f.(F))
	f.(F).base().place = len(g.queue)
}

// Pop is part of heap.Interface.
func (g *group[K, F]) Pop() any {
	last := len(g.queue) - 1
	f := g.queue[last]
	var none F
	g.queue[last] = none
	g.queue = g.queue[:last]
	f.base().place = 0
	return f
}
