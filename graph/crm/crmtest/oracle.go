package crmtest

import (
	"slices"
	"time"

	"github.com/remit-authz/remit/graph/crm"
)

// An Oracle decides by the letter of the decision procedure, over the organisation itself
// and at one instant. It knows no tuples, no model and no schedule; it is slow and short.
type Oracle struct {
	o        *crm.Organisation
	now      time.Time
	seats    map[string]*crm.Seat
	roles    map[string]*crm.Role
	profiles map[string]*crm.Profile
	modules  map[string]*crm.Module
	groups   map[string]*crm.Group
	shifts   map[string]*crm.Shift
	fields   map[string]*crm.Field
	records  map[crm.Ref]*crm.Record
}

// NewOracle makes an oracle of a valid organisation, which must not change while it is
// asked.
func NewOracle(o *crm.Organisation, now time.Time) *Oracle {
	d := &Oracle{
		o: o, now: now,
		seats: map[string]*crm.Seat{}, roles: map[string]*crm.Role{}, profiles: map[string]*crm.Profile{},
		modules: map[string]*crm.Module{}, groups: map[string]*crm.Group{}, shifts: map[string]*crm.Shift{},
		fields: map[string]*crm.Field{}, records: map[crm.Ref]*crm.Record{},
	}
	for i := range o.Seats {
		d.seats[o.Seats[i].ID] = &o.Seats[i]
	}
	for i := range o.Roles {
		d.roles[o.Roles[i].ID] = &o.Roles[i]
	}
	for i := range o.Profiles {
		d.profiles[o.Profiles[i].ID] = &o.Profiles[i]
	}
	for i := range o.Modules {
		d.modules[o.Modules[i].ID] = &o.Modules[i]
	}
	for i := range o.Groups {
		d.groups[o.Groups[i].ID] = &o.Groups[i]
	}
	for i := range o.Shifts {
		d.shifts[o.Shifts[i].ID] = &o.Shifts[i]
	}
	for i := range o.Fields {
		d.fields[key(&o.Fields[i])] = &o.Fields[i]
	}
	for i := range o.Records {
		d.records[o.Records[i].Ref()] = &o.Records[i]
	}
	return d
}

// Can decides an action of a seat on a record, and with a field, on that field of it.
// "export" is an action here; adding a record of a child module is crm.Add of it.
func (d *Oracle) Can(u string, a crm.Action, r *crm.Record, f *crm.Field) bool {
	// 1 seat
	s := d.seats[u]
	if !d.MayAct(s) {
		return false
	}
	// 2 module permission
	if !d.Permitted(s, r.Module, crm.PermissionView) {
		return false
	}
	kind := d.modules[r.Module].Kind
	var lvl crm.Level
	switch a {
	case crm.ActionView:
		lvl = crm.LevelView
	case "export":
		lvl = crm.LevelView
		if !d.HasTool(s, crm.ToolExport) {
			return false
		}
	case crm.ActionEdit:
		lvl = crm.LevelEdit
		if !d.Permitted(s, r.Module, crm.PermissionEdit) {
			return false
		}
	case crm.ActionDelete:
		lvl = crm.LevelDelete
		if !d.Permitted(s, r.Module, crm.PermissionDelete) {
			return false
		}
	case crm.ActionShare:
		lvl = crm.LevelFull
		if !d.Permitted(s, r.Module, crm.PermissionShare) || kind != crm.Standard { // nothing else can be shared
			return false
		}
	case crm.ActionTransfer:
		lvl = crm.LevelFull
		if !d.Permitted(s, r.Module, crm.PermissionTransfer) {
			return false
		}
	default:
		lvl = crm.LevelView
		if d.o.Settings.AddingNeedsEdit {
			lvl = crm.LevelEdit
		}
		if !d.Permitted(s, string(a[len("add_"):]), crm.PermissionCreate) {
			return false
		}
	}
	// 3 record level
	if kind == crm.Child {
		if !d.childAllows(s, a, r) {
			return false
		}
	} else if d.Level(s, r) < lvl {
		return false
	}
	// 4 field
	if f != nil {
		best := crm.FieldHidden
		for _, p := range s.Profiles {
			best = min(best, f.Levels[p]) // FieldWrite < FieldRead < FieldHidden
		}
		if a == crm.ActionView && best == crm.FieldHidden || a == crm.ActionEdit && best != crm.FieldWrite {
			return false
		}
	}
	return true
}

