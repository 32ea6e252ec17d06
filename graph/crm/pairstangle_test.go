package crm_test

import (
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/graph/value"
)

// A thread is one change of several that are each other's obstacle.
type thread struct {
	name   string
	change func(d *crm.Draft) error
}

// edit is a thread that changes one entity as it finds it.
func edit[T crm.Entity](name string, key graph.ObjectName, with func(T)) thread {
	return thread{fmt.Sprint(name, " of ", key), func(d *crm.Draft) error {
		e, _, err := d.Entity(key)
		if err != nil {
			return err
		}
		t, ok := e.(T)
		if !ok { // it has gone
			return &crm.Error{Faults: []crm.Fault{{Subject: key.String(), Message: "it is not there"}}}
		}
		with(t)
		return d.Put(t, nil)
	}}
}

func put(name string, e crm.Entity) thread {
	return thread{fmt.Sprint(name, " ", e.Key()), func(d *crm.Draft) error { return d.Put(e, nil) }}
}

func remove(key graph.ObjectName, to string) thread {
	return thread{fmt.Sprint("delete ", key, " for ", to), func(d *crm.Draft) error { return d.Delete(key, to, nil) }}
}

func object(typ, id string) graph.ObjectName { return graph.ObjectName{Type: typ, ID: id} }

