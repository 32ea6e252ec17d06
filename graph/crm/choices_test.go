package crm

import "testing"

func TestChoicesAreReadAsTheyAreWritten(t *testing.T) {
	choices(t, LevelFull, ParseLevel)
	choices(t, FieldHidden, ParseFieldLevel)
	choices(t, Secret, ParseConfidentiality)
	choices(t, ByReporting, ParseHierarchy)
	choices(t, AssignOnDuty, ParseAssignScope)
	for _, name := range PermissionNames() {
		if p, ok := ParsePermission(name); !ok || len(p.Names()) != 1 || p.Names()[0] != name {
			t.Errorf("ParsePermission(%q) = %v, %v", name, p.Names(), ok)
		}
	}
}

// choices tries every value up to the last one, and one that there is not.
func choices[T interface {
	~uint8
	String() string
}](t *testing.T, last T, parse func(string) (T, bool),
) {
	t.Helper()
	for v := T(0); v <= last; v++ {
		if got, ok := parse(v.String()); got != v || !ok {
			t.Errorf("%q is read as %v, %v", v, got, ok)
		}
	}
	if got, ok := parse((last + 1).String()); ok {
		t.Errorf("%q is read as %v, want nothing", last+1, got)
	}
}
