package crm

// A Group is people by any mixture of names. It owns nothing. Groups contain no cycle.
type Group struct {
	ID      string
	Name    string // unique
	Members []Party
}

// A Team is people whose managers have the access of superiors to what the members own.
// To be a member grants nothing.
type Team struct {
	ID       string
	Name     string // unique
	Managers []string
	Members  []string
}
