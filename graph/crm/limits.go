package crm

// Limits bound what an organisation may hold. They are a parameter, for they may differ
// between organisations and be raised; what the bounds of the model or of a tuple dictate
// is fixed, and stands with what it bounds.
type Limits struct {
	Shifts int
	Breaks int // in one window of a shift
}

// DefaultLimits are what an organisation starts with.
func DefaultLimits() Limits { return Limits{Shifts: 30, Breaks: 2} }

const (
	// MaxShifts bounds Settings.MaxShifts.
	MaxShifts = 1000

	// MaxModules bounds the modules. Each adds eight relations to the type role, which
	// may have a thousand.
	MaxModules = 100

	// MaxName bounds the bytes of a name, before and after it is folded and escaped: then
	// it is part of the id of a claim, which may have 1,016.
	MaxName = 900

	// MaxPeriods bounds the periods that one seat works shifts, and those of its leave:
	// they may all be the context of one tuple.
	MaxPeriods = 200
)
