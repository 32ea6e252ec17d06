package crm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

const (
	allChecked = 300
	fewChecked = 16

	// editsEach is how many changes of each organisation are tried.
	editsEach = 100
)

// tight limits are met by random organisations.
var tight = crm.Limits{Shifts: 3, Breaks: 2}

// actRules are the complaints about doing what may be so.
var actRules = []string{
	"must hold a higher role",
	"who is suspended: choose somebody active",
	"who has no profile with view in module",
}

// stayRules are the complaints about changing what stays, even if the rest were made to fit.
var stayRules = []string{
	"never changes",
	"what was a parent module stays one",
	"it is the root, which stays above all others",
	"it is the root, whose holders reach all",
}

// changeRules are the other complaints that only a change can meet.
var changeRules = []string{
	"would not be inside the business hours",
	"it is not inside the business hours",
	"which cannot be suspended",
	"which cannot be deleted",
	"is the root already",
	"it is the last administrator profile",
	"with it there are 4 shifts",
	"it cannot be deleted, it is referred to by",
	"it is above itself",
	"does not exist",
	"has no seat",
	"case does not matter",
	"at the same time",
	"it is mandatory and cannot be restricted",
	"is not a standard one",
	"is suspended",
}

// TestAChangeIsValidIfTheWholeIs makes random changes of one or a few entities, and
// checks what changed alone and the whole organisation. They agree, but for what is only
// refused when it is done; and every rule is broken.
func TestAChangeIsValidIfTheWholeIs(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", fewChecked, allChecked)
	broken := map[string]int{}
	valid, total := 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		before := o.Copy()
		if n%2 == 0 {
			narrow(before)
		}
		for range editsEach {
			after := before.Copy()
			e := careless{Generator: g, o: after}
			for range max(1, g.IntN(4)-1) {
				e.edit()
			}
			faults, err := crm.CheckChanges(before, after, tight)
			if err != nil {
				t.Fatal(err)
			}
			whole := after.Validate(tight)
			total++
			if whole == nil && len(faults) == 0 {
				valid++
			}
			acts, stays := 0, 0 // whatever else is wrong is so in the whole, too
			for _, f := range faults {
				acts += count(broken, f, actRules)
				stays += count(broken, f, stayRules)
				count(broken, f, changeRules)
			}
			if whole != nil && len(faults) == acts || whole == nil && len(faults) > acts+stays {
				t.Fatalf("after %q\nchanges: %v\nwhole: %v\n%s", e.done, faults, whole, v.Again(n))
			}
		}
	}
	t.Logf("%d changes, %d of them valid; rules broken %v", total, valid, broken)
	if v.Count < fewChecked {
		return
	}
	if valid < total/10 {
		t.Errorf("%d of %d changes are valid", valid, total)
	}
	for _, rule := range slices.Concat(actRules, stayRules, changeRules) {
		if broken[rule] == 0 {
			t.Errorf("%q was nobody's complaint", rule)
		}
	}
}

// count notes which of the rules a fault is about, and is how many.
func count(broken map[string]int, f crm.Fault, rules []string) int {
	n := 0
	for _, rule := range rules {
		if strings.Contains(f.Message, rule) {
			broken[rule]++
			n++
		}
	}
	return n
}

// narrow lets business hours be as short as the shifts let them.
func narrow(o *crm.Organisation) {
	const day = 24 * 60
	b := &crm.BusinessHours{}
	extend := func(d int, from, until crm.Clock) {
		if len(b.Week[d%7]) == 0 {
			b.Week[d%7] = []crm.Window{{Span: crm.Span{Start: from, End: until}}}
		}
		s := &b.Week[d%7][0].Span
		s.Start, s.End = min(s.Start, from), max(s.End, until)
	}
	for _, s := range o.Shifts {
		for d, windows := range s.Hours.Week {
			for _, w := range windows {
				if w.Start < w.End {
					extend(d, w.Start, w.End)
					continue
				}
				extend(d, w.Start, day)
				if w.End > 0 {
					extend(d+1, 0, w.End)
				}
			}
		}
	}
	o.Settings.BusinessHours = b
}

// A careless administrator makes random changes, many of them wrong.
type careless struct {
	*crmtest.Generator
	o    *crm.Organisation
	done []string
}

