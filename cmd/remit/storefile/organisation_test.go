package storefile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/cmd/remit/storetest"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/graph/value"
)

// TestAnExportIsAStoreFile exports random organisations, with everything that is decided
// about them as tests, and runs the files as one would any other: without a word about
// organisations, they answer the same.
func TestAnExportIsAStoreFile(t *testing.T) {
	v := crmtest.VolumeOf(t, "cmd/remit/storefile", 3, 50)
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		now := g.Instant()
		x, err := crm.Export(o, crm.Period{From: now, Until: now.AddDate(0, 1, 0)})
		if err != nil {
			t.Fatalf("%v\n%s", err, v.Again(n))
		}
		tests := decisions(o, now)
		var out strings.Builder
		if err := storefile.WriteExport(&out, o.Name, x, tests); err != nil {
			t.Fatal(err)
		}
		file, err := storefile.ReadFS(files("acme.fga.yaml", out.String()), "acme.fga.yaml")
		if err != nil {
			t.Fatalf("%v\n%s", err, v.Again(n))
		}
		if file.Name != o.Name || strings.TrimSpace(file.Source.DSL) != strings.TrimSpace(x.Model) || len(file.Warnings) > 0 {
			t.Errorf("the file has another name or model, or warnings %v\n%s", file.Warnings, v.Again(n))
		}
		var got []graph.Tuple
		for _, tuple := range file.Tuples {
			got = append(got, tuple.Tuple)
		}
		if diff := cmp.Diff(x.Tuples, got); diff != "" {
			t.Errorf("tuples (-want +got):\n%s\n%s", diff, v.Again(n))
		}
		if diff := cmp.Diff(tests, file.Tests, cmpopts.IgnoreTypes(storefile.Place{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("tests (-want +got):\n%s\n%s", diff, v.Again(n))
		}
		result, err := storetest.Run(t.Context(), file, now.AddDate(1, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if passed, failed := result.Count(); failed > 0 || passed < len(tests[0].Checks) {
			t.Errorf("%d of %d assertions fail\n%s", failed, passed+failed, v.Again(n))
		}
	}
}

// decisions are what is decided by one check each, as a test.
func decisions(o *crm.Organisation, now time.Time) []storefile.Test {
	test := storefile.Test{Name: "everything", Description: "at " + now.String()}
	crmtest.NewOracle(o, now).Decisions(func(d crmtest.Decision) bool {
		if len(d.Checks) == 1 {
			c := d.Checks[0]
			test.Checks = append(test.Checks, storefile.Check{
				Users:      []string{"user:" + crm.ExportID(d.User)},
				Objects:    []string{c.Object.Type + ":" + crm.ExportID(c.Object.ID)},
				Context:    value.Map{"now": now.Format(time.RFC3339Nano)},
				Assertions: []storefile.CheckAssertion{{Relation: c.Relation, Allowed: d.Allowed}},
			})
		}
		return true
	})
	return []storefile.Test{test}
}

func TestTheHeadOfAnExportSaysWhatToKnow(t *testing.T) {
	o := crm.New("acme", "Acme", "ann", "Ann")
	o.Seats = append(o.Seats, crm.Seat{ID: "\u2028tuples:" + strings.Repeat("é", 200), Name: "Bob", Role: "manager", Profiles: []string{"standard"}})
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	x, err := crm.Export(o, crm.Period{From: from, Until: from.AddDate(1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := storefile.WriteExport(&out, o.Name, x, []storefile.Test{
		{Name: "two", Checks: []storefile.Check{{
			Users: []string{"user:ann", "user:bob"}, Objects: []string{"org:acme"},
			Assertions: []storefile.CheckAssertion{{Relation: "suspended"}},
		}}},
	}); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(out.String(), "\nname:")
	for _, want := range []string{"now in their context", "from 2026-01-01 until 2027-01-01", "%3A, %2A and %25", "the id is too long"} {
		if !strings.Contains(head, want) {
			t.Errorf("the head does not say %q:\n%s", want, head)
		}
	}
	file, err := storefile.ReadFS(files("acme.fga.yaml", out.String()), "acme.fga.yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	if len(file.Tests) != 1 || !slices.Equal(file.Tests[0].Checks[0].Users, []string{"user:ann", "user:bob"}) {
		t.Errorf("the tests are %v", file.Tests)
	}
}

// TestTheTestsOfAnOrganisationHoldOfItsExport runs the tests of an organisation file
// against its export.
func TestTheTestsOfAnOrganisationHoldOfItsExport(t *testing.T) {
	const text = `
organisation: {id: acme, name: Acme, super_admin: ann}
modules:
  deal: {name: Deals, kind: standard}
profiles:
  admin: {name: Administrator, administrator: true, modules: {deal: all}, tools: [export]}
  std: {name: Standard, modules: {deal: [view, edit]}}
fields:
  deal:
    iban: {name: IBAN, levels: {std: hidden}}
roles:
  ceo: {name: CEO}
  rep: {name: Rep, parent: ceo}
shifts:
  "s:1": {name: Days, zone: Europe/Paris, hours: {mon: "09:00-17:00"}}
users:
  ann: {name: Ann, role: ceo, profiles: [admin]}
  "b:ob": {name: Bob, role: rep, profiles: [std], shifts: ["s:1"]}
  cy: {name: Cy, role: rep, profiles: [std]}
records:
  deal:
    1: {owner: "b:ob"}
    2: {owner: cy}
tests:
  - name: everything
    description: that can be asked
    at: 2026-06-01T10:00:00Z
    can:
      - {user: ["b:ob"], record: "deal:1", may: [view, edit], may_not: [delete, export]}
      - {user: ann, record: ["deal:1", "deal:2"], may: [view, export]}
      - {user: ann, module: deal, may: create}
      - {user: ann, may: export, may_not: manage_roles}
      - {user: ann, record: "deal:1", may: view, at: 2020-01-01T00:00:00Z}
    list: [{user: "b:ob", module: deal, records: ["1"]}]
    who: [{record: "deal:1", users: [ann, "b:ob"]}]
    fields: [{user: "b:ob", record: "deal:1", read: []}]
    on_duty: [{shift: "s:1", users: ["b:ob"]}, {users: ["b:ob"]}]
  - name: changed
    change:
      records:
        deal:
          3: {owner: cy}
    can: [{user: cy, record: "deal:3", may: view}]
`
	file, err := orgfile.ReadFS(files("acme.org.yaml", text), "acme.org.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Validate(crm.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	x, err := crm.Export(file.Organisation, crm.Period{From: from, Until: from.AddDate(1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	tests, left, err := storefile.OrganisationTests(file, x.Horizon, from)
	if err != nil {
		t.Fatal(err)
	}
	// Denied exporting, the instant in 2020, fields, no shift, the change.
	if left != 5 {
		t.Errorf("%d questions are left out, want 5", left)
	}
	var out strings.Builder
	if err := storefile.WriteExport(&out, "Acme", x, tests); err != nil {
		t.Fatal(err)
	}
	written, err := storefile.ReadFS(files("acme.fga.yaml", out.String()), "acme.fga.yaml")
	if err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	result, err := storetest.Run(t.Context(), written, from)
	if err != nil {
		t.Fatal(err)
	}
	// Bob 3, Ann 3 for each record, creating 1, in general 2; list, who and on duty 1 each.
	if passed, failed := result.Count(); passed != 15 || failed != 0 {
		t.Errorf("%d assertions pass and %d fail, want 15 and 0, in\n%s", passed, failed, out.String())
	}
}
