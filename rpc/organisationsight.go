package rpc

import (
	"context"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

// What an actor sees of records: those that it may view, of their fields those that it may
// read, and with whom they are shared if it owns them or may share them.

// sight finds out whether an actor sees a record, and whether it sees with whom that is shared.
func (o *organisation) sight(ctx context.Context, a actor, r *crm.Record) (visible, shares bool, err error) {
	if a.seat == "" {
		return true, true, nil
	}
	if visible, err = o.may(ctx, a.seat, r.Key(), crm.ActionView.Relation()); err != nil || !visible {
		return false, false, err
	}
	if r.Owner == a.seat {
		return true, true, nil
	}
	shares, err = o.may(ctx, a.seat, r.Key(), crm.ActionShare.Relation())
	return true, shares, err
}

// shown is an entity as an actor may see it, nil if not at all.
func (o *organisation) shown(ctx context.Context, a actor, e crm.Entity) (crm.Entity, error) {
	record, ok := e.(*crm.Record)
	if a.seat == "" || !ok {
		return e, nil
	}
	visible, shares, err := o.sight(ctx, a, record)
	if err != nil || !visible {
		return nil, err
	}
	return o.cut(ctx, a, record, shares)
}

// shownBoth are both states of an entity that a change edits, as an actor may see them: by
// what the actor sees before the change. They are nil if that is nothing.
func (o *organisation) shownBoth(ctx context.Context, a actor, e crm.Edited) (before, after crm.Entity, err error) {
	was, ok := e.Before.(*crm.Record)
	is, remains := e.After.(*crm.Record)
	if a.seat == "" || !ok || !remains {
		return e.Before, e.After, nil
	}
	visible, shares, err := o.sight(ctx, a, was)
	if err != nil || !visible {
		return nil, nil, err
	}
	if before, err = o.cut(ctx, a, was, shares); err == nil {
		after, err = o.cut(ctx, a, is, shares)
	}
	return before, after, err
}

// cut is a record with the fields that a seat may read, and with its shares if it sees them.
func (o *organisation) cut(ctx context.Context, a actor, r *crm.Record, shares bool) (crm.Entity, error) {
	c := *r
	if !shares {
		c.Shares = nil
	}
	var err error
	c.Fields, err = o.readable(ctx, a.seat, r)
	return &c, err
}

// readable are the fields of a record that a seat which may view it may read. One that the
// organisation knows nothing of is restricted to nobody.
func (o *organisation) readable(ctx context.Context, seat string, r *crm.Record) (map[string]any, error) {
	var fields map[string]any
	for name, v := range r.Fields {
		key := (&crm.Field{Module: r.Module, ID: name}).Key()
		known := false
		if t, ok := o.Plan.Type(key.Type); ok && key.Validate() == nil {
			id, found, err := o.Base.Lookup(t.ID, key.ID)
			if err != nil {
				return nil, err
			}
			if found {
				if _, known, err = o.Base.Document(id); err != nil {
					return nil, err
				}
			}
		}
		if known {
			allowed, err := o.may(ctx, seat, key, "can_read")
			if err != nil {
				return nil, err
			}
			if !allowed {
				continue
			}
		}
		insert(&fields, name, v)
	}
	return fields, nil
}

// dropped are the shares that end with a plan, as far as the actor sees them before it. The
// shares of a record that the plan itself makes are the actor's own.
func (o *organisation) dropped(ctx context.Context, a actor, plan *crm.Plan) ([]*remitv1.DroppedShare, error) {
	if len(plan.Dropped) == 0 {
		return nil, nil
	}
	before := map[graph.ObjectName]*crm.Record{}
	for _, e := range plan.Edits {
		if r, ok := e.Before.(*crm.Record); ok {
			before[r.Key()] = r
		}
	}
	seen := map[crm.Ref]bool{}
	var list []*remitv1.DroppedShare
	for i := range plan.Dropped {
		d := &plan.Dropped[i]
		sees, known := seen[d.Record]
		if !known {
			sees = true
			if r := before[d.Record.Key()]; r != nil {
				if err := limit.Pace(ctx); err != nil {
					return nil, err
				}
				var err error
				if _, sees, err = o.sight(ctx, a, r); err != nil {
					return nil, err
				}
			}
			seen[d.Record] = sees
		}
		if sees {
			list = append(list, &remitv1.DroppedShare{Record: d.Record.String(), Share: shareMessage(&d.Share)})
		}
	}
	return list, nil
}
