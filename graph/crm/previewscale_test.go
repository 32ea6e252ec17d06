package crm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A bigCompany is a large organisation in memory: 100,000 users, 5,000 roles, 300 rules
// for each of three standard modules, 1,000,000 records. Only a full run has all of it,
// others a tenth, with the same number of rules.
type bigCompany struct {
	*rand.Rand
	*graph.Memory
	plan    *model.Plan
	modules []Module

	users, roles, groups, rules, records int
	roleOf                               []int
}

func newBigCompany(t testing.TB) *bigCompany {
	t.Helper()
	c := &bigCompany{users: 10_000, roles: 500, groups: 100, rules: 300, records: 100_000}
	if os.Getenv("REMIT_TEST_ALL") != "" {
		c.users, c.roles, c.groups, c.records = 10*c.users, 10*c.roles, 10*c.groups, 10*c.records
	}
	c.make(t)
	return c
}

func (c *bigCompany) make(t testing.TB) {
	t.Helper()
	c.Rand, c.Memory = rand.New(rand.NewPCG(7, 7)), graph.NewMemory(1, noon)
	c.modules = []Module{
		{ID: "account", Name: "Accounts", Kind: Standard},
		{ID: "deal", Name: "Deals", Kind: Standard, Parents: []string{"account"}},
		{ID: "lead", Name: "Leads", Kind: Standard},
		{ID: "note", Name: "Notes", Kind: Child, Parents: []string{"account", "deal"}},
		{ID: "forecast", Name: "Forecasts", Kind: Forecast},
	}
	begin := time.Now()
	c.plan = compiled(t, c.modules)
	c.people(t)
	c.sharing(t)
	c.own(t)
	t.Logf("%d users, %d roles, %d rules per module, %d records, %d tuples, made in %v",
		c.users, c.roles, c.rules, c.records, c.Len(), time.Since(begin).Round(time.Millisecond))
}

func (c *bigCompany) store(t testing.TB, o *Organisation) {
	t.Helper()
	c.put(t, Encode(o).Tuples)
}

