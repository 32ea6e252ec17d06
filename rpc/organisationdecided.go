package rpc

import (
	"context"
	"time"

	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// deedDecided logs the answer to one question. The question is nil if its store or its model
// could not be opened. What is logged is what was asked: the action and not the relations
// that decide it, of which there may be two.
func (r *reader) deedDecided(ctx context.Context, begun time.Duration, scope scopeMessage, q *question, m *remitv1.Deed, allowed bool, err error) {
	e := r.event(begun, scope, q, err)
	e.Outcome = decision.Of(allowed, err)
	e.Object, e.Field, e.Relation, e.Subject = m.On, m.Field, m.Action, userText(m.User)
	r.Config.Decisions.Add(ctx, &e)
}

// deedsDecided is decidedBatch for the deeds of a batch.
func (r *reader) deedsDecided(ctx context.Context, begun time.Duration, req *remitv1.CanBatchRequest, q *question, res *remitv1.CanBatchResponse, err error) {
	decisions := r.Config.Decisions
	if err != nil {
		if decisions.WantsAll(decision.Undecided, len(req.Deeds)) {
			e := r.event(begun, req.Scope, q, err)
			e.Outcome, e.Questions = decision.Undecided, len(req.Deeds)
			decisions.Add(ctx, &e)
		}
		return
	}
	for i, answer := range res.Answers {
		outcome := decision.Of(answer.Allowed, nil)
		if answer.Error != nil {
			outcome = decision.Undecided
		}
		if !decisions.Wants(outcome) {
			continue
		}
		e := r.event(begun, req.Scope, q, nil)
		e.Outcome = outcome
		if answer.Error != nil {
			e.Reason = reasonName(answer.Error.Detail.GetReason(), answer.Error.Code)
		}
		m := req.Deeds[i]
		e.Object, e.Field, e.Relation, e.Subject = m.On, m.Field, m.Action, userText(m.User)
		decisions.Add(ctx, &e)
	}
}

// userText is a seat as the log of decisions names subjects.
func userText(id string) string { return "user:" + id }
