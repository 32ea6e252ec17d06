package crm

import (
	"iter"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// An Entity is one thing of an organisation that is changed as a whole and has one
// document, whose version counts its changes: *Head, *Seat, *Role, *Profile, *Module,
// *Field, *Group, *Team, *Rule, *Shift or *Record.
type Entity interface {
	// Key names the entity in the graph: org:acme, user:ann, role:rep, profile:std,
	// module:deal, field:deal.iban, group:emea, team:t1, rule:r1, shift:s1, or a record,
	// deal:d1.
	Key() graph.ObjectName

	// clone is a copy that shares nothing, in canonical order.
	clone() Entity

	// refers visits every entity that this one refers to, some more than once. What the
	// organisation itself is referred to by is left out: it cannot go.
	refers(visit func(graph.ObjectName))
}

// A Head is the organisation itself, without what belongs to it.
type Head struct {
	ID   string
	Name string

	// SuperAdmin is the seat of the one person who reaches secret records and whom
	// administrators cannot demote.
	SuperAdmin string

	Settings Settings
}

// Head is the organisation itself.
func (o *Organisation) Head() *Head {
	return &Head{ID: o.ID, Name: o.Name, SuperAdmin: o.SuperAdmin, Settings: o.Settings}
}

// Entities are all that the organisation consists of, its Head first, and what an entity
// refers to mostly before it. All but the Head are the organisation's own.
func (o *Organisation) Entities() iter.Seq[Entity] {
	return func(yield func(Entity) bool) {
		_ = yield(o.Head()) &&
			each(o.Modules, yield) && each(o.Profiles, yield) && each(o.Fields, yield) &&
			each(o.Roles, yield) && each(o.Shifts, yield) && each(o.Seats, yield) &&
			each(o.Groups, yield) && each(o.Teams, yield) && each(o.Rules, yield) &&
			each(o.Records, yield)
	}
}

func each[T any, P interface {
	*T
	Entity
}](list []T, yield func(Entity) bool) bool {
	for i := range list {
		if !yield(P(&list[i])) {
			return false
		}
	}
	return true
}

// Key implements Entity.
func (h *Head) Key() graph.ObjectName { return entity(typeOrg, h.ID) }

// Key implements Entity.
func (s *Seat) Key() graph.ObjectName { return entity(typeUser, s.ID) }

// Key implements Entity.
func (r *Role) Key() graph.ObjectName { return entity(typeRole, r.ID) }

// Key implements Entity.
func (p *Profile) Key() graph.ObjectName { return entity(typeProfile, p.ID) }

// Key implements Entity.
func (m *Module) Key() graph.ObjectName { return entity(typeModule, m.ID) }

// Key implements Entity.
func (f *Field) Key() graph.ObjectName { return entity(typeField, f.key()) }

// Key implements Entity.
func (g *Group) Key() graph.ObjectName { return entity(typeGroup, g.ID) }

// Key implements Entity.
func (t *Team) Key() graph.ObjectName { return entity(typeTeam, t.ID) }

// Key implements Entity.
func (r *Rule) Key() graph.ObjectName { return entity(typeRule, r.ID) }

// Key implements Entity.
func (s *Shift) Key() graph.ObjectName { return entity(typeShift, s.ID) }

// Key implements Entity.
func (r *Record) Key() graph.ObjectName { return entity(r.Module, r.ID) }

// Key is the record's name in the graph.
func (r Ref) Key() graph.ObjectName { return entity(r.Module, r.ID) }

// isRecord reports whether the key is that of a record: types that every organisation has
// are no modules.
func isRecord(key graph.ObjectName) bool { return !reserved[key.Type] }

// sameEntity compares entities in their canonical order. Nil is an entity that is not there.
func sameEntity(a, b Entity) bool { return reflect.DeepEqual(a, b) }

func (h *Head) clone() Entity {
	c := *h
	if b := h.Settings.BusinessHours; b != nil {
		b := BusinessHours{FirstDay: b.FirstDay, Week: b.Week.clone()}
		b.sort()
		c.Settings.BusinessHours = &b
	}
	return &c
}

func (s *Seat) clone() Entity {
	c := *s
	c.Profiles, c.Shifts, c.Leave = list(s.Profiles), list(s.Shifts), list(s.Leave)
	c.sort()
	return &c
}

func (r *Role) clone() Entity {
	c := *r
	c.ForecastManagers = list(r.ForecastManagers)
	c.sort()
	return &c
}

func (p *Profile) clone() Entity {
	c := *p
	c.Modules, c.Tools, c.Setup = table(p.Modules), list(p.Tools), list(p.Setup)
	c.sort()
	c.Modules = table(c.Modules)
	return &c
}

func (m *Module) clone() Entity {
	c := *m
	c.Parents = list(m.Parents)
	c.sort()
	return &c
}

func (f *Field) clone() Entity {
	c := *f
	c.Levels = table(f.Levels)
	c.sort()
	c.Levels = table(c.Levels)
	return &c
}

func (g *Group) clone() Entity {
	c := *g
	c.Members = list(g.Members)
	c.sort()
	return &c
}

func (t *Team) clone() Entity {
	c := *t
	c.Managers, c.Members = list(t.Managers), list(t.Members)
	c.sort()
	return &c
}

func (r *Rule) clone() Entity {
	c := *r
	return &c
}

func (s *Shift) clone() Entity {
	c := *s
	c.Hours.Week, c.Hours.Holidays = s.Hours.Week.clone(), list(s.Hours.Holidays)
	c.Hours.Exceptions = table(s.Hours.Exceptions)
	for date, windows := range c.Hours.Exceptions {
		c.Hours.Exceptions[date] = cloneWindows(windows)
	}
	c.Hours.sort()
	return &c
}

func (r *Record) clone() Entity {
	c := *r
	c.Parents, c.Shares = list(r.Parents), list(r.Shares)
	c.Fields = nil
	if len(r.Fields) > 0 {
		c.Fields = cloneValue(r.Fields).(value.Map)
	}
	c.sort()
	return &c
}

// list copies a list; an empty one is nil, so that those who are equal look equal.
func list[T any](l []T) []T { return append([]T(nil), l...) }

// table copies a map as list copies a list.
func table[K comparable, V any](m map[K]V) map[K]V {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

func (w *Week) clone() Week {
	var c Week
	for i := range w {
		c[i] = cloneWindows(w[i])
	}
	return c
}

func cloneWindows(windows []Window) []Window {
	c := list(windows)
	for i := range c {
		c[i].Breaks = list(c[i].Breaks)
	}
	return c
}

func cloneValue(v value.Value) value.Value {
	switch v := v.(type) {
	case value.Map:
		c := make(value.Map, len(v))
		for name, of := range v {
			c[name] = cloneValue(of)
		}
		return c
	case value.List:
		c := make(value.List, len(v))
		for i := range v {
			c[i] = cloneValue(v[i])
		}
		return c
	default:
		return v
	}
}

// plainTime is an instant without what does not matter: zone and monotonic clock.
func plainTime(t time.Time) time.Time { return t.Round(0).UTC() }

func (h *Head) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeUser, h.SuperAdmin)
}

