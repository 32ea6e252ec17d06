package crm_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

const (
	allGuarded = 200
	fewGuarded = 3

	// pairsEach is how many pairs of changes are tried with each organisation.
	pairsEach = 60

	// freshEach is after how many of them the organisation is what it was at first.
	freshEach = 12
)

// An administration is random changes of an organisation, by edits and by acts.
type administration struct {
	*crmtest.Generator
	o *crm.Organisation
}

// change is something that is done, and what to call it.
func (a *administration) change() (string, func(d *crm.Draft) error) {
	if a.Chance(55) {
		after := a.o.Copy()
		e := careless{Generator: a.Generator, o: after}
		for range 1 + a.IntN(2) {
			e.edit()
		}
		edits := crm.Differences(a.o, after)
		name := fmt.Sprint(e.done)
		for _, e := range edits {
			name += " " + e.Key().String()
		}
		return name, func(d *crm.Draft) error {
			for _, e := range edits {
				if err := d.Carry(e); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return a.act()
}

func (a *administration) act() (string, func(d *crm.Draft) error) {
	e := careless{Generator: a.Generator, o: a.o}
	from, to := e.seatID(), e.seatID()
	switch a.IntN(9) {
	case 0:
		role, other := e.roleID(), e.roleID()
		return fmt.Sprint("delete role ", role, " for ", other), func(d *crm.Draft) error {
			return d.Delete(graph.ObjectName{Type: "role", ID: role}, other, nil)
		}
	case 1:
		return fmt.Sprint("delete seat ", from, " for ", to), func(d *crm.Draft) error {
			return d.Delete(graph.ObjectName{Type: "user", ID: from}, to, nil)
		}
	case 2:
		kind, id, other := "profile", e.profileID(), e.profileID()
		switch a.IntN(3) {
		case 0:
			kind, id, other = "group", e.groupID(), e.groupID()
		case 1:
			kind, id, other = "shift", e.shiftID(), e.shiftID()
		}
		return fmt.Sprint("delete ", kind, id, " for ", other), func(d *crm.Draft) error {
			return d.Delete(graph.ObjectName{Type: kind, ID: id}, other, nil)
		}
	case 3:
		records := a.refs()
		return fmt.Sprint("delete ", records), func(d *crm.Draft) error {
			for _, r := range records {
				e, _, err := d.Entity(r.Key())
				if err == nil && e != nil { // or it went with another
					err = d.Delete(r.Key(), "", nil)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
	case 4:
		role, other := e.roleID(), e.roleID()
		return fmt.Sprint("move holders of ", role, " to ", other), func(d *crm.Draft) error {
			return d.MoveHolders(graph.ObjectName{Type: "role", ID: role}, other)
		}
	case 5:
		profile, other := e.profileID(), e.profileID()
		return fmt.Sprint("move holders of profile ", profile, " to ", other), func(d *crm.Draft) error {
			return d.MoveHolders(graph.ObjectName{Type: "profile", ID: profile}, other)
		}
	case 6:
		return fmt.Sprint("transfer all of ", from, " to ", to), func(d *crm.Draft) error { return d.TransferAll(from, to) }
	case 7:
		records := a.refs()
		return fmt.Sprint("transfer ", records, " to ", to), func(d *crm.Draft) error { return d.Transfer(records, to) }
	default:
		records, share := a.refs(), crm.Share{To: e.party(), Level: crmtest.Pick(a.Generator, []crm.Level{crm.LevelView, crm.LevelFull})}
		if a.Chance(30) {
			return fmt.Sprint("unshare ", records), func(d *crm.Draft) error { return d.Unshare(records, nil) }
		}
		return fmt.Sprint("share ", records, " with ", share.To), func(d *crm.Draft) error {
			return d.Share(records, []crm.Share{share})
		}
	}
}

func (a *administration) refs() []crm.Ref {
	var refs []crm.Ref
	for _, r := range crmtest.Some(a.Generator, a.o.Records, 3) {
		refs = append(refs, r.Ref())
	}
	return refs
}

// plan makes a plan of a change on behalf of a seat, if one is given; refused is why it is
// none.
func plan(t *testing.T, s *crm.Managed, as string, change func(d *crm.Draft) error) (p *crm.Plan, refused error) {
	t.Helper()
	d := s.Draft()
	if as != "" {
		d.As(as)
	}
	err := change(d)
	if err == nil {
		p, err = d.Plan()
	}
	if err != nil && !errors.Is(err, crm.ErrInvalid) {
		t.Fatal(err)
	}
	return p, err
}

// answers are those to all questions of a plan.
func answers(t *testing.T, s *crm.Managed, as string, at time.Time, p *crm.Plan) []bool {
	t.Helper()
	var list []bool
	for _, n := range p.Needs {
		for _, q := range n.Any {
			list = append(list, s.Asked(at).Check(t, q.Object.Type, q.Object.ID, q.Relation, cmp.Or(q.User, as)))
		}
	}
	return list
}

// TestPlansRestOnAllThatTheyRead plans one change, carries out another, and plans the first
// again: either a guard of the first plan has failed, or it is planned again as it was, and
// if it is on behalf of a seat, that one has the same rights to it.
func TestPlansRestOnAllThatTheyRead(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", fewGuarded, allGuarded)
	apart, together, asked := 0, 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		s := crm.Manage(t, o)
		a := administration{Generator: g, o: o.Copy()}
		var first, second string
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("first %s\nthen %s\n%s\n%s", first, second, fmt.Sprintf(format, args...), v.Again(n))
		}
		// possible is a change that can be planned, if one is found soon.
		possible := func(as string) (name string, change func(d *crm.Draft) error, p *crm.Plan) {
			for range 30 {
				name, change = a.change()
				if p, refused := plan(t, s, as, change); refused == nil && len(p.Edits) > 0 {
					return name, change, p
				}
			}
			return "nothing", nil, nil
		}
		for i := range pairsEach {
			if i%freshEach == freshEach-1 { // there is too little left
				s, a.o = crm.Manage(t, o), o.Copy()
			}
			as, now := "", g.Instant()
			if g.Chance(50) {
				as = crmtest.Pick(g, a.o.Seats).ID
			}
			name, change, p := possible(as)
			other, _, q := possible("")
			if first, second = name, other; p == nil || q == nil {
				continue
			}
			rights := answers(t, s, as, now, p)
			if err := s.Commit(t, q); err != nil {
				fail("carried out at once: %v", err)
			}
			var err error
			if a.o, err = s.Read(); err != nil {
				fail("what is left is no organisation: %v", err)
			}
			if s.Conflict(p) != nil {
				apart++
				continue
			}
			together++
			again, refused := plan(t, s, as, change)
			if refused != nil {
				fail("no guard failed, and the first one cannot be planned: %v", refused)
			}
			if diff := gocmp.Diff(p.Changes, again.Changes); diff != "" {
				fail("no guard failed, and the first one is planned otherwise (-before +after):\n%s", diff)
			}
			if !slices.EqualFunc(p.Needs, again.Needs, func(a, b crm.Need) bool { return gocmp.Equal(a, b) }) {
				fail("no guard failed, and the first one needs %v, not %v", again.Needs, p.Needs)
			}
			if (p.Model == nil) != (again.Model == nil) {
				fail("no guard failed, and the first one needs another model")
			}
			if as == "" {
				continue
			}
			asked += len(rights)
			if later := answers(t, s, as, now, again); !slices.Equal(later, rights) {
				fail("no guard failed, and the rights of %s to %v were %v, and are %v", as, p.Needs, rights, later)
			}
		}
	}
	t.Logf("%d pairs conflict, %d do not; %d questions", apart, together, asked)
	if apart < 5*v.Count || together < 15*v.Count || asked < v.Count {
		t.Errorf("%d pairs conflict, %d do not; %d questions: too few", apart, together, asked)
	}
}
