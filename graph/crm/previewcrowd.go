package crm

import (
	"math/bits"
	"slices"
)

// A crowd is a set of users, by their numbers in a preview. It never changes, so that
// many can share one; nil is the empty one. Few are a sorted list, many a bitmap.
type crowd struct {
	id   uint64 // unique within a preview: what caches know it by
	list []uint32
	bits []uint64
	n    int
}

// A crowdOp is how two crowds become one.
type crowdOp uint8

const (
	crowdUnion crowdOp = iota
	crowdIntersection
	crowdExclusion  // the first without the second
	crowdDifference // who is in one of them alone
)

func (c *crowd) len() int {
	if c == nil {
		return 0
	}
	return c.n
}

// number is the crowd's id, 0 for the empty one.
func (c *crowd) number() uint64 {
	if c == nil {
		return 0
	}
	return c.id
}

func (c *crowd) has(i uint32) bool {
	switch {
	case c == nil:
		return false
	case c.bits != nil:
		return c.bits[i>>6]&(1<<(i&63)) != 0
	}
	_, ok := slices.BinarySearch(c.list, i)
	return ok
}

// each calls f with every member in order.
func (c *crowd) each(f func(i uint32)) {
	if c == nil {
		return
	}
	for _, i := range c.list {
		f(i)
	}
	eachBit(c.bits, f)
}

func eachBit(words []uint64, f func(i uint32)) {
	for w, word := range words {
		for ; word != 0; word &= word - 1 {
			f(uint32(w<<6 + bits.TrailingZeros64(word)))
		}
	}
}

// bytes is about how much memory a crowd takes.
func (c *crowd) bytes() int { return 80 + 4*len(c.list) + 8*len(c.bits) }

func (c *crowd) equal(o *crowd) bool {
	switch {
	case c == o:
		return true
	case c.len() != o.len():
		return false
	case c.len() == 0:
		return true
	}
	// The same number means the same form.
	return slices.Equal(c.list, o.list) && slices.Equal(c.bits, o.bits)
}

// A crowdMaker makes crowds of one preview. One goroutine uses it at a time.
type crowdMaker struct {
	words   int // of a bitmap of all users
	next    uint64
	all     *crowd
	scratch []uint64
	numbers []uint32 // scratch, too
	made    int      // bytes of the crowds made since it was set to 0
}

// fewOf is up to what part of all users a crowd is a list: then it is no longer than a
// bitmap.
const fewOf = 32

func newCrowdMaker(users int, first uint64) *crowdMaker {
	m := &crowdMaker{words: (users + 63) / 64, next: first}
	m.scratch = make([]uint64, m.words)
	return m
}

func (m *crowdMaker) few(n int) bool { return n <= m.words*64/fewOf }

func (m *crowdMaker) add(c crowd) *crowd {
	m.next++
	c.id = m.next
	m.made += c.bytes()
	return &c
}

// ofBits makes a crowd of a bitmap, which it copies.
func (m *crowdMaker) ofBits(words []uint64) *crowd {
	n := 0
	for _, word := range words {
		n += bits.OnesCount64(word)
	}
	switch {
	case n == 0:
		return nil
	case m.all != nil && n == m.all.n:
		return m.all
	case !m.few(n):
		return m.add(crowd{bits: slices.Clone(words), n: n})
	}
	list := make([]uint32, 0, n)
	eachBit(words, func(i uint32) { list = append(list, i) })
	return m.add(crowd{list: list, n: n})
}

// ofList makes a crowd of numbers in any order, which it sorts; it keeps no hold of them.
func (m *crowdMaker) ofList(numbers []uint32) *crowd {
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	switch n := len(numbers); {
	case n == 0:
		return nil
	case m.all != nil && n == m.all.n:
		return m.all
	case m.few(n):
		return m.add(crowd{list: slices.Clone(numbers), n: n})
	}
	clear(m.scratch)
	for _, i := range numbers {
		m.scratch[i>>6] |= 1 << (i & 63)
	}
	return m.add(crowd{bits: slices.Clone(m.scratch), n: len(numbers)})
}

