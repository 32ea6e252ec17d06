package graph

import (
	"context"
	"slices"

	"github.com/remit-authz/remit/graph/model"
)

// MaxNearest bounds the changes of a nearest miss. Who is further away than that is
// not nearly allowed.
const MaxNearest = 3

const (
	// maxPlans bounds the alternatives kept at each step of the search.
	maxPlans = 12
	// maxNearestUsersets bounds the usersets that the search goes through.
	maxNearestUsersets = 2_000
	// maxNearestEdges bounds how many tuples of one userset it looks behind.
	maxNearestEdges = 100
)

// An Edit is a change of one tuple.
type Edit struct {
	Remove bool
	Row    Row
}

// A plan is a set of changes that should grant, or deny, something.
type plan []Edit

// nearest finds a smallest set of changes, of those that it tries, that makes a denied
// userset granted. It works out candidates over the rewrite (what would have to be
// added here, or removed there), shortest first, and believes none before the query
// itself, over the changed tuples, says yes.
func (x *explainer) nearest(ctx context.Context, u Userset) ([]Edit, error) {
	n := &nearest{explainer: x, visited: make(map[Userset]int)}
	plans, err := n.grant(ctx, u)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		v, err := x.changed(ctx, u, p)
		if err != nil {
			return nil, err
		}
		if v == allowed {
			return x.withoutIdle(ctx, u, p)
		}
	}
	return nil, nil
}

// changed asks the question over changed tuples.
func (x *explainer) changed(ctx context.Context, u Userset, p plan) (truth, error) {
	o := NewOverlay(x.query.View)
	for _, edit := range p {
		if edit.Remove {
			o.Remove(edit.Row.Userset, edit.Row.Edge.Subject)
		} else {
			o.Put(edit.Row)
		}
	}
	q := *x.query
	q.View = o
	return x.check(ctx, &q, u)
}

// withoutIdle drops the changes that a plan does not need.
func (x *explainer) withoutIdle(ctx context.Context, u Userset, p plan) (plan, error) {
	for i := 0; i < len(p) && len(p) > 1; {
		rest := slices.Delete(slices.Clone(p), i, i+1)
		v, err := x.changed(ctx, u, rest)
		if err != nil {
			return nil, err
		}
		if v == allowed {
			p = rest
		} else {
			i++
		}
	}
	return p, nil
}

// A nearest is one search for a nearest miss.
type nearest struct {
	*explainer
	visited map[Userset]int
	total   int
}

// enter guards against cycles and against searching without end: a way round a cycle
// is never the shortest, and each userset is looked at a few times at most.
func (n *nearest) enter(u Userset) bool {
	if n.total >= maxNearestUsersets || n.visited[u] >= 2 {
		return false
	}
	n.visited[u]++
	n.total++
	return true
}

// grant are plans that should make a userset granted.
func (n *nearest) grant(ctx context.Context, u Userset) ([]plan, error) {
	v, err := n.holds(ctx, u)
	if err != nil || v == allowed {
		return []plan{nil}, err
	}
	if !n.enter(u) {
		return nil, nil
	}
	r := n.query.Plan.Relation(u.Relation)
	return n.grantRewrite(ctx, u, r, r.Rewrite)
}

func (n *nearest) grantRewrite(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite) ([]plan, error) {
	switch rw.Op {
	case model.OpDirect:
		plans := n.additions(u, r)
		err := n.usersets(ctx, u, r, n.gather(ctx, &plans))
		return best(plans), err
	case model.OpComputed:
		return n.grant(ctx, Userset{Object: u.Object, Relation: rw.Relation.ID})
	case model.OpTupleToUserset:
		var plans []plan
		err := n.targets(ctx, u, rw, n.gather(ctx, &plans))
		return best(plans), err
	case model.OpUnion:
		var plans []plan
		for _, operand := range rw.Children {
			more, err := n.grantRewrite(ctx, u, r, operand)
			if err != nil {
				return nil, err
			}
			plans = append(plans, more...)
		}
		return best(plans), nil
	case model.OpIntersection:
		plans := []plan{nil}
		for _, operand := range rw.Children {
			more, err := n.grantOperand(ctx, u, r, operand)
			if err != nil {
				return nil, err
			}
			plans = combine(plans, more)
		}
		return plans, nil
	default: // exclusion
		base, err := n.grantOperand(ctx, u, r, rw.Children[0])
		if err != nil {
			return nil, err
		}
		absent, err := n.denyRewrite(ctx, u, r, rw.Children[1])
		if err != nil {
			return nil, err
		}
		return combine(base, absent), nil
	}
}

// gather adds the plans that grant a userset behind an edge.
func (n *nearest) gather(ctx context.Context, plans *[]plan) func(lead) (bool, error) {
	edges := 0
	return func(l lead) (bool, error) {
		if edges++; l.unjudged != nil {
			return edges < maxNearestEdges, nil
		}
		more, err := n.grant(ctx, l.target)
		*plans = append(*plans, more...)
		return edges < maxNearestEdges, err
	}
}

