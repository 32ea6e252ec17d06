package crm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// key parses the key of an entity.
func key(t testing.TB, text string) graph.ObjectName {
	t.Helper()
	k, err := graph.ParseObject(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func refs(t testing.TB, texts ...string) []Ref {
	t.Helper()
	var list []Ref
	for _, text := range texts {
		k := key(t, text)
		list = append(list, Ref{Module: k.Type, ID: k.ID})
	}
	return list
}

func (o *Organisation) group(id string) *Group {
	return at(o.Groups, func(g *Group) bool { return g.ID == id })
}

func version(v uint64) *uint64 { return &v }

// TestActs shows what acts do to the example, as plain Go would do it.
func TestActs(t *testing.T) {
	for _, tt := range []struct {
		name    string
		before  func(o *Organisation) // may be nil
		act     func(t *testing.T, d *Draft) error
		want    func(o *Organisation)
		tuples  int
		dropped []string
	}{
		{
			name: "a role with holder, child and places", tuples: 4 + 4 + 4 + 2 + 2,
			before: func(o *Organisation) {
				o.Roles = append(o.Roles, Role{ID: "junior", Name: "Junior", Parent: "rep"})
				o.role("rep").ForecastManagers = nil
				o.Rules[0].Target = Party{Kind: HoldersOf, ID: "rep"}
			},
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:rep"), "agent", nil) },
			want: func(o *Organisation) {
				o.seat("rob").Role, o.role("junior").Parent = "agent", "agent"
				o.group("all").Members[0].ID, o.Rules[0].Target.ID = "agent", "agent"
				o.Roles = remove(o.Roles, func(r *Role) bool { return r.ID == "rep" })
			},
		},
		{
			name: "a role that a record is shared with, and with another", tuples: 4 + 3 + 2 + 1,
			before: func(o *Organisation) {
				r := o.record("deal", "d1")
				r.Shares = append(r.Shares, Share{To: Party{Kind: HoldersOf, ID: "america"}, Level: LevelEdit})
			},
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:agent"), "america", nil) },
			want: func(o *Organisation) {
				o.seat("kim").Role = "america"
				r := o.record("deal", "d1")
				// The first of them stays, with all that either gives.
				r.Shares = []Share{{
					To: Party{Kind: HoldersOf, ID: "america"}, Level: LevelEdit, Related: true, Reason: "holiday cover", GrantedBy: "rob",
				}}
				o.Roles = remove(o.Roles, func(r *Role) bool { return r.ID == "agent" })
			},
		},
		{
			name: "a profile", tuples: 2 + 1 + 2 + 3,
			before: func(o *Organisation) {
				o.seat("mia").Profiles = []string{"standard", "support"}
			},
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "profile:support"), "standard", nil) },
			want: func(o *Organisation) {
				o.seat("kim").Profiles, o.seat("mia").Profiles = []string{"standard"}, []string{"standard"}
				// Nobody is left whom the field is restricted for.
				o.field("deal.margin").Levels = nil
				o.Profiles = remove(o.Profiles, func(p *Profile) bool { return p.ID == "support" })
			},
		},
		{
			name: "a seat that owns, leads and manages", tuples: -1,
			before: func(o *Organisation) {
				o.seat("rob").Manager = "mia"
				o.group("desk").Members = append(o.group("desk").Members, Party{Kind: User, ID: "mia"})
			},
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "user:mia"), "ada", nil) },
			want: func(o *Organisation) {
				o.role("rep").ForecastManagers = []string{"ada"}
				o.seat("rob").Manager = "ada"
				o.Teams[0].Managers = []string{"ada"}
				o.group("desk").Members[1].ID = "ada"
				o.record("deal", "d2").Owner = "ada"
				o.Seats = remove(o.Seats, func(s *Seat) bool { return s.ID == "mia" })
			},
		},
		{
			name: "a manager for one who reports to them", tuples: -1,
			before: func(o *Organisation) { o.seat("rob").Manager = "mia" },
			act:    func(t *testing.T, d *Draft) error { return d.Delete(key(t, "user:mia"), "rob", nil) },
			want: func(o *Organisation) {
				o.role("rep").ForecastManagers, o.Teams[0].Managers = []string{"rob"}, []string{"rob"}
				o.seat("rob").Manager = "ada"
				o.record("deal", "d2").Owner = "rob"
				o.Seats = remove(o.Seats, func(s *Seat) bool { return s.ID == "mia" })
			},
		},
		{
			name: "a group inside another", tuples: -1,
			before: func(o *Organisation) {
				o.Groups = append(o.Groups, Group{ID: "other", Name: "Other"})
				o.group("all").Members = append(o.group("all").Members, Party{Kind: MembersOf, ID: "other"})
			},
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "group:desk"), "other", nil) },
			want: func(o *Organisation) {
				o.Rules[0].Target.ID = "other"
				o.group("all").Members = slices.DeleteFunc(o.group("all").Members, func(p Party) bool { return p.ID == "desk" })
				o.Groups = remove(o.Groups, func(g *Group) bool { return g.ID == "desk" })
			},
		},
		{
			name: "a shift", tuples: 4 + 1,
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "shift:day"), "night", nil) },
			want: func(o *Organisation) {
				o.seat("rob").Shifts[0].Shift = "night"
				o.Shifts = remove(o.Shifts, func(s *Shift) bool { return s.ID == "day" })
			},
		},
		{
			name: "a record with what is below it", tuples: 2 + 1 + 0,
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "account:a1"), "", nil) },
			want: func(o *Organisation) {
				o.record("deal", "d1").Parents = nil
				o.Records = remove(o.Records, func(r *Record) bool { return r.Module == "account" })
			},
		},
		{
			name: "a record with its notes", tuples: -1,
			act: func(t *testing.T, d *Draft) error { return d.Delete(key(t, "deal:d1"), "", nil) },
			want: func(o *Organisation) {
				o.Records = remove(o.Records, func(r *Record) bool { return r.ID == "d1" || r.Module == "note" })
			},
		},
		{
			name: "shares, one more and one that is replaced", tuples: 4 + 2,
			act: func(t *testing.T, d *Draft) error {
				return d.Share(refs(t, "deal:d1", "deal:d2"), []Share{
					{To: Party{Kind: HoldersOf, ID: "agent"}, Level: LevelEdit}, {To: Party{Kind: Everyone}, Level: LevelView},
				})
			},
			want: func(o *Organisation) {
				for _, id := range []string{"d1", "d2"} {
					o.record("deal", id).Shares = []Share{
						{To: Party{Kind: HoldersOf, ID: "agent"}, Level: LevelEdit}, {To: Party{Kind: Everyone}, Level: LevelView},
					}
				}
			},
		},
		{
			name: "no share with one party", tuples: 2,
			act: func(t *testing.T, d *Draft) error {
				return d.Unshare(refs(t, "deal:d1", "deal:d2"), []Party{{Kind: Everyone}, {Kind: HoldersOf, ID: "agent"}})
			},
			want: func(o *Organisation) { o.record("deal", "d1").Shares = nil },
		},
		{
			name: "a transfer that drops shares", tuples: 4,
			act: func(t *testing.T, d *Draft) error { return d.Transfer(refs(t, "deal:d1", "deal:d2"), "mia") },
			want: func(o *Organisation) {
				o.record("deal", "d1").Owner, o.record("deal", "d1").Shares = "mia", nil
			},
			dropped: []string{"deal:d1 role agent"},
		},
		{
			name: "a transfer that keeps shares", tuples: 2,
			before: func(o *Organisation) { o.Settings.KeepShares = true },
			act:    func(t *testing.T, d *Draft) error { return d.Transfer(refs(t, "deal:d1"), "mia") },
			want:   func(o *Organisation) { o.record("deal", "d1").Owner = "mia" },
		},
		{
			name: "all that one owns", tuples: 4*2 + 2,
			act: func(t *testing.T, d *Draft) error { return d.TransferAll("rob", "kim") },
			want: func(o *Organisation) {
				for i := range o.Records {
					if o.Records[i].Owner == "rob" {
						o.Records[i].Owner, o.Records[i].Shares = "kim", nil
					}
				}
			},
			dropped: []string{"deal:d1 role agent"},
		},
		{
			name: "the holders of a role", tuples: 4,
			act:  func(t *testing.T, d *Draft) error { return d.MoveHolders(key(t, "role:rep"), "america") },
			want: func(o *Organisation) { o.seat("rob").Role = "america" },
		},
		{
			name: "the holders of a profile", tuples: 2 + 2 + 1,
			before: func(o *Organisation) {
				o.seat("kim").Profiles = []string{"standard", "support"}
			},
			act: func(t *testing.T, d *Draft) error { return d.MoveHolders(key(t, "profile:standard"), "support") },
			want: func(o *Organisation) {
				for _, id := range []string{"kim", "mia", "rob"} {
					o.seat(id).Profiles = []string{"support"}
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := exampleOrganisation()
			if tt.before != nil {
				tt.before(from)
			}
			from.Sort()
			to := from.Copy()
			s := Manage(t, from)
			d := s.Draft()
			if err := tt.act(t, d); err != nil {
				t.Fatal(err)
			}
			p, err := d.Plan()
			if err != nil {
				t.Fatal(err)
			}
			tt.want(to)
			sameTuples(t, Difference(Encode(from), Encode(to)), p.Changes)
			if n := p.Changes.Tuples(); tt.tuples >= 0 && n != tt.tuples {
				t.Errorf("%d tuples, want %d", n, tt.tuples)
			}
			var dropped []string
			for _, s := range p.Dropped {
				dropped = append(dropped, fmt.Sprint(s.Record, " ", s.Share.To))
			}
			if !slices.Equal(dropped, tt.dropped) {
				t.Errorf("Dropped = %q, want %q", dropped, tt.dropped)
			}
			if err := s.Commit(t, p); err != nil {
				t.Fatal(err)
			}
			s.Holds(t, to)
		})
	}
}

