package crm

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// TestScopesKeepNoIDs plans changes of entities with long and telling ids: scopes outlive
// those, and nobody erases them.
func TestScopesKeepNoIDs(t *testing.T) {
	s := Manage(t, exampleOrganisation())
	long := strings.Repeat("ann.of.acme@example.org/", 40)
	named := regexp.MustCompile(`^(access|erased|all/(org|user|profile|module|field|group|team|rule|shift)|uses/[0-9a-f]{32})$`)
	check := func(p *Plan) {
		t.Helper()
		scopes := slices.Clone(p.Bumps)
		for _, r := range p.Requires {
			scopes = append(scopes, r.Scope)
		}
		for _, scope := range scopes {
			if !named.MatchString(scope) {
				t.Errorf("the scope %q may say whose it is", scope)
			}
		}
	}
	plan := func(d *Draft, err error) *Plan {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan()
		if err != nil {
			t.Fatal(err)
		}
		check(p)
		return p
	}
	d := s.Draft()
	d.As("ada")
	hired := plan(d, d.Put(&Seat{ID: long, Name: "Ann", Role: "rep", Profiles: []string{"standard"}, Manager: "mia"}, nil))
	if err := s.Commit(t, hired); err != nil {
		t.Fatal(err)
	}
	d = s.Draft()
	plan(d, d.Transfer([]Ref{{"deal", "d1"}}, long))
	d = s.Draft()
	left := plan(d, d.Delete(entity(typeUser, long), "mia", nil))
	if !slices.ContainsFunc(left.Requires, func(r ScopeVersion) bool { return r.Scope == usesScope(entity(typeUser, long)) }) {
		t.Errorf("who leaves is required to have no new references: %v", left.Requires)
	}
	for i, key := range []string{"rep", "emea", "ceo"} {
		for _, other := range []string{"rep", "emea", "ceo"}[:i] {
			if usesScope(entity(typeRole, key)) == usesScope(entity(typeRole, other)) {
				t.Errorf("roles %s and %s share a scope", key, other)
			}
		}
	}
}

// TestAccessIsWhatRightsRestOn lists what bumps the scope that plans on behalf of seats
// require.
func TestAccessIsWhatRightsRestOn(t *testing.T) {
	for name, change := range map[string]struct {
		edit  func(o *Organisation)
		bumps bool
	}{
		"a name":             {func(o *Organisation) { o.seat("rob").Name = "Robert" }, false},
		"who sits on a seat": {func(o *Organisation) { o.seat("rob").Login = "rob@example.org" }, true},
		"a profile less":     {func(o *Organisation) { o.seat("rob").Profiles = nil }, true},
		"a role":             {func(o *Organisation) { o.seat("rob").Role = "america" }, true},
		"a record's owner":   {func(o *Organisation) { o.record("deal", "d2").Owner = "rob" }, false},
		"a setting":          {func(o *Organisation) { o.Settings.Hierarchy = ByReporting }, true},
		"keeping shares":     {func(o *Organisation) { o.Settings.KeepShares = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := Manage(t, exampleOrganisation())
			to := exampleOrganisation()
			change.edit(to)
			d := s.Draft()
			if err := d.Become(to); err != nil {
				t.Fatal(err)
			}
			p, err := d.Plan()
			if err != nil {
				t.Fatal(err)
			}
			if bumps := slices.Contains(p.Bumps, scopeAccess); bumps != change.bumps || len(p.Edits) != 1 {
				t.Errorf("%d edits bump %v", len(p.Edits), p.Bumps)
			}
		})
	}
}

// TestOnlyOneOrganisationIsMade plans two in an empty store: only one of them can be made.
func TestOnlyOneOrganisationIsMade(t *testing.T) {
	empty := &Managed{store: &store{Memory: graph.NewMemory(1, time.Time{})}, table: model.NewTable(), scopes: map[string]uint64{}}
	var plans []*Plan
	for _, id := range []string{"acme", "other"} {
		o := New(id, id, id, id)
		d := empty.Draft()
		for e := range o.Entities() {
			if err := d.Put(e, nil); err != nil {
				t.Fatal(err)
			}
		}
		p, err := d.Plan()
		if err != nil {
			t.Fatal(err)
		}
		// What they have in common, as their first roles, would keep them apart already.
		p.Read = slices.DeleteFunc(p.Read, func(r DocumentVersion) bool { return r.Entity.Type != typeOrg })
		plans = append(plans, p)
	}
	for _, scope := range plans[0].Bumps {
		empty.scopes[scope]++
	}
	if empty.Conflict(plans[1]) == nil {
		t.Error("a second organisation can be made in the same store")
	}
}