func (e *careless) edit() {
	edits := []struct {
		name string
		edit func()
	}{
		{"seat", e.seat},
		{"new seat", e.newSeat},
		{"role", e.role},
		{"profile", e.profile},
		{"module", e.module},
		{"field", e.field},
		{"group", e.group},
		{"team", e.team},
		{"rule", e.rule},
		{"shift", e.shift},
		{"settings", e.settings},
		{"record", e.record},
		{"share", e.share},
		{"delete", e.delete},
		{"name", e.name},
	}
	edit := crmtest.Pick(e.Generator, edits)
	e.done = append(e.done, edit.name)
	edit.edit()
	// A change holds an entity once.
	e.o.Seats = distinct(e.o.Seats, func(s crm.Seat) string { return s.ID })
	e.o.Roles = distinct(e.o.Roles, func(r crm.Role) string { return r.ID })
	e.o.Profiles = distinct(e.o.Profiles, func(p crm.Profile) string { return p.ID })
	e.o.Modules = distinct(e.o.Modules, func(m crm.Module) string { return m.ID })
	e.o.Fields = distinct(e.o.Fields, func(f crm.Field) string { return f.Module + "." + f.ID })
	e.o.Groups = distinct(e.o.Groups, func(g crm.Group) string { return g.ID })
	e.o.Rules = distinct(e.o.Rules, func(r crm.Rule) string { return r.ID })
	e.o.Shifts = distinct(e.o.Shifts, func(s crm.Shift) string { return s.ID })
	e.o.Records = distinct(e.o.Records, func(r crm.Record) string { return r.Ref().String() })
}

func distinct[T any](list []T, id func(T) string) []T {
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(t T) bool {
		twice := seen[id(t)]
		seen[id(t)] = true
		return twice
	})
}

// one is an element of a list, nil if there is none.
func one[T any](e *careless, list []T) *T {
	if len(list) == 0 {
		return nil
	}
	return &list[e.IntN(len(list))]
}

// id is that of an element, or now and then none that there is.
func id[T any](e *careless, list []T, of func(*T) string) string {
	if x := one(e, list); x != nil && !e.Chance(7) {
		return of(x)
	}
	return "nobody"
}

func (e *careless) seatID() string {
	return id(e, e.o.Seats, func(s *crm.Seat) string { return s.ID })
}

func (e *careless) roleID() string {
	return id(e, e.o.Roles, func(r *crm.Role) string { return r.ID })
}

func (e *careless) profileID() string {
	return id(e, e.o.Profiles, func(p *crm.Profile) string { return p.ID })
}

func (e *careless) moduleID() string {
	return id(e, e.o.Modules, func(m *crm.Module) string { return m.ID })
}

func (e *careless) shiftID() string {
	return id(e, e.o.Shifts, func(s *crm.Shift) string { return s.ID })
}

func (e *careless) groupID() string {
	return id(e, e.o.Groups, func(g *crm.Group) string { return g.ID })
}

func (e *careless) party() crm.Party {
	switch e.IntN(9) {
	case 0:
		return crm.Party{Kind: crm.Everyone}
	case 1, 2:
		return crm.Party{Kind: crm.MembersOf, ID: e.groupID()}
	case 3:
		return crm.Party{Kind: crm.RoleAndSubordinates, ID: e.roleID()}
	case 4:
		return crm.Party{Kind: crm.HoldersOf, ID: e.roleID()}
	default:
		return crm.Party{Kind: crm.User, ID: e.seatID()}
	}
}

func (e *careless) seat() {
	s := one(e, e.o.Seats)
	if s == nil {
		return
	}
	if e.Chance(15) {
		s = e.superAdmin()
	}
	switch e.IntN(8) {
	case 0:
		s.Suspended = !s.Suspended
	case 1:
		s.Role = e.roleID()
	case 2, 3:
		s.Manager = e.seatID()
	case 4:
		s.Profiles = append(s.Profiles, e.profileID())
	case 5:
		s.Shifts = append(s.Shifts, crm.Assignment{Shift: e.shiftID(), Period: e.period()})
	case 6:
		s.Leave = append(s.Leave, e.period())
	default:
		s.Login = crmtest.Pick(e.Generator, []string{"a@x", "A@X", "b@x", "c@x", "d@x", "e@x"})
	}
}

// superAdmin is the seat of the super admin, or another one if there is none.
func (e *careless) superAdmin() *crm.Seat {
	i := slices.IndexFunc(e.o.Seats, func(s crm.Seat) bool { return s.ID == e.o.SuperAdmin })
	return &e.o.Seats[max(i, 0)]
}

func (e *careless) period() crm.Period {
	if list := e.Periods(1); len(list) > 0 {
		return list[0]
	}
	return crm.Period{}
}

func (e *careless) newSeat() {
	s := crm.Seat{ID: fmt.Sprint("new", e.IntN(3)), Name: "New", Role: e.roleID()}
	if e.Chance(60) {
		s.Manager = e.seatID()
	}
	e.o.Seats = append(e.o.Seats, s)
}

