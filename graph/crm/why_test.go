package crm_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph/crm"
)

// whyNoon is a Wednesday.
var whyNoon = time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)

// A company in which each kind of ground occurs: mia leads rob, tom leads a team with him, eve
// is his peer, fay sees his forecasts, kim supports, and lou works by the clock.
func whyCompany(change func(*crm.Organisation)) *crm.Organisation {
	o := crm.New("acme", "Acme", "ada", "Ada")
	o.Modules = []crm.Module{
		{ID: "account", Name: "Accounts", Kind: crm.Standard, Default: crm.LevelEdit},
		{ID: "deal", Name: "Deals", Kind: crm.Standard, Parents: []string{"account"}},
		{ID: "note", Name: "Notes", Kind: crm.Child, Parents: []string{"deal"}},
	}
	all := map[string]crm.Permissions{"account": crm.PermissionViewAll - 1, "deal": crm.PermissionViewAll - 1, "note": crm.PermissionViewAll - 1}
	o.Profiles[0].Modules, o.Profiles[1].Modules = all, all
	o.Profiles = append(o.Profiles,
		crm.Profile{ID: "auditor", Name: "Auditor", Modules: map[string]crm.Permissions{"deal": crm.PermissionView | crm.PermissionViewAll}},
		crm.Profile{ID: "clock", Name: "By the Clock", Gated: true, Modules: map[string]crm.Permissions{"deal": crm.PermissionView}})
	o.Settings.LoginHours = true
	o.Roles = append(o.Roles,
		crm.Role{ID: "emea", Name: "EMEA", Parent: "manager"},
		crm.Role{ID: "rep", Name: "Rep EMEA", Parent: "emea", Peers: crm.LevelEdit, ForecastManagers: []string{"fay"}},
		crm.Role{ID: "agent", Name: "Agent", Parent: "ceo"}, crm.Role{ID: "lead", Name: "Support Lead", Parent: "ceo"},
		crm.Role{ID: "junior", Name: "Junior", Parent: "lead"})
	day := crm.Window{Span: crm.Span{Start: 9 * 60, End: 17 * 60}}
	o.Shifts = []crm.Shift{{ID: "day", Name: "Day", Hours: crm.Hours{Zone: "UTC", Week: crm.Week{time.Wednesday: {day}}}}}
	seat := func(id, role, profile string) {
		o.Seats = append(o.Seats, crm.Seat{ID: id, Name: strings.ToUpper(id[:1]) + id[1:], Role: role, Profiles: []string{profile}})
	}
	for _, s := range [][3]string{
		{"mia", "emea", "standard"},
		{"rob", "rep", "standard"},
		{"tom", "agent", "standard"},
		{"eve", "rep", "standard"},
		{"fay", "agent", "standard"},
		{"kim", "agent", "standard"},
		{"lou", "agent", "clock"},
		{"aud", "agent", "auditor"},
		{"max", "lead", "standard"},
		{"jim", "junior", "standard"},
		{"joe", "ceo", "standard"},
	} {
		seat(s[0], s[1], s[2])
	}
	o.Teams = []crm.Team{{ID: "t", Name: "Tigers", Managers: []string{"tom"}, Members: []string{"rob"}}}
	o.Groups = []crm.Group{
		{ID: "inner", Name: "Inner", Members: []crm.Party{{Kind: crm.RoleAndSubordinates, ID: "lead"}}},
		{ID: "outer", Name: "Outer", Members: []crm.Party{{Kind: crm.MembersOf, ID: "inner"}, {Kind: crm.User, ID: "kim"}}},
	}
	o.Rules = []crm.Rule{
		{
			ID: "r1", Name: "EMEA to Outer", Module: "deal", Level: crm.LevelView,
			Source: crm.Party{Kind: crm.RoleAndSubordinates, ID: "emea"}, Target: crm.Party{Kind: crm.MembersOf, ID: "outer"},
		},
		{
			ID: "r2", Name: "Rob to Juniors", Module: "deal", Level: crm.LevelDelete, Superiors: true,
			Source: crm.Party{Kind: crm.User, ID: "rob"}, Target: crm.Party{Kind: crm.HoldersOf, ID: "junior"},
		},
	}
	o.Records = []crm.Record{
		{Module: "account", ID: "a1", Owner: "mia", Shares: []crm.Share{{
			To: crm.Party{Kind: crm.User, ID: "lou"}, Level: crm.LevelFull, Related: true, Expires: whyNoon.Add(90 * time.Second),
		}}},
		{Module: "deal", ID: "d1", Owner: "rob", Parents: []crm.Ref{{Module: "account", ID: "a1"}}, Shares: []crm.Share{
			{To: crm.Party{Kind: crm.RoleAndSubordinates, ID: "lead"}, Level: crm.LevelEdit, Expires: whyNoon.Add(-time.Hour)},
		}},
		{Module: "note", ID: "n1", Owner: "kim", Parents: []crm.Ref{{Module: "deal", ID: "d1"}}},
	}
	if change != nil {
		change(o)
	}
	return o
}

