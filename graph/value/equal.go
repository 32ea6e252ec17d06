package value

// Equal reports whether two values are the same: of the same type, and with equal
// content. So int64(1), uint64(1) and 1.0 are three values; Normalize makes one of them
// where numbers come from outside. Nil lists and maps equal empty ones.
func Equal(a, b Value) bool {
	switch a := a.(type) {
	case List:
		b, ok := b.(List)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !Equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case Map:
		b, ok := b.(Map)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			w, ok := b[k]
			if !ok || !Equal(v, w) {
				return false
			}
		}
		return true
	case nil, bool, int64, uint64, float64, string:
		switch b.(type) {
		case List, Map:
			return false
		}
		return a == b
	}
	return false
}
