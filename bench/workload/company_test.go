package workload_test

import (
	"slices"
	"testing"

	"github.com/remit-authz/remit/bench/workload"
	"github.com/remit-authz/remit/graph/crm"
)

func TestACompanyIsAnOrganisation(t *testing.T) {
	c := workload.NewCompany(1_000, 100, 5_000)
	o := *c.Organisation
	o.Records = slices.Collect(c.AllRecords())
	if err := o.Validate(crm.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	modules := map[string]int{}
	for _, r := range o.Records {
		modules[r.Module]++
	}
	if len(o.Seats) != c.Users || len(o.Roles) != c.Roles || len(o.Rules) != 3*workload.RulesPerModule || modules["deal"] != 3*c.Records/10 {
		t.Errorf("%d seats, %d roles, %d rules, records %v", len(o.Seats), len(o.Roles), len(o.Rules), modules)
	}
}