func (c *bigCompany) put(t testing.TB, tuples []graph.Tuple) {
	t.Helper()
	for _, tuple := range tuples {
		if err := c.Put(c.plan, tuple); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *bigCompany) user(i int) string { return fmt.Sprintf("u%06d", i) }
func (c *bigCompany) role(i int) string { return fmt.Sprintf("r%04d", i) }

// people are in a tree of roles with four below each; above, each role has one holder.
func (c *bigCompany) people(t testing.TB) {
	t.Helper()
	o := New("big", "Big", c.user(0), "First")
	o.Modules = c.modules
	o.Roles, o.Seats = nil, nil
	for i := range c.roles {
		r := Role{ID: c.role(i), Name: c.role(i)}
		if i > 0 {
			r.Parent = c.role((i - 1) / 4)
		}
		if c.IntN(10) == 0 {
			r.Peers = LevelView
		}
		o.Roles = append(o.Roles, r)
	}
	bits := map[string]Permissions{}
	for _, m := range c.modules {
		bits[m.ID] = allPermissions &^ PermissionViewAll
	}
	o.Profiles = []Profile{{ID: "admin", Name: "Administrator", Administrator: true, Modules: bits}}
	for i := range 20 {
		some := map[string]Permissions{}
		for _, m := range c.modules {
			some[m.ID] = bits[m.ID]&^Permissions(c.IntN(1<<6)) | PermissionView
		}
		o.Profiles = append(o.Profiles, Profile{ID: fmt.Sprint("p", i), Name: fmt.Sprint("Profile ", i), Modules: some})
	}
	managers := c.roles / 16 // the upper roles, with one holder each
	c.roleOf = make([]int, c.users)
	for i := range c.users {
		if c.roleOf[i] = i; i >= managers {
			c.roleOf[i] = managers + c.IntN(c.roles-managers)
		}
		s := Seat{ID: c.user(i), Name: c.user(i), Role: c.role(c.roleOf[i]), Profiles: []string{fmt.Sprint("p", c.IntN(20))}}
		if i < 3 {
			s.Profiles = []string{"admin"}
		}
		o.Seats = append(o.Seats, s)
	}
	for i := range c.groups {
		g := Group{ID: fmt.Sprint("g", i), Name: fmt.Sprint("Group ", i), Members: []Party{{Kind: HoldersOf, ID: c.role(c.IntN(c.roles))}}}
		for range 20 {
			if m := (Party{Kind: User, ID: c.user(c.IntN(c.users))}); !slices.Contains(g.Members, m) {
				g.Members = append(g.Members, m)
			}
		}
		if i > 0 && i%10 == 0 {
			g.Members = append(g.Members, Party{Kind: MembersOf, ID: fmt.Sprint("g", i-1)})
		}
		o.Groups = append(o.Groups, g)
	}
	c.store(t, o)
}

func (c *bigCompany) party() Party {
	switch c.IntN(4) {
	case 0:
		return Party{Kind: RoleAndSubordinates, ID: c.role(c.IntN(c.roles))}
	case 1:
		return Party{Kind: HoldersOf, ID: c.role(c.IntN(c.roles))}
	case 2:
		return Party{Kind: MembersOf, ID: fmt.Sprint("g", c.IntN(c.groups))}
	default:
		return Party{Kind: User, ID: c.user(c.IntN(c.users))}
	}
}

func (c *bigCompany) sharing(t testing.TB) {
	t.Helper()
	w := encoder{}
	for _, m := range c.modules[:3] {
		for i := range c.rules {
			source := c.party()
			if i%3 == 0 { // wide ones, of whole regions
				source = Party{Kind: RoleAndSubordinates, ID: c.role(1 + c.IntN(min(84, c.roles-1)))}
			}
			w.rule(&Rule{
				ID: fmt.Sprint(m.ID, i), Name: fmt.Sprint(m.ID, " ", i), Module: m.ID, Source: source, Target: c.party(),
				Level: []Level{LevelView, LevelView, LevelEdit, LevelDelete}[c.IntN(4)], Superiors: c.IntN(3) == 0,
			})
		}
	}
	c.put(t, w.e.Tuples)
}

// own gives out the records: a third accounts, a third deals, and fewer of the others.
func (c *bigCompany) own(t testing.TB) {
	t.Helper()
	var made [5]int
	for i := range c.records {
		kind := []int{0, 0, 0, 1, 1, 1, 2, 2, 3, 4}[i%10]
		m := &c.modules[kind]
		r := Record{Module: m.ID, ID: fmt.Sprintf("%07d", made[kind]), Owner: c.user(c.IntN(c.users))}
		made[kind]++
		above := func(kind int) []Ref {
			return []Ref{{c.modules[kind].ID, fmt.Sprintf("%07d", c.IntN(made[kind]))}}
		}
		switch {
		case kind == 1 && c.IntN(2) == 0:
			r.Parents = above(0)
		case kind == 3:
			r.Parents = above(c.IntN(2))
		}
		if kind < 3 {
			r.Confidentiality = [...]Confidentiality{Open, Restricted, Secret}[max(0, c.IntN(20)-17)]
			if c.IntN(33) == 0 {
				r.Shares = []Share{{To: c.party(), Level: LevelEdit, Related: c.IntN(2) == 0}}
			}
		}
		w := encoder{}
		w.record(&r, m.Kind)
		c.put(t, w.e.Tuples)
	}
}

// move is the change that gives 700 users, or the same part of a smaller company, the
// roles of others.
func (c *bigCompany) move() (changes Changes, moved []int) {
	for range max(7, 700*c.users/100_000) {
		i := 1 + c.IntN(c.users-1)
		to := c.roleOf[c.IntN(c.users)]
		if slices.Contains(moved, i) || to == c.roleOf[i] {
			continue
		}
		moved = append(moved, i)
		before, after := encoder{}, encoder{}
		before.pair(entity(typeUser, c.user(i)), relRole, entity(typeRole, c.role(c.roleOf[i])), relHolder)
		after.pair(entity(typeUser, c.user(i)), relRole, entity(typeRole, c.role(to)), relHolder)
		changes.Delete = append(changes.Delete, before.e.Tuples...)
		changes.Put = append(changes.Put, after.e.Tuples...)
	}
	return changes, moved
}

// A bigChange is one of very different reaches.
type bigChange struct {
	name    string
	changes Changes
}

func (c *bigCompany) bigChanges() []bigChange {
	one := Changes{}
	i := c.users / 2
	before, after := encoder{}, encoder{}
	before.pair(entity(typeUser, c.user(i)), relRole, entity(typeRole, c.role(c.roleOf[i])), relHolder)
	after.pair(entity(typeUser, c.user(i)), relRole, entity(typeRole, c.role(c.roleOf[i]-1)), relHolder)
	one.Delete, one.Put = before.e.Tuples, after.e.Tuples
	open, suspend, transfer := encoder{}, encoder{}, encoder{}
	open.flag(true, entity(typeModule, "deal"), defaultRelation[LevelView])
	suspend.edge(entity(typeOrg, "big"), relSuspended, entity(typeUser, c.user(i)))
	record := entity("deal", "0000001")
	transfer.edge(record, relOwner, entity(typeUser, c.user(i)))
	moved, _ := c.move()
	return []bigChange{
		{"move 700", moved},
		{"move one", one},
		{"open a module", Changes{Put: open.e.Tuples}},
		{"suspend", Changes{Put: suspend.e.Tuples}},
		{"add an owner", Changes{Put: transfer.e.Tuples}},
	}
}

// TestPreviewOfABigCompany moves 700 users, and holds what it names of those with the
// most changes to what the engine decides.
func TestPreviewOfABigCompany(t *testing.T) {
	c := newBigCompany(t)
	changes, moved := c.move()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := Preview{View: c, Plan: c.plan, At: noon}
	begin := time.Now()
	got, err := p.Access(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin).Round(time.Millisecond)
	runtime.ReadMemStats(&after)
	t.Logf("%d users move, %d gain, %d lose, found in %v; the heap is %d MiB for the store and was given %d MiB more",
		len(moved), got.Gaining, got.Losing, took, before.HeapAlloc>>20, (after.HeapSys-before.HeapSys)>>20)
	if len(got.Users) != 20 || got.Gaining < len(moved)/2 || got.Losing < len(moved)/2 {
		t.Fatalf("%d users are described, %d gain, %d lose", len(got.Users), got.Gaining, got.Losing)
	}
	w, err := openWorld(&p, changes)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range got.Users {
		for _, m := range u.Modules {
			for way, samples := range [][]string{m.GainedSamples, m.LostSamples} {
				for _, record := range samples {
					if had, has := c.may(t, c, u.User, m, record), c.may(t, w.overlay, u.User, m, record); had == has || has != (way == gained) {
						t.Errorf("%s may %s %s %s before: %v, after: %v", u.User, m.Action, m.Module, record, had, has)
					}
				}
			}
		}
	}
}

func (c *bigCompany) may(t *testing.T, view graph.View, user string, m ModuleAccess, record string) bool {
	t.Helper()
	q := question{store: &store{Memory: c.Memory, plan: c.plan}, query: graph.Query{View: view, Plan: c.plan, At: noon}}
	return q.check(t, entity(m.Module, record), m.Action.Relation(), user)
}

// TestPreviewCountsWhatIsListed compares what some users are listed before and after with
// what the preview counts, where crowds are of all sizes.
func TestPreviewCountsWhatIsListed(t *testing.T) {
	c := &bigCompany{users: 2000, roles: 100, groups: 20, rules: 30, records: 1000}
	c.make(t)
	for _, change := range c.bigChanges() {
		t.Run(change.name, func(t *testing.T) {
			p := Preview{View: c, Plan: c.plan, At: noon, Bounds: PreviewBounds{Users: c.users, Records: c.records, Samples: 3}}
			got, err := p.Access(t.Context(), change.changes)
			if err != nil {
				t.Fatal(err)
			}
			described := map[string]UserAccess{}
			for _, u := range got.Users {
				described[u.User] = u
			}
			w, err := openWorld(&p, change.changes)
			if err != nil {
				t.Fatal(err)
			}
			asked := []string{c.user(c.IntN(c.users))}
			if n := len(got.Users); n > 0 {
				asked = append(asked, got.Users[n/2].User, got.Users[n-1].User)
			}
			for _, user := range asked {
				if diff := cmp.Diff(c.listed(t, w.overlay, user), described[user].Modules, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("what %s gains and loses differs (-want +got):\n%s", user, diff)
				}
			}
		})
	}
}

// listed compares what a user is listed of each module, for each action.
func (c *bigCompany) listed(t *testing.T, after graph.View, user string) []ModuleAccess {
	t.Helper()
	people, ok := c.plan.Type(typeUser)
	if !ok {
		t.Fatal("the model has no users")
	}
	var all []ModuleAccess
	for _, m := range slices.SortedFunc(slices.Values(c.modules), func(a, b Module) int { return strings.Compare(a.ID, b.ID) }) {
		for _, a := range Actions() {
			r, err := graph.ResolveRelation(c.plan, m.ID, a.Relation())
			if err != nil {
				continue // nobody may
			}
			var lists [2]map[string]bool
			for side, view := range []graph.View{c, after} {
				q := graph.Query{View: view, Plan: c.plan, At: noon, Budget: 1 << 30}
				subject := graph.Subject{ID: c.Entity(people.ID, user)}
				lists[side] = map[string]bool{}
				err := q.ListObjects(t.Context(), r, subject, 0, func(id graph.ID) bool {
					name, err := view.Name(id)
					if err != nil {
						t.Error(err)
					}
					lists[side][name] = true
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			entry := ModuleAccess{Module: m.ID, Action: a}
			entry.Gained, entry.GainedSamples = alone(lists[1], lists[0])
			entry.Lost, entry.LostSamples = alone(lists[0], lists[1])
			if entry.Gained.N+entry.Lost.N > 0 {
				all = append(all, entry)
			}
		}
	}
	return all
}

// alone counts what is in one set only, and names the first three.
func alone(in, out map[string]bool) (Count, []string) {
	var names []string
	for name := range in {
		if !out[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return Count{N: len(names)}, names[:min(3, len(names))]
}

// TestCrowdsAreSets compares operators with those on maps.
func TestCrowdsAreSets(t *testing.T) {
	const users = 1000
	r := rand.New(rand.NewPCG(1, 1))
	m := newCrowdMaker(users, 0)
	everybody := make([]uint32, users)
	for i := range everybody {
		everybody[i] = uint32(i)
	}
	m.all = m.ofList(everybody)
	sets := map[*crowd]map[uint32]bool{nil: {}}
	list := []*crowd{nil, m.all}
	for _, size := range []int{1, 2, 20, 31, 32, 33, 40, 300, 990, users} {
		for range 3 {
			var numbers []uint32
			for range size {
				numbers = append(numbers, uint32(r.IntN(users)))
			}
			list = append(list, m.ofList(numbers))
		}
	}
	for _, c := range list {
		sets[c] = map[uint32]bool{}
		c.each(func(i uint32) { sets[c][i] = true })
		if len(sets[c]) != c.len() {
			t.Errorf("a crowd of %d has %d members", c.len(), len(sets[c]))
		}
	}
	for _, a := range list {
		for _, b := range list {
			for op := range crowdDifference + 1 {
				got := m.apply(op, a, b)
				for i := range uint32(users) {
					x, y := sets[a][i], sets[b][i]
					want := [...]bool{
						crowdUnion: x || y, crowdIntersection: x && y, crowdExclusion: x && !y, crowdDifference: x != y,
					}[op]
					if got.has(i) != want {
						t.Fatalf("operator %d on crowds of %d and %d: %d is in it: %v, want %v", op, a.len(), b.len(), i, !want, want)
					}
				}
			}
			if both := m.apply(crowdUnion, a, b); !both.equal(m.union([]*crowd{a, b})) {
				t.Fatalf("the unions of crowds of %d and %d differ", a.len(), b.len())
			}
		}
	}
}

func BenchmarkPreview(b *testing.B) {
	c := newBigCompany(b)
	for _, change := range c.bigChanges() {
		b.Run(change.name, func(b *testing.B) {
			for b.Loop() {
				p := Preview{View: c, Plan: c.plan, At: noon}
				got, err := p.Access(b.Context(), change.changes)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(got.Gaining), "gaining")
				b.ReportMetric(float64(got.Losing), "losing")
			}
		})
	}
}
