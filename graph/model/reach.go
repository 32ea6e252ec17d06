package model

import (
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

// findUnreachable reports relations that no tuples could ever make true, because what
// they need needs them first. A relation can be reached if its definition can: [types]
// by any type or wildcard, or by a userset that can be reached; `x from y` by one x that
// can be reached; a union by one operand, an intersection and an exclusion by all. That
// an exclusion wants its subtracted side too is OpenFGA's rule.
func (m *Model) findUnreachable(found *faults) {
	reached := map[*relationDef]bool{}
	needed := map[*relationDef][]*relationDef{} // who needs it
	var work []*relationDef
	for _, t := range m.types {
		for _, r := range t.relations {
			work = append(work, r)
			seen := map[*relationDef]bool{}
			m.needs(r, func(other *relationDef) {
				if !seen[other] {
					seen[other] = true
					needed[other] = append(needed[other], r)
				}
			})
		}
	}
	for len(work) > 0 {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		if !reached[r] && m.reachable(r, r.rewrite, reached) {
			reached[r] = true
			work = append(work, needed[r]...)
		}
	}
	for _, t := range m.types {
		for _, r := range t.relations {
			if !reached[r] {
				found.add(r.at, t.name, r.name, "no tuple can ever make %s true, because all that it needs needs it first: let it accept a type, such as [user], or add an `or`", r)
			}
		}
	}
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

func (m *Model) reachable(r *relationDef, rewrite *openfgav1.Userset, reached map[*relationDef]bool) bool {
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_ComputedUserset:
		return reached[r.owner.byName[rewrite.GetComputedUserset().GetRelation()]]
	case *openfgav1.Userset_TupleToUserset:
		return m.follow(r, rewrite.GetTupleToUserset(), func(other *relationDef) bool { return reached[other] })
	case *openfgav1.Userset_Union:
		for _, child := range children(rewrite) {
			if m.reachable(r, child, reached) {
				return true
			}
		}
		return false
	case *openfgav1.Userset_Intersection, *openfgav1.Userset_Difference:
		for _, child := range children(rewrite) {
			if !m.reachable(r, child, reached) {
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
