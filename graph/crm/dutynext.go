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
	if err := w.begin(); err != nil {
		return time.Time{}, false, err
	}
	// Between two instants at which anything begins or ends, nobody comes on duty.
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

// A waiting is what decides when a seat is on duty.
type waiting struct {
	roster    *Roster
	user      graph.Subject
	turns     []graph.Edge // of its shifts and its leave
	schedules []*schedule.Schedule
}

func (w *waiting) begin() error {
	r := w.roster
	leave, ok, err := r.view.Contains(graph.Userset{Object: r.org, Relation: r.deeds.onLeave.ID}, w.user)
	if err != nil {
		return err
	}
	if ok {
		w.turns = append(w.turns, leave)
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
				w.schedules = append(w.schedules, s)
				w.turns = append(w.turns, c.Edges[i])
			}
		}
	}
	return nil
}

// next is when the first of it begins or ends behind the instant of a roster; zero is never.
func (w *waiting) next(r *Roster) (first time.Time, err error) {
	if len(w.schedules) == 0 {
		return first, nil
	}
	for i := range w.turns {
		_, at, err := r.inEffect(&w.turns[i])
		if err != nil {
			return first, err
		}
		first = earlier(first, at)
	}
	for _, s := range w.schedules {
		if at, ok := s.Next(r.at); ok && at.Year() <= 9999 {
			first = earlier(first, at)
		}
	}
	return first, nil
}
