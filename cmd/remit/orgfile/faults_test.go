package orgfile_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/cmd/remit/orgfile"
	"github.com/remit-authz/remit/graph/crm"
)

// badFiles are refused by the parser. The schema refuses them, too, unless it cannot see
// the fault.
var badFiles = []struct {
	name, text, want string
	unseen           bool
}{
	{"empty", "", "1:1: the file is empty", false},
	{"only a comment", "# nothing\n", "1:1: the file is empty", false},
	{"a list", "- a\n", "1:1: an organisation file must be a mapping, not a list", false},
	{"a text", "acme\n", "1:1: an organisation file must be a mapping, not \"acme\"", false},
	{"no YAML", "roles:\n\tceo: {}\n", "2:2: not YAML: found character that cannot start any token", true},
	{"two documents", "roles: {}\n---\nroles: {}\n", "2:1: a second document begins here; an organisation file has one", true},
	{"a number of shifts in words", "organisation: {id: a, name: A, super_admin: b, max_shifts: many}\n", "1:60: max_shifts must be a whole number such as 50, not \"many\"", false},
	{"a number of shifts below none", "organisation: {id: a, name: A, super_admin: b, max_shifts: -1}\n", "1:60: max_shifts must be a whole number such as 50, not \"-1\"", false},
	{"an unknown section", "role: {}\n", "1:1: unknown key \"role\" in an organisation file; known are organisation, modules, profiles, fields, roles, shifts, users, groups, teams, rules, records, tests", false},
	{"a section without content", "roles:\n", "1:7: roles has no content; write {} for none, or leave the key out", false},
	{"a section of another kind", "roles: []\n", "1:8: roles must be a mapping, not a list", false},
	{"tests that are a mapping", "tests: {}\n", "1:8: tests must be a list, not a mapping", false},
	{"a section twice", "roles: {}\nroles: {}\n", "2:1: key \"roles\" was given already, in line 1", true},
	{"an id twice", "roles:\n  ceo: {name: CEO}\n  ceo: {name: CEO}\n", "3:3: key \"ceo\" was given already, in line 2", true},
	{"an entity without content", "roles:\n  ceo:\n", "2:7: a role has no content; write {} for none, or leave the key out", false},
	{"an entity that is a text", "roles:\n  ceo: CEO\n", "2:8: a role must be a mapping, not \"CEO\"", false},
	{"an unknown key", "roles:\n  ceo: {name: CEO, reports_to: x}\n", "2:20: unknown key \"reports_to\" in a role; known are name, parent, peers, forecast_managers", false},
	{"a key that is missing", "users:\n  ada: {name: Ada}\n", "2:8: a user needs role", false},
	{
		"several at once", "roles:\n  ceo: {name: true}\nusers:\n  ada: {name: [], role: ~}\nx: 1\n",
		"2:15: name must be a text, not \"true\", which YAML takes for something else: write it in quotes\nacme.org.yaml:4:15: name must be a text, not a list\nacme.org.yaml:4:25: role must be a text, not nothing\nacme.org.yaml:5:1: unknown key \"x\" in an organisation file; known are organisation, modules, profiles, fields, roles, shifts, users, groups, teams, rules, records, tests", false,
	},
	{"a flag in a word", "users: {a: {name: A, role: r, suspended: yes}}\n", "1:42: suspended must be true or false, not \"yes\"", false},
	{"a flag by its tag", "users: {a: {name: A, role: r, suspended: !!bool yes}}\n", "1:42: suspended must be true or false, not \"yes\"", true},
	{"a key that is a list", "roles: {? [ceo] : {name: CEO}}\n", "1:11: a key must be a text, not a list", true},
	{
		"a share until the beginning of time", "records: {m: {a: {owner: x, shares: {user:a: {level: view, expires_at: 0001-01-01T00:00:00Z}}}}}\n",
		"1:72: expires_at is \"0001-01-01T00:00:00Z\", before which there is nothing; leave it out, or write a later one", true,
	},
	{
		"a leave until the beginning of time", "users: {a: {name: A, role: r, leave: [{until: 0001-01-01T00:00:00Z}]}}\n",
		"1:47: until is \"0001-01-01T00:00:00Z\", before which there is nothing; leave it out, or write a later one", true,
	},
	{"a level that there is not", "roles: {a: {name: A, peers: full}}\n", "1:29: peers cannot be \"full\"; it is one of none, view, edit, delete", false},
	{"a level that is a list", "roles: {a: {name: A, peers: [view]}}\n", "1:29: peers must be one of none, view, edit, delete, not a list", false},
	{"a level of a rule", "rules: {a: {name: A, module: m, source: user:a, target: user:b, level: none}}\n", "1:72: level cannot be \"none\"; it is one of view, edit, delete", false},
	{"a level of a share", "records: {m: {a: {owner: x, shares: {user:a: delete}}}}\n", "1:46: what is shared cannot be \"delete\"; it is one of view, edit, full", false},
	{"a level of a whole share", "records: {m: {a: {owner: x, shares: {user:a: {level: delete}}}}}\n", "1:54: level cannot be \"delete\"; it is one of view, edit, full", false},
	{"a share without level", "records: {m: {a: {owner: x, shares: {user:a: {related: true}}}}}\n", "1:46: a share needs level", false},
	{"a share with nobody", "records: {m: {a: {owner: x, shares: {ann: view}}}}\n", "1:38: a recipient cannot be \"ann\"; write user:id, role:id, role-and-subordinates:id, group:id or everyone", false},
	{"a party without kind", "groups: {g: {name: G, members: [ann]}}\n", "1:33: a member cannot be \"ann\"; write user:id, role:id, role-and-subordinates:id, group:id or everyone", false},
	{"a party without id", "groups: {g: {name: G, members: [\"user:\"]}}\n", "1:33: a member cannot be \"user:\"; write user:id, role:id, role-and-subordinates:id, group:id or everyone", false},
	{"a party that is a number", "groups: {g: {name: G, members: [7]}}\n", "1:33: a member cannot be \"7\"; write user:id, role:id, role-and-subordinates:id, group:id or everyone", false},
	{"a party that is a mapping", "groups: {g: {name: G, members: [user: ann]}}\n", "1:33: a member must be user:id, role:id, role-and-subordinates:id, group:id or everyone, not a mapping", false},
	{"members that are a text", "groups: {g: {name: G, members: user:ann}}\n", "1:32: members must be a list, not \"user:ann\"", false},
	{"a parent that is no record", "records: {m: {a: {owner: x, parents: [b]}}}\n", "1:39: a parent cannot be \"b\"; write a record as its module and its id, deal:d1", false},
	{"a permission that there is not", "profiles: {p: {name: P, modules: {m: [view, read]}}}\n", "1:45: an entry of permissions cannot be \"read\"; it is one of view, create, edit, delete, share, transfer, view_all", false},
	{"a permission twice", "profiles: {p: {name: P, modules: {m: [view, view]}}}\n", "1:45: permissions has \"view\" already", false},
	{"a permission that is a text", "profiles: {p: {name: P, modules: {m: view}}}\n", "1:38: permissions is \"view\"; write a list of view, create, edit, delete, share, transfer, view_all, or all", false},
	{"a tool that there is not", "profiles: {p: {name: P, tools: [fax]}}\n", "1:33: an entry of tools cannot be \"fax\"; it is one of export, import, mass_delete, mass_email, mass_transfer, mass_update, print", false},
	{"setup that there is not", "profiles: {p: {name: P, setup: none}}\n", "1:32: setup is \"none\"; write a list of manage_data_sharing, manage_groups, manage_modules, manage_profiles, manage_roles, manage_shifts, manage_users, or all", false},
	{"a field's level", "fields: {m: {f: {name: F, levels: {p: none}}}}\n", "1:39: a level cannot be \"none\"; it is one of write, read, hidden", false},
	{"a kind that there is not", "modules: {m: {name: M, kind: custom}}\n", "1:30: kind cannot be \"custom\"; it is one of standard, child, forecast, import_job", false},
	{"no day", "shifts: {s: {name: S, zone: UTC, hours: {weekdays: 09:00-17:00}}}\n", "1:42: \"weekdays\" is no day of the week; write monday or mon, or some in a row as mon-fri", false},
	{"a day twice", "shifts: {s: {name: S, zone: UTC, hours: {mon-fri: 09:00-17:00, wed: 09:00-12:00}}}\n", "1:64: wednesday is in mon-fri already", true},
	{"hours that are a list", "shifts: {s: {name: S, zone: UTC, hours: {mon: [09:00-17:00]}}}\n", "1:47: hours of mon must be a text, not a list; write 09:00-12:30, 13:30-18:00, or 22:00-06:00 except 02:00-02:30, or closed", false},
	{"hours that are none", "shifts: {s: {name: S, zone: UTC, hours: {mon: 9-17}}}\n", "1:47: hours of mon: \"9-17\" is no span of time such as 09:00-17:30; write 09:00-12:30, 13:30-18:00, or 22:00-06:00 except 02:00-02:30, or closed", false},
	{"hours that are empty", "shifts: {s: {name: S, zone: UTC, hours: {mon: \"\"}}}\n", "1:47: hours of mon is empty; write 09:00-12:30, 13:30-18:00, or 22:00-06:00 except 02:00-02:30, or closed", false},
	{"a time beyond the day", "shifts: {s: {name: S, zone: UTC, hours: {mon: 09:00-25:00}}}\n", "1:47: hours of mon: \"09:00-25:00\" is no span of time such as 09:00-17:30; write 09:00-12:30, 13:30-18:00, or 22:00-06:00 except 02:00-02:30, or closed", false},
	{"a holiday that is no date", "shifts: {s: {name: S, zone: UTC, hours: {}, holidays: [Christmas]}}\n", "1:56: \"Christmas\" is no date such as 2026-12-25", false},
	{"an exception that is no date", "shifts: {s: {name: S, zone: UTC, hours: {}, exceptions: {mon: closed}}}\n", "1:58: \"mon\" is no date such as 2026-12-25", false},
	{"a date that there is not", "shifts: {s: {name: S, zone: UTC, hours: {}, holidays: [2026-02-30]}}\n", "1:56: \"2026-02-30\" is no date such as 2026-12-25", true},
	{"a leave without zone", "users: {a: {name: A, role: r, leave: [{from: 2026-12-24}]}}\n", "1:46: from is \"2026-12-24\"; write an instant such as 2026-12-24T08:00:00+01:00", false},
	{"a period with another key", "users: {a: {name: A, role: r, shifts: [{shift: s, to: 2026-12-24T00:00:00Z}]}}\n", "1:51: unknown key \"to\" in an entry of shifts; known are shift, from, until", false},
	{"a period without shift", "users: {a: {name: A, role: r, shifts: [{from: 2026-12-24T00:00:00Z}]}}\n", "1:40: an entry of shifts needs shift", false},
	{"business hours without hours", "organisation: {id: a, name: A, super_admin: x, business_hours: {first_day: monday}}\n", "1:64: business_hours needs hours", false},
	{"a first day", "organisation: {id: a, name: A, super_admin: x, business_hours: {first_day: mon, hours: {}}}\n", "1:76: first_day cannot be \"mon\"; it is one of sunday, monday, tuesday, wednesday, thursday, friday, saturday", false},
	{"a hierarchy that there is not", "organisation: {id: a, name: A, super_admin: x, hierarchy: roles}\n", "1:59: hierarchy cannot be \"roles\"; it is one of role, reporting", false},
	{"fields of a record", "records: {m: {a: {owner: x, fields: [1]}}}\n", "1:37: fields must be a mapping, not a list", false},
	{"fields that are no numbers", "records: {m: {a: {owner: x, fields: {n: .nan}}}}\n", "1:41: .nan is not a finite number", true},
	{"an unknown kind of question", "tests: [{name: x, check: []}]\n", "1:19: unknown key \"check\" in a test; known are name, description, at, change, can, list, who, fields, on_duty", false},
	{"a test without name", "tests: [{can: []}]\n", "1:9: a test needs name", false},
	{"can without an answer", "tests: [{name: x, can: [{user: a, record: m:a}]}]\n", "1:25: an entry of can needs may or may_not", false},
	{"can of nobody", "tests: [{name: x, can: [{record: m:a, may: view}]}]\n", "1:25: an entry of can needs user", false},
	{"can of an empty list", "tests: [{name: x, can: [{user: [], record: m:a, may: view}]}]\n", "1:32: user is an empty list, and so nothing is asked", false},
	{"can of a mapping", "tests: [{name: x, can: [{user: {}, record: m:a, may: view}]}]\n", "1:32: user must be a text or a list of them, not a mapping", false},
	{"can of both", "tests: [{name: x, can: [{user: a, record: m:a, module: m, may: view}]}]\n", "1:56: an entry of can has either record or module, not both", false},
	{"list without records", "tests: [{name: x, list: [{user: a, module: m}]}]\n", "1:26: an entry of list needs records", false},
	{"list of another action", "tests: [{name: x, list: [{user: a, module: m, action: read, records: []}]}]\n", "1:55: action cannot be \"read\"; it is one of view, edit, delete, share, transfer", false},
	{"fields without an answer", "tests: [{name: x, fields: [{user: a, record: m:a}]}]\n", "1:28: an entry of fields needs read or write", false},
	{"on_duty without users", "tests: [{name: x, on_duty: [{shift: s}]}]\n", "1:29: an entry of on_duty needs users", false},
	{"an instant without zone", "tests: [{name: x, at: 2026-12-24 08:00}]\n", "1:23: at is \"2026-12-24 08:00\"; write an instant such as 2026-12-24T08:00:00+01:00", false},
	{"an instant that is a flag", "tests: [{name: x, at: true}]\n", "1:23: at must be an instant such as 2026-12-24T08:00:00+01:00, not \"true\"", false},
	{"a change of tests", "tests: [{name: x, change: {tests: []}}]\n", "1:28: unknown key \"tests\" in change; known are organisation, modules, profiles, fields, roles, shifts, users, groups, teams, rules, records", false},
	{"a change that takes out what is not there", "tests: [{name: x, change: {roles: {a: null}}}]\n", "1:36: role:a is not there, and cannot be taken out", true},
	{"a change that makes half of something", "tests: [{name: x, change: {roles: {a: {parent: b}}}}]\n", "1:39: a role needs name", true},
	{"an alias of itself", "roles: &a\n  ceo: *a\n", "2:3: unknown key \"ceo\" in a role; known are name, parent, peers, forecast_managers", true},
}

