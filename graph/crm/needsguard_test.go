package crm

import (
	"slices"
	"strings"
	"testing"
)

// TestNobodyGivesMoreThanTheyHave names the rights that rob, a mere holder of whatever setup
// permission an edit asks for first, needs besides it.
func TestNobodyGivesMoreThanTheyHave(t *testing.T) {
	const (
		users    = "setup:manage_users#allowed"
		roles    = "setup:manage_roles#allowed"
		profiles = "setup:manage_profiles#allowed"
		modules  = "setup:manage_modules#allowed"
		sharing  = "setup:manage_data_sharing#allowed"
		admin    = "org:acme#admin org:acme#super_admin"
		super    = "org:acme#super_admin"
	)
	give := func(setup string) string { return "setup:" + setup + "#allowed " + admin }
	sharer := func(o *Organisation) {
		o.Profiles = append(o.Profiles, Profile{ID: "sharer", Name: "Sharers", Setup: []Setup{ManageDataSharing, ManageGroups}})
	}
	confidential := func(c Confidentiality) func(o *Organisation) {
		return func(o *Organisation) { o.record("deal", "d2").Confidentiality = c }
	}
	both := func(edits ...func(*Organisation)) func(o *Organisation) {
		return func(o *Organisation) {
			for _, edit := range edits {
				edit(o)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		before func(o *Organisation) // may be nil
		act    func(t *testing.T, d *Draft) error
		want   []string
	}{
		{
			"a profile that says more than its giver's", sharer,
			put("user:kim", func(s *Seat) { s.Profiles = append(s.Profiles, "sharer") }),
			[]string{users, give("manage_data_sharing"), give("manage_groups")},
		},
		{
			"a new user with it", sharer, puts(&Seat{ID: "new", Name: "New", Role: "rep", Profiles: []string{"sharer"}}),
			[]string{users, give("manage_data_sharing"), give("manage_groups")},
		},
		{
			"a login on a seat that has it", both(sharer, func(o *Organisation) { o.seat("kim").Profiles = []string{"sharer"} }),
			put("user:kim", func(s *Seat) { s.Login = "rob@example.org" }),
			[]string{users, give("manage_data_sharing"), give("manage_groups")},
		},
		{
			"the name of a seat that has it", both(sharer, func(o *Organisation) { o.seat("kim").Profiles = []string{"sharer"} }),
			put("user:kim", func(s *Seat) { s.Name = "Kimberly" }),
			[]string{users},
		},
		{
			"holders who come to have it", both(sharer, func(o *Organisation) { o.seat("kim").Profiles = []string{"support"} }),
			func(t *testing.T, d *Draft) error { return d.MoveHolders(key(t, "profile:support"), "sharer") },
			[]string{users, give("manage_data_sharing"), give("manage_groups")},
		},
		{
			"holders who come to have it because theirs goes", both(sharer, func(o *Organisation) { o.seat("kim").Profiles = []string{"support"} }),
			func(t *testing.T, d *Draft) error { return d.Delete(key(t, "profile:support"), "sharer", nil) },
			[]string{profiles, give("manage_data_sharing"), give("manage_groups")},
		},
		{
			"a profile that comes to say more", sharer, put("profile:sharer", func(p *Profile) { p.Setup = append(p.Setup, ManageRoles) }),
			[]string{profiles, give("manage_roles")},
		},
		{
			"a profile that says less", sharer, put("profile:sharer", func(p *Profile) { p.Setup = p.Setup[:1] }),
			[]string{profiles},
		},
		{
			"a profile of one's own", both(sharer, func(o *Organisation) { o.seat("rob").Profiles = []string{"sharer"} }),
			put("profile:sharer", func(p *Profile) { p.Modules = map[string]Permissions{"deal": PermissionViewAll} }),
			[]string{profiles, admin},
		},
		{
			"a profile of one's own, made again", both(sharer, func(o *Organisation) { o.seat("rob").Profiles = []string{"sharer"} }),
			func(t *testing.T, d *Draft) error {
				if err := d.Delete(key(t, "profile:sharer"), "", nil); err != nil {
					return err
				}
				return d.Put(&Profile{ID: "sharer", Name: "Sharers", Tools: []Tool{ToolExport}}, nil)
			},
			[]string{profiles, admin},
		},
		{"one's own role", nil, put("user:rob", func(s *Seat) { s.Role = "america" }), []string{users, admin}},
		{"one's own profiles", sharer, put("user:rob", func(s *Seat) { s.Profiles = []string{"sharer"} }), []string{users, admin}},
		{"one's own name", nil, put("user:rob", func(s *Seat) { s.Name = "Robert" }), []string{users}},
		{"a user in the root role", nil, put("user:kim", func(s *Seat) { s.Role = "ceo" }), []string{users, admin}},
		{
			"the login of a user in the root role", func(o *Organisation) {
				o.Seats = append(o.Seats, Seat{ID: "boss", Name: "Boss", Role: "ceo"})
			},
			put("user:boss", func(s *Seat) { s.Login = "rob" }),
			[]string{users, admin},
		},
		{
			"holders of a role come to the root", nil,
			func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:rep"), "ceo", nil) },
			[]string{roles, admin},
		},
		{
			"all that an administrator owns", both(confidential(Open), func(o *Organisation) { o.seat("mia").Profiles = []string{"administrator"} }),
			func(_ *testing.T, d *Draft) error { return d.TransferAll("mia", "rob") },
			[]string{users, admin},
		},
		{
			"all that the super admin owns", both(confidential(Open), func(o *Organisation) { o.record("deal", "d2").Owner = "ada" }),
			func(_ *testing.T, d *Draft) error { return d.TransferAll("ada", "rob") },
			[]string{users, super},
		},
		{
			"all that somebody owns, and something secret", confidential(Secret),
			func(_ *testing.T, d *Draft) error { return d.TransferAll("mia", "rob") },
			[]string{users, super + " deal:d2#owner"},
		},
		{
			"all that somebody owns, and something restricted", confidential(Restricted),
			func(_ *testing.T, d *Draft) error { return d.TransferAll("mia", "rob") },
			[]string{users, super + " org:acme#admin deal:d2#can_transfer"},
		},
		{
			"a share of something secret, by deletion", func(o *Organisation) {
				r := o.record("deal", "d2")
				r.Confidentiality, r.Shares = Secret, []Share{{To: Party{Kind: HoldersOf, ID: "america"}, Level: LevelView}}
			},
			func(t *testing.T, d *Draft) error { return d.Delete(key(t, "role:america"), "rep", nil) },
			[]string{roles, super + " deal:d2#owner"},
		},
		{
			"a module that is made again with superiors", func(o *Organisation) {
				o.module("deal").NoHierarchy, o.module("deal").Default = true, LevelNone
			},
			func(t *testing.T, d *Draft) error {
				m, _, err := d.Entity(key(t, "module:deal"))
				if err != nil {
					return err
				}
				if err := d.Delete(key(t, "module:deal"), "", nil); err != nil {
					return err
				}
				again := *m.(*Module)
				again.NoHierarchy = false
				return d.Put(&again, nil)
			},
			[]string{modules, sharing},
		},
		{"a record as it is", nil, put("deal:d1", func(*Record) {}), []string{"deal:d1#can_view"}},
		{"a share as it is", nil, func(t *testing.T, d *Draft) error {
			e, _, err := d.Entity(key(t, "deal:d1"))
			if err != nil {
				return err
			}
			return d.Share(refs(t, "deal:d1"), e.(*Record).Shares[:1])
		}, []string{"deal:d1#can_share"}},
		{"the end of a share that is not there", nil, func(t *testing.T, d *Draft) error {
			return d.Unshare(refs(t, "deal:d1"), []Party{{Kind: User, ID: "ada"}})
		}, []string{"deal:d1#can_share"}},
		{"an owner as it is", nil, func(t *testing.T, d *Draft) error { return d.Transfer(refs(t, "deal:d1"), "rob") }, []string{"deal:d1#can_transfer"}},
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
			for _, n := range d.Needs() {
				var line []string
				for _, q := range n.Any {
					line = append(line, q.Object.String()+"#"+q.Relation)
				}
				got = append(got, strings.Join(line, " "))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("needs:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			if len(p.Edits) > 0 {
				checkReads(t, p)
			}
		})
	}
}

// TestMissingParentsAreRefusedAsHiddenOnes shows that the same is said of what is not there
// and of what may not be seen, unless the draft itself makes it.
func TestMissingParentsAreRefusedAsHiddenOnes(t *testing.T) {
	messages := func(account string, also ...Entity) []string {
		d := Manage(t, exampleOrganisation()).Draft()
		d.As("rob")
		for _, e := range append([]Entity{&Record{Module: "deal", ID: "new", Owner: "rob", Parents: []Ref{{"account", account}}}}, also...) {
			if err := d.Put(e, nil); err != nil {
				t.Fatal(err)
			}
		}
		var list []string
		for _, n := range d.Needs() {
			list = append(list, strings.ReplaceAll(n.Message, account, "it"))
		}
		return list
	}
	there, missing := messages("a1"), messages("a9")
	if !slices.Equal(there, missing) || len(there) != 2 {
		t.Errorf("of an account the draft needs %q, of none %q", there, missing)
	}
	if made := messages("a9", &Record{Module: "account", ID: "a9", Owner: "rob"}); slices.ContainsFunc(made, func(m string) bool { return strings.Contains(m, "view") }) {
		t.Errorf("of an account that the draft makes it needs %q", made)
	}
}
