package crm

// The types that every organisation's model has. Each module is a type, too.
const (
	typeUser    = "user"
	typeOrg     = "org"
	typeRole    = "role"
	typeGroup   = "group"
	typeTeam    = "team"
	typeRule    = "rule"
	typeProfile = "profile"
	typeTool    = "tool"
	typeSetup   = "setup"
	typeModule  = "module"
	typeField   = "field"
	typeShift   = "shift"
	typeName    = "name" // no tuples: what claims hang on
)

// The relations that tuples are written to. Those that only the model computes stand in
// model.go alone.
const (
	// user
	relOrg          = "org" // also of everything that would otherwise have no tuple
	relRole         = "role"
	relManager      = "manager" // of a team, too
	relInGroup      = "in_group"
	relInTeam       = "in_team"
	relNonReporting = "nonreporting"

	// org
	relSeat               = "seat"
	relSuspended          = "suspended"
	relAdminProfile       = "admin_profile"
	relSuperAdmin         = "super_admin"
	relRootRole           = "root_role"
	relRoleMode           = "role_mode"
	relReportMode         = "report_mode"
	relNonReportingByRole = "nonrep_role_visible"
	relViewersAdd         = "viewers_add"
	relGated              = "gated"
	relRoster             = "roster"
	relOnLeave            = "on_leave"

	// role
	relParent          = "parent" // of a record, too
	relChild           = "child"
	relHolder          = "holder" // of a tool and of a setup permission, too
	relInGroupSub      = "in_group_sub"
	relForecastManager = "forecast_manager"

	// group and team
	relMemberUser    = "muser"
	relMemberRole    = "mrole"
	relMemberRoleSub = "mrole_sub"
	relMemberGroup   = "mgroup"
	relMember        = "member"

	// rule
	relTargetAll     = "t_all"
	relTargetUser    = "t_user"
	relTargetRole    = "t_role"
	relTargetRoleSub = "t_role_sub"
	relTargetGroup   = "t_group"
	relEnabled       = "enabled"
	relSuperiors     = "sup_allowed"
	relReadWrite     = "rw"
	relDeletes       = "del"

	relAssignee = "assignee" // profile
	relNoHier   = "no_hier"  // module
	relOpen     = "open"     // field: not restricted; shift: its hours
	relReader   = "reader"   // field
	relWriter   = "writer"
	relAssigned = "assigned" // shift

	// record
	relModule     = "module" // of a field, too
	relOwner      = "owner"
	relAuthor     = "author"
	relRestricted = "restricted"
	relSecret     = "secret"

	relSubtree = "subtree" // role: itself and those below
)

// Relations whose names contain a module's id.
const (
	suffixSource    = "_src"     // user, role, group: the rules that share what they own
	suffixSourceSub = "_src_sub" // role: with subordinates
	prefixChild     = "child_"   // module: the child module of that id
	prefixAdd       = "add_"
)

// peersRelation and defaultRelation are the relations of levels from LevelView to
// LevelDelete.
var (
	peersRelation   = [...]string{LevelView: "peers_ro", LevelEdit: "peers_rw", LevelDelete: "peers_rwd"}
	defaultRelation = [...]string{LevelView: "owd_ro", LevelEdit: "owd_rw", LevelDelete: "owd_rwd"}
)

// shareRelations are those of a share's level, and of one with related lists.
var shareRelations = [...]struct {
	level          Level
	share, related string
}{
	{LevelView, "share_r", "rel_r"},
	{LevelEdit, "share_w", "rel_w"},
	{LevelFull, "share_f", "rel_f"},
}

// The conditions of the model and their parameters.
const (
	conditionInEffect = "in_effect"
	conditionHours    = "on_schedule"

	parameterTurns    = "turns"
	parameterSchedule = "schedule"
)
