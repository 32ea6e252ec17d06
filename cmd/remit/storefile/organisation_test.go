package storefile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
		{Name: "lists alone are left out"},
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
