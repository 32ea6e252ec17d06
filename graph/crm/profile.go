package crm

// A Profile is what its holders may do at all; which records they may do it to is decided
// elsewhere, and both are needed.
type Profile struct {
	ID   string
	Name string // unique

	// Administrator profiles reach all records that are not secret, as far as their bits
	// let them, and are exempt from login hours.
	Administrator bool

	// Gated profiles close outside their holders' shift if Settings.LoginHours is on.
	Gated bool

	// Modules are the permissions by the module's id.
	Modules map[string]Permissions

	Tools []Tool
	Setup []Setup
}

// Permissions is a set of what may be done in a module.
type Permissions uint8

// The permissions of a module. Nothing is possible without PermissionView.
const (
	PermissionView Permissions = 1 << iota
	PermissionCreate
	PermissionEdit
	PermissionDelete
	PermissionShare
	PermissionTransfer
	PermissionViewAll // all records of the module that are not confidential may be viewed

	allPermissions = 1<<iota - 1
)

// Has reports whether all of the others are in the set.
func (p Permissions) Has(others Permissions) bool { return p&others == others }

// permissionRelations are the relations of a module that carry the permissions, in their
// order.
var permissionRelations = [...]struct {
	bit      Permissions
	relation string
}{
	{PermissionView, "p_view"},
	{PermissionCreate, "p_create"},
	{PermissionEdit, "p_edit"},
	{PermissionDelete, "p_delete"},
	{PermissionShare, "p_share"},
	{PermissionTransfer, "p_transfer"},
	{PermissionViewAll, "p_view_all"},
}

// A Tool is something that works on many records at once.
type Tool string

// The tools.
const (
	ToolExport       Tool = "export"
	ToolImport       Tool = "import"
	ToolMassDelete   Tool = "mass_delete"
	ToolMassEmail    Tool = "mass_email"
	ToolMassTransfer Tool = "mass_transfer"
	ToolMassUpdate   Tool = "mass_update"
	ToolPrint        Tool = "print"
)

// AllTools are the tools in the order of their names.
func AllTools() []Tool {
	return []Tool{ToolExport, ToolImport, ToolMassDelete, ToolMassEmail, ToolMassTransfer, ToolMassUpdate, ToolPrint}
}

// A Setup is a permission to change the organisation itself.
type Setup string

// The setup permissions.
const (
	ManageDataSharing Setup = "manage_data_sharing" // rules and organisation-wide defaults
	ManageGroups      Setup = "manage_groups"       // groups and teams
	ManageModules     Setup = "manage_modules"      // modules and fields
	ManageProfiles    Setup = "manage_profiles"
	ManageRoles       Setup = "manage_roles"
	ManageShifts      Setup = "manage_shifts" // shifts, business hours and leave
	ManageUsers       Setup = "manage_users"
)

// AllSetup are the setup permissions in the order of their names.
func AllSetup() []Setup {
	return []Setup{
		ManageDataSharing, ManageGroups, ManageModules, ManageProfiles, ManageRoles, ManageShifts, ManageUsers,
	}
}
