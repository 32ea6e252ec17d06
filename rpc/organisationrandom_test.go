package rpc

import (
	"fmt"
	"slices"
	"testing"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// TestAnOrganisationAnswersAsTheProcedureSays asks random organisations in a real node all
// that there is to ask, each at a random instant, and the decision procedure the same.
func TestAnOrganisationAnswersAsTheProcedureSays(t *testing.T) {
	v := crmtest.VolumeOf(t, "rpc", 6, 300)
	r := newRig(t)
	total := 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		at := g.Instant()
		c := askedAll{
			askedOrganisation: r.organisation(fmt.Sprint("acme ", n), o, at), Generator: g,
			oracle: crmtest.NewOracle(o, at), again: v.Again(n),
		}
		c.deeds()
		for i := range o.Seats {
			c.generally(&o.Seats[i])
		}
		c.lists()
		total += c.asked
		if t.Failed() {
			return
		}
	}
	t.Logf("%d answers", total)
}

// An askedAll compares an organisation with the oracle.
type askedAll struct {
	*askedOrganisation
	*crmtest.Generator
	oracle *crmtest.Oracle
	again  string
	asked  int
}

// actions are all that can be asked of a record, whether its module has them or not.
func (c *askedAll) actions() []crm.Action {
	actions := append(crm.Actions(), crm.ActionExport)
	for _, m := range c.o.Modules {
		if m.Kind == crm.Child {
			actions = append(actions, crm.Add(m.ID))
		}
	}
	return actions
}

// can is what the oracle says; it does not know that a record of one module takes no notes.
func (c *askedAll) can(user string, a crm.Action, r *crm.Record, f *crm.Field) bool {
	for _, m := range c.o.Modules {
		if crm.Add(m.ID) == a && !slices.Contains(m.Parents, r.Module) {
			return false
		}
	}
	return c.oracle.Can(user, a, r, f)
}

// deeds asks everything of every record, in batches, and some of it one by one.
func (c *askedAll) deeds() {
	c.t.Helper()
	var deeds []*remitv1.Deed
	var want []bool
	for i := range c.o.Seats {
		user := c.o.Seats[i].ID
		for j := range c.o.Records {
			r := &c.o.Records[j]
			for _, a := range c.actions() {
				deeds = append(deeds, &remitv1.Deed{User: user, Action: string(a), On: r.Ref().String()})
				want = append(want, c.can(user, a, r, nil))
			}
			for k := range c.o.Fields {
				f := &c.o.Fields[k]
				if f.Module != r.Module {
					continue
				}
				for _, a := range []crm.Action{crm.ActionView, crm.ActionEdit} {
					deeds = append(deeds, &remitv1.Deed{User: user, Action: string(a), On: r.Ref().String(), Field: f.ID})
					want = append(want, c.can(user, a, r, f))
				}
			}
		}
	}
	answers := c.batch(deeds)
	allowed := 0
	for i, answer := range answers {
		if answer.Error != nil || answer.Allowed != want[i] {
			c.t.Fatalf("CanBatch(%v) = %v, want %v\n%s", deeds[i], answer, want[i], c.again)
		}
		if want[i] {
			allowed++
		}
		if c.Chance(3) {
			m := deeds[i]
			if got, err := c.askedOrganisation.can(c.scope(), m.User, m.Action, m.On, m.Field); err != nil || got != want[i] {
				c.t.Fatalf("Can(%v) = %v, %v, want %v\n%s", m, got, err, want[i], c.again)
			}
			c.asked++
		}
	}
	c.asked += len(deeds)
	if allowed < len(deeds)/50 {
		c.t.Logf("%d of %d deeds are allowed\n%s", allowed, len(deeds), c.again)
	}
}

