package crmtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/value"
)

// A Generator makes random organisations in which everything occurs and things are close
// enough together to matter to each other.
type Generator struct {
	*rand.Rand
	o     *crm.Organisation
	epoch time.Time // about when everything happens
}

// epochs are nights on which clocks change somewhere, and one on which none does.
var epochs = []time.Time{
	time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC),
	time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC),
	time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC),
	time.Date(2026, 3, 8, 7, 0, 0, 0, time.UTC),
	time.Date(2026, 4, 4, 15, 0, 0, 0, time.UTC),
	time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC),
}

// zones change their clocks at one of the epochs, by an hour or by half of one, or never.
var zones = []string{"Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"}

// New makes a generator. Equal numbers give equal organisations.
func New(seed, n uint64) *Generator {
	return &Generator{Rand: rand.New(rand.NewPCG(seed, n))}
}

// Chance is true so often in a hundred times.
func (g *Generator) Chance(percent int) bool { return g.IntN(100) < percent }

// Between is a number between two, both included.
func (g *Generator) Between(low, high int) int { return low + g.IntN(high-low+1) }

// Pick is one of the list.
func Pick[T any](g *Generator, list []T) T { return list[g.IntN(len(list))] }

// Some is at most n of the list, in random order.
func Some[T any](g *Generator, list []T, n int) []T {
	list = slices.Clone(list)
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:g.IntN(min(n, len(list))+1)]
}

// strange are ends of names that punctuation and spaces must not confuse.
var strange = []string{"", "", " and more", "/x", "#1", "%20", ": a", "é", "ß", "İ"}

// Name is a name that no other of the kind has.
func (g *Generator) Name(kind string, i int) string {
	return fmt.Sprint(kind, " ", i, Pick(g, strange))
}

// ID is an id that no other of the prefix has.
func (g *Generator) ID(prefix string, i int) string {
	return fmt.Sprint(prefix, i, Pick(g, []string{"", "", ".x", ":y", "/z", "@é"}))
}

// Organisation makes one, which is the generator's own to draw from afterwards, too. Its
// modules are drawn first, so that two generators of one seed agree on them.
func (g *Generator) Organisation(modules []crm.Module) *crm.Organisation {
	g.epoch = Pick(g, epochs)
	g.o = &crm.Organisation{ID: "acme", Name: g.Name("Acme", 0), Modules: modules}
	g.settings()
	g.roles()
	g.profiles()
	g.shifts()
	g.seats()
	g.groups()
	g.teams()
	g.moduleSettings()
	g.rules()
	g.records()
	return g.o
}

// Modules are two or three standard ones, children of them, and private ones.
func (g *Generator) Modules() []crm.Module {
	standard := []string{"account", "deal", "task"}[:g.Between(2, 3)]
	var list []crm.Module
	for _, id := range standard {
		m := crm.Module{ID: id, Name: "Module " + id, Kind: crm.Standard}
		if id != "account" || g.Chance(20) {
			m.Parents = Some(g, standard, 2)
		}
		list = append(list, m)
	}
	for _, id := range []string{"note", "email"}[:g.Between(1, 2)] {
		parents := Some(g, standard, 3)
		if len(parents) == 0 {
			parents = standard[:1]
		}
		list = append(list, crm.Module{ID: id, Name: "Module " + id, Kind: crm.Child, Parents: parents})
	}
	return append(list,
		crm.Module{ID: "forecast", Name: "Module forecast", Kind: crm.Forecast},
		crm.Module{ID: "import_job", Name: "Module import", Kind: crm.ImportJob})
}

func (g *Generator) settings() {
	s := &g.o.Settings
	if g.Chance(50) {
		s.Hierarchy = crm.ByReporting
	}
	s.NonReportingByRole = g.Chance(50)
	s.AddingNeedsEdit = g.Chance(50)
	s.KeepShares = g.Chance(30)
	if s.KeepShares && s.AddingNeedsEdit {
		s.MaxShifts = 40
	}
	s.LoginHours = g.Chance(40)
	s.Assign = crm.AssignScope(g.IntN(3))
	if g.Chance(20) {
		s.BusinessHours = &crm.BusinessHours{FirstDay: time.Weekday(g.IntN(7))}
		for i := range s.BusinessHours.Week {
			s.BusinessHours.Week[i] = []crm.Window{{Span: crm.Span{End: day}}}
		}
	}
}

