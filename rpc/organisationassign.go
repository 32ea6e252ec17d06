package rpc

import (
	"context"
	"errors"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
)

// assignRounds is how often an Assign that others were faster than begins anew. Whose turn
// it is can be asked again without harm.
const assignRounds = 20

// An assignment is one Assign under way.
type assignment struct {
	*organisationChange
	offer crm.Offer
	turn  *crm.Turn // that was planned last
}

// Assign gives a record to one of those who are available.
func (s *organisationService) Assign(ctx context.Context, req *remitv1.AssignRequest) (*remitv1.AssignResponse, error) {
	a := &assignment{organisationChange: &organisationChange{
		service: s, store: req.Store, as: req.As, key: req.IdempotencyKey, reason: req.Reason,
		hash: contentOf("assign record", req, "store", "idempotency_key", "reason"),
	}}
	a.draw = a.choose
	a.offer = crm.Offer{Fallback: req.Fallback, IgnoreShifts: req.IgnoreShifts}
	if req.Order == remitv1.AssignOrder_ASSIGN_ORDER_LEAST_LOADED {
		a.offer.Order = crm.LeastLoaded
	}
	var err error
	if a.offer.Record, err = recordRef("record", req.Record); err != nil {
		return nil, err
	}
	if a.offer.Among, err = partiesOf("among", req.Among); err != nil {
		return nil, err
	}
	defer a.leave()
	result, err := a.settle(ctx)
	for range assignRounds {
		if !errors.Is(err, backend.ErrAborted) {
			break
		}
		result, err = a.settle(ctx)
	}
	if err != nil {
		return nil, err
	}
	return a.answer(ctx, result)
}

// choose plans whose turn it is in a state of the organisation.
func (a *assignment) choose(ctx context.Context, o *organisation, d *crm.Draft) (*crm.Plan, error) {
	a.offer.At = o.At
	a.offer.Permit = func(needs []crm.Need) (bool, error) {
		err := o.permit(ctx, a.actor, needs)
		if errors.Is(err, identity.ErrForbidden) {
			return false, nil
		}
		return err == nil, err
	}
	if err := a.visible(ctx, o); err != nil {
		return nil, err
	}
	var err error
	if a.turn, err = d.Assign(o.Plan.Deeds, &a.offer); err != nil {
		return nil, a.placed(err)
	}
	plan, err := d.Plan()
	if err != nil {
		return nil, a.placed(err)
	}
	return plan, a.placed(a.turn.Join(plan))
}

// visible refuses a seat that may not see the record, in the same words as if there were none.
func (a *assignment) visible(ctx context.Context, o *organisation) error {
	if a.actor.seat == "" {
		return nil
	}
	seen, err := o.may(ctx, a.actor.seat, a.offer.Record.Key(), crm.ActionView.Relation())
	if err == nil && !seen {
		err = at("record", forbidden("there is no %s, or none that the seat %s may see", a.offer.Record, a.actor.seat))
	}
	return err
}

// placed says which field is at fault.
func (a *assignment) placed(err error) error {
	var faults *crm.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*crm.NobodyError)) || errors.Is(err, crm.ErrTooLarge):
		return at("among", err)
	case !errors.As(err, &faults) || len(faults.Faults) == 0:
		return err
	}
	subject := faults.Faults[0].Subject
	if subject == a.offer.Record.String() {
		return at("record", err)
	}
	for i, p := range a.offer.Among {
		if p.Kind != crm.Everyone && p.Key().String() == subject {
			return at(indexed("among", i), err)
		}
	}
	if (&crm.Seat{ID: a.offer.Fallback}).Key().String() == subject {
		return at("fallback", err)
	}
	return at("record", err)
}

// answer tells who got the record.
func (a *assignment) answer(ctx context.Context, result *fsm.Result) (*remitv1.AssignResponse, error) {
	res := &remitv1.AssignResponse{Token: a.service.reader.Token(result.Revision)}
	if result.Replayed {
		err := a.recall(ctx, result.Revision, res)
		if errors.Is(err, fsm.ErrRevisionGone) {
			return res, nil // it was so long ago that nobody knows what it did
		}
		return res, err
	}
	res.Owner, res.FellBack, res.Dropped = a.turn.Owner, a.turn.FellBack, a.dropped
	return res, nil
}

// recall finds out what an earlier call did by what the record was before and after it.
func (a *assignment) recall(ctx context.Context, revision graph.Revision, res *remitv1.AssignResponse) error {
	record := func(revision graph.Revision) (*organisation, *crm.Record, error) {
		o, err := a.service.asOf(ctx, a.found, revision)
		if err != nil {
			return nil, nil, err
		}
		e, _, err := o.entities.Entity(a.offer.Record.Key())
		r, _ := e.(*crm.Record)
		return o, r, err
	}
	was, before, err := record(revision - 1)
	if err != nil {
		return err
	}
	o, after, err := record(revision)
	if err != nil || before == nil || after == nil {
		return err
	}
	res.Owner = after.Owner
	if res.FellBack, err = o.entities.TurnOf(after.Owner); err != nil {
		return err
	}
	if before.Owner == after.Owner || len(after.Shares) > 0 {
		return nil
	}
	seat, err := was.who(ctx, "as", a.as)
	if err != nil {
		return err
	}
	by := actor{}
	if seat != nil {
		by.seat = seat.ID
	}
	_, sees, err := was.sight(ctx, by, before)
	if err != nil || !sees {
		return err
	}
	for i := range before.Shares {
		res.Dropped = append(res.Dropped, &remitv1.DroppedShare{Record: before.Ref().String(), Share: shareMessage(&before.Shares[i])})
	}
	return nil
}
