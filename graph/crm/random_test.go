package crm_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

const (
	// allOrganisations is how many a full run asks about: each is asked some two
	// thousand questions.
	allOrganisations = 1000

	// fewOrganisations is how many every run asks about.
	fewOrganisations = 20
)

func volume(t *testing.T) crmtest.Volume {
	t.Helper()
	return crmtest.VolumeOf(t, "graph/crm", fewOrganisations, allOrganisations)
}

// TestEngineDecidesAsTheProcedureSays asks the engine, over the generated model and
// tuples, and the decision procedure, over the organisation itself, everything there is
// to ask about random organisations, each at a random instant.
func TestEngineDecidesAsTheProcedureSays(t *testing.T) {
	v := volume(t)
	var total tally
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		s := crm.Load(t, o, n%2 == 1)
		c := comparison{t: t, o: o, now: g.Instant(), again: v.Again(n)}
		c.oracle, c.engine = crmtest.NewOracle(o, c.now), s.Asked(c.now)
		c.all()
		c.list(crmtest.Pick(g, o.Seats).ID)
		total.decisions += c.decisions
		total.allowed += c.allowed
		if t.Failed() {
			return
		}
	}
	t.Logf("%d organisations, %d decisions, %d of them allowed", v.Count, total.decisions, total.allowed)
	// Neither answer is rare: or else agreement would say little.
	if total.allowed < total.decisions/20 || total.allowed > total.decisions*19/20 {
		t.Errorf("%d of %d decisions are allowed", total.allowed, total.decisions)
	}
}

type tally struct{ decisions, allowed int }

// A comparison asks both at one instant.
type comparison struct {
	tally
	t      *testing.T
	o      *crm.Organisation
	now    time.Time
	again  string
	oracle *crmtest.Oracle
	engine *crm.Asker
}

func (c *comparison) same(want, got bool, format string, args ...any) {
	c.decisions++
	if want {
		c.allowed++
	}
	if want != got {
		c.t.Errorf("%s at %s = %v, want %v\n%s", fmt.Sprintf(format, args...), c.now.Format(time.RFC3339Nano), got, want, c.again)
	}
}

func (c *comparison) all() {
	o := c.o
	for i := range o.Seats {
		s := &o.Seats[i]
		for j := range o.Records {
			c.record(s, &o.Records[j])
		}
		for _, m := range o.Modules {
			c.same(c.oracle.MayAct(s) && c.oracle.Permitted(s, m.ID, crm.PermissionCreate),
				c.engine.Check(c.t, "module", m.ID, "can_create", s.ID), "create(%s, %s)", s.ID, m.ID)
		}
		for _, tool := range crm.AllTools() {
			c.same(c.oracle.MayAct(s) && c.oracle.HasTool(s, tool),
				c.engine.Check(c.t, "tool", string(tool), "allowed", s.ID), "tool(%s, %s)", s.ID, tool)
		}
		for _, setup := range crm.AllSetup() {
			c.same(c.oracle.MayAct(s) && c.oracle.HasSetup(s, setup),
				c.engine.Check(c.t, "setup", string(setup), "allowed", s.ID), "setup(%s, %s)", s.ID, setup)
		}
		for _, shift := range o.Shifts {
			c.same(c.oracle.OnDuty(s, shift.ID),
				c.engine.Check(c.t, "shift", shift.ID, "on_duty", s.ID), "on_duty(%s, %s)", s.ID, shift.ID)
		}
	}
}

// list compares what a user is listed with what one may view, one by one.
func (c *comparison) list(user string) {
	for _, m := range c.o.Modules {
		var want []string
		for i := range c.o.Records {
			if r := &c.o.Records[i]; r.Module == m.ID && c.oracle.Can(user, crm.ActionView, r, nil) {
				want = append(want, r.ID)
			}
		}
		slices.Sort(want)
		if got := c.engine.List(c.t, m.ID, crm.ActionView.Relation(), user); !slices.Equal(got, want) {
			c.t.Errorf("list(%s, %s) at %s = %q, want %q\n%s", user, m.ID, c.now.Format(time.RFC3339Nano), got, want, c.again)
		}
	}
}

func (c *comparison) record(s *crm.Seat, r *crm.Record) {
	o := c.o
	actions := append(crm.Actions(), "export")
	for _, m := range o.Modules {
		for _, p := range m.Parents {
			if m.Kind == crm.Child && p == r.Module {
				actions = append(actions, crm.Add(m.ID))
			}
		}
	}
	for _, a := range actions {
		c.same(c.oracle.Can(s.ID, a, r, nil), c.engine.Can(c.t, s.ID, a, r, nil), "can(%s, %s, %s)", s.ID, a, r.Ref())
	}
	for i := range o.Fields {
		f := &o.Fields[i]
		if f.Module != r.Module {
			continue
		}
		for _, a := range []crm.Action{crm.ActionView, crm.ActionEdit} {
			c.same(c.oracle.Can(s.ID, a, r, f), c.engine.Can(c.t, s.ID, a, r, f), "can(%s, %s, %s, %s)", s.ID, a, r.Ref(), f.ID)
		}
	}
}

// TestDecodeIsTheInverseOfEncode also shows that the difference of two encodings turns
// one organisation into the other.
func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	v := volume(t)
	for n := v.First; n < v.First+max(1, v.Count/4); n++ {
		_, from := v.Organisation(n, 0)
		_, to := v.Organisation(n, 1)
		s := crm.Load(t, from, n%2 == 1)
		got, err := s.Read()
		if err != nil {
			t.Fatalf("Decode: %v\n%s", err, v.Again(n))
		}
		before := crm.Encode(from)
		crm.Same(t, from, got)
		if c := crm.Difference(before, crm.Encode(got)); !c.Empty() {
			t.Fatalf("the order of lists shows in the encoding: %s\n%s", c.First(), v.Again(n))
		}
		s.Apply(t, crm.Difference(crm.Encode(from), crm.Encode(to)))
		if got, err = s.Read(); err != nil {
			t.Fatalf("Decode after the difference: %v\n%s", err, v.Again(n))
		}
		crm.Same(t, to, got)
	}
}