func (e *careless) role() {
	r := one(e, e.o.Roles)
	switch n := e.IntN(8); {
	case r == nil:
	case n < 4:
		r.Parent = e.roleID()
	case n == 4:
		r.Parent = ""
	case n == 5:
		e.o.Roles = append(e.o.Roles, crm.Role{ID: "new", Name: "New", Parent: crmtest.Pick(e.Generator, []string{"", e.roleID(), e.roleID()})})
	case n == 6:
		r.Peers = crm.Level(e.IntN(5))
	default:
		r.ForecastManagers = append(r.ForecastManagers, e.seatID())
	}
}

func (e *careless) profile() {
	p := one(e, e.o.Profiles)
	switch n := e.IntN(4); {
	case p == nil:
	case n < 2:
		p.Administrator = !p.Administrator
	case n == 2:
		e.o.Profiles = append(e.o.Profiles, crm.Profile{ID: "new", Name: "New", Administrator: e.Chance(50)})
	default:
		if p.Modules == nil {
			p.Modules = map[string]crm.Permissions{}
		}
		p.Modules[e.moduleID()] = crm.Permissions(1 + e.IntN(200))
	}
}

func (e *careless) module() {
	m := one(e, e.o.Modules)
	switch n := e.IntN(5); {
	case m == nil:
	case n == 0:
		m.Kind = crmtest.Pick(e.Generator, []crm.ModuleKind{crm.Standard, crm.Child, crm.Forecast, "other"})
	case n == 1:
		m.Parents = append(m.Parents, e.moduleID())
	case n == 2:
		if len(m.Parents) > 0 {
			m.Parents = slices.Delete(m.Parents, 0, 1)
		}
	case n == 3:
		m.Default = crm.Level(e.IntN(5))
	default:
		e.o.Modules = append(e.o.Modules, crm.Module{
			ID: "new", Name: "New", Kind: crmtest.Pick(e.Generator, []crm.ModuleKind{crm.Standard, crm.Child}), Parents: []string{e.moduleID()},
		})
	}
}

func (e *careless) field() {
	f := one(e, e.o.Fields)
	switch n := e.IntN(3); {
	case f == nil || n == 0:
		e.o.Fields = append(e.o.Fields, crm.Field{
			Module: e.moduleID(), ID: fmt.Sprint("new", e.IntN(2)), Name: "New", Mandatory: e.Chance(50),
		})
	case n == 1:
		f.Mandatory = !f.Mandatory
	default:
		if f.Levels == nil {
			f.Levels = map[string]crm.FieldLevel{}
		}
		f.Levels[e.profileID()] = crm.FieldLevel(1 + e.IntN(2))
	}
}

func (e *careless) group() {
	g := one(e, e.o.Groups)
	switch n := e.IntN(4); {
	case g == nil || n == 0:
		e.o.Groups = append(e.o.Groups, crm.Group{ID: "new", Name: "New", Members: []crm.Party{e.party()}})
	case n == 1 && len(g.Members) > 0:
		g.Members = g.Members[1:]
	case n == 2:
		g.Members = append(g.Members, crm.Party{Kind: crm.MembersOf, ID: e.groupID()})
	default:
		g.Members = append(g.Members, e.party())
	}
}

func (e *careless) team() {
	t := one(e, e.o.Teams)
	if t == nil {
		e.o.Teams = append(e.o.Teams, crm.Team{ID: "new", Name: "New"})
		t = &e.o.Teams[0]
	}
	if e.Chance(50) {
		t.Managers = append(t.Managers, e.seatID())
	} else {
		t.Members = append(t.Members, e.seatID())
	}
}

func (e *careless) rule() {
	r := one(e, e.o.Rules)
	switch n := e.IntN(5); {
	case r == nil || n == 0:
		e.o.Rules = append(e.o.Rules, crm.Rule{
			ID: "new", Name: "New", Module: e.moduleID(), Source: e.party(), Target: e.party(), Level: crm.LevelView,
		})
	case n == 1:
		r.Source = e.party()
	case n == 2:
		r.Target = e.party()
	case n == 3:
		r.Module = e.moduleID()
	default:
		r.Level = crm.Level(e.IntN(5))
	}
}

