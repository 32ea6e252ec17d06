package openfga

import (
	"context"
	"errors"
	"time"

	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/rpc/decision"
)

// event is what the log of decisions says of any of them. The question is nil if its store
// or its model could not be opened.
func (s *service) event(begun time.Duration, m interface{ GetStoreId() string }, q *question, err error) decision.Event {
	e := decision.Event{Begun: begun}
	if q == nil {
		e.Asked = m.GetStoreId()
	} else {
		q.Describe(&e)
	}
	if err != nil && !errors.Is(err, errPageFull) {
		told, _ := lookup(err)
		e.Reason = told.Code.String()
	}
	return e
}

func describeKey(e *decision.Event, key tupleKey) {
	e.Object, e.Relation, e.Subject = key.GetObject(), key.GetRelation(), key.GetUser()
}

// decidedBatch logs the answers to a batch, each one that is wanted. A batch that failed as
// a whole decided none of its questions.
func (s *service) decidedBatch(ctx context.Context, begun time.Duration, req *openfgav1.BatchCheckRequest, q *question, res *openfgav1.BatchCheckResponse, err error) {
	decisions := s.reader.Config.Decisions
	if err != nil {
		if decisions.WantsAll(decision.Undecided, max(len(req.GetChecks()), 1)) {
			e := s.event(begun, req, q, err)
			e.Outcome, e.Questions = decision.Undecided, len(req.GetChecks())
			decisions.Add(ctx, &e)
		}
		return
	}
	for _, c := range req.GetChecks() {
		answer := res.GetResult()[c.GetCorrelationId()]
		outcome := decision.Of(answer.GetAllowed(), nil)
		failure := answer.GetError()
		if failure != nil {
			outcome = decision.Undecided
		}
		if !decisions.Wants(outcome) {
			continue
		}
		e := s.event(begun, req, q, nil)
		e.Outcome = outcome
		switch {
		case failure.GetInputError() != 0:
			e.Reason = failure.GetInputError().String()
		case failure != nil:
			e.Reason = failure.GetInternalError().String()
		}
		describeKey(&e, c.GetTupleKey())
		e.Context = decisions.Context(c.GetContext())
		decisions.Add(ctx, &e)
	}
}

// decided logs one decision of several that AuthZEN made one by one.
func (a *authZEN) decided(ctx context.Context, begun time.Duration, q *question, store string, key tupleKey, asked asked, allowed bool, err error) {
	decisions := a.reader.Config.Decisions
	if !decisions.Wants(decision.Of(allowed, err)) {
		return
	}
	e := a.event(begun, &authzenv1.EvaluationRequest{StoreId: store}, q, err)
	e.Outcome = decision.Of(allowed, err)
	describeKey(&e, key)
	e.Context = decisions.Context(asked.merged())
	decisions.Add(ctx, &e)
}

// listOutcome is the outcome of a list. One that ends because its page is full has not
// failed.
func listOutcome(err error) decision.Outcome {
	if errors.Is(err, errPageFull) {
		return decision.Listed
	}
	return decision.OfList(err)
}

// filterText is the kind of users that a list is of.
func filterText(f *openfgav1.UserTypeFilter) string {
	if f.GetRelation() == "" {
		return f.GetType()
	}
	return f.GetType() + "#" + f.GetRelation()
}
