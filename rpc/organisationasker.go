package rpc

import (
	"context"
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
)

// An asker is on whose behalf an organisation is asked something: a seat, or an application,
// which may ask about everybody.
//
// A seat may ask what it may do itself. What others may do it is told if it may act at all
// and is their superior, an administrator, the super admin, or may manage users.
type asker struct {
	id        string // of the seat; empty: an application
	seat      graph.Subject
	judged    bool // whether the following are known
	active    bool // it may act now
	everybody bool // it may ask about everybody
}

// asker finds who asks: the seat that the request names, or the caller's own, or none.
func (q *question) asker(ctx context.Context, as string) (asker, error) {
	own, ok, err := ownSeat(ctx, q, "scope.as", as)
	switch {
	case err != nil:
		return asker{}, err
	case as != "":
		return q.namedAsker(as)
	case ok:
		return asker{id: own.ID, seat: graph.Subject{ID: own.User}}, nil
	}
	return asker{}, nil
}

func (q *question) namedAsker(as string) (asker, error) {
	seat, ok, err := q.user("scope.as", as)
	if err == nil && ok {
		org, _, found := q.Plan.Deeds.Organisation(q.View())
		if err = found; err == nil {
			_, ok, err = q.View().Contains(graph.Userset{Object: org, Relation: q.Plan.Deeds.Seat.ID}, seat)
		}
	}
	if err == nil && !ok {
		err = at("scope.as", fmt.Errorf("%w: no seat has the id %q", ErrEntityNotFound, as))
	}
	return asker{id: as, seat: seat}, err
}

// own reports whether a question is about the asker, or the asker none to be asked.
func (a *asker) own(user string) bool { return a.id == "" || a.id == user }

// about refuses a question about a user that the asker may not ask. The fault is of the
// field user.
func (a *asker) about(ctx context.Context, q *question, user string) error {
	if a.own(user) {
		return nil
	}
	if err := a.judge(ctx, q); err != nil || a.everybody {
		return err
	}
	if a.active {
		if superior, err := q.has(ctx, q.Plan.Deeds.Superior, user, a.seat); err != nil || superior {
			return err
		}
	}
	return at("user", forbidden("the seat %s may ask what it may do itself; about %q may ask who is superior to it, an administrator, or who manages users", a.id, user))
}

// acts refuses a seat that may do nothing now.
func (a *asker) acts(ctx context.Context, q *question) error {
	if a.id == "" {
		return nil
	}
	err := a.judge(ctx, q)
	if err == nil && !a.active {
		err = at("scope.as", forbidden("the seat %s is suspended, or outside its working hours", a.id))
	}
	return err
}

// judge finds out what the asker may ask.
func (a *asker) judge(ctx context.Context, q *question) error {
	if a.judged || a.id == "" {
		return nil
	}
	d := q.Plan.Deeds
	org, ok, err := d.Organisation(q.View())
	if err == nil && ok {
		a.active, err = q.hasOf(ctx, d.Member, org, a.seat)
	}
	if err != nil {
		return err
	}
	if a.active {
		held, err := q.heldOf(ctx, org, a.seat, d.Administrating())
		if err != nil {
			return err
		}
		if a.everybody = len(held) > 0; !a.everybody {
			if a.everybody, err = a.may(ctx, q, string(crm.ManageUsers)); err != nil {
				return err
			}
		}
	}
	a.judged = true
	return nil
}

// may reports whether the asker has a tool or a setup permission.
func (a *asker) may(ctx context.Context, q *question, action string) (bool, error) {
	demand, err := q.Plan.Deeds.Find(action, "", "")
	if err != nil {
		return false, err
	}
	return q.meets(ctx, demand, a.seat)
}
