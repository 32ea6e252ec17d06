package crm

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// A clash is two changes that are planned at one view, and what stands between them when the
// second is carried out after the first.
type clash struct {
	name   string
	before func(o *Organisation) // may be nil
	first  func(t *testing.T, d *Draft) error
	as     string // on whose behalf the second is; empty: on nobody's
	second func(t *testing.T, d *Draft) error
	guards []string // those that fail, all of them

	// wrong is what came of it without the guards: the second is not possible any more
	// (refused), it is planned otherwise (changed), or whoever makes it has other rights
	// (rights). It is empty if nothing is wrong.
	wrong string
}

func (c *clash) plan(t *testing.T, s *Managed, as string, act func(*testing.T, *Draft) error) (*Plan, error) {
	t.Helper()
	d := s.Draft()
	if as != "" {
		d.As(as)
	}
	if err := act(t, d); err != nil {
		return nil, err
	}
	return d.Plan()
}

// run carries the first change out, and finds which guards of the second fail and what it
// would come to.
func (c *clash) run(t *testing.T) (guards []string, wrong string) {
	t.Helper()
	o := exampleOrganisation()
	if c.before != nil {
		c.before(o)
	}
	s := Manage(t, o)
	first, err := c.plan(t, s, "", c.first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.plan(t, s, c.as, c.second)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Edits) == 0 || len(second.Edits) == 0 {
		t.Fatal("one of the changes is none")
	}
	rights := c.rights(t, s, second)
	if slices.Contains(rights, false) {
		t.Fatalf("%s lacks a right from the beginning: %v of %v", c.as, rights, second.Needs)
	}
	if err := s.Commit(t, first); err != nil {
		t.Fatal(err)
	}
	guards = s.Failing(t, second)
	anew, err := c.plan(t, s, c.as, c.second)
	switch {
	case errors.Is(err, ErrInvalid):
		return guards, "refused"
	case err != nil:
		t.Fatal(err)
	case !reflect.DeepEqual(anew.Changes, second.Changes), !reflect.DeepEqual(anew.Needs, second.Needs), !sameModel(anew, second):
		return guards, "changed"
	case !slices.Equal(c.rights(t, s, anew), rights):
		return guards, "rights"
	}
	return guards, ""
}

func sameModel(a, b *Plan) bool {
	if a.Model == nil || b.Model == nil {
		return a.Model == b.Model
	}
	return reflect.DeepEqual(a.Model.Declarations(), b.Model.Declarations())
}

// rights are whether the seat has what the plan needs.
func (c *clash) rights(t *testing.T, s *Managed, p *Plan) []bool {
	t.Helper()
	if c.as == "" {
		return nil
	}
	var list []bool
	for _, n := range p.Needs {
		list = append(list, slices.ContainsFunc(n.Any, func(q Question) bool { return s.at(noon).check(t, q.Object, q.Relation, cmp.Or(q.User, c.as)) }))
	}
	return list
}

// narrow are business hours on two days, inside which all shifts of the example are.
func narrow() *BusinessHours {
	b := &BusinessHours{}
	for _, on := range []time.Weekday{time.Monday, time.Tuesday} {
		b.Week[on] = []Window{{Span: Span{0, day}}}
	}
	return b
}

// wednesday is open on the day of noon, from morning to night.
func wednesday() Week { return Week{time.Wednesday: {{Span: Span{8 * 60, 20 * 60}}}} }

func deleteOf(text, to string) func(*testing.T, *Draft) error {
	return func(t *testing.T, d *Draft) error { return d.Delete(key(t, text), to, nil) }
}

