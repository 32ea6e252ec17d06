package crm

// A Role is a place in the one tree of roles. Whoever holds a role has full access to
// what is owned below it, as far as profiles let them.
type Role struct {
	ID   string
	Name string // unique

	// Parent is the role above; the root alone has none, and its holders reach all.
	Parent string

	// Peers is what holders of this same role have on each other's records: LevelNone to
	// LevelDelete.
	Peers Level

	// ForecastManagers view what holders of this role own, forecasts included.
	ForecastManagers []string
}
