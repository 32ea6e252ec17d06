package orgchange

import (
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

// pairs are random organisations of the same id, whose modules are of the same kinds.
func pairs(t *testing.T, few, all int) iter.Seq2[string, [2]*crm.Organisation] {
	volume := crmtest.VolumeOf(t, "cmd/remit/orgchange", few, all)
	return func(yield func(string, [2]*crm.Organisation) bool) {
		for n := volume.First; n < volume.First+volume.Count; n++ {
			_, have := volume.Organisation(n, 0)
			_, want := volume.Organisation(n, 1)
			crmtest.RenameRoot(have, "root")
			crmtest.RenameRoot(want, "root")
			if !yield(volume.Again(n), [2]*crm.Organisation{have, want}) {
				return
			}
		}
	}
}

// A state is an organisation that edits are made to.
type state map[graph.ObjectName]crm.Entity

func stateOf(o *crm.Organisation) state {
	s := state{}
	for e := range o.Entities() {
		s[e.Key()] = e
	}
	return s
}

func (s state) apply(t *testing.T, e Edit) {
	t.Helper()
	if e.After == nil {
		if s[e.Key()] == nil {
			t.Fatalf("%s is deleted, and not there", e.Key())
		}
		delete(s, e.Key())
		return
	}
	s[e.Key()] = e.After
}

// organisation is what the state holds.
func (s state) organisation() *crm.Organisation {
	o := &State{Organisation: &crm.Organisation{}, Versions: map[graph.ObjectName]uint64{}}
	for _, key := range slices.SortedFunc(maps.Keys(s), func(a, b graph.ObjectName) int {
		return slices.Compare([]string{a.Type, a.ID}, []string{b.Type, b.ID})
	}) {
		o.take(s[key])
	}
	return o.Organisation
}

func TestEditsMakeOneOrganisationIntoAnother(t *testing.T) {
	for again, pair := range pairs(t, 50, 2000) {
		have, want := pair[0], pair[1]
		edits, err := Difference(have, want)
		if err != nil {
			t.Fatal(err)
		}
		s := stateOf(have)
		for _, e := range edits {
			s.apply(t, e)
		}
		rest, err := Difference(s.organisation(), want)
		if err != nil || len(rest) > 0 {
			t.Errorf("%s\n%d edits are left, and %v", again, len(rest), err)
		}
	}
}

// After every group the organisation is valid, so a step may be of as few as one.
func TestStepsAreValidGroupByGroup(t *testing.T) {
	for again, pair := range pairs(t, 20, 500) {
		have, want := pair[0], pair[1]
		edits, err := Difference(have, want)
		if err != nil {
			t.Fatal(err)
		}
		s := stateOf(have)
		for i, group := range Stepwise(edits) {
			for _, e := range group {
				s.apply(t, e)
			}
			if err := s.organisation().Validate(crm.DefaultLimits()); err != nil {
				t.Errorf("%s\nafter step %d, %s: %v", again, i, group[0].Key(), err)
				break
			}
		}
		rest, err := Difference(s.organisation(), want)
		if err != nil || len(rest) > 0 {
			t.Errorf("%s\n%d edits are left, and %v", again, len(rest), err)
		}
	}
}
