package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Can answers one question. Like Check it is a hot path: it resolves the names once, and
// costs no memory beyond what Check does.
func (s *organisationService) Can(ctx context.Context, req *remitv1.CanRequest) (*remitv1.CanResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, allowed, err := s.can(ctx, req)
	if s.reader.Config.Decisions.Wants(decision.Of(allowed, err)) {
		s.reader.deedDecided(ctx, begun, req.Scope, q, req.Deed, allowed, err)
	}
	if err != nil {
		return nil, err
	}
	return &remitv1.CanResponse{Allowed: allowed, Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}, nil
}

// can opens the question, which is nil if that fails, and answers it.
func (s *organisationService) can(ctx context.Context, req *remitv1.CanRequest) (*question, bool, error) {
	q, a, err := s.ask(ctx, req.Scope)
	if err != nil {
		return q, false, err
	}
	allowed := false
	if err = a.about(ctx, q, req.Deed.User); err == nil {
		allowed, err = q.can(ctx, req.Deed)
	}
	if err != nil {
		err = under("deed", err)
	}
	return q, allowed, err
}

// ask opens a question to an organisation, and finds who asks it. The question is there,
// for the log, also if there is no organisation or no such asker.
func (s *organisationService) ask(ctx context.Context, scope *remitv1.OrganisationScope) (*question, asker, error) {
	q, err := s.reader.open(ctx, scope)
	if err != nil {
		return nil, asker{}, unmade(err)
	}
	a, err := q.asked(ctx, scope)
	return q, a, err
}

// unmade turns the error that a store has no model into one that it has no organisation:
// there is no other model to ask by.
func unmade(err error) error {
	if errors.Is(err, backend.ErrModelNotFound) {
		return at("scope.store", fmt.Errorf("%w: the store has no model", ErrNoOrganisation))
	}
	return err
}

// asked checks that the question is to an organisation, and finds who asks.
func (q *question) asked(ctx context.Context, scope *remitv1.OrganisationScope) (asker, error) {
	if !q.Head.Managed() || q.Plan.Deeds == nil {
		return asker{}, noOrganisation("scope.store", q.Head)
	}
	return q.asker(ctx, scope.As)
}

// noOrganisation says that a store holds none.
func noOrganisation(field string, store *fsm.Store) error {
	return at(field, fmt.Errorf("%w: store %s holds none; one is made with CreateOrganisation or remit org init",
		ErrNoOrganisation, store.ID()))
}

// can answers a question. Faults name the fields of the deed.
//
// Whoever has no seat may do nothing, and nobody may do anything to what does not exist: that
// is an answer, as it is of Check. A module, an action or a field that does not exist is a
// mistake of who asks.
func (q *question) can(ctx context.Context, m *remitv1.Deed) (bool, error) {
	demand, err := q.Plan.Deeds.Find(m.Action, m.On, m.Field)
	if err != nil {
		return false, deedFault(err)
	}
	if m.Field != "" {
		if err := q.fieldExists(demand, m); err != nil {
			return false, err
		}
	}
	user, known, err := q.user("user", m.User)
	if err != nil || !known {
		return false, err
	}
	return q.meets(ctx, demand, user)
}

// deedFault names the field that is at fault.
func deedFault(err error) error {
	part := "on"
	if de := (*crm.DeedError)(nil); errors.As(err, &de) {
		part = de.Part
	}
	return at(part, err)
}

// user finds a seat; known is false if there never was one of the id.
func (q *question) user(field, id string) (s graph.Subject, known bool, err error) {
	user := q.Plan.Deeds.User
	if err := (graph.ObjectName{Type: user.Name, ID: id}).Validate(); err != nil {
		return s, false, at(field, err)
	}
	s.ID, known, err = q.View().Lookup(user.ID, id)
	return s, known, err
}

// meets reports whether a user has what a deed demands.
func (q *question) meets(ctx context.Context, d crm.Demand, user graph.Subject) (bool, error) {
	if d.Relation == nil {
		return false, nil
	}
	allowed, err := q.has(ctx, d.Relation, d.ID, user)
	if err != nil || !allowed || d.Also == nil {
		return allowed, err
	}
	return q.has(ctx, d.Also, d.AlsoID, user)
}

// has reports whether a user has a relation to an object.
func (q *question) has(ctx context.Context, r *model.Relation, id string, user graph.Subject) (bool, error) {
	object, ok, err := q.View().Lookup(r.Type.ID, id)
	if err != nil || !ok {
		return false, err
	}
	return q.hasOf(ctx, r, object, user)
}

func (q *question) hasOf(ctx context.Context, r *model.Relation, object graph.ID, user graph.Subject) (bool, error) {
	query := q.Query()
	ctx, span := q.Trace(ctx, &query)
	allowed, err := query.Check(ctx, graph.Userset{Object: object, Relation: r.ID}, user)
	span.Text("remit.outcome", decision.Of(allowed, err).String())
	span.End(err)
	return allowed, err
}

// CanBatch answers many questions at one revision. A question that fails has its own error;
// only what concerns all of them fails the batch.
func (s *organisationService) CanBatch(ctx context.Context, req *remitv1.CanBatchRequest) (*remitv1.CanBatchResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, a, err := s.ask(ctx, req.Scope)
	var res *remitv1.CanBatchResponse
	if err == nil {
		res, err = s.canBatch(ctx, q, a, req)
	}
	if s.reader.Config.Decisions != nil {
		s.reader.deedsDecided(ctx, begun, req, q, res, err)
	}
	return res, err
}

func (s *organisationService) canBatch(ctx context.Context, q *question, a asker, req *remitv1.CanBatchRequest) (*remitv1.CanBatchResponse, error) {
	// What the asker may ask of everybody is found out once, and not by each helper.
	if slices.ContainsFunc(req.Deeds, func(m *remitv1.Deed) bool { return !a.own(m.User) }) {
		if err := a.judge(ctx, q); err != nil {
			return nil, err
		}
	}
	answers := make([]*remitv1.BatchAnswer, len(req.Deeds))
	err := backend.Each(ctx, len(answers), serialBatch, func(ctx context.Context, i int) error {
		deed, asker := req.Deeds[i], a
		err := asker.about(ctx, q, deed.User)
		allowed := false
		if err == nil {
			allowed, err = q.can(ctx, deed)
		}
		if ctx.Err() != nil {
			return ctx.Err() // the batch is over, not this question alone
		}
		if err != nil {
			err = under(indexed("deeds", i), err)
		}
		answers[i] = s.reader.answer(ctx, allowed, err)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &remitv1.CanBatchResponse{Answers: answers, Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}, nil
}

// heldOf are those of some relations that a user has to an object.
func (q *question) heldOf(ctx context.Context, object graph.ID, user graph.Subject, relations []*model.Relation) ([]*model.Relation, error) {
	query := q.Query()
	ctx, span := q.Trace(ctx, &query)
	held, err := query.ListActions(ctx, object, user, relations)
	span.End(err)
	return held, err
}
