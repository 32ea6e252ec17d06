package rpc

import (
	"context"
	"maps"

	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// serialBatch is how many questions one goroutine answers before others help: fewer
// are answered sooner than helpers start.
const serialBatch = 64

// BatchCheck answers many questions at one revision. A question that fails has its own
// error; only what concerns all of them fails the batch.
func (s *accessService) BatchCheck(ctx context.Context, req *remitv1.BatchCheckRequest) (*remitv1.BatchCheckResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, err := s.reader.open(ctx, req.Scope)
	var res *remitv1.BatchCheckResponse
	if err == nil {
		res, err = s.batchCheck(ctx, q, req)
	}
	if s.reader.Config.Decisions != nil {
		s.reader.decidedBatch(ctx, begun, req, q, res, err)
	}
	return res, err
}

func (s *accessService) batchCheck(ctx context.Context, q *question, req *remitv1.BatchCheckRequest) (*remitv1.BatchCheckResponse, error) {
	answers := make([]*remitv1.BatchAnswer, len(req.Questions))
	err := backend.Each(ctx, len(answers), serialBatch, func(ctx context.Context, i int) error {
		allowed, err := q.checkOne(ctx, i, req.Questions[i])
		if ctx.Err() != nil {
			return ctx.Err() // the batch is over, not this question alone
		}
		answers[i] = s.reader.answer(ctx, allowed, err)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &remitv1.BatchCheckResponse{Answers: answers, Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}, nil
}

// checkOne answers one question of a batch, with its own context and tuples. The
// batch's question is shared: it must not change.
func (q *question) checkOne(ctx context.Context, i int, m *remitv1.BatchQuestion) (bool, error) {
	one := &question{q.Fork()}
	if m.Context != nil {
		own, err := contextOf("context", m.Context)
		if err == nil {
			err = q.checkContext("context", own)
		}
		if err != nil {
			return false, under(indexed("questions", i), err)
		}
		one.Given = make(value.Map, len(q.Given)+len(own))
		maps.Copy(one.Given, q.Given)
		maps.Copy(one.Given, own)
	}
	if err := one.add("contextual_tuples", m.ContextualTuples); err != nil {
		return false, under(indexed("questions", i), err)
	}
	allowed, err := one.check(ctx, m.Question)
	if err != nil {
		return false, under(indexed("questions", i)+".question", err)
	}
	return allowed, nil
}

// answer writes a question's answer or its error, as the whole call would have had it.
func (r *reader) answer(ctx context.Context, allowed bool, err error) *remitv1.BatchAnswer {
	if err == nil {
		return &remitv1.BatchAnswer{Allowed: allowed}
	}
	ce, detail := wire(ctx, r.Config.Log, "BatchCheck", err)
	return &remitv1.BatchAnswer{Error: &remitv1.BatchError{Code: ce.Code().String(), Message: ce.Message(), Detail: detail}}
}