// MayAct is step 1: an active seat, within its hours if they are enforced.
func (d *Oracle) MayAct(s *crm.Seat) bool {
	if s == nil || s.Suspended {
		return false
	}
	gated := d.o.Settings.LoginHours && slices.ContainsFunc(s.Profiles, func(p string) bool { return d.profiles[p].Gated })
	return !gated || d.Admin(s) || d.SuperAdmin(s) || d.inHours(s)
}

func (d *Oracle) inHours(s *crm.Seat) bool {
	for _, a := range s.Shifts {
		if a.Contains(d.now) && openAt(&d.shifts[a.Shift].Hours, d.now) {
			return true
		}
	}
	return false
}

// OnDuty is who can be given work: on shift, not in a break, not on a holiday or leave.
func (d *Oracle) OnDuty(s *crm.Seat, shift string) bool {
	if s.Suspended || slices.ContainsFunc(s.Leave, func(p crm.Period) bool { return p.Contains(d.now) }) {
		return false
	}
	for _, a := range s.Shifts {
		if a.Shift == shift && a.Contains(d.now) {
			return openAt(&d.shifts[shift].Hours, d.now)
		}
	}
	return false
}

// Permitted is P(x) of step 2.
func (d *Oracle) Permitted(s *crm.Seat, module string, x crm.Permissions) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return d.profiles[p].Modules[module]&x != 0 })
}

// HasTool reports whether a profile of the seat has a tool.
func (d *Oracle) HasTool(s *crm.Seat, tool crm.Tool) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return slices.Contains(d.profiles[p].Tools, tool) })
}

// HasSetup reports whether a profile of the seat has a setup permission.
func (d *Oracle) HasSetup(s *crm.Seat, setup crm.Setup) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return slices.Contains(d.profiles[p].Setup, setup) })
}

// Admin reports whether a profile of the seat is an administrator's.
func (d *Oracle) Admin(s *crm.Seat) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return d.profiles[p].Administrator })
}

// SuperAdmin reports whether the seat is the super admin.
func (d *Oracle) SuperAdmin(s *crm.Seat) bool { return d.o.SuperAdmin == s.ID }

func (d *Oracle) ceo(s *crm.Seat) bool { return d.roles[s.Role].Parent == "" }

// Level is what the seat has on a record that is not one of a child module.
func (d *Oracle) Level(s *crm.Seat, r *crm.Record) crm.Level {
	m, owner := d.modules[r.Module], d.seats[r.Owner]
	if m.Kind == crm.Forecast || m.Kind == crm.ImportJob {
		return d.privateLevel(s, r, m)
	}
	if s == owner || d.SuperAdmin(s) {
		return crm.LevelFull
	}
	above := (d.Superior(s, owner) && !m.NoHierarchy) || d.ceo(s) || d.Admin(s)
	if above && r.Confidentiality != crm.Secret {
		return crm.LevelFull
	}
	l := crm.LevelNone
	for _, share := range r.Shares {
		if d.alive(share) && d.In(s, share.To) {
			l = max(l, share.Level)
		}
	}
	for _, p := range r.Parents {
		for _, share := range d.records[p].Shares {
			if share.Related && d.alive(share) && d.In(s, share.To) {
				l = max(l, share.Level)
			}
		}
	}
	if r.Confidentiality != crm.Open {
		return l
	}
	l = max(l, m.Default)
	if d.Permitted(s, m.ID, crm.PermissionViewAll) {
		l = max(l, crm.LevelView)
	}
	if s.Role == owner.Role {
		l = max(l, d.roles[owner.Role].Peers)
	}
	if slices.Contains(d.roles[owner.Role].ForecastManagers, s.ID) {
		l = max(l, crm.LevelView)
	}
	for _, rule := range d.o.Rules {
		if rule.Disabled || rule.Module != m.ID || !d.In(owner, rule.Source) {
			continue
		}
		target := d.In(s, rule.Target)
		if rule.Superiors && rule.Target.Kind != crm.Everyone {
			for i := range d.o.Seats {
				target = target || d.In(&d.o.Seats[i], rule.Target) && d.Superior(s, &d.o.Seats[i])
			}
		}
		if target {
			l = max(l, rule.Level)
		}
	}
	return l
}

func (d *Oracle) alive(s crm.Share) bool { return s.Expires.IsZero() || d.now.Before(s.Expires) }

func (d *Oracle) privateLevel(s *crm.Seat, r *crm.Record, m *crm.Module) crm.Level {
	owner := d.seats[r.Owner]
	switch {
	case s == owner:
		return crm.LevelFull
	case d.Superior(s, owner), d.Admin(s):
		return crm.LevelView
	case m.Kind == crm.Forecast && slices.Contains(d.roles[owner.Role].ForecastManagers, s.ID):
		return crm.LevelView
	}
	return crm.LevelNone
}

