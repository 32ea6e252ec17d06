package crm

// A Group is people by any mixture of names. It owns nothing. Groups contain no cycle.
type Group struct {
	ID      string
	Name    string // unique
	Members []Party
}
