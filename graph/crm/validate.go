package crm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

// Validate reports everything that is wrong with the organisation, as an *Error, or
// nothing. A limit of zero is no limit.
func (o *Organisation) Validate(limits Limits) error {
	v := validator{o: o, limits: limits, claims: map[graph.ObjectName]string{}}
	v.index()
	v.organisation()
	v.seatsAll()
	v.rolesAll()
	v.profilesAll()
	v.modulesAll()
	v.fieldsAll()
	v.groupsAll()
	v.teamsAll()
	v.rulesAll()
	v.shiftsAll()
	v.recordsAll()
	if len(v.faults) > 0 {
		return &Error{Faults: v.faults}
	}
	return nil
}

type validator struct {
	o      *Organisation
	limits Limits

	seats    map[string]*Seat
	roles    map[string]*Role
	profiles map[string]*Profile
	modules  map[string]*Module
	groups   map[string]*Group
	shifts   map[string]*Shift
	records  map[Ref]*Record

	business *Week // business hours that can be compared with, nil if there are none

	claims map[graph.ObjectName]string // whose the name is
	faults []Fault
}

func (v *validator) fault(subject, format string, args ...any) {
	v.faults = append(v.faults, Fault{Subject: subject, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) index() {
	v.seats = indexed(v, typeUser, v.o.Seats, func(s *Seat) string { return s.ID })
	v.roles = indexed(v, typeRole, v.o.Roles, func(r *Role) string { return r.ID })
	v.profiles = indexed(v, typeProfile, v.o.Profiles, func(p *Profile) string { return p.ID })
	v.modules = indexed(v, typeModule, v.o.Modules, func(m *Module) string { return m.ID })
	indexed(v, typeField, v.o.Fields, (*Field).key)
	v.groups = indexed(v, typeGroup, v.o.Groups, func(g *Group) string { return g.ID })
	indexed(v, typeTeam, v.o.Teams, func(t *Team) string { return t.ID })
	indexed(v, typeRule, v.o.Rules, func(r *Rule) string { return r.ID })
	v.shifts = indexed(v, typeShift, v.o.Shifts, func(s *Shift) string { return s.ID })
	v.records = map[Ref]*Record{}
	for i := range v.o.Records {
		r := &v.o.Records[i]
		v.id(r.Ref().String(), entity(r.Module, r.ID))
		if v.records[r.Ref()] != nil {
			v.fault(r.Ref().String(), "there are two of this id")
		}
		v.records[r.Ref()] = r
	}
}

// indexed finds entities by id, and faults of the ids.
func indexed[T any](v *validator, kind string, list []T, id func(*T) string) map[string]*T {
	m := make(map[string]*T, len(list))
	for i := range list {
		id := id(&list[i])
		v.id(kind+":"+id, entity(kind, id))
		if m[id] != nil {
			v.fault(kind+":"+id, "there are two of this id")
		}
		m[id] = &list[i]
	}
	return m
}

func (v *validator) id(subject string, name graph.ObjectName) {
	if err := name.Validate(); err != nil {
		v.fault(subject, "%v", err)
	}
}

// label checks a name that is only shown.
func (v *validator) label(subject, name string) bool {
	switch {
	case strings.TrimSpace(name) == "":
		v.fault(subject, "it has no name")
	case name != strings.TrimSpace(name):
		v.fault(subject, "its name %q begins or ends with white space", name)
	case len(name) > MaxName:
		v.fault(subject, "its name has %d bytes, at most %d are allowed", len(name), MaxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		v.fault(subject, "its name %q contains control characters or is not UTF-8", name)
	default:
		return true
	}
	return false
}

// name checks a name that is unique in its kind.
func (v *validator) name(subject, kind, name string) {
	if !v.label(subject, name) {
		return
	}
	claim := Claim(kind, name)
	if len(claim.ID) > MaxName+len(kind)+1 {
		v.fault(subject, "its name is too long when its case is folded: shorten it")
		return
	}
	if other, taken := v.claims[claim]; taken {
		v.fault(subject, "the name %q is that of %s already; case does not matter", name, other)
		return
	}
	v.claims[claim] = subject
}

// known checks references of one kind; no reference occurs twice.
func known[T any](v *validator, subject, what string, ids []string, in map[string]*T) {
	seen := map[string]bool{}
	for _, id := range ids {
		if in[id] == nil {
			v.fault(subject, "%s %q does not exist", what, id)
		}
		if seen[id] {
			v.fault(subject, "%s %q occurs twice", what, id)
		}
		seen[id] = true
	}
}

func (v *validator) organisation() {
	o := v.o
	subject := typeOrg + ":" + o.ID
	v.id(subject, entity(typeOrg, o.ID))
	v.label(subject, o.Name)
	switch s := v.seats[o.SuperAdmin]; {
	case o.SuperAdmin == "":
		v.fault(subject, "it has no super admin")
	case s == nil:
		v.fault(subject, "the super admin %q has no seat", o.SuperAdmin)
	case s.Suspended:
		v.fault(subject, "the super admin %q is suspended", o.SuperAdmin)
	}
	if o.Settings.Hierarchy > ByReporting {
		v.fault(subject, "hierarchy %d is unknown", o.Settings.Hierarchy)
	}
	if o.Settings.Assign > AssignOnDuty {
		v.fault(subject, "assign scope %d is unknown", o.Settings.Assign)
	}
	if b := o.Settings.BusinessHours; b != nil {
		if b.FirstDay < time.Sunday || b.FirstDay > time.Saturday {
			v.fault(subject, "the first day of the week is none: %d", b.FirstDay)
		}
		if v.hours(subject, "business hours", &Hours{Zone: "UTC", Week: b.Week}) {
			v.business = &b.Week
		}
		for _, windows := range b.Week {
			for _, w := range windows {
				if len(w.Breaks) > 0 {
					v.fault(subject, "business hours %s have a break: write two windows", w)
				}
			}
		}
	}
}

func (v *validator) seatsAll() {
	depths := v.depths()
	for i := range v.o.Seats {
		s := &v.o.Seats[i]
		subject := typeUser + ":" + s.ID
		v.label(subject, s.Name)
		if v.roles[s.Role] == nil {
			v.fault(subject, "role %q does not exist; a seat holds exactly one", s.Role)
		}
		known(v, subject, "profile", s.Profiles, v.profiles)
		v.periods(subject, "leave", s.Leave)
		v.assignments(subject, s)
		if s.Manager == "" {
			continue
		}
		manager := v.seats[s.Manager]
		if manager == nil {
			v.fault(subject, "the manager %q has no seat", s.Manager)
			continue
		}
		above, known := depths[manager.Role]
		below, also := depths[s.Role]
		if known && also && above >= below {
			v.fault(subject, "the manager %q must hold a higher role: %q is not above %q",
				s.Manager, manager.Role, s.Role)
		}
	}
	edges := map[string][]string{}
	for id, s := range v.seats {
		edges[id] = []string{s.Manager}
	}
	v.cycles(typeUser, edges)
}

// depths is how far below the root each role is; roles that are not below a root are
// left out.
func (v *validator) depths() map[string]int {
	depths := map[string]int{}
	for id, r := range v.roles {
		depth := 0
		for r != nil && r.Parent != "" && depth <= len(v.roles) {
			depth++
			r = v.roles[r.Parent]
		}
		if r != nil && r.Parent == "" {
			depths[id] = depth
		}
	}
	return depths
}

// cycles reports entities of a kind that refer to themselves by way of others. Edges are
// whom each refers to.
func (v *validator) cycles(kind string, edges map[string][]string) {
	// What refers to nobody who is left is on no cycle.
	for removed := true; removed; {
		removed = false
		for id, to := range edges {
			if !slices.ContainsFunc(to, func(next string) bool { return edges[next] != nil }) {
				delete(edges, id)
				removed = true
			}
		}
	}
	for _, start := range slices.Sorted(maps.Keys(edges)) {
		// Whoever is left refers to somebody who was left, so a walk comes back unless it
		// meets a cycle that is reported already.
		var path []string
		for id := start; ; {
			if i := slices.Index(path, id); i >= 0 {
				path = path[i:]
				break
			}
			path = append(path, id)
			next := slices.IndexFunc(edges[id], func(next string) bool { return edges[next] != nil })
			if next < 0 {
				path = nil
				break
			}
			id = edges[id][next]
		}
		if len(path) == 0 {
			continue
		}
		v.fault(kind+":"+path[0], "it is above itself: %s", strings.Join(append(path, path[0]), ", "))
		for _, id := range path {
			delete(edges, id)
		}
	}
}

func (v *validator) assignments(subject string, s *Seat) {
	if len(s.Shifts) > MaxPeriods {
		v.fault(subject, "shifts have %d periods, at most %d are allowed", len(s.Shifts), MaxPeriods)
		return
	}
	for i, a := range s.Shifts {
		if v.shifts[a.Shift] == nil {
			v.fault(subject, "shift %q does not exist", a.Shift)
		}
		v.period(subject, "shift "+a.Shift, a.Period)
		for _, b := range s.Shifts[:i] {
			if a.overlaps(b.Period) {
				v.fault(subject, "shifts %q and %q are at the same time; a seat works one", b.Shift, a.Shift)
			}
		}
	}
}

func (v *validator) periods(subject, what string, list []Period) {
	if len(list) > MaxPeriods {
		v.fault(subject, "%s has %d periods, at most %d are allowed", what, len(list), MaxPeriods)
		return
	}
	for i, p := range list {
		v.period(subject, what, p)
		for _, q := range list[:i] {
			if p.overlaps(q) {
				v.fault(subject, "%s has periods that overlap", what)
			}
		}
	}
}

// maxYear is the last that RFC 3339 can write.
const maxYear = 9999

func (v *validator) period(subject, what string, p Period) {
	if !p.Until.IsZero() && !p.From.Before(p.Until) {
		v.fault(subject, "%s ends at %s, which is not after its start", what, p.Until.UTC().Format(time.RFC3339))
	}
	if p.From.UTC().Year() < 1 || max(p.From.UTC().Year(), p.Until.UTC().Year()) > maxYear {
		v.fault(subject, "%s is outside the years 1 to %d", what, maxYear)
	}
}

func (v *validator) rolesAll() {
	var roots []string
	for i := range v.o.Roles {
		r := &v.o.Roles[i]
		subject := typeRole + ":" + r.ID
		v.name(subject, typeRole, r.Name)
		if r.Parent == "" {
			roots = append(roots, r.ID)
		} else if v.roles[r.Parent] == nil {
			v.fault(subject, "the role above it, %q, does not exist", r.Parent)
		}
		if r.Peers > LevelDelete {
			v.fault(subject, "peers cannot have %s on each other's records: none, view, edit or delete", r.Peers)
		}
		known(v, subject, "forecast manager", r.ForecastManagers, v.seats)
	}
	edges := map[string][]string{}
	for id, r := range v.roles {
		edges[id] = []string{r.Parent}
	}
	v.cycles(typeRole, edges)
	if len(roots) != 1 {
		v.fault(typeOrg+":"+v.o.ID, "exactly one role has none above it, not %d: %v", len(roots), roots)
	}
}

func (v *validator) profilesAll() {
	administrators := 0
	for i := range v.o.Profiles {
		p := &v.o.Profiles[i]
		subject := typeProfile + ":" + p.ID
		v.name(subject, typeProfile, p.Name)
		if p.Administrator {
			administrators++
		}
		for id, bits := range p.Modules {
			if v.modules[id] == nil {
				v.fault(subject, "module %q does not exist", id)
			}
			if bits&^allPermissions != 0 {
				v.fault(subject, "it has unknown permissions in module %q", id)
			}
		}
		few(v, subject, "tool", p.Tools, AllTools())
		few(v, subject, "setup permission", p.Setup, AllSetup())
	}
	if administrators == 0 {
		v.fault(typeOrg+":"+v.o.ID, "it has no administrator profile")
	}
}

// few checks that the list holds some of all, each once.
func few[T cmp.Ordered](v *validator, subject, what string, list, all []T) {
	seen := map[T]bool{}
	for _, t := range list {
		if !slices.Contains(all, t) {
			v.fault(subject, "%s %q is unknown", what, fmt.Sprint(t))
		}
		if seen[t] {
			v.fault(subject, "%s %q occurs twice", what, fmt.Sprint(t))
		}
		seen[t] = true
	}
}

func (v *validator) modulesAll() {
	if len(v.o.Modules) > MaxModules {
		v.fault(typeOrg+":"+v.o.ID, "it has %d modules, at most %d are allowed", len(v.o.Modules), MaxModules)
	}
	for i := range v.o.Modules {
		m := &v.o.Modules[i]
		subject := typeModule + ":" + m.ID
		v.name(subject, typeModule, m.Name)
		if !validModuleID(m.ID) {
			v.fault(subject, "the id of a module is at most %d lower case letters and digits, words joined by '_'", MaxModuleID)
		} else if reserved[m.ID] {
			v.fault(subject, "the id is that of a type which every organisation has: choose another")
		}
		known(v, subject, "parent module", m.Parents, v.modules)
		for _, p := range m.Parents {
			if parent := v.modules[p]; parent != nil && parent.Kind != Standard {
				v.fault(subject, "parent module %q is not a standard one", p)
			}
		}
		switch m.Kind {
		case Standard:
			if m.Default > LevelDelete {
				v.fault(subject, "the default cannot be %s: none, view, edit or delete", m.Default)
			}
			continue
		case Child:
			if len(m.Parents) == 0 {
				v.fault(subject, "a child module needs a parent module")
			}
		case Forecast, ImportJob:
			if len(m.Parents) > 0 {
				v.fault(subject, "a private module has no parent modules")
			}
		default:
			v.fault(subject, "the kind %q is unknown: standard, child, forecast or import_job", m.Kind)
		}
		if m.Default != LevelNone || m.NoHierarchy {
			v.fault(subject, "defaults and the hierarchy can be set for standard modules only")
		}
	}
}

func (v *validator) fieldsAll() {
	for i := range v.o.Fields {
		f := &v.o.Fields[i]
		subject := typeField + ":" + f.key()
		v.name(subject, fieldKind(f.Module), f.Name)
		if v.modules[f.Module] == nil {
			v.fault(subject, "module %q does not exist", f.Module)
		}
		if f.ID == "" {
			v.fault(subject, "it has no id")
		}
		for p, l := range f.Levels {
			if v.profiles[p] == nil {
				v.fault(subject, "profile %q does not exist", p)
			}
			switch {
			case l > FieldHidden:
				v.fault(subject, "level %d is unknown", l)
			case l != FieldWrite && f.Mandatory:
				v.fault(subject, "it is mandatory and cannot be restricted, not for profile %q either", p)
			}
		}
	}
}

func (v *validator) groupsAll() {
	for i := range v.o.Groups {
		g := &v.o.Groups[i]
		subject := typeGroup + ":" + g.ID
		v.name(subject, typeGroup, g.Name)
		seen := map[Party]bool{}
		for _, m := range g.Members {
			v.party(subject, "member", m, false)
			if seen[m] {
				v.fault(subject, "member %s occurs twice", m)
			}
			seen[m] = true
		}
	}
	edges := map[string][]string{}
	for id, g := range v.groups {
		edges[id] = []string{""} // present even if it has no groups
		for _, m := range g.Members {
			if m.Kind == MembersOf {
				edges[id] = append(edges[id], m.ID)
			}
		}
	}
	v.cycles(typeGroup, edges)
}

// party checks that somebody can be meant by it.
func (v *validator) party(subject, what string, p Party, everyone bool) {
	exists := true
	switch p.Kind {
	case User:
		exists = v.seats[p.ID] != nil
	case HoldersOf, RoleAndSubordinates:
		exists = v.roles[p.ID] != nil
	case MembersOf:
		exists = v.groups[p.ID] != nil
	case Everyone:
		if !everyone {
			v.fault(subject, "%s cannot be everyone", what)
		}
		if p.ID != "" {
			v.fault(subject, "%s is everyone and has an id, %q", what, p.ID)
		}
	default:
		v.fault(subject, "%s is of unknown kind %d", what, p.Kind)
	}
	if !exists {
		v.fault(subject, "%s %s does not exist", what, p)
	}
}

func (v *validator) teamsAll() {
	for i := range v.o.Teams {
		t := &v.o.Teams[i]
		subject := typeTeam + ":" + t.ID
		v.name(subject, typeTeam, t.Name)
		known(v, subject, "manager", t.Managers, v.seats)
		known(v, subject, "member", t.Members, v.seats)
	}
}

func (v *validator) rulesAll() {
	for i := range v.o.Rules {
		r := &v.o.Rules[i]
		subject := typeRule + ":" + r.ID
		v.name(subject, typeRule, r.Name)
		if m := v.modules[r.Module]; m == nil {
			v.fault(subject, "module %q does not exist", r.Module)
		} else if m.Kind != Standard {
			v.fault(subject, "module %q is not a standard one: nothing of it can be shared", r.Module)
		}
		v.party(subject, "the source", r.Source, false)
		v.party(subject, "the target", r.Target, true)
		if r.Level < LevelView || r.Level > LevelDelete {
			v.fault(subject, "it cannot give %s: view, edit or delete", r.Level)
		}
	}
}

func (v *validator) shiftsAll() {
	if n := len(v.o.Shifts); v.limits.Shifts > 0 && n > v.limits.Shifts {
		v.fault(typeOrg+":"+v.o.ID, "it has %d shifts, at most %d are allowed", n, v.limits.Shifts)
	}
	for i := range v.o.Shifts {
		s := &v.o.Shifts[i]
		subject := typeShift + ":" + s.ID
		v.name(subject, typeShift, s.Name)
		if !v.hours(subject, "hours", &s.Hours) {
			continue
		}
		if v.business != nil && !s.Hours.Week.within(v.business) {
			v.fault(subject, "it is not inside the business hours")
		}
	}
}

// hours checks a schedule: its shape here, what it means where it is evaluated.
func (v *validator) hours(subject, what string, h *Hours) bool {
	before := len(v.faults)
	check := func(on string, windows []Window) {
		for _, w := range windows {
			if n := len(w.Breaks); v.limits.Breaks > 0 && n > v.limits.Breaks {
				v.fault(subject, "%s %s on %s have %d breaks, at most %d are allowed", what, w, on, n, v.limits.Breaks)
			}
			for _, s := range append([]Span{w.Span}, w.Breaks...) {
				if s.Start < 0 || s.Start >= day || s.End < 0 || s.End > day {
					v.fault(subject, "%s %s on %s: a time is from 00:00 to 24:00, and starts before 24:00", what, s, on)
				}
			}
		}
	}
	for i, windows := range h.Week {
		check(weekdays[i], windows)
	}
	for date, windows := range h.Exceptions {
		check(date, windows)
		v.date(subject, what, date)
	}
	seen := map[string]bool{}
	for _, date := range h.Holidays {
		v.date(subject, what, date)
		if seen[date] {
			v.fault(subject, "%s: holiday %s occurs twice", what, date)
		}
		seen[date] = true
	}
	if len(v.faults) > before {
		return false
	}
	if _, err := schedule.Parse(h.fields()); err != nil {
		v.fault(subject, "%s: %v", what, err)
		return false
	}
	if _, err := condition.NewContext(value.Map{parameterSchedule: h.fields()}); err != nil {
		v.fault(subject, "%s: %v", what, err)
		return false
	}
	return true
}

func (v *validator) date(subject, what, date string) {
	if t, err := time.Parse(time.DateOnly, date); err != nil || t.Year() < 1 {
		v.fault(subject, "%s: %q is no date such as 2026-12-25", what, date)
	}
}

func (v *validator) recordsAll() {
	for i := range v.o.Records {
		r := &v.o.Records[i]
		subject := r.Ref().String()
		if v.seats[r.Owner] == nil {
			v.fault(subject, "the owner %q has no seat", r.Owner)
		}
		if _, err := value.Encode(r.Fields); err != nil {
			v.fault(subject, "its fields cannot be stored: %v", err)
		}
		m := v.modules[r.Module]
		if m == nil {
			v.fault(subject, "module %q does not exist", r.Module)
			continue
		}
		v.parents(subject, r, m)
		if r.Confidentiality > Secret {
			v.fault(subject, "confidentiality %d is unknown", r.Confidentiality)
		}
		if m.Kind != Standard && (r.Confidentiality != Open || len(r.Shares) > 0) {
			v.fault(subject, "records of a %s module are neither shared nor confidential", m.Kind)
		}
		v.shares(subject, r)
	}
}

func (v *validator) parents(subject string, r *Record, m *Module) {
	if m.Kind == Child && len(r.Parents) != 1 {
		v.fault(subject, "a record of a child module has one parent, not %d", len(r.Parents))
	}
	seen := map[Ref]bool{}
	for _, p := range r.Parents {
		switch {
		case !slices.Contains(m.Parents, p.Module):
			v.fault(subject, "the parent %s is of a module that module %q is not below", p, m.ID)
		case v.records[p] == nil:
			v.fault(subject, "the parent %s does not exist", p)
		case p == r.Ref():
			v.fault(subject, "it is its own parent")
		case seen[p]:
			v.fault(subject, "the parent %s occurs twice", p)
		}
		seen[p] = true
	}
}

func (v *validator) shares(subject string, r *Record) {
	seen := map[Party]bool{}
	for _, s := range r.Shares {
		v.party(subject, "a share's recipient", s.To, true)
		if s.Level != LevelView && s.Level != LevelEdit && s.Level != LevelFull {
			v.fault(subject, "a share cannot give %s: view, edit or full", s.Level)
		}
		if !s.Expires.IsZero() && s.Expires.UnixMilli() <= 0 {
			v.fault(subject, "the share with %s expires before 1970", s.To)
		}
		if seen[s.To] {
			v.fault(subject, "it is shared with %s twice", s.To)
		}
		seen[s.To] = true
		for _, text := range []string{s.Reason, s.GrantedBy} {
			if !utf8.ValidString(text) || len(text) > MaxName {
				v.fault(subject, "reason and author of the share with %s are UTF-8 of at most %d bytes", s.To, MaxName)
			}
		}
	}
}
