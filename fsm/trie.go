package fsm

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// A trie maps numbers to values, in the order of the numbers. It is an array mapped trie
// (P. Bagwell, Ideal Hash Trees, 2000) of the numbers themselves, which are dense: a search
// reads one place of a node and compares nothing, so it touches a small part of the memory
// that a search in a tree of keys does. A node with a single way on is left out.
//
// Copies of a trie share their nodes. Who changes one names a generation: nodes of that
// generation are its own, others are copied on the way. The zero trie is empty.
type trie[V any] struct {
	root *trieNode[V]
	n    int
}

// A trieNode has 64 places, of which it holds those that are taken, in order: nodes below
// it or, if it is a leaf, values.
type trieNode[V any] struct {
	taken      uint64 // a bit for each place
	base       uint64 // the lowest number of the first place
	shift      uint8  // a place is for so many bits' worth of numbers; 0: it is a leaf
	generation uint64
	below      []*trieNode[V]
	values     []V
}

// A generation is what may be changed in place. Each is given out once.
var generations atomic.Uint64

func newGeneration() uint64 { return generations.Add(1) }

// trieBits are those of a number that choose a place.
const trieBits = 6

// start is the lowest number of a node with this shift that holds key.
func start(key uint64, shift uint8) uint64 { return key &^ (1<<(shift+trieBits) - 1) }

// place says which place of the node is key's and whether it is taken; i counts those before it.
func (n *trieNode[V]) place(key uint64) (i int, bit uint64, taken bool) {
	bit = 1 << (key >> n.shift & (1<<trieBits - 1))
	return bits.OnesCount64(n.taken & (bit - 1)), bit, n.taken&bit != 0
}

// len is how many numbers have a value.
func (t *trie[V]) len() int { return t.n }

// get returns the value of a number, which nobody may change; nil if it has none.
func (t *trie[V]) get(key uint64) *V {
	for n := t.root; n != nil; {
		i, _, taken := n.place(key)
		switch {
		case !taken:
			return nil
		case n.shift == 0:
			// What was left out on the way is compared here.
			if n.base != start(key, 0) {
				return nil
			}
			return &n.values[i]
		}
		n = n.below[i]
	}
	return nil
}

// put gives a number a value.
func (t *trie[V]) put(generation, key uint64, v V) {
	root, added := t.root.put(generation, key, v)
	t.root = root
	if added {
		t.n++
	}
}

func (n *trieNode[V]) put(generation, key uint64, v V) (own *trieNode[V], added bool) {
	switch {
	case n == nil:
		return newLeaf(generation, key, v), true
	case start(key, n.shift) != n.base:
		return fork(generation, n, newLeaf(generation, key, v)), true
	}
	own = n.owned(generation)
	i, bit, taken := own.place(key)
	switch {
	case own.shift > 0 && taken:
		own.below[i], added = own.below[i].put(generation, key, v)
		return own, added
	case own.shift > 0:
		own.below = slices.Insert(own.below, i, newLeaf(generation, key, v))
	case taken:
		own.values[i] = v
		return own, false
	default:
		own.values = slices.Insert(own.values, i, v)
	}
	own.taken |= bit
	return own, true
}

func newLeaf[V any](generation, key uint64, v V) *trieNode[V] {
	n := &trieNode[V]{base: start(key, 0), generation: generation, values: []V{v}}
	_, n.taken, _ = n.place(key)
	return n
}

// fork makes the node above two that have no number in common.
func fork[V any](generation uint64, a, b *trieNode[V]) *trieNode[V] {
	shift := uint8((bits.Len64(a.base^b.base) - 1) / trieBits * trieBits) //nolint:gosec // below 64
	n := &trieNode[V]{base: start(a.base, shift), shift: shift, generation: generation, below: []*trieNode[V]{a, b}}
	for _, below := range n.below {
		_, bit, _ := n.place(below.base)
		n.taken |= bit
	}
	if a.base > b.base {
		slices.Reverse(n.below)
	}
	return n
}

// owned is the node itself if it is of the generation, or a copy that is.
func (n *trieNode[V]) owned(generation uint64) *trieNode[V] {
	if n.generation == generation {
		return n
	}
	own := *n
	own.generation = generation
	own.below, own.values = slices.Clone(n.below), slices.Clone(n.values)
	return &own
}

// remove takes a number's value away.
func (t *trie[V]) remove(generation, key uint64) {
	if t.get(key) != nil {
		t.root = t.root.remove(generation, key)
		t.n--
	}
}

// remove is of a number that has a value. A node without places is nil, one with a single
// way on is what that leads to.
func (n *trieNode[V]) remove(generation, key uint64) *trieNode[V] {
	own := n.owned(generation)
	i, bit, _ := own.place(key)
	if own.shift > 0 {
		if below := own.below[i].remove(generation, key); below != nil {
			own.below[i] = below
			return own
		}
		own.below = slices.Delete(own.below, i, i+1)
		if len(own.below) == 1 {
			return own.below[0]
		}
	} else {
		own.values = slices.Delete(own.values, i, i+1)
	}
	if own.taken &^= bit; own.taken == 0 {
		return nil
	}
	return own
}

// ascend visits the numbers from one on, in order, until visit returns false, and reports
// whether it never did.
func (t *trie[V]) ascend(from uint64, visit func(key uint64, v *V) bool) bool {
	return t.root.ascend(from, visit)
}

func (n *trieNode[V]) ascend(from uint64, visit func(key uint64, v *V) bool) bool {
	if n == nil {
		return true
	}
	i, taken := 0, n.taken
	for ; taken != 0; i, taken = i+1, taken&(taken-1) {
		first := n.base + uint64(bits.TrailingZeros64(taken))<<n.shift //nolint:gosec // at most 64
		last := first + (1<<n.shift - 1)
		switch {
		case last < from:
		case n.shift == 0:
			if !visit(first, &n.values[i]) {
				return false
			}
		case !n.below[i].ascend(from, visit):
			return false
		}
	}
	return true
}
