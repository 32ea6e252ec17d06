package crm_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/graph/model"
)

// A reorganisation turns one organisation into another, for previews and for brute force.
type reorganisation struct {
	from, to *crm.Organisation
	before   *graph.Memory
	plans    [2]*model.Plan
	changes  crm.Changes
}

// modelPairs are the compiled models before and after, by their texts: parsing them takes
// longer than all else.
var modelPairs = map[[2]string][2]*model.Plan{}

func modelPair(t testing.TB, modules ...[]crm.Module) [2]*model.Plan {
	t.Helper()
	key := [2]string{crm.ModelText(modules[0]), crm.ModelText(modules[1])}
	pair, ok := modelPairs[key]
	if ok {
		return pair
	}
	table := model.NewTable()
	for i := range pair {
		m, err := crm.Model(modules[i])
		if err != nil {
			t.Fatal(err)
		}
		table.Define(m.Declarations())
		if pair[i], err = m.Compile("", table); err != nil {
			t.Fatal(err)
		}
	}
	modelPairs[key] = pair
	return pair
}

func newReorganisation(t testing.TB, from, to *crm.Organisation) *reorganisation {
	t.Helper()
	r := &reorganisation{
		from: from, to: to, before: graph.NewMemory(1, time.Time{}), plans: modelPair(t, from.Modules, to.Modules),
	}
	before := crm.Encode(from)
	for _, tuple := range before.Tuples {
		if err := r.before.Put(r.plans[0], tuple); err != nil {
			t.Fatal(err)
		}
	}
	r.changes = crm.Difference(before, crm.Encode(to))
	return r
}

func (r *reorganisation) preview(at time.Time, b crm.PreviewBounds) *crm.Preview {
	p := &crm.Preview{View: r.before, Plan: r.plans[0], At: at, Bounds: b}
	if crm.ModelText(r.from.Modules) != crm.ModelText(r.to.Modules) {
		p.After = r.plans[1]
	}
	return p
}

// bruteForce asks the oracle about every user, record and action, before and after.
func (r *reorganisation) bruteForce(at time.Time, b crm.PreviewBounds) *crm.AccessPreview {
	type entry struct {
		user, module string
		action       int
	}
	type names [2][]string
	found := map[entry]*names{}
	add := func(e entry, way int, record string) {
		if found[e] == nil {
			found[e] = &names{}
		}
		found[e][way] = append(found[e][way], record)
	}
	allowed := func(o *crm.Organisation, visit func(e entry, record string)) {
		oracle := crmtest.NewOracle(o, at)
		for i := range o.Seats {
			for j := range o.Records {
				record := &o.Records[j]
				for k, a := range crm.Actions() {
					if oracle.Can(o.Seats[i].ID, a, record, nil) {
						visit(entry{o.Seats[i].ID, record.Module, k}, record.ID)
					}
				}
			}
		}
	}
	type answer struct {
		entry
		record string
	}
	before := map[answer]bool{}
	allowed(r.from, func(e entry, record string) { before[answer{e, record}] = true })
	allowed(r.to, func(e entry, record string) {
		if a := (answer{e, record}); before[a] {
			delete(before, a)
		} else {
			add(e, 0, record)
		}
	})
	for a := range before {
		add(a.entry, 1, a.record)
	}
	result := &crm.AccessPreview{}
	users := map[string]*crm.UserAccess{}
	totals := map[string]int{}
	ways := [2]map[string]bool{{}, {}}
	count := func(list []string) (crm.Count, []string) {
		slices.Sort(list)
		return crm.Count{N: min(len(list), b.Records), AtLeast: len(list) > b.Records}, list[:min(len(list), b.Samples)]
	}
	var order []entry
	for e := range found {
		order = append(order, e)
	}
	slices.SortFunc(order, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.user, b.user), strings.Compare(a.module, b.module), a.action-b.action)
	})
	for _, e := range order {
		m := crm.ModuleAccess{Module: e.module, Action: crm.Actions()[e.action]}
		m.Gained, m.GainedSamples = count(found[e][0])
		m.Lost, m.LostSamples = count(found[e][1])
		for way := range ways {
			if len(found[e][way]) > 0 {
				ways[way][e.user] = true
			}
		}
		if users[e.user] == nil {
			users[e.user] = &crm.UserAccess{User: e.user}
		}
		users[e.user].Modules = append(users[e.user].Modules, m)
		totals[e.user] += m.Gained.N + m.Lost.N
	}
	result.Gaining, result.Losing = len(ways[0]), len(ways[1])
	for _, u := range users {
		result.Users = append(result.Users, *u)
	}
	slices.SortFunc(result.Users, func(a, b crm.UserAccess) int {
		return cmp.Or(totals[b.User]-totals[a.User], strings.Compare(a.User, b.User))
	})
	result.Users = result.Users[:min(len(result.Users), b.Users)]
	return result
}

