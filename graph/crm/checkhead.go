package crm

import (
	"slices"
	"time"
)

func (c *checker) headItself(h *Head) {
	of := h.Key()
	c.label(of, "name", h.Name)
	switch s := c.seat(h.SuperAdmin); {
	case h.SuperAdmin == "":
		c.fault(of, "it has no super admin")
	case s == nil:
		c.fault(of, "the super admin %q has no seat", h.SuperAdmin)
	case s.Suspended:
		c.fault(of, "the super admin %q is suspended", h.SuperAdmin)
	}
	if h.Settings.Hierarchy > ByReporting {
		c.fault(of, "hierarchy %d is unknown", h.Settings.Hierarchy)
	}
	if h.Settings.Assign > AssignOnDuty {
		c.fault(of, "assign scope %d is unknown", h.Settings.Assign)
	}
	if n := h.Settings.MaxShifts; n < 0 || n > MaxShifts {
		c.fault(of, "the number of shifts cannot be bounded by %d: from 1 to %d, or 0 for what is usual", n, MaxShifts)
	}
	b := h.Settings.BusinessHours
	if b == nil {
		return
	}
	if b.FirstDay < time.Sunday || b.FirstDay > time.Saturday {
		c.fault(of, "the first day of the week is none: %d", b.FirstDay)
	}
	c.hours(of, "business hours", &Hours{Zone: "UTC", Week: b.Week})
	for _, windows := range b.Week {
		for _, w := range windows {
			if len(w.Breaks) > 0 {
				c.fault(of, "business hours %s have a break: write two windows", w)
			}
		}
	}
}

// headChange looks at the shifts if business hours are others than before, and at what
// there must be of everything if the organisation is made.
func (c *checker) headChange(made bool, before, h *Head) {
	if b := h.Settings.BusinessHours; b != nil && b.Week.regular() && !b.sameWeek(before.Settings.BusinessHours) {
		for _, id := range c.ids(typeShift) {
			s := c.shift(id)
			if s == nil || !s.Hours.Week.regular() {
				continue
			}
			if minute, outside := s.Hours.Week.outside(&b.Week); outside {
				c.fault(h.Key(), "%s would not be inside the business hours: it is open on %s: change the shift first", s.Key(), minute)
			}
		}
	}
	if made {
		c.required(h)
	}
}

// required checks what an organisation cannot be without.
func (c *checker) required(h *Head) {
	var roots []string
	for _, id := range c.ids(typeRole) {
		if r := c.role(id); r != nil && r.Parent == "" {
			roots = append(roots, id)
		}
	}
	if len(roots) != 1 {
		c.fault(h.Key(), "exactly one role has none above it, not %d: %v", len(roots), roots)
	}
	if !c.administered() {
		c.fault(h.Key(), "it has no administrator profile")
	}
}

func (b *BusinessHours) sameWeek(o *BusinessHours) bool {
	if o == nil {
		return false
	}
	for d := range b.Week {
		if !slices.EqualFunc(b.Week[d], o.Week[d], func(v, w Window) bool { return v.compare(w) == 0 }) {
			return false
		}
	}
	return true
}
