package rpc

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

// Why answers a question with its grounds, in words. Who asks about a deed may be told why;
// what of that is about records is told as far as the asker may see them.
func (s *organisationService) Why(ctx context.Context, req *remitv1.WhyRequest) (*remitv1.WhyResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, a, err := s.ask(ctx, req.Scope)
	var res *remitv1.WhyResponse
	if err == nil {
		if res, err = q.why(ctx, a, req.Deed); err != nil {
			err = under("deed", err)
		}
	}
	allowed := res.GetAllowed()
	if s.reader.Config.Decisions.Wants(decision.Of(allowed, err)) {
		s.reader.deedDecided(ctx, begun, req.Scope, q, req.Deed, allowed, err)
	}
	if err != nil {
		return nil, err
	}
	res.AsOf = q.asOf(req.Scope.Consistency)
	return res, nil
}

// why answers a deed. Faults name its fields.
func (q *question) why(ctx context.Context, a asker, m *remitv1.Deed) (*remitv1.WhyResponse, error) {
	if err := a.about(ctx, q, m.User); err != nil {
		return nil, err
	}
	allowed, err := q.can(ctx, m)
	if err != nil {
		return nil, err
	}
	inquiry := crm.Inquiry{
		View: q.View(), Plan: q.Plan.Plan, Deeds: q.Plan.Deeds, At: q.At,
		Budget: q.Reader.Config.Budget, Pace: limit.PaceEvaluation, Visited: q.Reader.Config.Visited,
	}
	if a.id != "" {
		inquiry.Sight = &whySight{question: q, asker: &a, own: a.id == m.User, records: map[graph.ObjectName]bool{}}
	}
	answer, err := inquiry.Why(ctx, crm.Deed{User: m.User, Action: m.Action, On: m.On, Field: m.Field})
	if err != nil {
		return nil, err
	}
	if answer.Allowed != allowed {
		// Nobody must be told grounds that do not hold.
		return nil, fmt.Errorf("why %s may %s %s %s: the procedure says %v, the engine %v", m.User, m.Action, m.On, m.Field, answer.Allowed, allowed)
	}
	res := &remitv1.WhyResponse{Allowed: allowed, Redacted: answer.Redacted, Token: q.Token(), At: timestamppb.New(q.At)}
	authors := authors{question: q, seat: a.id != "", known: map[crm.Fact]*authorship{}}
	if res.Grounds, err = authors.grounds(ctx, answer.Grounds); err != nil {
		return nil, err
	}
	res.Missing, err = authors.grounds(ctx, answer.Missing)
	return res, err
}

// A whySight is what a seat may be told of records: what GetEntity shows it. Of shares that
// give the asker something, each is the asker's own.
type whySight struct {
	question *question
	asker    *asker
	own      bool // the asker asks about itself
	records  map[graph.ObjectName]bool
}

// Record implements crm.Sight.
func (s *whySight) Record(ctx context.Context, record graph.ObjectName) (bool, error) {
	if seen, ok := s.records[record]; ok {
		return seen, nil
	}
	seen, err := s.may(ctx, crm.ActionView, record)
	if err == nil {
		s.records[record] = seen
	}
	return seen, err
}

// Shares implements crm.Sight.
func (s *whySight) Shares(ctx context.Context, record graph.ObjectName) (bool, error) {
	if s.own {
		return true, nil
	}
	if t, ok := s.question.Plan.Type(record.Type); ok {
		if owner, ok := t.Relation("owner"); ok {
			if owns, err := s.question.has(ctx, owner, record.ID, s.asker.seat); owns || err != nil {
				return owns, err
			}
		}
	}
	return s.may(ctx, crm.ActionShare, record)
}

func (s *whySight) may(ctx context.Context, action crm.Action, record graph.ObjectName) (bool, error) {
	l, err := s.question.Plan.Deeds.Listing(record.Type, string(action))
	if err != nil || l.Whole == nil {
		return false, err
	}
	return s.question.has(ctx, l.Whole, record.ID, s.asker.seat)
}

// groundMessage is a ground but for who made it so.
func groundMessage(g *crm.Ground) *remitv1.Ground {
	m := &remitv1.Ground{Kind: remitv1.Ground_Kind(g.Kind), Text: g.Text}
	if g.Level != crm.LevelNone {
		m.Level = levelNumber(g.Level)
	}
	if g.Entity != (graph.ObjectName{}) {
		m.Entity = entityRef(g.Entity)
	}
	return m
}
