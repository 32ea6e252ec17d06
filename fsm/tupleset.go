package fsm

import (
	"slices"

	"github.com/google/btree"

	"github.com/remit-authz/remit/graph"
)

// A tupleIndex holds tuples by the entity at one of their ends: T is what it holds of a tuple.
type tupleIndex[T any] struct {
	sets trie[tupleSet[T]] // by the entity's id
	n    int
	kind *tupleKind[T]
}

// A tupleKind knows where a T has its place.
type tupleKind[T any] struct {
	place func(*T) *place
	at    func(place) T
	less  func(a, b T) bool
}

// A place is where a tuple stands among those of one entity.
type place struct {
	relations relations
	end       graph.ID // the other one
}

func (p *place) less(q *place) bool {
	return p.relations < q.relations || p.relations == q.relations && p.end < q.end
}

// A tupleSet is the tuples of one entity, in the order of their places: mostly a few, in a
// slice of which nothing changes, else many, in a tree.
type tupleSet[T any] struct {
	few  []T
	many *tupleTree[T] // nil: they are few
}

// A tupleTree may be changed in place by its generation alone.
type tupleTree[T any] struct {
	*btree.BTreeG[T]
	generation uint64
}

// mostFew is how many tuples are copied for one that is added. A tree becomes a slice again
// when it has shrunk to half of it.
const mostFew = 64

// len is how many tuples there are.
func (x *tupleIndex[T]) len() int { return x.n }

// get returns what is at a place of an entity.
func (x *tupleIndex[T]) get(id graph.ID, p place) (t T, ok bool) {
	s := x.sets.get(uint64(id))
	if s == nil {
		return t, false
	}
	if s.many != nil {
		return s.many.Get(x.kind.at(p))
	}
	if i, found := s.search(x.kind, p); found {
		return s.few[i], true
	}
	return t, false
}

// search finds where a place is, or would be, among the few.
func (s *tupleSet[T]) search(kind *tupleKind[T], p place) (i int, found bool) {
	i, end := 0, len(s.few)
	for i < end {
		if middle := int(uint(i+end) / 2); kind.place(&s.few[middle]).less(&p) { //nolint:gosec // they are few
			i = middle + 1
		} else {
			end = middle
		}
	}
	return i, i < len(s.few) && *kind.place(&s.few[i]) == p
}

// ascend visits what is at a place of an entity and behind it, until visit returns false.
func (x *tupleIndex[T]) ascend(id graph.ID, from place, visit func(T) bool) {
	if s := x.sets.get(uint64(id)); s != nil {
		x.ascendSet(s, from, visit)
	}
}

func (x *tupleIndex[T]) ascendSet(s *tupleSet[T], from place, visit func(T) bool) bool {
	through := true
	if s.many != nil {
		s.many.AscendGreaterOrEqual(x.kind.at(from), func(t T) bool {
			through = visit(t)
			return through
		})
		return through
	}
	for i, _ := s.search(x.kind, from); i < len(s.few) && through; i++ {
		through = visit(s.few[i])
	}
	return through
}

// ascendAll goes on from there with the entities that follow.
func (x *tupleIndex[T]) ascendAll(id graph.ID, from place, visit func(graph.ID, T) bool) {
	x.sets.ascend(uint64(id), func(key uint64, s *tupleSet[T]) bool {
		first := place{}
		if graph.ID(key) == id {
			first = from
		}
		return x.ascendSet(s, first, func(t T) bool { return visit(graph.ID(key), t) })
	})
}

// put adds a tuple to an entity's, or replaces the one at its place.
func (x *tupleIndex[T]) put(generation uint64, id graph.ID, t T) {
	var set tupleSet[T]
	if s := x.sets.get(uint64(id)); s != nil {
		set = *s
	}
	added := false
	switch i, found := set.search(x.kind, *x.kind.place(&t)); {
	case set.many != nil:
		set.many = set.many.owned(generation)
		_, replaced := set.many.ReplaceOrInsert(t)
		added = !replaced
	case found:
		set.few = slices.Clone(set.few)
		set.few[i] = t
	case len(set.few) < mostFew:
		set.few, added = inserted(set.few, i, t), true
	default:
		set.many = &tupleTree[T]{btree.NewG(degree, x.kind.less), generation}
		for _, other := range set.few {
			set.many.ReplaceOrInsert(other)
		}
		set.many.ReplaceOrInsert(t)
		set.few, added = nil, true
	}
	x.sets.put(generation, uint64(id), set)
	if added {
		x.n++
	}
}

// inserted is a slice with one more. What follows the end of a slice is seen by none of its
// older versions, and written once: whatever takes something away makes another slice. So
// tuples that come in their order are not copied for each of them.
func inserted[T any](few []T, i int, t T) []T {
	n := len(few)
	if i == n && n < cap(few) {
		return append(few, t)
	}
	with := make([]T, n+1, n+1+n/4)
	copy(with, few[:i])
	with[i] = t
	copy(with[i+1:], few[i:])
	return with
}

// owned is the tree itself if it is of the generation, or a copy that is.
func (t *tupleTree[T]) owned(generation uint64) *tupleTree[T] {
	if t.generation == generation {
		return t
	}
	return &tupleTree[T]{t.Clone(), generation}
}

// remove takes away what is at a place of an entity.
func (x *tupleIndex[T]) remove(generation uint64, id graph.ID, p place) {
	if _, ok := x.get(id, p); !ok {
		return
	}
	x.n--
	set := *x.sets.get(uint64(id))
	if set.many != nil {
		set.many = set.many.owned(generation)
		set.many.Delete(x.kind.at(p))
		if set.many.Len() <= mostFew/2 {
			set.few = make([]T, 0, set.many.Len())
			set.many.Ascend(func(t T) bool {
				set.few = append(set.few, t)
				return true
			})
			set.many = nil
		}
	} else {
		i, _ := set.search(x.kind, p)
		set.few = slices.Concat(set.few[:i], set.few[i+1:])
	}
	if set.many == nil && len(set.few) == 0 {
		x.sets.remove(generation, uint64(id))
		return
	}
	x.sets.put(generation, uint64(id), set)
}
