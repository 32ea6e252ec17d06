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
	err := s.listObjects(ctx, req, s.config.ListObjectsMaxResults, func(object string) error {
		objects = append(objects, object)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &openfgav1.ListObjectsResponse{Objects: objects}, nil
}

// StreamedListObjects is ListObjects without a limit of results.
func (s *service) StreamedListObjects(req *openfgav1.StreamedListObjectsRequest, stream openfgav1.OpenFGAService_StreamedListObjectsServer) error {
	return s.listObjects(stream.Context(), req, -1, func(object string) error {
		return stream.Send(&openfgav1.StreamedListObjectsResponse{Object: object})
	})
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

// listObjects yields at most so many objects. What cannot be decided is passed over, and
// is an error only if the list does not end earlier.
func (s *service) listObjects(ctx context.Context, m objectsQuery, most int, yield func(object string) error) error {
	q, err := s.open(ctx, m)
	if err != nil {
		return err
	}
	contextual := m.GetContextualTuples().GetTupleKeys()
	relation, kind, err := checkListObjects(q.Plan.Plan, m.GetType(), m.GetRelation(), m.GetUser(), contextual)
	if err != nil {
		return err
	}
	if err := q.take(m.GetContext(), contextual); err != nil {
		return err
	}
	subject, err := q.subject(kind, subjectName(m.GetUser()).ID)
	if err != nil {
		return err
	}
	ctx, cancel := q.bound(ctx, s.config.ListObjectsDeadline)
	defer cancel()
	query := q.query()
	query.KeepGoing = !q.exact
	if subject.Relation == 0 && !subject.ID.IsWildcard() {
		// OpenFGA has a way of its own to the objects of one user: it has no limit of depth,
		// and its errors say that they come from there.
		query.MaxDepth, q.where = 0, "iterator: "
	}
	most = q.limit(most)
	found := 0
	var failed error
	err = query.ListObjects(ctx, relation, subject, 0, func(id graph.ID) bool {
		var name graph.ObjectName
		if name, failed = q.ObjectName(id); failed == nil {
			failed = yield(name.String())
		}
		found++
		return failed == nil && found != most
	})
	if failed != nil {
		return failed
	}
	return q.listed(err, found)
}