// TestEveryGuardIsNeeded has, for the guards that random changes seldom depend on, two changes
// that nothing else keeps apart.
func TestEveryGuardIsNeeded(t *testing.T) {
	module := func(id string) func(*testing.T, *Draft) error {
		return puts(&Module{ID: id, Name: id, Kind: Standard})
	}
	shift := func(id string, week Week) func(*testing.T, *Draft) error {
		return puts(&Shift{ID: id, Name: id, Hours: Hours{Zone: "UTC", Week: week}})
	}
	hours := func(b *BusinessHours) func(*testing.T, *Draft) error {
		return put("org:acme", func(h *Head) { h.Settings.BusinessHours = b })
	}
	restrict := put("field:deal.stage", func(f *Field) { f.Levels = map[string]FieldLevel{"support": FieldRead} })
	uses := func(text string) string { return "scope " + usesScope(key(t, text)) }

	// What kim has of the deal d1, and so of its note, is shared with the account above it.
	related := func(level Level, also ...func(o *Organisation)) func(o *Organisation) {
		return func(o *Organisation) {
			o.seat("kim").Profiles, o.Rules = []string{"standard"}, nil
			o.record("account", "a1").Shares = []Share{{To: Party{Kind: User, ID: "kim"}, Level: level, Related: true}}
			for _, edit := range also {
				edit(o)
			}
		}
	}
	unshare := put("account:a1", func(r *Record) { r.Shares = nil })
	above := []string{"document account:a1"}

	for _, c := range []clash{
		{
			name: "two modules, and a model with one of them", wrong: "changed",
			first: module("one"), second: module("other"), guards: []string{"scope all/module"},
		},
		{
			name: "the last module that there may be", wrong: "refused",
			before: func(o *Organisation) {
				for i := len(o.Modules); i < MaxModules-1; i++ {
					id := fmt.Sprint("module", i)
					o.Modules = append(o.Modules, Module{ID: id, Name: id, Kind: Standard})
				}
			},
			first: module("one"), second: module("other"), guards: []string{"scope all/module"},
		},

		{
			name: "login hours, and a profile that they are to be enforced for", wrong: "changed",
			first:  puts(&Profile{ID: "new", Name: "New", Gated: true}),
			second: put("org:acme", func(h *Head) { h.Settings.LoginHours = true }), guards: []string{"scope all/profile"},
		},
		{
			name: "a profile that they are to be enforced for, and login hours", wrong: "changed",
			first:  put("org:acme", func(h *Head) { h.Settings.LoginHours = true }),
			second: puts(&Profile{ID: "new", Name: "New", Gated: true}), guards: []string{"document org:acme"},
		},
		{
			name: "a field for some profiles, and one more", wrong: "changed",
			first: puts(&Profile{ID: "new", Name: "New"}), second: restrict, guards: []string{"scope all/profile"},
		},
		{
			name: "a profile, and a field that has to name it", wrong: "changed",
			first: restrict, second: puts(&Profile{ID: "new", Name: "New"}), guards: []string{"scope " + usesScope(everyProfile)},
		},
		{
			name: "one of two administrator profiles, and the other", wrong: "refused",
			before: func(o *Organisation) {
				o.Profiles = append(o.Profiles, Profile{ID: "boss", Name: "Boss", Administrator: true})
			},
			first:  put("profile:administrator", func(p *Profile) { p.Administrator = false }),
			second: put("profile:boss", func(p *Profile) { p.Administrator = false }), guards: []string{"document profile:administrator"},
		},

		{
			name: "business hours, and a shift that comes to be outside", wrong: "refused",
			first:  put("shift:day", func(s *Shift) { s.Hours.Week = wednesday() }),
			second: hours(narrow()), guards: []string{"document shift:day"},
		},
		{
			name: "business hours, and a shift that is made outside", wrong: "refused",
			first: shift("new", wednesday()), second: hours(narrow()), guards: []string{"scope all/shift"},
		},
		{
			name: "a shift, and business hours that leave it outside", wrong: "refused",
			first:  hours(narrow()),
			second: put("shift:day", func(s *Shift) { s.Hours.Week = wednesday() }), guards: []string{"document org:acme"},
		},
		{
			name: "the last shift that there may be", wrong: "refused",
			before: func(o *Organisation) { o.Settings.MaxShifts = 3 },
			first:  shift("new", Week{}), second: shift("other", Week{}), guards: []string{"scope all/shift"},
		},
		{
			name: "a shift, and fewer that there may be", wrong: "refused",
			first:  put("org:acme", func(h *Head) { h.Settings.MaxShifts = 2 }),
			second: shift("new", Week{}), guards: []string{"document org:acme"},
		},
		{
			name: "who works a shift, and its end", wrong: "refused",
			first:  deleteOf("shift:night", ""),
			second: put("user:kim", func(s *Seat) { s.Shifts = []Assignment{{Shift: "night"}} }), guards: []string{"document shift:night"},
		},
		{
			name: "the end of a shift, and who works it", wrong: "refused",
			first:  put("user:kim", func(s *Seat) { s.Shifts = []Assignment{{Shift: "night"}} }),
			second: deleteOf("shift:night", ""), guards: []string{uses("shift:night")},
		},

		{
			name: "what somebody may edit by the record above", wrong: "rights",
			before: related(LevelEdit), as: "kim", first: unshare,
			second: put("deal:d1", func(r *Record) { r.Fields = nil }), guards: above,
		},
		{
			name: "a note of one's own that one sees by the record above that above it", wrong: "rights",
			before: related(LevelView), as: "kim", first: unshare,
			second: put("note:n1", func(r *Record) { r.Fields = value.Map{"text": "mine"} }), guards: above,
		},
		{
			name: "a note below what one sees by the record above", wrong: "rights",
			before: related(LevelView), as: "kim", first: unshare,
			second: puts(&Record{Module: "note", ID: "n9", Owner: "kim", Parents: []Ref{{"deal", "d1"}}}), guards: above,
		},
		{
			name: "a record that is put below another, by who has all of it by the one above", wrong: "rights",
			before: related(LevelFull, func(o *Organisation) {
				o.Records = append(o.Records, Record{Module: "account", ID: "a2", Owner: "kim"})
			}),
			as: "kim", first: unshare,
			second: put("deal:d1", func(r *Record) { r.Parents = append(r.Parents, Ref{"account", "a2"}) }), guards: above,
		},
		{
			name: "a share of something restricted that is handed on by who may transfer it", wrong: "rights",
			before: related(LevelFull, func(o *Organisation) {
				o.Profiles = append(o.Profiles, Profile{ID: "keeper", Name: "Keepers", Setup: []Setup{ManageRoles}})
				o.seat("kim").Profiles = []string{"standard", "keeper"}
				r := o.record("deal", "d1")
				r.Confidentiality, r.Shares = Restricted, []Share{{To: Party{Kind: HoldersOf, ID: "america"}, Level: LevelView}}
			}),
			as: "kim", first: unshare, second: deleteOf("role:america", "rep"), guards: above,
		},
		{
			name: "what somebody may edit by the hierarchy", wrong: "rights",
			as: "mia", first: put("user:mia", func(s *Seat) { s.Role = "america" }),
			second: put("deal:d1", func(r *Record) { r.Fields = nil }), guards: []string{"scope access"},
		},
	} {
		t.Run(c.name, func(t *testing.T) { c.holds(t) })
	}
}

