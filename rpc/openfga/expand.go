package openfga

import (
	"cmp"
	"context"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// Expand shows the rewrite of a relation, with the tuples that are its leaves. It does
// not judge conditions: a tuple that the model allows is shown, whether its condition
// holds or not.
func (s *service) Expand(ctx context.Context, req *openfgav1.ExpandRequest) (*openfgav1.ExpandResponse, error) {
	q, err := s.open(ctx, req)
	if err != nil {
		return nil, err
	}
	key, contextual := req.GetTupleKey(), req.GetContextualTuples().GetTupleKeys()
	relation, err := checkExpand(q.Plan.Plan, key, contextual)
	if err != nil {
		return nil, err
	}
	if err := q.take(nil, contextual); err != nil {
		return nil, err
	}
	object, err := q.Entity(relation.Type.ID, objectName(key.GetObject()).ID)
	if err != nil {
		return nil, err
	}
	x := &expander{
		question: q, relation: relation, object: object, text: key.GetObject(),
		left: cmp.Or(s.reader.Config.Budget, graph.DefaultBudget),
	}
	root, err := x.node(ctx, rewriteOf(q.Plan.Source.Proto(), relation))
	if err != nil {
		return nil, err
	}
	return &openfgav1.ExpandResponse{Tree: &openfgav1.UsersetTree{Root: root}}, nil
}

// rewriteOf finds a relation's rewrite as it was written: the plan has it simplified.
func rewriteOf(m *openfgav1.AuthorizationModel, r *model.Relation) *openfgav1.Userset {
	for _, t := range m.GetTypeDefinitions() {
		if t.GetType() == r.Type.Name {
			return t.GetRelations()[r.Name]
		}
	}
	return nil
}

// An expander is one Expand under way.
type expander struct {
	*question
	relation *model.Relation
	object   graph.ID
	text     string // the object's name
	left     int    // of the budget, in tuples
}

// userset names another relation of the object.
func (x *expander) userset(relation string) string { return x.text + "#" + relation }

func (x *expander) node(ctx context.Context, rewrite *openfgav1.Userset) (*openfgav1.UsersetTree_Node, error) {
	n := &openfgav1.UsersetTree_Node{Name: x.userset(x.relation.Name)}
	var err error
	switch r := rewrite.GetUserset().(type) {
	case *openfgav1.Userset_ComputedUserset:
		n.Value = computedLeaf(x.userset(r.ComputedUserset.GetRelation()))
	case *openfgav1.Userset_TupleToUserset:
		n.Value, err = x.arrow(ctx, r.TupleToUserset)
	case *openfgav1.Userset_Union:
		var children *openfgav1.UsersetTree_Nodes
		children, err = x.nodes(ctx, r.Union.GetChild())
		n.Value = &openfgav1.UsersetTree_Node_Union{Union: children}
	case *openfgav1.Userset_Intersection:
		var children *openfgav1.UsersetTree_Nodes
		children, err = x.nodes(ctx, r.Intersection.GetChild())
		n.Value = &openfgav1.UsersetTree_Node_Intersection{Intersection: children}
	case *openfgav1.Userset_Difference:
		difference := &openfgav1.UsersetTree_Difference{}
		if difference.Base, err = x.node(ctx, r.Difference.GetBase()); err != nil {
			return nil, err
		}
		difference.Subtract, err = x.node(ctx, r.Difference.GetSubtract())
		n.Value = &openfgav1.UsersetTree_Node_Difference{Difference: difference}
	default:
		n.Value, err = x.direct(ctx)
	}
	return n, err
}

func (x *expander) nodes(ctx context.Context, rewrites []*openfgav1.Userset) (*openfgav1.UsersetTree_Nodes, error) {
	nodes := make([]*openfgav1.UsersetTree_Node, len(rewrites))
	for i, r := range rewrites {
		var err error
		if nodes[i], err = x.node(ctx, r); err != nil {
			return nil, err
		}
	}
	return &openfgav1.UsersetTree_Nodes{Nodes: nodes}, nil
}

func computedLeaf(userset string) *openfgav1.UsersetTree_Node_Leaf {
	return leaf(&openfgav1.UsersetTree_Leaf{Value: &openfgav1.UsersetTree_Leaf_Computed{
		Computed: &openfgav1.UsersetTree_Computed{Userset: userset},
	}})
}

func leaf(l *openfgav1.UsersetTree_Leaf) *openfgav1.UsersetTree_Node_Leaf {
	return &openfgav1.UsersetTree_Node_Leaf{Leaf: l}
}

// direct is the users of the relation's own tuples, in the order of their names.
func (x *expander) direct(ctx context.Context) (*openfgav1.UsersetTree_Node_Leaf, error) {
	users := []string{}
	err := x.tuples(ctx, x.relation, func(s graph.SubjectName) { users = append(users, s.String()) })
	slices.Sort(users)
	return leaf(&openfgav1.UsersetTree_Leaf{Value: &openfgav1.UsersetTree_Leaf_Users{
		Users: &openfgav1.UsersetTree_Users{Users: users},
	}}), err
}

// arrow is what a tuple-to-userset asks of the objects that the tupleset leads to,
// whether their types have such a relation or not.
func (x *expander) arrow(ctx context.Context, rewrite *openfgav1.TupleToUserset) (*openfgav1.UsersetTree_Node_Leaf, error) {
	tupleset, relation := rewrite.GetTupleset().GetRelation(), rewrite.GetComputedUserset().GetRelation()
	l := &openfgav1.UsersetTree_TupleToUserset{Tupleset: x.userset(tupleset)}
	r, _ := x.relation.Type.Relation(tupleset) // a model is valid only if it is there
	err := x.tuples(ctx, r, func(s graph.SubjectName) {
		l.Computed = append(l.Computed, &openfgav1.UsersetTree_Computed{Userset: s.Object().String() + "#" + relation})
	})
	return leaf(&openfgav1.UsersetTree_Leaf{Value: &openfgav1.UsersetTree_Leaf_TupleToUserset{TupleToUserset: l}}), err
}

// tuples yields the subjects of a relation's tuples that the model allows.
func (x *expander) tuples(ctx context.Context, r *model.Relation, yield func(graph.SubjectName)) error {
	view, objectsOnly := x.View(), followed(r)
	u := graph.Userset{Object: x.object, Relation: r.ID}
	for c := (graph.Cursor{}); !c.Done; {
		if err := view.Subjects(u, &c); err != nil {
			return err
		}
		if x.left -= len(c.Edges); x.left < 0 {
			return graph.ErrBudget
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range c.Edges {
			edge := &c.Edges[i]
			if edge.ExpiredAt(x.At.UnixMilli()) || !allows(r, edge) {
				continue
			}
			if objectsOnly && (edge.Subject.Relation != 0 || edge.Subject.ID.IsWildcard()) {
				continue
			}
			name, err := x.SubjectName(edge.Subject)
			if err != nil {
				return err
			}
			yield(name)
		}
	}
	return nil
}

// allows reports whether a type restriction takes the tuple.
func allows(r *model.Relation, e *graph.Edge) bool {
	return slices.ContainsFunc(r.Allowed, func(a model.Restriction) bool {
		var relation model.RelationID
		if a.Relation != nil {
			relation = a.Relation.ID
		}
		return a.ConditionID == e.Condition && a.Wildcard == e.Subject.ID.IsWildcard() &&
			a.Type.ID == e.Subject.ID.Type() && relation == e.Subject.Relation
	})
}