func (s *Seat) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeRole, s.Role)
	visitSome(visit, typeProfile, s.Profiles...)
	visitSome(visit, typeUser, s.Manager)
	for _, a := range s.Shifts {
		visitSome(visit, typeShift, a.Shift)
	}
}

func (r *Role) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeRole, r.Parent)
	visitSome(visit, typeUser, r.ForecastManagers...)
}

func (p *Profile) refers(visit func(graph.ObjectName)) {
	for id, bits := range p.Modules {
		if bits != 0 {
			visitSome(visit, typeModule, id)
		}
	}
}

func (m *Module) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeModule, m.Parents...)
}

// everyProfile is what a restricted field refers to: it names each profile that may read
// or write it, so every profile that is made or deleted changes it. No profile has this id.
var everyProfile = entity(typeProfile, "*")

func (f *Field) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeModule, f.Module)
	if f.restricted() {
		visit(everyProfile)
	}
}

func (g *Group) refers(visit func(graph.ObjectName)) {
	for _, m := range g.Members {
		m.refers(visit)
	}
}

func (t *Team) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeUser, t.Managers...)
	visitSome(visit, typeUser, t.Members...)
}

func (r *Rule) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeModule, r.Module)
	r.Source.refers(visit)
	r.Target.refers(visit)
}

func (*Shift) refers(func(graph.ObjectName)) {}

func (r *Record) refers(visit func(graph.ObjectName)) {
	visitSome(visit, typeModule, r.Module)
	visitSome(visit, typeUser, r.Owner)
	for _, p := range r.Parents {
		visit(p.Key())
	}
	for i := range r.Shares {
		r.Shares[i].To.refers(visit)
	}
}

func (p Party) refers(visit func(graph.ObjectName)) {
	if typ := p.typ(); typ != "" {
		visitSome(visit, typ, p.ID)
	}
}

func visitSome(visit func(graph.ObjectName), typ string, ids ...string) {
	for _, id := range ids {
		if id != "" {
			visit(entity(typ, id))
		}
	}
}

// references are what an entity refers to, each once, in order. Nil refers to nothing.
func references(e Entity) []graph.ObjectName {
	if e == nil {
		return nil
	}
	var keys []graph.ObjectName
	e.refers(func(key graph.ObjectName) { keys = append(keys, key) })
	slices.SortFunc(keys, compareObjects)
	return slices.Compact(keys)
}
