package condition

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/remit-authz/remit/graph/value"
)

func TestCompileSaysWhereAndWhat(t *testing.T) {
	for _, test := range []struct {
		name, expression, parameters string
		line, column                 int
		message                      string
	}{
		{"an unknown name", "a &&\n  b", "a bool", 2, 3, "undeclared reference to 'b'"},
		{"a syntax error", "a &&", "a bool", 1, 5, "Syntax error"},
		{"an operator that types lack", "a == 1", "a string", 1, 3, "no matching overload"},
		{"columns count characters", "'é' == 'é' && b", "a string", 1, 15, "undeclared reference to 'b'"},
		{"an unknown function", "f(a)", "a string", 1, 2, "undeclared reference to 'f'"},
		{"no extension of strings", "a.lowerAscii() == 'x'", "a string", 1, 13, "undeclared reference"},
		{"a method of another type", "a.in_cidr('::/0')", "a string", 1, 10, "no matching overload"},
		{"not a bool", "a", "a string", 0, 0, "yields string, not bool"},
		{"any is not a bool", "a", "a any", 0, 0, "not bool"},
		{"nothing", "", "", 1, 1, "Syntax error"},
		{"too long", "a == '" + strings.Repeat("x", MaxExpression) + "'", "a string", 0, 0, "longer than"},
		{"too deep", strings.Repeat("(", 1000) + "a" + strings.Repeat(")", 1000), "a bool", 0, 0, ""},
		{"a bad pattern", "a.matches('(')", "a string", 0, 0, "missing closing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Compile("c", test.expression, parameters(t, test.parameters))
			var e *CompileError
			if !errors.As(err, &e) || e.Condition != "c" || len(e.Faults) == 0 {
				t.Fatalf("Compile = %v, want a *CompileError", err)
			}
			f := e.Faults[0]
			if test.line != 0 && (f.Line != test.line || f.Column != test.column) || !strings.Contains(f.Message, test.message) {
				t.Errorf("Compile = %d:%d: %s, want %d:%d: %s", f.Line, f.Column, f.Message, test.line, test.column, test.message)
			}
		})
	}
}

func TestCompileRefusesParameters(t *testing.T) {
	boolean := Type{Kind: KindBool}
	nested := boolean
	for range maxTypeDepth {
		inner := nested
		nested = Type{Kind: KindList, Element: &inner}
	}
	var many []Parameter
	for i := range MaxParameters + 1 {
		many = append(many, Parameter{fmt.Sprintf("p%d", i), boolean})
	}
	for _, test := range []struct {
		name       string
		parameters []Parameter
	}{
		{"twice the same", []Parameter{{"a", boolean}, {"a", boolean}}},
		{"without a name", []Parameter{{"", boolean}}},
		{"with a space", []Parameter{{"a b", boolean}}},
		{"with a long name", []Parameter{{strings.Repeat("a", MaxName+1), boolean}}},
		{"without a type", []Parameter{{"a", Type{}}}},
		{"of an unknown type", []Parameter{{"a", Type{Kind: 99}}}},
		{"a list of nothing", []Parameter{{"a", Type{Kind: KindList}}}},
		{"a map of nothing", []Parameter{{"a", Type{Kind: KindMap}}}},
		{"a bool of bools", []Parameter{{"a", Type{Kind: KindBool, Element: &boolean}}}},
		{"lists too deep", []Parameter{{"a", nested}}},
		{"too many", many},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Compile("c", "true", test.parameters)
			var e *CompileError
			if !errors.As(err, &e) {
				t.Errorf("Compile = %v, want a *CompileError", err)
			}
		})
	}
	if _, err := Compile("c", "true", many[:MaxParameters]); err != nil {
		t.Errorf("Compile with %d parameters: %v", MaxParameters, err)
	}
}

func TestAccessors(t *testing.T) {
	c := mustCompile(t, "a || b == {}", "a bool, b map<list<int>>")
	if c.Name() != "c" || c.Expression() != "a || b == {}" || len(c.Parameters()) != 2 || c.Parameters()[0].Name != "a" {
		t.Errorf("a condition is %s, %q, %v", c.Name(), c.Expression(), c.Parameters())
	}
	if got := c.Parameters()[1].Type.String(); got != "map<list<int>>" {
		t.Errorf("Type.String = %s, want map<list<int>>", got)
	}
}

