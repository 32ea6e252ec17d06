package graph

import (
	"context"
	"fmt"

	"github.com/remit-authz/remit/graph/model"
)

// MaxExpandDepth bounds how many usersets deep Expand may be asked to go.
const MaxExpandDepth = 25

// An Expansion is one node of the tree that shows how a userset comes about.
type Expansion struct {
	// Op is the kind of the rewrite that this node stands for.
	Op model.Op

	// Userset is what the node defines; of a computed node, what it refers to.
	Userset Userset

	// Edges are the tuples that count, of a direct node; of a tuple-to-userset node,
	// those of the tupleset.
	Edges []Edge

	// Children are the operands, base first; of a direct, computed or
	// tuple-to-userset node, the usersets that were expanded below it.
	Children []*Expansion

	// Cut says that usersets below were left out: the depth was reached, or they stand
	// above this node already.
	Cut bool
}

// Expand shows how a userset comes about: its rewrite, and the tuples that count in
// it at q.At. A depth of 1 shows the rewrite itself; each further one replaces the
// usersets that it refers to by their own expansions, down to MaxExpandDepth.
//
// The nodes of an answer are visited edges of the budget, since a fan-out grows with
// the power of the depth. A condition that cannot be judged is an error.
func (q *Query) Expand(ctx context.Context, u Userset, depth int) (*Expansion, error) {
	if depth < 1 || depth > MaxExpandDepth {
		return nil, fmt.Errorf("%w: depth %d is not between 1 and %d", ErrInvalid, depth, MaxExpandDepth)
	}
	x := &expander{walk: newWalk(q)}
	return x.userset(ctx, u, depth)
}

// An expander is one Expand under way.
type expander struct {
	walk *walk
	path []Userset // the usersets above the node at hand
}

func (x *expander) userset(ctx context.Context, u Userset, depth int) (*Expansion, error) {
	r := x.walk.query.Plan.Relation(u.Relation)
	if r == nil || r.Type.ID != u.Object.Type() {
		return nil, fmt.Errorf("%w: relation %d of %v", ErrRelationNotFound, u.Relation, u.Object)
	}
	x.path = append(x.path, u)
	defer func() { x.path = x.path[:len(x.path)-1] }()
	return x.rewrite(ctx, u, r, r.Rewrite, depth)
}

func (x *expander) rewrite(ctx context.Context, u Userset, r *model.Relation, rw *model.Rewrite, depth int) (*Expansion, error) {
	e := &Expansion{Op: rw.Op, Userset: u}
	if err := x.walk.spend(ctx, 1); err != nil {
		return nil, err
	}
	switch rw.Op {
	case model.OpDirect:
		err := x.walk.edges(ctx, u, r, Subject{}, func(edge *Edge, unjudged error) (bool, error) {
			if unjudged != nil {
				return false, unjudged
			}
			e.Edges = append(e.Edges, *edge)
			if edge.Subject.Relation == 0 {
				return true, nil
			}
			return true, x.child(ctx, e, Userset{Object: edge.Subject.ID, Relation: edge.Subject.Relation}, depth)
		})
		return e, err
	case model.OpComputed:
		e.Userset = Userset{Object: u.Object, Relation: rw.Relation.ID}
		return e, x.child(ctx, e, e.Userset, depth)
	case model.OpTupleToUserset:
		tupleset := Userset{Object: u.Object, Relation: rw.Tupleset.ID}
		err := x.walk.edges(ctx, tupleset, rw.Tupleset, Subject{}, func(edge *Edge, unjudged error) (bool, error) {
			if edge.Subject.Relation != 0 || unjudged != nil {
				return false, unjudged
			}
			target := computedOn(rw, edge.Subject.ID.Type())
			if target == nil || edge.Subject.ID.IsWildcard() {
				return true, nil
			}
			e.Edges = append(e.Edges, *edge)
			return true, x.child(ctx, e, Userset{Object: edge.Subject.ID, Relation: target.ID}, depth)
		})
		return e, err
	default:
		for _, operand := range rw.Children {
			c, err := x.rewrite(ctx, u, r, operand, depth)
			if err != nil {
				return nil, err
			}
			e.Children = append(e.Children, c)
		}
		return e, nil
	}
}

// child expands a userset that e refers to, or marks e as cut.
func (x *expander) child(ctx context.Context, e *Expansion, u Userset, depth int) error {
	if depth == 1 {
		e.Cut = true
		return nil
	}
	for _, above := range x.path {
		if above == u {
			e.Cut = true
			return nil
		}
	}
	c, err := x.userset(ctx, u, depth-1)
	if err != nil {
		return err
	}
	e.Children = append(e.Children, c)
	return nil
}
