package openfga

import (
	"context"
	"errors"
	"slices"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
)

// A question is a backend.Question that was asked in OpenFGA's protocol.
type question struct {
	backend.Question
	exact    bool
	maxDepth int    // unless exact
	where    string // stands before what is said of a condition
}

// A query is what all the messages that ask something have.
type query interface {
	GetStoreId() string
	GetAuthorizationModelId() string
	GetConsistency() openfgav1.ConsistencyPreference
}

// open finds the store and the model that a query is about, in a state as fresh as it
// asks for, and tells the client which they are.
func (s *service) open(ctx context.Context, m query) (*question, error) {
	if err := s.freshen(ctx, m.GetConsistency()); err != nil {
		return nil, err
	}
	head, plan, err := s.planIn(s.reader.Config.State.Current(), m.GetStoreId(), m.GetAuthorizationModelId())
	if unknown := (*Error)(nil); errors.As(err, &unknown) {
		// It may have been made on another node a moment ago, and the client has no token.
		if err := s.reader.CatchUp(ctx); err != nil {
			return nil, err
		}
		head, plan, err = s.planIn(s.reader.Config.State.Current(), m.GetStoreId(), m.GetAuthorizationModelId())
	}
	if err != nil {
		return nil, err
	}
	q := &question{
		Question: backend.Question{Snapshot: backend.HeadOf(head), Reader: s.reader, Plan: plan, UnboundNow: true},
		exact:    exact(ctx), maxDepth: s.config.MaxDepth,
	}
	q.At = s.reader.Now()
	respondModel(ctx, q.Plan.ID())
	respondToken(ctx, q.Token())
	return q, nil
}

// noModel says that a store has no such model, or none at all if the id is empty.
func noModel(store, model string) *Error {
	if model != "" {
		return modelNotFound(model)
	}
	return latestModelNotFound(store)
}

// fork copies the question, so that one of many can have its own context and tuples.
func (q *question) fork() *question {
	return &question{Question: q.Fork(), exact: q.exact, maxDepth: q.maxDepth}
}

// query hands the question to the evaluator.
func (q *question) query() graph.Query {
	query := q.Query()
	if !q.exact {
		query.MaxDepth, query.UndefinedIsNo, query.EagerConditions = q.maxDepth, true, true
	}
	return query
}

// take adds what the request brings itself: its context, and its tuples, which were
// found to be valid.
func (q *question) take(given *structpb.Struct, contextual []*openfgav1.TupleKey) error {
	var err error
	if q.Given, err = valuesOf(given); err != nil {
		return err
	}
	// Of two tuples with the same ends, the first counts, so it is put last.
	for _, key := range slices.Backward(contextual) {
		tuple := graph.Tuple{Object: objectName(key.GetObject()), Relation: key.GetRelation(), Subject: subjectName(key.GetUser())}
		if c := key.GetCondition(); c != nil {
			tuple.Condition = c.GetName()
			if tuple.Context, err = valuesOf(c.GetContext()); err != nil {
				return err
			}
		}
		if err := q.Put(tuple); err != nil {
			return validationError(err.Error()) // a limit that OpenFGA does not have
		}
	}
	return nil
}

// valuesOf reads a context.
func valuesOf(s *structpb.Struct) (value.Map, error) {
	if len(s.GetFields()) == 0 {
		return nil, nil
	}
	m, err := value.Normalize(s.AsMap())
	if err != nil {
		return nil, validationError("invalid context: " + err.Error())
	}
	return m, nil
}

// fault puts what the evaluator says of a question into OpenFGA's words.
func (q *question) fault(err error) error {
	var ce *graph.ConditionError
	if !errors.As(err, &ce) {
		return err
	}
	tuple, nameErr := q.Row(&graph.Row{Userset: ce.Userset, Edge: graph.Edge{Subject: ce.Subject}})
	if nameErr != nil {
		return nameErr
	}
	if text := conditionMessage(tuple.String(), ce.Condition, ce.Err); text != "" {
		return validationError(q.where + text)
	}
	return err
}

// bound is the context that a list is looked for in: it ends at the deadline, unless the
// list has to be complete.
func (q *question) bound(ctx context.Context, deadline time.Duration) (context.Context, context.CancelFunc) {
	if q.exact || deadline < 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, deadline)
}

// listed is what the end of a list means: nothing if what was found by then is the answer.
// A list that has used up its budget is cut short as one that has used up its time, but
// one that found nothing so far says why.
func (q *question) listed(err error, found int) error {
	switch {
	case err == nil:
		return nil
	case q.exact:
		return q.fault(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, graph.ErrBudget) && found > 0:
		return nil
	}
	return q.fault(err)
}

// limit is how many results a list may have; a negative number is no limit.
func (q *question) limit(most int) int {
	if q.exact {
		return -1
	}
	return most
}