// everything bounds nothing in a small organisation.
var everything = crm.PreviewBounds{Records: 1000, Users: 1000, Samples: 1000}

// previewed compares a preview with brute force, within wide bounds and narrow ones.
func previewed(t *testing.T, r *reorganisation, at time.Time, again string) *crm.AccessPreview {
	t.Helper()
	var whole *crm.AccessPreview
	for _, b := range []crm.PreviewBounds{everything, {Records: 2, Users: 3, Samples: 1}} {
		p := r.preview(at, b)
		p.Workers = 2
		var told []crm.PreviewProgress
		p.Progress = func(s crm.PreviewProgress) { told = append(told, s) }
		got, err := p.Access(t.Context(), r.changes)
		if err != nil {
			t.Fatalf("Access: %v\n%s", err, again)
		}
		if diff := gocmp.Diff(r.bruteForce(at, b), got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("the preview at %s differs from brute force (-want +got):\n%s\n%s", at.Format(time.RFC3339Nano), diff, again)
		}
		monotone(t, told)
		if whole == nil {
			whole = got
		}
	}
	return whole
}

// monotone holds reports to what they promise.
func monotone(t *testing.T, told []crm.PreviewProgress) {
	t.Helper()
	stages := []crm.PreviewStage{crm.StageReach, crm.StageCompare, crm.StageSample}
	var last crm.PreviewProgress
	for _, p := range told {
		if p.Stage == last.Stage && (p.Done < last.Done || p.Total != last.Total) ||
			slices.Index(stages, p.Stage) < slices.Index(stages, last.Stage) || p.Done > p.Total {
			t.Fatalf("progress goes from %v to %v", last, p)
		}
		if p.Stage != last.Stage && last.Done != last.Total {
			t.Fatalf("%v is not done when %v begins", last, p)
		}
		last = p
	}
	if len(told) > 0 && last.Done != last.Total {
		t.Fatalf("progress ends with %v", last)
	}
}

// allPreviewed is of how many organisations a full run previews changes, of each eight times.
const allPreviewed = 200

// TestPreviewIsWhatBruteForceFinds previews random changes of random organisations.
func TestPreviewIsWhatBruteForceFinds(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", fewOrganisations, allPreviewed)
	made := map[string]int{}
	var changed, tried int
	for n := v.First; n < v.First+v.Count; n++ {
		for round := range uint64(8) {
			g, from := v.Organisation(n, 0)
			_, to := v.Organisation(n, 0)
			e := reorganiser{Generator: crmtest.New(v.Seed^round<<48, uint64(n)), source: g, o: to, made: made}
			if round == 0 { // another organisation of the same modules
				_, to = v.Organisation(n, 1)
			} else {
				e.edit(t, 1+e.IntN(10))
				to = e.o
			}
			r := newReorganisation(t, from, to)
			got := previewed(t, r, g.Instant(), fmt.Sprintf("round %d of %s", round, v.Again(n)))
			if tried++; got.Gaining+got.Losing > 0 {
				changed++
			}
		}
	}
	t.Logf("%d changes, %d of them matter to somebody", tried, changed)
	if changed < tried/3 {
		t.Errorf("only %d of %d changes matter to anybody", changed, tried)
	}
	if v.Count >= fewOrganisations {
		for _, k := range rearrangements {
			if made[k.name] == 0 {
				t.Errorf("no change was of the kind %q", k.name)
			}
		}
	}
}

// A reorganiser makes random changes of an organisation.
type reorganiser struct {
	*crmtest.Generator
	source *crmtest.Generator // of the organisation before the changes, whose parties it draws
	o      *crm.Organisation
	made   map[string]int
	number int
}

// edit makes n changes. One after which the organisation would not be valid is undone.
func (e *reorganiser) edit(t *testing.T, n int) {
	t.Helper()
	for range n {
		k := crmtest.Pick(e.Generator, rearrangements)
		kept := copied(t, e.o)
		k.edit(e, e.o)
		if e.o.Validate(crm.DefaultLimits()) != nil {
			e.o = kept
			continue
		}
		e.made[k.name]++
	}
}

