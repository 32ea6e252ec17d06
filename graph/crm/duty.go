package crm

import (
	"fmt"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

// A Duty is a shift that a seat works at an instant.
type Duty struct {
	Shift, Seat graph.ID

	// Until is the first instant at which the seat does not work it any more: a break, the
	// end of the hours, a holiday, leave, or the end of the assignment. Zero is never, as far
	// as anybody can say: not within thirty years.
	Until time.Time
}

// A Roster finds who is on duty at an instant: exactly those who have the relation on_duty
// of a shift, and until when. It belongs to one goroutine.
type Roster struct {
	view  graph.View
	deeds *Deeds
	at    time.Time
	org   graph.ID
	hours map[graph.ID]opening
}

// An opening is what a shift's hours are at the instant.
type opening struct {
	open  bool
	until time.Time // zero: for ever
}

// NewRoster makes a roster of a view.
func NewRoster(v graph.View, d *Deeds, at time.Time) (*Roster, error) {
	r := &Roster{view: v, deeds: d, at: at, hours: map[graph.ID]opening{}}
	var err error
	r.org, _, err = d.Organisation(v)
	return r, err
}

// Shifts are the organisation's, in the order of their ids in the view.
func (r *Roster) Shifts() ([]graph.ID, error) {
	var shifts []graph.ID
	err := r.edges(graph.Userset{Object: r.org, Relation: r.deeds.roster.ID}, 0, func(e *graph.Edge) (bool, error) {
		shifts = append(shifts, e.Subject.ID)
		return true, nil
	})
	return shifts, err
}

// Shift yields who works a shift, in the order of their ids in the view, behind one of them,
// until yield returns false.
func (r *Roster) Shift(shift, after graph.ID, yield func(Duty) bool) error {
	hours, err := r.hoursOf(shift)
	if err != nil || !hours.open {
		return err
	}
	return r.edges(graph.Userset{Object: shift, Relation: r.deeds.assigned.ID}, after, func(e *graph.Edge) (bool, error) {
		until, on, err := r.works(e, hours)
		if err != nil || !on {
			return true, err
		}
		return yield(Duty{Shift: shift, Seat: e.Subject.ID, Until: until}), nil
	})
}

// Seat is the shift that a seat works; false if it works none.
func (r *Roster) Seat(user graph.ID) (Duty, bool, error) {
	var c graph.Cursor
	for !c.Done {
		if err := r.view.Objects(r.deeds.assigned.ID, graph.Subject{ID: user}, &c); err != nil {
			return Duty{}, false, err
		}
		for i := range c.Edges {
			e := c.Edges[i]
			shift := e.Subject.ID
			e.Subject = graph.Subject{ID: user}
			hours, err := r.hoursOf(shift)
			if err != nil {
				return Duty{}, false, err
			}
			until, on, err := r.works(&e, hours)
			if err != nil || on {
				return Duty{Shift: shift, Seat: user, Until: until}, on, err
			}
		}
	}
	return Duty{}, false, nil
}

// works reports whether who is assigned by an edge works during hours, and until when.
func (r *Roster) works(assigned *graph.Edge, hours opening) (until time.Time, on bool, err error) {
	if !hours.open {
		return time.Time{}, false, nil
	}
	on, until, err = r.inEffect(assigned)
	if err != nil || !on {
		return time.Time{}, false, err
	}
	active, err := r.active(assigned.Subject)
	if err != nil || !active {
		return time.Time{}, false, err
	}
	until = earlier(until, hours.until)
	leave, ok, err := r.view.Contains(graph.Userset{Object: r.org, Relation: r.deeds.onLeave.ID}, assigned.Subject)
	if err != nil || !ok {
		return until, err == nil, err
	}
	away, back, err := r.inEffect(&leave)
	return earlier(until, back), err == nil && !away, err
}

// active reports whether a user has a seat that is not suspended.
func (r *Roster) active(user graph.Subject) (bool, error) {
	_, seat, err := r.view.Contains(graph.Userset{Object: r.org, Relation: r.deeds.Seat.ID}, user)
	if err != nil || !seat {
		return false, err
	}
	_, suspended, err := r.view.Contains(graph.Userset{Object: r.org, Relation: r.deeds.Suspended.ID}, user)
	return !suspended, err
}

// hoursOf are the hours of a shift.
func (r *Roster) hoursOf(shift graph.ID) (opening, error) {
	if o, ok := r.hours[shift]; ok {
		return o, nil
	}
	var o opening
	s, err := r.schedule(shift)
	if err != nil {
		return o, err
	}
	if s != nil {
		if o.open = s.Open(r.at); o.open {
			o.until, _ = s.Next(r.at)
		}
		if o.until.Year() > 9999 { // beyond which there are no timestamps, and so no shifts
			o.until = time.Time{}
		}
	}
	r.hours[shift] = o
	return o, nil
}

// schedule is that of a shift, nil if it has none.
func (r *Roster) schedule(shift graph.ID) (*schedule.Schedule, error) {
	everyone := graph.Subject{ID: graph.Wildcard(r.deeds.User.ID)}
	e, ok, err := r.view.Contains(graph.Userset{Object: shift, Relation: r.deeds.open.ID}, everyone)
	if !ok || err != nil {
		return nil, err
	}
	fields, _ := e.Context.Fields()[parameterSchedule].(value.Map)
	s, err := schedule.Parse(fields)
	if err != nil {
		return nil, fmt.Errorf("hours of shift %v: %w", shift, err)
	}
	return s, nil
}

// inEffect reports whether an edge with turns counts, and from when on it does otherwise;
// zero is never.
func (r *Roster) inEffect(e *graph.Edge) (on bool, next time.Time, err error) {
	list, _ := e.Context.Fields()[parameterTurns].(value.List)
	turns := make([]time.Time, 0, len(list))
	for i, turn := range list {
		text, _ := turn.(string)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return false, time.Time{}, fmt.Errorf("turn %d of %v: %w", i, e.Subject.ID, err)
		}
		turns = append(turns, at)
	}
	on, next = inTurns(turns, r.at)
	return on, next, nil
}

// inTurns reports whether an odd number of turns has passed, and when that changes; zero is
// never. Where one period ends and the next begins at once, nothing changes.
func inTurns(turns []time.Time, at time.Time) (on bool, next time.Time) {
	slices.SortFunc(turns, time.Time.Compare)
	i, _ := slices.BinarySearchFunc(turns, at, func(turn, at time.Time) int {
		if turn.After(at) {
			return 1
		}
		return -1
	})
	on = i%2 == 1
	for i < len(turns) {
		same := i + 1
		for same < len(turns) && turns[same].Equal(turns[i]) {
			same++
		}
		if (same-i)%2 == 1 {
			return on, turns[i].UTC()
		}
		i = same
	}
	return on, time.Time{}
}

// earlier is the earlier of two instants, where zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// edges visits those of a userset behind a subject.
func (r *Roster) edges(u graph.Userset, after graph.ID, visit func(*graph.Edge) (bool, error)) error {
	var c graph.Cursor
	c.Reset(graph.Subject{ID: after})
	for !c.Done {
		if err := r.view.Subjects(u, &c); err != nil {
			return err
		}
		for i := range c.Edges {
			if more, err := visit(&c.Edges[i]); err != nil || !more {
				return err
			}
		}
	}
	return nil
}
