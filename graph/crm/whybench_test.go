package crm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
)

// largeCompany has 5,000 roles, each held by some people, and 300 rules that all share what
// everybody owns, with targets of every kind, every second one with their superiors, too.
func largeCompany(hierarchy crm.Hierarchy) *crm.Organisation {
	const roles, seats, groups, rules, perRole = 5000, 20_000, 200, 300, 8
	o := crm.New("acme", "Acme", "boss", "Boss")
	o.Settings.Hierarchy = hierarchy
	o.Modules = []crm.Module{{ID: "deal", Name: "Deals", Kind: crm.Standard}}
	o.Profiles[0].Modules = map[string]crm.Permissions{"deal": crm.AllPermissions()}
	o.Profiles[1].Modules = map[string]crm.Permissions{"deal": crm.PermissionViewAll - 1}
	role := func(i int) string {
		if i == 0 {
			return "ceo"
		}
		return fmt.Sprint("r", i)
	}
	for i := 1; i < roles; i++ {
		o.Roles = append(o.Roles, crm.Role{ID: role(i), Name: fmt.Sprint("Role ", i), Parent: role((i - 1) / perRole)})
	}
	holder := func(i int) string { // one of each role
		switch i {
		case 0:
			return "boss"
		case 1:
			return fmt.Sprint("u", roles-1)
		default:
			return fmt.Sprint("u", i-1)
		}
	}
	for i := 1; i < seats; i++ {
		held := 1 + i%(roles-1)
		o.Seats = append(o.Seats, crm.Seat{
			ID: fmt.Sprint("u", i), Name: fmt.Sprint("User ", i), Role: role(held), Profiles: []string{"standard"},
			Manager: holder((held - 1) / perRole),
		})
	}
	for i := range groups {
		g := crm.Group{ID: fmt.Sprint("g", i), Name: fmt.Sprint("Group ", i)}
		for k := range 20 {
			g.Members = append(g.Members, crm.Party{Kind: crm.User, ID: fmt.Sprint("u", 1+(i*97+k*13)%(seats-1))})
		}
		g.Members = append(g.Members, crm.Party{Kind: crm.HoldersOf, ID: role(100 + i)}, crm.Party{Kind: crm.RoleAndSubordinates, ID: role(400 + i)})
		o.Groups = append(o.Groups, g)
	}
	for i := range rules {
		r := crm.Rule{
			ID: fmt.Sprint("x", i), Name: fmt.Sprint("Rule ", i), Module: "deal", Level: crm.LevelView, Superiors: i%2 == 0,
			Source: crm.Party{Kind: crm.RoleAndSubordinates, ID: "ceo"},
		}
		switch i % 4 {
		case 0:
			r.Target = crm.Party{Kind: crm.HoldersOf, ID: role(1000 + i)}
		case 1, 2:
			r.Target = crm.Party{Kind: crm.MembersOf, ID: fmt.Sprint("g", i%groups)}
		default:
			r.Target = crm.Party{Kind: crm.RoleAndSubordinates, ID: role(2000 + i)}
		}
		o.Rules = append(o.Rules, r)
	}
	for i := range 10 {
		o.Records = append(o.Records, crm.Record{Module: "deal", ID: fmt.Sprint("d", i), Owner: fmt.Sprint("u", seats-1-i)})
	}
	return o
}

// askers are people at the top, in the middle and at the bottom of the company.
var askers = []string{"boss", "u1", "u30", "u300", "u4900"}

// BenchmarkWhy asks in a company of 5,000 roles, in which 300 rules concern the record.
func BenchmarkWhy(b *testing.B) {
	for _, h := range []crm.Hierarchy{crm.ByRole, crm.ByReporting} {
		s := crm.Load(b, largeCompany(h), false)
		for _, user := range askers {
			b.Run(fmt.Sprintf("by=%s/user=%s", h, user), func(b *testing.B) {
				q := s.Inquiry(b, time.Time{})
				edges := 0
				q.Visited = func(n int) { edges = n }
				for b.Loop() {
					if _, err := q.Why(b.Context(), crm.Deed{User: user, Action: "delete", On: "deal:d1"}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(edges), "edges")
			})
		}
	}
}

// TestWhyCostsLittleInALargeCompany bounds the edges that are visited, and agrees with the
// engine there, too.
func TestWhyCostsLittleInALargeCompany(t *testing.T) {
	const most = 100_000 // some ten milliseconds
	for _, h := range []crm.Hierarchy{crm.ByRole, crm.ByReporting} {
		o := largeCompany(h)
		if err := o.Validate(crm.DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		s := crm.Load(t, o, false)
		for _, user := range askers {
			q := s.Inquiry(t, time.Time{})
			edges := 0
			q.Visited = func(n int) { edges = n }
			for _, action := range []string{"view", "delete"} {
				deed := crm.Deed{User: user, Action: action, On: "deal:d1"}
				a, err := q.Why(t.Context(), deed)
				if err != nil {
					t.Fatal(err)
				}
				if want := s.Meets(t, deed, time.Time{}); a.Allowed != want {
					t.Errorf("%s: Why(%+v) = %v, the engine says %v", h, deed, a.Allowed, want)
				}
				if t.Logf("%s: %+v visits %d edges", h, deed, edges); edges > most {
					t.Errorf("%s: Why(%+v) visits %d edges", h, deed, edges)
				}
			}
		}
	}
}

// A question that would visit too much ends with an error, as does one whose time is up.
func TestWhyEndsAtItsLimits(t *testing.T) {
	o := crm.New("acme", "Acme", "ada", "Ada")
	o.Modules = []crm.Module{{ID: "deal", Name: "Deals", Kind: crm.Standard}}
	o.Records = []crm.Record{{Module: "deal", ID: "d1", Owner: "ada"}}
	if err := o.Validate(crm.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	s := crm.Load(t, o, false)
	deed := crm.Deed{User: "ada", Action: "view", On: "deal:d1"}
	q := s.Inquiry(t, time.Time{})
	visited := 0
	q.Visited = func(n int) { visited = n }
	if _, err := q.Why(t.Context(), deed); err != nil || visited == 0 {
		t.Fatalf("Why = %v, %d edges", err, visited)
	}
	enough := visited
	for q.Budget = 1; q.Budget < enough; q.Budget++ {
		if a, err := q.Why(t.Context(), deed); !errors.Is(err, graph.ErrBudget) {
			t.Fatalf("Why with a budget of %d of %d edges = %v, %v", q.Budget, enough, a, err)
		}
	}
	if a, err := q.Why(t.Context(), deed); err != nil || a.Allowed {
		t.Errorf("Why with just enough = %v, %v", a, err)
	}
	over := errors.New("over")
	q.Pace = func(context.Context) error { return over }
	if a, err := q.Why(t.Context(), deed); !errors.Is(err, over) {
		t.Errorf("Why without time = %v, %v", a, err)
	}
}
