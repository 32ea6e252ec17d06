package graph

import (
	"context"
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph/model"
)

const (
	// maxExplainChecks bounds the sub-questions of one Explain.
	maxExplainChecks = 20_000
	// maxReasons bounds what an explanation shows. More than that nobody reads.
	maxReasons = 500
	// maxShown bounds what is shown below one step of a denial.
	maxShown = 20
)

// An Explanation says why a Check is answered as it is.
type Explanation struct {
	Allowed bool

	// Reason is how the answer came about. If allowed, a derivation in which nothing
	// rests on itself; if denied, what was tried.
	Reason *Reason

	// Proof, if allowed, is a set of tuples that suffices: with no other tuple the
	// answer is the same, and with any of these left out it is not.
	Proof []Row

	// Nearest, if denied, is at most MaxNearest changes that the model permits and
	// that would allow it. Empty if there are none so few, or none was found among
	// those that were tried.
	Nearest []Edit
}

// A ReasonKind is what one step of an answer rests on.
type ReasonKind uint8

// The kinds of reasons.
const (
	ReasonTuple          ReasonKind = iota + 1 // a tuple grants it to the subject or its wildcard
	ReasonUserset                              // a tuple grants it to a userset
	ReasonComputed                             // another relation of the same object
	ReasonTupleToUserset                       // a relation of an object that a tuple points to
	ReasonUnion                                // any operand
	ReasonIntersection                         // every operand
	ReasonExclusion                            // the first operand but not the second
	ReasonSelf                                 // the subject is this userset
	ReasonCycle                                // the userset stands above already
	ReasonNoTuple                              // nothing grants it here
	ReasonCondition                            // a tuple whose condition does not hold
	ReasonExpired                              // a tuple that no longer counts
	ReasonUnknown                              // it could not be judged
	ReasonLeftOut                              // more was tried than is shown
)

// A Reason is one step of an answer: does the subject have this userset's relation?
type Reason struct {
	Kind     ReasonKind
	Userset  Userset
	Granted  bool
	Edge     *Row   // the tuple that the step rests on, if any
	Note     string // what the kind does not say, in words
	Children []*Reason
}

// Explain answers a Check with its reasons. It asks many sub-questions, each within
// the query's budget, and is meant for people: it costs far more than Check.
// Errors are those of Check.
func (q *Query) Explain(ctx context.Context, u Userset, s Subject) (*Explanation, error) {
	x := &explainer{query: q, walk: newWalk(q), subject: s, known: make(map[Userset]truth)}
	granted, err := q.Check(ctx, u, s)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Allowed: granted}
	if !granted {
		if e.Reason, err = x.denial(ctx, u, nil); err != nil {
			return nil, err
		}
		e.Nearest, err = x.nearest(ctx, u)
		return e, err
	}
	if e.Reason, err = x.derivation(ctx, u); err != nil {
		return nil, err
	}
	e.Proof, err = x.proof(ctx, u, e.Reason)
	return e, err
}

// An explainer is one Explain under way.
type explainer struct {
	query   *Query
	walk    *walk
	subject Subject
	known   map[Userset]truth // answers of Check
	checks  int
	shown   int

	// deriving are the usersets whose derivations are under way. Two exclusions, one
	// inside what the other subtracts, can lead back to the same one.
	deriving []Userset
}

// check asks a sub-question of the query as it stands, or changed.
func (x *explainer) check(ctx context.Context, q *Query, u Userset) (truth, error) {
	if x.checks++; x.checks > maxExplainChecks {
		return unsure, fmt.Errorf("more than %d sub-questions: %w", maxExplainChecks, ErrBudget)
	}
	e := newEvaluator(ctx, q)
	defer e.release()
	e.about(x.subject)
	value, _ := e.solve(u.Object, e.plan.Relation(u.Relation))
	return value, e.fatal
}

// holds is check with memory.
func (x *explainer) holds(ctx context.Context, u Userset) (truth, error) {
	if v, ok := x.known[u]; ok {
		return v, nil
	}
	v, err := x.check(ctx, x.query, u)
	if err != nil {
		return unsure, err
	}
	x.known[u] = v
	return v, nil
}

