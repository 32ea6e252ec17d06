package crm_test

import (
	"cmp"
	"fmt"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
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
