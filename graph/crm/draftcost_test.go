package crm

import (
	"fmt"
	"testing"
)

// fill adds roles, seats, groups, rules and records to the example, without changing what
// there is. Roles stay equally deep, and nobody new is below or above those who are there.
func fill(o *Organisation, roles, seats int) {
	o.Roles = append(o.Roles, Role{ID: "crowd", Name: "Crowd", Parent: "manager"})
	for i := range roles {
		o.Roles = append(o.Roles, Role{ID: fmt.Sprint("crowd", i), Name: fmt.Sprint("Crowd ", i), Parent: "crowd"})
	}
	for i := range seats {
		id := fmt.Sprint("crowd", i)
		o.Seats = append(o.Seats, Seat{
			ID: id, Name: id, Role: fmt.Sprint("crowd", i%roles), Profiles: []string{"standard"}, Manager: "mia",
			Shifts: []Assignment{{Shift: "night"}},
		})
		o.Records = append(o.Records, Record{Module: "account", ID: id, Owner: id})
	}
	for i := range roles / 10 {
		id := fmt.Sprint("crowd", i)
		o.Groups = append(o.Groups, Group{ID: id, Name: id, Members: []Party{{Kind: HoldersOf, ID: id}}})
		o.Rules = append(o.Rules, Rule{
			ID: id, Name: id, Module: "deal", Level: LevelView,
			Source: Party{Kind: HoldersOf, ID: id}, Target: Party{Kind: MembersOf, ID: id},
		})
	}
}

// TestReadsDoNotGrow plans every change of TestTuplesPerChange in a small organisation and
// in one with many more people, roles, rules and records: that takes no more reads, and
// rests on no more.
func TestReadsDoNotGrow(t *testing.T) {
	type cost struct{ reads, guards int }
	costs := map[int]map[string]cost{}
	for _, size := range []int{1, 40} {
		costs[size] = map[string]cost{}
		o := exampleOrganisation()
		fill(o, 10*size, 50*size)
		s := &Managed{store: load(t, o, false), scopes: map[string]uint64{}}
		for _, c := range changes {
			from, to := exampleOrganisation(), exampleOrganisation()
			c.change(to)
			s.Reads = 0
			d := s.Draft()
			for _, e := range Differences(from, to) {
				if err := d.Carry(e); err != nil {
					t.Fatal(err)
				}
			}
			p, err := d.Plan()
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if n := p.Changes.Tuples(); n != c.tuples {
				t.Errorf("%s: %d tuples, want %d", c.name, n, c.tuples)
			}
			costs[size][c.name] = cost{reads: s.Reads, guards: len(p.Read) + len(p.Requires)}
		}
	}
	for _, c := range changes {
		small, large := costs[1][c.name], costs[40][c.name]
		if large != small {
			t.Errorf("%s: %+v among many, %+v among few", c.name, large, small)
		}
		t.Logf("%s: %d reads, %d guards", c.name, small.reads, small.guards)
	}
}

// BenchmarkPlan plans changes of constant cost in an organisation of 5,000 roles and
// 100,000 people.
func BenchmarkPlan(b *testing.B) {
	from := exampleOrganisation()
	fill(from, 5000, 100_000)
	s := &Managed{store: load(b, from, false), scopes: map[string]uint64{}}
	small := exampleOrganisation()
	for _, c := range changes {
		to := exampleOrganisation()
		c.change(to)
		edits := Differences(small, to)
		b.Run(c.name, func(b *testing.B) {
			s.Reads = 0
			for b.Loop() {
				d := s.Draft()
				for _, e := range edits {
					if err := d.Carry(e); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := d.Plan(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.Reads)/float64(b.N), "reads/op")
		})
	}
}
