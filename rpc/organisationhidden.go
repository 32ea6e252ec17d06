package rpc

import (
	"context"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
)

// hidden refuses a seat that names a record which it may not see, in the same words as if
// there were none.
func (c *organisationChange) hidden(ctx context.Context, o *organisation) error {
	if c.actor.seat == "" {
		return nil
	}
	made := map[crm.Ref]bool{}
	for i := range c.edits {
		e := &c.edits[i]
		for _, record := range e.named() {
			seen := made[record]
			if !seen {
				var err error
				if seen, err = o.may(ctx, c.actor.seat, record.Key(), crm.ActionView.Relation()); err != nil {
					return err
				}
			}
			if !seen {
				return at(e.path, forbidden("there is no %s, or none that the seat %s may see", record, c.actor.seat))
			}
		}
		if r, ok := e.entity.(*crm.Record); ok {
			if err := c.taken(ctx, o, r.Ref()); err != nil {
				return at(e.path, err)
			}
			made[r.Ref()] = true
		}
	}
	return nil
}

// taken refuses a seat that puts a record which is there and which it may not see. It is told
// no more than what it would find out by making one.
func (c *organisationChange) taken(ctx context.Context, o *organisation, record crm.Ref) error {
	seen, err := o.may(ctx, c.actor.seat, record.Key(), crm.ActionView.Relation())
	if err != nil || seen {
		return err
	}
	makes, err := o.may(ctx, c.actor.seat, (&crm.Module{ID: record.Module}).Key(), "can_create")
	if err != nil {
		return err
	}
	if !makes {
		return forbidden("the seat %s may not: a profile with create in module %s is needed to make %s", c.actor.seat, record.Module, record)
	}
	there, _, err := o.entities.Entity(record.Key())
	if err == nil && there != nil {
		err = forbidden("the id of %s is taken, and the seat %s may not see what has it", record, c.actor.seat)
	}
	return err
}

// guessed refuses a seat that names fields which it may not read: that nothing changed would
// tell it what they hold.
func (c *organisationChange) guessed(ctx context.Context, o *organisation) error {
	if c.actor.seat == "" {
		return nil
	}
	known := map[graph.ObjectName]bool{}
	for i := range c.edits {
		e := &c.edits[i]
		module, names := e.fields()
		for _, name := range names {
			key := (&crm.Field{Module: module, ID: name}).Key()
			if known[key] {
				continue
			}
			known[key] = true
			readable, err := o.readable(ctx, c.actor.seat, &crm.Record{Module: module, Fields: map[string]any{name: nil}})
			if err != nil {
				return err
			}
			if len(readable) == 0 {
				return at(e.path, forbidden("the seat %s may not: the right to write %s is needed", c.actor.seat, key))
			}
		}
	}
	return nil
}
