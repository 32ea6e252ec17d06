package rpc

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A ground holds since the last of what it rests on was written, whichever that is of the
// tuples between the user and the owner, and by whom that was.
func TestWhyTellsSinceWhenAGroundHolds(t *testing.T) {
	c := &clock{now: noon}
	a := newRigAt(t, c.Now).organisation("acme", whyTeam(), noon)
	seat := func(id string, set func(*remitv1.Seat), mask string) *remitv1.Edit {
		s := &remitv1.Seat{Id: id}
		set(s)
		return putOf(aSeat(s), mask)
	}
	role := func(id string) func(*remitv1.Seat) { return func(s *remitv1.Seat) { s.Role = id } }
	parent := func(id, above string) *remitv1.Edit {
		return putOf(aRole(&remitv1.Role{Id: id, Parent: above}), "parent")
	}
	manager := func(id, above string) *remitv1.Edit {
		return seat(id, func(s *remitv1.Seat) { s.Manager = above }, "manager")
	}
	hierarchy := func(h remitv1.Hierarchy) *remitv1.Edit {
		return putOf(aSettings(&remitv1.Settings{Hierarchy: h}), "hierarchy")
	}
	group := func(id string, members ...string) *remitv1.Edit {
		return putOf(aGroup(&remitv1.Group{Id: id, Name: strings.ToUpper(id), Members: members}))
	}
	const (
		byRole   = remitv1.Hierarchy_HIERARCHY_BY_ROLE
		byReport = remitv1.Hierarchy_HIERARCHY_BY_REPORTING
	)
	// Each step changes something and puts it back where two edits are given, so that the ground
	// is there before and after it.
	for _, step := range []struct {
		name   string
		by     string            // empty: an application
		edits  [][]*remitv1.Edit // each a change
		user   string
		ground string // begins so
		holds  bool   // since the step
	}{
		{"the owner's role", "ada", [][]*remitv1.Edit{{seat("rob", role("agent"), "role")}, {seat("rob", role("rep"), "role")}}, "mia", `"Mia" is superior`, true},
		{"a role between", "", [][]*remitv1.Edit{{parent("rep", "ceo")}, {parent("rep", "emea")}}, "mia", `"Mia" is superior`, true},
		{"a role above both", "ada", [][]*remitv1.Edit{{parent("emea", "ceo")}, {parent("emea", "manager")}}, "mia", `"Mia" is superior`, false},
		{"the user's role", "ada", [][]*remitv1.Edit{{seat("mia", role("agent"), "role")}, {seat("mia", role("emea"), "role")}}, "mia", `"Mia" is superior`, true},
		{"a name", "ada", [][]*remitv1.Edit{{putOf(aRole(&remitv1.Role{Id: "emea", Name: "Europe"}), "name")}}, "mia", `"Mia" is superior`, false},
		{"the hierarchy", "ada", [][]*remitv1.Edit{{hierarchy(byReport)}, {hierarchy(byRole)}}, "mia", `"Mia" is superior`, true},
		{"reporting begins", "ada", [][]*remitv1.Edit{{manager("rob", "mia"), manager("mia", "joe"), hierarchy(byReport)}}, "mia", `"Mia" is superior to the owner, "Rob", who reports`, true},
		{"the line above", "ada", [][]*remitv1.Edit{{manager("mia", "ada")}}, "mia", `"Mia" is superior`, false},
		{"the line between", "ada", [][]*remitv1.Edit{{manager("mia", "")}, {manager("mia", "ada")}}, "ada", `"Ada" is superior to the owner, "Rob", who reports to "Ada" through "Mia"`, true},
		{"the line to the owner", "", [][]*remitv1.Edit{{manager("rob", "ada")}, {manager("rob", "mia")}}, "ada", `"Ada" is superior`, true},
		{"a rule for a group", "ada", [][]*remitv1.Edit{{group("inner", "user:kim"), group("outer", "group:inner")}, {
			putOf(aRule(&remitv1.SharingRule{Id: "r9", Name: "Nine", Module: "deal", Source: "role-and-subordinates:emea", Target: "group:outer", Level: toView})),
		}}, "kim", `rule "Nine"`, true},
		{"the group inside", "", [][]*remitv1.Edit{{group("inner")}, {group("inner", "user:kim")}}, "kim", `rule "Nine"`, true},
		{"the group outside", "ada", [][]*remitv1.Edit{{group("outer")}, {group("outer", "group:inner")}}, "kim", `rule "Nine"`, true},
		{"another member", "ada", [][]*remitv1.Edit{{group("inner", "user:kim", "user:uma")}}, "kim", `rule "Nine"`, false},
		{"the source's role", "ada", [][]*remitv1.Edit{{parent("rep", "manager")}, {parent("rep", "emea")}}, "kim", `rule "Nine"`, true},
		{"a share's role", "ada", [][]*remitv1.Edit{{seat("kim", role("manager"), "role")}, {seat("kim", role("agent"), "role")}}, "kim", `deal:d1 is shared with role "Agent"`, true},
		{"another's role", "ada", [][]*remitv1.Edit{{seat("uma", role("manager"), "role")}}, "kim", `deal:d1 is shared with role "Agent"`, false},
	} {
		var at time.Time
		for _, edits := range step.edits {
			at = c.Advance(time.Minute)
			if _, err := a.org.Change(t.Context(), &remitv1.ChangeRequest{Store: a.store, Edits: edits, As: step.by}); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
		}
		scope := &remitv1.OrganisationScope{Store: a.store, At: timestamppb.New(noon)}
		res, _, err := a.why(scope, step.user, "view", "deal:d1", "")
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		found := false
		for _, g := range res.Grounds {
			if !strings.HasPrefix(g.Text, step.ground) {
				continue
			}
			found = true
			by := ""
			if step.by != "" {
				by = userText(step.by)
			}
			if since := g.Since.AsTime(); since.Equal(at) != step.holds || step.holds && g.By != by {
				t.Errorf("%s at %s by %q: %s, since %s by %q", step.name, at, by, g.Text, since, g.By)
			}
		}
		if !found {
			t.Errorf("%s: no ground %s in %v", step.name, step.ground, res)
		}
	}
}
