package crm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFaults changes a valid organisation in one way, and names the whole complaint.
func TestFaults(t *testing.T) {
	tests := []struct {
		name   string
		change func(o *Organisation)
		want   []string // every fault, in any order
	}{
		{"names differ by more than case and composition", func(o *Organisation) {
			o.role("rep").Name, o.role("emea").Name = "Re\u0301p", "RÉP"
		}, []string{"role:rep: the name \"Re\u0301p\" is that of role:emea already; case does not matter"}},
		{"names of different kinds are apart", func(o *Organisation) { o.role("rep").Name = "Day" }, nil},
		{"names of fields of different modules are apart", func(o *Organisation) {
			o.Fields = append(o.Fields, Field{Module: "account", ID: "stage", Name: "STAGE"})
		}, nil},
		{"people may bear one name", func(o *Organisation) { o.seat("rob").Name = "Mia" }, nil},
		{"a name is not empty", func(o *Organisation) { o.role("rep").Name = " " }, []string{"role:rep: it has no name"}},
		{
			"a name has no space around it", func(o *Organisation) { o.Name = "Acme " },
			[]string{`org:acme: its name "Acme " begins or ends with white space`},
		},
		{
			"a name is one line", func(o *Organisation) { o.role("rep").Name = "a\nb" },
			[]string{`role:rep: its name "a\nb" contains control characters or is not UTF-8`},
		},
		{
			"a name is short", func(o *Organisation) { o.role("rep").Name = strings.Repeat("x", MaxName+1) },
			[]string{"role:rep: its name has 901 bytes, at most 900 are allowed"},
		},
		{
			"a name is short also as a claim", func(o *Organisation) { o.role("rep").Name = strings.Repeat("x ", 400) + "x" },
			[]string{"role:rep: its name is too long when its case is folded: shorten it"},
		},
		{
			"an id can be written", func(o *Organisation) {
				o.Shifts = append(o.Shifts, Shift{ID: "a b", Name: "X", Hours: Hours{Zone: "UTC"}})
			},
			[]string{`shift:a b: `},
		},
		{
			"an id is unique", func(o *Organisation) { o.Teams = append(o.Teams, Team{ID: "tiger", Name: "Other"}) },
			[]string{"team:tiger: there are two of this id"},
		},
		{
			"a record's id is unique", func(o *Organisation) { o.Records = append(o.Records, *o.record("deal", "d2")) },
			[]string{"deal:d2: there are two of this id"},
		},
		{"there is a super admin", func(o *Organisation) { o.SuperAdmin = "" }, []string{"org:acme: it has no super admin"}},
		{
			"the super admin has a seat", func(o *Organisation) { o.SuperAdmin = "zoe" },
			[]string{`org:acme: the super admin "zoe" has no seat`},
		},
		{
			"the super admin is active", func(o *Organisation) { o.seat("ada").Suspended = true },
			[]string{`org:acme: the super admin "ada" is suspended`},
		},
		{
			"there is an administrator profile", func(o *Organisation) { o.profile("administrator").Administrator = false },
			[]string{"org:acme: it has no administrator profile"},
		},
		{
			"settings are known", func(o *Organisation) { o.Settings.Hierarchy, o.Settings.Assign = 2, 3 },
			[]string{"org:acme: hierarchy 2 is unknown", "org:acme: assign scope 3 is unknown"},
		},
		{
			"a seat holds a role", func(o *Organisation) { o.seat("rob").Role = "" },
			[]string{`user:rob: role "" does not exist; a seat holds exactly one`},
		},
		{
			"profiles exist and occur once", func(o *Organisation) { o.seat("rob").Profiles = []string{"x", "standard", "standard"} },
			[]string{`user:rob: profile "x" does not exist`, `user:rob: profile "standard" occurs twice`},
		},
		{"a manager whose role is no longer higher stays", func(o *Organisation) { o.seat("rob").Manager = "ada"; o.seat("mia").Manager = "rob" }, nil},
		{
			"a login is that of one seat", func(o *Organisation) { o.seat("rob").Login, o.seat("mia").Login = "R@acme.com", "r@Acme.com" },
			[]string{`user:rob: the login "R@acme.com" is that of user:mia already; case does not matter`},
		},
		{
			"a login is a text", func(o *Organisation) { o.seat("rob").Login = " r@acme.com" },
			[]string{`user:rob: its login " r@acme.com" begins or ends with white space`},
		},
		{
			"a manager has a seat", func(o *Organisation) { o.seat("rob").Manager = "zoe" },
			[]string{`user:rob: the manager "zoe" has no seat`},
		},
		{"nobody reports to themselves", func(o *Organisation) { o.seat("rob").Manager, o.seat("mia").Manager = "mia", "rob" }, []string{
			"user:mia: it is above itself: mia, rob, mia: name a manager who does not report to it",
		}},
		{"a shift exists", func(o *Organisation) { o.seat("rob").Shifts[0].Shift = "x" }, []string{`user:rob: shift "x" does not exist`}},
		{"one shift at a time", func(o *Organisation) {
			o.seat("rob").Shifts = append(o.seat("rob").Shifts, Assignment{Shift: "night", Period: Period{From: noon.AddDate(1, 0, 0)}})
		}, []string{`user:rob: shifts "day" and "night" are at the same time; a seat works one`}},
		{
			"a period has a length", func(o *Organisation) { o.seat("rob").Leave = []Period{{noon, noon}} },
			[]string{"user:rob: leave ends at 2026-06-10T12:00:00Z, which is not after its start"},
		},
		{"a period can be written", func(o *Organisation) {
			o.seat("rob").Leave = []Period{{From: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}
		}, []string{"user:rob: leave is outside the years 1 to 9999"}},
		{"leave does not overlap", func(o *Organisation) {
			o.seat("rob").Leave = []Period{{From: noon}, {Until: noon.Add(1)}}
		}, []string{"user:rob: leave has periods that overlap"}},
		{"periods may meet", func(o *Organisation) { o.seat("rob").Leave = []Period{{From: noon}, {Until: noon}} }, nil},
		{"periods are few", func(o *Organisation) {
			for i := range MaxPeriods + 1 {
				at := noon.AddDate(0, 0, 2*i)
				o.seat("mia").Shifts = append(o.seat("mia").Shifts, Assignment{Shift: "day", Period: Period{at, at.AddDate(0, 0, 1)}})
			}
		}, []string{"user:mia: shifts have 201 periods, at most 200 are allowed"}},
		{"leave is in few periods", func(o *Organisation) {
			for i := range MaxPeriods + 1 {
				at := noon.AddDate(0, 0, 2*i)
				o.seat("mia").Leave = append(o.seat("mia").Leave, Period{at, at.AddDate(0, 0, 1)})
			}
		}, []string{"user:mia: leave has 201 periods, at most 200 are allowed"}},
		{
			"there is one root", func(o *Organisation) { o.role("emea").Parent = "" },
			[]string{
				"org:acme: exactly one role has none above it, not 2: [ceo emea]",
			},
		},
		{"there is a root", func(o *Organisation) { o.role("ceo").Parent = "rep" }, []string{
			"role:ceo: it is above itself: ceo, rep, emea, manager, ceo: put it below a role that is not below it",
			"org:acme: exactly one role has none above it, not 0: []",
		}},
		{
			"roles have no cycle", func(o *Organisation) { o.role("emea").Parent = "rep" },
			[]string{"role:emea: it is above itself: emea, rep, emea: put it below a role that is not below it"},
		},
		{
			"the role above exists", func(o *Organisation) { o.role("rep").Parent = "x" },
			[]string{`role:rep: the role above it, "x", does not exist`},
		},
		{
			"peers do not own", func(o *Organisation) { o.role("rep").Peers = LevelFull },
			[]string{"role:rep: peers cannot have full on each other's records: none, view, edit or delete"},
		},
		{
			"forecast managers exist", func(o *Organisation) { o.role("rep").ForecastManagers = []string{"zoe"} },
			[]string{`role:rep: forecast manager "zoe" does not exist`},
		},
		{
			"permissions are of known modules", func(o *Organisation) { o.profile("support").Modules = map[string]Permissions{"x": 128} },
			[]string{`profile:support: module "x" does not exist`, `profile:support: it has unknown permissions in module "x"`},
		},
		{"tools are known and occur once", func(o *Organisation) {
			o.profile("support").Tools = []Tool{"hammer", ToolPrint, ToolPrint}
			o.profile("support").Setup = []Setup{"manage_all"}
		}, []string{
			`profile:support: tool "hammer" is unknown`, `profile:support: tool "print" occurs twice`,
			`profile:support: setup permission "manage_all" is unknown`,
		}},
		{"a module's id is a type of its own", func(o *Organisation) {
			o.Modules = append(o.Modules, Module{ID: "role", Name: "X", Kind: Standard}, Module{ID: "A b", Name: "Y", Kind: Standard})
		}, []string{
			"module:role: the id is that of a type which every organisation has: choose another",
			`module:A b: object "module:A b": the id contains a space`,
			"module:A b: the id of a module is at most 40 lower case letters and digits, words joined by '_'",
		}},
		{"parents are standard modules", func(o *Organisation) { o.module("note").Parents = []string{"email", "x"} }, []string{
			`module:note: parent module "email" is not a standard one`, `module:note: parent module "x" does not exist`,
			`note:n1: the parent deal:d1 is of a module that module "note" is not below`,
		}},
		{
			"a child module has a parent", func(o *Organisation) { o.module("email").Parents = nil },
			[]string{"module:email: a child module needs a parent module"},
		},
		{
			"a private module stands alone", func(o *Organisation) { o.module("forecast").Parents = []string{"deal"} },
			[]string{"module:forecast: a private module has no parent modules"},
		},
		{"only standard modules have defaults", func(o *Organisation) {
			o.module("forecast").Default, o.module("note").NoHierarchy = LevelView, true
		}, []string{
			"module:forecast: defaults and the hierarchy can be set for standard modules only",
			"module:note: defaults and the hierarchy can be set for standard modules only",
		}},
		{"kinds and defaults are known", func(o *Organisation) {
			o.module("email").Kind, o.module("deal").Default = "letter", LevelFull
		}, []string{
			`module:email: the kind "letter" is unknown: standard, child, forecast or import_job`,
			"module:deal: the default cannot be full: none, view, edit or delete",
		}},
		{"modules are few", func(o *Organisation) {
			for i := range MaxModules {
				o.Modules = append(o.Modules, Module{ID: fmt.Sprint("m", i), Name: fmt.Sprint("M", i), Kind: Standard})
			}
		}, []string{"org:acme: it has 107 modules, at most 100 are allowed"}},
		{"a mandatory field is not restricted", func(o *Organisation) {
			o.field("deal.amount").Levels = map[string]FieldLevel{"support": FieldRead, "standard": FieldWrite, "x": FieldWrite}
		}, []string{
			"field:deal.amount: it is mandatory and cannot be restricted, not for profile \"support\" either",
			`field:deal.amount: profile "x" does not exist`,
		}},
		{"a field is of a module", func(o *Organisation) {
			o.Fields = append(o.Fields, Field{Module: "x", ID: "", Name: "X", Levels: map[string]FieldLevel{"support": 9}})
		}, []string{
			`field:x.: module "x" does not exist`, "field:x.: it has no id", "field:x.: level 9 is unknown",
		}},
		{"members exist and occur once", func(o *Organisation) {
			o.Groups[0].Members = []Party{
				{Kind: User, ID: "zoe"}, {Kind: HoldersOf, ID: "rep"}, {Kind: HoldersOf, ID: "rep"}, {Kind: Everyone}, {Kind: 9, ID: "q"},
			}
		}, []string{
			"group:desk: member user zoe does not exist", "group:desk: member role rep occurs twice",
			"group:desk: member cannot be everyone", "group:desk: member is of unknown kind 9",
		}},
		{"groups have no cycle", func(o *Organisation) {
			o.Groups[0].Members = append(o.Groups[0].Members, Party{Kind: MembersOf, ID: "all"})
		}, []string{"group:all: it is above itself: all, desk, all: leave out a group that contains it"}},
		{
			"a team is of people", func(o *Organisation) { o.Teams[0].Managers, o.Teams[0].Members = []string{"x"}, []string{"kim", "kim"} },
			[]string{`team:tiger: manager "x" does not exist`, `team:tiger: member "kim" occurs twice`},
		},
		{"a rule shares records of owners", func(o *Organisation) {
			o.Rules[0] = Rule{ID: "emea_desk", Name: "X", Module: "forecast", Source: Party{Kind: Everyone}, Target: Party{Kind: Everyone, ID: "x"}, Level: LevelFull}
		}, []string{
			`rule:emea_desk: module "forecast" is not a standard one: nothing of it can be shared`,
			"rule:emea_desk: the source cannot be everyone", `rule:emea_desk: the target is everyone and has an id, "x"`,
			"rule:emea_desk: it cannot give full: view, edit or delete",
		}},
		{"a rule's parties exist", func(o *Organisation) {
			o.Rules[0].Module, o.Rules[0].Source, o.Rules[0].Target = "x", Party{Kind: RoleAndSubordinates, ID: "x"}, Party{Kind: MembersOf, ID: "y"}
		}, []string{
			`rule:emea_desk: module "x" does not exist`, "rule:emea_desk: the source role and subordinates x does not exist",
			"rule:emea_desk: the target group y does not exist",
		}},
		{"shifts are few", func(o *Organisation) {
			for i := range 29 {
				o.Shifts = append(o.Shifts, Shift{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Hours: Hours{Zone: "UTC"}})
			}
		}, []string{"org:acme: it has 31 shifts, at most 30 are allowed"}},
		{
			"a zone exists", func(o *Organisation) { o.shift("day").Hours.Zone = "Mars/Olympus" },
			[]string{`shift:day: hours: zone: "Mars/Olympus": unknown zone: write an IANA name such as Europe/Paris, or UTC`},
		},
		{"dates and times exist", func(o *Organisation) {
			h := &o.shift("day").Hours
			h.Week[0] = []Window{{Span: Span{-1, 24*60 + 1}}}
			h.Holidays = []string{"2026-02-30", "2026-12-25", "2026-12-25"}
			h.Exceptions = map[string][]Window{"monday": nil}
		}, []string{
			"shift:day: hours 00:-1-24:01 on sunday: a time is from 00:00 to 24:00, and starts before 24:00",
			`shift:day: hours: "2026-02-30" is no date such as 2026-12-25`, `shift:day: hours: holiday "2026-12-25" occurs twice`,
			`shift:day: hours: "monday" is no date such as 2026-12-25`,
		}},
		{"breaks are few and inside", func(o *Organisation) {
			o.shift("day").Hours.Week[0] = []Window{{Span: Span{600, 660}, Breaks: []Span{{600, 610}, {620, 630}, {640, 650}}}}
			o.shift("night").Hours.Week[0] = []Window{{Span: Span{600, 660}, Breaks: []Span{{650, 670}}}}
		}, []string{
			"shift:day: hours 10:00-11:00 on sunday have 3 breaks, at most 2 are allowed",
			"shift:night: hours 10:00-11:00 on sunday: the break 10:50-11:10 is not inside them",
		}},
		{"a shift's hours fit into a tuple", func(o *Organisation) {
			h := &o.shift("day").Hours
			for i := range 3000 {
				h.Holidays = append(h.Holidays, noon.AddDate(1, 0, i).Format(time.DateOnly))
			}
		}, []string{"shift:day: hours: context is too large"}},
		{"a shift is inside business hours", func(o *Organisation) {
			b := &BusinessHours{}
			for d := time.Monday; d <= time.Friday; d++ {
				b.Week[d] = []Window{{Span: Span{0, 24 * 60}}}
			}
			o.Settings.BusinessHours = b
			o.shift("night").Hours.Week[time.Friday] = []Window{{Span: Span{22 * 60, 6 * 60}}}
		}, []string{"shift:night: it is not inside the business hours: it is open on saturday at 00:00, and they are not: shorten the shift, or lengthen them"}},
		{"business hours have windows", func(o *Organisation) {
			o.Settings.BusinessHours = &BusinessHours{FirstDay: 7, Week: Week{{{Span: Span{-1, 60}}}, time.Monday: {{Span: Span{0, 0}, Breaks: []Span{{60, 120}}}}, time.Tuesday: {{Span: Span{0, 0}}}}}
		}, []string{
			"org:acme: the first day of the week is none: 7",
			"org:acme: business hours 00:-1-01:00 on sunday: a time is from 00:00 to 24:00, and starts before 24:00",
			"org:acme: business hours 00:00-00:00 have a break: write two windows",
		}},
		{
			"a record has an owner", func(o *Organisation) { o.record("deal", "d1").Owner = "zoe" },
			[]string{`deal:d1: the owner "zoe" has no seat`},
		},
		{"a record is of a module", func(o *Organisation) { o.record("deal", "d2").Module = "x" }, []string{`x:d2: module "x" does not exist`}},
		{"a record's fields are values", func(o *Organisation) { o.record("deal", "d1").Fields["x"] = 1 }, []string{"deal:d1: its fields cannot be stored: "}},
		{"parents exist and occur once", func(o *Organisation) {
			o.record("deal", "d1").Parents = []Ref{{"account", "a1"}, {"account", "a1"}, {"account", "x"}}
		}, []string{"deal:d1: the parent account:a1 occurs twice", "deal:d1: the parent account:x does not exist"}},
		{"a record is not its own parent", func(o *Organisation) {
			o.module("deal").Parents = []string{"account", "deal"}
			o.record("deal", "d2").Parents = []Ref{{"deal", "d2"}}
		}, []string{"deal:d2: it is its own parent"}},
		{
			"a child has one parent", func(o *Organisation) { o.record("note", "n1").Parents = nil },
			[]string{"note:n1: a record of a child module has one parent, not 0"},
		},
		{"only standard records are shared or confidential", func(o *Organisation) {
			o.record("note", "n1").Confidentiality = Secret
			o.record("forecast", "f1").Shares = []Share{{To: Party{Kind: Everyone}, Level: LevelView}}
		}, []string{
			"note:n1: records of a child module are neither shared nor confidential",
			"forecast:f1: records of a forecast module are neither shared nor confidential",
		}},
		{"a share gives something to somebody, once", func(o *Organisation) {
			o.record("deal", "d2").Confidentiality = 3
			o.record("deal", "d2").Shares = []Share{
				{To: Party{Kind: User, ID: "zoe"}, Level: LevelDelete, Expires: time.Unix(0, 0)},
				{To: Party{Kind: Everyone}, Level: LevelView, Reason: "\xff"},
				{To: Party{Kind: Everyone}, Level: LevelFull},
			}
		}, []string{
			"deal:d2: confidentiality 3 is unknown", "deal:d2: a share's recipient user zoe does not exist",
			"deal:d2: a share cannot give delete: view, edit or full", "deal:d2: the share with user zoe expires before 1970",
			"deal:d2: reason and author of the share with everyone are UTF-8 of at most 900 bytes", "deal:d2: it is shared with everyone twice",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := exampleOrganisation()
			tt.change(o)
			err := o.Validate(DefaultLimits())
			var faults *Error
			if errors.As(err, &faults); (err != nil) != (faults != nil) || errors.Is(err, ErrInvalid) != (err != nil) {
				t.Fatalf("Validate() = %v, no *Error", err)
			}
			var got []string
			if faults != nil {
				for _, f := range faults.Faults {
					got = append(got, f.Error())
				}
			}
			for _, want := range tt.want {
				i := slices.IndexFunc(got, func(g string) bool { return strings.HasPrefix(g, want) })
				if i < 0 {
					t.Errorf("fault %q is missing", want)
					continue
				}
				got = slices.Delete(got, i, i+1)
			}
			for _, g := range got {
				t.Errorf("unexpected fault %q", g)
			}
		})
	}
}

func TestALimitOfZeroIsNone(t *testing.T) {
	o := exampleOrganisation()
	for i := range 40 {
		o.Shifts = append(o.Shifts, Shift{ID: fmt.Sprint(i), Name: fmt.Sprint(i), Hours: Hours{Zone: "UTC"}})
	}
	if err := o.Validate(Limits{}); err != nil {
		t.Error(err)
	}
}

func TestManyFaultsAreShownInPart(t *testing.T) {
	o := exampleOrganisation()
	for i := range 60 {
		o.Teams = append(o.Teams, Team{ID: fmt.Sprint(i)})
	}
	err := o.Validate(DefaultLimits())
	var faults *Error
	if !errors.As(err, &faults) || len(faults.Faults) != 60 {
		t.Fatalf("Validate() = %v, want 60 faults", err)
	}
	if !strings.HasSuffix(err.Error(), "team:49: it has no name\n  and 10 more") {
		t.Errorf("Error() = %q", err)
	}
}

func TestNew(t *testing.T) {
	o := New("acme", "Acme", "ada", "Ada")
	if err := o.Validate(DefaultLimits()); err != nil {
		t.Error(err)
	}
}