func (c *clash) holds(t *testing.T) {
	t.Helper()
	guards, wrong := c.run(t)
	if !slices.Equal(guards, c.guards) {
		t.Errorf("the guards %q fail, want %q", guards, c.guards)
	}
	if wrong != c.wrong {
		t.Errorf("the second change would be %q, want %q", wrong, c.wrong)
	}
}

// TestRightsByProfiles takes from rob what lets him manage roles, make records and so on, and
// shows by what the plan notices; and changes that leave him all of it, which it does not mind.
func TestRightsByProfiles(t *testing.T) {
	keeper := func(also ...func(o *Organisation)) func(o *Organisation) {
		return func(o *Organisation) {
			o.Profiles = append(o.Profiles, Profile{ID: "keeper", Name: "Keepers", Setup: []Setup{ManageRoles, ManageUsers}})
			o.seat("rob").Profiles = []string{"keeper", "standard"}
			for _, edit := range also {
				edit(o)
			}
		}
	}
	inHours := func(o *Organisation) {
		o.Settings.LoginHours, o.profile("keeper").Gated = true, true
		o.shift("day").Hours.Week = wednesday()
	}
	boss := func(o *Organisation) {
		o.Profiles = append(o.Profiles, Profile{ID: "boss", Name: "Boss", Administrator: true})
		o.seat("rob").Profiles = []string{"boss"}
	}
	rename := put("role:agent", func(r *Role) { r.Name = "Agents" })
	deal := puts(&Record{Module: "deal", ID: "d9", Owner: "rob", Fields: value.Map{"stage": "new"}})
	rob := []string{"document user:rob"}
	for _, c := range []clash{
		{
			name: "a profile with less", before: keeper(), wrong: "rights", second: rename,
			first: put("profile:keeper", func(p *Profile) { p.Setup = []Setup{ManageUsers} }), guards: []string{"document profile:keeper"},
		},
		{
			name: "fewer profiles", before: keeper(), wrong: "rights", second: rename,
			first: put("user:rob", func(s *Seat) { s.Profiles = nil }), guards: rob,
		},
		{
			name: "a suspended seat", before: keeper(), wrong: "rights", second: rename,
			first: put("user:rob", func(s *Seat) { s.Suspended = true }), guards: rob,
		},
		{
			name: "another shift", before: keeper(inHours), wrong: "rights", second: rename,
			first: put("user:rob", func(s *Seat) { s.Shifts = nil }), guards: rob,
		},
		{
			name: "a shift at other hours", before: keeper(inHours), wrong: "rights", second: rename,
			first: put("shift:day", func(s *Shift) { s.Hours.Week = Week{} }), guards: []string{"document shift:day"},
		},
		{
			name:   "login hours",
			before: keeper(func(o *Organisation) { o.profile("keeper").Gated = true }), wrong: "rights", second: rename,
			first:  put("org:acme", func(h *Head) { h.Settings.LoginHours = true }),
			guards: []string{"document org:acme", "document profile:keeper"},
		},
		{
			name:   "a profile that login hours are enforced for",
			before: keeper(func(o *Organisation) { o.Settings.LoginHours = true }), wrong: "rights", second: rename,
			first: put("profile:keeper", func(p *Profile) { p.Gated = true }), guards: []string{"document profile:keeper"},
		},
		{
			name: "another super admin, who login hours do not bind", wrong: "rights", second: rename,
			before: keeper(func(o *Organisation) {
				o.SuperAdmin, o.Settings.LoginHours, o.profile("keeper").Gated = "rob", true, true
			}),
			first: put("org:acme", func(h *Head) { h.SuperAdmin = "ada" }), guards: []string{"document org:acme"},
		},
		{
			name: "no administrator any more", before: boss, wrong: "rights",
			second: put("org:acme", func(h *Head) { h.Name = "Acme Ltd" }),
			first:  put("profile:boss", func(p *Profile) { p.Administrator = false }), guards: []string{"document profile:boss"},
		},
		{
			name: "no records of a module", wrong: "rights", second: deal,
			first:  put("profile:standard", func(p *Profile) { p.Modules["deal"] &^= PermissionCreate }),
			guards: []string{"document profile:standard"},
		},
		{
			name: "a field that may not be written", wrong: "rights", second: deal,
			first:  put("field:deal.stage", func(f *Field) { f.Levels = map[string]FieldLevel{"standard": FieldRead} }),
			guards: []string{"document field:deal.stage"},
		},

		{name: "somebody else", before: keeper(), second: rename, first: puts(&Seat{ID: "new", Name: "New", Role: "rep", Profiles: []string{"standard"}})},
		{name: "somebody else's role", before: keeper(), second: rename, first: put("user:kim", func(s *Seat) { s.Role = "america" })},
		{name: "somebody else's profile", before: keeper(), second: rename, first: put("profile:support", func(p *Profile) { p.Setup = []Setup{ManageUsers} })},
		{name: "another role", before: keeper(), second: rename, first: put("role:emea", func(r *Role) { r.Parent = "america" })},
		{name: "who shares what", before: keeper(), second: rename, first: deleteOf("rule:emea_desk", "")},
		{name: "another module's", second: deal, first: put("module:account", func(m *Module) { m.Default = LevelEdit })},
		{name: "another field", second: deal, first: put("field:deal.margin", func(f *Field) { f.Levels = nil })},
		{name: "the hierarchy", before: keeper(), second: rename, first: puts(&Team{ID: "new", Name: "New", Managers: []string{"kim"}, Members: []string{"mia"}})},
	} {
		c.as = "rob"
		t.Run(c.name, func(t *testing.T) { c.holds(t) })
	}
}

