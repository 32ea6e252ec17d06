package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
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

// fieldExists refuses a field that the module does not have, in words that name those that
// it has.
func (q *question) fieldExists(d crm.Demand, m *remitv1.Deed) error {
	module, _, _ := strings.Cut(m.On, ":")
	of, ok, err := q.View().Lookup(q.Plan.Deeds.Module.ID, module)
	if err != nil {
		return err
	}
	if field, found, err := q.View().Lookup(d.Also.Type.ID, d.AlsoID); err != nil {
		return err
	} else if ok && found {
		u := graph.Userset{Object: field, Relation: q.Plan.Deeds.FieldModule.ID}
		if _, has, err := q.View().Contains(u, graph.Subject{ID: of}); err != nil || has {
			return err
		}
	}
	fields, err := q.fields(module)
	if err != nil {
		return err
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return at("field", &crm.DeedError{
		Part: "field", Text: m.Field, Reason: fmt.Sprintf("the module %s has no such field; it has %d", module, len(names)), Allowed: names,
	})
}

// A field is one of a module.
type field struct {
	name string // within the module
	id   graph.ID
}

// fields are those of a module, sorted by name.
func (q *question) fields(module string) ([]field, error) {
	d := q.Plan.Deeds
	of, ok, err := q.View().Lookup(d.Module.ID, module)
	if err != nil || !ok {
		return nil, err
	}
	var fields []field
	var c graph.Cursor
	for !c.Done {
		if err := q.View().Objects(d.FieldModule.ID, graph.Subject{ID: of}, &c); err != nil {
			return nil, err
		}
		for i := range c.Edges {
			id := c.Edges[i].Subject.ID
			name, err := q.View().Name(id)
			if err != nil {
				return nil, err
			}
			fields = append(fields, field{strings.TrimPrefix(name, module+"."), id})
		}
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return fields, nil
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

// CanFields answers which fields of a record a user may read and write.
func (s *organisationService) CanFields(ctx context.Context, req *remitv1.CanFieldsRequest) (*remitv1.CanFieldsResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, a, err := s.ask(ctx, req.Scope)
	var res *remitv1.CanFieldsResponse
	if err == nil {
		res, err = s.canFields(ctx, q, a, req)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, q, decision.Event{
			Object: req.Record, Type: "field", Subject: userText(req.User), Count: len(res.GetReadable()), More: err != nil,
		}, err)
	}
	return res, err
}

func (s *organisationService) canFields(ctx context.Context, q *question, a asker, req *remitv1.CanFieldsRequest) (*remitv1.CanFieldsResponse, error) {
	if err := a.about(ctx, q, req.User); err != nil {
		return nil, err
	}
	d := q.Plan.Deeds
	module, id, err := d.Record(req.Record)
	if err != nil {
		return nil, at("record", err)
	}
	user, known, err := q.user("user", req.User)
	if err != nil {
		return nil, err
	}
	res := &remitv1.CanFieldsResponse{Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}
	record, exists, err := q.View().Lookup(module.ID, id)
	if err != nil || !known || !exists {
		return res, err
	}
	held, err := q.heldOf(ctx, record, user, d.Relations(module.Name, crm.ActionView, crm.ActionEdit))
	if err != nil || len(held) == 0 {
		return res, err
	}
	edits := slices.ContainsFunc(held, func(r *model.Relation) bool { return r.Name == crm.ActionEdit.Relation() })
	fields, err := q.fields(module.Name)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if err := limit.Pace(ctx); err != nil {
			return nil, err
		}
		held, err := q.heldOf(ctx, f.id, user, []*model.Relation{d.CanRead, d.CanWrite})
		if err != nil {
			return nil, err
		}
		if slices.Contains(held, d.CanRead) {
			res.Readable = append(res.Readable, f.name)
		}
		if edits && slices.Contains(held, d.CanWrite) {
			res.Writable = append(res.Writable, f.name)
		}
	}
	return res, nil
}

// heldOf are those of some relations that a user has to an object.
func (q *question) heldOf(ctx context.Context, object graph.ID, user graph.Subject, relations []*model.Relation) ([]*model.Relation, error) {
	query := q.Query()
	ctx, span := q.Trace(ctx, &query)
	held, err := query.ListActions(ctx, object, user, relations)
	span.End(err)
	return held, err
}

// Actions answers what a user may do: to a record, in a module, or in the organisation.
func (s *organisationService) Actions(ctx context.Context, req *remitv1.ActionsRequest) (*remitv1.ActionsResponse, error) {
	begun := s.reader.Config.Decisions.Begin()
	q, a, err := s.ask(ctx, req.Scope)
	var res *remitv1.ActionsResponse
	if err == nil {
		res, err = q.actions(ctx, a, req)
	}
	if s.reader.Config.Decisions.Wants(decision.OfList(err)) {
		s.reader.listed(ctx, begun, req.Scope, q, decision.Event{
			Object: req.On, Subject: userText(req.User), Count: len(res.GetActions()), More: err != nil,
		}, err)
	}
	return res, err
}

func (q *question) actions(ctx context.Context, a asker, req *remitv1.ActionsRequest) (*remitv1.ActionsResponse, error) {
	if err := a.about(ctx, q, req.User); err != nil {
		return nil, err
	}
	user, known, err := q.user("user", req.User)
	if err != nil {
		return nil, err
	}
	res := &remitv1.ActionsResponse{Token: q.Token(), AsOf: q.asOf(req.Scope.Consistency)}
	find := q.actionsInModule
	switch {
	case req.On == "":
		find = q.actionsInGeneral
	case strings.Contains(req.On, ":"):
		find = q.actionsOnRecord
	}
	actions, err := find(ctx, user, req.On)
	if err == nil && known {
		res.Actions = actions
	}
	return res, err
}

func (q *question) actionsOnRecord(ctx context.Context, user graph.Subject, on string) ([]string, error) {
	d := q.Plan.Deeds
	module, id, err := d.Record(on)
	if err != nil {
		return nil, at("on", err)
	}
	record, ok, err := q.View().Lookup(module.ID, id)
	if err != nil || !ok {
		return nil, err
	}
	held, err := q.heldOf(ctx, record, user, d.Relations(module.Name))
	if err != nil {
		return nil, err
	}
	var actions []string
	d.OfRecord(module.Name, func(action crm.Action, l *crm.Listing) {
		allowed := slices.Contains(held, l.Whole)
		if allowed && l.Tool != "" && err == nil {
			var demand crm.Demand
			if demand, err = d.Find(string(l.Tool), "", ""); err == nil {
				allowed, err = q.meets(ctx, demand, user)
			}
		}
		if allowed {
			actions = append(actions, string(action))
		}
	})
	return actions, err
}

func (q *question) actionsInModule(ctx context.Context, user graph.Subject, on string) ([]string, error) {
	d := q.Plan.Deeds
	relations, err := d.OfModule(on)
	if err != nil {
		return nil, at("on", err)
	}
	of, ok, err := q.View().Lookup(d.Module.ID, on)
	if err != nil || !ok {
		return nil, err
	}
	held, err := q.heldOf(ctx, of, user, relations)
	if err != nil {
		return nil, err
	}
	return d.Permitted(held), nil
}

func (q *question) actionsInGeneral(ctx context.Context, user graph.Subject, _ string) ([]string, error) {
	var actions []string
	for _, action := range crm.General() {
		demand, err := q.Plan.Deeds.Find(action, "", "")
		if err != nil {
			return nil, err
		}
		allowed, err := q.meets(ctx, demand, user)
		if err != nil {
			return nil, err
		}
		if allowed {
			actions = append(actions, action)
		}
	}
	return actions, nil
}

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
