package rpc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

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