// The sentences of every kind of ground.
func TestWhySentences(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*crm.Organisation)
		deed   crm.Deed
		at     time.Duration // from noon
		want   []string
	}{
		{name: "team", deed: crm.Deed{User: "tom", Action: "edit", On: "deal:d1"}, want: []string{
			`"Tom" manages team "Tigers", of which the owner, "Rob", is a member`,
		}},
		{name: "peer", deed: crm.Deed{User: "eve", Action: "edit", On: "deal:d1"}, want: []string{
			`"Eve" and the owner, "Rob", hold role "Rep EMEA", whose holders share what they own: edit`,
		}},
		{name: "forecast manager", deed: crm.Deed{User: "fay", Action: "view", On: "deal:d1"}, want: []string{
			`"Fay" is a forecast manager of role "Rep EMEA", which the owner, "Rob", holds`,
		}},
		{name: "default", deed: crm.Deed{User: "fay", Action: "edit", On: "account:a1"}, want: []string{
			`everybody has edit on all accounts`,
		}},
		{name: "view all", deed: crm.Deed{User: "aud", Action: "view", On: "deal:d1"}, want: []string{
			`profile "Auditor" gives view on all deals`,
		}},
		{name: "root", deed: crm.Deed{User: "joe", Action: "view", On: "deal:d1"}, want: []string{
			`"Joe" is superior to the owner, "Rob": role "CEO" stands above role "Rep EMEA"`,
			`"Joe" holds role "CEO", above all others`,
			`rule "Rob to Juniors" shares deals owned by user "Rob" with the superiors of role "Junior": delete`,
		}},
		{name: "super admin", deed: crm.Deed{User: "ada", Action: "share", On: "deal:d1"}, want: []string{
			`"Ada" is superior to the owner, "Rob": role "CEO" stands above role "Rep EMEA"`,
			`"Ada" holds role "CEO", above all others`,
			`profile "Administrator" makes "Ada" an administrator`,
			`"Ada" is the super admin`,
			`rule "Rob to Juniors" shares deals owned by user "Rob" with the superiors of role "Junior": delete`,
		}},
		{name: "superiors of a rule", deed: crm.Deed{User: "max", Action: "delete", On: "deal:d1"}, want: []string{
			`rule "Rob to Juniors" shares deals owned by user "Rob" with the superiors of role "Junior": delete`,
			`rule "EMEA to Outer" shares deals owned by role "EMEA" and its subordinates ("Rob" has role "Rep EMEA") with group "Outer" ("Max" is in it by group "Inner"): view`,
		}},
		{name: "group in group", deed: crm.Deed{User: "jim", Action: "view", On: "deal:d1"}, want: []string{
			`rule "Rob to Juniors" shares deals owned by user "Rob" with role "Junior": delete`,
			`rule "EMEA to Outer" shares deals owned by role "EMEA" and its subordinates ("Rob" has role "Rep EMEA") with group "Outer" ("Jim" is in it by group "Inner"): view`,
		}},
		{name: "related, by the clock", deed: crm.Deed{User: "lou", Action: "view", On: "deal:d1"}, want: []string{
			`account:a1 and its related lists are shared with user "Lou": full access, until 2026-06-10 12:01:30 UTC`,
			`profile "By the Clock" closes outside working hours, and "Lou" is inside those of shift "Day" until 2026-06-10 17:00 UTC`,
		}},
		{name: "after hours", deed: crm.Deed{User: "lou", Action: "view", On: "deal:d1"}, at: 6 * time.Hour, want: []string{
			`profile "By the Clock" closes outside working hours, and those of "Lou" begin at 2026-06-17 09:00 UTC`,
			`account:a1 and its related lists were shared with user "Lou": full access, until 2026-06-10 12:01:30 UTC`,
			`nothing gives "Lou" view on deal:d1, which belongs to "Rob", role "Rep EMEA"; who has full access can share it, and a rule can share all that the owner has`,
		}},
		{name: "expired", deed: crm.Deed{User: "max", Action: "edit", On: "deal:d1"}, change: func(o *crm.Organisation) { o.Rules = nil }, want: []string{
			`deal:d1 was shared with role "Support Lead" and its subordinates: edit, until 2026-06-10 11:00 UTC`,
			`nothing gives "Max" edit on deal:d1, which belongs to "Rob", role "Rep EMEA"; who has full access can share it, and a rule can share all that the owner has`,
		}},
		{name: "note", deed: crm.Deed{User: "fay", Action: "edit", On: "note:n1"}, want: []string{
			`note:n1 belongs to deal:d1, which "Fay" may not edit, and was written by "Kim"`,
			`"Fay" has only view on deal:d1, and not edit: "Fay" is a forecast manager of role "Rep EMEA", which the owner, "Rob", holds`,
		}},
		{name: "adding", deed: crm.Deed{User: "kim", Action: "add_note", On: "deal:d1"}, change: func(o *crm.Organisation) { o.Settings.AddingNeedsEdit = true }, want: []string{
			`the organisation lets only those add to a record who have edit on it`,
			`"Kim" has only view on deal:d1, and not edit: rule "EMEA to Outer" shares deals owned by role "EMEA" and its subordinates ("Rob" has role "Rep EMEA") with group "Outer" ("Kim" is in it): view`,
		}},
		{name: "superiors are kept out", deed: crm.Deed{User: "mia", Action: "edit", On: "deal:d1"}, change: func(o *crm.Organisation) { o.Modules[1].NoHierarchy = true }, want: []string{
			`deals keep superiors out, and "Mia" is superior to the owner, "Rob": role "EMEA" stands above role "Rep EMEA"`,
			`nothing gives "Mia" edit on deal:d1, which belongs to "Rob", role "Rep EMEA"; who has full access can share it, and a rule can share all that the owner has`,
		}},
		{name: "restricted", deed: crm.Deed{User: "jim", Action: "view", On: "deal:d1"}, change: func(o *crm.Organisation) { o.Records[1].Confidentiality = crm.Restricted }, want: []string{
			`deal:d1 is restricted; were it open, this would give delete: rule "Rob to Juniors" shares deals owned by user "Rob" with role "Junior": delete (1 other ground would count, too)`,
			`deal:d1 was shared with role "Support Lead" and its subordinates ("Jim" has role "Junior"): edit, until 2026-06-10 11:00 UTC`,
			`nothing gives "Jim" view on deal:d1, which belongs to "Rob", role "Rep EMEA"; who has full access can share it`,
		}},
		{name: "reporting", deed: crm.Deed{User: "mia", Action: "edit", On: "deal:d1"}, change: func(o *crm.Organisation) {
			o.Settings.Hierarchy = crm.ByReporting
			o.Seats[2].Manager = "mia"
		}, want: []string{
			`"Mia" is superior to the owner, "Rob", who reports to "Mia"`,
		}},
	} {
		o := whyCompany(func(o *crm.Organisation) {
			for i := range o.Seats {
				if o.Seats[i].ID == "lou" {
					o.Seats[i].Shifts = []crm.Assignment{{Shift: "day"}}
				}
			}
			if tt.change != nil {
				tt.change(o)
			}
		})
		if err := o.Validate(crm.DefaultLimits()); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		a := crm.Load(t, o, false).Why(t, tt.deed, whyNoon.Add(tt.at), nil)
		var got []string
		for _, g := range slices.Concat(a.Grounds, a.Missing) {
			if g.Kind != crm.GroundProfile && g.Kind != crm.GroundSeat {
				got = append(got, g.Text)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