// grantOperand is grantRewrite, with nothing to do for what is granted.
func (n *nearest) grantOperand(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite) ([]plan, error) {
	v, err := n.value(ctx, u, r, rw)
	if err != nil || v == allowed {
		return []plan{nil}, err
	}
	return n.grantRewrite(ctx, u, r, rw)
}

// additions are the tuples that the model permits between a userset and the subject,
// those without a condition first.
func (n *nearest) additions(u Userset, r *model.Relation) []plan {
	s := n.subject
	var plans []plan
	for _, a := range r.Allowed {
		relation := model.RelationID(0)
		if a.Relation != nil {
			relation = a.Relation.ID
		}
		if a.Type.ID != s.ID.Type() || relation != s.Relation || a.Wildcard != s.ID.IsWildcard() {
			continue
		}
		p := plan{{Row: Row{Userset: u, Edge: Edge{Subject: s, Condition: a.ConditionID}}}}
		if a.ConditionID == 0 {
			plans = slices.Insert(plans, 0, p)
		} else {
			plans = append(plans, p)
		}
	}
	return plans
}

// deny are plans that should make a userset denied.
func (n *nearest) deny(ctx context.Context, u Userset) ([]plan, error) {
	v, err := n.holds(ctx, u)
	if err != nil || v == denied {
		return []plan{nil}, err
	}
	if (Subject{ID: u.Object, Relation: u.Relation}) == n.subject || !n.enter(u) {
		return nil, nil
	}
	r := n.query.Plan.Relation(u.Relation)
	return n.denyRewrite(ctx, u, r, r.Rewrite)
}

func (n *nearest) denyRewrite(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite) ([]plan, error) {
	if v, err := n.value(ctx, u, r, rw); err != nil || v == denied {
		return []plan{nil}, err
	}
	plans := []plan{nil}
	// removal needs every grant to go: it is removed itself, or what it leads to is denied.
	removal := func(userset Userset) func(lead) (bool, error) {
		return func(l lead) (bool, error) {
			v, err := n.behind(ctx, l)
			if err != nil || v == denied {
				return true, err
			}
			ways, err := n.deny(ctx, l.target)
			ways = append(ways, plan{{Remove: true, Row: Row{Userset: userset, Edge: *l.edge}}})
			plans = combine(plans, ways)
			return len(plans) > 0, err
		}
	}
	switch rw.Op {
	case model.OpDirect:
		for _, s := range n.matches() {
			edge, ok, err := n.query.View.Contains(u, s)
			if err != nil {
				return nil, err
			}
			if ok {
				plans = combine(plans, []plan{{{Remove: true, Row: Row{Userset: u, Edge: edge}}}})
			}
		}
		err := n.usersets(ctx, u, r, removal(u))
		return plans, err
	case model.OpComputed:
		return n.deny(ctx, Userset{Object: u.Object, Relation: rw.Relation.ID})
	case model.OpTupleToUserset:
		err := n.targets(ctx, u, rw, removal(Userset{Object: u.Object, Relation: rw.Tupleset.ID}))
		return plans, err
	case model.OpUnion:
		for _, operand := range rw.Children {
			ways, err := n.denyRewrite(ctx, u, r, operand)
			if err != nil {
				return nil, err
			}
			plans = combine(plans, ways)
		}
		return plans, nil
	case model.OpIntersection:
		plans = nil
		for _, operand := range rw.Children {
			ways, err := n.denyRewrite(ctx, u, r, operand)
			if err != nil {
				return nil, err
			}
			plans = append(plans, ways...)
		}
		return best(plans), nil
	default: // exclusion
		base, err := n.denyRewrite(ctx, u, r, rw.Children[0])
		if err != nil {
			return nil, err
		}
		subtracted, err := n.grantOperand(ctx, u, r, rw.Children[1])
		if err != nil {
			return nil, err
		}
		return best(append(base, subtracted...)), nil
	}
}

// combine are the plans that do one of a and one of b, as far as they are small
// enough; the shortest of them.
func combine(a, b []plan) []plan {
	var plans []plan
	for _, p := range a {
		for _, q := range b {
			joined := slices.Clone(p)
			for _, edit := range q {
				same := func(e Edit) bool {
					return e.Remove == edit.Remove && keyOf(e.Row) == keyOf(edit.Row)
				}
				if !slices.ContainsFunc(joined, same) {
					joined = append(joined, edit)
				}
			}
			if len(joined) <= MaxNearest {
				plans = append(plans, joined)
			}
		}
	}
	return best(plans)
}

// best keeps the shortest plans, in the order in which they were found.
func best(plans []plan) []plan {
	slices.SortStableFunc(plans, func(a, b plan) int { return len(a) - len(b) })
	return plans[:min(len(plans), maxPlans)]
}
