package rpc

import (
	"context"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// decided logs the answer to one question. The question is nil if its store or its model
// could not be opened.
func (r *reader) decided(ctx context.Context, begun time.Duration, scope *remitv1.Scope, q *question, m *remitv1.Question, allowed bool, err error) {
	e := r.event(begun, scope, q, err)
	e.Outcome = decision.Of(allowed, err)
	e.Object, e.Relation, e.Subject = m.GetObject(), m.GetRelation(), m.GetSubject()
	e.Context = r.Config.Decisions.Context(scope.GetContext())
	r.Config.Decisions.Add(ctx, &e)
}

// decidedBatch logs the answers to a batch, each one that is wanted. A batch that failed as
// a whole decided none of its questions.
func (r *reader) decidedBatch(ctx context.Context, begun time.Duration, req *remitv1.BatchCheckRequest, q *question, res *remitv1.BatchCheckResponse, err error) {
	decisions := r.Config.Decisions
	r.eachDecided(ctx, begun, req.Scope, q, len(req.Questions), res.GetAnswers(), err, func(i int, e *decision.Event) {
		if i < 0 {
			e.Context = decisions.Context(req.Scope.GetContext())
			return
		}
		asked := req.Questions[i]
		e.Object, e.Relation, e.Subject = asked.Question.GetObject(), asked.Question.GetRelation(), asked.Question.GetSubject()
		e.Context = decisions.Context(req.Scope.GetContext(), asked.Context)
	})
}

// eachDecided logs the answers of a batch, or that there are none. What was asked is filled
// in by describe, of the number of the question; -1 is the batch as a whole.
func (r *reader) eachDecided(ctx context.Context, begun time.Duration, scope scopeMessage, q *question, questions int,
	answers []*remitv1.BatchAnswer, err error, describe func(i int, e *decision.Event),
) {
	decisions := r.Config.Decisions
	if err != nil {
		if decisions.WantsAll(decision.Undecided, questions) {
			e := r.event(begun, scope, q, err)
			e.Outcome, e.Questions = decision.Undecided, questions
			describe(-1, &e)
			decisions.Add(ctx, &e)
		}
		return
	}
	for i, answer := range answers {
		outcome := decision.Of(answer.Allowed, nil)
		if answer.Error != nil {
			outcome = decision.Undecided
		}
		if !decisions.Wants(outcome) {
			continue
		}
		e := r.event(begun, scope, q, nil)
		e.Outcome = outcome
		if answer.Error != nil {
			e.Reason = reasonName(answer.Error.Detail.GetReason(), answer.Error.Code)
		}
		describe(i, &e)
		decisions.Add(ctx, &e)
	}
}

// listed logs the answer to a list, of which the event says what was asked.
func (r *reader) listed(ctx context.Context, begun time.Duration, scope scopeMessage, q *question, asked decision.Event, err error) {
	own, _ := scope.(*remitv1.Scope)
	e := r.event(begun, scope, q, err)
	e.Outcome, e.List = decision.OfList(err), true
	e.Object, e.Relation, e.Subject, e.Type = asked.Object, asked.Relation, asked.Subject, asked.Type
	e.Count, e.More = asked.Count, asked.More
	e.Context = r.Config.Decisions.Context(own.GetContext())
	r.Config.Decisions.Add(ctx, &e)
}

// event is what all of them say.
func (r *reader) event(begun time.Duration, scope scopeMessage, q *question, err error) decision.Event {
	e := decision.Event{Begun: begun}
	if q == nil {
		e.Asked = scope.GetStore()
	} else {
		q.Describe(&e)
	}
	if err != nil {
		e.Reason = reasonOf(err)
	}
	return e
}

// reasonOf names what kept a question from being answered. The text of the error may hold
// what nobody asked to have in a log.
func reasonOf(err error) string {
	if ce := (*connect.Error)(nil); errors.As(err, &ce) {
		return ce.Code().String()
	}
	w, ok := find(err)
	if !ok {
		w.code = connect.CodeInternal
	}
	return reasonName(w.reason, w.code.String())
}

// reasonName is the name of a reason, or of the code where there is none.
func reasonName(reason remitv1.ErrorReason, code string) string {
	if reason == remitv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return code
	}
	return strings.TrimPrefix(reason.String(), "ERROR_REASON_")
}