// value judges one rewrite of a userset.
func (x *explainer) value(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite) (truth, error) {
	switch rw.Op {
	case model.OpDirect:
		return x.directValue(ctx, u, r)
	case model.OpComputed:
		return x.holds(ctx, Userset{Object: u.Object, Relation: rw.Relation.ID})
	case model.OpTupleToUserset:
		result := denied
		err := x.targets(ctx, u, rw, x.orHolds(ctx, &result))
		return result, err
	case model.OpExclusion:
		base, err := x.value(ctx, u, r, rw.Children[0])
		if err != nil || base == denied {
			return base, err
		}
		subtracted, err := x.value(ctx, u, r, rw.Children[1])
		switch {
		case err != nil:
			return unsure, err
		case subtracted == allowed:
			return denied, nil
		case subtracted == unsure || base == unsure:
			return unsure, nil
		}
		return allowed, nil
	default: // union, intersection
		decisive, result := allowed, denied
		if rw.Op == model.OpIntersection {
			decisive, result = denied, allowed
		}
		for _, operand := range rw.Children {
			v, err := x.value(ctx, u, r, operand)
			if err != nil || v == decisive {
				return v, err
			}
			if v == unsure {
				result = unsure
			}
		}
		return result, nil
	}
}

func (x *explainer) directValue(ctx context.Context, u Userset, r *model.Relation) (truth, error) {
	result := denied
	for _, s := range x.matches() {
		edge, ok, err := x.query.View.Contains(u, s)
		if err != nil {
			return unsure, err
		}
		if !ok {
			continue
		}
		counts, err := x.walk.counts(ctx, r, &edge)
		switch {
		case err != nil:
			result = unsure
		case counts:
			return allowed, nil
		}
	}
	err := x.usersets(ctx, u, r, x.orHolds(ctx, &result))
	return result, err
}

// A lead is an edge behind which the answer may lie, in a userset; unjudged says why
// it is not known whether the edge counts.
type lead struct {
	edge     *Edge
	unjudged error
	target   Userset
}

// orHolds adds to a result, by Kleene's or, what lies behind each lead.
func (x *explainer) orHolds(ctx context.Context, result *truth) func(lead) (bool, error) {
	return func(l lead) (bool, error) {
		v, err := x.behind(ctx, l)
		*result = max(*result, v)
		return *result != allowed, err
	}
}

// behind is what a lead grants.
func (x *explainer) behind(ctx context.Context, l lead) (truth, error) {
	v, err := x.holds(ctx, l.target)
	if l.unjudged != nil {
		v = min(v, unsure)
	}
	return v, err
}

// matches are the subjects whose direct tuples grant something to the asked one.
func (x *explainer) matches() []Subject {
	s := x.subject
	if s.Relation != 0 || s.ID.IsWildcard() {
		return []Subject{s}
	}
	return []Subject{s, {ID: Wildcard(s.ID.Type())}}
}

// usersets yields the usersets that the tuples of a direct rewrite grant to.
func (x *explainer) usersets(ctx context.Context, u Userset, r *model.Relation, yield func(lead) (bool, error)) error {
	entitiesEnd := Subject{Relation: 0, ID: ^ID(0)}
	return x.walk.edges(ctx, u, r, entitiesEnd, func(e *Edge, unjudged error) (bool, error) {
		if e.Subject == x.subject {
			return true, nil
		}
		return yield(lead{e, unjudged, Userset{Object: e.Subject.ID, Relation: e.Subject.Relation}})
	})
}

// targets yields the usersets that a tuple-to-userset rewrite leads to.
func (x *explainer) targets(ctx context.Context, u Userset, rw *model.Rewrite, yield func(lead) (bool, error)) error {
	tupleset := Userset{Object: u.Object, Relation: rw.Tupleset.ID}
	return x.walk.edges(ctx, tupleset, rw.Tupleset, Subject{}, func(e *Edge, unjudged error) (bool, error) {
		if e.Subject.Relation != 0 {
			return false, nil
		}
		target := computedOn(rw, e.Subject.ID.Type())
		if target == nil || e.Subject.ID.IsWildcard() {
			return true, nil
		}
		return yield(lead{e, unjudged, Userset{Object: e.Subject.ID, Relation: target.ID}})
	})
}