func (g *Generator) roles() {
	for i := range g.Between(4, 9) {
		r := crm.Role{ID: g.ID("r", i), Name: g.Name("Role", i), Peers: Pick(g, []crm.Level{0, 0, 0, crm.LevelView, crm.LevelEdit, crm.LevelDelete})}
		if i > 0 {
			r.Parent = g.o.Roles[g.Between(max(0, i-2), i-1)].ID
		}
		g.o.Roles = append(g.o.Roles, r)
	}
}

func (g *Generator) profiles() {
	for i := range g.Between(3, 5) {
		p := crm.Profile{
			ID: g.ID("p", i), Name: g.Name("Profile", i), Administrator: i == 0 || g.Chance(3),
			Gated: g.Chance(40), Modules: map[string]crm.Permissions{},
		}
		for _, m := range g.o.Modules {
			bits := crm.PermissionViewAll - 1 // all of the others
			switch {
			case i == 0 && g.Chance(90):
			case g.Chance(15):
				bits = 0
			default:
				for bit := crm.PermissionView; bit <= crm.PermissionViewAll; bit <<= 1 {
					if g.Chance(12) {
						bits &^= bit
					}
				}
				if g.Chance(10) {
					bits |= crm.PermissionViewAll
				}
			}
			p.Modules[m.ID] = bits
		}
		p.Tools, p.Setup = Some(g, crm.AllTools(), 7), Some(g, crm.AllSetup(), 7)
		g.o.Profiles = append(g.o.Profiles, p)
	}
}

func (g *Generator) shifts() {
	for i := range g.Between(1, 3) {
		s := crm.Shift{ID: g.ID("s", i), Name: g.Name("Shift", i), Hours: crm.Hours{Zone: Pick(g, zones)}}
		for d := range s.Hours.Week {
			s.Hours.Week[d] = g.Windows()
		}
		for range g.IntN(3) {
			if date := g.Date(); !slices.Contains(s.Hours.Holidays, date) {
				s.Hours.Holidays = append(s.Hours.Holidays, date)
			}
		}
		s.Hours.Exceptions = map[string][]crm.Window{}
		for range g.IntN(3) {
			s.Hours.Exceptions[g.Date()] = g.Windows()
		}
		g.o.Shifts = append(g.o.Shifts, s)
	}
}

// Date is one near the epoch.
func (g *Generator) Date() string {
	return g.epoch.AddDate(0, 0, g.Between(-2, 2)).Format(time.DateOnly)
}

// Windows are often at night, when clocks change.
func (g *Generator) Windows() []crm.Window {
	var list []crm.Window
	for range g.IntN(3) {
		start := 30 * g.IntN(48)
		if g.Chance(30) {
			start = 30 * g.IntN(8)
		}
		length := 30 * g.Between(1, 24)
		w := crm.Window{Span: span(start, start+length)}
		for range g.IntN(3) {
			from := start + 10*g.IntN(length/10)
			until := from + 10*g.Between(1, (start+length-from)/10)
			w.Breaks = append(w.Breaks, span(from, until))
		}
		list = append(list, w)
	}
	return list
}

// day is how many minutes a day has.
const day = 24 * 60

func span(start, end int) crm.Span {
	return crm.Span{Start: crm.Clock(start % day), End: crm.Clock(end % day)}
}

// Instant is one within a day and a half of the epoch, seldom exactly a minute.
func (g *Generator) Instant() time.Time {
	return g.epoch.Add(time.Duration(g.Between(-36*6, 36*6)) * 10 * time.Minute).Add(time.Duration(g.Between(-1, 1)) * time.Millisecond)
}

