package crm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph/model"
)

// Model makes the authorization model of an organisation that has the given modules, of
// which only ids, kinds and parents matter, in any order. The modules must be valid: see
// Organisation.Validate. Equal modules give the same model, declaration by declaration.
func Model(modules []Module) (*model.Model, error) {
	m, err := model.ParseDSL("", ModelText(modules))
	if err != nil {
		return nil, fmt.Errorf("generate the model of an organisation: %w", err)
	}
	return m, nil
}

// ModelText is what Model parses, with comments.
func ModelText(modules []Module) string {
	modules = slices.Clone(modules)
	slices.SortFunc(modules, func(a, b Module) int { return cmp.Compare(a.ID, b.ID) })
	w := &modelWriter{modules: modules}
	w.raw("model\n  schema 1.1\n")
	w.people()
	w.rules()
	w.permissions()
	w.shifts()
	for i := range modules {
		switch m := &modules[i]; m.Kind {
		case Standard:
			w.standard(m)
		case Child:
			w.child(m)
		case Forecast, ImportJob:
			w.private(m)
		}
	}
	w.raw(modelConditions)
	return w.b.String()
}

// modelConditions end the model. An assignment or a leave is one tuple however many
// periods it has: turns are the instants at which it begins and ends by turns, in order.
const modelConditions = `
condition in_effect(now: timestamp, turns: list<timestamp>) {
  turns.filter(t, t <= now).size() % 2 == 1
}

condition on_schedule(now: timestamp, schedule: map<string>) {
  on_schedule(schedule, now)
}
`

// granted is who a permission can be given to; parties are those of a share.
const (
	granted = "[profile#assignee]"
	parties = "[user, user:*, role#holder, role#subtree, group#member]"
)

// A modelWriter writes a model in the modelling language.
type modelWriter struct {
	b       strings.Builder
	modules []Module // sorted
}

func (w *modelWriter) raw(text string) { w.b.WriteString(text) }

// open begins a type. Why is its comment.
func (w *modelWriter) open(name, why string) {
	w.raw("\n# " + why + "\ntype " + name + "\n  relations\n")
}

// define writes relations, each as `name: rewrite`.
func (w *modelWriter) define(relations ...string) {
	for _, r := range relations {
		w.raw("    define " + r + "\n")
	}
}

// each writes relations once for every module of the kind, whose id replaces $.
func (w *modelWriter) each(kind ModuleKind, relations ...string) {
	for _, m := range w.modules {
		if m.Kind == kind {
			for _, r := range relations {
				w.define(strings.ReplaceAll(r, "$", m.ID))
			}
		}
	}
}

