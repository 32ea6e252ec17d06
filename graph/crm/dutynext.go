package crm

import (
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/schedule"
)

// Next is the first instant behind that of the roster at which a seat comes on duty, if it
// is before another instant; zero is no bound. It is false if there is none, or too far
// away to be found.
func (r *Roster) Next(user graph.ID, before time.Time) (time.Time, bool, error) {
	w := waiting{roster: r, user: graph.Subject{ID: user}}
	if active, err := r.active(w.user); err != nil || !active {
		return time.Time{}, false, err
	}
	if err := w.begin(); err != nil {
		return time.Time{}, false, err
	}
	later := *r
	for range maxWaits {
		at, err := w.next(&later)
		if err != nil || at.IsZero() || !before.IsZero() && !at.Before(before) {
			return time.Time{}, false, err
		}
		later.at, later.hours = at, map[graph.ID]opening{}
		if _, on, err := later.Seat(user); on || err != nil {
			return at, on, err
		}
	}
	return time.Time{}, false, nil
}

// A waiting is what decides when an active seat is on duty.
type waiting struct {
	roster *Roster
	user   graph.Subject
	leave  *graph.Edge // nil if there never is any
	shifts []worked
}

// A worked is a shift that the seat is assigned to, at some time.
type worked struct {
	assigned graph.Edge
	hours    *schedule.Schedule
}

func (w *waiting) begin() error {
	r := w.roster
	leave, ok, err := r.view.Contains(graph.Userset{Object: r.org, Relation: r.deeds.onLeave.ID}, w.user)
	if err != nil {
		return err
	}
	if ok {
		w.leave = &leave
	}
	var c graph.Cursor
	for !c.Done {
		if err := r.view.Objects(r.deeds.assigned.ID, w.user, &c); err != nil {
			return err
		}
		for i := range c.Edges {
			s, err := r.schedule(c.Edges[i].Subject.ID)
			if err != nil {
				return err
			}
			if s != nil {
				w.shifts = append(w.shifts, worked{assigned: c.Edges[i], hours: s})
			}
		}
	}
	return nil
}

// next is an instant behind that of a roster before which the seat does not come on duty;
// zero is never. While it is away, or assigned to no shift, that is when this ends, however
// often shifts open and close until then.
func (w *waiting) next(r *Roster) (first time.Time, err error) {
	if w.leave != nil {
		if away, back, err := r.inEffect(w.leave); away || err != nil {
			return back, err
		}
	}
	for i := range w.shifts {
		s := &w.shifts[i]
		on, turn, err := r.inEffect(&s.assigned)
		if err != nil {
			return first, err
		}
		first = earlier(first, turn)
		if !on {
			continue
		}
		if at, ok := s.hours.Next(r.at); ok && at.Year() <= 9999 {
			first = earlier(first, at)
		}
	}
	return first, nil
}
