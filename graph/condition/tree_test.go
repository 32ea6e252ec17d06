package condition

import (
	"strings"
	"testing"
)

// Types that are made of one another take CEL time that an expression of a few kilobytes
// must not be able to ask for.
func TestCollectionsAreBounded(t *testing.T) {
	for _, test := range []struct {
		name, expression string
		refused          bool
	}{
		{"lists in lists", strings.Repeat("[", 33) + strings.Repeat("]", 33) + " == []", false},
		{"as many lists as may be", strings.Repeat("[] == [] || ", maxCollections/2) + "true", false},
		{"one more", strings.Repeat("[] == [] || ", maxCollections/2) + "[true][0]", true},
		{"maps in maps", strings.Repeat("{1: ", 65) + "1" + strings.Repeat("}", 65) + " == {}", true},
		{"loops in a row", "[1]" + strings.Repeat(".map(x, [x])", 240) + " == []", true},
		{"loops in loops", strings.Repeat("[1].all(x, ", 33) + "true" + strings.Repeat(")", 33), true},
		{"in an argument", "f(" + strings.Repeat("[] == [] || ", 33) + "true)", true},
		{"in a field", "google.protobuf.BoolValue{value: " + strings.Repeat("[] == [] || ", 33) + "true}", true},
		{"before a field", "{'a': " + strings.Repeat("[] == [] || ", 33) + "true}.a", true},
		{"one long list", "a in [" + strings.Repeat("'x', ", 1000) + "'y']", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Compile("c", test.expression, parameters(t, "a string"))
			if refused := err != nil; refused != test.refused {
				t.Errorf("Compile = %v, want it refused: %t", err, test.refused)
			}
			if err != nil && !strings.Contains(err.Error(), "more than 64 lists, maps and loops") {
				t.Errorf("Compile = %v, want it to say what is too much", err)
			}
		})
	}
}
