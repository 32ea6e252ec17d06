package crm_test

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

const (
	allPaired = 100
	fewPaired = 3

	// changesEach is how many changes are planned at one view, each of which meets each
	// other one.
	changesEach = 24

	// viewsEach is from how many views, each with what was done at the one before.
	viewsEach = 2
)

// A proposal is a change that was planned at the view of a table.
type proposal struct {
	name   string
	as     string
	change func(d *crm.Draft) error
	plan   *crm.Plan
	rights []bool
	after  *crm.Managed
	oracle *crmtest.Oracle // of what is there after it
	there  *crm.Organisation
}

// A pairing is changes that are planned at one view and meet each other.
type pairing struct {
	*testing.T
	administration
	actors []string // on whose behalf changes are, if on anybody's
	at     *crm.Managed
	now    time.Time
	limits crm.Limits
	tally  *pairTally
	again  string
}

// A pairTally counts what became of pairs.
type pairTally struct {
	pairs, orders, conflicts, both int

	// refused are conflicts after which the change is not possible any more, changed those
	// after which it is planned otherwise, and needless the others, by the guards that failed.
	refused, changed, needless, needlessBehalf, ordersBehalf int
	guards                                                   map[string]int

	behalf, byProfiles int // carried out on behalf of seats, and for the rights of their profiles
}

// plan plans a change at a state.
func (p *pairing) plan(s *crm.Managed, as string, change func(d *crm.Draft) error) (*crm.Plan, error) {
	d := s.DraftWithin(p.limits)
	if as != "" {
		d.As(as)
	}
	err := change(d)
	if err != nil {
		return nil, err
	}
	return d.Plan()
}

// propose adds a change, if it is possible at the view.
func (p *pairing) propose(list *[]*proposal, name, as string, change func(d *crm.Draft) error) {
	plan, err := p.plan(p.at, as, change)
	if errors.Is(err, crm.ErrInvalid) || err == nil && len(plan.Edits) == 0 {
		return
	}
	if err != nil {
		p.Fatalf("%s: %v\n%s", name, err, p.again)
	}
	*list = append(*list, &proposal{name: name, as: as, change: change, plan: plan})
}

// proposals are changes that are possible at the view. About half come in twos and threes
// that are each other's obstacle.
func (p *pairing) proposals() []*proposal {
	var list []*proposal
	p.actors = []string{crmtest.Pick(p.Generator, p.o.Seats).ID, crmtest.Pick(p.Generator, p.o.Seats).ID}
	for tries := 0; len(list) < changesEach && tries < 40*changesEach; tries++ {
		as := ""
		if p.Chance(60) {
			as = crmtest.Pick(p.Generator, p.actors)
		}
		if p.Chance(50) {
			name, change := p.change()
			if p.Chance(25) { // one more in the same change
				also, more := p.act()
				first := change
				name, change = name+" and "+also, func(d *crm.Draft) error {
					if err := first(d); err != nil {
						return err
					}
					return more(d)
				}
			}
			p.propose(&list, name, as, change)
			continue
		}
		for _, t := range p.tangle() { // each on somebody's behalf or on nobody's
			p.propose(&list, t.name, crmtest.Pick(p.Generator, []string{"", "", as}), t.change)
		}
	}
	if len(list) > changesEach {
		list = list[:changesEach]
	}
	for _, c := range list {
		c.rights = p.answers(p.at, c, c.plan)
		if c.after = p.at.Fork(); p.Failed() {
			return nil
		}
		if err := c.after.Commit(p.T, c.plan); err != nil {
			p.Fatalf("%s at the view it was planned at: %v\n%s", c.name, err, p.again)
		}
		c.there = p.sound(c.after, c.name, "")
		c.oracle = crmtest.NewOracle(c.there, p.now)
	}
	return list
}

// answers are those to the questions of a plan on behalf of a seat, as far as the model
// has the relations.
func (p *pairing) answers(s *crm.Managed, c *proposal, plan *crm.Plan) []bool {
	if c.as == "" {
		return nil
	}
	return answers(p.T, s, c.as, p.now, plan)
}

func (p *pairing) sound(s *crm.Managed, first, second string) *crm.Organisation {
	p.Helper()
	o, err := s.Sound(p.limits)
	if err != nil {
		p.Fatalf("first %s\nthen %s\n%v\n%s", first, second, err, p.again)
	}
	return o
}

