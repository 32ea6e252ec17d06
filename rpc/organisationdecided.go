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
	r.eachDecided(ctx, begun, req.Scope, q, len(req.Deeds), res.GetAnswers(), err, func(i int, e *decision.Event) {
		if i >= 0 {
			m := req.Deeds[i]
			e.Object, e.Field, e.Relation, e.Subject = m.On, m.Field, m.Action, userText(m.User)
		}
	})
}

// userText is a seat as the log of decisions names subjects.
func userText(id string) string { return "user:" + id }
