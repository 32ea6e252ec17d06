package orgchange

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/remit-authz/remit/graph/crm"
)

// An edit that is divided as far as it goes does the same as the whole, in steps that become
// small, and no step has anything twice.
func TestPartsDoTheSameAsTheWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	some := func() (members []crm.Party, ids []string, shares []crm.Share) {
		for i := range 40 {
			if rng.IntN(2) == 0 {
				continue
			}
			to := crm.Party{Kind: crm.User, ID: fmt.Sprint("u", i)}
			members, ids = append(members, to), append(ids, to.ID)
			shares = append(shares, crm.Share{To: to, Level: []crm.Level{crm.LevelView, crm.LevelEdit}[rng.IntN(2)]})
		}
		return members, ids, shares
	}
	type list = map[string]string
	of := func(e crm.Entity) list {
		l := list{}
		add := func(kind, id, what string) {
			if l[kind+id] != "" {
				t.Errorf("%s %s is there twice", kind, id)
			}
			l[kind+id] = "it is " + what
		}
		switch e := e.(type) {
		case *crm.Group:
			add("name ", "", e.Name)
			for _, m := range e.Members {
				add("member ", m.ID, "in")
			}
		case *crm.Team:
			for _, id := range e.Members {
				add("member ", id, "in")
			}
			for _, id := range e.Managers {
				add("manager ", id, "in")
			}
		case *crm.Role:
			for _, id := range e.ForecastManagers {
				add("manager ", id, "in")
			}
		case *crm.Record:
			for _, s := range e.Shares {
				add("share ", s.To.ID, s.Level.String())
			}
		}
		return l
	}
	apart := func(a, b list) (n int) {
		for k, v := range a {
			if b[k] != v {
				n++
			}
		}
		for k := range b {
			if a[k] == "" {
				n++
			}
		}
		return n
	}
	entities := func() []crm.Entity {
		members, ids, shares := some()
		_, others, _ := some()
		return []crm.Entity{
			&crm.Group{ID: "g", Name: fmt.Sprint("G", rng.IntN(2)), Members: members}, &crm.Team{ID: "t", Members: ids, Managers: others},
			&crm.Role{ID: "r", ForecastManagers: ids}, &crm.Record{Module: "deal", ID: "d", Shares: shares},
		}
	}
	for range 50 {
		before, after := entities(), entities()
		for i := range before {
			for _, whole := range []Edit{{Before: before[i], After: after[i]}, {After: after[i]}, {Before: before[i]}} {
				todo, at := []Edit{whole}, whole.Before
				for len(todo) > 0 {
					e := todo[0]
					if first, rest, ok := Parts(e); ok {
						todo = append([]Edit{first, rest}, todo[1:]...)
						continue
					}
					todo = todo[1:]
					if diff := apart(of(at), of(e.Before)); diff > 0 {
						t.Fatalf("a part begins with %v, and the one before ended with %v", e.Before, at)
					}
					if n := apart(of(e.Before), of(e.After)); n > 5 { // one that comes or goes in each of two lists, and a name
						t.Fatalf("a part that is not divided differs in %d: %v, %v", n, e.Before, e.After)
					}
					at = e.After
				}
				if apart(of(at), of(whole.After)) > 0 {
					t.Fatalf("the parts end with %v, want %v", at, whole.After)
				}
			}
		}
	}
	if _, _, ok := Parts(Edit{After: &crm.Seat{ID: "s", Profiles: []string{"a", "b"}}}); ok {
		t.Error("a seat is divided")
	}
}