// derivation explains a granted userset. Children are granted usersets that were
// derived before their parents, breadth first from the question, so it is as short as
// can be and nothing in it rests on itself, whatever cycles the data has.
func (x *explainer) derivation(ctx context.Context, root Userset) (*Reason, error) {
	if slices.Contains(x.deriving, root) {
		return &Reason{Kind: ReasonCycle, Userset: root, Granted: true}, nil
	}
	x.deriving = append(x.deriving, root)
	defer func() { x.deriving = x.deriving[:len(x.deriving)-1] }()
	d := &derivation{
		explainer: x,
		proven:    make(map[Userset]*Reason),
		waiting:   make(map[Userset][]Userset),
	}
	queue := []Userset{root}
	seen := map[Userset]bool{root: true}
	for i := 0; i < len(queue) && d.proven[root] == nil; i++ {
		needs, err := d.try(ctx, queue[i])
		if err != nil {
			return nil, err
		}
		for _, n := range needs {
			d.waiting[n] = append(d.waiting[n], queue[i])
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	if d.proven[root] == nil {
		return nil, fmt.Errorf("no derivation of an answer that was found: %w", ErrUndefined)
	}
	return d.proven[root], nil
}

// A derivation is the search for one.
type derivation struct {
	*explainer
	proven  map[Userset]*Reason
	waiting map[Userset][]Userset // the usersets that need this one
	needs   []Userset
}

// try derives a userset from what is proven; if that does not suffice, it returns the
// granted usersets that could help. What becomes proven is passed on to who waits.
func (d *derivation) try(ctx context.Context, u Userset) ([]Userset, error) {
	if d.proven[u] != nil {
		return nil, nil
	}
	d.needs = nil
	reason, err := d.derive(ctx, u)
	needs := d.needs
	if err != nil || reason == nil {
		return needs, err
	}
	d.proven[u] = reason
	for _, parent := range d.waiting[u] {
		if _, err := d.try(ctx, parent); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (d *derivation) derive(ctx context.Context, u Userset) (*Reason, error) {
	if (Subject{ID: u.Object, Relation: u.Relation}) == d.subject {
		return &Reason{Kind: ReasonSelf, Userset: u, Granted: true}, nil
	}
	r := d.query.Plan.Relation(u.Relation)
	return d.rewrite(ctx, u, r, r.Rewrite)
}

// rewrite is derive for one node; nil if it is not derivable yet.
func (d *derivation) rewrite(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite) (*Reason, error) {
	granted := &Reason{Userset: u, Granted: true}
	switch rw.Op {
	case model.OpDirect:
		return d.direct(ctx, u, r, granted)
	case model.OpComputed:
		granted.Kind = ReasonComputed
		return d.rest(ctx, granted, Userset{Object: u.Object, Relation: rw.Relation.ID})
	case model.OpTupleToUserset:
		granted.Kind = ReasonTupleToUserset
		tupleset := Userset{Object: u.Object, Relation: rw.Tupleset.ID}
		var found *Reason
		err := d.targets(ctx, u, rw, func(l lead) (bool, error) {
			var err error
			found, err = d.step(ctx, granted, l, tupleset)
			return found == nil, err
		})
		return found, err
	case model.OpUnion:
		granted.Kind = ReasonUnion
		for _, operand := range rw.Children {
			child, err := d.rewrite(ctx, u, r, operand)
			if err != nil {
				return nil, err
			}
			if child != nil {
				granted.Children = []*Reason{child}
				return granted, nil
			}
		}
		return nil, nil
	case model.OpIntersection:
		granted.Kind = ReasonIntersection
		for _, operand := range rw.Children {
			child, err := d.rewrite(ctx, u, r, operand)
			if err != nil {
				return nil, err
			}
			if child != nil {
				granted.Children = append(granted.Children, child)
			}
		}
		if len(granted.Children) < len(rw.Children) {
			return nil, nil
		}
		return granted, nil
	default: // exclusion
		granted.Kind = ReasonExclusion
		if v, err := d.value(ctx, u, r, rw.Children[1]); err != nil || v != denied {
			return nil, err
		}
		base, err := d.rewrite(ctx, u, r, rw.Children[0])
		if err != nil || base == nil {
			return nil, err
		}
		absent, err := d.denialOf(ctx, u, r, rw.Children[1], []Userset{u})
		if err != nil {
			return nil, err
		}
		granted.Children = []*Reason{base, absent}
		return granted, nil
	}
}

// step completes a reason by a lead of a userset.
func (d *derivation) step(ctx context.Context, granted *Reason, l lead, from Userset) (*Reason, error) {
	if l.unjudged != nil {
		return nil, nil
	}
	found, err := d.rest(ctx, granted, l.target)
	if found != nil {
		found.Edge = &Row{Userset: from, Edge: *l.edge}
	}
	return found, err
}

// rest completes a reason by a userset that it rests on.
func (d *derivation) rest(ctx context.Context, granted *Reason, on Userset) (*Reason, error) {
	if proven := d.proven[on]; proven != nil {
		granted.Children = []*Reason{proven}
		return granted, nil
	}
	v, err := d.holds(ctx, on)
	if err == nil && v == allowed {
		d.needs = append(d.needs, on)
	}
	return nil, err
}

func (d *derivation) direct(ctx context.Context, u Userset, r *model.Relation, granted *Reason) (*Reason, error) {
	for _, s := range d.matches() {
		edge, ok, err := d.query.View.Contains(u, s)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		// A tuple that cannot be judged does not count; the answer is known without it.
		if counts, _ := d.walk.counts(ctx, r, &edge); counts {
			granted.Kind = ReasonTuple
			granted.Edge = &Row{Userset: u, Edge: edge}
			return granted, nil
		}
	}
	granted.Kind = ReasonUserset
	var found *Reason
	err := d.usersets(ctx, u, r, func(l lead) (bool, error) {
		var err error
		found, err = d.step(ctx, granted, l, u)
		return found == nil, err
	})
	return found, err
}

// denial explains a userset that is not granted; path are the usersets above.
func (x *explainer) denial(ctx context.Context, u Userset, path []Userset) (*Reason, error) {
	if slices.Contains(path, u) {
		return &Reason{Kind: ReasonCycle, Userset: u}, nil
	}
	if x.shown >= maxReasons {
		return &Reason{Kind: ReasonLeftOut, Userset: u}, nil
	}
	r := x.query.Plan.Relation(u.Relation)
	return x.denialOf(ctx, u, r, r.Rewrite, append(path, u))
}

// either explains a userset whatever its answer.
func (x *explainer) either(ctx context.Context, u Userset, path []Userset) (*Reason, error) {
	v, err := x.holds(ctx, u)
	switch {
	case err != nil:
		return nil, err
	case v == allowed:
		return x.derivation(ctx, u)
	case v == unsure:
		return &Reason{Kind: ReasonUnknown, Userset: u}, nil
	}
	return x.denial(ctx, u, path)
}

// denialOf explains a rewrite that does not grant. An operand of it may grant.
func (x *explainer) denialOf(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite, path []Userset) (*Reason, error) {
	x.shown++
	reason := &Reason{Userset: u}
	switch rw.Op {
	case model.OpDirect:
		return reason, x.denyDirect(ctx, reason, r, path)
	case model.OpComputed:
		reason.Kind = ReasonComputed
		child, err := x.either(ctx, Userset{Object: u.Object, Relation: rw.Relation.ID}, path)
		reason.Children = []*Reason{child}
		return reason, err
	case model.OpTupleToUserset:
		reason.Kind = ReasonTupleToUserset
		tupleset := Userset{Object: u.Object, Relation: rw.Tupleset.ID}
		err := x.targets(ctx, u, rw, func(l lead) (bool, error) {
			return x.tried(ctx, reason, ReasonTupleToUserset, l, tupleset, path)
		})
		if len(reason.Children) == 0 {
			reason.Kind, reason.Userset = ReasonNoTuple, tupleset
		}
		return reason, err
	default:
		switch rw.Op {
		case model.OpUnion:
			reason.Kind = ReasonUnion
		case model.OpIntersection:
			reason.Kind = ReasonIntersection
		default:
			reason.Kind = ReasonExclusion
		}
		for _, operand := range rw.Children {
			v, err := x.value(ctx, u, r, operand)
			if err != nil {
				return nil, err
			}
			child := &Reason{Kind: ReasonUnknown, Userset: u}
			switch v {
			case allowed:
				child, err = x.grantOf(ctx, u, r, operand)
			case denied:
				child, err = x.denialOf(ctx, u, r, operand, path)
			}
			if err != nil {
				return nil, err
			}
			reason.Children = append(reason.Children, child)
		}
		return reason, nil
	}
}

// grantOf explains a rewrite that grants, inside a userset that does not.
func (x *explainer) grantOf(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite) (*Reason, error) {
	d := &derivation{explainer: x, proven: make(map[Userset]*Reason)}
	for {
		d.needs = nil
		reason, err := d.rewrite(ctx, u, r, rw)
		if err != nil || reason != nil {
			return reason, err
		}
		progress := false
		for _, n := range d.needs {
			if d.proven[n] == nil {
				if d.proven[n], err = x.derivation(ctx, n); err != nil {
					return nil, err
				}
				progress = progress || d.proven[n] != nil
			}
		}
		if !progress {
			return &Reason{Kind: ReasonLeftOut, Userset: u, Granted: true}, nil
		}
	}
}

// denyDirect fills in what was found where a tuple should have been.
func (x *explainer) denyDirect(ctx context.Context, reason *Reason, r *model.Relation, path []Userset) error {
	reason.Kind = ReasonNoTuple
	u := reason.Userset
	for _, s := range x.matches() {
		edge, ok, err := x.query.View.Contains(u, s)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		child := &Reason{Userset: u, Edge: &Row{Userset: u, Edge: edge}}
		_, err = x.walk.counts(ctx, r, &edge)
		switch {
		case err != nil:
			child.Kind, child.Note = ReasonUnknown, err.Error()
		case edge.ExpiredAt(x.walk.now):
			child.Kind = ReasonExpired
		case admits(r, &edge) == nil:
			child.Kind, child.Note = ReasonUnknown, "the model in use does not allow this tuple"
		default:
			child.Kind = ReasonCondition
			if c := x.query.Plan.Condition(edge.Condition); c != nil {
				child.Note = c.Name() + ": " + c.Expression()
			}
		}
		reason.Children = append(reason.Children, child)
	}
	return x.usersets(ctx, u, r, func(l lead) (bool, error) {
		return x.tried(ctx, reason, ReasonUserset, l, u, path)
	})
}

// tried adds to a denial what lies behind a lead, and returns whether to go on.
func (x *explainer) tried(ctx context.Context, reason *Reason, kind ReasonKind, l lead, from Userset, path []Userset) (bool, error) {
	if len(reason.Children) >= maxShown {
		reason.Children = append(reason.Children, &Reason{Kind: ReasonLeftOut, Userset: reason.Userset})
		return false, nil
	}
	child, err := x.either(ctx, l.target, path)
	if err != nil {
		return false, err
	}
	step := &Reason{
		Kind: kind, Userset: l.target, Granted: child.Granted && l.unjudged == nil,
		Edge: &Row{Userset: from, Edge: *l.edge}, Children: []*Reason{child},
	}
	if l.unjudged != nil {
		step.Kind, step.Note = ReasonUnknown, l.unjudged.Error()
	}
	reason.Children = append(reason.Children, step)
	return true, nil
}