// tangle is a few changes that want the same, or of which one takes what another rests on.
func (a *pairing) tangle() []thread {
	e := careless{Generator: a.Generator, o: a.o}
	seat, other, role, above := e.seatID(), e.seatID(), e.roleID(), e.roleID()
	profile, second, group, inner := e.profileID(), e.profileID(), e.groupID(), e.groupID()
	shift, module, rule := e.shiftID(), e.moduleID(), crmtest.Pick(a.Generator, []string{"new", "newer"})
	user := func(id string) graph.ObjectName { return object("user", id) }
	head := a.o.Head().Key()
	record, below := a.record(), a.record()
	actor := seat
	if len(a.actors) > 0 {
		actor = crmtest.Pick(a.Generator, a.actors)
	}
	tangles := []func() []thread{
		func() []thread { // circles
			return []thread{
				edit("parent", object("role", role), func(r *crm.Role) { r.Parent = above }),
				edit("parent", object("role", above), func(r *crm.Role) { r.Parent = role }),
				remove(object("role", role), above),
			}
		},
		func() []thread {
			if len(a.o.Groups) > 1 {
				i := a.IntN(len(a.o.Groups))
				group, inner = a.o.Groups[i].ID, a.o.Groups[(i+1)%len(a.o.Groups)].ID
			}
			contain := func(group, inner string) thread {
				return edit("member "+inner, object("group", group), func(g *crm.Group) {
					g.Members = append(g.Members, crm.Party{Kind: crm.MembersOf, ID: inner})
				})
			}
			return []thread{contain(group, inner), contain(inner, group), remove(object("group", group), inner)}
		},
		func() []thread {
			return []thread{
				edit("manager "+other, user(seat), func(s *crm.Seat) { s.Manager = other }),
				edit("role "+above, user(other), func(s *crm.Seat) { s.Role = above }),
				edit("manager "+seat, user(other), func(s *crm.Seat) { s.Manager = seat }),
				remove(user(other), seat),
			}
		},
		func() []thread { // the super admin
			return []thread{
				edit("super admin "+seat, head, func(h *crm.Head) { h.SuperAdmin = seat }),
				edit("suspend", user(seat), func(s *crm.Seat) { s.Suspended = true }),
				remove(user(seat), other),
			}
		},
		func() []thread { // profiles and restricted fields
			list := []thread{}
			if f := one(&e, a.o.Fields); f != nil {
				list = append(list,
					edit("restrict for "+profile, f.Key(), func(f *crm.Field) { f.Levels = map[string]crm.FieldLevel{profile: crm.FieldHidden} }),
					edit("level of "+second, f.Key(), func(f *crm.Field) {
						if f.Levels == nil {
							f.Levels = map[string]crm.FieldLevel{}
						}
						f.Levels[second] = crm.FieldRead
					}))
			}
			return append(list,
				put("make", &crm.Profile{ID: "new", Name: "New", Gated: a.Chance(50)}),
				remove(object("profile", profile), second),
				put("make", &crm.Field{Module: module, ID: "restricted", Name: "Restricted", Levels: map[string]crm.FieldLevel{second: crm.FieldRead}}))
		},
		func() []thread { // login hours and who is gated
			return []thread{
				edit("login hours", head, func(h *crm.Head) { h.Settings.LoginHours = !h.Settings.LoginHours }),
				edit("gated", object("profile", profile), func(p *crm.Profile) { p.Gated = !p.Gated }),
				put("make", &crm.Profile{ID: "newer", Name: "Newer", Gated: true}),
			}
		},
		func() []thread { // business hours and shifts
			short := &crm.BusinessHours{}
			for d := range short.Week {
				short.Week[d] = []crm.Window{{Span: crm.Span{Start: 60, End: 24 * 60}}}
			}
			week := crm.Week{}
			week[a.IntN(7)] = []crm.Window{{Span: crm.Span{End: crm.Clock(30 + 60*a.IntN(3))}}}
			return []thread{
				edit("business hours", head, func(h *crm.Head) { h.Settings.BusinessHours = short }),
				edit("hours", object("shift", shift), func(s *crm.Shift) { s.Hours.Week = week }),
				put("make", &crm.Shift{ID: "early", Name: "Early", Hours: crm.Hours{Zone: "UTC", Week: week}}),
				put("make", &crm.Shift{ID: "new0", Name: "New 0", Hours: crm.Hours{Zone: "UTC"}}), // the limit
				remove(object("shift", shift), ""),
				edit("shift "+shift, user(seat), func(s *crm.Seat) { s.Shifts = []crm.Assignment{{Shift: shift}} }),
			}
		},
		func() []thread { // settings that transfers go by
			scope := crm.AssignScope(a.IntN(3))
			return []thread{
				edit("keep shares", head, func(h *crm.Head) { h.Settings.KeepShares = !h.Settings.KeepShares }),
				{fmt.Sprint("transfer ", record, " to ", seat), func(d *crm.Draft) error { return d.Transfer([]crm.Ref{record}, seat) }},
				{fmt.Sprint("transfer all of ", other), func(d *crm.Draft) error { return d.TransferAll(other, seat) }},
				edit("assign", head, func(h *crm.Head) { h.Settings.Assign = scope }),
				remove(user(other), seat),
			}
		},
		func() []thread { // the last administrator
			demote := func(id string) thread {
				return edit("demote", object("profile", id), func(p *crm.Profile) { p.Administrator = false })
			}
			var list []thread
			for _, p := range a.o.Profiles {
				if p.Administrator {
					list = append(list, demote(p.ID), remove(object("profile", p.ID), profile))
				}
			}
			return append(list, edit("promote", object("profile", second), func(p *crm.Profile) { p.Administrator = true }))
		},
		func() []thread { // names that one has at a time
			rename := func(typ, id, name string) thread {
				return edit("name "+name, object(typ, id), func(e crm.Entity) {
					switch e := e.(type) {
					case *crm.Role:
						e.Name = name
					case *crm.Seat:
						e.Login = name
					case *crm.Group:
						e.Name = name
					}
				})
			}
			list := []thread{rename("user", seat, "a@x"), rename("user", other, "A@X"), rename("group", group, "New")}
			if r := one(&e, a.o.Roles); r != nil {
				list = append(list, rename("role", role, r.Name), rename("role", r.ID, "New"), remove(r.Key(), above))
			}
			return append(list, put("make", &crm.Group{ID: "newer", Name: "NEW"}), put("make", &crm.Role{ID: "newer", Name: "new", Parent: role}))
		},
		func() []thread { // records above and below
			return []thread{
				edit("parent "+record.String(), below.Key(), func(r *crm.Record) { r.Parents = []crm.Ref{record} }),
				remove(record.Key(), ""),
				put("make", &crm.Record{Module: below.Module, ID: "new", Owner: seat, Parents: []crm.Ref{record}}),
				remove(below.Key(), ""),
			}
		},
		func() []thread { // sharing with those who can see it
			share := crm.Share{To: crm.Party{Kind: crm.User, ID: seat}, Level: crm.LevelView}
			return []thread{
				{fmt.Sprint("share ", record, " with ", seat), func(d *crm.Draft) error { return d.Share([]crm.Ref{record}, []crm.Share{share}) }},
				edit("suspended", user(seat), func(s *crm.Seat) { s.Suspended = !s.Suspended }),
				edit("profiles", user(seat), func(s *crm.Seat) { s.Profiles = []string{profile} }),
				edit("no "+record.Module, object("profile", profile), func(p *crm.Profile) { delete(p.Modules, record.Module) }),
				remove(object("profile", profile), second),
				remove(user(seat), other),
			}
		},
		func() []thread { // what a module's end takes with it
			if m := crmtest.Pick(a.Generator, a.o.Modules); m.Kind != crm.Standard || a.Chance(50) {
				module = m.ID
			}
			return []thread{
				remove(object("module", module), ""),
				{"empty and delete " + module, func(d *crm.Draft) error { return a.empty(d, module) }},
				put("make", &crm.Record{Module: module, ID: "new", Owner: seat}),
				put("make", &crm.Field{Module: module, ID: "new", Name: "New"}),
				put("make", &crm.Rule{ID: rule, Name: "New", Module: module, Level: crm.LevelView, Source: e.party(), Target: e.party()}),
				put("make", &crm.Module{ID: "new", Name: "New", Kind: crm.Standard, Parents: []string{module}}),
				put("make", &crm.Module{ID: "newer", Name: "Newer", Kind: crm.Standard}),
				edit("parents", object("module", module), func(m *crm.Module) { m.Parents = nil }),
				edit("fewer", object("profile", profile), func(p *crm.Profile) { delete(p.Modules, module) }),
			}
		},
		func() []thread { // the right that somebody rests on
			for _, s := range a.o.Seats {
				if s.ID == actor && len(s.Profiles) > 0 {
					profile = crmtest.Pick(a.Generator, s.Profiles)
				}
				if s.ID == actor && len(s.Shifts) > 0 {
					shift = s.Shifts[0].Shift
				}
			}
			return []thread{
				edit("no profiles", user(actor), func(s *crm.Seat) { s.Profiles = nil }),
				edit("suspended", user(actor), func(s *crm.Seat) { s.Suspended = !s.Suspended }),
				edit("other rights", object("profile", profile), func(p *crm.Profile) { p.Setup, p.Modules = nil, nil }),
				edit("other hours", object("shift", shift), func(s *crm.Shift) { s.Hours.Week = crm.Week{} }),
				put("make", &crm.Role{ID: "new", Name: "New", Parent: role}),
				put("make", &crm.Record{Module: module, ID: "new", Owner: actor}),
				edit("rename", user(other), func(s *crm.Seat) { s.Name = "Renamed" }),
				edit("rename", object("role", role), func(r *crm.Role) { r.Name = "Renamed" }),
				edit("owner", record.Key(), func(r *crm.Record) { r.Owner = other }),
				edit("secret", record.Key(), func(r *crm.Record) { r.Confidentiality = crm.Secret }),
				edit("amount", record.Key(), func(r *crm.Record) { r.Fields = nil }),
				edit("amount", below.Key(), func(r *crm.Record) { r.Fields = nil }),
				edit("secret", below.Key(), func(r *crm.Record) { r.Confidentiality = crm.Secret }),
			}
		},
		func() []thread { // what is above a record that somebody may change
			i := slices.IndexFunc(a.o.Records, func(r crm.Record) bool { return r.Ref() == below })
			for range 20 {
				if i >= 0 && len(a.o.Records[i].Parents) > 0 {
					break
				}
				i = a.IntN(len(a.o.Records)+1) - 1
			}
			if i < 0 || len(a.o.Records[i].Parents) == 0 {
				return nil
			}
			low := a.o.Records[i]
			high := low.Parents[0]
			return []thread{
				edit("fields", low.Key(), func(r *crm.Record) { r.Fields = value.Map{"amount": int64(100)} }),
				remove(low.Key(), ""),
				edit("owner "+actor, high.Key(), func(r *crm.Record) { r.Owner = actor }),
				edit("owner "+other, high.Key(), func(r *crm.Record) { r.Owner = other }),
				edit("secret", high.Key(), func(r *crm.Record) { r.Confidentiality, r.Shares = crm.Secret, nil }),
				edit("open", high.Key(), func(r *crm.Record) {
					r.Confidentiality, r.Shares = crm.Open, []crm.Share{{To: crm.Party{Kind: crm.Everyone}, Level: crm.LevelFull, Related: true}}
				}),
			}
		},
		func() []thread { // who is at a place when it goes
			return []thread{
				put("hire", &crm.Seat{ID: "new0", Name: "New", Role: role, Profiles: []string{profile}, Manager: seat}),
				put("hire", &crm.Seat{ID: "new1", Name: "New", Role: above, Profiles: []string{second}}),
				remove(object("role", role), above),
				remove(object("profile", profile), second),
				remove(user(seat), other),
				{fmt.Sprint("move holders of ", role), func(d *crm.Draft) error { return d.MoveHolders(object("role", role), above) }},
				edit("forecast manager", object("role", above), func(r *crm.Role) { r.ForecastManagers = append(r.ForecastManagers, seat) }),
			}
		},
	}
	return crmtest.Pick(a.Generator, tangles)()
}

