package model

import (
	"slices"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// findCycles reports relations of one type that are defined by each other without any
// tuple between them, such as `define a: b` and `define b: a`. Cycles through tuples
// (`viewer from parent`) are ordinary recursion and fine.
func findCycles(t *typeDef, found *faults) {
	const (
		unseen = iota
		open
		closed
	)
	state := make(map[*relationDef]int, len(t.relations))
	var path []*relationDef
	var visit func(r *relationDef)
	visit = func(r *relationDef) {
		state[r] = open
		path = append(path, r)
		leaves(r.rewrite, func(leaf *openfgav1.Userset) {
			computed := leaf.GetComputedUserset()
			if computed == nil {
				return
			}
			switch next := t.byName[computed.GetRelation()]; state[next] {
			case unseen:
				visit(next)
			case open:
				reportCycle(path, next, found)
			}
		})
		path = path[:len(path)-1]
		state[r] = closed
	}
	for _, r := range t.relations {
		if state[r] == unseen {
			visit(r)
		}
	}
}

func reportCycle(path []*relationDef, back *relationDef, found *faults) {
	var names []string
	for i, r := range path {
		if r == back {
			for _, r := range path[i:] {
				names = append(names, r.name)
			}
			break
		}
	}
	names = append(names, back.name)
	at := back.at
	if len(names) > 1 {
		at = back.find(names[1])
	}
	found.add(at, back.owner.name, back.name, "%s is defined in a circle (%s): one of these definitions should not need the next",
		back, strings.Join(names, " needs "))
}

// findUnreachable reports relations that could never be true, because every way to them
// leads through themselves. A relation can be reached if its definition can: [types] by
// any type or wildcard, or by a userset that can be reached; `x from y` by one x that can
// be reached; a union by one operand, an intersection by all of them.
//
// OpenFGA wants to reach what an exclusion subtracts as well, which forbids some
// relations that depend on their own negation; so do we.
func (m *Model) findUnreachable(found *faults) {
	needed := map[*relationDef][]*relationDef{} // who needs it, each once
	for _, t := range m.types {
		for _, r := range t.relations {
			seen := map[*relationDef]bool{}
			m.needs(r, func(other *relationDef) {
				if !seen[other] {
					seen[other] = true
					needed[other] = append(needed[other], r)
				}
			})
		}
	}
	strict := m.reach(needed, true)
	var lost []*relationDef
	for _, t := range m.types {
		for _, r := range t.relations {
			if !strict[r] {
				lost = append(lost, r)
			}
		}
	}
	if len(lost) == 0 {
		return
	}
	lenient := m.reach(needed, false)
	for _, r := range causes(lost, needed) {
		if lenient[r] {
			found.add(r.at, r.owner.name, r.name, "%s subtracts what in turn needs %s, so it would be true only where it is not: subtract a relation that does not need it", r, r)
		} else {
			found.add(r.at, r.owner.name, r.name, "%s can never be true, because every way to it leads through itself: let it accept a type, such as [user], or add an `or`", r)
		}
	}
}

// reach finds the relations that can be true, beginning with those that tuples make
// true. Strict demands the same of what exclusions subtract.
func (m *Model) reach(needed map[*relationDef][]*relationDef, strict bool) map[*relationDef]bool {
	reached := map[*relationDef]bool{}
	var work []*relationDef
	for _, t := range m.types {
		work = append(work, t.relations...)
	}
	for len(work) > 0 {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		if !reached[r] && m.reachable(r, r.rewrite, reached, strict) {
			reached[r] = true
			work = append(work, needed[r]...)
		}
	}
	return reached
}

// causes leaves out the relations that are lost only because they need others that are.
func causes(lost []*relationDef, needed map[*relationDef][]*relationDef) []*relationDef {
	in := make(map[*relationDef]bool, len(lost))
	needs := map[*relationDef][]*relationDef{} // the other direction, among the lost
	users := map[*relationDef]int{}
	for _, r := range lost {
		in[r] = true
	}
	var unused []*relationDef
	for _, r := range lost {
		for _, user := range needed[r] {
			if in[user] {
				users[r]++
				needs[user] = append(needs[user], r)
			}
		}
		if users[r] == 0 {
			unused = append(unused, r)
		}
	}
	for len(unused) > 0 {
		r := unused[len(unused)-1]
		unused = unused[:len(unused)-1]
		delete(in, r)
		for _, other := range needs[r] {
			if users[other]--; users[other] == 0 {
				unused = append(unused, other)
			}
		}
	}
	return slices.DeleteFunc(lost, func(r *relationDef) bool { return !in[r] })
}

// needs calls visit for every relation that the definition of r mentions.
func (m *Model) needs(r *relationDef, visit func(*relationDef)) {
	leaves(r.rewrite, func(leaf *openfgav1.Userset) {
		switch leaf.GetUserset().(type) {
		case *openfgav1.Userset_ComputedUserset:
			visit(r.owner.byName[leaf.GetComputedUserset().GetRelation()])
		case *openfgav1.Userset_TupleToUserset:
			m.follow(r, leaf.GetTupleToUserset(), func(other *relationDef) bool {
				visit(other)
				return false
			})
		default:
			for _, ref := range r.allowed {
				if name := ref.GetRelation(); name != "" {
					visit(m.byName[ref.GetType()].byName[name])
				}
			}
		}
	})
}

// follow calls visit for the relations that `x from y` may ask, until it returns true.
func (m *Model) follow(r *relationDef, from *openfgav1.TupleToUserset, visit func(*relationDef) bool) bool {
	for _, ref := range r.owner.byName[from.GetTupleset().GetRelation()].allowed {
		other := m.byName[ref.GetType()].byName[from.GetComputedUserset().GetRelation()]
		if other != nil && visit(other) {
			return true
		}
	}
	return false
}

func (m *Model) reachable(r *relationDef, rewrite *openfgav1.Userset, reached map[*relationDef]bool, strict bool) bool {
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_ComputedUserset:
		return reached[r.owner.byName[rewrite.GetComputedUserset().GetRelation()]]
	case *openfgav1.Userset_TupleToUserset:
		return m.follow(r, rewrite.GetTupleToUserset(), func(other *relationDef) bool { return reached[other] })
	case *openfgav1.Userset_Union:
		for _, child := range children(rewrite) {
			if m.reachable(r, child, reached, strict) {
				return true
			}
		}
		return false
	case *openfgav1.Userset_Intersection, *openfgav1.Userset_Difference:
		operands := children(rewrite)
		if rewrite.GetDifference() != nil && !strict {
			operands = operands[:1]
		}
		for _, child := range operands {
			if !m.reachable(r, child, reached, strict) {
				return false
			}
		}
		return true
	default:
		for _, ref := range r.allowed {
			name := ref.GetRelation()
			if name == "" || reached[m.byName[ref.GetType()].byName[name]] {
				return true
			}
		}
		return false
	}
}
