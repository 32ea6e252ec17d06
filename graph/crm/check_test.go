package crm

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// TestFaultsOfChanges changes a valid organisation, checks what changed alone, and names
// the whole complaint. Whatever TestFaults finds in entities themselves is not repeated
// here: it is the same code.
func TestFaultsOfChanges(t *testing.T) {
	weekdaysOnly := func(o *Organisation) {
		b := &BusinessHours{}
		for d := time.Monday; d <= time.Friday; d++ {
			b.Week[d] = []Window{{Span: Span{0, 24 * 60}}}
		}
		o.Settings.BusinessHours = b
	}
	tests := []struct {
		name   string
		before func(o *Organisation) // nil: the example as it is
		change func(o *Organisation)
		want   []string
	}{
		{name: "nothing", change: func(*Organisation) {}},

		// The organisation itself.
		{
			name: "the super admin is handed over to nobody", change: func(o *Organisation) { o.SuperAdmin = "zoe" },
			want: []string{`org:acme: the super admin "zoe" has no seat`},
		},
		{
			name: "business hours leave a shift outside", change: func(o *Organisation) {
				weekdaysOnly(o)
				o.Settings.BusinessHours.Week[time.Tuesday] = []Window{{Span: Span{6 * 60, 0}}}
			},
			want: []string{"org:acme: shift:night would not be inside the business hours: it is open on tuesday at 00:00: change the shift first"},
		},
		{
			name: "business hours become shorter on one day", before: weekdaysOnly,
			change: func(o *Organisation) { o.Settings.BusinessHours.Week[time.Monday][0].End = 20 * 60 },
			want:   []string{"org:acme: shift:night would not be inside the business hours: it is open on monday at 22:00: change the shift first"},
		},
		{name: "business hours are longer than the shifts", change: weekdaysOnly},
		{
			name: "a shift is put outside the business hours", before: weekdaysOnly,
			change: func(o *Organisation) { o.shift("day").Hours.Week[time.Saturday] = []Window{{Span: Span{600, 660}}} },
			want:   []string{"shift:day: it is not inside the business hours: it is open on saturday at 10:00, and they are not: shorten the shift, or lengthen them"},
		},

		// Seats.
		{
			name: "the super admin is suspended", change: func(o *Organisation) { o.seat("ada").Suspended = true },
			want: []string{"user:ada: it is the super admin's, which cannot be suspended: hand over to another seat first"},
		},
		{name: "the super admin hands over and is suspended", change: func(o *Organisation) {
			o.seat("ada").Suspended, o.SuperAdmin = true, "mia"
		}},
		{
			name: "a super admin who is suspended", before: func(o *Organisation) { o.seat("mia").Suspended = true },
			change: func(o *Organisation) { o.SuperAdmin = "mia" },
			want:   []string{`org:acme: the super admin "mia" is suspended`},
		},
		{
			name: "the super admin is removed", change: func(o *Organisation) { o.Seats = remove(o.Seats, func(s *Seat) bool { return s.ID == "ada" }) },
			want: []string{
				"user:ada: it is the super admin's, which cannot be deleted: hand over to another seat first",
				"user:ada: it cannot be deleted, it is referred to by user:mia: name a seat that takes over its records and its places, or suspend it",
			},
		},
		{
			name: "a seat is removed that owns records", change: func(o *Organisation) { o.Seats = remove(o.Seats, func(s *Seat) bool { return s.ID == "rob" }) },
			want: []string{"user:rob: it cannot be deleted, it is referred to by account:a1, deal:d1, forecast:f1, import:i1: name a seat that takes over its records and its places, or suspend it"},
		},
		{name: "a seat is removed when all is given away", change: func(o *Organisation) {
			for i := range o.Records {
				o.Records[i].Owner = "mia"
			}
			o.Seats = remove(o.Seats, func(s *Seat) bool { return s.ID == "rob" })
		}},
		{
			name: "a manager does not hold a higher role", change: func(o *Organisation) { o.seat("mia").Manager = "rob" },
			want: []string{`user:mia: the manager "rob" must hold a higher role: "rep" is not nearer to the root than "emea"`},
		},
		{
			name: "a manager holds the same role", change: func(o *Organisation) { o.seat("rob").Role, o.seat("rob").Manager = "emea", "mia" },
			want: []string{`user:rob: the manager "mia" must hold a higher role: "emea" is not nearer to the root than "emea"`},
		},
		{name: "a manager's higher role is in another branch", change: func(o *Organisation) { o.seat("rob").Manager = "kim" }},
		{
			name: "a role is as high as the manager's", change: func(o *Organisation) { o.seat("mia").Role = "ceo" },
			want: []string{`user:mia: the manager "ada" must hold a higher role: "ceo" is not nearer to the root than "ceo"`},
		},
		{
			name: "a seat is made below a manager", change: func(o *Organisation) {
				o.Seats = append(o.Seats, Seat{ID: "max", Name: "Max", Role: "manager", Manager: "mia"})
			},
			want: []string{`user:max: the manager "mia" must hold a higher role: "emea" is not nearer to the root than "manager"`},
		},
		{name: "the role of a manager is moved down", change: func(o *Organisation) {
			o.role("emea").Parent, o.seat("rob").Name = "america", "Robert"
		}, before: func(o *Organisation) { o.seat("rob").Manager = "kim" }},
		{
			name: "who takes over from a manager is no higher", before: func(o *Organisation) {
				o.Seats = append(o.Seats, Seat{ID: "max", Name: "Max", Role: "emea"}, Seat{ID: "new", Name: "New", Role: "rep"})
				o.seat("rob").Manager = "max"
			},
			change: func(o *Organisation) {
				o.Seats = remove(o.Seats, func(s *Seat) bool { return s.ID == "max" })
				o.seat("rob").Manager = "new"
			},
		},
		{
			name: "who takes over from a role is as high as the manager", before: func(o *Organisation) {
				o.Roles = append(o.Roles, Role{ID: "temp", Name: "Temp", Parent: "emea"})
				o.Seats = append(o.Seats, Seat{ID: "max", Name: "Max", Role: "temp", Manager: "mia"})
			},
			change: func(o *Organisation) {
				o.Roles = remove(o.Roles, func(r *Role) bool { return r.ID == "temp" })
				o.seat("max").Role = "emea"
			},
		},
		{
			name: "people report to each other", before: func(o *Organisation) { o.seat("rob").Manager = "mia" },
			change: func(o *Organisation) { o.seat("mia").Manager = "rob" },
			want: []string{
				"user:mia: it is above itself: mia, rob, mia: name a manager who does not report to it",
				`user:mia: the manager "rob" must hold a higher role: "rep" is not nearer to the root than "emea"`,
			},
		},
		{
			name: "a seat works two shifts", change: func(o *Organisation) {
				o.seat("rob").Shifts = append(o.seat("rob").Shifts, Assignment{Shift: "night", Period: Period{From: noon.AddDate(1, 0, 0)}})
			},
			want: []string{`user:rob: shifts "day" and "night" are at the same time; a seat works one at a time: end one before the other begins`},
		},
		{
			name: "a seat is given what is not there", change: func(o *Organisation) {
				s := o.seat("rob")
				s.Role, s.Profiles, s.Manager, s.Shifts = "r", []string{"standard", "p"}, "m", []Assignment{{Shift: "s"}}
			},
			want: []string{
				`user:rob: role "r" does not exist; a seat holds exactly one`, `user:rob: profile "p" does not exist`,
				`user:rob: the manager "m" has no seat`, `user:rob: shift "s" does not exist`,
			},
		},
		{
			name: "a login is taken", before: func(o *Organisation) { o.seat("mia").Login = "mia@acme.com" },
			change: func(o *Organisation) { o.seat("rob").Login = "Mia@acme.com" },
			want:   []string{`user:rob: the login "Mia@acme.com" is that of user:mia already; case does not matter: choose another`},
		},
		{
			name: "logins change hands", before: func(o *Organisation) { o.seat("mia").Login, o.seat("rob").Login = "a", "b" },
			change: func(o *Organisation) { o.seat("mia").Login, o.seat("rob").Login = "b", "a" },
		},

		// Roles.
		{
			name: "a role's name is taken", change: func(o *Organisation) { o.role("rep").Name = "emea" },
			want: []string{`role:rep: the name "emea" is that of role:emea already; case does not matter: choose another`},
		},
		{name: "a name changes its case", change: func(o *Organisation) { o.role("rep").Name = "REP EMEA" }},
		{name: "names change hands", change: func(o *Organisation) {
			o.role("rep").Name, o.role("emea").Name = o.role("emea").Name, o.role("rep").Name
		}},
		{
			name: "a second root", change: func(o *Organisation) { o.role("emea").Parent = "" },
			want: []string{`role:emea: it has no role above it, and "ceo" is the root already: name the role above it`},
		},
		{
			name: "a new role without one above", change: func(o *Organisation) { o.Roles = append(o.Roles, Role{ID: "x", Name: "X"}) },
			want: []string{`role:x: it has no role above it, and "ceo" is the root already: name the role above it`},
		},
		{
			name: "the root is put below", change: func(o *Organisation) { o.role("ceo").Parent = "rep" },
			want: []string{`role:ceo: it is the root, which stays above all others and cannot be put below "rep"`},
		},
		{
			name: "a role is put below itself", change: func(o *Organisation) { o.role("emea").Parent = "rep" },
			want: []string{"role:emea: it is above itself: emea, rep, emea: put it below a role that is not below it"},
		},
		{
			name: "a role is put below nothing known", change: func(o *Organisation) { o.role("rep").Parent = "x" },
			want: []string{`role:rep: the role above it, "x", does not exist`},
		},
		{
			name: "the root is deleted", change: func(o *Organisation) { o.Roles = remove(o.Roles, func(r *Role) bool { return r.ID == "ceo" }) },
			want: []string{"role:ceo: it is the root, whose holders reach all: it cannot be deleted"},
		},
		{
			name: "a role is deleted that is in use", change: func(o *Organisation) { o.Roles = remove(o.Roles, func(r *Role) bool { return r.ID == "rep" }) },
			want: []string{"role:rep: it cannot be deleted, it is referred to by group:all, user:rob: name a role that takes over its holders and its places"},
		},
		{
			name: "many hold a role that is deleted", before: func(o *Organisation) {
				for i := range 13 {
					o.Seats = append(o.Seats, Seat{ID: fmt.Sprintf("r%02d", i), Name: "R", Role: "america"})
				}
			},
			change: func(o *Organisation) { o.Roles = remove(o.Roles, func(r *Role) bool { return r.ID == "america" }) },
			want: []string{"role:america: it cannot be deleted, it is referred to by user:r00, user:r01, user:r02, user:r03, user:r04, user:r05, user:r06, user:r07, user:r08, user:r09 " +
				"and 3 more: name a role that takes over its holders and its places"},
		},
		{
			name: "more hold it than are counted", before: func(o *Organisation) {
				for i := range 1200 {
					o.Seats = append(o.Seats, Seat{ID: fmt.Sprintf("r%04d", i), Name: "R", Role: "america"})
				}
			},
			change: func(o *Organisation) { o.Roles = remove(o.Roles, func(r *Role) bool { return r.ID == "america" }) },
			want: []string{"role:america: it cannot be deleted, it is referred to by user:r0000, user:r0001, user:r0002, user:r0003, user:r0004, user:r0005, user:r0006, user:r0007, user:r0008, user:r0009 " +
				"and more than 990 more: name a role that takes over its holders and its places"},
		},

		// Profiles and fields.
		{
			name: "the last administrator profile is none any more", change: func(o *Organisation) { o.profile("administrator").Administrator = false },
			want: []string{"profile:administrator: it is the last administrator profile: make another one first"},
		},
		{name: "another one is the administrator profile", change: func(o *Organisation) {
			o.profile("administrator").Administrator, o.profile("support").Administrator = false, true
		}},
		{
			name: "the last administrator profile is deleted", before: func(o *Organisation) { o.seat("ada").Profiles = nil },
			change: func(o *Organisation) {
				o.Profiles = remove(o.Profiles, func(p *Profile) bool { return p.ID == "administrator" })
			},
			want: []string{"profile:administrator: it is the last administrator profile: make another one first"},
		},
		{
			name: "a profile is deleted that is in use", change: func(o *Organisation) {
				o.Profiles = remove(o.Profiles, func(p *Profile) bool { return p.ID == "support" })
			},
			want: []string{"profile:support: it cannot be deleted, it is referred to by user:kim: name a profile that its holders get instead"},
		},
		{
			name: "a restricted field is made mandatory", change: func(o *Organisation) { o.field("deal.margin").Mandatory = true },
			want: []string{`field:deal.margin: it is mandatory and cannot be restricted, not for profile "support" either`},
		},
		{
			name: "a field's name is taken in its module", change: func(o *Organisation) { o.field("deal.stage").Name = "AMOUNT" },
			want: []string{`field:deal.stage: the name "AMOUNT" is that of field:deal.amount already; case does not matter: choose another`},
		},

		// Modules.
		{
			name: "a module becomes another kind", change: func(o *Organisation) {
				o.Records = nil
				o.module("note").Kind = Standard
			},
			want: []string{"module:note: its kind is child and never changes, not to standard either: make another module"},
		},
		{
			name: "a parent module is taken from records", change: func(o *Organisation) { o.module("deal").Parents = nil },
			want: []string{"module:deal: it has records, which may be below those of account: what was a parent module stays one"},
		},
		{
			name: "a parent module is taken from nothing", before: func(o *Organisation) { o.Records = nil },
			change: func(o *Organisation) { o.module("deal").Parents = nil },
		},
		{
			name: "a module is deleted that has records", change: func(o *Organisation) {
				o.Modules = remove(o.Modules, func(m *Module) bool { return m.ID == "forecast" })
			},
			want: []string{"module:forecast: it cannot be deleted, it is referred to by forecast:f1, profile:administrator, profile:standard: " +
				"delete its records, fields and rules first, and take it out of profiles and from above other modules"},
		},
		{
			name: "modules are many", before: func(o *Organisation) {
				for i := range MaxModules - len(o.Modules) {
					o.Modules = append(o.Modules, Module{ID: fmt.Sprint("m", i), Name: fmt.Sprint("M", i), Kind: Standard})
				}
			},
			change: func(o *Organisation) { o.Modules = append(o.Modules, Module{ID: "more", Name: "More", Kind: Standard}) },
			want:   []string{"module:more: with it there are 101 modules, at most 100 are allowed"},
		},

		// Groups, teams, rules and shifts.
		{
			name: "groups contain each other", change: func(o *Organisation) {
				o.Groups[0].Members = append(o.Groups[0].Members, Party{Kind: MembersOf, ID: "all"})
			},
			want: []string{"group:desk: it is above itself: desk, all, desk: leave out a group that contains it"},
		},
		{
			name: "a group is deleted that is in use", change: func(o *Organisation) { o.Groups = remove(o.Groups, func(g *Group) bool { return g.ID == "desk" }) },
			want: []string{"group:desk: it cannot be deleted, it is referred to by group:all, rule:emea_desk: name a group that takes its places"},
		},
		{name: "a team is deleted", change: func(o *Organisation) { o.Teams = nil }},
		{
			name: "a rule shares what cannot be", change: func(o *Organisation) {
				o.Rules[0].Module, o.Rules[0].Source, o.Rules[0].Target = "note", Party{Kind: User, ID: "x"}, Party{Kind: HoldersOf, ID: "y"}
			},
			want: []string{
				`rule:emea_desk: module "note" is not a standard one: nothing of it can be shared`,
				"rule:emea_desk: the source user x does not exist", "rule:emea_desk: the target role y does not exist",
			},
		},
		{
			name: "a shift too many", before: func(o *Organisation) {
				for i := range 28 {
					o.Shifts = append(o.Shifts, Shift{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Hours: Hours{Zone: "UTC"}})
				}
			},
			change: func(o *Organisation) {
				o.Shifts = append(o.Shifts, Shift{ID: "late", Name: "Late", Hours: Hours{Zone: "UTC"}})
			},
			want: []string{"shift:late: with it there are 31 shifts, at most 30 are allowed: delete another, or have the limit raised"},
		},
		{
			name: "a shift more, where there may be more", before: func(o *Organisation) {
				o.Settings.MaxShifts = 31
				for i := range 28 {
					o.Shifts = append(o.Shifts, Shift{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Hours: Hours{Zone: "UTC"}})
				}
			},
			change: func(o *Organisation) {
				o.Shifts = append(o.Shifts, Shift{ID: "late", Name: "Late", Hours: Hours{Zone: "UTC"}})
			},
		},
		{
			name: "more shifts than there can be", change: func(o *Organisation) { o.Settings.MaxShifts = 1001 },
			want: []string{"org:acme: the number of shifts cannot be bounded by 1001: from 1 to 1000, or 0 for what is usual"},
		},
		{
			name: "one of too many shifts is renamed", before: func(o *Organisation) {
				for i := range 40 {
					o.Shifts = append(o.Shifts, Shift{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Hours: Hours{Zone: "UTC"}})
				}
			},
			change: func(o *Organisation) { o.shift("7").Name = "Seven" },
		},
		{
			name: "a shift in no zone", change: func(o *Organisation) { o.shift("day").Hours.Zone = "Mars/Olympus" },
			want: []string{`shift:day: hours: zone: "Mars/Olympus": unknown zone: write an IANA name such as Europe/Paris, or UTC`},
		},
		{
			name: "a shift with breaks outside it", change: func(o *Organisation) {
				o.shift("day").Hours.Week[time.Sunday] = []Window{{Span: Span{22 * 60, 6 * 60}, Breaks: []Span{{2 * 60, 3 * 60}, {21 * 60, 21*60 + 30}}}}
			},
			want: []string{"shift:day: hours 22:00-06:00 on sunday: the break 21:00-21:30 is not inside them"},
		},
		{
			name: "a shift is deleted that is worked", change: func(o *Organisation) { o.Shifts = remove(o.Shifts, func(s *Shift) bool { return s.ID == "day" }) },
			want: []string{"shift:day: it cannot be deleted, it is referred to by user:rob: name a shift that is worked instead"},
		},

		// Records.
		{
			name: "a record is given to nobody", change: func(o *Organisation) { o.record("deal", "d1").Owner = "zoe" },
			want: []string{`deal:d1: the owner "zoe" has no seat`},
		},
		{
			name: "a record is deleted that others are below", change: func(o *Organisation) {
				o.Records = remove(o.Records, func(r *Record) bool { return r.Ref() == Ref{"deal", "d1"} })
			},
			want: []string{"deal:d1: it cannot be deleted, it is referred to by note:n1: delete or change those first"},
		},
		{
			name: "a record is put below what is not there", change: func(o *Organisation) { o.record("note", "n1").Parents = []Ref{{"deal", "x"}} },
			want: []string{"note:n1: the parent deal:x does not exist"},
		},
		{
			name: "a share with somebody suspended", before: func(o *Organisation) { o.seat("rob").Suspended = true },
			change: func(o *Organisation) {
				o.record("deal", "d2").Shares = []Share{{To: Party{Kind: User, ID: "rob"}, Level: LevelView}}
			},
			want: []string{"deal:d2: it cannot be shared with user rob, who is suspended: choose somebody active"},
		},
		{
			name: "a share with somebody suspended since", before: func(o *Organisation) {
				o.seat("rob").Suspended = true
				o.record("deal", "d2").Shares = []Share{{To: Party{Kind: User, ID: "rob"}, Level: LevelView}}
			},
			change: func(o *Organisation) { o.record("deal", "d2").Shares[0].Level = LevelEdit },
		},
		{
			name: "a share goes to who takes over", before: func(o *Organisation) {
				o.Seats = append(o.Seats, Seat{ID: "max", Name: "Max", Role: "rep", Profiles: []string{"standard"}})
				o.seat("rob").Suspended = true
				o.record("deal", "d2").Shares = []Share{{To: Party{Kind: User, ID: "max"}, Level: LevelView}}
			},
			change: func(o *Organisation) {
				o.Seats = remove(o.Seats, func(s *Seat) bool { return s.ID == "max" })
				o.record("deal", "d2").Shares[0].To.ID = "rob"
			},
		},
		{
			name: "a share with somebody without the module", before: func(o *Organisation) { o.seat("rob").Profiles = []string{"support"} },
			change: func(o *Organisation) {
				o.record("account", "a1").Shares = []Share{{To: Party{Kind: User, ID: "rob"}, Level: LevelView}}
			},
			want: []string{`account:a1: it cannot be shared with user rob, who has no profile with view in module "account": give them one first`},
		},
		{
			name: "a share with a role whose holders are suspended", before: func(o *Organisation) { o.seat("rob").Suspended = true },
			change: func(o *Organisation) {
				o.record("deal", "d2").Shares = []Share{{To: Party{Kind: HoldersOf, ID: "rep"}, Level: LevelView}}
			},
		},
		{
			name: "a record comes with its shares", before: func(o *Organisation) { o.seat("rob").Suspended = true },
			change: func(o *Organisation) {
				o.Records = append(o.Records, Record{Module: "deal", ID: "d3", Owner: "rob", Shares: []Share{{To: Party{Kind: User, ID: "rob"}, Level: LevelView}}})
			},
		},
		{
			name: "fields of a record change", change: func(o *Organisation) { o.record("deal", "d1").Fields = value.Map{"amount": 1} },
			want: []string{"deal:d1: its fields cannot be stored: amount: not a value: int"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, after := exampleOrganisation(), exampleOrganisation()
			for _, o := range []*Organisation{before, after} {
				if tt.before != nil {
					tt.before(o)
				}
			}
			if err := before.Validate(Limits{}); err != nil {
				t.Fatal(err)
			}
			tt.change(after)
			faults, err := CheckChanges(before, after, DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			wantFaults(t, faults, tt.want)
		})
	}
}

func wantFaults(t *testing.T, faults []Fault, want []string) {
	t.Helper()
	var got []string
	for _, f := range faults {
		got = append(got, f.Error())
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("faults\n%q\nwant\n%q", got, want)
	}
}

// TestOrganisationsBeginWhole makes an organisation from nothing, and from nothing with
// something left out.
func TestOrganisationsBeginWhole(t *testing.T) {
	tests := []struct {
		name   string
		change func(o *Organisation)
		want   []string
	}{
		{"all there is", func(*Organisation) {}, nil},
		{"no root", func(o *Organisation) { o.Roles = nil; o.Seats[0].Role = "" }, []string{
			"org:acme: exactly one role has none above it, not 0: []", `user:ada: role "" does not exist; a seat holds exactly one`,
		}},
		{"two roots", func(o *Organisation) { o.Roles[1].Parent = "" }, []string{
			"org:acme: exactly one role has none above it, not 2: [ceo manager]",
			`role:ceo: it has no role above it, and "manager" is the root already: name the role above it`,
			`role:manager: it has no role above it, and "ceo" is the root already: name the role above it`,
		}},
		{"no administrators", func(o *Organisation) { o.Profiles[0].Administrator = false }, []string{
			"org:acme: it has no administrator profile",
		}},
		{"nobody", func(o *Organisation) { o.Seats = nil }, []string{`org:acme: the super admin "ada" has no seat`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := New("acme", "Acme", "ada", "Ada")
			tt.change(o)
			var faults []Fault
			for e := range o.Entities() {
				of, err := checkChange(newWhole(o), nil, e, DefaultLimits())
				if err != nil {
					t.Fatal(err)
				}
				faults = append(faults, of...)
			}
			wantFaults(t, faults, tt.want)
		})
	}
}

func TestOrganisationsAreNotDeletedByChanges(t *testing.T) {
	o := exampleOrganisation()
	faults, err := checkChange(newWhole(o), o.Head(), nil, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	wantFaults(t, faults, []string{"org:acme: an organisation is not deleted by a change of it: delete its store"})
}

func TestWhoCanTakeOver(t *testing.T) {
	tests := []struct {
		of   graph.ObjectName
		to   string
		want []string
	}{
		{entity(typeRole, "emea"), "america", nil},
		{entity(typeRole, "emea"), "manager", nil},
		{entity(typeRole, "emea"), "", []string{"role:emea: name a role that takes over its holders, the roles below it and its places"}},
		{entity(typeRole, "emea"), "emea", []string{`role:emea: it cannot take over from itself: name another role`}},
		{entity(typeRole, "emea"), "x", []string{`role:emea: the role "x", which is to take over, does not exist`}},
		{entity(typeRole, "emea"), "rep", []string{`role:emea: the role "rep" is below it and cannot take over: name one that is not`}},
		{entity(typeRole, "manager"), "rep", []string{`role:manager: the role "rep" is below it and cannot take over: name one that is not`}},
		{entity(typeRole, "ceo"), "rep", []string{"role:ceo: it is the root, whose holders reach all: it cannot be deleted"}},
		{entity(typeUser, "rob"), "", nil},
		{entity(typeUser, "rob"), "mia", nil},
		{entity(typeUser, "rob"), "zoe", []string{`user:rob: the seat "zoe", which is to take over, does not exist`}},
		{entity(typeProfile, "standard"), "standard", []string{"profile:standard: it cannot take over from itself: name another profile"}},
		{entity(typeGroup, "desk"), "all", nil},
		{entity(typeShift, "day"), "rep", []string{`shift:day: the shift "rep", which is to take over, does not exist`}},
		{entity(typeTeam, "tiger"), "", nil},
		{entity(typeTeam, "tiger"), "lion", []string{`team:tiger: nothing can take over from it: leave out "lion"`}},
		{entity("deal", "d1"), "d2", []string{`deal:d1: nothing can take over from it: leave out "d2"`}},
	}
	for _, tt := range tests {
		t.Run(tt.of.String()+" to "+tt.to, func(t *testing.T) {
			faults, err := checkTransfer(newWhole(exampleOrganisation()), tt.of, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			wantFaults(t, faults, tt.want)
		})
	}
}

// A broken lookup fails after so many answers.
type broken struct {
	lookup
	left int
	err  error
}

func (b *broken) fails() bool {
	b.left--
	return b.left < 0
}

func (b *broken) head() (*Head, error) {
	if b.fails() {
		return nil, b.err
	}
	return b.lookup.head()
}

func (b *broken) find(key graph.ObjectName) (Entity, error) {
	if b.fails() {
		return nil, b.err
	}
	return b.lookup.find(key)
}

func (b *broken) users(key graph.ObjectName, typ string, limit int) ([]graph.ObjectName, error) {
	if b.fails() {
		return nil, b.err
	}
	return b.lookup.users(key, typ, limit)
}

func (b *broken) all(typ string) ([]string, error) {
	if b.fails() {
		return nil, b.err
	}
	return b.lookup.all(typ)
}

func (b *broken) bearers(claim graph.ObjectName) ([]graph.ObjectName, error) {
	if b.fails() {
		return nil, b.err
	}
	return b.lookup.bearers(claim)
}

// TestErrorsOfTheViewAreNoFaults breaks the lookup after every possible number of answers.
func TestErrorsOfTheViewAreNoFaults(t *testing.T) {
	err := errors.New("broken")
	o := exampleOrganisation()
	for e := range o.Entities() {
		for _, edit := range [][2]Entity{{nil, e}, {e, nil}} {
			for n := 0; ; n++ {
				b := &broken{lookup: newWhole(o), left: n, err: err}
				faults, got := checkChange(b, edit[0], edit[1], DefaultLimits())
				if b.left >= 0 {
					break // it asked no more than this
				}
				if faults != nil || !errors.Is(got, err) {
					t.Fatalf("checkChange(%s) with an error in place of answer %d = %v, %v", e.Key(), n, faults, got)
				}
			}
		}
	}
	if faults, got := checkTransfer(&broken{lookup: newWhole(o), err: err}, entity(typeRole, "emea"), "rep"); faults != nil || !errors.Is(got, err) {
		t.Errorf("checkTransfer() = %v, %v", faults, got)
	}
}
