package crm

import (
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// put edits a copy of an entity of the example.
func put[T Entity](text string, edit func(T)) func(t *testing.T, d *Draft) error {
	return func(t *testing.T, d *Draft) error {
		e, _, err := d.Entity(key(t, text))
		if err != nil {
			return err
		}
		edit(e.(T))
		return d.Put(e, nil)
	}
}

// puts makes an entity.
func puts(e Entity) func(t *testing.T, d *Draft) error {
	return func(_ *testing.T, d *Draft) error { return d.Put(e, nil) }
}

// TestNeedsOfEdits names the rights that rob needs, one a line, alternatives on one.
func TestNeedsOfEdits(t *testing.T) {
	const (
		users   = "setup:manage_users#allowed"
		shifts  = "setup:manage_shifts#allowed"
		roles   = "setup:manage_roles#allowed"
		sharing = "setup:manage_data_sharing#allowed"
		admin   = "org:acme#admin org:acme#super_admin"
		super   = "org:acme#super_admin"
		nobody  = ""
	)
	settings := func(edit func(*Head)) func(t *testing.T, d *Draft) error { return put("org:acme", edit) }
	seat := func(id string, edit func(*Seat)) func(t *testing.T, d *Draft) error { return put("user:"+id, edit) }
	deal := func(edit func(*Record)) func(t *testing.T, d *Draft) error { return put("deal:d1", edit) }
	everyone := Share{To: Party{Kind: Everyone}, Level: LevelView}
	for _, tt := range []struct {
		name   string
		before func(o *Organisation) // may be nil
		act    func(t *testing.T, d *Draft) error
		want   []string
	}{
		{"nothing", nil, seat("kim", func(*Seat) {}), nil},
		{"the name", nil, settings(func(h *Head) { h.Name = "X" }), []string{admin}},
		{"the super admin", nil, settings(func(h *Head) { h.SuperAdmin = "mia" }), []string{super}},
		{"the hierarchy", nil, settings(func(h *Head) { h.Settings.Hierarchy = ByReporting }), []string{roles}},
		{"who reaches the non-reporting", nil, settings(func(h *Head) { h.Settings.NonReportingByRole = true }), []string{roles}},
		{"how many shifts there may be", nil, settings(func(h *Head) { h.Settings.MaxShifts = 50 }), []string{nobody}},
		{"what shares do", nil, settings(func(h *Head) { h.Settings.KeepShares, h.Settings.AddingNeedsEdit = true, true }), []string{sharing}},
		{"assigning", nil, settings(func(h *Head) { h.Settings.Assign = AssignOnDuty }), []string{users}},
		{"login hours", nil, settings(func(h *Head) { h.Settings.LoginHours = true }), []string{users}},
		{"business hours", nil, settings(func(h *Head) {
			h.Settings.BusinessHours = &BusinessHours{}
			for i := range h.Settings.BusinessHours.Week {
				h.Settings.BusinessHours.Week[i] = []Window{{Span: Span{0, day}}}
			}
		}), []string{shifts}},

		{"a new user", nil, puts(&Seat{ID: "new", Name: "New", Role: "rep"}), []string{users}},
		{"a new user with a shift", nil, puts(&Seat{ID: "new", Name: "New", Role: "rep", Shifts: []Assignment{{Shift: "day"}}}), []string{users, shifts}},
		{"a user's shift", nil, seat("rob", func(s *Seat) { s.Shifts[0].Shift = "night" }), []string{shifts}},
		{"a user's leave and role", nil, seat("kim", func(s *Seat) { s.Leave, s.Role = []Period{{From: noon}}, "america" }), []string{users, shifts}},
		{"a user goes", nil, func(t *testing.T, d *Draft) error { return d.Delete(key(t, "user:rob"), "kim", nil) }, []string{users}},
		{"a user becomes an administrator", nil, seat("kim", func(s *Seat) { s.Profiles = []string{"administrator"} }), []string{users, admin}},
		{
			"an administrator no more", func(o *Organisation) { o.seat("kim").Profiles = []string{"administrator"} },
			seat("kim", func(s *Seat) { s.Profiles = nil }),
			[]string{users, admin},
		},
		{
			"an administrator's leave", func(o *Organisation) { o.seat("kim").Profiles = []string{"administrator"} },
			seat("kim", func(s *Seat) { s.Leave = []Period{{From: noon}} }),
			[]string{shifts, admin},
		},
		{"the super admin's seat", nil, seat("ada", func(s *Seat) { s.Name = "X" }), []string{users, super}},

		{"a role", nil, put("role:rep", func(r *Role) { r.Parent = "america" }), []string{roles}},
		{"a role goes", nil, func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:america"), "rep", nil) }, []string{roles}},
		{
			"an administrator's role goes", func(o *Organisation) { o.seat("rob").Profiles = []string{"administrator"} },
			func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:rep"), "america", nil) },
			[]string{roles, admin},
		},
		{"a profile", nil, put("profile:support", func(p *Profile) { p.Gated = false }), []string{"setup:manage_profiles#allowed"}},
		{"an administrator profile", nil, put("profile:administrator", func(p *Profile) { p.Name = "X" }), []string{"setup:manage_profiles#allowed", admin}},
		{"a profile becomes one of administrators", nil, put("profile:support", func(p *Profile) { p.Administrator = true }), []string{"setup:manage_profiles#allowed", admin}},
		{"a module", nil, puts(&Module{ID: "task", Name: "Tasks", Kind: Standard}), []string{"setup:manage_modules#allowed"}},
		{"a module that is open", nil, puts(&Module{ID: "task", Name: "Tasks", Kind: Standard, Default: LevelView}), []string{sharing, "setup:manage_modules#allowed"}},
		{"the default of a module", nil, put("module:deal", func(m *Module) { m.Default = LevelView }), []string{sharing}},
		{"no superiors in a module", nil, put("module:deal", func(m *Module) { m.NoHierarchy = true }), []string{sharing}},
		{"a field", nil, put("field:deal.margin", func(f *Field) { f.Levels = nil }), []string{"setup:manage_modules#allowed"}},
		{"a rule", nil, put("rule:emea_desk", func(r *Rule) { r.Disabled = true }), []string{sharing}},
		{"a group", nil, put("group:desk", func(g *Group) { g.Members = nil }), []string{"setup:manage_groups#allowed"}},
		{"a team", nil, put("team:tiger", func(m *Team) { m.Members = nil }), []string{"setup:manage_groups#allowed"}},
		{"a shift", nil, put("shift:day", func(s *Shift) { s.Hours.Zone = "UTC" }), []string{shifts}},
		{"holders move", func(o *Organisation) { o.seat("kim").Role = "america" }, func(t *testing.T, d *Draft) error { return d.MoveHolders(key(t, "role:america"), "rep") }, []string{users}},
		{"holders of an administrator profile move", nil, func(t *testing.T, d *Draft) error {
			return d.MoveHolders(key(t, "profile:support"), "administrator")
		}, []string{users, admin}},

		{"a record of one's own", nil, puts(&Record{Module: "deal", ID: "new", Owner: "rob", Confidentiality: Secret}), []string{"module:deal#can_create"}},
		{"a record below another, with fields and a share", nil, puts(&Record{
			Module: "deal", ID: "new", Owner: "rob", Parents: []Ref{{"account", "a1"}},
			Fields: value.Map{"amount": int64(1), "of no field": true}, Shares: []Share{everyone},
		}), []string{
			"module:deal#can_create", "account:a1#can_view", "module:deal#p_share", "field:deal.amount#can_write",
		}},
		{"a record of another's", nil, puts(&Record{Module: "deal", ID: "new", Owner: "mia"}), []string{
			"module:deal#can_create", users + " module:deal#p_transfer",
		}},
		{"a secret one of another's", nil, puts(&Record{Module: "deal", ID: "new", Owner: "mia", Confidentiality: Secret}), []string{
			"module:deal#can_create", users + " module:deal#p_transfer", super,
		}},
		{"a note", nil, puts(&Record{Module: "note", ID: "new", Owner: "rob", Parents: []Ref{{"deal", "d1"}}}), []string{
			"module:note#can_create", "deal:d1#can_add_note",
		}},
		{"a note of another's", nil, puts(&Record{Module: "note", ID: "new", Owner: "mia", Parents: []Ref{{"deal", "d1"}}}), []string{
			"module:note#can_create", "deal:d1#can_add_note", users,
		}},
		{"a record and a note on it", nil, func(_ *testing.T, d *Draft) error {
			if err := d.Put(&Record{Module: "deal", ID: "new", Owner: "rob"}, nil); err != nil {
				return err
			}
			return d.Put(&Record{Module: "note", ID: "new", Owner: "rob", Parents: []Ref{{"deal", "new"}}}, nil)
		}, []string{"module:deal#can_create", "module:note#can_create"}},
		{"a new record that is shared and given away", nil, func(_ *testing.T, d *Draft) error {
			if err := d.Put(&Record{Module: "deal", ID: "new", Owner: "rob"}, nil); err != nil {
				return err
			}
			if err := d.Share([]Ref{{"deal", "new"}}, []Share{everyone}); err != nil {
				return err
			}
			return d.Transfer([]Ref{{"deal", "new"}}, "mia")
		}, []string{"module:deal#can_create", "module:deal#p_share", users + " module:deal#p_transfer"}},
		{"fields", nil, deal(func(r *Record) { r.Fields = value.Map{"stage": "won", "x": int64(1)} }), []string{
			"deal:d1#can_edit", "field:deal.amount#can_write", "field:deal.stage#can_write",
		}},
		{"no other field", nil, deal(func(r *Record) { r.Fields["y"] = int64(1) }), []string{"deal:d1#can_edit"}},
		{"a parent", nil, deal(func(r *Record) { r.Parents = nil }), []string{"deal:d1#can_edit"}},
		{"confidentiality", nil, deal(func(r *Record) { r.Confidentiality = Secret }), []string{"org:acme#super_admin deal:d1#owner"}},
		{"a share", nil, deal(func(r *Record) { r.Shares[0].Level = LevelFull }), []string{"deal:d1#can_share"}},
		{"an owner", nil, deal(func(r *Record) { r.Owner, r.Shares = "mia", nil }), []string{"deal:d1#can_transfer"}},
		{"an owner, and shares that stay", nil, deal(func(r *Record) { r.Owner = "mia" }), []string{"deal:d1#can_transfer", "deal:d1#can_share"}},
		{
			"an owner where shares stay", func(o *Organisation) { o.Settings.KeepShares = true },
			deal(func(r *Record) { r.Owner = "mia" }),
			[]string{"deal:d1#can_transfer"},
		},
		{"who wrote a note", nil, put("note:n1", func(r *Record) { r.Owner = "rob" }), []string{users}},
		{"a record goes", nil, func(t *testing.T, d *Draft) error { return d.Delete(key(t, "deal:d1"), "", nil) }, []string{"deal:d1#can_delete"}},
		{"records to a subordinate", func(o *Organisation) { o.Settings.Assign = AssignSubordinates }, func(t *testing.T, d *Draft) error {
			return d.Transfer(refs(t, "deal:d1"), "kim")
		}, []string{"deal:d1#can_transfer", admin + " user:kim#superior"}},
		{"records to oneself", func(o *Organisation) { o.Settings.Assign = AssignSubordinates }, func(t *testing.T, d *Draft) error {
			return d.Transfer(refs(t, "deal:d2"), "rob")
		}, []string{"deal:d2#can_transfer"}},
		{"records to who is on duty", func(o *Organisation) {
			o.Settings.Assign = AssignOnDuty
			o.seat("mia").Shifts = []Assignment{{Shift: "day", Period: Period{Until: noon}}, {Shift: "night", Period: Period{From: noon}}}
		}, func(t *testing.T, d *Draft) error {
			return d.Transfer(refs(t, "deal:d1"), "mia")
		}, []string{"deal:d1#can_transfer", admin + " shift:day#on_duty@mia shift:night#on_duty@mia"}},
		{"all of another's", func(o *Organisation) { o.record("deal", "d2").Confidentiality = Open }, func(_ *testing.T, d *Draft) error {
			return d.TransferAll("mia", "rob")
		}, []string{users}},
		{"all of one's own", nil, func(_ *testing.T, d *Draft) error { return d.TransferAll("rob", "mia") }, []string{
			"account:a1#can_transfer", "deal:d1#can_transfer", "forecast:f1#can_transfer", "import:i1#can_transfer",
		}},
		{"all of one's own, who wrote a note", func(o *Organisation) {
			o.Records = []Record{{Module: "account", ID: "a1", Owner: "rob"}, {Module: "note", ID: "n1", Owner: "rob", Parents: []Ref{{"account", "a1"}}}}
		}, func(_ *testing.T, d *Draft) error { return d.TransferAll("rob", "mia") }, []string{"account:a1#can_transfer"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := exampleOrganisation()
			if tt.before != nil {
				tt.before(o)
			}
			d := Manage(t, o).Draft()
			d.As("rob")
			if err := tt.act(t, d); err != nil {
				t.Fatal(err)
			}
			p, err := d.Plan()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, n := range p.Needs {
				var line []string
				for _, q := range n.Any {
					text := q.Object.String() + "#" + q.Relation
					if q.User != "" {
						text += "@" + q.User
					}
					line = append(line, text)
				}
				got = append(got, strings.Join(line, " "))
				if n.Message == "" {
					t.Errorf("need %s has no message", line)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("needs:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if len(p.Edits) == 0 {
				return
			}
			checkReads(t, p)
		})
	}
}

// checkReads looks for the records that questions are about, and those above them; for the
// scope of access if a question is about a record or a person; and else for the seat that asks.
func checkReads(t *testing.T, p *Plan) {
	t.Helper()
	reads := func(key graph.ObjectName) bool {
		return slices.ContainsFunc(p.Read, func(r DocumentVersion) bool { return r.Entity == key })
	}
	structure := false
	for _, n := range p.Needs {
		for _, q := range n.Any {
			if isRecord(q.Object) && !reads(q.Object) {
				t.Errorf("%s decides, and is not read", q.Object)
			}
			if q.Object.String() == "deal:d1" && q.Relation != relOwner && !reads(entity("account", "a1")) {
				t.Errorf("%s decides, and what is above it is not read", q.Object)
			}
			structure = structure || isRecord(q.Object) || q.Object.Type == typeUser || q.Object.Type == typeShift
		}
	}
	if access := slices.Contains(p.Requires, ScopeVersion{Scope: "access", Version: 1}); access != structure {
		t.Errorf("Requires = %v, want access: %v", p.Requires, structure)
	}
	if !structure && (!reads(entity(typeUser, "rob")) || !reads(entity(typeOrg, "acme"))) {
		t.Errorf("rob and the organisation decide, and are not read: %v", p.Read)
	}
}

// TestSharesAreSigned shows that nobody signs for another.
func TestSharesAreSigned(t *testing.T) {
	d := Manage(t, exampleOrganisation()).Draft()
	d.As("mia")
	err := put("deal:d1", func(r *Record) {
		r.Shares[0].GrantedBy = "ada" // who did not
		r.Shares = append(r.Shares, Share{To: Party{Kind: User, ID: "kim"}, Level: LevelView, GrantedBy: "ada"})
	})(t, d)
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := d.Entity(key(t, "deal:d1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range e.(*Record).Shares {
		if want := map[PartyKind]string{HoldersOf: "rob", User: "mia"}[s.To.Kind]; s.GrantedBy != want {
			t.Errorf("the share with %s is by %q, want %q", s.To, s.GrantedBy, want)
		}
	}
}
