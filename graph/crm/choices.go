package crm

import "slices"

// The names of what an organisation chooses from.
var (
	levelNames           = []string{"none", "view", "edit", "delete", "full"}
	fieldLevelNames      = []string{"write", "read", "hidden"}
	confidentialityNames = []string{"open", "restricted", "secret"}
	hierarchyNames       = []string{"role", "reporting"}
	assignScopeNames     = []string{"anyone", "subordinates", "on_duty"}
)

// String is the grade in a word: open, restricted or secret.
func (c Confidentiality) String() string { return chosen(confidentialityNames, c) }

// ParseConfidentiality reads what String writes, and reports whether it is a grade.
func ParseConfidentiality(text string) (Confidentiality, bool) {
	return choose[Confidentiality](confidentialityNames, text)
}

// String is the hierarchy in a word: role or reporting.
func (h Hierarchy) String() string { return chosen(hierarchyNames, h) }

// ParseHierarchy reads what String writes, and reports whether it is a hierarchy.
func ParseHierarchy(text string) (Hierarchy, bool) { return choose[Hierarchy](hierarchyNames, text) }

// String is the scope in a word: anyone, subordinates or on_duty.
func (a AssignScope) String() string { return chosen(assignScopeNames, a) }

// ParseAssignScope reads what String writes, and reports whether it is a scope.
func ParseAssignScope(text string) (AssignScope, bool) {
	return choose[AssignScope](assignScopeNames, text)
}

func chosen[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

func choose[T ~uint8](names []string, text string) (T, bool) {
	i := slices.Index(names, text)
	return T(max(i, 0)), i >= 0
}