// generally asks what a seat may do to records, in modules and at all.
func (c *askedAll) generally(s *crm.Seat) {
	c.t.Helper()
	same := func(what, on string, want, got []string) {
		c.t.Helper()
		c.asked++
		if !slices.Equal(want, got) {
			c.t.Fatalf("%s(%s, %s) = %q, want %q\n%s", what, s.ID, on, got, want, c.again)
		}
	}
	acts := func(on string) []string {
		c.t.Helper()
		res, err := c.org.Actions(c.t.Context(), &remitv1.ActionsRequest{Scope: c.scope(), User: s.ID, On: on})
		if err != nil {
			c.t.Fatal(err)
		}
		return res.Actions
	}
	for i := range c.o.Records {
		r := &c.o.Records[i]
		var want []string
		for _, a := range c.actions() {
			if c.can(s.ID, a, r, nil) {
				want = append(want, string(a))
			}
		}
		same("Actions", r.Ref().String(), sorted(c.t, "want", want), sorted(c.t, "Actions", acts(r.Ref().String())))
		var readable, writable []string
		for k := range c.o.Fields {
			f := &c.o.Fields[k]
			if f.Module == r.Module && c.can(s.ID, crm.ActionView, r, f) {
				readable = append(readable, f.ID)
			}
			if f.Module == r.Module && c.can(s.ID, crm.ActionEdit, r, f) {
				writable = append(writable, f.ID)
			}
		}
		res, err := c.org.CanFields(c.t.Context(), &remitv1.CanFieldsRequest{Scope: c.scope(), User: s.ID, Record: r.Ref().String()})
		if err != nil {
			c.t.Fatal(err)
		}
		same("CanFields.readable", r.Ref().String(), sorted(c.t, "want", readable), res.Readable)
		same("CanFields.writable", r.Ref().String(), sorted(c.t, "want", writable), res.Writable)
	}
	may := c.oracle.MayAct(s)
	for _, m := range c.o.Modules {
		var want []string
		for _, p := range []struct {
			name string
			bit  crm.Permissions
		}{
			{"view", crm.PermissionView},
			{"create", crm.PermissionCreate},
			{"edit", crm.PermissionEdit},
			{"delete", crm.PermissionDelete},
			{"share", crm.PermissionShare},
			{"transfer", crm.PermissionTransfer},
			{"view_all", crm.PermissionViewAll},
		} {
			if may && c.oracle.Permitted(s, m.ID, p.bit) && (p.name == "create" || c.oracle.Permitted(s, m.ID, crm.PermissionView)) {
				want = append(want, p.name)
			}
		}
		same("Actions", m.ID, want, acts(m.ID))
		got, err := c.askedOrganisation.can(c.scope(), s.ID, "create", m.ID, "")
		if creates := slices.Contains(want, "create"); err != nil || got != creates {
			c.t.Fatalf("Can(%s, create, %s) = %v, %v, want %v\n%s", s.ID, m.ID, got, err, creates, c.again)
		}
	}
	var want []string
	for _, tool := range crm.AllTools() {
		if may && c.oracle.HasTool(s, tool) {
			want = append(want, string(tool))
		}
	}
	for _, setup := range crm.AllSetup() {
		if may && c.oracle.HasSetup(s, setup) {
			want = append(want, string(setup))
		}
	}
	same("Actions", "", want, acts(""))
	for _, action := range crm.General() {
		got, err := c.askedOrganisation.can(c.scope(), s.ID, action, "", "")
		if err != nil || got != slices.Contains(want, action) {
			c.t.Fatalf("Can(%s, %s) = %v, %v, want %v\n%s", s.ID, action, got, err, !got, c.again)
		}
	}
}

// lists compares lists, in pages of random sizes, with the answers one by one.
func (c *askedAll) lists() {
	c.t.Helper()
	size := func() int32 { return int32(crmtest.Pick(c.Generator, []int{0, 1, 1, 2, 3, 7})) }
	for _, a := range c.actions() {
		for i := range c.o.Seats {
			user := c.o.Seats[i].ID
			for _, m := range c.o.Modules {
				var want []string
				for j := range c.o.Records {
					if r := &c.o.Records[j]; r.Module == m.ID && c.can(user, a, r, nil) {
						want = append(want, r.ID)
					}
				}
				ids, _ := c.records(c.scope(), user, m.ID, string(a), size)
				if got := sorted(c.t, "ListRecords", ids); !slices.Equal(got, sorted(c.t, "want", want)) {
					c.t.Fatalf("ListRecords(%s, %s, %s) = %q, want %q\n%s", user, m.ID, a, got, want, c.again)
				}
				c.asked++
			}
		}
		for j := range c.o.Records {
			r := &c.o.Records[j]
			var want []string
			for i := range c.o.Seats {
				if c.can(c.o.Seats[i].ID, a, r, nil) {
					want = append(want, c.o.Seats[i].ID)
				}
			}
			ids, _ := c.users(c.scope(), r.Ref().String(), string(a), size)
			if got := sorted(c.t, "ListUsersWithAccess", ids); !slices.Equal(got, sorted(c.t, "want", want)) {
				c.t.Fatalf("ListUsersWithAccess(%s, %s) = %q, want %q\n%s", r.Ref(), a, got, want, c.again)
			}
			c.asked++
		}
	}
	var want []string
	for _, shift := range c.o.Shifts {
		for i := range c.o.Seats {
			if c.oracle.OnDuty(&c.o.Seats[i], shift.ID) {
				want = append(want, shift.ID+" "+c.o.Seats[i].ID)
			}
		}
	}
	duties, _ := c.duties(&remitv1.OnDutyRequest{Scope: c.scope()}, size)
	var got []string
	for _, d := range duties {
		got = append(got, d.Shift+" "+d.User)
	}
	if got = sorted(c.t, "OnDuty", got); !slices.Equal(got, sorted(c.t, "want", want)) {
		c.t.Fatalf("OnDuty = %q, want %q\n%s", got, want, c.again)
	}
}
