package crm

import (
	"slices"
	"testing"
)

// TestDraftsChangeAsMuchAsTheyMust makes every change of TestTuplesPerChange by a draft:
// the tuples are those in which the two whole organisations differ.
func TestDraftsChangeAsMuchAsTheyMust(t *testing.T) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			from, to := exampleOrganisation(), exampleOrganisation()
			c.change(to)
			s := Manage(t, from)
			d := s.Draft()
			if err := d.Become(to); err != nil {
				t.Fatal(err)
			}
			p, err := d.Plan()
			if err != nil {
				t.Fatal(err)
			}
			want := Difference(Encode(from), Encode(to))
			sameTuples(t, want, p.Changes)
			if n := p.Changes.Tuples(); n != c.tuples {
				t.Errorf("%d tuples, want %d", n, c.tuples)
			}
			for _, e := range p.Edits {
				put := slices.ContainsFunc(p.Changes.PutDocuments, func(d Document) bool { return d.Entity == e.Key() })
				if put != (e.After != nil) {
					t.Errorf("the document of %s is put: %v", e.Key(), put)
				}
			}
			if err := s.Commit(t, p); err != nil {
				t.Fatal(err)
			}
			s.Holds(t, to)
			again := s.Draft()
			if err := again.Become(to); err != nil {
				t.Fatal(err)
			}
			if p, err = again.Plan(); err != nil || len(p.Edits) > 0 || !p.Changes.Empty() {
				t.Errorf("what is so already is planned as %v, %v", p, err)
			}
		})
	}
}

func TestEditsOfOneEntityAreOne(t *testing.T) {
	s := Manage(t, exampleOrganisation())
	d := s.Draft()
	role := &Role{ID: "new", Name: "New", Parent: "emea"}
	for _, parent := range []string{"america", "manager", "ceo"} {
		role.Parent = parent
		if err := d.Put(role, nil); err != nil {
			t.Fatal(err)
		}
	}
	p, err := d.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Edits) != 1 || p.Edits[0].Before != nil || p.Edits[0].After.(*Role).Parent != "ceo" {
		t.Errorf("Edits = %v, want one role that is made below ceo", p.Edits)
	}
	if p.Changes.Tuples() != 2 {
		t.Errorf("%d tuples, want 2", p.Changes.Tuples())
	}
	if err := d.Delete(role.Key(), "ceo", nil); err != nil {
		t.Fatal(err)
	}
	if p, err = d.Plan(); err != nil || len(p.Edits) > 0 || len(p.Bumps) > 0 {
		t.Errorf("a role that is made and deleted is planned as %+v, %v", p, err)
	}
}
