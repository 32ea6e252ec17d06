package graph

import (
	"context"
	"errors"
	"fmt"

	"github.com/remit-authz/remit/graph/model"
)

const (
	// maxExplainChecks bounds the sub-questions of one Explain.
	maxExplainChecks = 20_000
	// maxExplainWork is how many budgets all of them together may take. The work grows
	// with the square of a derivation's length: with that a chain of a thousand usersets
	// is explained, and none takes minutes.
	maxExplainWork = 16
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

	// subtracted is what an exclusion that grants does without: shown by unfold.
	subtracted *model.Rewrite
}

// Explain answers a Check with its reasons. It asks many sub-questions, each within
// the query's budget and all within a few of them, and is meant for people: it costs
// far more than Check. Errors are those of Check.
func (q *Query) Explain(ctx context.Context, u Userset, s Subject) (*Explanation, error) {
	x := &explainer{query: q, walk: newWalk(q), subject: s, known: make(map[Userset]truth), proven: make(map[Userset]*Reason)}
	x.left = maxExplainWork * q.budget()
	granted, err := q.Check(ctx, u, s)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Allowed: granted}
	if !granted {
		if e.Reason, err = x.denial(ctx, u, nil); err != nil {
			return nil, err
		}
		if e.Nearest, err = x.nearest(ctx, u); errors.Is(err, ErrBudget) {
			e.Nearest, err = nil, nil // the denial is whole without it
		}
		return e, err
	}
	derived, err := x.derivation(ctx, u)
	if err != nil {
		return nil, err
	}
	if e.Proof, err = x.proof(ctx, u, derived); err != nil {
		return nil, err
	}
	e.Reason, err = x.unfold(ctx, derived, nil)
	return e, err
}

// An explainer is one Explain under way.
type explainer struct {
	query   *Query
	walk    *walk
	subject Subject
	known   map[Userset]truth   // answers of Check
	proven  map[Userset]*Reason // derivations, each resting on others in here
	checks  int
	left    int // edges, for all sub-questions
	shown   int
}

// check asks a sub-question of the query as it stands, or changed.
func (x *explainer) check(ctx context.Context, q *Query, u Userset) (truth, error) {
	if x.checks++; x.checks > maxExplainChecks {
		return unsure, fmt.Errorf("more than %d sub-questions: %w", maxExplainChecks, ErrBudget)
	}
	e := newEvaluator(ctx, q)
	defer e.release()
	e.visited = nil // what Explain tells of is its question, not each of these
	granted := min(e.left, max(x.left, 0))
	e.left, e.pulse = granted, granted
	e.about(x.subject)
	value, _ := e.solve(u.Object, e.plan.Relation(u.Relation))
	if x.left -= granted - e.left; x.left < 0 && e.fatal != nil {
		return unsure, fmt.Errorf("more than %d edges in all sub-questions: %w", maxExplainWork*q.budget(), ErrBudget)
	}
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
