package crm_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
)

// erase takes an entity out of the store for ever, in steps as small as they can be.
func (m *machine) erase(name graph.ObjectName) {
	m.Helper()
	id := fsm.ErasureID{14: byte(m.index >> 8), 15: byte(m.index)}
	for e := m.entity(name); ; e = (fsm.Entity{}) {
		m.must(&fsm.Command{Store: m.id, Body: &fsm.Erase{ID: id, Entity: e, Limit: 1}})
		if len(m.store().Erasures()) == 0 {
			return
		}
	}
}

// planned plans a change at the newest state.
func (m *machine) planned(change func(d *crm.Draft) error) (*crm.Plan, error) {
	d := m.draft()
	if err := change(d); err != nil {
		return nil, err
	}
	return d.Plan()
}

// do plans a change and carries it out.
func (m *machine) do(change func(d *crm.Draft) error) {
	m.Helper()
	p, err := m.planned(change)
	if err == nil {
		err = m.commit(p)
	}
	if err != nil {
		m.Fatal(err)
	}
}

// TestAPlanDoesNotMistakeWhoCameAfter has a plan under way while an entity that it has read is
// deleted, erased, and made again by others, as another one of the same name and version. What
// keeps the plan from being carried out on that one is the scope of erasures, and nothing else.
func TestAPlanDoesNotMistakeWhoCameAfter(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second crm.Entity
		change        func(d *crm.Draft) error
		mistaken      error // what is held if the plan is taken for one of the second
		anew          error // what it is to plan it anew
	}{
		{
			name:   "a record that has two owners then",
			first:  &crm.Record{Module: "deal", ID: "d1", Owner: "ada"},
			second: &crm.Record{Module: "deal", ID: "d1", Owner: "bob"},
			change: func(d *crm.Draft) error { return d.Transfer([]crm.Ref{{Module: "deal", ID: "d1"}}, "cid") },

			mistaken: crm.ErrForeign,
		},
		{
			name:   "a seat that nothing may be shared with",
			first:  &crm.Seat{ID: "eve", Name: "Eve", Role: "manager", Profiles: []string{"standard"}},
			second: &crm.Seat{ID: "eve", Name: "Evelyn", Role: "manager", Suspended: true},
			change: func(d *crm.Draft) error {
				return d.Share([]crm.Ref{{Module: "deal", ID: "d2"}}, []crm.Share{{To: crm.Party{Kind: crm.User, ID: "eve"}, Level: crm.LevelView}})
			},

			anew: crm.ErrInvalid,
		},
	} {
		for _, guarded := range []bool{false, true} {
			o := crm.New("acme", "Acme", "ada", "Ada")
			o.Modules = []crm.Module{{ID: "deal", Name: "Deals", Kind: crm.Standard}}
			o.Profiles[1].Modules = map[string]crm.Permissions{"deal": crm.PermissionView}
			for _, id := range []string{"bob", "cid"} {
				o.Seats = append(o.Seats, crm.Seat{ID: id, Name: id, Role: "manager", Profiles: []string{"standard"}})
			}
			o.Records = []crm.Record{{Module: "deal", ID: "d2", Owner: "ada"}}
			m := newMachine(t)
			m.do(func(d *crm.Draft) error {
				for e := range o.Entities() {
					if err := d.Put(e, nil); err != nil {
						return err
					}
				}
				return nil
			})
			m.do(func(d *crm.Draft) error { return d.Put(tt.first, nil) })
			plan, err := m.planned(tt.change)
			if err != nil {
				t.Fatal(err)
			}
			if !guarded {
				plan.Requires = slices.DeleteFunc(plan.Requires, func(r crm.ScopeVersion) bool { return r.Scope == fsm.ErasedScope })
			}
			m.do(func(d *crm.Draft) error { return d.Delete(tt.first.Key(), "", nil) })
			m.erase(tt.first.Key())
			m.do(func(d *crm.Draft) error { return d.Put(tt.second, nil) })

			err = m.commit(plan)
			_, held := crm.Decode(m.store(), m.plan)
			switch {
			case guarded && (!errors.Is(err, fsm.ErrScope) || held != nil):
				t.Errorf("%s: the plan = %v, want %v; what is held: %v", tt.name, err, fsm.ErrScope, held)
			case !guarded && (err != nil || !errors.Is(held, tt.mistaken)):
				t.Errorf("%s: without the scope the plan = %v, and what is held %v, want %v", tt.name, err, held, tt.mistaken)
			}
			if !guarded {
				continue
			}
			if plan, err = m.planned(tt.change); err == nil {
				err = m.commit(plan)
			}
			if !errors.Is(err, tt.anew) {
				t.Errorf("%s: planned anew = %v, want %v", tt.name, err, tt.anew)
			}
			if _, err := crm.Decode(m.store(), m.plan); err != nil {
				t.Errorf("%s: in the end %v", tt.name, err)
			}
		}
	}
}
