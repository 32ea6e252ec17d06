package graphtest

// A Truth is a value of Kleene's three-valued logic. The order False, Undefined, True
// makes conjunction the minimum and disjunction the maximum.
type Truth int8

// The three values. Undefined stands for a condition that cannot be decided and for an
// answer that depends on its own negation.
const (
	False Truth = iota
	Undefined
	True
)

// String names the value as failures print it.
func (t Truth) String() string {
	switch t {
	case False:
		return "false"
	case True:
		return "true"
	default:
		return "undefined"
	}
}

func truth(b bool) Truth {
	if b {
		return True
	}
	return False
}

func not(t Truth) Truth { return True - t }