// record is one that there is, if there is any.
func (a *administration) record() crm.Ref {
	if len(a.o.Records) == 0 {
		return crm.Ref{Module: "account", ID: "none"}
	}
	r := crmtest.Pick(a.Generator, a.o.Records)
	return r.Ref()
}

// empty deletes a module with all that is in its way, as it was at the view.
func (a *administration) empty(d *crm.Draft, module string) error {
	for _, r := range a.o.Records {
		if e, _, err := d.Entity(r.Key()); r.Module != module || e == nil || err != nil {
			continue
		}
		if err := d.Delete(r.Key(), "", nil); err != nil {
			return err
		}
	}
	for _, f := range a.o.Fields {
		if f.Module == module {
			if err := d.Delete(f.Key(), "", nil); err != nil {
				return err
			}
		}
	}
	for _, r := range a.o.Rules {
		if r.Module == module {
			if err := d.Delete(r.Key(), "", nil); err != nil {
				return err
			}
		}
	}
	for _, p := range a.o.Profiles {
		e, _, err := d.Entity(p.Key())
		if err != nil {
			return err
		}
		if p, ok := e.(*crm.Profile); ok {
			delete(p.Modules, module)
			if err := d.Put(p, nil); err != nil {
				return err
			}
		}
	}
	for _, m := range a.o.Modules {
		e, _, err := d.Entity(m.Key())
		if err != nil {
			return err
		}
		if m, ok := e.(*crm.Module); ok {
			m.Parents = slices.DeleteFunc(m.Parents, func(id string) bool { return id == module })
			if err := d.Put(m, nil); err != nil {
				return err
			}
		}
	}
	return d.Delete(object("module", module), "", nil)
}
