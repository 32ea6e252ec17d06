package openfga

import (
	"context"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph"
)

// ListObjects lists the objects of a type that a user has a relation to, up to the
// configured number of them.
func (s *service) ListObjects(ctx context.Context, req *openfgav1.ListObjectsRequest) (*openfgav1.ListObjectsResponse, error) {
	var objects []string
	_, err := s.listObjects(ctx, req, s.config.ListObjectsMaxResults, 0, func(_ graph.ID, object graph.ObjectName) error {
		objects = append(objects, object.String())
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &openfgav1.ListObjectsResponse{Objects: objects}, nil
}

// StreamedListObjects is ListObjects without a limit of results.
func (s *service) StreamedListObjects(req *openfgav1.StreamedListObjectsRequest, stream openfgav1.OpenFGAService_StreamedListObjectsServer) error {
	_, err := s.listObjects(stream.Context(), req, -1, 0, func(_ graph.ID, object graph.ObjectName) error {
		return stream.Send(&openfgav1.StreamedListObjectsResponse{Object: object.String()})
	})
	return err
}

// An objectsQuery is what the messages of both have.
type objectsQuery interface {
	query
	GetType() string
	GetRelation() string
	GetUser() string
	GetContextualTuples() *openfgav1.ContextualTupleKeys
	GetContext() *structpb.Struct
}

// listObjects yields at most so many objects, in the order of their ids, from behind one
// of them. What cannot be decided is passed over, and is an error only if the list does
// not end earlier. The list is cut if its time or its budget came to an end before it.
func (s *service) listObjects(ctx context.Context, m objectsQuery, most int, after graph.ID, yield func(graph.ID, graph.ObjectName) error) (cut bool, err error) {
	decisions := s.reader.Config.Decisions
	begun, found := decisions.Begin(), 0
	q, err := s.open(ctx, m)
	if err == nil {
		found, cut, err = s.objectsOf(ctx, q, m, most, after, yield)
	}
	if outcome := listOutcome(err); decisions.Wants(outcome) {
		e := s.event(begun, m, q, err)
		e.Outcome, e.List = outcome, true
		e.Type, e.Relation, e.Subject = m.GetType(), m.GetRelation(), m.GetUser()
		e.Count, e.More = found, cut || err != nil || found == most
		e.Context = decisions.Context(m.GetContext())
		decisions.Add(ctx, &e)
	}
	return cut, err
}

// objectsOf is listObjects by an open question. It returns how many it yielded.
func (s *service) objectsOf(ctx context.Context, q *question, m objectsQuery, most int, after graph.ID, yield func(graph.ID, graph.ObjectName) error) (found int, cut bool, err error) {
	contextual := m.GetContextualTuples().GetTupleKeys()
	relation, kind, err := checkListObjects(q.Plan.Plan, m.GetType(), m.GetRelation(), m.GetUser(), contextual)
	if err != nil {
		return 0, false, err
	}
	if err := q.take(m.GetContext(), contextual); err != nil {
		return 0, false, err
	}
	subject, err := q.subject(kind, subjectName(m.GetUser()).ID)
	if err != nil {
		return 0, false, err
	}
	ctx, cancel := q.bound(ctx, s.config.ListObjectsDeadline)
	defer cancel()
	query := q.query()
	query.KeepGoing = !q.exact
	ctx, span := q.Trace(ctx, &query)
	defer func() { span.End(err) }()
	if subject.Relation == 0 && !subject.ID.IsWildcard() {
		// OpenFGA has a way of its own to the objects of one user, and its errors say that
		// they come from there.
		q.where = "iterator: "
	}
	most = q.limit(most)
	var failed error
	err = query.ListObjects(ctx, relation, subject, after, func(id graph.ID) bool {
		var name graph.ObjectName
		if name, failed = q.ObjectName(id); failed == nil {
			failed = yield(id, name)
		}
		if failed == nil {
			found++
		}
		return failed == nil && found != most
	})
	if failed != nil {
		return found, false, failed
	}
	return found, err != nil, q.listed(err, found)
}
