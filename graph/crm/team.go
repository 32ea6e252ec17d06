package crm

// A Team is people whose managers have the access of superiors to what the members own.
// To be a member grants nothing.
type Team struct {
	ID       string
	Name     string // unique
	Managers []string
	Members  []string
}
