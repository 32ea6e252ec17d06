package crm

// A Rule shares what the people of its source own in one module with the people of its
// target.
type Rule struct {
	ID     string
	Name   string // unique
	Module string // a standard one

	Source Party // not Everyone
	Target Party

	Level Level // LevelView to LevelDelete

	// Superiors lets in everybody who is superior to somebody of the target. It has no
	// effect if that is Everyone.
	Superiors bool

	// Disabled rules share nothing.
	Disabled bool
}
