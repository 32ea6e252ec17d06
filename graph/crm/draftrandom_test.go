package crm_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

const (
	allDrafted = 300
	fewDrafted = 4
)

// TestLinksOfRandomOrganisations holds the table of links to what is encoded.
func TestLinksOfRandomOrganisations(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", fewDrafted, allDrafted)
	for n := v.First; n < v.First+v.Count; n++ {
		_, o := v.Organisation(n, 0)
		crm.CheckLinks(t, o)
		crm.CheckUsers(t, o)
		if t.Failed() {
			t.Fatal(v.Again(n))
		}
	}
}

// TestRandomEdits turns one random organisation into another by one edit after the other,
// in random order, each a plan of its own; what is refused is tried again later. After
// each, the store holds what plain Go holds, and the tuples that were written are the
// difference of the two whole encodings.
func TestRandomEdits(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", fewDrafted, allDrafted)
	planned, refused := 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, from := v.Organisation(n, 0)
		_, to := v.Organisation(n, 1)
		s := crm.Manage(t, from)
		s.Holds(t, from)
		now := from.Copy()
		todo := crm.Differences(from, to)
		for progress := true; progress && len(todo) > 0; {
			progress = false
			g.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
			todo = slices.DeleteFunc(todo, func(e crm.Edited) bool {
				next := now.With(e)
				d := s.Draft()
				if err := d.Carry(e); err != nil {
					t.Fatalf("%s: %v\n%s", e.Key(), err, v.Again(n))
				}
				p, err := d.Plan()
				if errors.Is(err, crm.ErrInvalid) {
					refused++
					return false
				}
				if err != nil {
					t.Fatalf("%s: %v\n%s", e.Key(), err, v.Again(n))
				}
				crm.SameTuples(t, crm.Difference(crm.Encode(now), crm.Encode(next)), p.Changes)
				if err := s.Commit(t, p); err != nil {
					t.Fatalf("%s: %v\n%s", e.Key(), err, v.Again(n))
				}
				if err := next.Validate(crm.DefaultLimits()); err != nil || t.Failed() {
					t.Fatalf("%s was planned: %v\n%s", e.Key(), err, v.Again(n))
				}
				now, progress = next, true
				planned++
				return true
			})
		}
		s.Holds(t, now)

		// What is left can only be done at once: the rest in one plan.
		d := s.Draft()
		if err := d.Become(to); err != nil {
			t.Fatalf("%v\n%s", err, v.Again(n))
		}
		p, err := d.Plan()
		if err != nil {
			t.Logf("%v\n%s", err, v.Again(n))
			continue
		}
		crm.SameTuples(t, crm.Difference(crm.Encode(now), crm.Encode(to)), p.Changes)
		if err := s.Commit(t, p); err != nil {
			t.Fatalf("%v\n%s", err, v.Again(n))
		}
		s.Holds(t, to)
		if t.Failed() {
			t.Fatal(v.Again(n))
		}
	}
	t.Logf("%d edits were planned, %d refused", planned, refused)
	if planned < 20*v.Count || refused < v.Count {
		t.Errorf("%d edits were planned, %d refused: too few", planned, refused)
	}
}