// TestWhoGivesAllKeepsTheirWords gives away all that rob owns, who also wrote a note: by himself
// and by somebody who clears up behind him.
func TestWhoGivesAllKeepsTheirWords(t *testing.T) {
	for as, author := range map[string]string{"rob": "rob", "ada": "kim", "": "kim"} {
		o := exampleOrganisation()
		o.record("note", "n1").Owner = "rob"
		s := Manage(t, o)
		d := s.Draft()
		if as != "" {
			d.As(as)
		}
		if err := d.TransferAll("rob", "kim"); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t, p); err != nil {
			t.Fatal(err)
		}
		for i := range o.Records {
			if r := &o.Records[i]; r.Owner == "rob" {
				r.Owner, r.Shares = "kim", nil
			}
		}
		o.record("note", "n1").Owner = author
		o.Sort()
		s.Holds(t, o)
	}
}

// TestActsThatAreRefused names the complaint, which some acts make at once.
func TestActsThatAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		act  func(t *testing.T, d *Draft) error
		want string
	}{
		{"the root role", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:ceo"), "rep", nil) }, "role:ceo: it is the root"},
		{"a role without another", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:rep"), "", nil) }, "role:rep: name a role that takes over"},
		{"a role for one below it", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:manager"), "rep", nil) }, `the role "rep" is below it`},
		{"a role for itself", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:rep"), "rep", nil) }, "role:rep: it cannot take over from itself"},
		{"a role for none", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:rep"), "nobody", nil) }, `the role "nobody", which is to take over, does not exist`},
		{"a rule for another", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "rule:emea_desk"), "x", nil) }, "rule:emea_desk: nothing can take over from it"},
		{"the super admin", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "user:ada"), "mia", nil) }, "user:ada: it is the super admin's"},
		{"the last administrator profile", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "profile:administrator"), "standard", nil) }, "profile:administrator: it is the last administrator profile"},
		{"a module with records", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "module:deal"), "", nil) }, "module:deal: it cannot be deleted"},
		{"who owns records", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "user:rob"), "", nil) }, "user:rob: it cannot be deleted"},
		{"the organisation", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "org:acme"), "", nil) }, "org:acme: an organisation is not deleted"},
		{"nothing", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "team:none"), "", nil) }, "team:none: it does not exist"},
		{"a tool", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "tool:export"), "", nil) }, "tool:export: it does not exist"},
		{"a claim", func(t *testing.T, d *Draft) error { return d.Delete(key(t, "name:role/rep"), "", nil) }, "name:role/rep: it does not exist"},
		{"to share nothing", func(t *testing.T, d *Draft) error {
			return d.Share(refs(t, "deal:none"), []Share{{To: Party{Kind: Everyone}, Level: LevelView}})
		}, "deal:none: it does not exist"},
		{"to share a note", func(t *testing.T, d *Draft) error {
			return d.Share(refs(t, "note:n1"), []Share{{To: Party{Kind: Everyone}, Level: LevelView}})
		}, "note:n1: records of a child module are neither shared nor confidential"},
		{"to share with nobody", func(t *testing.T, d *Draft) error {
			return d.Share(refs(t, "deal:d1"), []Share{{To: Party{Kind: 9}, Level: LevelView}})
		}, "deal:d1: a share's recipient is of unknown kind 9"},
		{"to transfer to nobody", func(t *testing.T, d *Draft) error { return d.Transfer(refs(t, "deal:d1"), "zoe") }, `deal:d1: the owner "zoe" has no seat`},
		{"to transfer from nobody", func(_ *testing.T, d *Draft) error { return d.TransferAll("zoe", "rob") }, "user:zoe: it does not exist"},
		{"holders of a group", func(t *testing.T, d *Draft) error { return d.MoveHolders(key(t, "group:desk"), "all") }, "group:desk: only roles and profiles have holders"},
		{"holders for no role", func(t *testing.T, d *Draft) error { return d.MoveHolders(key(t, "role:rep"), "x") }, "role:x: it does not exist"},
		{"another organisation", func(_ *testing.T, d *Draft) error { return d.Put(&Head{ID: "other", Name: "Other"}, nil) }, "org:other: the organisation is org:acme"},
		{"a record that would be a seat", func(_ *testing.T, d *Draft) error {
			return d.Put(&Record{Module: "user", ID: "ada", Owner: "rob"}, nil)
		}, `user:ada: "user" is no module`},
		{"an id that is none", func(_ *testing.T, d *Draft) error { return d.Put(&Team{ID: "a b", Name: "X"}, nil) }, "team:a b: "},
		{"a field of a profile that goes", func(t *testing.T, d *Draft) error {
			if err := d.Delete(key(t, "profile:support"), "standard", nil); err != nil {
				return err
			}
			return d.Put(exampleOrganisation().field("deal.margin"), nil)
		}, `field:deal.margin: profile "support" is deleted`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Manage(t, exampleOrganisation()).Draft()
			err := tt.act(t, d)
			if err == nil {
				_, err = d.Plan()
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestVersionsOfEntities(t *testing.T) {
	s := Manage(t, exampleOrganisation())
	rep := &Role{ID: "rep", Name: "Rep", Parent: "emea"}
	conflicts := func(err error, want, version uint64) {
		t.Helper()
		c := (*ConflictError)(nil)
		if !errors.As(err, &c) || c.Want != want || c.Version != version {
			t.Errorf("error %v, want a conflict of %d with %d", err, want, version)
		}
	}
	conflicts(s.Draft().Put(rep, version(0)), 0, 1)
	conflicts(s.Draft().Put(rep, version(2)), 2, 1)
	conflicts(s.Draft().Put(&Role{ID: "new"}, version(1)), 1, 0)
	conflicts(s.Draft().Delete(rep.Key(), "emea", version(2)), 2, 1)
	for v := uint64(1); v < 4; v++ {
		d := s.Draft()
		rep.Name = fmt.Sprint("Rep ", v)
		if err := d.Put(rep, version(v)); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t, p); err != nil {
			t.Fatal(err)
		}
		if e, now, err := s.Draft().Entity(rep.Key()); err != nil || now != v+1 || e.(*Role).Name != rep.Name {
			t.Errorf("Entity = %v, %d, %v, want %s of version %d", e, now, err, rep.Name, v+1)
		}
	}
}

// TestOfTwoWhoTakeOneNameOneHasIt plans two takings of a name at one state.
func TestOfTwoWhoTakeOneNameOneHasIt(t *testing.T) {
	s := Manage(t, exampleOrganisation())
	var plans []*Plan
	for _, e := range []Entity{
		&Role{ID: "a", Name: "Straße", Parent: "ceo"}, &Role{ID: "b", Name: "STRASSE", Parent: "ceo"},
	} {
		d := s.Draft()
		if err := d.Put(e, nil); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan()
		if err != nil {
			t.Fatal(err)
		}
		plans = append(plans, p)
	}
	if err := s.Commit(t, plans[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t, plans[1]); err == nil || !strings.Contains(err.Error(), "name:role/strasse") {
		t.Errorf("the second: %v, want that the name is taken", err)
	}
	// Names can be swapped in one plan.
	d := s.Draft()
	for _, e := range []Entity{
		&Role{ID: "a", Name: "EMEA", Parent: "ceo"}, &Role{ID: "emea", Name: "Straße", Parent: "manager"},
	} {
		if err := d.Put(e, nil); err != nil {
			t.Fatal(err)
		}
	}
	p, err := d.Plan()
	if err != nil || p.Changes.Tuples() != 0 || len(p.Changes.DeleteDocuments) > 0 {
		t.Fatalf("the swap is %+v, %v", p, err)
	}
	if err := s.Commit(t, p); err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(s, s.plan); err != nil {
		t.Error(err)
	}
}

// TestModelsOfPlans shows when a plan needs another model, and that none allows less than
// there is.
func TestModelsOfPlans(t *testing.T) {
	s := Manage(t, exampleOrganisation())
	change := func(what string, model bool, edit func(d *Draft) error) {
		t.Helper()
		d := s.Draft()
		if err := edit(d); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan()
		if err != nil {
			t.Fatal(err)
		}
		if (p.Model != nil) != model {
			t.Errorf("%s: another model %v, want %v", what, p.Model != nil, model)
		}
		if err := s.Commit(t, p); err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(s, s.plan); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	task := &Module{ID: "task", Name: "Tasks", Kind: Standard, Parents: []string{"deal", "account"}}
	change("a new module with a record", true, func(d *Draft) error {
		if err := d.Put(task, nil); err != nil {
			return err
		}
		return d.Put(&Record{Module: "task", ID: "t1", Owner: "rob", Parents: []Ref{{"deal", "d1"}}}, nil)
	})
	change("a new name", false, func(d *Draft) error { task.Name = "Jobs"; return d.Put(task, nil) })
	change("a module below one more", true, func(d *Draft) error {
		task.Parents = append(task.Parents, "task")
		return d.Put(task, nil)
	})
	change("the record goes, and a parent module", true, func(d *Draft) error {
		if err := d.Delete(key(t, "task:t1"), "", nil); err != nil {
			return err
		}
		task.Parents = []string{"account"}
		return d.Put(task, nil)
	})
	change("the module goes", false, func(d *Draft) error { return d.Delete(task.Key(), "", nil) })
	change("the module comes again as another kind", true, func(d *Draft) error {
		return d.Put(&Module{ID: "task", Name: "Tasks", Kind: Child, Parents: []string{"deal"}}, nil)
	})
}

// TestChangesAreBounded makes one that no command could hold.
func TestChangesAreBounded(t *testing.T) {
	s := Manage(t, exampleOrganisation())
	d := s.Draft()
	for i := range 3500 {
		r := &Record{Module: "deal", ID: fmt.Sprint("many", i), Owner: "kim", Fields: value.Map{"n": int64(i)}}
		if err := d.Put(r, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Plan(); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "10500 tuples and documents") {
		t.Errorf("Plan() = %v, want ErrTooLarge", err)
	}
}