// TestRightsByProfilesRestOnFewEntities follows the model from what is asked when profiles
// decide to the tuples that are looked at, and by the table of links to the entities whose
// tuples they are. Each is one of those that such a plan reads.
func TestRightsByProfilesRestOnFewEntities(t *testing.T) {
	plan := compiled(t, exampleModules())
	seen := map[string]bool{}
	asked := 0
	for _, typ := range plan.Types() {
		for _, r := range typ.Relations {
			if (Question{Object: graph.ObjectName{Type: typ.Name}, Relation: r.Name}).byProfiles() {
				asked++
				looksAt(r, seen)
			}
		}
	}
	owners := map[string]string{}
	for name, tuples := range seen {
		if !tuples {
			continue
		}
		owners[name] = "nobody"
		object, relation, _ := strings.Cut(name, "#")
		for i := range links {
			if l := &links[i]; l.object == object && l.relation == relation {
				owner, _ := l.subjectType()
				if l.owner == ofObject {
					owner = l.object
				}
				owners[name] = owner
			}
		}
	}
	want := map[string]string{
		// Of the seat that asks, whose tuples name it.
		"org#seat": typeUser, "org#suspended": typeUser, "profile#assignee": typeUser, "shift#assigned": typeUser,
		// Of the profiles that the seat has, and the shifts that it works.
		"org#admin_profile": typeProfile, "org#gated": typeProfile, "setup#holder": typeProfile,
		"org#roster": typeShift, "shift#open": typeShift,
		// Of the organisation, and of what is asked about. Setup permissions are part of the
		// organisation, and never change.
		"org#super_admin": typeOrg, "setup#org": typeOrg, "module#org": typeModule, "field#open": typeField, "field#writer": typeField,
	}
	for _, r := range permissionRelations {
		want["module#"+r.relation] = typeProfile
	}
	if !reflect.DeepEqual(owners, want) || asked < len(permissionRelations)+5 {
		t.Errorf("%d questions look at tuples of %v, want %v: what decides must be read", asked, owners, want)
	}
}

// looksAt gathers the relations whose tuples a question about one looks at.
func looksAt(r *model.Relation, seen map[string]bool) {
	name := r.Type.Name + "#" + r.Name
	if _, known := seen[name]; known {
		return
	}
	seen[name] = false
	var walk func(w *model.Rewrite)
	walk = func(w *model.Rewrite) {
		switch w.Op {
		case model.OpDirect:
			seen[name] = true
			for _, a := range r.Allowed {
				if a.Relation != nil {
					looksAt(a.Relation, seen)
				}
			}
		case model.OpComputed:
			looksAt(w.Relation, seen)
		case model.OpTupleToUserset:
			looksAt(w.Tupleset, seen)
			for _, c := range w.Computed {
				looksAt(c, seen)
			}
		default:
			for _, child := range w.Children {
				walk(child)
			}
		}
	}
	walk(r.Rewrite)
}
