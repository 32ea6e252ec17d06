package main

import (
	"slices"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A noun is one kind of thing that an organisation consists of, as commands name it.
type noun struct {
	name    string // of the command
	kind    remitv1.EntityKind
	message string // the field of the message Entity that holds it
	section string // of an organisation file
	short   string // what it is, for a list of commands
	id      string // how one is named: ID, or MODULE.ID
	within  string // what stands between the module and the id; empty if there is no module
	heir    bool   // another one can take over from one that is deleted
	columns []string
	flags   []nounFlag
	set     string // the arguments of an example
	more    []string
}

// A nounFlag is a flag that says one field. Its kind of value is that of the message.
type nounFlag struct {
	name  string // as in the file, with '-' for '_'
	field string // of the message, or of a message in it: hours.zone
	help  string
}

func flagsOf(texts ...string) []nounFlag {
	var flags []nounFlag
	for triple := range slices.Chunk(texts, 3) {
		flags = append(flags, nounFlag{name: triple[0], field: triple[1], help: triple[2]})
	}
	return flags
}

const nameHelp = "the `name` that people read"

// nouns are all kinds but the organisation itself, which is one: see settingsNoun.
var nouns = []noun{
	{
		name: "user", kind: remitv1.EntityKind_ENTITY_KIND_SEAT, message: "seat", section: "users",
		short: "People: their role, profiles, manager and shifts", id: "ID", heir: true,
		columns: []string{"name", "role", "profiles", "manager", "suspended"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"login", "login", "who this is to the identity provider",
			"role", "role", "the `role` that the user holds",
			"profiles", "profiles", "the `profiles`, separated by commas",
			"manager", "manager", "the `user` whom this one reports to",
			"non-reporting", "non_reporting", "reports to nobody",
			"suspended", "suspended", "may do nothing; what the user owns stays",
			"shifts", "shifts", "the `shifts` that the user works: day, or during a time\nday@2026-01-01T00:00:00Z/2026-02-01T00:00:00Z",
			"leave", "leave", "when the user is away: `FROM/UNTIL`, such as\n2026-12-24T00:00:00Z/2027-01-02T00:00:00Z",
		),
		set:  "rob --name \"Rob Reed\" --role rep --profiles standard",
		more: []string{"rob --suspended", "rob --manager \"\" --suspended=false"},
	},
	{
		name: "role", kind: remitv1.EntityKind_ENTITY_KIND_ROLE, message: "role", section: "roles",
		short: "Roles: the tree in which those above reach what those below own", id: "ID", heir: true,
		columns: []string{"name", "parent", "peers", "forecast_managers"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"parent", "parent", "the `role` above; that of a new role is the root by default",
			"peers", "peers", "what holders have on each other's records",
			"forecast-managers", "forecast_managers", "`users` who view what holders own, forecasts included",
		),
		set: "rep --name \"Sales rep\" --parent manager",
	},
	{
		name: "profile", kind: remitv1.EntityKind_ENTITY_KIND_PROFILE, message: "profile", section: "profiles",
		short: "Profiles: what people may do in each module, and to the organisation", id: "ID", heir: true,
		columns: []string{"name", "administrator", "gated", "modules"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"administrator", "administrator", "reaches all records that are not secret",
			"gated", "gated", "closes outside working hours, if the organisation enforces them",
			"modules", "modules", "what may be done in a module, as `MODULE=PERMISSIONS`: deal=view,edit,\ndeal=all, or deal= for nothing (may be repeated)",
			"tools", "tools", "`tools`, such as export,mass_update",
			"setup", "setup", "`permissions` to change the organisation, such as manage_users",
		),
		set:  "standard --modules deal=view,create,edit --modules note=all",
		more: []string{"standard --modules deal="},
	},
	{
		name: "group", kind: remitv1.EntityKind_ENTITY_KIND_GROUP, message: "group", section: "groups",
		short: "Groups: people by any mixture of names", id: "ID", heir: true,
		columns: []string{"name", "members"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"members", "members", "`parties`: user:ann,role:rep,role-and-subordinates:manager,group:emea",
		),
		set: "emea --name EMEA --members role:rep,user:ann",
	},
	{
		name: "team", kind: remitv1.EntityKind_ENTITY_KIND_TEAM, message: "team", section: "teams",
		short: "Teams: managers reach what members own", id: "ID",
		columns: []string{"name", "managers", "members"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"managers", "managers", "the `users` who lead it",
			"members", "members", "the `users` in it",
		),
		set: "north --name North --managers ann --members rob,eve",
	},
	{
		name: "module", kind: remitv1.EntityKind_ENTITY_KIND_MODULE, message: "module", section: "modules",
		short: "Modules: the kinds of records", id: "ID",
		columns: []string{"name", "kind", "parents", "default", "no_hierarchy"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"kind", "kind", "standard, child, forecast or import_job; it never changes (default standard)",
			"parents", "parents", "the `modules` whose records may stand above one of this",
			"default", "default", "what everybody has on every record",
			"no-hierarchy", "no_hierarchy", "keeps superiors out",
		),
		set:  "deal --name Deals --parents account --default view",
		more: []string{"note --name Notes --kind child --parents deal"},
	},
	{
		name: "field", kind: remitv1.EntityKind_ENTITY_KIND_FIELD, message: "field", section: "fields",
		short: "Fields: attributes that some profiles may not read or write", id: "MODULE.ID", within: ".",
		columns: []string{"name", "mandatory", "levels"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"mandatory", "mandatory", "cannot be restricted",
			"levels", "levels", "what a profile may do, as `PROFILE=LEVEL`: standard=read, standard=hidden,\nor standard= for everything (may be repeated)",
		),
		set: "deal.amount --name Amount --levels standard=read",
	},
	{
		name: "rule", kind: remitv1.EntityKind_ENTITY_KIND_RULE, message: "rule", section: "rules",
		short: "Rules: what some people own is shared with others", id: "ID",
		columns: []string{"name", "module", "source", "target", "level", "superiors", "disabled"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"module", "module", "the `module` whose records are shared",
			"source", "source", "the `party` whose records: role:rep, group:emea …",
			"target", "target", "the `party` with whom, or everyone",
			"level", "level", "what they get",
			"superiors", "superiors", "their superiors get the same",
			"disabled", "disabled", "shares nothing for now",
		),
		set: "emea-support --name \"EMEA to support\" --module deal --source role:rep --target group:support --level view",
	},
	{
		name: "shift", kind: remitv1.EntityKind_ENTITY_KIND_SHIFT, message: "shift", section: "shifts",
		short: "Shifts: hours that people work", id: "ID", heir: true,
		columns: []string{"name", "hours.zone", "hours.days"},
		flags: flagsOf(
			"name", "name", nameHelp,
			"zone", "hours.zone", "the time `zone`, such as Europe/Paris",
			"hours", "hours.days", "hours by day, as `DAY=HOURS`: monday=09:00-12:30,13:30-18:00, mon-fri=22:00-06:00,\nor sunday= for none (may be repeated)",
			"holidays", "hours.holidays", "`dates` on which nothing begins: 2026-12-25",
			"exceptions", "hours.exceptions", "the hours of a date, as `DATE=HOURS`: 2026-12-24=09:00-12:00 (may be repeated)",
		),
		set: "day --name Day --zone Europe/Paris --hours mon-fri=09:00-17:30",
	},
	{
		name: "record", kind: remitv1.EntityKind_ENTITY_KIND_RECORD, message: "record", section: "records",
		short: "Records: what people own", id: "MODULE:ID", within: ":",
		columns: []string{"owner", "parents", "confidentiality", "shares"},
		flags: flagsOf(
			"owner", "owner", "the `user` who owns it; transfer ends its shares as well",
			"parents", "parents", "the `records` above it, such as account:acme",
			"confidentiality", "confidentiality", "who reaches it at all",
			"fields", "fields", "attributes, as `NAME=VALUE`: amount=1200, stage=won, or stage= to take it out\n(may be repeated); a value is JSON, or else a text",
		),
		set:  "deal:orion --owner rob --parents account:acme --fields amount=1200",
		more: []string{"deal:orion --confidentiality restricted"},
	},
}

// settingsNoun is the organisation itself.
var settingsNoun = noun{
	name: "settings", kind: remitv1.EntityKind_ENTITY_KIND_SETTINGS, message: "settings", section: "organisation",
	short: "The organisation itself: its name, its super admin, what it decides as a whole",
	flags: flagsOf(
		"name", "name", nameHelp,
		"super-admin", "super_admin", "the `user` who may do everything",
		"hierarchy", "hierarchy", "what makes a superior",
		"non-reporting-by-role", "non_reporting_by_role", "superiors by role reach what non-reporting people own",
		"adding-needs-edit", "adding_needs_edit", "adding a note to a record needs edit on it",
		"keep-shares", "keep_shares", "shares stay when a record gets another owner",
		"assign", "assign_scope", "to whom a person may give a record",
		"login-hours", "login_hours", "gated people may do nothing outside their working hours",
	),
	set: "--hierarchy reporting --keep-shares",
}
