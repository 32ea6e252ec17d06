package crm

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

func (c *checker) shiftItself(before, s *Shift) {
	of := s.Key()
	c.name(of, typeShift, before.Name, s.Name)
	if !c.hours(of, "hours", &s.Hours) {
		return
	}
	b := c.organisation().Settings.BusinessHours
	if b == nil || !b.Week.regular() {
		return
	}
	if at, outside := s.Hours.Week.outside(&b.Week); outside {
		c.fault(of, "it is not inside the business hours: it is open on %s, and they are not: "+
			"shorten the shift, or lengthen them", at)
	}
}

// shiftChange counts the shifts if one is made.
func (c *checker) shiftChange(made bool, s *Shift) {
	if !made {
		return
	}
	most := c.maxShifts(&c.organisation().Settings)
	if most == 0 {
		return
	}
	if n := len(c.ids(typeShift)); n > most {
		c.fault(s.Key(), "with it there are %d shifts, at most %d are allowed: delete another, or have the limit raised", n, most)
	}
}

// maxShifts is how many shifts there may be; 0 is any number.
func (c *checker) maxShifts(s *Settings) int {
	if c.limits.Shifts == 0 {
		return 0
	}
	return cmp.Or(s.MaxShifts, c.limits.Shifts)
}

// hours checks a schedule: its shape here, what it means where it is evaluated.
func (c *checker) hours(of graph.ObjectName, what string, h *Hours) bool {
	before := len(c.faults)
	for i, windows := range h.Week {
		c.windows(of, what, weekdays[i], windows)
	}
	for _, date := range slices.Sorted(maps.Keys(h.Exceptions)) {
		c.windows(of, what, date, h.Exceptions[date])
		c.date(of, what, date)
	}
	for _, date := range h.Holidays {
		c.date(of, what, date)
	}
	c.once(of, what+": holiday", h.Holidays)
	if len(c.faults) > before {
		return false
	}
	_, err := schedule.Parse(h.fields())
	if wrong := (*schedule.Error)(nil); errors.As(err, &wrong) {
		for _, f := range wrong.Faults {
			if f.Path == "zone" {
				f.Message += ": write an IANA name such as Europe/Paris, or UTC"
			}
			c.fault(of, "%s: %s: %s", what, f.Path, f.Message)
		}
		return false
	}
	if _, err := condition.NewContext(value.Map{parameterSchedule: h.fields()}); err != nil {
		c.fault(of, "%s: %v", what, err)
		return false
	}
	return true
}

func (c *checker) windows(of graph.ObjectName, what, on string, windows []Window) {
	for _, w := range windows {
		if n := len(w.Breaks); c.limits.Breaks > 0 && n > c.limits.Breaks {
			c.fault(of, "%s %s on %s have %d breaks, at most %d are allowed", what, w, on, n, c.limits.Breaks)
		}
		for _, s := range append([]Span{w.Span}, w.Breaks...) {
			if !s.regular() {
				c.fault(of, "%s %s on %s: a time is from 00:00 to 24:00, and starts before 24:00", what, s, on)
			}
		}
		for _, b := range w.Breaks {
			if w.regular() && b.regular() && !w.contains(b) {
				c.fault(of, "%s %s on %s: the break %s is not inside them", what, w.Span, on, b)
			}
		}
	}
}

func (c *checker) date(of graph.ObjectName, what, date string) {
	if t, err := time.Parse(time.DateOnly, date); err != nil || t.Year() < 1 {
		c.fault(of, "%s: %q is no date such as 2026-12-25", what, date)
	}
}

// contains reports whether a break lies inside the window. In a window past midnight, one
// before its start is on the next day.
func (w Window) contains(b Span) bool {
	start, end := w.minutes()
	from := int(b.Start)
	if from < start {
		from += day
	}
	length := int(b.End - b.Start)
	if length <= 0 {
		length += day
	}
	return from+length <= end
}

// regular reports whether the times are such as a clock shows.
func (s Span) regular() bool { return s.Start >= 0 && s.Start < day && s.End >= 0 && s.End <= day }

// regular reports whether the windows of the week can be compared with others.
func (w *Week) regular() bool {
	for _, windows := range w {
		for i := range windows {
			if !windows[i].regular() {
				return false
			}
		}
	}
	return true
}

// outside is the first time of the week, such as monday at 09:00, that does not lie in
// another, and whether there is one.
func (w *Week) outside(outer *Week) (string, bool) {
	if w.within(outer) {
		return "", false
	}
	var open [week]bool
	outer.each(func(minute int) { open[minute] = true })
	first := week
	w.each(func(minute int) {
		if !open[minute] {
			first = min(first, minute)
		}
	})
	return fmt.Sprintf("%s at %s", weekdays[first/day], Clock(first%day)), true
}
