package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Change carries edits out, all or none.
func (s *organisationService) Change(ctx context.Context, req *remitv1.ChangeRequest) (*remitv1.ChangeResponse, error) {
	c, err := s.newChange(req.Store, req.As, req.Edits)
	if err != nil {
		return nil, err
	}
	c.key, c.reason = req.IdempotencyKey, req.Reason
	c.hash = contentOf("change organisation", req, "store", "idempotency_key", "reason")
	defer c.leave()
	result, err := c.settle(ctx)
	if err != nil {
		return nil, tooMuch(err)
	}
	if result == nil {
		result = &fsm.Result{Revision: c.unchanged}
	}
	return c.answer(ctx, result)
}

// settle carries the change out, or finds the result of an earlier call with its key: that
// may be what stands in its way.
func (c *organisationChange) settle(ctx context.Context) (*fsm.Result, error) {
	result, err := c.run(ctx)
	if err == nil || !c.unplanned || c.found.IsZero() {
		return result, err
	}
	first, found, missing := c.service.writer.Replayed(ctx, c.found, c.key, c.hash)
	switch {
	case missing != nil:
		return nil, missing
	case found:
		return first, nil
	default:
		return nil, err
	}
}

// tooMuch says where a change that one command cannot hold has too much.
func tooMuch(err error) error {
	if errors.Is(err, fsm.ErrTooLarge) {
		return at("edits", fmt.Errorf("%w; divide the change into smaller ones", err))
	}
	if fe := (*backend.FieldError)(nil); errors.Is(err, crm.ErrTooLarge) && !errors.As(err, &fe) {
		return at("edits", err)
	}
	return err
}

// An organisationChange is edits on their way into a store.
type organisationChange struct {
	service *organisationService
	store   string // by id or by name
	as      string
	edits   []edit

	// draw plans a change of which the edits do not say what it is; nil if they do.
	draw func(context.Context, *organisation, *crm.Draft) (*crm.Plan, error)

	key, reason string
	hash        [32]byte
	preview     bool // nothing is going to be written

	found     fsm.StoreID // once it is known
	leaveLane func()      // nil while it is in none
	attempts  int

	plan      *crm.Plan // the last that was made
	actor     actor
	dropped   []*remitv1.DroppedShare // by it, as the actor is told
	unchanged graph.Revision          // of the state that is as the edits want it; 0: something is to be written
	unplanned bool                    // the last attempt was refused before it was proposed
	model     bool                    // what was proposed last is a model that the change needs first
}

func (s *organisationService) newChange(store, as string, edits []*remitv1.Edit) (*organisationChange, error) {
	c := &organisationChange{service: s, store: store, as: as}
	var err error
	c.edits, err = readEdits(edits)
	return c, err
}

// run plans and proposes until the change is done. A model that it needs is written before
// it: if the change fails then, the model allows what nobody has written.
func (c *organisationChange) run(ctx context.Context) (*fsm.Result, error) {
	for range backend.MaxReplans {
		result, err := c.service.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
			command, err := c.command(ctx, root)
			c.unplanned = err != nil
			return command, err
		})
		if err != nil || !c.model {
			return result, err
		}
	}
	return nil, fmt.Errorf("%w: others keep changing its modules", backend.ErrAborted)
}

// command plans the change at a state.
func (c *organisationChange) command(ctx context.Context, root *fsm.Root) (*fsm.Command, error) {
	store, err := backend.FindStore(ctx, root, "store", c.store)
	if err != nil {
		return nil, err
	}
	if store, err = c.queue(ctx, store); err != nil {
		return nil, err
	}
	o, err := c.service.organisation("store", backend.HeadOf(store))
	if err != nil {
		return nil, err
	}
	if err := c.make(ctx, o, store); err != nil {
		return nil, err
	}
	if c.model, err = modelMissing(store, c.plan.Model); err != nil {
		return nil, err
	}
	var command *fsm.Command
	switch {
	case c.model:
		command, err = c.service.modelCommand(store, c.plan.Model, c.reason)
	case c.plan.Changes.Empty() && c.key == "":
		c.unchanged = store.Revision()
		return nil, nil //nolint:nilnil // nothing is to be written
	default:
		command, err = c.write(o, store)
	}
	if err != nil {
		return nil, err
	}
	if c.actor.seat != "" {
		command.Actor = (&crm.Seat{ID: c.actor.seat}).Key().String()
	}
	return command, nil
}

// modelMissing reports whether a model must be written before the rest of a plan.
func modelMissing(store *fsm.Store, needed *model.Model) (bool, error) {
	if needed == nil {
		return false, nil
	}
	same, err := isNewest(store, needed)
	return !same, err
}

