package crm

import (
	"slices"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// exampleOrganisation is a small one in which everything occurs.
func exampleOrganisation() *Organisation {
	o := New("acme", "Acme", "ada", "Ada")
	o.Modules = exampleModules()
	all := map[string]Permissions{}
	for _, m := range o.Modules {
		all[m.ID] = allPermissions &^ PermissionViewAll
	}
	for i := range o.Profiles {
		o.Profiles[i].Modules = all
	}
	o.Profiles = append(o.Profiles, Profile{ID: "support", Name: "Support", Gated: true, Modules: map[string]Permissions{"deal": PermissionView}})
	o.Roles = append(o.Roles,
		Role{ID: "emea", Name: "EMEA", Parent: "manager"},
		Role{ID: "rep", Name: "Rep EMEA", Parent: "emea", ForecastManagers: []string{"mia"}},
		Role{ID: "america", Name: "America", Parent: "manager"},
		Role{ID: "agent", Name: "Agent", Parent: "ceo", Peers: LevelEdit})
	o.Seats = append(o.Seats,
		Seat{ID: "mia", Name: "Mia", Role: "emea", Profiles: []string{"standard"}, Manager: "ada"},
		Seat{
			ID: "rob", Name: "Rob", Role: "rep", Profiles: []string{"standard"},
			Shifts: []Assignment{{Shift: "day", Period: Period{From: noon}}},
		},
		Seat{ID: "kim", Name: "Kim", Role: "agent", Profiles: []string{"support"}, NonReporting: true})
	o.Fields = []Field{
		{Module: "deal", ID: "amount", Name: "Amount", Mandatory: true},
		{Module: "deal", ID: "margin", Name: "Margin", Levels: map[string]FieldLevel{"support": FieldHidden}},
		{Module: "deal", ID: "stage", Name: "Stage"},
	}
	o.Groups = []Group{
		{ID: "desk", Name: "Deal desk", Members: []Party{{Kind: User, ID: "kim"}}},
		{ID: "all", Name: "All hands", Members: []Party{{Kind: MembersOf, ID: "desk"}, {Kind: RoleAndSubordinates, ID: "ceo"}, {Kind: HoldersOf, ID: "rep"}}},
	}
	o.Teams = []Team{{ID: "tiger", Name: "Tiger", Managers: []string{"mia"}, Members: []string{"kim"}}}
	o.Rules = []Rule{{
		ID: "emea_desk", Name: "EMEA to desk", Module: "deal",
		Source: Party{Kind: RoleAndSubordinates, ID: "emea"}, Target: Party{Kind: MembersOf, ID: "desk"}, Level: LevelView,
	}}
	o.Shifts = []Shift{
		{ID: "day", Name: "Day", Hours: Hours{
			Zone:       "Europe/Paris",
			Week:       Week{time.Monday: {{Span: Span{9 * 60, 17 * 60}, Breaks: []Span{{12 * 60, 13 * 60}}}}},
			Holidays:   []string{"2026-12-25"},
			Exceptions: map[string][]Window{"2026-12-24": nil, "2026-12-31": {{Span: Span{9 * 60, 12 * 60}}}},
		}},
		{ID: "night", Name: "Night", Hours: Hours{Zone: "UTC", Week: Week{time.Monday: {{Span: Span{22 * 60, 6 * 60}}}}}},
	}
	o.Records = []Record{
		{Module: "account", ID: "a1", Owner: "rob"},
		{
			Module: "deal", ID: "d1", Owner: "rob", Parents: []Ref{{"account", "a1"}},
			Shares: []Share{{
				To: Party{Kind: HoldersOf, ID: "agent"}, Level: LevelView, Related: true, Expires: noon,
				Reason: "holiday cover", GrantedBy: "rob",
			}},
			Fields: value.Map{"amount": int64(1200)},
		},
		{Module: "deal", ID: "d2", Owner: "mia", Confidentiality: Secret},
		{Module: "note", ID: "n1", Owner: "kim", Parents: []Ref{{"deal", "d1"}}},
		{Module: "forecast", ID: "f1", Owner: "rob"},
		{Module: "import", ID: "i1", Owner: "rob"},
	}
	return o
}

var noon = time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)

// at finds an element by id.
func at[T any](list []T, is func(*T) bool) *T {
	return &list[slices.IndexFunc(list, func(t T) bool { return is(&t) })]
}

func (o *Organisation) role(id string) *Role {
	return at(o.Roles, func(r *Role) bool { return r.ID == id })
}

func (o *Organisation) seat(id string) *Seat {
	return at(o.Seats, func(s *Seat) bool { return s.ID == id })
}

func (o *Organisation) profile(id string) *Profile {
	return at(o.Profiles, func(p *Profile) bool { return p.ID == id })
}

func (o *Organisation) module(id string) *Module {
	return at(o.Modules, func(m *Module) bool { return m.ID == id })
}

