package graphtest

// An equations is a system of boolean equations, one per variable, and its
// well-founded solution. Negation applies to variables only, so every negation in the
// model becomes a variable of its own, and a cycle through two negations is still
// one through negation.
type equations struct {
	right []*term // by variable; nil until defined

	lower, upper []bool // what must be and what may be true, once solved
	negative     []bool // a cycle through a negation can be reached, once asked for
}

// A term is the right side of an equation, or a part of it.
type term struct {
	kind     termKind
	value    Truth // of a constant
	variable int   // read by isTrue and isFalse
	parts    []*term
}

type termKind uint8

const (
	constant termKind = iota
	isTrue
	isFalse
	all
	some
)

// variable adds an unknown whose equation is set later.
func (e *equations) variable() int {
	e.right = append(e.right, nil)
	return len(e.right) - 1
}

// solve computes the well-founded solution as an alternating fixpoint: with too few
// truths below the negations, the least fixpoint is an overestimate, with too many it
// is an underestimate, and the two close in on each other. Whatever remains between
// them is undefined. An undefined constant counts as true in overestimates and as
// false in underestimates.
func (e *equations) solve() {
	e.lower = make([]bool, len(e.right))
	for {
		upper := e.leastFixpoint(e.lower, true)
		lower := e.leastFixpoint(upper, false)
		done := e.upper != nil && equal(upper, e.upper) && equal(lower, e.lower)
		e.lower, e.upper = lower, upper
		if done {
			return
		}
	}
}

func equal(a, b []bool) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// leastFixpoint iterates from "nothing is true" with the variables under negations
// held at the values given.
func (e *equations) leastFixpoint(negated []bool, undefined bool) []bool {
	values := make([]bool, len(e.right))
	for changed := true; changed; {
		changed = false
		for v, t := range e.right {
			if !values[v] && t.holds(values, negated, undefined) {
				values[v], changed = true, true
			}
		}
	}
	return values
}

func (t *term) holds(values, negated []bool, undefined bool) bool {
	switch t.kind {
	case constant:
		return t.value == True || t.value == Undefined && undefined
	case isTrue:
		return values[t.variable]
	case isFalse:
		return !negated[t.variable]
	case all:
		for _, p := range t.parts {
			if !p.holds(values, negated, undefined) {
				return false
			}
		}
		return true
	default:
		for _, p := range t.parts {
			if p.holds(values, negated, undefined) {
				return true
			}
		}
		return false
	}
}

// truth is the value of a variable in the solution.
func (e *equations) truth(v int) Truth {
	switch {
	case e.lower[v]:
		return True
	case !e.upper[v]:
		return False
	default:
		return Undefined
	}
}

// reads calls f for every variable that the term reads.
func (t *term) reads(f func(v int, negated bool)) {
	switch t.kind {
	case isTrue:
		f(t.variable, false)
	case isFalse:
		f(t.variable, true)
	default:
		for _, p := range t.parts {
			p.reads(f)
		}
	}
}

// reachesNegativeCycle reports whether evaluating the variable top down could meet a
// cycle that passes through a negation.
func (e *equations) reachesNegativeCycle(v int) bool {
	if e.negative == nil {
		e.findNegativeCycles()
	}
	return e.negative[v]
}

// findNegativeCycles marks, by Tarjan's algorithm, the variables from which a strongly
// connected component with a negation inside can be reached. Components come out
// callees first, so what a component reaches is known when it is complete.
func (e *equations) findNegativeCycles() {
	n := len(e.right)
	e.negative = make([]bool, n)
	var (
		order     = make([]int, n) // 0: not seen
		low       = make([]int, n)
		component = make([]int, n) // 0: still on the stack
		stack     []int
		seen      int
		complete  int
		visit     func(v int)
	)
	visit = func(v int) {
		seen++
		order[v], low[v] = seen, seen
		stack = append(stack, v)
		e.right[v].reads(func(w int, _ bool) {
			switch {
			case order[w] == 0:
				visit(w)
				low[v] = min(low[v], low[w])
			case component[w] == 0:
				low[v] = min(low[v], order[w])
			}
		})
		if low[v] != order[v] {
			return
		}
		complete++
		at := len(stack) - 1
		for stack[at] != v {
			at--
		}
		members := stack[at:]
		stack = stack[:at]
		for _, m := range members {
			component[m] = complete
		}
		found := false
		for _, m := range members {
			e.right[m].reads(func(w int, negated bool) {
				if component[w] == complete {
					found = found || negated
				} else {
					found = found || e.negative[w]
				}
			})
		}
		for _, m := range members {
			e.negative[m] = found
		}
	}
	for v := range e.right {
		if order[v] == 0 {
			visit(v)
		}
	}
}
