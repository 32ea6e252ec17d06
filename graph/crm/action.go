package crm

// An Action is something that is done to one record.
type Action string

// The actions. Adding a note or the like is Add of its module.
const (
	ActionView     Action = "view"
	ActionEdit     Action = "edit"
	ActionDelete   Action = "delete"
	ActionShare    Action = "share"
	ActionTransfer Action = "transfer"

	// ActionExport is viewing with a tool: whoever may view a record and has ToolExport may
	// export it. No relation decides it alone.
	ActionExport Action = "export"
)

// ActionCreate is done in a module, and not to a record.
const ActionCreate = "create"

// Actions are the actions that a relation decides, in the order of the levels that they
// need.
func Actions() []Action {
	return []Action{ActionView, ActionEdit, ActionDelete, ActionShare, ActionTransfer}
}

// Add is the action of adding a record of a child module below another record.
func Add(module string) Action { return Action("add_" + module) }

// Relation is the relation of a record's type that decides the action. Private modules
// do not have that of ActionShare, nor child modules those of ActionShare and
// ActionTransfer: nobody may.
func (a Action) Relation() string { return "can_" + string(a) }
