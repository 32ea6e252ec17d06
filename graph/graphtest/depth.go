package graphtest

import (
	"context"
	"errors"
	"fmt"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
)

// limited asks a check again under limits of depth that some data exceed, and is what is
// wrong with the answers.
func (a *asker) limited(ctx context.Context, j *judge, q *question) string {
	if q.kind != askCheck {
		return ""
	}
	r := j.reference(q.circumstances)
	for depth := 1; depth <= 4; depth++ {
		query := a.fresh(q.circumstances)
		query.MaxDepth = depth
		want := r.CheckWithin(q.object, q.relation, q.subject, depth)
		got, err := a.ask(ctx, query, q)
		switch {
		case err != nil:
			return fmt.Sprintf("within %d steps: %v", depth, err)
		case got.err != nil && !errors.Is(got.err, graph.ErrDepth) && !isThirdValue(got.err):
			return fmt.Sprintf("within %d steps: error %q, which is no third value", depth, got.err)
		case got.err != nil && want != Undefined, got.err == nil && want != truth(got.allowed):
			return fmt.Sprintf("within %d steps = %v (%v), want %v", depth, got.allowed, got.err, want)
		case errors.Is(got.err, graph.ErrDepth) && want == r.Check(q.object, q.relation, q.subject) && !r.hasDoubt() &&
			!r.ReachesNegativeCycle(q.object, q.relation, q.subject):
			return fmt.Sprintf("within %d steps: error %q, though all is definite", depth, got.err)
		}
	}
	return ""
}

// CheckWithin is Check with usersets that are depth or more steps away undefined: a
// step leads along a tuple from a userset to another one. A userset that the model can
// never let the subject be in is empty wherever it is.
func (r *Reference) CheckWithin(object graph.ObjectName, relation string, s graph.SubjectName, depth int) Truth {
	can := r.possible(s)
	distance := r.distances(ground{object, relation}, s, can)
	given := map[ground]Truth{}
	for _, o := range r.objects {
		for at := range r.rewrites {
			g := ground{o, at.relation}
			d, reached := distance[g]
			switch {
			case at.typ != o.Type || reached && d < depth && can[at]:
			case can[at]:
				given[g] = Undefined
			default:
				given[g] = False
			}
		}
	}
	solution := r.ground(s, given)
	v, ok := solution.variables[ground{object, relation}]
	if !ok {
		return False
	}
	return solution.truth(v)
}

// distances is how many steps each userset is away, as far as there are ways.
func (r *Reference) distances(from ground, s graph.SubjectName, can map[place]bool) map[ground]int {
	self := ground{graph.ObjectName{Type: s.Type, ID: s.ID}, s.Relation}
	distance := map[ground]int{from: 0}
	for changed := true; changed; {
		changed = false
		for at, d := range distance {
			if at == self || !can[place{at.object.Type, at.relation}] {
				continue
			}
			r.ways(at, r.rewrites[place{at.object.Type, at.relation}], func(to ground, steps int) {
				if _, ok := r.rewrites[place{to.object.Type, to.relation}]; !ok {
					return
				}
				if known, ok := distance[to]; !ok || d+steps < known {
					distance[to], changed = d+steps, true
				}
			})
		}
	}
	return distance
}

// ways calls f for each userset that a rewrite asks for.
func (r *Reference) ways(at ground, rewrite *openfgav1.Userset, f func(to ground, steps int)) {
	switch by := rewrite.GetUserset().(type) {
	case *openfgav1.Userset_This:
		for _, tuple := range r.counting[at] {
			if tuple.subject.Relation != "" {
				f(ground{graph.ObjectName{Type: tuple.subject.Type, ID: tuple.subject.ID}, tuple.subject.Relation}, 1)
			}
		}
	case *openfgav1.Userset_ComputedUserset:
		f(ground{at.object, by.ComputedUserset.GetRelation()}, 0)
	case *openfgav1.Userset_TupleToUserset:
		for _, tuple := range r.counting[ground{at.object, by.TupleToUserset.GetTupleset().GetRelation()}] {
			if tuple.subject.Relation == "" && tuple.subject.ID != "*" {
				f(ground{graph.ObjectName{Type: tuple.subject.Type, ID: tuple.subject.ID}, by.TupleToUserset.GetComputedUserset().GetRelation()}, 1)
			}
		}
	default:
		for _, child := range children(rewrite) {
			r.ways(at, child, f)
		}
	}
}

// possible finds the relations that the model lets subjects of a kind be in, by some
// tuples or other.
func (r *Reference) possible(s graph.SubjectName) map[place]bool {
	can := map[place]bool{}
	if s.Relation != "" {
		can[place{s.Type, s.Relation}] = true
	}
	for changed := true; changed; {
		changed = false
		for at, rewrite := range r.rewrites {
			if !can[at] && r.allowsIn(can, s, at, rewrite) {
				can[at], changed = true, true
			}
		}
	}
	return can
}

func (r *Reference) allowsIn(can map[place]bool, s graph.SubjectName, at place, rewrite *openfgav1.Userset) bool {
	switch by := rewrite.GetUserset().(type) {
	case *openfgav1.Userset_This:
		for _, restriction := range r.restrictions(at) {
			if restriction.GetRelation() == "" && s.Relation == "" && restriction.GetType() == s.Type ||
				restriction.GetRelation() != "" && can[place{restriction.GetType(), restriction.GetRelation()}] {
				return true
			}
		}
	case *openfgav1.Userset_ComputedUserset:
		return can[place{at.typ, by.ComputedUserset.GetRelation()}]
	case *openfgav1.Userset_TupleToUserset:
		for _, restriction := range r.restrictions(place{at.typ, by.TupleToUserset.GetTupleset().GetRelation()}) {
			if can[place{restriction.GetType(), by.TupleToUserset.GetComputedUserset().GetRelation()}] {
				return true
			}
		}
	case *openfgav1.Userset_Difference:
		return r.allowsIn(can, s, at, by.Difference.GetBase()) // what is subtracted lets nobody in
	default:
		for _, child := range children(rewrite) {
			if r.allowsIn(can, s, at, child) {
				return true
			}
		}
	}
	return false
}

func children(rewrite *openfgav1.Userset) []*openfgav1.Userset {
	switch by := rewrite.GetUserset().(type) {
	case *openfgav1.Userset_Union:
		return by.Union.GetChild()
	case *openfgav1.Userset_Intersection:
		return by.Intersection.GetChild()
	case *openfgav1.Userset_Difference:
		return []*openfgav1.Userset{by.Difference.GetBase(), by.Difference.GetSubtract()}
	}
	return nil
}
