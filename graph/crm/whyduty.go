package crm

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
)

// OnDuty answers with its grounds whether a seat works a shift at the instant, or, if that is
// empty, any shift. It agrees with the relation on_duty. A fault of the form of an id is a
// *graph.TupleError; who or what does not exist is an answer.
func (q *Inquiry) OnDuty(ctx context.Context, user, shift string) (*Answer, error) {
	key := entity(typeUser, user)
	if err := key.Validate(); err != nil {
		return nil, err
	}
	if of := entity(typeShift, shift); shift != "" {
		if err := of.Validate(); err != nil {
			return nil, err
		}
	}
	w := newWhy(ctx, q, key)
	if w.activeStep() {
		w.dutySteps(shift)
	}
	if q.Visited != nil {
		q.Visited(w.visited)
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.answer(), nil
}

// dutySteps are whether the user works a shift, or any, and is not away.
func (w *why) dutySteps(shift string) {
	r, err := NewRoster(w.view, w.deeds, w.at)
	if w.fail(err); w.err != nil {
		return
	}
	away, turns := w.leave(r)
	var works, rests []Ground
	w.eachObject(typeShift, relAssigned, graph.Subject{ID: w.id}, func(e *graph.Edge) bool {
		if shift != "" && w.key(e.Subject.ID).ID != shift {
			return true
		}
		if g, on := w.work(r, e, turns); on {
			works = append(works, g)
		} else {
			rests = append(rests, g)
		}
		return w.err == nil
	})
	switch {
	case len(works) > 0:
		for i := range works {
			w.condition(works[i])
		}
	case len(rests) > 0:
		w.missing = append(w.missing, rests...)
	default:
		w.miss(w.unassigned(shift))
	}
	if away != nil {
		w.miss(*away)
	}
}

// unassigned is that the user does not work a shift at any time.
func (w *why) unassigned(shift string) Ground {
	g := Ground{Kind: GroundHours, Entity: w.user}
	if shift == "" {
		g.Text = w.name(w.id) + " is assigned to no shift"
		return g
	}
	g.Entity = entity(typeShift, shift)
	if id := w.find(g.Entity); id != 0 && w.has(w.org, relRoster, graph.Subject{ID: id}) {
		g.Text = fmt.Sprintf("%s is not assigned to %s", w.name(w.id), w.named(id))
	} else {
		g.Text = fmt.Sprintf("there is no shift %q", shift)
	}
	return g
}

// work is whether the user's assignment to a shift and the shift's hours are both in effect,
// or which of them is not. Leave is when the user's leave begins; zero is never.
func (w *why) work(r *Roster, assigned *graph.Edge, leave time.Time) (Ground, bool) {
	shift := assigned.Subject.ID
	g := Ground{
		Kind: GroundHours, Entity: w.key(shift),
		Facts: slices.Concat(w.facts(shift, relAssigned, graph.Subject{ID: w.id}), w.facts(shift, relOpen, w.everyone())),
	}
	on, turns, err := r.inEffect(assigned)
	w.fail(err)
	hours, err := r.hoursOf(shift)
	w.fail(err)
	user, name := w.name(w.id), w.named(shift)
	switch {
	case on && hours.open:
		g.Text = fmt.Sprintf("%s works %s", user, name) + lasting(earlier(leave, earlier(turns, hours.until)))
		return g, true
	case !on && turns.IsZero():
		g.Text = fmt.Sprintf("%s works %s no more", user, name)
	case !on:
		g.Text = fmt.Sprintf("%s is assigned to %s only from %s", user, name, instantText(turns))
	default:
		g.Text = fmt.Sprintf("%s is outside the hours of %s", user, name)
		if next := w.opening(assigned); !next.IsZero() {
			g.Text += fmt.Sprintf(", which begin at %s", instantText(next))
		}
	}
	return g, false
}

// lasting is until when something lasts, if it ends.
func lasting(until time.Time) string {
	if until.IsZero() {
		return ""
	}
	return " until " + instantText(until)
}

// leave is what keeps the user away, nil if nothing does, and when the leave ends or begins;
// zero is never.
func (w *why) leave(r *Roster) (*Ground, time.Time) {
	leave, f, ok := w.fact(w.org, relOnLeave, graph.Subject{ID: w.id})
	if !ok {
		return nil, time.Time{}
	}
	away, turns, err := r.inEffect(&leave)
	if w.fail(err); !away {
		return nil, turns
	}
	return &Ground{Kind: GroundHours, Entity: w.user, Facts: []Fact{f}, Text: w.name(w.id) + " is on leave" + lasting(turns)}, turns
}
