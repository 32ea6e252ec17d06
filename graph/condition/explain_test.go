package condition

import (
	"errors"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, test := range []struct{ expression, want string }{
		{"a ==", "condition c: 1:5: the expression ends too early"},
		{"a == ) b", `condition c: 1:6: unexpected ")" in the expression`},
		{"a == missing", "condition c: 1:6: missing is no parameter and no function"},
		{"a > 5", "condition c: 1:3: > cannot be applied to (string, int)"},
		{"a", "condition c: the expression yields string, not bool"},
	} {
		_, err := Compile("c", test.expression, parameters(t, "a string"))
		var e *CompileError
		if !errors.As(err, &e) || err.Error() != test.want {
			t.Errorf("Compile(%s) = %v, want %s", test.expression, err, test.want)
		}
	}
}