// people are users, the organisation, roles, groups and teams.
func (w *modelWriter) people() {
	w.open(typeUser, "A seat. Access to a record begins at its owner and walks up from there.")
	w.define(
		"org: [org]",
		"role: [role]",
		"manager: [user]",
		"in_group: [group]",
		"in_team: [team]",
		"nonreporting: [user:*]",
		"chain: manager or chain from manager",
		"role_up: superior from role",
		"nonrep_up: role_up and nonreporting",
		"nonrep_vis: nonrep_up and nonrep_role_visible from org",
		"up_by_role: role_up and role_mode from org",
		"up_by_report: chain and report_mode from org",
		"up_by_nonrep: nonrep_vis and report_mode from org",
		"team_mgr: manager from in_team",
		"superior: up_by_role or up_by_report or up_by_nonrep or team_mgr",
		"peer_view: peer_view from role",
		"peer_edit: peer_edit from role",
		"peer_delete: peer_delete from role",
		"forecast_peer: forecast_manager from role",
	)
	w.each(Standard,
		"$_src: [rule]",
		"$_rv: view from $_src or $_rv from role or $_rv from in_group",
		"$_re: edit from $_src or $_re from role or $_re from in_group",
		"$_rd: delete from $_src or $_rd from role or $_rd from in_group",
	)

	w.open(typeOrg, "The organisation: its seats and what it decides as a whole.")
	w.define(
		"seat: [user]",
		"suspended: [user]",
		"admin_profile: [profile]",
		"admin: assignee from admin_profile",
		"super_admin: [user]",
		"root_role: [role]",
		"ceo: holder from root_role",
		"role_mode: [user:*]",
		"report_mode: [user:*]",
		"nonrep_role_visible: [user:*]",
		"viewers_add: [user:*]",
		"gated: [profile#assignee]",
		"roster: [shift]",
		"on_leave: [user with in_effect]",
		"in_hours: rostered from roster",
		"exempt: admin or super_admin",
		"shut: gated but not in_hours",
		"barred: shut but not exempt",
		"active: seat but not suspended",
		"member: active but not barred",
	)

	w.open(typeRole, "A role of the tree. Both directions are written, for it is walked both ways.")
	w.define(
		"parent: [role]",
		"child: [role]",
		"holder: [user]",
		"in_group: [group]",
		"in_group_sub: [group]",
		"forecast_manager: [user]",
		"peers_ro: [user:*]",
		"peers_rw: [user:*]",
		"peers_rwd: [user:*]",
		"peers_w: peers_rw or peers_rwd",
		"peers_any: peers_ro or peers_w",
		"subtree: holder or subtree from child",
		"superior: holder from parent or superior from parent",
		"up: superior from holder",
		"up_sub: up or up_sub from child",
		"peer_shared: holder and peers_any",
		"peer_view: peer_shared or forecast_manager",
		"peer_edit: holder and peers_w",
		"peer_delete: holder and peers_rwd",
	)
	w.each(Standard,
		"$_src: [rule]",
		"$_src_sub: [rule]",
		"$_rv_sub: view from $_src_sub or $_rv from in_group_sub or $_rv_sub from parent",
		"$_re_sub: edit from $_src_sub or $_re from in_group_sub or $_re_sub from parent",
		"$_rd_sub: delete from $_src_sub or $_rd from in_group_sub or $_rd_sub from parent",
		"$_rv: view from $_src or $_rv from in_group or $_rv_sub",
		"$_re: edit from $_src or $_re from in_group or $_re_sub",
		"$_rd: delete from $_src or $_rd from in_group or $_rd_sub",
	)

	w.open(typeGroup, "People by any mixture of names.")
	w.define(
		"org: [org]",
		"muser: [user]",
		"mrole: [role]",
		"mrole_sub: [role]",
		"mgroup: [group]",
		"in_group: [group]",
		"member: muser or holder from mrole or subtree from mrole_sub or member from mgroup",
		"superior: superior from muser or up from mrole or up_sub from mrole_sub or superior from mgroup",
	)
	w.each(Standard,
		"$_src: [rule]",
		"$_rv: view from $_src or $_rv from in_group",
		"$_re: edit from $_src or $_re from in_group",
		"$_rd: delete from $_src or $_rd from in_group",
	)

	w.open(typeTeam, "A team's managers are superior to its members.")
	w.define(
		"org: [org]",
		"manager: [user]",
		"member: [user]",
	)
}

func (w *modelWriter) rules() {
	w.open(typeRule, "A rule is a node on the way from an owner to those it shares with. What it shares\n"+
		"# is in the name of the edge that leads to it, so one rule cannot be completed by half\n"+
		"# of another.")
	w.define(
		"t_all: [user:*]",
		"t_user: [user]",
		"t_role: [role]",
		"t_role_sub: [role]",
		"t_group: [group]",
		"enabled: [user:*]",
		"sup_allowed: [user:*]",
		"rw: [user:*]",
		"del: [user:*]",
		"target: t_all or t_user or holder from t_role or subtree from t_role_sub or member from t_group",
		"target_up: superior from t_user or up from t_role or up_sub from t_role_sub or superior from t_group",
		"target_sup: sup_allowed and target_up",
		"grantee: target or target_sup",
		"view: enabled and grantee",
		"edit: rw and view",
		"delete: del and view",
	)
}

// permissions are profiles and what they say.
func (w *modelWriter) permissions() {
	w.open(typeProfile, "What its holders may do at all.")
	w.define("org: [org]", "assignee: [user]")
	for _, t := range []struct{ name, why string }{
		{typeTool, "Something that works on many records at once."},
		{typeSetup, "A permission to change the organisation itself."},
	} {
		w.open(t.name, t.why)
		w.define("org: [org]", "holder: "+granted, "allowed: holder and member from org")
	}

	w.open(typeModule, "The defaults of a module, and who may do what in it.")
	w.define(
		"org: [org]",
		"owd_ro: [user:*]",
		"owd_rw: [user:*]",
		"owd_rwd: [user:*]",
		"owd_w: owd_rw or owd_rwd",
		"owd_v: owd_ro or owd_w",
		"no_hier: [user:*]",
	)
	for _, p := range permissionRelations {
		w.define(p.relation + ": " + granted)
	}
	w.define(
		"member: member from org",
		"admin: admin from org",
		"ceo: ceo from org",
		"super_admin: super_admin from org",
		"viewers_add: viewers_add from org",
		"can_create: p_create and member",
	)
	w.each(Child, prefixChild+"$: [module]", prefixAdd+"$: p_create from child_$")

	w.open(typeField, "A field that is not open is restricted to those who are named.")
	w.define(
		"module: [module]",
		"open: [user:*]",
		"reader: "+granted,
		"writer: "+granted,
		"can_write: open or writer",
		"can_read: reader or can_write",
	)

	w.raw("\n# A name that is taken. Documents reserve names; there are no tuples.\ntype " + typeName + "\n")
}