func (e *careless) shift() {
	s := one(e, e.o.Shifts)
	switch n := e.IntN(4); {
	case s == nil || n == 0:
		e.o.Shifts = append(e.o.Shifts, crm.Shift{ID: fmt.Sprint("new", e.IntN(3)), Name: fmt.Sprint("New ", e.IntN(3)), Hours: crm.Hours{Zone: "UTC"}})
	case n == 1:
		s.Hours.Zone = crmtest.Pick(e.Generator, []string{"UTC", "Europe/Paris", "Mars/Olympus", ""})
	default:
		s.Hours.Week[e.IntN(7)] = e.Windows()
	}
}

func (e *careless) settings() {
	s := &e.o.Settings
	switch e.IntN(5) {
	case 0:
		e.o.SuperAdmin = e.seatID()
	case 1:
		s.Hierarchy = crm.Hierarchy(e.IntN(3))
	case 2:
		s.BusinessHours = nil
	default:
		b := &crm.BusinessHours{}
		for d := range b.Week {
			if e.Chance(90) {
				b.Week[d] = []crm.Window{{Span: crm.Span{Start: crm.Clock(60 * e.IntN(3)), End: 24 * 60}}}
			}
		}
		s.BusinessHours = b
	}
}

func (e *careless) record() {
	r := one(e, e.o.Records)
	switch n := e.IntN(5); {
	case r == nil || n == 0:
		e.o.Records = append(e.o.Records, crm.Record{Module: e.moduleID(), ID: "new", Owner: e.seatID()})
	case n == 1:
		r.Owner = e.seatID()
	case n == 2:
		r.Confidentiality = crm.Confidentiality(e.IntN(4))
	case n == 3:
		r.Parents = nil
	default:
		if p := one(e, e.o.Records); e.Chance(90) {
			r.Parents = append(r.Parents, p.Ref())
		} else {
			r.Parents = append(r.Parents, crm.Ref{Module: p.Module, ID: "nothing"})
		}
	}
}

func (e *careless) share() {
	r := one(e, e.o.Records)
	switch {
	case r == nil:
	case e.Chance(20) && len(r.Shares) > 0:
		r.Shares = r.Shares[1:]
	default:
		r.Shares = append(r.Shares, crm.Share{To: e.party(), Level: crm.LevelView, Expires: time.Time{}})
	}
}

// delete removes one entity, at times with what refers to it.
func (e *careless) delete() {
	o := e.o
	switch e.IntN(11) {
	case 0:
		if e.Chance(20) {
			o.Seats = slices.DeleteFunc(o.Seats, func(s crm.Seat) bool { return s.ID == o.SuperAdmin })
		} else {
			o.Seats = without(e, o.Seats)
		}
	case 1:
		if e.Chance(20) {
			o.Roles = slices.DeleteFunc(o.Roles, func(r crm.Role) bool { return r.Parent == "" })
		} else {
			o.Roles = without(e, o.Roles)
		}
	case 2:
		o.Profiles = without(e, o.Profiles)
		for i := range o.Fields { // as the profile takes with it what fields say of it
			for id := range o.Fields[i].Levels {
				if !slices.ContainsFunc(o.Profiles, func(p crm.Profile) bool { return p.ID == id }) {
					delete(o.Fields[i].Levels, id)
				}
			}
		}
	case 3:
		o.Modules = without(e, o.Modules)
	case 4:
		o.Fields = without(e, o.Fields)
	case 5:
		o.Groups = without(e, o.Groups)
	case 6:
		o.Teams = without(e, o.Teams)
	case 7:
		o.Rules = without(e, o.Rules)
	case 8:
		o.Shifts = without(e, o.Shifts)
	case 9:
		o.Records = nil
	default:
		o.Records = without(e, o.Records)
	}
}

func without[T any](e *careless, list []T) []T {
	if len(list) == 0 {
		return list
	}
	i := e.IntN(len(list))
	return slices.Delete(list, i, i+1)
}

// name gives something a name that is often that of another.
func (e *careless) name() {
	o := e.o
	n := fmt.Sprint("Role ", e.IntN(3))
	switch e.IntN(6) {
	case 0:
		if len(o.Roles) > 1 { // they swap
			r, s := one(e, o.Roles), one(e, o.Roles)
			r.Name, s.Name = s.Name, r.Name
		}
	case 1:
		one(e, o.Roles).Name = n
	case 2:
		if p := one(e, o.Profiles); p != nil {
			p.Name = strings.ToUpper(one(e, o.Profiles).Name)
		}
	case 3:
		if m := one(e, o.Modules); m != nil {
			m.Name = strings.ToUpper(one(e, o.Modules).Name)
		}
	case 4:
		if g := one(e, o.Groups); g != nil {
			g.Name = one(e, o.Groups).Name
		}
	default:
		if f := one(e, o.Fields); f != nil {
			f.Name = one(e, o.Fields).Name
		}
	}
}