func TestConcurrentCompile(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("p%d", i)
			c, err := Compile(name, name+".all(x, x > 0)", []Parameter{{name, Type{Kind: KindList, Element: &Type{Kind: KindInt}}}})
			if err != nil {
				t.Error(err)
				return
			}
			if held, err := c.Evaluate(nil, &Request{Fields: value.Map{name: value.List{int64(i)}}}); held != (i > 0) || err != nil {
				t.Errorf("Evaluate of %s = %t, %v, want %t", name, held, err, i > 0)
			}
		})
	}
	wg.Wait()
}

func TestCostIsCountedWhereItMatters(t *testing.T) {
	huge := strings.Repeat("x", 200_000)
	c := mustCompile(t, "a.matches('^x*y$')", "a string")
	if _, err := c.Evaluate(nil, &Request{Fields: value.Map{"a": huge}}); !errors.Is(err, ErrCost) {
		t.Errorf("a pattern over a long text is %v, want ErrCost", err)
	}
	c = mustCompile(t, "a + a + a + a == a", "a string")
	if _, err := c.Evaluate(nil, &Request{Fields: value.Map{"a": huge}}); !errors.Is(err, ErrCost) {
		t.Errorf("adding long texts is %v, want ErrCost", err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, expression := range []string{
		"a && b == 1", "a ? l[0] == b : m.x == b", "on_schedule(y, t)", "l.all(x, x > b) || i.in_cidr(s)",
		"y.z[0] == 1.0 && s.matches('^a')", "t - t < d && u == 3u && f > 1.0", "ipaddress(s) == i", "has(y.z)",
	} {
		f.Add(expression, []byte(`{"a":true,"b":1,"s":"x","y":{"zone":"UTC"},"l":[1],"m":{"x":1},"t":"2026-01-01T00:00:00Z","i":"::1"}`))
	}
	f.Fuzz(func(t *testing.T, expression string, data []byte) {
		fields, err := value.ParseJSON(data)
		if err != nil {
			return
		}
		c, err := Compile("c", expression, parameters(t,
			"a bool, b int, s string, u uint, f double, d duration, t timestamp, i ipaddress, y any, l list<int>, m map<int>"))
		if err != nil {
			return
		}
		if _, err := c.Evaluate(nil, nil); err != nil {
			var missing *MissingError
			var failed *EvaluationError
			if !errors.As(err, &missing) && !errors.As(err, &failed) {
				t.Errorf("Evaluate without values = %v", err)
			}
		}
		_, _ = c.Evaluate(nil, &Request{Fields: fields})
		if err := c.CheckContext(fields); err != nil {
			return
		}
		stored, err := NewContext(fields)
		if err != nil {
			return
		}
		held, err := c.Evaluate(stored, nil)
		again, errAgain := c.Evaluate(nil, &Request{Fields: fields})
		if held != again || (err == nil) != (errAgain == nil) {
			t.Errorf("stored %t, %v; with the request %t, %v", held, err, again, errAgain)
		}
	})
}

func TestCompileTakesWhatOpenFGATakes(t *testing.T) {
	boolean := Type{Kind: KindBool}
	for _, test := range []struct{ name, expression, parameter string }{
		{"a deep expression", strings.Repeat("(", 200) + "a" + strings.Repeat(")", 200), "a"},
		{"a name of fifty characters", "true", strings.Repeat("é", MaxName)},
	} {
		if _, err := Compile("c", test.expression, []Parameter{{test.parameter, boolean}}); err != nil {
			t.Errorf("%s: Compile = %v", test.name, err)
		}
	}
}

func TestCompileErrorKeepsWhatCELSays(t *testing.T) {
	for _, test := range []struct{ expression, says, yields string }{
		{"a == ", "ERROR: c:1:6: Syntax error", ""},
		{"b", "ERROR: c:1:1: undeclared reference to 'b'", ""},
		{"'x'.matches('(')", "condition expression construction: error parsing regexp", ""},
		{"'x'", "", "string"},
	} {
		_, err := Compile("c", test.expression, []Parameter{{"a", Type{Kind: KindBool}}})
		var e *CompileError
		if !errors.As(err, &e) {
			t.Fatalf("Compile(%s) = %v, want a *CompileError", test.expression, err)
		}
		if e.Yields != test.yields || (e.Err == nil) != (test.says == "") || e.Err != nil && !strings.HasPrefix(e.Err.Error(), test.says) {
			t.Errorf("Compile(%s): Err = %v, Yields = %q, want %q, %q", test.expression, e.Err, e.Yields, test.says, test.yields)
		}
	}
}
