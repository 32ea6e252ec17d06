package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/cmd/remit/storetest"
	"github.com/remit-authz/remit/graph/crm"
)

// examplesFolder holds the worked examples, which people may take for a beginning.
const examplesFolder = "../../scripts/examples"

// The features of an organisation that the examples show, as their names begin.
var features = []string{
	"Role tree", "Superior without permission", "CEO role", "Default roles", "Create role", "Rename", "Reparent",
	"Share data with peers", "Delete with transfer", "Manage Roles", "Hierarchy preference", "Reporting hierarchy",
	"Opt-out of hierarchy per module",

	"Organisation-wide defaults", "Modules without defaults", "Sharing rule", "Source", "Target", "Access type",
	"Superiors Allowed", "Rule lock", "Manage Data Sharing", "Recalculation",

	"Profile", "Default profiles", "Administrator profile", "Super admin", "Several profiles per user",
	"Field-level security", "View All", "Login hours",

	"Manual share", "Related lists", "Bulk share", "Who may receive", "Shares by applications", "Groups", "Teams", "Ownership",
	"Confidentiality",

	"Attachments, notes and e-mails", "Adding them", "Implicit parent access", "Forecasts", "Forecast manager", "Import history",

	"Admin-managed accounts", "Several organisations, one login", "Business hours", "Shift", "Assign by shift",
	"Overnight", "Daylight saving",
}

// fewestExamples is how many examples every feature has at least; those of overnight work
// and of clocks that change count together.
const fewestExamples = 3

func TestExamplesOfOrganisationsPass(t *testing.T) {
	out, errs, status := remit(t, "org", "test", examplesFolder)
	if status != exitYes || errs != "" {
		t.Fatalf("status %d, want %d\n%s%s", status, exitYes, out, errs)
	}
	counts := map[string]int{}
	names, err := filepath.Glob(filepath.Join(examplesFolder, "*.org.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := orgfile.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range file.Tests {
			feature, _, ok := strings.Cut(test.Name, ": ")
			if !ok || !slices.Contains(features, feature) {
				t.Errorf("%s: the example %q names no feature", test.Place, test.Name)
			}
			counts[feature]++
		}
	}
	counts["Overnight"] += counts["Daylight saving"]
	delete(counts, "Daylight saving")
	for _, feature := range features {
		if n := counts[feature]; n < fewestExamples && feature != "Daylight saving" {
			t.Errorf("%q has %d examples, want at least %d", feature, n, fewestExamples)
		}
	}
	t.Logf("examples: %v", slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[a]-counts[b], cmp.Compare(a, b))
	}))
}

func TestAcmeAsAnOrganisationPasses(t *testing.T) {
	out, errs, status := remit(t, "org", "test", "demo")
	if status != exitYes || errs != "" || !strings.Contains(out, "all passed") {
		t.Fatalf("status %d, want %d\n%s%s", status, exitYes, out, errs)
	}
	file, err := orgfile.ReadFS(demoFiles, "demo/acme.org.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Validate(crm.DefaultLimits()); err != nil {
		t.Error(err)
	}
}

func TestWhatFailsInAnOrganisationIsExplained(t *testing.T) {
	out, errs, status := remit(t, "org", "test", "testdata/failing/wrong.org.yaml")
	if status != exitNo || errs != "" {
		t.Errorf("status %d, stderr %q, want %d and nothing", status, errs, exitNo)
	}
	golden(t, "orgfailing.golden", filepath.ToSlash(out))
}

func TestOrganisationFilesThatCannotBeReadAreToldApart(t *testing.T) {
	out, _, status := remit(t, "org", "test", "testdata/failing/broken.org.yaml", "testdata/failing/senseless.org.yaml", "testdata/failing/wrong.org.yaml")
	if status != exitError {
		t.Errorf("status %d, want %d", status, exitError)
	}
	golden(t, "orgbroken.golden", filepath.ToSlash(out))
}

func TestResultsOfOrganisationsAsJSON(t *testing.T) {
	out, errs, status := remit(t, "org", "test", "testdata/failing/wrong.org.yaml", "-o", "json")
	if status != exitNo || errs != "" {
		t.Errorf("status %d, stderr %q, want %d and nothing", status, errs, exitNo)
	}
	var results []storetest.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, test := range results[0].Tests {
		for _, a := range test.Assertions {
			kinds[a.Kind]++
			if a.Passed == strings.Contains(test.Name, "wrong") {
				t.Errorf("%s: %s passed is %v", test.Name, a.Question, a.Passed)
			}
		}
	}
	if want := map[string]int{"can": 7, "list": 2, "who": 2, "fields": 4, "on_duty": 3}; !maps.Equal(kinds, want) {
		t.Errorf("assertions are of the kinds %v, want %v", kinds, want)
	}
}

func TestNamesOfOrganisationFiles(t *testing.T) {
	for _, test := range []struct{ name, arg, want string }{
		{"no such file", "testdata/none.org.yaml", "remit: testdata/none.org.yaml: no such file or directory\n"},
		{"a folder without any", "testdata/help", "remit: testdata/help: no *.org.yaml in this folder\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, errs, status := remit(t, "org", "test", test.arg)
			if status != exitError || out != "" || errs != test.want {
				t.Errorf("status %d, stdout %q, stderr %q; want %d and %q", status, out, errs, exitError, test.want)
			}
		})
	}
}

func TestShiftsOfAFileAreBounded(t *testing.T) {
	text, err := os.ReadFile(examplesFolder + "/hours.org.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "hours.org.yaml")
	text = bytes.Replace(text, []byte("  super_admin: sofia\n"), []byte("  super_admin: sofia\n  max_shifts: 2\n"), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, status := remit(t, "org", "test", file)
	if status != exitError || !strings.Contains(out, "3 shifts, at most 2 are allowed") {
		t.Errorf("status %d, want %d and that there are too many shifts\n%s", status, exitError, out)
	}
}

// The schema is a file that editors can be pointed to; -rewrite records it.
func TestTheSchemaOfOrganisationFiles(t *testing.T) {
	golden(t, "../../../scripts/org.schema.json", must(t, "org", "schema"))
}
