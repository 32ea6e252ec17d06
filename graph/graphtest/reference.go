package graphtest

import (
	"cmp"
	"slices"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/value"
)

// A Reference answers questions by the letter of a model: every relation of every
// object that is mentioned becomes an unknown of a system of equations, whose
// well-founded solution holds all answers for one subject at once.
type Reference struct {
	model  *openfgav1.AuthorizationModel
	at     time.Time
	fields value.Map // the request's context
	free   bool      // `now` is an ordinary parameter

	rewrites map[place]*openfgav1.Userset
	objects  []graph.ObjectName // all that are mentioned, without wildcards
	counting map[ground][]countingTuple

	solutions map[graph.SubjectName]*solution
}

// A place is a relation of a type, a ground one that of an object.
type place struct{ typ, relation string }

type ground struct {
	object   graph.ObjectName
	relation string
}

// A countingTuple is one that may grant something: the model allows it, it has not
// expired, and its condition is not false.
type countingTuple struct {
	subject graph.SubjectName
	holds   Truth
}

type solution struct {
	equations
	variables map[ground]int
}

// Circumstances are what a question depends on beside the tuples.
type Circumstances struct {
	At         time.Time
	Context    value.Map
	UnboundNow bool
}

// NewReference prepares answers over the tuples of a store. Contextual tuples replace
// stored ones of the same object, relation and subject. Further objects may be asked
// for if they are named in others.
func NewReference(
	m *openfgav1.AuthorizationModel, stored, contextual []graph.Tuple, others []graph.ObjectName, c Circumstances,
) *Reference {
	r := &Reference{
		model: m, at: c.At, fields: c.Context, free: c.UnboundNow,
		rewrites:  map[place]*openfgav1.Userset{},
		counting:  map[ground][]countingTuple{},
		solutions: map[graph.SubjectName]*solution{},
	}
	for _, t := range m.GetTypeDefinitions() {
		for name, rewrite := range t.GetRelations() {
			r.rewrites[place{t.GetType(), name}] = rewrite
		}
	}
	tuples := merge(stored, contextual)
	r.objects = mentioned(tuples, others)
	for _, t := range tuples {
		if holds := r.counts(t); holds != False {
			at := ground{t.Object, t.Relation}
			r.counting[at] = append(r.counting[at], countingTuple{t.Subject, holds})
		}
	}
	return r
}

// merge lets later tuples replace earlier ones of the same name.
func merge(lists ...[]graph.Tuple) []graph.Tuple {
	var merged []graph.Tuple
	for _, list := range lists {
		for _, t := range list {
			merged = append(without(merged, t), t)
		}
	}
	return merged
}

// without drops the tuple of the same name.
func without(tuples []graph.Tuple, t graph.Tuple) []graph.Tuple {
	return slices.DeleteFunc(tuples, func(o graph.Tuple) bool {
		return o.Object == t.Object && o.Relation == t.Relation && o.Subject == t.Subject
	})
}

func mentioned(tuples []graph.Tuple, others []graph.ObjectName) []graph.ObjectName {
	seen := map[graph.ObjectName]bool{}
	for _, o := range others {
		seen[o] = true
	}
	for _, t := range tuples {
		seen[t.Object] = true
		if t.Subject.ID != "*" {
			seen[graph.ObjectName{Type: t.Subject.Type, ID: t.Subject.ID}] = true
		}
	}
	objects := make([]graph.ObjectName, 0, len(seen))
	for o := range seen {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b graph.ObjectName) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
	})
	return objects
}

// counts says whether a tuple counts: allowed, not expired, and its condition.
func (r *Reference) counts(t graph.Tuple) Truth {
	if !r.allows(t) {
		return False
	}
	if !t.Expires.IsZero() && t.Expires.UnixMilli() <= r.at.UnixMilli() {
		return False
	}
	if t.Condition == "" {
		return True
	}
	return r.condition(t.Condition, t.Context)
}

func (r *Reference) allows(t graph.Tuple) bool {
	for _, restriction := range r.restrictions(place{t.Object.Type, t.Relation}) {
		if restriction.GetType() == t.Subject.Type &&
			restriction.GetRelation() == t.Subject.Relation &&
			(restriction.GetWildcard() != nil) == (t.Subject.ID == "*") &&
			restriction.GetCondition() == t.Condition {
			return true
		}
	}
	return false
}

func (r *Reference) restrictions(at place) []*openfgav1.RelationReference {
	for _, t := range r.model.GetTypeDefinitions() {
		if t.GetType() == at.typ {
			return t.GetMetadata().GetRelations()[at.relation].GetDirectlyRelatedUserTypes()
		}
	}
	return nil
}

// condition evaluates a condition of the model, or the one that the tuple brings. The
// bound instant goes before what is stored with the tuple, and that before the request's
// context. A stored value of the wrong type spoils the whole, as does one of the request
// that would be used.
func (r *Reference) condition(name string, stored value.Map) Truth {
	c := r.model.GetConditions()[name]
	if name == condition.InlineName {
		if c = inlineCondition(stored); c == nil {
			return Undefined
		}
		stored = nil // it has no values
	}
	given := value.Map{}
	for parameter, typ := range c.GetParameters() {
		v, ok := stored[parameter]
		if ok && !fits(typ, v) {
			return Undefined
		}
		if parameter == "now" && !r.free {
			v, ok = r.at.UTC().Format(time.RFC3339Nano), true
		}
		if !ok {
			v, ok = r.fields[parameter]
		}
		if !ok {
			continue
		}
		if !fits(typ, v) {
			return Undefined
		}
		given[parameter] = v
	}
	return evaluate(c.GetExpression(), func(parameter string) (value.Value, bool) {
		v, ok := given[parameter]
		return v, ok
	})
}