// copied copies an organisation by way of a store.
func copied(t *testing.T, o *crm.Organisation) *crm.Organisation {
	t.Helper()
	got, err := crm.Load(t, o, false).Read()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (e *reorganiser) id(prefix string) string {
	e.number++
	return fmt.Sprint(prefix, "new", e.number)
}

func (e *reorganiser) seat() *crm.Seat       { return &e.o.Seats[e.IntN(len(e.o.Seats))] }
func (e *reorganiser) role() *crm.Role       { return &e.o.Roles[e.IntN(len(e.o.Roles))] }
func (e *reorganiser) profile() *crm.Profile { return &e.o.Profiles[e.IntN(len(e.o.Profiles))] }
func (e *reorganiser) module() *crm.Module   { return &e.o.Modules[e.IntN(len(e.o.Modules))] }
func (e *reorganiser) record() *crm.Record   { return &e.o.Records[e.IntN(len(e.o.Records))] }
func (e *reorganiser) rule() *crm.Rule       { return &e.o.Rules[e.IntN(len(e.o.Rules))] }
func (e *reorganiser) level() crm.Level      { return crm.Level(e.IntN(int(crm.LevelDelete) + 1)) }

// rearrangements are kinds of changes.
var rearrangements = []struct {
	name string
	edit func(e *reorganiser, o *crm.Organisation)
}{
	{"rename", func(e *reorganiser, o *crm.Organisation) { e.role().Name += " renamed" }},
	{"move a user to another role", func(e *reorganiser, _ *crm.Organisation) { e.seat().Role = e.role().ID }},
	{"move many users", func(e *reorganiser, o *crm.Organisation) {
		for range 4 {
			e.seat().Role = e.role().ID
		}
	}},
	{"swap two users", func(e *reorganiser, _ *crm.Organisation) {
		a, b := e.seat(), e.seat()
		a.Role, b.Role = b.Role, a.Role
	}},
	{"move a role", func(e *reorganiser, _ *crm.Organisation) { e.role().Parent = e.role().ID }},
	{"turn a branch over", func(e *reorganiser, o *crm.Organisation) {
		for i := range o.Roles { // the one below comes in the place of the one above
			r := &o.Roles[i]
			for j := range o.Roles {
				if above := &o.Roles[j]; above.ID == r.Parent && above.Parent != "" {
					r.Parent, above.Parent = above.Parent, r.ID
					return
				}
			}
		}
	}},
	{"share with peers", func(e *reorganiser, _ *crm.Organisation) { e.role().Peers = e.level() }},
	{"forecast managers", func(e *reorganiser, _ *crm.Organisation) { e.role().ForecastManagers = e.source.SeatIDs(2) }},
	{"create a role", func(e *reorganiser, o *crm.Organisation) {
		o.Roles = append(o.Roles, crm.Role{ID: e.id("r"), Name: e.id("Role "), Parent: e.role().ID})
		e.seat().Role = o.Roles[len(o.Roles)-1].ID
	}},
	{"hire", func(e *reorganiser, o *crm.Organisation) {
		s := crm.Seat{ID: e.id("u"), Name: "New", Role: e.role().ID, Profiles: []string{e.profile().ID}}
		o.Seats = append(o.Seats, s)
		e.record().Owner = s.ID
	}},
	{"suspend", func(e *reorganiser, _ *crm.Organisation) { s := e.seat(); s.Suspended = !s.Suspended }},
	{"remove a seat", func(e *reorganiser, o *crm.Organisation) {
		gone := e.seat().ID
		o.Seats = slices.DeleteFunc(o.Seats, func(s crm.Seat) bool { return s.ID == gone })
		heir := e.seat().ID
		for i := range o.Records {
			if r := &o.Records[i]; r.Owner == gone {
				r.Owner = heir
			}
		}
	}},
	{"hierarchy", func(e *reorganiser, o *crm.Organisation) { o.Settings.Hierarchy = 1 - o.Settings.Hierarchy }},
	{"non-reporting", func(e *reorganiser, o *crm.Organisation) {
		o.Settings.NonReportingByRole = !o.Settings.NonReportingByRole
		s := e.seat()
		s.NonReporting = !s.NonReporting
	}},
	{"login hours", func(_ *reorganiser, o *crm.Organisation) { o.Settings.LoginHours = !o.Settings.LoginHours }},
	{"manager", func(e *reorganiser, _ *crm.Organisation) { e.seat().Manager = e.seat().ID }},
	{"no manager", func(e *reorganiser, _ *crm.Organisation) { e.seat().Manager = "" }},
	{"super admin", func(e *reorganiser, o *crm.Organisation) { o.SuperAdmin = e.seat().ID }},
	{"module default", func(e *reorganiser, _ *crm.Organisation) { e.module().Default = e.level() }},
	{"hierarchy of a module", func(e *reorganiser, _ *crm.Organisation) { m := e.module(); m.NoHierarchy = !m.NoHierarchy }},
	{"create a module", func(e *reorganiser, o *crm.Organisation) {
		m := crm.Module{ID: "visit", Name: "Visits", Kind: crm.Child, Parents: []string{"deal"}}
		if e.Chance(50) {
			m.Kind = crm.Standard
		}
		o.Modules = append(o.Modules, m)
		e.profile().Modules["visit"] = crm.PermissionView | crm.PermissionEdit
		for _, r := range o.Records {
			if r.Module == "deal" {
				o.Records = append(o.Records, crm.Record{Module: "visit", ID: "v1", Owner: e.seat().ID, Parents: []crm.Ref{r.Ref()}})
				return
			}
		}
	}},
	{"parent modules", func(e *reorganiser, _ *crm.Organisation) {
		if m := e.module(); m.Kind == crm.Standard && !slices.Contains(m.Parents, "account") {
			m.Parents = append(m.Parents, "account")
		}
	}},
	{"delete a module", func(e *reorganiser, o *crm.Organisation) {
		gone := e.module().ID
		o.Modules = slices.DeleteFunc(o.Modules, func(m crm.Module) bool { return m.ID == gone })
		o.Records = slices.DeleteFunc(o.Records, func(r crm.Record) bool { return r.Module == gone })
		o.Rules = slices.DeleteFunc(o.Rules, func(r crm.Rule) bool { return r.Module == gone })
		o.Fields = slices.DeleteFunc(o.Fields, func(f crm.Field) bool { return f.Module == gone })
		for i := range o.Profiles {
			delete(o.Profiles[i].Modules, gone)
		}
	}},
	{"permission", func(e *reorganiser, _ *crm.Organisation) {
		e.profile().Modules[e.module().ID] ^= crm.Permissions(1 << e.IntN(7))
	}},
	{"administrators", func(e *reorganiser, _ *crm.Organisation) { p := e.profile(); p.Administrator = !p.Administrator }},
	{"assign a profile", func(e *reorganiser, _ *crm.Organisation) {
		if s, p := e.seat(), e.profile().ID; !slices.Contains(s.Profiles, p) {
			s.Profiles = append(s.Profiles, p)
		} else {
			s.Profiles = slices.DeleteFunc(s.Profiles, func(q string) bool { return q == p })
		}
	}},
	{"create a rule", func(e *reorganiser, o *crm.Organisation) {
		r := *e.rule()
		r.ID, r.Name, r.Source, r.Target = e.id("x"), e.id("Rule "), e.source.Party(false), e.source.Party(true)
		o.Rules = append(o.Rules, r)
	}},
	{"delete a rule", func(e *reorganiser, o *crm.Organisation) {
		i := e.IntN(len(o.Rules))
		o.Rules = slices.Delete(o.Rules, i, i+1)
	}},
	{"rule level", func(e *reorganiser, _ *crm.Organisation) { e.rule().Level = e.level() }},
	{"rule source", func(e *reorganiser, _ *crm.Organisation) { e.rule().Source = e.source.Party(false) }},
	{"rule target", func(e *reorganiser, _ *crm.Organisation) { e.rule().Target = e.source.Party(true) }},
	{"rule superiors", func(e *reorganiser, _ *crm.Organisation) { r := e.rule(); r.Superiors = !r.Superiors }},
	{"rule disabled", func(e *reorganiser, _ *crm.Organisation) { r := e.rule(); r.Disabled = !r.Disabled }},
	{"transfer", func(e *reorganiser, _ *crm.Organisation) { e.record().Owner = e.seat().ID }},
	{"share", func(e *reorganiser, _ *crm.Organisation) {
		r := e.record()
		r.Shares = append(r.Shares, crm.Share{
			To: e.source.Party(true), Level: crmtest.Pick(e.Generator, []crm.Level{crm.LevelView, crm.LevelEdit, crm.LevelFull}), Related: e.Chance(60),
		})
	}},
	{"share what is above", func(e *reorganiser, o *crm.Organisation) {
		below := e.record()
		for _, r := range below.Parents {
			above := &o.Records[slices.IndexFunc(o.Records, func(o crm.Record) bool { return o.Ref() == r })]
			above.Shares = []crm.Share{{To: e.source.Party(true), Level: crm.LevelFull, Related: true}}
		}
	}},
	{"unshare", func(e *reorganiser, _ *crm.Organisation) { e.record().Shares = nil }},
	{"confidentiality", func(e *reorganiser, _ *crm.Organisation) { e.record().Confidentiality = crm.Confidentiality(e.IntN(3)) }},
	{"record above", func(e *reorganiser, _ *crm.Organisation) {
		if r := e.record(); len(r.Parents) > 0 {
			r.Parents = []crm.Ref{e.record().Ref()}
		}
	}},
	{"create a record", func(e *reorganiser, o *crm.Organisation) {
		r := *e.record()
		r.ID, r.Owner, r.Shares = e.id(""), e.seat().ID, nil
		o.Records = append(o.Records, r)
	}},
	{"delete a record", func(e *reorganiser, o *crm.Organisation) {
		gone := e.record().Ref()
		o.Records = slices.DeleteFunc(o.Records, func(r crm.Record) bool {
			return r.Ref() == gone || slices.Contains(r.Parents, gone)
		})
	}},
	{"group", func(e *reorganiser, o *crm.Organisation) {
		if g := &o.Groups[e.IntN(len(o.Groups))]; e.Chance(50) {
			g.Members = append(g.Members, e.source.Party(false))
		} else {
			g.Members = nil
		}
	}},
	{"team", func(e *reorganiser, o *crm.Organisation) {
		o.Teams = append(o.Teams, crm.Team{ID: e.id("t"), Name: e.id("Team "), Managers: e.source.SeatIDs(2), Members: e.source.SeatIDs(3)})
	}},
	{"shift", func(e *reorganiser, o *crm.Organisation) {
		o.Shifts[e.IntN(len(o.Shifts))].Hours.Week[e.IntN(7)] = e.source.Windows()
	}},
	{"leave a shift", func(e *reorganiser, _ *crm.Organisation) { e.seat().Shifts = nil }},
}

// TestPreviewOfNothing changes no access.
func TestPreviewOfNothing(t *testing.T) {
	v := volume(t)
	g, from := v.Organisation(v.First, 0)
	_, to := v.Organisation(v.First, 0)
	to.Name += " Ltd"
	if got := previewed(t, newReorganisation(t, from, to), g.Instant(), ""); got.Gaining+got.Losing > 0 {
		t.Errorf("renaming changes access: %+v", got)
	}
}

// TestPreviewBoundsOfAnySize asks for more than anybody can count.
func TestPreviewBoundsOfAnySize(t *testing.T) {
	v := volume(t)
	g, from := v.Organisation(v.First, 0)
	_, to := v.Organisation(v.First, 1)
	r, at := newReorganisation(t, from, to), g.Instant()
	want := r.bruteForce(at, everything)
	for _, most := range []int{math.MaxInt, math.MaxUint32, math.MaxInt32} {
		b := crm.PreviewBounds{Records: most, Users: most, Samples: most}
		got, err := r.preview(at, b).Access(t.Context(), r.changes)
		if diff := gocmp.Diff(want, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("Access within %d: %v (-want +got):\n%s", most, err, diff)
		}
	}
}

// TestPreviewEndsWithItsContext ends it at each report of progress.
func TestPreviewEndsWithItsContext(t *testing.T) {
	v := volume(t)
	g, from := v.Organisation(v.First, 0)
	_, to := v.Organisation(v.First, 1)
	r := newReorganisation(t, from, to)
	for end, ended := 1, true; ended; end++ {
		ctx, cancel := context.WithCancel(t.Context())
		p := r.preview(g.Instant(), everything)
		reports := 0
		p.Progress = func(s crm.PreviewProgress) {
			if reports++; reports == end && s.Done < s.Total {
				cancel()
			}
		}
		_, err := p.Access(ctx, r.changes)
		if canceled := ctx.Err() != nil; canceled != errors.Is(err, context.Canceled) {
			t.Errorf("Access cancelled at report %d: %v", end, err)
		}
		ended = reports >= end
		cancel()
	}
}
