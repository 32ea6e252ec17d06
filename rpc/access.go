package rpc

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// accessService answers remit.v1.AccessService; its lists stand in list.go.
type accessService struct{ reader *reader }

// Check answers one question. It is the hot path: it resolves the names once and adds
// nothing that the question does not need.
func (s *accessService) Check(ctx context.Context, req *remitv1.CheckRequest) (*remitv1.CheckResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, allowed, err := s.check(ctx, req)
	if s.reader.Config.Decisions.Wants(decision.Of(allowed, err)) {
		s.reader.decided(ctx, begun, req.Scope, q, req.Question, allowed, err)
	}
	if err != nil {
		return nil, err
	}
	return &remitv1.CheckResponse{Allowed: allowed, Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}, nil
}

// check opens the question, which is nil if that fails, and answers it.
func (s *accessService) check(ctx context.Context, req *remitv1.CheckRequest) (*question, bool, error) {
	q, err := s.reader.open(ctx, req.Scope)
	if err != nil {
		return nil, false, err
	}
	allowed, err := q.check(ctx, req.Question)
	if err != nil {
		err = under("question", err)
	}
	return q, allowed, err
}

// check resolves and answers one question. Faults name the fields of the question.
func (q *question) check(ctx context.Context, m *remitv1.Question) (bool, error) {
	u, subject, err := q.resolve(m)
	if err != nil {
		return false, err
	}
	query := q.Query()
	ctx, span := q.Trace(ctx, &query)
	allowed, err := query.Check(ctx, u, subject)
	span.Text("remit.outcome", decision.Of(allowed, err).String())
	span.End(err)
	return allowed, err
}

func (q *question) resolve(m *remitv1.Question) (graph.Userset, graph.Subject, error) {
	u, err := q.Userset(m.Object, m.Relation)
	if err != nil {
		return u, graph.Subject{}, err
	}
	subject, err := q.Subject(m.Subject)
	return u, subject, err
}

// ListActions answers which relations a subject has to an object.
func (s *accessService) ListActions(ctx context.Context, req *remitv1.ListActionsRequest) (*remitv1.ListActionsResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, err := s.reader.open(ctx, req.Scope)
	var res *remitv1.ListActionsResponse
	if err == nil {
		res, err = q.listActions(ctx, req)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, q, decision.Event{
			Object: req.Object, Subject: req.Subject, Count: len(res.GetRelations()), More: err != nil,
		}, err)
	}
	return res, err
}

func (q *question) listActions(ctx context.Context, req *remitv1.ListActionsRequest) (*remitv1.ListActionsResponse, error) {
	name, err := graph.ParseObject(req.Object)
	if err != nil {
		return nil, at("object", err)
	}
	t, err := graph.ResolveType(q.Plan.Plan, "object", name.Type)
	if err != nil {
		return nil, at("object", err)
	}
	relations, err := actions(q.Plan.Plan, t, req.Relations)
	if err != nil {
		return nil, err
	}
	object, err := q.Entity(t.ID, name.ID)
	if err != nil {
		return nil, err
	}
	subject, err := q.Subject(req.Subject)
	if err != nil {
		return nil, err
	}
	query := q.Query()
	held, err := query.ListActions(ctx, object, subject, relations)
	if err != nil {
		return nil, err
	}
	res := &remitv1.ListActionsResponse{Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency), Relations: make([]string, len(held))}
	for i, r := range held {
		res.Relations[i] = r.Name
	}
	slices.Sort(res.Relations)
	return res, nil
}

// actions finds the relations that ListActions is to ask, each once.
func actions(p *model.Plan, t *model.Type, names []string) ([]*model.Relation, error) {
	if len(names) == 0 {
		return t.Relations, nil
	}
	relations := make([]*model.Relation, 0, len(names))
	for i, name := range names {
		r, err := backend.RelationOf(p, t, name)
		if err != nil {
			return nil, at(indexed("relations", i), err)
		}
		if !slices.Contains(relations, r) {
			relations = append(relations, r)
		}
	}
	return relations, nil
}

// Expand shows how a relation of an object comes about.
func (s *accessService) Expand(ctx context.Context, req *remitv1.ExpandRequest) (*remitv1.ExpandResponse, error) {
	q, err := s.reader.open(ctx, req.Scope)
	if err != nil {
		return nil, err
	}
	u, err := q.Userset(req.Object, req.Relation)
	if err != nil {
		return nil, err
	}
	query := q.Query()
	tree, err := query.Expand(ctx, u, max(int(req.Depth), 1))
	if err != nil {
		return nil, err
	}
	root, err := q.expandNode(tree)
	if err != nil {
		return nil, err
	}
	return &remitv1.ExpandResponse{Root: root, Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}, nil
}

var expandKinds = map[model.Op]remitv1.ExpandNode_Kind{
	model.OpDirect:         remitv1.ExpandNode_KIND_DIRECT,
	model.OpComputed:       remitv1.ExpandNode_KIND_COMPUTED,
	model.OpTupleToUserset: remitv1.ExpandNode_KIND_TUPLE_TO_USERSET,
	model.OpUnion:          remitv1.ExpandNode_KIND_UNION,
	model.OpIntersection:   remitv1.ExpandNode_KIND_INTERSECTION,
	model.OpExclusion:      remitv1.ExpandNode_KIND_EXCLUSION,
}

