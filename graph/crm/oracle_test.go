package crm

import (
	"slices"
	"time"
)

// An oracle decides by the letter of the decision procedure, over the organisation itself
// and at one instant. It knows no tuples, no model and no schedule; it is slow and short.
type oracle struct {
	o        *Organisation
	now      time.Time
	seats    map[string]*Seat
	roles    map[string]*Role
	profiles map[string]*Profile
	modules  map[string]*Module
	groups   map[string]*Group
	shifts   map[string]*Shift
	fields   map[string]*Field
	records  map[Ref]*Record
}

func newOracle(o *Organisation, now time.Time) *oracle {
	d := &oracle{
		o: o, now: now,
		seats: map[string]*Seat{}, roles: map[string]*Role{}, profiles: map[string]*Profile{},
		modules: map[string]*Module{}, groups: map[string]*Group{}, shifts: map[string]*Shift{},
		fields: map[string]*Field{}, records: map[Ref]*Record{},
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
		d.fields[o.Fields[i].key()] = &o.Fields[i]
	}
	for i := range o.Records {
		d.records[o.Records[i].Ref()] = &o.Records[i]
	}
	return d
}

// can decides an action on a record, and with a field, on that field of it. "export" is
// an action here; adding a record of a child module is Add of it.
func (d *oracle) can(u string, a Action, r *Record, f *Field) bool {
	// 1 seat
	s := d.seats[u]
	if !d.mayAct(s) {
		return false
	}
	// 2 module permission
	if !d.permitted(s, r.Module, PermissionView) {
		return false
	}
	kind := d.modules[r.Module].Kind
	var lvl Level
	switch a {
	case ActionView:
		lvl = LevelView
	case "export":
		lvl = LevelView
		if !d.hasTool(s, ToolExport) {
			return false
		}
	case ActionEdit:
		lvl = LevelEdit
		if !d.permitted(s, r.Module, PermissionEdit) {
			return false
		}
	case ActionDelete:
		lvl = LevelDelete
		if !d.permitted(s, r.Module, PermissionDelete) {
			return false
		}
	case ActionShare:
		lvl = LevelFull
		if !d.permitted(s, r.Module, PermissionShare) || kind != Standard { // nothing else can be shared
			return false
		}
	case ActionTransfer:
		lvl = LevelFull
		if !d.permitted(s, r.Module, PermissionTransfer) {
			return false
		}
	default:
		lvl = LevelView
		if d.o.Settings.AddingNeedsEdit {
			lvl = LevelEdit
		}
		if !d.permitted(s, string(a[len("add_"):]), PermissionCreate) {
			return false
		}
	}
	// 3 record level
	if kind == Child {
		if !d.childAllows(s, a, r) {
			return false
		}
	} else if d.level(s, r) < lvl {
		return false
	}
	// 4 field
	if f != nil {
		best := FieldHidden
		for _, p := range s.Profiles {
			best = min(best, f.Levels[p]) // FieldWrite < FieldRead < FieldHidden
		}
		if a == ActionView && best == FieldHidden || a == ActionEdit && best != FieldWrite {
			return false
		}
	}
	return true
}

// mayAct is step 1: an active seat, within its hours if they are enforced.
func (d *oracle) mayAct(s *Seat) bool {
	if s == nil || s.Suspended {
		return false
	}
	gated := d.o.Settings.LoginHours && slices.ContainsFunc(s.Profiles, func(p string) bool { return d.profiles[p].Gated })
	return !gated || d.admin(s) || d.superAdmin(s) || d.inHours(s)
}

func (d *oracle) inHours(s *Seat) bool {
	for _, a := range s.Shifts {
		if a.Contains(d.now) && openAt(&d.shifts[a.Shift].Hours, d.now) {
			return true
		}
	}
	return false
}

// onDuty is who can be given work: on shift, not in a break, not on a holiday or leave.
func (d *oracle) onDuty(s *Seat, shift string) bool {
	if s.Suspended || slices.ContainsFunc(s.Leave, func(p Period) bool { return p.Contains(d.now) }) {
		return false
	}
	for _, a := range s.Shifts {
		if a.Shift == shift && a.Contains(d.now) {
			return openAt(&d.shifts[shift].Hours, d.now)
		}
	}
	return false
}

// permitted is P(x) of step 2.
func (d *oracle) permitted(s *Seat, module string, x Permissions) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return d.profiles[p].Modules[module]&x != 0 })
}

func (d *oracle) hasTool(s *Seat, tool Tool) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return slices.Contains(d.profiles[p].Tools, tool) })
}

func (d *oracle) hasSetup(s *Seat, setup Setup) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return slices.Contains(d.profiles[p].Setup, setup) })
}

