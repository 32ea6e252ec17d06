package crm

import (
	"slices"

	"github.com/remit-authz/remit/graph"
)

// Validate reports everything that is wrong with the organisation, as an *Error, or
// nothing. A limit of zero is no limit. Its time grows with the organisation's size, and
// no faster.
//
// What is only refused when it is done is nothing wrong: a manager whose role is not
// higher than the seat's, or a share with somebody who is suspended.
func (o *Organisation) Validate(limits Limits) error {
	w := newWhole(o)
	c := checker{lookup: w, limits: limits}
	for _, key := range w.twice {
		c.fault(key, "there are two of this id")
	}
	for e := range o.Entities() {
		c.entity(nil, e)
	}
	for _, typ := range []string{typeUser, typeRole, typeGroup} {
		climb := c.climb(typ)
		for _, id := range slices.Sorted(slices.Values(w.ids[typ])) {
			climb.from(id)
		}
	}
	c.required(w.top)
	if n := len(o.Modules); n > MaxModules {
		c.fault(w.top.Key(), "it has %d modules, at most %d are allowed", n, MaxModules)
	}
	if n, most := len(o.Shifts), c.maxShifts(&o.Settings); most > 0 && n > most {
		c.fault(w.top.Key(), "it has %d shifts, at most %d are allowed", n, most)
	}
	if len(c.faults) > 0 {
		return &Error{Faults: c.faults}
	}
	return nil
}

// A whole is the lookup of an organisation in memory.
type whole struct {
	top   *Head
	byKey map[graph.ObjectName]Entity
	ids   map[string][]string
	names map[graph.ObjectName]graph.ObjectName // who bears the name of a claim first
	twice []graph.ObjectName                    // keys that occur more than once
}

func newWhole(o *Organisation) *whole {
	w := &whole{
		top:   o.Head(),
		byKey: make(map[graph.ObjectName]Entity, len(o.Seats)+len(o.Records)),
		ids:   map[string][]string{},
		names: map[graph.ObjectName]graph.ObjectName{},
	}
	for e := range o.Entities() {
		key := e.Key()
		if w.byKey[key] != nil {
			w.twice = append(w.twice, key)
			continue
		}
		w.byKey[key] = e
		if _, record := e.(*Record); !record {
			w.ids[key.Type] = append(w.ids[key.Type], key.ID)
		}
		for _, claim := range claims(e) {
			if _, taken := w.names[claim]; !taken {
				w.names[claim] = key
			}
		}
	}
	return w
}

func (w *whole) head() (*Head, error) { return w.top, nil }

func (w *whole) find(key graph.ObjectName) (Entity, error) { return w.byKey[key], nil }

func (w *whole) all(typ string) ([]string, error) { return w.ids[typ], nil }

func (w *whole) bearers(claim graph.ObjectName) ([]graph.ObjectName, error) {
	if of, taken := w.names[claim]; taken {
		return []graph.ObjectName{of}, nil
	}
	return nil, nil
}

// users looks at everything: Validate does not ask it.
func (w *whole) users(key graph.ObjectName, typ string, limit int) ([]graph.ObjectName, error) {
	var users []graph.ObjectName
	for user, e := range w.byKey {
		if (typ == "" || typ == user.Type) && slices.Contains(references(e), key) {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, compareObjects)
	return users[:min(limit, len(users))], nil
}
