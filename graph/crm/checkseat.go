package crm

import (
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
)

func (c *checker) seatItself(before, s *Seat) {
	of := s.Key()
	c.label(of, "name", s.Name)
	if s.Login != "" {
		c.unique(of, attrLogin, "login", before.Login, s.Login)
	}
	if (s.Role == "" || s.Role != before.Role) && c.role(s.Role) == nil {
		c.fault(of, "role %q does not exist; a seat holds exactly one", s.Role)
	}
	c.references(of, "profile", typeProfile, before.Profiles, s.Profiles)
	c.periods(of, "leave", s.Leave)
	c.assignments(of, before, s)
	if s.Manager != "" && s.Manager != before.Manager && c.seat(s.Manager) == nil {
		c.fault(of, "the manager %q has no seat", s.Manager)
	}
}

func (c *checker) seatChange(before, s *Seat) {
	if s.Suspended && !before.Suspended && c.organisation().SuperAdmin == s.ID {
		c.fault(s.Key(), "it is the super admin's, which cannot be suspended: hand over to another seat first")
	}
	if s.Manager != "" && s.Manager != before.Manager {
		c.climb(typeUser).from(s.ID)
	}
	c.higherManager(before, s)
}

// higherManager checks that the manager's role is nearer to the root than the seat's. It
// is asked when either is given to the seat, unless it takes over from one that is deleted.
// It need not stay so: to move a role, or to give the manager another, asks nobody below.
func (c *checker) higherManager(before, s *Seat) {
	managed := s.Manager != before.Manager && (before.Manager == "" || c.seat(before.Manager) != nil)
	placed := s.Role != before.Role && (before.Role == "" || c.role(before.Role) != nil)
	if !managed && !placed {
		return
	}
	m := c.seat(s.Manager)
	if m == nil {
		return
	}
	above, known := c.depth(m.Role)
	below, also := c.depth(s.Role)
	if known && also && above >= below {
		c.fault(s.Key(), "the manager %q must hold a higher role: %q is not nearer to the root than %q",
			s.Manager, m.Role, s.Role)
	}
}

// depth is how far a role is below the root, and whether it is.
func (c *checker) depth(role string) (int, bool) {
	seen := map[string]bool{}
	for !seen[role] {
		r := c.role(role)
		if r == nil {
			return 0, false
		}
		if r.Parent == "" {
			return len(seen), true
		}
		seen[role] = true
		role = r.Parent
	}
	return 0, false
}

func (c *checker) assignments(of graph.ObjectName, before, s *Seat) {
	if len(s.Shifts) > MaxPeriods {
		c.fault(of, "shifts have %d periods, at most %d are allowed", len(s.Shifts), MaxPeriods)
		return
	}
	for _, id := range added(shiftIDs(before), shiftIDs(s)) {
		if c.shift(id) == nil {
			c.fault(of, "shift %q does not exist", id)
		}
	}
	for _, a := range s.Shifts {
		c.period(of, "shift "+a.Shift, a.Period)
	}
	if a, b, found := overlapping(s.Shifts, func(a Assignment) Period { return a.Period }); found {
		c.fault(of, "shifts %q and %q are at the same time; a seat works one at a time: end one before the other begins", a.Shift, b.Shift)
	}
}

// overlapping are two elements whose periods have an instant in common. Of more than two it
// names the first: of each pair there would be very many.
func overlapping[T any](list []T, period func(T) Period) (a, b T, found bool) {
	list = slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return period(a).compare(period(b)) })
	for i := 1; i < len(list); i++ {
		if period(list[i-1]).overlaps(period(list[i])) {
			return list[i-1], list[i], true
		}
	}
	return a, b, false
}

func shiftIDs(s *Seat) []string {
	ids := make([]string, len(s.Shifts))
	for i, a := range s.Shifts {
		ids[i] = a.Shift
	}
	return ids
}

func (c *checker) periods(of graph.ObjectName, what string, list []Period) {
	if len(list) > MaxPeriods {
		c.fault(of, "%s has %d periods, at most %d are allowed", what, len(list), MaxPeriods)
		return
	}
	for _, p := range list {
		c.period(of, what, p)
	}
	if _, _, found := overlapping(list, func(p Period) Period { return p }); found {
		c.fault(of, "%s has periods that overlap: make them one", what)
	}
}

// maxYear is the last that RFC 3339 can write.
const maxYear = 9999

func (c *checker) period(of graph.ObjectName, what string, p Period) {
	if !p.Until.IsZero() && !p.From.Before(p.Until) {
		c.fault(of, "%s ends at %s, which is not after its start", what, p.Until.UTC().Format(time.RFC3339))
	}
	if p.From.UTC().Year() < 1 || max(p.From.UTC().Year(), p.Until.UTC().Year()) > maxYear {
		c.fault(of, "%s is outside the years 1 to %d", what, maxYear)
	}
}