func (d *oracle) admin(s *Seat) bool {
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return d.profiles[p].Administrator })
}

func (d *oracle) superAdmin(s *Seat) bool { return d.o.SuperAdmin == s.ID }

func (d *oracle) ceo(s *Seat) bool { return d.roles[s.Role].Parent == "" }

// level is that of a record that is not a child.
func (d *oracle) level(s *Seat, r *Record) Level {
	m, owner := d.modules[r.Module], d.seats[r.Owner]
	if m.Kind == Forecast || m.Kind == ImportJob {
		return d.privateLevel(s, r, m)
	}
	if s == owner || d.superAdmin(s) {
		return LevelFull
	}
	above := (d.superior(s, owner) && !m.NoHierarchy) || d.ceo(s) || d.admin(s)
	if above && r.Confidentiality != Secret {
		return LevelFull
	}
	l := LevelNone
	for _, share := range r.Shares {
		if d.alive(share) && d.in(s, share.To) {
			l = max(l, share.Level)
		}
	}
	for _, p := range r.Parents {
		for _, share := range d.records[p].Shares {
			if share.Related && d.alive(share) && d.in(s, share.To) {
				l = max(l, share.Level)
			}
		}
	}
	if r.Confidentiality != Open {
		return l
	}
	l = max(l, m.Default)
	if d.permitted(s, m.ID, PermissionViewAll) {
		l = max(l, LevelView)
	}
	if s.Role == owner.Role {
		l = max(l, d.roles[owner.Role].Peers)
	}
	if slices.Contains(d.roles[owner.Role].ForecastManagers, s.ID) {
		l = max(l, LevelView)
	}
	for _, rule := range d.o.Rules {
		if rule.Disabled || rule.Module != m.ID || !d.in(owner, rule.Source) {
			continue
		}
		target := d.in(s, rule.Target)
		if rule.Superiors && rule.Target.Kind != Everyone {
			for i := range d.o.Seats {
				target = target || d.in(&d.o.Seats[i], rule.Target) && d.superior(s, &d.o.Seats[i])
			}
		}
		if target {
			l = max(l, rule.Level)
		}
	}
	return l
}

func (d *oracle) alive(s Share) bool { return s.Expires.IsZero() || d.now.Before(s.Expires) }

func (d *oracle) privateLevel(s *Seat, r *Record, m *Module) Level {
	owner := d.seats[r.Owner]
	switch {
	case s == owner:
		return LevelFull
	case d.superior(s, owner), d.admin(s):
		return LevelView
	case m.Kind == Forecast && slices.Contains(d.roles[owner.Role].ForecastManagers, s.ID):
		return LevelView
	}
	return LevelNone
}

// childAllows decides each action by the parent.
func (d *oracle) childAllows(s *Seat, a Action, n *Record) bool {
	parent := d.records[n.Parents[0]]
	if !d.can(s.ID, ActionView, parent, nil) {
		return false
	}
	switch a {
	case ActionView, "export":
		return true
	case ActionEdit, ActionDelete:
		return s.ID == n.Owner || d.can(s.ID, a, parent, nil)
	}
	return false
}

func (d *oracle) superior(s, o *Seat) bool {
	for _, t := range d.o.Teams {
		if slices.Contains(t.Managers, s.ID) && slices.Contains(t.Members, o.ID) {
			return true
		}
	}
	if d.o.Settings.Hierarchy == ByRole {
		return d.strictAncestor(s.Role, o.Role)
	}
	for id := o.Manager; id != ""; id = d.seats[id].Manager {
		if id == s.ID {
			return true
		}
	}
	return o.NonReporting && d.o.Settings.NonReportingByRole && d.strictAncestor(s.Role, o.Role)
}

func (d *oracle) strictAncestor(above, below string) bool {
	for id := d.roles[below].Parent; id != ""; id = d.roles[id].Parent {
		if id == above {
			return true
		}
	}
	return false
}

// in is "x in target".
func (d *oracle) in(s *Seat, p Party) bool {
	switch p.Kind {
	case User:
		return s.ID == p.ID
	case HoldersOf:
		return s.Role == p.ID
	case RoleAndSubordinates:
		return s.Role == p.ID || d.strictAncestor(p.ID, s.Role)
	case MembersOf:
		return slices.ContainsFunc(d.groups[p.ID].Members, func(m Party) bool { return d.in(s, m) })
	case Everyone:
		return true
	}
	return false
}

// openAt decides by the occurrences of the dates around the instant: one belongs to the
// local date on which it begins; what begins on a holiday is cancelled, and an exception
// replaces what begins on its date.
func openAt(h *Hours, now time.Time) bool {
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
func covers(date time.Time, zone *time.Location, s Span, days int, now time.Time) bool {
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
