package rpc

import (
	"context"
	"errors"
	"fmt"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

var (
	// ErrNoOrganisation says that a store holds no organisation, or one that is not made
	// yet.
	ErrNoOrganisation = errors.New("no organisation")
	// ErrEntityNotFound says that an organisation has no such entity, or none that the
	// asker may see.
	ErrEntityNotFound = errors.New("not found")
)

// An organisation is one at a state and an instant: what it is, and what it lets its seats
// do. It belongs to one goroutine.
type organisation struct {
	*question
	entities *crm.Reader
	key      graph.ObjectName // of the organisation itself
}

// open finds the organisation of a store in the state that a consistency asks for. Its
// instant is now, or that of an exact state.
func (s *organisationService) open(ctx context.Context, storeField, store, field string, c *remitv1.Consistency) (*organisation, error) {
	snapshot, err := s.reader.snapshot(ctx, storeField, store, field, c)
	if err != nil {
		return nil, err
	}
	return s.organisation(storeField, snapshot)
}

// organisation is that of a snapshot.
func (s *organisationService) organisation(storeField string, snapshot backend.Snapshot) (*organisation, error) {
	if !snapshot.Head.Managed() {
		return nil, at(storeField, fmt.Errorf("%w: store %s holds tuples of its own; an organisation is made with CreateOrganisation or remit org init",
			ErrNoOrganisation, snapshot.Head.ID()))
	}
	unmade := at(storeField, fmt.Errorf("%w: that of store %s is not there yet: it is made by repeating what was to make it, with the same idempotency key",
		ErrNoOrganisation, snapshot.Head.ID()))
	if len(snapshot.Models) == 0 {
		return nil, unmade
	}
	q := &question{backend.Question{Snapshot: snapshot, Reader: s.reader.Reader, At: snapshot.AsOf}}
	var err error
	if q.Plan, err = s.reader.Plan(&q.Snapshot, storeField, ""); err != nil {
		return nil, err
	}
	if q.At.IsZero() {
		q.At = s.reader.Now()
	}
	o := &organisation{question: q, entities: crm.NewReader(snapshot.Base, q.Plan.Plan)}
	key, ok, err := o.entities.Organisation()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, unmade
	}
	o.key = key
	return o, nil
}

// An actor is who acts in an organisation: a seat, or an application if that is empty.
type actor struct{ seat string }

// actor finds who acts: the seat that the request names, or the caller's own, or none. A
// seat must be active.
func (o *organisation) actor(ctx context.Context, field, as string) (actor, error) {
	seat, err := o.who(ctx, field, as)
	if err != nil || seat == nil {
		return actor{}, err
	}
	if seat.Suspended {
		return actor{}, forbidden("the seat %s is suspended", seat.ID)
	}
	member, err := o.may(ctx, seat.ID, o.key, "member")
	if err != nil {
		return actor{}, err
	}
	if !member {
		return actor{}, forbidden("the seat %s may do nothing outside its working hours", seat.ID)
	}
	return actor{seat.ID}, nil
}

// who is the seat that acts, active or not; nil if none does.
func (o *organisation) who(ctx context.Context, field, as string) (*crm.Seat, error) {
	own, ok, err := ownSeat(ctx, o.question, field, as)
	if err != nil {
		return nil, err
	}
	switch {
	case as != "":
		return o.seat(field, as)
	case ok:
		return o.seat(field, own.ID)
	}
	return nil, nil //nolint:nilnil // that nobody does is an answer
}

// ownSeat is the caller's own seat; false if there is none. Whoever has one is that seat: to
// name another, which an application does for whoever uses it, they must administer the store.
func ownSeat(ctx context.Context, q *question, field, as string) (crm.LoginSeat, bool, error) {
	login := loginOf(ctx)
	if login == "" {
		return crm.LoginSeat{}, false, nil
	}
	own, ok, err := crm.SeatOfLogin(q.View(), q.Symbols, login)
	if err == nil && ok && as != "" && as != own.ID && !administers(ctx, q.Head.ID()) {
		err = at(field, forbidden("the caller's own seat is %s; to act for another takes the permission admin on this store", own.ID))
	}
	return own, ok, err
}

// seat finds a seat that a field names.
func (o *organisation) seat(field, id string) (*crm.Seat, error) {
	key := (&crm.Seat{ID: id}).Key()
	if err := key.Validate(); err != nil {
		return nil, at(field, err)
	}
	e, _, err := o.entities.Entity(key)
	if err != nil {
		return nil, err
	}
	seat, ok := e.(*crm.Seat)
	if !ok {
		return nil, at(field, fmt.Errorf("%w: no seat has the id %q", ErrEntityNotFound, id))
	}
	return seat, nil
}

// may reports whether a seat has a relation to an object. What the model does not have
// nobody has.
func (o *organisation) may(ctx context.Context, seat string, object graph.ObjectName, relation string) (bool, error) {
	t, ok := o.Plan.Type(object.Type)
	if !ok {
		return false, nil
	}
	if _, ok := t.Relation(relation); !ok {
		return false, nil
	}
	return o.check(ctx, &remitv1.Question{
		Object: object.String(), Relation: relation, Subject: (&crm.Seat{ID: seat}).Key().String(),
	})
}

// mayChange refuses an actor who is no seat and may not do everything either.
func mayChange(ctx context.Context, a actor, store fsm.StoreID) error {
	if a.seat != "" || administers(ctx, store) {
		return nil
	}
	return forbidden("the caller has no seat of its own here: give one in the field as, or the permission admin on this store")
}
