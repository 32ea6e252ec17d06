package openfga

import (
	"context"
	"errors"
	"fmt"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
)

// readSteps bounds how often one Read looks through a page's worth of tuples, few of
// which match: rather than take for ever it then gives a short page, even an empty one,
// from whose end the client goes on.
const readSteps = 10

// Read pages through the tuples that match a filter. Names that the store does not know
// match nothing. A tuple that has expired is not there, though nothing has removed it yet.
func (s *service) Read(ctx context.Context, req *openfgav1.ReadRequest) (*openfgav1.ReadResponse, error) {
	pattern, err := patternOf(req.GetTupleKey())
	if err != nil {
		return nil, err
	}
	head, root, err := s.store(ctx, req.GetStoreId(), req.GetConsistency())
	if err != nil {
		return nil, err
	}
	respondToken(ctx, s.reader.Token(root.Revision()))
	var id fsm.StoreID
	if head != nil {
		id = head.ID()
	}
	var after graph.Row
	if position, err := positionIn(req.GetContinuationToken(), continueTuples, id); err != nil {
		return nil, err
	} else if position != nil {
		if after, err = rowAt(position); err != nil {
			return nil, err
		}
	}
	res := &openfgav1.ReadResponse{}
	if head == nil {
		return res, nil
	}
	snapshot := backend.HeadOf(head)
	filter, err := backend.NewFilter(&snapshot, pattern)
	switch {
	case errors.Is(err, graph.ErrTypeNotFound), errors.Is(err, graph.ErrRelationNotFound):
		return res, nil
	case err != nil:
		return nil, err
	}
	rows, next, err := readRows(ctx, filter, after, pageSize(req.GetPageSize()), s.reader.Now().UnixMilli())
	if err != nil {
		return nil, err
	}
	res.Tuples = make([]*openfgav1.Tuple, len(rows))
	for i := range rows {
		if res.Tuples[i], err = tupleMessage(head, &rows[i]); err != nil {
			return nil, err
		}
	}
	if next != nil {
		c := continuation{kind: continueTuples, store: id, position: appendRow(nil, next)}
		res.ContinuationToken = c.String()
	}
	return res, nil
}

// patternOf reads a filter. OpenFGA asks for an object, of which the id may be left out
// if there is a user.
func patternOf(key *openfgav1.ReadRequestTupleKey) (backend.Pattern, error) {
	if key == nil {
		return backend.Pattern{}, nil
	}
	object, subject := objectName(key.GetObject()), subjectName(key.GetUser())
	if object.Type == "" || object.ID == "" && key.GetUser() == "" {
		return backend.Pattern{}, validationError("the 'tuple_key' field was provided but the object type field is required and both the object id and user cannot be empty")
	}
	p := backend.Pattern{
		ObjectType: object.Type, ObjectID: object.ID, HasObjectID: object.ID != "",
		Relation: key.GetRelation(),
	}
	if key.GetUser() != "" {
		p.SubjectType, p.SubjectID, p.SubjectRelation, p.HasSubjectID = subject.Type, subject.ID, subject.Relation, true
	}
	return p, nil
}

// readRows are the next rows behind one that have not expired, and the row where the
// page after these begins, if there is one.
func readRows(ctx context.Context, f *backend.Filter, after graph.Row, size int, now int64) (rows []graph.Row, next *graph.Row, err error) {
	for range readSteps {
		// One more than is wanted tells whether anything follows.
		page, more, err := f.Page(ctx, after, size+1-len(rows))
		if err != nil {
			return nil, nil, err
		}
		for i := range page {
			if !page[i].Edge.ExpiredAt(now) {
				rows = append(rows, page[i])
			}
		}
		if len(rows) > size {
			return rows[:size], &rows[size-1], nil
		}
		if !more {
			return rows, nil, nil
		}
		after = f.After()
	}
	return rows, &after, nil
}

// tupleMessage is a stored tuple.
func tupleMessage(head *fsm.Store, row *graph.Row) (*openfgav1.Tuple, error) {
	named, err := backend.RowTuple(head.Symbols(), head, row)
	if err != nil {
		return nil, err
	}
	key, err := keyMessage(&named)
	if err != nil {
		return nil, err
	}
	return &openfgav1.Tuple{Key: key, Timestamp: timestamppb.New(time.UnixMilli(row.Written))}, nil
}

// keyMessage is a tuple as a key. A condition always has a context, though it be empty.
func keyMessage(t *graph.Tuple) (*openfgav1.TupleKey, error) {
	key := &openfgav1.TupleKey{Object: t.Object.String(), Relation: t.Relation, User: t.Subject.String()}
	if t.Condition != "" {
		fields, err := structpb.NewStruct(t.Context)
		if err != nil {
			return nil, fmt.Errorf("context of %s: %w", t, err)
		}
		key.Condition = &openfgav1.RelationshipCondition{Name: t.Condition, Context: fields}
	}
	return key, nil
}