func (w *modelWriter) shifts() {
	w.open(typeShift, "Working hours are the stored context of one tuple; everyone assigned follows it.")
	w.define(
		"org: [org]",
		"assigned: [user with in_effect]",
		"open: [user:* with on_schedule]",
		"rostered: assigned and open",
		"present: rostered but not on_leave from org",
		"on_duty: present and active from org",
	)
}

// standard writes the type of a module whose records have an owner and are shared.
//
// No operand of an intersection comes back to a relation that an earlier one has gone
// through: OpenFGA takes that for a loop.
func (w *modelWriter) standard(m *Module) {
	w.open(m.ID, "Records. The base is who has all of one; the broad relations are what a restriction\n"+
		"# takes away.")
	w.define("module: [module]", "owner: [user]")
	if len(m.Parents) > 0 {
		w.define("parent: " + types(m.Parents))
	}
	for _, r := range shareRelations {
		w.define(r.share+": "+parties, r.related+": "+parties)
	}
	related := func(relation string) string {
		if len(m.Parents) == 0 {
			return ""
		}
		return " or " + relation + " from parent"
	}
	w.define(
		"restricted: [user:*]",
		"secret: [user:*]",
		"hier: superior from owner but not no_hier from module",
		"above: hier or ceo from module or admin from module",
		"upper: above but not secret",
		"base: owner or upper or share_f or super_admin from module"+related("rel_f"),
		"broad_v: owd_v from module or p_view_all from module or peer_view from owner or "+m.ID+"_rv from owner",
		"broad_e: owd_w from module or peer_edit from owner or "+m.ID+"_re from owner",
		"broad_d: owd_rwd from module or peer_delete from owner or "+m.ID+"_rd from owner",
		"open_v: broad_v but not restricted",
		"open_e: broad_e but not restricted",
		"open_d: broad_d but not restricted",
		"rec_edit: base or share_w or open_e"+related("rel_w"),
		"rec_delete: base or open_d",
		// Whoever may delete may edit: each way to open_d is one to open_e as well.
		"rec_view: rec_edit or share_r or open_v"+related("rel_r"),
	)
	w.can(ActionView, "rec_view", "")
	w.can(ActionEdit, "rec_edit", "p_edit")
	w.can(ActionDelete, "rec_delete", "p_delete")
	w.can(ActionShare, "base", "p_share")
	w.can(ActionTransfer, "base", "p_transfer")
	added := false
	for _, c := range w.modules {
		if c.Kind != Child || !slices.Contains(c.Parents, m.ID) {
			continue
		}
		if !added {
			w.define("add_viewed: rec_view and viewers_add from module", "add_reach: rec_edit or add_viewed")
			added = true
		}
		w.can(Add(c.ID), "add_reach", prefixAdd+c.ID)
	}
}

// child writes the type of a module whose records follow their parent.
func (w *modelWriter) child(m *Module) {
	w.open(m.ID, "Records that are reached through the one above.")
	w.define(
		"module: [module]",
		"parent: "+types(m.Parents),
		"author: [user]",
		"rec_view: can_view from parent",
		"author_ok: author and rec_view",
		"rec_edit: author_ok or can_edit from parent",
		"rec_delete: author_ok or can_delete from parent",
	)
	w.can(ActionView, "rec_view", "")
	w.can(ActionEdit, "rec_edit", "p_edit")
	w.can(ActionDelete, "rec_delete", "p_delete")
}

// private writes the type of a module that nothing opens.
func (w *modelWriter) private(m *Module) {
	w.open(m.ID, "Records that no default, rule or share opens.")
	viewer := "viewer: owner or superior from owner or admin from module"
	if m.Kind == Forecast {
		viewer += " or forecast_peer from owner"
	}
	w.define("module: [module]", "owner: [user]", viewer)
	w.can(ActionView, "viewer", "")
	w.can(ActionEdit, "owner", "p_edit")
	w.can(ActionDelete, "owner", "p_delete")
	w.can(ActionTransfer, "owner", "p_transfer")
}

// can writes the relation that decides an action: the record is reached, the profile lets
// one view its module and do this, and the seat may do anything at all.
func (w *modelWriter) can(a Action, reach, permission string) {
	text := a.Relation() + ": " + reach + " and p_view from module"
	if permission != "" {
		text += " and " + permission + " from module"
	}
	w.define(text + " and member from module")
}

// types writes a type restriction.
func types(ids []string) string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return "[" + strings.Join(ids, ", ") + "]"
}
