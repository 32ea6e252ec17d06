package crm

import (
	"slices"

	"github.com/remit-authz/remit/graph"
)

// CheckChanges checks every entity in which two organisations differ, as it is going to
// be in the second.
func CheckChanges(before, after *Organisation, limits Limits) ([]Fault, error) {
	old, now := newWhole(before), newWhole(after)
	l := drafted{whole: now, before: old}
	keys := map[graph.ObjectName]bool{}
	for _, w := range []*whole{old, now} {
		for key := range w.byKey {
			keys[key] = true
		}
	}
	var list []Fault
	for key := range keys {
		from, to := old.byKey[key], now.byKey[key]
		if from != nil && to != nil && sameEntity(from.clone(), to.clone()) {
			continue
		}
		faults, err := checkChange(l, from, to, limits)
		if err != nil {
			return nil, err
		}
		list = append(list, faults...)
	}
	return list, nil
}

// A drafted is the lookup of an organisation that was another before.
type drafted struct {
	*whole
	before *whole
}

func (d drafted) bearers(claim graph.ObjectName) ([]graph.ObjectName, error) {
	var list []graph.ObjectName
	for key, e := range d.byKey {
		if !slices.Contains(claims(e), claim) {
			continue
		}
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b graph.ObjectName) int {
		switch d.before.names[claim] {
		case a:
			return -1
		case b:
			return 1
		default:
			return compareObjects(a, b)
		}
	})
	return list, nil
}

// Copy is the organisation again, in canonical order and sharing nothing.
func (o *Organisation) Copy() *Organisation {
	h := o.Head().clone().(*Head)
	c := &Organisation{ID: h.ID, Name: h.Name, SuperAdmin: h.SuperAdmin, Settings: h.Settings}
	for e := range o.Entities() {
		switch e := e.clone().(type) {
		case *Seat:
			c.Seats = append(c.Seats, *e)
		case *Role:
			c.Roles = append(c.Roles, *e)
		case *Profile:
			c.Profiles = append(c.Profiles, *e)
		case *Module:
			c.Modules = append(c.Modules, *e)
		case *Field:
			c.Fields = append(c.Fields, *e)
		case *Group:
			c.Groups = append(c.Groups, *e)
		case *Team:
			c.Teams = append(c.Teams, *e)
		case *Rule:
			c.Rules = append(c.Rules, *e)
		case *Shift:
			c.Shifts = append(c.Shifts, *e)
		case *Record:
			c.Records = append(c.Records, *e)
		}
	}
	return c
}

// remove deletes elements of a list.
func remove[T any](list []T, is func(*T) bool) []T {
	return slices.DeleteFunc(list, func(t T) bool { return is(&t) })
}