// childAllows decides each action by the parent.
func (d *Oracle) childAllows(s *crm.Seat, a crm.Action, n *crm.Record) bool {
	parent := d.records[n.Parents[0]]
	if !d.Can(s.ID, crm.ActionView, parent, nil) {
		return false
	}
	switch a {
	case crm.ActionView, "export":
		return true
	case crm.ActionEdit, crm.ActionDelete:
		return s.ID == n.Owner || d.Can(s.ID, a, parent, nil)
	}
	return false
}

// Superior reports whether s has full access to what o owns.
func (d *Oracle) Superior(s, o *crm.Seat) bool {
	for _, t := range d.o.Teams {
		if slices.Contains(t.Managers, s.ID) && slices.Contains(t.Members, o.ID) {
			return true
		}
	}
	if d.o.Settings.Hierarchy == crm.ByRole {
		return d.strictAncestor(s.Role, o.Role)
	}
	for id := o.Manager; id != ""; id = d.seats[id].Manager {
		if id == s.ID {
			return true
		}
	}
	return o.NonReporting && d.o.Settings.NonReportingByRole && d.strictAncestor(s.Role, o.Role)
}

func (d *Oracle) strictAncestor(above, below string) bool {
	for id := d.roles[below].Parent; id != ""; id = d.roles[id].Parent {
		if id == above {
			return true
		}
	}
	return false
}

// In is "x in target".
func (d *Oracle) In(s *crm.Seat, p crm.Party) bool {
	switch p.Kind {
	case crm.User:
		return s.ID == p.ID
	case crm.HoldersOf:
		return s.Role == p.ID
	case crm.RoleAndSubordinates:
		return s.Role == p.ID || d.strictAncestor(p.ID, s.Role)
	case crm.MembersOf:
		return slices.ContainsFunc(d.groups[p.ID].Members, func(m crm.Party) bool { return d.In(s, m) })
	case crm.Everyone:
		return true
	}
	return false
}

// openAt decides by the occurrences of the dates around the instant: one belongs to the
// local date on which it begins; what begins on a holiday is cancelled, and an exception
// replaces what begins on its date.
func openAt(h *crm.Hours, now time.Time) bool {
	zone, err := time.LoadLocation(h.Zone)
	if err != nil {
		panic(err)
	}
	today := now.In(zone)
	for back := -1; back <= 2; back++ {
		date := time.Date(today.Year(), today.Month(), today.Day()-back, 0, 0, 0, 0, time.UTC)
		windows := h.Week[date.Weekday()]
		text := date.Format(time.DateOnly)
		if slices.Contains(h.Holidays, text) {
			windows = nil
		}
		if exception, ok := h.Exceptions[text]; ok {
			windows = exception
		}
		for _, w := range windows {
			if !covers(date, zone, w.Span, 0, now) {
				continue
			}
			inBreak := false
			for _, b := range w.Breaks {
				shift := 0
				if b.Start < w.Start {
					shift = 1 // the break is after midnight
				}
				inBreak = inBreak || covers(date, zone, b, shift, now)
			}
			if !inBreak {
				return true
			}
		}
	}
	return false
}

// covers reports whether the span that begins so many days after the date contains now.
func covers(date time.Time, zone *time.Location, s crm.Span, days int, now time.Time) bool {
	start, end := int(s.Start), int(s.End)
	if end <= start {
		end += 24 * 60
	}
	from := instant(date.AddDate(0, 0, days).Add(time.Duration(start)*time.Minute), zone)
	until := instant(date.AddDate(0, 0, days).Add(time.Duration(end)*time.Minute), zone)
	return !now.Before(from) && now.Before(until)
}

// instant is a local time, given as if it were UTC, by RFC 5545, section 3.3.5: the first
// of two, and with the offset before a gap if there is none. One change of offset at most
// lies within a day of it.
func instant(local time.Time, zone *time.Location) time.Time {
	_, before := local.Add(-24 * time.Hour).In(zone).Zone()
	_, after := local.Add(24 * time.Hour).In(zone).Zone()
	first, second := local.Add(-time.Duration(before)*time.Second), local.Add(-time.Duration(after)*time.Second)
	shows := func(at time.Time) bool {
		_, offset := at.In(zone).Zone()
		return at.Add(time.Duration(offset) * time.Second).Equal(local)
	}
	if shows(second) && (second.Before(first) || !shows(first)) {
		return second
	}
	return first
}

// key is the field's id in the model.
func key(f *crm.Field) string { return f.Module + "." + f.ID }
