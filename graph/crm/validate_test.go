package crm

import (
	"fmt"
	"testing"
)

// chain is an organisation of so many people, each of whom reports to the one before and
// has a role directly below the one before's.
func chain(people, roles int) *Organisation {
	o := New("acme", "Acme", "ada", "Ada")
	for i := range roles {
		r := Role{ID: fmt.Sprint("r", i), Name: fmt.Sprint("Role ", i), Parent: "ceo"}
		if i > 0 {
			r.Parent = fmt.Sprint("r", i-1)
		}
		o.Roles = append(o.Roles, r)
	}
	all := Group{ID: "all", Name: "All"}
	manager := "ada"
	for i := range people {
		s := Seat{
			ID: fmt.Sprint("s", i), Name: "Somebody", Login: fmt.Sprintf("s%d@acme.com", i),
			Role: fmt.Sprint("r", i%roles), Profiles: []string{"standard"}, Manager: manager,
		}
		o.Seats = append(o.Seats, s)
		all.Members = append(all.Members, Party{Kind: User, ID: s.ID})
		manager = s.ID
	}
	o.Groups = []Group{all}
	return o
}

// TestLongChainsAreChecked takes a minute if checks of one seat depend on how many others
// there are. BenchmarkValidate has more.
func TestLongChainsAreChecked(t *testing.T) {
	o := chain(20_000, 1_000)
	if err := o.Validate(DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	o.Seats[0].Manager = "s19999"
	err := o.Validate(DefaultLimits())
	want := "invalid organisation:\n  user:ada: it is above itself: ada, s19999, s19998, s19997, s19996, s19995, s19994, s19993, s19992, s19991 " +
		"and more than 19991 more: name a manager who does not report to it"
	if err == nil || err.Error() != want {
		t.Errorf("Validate() = %v, want %s", err, want)
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, people := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(people), func(b *testing.B) {
			o := chain(people, 5_000)
			for b.Loop() {
				if err := o.Validate(DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
