package crm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// A generator makes random organisations in which everything occurs and things are close
// enough together to matter to each other.
type generator struct {
	*rand.Rand
	o     *Organisation
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

func newGenerator(seed, n uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, n))}
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) between(low, high int) int { return low + g.IntN(high-low+1) }

func pick[T any](g *generator, list []T) T { return list[g.IntN(len(list))] }

// some is at most n of the list, in random order.
func some[T any](g *generator, list []T, n int) []T {
	list = slices.Clone(list)
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:g.IntN(min(n, len(list))+1)]
}

// strange are ends of names that punctuation and spaces must not confuse.
var strange = []string{"", "", " and more", "/x", "#1", "%20", ": a", "é", "ß", "İ"}

func (g *generator) name(kind string, i int) string {
	return fmt.Sprint(kind, " ", i, pick(g, strange))
}

func (g *generator) id(prefix string, i int) string {
	return fmt.Sprint(prefix, i, pick(g, []string{"", "", ".x", ":y", "/z", "@é"}))
}

// organisation makes one. Its modules are drawn first, so that two generators of one seed
// agree on them.
func (g *generator) organisation(modules []Module) *Organisation {
	g.epoch = pick(g, epochs)
	g.o = &Organisation{ID: "acme", Name: g.name("Acme", 0), Modules: modules}
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

// modules are two or three standard ones, children of them, and private ones.
func (g *generator) modules() []Module {
	standard := []string{"account", "deal", "task"}[:g.between(2, 3)]
	var list []Module
	for _, id := range standard {
		m := Module{ID: id, Name: "Module " + id, Kind: Standard}
		if id != "account" || g.chance(20) {
			m.Parents = some(g, standard, 2)
		}
		list = append(list, m)
	}
	for _, id := range []string{"note", "email"}[:g.between(1, 2)] {
		parents := some(g, standard, 3)
		if len(parents) == 0 {
			parents = standard[:1]
		}
		list = append(list, Module{ID: id, Name: "Module " + id, Kind: Child, Parents: parents})
	}
	return append(list,
		Module{ID: "forecast", Name: "Module forecast", Kind: Forecast},
		Module{ID: "import_job", Name: "Module import", Kind: ImportJob})
}

func (g *generator) settings() {
	s := &g.o.Settings
	if g.chance(50) {
		s.Hierarchy = ByReporting
	}
	s.NonReportingByRole = g.chance(50)
	s.AddingNeedsEdit = g.chance(50)
	s.KeepShares = g.chance(30)
	s.LoginHours = g.chance(40)
	s.Assign = AssignScope(g.IntN(3))
	if g.chance(20) {
		s.BusinessHours = &BusinessHours{FirstDay: time.Weekday(g.IntN(7))}
		for i := range s.BusinessHours.Week {
			s.BusinessHours.Week[i] = []Window{{Span: Span{0, 24 * 60}}}
		}
	}
}

func (g *generator) roles() {
	for i := range g.between(4, 9) {
		r := Role{ID: g.id("r", i), Name: g.name("Role", i), Peers: pick(g, []Level{0, 0, 0, LevelView, LevelEdit, LevelDelete})}
		if i > 0 {
			r.Parent = g.o.Roles[g.between(max(0, i-2), i-1)].ID
		}
		g.o.Roles = append(g.o.Roles, r)
	}
}

func (g *generator) profiles() {
	for i := range g.between(3, 5) {
		p := Profile{
			ID: g.id("p", i), Name: g.name("Profile", i), Administrator: i == 0 || g.chance(3),
			Gated: g.chance(40), Modules: map[string]Permissions{},
		}
		for _, m := range g.o.Modules {
			bits := allPermissions &^ PermissionViewAll
			switch {
			case i == 0 && g.chance(90):
			case g.chance(15):
				bits = 0
			default:
				for _, b := range permissionRelations {
					if g.chance(12) {
						bits &^= b.bit
					}
				}
				if g.chance(10) {
					bits |= PermissionViewAll
				}
			}
			p.Modules[m.ID] = bits
		}
		p.Tools, p.Setup = some(g, AllTools(), 7), some(g, AllSetup(), 7)
		g.o.Profiles = append(g.o.Profiles, p)
	}
}

func (g *generator) shifts() {
	for i := range g.between(1, 3) {
		s := Shift{ID: g.id("s", i), Name: g.name("Shift", i), Hours: Hours{Zone: pick(g, zones)}}
		for d := range s.Hours.Week {
			s.Hours.Week[d] = g.windows()
		}
		for range g.IntN(3) {
			if date := g.date(); !slices.Contains(s.Hours.Holidays, date) {
				s.Hours.Holidays = append(s.Hours.Holidays, date)
			}
		}
		s.Hours.Exceptions = map[string][]Window{}
		for range g.IntN(3) {
			s.Hours.Exceptions[g.date()] = g.windows()
		}
		g.o.Shifts = append(g.o.Shifts, s)
	}
}

func (g *generator) date() string {
	return g.epoch.AddDate(0, 0, g.between(-2, 2)).Format(time.DateOnly)
}

// windows are often at night, when clocks change.
func (g *generator) windows() []Window {
	var list []Window
	for range g.IntN(3) {
		start := 30 * g.IntN(48)
		if g.chance(30) {
			start = 30 * g.IntN(8)
		}
		length := 30 * g.between(1, 24)
		w := Window{Span: span(start, start+length)}
		for range g.IntN(3) {
			from := start + 10*g.IntN(length/10)
			until := from + 10*g.between(1, (start+length-from)/10)
			w.Breaks = append(w.Breaks, span(from, until))
		}
		list = append(list, w)
	}
	return list
}

func span(start, end int) Span { return Span{Clock(start % day), Clock(end % day)} }

func (g *generator) instant() time.Time {
	return g.epoch.Add(time.Duration(g.between(-36*6, 36*6)) * 10 * time.Minute).Add(time.Duration(g.between(-1, 1)) * time.Millisecond)
}

// turns are n periods one after the other; the first may begin at any time, the last may
// have no end.
func (g *generator) periods(n int) []Period {
	var at []time.Time
	for range 2 * n {
		at = append(at, g.instant())
	}
	slices.SortFunc(at, time.Time.Compare)
	var list []Period
	for i := 0; i < len(at); i += 2 {
		if at[i].Before(at[i+1]) && (len(list) == 0 || !at[i].Before(list[len(list)-1].Until)) {
			list = append(list, Period{at[i], at[i+1]})
		}
	}
	if len(list) > 0 && g.chance(40) {
		list[0].From = time.Time{}
	}
	if len(list) > 0 && g.chance(40) {
		list[len(list)-1].Until = time.Time{}
	}
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (g *generator) seats() {
	v := validator{o: g.o}
	v.index()
	depths := v.depths()
	for i := range g.between(7, 10) {
		s := Seat{
			ID: g.id("u", i), Name: g.name("User", g.IntN(3)), Role: pick(g, g.o.Roles).ID,
			Suspended: g.chance(8), NonReporting: g.chance(25),
		}
		if i == 0 {
			s.Suspended, g.o.SuperAdmin = false, s.ID
		} else if i > 1 && s.Role == g.o.Roles[0].ID { // whoever reaches all shows little
			s.Role = pick(g, g.o.Roles).ID
		}
		for j, p := range g.o.Profiles {
			if g.chance(35) && (j > 0 || g.chance(20)) || i > 0 && j == i%len(g.o.Profiles) && j > 0 {
				s.Profiles = append(s.Profiles, p.ID)
			}
		}
		for _, p := range g.periods(g.IntN(4)) {
			s.Shifts = append(s.Shifts, Assignment{pick(g, g.o.Shifts).ID, p})
		}
		s.Leave = g.periods(g.IntN(3))
		g.o.Seats = append(g.o.Seats, s)
	}
	for i := range g.o.Seats {
		s := &g.o.Seats[i]
		for range 4 { // managers in the root role would hide what chains do
			m := pick(g, g.o.Seats)
			if depths[m.Role] < depths[s.Role] && (depths[m.Role] > 0 || g.chance(20)) {
				s.Manager = m.ID
			}
		}
	}
	for i := range g.o.Roles {
		if g.chance(25) {
			g.o.Roles[i].ForecastManagers = g.seatIDs(2)
		}
	}
}

func (g *generator) seatIDs(n int) []string {
	var ids []string
	for _, s := range some(g, g.o.Seats, n) {
		ids = append(ids, s.ID)
	}
	return ids
}

// party is somebody; groups come from those made so far.
func (g *generator) party(everyone bool) Party {
	switch n := g.IntN(100); {
	case everyone && n < 10:
		return Party{Kind: Everyone}
	case n < 35 && len(g.o.Groups) > 0:
		return Party{Kind: MembersOf, ID: pick(g, g.o.Groups).ID}
	case n < 55:
		return Party{Kind: RoleAndSubordinates, ID: pick(g, g.o.Roles).ID}
	case n < 78:
		return Party{Kind: HoldersOf, ID: pick(g, g.o.Roles).ID}
	default:
		return Party{Kind: User, ID: pick(g, g.o.Seats).ID}
	}
}

func (g *generator) groups() {
	for i := range g.between(1, 6) {
		group := Group{ID: g.id("g", i), Name: g.name("Group", i)}
		if i > 0 && g.chance(40) {
			group.Members = []Party{{Kind: MembersOf, ID: g.o.Groups[i-1].ID}}
		}
		for range g.IntN(4) {
			m := g.party(false)
			if g.chance(30) {
				m = Party{Kind: User, ID: pick(g, g.o.Seats).ID}
			}
			if !slices.Contains(group.Members, m) {
				group.Members = append(group.Members, m)
			}
		}
		g.o.Groups = append(g.o.Groups, group)
	}
}

func (g *generator) teams() {
	for i := range g.IntN(3) {
		g.o.Teams = append(g.o.Teams, Team{
			ID: g.id("t", i), Name: g.name("Team", i), Managers: g.seatIDs(2), Members: g.seatIDs(3),
		})
	}
}

func (g *generator) moduleSettings() {
	for i := range g.o.Modules {
		m := &g.o.Modules[i]
		if m.Kind == Standard {
			m.NoHierarchy = g.chance(20)
			m.Default = pick(g, []Level{0, 0, 0, 0, 0, 0, LevelView, LevelEdit, LevelDelete})
		}
		for j := range g.IntN(3) {
			f := Field{Module: m.ID, ID: g.id("f", j), Name: g.name("Field", j), Levels: map[string]FieldLevel{}}
			for _, p := range g.o.Profiles {
				f.Levels[p.ID] = pick(g, []FieldLevel{FieldWrite, FieldRead, FieldHidden})
			}
			if f.Mandatory = g.chance(20); f.Mandatory || g.chance(20) {
				f.Levels = nil
			}
			g.o.Fields = append(g.o.Fields, f)
		}
	}
}

func (g *generator) rules() {
	standard := slices.DeleteFunc(slices.Clone(g.o.Modules), func(m Module) bool { return m.Kind != Standard })
	for i := range g.between(4, 12) {
		m := pick(g, standard)
		r := Rule{
			ID: g.id("x", i), Name: g.name("Rule", i), Module: m.ID,
			Source: g.party(false), Target: g.party(true), Level: pick(g, []Level{LevelView, LevelView, LevelEdit, LevelDelete}),
			Superiors: g.chance(60), Disabled: g.chance(15),
		}
		switch n := g.IntN(100); {
		case n < 25: // a wide source, so that the target matters
			r.Source = Party{Kind: RoleAndSubordinates, ID: g.o.Roles[g.IntN(2)].ID}
		case n < 60:
			r.Source = Party{Kind: MembersOf, ID: pick(g, g.o.Groups).ID}
		}
		if r.Superiors && g.chance(40) { // a narrow target, so that its superiors are others
			r.Target = Party{Kind: MembersOf, ID: pick(g, g.o.Groups).ID}
		}
		g.o.Rules = append(g.o.Rules, r)
	}
}

func (g *generator) records() {
	byModule := map[string][]Ref{}
	for _, m := range g.o.Modules {
		n := 7
		if m.Kind != Standard {
			n = 3
		}
		for i := range n {
			r := Record{Module: m.ID, ID: g.id("", i), Owner: pick(g, g.o.Seats).ID}
			for _, p := range m.Parents {
				if len(byModule[p]) > 0 && (m.Kind != Child || len(r.Parents) == 0) && g.chance(80) {
					r.Parents = append(r.Parents, pick(g, byModule[p]))
				}
			}
			if m.Kind == Child && len(r.Parents) == 0 {
				r.Parents = []Ref{pick(g, byModule[m.Parents[0]])}
			}
			if m.Kind == Standard {
				r.Confidentiality = pick(g, []Confidentiality{Open, Open, Open, Restricted, Secret})
				g.shares(&r)
			}
			if g.chance(30) {
				r.Fields = value.Map{"amount": int64(g.IntN(9)), "tags": value.List{"a", true, 1.5}}
			}
			byModule[m.ID] = append(byModule[m.ID], r.Ref())
			g.o.Records = append(g.o.Records, r)
		}
	}
}

func (g *generator) shares(r *Record) {
	for range g.IntN(3) {
		s := Share{To: g.party(true), Level: pick(g, []Level{LevelView, LevelEdit, LevelFull}), Related: g.chance(50)}
		if g.chance(40) {
			s.Expires = g.instant()
		}
		if g.chance(30) {
			s.Reason, s.GrantedBy = "because", pick(g, g.o.Seats).ID
		}
		if !slices.ContainsFunc(r.Shares, func(o Share) bool { return o.To == s.To }) {
			r.Shares = append(r.Shares, s)
		}
	}
}
