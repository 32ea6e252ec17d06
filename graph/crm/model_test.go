package crm

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph/model"
)

var rewrite = flag.Bool("rewrite", false, "record the golden files anew")

// exampleModules are one of each kind, with parents as a CRM has them.
func exampleModules() []Module {
	return []Module{
		{ID: "account", Name: "Accounts", Kind: Standard},
		{ID: "deal", Name: "Deals", Kind: Standard, Parents: []string{"account"}},
		{ID: "note", Name: "Notes", Kind: Child, Parents: []string{"deal", "account"}},
		{ID: "attachment", Name: "Attachments", Kind: Child, Parents: []string{"deal"}},
		{ID: "email", Name: "E-mails", Kind: Child, Parents: []string{"account"}},
		{ID: "forecast", Name: "Forecasts", Kind: Forecast},
		{ID: "import", Name: "Imports", Kind: ImportJob},
	}
}

// TestModelNamesAreStable holds the model to the file that is its specification: stores
// keep its names for ever.
func TestModelNamesAreStable(t *testing.T) {
	golden(t, "testdata/model.fga", ModelText(exampleModules()))
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got); -rewrite records it anew:\n%s", path, diff)
	}
}

func TestModelDoesNotDependOnTheOrderOfModules(t *testing.T) {
	modules := exampleModules()
	want := ModelText(modules)
	slices.Reverse(modules)
	for i := range modules {
		slices.Reverse(modules[i].Parents)
		modules[i].Name += " renamed"
	}
	if diff := cmp.Diff(want, ModelText(modules)); diff != "" {
		t.Error(diff)
	}
}

// TestANewModuleOnlyAdds shows that adding a module removes no type and no relation, and
// leaves what tuples may be written to as it was.
func TestANewModuleOnlyAdds(t *testing.T) {
	modules := exampleModules()
	for i, added := range modules {
		others := slices.Delete(slices.Clone(modules), i, i+1)
		if slices.ContainsFunc(others, func(m Module) bool { return slices.Contains(m.Parents, added.ID) }) {
			continue // it cannot come after those below it
		}
		from, to := mustModel(t, others), mustModel(t, modules)
		for _, c := range model.Diff(from, to) {
			name, _, _ := strings.Cut(c.Subject, "#")
			if c.Kind != model.Added {
				t.Errorf("adding %s: %v %s", added.ID, c.Kind, c.Subject)
			}
			if !strings.Contains(c.Subject, added.ID) && name != added.ID && !strings.Contains(c.Subject, "#add_") {
				t.Errorf("adding %s adds %s", added.ID, c.Subject)
			}
		}
	}
}

func TestMostModulesFit(t *testing.T) {
	long := strings.Repeat("m", MaxModuleID-2)
	var modules []Module
	for i := range MaxModules {
		m := Module{ID: long + string(rune('a'+i/26)) + string(rune('a'+i%26)), Kind: Standard}
		if i == 1 {
			m.Kind, m.Parents = Child, []string{modules[0].ID}
		}
		if !validModuleID(m.ID) {
			t.Fatalf("validModuleID(%q) = false", m.ID)
		}
		modules = append(modules, m)
	}
	mustModel(t, modules)
}

func TestModuleIDs(t *testing.T) {
	for _, id := range []string{"a", "deal", "deal2", "sales_order", strings.Repeat("a", MaxModuleID)} {
		if !validModuleID(id) {
			t.Errorf("validModuleID(%q) = false", id)
		}
	}
	for _, id := range []string{"", "2deal", "Deal", "_a", "a_", "a__b", "a-b", "a b", "é", strings.Repeat("a", MaxModuleID+1)} {
		if validModuleID(id) {
			t.Errorf("validModuleID(%q) = true", id)
		}
	}
	m := mustModel(t, nil)
	for _, d := range m.Declarations().Types {
		if !reserved[d.Name] {
			t.Errorf("type %s is not reserved", d.Name)
		}
	}
}

func mustModel(t testing.TB, modules []Module) *model.Model {
	t.Helper()
	m, err := Model(modules)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