func (o *Organisation) field(key string) *Field {
	return at(o.Fields, func(f *Field) bool { return f.key() == key })
}

func (o *Organisation) shift(id string) *Shift {
	return at(o.Shifts, func(s *Shift) bool { return s.ID == id })
}

func (o *Organisation) record(module, id string) *Record {
	return at(o.Records, func(r *Record) bool { return r.Ref() == Ref{module, id} })
}

// changes are what administrators and owners do, and how many tuples it takes. None
// depends on how many people or records there are.
var changes = []struct {
	name   string
	tuples int
	change func(o *Organisation)
}{
	{"rename everything", 0, func(o *Organisation) {
		o.Name = "Acme Ltd"
		for _, name := range []*string{
			&o.role("rep").Name, &o.seat("rob").Name, &o.profile("support").Name, &o.module("deal").Name,
			&o.field("deal.stage").Name, &o.Groups[0].Name, &o.Teams[0].Name, &o.Rules[0].Name, &o.shift("day").Name,
		} {
			*name += " renamed"
		}
	}},
	{"create a role", 2, func(o *Organisation) {
		o.Roles = append(o.Roles, Role{ID: "new", Name: "New", Parent: "emea"})
	}},
	{"move a role with all below it", 4, func(o *Organisation) { o.role("emea").Parent = "america" }},
	{"share with peers", 1, func(o *Organisation) { o.role("rep").Peers = LevelView }},
	{"change the level of peers", 2, func(o *Organisation) { o.role("agent").Peers = LevelDelete }},
	{"name a forecast manager", 1, func(o *Organisation) { o.role("agent").ForecastManagers = []string{"mia"} }},
	{"give a user another role", 4, func(o *Organisation) { o.seat("rob").Role = "america" }},
	{"hire", 5, func(o *Organisation) {
		o.Seats = append(o.Seats, Seat{ID: "new", Name: "New", Role: "rep", Profiles: []string{"standard"}})
	}},
	{"suspend", 1, func(o *Organisation) { o.seat("rob").Suspended = true }},
	// Four for the user, two for the role, one for its peers, and two for the share with it.
	{"delete a role and move its one user", 9, func(o *Organisation) {
		o.seat("kim").Role, o.role("agent").Peers = "america", LevelNone
		o.Roles = slices.DeleteFunc(o.Roles, func(r Role) bool { return r.ID == "agent" })
		o.record("deal", "d1").Shares = nil
	}},
	{"switch to the reporting hierarchy", 2, func(o *Organisation) { o.Settings.Hierarchy = ByReporting }},
	{"let superior roles reach the non-reporting", 1, func(o *Organisation) { o.Settings.NonReportingByRole = true }},
	{"ask for edit of who adds notes", 1, func(o *Organisation) { o.Settings.AddingNeedsEdit = true }},
	{"set a manager", 1, func(o *Organisation) { o.seat("rob").Manager = "mia" }},
	{"change a manager", 2, func(o *Organisation) { o.seat("mia").Manager = "kim" }},
	{"clear a manager", 1, func(o *Organisation) { o.seat("mia").Manager = "" }},
	{"hand over as super admin", 2, func(o *Organisation) { o.SuperAdmin = "mia" }},
	{"open a module", 1, func(o *Organisation) { o.module("deal").Default = LevelView }},
	{"keep superiors out of a module", 1, func(o *Organisation) { o.module("deal").NoHierarchy = true }},
	{"add a module", 1, func(o *Organisation) {
		o.Modules = append(o.Modules, Module{ID: "task", Name: "Tasks", Kind: Standard, Parents: []string{"deal"}})
	}},
	{"add a child module of two", 3, func(o *Organisation) {
		o.Modules = append(o.Modules, Module{ID: "file", Name: "Files", Kind: Child, Parents: []string{"deal", "account"}})
	}},
	{"create the smallest rule", 3, func(o *Organisation) {
		o.Rules = append(o.Rules, Rule{
			ID: "new", Name: "New", Module: "deal", Level: LevelView,
			Source: Party{Kind: HoldersOf, ID: "rep"}, Target: Party{Kind: Everyone},
		})
	}},
	{"create the largest rule", 6, func(o *Organisation) {
		o.Rules = append(o.Rules, Rule{
			ID: "new", Name: "New", Module: "deal", Level: LevelDelete, Superiors: true,
			Source: Party{Kind: MembersOf, ID: "desk"}, Target: Party{Kind: RoleAndSubordinates, ID: "america"},
		})
	}},
	{"raise the level of a rule", 1, func(o *Organisation) { o.Rules[0].Level = LevelEdit }},
	{"let superiors into a rule", 1, func(o *Organisation) { o.Rules[0].Superiors = true }},
	{"disable a rule", 1, func(o *Organisation) { o.Rules[0].Disabled = true }},
	{"change the source of a rule", 2, func(o *Organisation) { o.Rules[0].Source = Party{Kind: User, ID: "rob"} }},
	{"change the target of a rule", 2, func(o *Organisation) { o.Rules[0].Target = Party{Kind: Everyone} }},
	{"delete a rule", 3, func(o *Organisation) { o.Rules = nil }},
	{"create a record", 2, func(o *Organisation) {
		o.Records = append(o.Records, Record{Module: "deal", ID: "new", Owner: "rob"})
	}},
	{"create a record with a parent", 3, func(o *Organisation) {
		o.Records = append(o.Records, Record{Module: "note", ID: "new", Owner: "rob", Parents: []Ref{{"deal", "d1"}}})
	}},
	{"edit a record's fields", 0, func(o *Organisation) { o.record("deal", "d1").Fields = value.Map{"amount": int64(1)} }},
	{"transfer a record", 2, func(o *Organisation) { o.record("deal", "d1").Owner = "mia" }},
	{"share a record", 1, func(o *Organisation) {
		o.record("deal", "d2").Shares = []Share{{To: Party{Kind: MembersOf, ID: "all"}, Level: LevelFull}}
	}},
	{"share a record with related lists", 2, func(o *Organisation) {
		o.record("deal", "d2").Shares = []Share{{To: Party{Kind: Everyone}, Level: LevelView, Related: true}}
	}},
	{"say why a record is shared", 0, func(o *Organisation) { o.record("deal", "d1").Shares[0].Reason = "other" }},
	{"restrict a record", 1, func(o *Organisation) { o.record("account", "a1").Confidentiality = Restricted }},
	{"make a record secret", 2, func(o *Organisation) { o.record("account", "a1").Confidentiality = Secret }},
	{"add a user to a group", 2, func(o *Organisation) {
		o.Groups[0].Members = append(o.Groups[0].Members, Party{Kind: User, ID: "rob"})
	}},
	{"add a role and its subordinates to a group", 2, func(o *Organisation) {
		o.Groups[0].Members = append(o.Groups[0].Members, Party{Kind: RoleAndSubordinates, ID: "emea"})
	}},
	{"grant a permission", 1, func(o *Organisation) { o.profile("support").Modules["deal"] |= PermissionEdit }},
	{"grant a tool", 1, func(o *Organisation) { o.profile("support").Tools = []Tool{ToolExport} }},
	{"assign a profile", 1, func(o *Organisation) { o.seat("rob").Profiles = []string{"standard", "support"} }},
	{"restrict a field", 1 + 3, func(o *Organisation) { // two profiles keep it, one may still read
		o.field("deal.stage").Levels = map[string]FieldLevel{"support": FieldRead}
	}},
	{"let a profile read a restricted field", 1, func(o *Organisation) { o.field("deal.margin").Levels["support"] = FieldRead }},
	{"take writing a restricted field from a profile", 2, func(o *Organisation) {
		o.field("deal.margin").Levels["standard"] = FieldRead
	}},
	{"change a shift's hours, zone and holidays", 1, func(o *Organisation) {
		o.shift("day").Hours = Hours{Zone: "UTC", Week: Week{time.Sunday: {{Span: Span{0, 60}}}}}
	}},
	{"assign a user to a shift", 1, func(o *Organisation) { o.seat("mia").Shifts = []Assignment{{Shift: "day"}} }},
	{"transfer a user to another shift on a date", 2, func(o *Organisation) {
		later := noon.AddDate(0, 1, 0)
		o.seat("rob").Shifts = []Assignment{
			{Shift: "day", Period: Period{From: noon, Until: later}},
			{Shift: "night", Period: Period{From: later}},
		}
	}},
	{"give a user leave", 1, func(o *Organisation) { o.seat("rob").Leave = []Period{{From: noon, Until: noon.AddDate(0, 0, 7)}} }},
	{"enforce the hours of the gated", 1, func(o *Organisation) { o.Settings.LoginHours = true }},
	{"make a team manager", 1, func(o *Organisation) { o.Teams[0].Managers = []string{"ada", "mia"} }},
	{"add a team member", 2, func(o *Organisation) { o.Teams[0].Members = []string{"kim", "rob"} }},
}

func TestTuplesPerChange(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			from, to := exampleOrganisation(), exampleOrganisation()
			c.change(to)
			if err := to.Validate(DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			d := Difference(Encode(from), Encode(to))
			if d.Tuples() != c.tuples {
				t.Errorf("%d tuples, want %d\ndelete %v\nput %v", d.Tuples(), c.tuples, d.Delete, d.Put)
			}
			if d.Empty() {
				t.Error("nothing changes")
			}
		})
	}
}

// TestEncodingIsStable holds the encoding of the example to a file: stores keep it for
// ever.
func TestEncodingIsStable(t *testing.T) {
	o := exampleOrganisation()
	if err := o.Validate(DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/encoding.txt", encodingText(t, Encode(o)))
}