// Periods are n periods one after the other; the first may begin at any time, the last may
// have no end.
func (g *Generator) Periods(n int) []crm.Period {
	var at []time.Time
	for range 2 * n {
		at = append(at, g.Instant())
	}
	slices.SortFunc(at, time.Time.Compare)
	var list []crm.Period
	for i := 0; i < len(at); i += 2 {
		if at[i].Before(at[i+1]) && (len(list) == 0 || !at[i].Before(list[len(list)-1].Until)) {
			list = append(list, crm.Period{From: at[i], Until: at[i+1]})
		}
	}
	if len(list) > 0 && g.Chance(40) {
		list[0].From = time.Time{}
	}
	if len(list) > 0 && g.Chance(40) {
		list[len(list)-1].Until = time.Time{}
	}
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (g *Generator) seats() {
	depths := g.depths()
	for i := range g.Between(7, 10) {
		s := crm.Seat{
			ID: g.ID("u", i), Name: g.Name("User", g.IntN(3)), Role: Pick(g, g.o.Roles).ID,
			Suspended: g.Chance(8), NonReporting: g.Chance(25),
		}
		if i == 0 {
			s.Suspended, g.o.SuperAdmin = false, s.ID
		} else if i > 1 && s.Role == g.o.Roles[0].ID { // whoever reaches all shows little
			s.Role = Pick(g, g.o.Roles).ID
		}
		for j, p := range g.o.Profiles {
			if g.Chance(35) && (j > 0 || g.Chance(20)) || i > 0 && j == i%len(g.o.Profiles) && j > 0 {
				s.Profiles = append(s.Profiles, p.ID)
			}
		}
		for _, p := range g.Periods(g.IntN(4)) {
			s.Shifts = append(s.Shifts, crm.Assignment{Shift: Pick(g, g.o.Shifts).ID, Period: p})
		}
		s.Leave = g.Periods(g.IntN(3))
		g.o.Seats = append(g.o.Seats, s)
	}
	for i := range g.o.Seats {
		s := &g.o.Seats[i]
		for range 4 { // managers in the root role would hide what chains do
			m := Pick(g, g.o.Seats)
			if depths[m.Role] < depths[s.Role] && (depths[m.Role] > 0 || g.Chance(20)) {
				s.Manager = m.ID
			}
		}
	}
	for i := range g.o.Roles {
		if g.Chance(25) {
			g.o.Roles[i].ForecastManagers = g.SeatIDs(2)
		}
	}
}

// depths are how far roles are from the root.
func (g *Generator) depths() map[string]int {
	depths := map[string]int{}
	for _, r := range g.o.Roles { // none comes before the one above it
		if r.Parent != "" {
			depths[r.ID] = depths[r.Parent] + 1
		}
	}
	return depths
}

// SeatIDs are at most n seats.
func (g *Generator) SeatIDs(n int) []string {
	var ids []string
	for _, s := range Some(g, g.o.Seats, n) {
		ids = append(ids, s.ID)
	}
	return ids
}

// Party is somebody; groups come from those made so far.
func (g *Generator) Party(everyone bool) crm.Party {
	switch n := g.IntN(100); {
	case everyone && n < 10:
		return crm.Party{Kind: crm.Everyone}
	case n < 35 && len(g.o.Groups) > 0:
		return crm.Party{Kind: crm.MembersOf, ID: Pick(g, g.o.Groups).ID}
	case n < 55:
		return crm.Party{Kind: crm.RoleAndSubordinates, ID: Pick(g, g.o.Roles).ID}
	case n < 78:
		return crm.Party{Kind: crm.HoldersOf, ID: Pick(g, g.o.Roles).ID}
	default:
		return crm.Party{Kind: crm.User, ID: Pick(g, g.o.Seats).ID}
	}
}

func (g *Generator) groups() {
	for i := range g.Between(1, 6) {
		group := crm.Group{ID: g.ID("g", i), Name: g.Name("Group", i)}
		if i > 0 && g.Chance(40) {
			group.Members = []crm.Party{{Kind: crm.MembersOf, ID: g.o.Groups[i-1].ID}}
		}
		for range g.IntN(4) {
			m := g.Party(false)
			if g.Chance(30) {
				m = crm.Party{Kind: crm.User, ID: Pick(g, g.o.Seats).ID}
			}
			if !slices.Contains(group.Members, m) {
				group.Members = append(group.Members, m)
			}
		}
		g.o.Groups = append(g.o.Groups, group)
	}
}

func (g *Generator) teams() {
	for i := range g.IntN(3) {
		g.o.Teams = append(g.o.Teams, crm.Team{
			ID: g.ID("t", i), Name: g.Name("Team", i), Managers: g.SeatIDs(2), Members: g.SeatIDs(3),
		})
	}
}

func (g *Generator) moduleSettings() {
	for i := range g.o.Modules {
		m := &g.o.Modules[i]
		if m.Kind == crm.Standard {
			m.NoHierarchy = g.Chance(20)
			m.Default = Pick(g, []crm.Level{0, 0, 0, 0, 0, 0, crm.LevelView, crm.LevelEdit, crm.LevelDelete})
		}
		for j := range g.IntN(3) {
			f := crm.Field{Module: m.ID, ID: g.ID("f", j), Name: g.Name("Field", j), Levels: map[string]crm.FieldLevel{}}
			for _, p := range g.o.Profiles {
				f.Levels[p.ID] = Pick(g, []crm.FieldLevel{crm.FieldWrite, crm.FieldRead, crm.FieldHidden})
			}
			if f.Mandatory = g.Chance(20); f.Mandatory || g.Chance(20) {
				f.Levels = nil
			}
			g.o.Fields = append(g.o.Fields, f)
		}
	}
}

func (g *Generator) rules() {
	standard := slices.DeleteFunc(slices.Clone(g.o.Modules), func(m crm.Module) bool { return m.Kind != crm.Standard })
	for i := range g.Between(4, 12) {
		m := Pick(g, standard)
		r := crm.Rule{
			ID: g.ID("x", i), Name: g.Name("Rule", i), Module: m.ID,
			Source: g.Party(false), Target: g.Party(true), Level: Pick(g, []crm.Level{crm.LevelView, crm.LevelView, crm.LevelEdit, crm.LevelDelete}),
			Superiors: g.Chance(60), Disabled: g.Chance(15),
		}
		switch n := g.IntN(100); {
		case n < 25: // a wide source, so that the target matters
			r.Source = crm.Party{Kind: crm.RoleAndSubordinates, ID: g.o.Roles[g.IntN(2)].ID}
		case n < 60:
			r.Source = crm.Party{Kind: crm.MembersOf, ID: Pick(g, g.o.Groups).ID}
		}
		if r.Superiors && g.Chance(40) { // a narrow target, so that its superiors are others
			r.Target = crm.Party{Kind: crm.MembersOf, ID: Pick(g, g.o.Groups).ID}
		}
		g.o.Rules = append(g.o.Rules, r)
	}
}

func (g *Generator) records() {
	byModule := map[string][]crm.Ref{}
	for _, m := range g.o.Modules {
		n := 7
		if m.Kind != crm.Standard {
			n = 3
		}
		for i := range n {
			r := crm.Record{Module: m.ID, ID: g.ID("", i), Owner: Pick(g, g.o.Seats).ID}
			for _, p := range m.Parents {
				if len(byModule[p]) > 0 && (m.Kind != crm.Child || len(r.Parents) == 0) && g.Chance(80) {
					r.Parents = append(r.Parents, Pick(g, byModule[p]))
				}
			}
			if m.Kind == crm.Child && len(r.Parents) == 0 {
				r.Parents = []crm.Ref{Pick(g, byModule[m.Parents[0]])}
			}
			if m.Kind == crm.Standard {
				r.Confidentiality = Pick(g, []crm.Confidentiality{crm.Open, crm.Open, crm.Open, crm.Restricted, crm.Secret})
				g.shares(&r)
			}
			if g.Chance(30) {
				r.Fields = value.Map{"amount": int64(g.IntN(9)), "tags": value.List{"a", true, 1.5}}
			}
			byModule[m.ID] = append(byModule[m.ID], r.Ref())
			g.o.Records = append(g.o.Records, r)
		}
	}
}

func (g *Generator) shares(r *crm.Record) {
	for range g.IntN(3) {
		s := crm.Share{To: g.Party(true), Level: Pick(g, []crm.Level{crm.LevelView, crm.LevelEdit, crm.LevelFull}), Related: g.Chance(50)}
		if g.Chance(40) {
			s.Expires = g.Instant()
		}
		if g.Chance(30) {
			s.Reason, s.GrantedBy = "because", Pick(g, g.o.Seats).ID
		}
		if !slices.ContainsFunc(r.Shares, func(o crm.Share) bool { return o.To == s.To }) {
			r.Shares = append(r.Shares, s)
		}
	}
}