// Check says whether the subject has the relation to the object.
func (r *Reference) Check(object graph.ObjectName, relation string, s graph.SubjectName) Truth {
	solution := r.solve(s)
	v, ok := solution.variables[ground{object, relation}]
	if !ok {
		return False
	}
	return solution.truth(v)
}

// ReachesNegativeCycle reports whether the answer hangs together with a cycle through
// a negation, so that an evaluator which goes top down may meet it.
func (r *Reference) ReachesNegativeCycle(object graph.ObjectName, relation string, s graph.SubjectName) bool {
	solution := r.solve(s)
	v, ok := solution.variables[ground{object, relation}]
	return ok && solution.reachesNegativeCycle(v)
}

// solve grounds the model for one subject and solves the equations.
func (r *Reference) solve(s graph.SubjectName) *solution {
	if known, ok := r.solutions[s]; ok {
		return known
	}
	g := r.ground(s, nil)
	r.solutions[s] = g
	return g
}

// ground solves the equations for one subject. Those in given are not asked for their
// rewrites.
func (r *Reference) ground(s graph.SubjectName, given map[ground]Truth) *solution {
	g := &solution{variables: map[ground]int{}}
	for _, object := range r.objects {
		for at := range r.rewrites {
			if at.typ == object.Type {
				g.variables[ground{object, at.relation}] = g.variable()
			}
		}
	}
	for at, v := range g.variables {
		t := r.rewrite(g, at, r.rewrites[place{at.object.Type, at.relation}], s)
		if s == (graph.SubjectName{Type: at.object.Type, ID: at.object.ID, Relation: at.relation}) {
			t = &term{kind: constant, value: True} // a userset has itself
		} else if value, ok := given[at]; ok {
			t = &term{kind: constant, value: value}
		}
		g.right[v] = t
	}
	g.solve()
	return g
}

func (r *Reference) rewrite(g *solution, at ground, rewrite *openfgav1.Userset, s graph.SubjectName) *term {
	operands := func(kind termKind, children []*openfgav1.Userset) *term {
		t := &term{kind: kind}
		for _, child := range children {
			t.parts = append(t.parts, r.rewrite(g, at, child, s))
		}
		return t
	}
	switch rewrite := rewrite.GetUserset().(type) {
	case *openfgav1.Userset_This:
		return r.direct(g, at, s)
	case *openfgav1.Userset_ComputedUserset:
		return read(g, ground{at.object, rewrite.ComputedUserset.GetRelation()})
	case *openfgav1.Userset_TupleToUserset:
		union := &term{kind: some}
		tupleset := ground{at.object, rewrite.TupleToUserset.GetTupleset().GetRelation()}
		for _, tuple := range r.counting[tupleset] {
			if tuple.subject.Relation != "" || tuple.subject.ID == "*" {
				continue
			}
			object := graph.ObjectName{Type: tuple.subject.Type, ID: tuple.subject.ID}
			union.parts = append(union.parts, &term{kind: all, parts: []*term{
				{kind: constant, value: tuple.holds},
				read(g, ground{object, rewrite.TupleToUserset.GetComputedUserset().GetRelation()}),
			}})
		}
		return union
	case *openfgav1.Userset_Union:
		return operands(some, rewrite.Union.GetChild())
	case *openfgav1.Userset_Intersection:
		return operands(all, rewrite.Intersection.GetChild())
	case *openfgav1.Userset_Difference:
		subtracted := g.variable()
		subtrahend := r.rewrite(g, at, rewrite.Difference.GetSubtract(), s)
		g.right[subtracted] = subtrahend
		return &term{kind: all, parts: []*term{
			r.rewrite(g, at, rewrite.Difference.GetBase(), s),
			{kind: isFalse, variable: subtracted},
		}}
	default:
		panic("graphtest: a rewrite of no known kind")
	}
}

// direct is the union over the tuples of the relation.
func (r *Reference) direct(g *solution, at ground, s graph.SubjectName) *term {
	union := &term{kind: some}
	for _, tuple := range r.counting[at] {
		holds := &term{kind: constant, value: tuple.holds}
		wildcard := graph.SubjectName{Type: s.Type, ID: "*"}
		switch {
		case tuple.subject == s, tuple.subject == wildcard && s.Relation == "":
			union.parts = append(union.parts, holds)
		case tuple.subject.Relation != "":
			object := graph.ObjectName{Type: tuple.subject.Type, ID: tuple.subject.ID}
			union.parts = append(union.parts,
				&term{kind: all, parts: []*term{holds, read(g, ground{object, tuple.subject.Relation})}})
		}
	}
	return union
}

// read is the value of a relation of an object; an object whose type lacks the
// relation grants nothing.
func read(g *solution, at ground) *term {
	v, ok := g.variables[at]
	if !ok {
		return &term{kind: constant, value: False}
	}
	return &term{kind: isTrue, variable: v}
}

// Known lists the objects of a type that tuples mention.
func (r *Reference) Known(typ string) []graph.ObjectName {
	var known []graph.ObjectName
	for _, o := range r.objects {
		if o.Type == typ {
			known = append(known, o)
		}
	}
	return known
}
