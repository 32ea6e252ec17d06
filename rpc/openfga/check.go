package openfga

import (
	"context"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/decision"
)

// Check answers one question. It is the hot path: what goes wrong may cost something,
// what goes well does not.
func (s *service) Check(ctx context.Context, req *openfgav1.CheckRequest) (*openfgav1.CheckResponse, error) {
	decisions := s.reader.Config.Decisions
	begun := decisions.Begin()
	q, err := s.open(ctx, req)
	var res *openfgav1.CheckResponse
	if err == nil {
		res, err = q.answer(ctx, req)
	}
	if decisions.Wants(decision.Of(res.GetAllowed(), err)) {
		e := s.event(begun, req, q, err)
		e.Outcome = decision.Of(res.GetAllowed(), err)
		describeKey(&e, req.GetTupleKey())
		e.Context = decisions.Context(req.GetContext())
		decisions.Add(ctx, &e)
	}
	return res, err
}

// answer answers it by an open question.
func (q *question) answer(ctx context.Context, req *openfgav1.CheckRequest) (*openfgav1.CheckResponse, error) {
	allowed, fault, err := q.check(ctx, req.GetTupleKey(), req.GetContext(), req.GetContextualTuples().GetTupleKeys())
	switch {
	case fault != nil:
		return nil, fault.asCheck()
	case err != nil:
		return nil, err
	}
	return &openfgav1.CheckResponse{Allowed: allowed}, nil
}

// check answers one question, given its own context and tuples. A fault is one of the
// question itself, which reads differently in a batch.
func (q *question) check(ctx context.Context, key tupleKey, given *structpb.Struct, contextual []*openfgav1.TupleKey) (bool, *queryFault, error) {
	names, fault := checkQuery(q.Plan.Plan, key, given, contextual)
	if fault != nil {
		return false, fault, nil
	}
	if err := q.take(given, contextual); err != nil {
		return false, nil, err
	}
	object, err := q.Entity(names.relation.Type.ID, names.object.ID)
	if err != nil {
		return false, nil, err
	}
	subject, err := q.subject(names.kind, names.subject.ID)
	if err != nil {
		return false, nil, err
	}
	query := q.query()
	ctx, span := q.Trace(ctx, &query)
	allowed, err := query.Check(ctx, graph.Userset{Object: object, Relation: names.relation.ID}, subject)
	span.Text("remit.outcome", decision.Of(allowed, err).String())
	span.End(err)
	if err == nil {
		return allowed, nil, nil
	}
	return false, nil, q.fault(err)
}

// subject finds a subject of a kind, by its id.
func (q *question) subject(kind graph.SubjectKind, id string) (graph.Subject, error) {
	var s graph.Subject
	var err error
	s.ID, err = q.Entity(kind.Type.ID, id)
	if kind.Relation != nil {
		s.Relation = kind.Relation.ID
	}
	return s, err
}