func TestFaultsOfForm(t *testing.T) {
	for _, bad := range badFiles {
		t.Run(bad.name, func(t *testing.T) {
			_, err := orgfile.Parse("acme.org.yaml", []byte(bad.text))
			if want := "acme.org.yaml:" + bad.want; err == nil || err.Error() != want {
				t.Errorf("got\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestFaultsOfSense(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a role above itself", "roles: {ceo: {name: CEO}, a: {name: A, parent: b}, b: {name: B, parent: a}}\n", "2:27: role:a: it is above itself: a, b, a"},
		{"a name twice", "groups: {a: {name: Desk}, b: {name: DESK}}\n", "2:27: group:b: the name \"DESK\" is that of group:a already; case does not matter"},
		{
			"several, in the order of the file", "groups: {a: {name: Desk, members: [user:x]}}\nrules: {r: {name: R, module: m, source: user:ada, target: everyone, level: view}}\n",
			"2:10: group:a: member user x does not exist\nacme.org.yaml:3:9: rule:r: module \"m\" does not exist",
		},
		{"an unknown zone", "shifts: {s: {name: S, zone: Mars, hours: {}}}\n", "2:10: shift:s: hours: zone: \"Mars\": unknown zone"},
		{"a record", "records: {deal: {d1: {owner: ada, parents: [deal:d2]}}}\n", "2:18: deal:d1: the parent deal:d2 is of a module that module \"deal\" is not below"},
		{"a field", "fields: {deal: {f: {name: F, mandatory: true, levels: {all: read}}}}\n", "2:17: field:deal.f: it is mandatory and cannot be restricted, not for profile \"all\" either"},
		{"an unknown user in a test", "tests: [{name: x, can: [{user: adda, record: deal:d1, may_not: view}]}]\n", "2:32: user:adda does not exist"},
		{"an unknown record in a test", "tests: [{name: x, can: [{user: ada, record: [deal:d1, deal:d2], may_not: view}]}]\n", "2:55: there is no record \"deal:d2\"; one is written as its module and its id, deal:d1"},
		{"what is no record", "tests: [{name: x, can: [{user: ada, record: role:ceo, may_not: view}]}]\n", "2:45: there is no record \"role:ceo\"; one is written as its module and its id, deal:d1"},
		{"an unknown action", "tests: [{name: x, can: [{user: ada, record: deal:d1, may: [view, read]}]}]\n", "2:66: \"read\" is nothing that is done to deal:d1; there are view, edit, delete, share, transfer, export"},
		{"creating a record", "tests: [{name: x, can: [{user: ada, record: deal:d1, may: create}]}]\n", "2:59: \"create\" is nothing that is done to deal:d1; there are view, edit, delete, share, transfer, export"},
		{"editing a module", "tests: [{name: x, can: [{user: ada, module: deal, may: edit}]}]\n", "2:56: \"edit\" is nothing that is done in a module; there are create"},
		{"viewing nothing", "tests: [{name: x, can: [{user: ada, may: view}]}]\n", "2:42: \"view\" is nothing that is done without a record or a module; there are export, import, mass_delete, mass_email, mass_transfer, mass_update, print, manage_data_sharing, manage_groups, manage_modules, manage_profiles, manage_roles, manage_shifts, manage_users"},
		{"an unknown module", "tests: [{name: x, can: [{user: ada, module: deals, may: create}]}]\n", "2:45: module:deals does not exist"},
		{"an unknown record in a list", "tests: [{name: x, list: [{user: ada, module: deal, records: [d2]}]}]\n", "2:62: deal:d2 does not exist"},
		{"an unknown user in who", "tests: [{name: x, who: [{record: deal:d1, users: [ada, bob]}]}]\n", "2:56: user:bob does not exist"},
		{"an unknown field", "tests: [{name: x, fields: [{user: ada, record: deal:d1, read: [iban]}]}]\n", "2:64: field:deal.iban does not exist"},
		{"an unknown shift", "tests: [{name: x, on_duty: [{shift: day, users: []}]}]\n", "2:37: shift:day does not exist"},
		{"a change that cannot be", "tests: [{name: x, change: {users: {ada: {role: none}}}, can: [{user: eve, record: deal:d1, may: view}]}]\n", "2:36: as test \"x\" changes it, user:ada: role \"none\" does not exist"},
		{"a change that takes out what is needed", "tests: [{name: x, change: {users: {ada: null}}}]\n", "1:15: as test \"x\" changes it, org:acme: the super admin \"ada\" has no seat\nacme.org.yaml:7:18: as test \"x\" changes it, deal:d1: the owner \"ada\" has no seat"},
		{"what is asked after a change", "tests: [{name: x, change: {records: {deal: {d1: null}}}, can: [{user: ada, record: deal:d1, may: view}]}]\n", "2:84: there is no record \"deal:d1\"; one is written as its module and its id, deal:d1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := fill(test.text)
			file, err := orgfile.Parse("acme.org.yaml", []byte(text))
			if err != nil {
				t.Fatalf("%v\nin\n%s", err, text)
			}
			err = file.Validate(crm.DefaultLimits())
			if err == nil {
				t.Fatalf("it is valid, want\n%s", test.want)
			}
			// What would be right follows; it is not said here.
			want := strings.Split("acme.org.yaml:"+test.want, "\n")
			got := strings.Split(err.Error(), "\n")
			if !slices.EqualFunc(got, want, strings.HasPrefix) {
				t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
			}
		})
	}
}

// fill adds the sections of a small organisation that a text does not have: its first line
// is organisation, and what it lacks follows, so that places stay.
func fill(text string) string {
	lines := "organisation: {id: acme, name: Acme, super_admin: ada}\n" + text
	for _, s := range []struct{ key, line string }{
		{"modules:", "modules: {deal: {name: Deals}}\n"},
		{"profiles:", "profiles: {all: {name: All, administrator: true}}\n"},
		{"\nroles:", "roles: {ceo: {name: CEO}}\n"},
		{"\nusers:", "users: {ada: {name: Ada, role: ceo}}\n"},
		{"\nrecords:", "records: {deal: {d1: {owner: ada}}}\n"},
	} {
		if !strings.Contains(lines, s.key) {
			lines += s.line
		}
	}
	return lines
}