// queue finds out whether the change is in the way of others, and waits for its turn if it
// is: what changes more than records mostly depends on the same, and so does what had to be
// planned again. It returns the newest state of the store.
func (c *organisationChange) queue(ctx context.Context, store *fsm.Store) (*fsm.Store, error) {
	c.found = store.ID()
	c.attempts++
	if c.leaveLane != nil || c.attempts == 1 && c.ofRecords() && !c.service.lanes.busy(c.found) {
		return store, nil
	}
	leave, err := c.service.lanes.enter(ctx, c.found)
	if err != nil {
		return nil, err
	}
	c.leaveLane = leave
	return backend.OpenStore(ctx, c.service.reader.Config.State.Current(), c.found)
}

func (c *organisationChange) leave() {
	if c.leaveLane != nil {
		c.leaveLane()
		c.leaveLane = nil
	}
}

func (c *organisationChange) ofRecords() bool {
	if c.draw != nil { // who is next is in everybody's way
		return false
	}
	for i := range c.edits {
		if !c.edits[i].ofRecords() {
			return false
		}
	}
	return true
}

// make plans the edits on a state of the organisation, if the actor may make them.
func (c *organisationChange) make(ctx context.Context, o *organisation, state crm.State) error {
	var err error
	if c.actor, err = o.actor(ctx, "as", c.as); err != nil {
		return err
	}
	if err := mayChange(ctx, c.actor, o.Head.ID()); err != nil {
		return err
	}
	d := c.begin(o, state)
	if c.draw != nil {
		c.plan, err = c.draw(ctx, o, d)
	} else {
		c.plan, err = c.planned(ctx, d, o.key.ID)
	}
	// Whoever lacks the rights is not told what else is wrong.
	if lacking := o.permit(ctx, c.actor, d.Needs()); lacking != nil {
		err = lacking
	}
	if err != nil {
		if hidden := c.hidden(ctx, o); hidden != nil {
			return hidden
		}
		return err
	}
	if err := c.guessed(ctx, o); err != nil || c.preview {
		return err
	}
	c.dropped, err = o.dropped(ctx, c.actor, c.plan)
	return err
}

// begin is a draft without edits yet.
func (c *organisationChange) begin(o *organisation, state crm.State) *crm.Draft {
	d := crm.NewDraft(state, o.Plan.Plan, crm.DefaultLimits())
	if c.actor.seat != "" {
		d.As(c.actor.seat)
	}
	return d
}

// planned is the plan of the edits, whoever may make them.
func (c *organisationChange) planned(ctx context.Context, d *crm.Draft, org string) (*crm.Plan, error) {
	for i := range c.edits {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := c.edits[i].apply(d, org); err != nil {
			return nil, err
		}
	}
	plan, err := d.Plan()
	if plan != nil && c.preview && errors.Is(err, crm.ErrTooLarge) {
		return plan, nil // it takes several changes to do it, and one to say what they do
	}
	if err != nil {
		return nil, placed(c.edits, err)
	}
	return plan, nil
}

// permit refuses an actor who lacks one of the rights that a change needs, and names the
// first.
func (o *organisation) permit(ctx context.Context, a actor, needs []crm.Need) error {
	if a.seat == "" {
		return nil
	}
	for _, need := range needs {
		allowed := false
		for _, q := range need.Any {
			var err error
			if allowed, err = o.may(ctx, cmp.Or(q.User, a.seat), q.Object, q.Relation); err != nil {
				return err
			}
			if allowed {
				break
			}
		}
		if !allowed {
			return forbidden("the seat %s may not: %s", a.seat, need.Message)
		}
	}
	return nil
}

// write is the command that carries the plan out, if all that was read for it is still so.
func (c *organisationChange) write(o *organisation, store *fsm.Store) (*fsm.Command, error) {
	w := planned{symbols: o.Symbols, plan: o.Plan.Plan}
	command := &fsm.Command{
		Store: c.found, Key: c.key, Hash: c.hash, Reason: c.reason, Planned: true, Bumps: c.plan.Bumps,
		Requires: []fsm.ScopeVersion{{Scope: backend.ModelScope, Version: store.ScopeVersion(backend.ModelScope)}},
	}
	for _, r := range c.plan.Requires {
		command.Requires = append(command.Requires, fsm.ScopeVersion{Scope: r.Scope, Version: r.Version})
	}
	for _, r := range c.plan.Read {
		p, err := w.version(r.Entity, r.Version)
		if err != nil {
			return nil, err
		}
		command.Preconditions = append(command.Preconditions, p)
	}
	body, err := w.write(c.plan.Changes)
	command.Body = body
	return command, err
}
