package graph

import (
	"context"
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph/model"
)

// derivation explains a granted userset. Children are granted usersets that were
// derived before their parents, breadth first from the question, so it is about as
// short as can be and nothing in it rests on itself, whatever cycles the data has.
// Steps that several others rest on are shared between them.
func (x *explainer) derivation(ctx context.Context, root Userset) (*Reason, error) {
	d := &derivation{explainer: x, waiting: make(map[Userset][]Userset)}
	if err := d.search(ctx, []Userset{root}, func() bool { return x.proven[root] != nil }); err != nil {
		return nil, err
	}
	if x.proven[root] == nil {
		return nil, fmt.Errorf("no derivation of an answer that was found: %w", ErrUndefined)
	}
	return x.proven[root], nil
}

// derivationOf explains a rewrite that grants, inside a userset that need not.
func (x *explainer) derivationOf(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite) (*Reason, error) {
	d := &derivation{explainer: x, waiting: make(map[Userset][]Userset)}
	reason, err := d.rewrite(ctx, u, r, rw)
	if err != nil || reason != nil {
		return reason, err
	}
	if err := d.search(ctx, d.needs, func() bool { return false }); err != nil {
		return nil, err
	}
	if reason, err = d.rewrite(ctx, u, r, rw); err != nil || reason != nil {
		return reason, err
	}
	return &Reason{Kind: ReasonLeftOut, Userset: u, Granted: true}, nil
}

// A derivation is the search for one.
type derivation struct {
	*explainer
	waiting map[Userset][]Userset // the usersets that need this one
	needs   []Userset
}

// search derives the usersets of a queue and what they need, until done.
func (d *derivation) search(ctx context.Context, queue []Userset, done func() bool) error {
	queue = slices.Clone(queue)
	seen := make(map[Userset]bool)
	for _, u := range queue {
		seen[u] = true
	}
	for i := 0; i < len(queue) && !done(); i++ {
		needs, err := d.try(ctx, queue[i])
		if err != nil {
			return err
		}
		for _, n := range needs {
			d.waiting[n] = append(d.waiting[n], queue[i])
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	return nil
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
		granted.Children = []*Reason{base}
		granted.subtracted = rw.Children[1]
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

// unfold turns a derivation into a tree to show: steps that others share are repeated,
// up to a bound, and exclusions get their other half. The path are the usersets whose
// denial or exclusion is being shown.
func (x *explainer) unfold(ctx context.Context, r *Reason, path []Userset) (*Reason, error) {
	if x.shown >= maxReasons {
		return &Reason{Kind: ReasonLeftOut, Userset: r.Userset, Granted: r.Granted}, nil
	}
	x.shown++
	shown := *r
	shown.Children = nil
	for _, child := range r.Children {
		c, err := x.unfold(ctx, child, path)
		if err != nil {
			return nil, err
		}
		shown.Children = append(shown.Children, c)
	}
	if r.subtracted == nil {
		return &shown, nil
	}
	absent := &Reason{Kind: ReasonCycle, Userset: r.Userset}
	if !slices.Contains(path, r.Userset) {
		var err error
		relation := x.query.Plan.Relation(r.Userset.Relation)
		absent, err = x.denialOf(ctx, r.Userset, relation, r.subtracted, append(slices.Clip(path), r.Userset))
		if err != nil {
			return nil, err
		}
	}
	shown.Children = append(shown.Children, absent)
	return &shown, nil
}
