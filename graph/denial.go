package graph

import (
	"context"
	"slices"

	"github.com/remit-authz/remit/graph/model"
)

// denial explains a userset that is not granted; path are the usersets above.
func (x *explainer) denial(ctx context.Context, u Userset, path []Userset) (*Reason, error) {
	if slices.Contains(path, u) {
		return &Reason{Kind: ReasonCycle, Userset: u}, nil
	}
	if x.shown >= maxReasons {
		return &Reason{Kind: ReasonLeftOut, Userset: u}, nil
	}
	r := x.query.Plan.Relation(u.Relation)
	return x.denialOf(ctx, u, r, r.Rewrite, append(slices.Clip(path), u))
}

// either explains a userset whatever its answer.
func (x *explainer) either(ctx context.Context, u Userset, path []Userset) (*Reason, error) {
	v, err := x.holds(ctx, u)
	switch {
	case err != nil:
		return nil, err
	case v == allowed:
		derived, err := x.derivation(ctx, u)
		if err != nil {
			return nil, err
		}
		return x.unfold(ctx, derived, path)
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
				if child, err = x.derivationOf(ctx, u, r, operand); err == nil {
					child, err = x.unfold(ctx, child, path)
				}
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
				child.Note = c.Name() + ": " + c.ExpressionFor(edge.Context)
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
