package crm

// A Module is a kind of record: deals, accounts, notes. Its id is also the name of a type
// of the authorization model.
type Module struct {
	// ID is one to MaxModuleID characters: words of lower case letters and digits, joined
	// by '_', the first one beginning with a letter, and none of the types that each
	// organisation has.
	ID   string
	Name string // unique

	Kind ModuleKind

	// Parents are the modules whose records may stand above a record of this one. A
	// standard module's records are covered by related shares of their parents; a child
	// module has at least one parent module.
	Parents []string

	// Default is what everybody has on every record, LevelNone to LevelDelete. Standard
	// modules only.
	Default Level

	// NoHierarchy keeps superiors out. Standard modules only.
	NoHierarchy bool
}

// MaxModuleID bounds a module's id in characters. With the prefixes and suffixes of its
// relations it stays within what a relation may have.
const MaxModuleID = 40

// A ModuleKind is how access to a module's records comes about.
type ModuleKind string

// The kinds of modules.
const (
	Standard  ModuleKind = "standard"   // by owner, hierarchy, defaults, rules and shares
	Child     ModuleKind = "child"      // by the parent record: notes, attachments, e-mails
	Forecast  ModuleKind = "forecast"   // by owner, superiors, forecast managers and administrators
	ImportJob ModuleKind = "import_job" // by owner, superiors and administrators
)

// reserved are the types that every organisation has, and those that are kept for what
// is to come.
var reserved = map[string]bool{
	typeUser: true, typeOrg: true, typeRole: true, typeGroup: true, typeTeam: true, typeRule: true,
	typeProfile: true, typeTool: true, typeSetup: true, typeModule: true, typeField: true, typeShift: true,
	typeName: true,

	"criteria": true, "territory": true, "permset": true, "psg": true, "psgperm": true, "queue": true,
}

// validModuleID reports whether the text has the form of a module's id.
func validModuleID(id string) bool {
	if id == "" || len(id) > MaxModuleID || id[0] < 'a' || id[0] > 'z' || id[len(id)-1] == '_' {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_' && id[i-1] != '_':
		default:
			return false
		}
	}
	return true
}