// expandNode names a node and those below it.
func (q *question) expandNode(e *graph.Expansion) (*remitv1.ExpandNode, error) {
	node := &remitv1.ExpandNode{Kind: expandKinds[e.Op], Cut: e.Cut}
	var err error
	if node.Userset, err = q.usersetName(e.Userset); err != nil {
		return nil, err
	}
	for i := range e.Edges {
		if e.Op != model.OpDirect {
			break
		}
		tuple, err := q.tuple(&graph.Row{Userset: e.Userset, Edge: e.Edges[i]})
		if err != nil {
			return nil, err
		}
		node.Tuples = append(node.Tuples, tuple)
	}
	for _, child := range e.Children {
		c, err := q.expandNode(child)
		if err != nil {
			return nil, err
		}
		node.Children = append(node.Children, c)
	}
	return node, nil
}

// usersetName names a userset: document:plan#viewer.
func (q *question) usersetName(u graph.Userset) (string, error) {
	o, err := q.ObjectName(u.Object)
	if err != nil {
		return "", err
	}
	_, relation := q.Symbols.RelationName(u.Relation)
	return o.String() + "#" + relation, nil
}

// Explain answers one question with its reasons.
func (s *accessService) Explain(ctx context.Context, req *remitv1.ExplainRequest) (*remitv1.ExplainResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, err := s.reader.open(ctx, req.Scope)
	var res *remitv1.ExplainResponse
	if err == nil {
		res, err = q.explain(ctx, req)
	}
	allowed := res.GetAllowed()
	if s.reader.Config.Decisions.Wants(decision.Of(allowed, err)) {
		s.reader.decided(ctx, begun, req.Scope, q, req.Question, allowed, err)
	}
	return res, err
}

func (q *question) explain(ctx context.Context, req *remitv1.ExplainRequest) (*remitv1.ExplainResponse, error) {
	u, subject, err := q.resolve(req.Question)
	if err != nil {
		return nil, under("question", err)
	}
	query := q.Query()
	ctx, span := q.Trace(ctx, &query)
	e, err := query.Explain(ctx, u, subject)
	span.End(err)
	if err != nil {
		return nil, err
	}
	res := &remitv1.ExplainResponse{
		Allowed: e.Allowed, Token: q.Token(), ModelId: q.Plan.ID(), At: timestamppb.New(q.At), AsOf: q.asOf(req.Scope.Consistency),
	}
	if res.Reason, err = q.reason(e.Reason, req.Question.Subject); err != nil {
		return nil, err
	}
	for i := range e.Proof {
		tuple, err := q.tuple(&e.Proof[i])
		if err != nil {
			return nil, err
		}
		res.Proof = append(res.Proof, &remitv1.ProofTuple{Tuple: tuple, Contextual: q.Contextual(&e.Proof[i])})
	}
	for i := range e.Nearest {
		tuple, err := q.tuple(&e.Nearest[i].Row)
		if err != nil {
			return nil, err
		}
		change := &remitv1.TupleChange{Kind: remitv1.TupleChange_KIND_ADD, Tuple: tuple}
		if e.Nearest[i].Remove {
			change.Kind = remitv1.TupleChange_KIND_REMOVE
		}
		res.Nearest = append(res.Nearest, change)
	}
	return res, nil
}

// ReasonKind is the API's word for a kind of reason.
func ReasonKind(k graph.ReasonKind) remitv1.Reason_Kind { return reasonKinds[k] }

var reasonKinds = map[graph.ReasonKind]remitv1.Reason_Kind{
	graph.ReasonTuple:          remitv1.Reason_KIND_TUPLE,
	graph.ReasonUserset:        remitv1.Reason_KIND_USERSET,
	graph.ReasonComputed:       remitv1.Reason_KIND_COMPUTED,
	graph.ReasonTupleToUserset: remitv1.Reason_KIND_TUPLE_TO_USERSET,
	graph.ReasonUnion:          remitv1.Reason_KIND_UNION,
	graph.ReasonIntersection:   remitv1.Reason_KIND_INTERSECTION,
	graph.ReasonExclusion:      remitv1.Reason_KIND_EXCLUSION,
	graph.ReasonSelf:           remitv1.Reason_KIND_SELF,
	graph.ReasonCycle:          remitv1.Reason_KIND_CYCLE,
	graph.ReasonNoTuple:        remitv1.Reason_KIND_NO_TUPLE,
	graph.ReasonCondition:      remitv1.Reason_KIND_CONDITION,
	graph.ReasonExpired:        remitv1.Reason_KIND_EXPIRED,
	graph.ReasonLeftOut:        remitv1.Reason_KIND_LEFT_OUT,
	graph.ReasonUnknown:        remitv1.Reason_KIND_UNKNOWN,
}

// reason names a step of an explanation and those below it.
func (q *question) reason(r *graph.Reason, subject string) (*remitv1.Reason, error) {
	if r == nil {
		return nil, nil
	}
	m := &remitv1.Reason{Kind: reasonKinds[r.Kind], Granted: r.Granted, Note: r.Note}
	var err error
	if m.Question, err = q.usersetName(r.Userset); err != nil {
		return nil, err
	}
	m.Question += "@" + subject
	if r.Edge != nil {
		if m.Tuple, err = q.tuple(r.Edge); err != nil {
			return nil, err
		}
	}
	for _, child := range r.Children {
		c, err := q.reason(child, subject)
		if err != nil {
			return nil, err
		}
		m.Children = append(m.Children, c)
	}
	return m, nil
}
