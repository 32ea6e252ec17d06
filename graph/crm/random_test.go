package crm

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// allOrganisations is how many a full run asks about: each is asked some two
	// thousand questions.
	allOrganisations = 1000

	// fewOrganisations is how many every run asks about.
	fewOrganisations = 20
)

// volume says which random organisations to try: by default a few, the same each time.
// REMIT_TEST_ALL=1 makes it many, from a new seed, and REMIT_TEST_MODEL=seed/number one
// alone, which is how a failure says that it can be repeated.
func volume(t *testing.T) (seed uint64, first, count int) {
	seed, count = 1, fewOrganisations
	if os.Getenv("REMIT_TEST_ALL") != "" {
		seed, count = uint64(time.Now().UnixNano()), allOrganisations
	}
	if text, n, ok := strings.Cut(os.Getenv("REMIT_TEST_MODEL"), "/"); ok {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err == nil {
			first, err = strconv.Atoi(n)
		}
		if err != nil {
			t.Fatalf("REMIT_TEST_MODEL is seed/number: %v", err)
		}
		count = 1
	}
	t.Logf("organisations %d to %d of seed %d", first, first+count-1, seed)
	return seed, first, count
}

func again(t *testing.T, seed uint64, n int) string {
	return fmt.Sprintf("REMIT_TEST_MODEL=%d/%d go test ./graph/crm -run '^%s$'", seed, n, t.Name())
}

// randomOrganisation is number n of a seed. Variant 1 has the modules of variant 0, and
// nothing else of it.
func randomOrganisation(t *testing.T, seed uint64, n int, variant uint64) (*generator, *Organisation) {
	modules := newGenerator(seed, uint64(n)).modules()
	g := newGenerator(seed^variant<<32, uint64(n)+1<<40)
	o := g.organisation(modules)
	if err := o.Validate(DefaultLimits()); err != nil {
		t.Fatalf("%s\n%v", again(t, seed, n), err)
	}
	return g, o
}

// TestEngineDecidesAsTheProcedureSays asks the engine, over the generated model and
// tuples, and the decision procedure, over the organisation itself, everything there is
// to ask about random organisations, each at a random instant.
func TestEngineDecidesAsTheProcedureSays(t *testing.T) {
	seed, first, count := volume(t)
	var total tally
	for n := first; n < first+count; n++ {
		g, o := randomOrganisation(t, seed, n, 0)
		s := load(t, o, n%2 == 1)
		c := comparison{t: t, now: g.instant(), again: again(t, seed, n)}
		c.oracle, c.engine = newOracle(o, c.now), s.at(c.now)
		c.all()
		c.list(pick(g, o.Seats).ID)
		total.decisions += c.decisions
		total.allowed += c.allowed
		if t.Failed() {
			return
		}
	}
	t.Logf("%d organisations, %d decisions, %d of them allowed", count, total.decisions, total.allowed)
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
	now    time.Time
	again  string
	oracle *oracle
	engine *question
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
	o := c.oracle.o
	for i := range o.Seats {
		s := &o.Seats[i]
		for j := range o.Records {
			c.record(s, &o.Records[j])
		}
		for _, m := range o.Modules {
			c.same(c.oracle.mayAct(s) && c.oracle.permitted(s, m.ID, PermissionCreate),
				c.engine.check(c.t, entity(typeModule, m.ID), "can_create", s.ID), "create(%s, %s)", s.ID, m.ID)
		}
		for _, tool := range AllTools() {
			c.same(c.oracle.mayAct(s) && c.oracle.hasTool(s, tool),
				c.engine.check(c.t, entity(typeTool, string(tool)), "allowed", s.ID), "tool(%s, %s)", s.ID, tool)
		}
		for _, setup := range AllSetup() {
			c.same(c.oracle.mayAct(s) && c.oracle.hasSetup(s, setup),
				c.engine.check(c.t, entity(typeSetup, string(setup)), "allowed", s.ID), "setup(%s, %s)", s.ID, setup)
		}
		for _, shift := range o.Shifts {
			c.same(c.oracle.onDuty(s, shift.ID),
				c.engine.check(c.t, entity(typeShift, shift.ID), "on_duty", s.ID), "on_duty(%s, %s)", s.ID, shift.ID)
		}
	}
}

// list compares what a user is listed with what one may view, one by one.
func (c *comparison) list(user string) {
	for _, m := range c.oracle.o.Modules {
		var want []string
		for i := range c.oracle.o.Records {
			if r := &c.oracle.o.Records[i]; r.Module == m.ID && c.oracle.can(user, ActionView, r, nil) {
				want = append(want, r.ID)
			}
		}
		slices.Sort(want)
		if got := c.engine.list(c.t, m.ID, ActionView.Relation(), user); !slices.Equal(got, want) {
			c.t.Errorf("list(%s, %s) at %s = %q, want %q\n%s", user, m.ID, c.now.Format(time.RFC3339Nano), got, want, c.again)
		}
	}
}

func (c *comparison) record(s *Seat, r *Record) {
	o := c.oracle.o
	actions := append(Actions(), "export")
	for _, m := range o.Modules {
		for _, p := range m.Parents {
			if m.Kind == Child && p == r.Module {
				actions = append(actions, Add(m.ID))
			}
		}
	}
	for _, a := range actions {
		c.same(c.oracle.can(s.ID, a, r, nil), c.engine.can(c.t, s.ID, a, r, nil), "can(%s, %s, %s)", s.ID, a, r.Ref())
	}
	for i := range o.Fields {
		f := &o.Fields[i]
		if f.Module != r.Module {
			continue
		}
		for _, a := range []Action{ActionView, ActionEdit} {
			c.same(c.oracle.can(s.ID, a, r, f), c.engine.can(c.t, s.ID, a, r, f), "can(%s, %s, %s, %s)", s.ID, a, r.Ref(), f.ID)
		}
	}
}

// TestDecodeIsTheInverseOfEncode also shows that the difference of two encodings turns
// one organisation into the other.
func TestDecodeIsTheInverseOfEncode(t *testing.T) {
	seed, first, count := volume(t)
	for n := first; n < first+max(1, count/4); n++ {
		_, from := randomOrganisation(t, seed, n, 0)
		_, to := randomOrganisation(t, seed, n, 1)
		s := load(t, from, n%2 == 1)
		got, err := Decode(s, s.plan)
		if err != nil {
			t.Fatalf("Decode: %v\n%s", err, again(t, seed, n))
		}
		before := Encode(from)
		same(t, from, got)
		if c := Difference(before, Encode(got)); !c.Empty() {
			t.Fatalf("the order of lists shows in the encoding: %s\n%s", c.first(), again(t, seed, n))
		}
		s.apply(t, Difference(Encode(from), Encode(to)))
		if got, err = Decode(s, s.plan); err != nil {
			t.Fatalf("Decode after the difference: %v\n%s", err, again(t, seed, n))
		}
		same(t, to, got)
	}
}