// meet carries one change out after another, both of which were planned at the same view.
// What that comes to may be known, from the other order.
func (p *pairing) meet(first, second *proposal, known bool) (applied bool) {
	fail := func(format string, args ...any) {
		p.Helper()
		p.Fatalf("first %s %s\nthen %s %s\n%s\n%s", first.as, first.name, second.as, second.name, fmt.Sprintf(format, args...), p.again)
	}
	t := p.tally
	t.orders++
	if second.as != "" {
		t.ordersBehalf++
	}
	failing := first.after.Failing(p.T, second.plan)
	anew, refused := p.plan(first.after, second.as, second.change)
	if refused != nil && !errors.Is(refused, crm.ErrInvalid) {
		fail("%v", refused)
	}
	differs := ""
	if refused == nil {
		differs = differences(second.plan, anew)
	}
	if len(failing) > 0 {
		t.conflicts++
		switch {
		case refused != nil:
			t.refused++
		case differs != "" || !slices.Equal(p.answers(first.after, second, anew), second.rights):
			t.changed++
		default:
			t.needless++
			if second.as != "" {
				t.needlessBehalf++
			}
			t.blame(failing)
		}
		return false
	}
	if refused != nil {
		fail("no guard failed, and the second is not possible any more: %v", refused)
	}
	if differs != "" {
		fail("no guard failed, and the second is planned otherwise:\n%s", differs)
	}
	if second.as != "" {
		t.behalf++
		if rights := p.answers(first.after, second, anew); !slices.Equal(rights, second.rights) {
			fail("no guard failed, and the rights of %s to %v were %v, and are %v", second.as, anew.Needs, second.rights, rights)
		}
		if byProfiles(second.plan) {
			t.byProfiles++
		}
		if err := decides(first, second.as, anew, second.rights); err != nil {
			fail("no guard failed, and the oracle does not agree to %s: %v", second.as, err)
		}
	}
	if known {
		return true
	}
	after := first.after.Fork()
	if err := after.Commit(p.T, second.plan); err != nil {
		fail("%v", err)
	}
	p.sound(after, first.name, second.name)
	return true
}

// disjoint reports whether two changes write nothing that the other writes, too: then they
// come to the same in both orders.
func disjoint(a, b crm.Changes) bool {
	written := func(c crm.Changes) map[string]bool {
		set := map[string]bool{}
		for _, t := range slices.Concat(c.Delete, c.Put) {
			set[t.String()] = true
		}
		for _, name := range c.DeleteDocuments {
			set[name.String()] = true
		}
		for _, d := range c.PutDocuments {
			set[d.Entity.String()] = true
		}
		return set
	}
	first := written(a)
	for what := range written(b) {
		if first[what] {
			return false
		}
	}
	return true
}

// differences are those of two plans in what they do and what it takes; empty if none.
func differences(a, b *crm.Plan) string {
	diff := gocmp.Diff(a.Changes, b.Changes)
	if a.Model != nil && b.Model != nil {
		diff += gocmp.Diff(a.Model.Declarations(), b.Model.Declarations())
	}
	for _, is := range []struct {
		what string
		a, b any
	}{
		{"it needs", a.Needs, b.Needs},
		{"it ends", a.Dropped, b.Dropped},
		{"it bumps", a.Bumps, b.Bumps},
		{"it needs another model", a.Model != nil, b.Model != nil},
	} {
		if !reflect.DeepEqual(is.a, is.b) {
			diff += fmt.Sprintf("%s: %v, and then %v\n", is.what, is.a, is.b)
		}
	}
	return diff
}

// blame counts the guards that failed without need.
func (t *pairTally) blame(failing []string) {
	kinds := map[string]bool{}
	for _, f := range failing {
		kind, rest, _ := strings.Cut(f, " ")
		if typ, _, document := strings.Cut(rest, ":"); document && kind == "document" {
			rest = typ
		}
		if strings.HasPrefix(rest, "uses/") {
			rest = "uses"
		}
		kinds[kind+" "+rest] = true
	}
	for kind := range kinds {
		t.guards[kind]++
		if len(kinds) == 1 {
			t.guards["alone "+kind]++
		}
	}
}

// TestChangesInEitherOrder plans many changes at one view and carries each out after each
// other: either a guard fails, or the result is that of planning it anew. Whatever is
// carried out leaves a valid organisation and its encoding.
func TestChangesInEitherOrder(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", fewPaired, allPaired)
	tally := &pairTally{guards: map[string]int{}}
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		p := &pairing{
			T: t, administration: administration{Generator: g, o: o.Copy()},
			at: crm.Manage(t, o), now: g.Instant(), limits: crm.Limits{Shifts: len(o.Shifts) + 1, Breaks: 2},
			tally: tally, again: v.Again(n),
		}
		for range viewsEach {
			list := p.proposals()
			if len(list) == 0 {
				break
			}
			for i, first := range list {
				for _, second := range list[:i] {
					tally.pairs++
					there := p.meet(first, second, false)
					back := p.meet(second, first, there && disjoint(first.plan.Changes, second.plan.Changes))
					if there && back {
						tally.both++
					}
				}
			}
			p.at = crmtest.Pick(g, list).after
			p.o = p.sound(p.at, "what was picked", "")
		}
	}
	t.Logf("%d pairs, %d of them carried out in both orders; of %d orders, %d on behalf of seats, %d conflict: in %d the second is not "+
		"possible any more, in %d it is planned otherwise, %d are needless, %d on behalf of seats, by %v; %d on behalf of seats are carried out, %d by their profiles",
		tally.pairs, tally.both, tally.orders, tally.ordersBehalf, tally.conflicts, tally.refused, tally.changed,
		tally.needless, tally.needlessBehalf, tally.guards, tally.behalf, tally.byProfiles)
	if v.Count >= fewPaired && os.Getenv("REMIT_TEST_MODEL") == "" {
		tally.enough(t)
	}
}

// enough checks that the pairs were such that a guard that is missing would be missed.
func (t *pairTally) enough(of *testing.T) {
	of.Helper()
	if t.both < t.pairs/4 || t.refused < t.orders/100 || t.changed < t.orders/40 || t.behalf < t.orders/40 || t.byProfiles < t.orders/40 {
		of.Error("too few pairs of one kind")
	}
}
