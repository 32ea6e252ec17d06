package crm

import (
	"cmp"
	"slices"
	"time"
)

// A Seat is a person's place in one organisation. Roles, profiles, shifts and records
// belong to the seat; the login that fills it is another matter.
type Seat struct {
	ID   string
	Name string // a label; two people may bear the same

	// Login is who sits here, as an identity provider names them; empty is nobody. It is
	// unique in the organisation, whatever its case.
	Login string

	// Suspended seats may do nothing. What they own, and what they are part of, stays.
	Suspended bool

	// Role is the one role that the seat holds.
	Role string

	// Profiles are what the seat may do: the union of them.
	Profiles []string

	// Manager is the seat that this one reports to, if any.
	Manager string

	// NonReporting seats report to nobody in the reporting hierarchy: see
	// Settings.NonReportingByRole.
	NonReporting bool

	// Shifts are the shifts that the seat works, one at a time. The order means nothing.
	Shifts []Assignment

	// Leave is when the seat is away whatever its shift. Periods do not overlap.
	Leave []Period
}

// A Period is the half-open interval from From until Until. A zero From is since ever,
// a zero Until for ever.
type Period struct{ From, Until time.Time }

// An Assignment is a shift worked during a period.
type Assignment struct {
	Shift string
	Period
}

// Contains reports whether the instant lies in the period.
func (p Period) Contains(at time.Time) bool {
	return !at.Before(p.From) && (p.Until.IsZero() || at.Before(p.Until))
}

// overlaps reports whether two periods have an instant in common.
func (p Period) overlaps(o Period) bool {
	return (p.Until.IsZero() || o.From.Before(p.Until)) && (o.Until.IsZero() || p.From.Before(o.Until))
}

func (p Period) compare(o Period) int { return p.From.Compare(o.From) }

func (p *Period) utc() {
	p.From, p.Until = plainTime(p.From), plainTime(p.Until)
}

func (s *Seat) sort() {
	slices.Sort(s.Profiles)
	for i := range s.Shifts {
		s.Shifts[i].utc()
	}
	for i := range s.Leave {
		s.Leave[i].utc()
	}
	slices.SortFunc(s.Shifts, func(a, b Assignment) int {
		return cmp.Or(cmp.Compare(a.Shift, b.Shift), a.compare(b.Period))
	})
	slices.SortFunc(s.Leave, Period.compare)
}
