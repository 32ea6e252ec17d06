package crm

import (
	"cmp"
	"maps"
	"slices"
)

// An Organisation is one company: who works in it, what they own, and by which rules
// they reach what others own. It is plain data, and may be changed by one goroutine at
// a time.
type Organisation struct {
	ID   string
	Name string

	// SuperAdmin is the seat of the one person who reaches secret records and whom
	// administrators cannot demote.
	SuperAdmin string

	Settings Settings

	Seats    []Seat
	Roles    []Role
	Profiles []Profile
	Modules  []Module
	Fields   []Field
	Groups   []Group
	Teams    []Team
	Rules    []Rule
	Shifts   []Shift
	Records  []Record
}

// Settings are what an organisation decides as a whole. The zero value is the default
// of each.
type Settings struct {
	// Hierarchy is what makes one person the superior of another.
	Hierarchy Hierarchy

	// NonReportingByRole lets holders of a superior role reach what non-reporting people
	// own while the reporting hierarchy is in force. By default only administrators do.
	NonReportingByRole bool

	// AddingNeedsEdit asks for edit on a record of whoever adds notes and the like to it.
	// By default view is enough.
	AddingNeedsEdit bool

	// KeepShares keeps manual shares when a record gets another owner. By default they
	// are dropped.
	KeepShares bool

	// Assign is to whom a record may be assigned.
	Assign AssignScope

	// LoginHours enforces the working hours of people whose profile is gated. By default
	// shifts say who is on duty and close no door.
	LoginHours bool

	// MaxShifts is how many shifts there may be; 0 is the number of Limits. It is for who
	// runs the service to raise, not for a seat.
	MaxShifts int

	// BusinessHours are when the organisation works at all; shifts lie inside. Nil is
	// always.
	BusinessHours *BusinessHours
}

// A Hierarchy is what makes a superior.
type Hierarchy uint8

// The hierarchies.
const (
	ByRole      Hierarchy = iota // whoever holds a role above
	ByReporting                  // the chain of reporting managers
)

// An AssignScope is to whom a person may assign a record.
type AssignScope uint8

// The scopes of assigning.
const (
	AssignAnyone AssignScope = iota
	AssignSubordinates
	AssignOnDuty
)

// New makes the organisation that everything else begins from: the super admin, the roles
// CEO and Manager, and the profiles Administrator and Standard. There are no modules yet;
// whoever adds one says what the profiles may do there.
func New(id, name, superAdmin, superAdminName string) *Organisation {
	return &Organisation{
		ID:         id,
		Name:       name,
		SuperAdmin: superAdmin,
		Roles:      []Role{{ID: "ceo", Name: "CEO"}, {ID: "manager", Name: "Manager", Parent: "ceo"}},
		Profiles: []Profile{
			{ID: "administrator", Name: "Administrator", Administrator: true, Tools: AllTools(), Setup: AllSetup()},
			{ID: "standard", Name: "Standard"},
		},
		Seats: []Seat{{ID: superAdmin, Name: superAdminName, Role: "ceo", Profiles: []string{"administrator"}}},
	}
}

// Sort puts the organisation into its canonical order, which is that of ids, and drops
// what says nothing: field levels that are the default, permissions that are none, and
// fractions of milliseconds of expiry. It changes no meaning. Decode yields this order.
func (o *Organisation) Sort() {
	byID(o.Seats, func(s *Seat) string { return s.ID })
	byID(o.Roles, func(r *Role) string { return r.ID })
	byID(o.Profiles, func(p *Profile) string { return p.ID })
	byID(o.Modules, func(m *Module) string { return m.ID })
	byID(o.Fields, (*Field).key)
	byID(o.Groups, func(g *Group) string { return g.ID })
	byID(o.Teams, func(t *Team) string { return t.ID })
	byID(o.Rules, func(r *Rule) string { return r.ID })
	byID(o.Shifts, func(s *Shift) string { return s.ID })
	slices.SortFunc(o.Records, func(a, b Record) int { return a.Ref().compare(b.Ref()) })
	for i := range o.Seats {
		o.Seats[i].sort()
	}
	for i := range o.Roles {
		o.Roles[i].sort()
	}
	for i := range o.Profiles {
		o.Profiles[i].sort()
	}
	for i := range o.Modules {
		o.Modules[i].sort()
	}
	for i := range o.Fields {
		o.Fields[i].sort()
	}
	for i := range o.Groups {
		o.Groups[i].sort()
	}
	for i := range o.Teams {
		o.Teams[i].sort()
	}
	for i := range o.Shifts {
		o.Shifts[i].Hours.sort()
	}
	if b := o.Settings.BusinessHours; b != nil {
		b.sort()
	}
	for i := range o.Records {
		o.Records[i].sort()
	}
}

func (r *Role) sort() { slices.Sort(r.ForecastManagers) }

func (p *Profile) sort() {
	slices.Sort(p.Tools)
	slices.Sort(p.Setup)
	maps.DeleteFunc(p.Modules, func(_ string, bits Permissions) bool { return bits == 0 })
}

func (m *Module) sort() { slices.Sort(m.Parents) }

func (f *Field) sort() {
	maps.DeleteFunc(f.Levels, func(_ string, l FieldLevel) bool { return l == FieldWrite })
}

func (g *Group) sort() { slices.SortFunc(g.Members, Party.compare) }

func (t *Team) sort() {
	slices.Sort(t.Managers)
	slices.Sort(t.Members)
}

func byID[T any](list []T, id func(*T) string) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(id(&a), id(&b)) })
}
