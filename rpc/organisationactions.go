package rpc

import (
	"context"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

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
