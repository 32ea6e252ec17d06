package crm

// A Shift is hours that seats work. Everybody assigned follows the same hours, so
// changing them is one tuple however many they are.
type Shift struct {
	ID    string
	Name  string // unique
	Hours Hours
}