// union is the union of many.
func (m *crowdMaker) union(crowds []*crowd) *crowd {
	clear(m.scratch)
	for _, c := range crowds {
		c.addTo(m.scratch)
	}
	return m.ofBits(m.scratch)
}

// addTo sets the bits of the members.
func (c *crowd) addTo(words []uint64) {
	if c == nil {
		return
	}
	for _, i := range c.list {
		words[i>>6] |= 1 << (i & 63)
	}
	for w, word := range c.bits {
		words[w] |= word
	}
}

// apply makes a crowd of two. Where the result is one of them, it is that very one.
func (m *crowdMaker) apply(op crowdOp, a, b *crowd) *crowd {
	switch op {
	case crowdUnion:
		switch {
		case a == b || b == nil || a == m.all:
			return a
		case a == nil || b == m.all:
			return b
		}
	case crowdIntersection:
		switch {
		case a == nil || b == nil:
			return nil
		case a == b || b == m.all:
			return a
		case a == m.all:
			return b
		}
	case crowdExclusion:
		switch {
		case a == nil || a == b || b == m.all:
			return nil
		case b == nil:
			return a
		}
	case crowdDifference:
		switch {
		case a == b:
			return nil
		case a == nil:
			return b
		case b == nil:
			return a
		}
	}
	var c *crowd
	if a.bits == nil && (b.bits == nil || op == crowdIntersection || op == crowdExclusion) {
		c = m.applyLists(op, a, b)
	} else {
		c = m.applyBits(op, a, b)
	}
	switch { // they share what is equal
	case c.len() == a.n && op != crowdDifference:
		return a
	case c.len() == b.n && (op == crowdUnion || op == crowdIntersection):
		return b
	}
	return c
}

// applyLists makes a crowd of a list and, unless the result is within the list, another
// list.
func (m *crowdMaker) applyLists(op crowdOp, a, b *crowd) *crowd {
	out := m.numbers[:0]
	if b.bits != nil {
		for _, i := range a.list {
			if b.has(i) == (op == crowdIntersection) {
				out = append(out, i)
			}
		}
		m.numbers = out
		return m.ofList(out)
	}
	x, y := a.list, b.list
	for len(x) > 0 && len(y) > 0 {
		switch {
		case x[0] < y[0]:
			if op != crowdIntersection {
				out = append(out, x[0])
			}
			x = x[1:]
		case x[0] > y[0]:
			if op == crowdUnion || op == crowdDifference {
				out = append(out, y[0])
			}
			y = y[1:]
		default:
			if op == crowdUnion || op == crowdIntersection {
				out = append(out, x[0])
			}
			x, y = x[1:], y[1:]
		}
	}
	if op != crowdIntersection {
		out = append(out, x...)
	}
	if op == crowdUnion || op == crowdDifference {
		out = append(out, y...)
	}
	m.numbers = out
	return m.ofList(out)
}

func (m *crowdMaker) applyBits(op crowdOp, a, b *crowd) *crowd {
	words := m.scratch
	clear(words)
	a.addTo(words)
	if b.bits == nil {
		if op == crowdIntersection {
			return m.applyLists(op, b, a)
		}
		for _, i := range b.list {
			mask := uint64(1) << (i & 63)
			switch op {
			case crowdUnion:
				words[i>>6] |= mask
			case crowdExclusion:
				words[i>>6] &^= mask
			default:
				words[i>>6] ^= mask
			}
		}
		return m.ofBits(words)
	}
	combineWords(op, words, b.bits)
	return m.ofBits(words)
}

// combineWords makes words what the operator says of them and others.
func combineWords(op crowdOp, words, others []uint64) {
	others = others[:len(words)]
	switch op {
	case crowdUnion:
		for i := range words {
			words[i] |= others[i]
		}
	case crowdIntersection:
		for i := range words {
			words[i] &= others[i]
		}
	case crowdExclusion:
		for i := range words {
			words[i] &^= others[i]
		}
	case crowdDifference:
		for i := range words {
			words[i] ^= others[i]
		}
	}
}
