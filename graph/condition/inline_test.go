package condition

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph/value"
)

// inline is a context that holds an expression. Types are as parameters reads them.
func inline(expression, types string) value.Map {
	fields := value.Map{"expression": expression}
	if types != "" {
		declared := value.Map{}
		for field := range strings.SplitSeq(types, ",") {
			name, typ, _ := strings.Cut(strings.TrimSpace(field), " ")
			declared[name] = typ
		}
		fields["parameters"] = declared
	}
	return fields
}

func TestInlineParameters(t *testing.T) {
	for _, test := range []struct {
		name, expression, types string
		want                    string // as names and types, in the order of names
	}{
		{"none", "true", "", ""},
		{"declared", "a > 5 && b", "b bool, a int", "a int, b bool"},
		{"those that are not declared are strings", "a == b && c", "c bool", "a string, b string, c bool"},
		{"declared but not used", "true", "z list<map<any>>", "z list<map<any>>"},
		{
			"of every type", "true", "a any, b bool, c string, d int, e uint, f double, g duration, h timestamp, i map<int>, j list<list<uint>>, k ipaddress",
			"a any, b bool, c string, d int, e uint, f double, g duration, h timestamp, i map<int>, j list<list<uint>>, k ipaddress",
		},
		{"named as the context's fields", "expression == parameters", "", "expression string, parameters string"},
		{"what a loop binds is none", "[1, 2].exists(x, x > 0)", "", ""},
		{"what a loop runs over is one", "a.all(x, x == y)", "a list<string>", "a list<string>, y string"},
		{"a name that a loop binds and that is used outside", "['1'].all(x, x == '1') && x == 'y'", "", "x string"},
		{"the same name before the loop", "x == 'y' && ['1'].all(x, x == '1')", "", "x string"},
		{"a loop over a name that it binds", "[x].all(x, x == '1')", "", "x string"},
		{"a loop in a loop", "[['a']].all(x, x.all(y, y == z))", "", "z string"},
		{"after an inner loop", "[['a']].all(x, x.all(y, y == 'a') && y == 'b')", "", "y string"},
		{"a map's keys and values", "{a: b}[a] == 'x'", "", "a string, b string"},
		{"a list's elements", "a in [b, c]", "", "a string, b string, c string"},
		{"arguments and what has the method", "a.startsWith(b)", "", "a string, b string"},
		{"what a field is taken of", "a.b == 'c' && has(a.d)", "a map<string>", "a map<string>"},
		{"a choice", "a ? b : c", "a bool, b bool, c bool", "a bool, b bool, c bool"},
		{"a message's fields", "google.protobuf.BoolValue{value: a}", "a bool", "a bool"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := CompileInline(inline(test.expression, test.types))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range c.Parameters() {
				got = append(got, p.Name+" "+p.Type.String())
			}
			if diff := cmp.Diff(test.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("parameters (-want +got):\n%s", diff)
			}
			if c.Name() != InlineName || c.Expression() != test.expression {
				t.Errorf("the condition is %s: %s, want %s: %s", c.Name(), c.Expression(), InlineName, test.expression)
			}
		})
	}
}

func TestInlineFaults(t *testing.T) {
	type m = value.Map
	for _, test := range []struct {
		name   string
		fields value.Map
		want   InlineError
		says   string
	}{
		{"nothing", nil, InlineError{Field: "expression", Fault: FieldMissing}, "the context lacks expression"},
		{"no expression", m{"parameters": m{"a": "int"}}, InlineError{Field: "expression", Fault: FieldMissing}, "the context lacks expression"},
		{"an empty expression", m{"expression": ""}, InlineError{Field: "expression", Fault: FieldMistyped}, "expression must be a text that is not empty"},
		{"an expression that is a bool", m{"expression": true}, InlineError{Field: "expression", Fault: FieldMistyped}, "expression must be a text"},
		{"no expression at all", m{"expression": nil}, InlineError{Field: "expression", Fault: FieldMistyped}, "expression must be a text"},
		{"parameters in a list", m{"expression": "true", "parameters": value.List{"a"}}, InlineError{Field: "parameters", Fault: FieldMistyped}, "parameters must be a map"},
		{"parameters that are null", m{"expression": "true", "parameters": nil}, InlineError{Field: "parameters", Fault: FieldMistyped}, "parameters must be a map"},
		{"an unknown type", inline("true", "a bigdecimal"), InlineError{Field: "parameters", Parameter: "a", Type: "bigdecimal", Fault: TypeUnknown}, `parameter a: "bigdecimal" is no type: it should be one of any, bool, string`},
		{"a type that is a number", m{"expression": "true", "parameters": m{"a": int64(1)}}, InlineError{Field: "parameters", Parameter: "a", Fault: TypeUnknown}, `parameter a: "" is no type`},
		{"a type with space", m{"expression": "true", "parameters": m{"a": " int"}}, InlineError{Field: "parameters", Parameter: "a", Type: " int", Fault: TypeUnknown}, "is no type"},
		{"a list of nothing", inline("true", "a list"), InlineError{Field: "parameters", Parameter: "a", Type: "list", Fault: TypeBare}, "type list needs the type of its elements, as in list<string>"},
		{"a map of nothing", inline("true", "a map"), InlineError{Field: "parameters", Parameter: "a", Type: "map", Fault: TypeBare}, "type map needs"},
		{"a list of lists of nothing", inline("true", "a list<list>"), InlineError{Field: "parameters", Parameter: "a", Type: "list", Fault: TypeBare}, "type list needs"},
		{"a list of something unknown", inline("true", "a list<x>"), InlineError{Field: "parameters", Parameter: "a", Type: "x", Fault: TypeUnknown}, `"x" is no type`},
		{"a list of nothing at all", inline("true", "a list<>"), InlineError{Field: "parameters", Parameter: "a", Fault: TypeUnknown}, `"" is no type`},
		{"something unknown of texts", inline("true", "a set<string>"), InlineError{Field: "parameters", Parameter: "a", Type: "set", Fault: TypeUnknown}, `"set" is no type`},
		{"a list without an end", inline("true", "a list<string"), InlineError{Field: "parameters", Parameter: "a", Type: "list<string", Fault: TypeUnclosed}, `type "list<string" lacks its closing >`},
		{"an inner list without an end", inline("true", "a list<map<int>"), InlineError{Field: "parameters", Parameter: "a", Type: "map<int", Fault: TypeUnclosed}, "lacks its closing"},
		{"a text of numbers", inline("true", "a string<int>"), InlineError{Field: "parameters", Parameter: "a", Type: "string<int>", Fault: TypePlain}, "has no elements"},
		{"elements of what has none come after other types", inline("true", "a string<int>, b y"), InlineError{Field: "parameters", Parameter: "b", Type: "y", Fault: TypeUnknown}, "parameter b"},
		{"the first of several", inline("true", "b x, a y, c z"), InlineError{Field: "parameters", Parameter: "a", Type: "y", Fault: TypeUnknown}, "parameter a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := CompileInline(test.fields)
			var got *InlineError
			if !errors.As(err, &got) {
				t.Fatalf("CompileInline = %v, want an *InlineError", err)
			}
			if diff := cmp.Diff(test.want, *got); diff != "" {
				t.Errorf("the fault (-want +got):\n%s", diff)
			}
			if !strings.HasPrefix(err.Error(), "condition $expression: ") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error says %q, want %q in it", err, test.says)
			}
			sameFault(t, test.fields, err)
		})
	}
}

// sameFault holds that writing and evaluating meet the error of compiling, every time.
func sameFault(t *testing.T, fields value.Map, want error) {
	t.Helper()
	stored := mustContext(t, fields)
	for range 2 {
		if err := Inline.CheckContext(fields); err == nil || err.Error() != want.Error() {
			t.Errorf("CheckContext = %v, want %v", err, want)
		}
		_, err := Inline.Evaluate(stored, nil)
		var failed *EvaluationError
		if !errors.As(err, &failed) || failed.Condition != InlineName || failed.Err.Error() != want.Error() {
			t.Errorf("Evaluate = %v, want an *EvaluationError with %v", err, want)
		}
	}
}

func TestInlineCompileErrors(t *testing.T) {
	many := value.Map{}
	for i := range MaxParameters + 1 {
		many[fmt.Sprintf("p%d", i)] = "bool"
	}
	for _, test := range []struct {
		name         string
		fields       value.Map
		syntax       bool
		line, column int
		says         string // by the first fault
		cel          string // by what CEL says; empty if it says nothing
	}{
		{"a syntax error", inline("a ==", ""), true, 1, 5, "Syntax error", "$expression:1:5: Syntax error"},
		{"on a later line", inline("true &&\n  ) a", ""), true, 2, 3, "Syntax error", "|   ) a"},
		{"a macro that is used wrongly", inline("has(a)", ""), true, 1, 5, "has() macro", "invalid argument to has() macro"},
		{"types that do not go together", inline("a == 'x'", "a int"), false, 1, 3, "found no matching overload", "found no matching overload"},
		{"a string by default", inline("a > 5", ""), false, 1, 3, "found no matching overload", "(string, int)"},
		{"an unknown function", inline("f(a)", ""), false, 1, 2, "undeclared reference to 'f'", "undeclared reference to 'f'"},
		{"no bool", inline("'x'", ""), false, 0, 0, "the expression yields string, not bool", ""},
		{"a parameter that no one can use", value.Map{"expression": "true", "parameters": value.Map{"a b": "int"}}, false, 0, 0, `"a b" is no name for a parameter`, ""},
		{"too many parameters", value.Map{"expression": "true", "parameters": many}, false, 0, 0, "more than 64 parameters", ""},
		{"a type that is too deep", inline("true", "a "+strings.Repeat("list<", 20)+"int"+strings.Repeat(">", 20)), false, 0, 0, "nests deeper", ""},
		{"too long", inline("'"+strings.Repeat("x", MaxExpression)+"' == a", ""), false, 0, 0, "longer than", ""},
		{"too deep", inline(strings.Repeat("(", 1000)+"a"+strings.Repeat(")", 1000), ""), true, 0, 0, "", "recursion"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := CompileInline(test.fields)
			var got *CompileError
			if !errors.As(err, &got) || len(got.Faults) == 0 {
				t.Fatalf("CompileInline = %v, want a *CompileError", err)
			}
			f := got.Faults[0]
			if got.Condition != InlineName || got.Syntax != test.syntax ||
				test.line != 0 && (f.Line != test.line || f.Column != test.column) || !strings.Contains(f.Message, test.says) {
				t.Errorf("CompileInline = %+v, want %d:%d: %s, syntax %t", got, test.line, test.column, test.says, test.syntax)
			}
			if (got.Err != nil) != (test.cel != "") || got.Err != nil && !strings.Contains(got.Err.Error(), test.cel) {
				t.Errorf("CEL says %v, want %q", got.Err, test.cel)
			}
			if got.Err != nil && !errors.Is(err, got.Err) {
				t.Error("what CEL says cannot be found in the error")
			}
			sameFault(t, test.fields, err)
		})
	}
}

func TestInlineEvaluate(t *testing.T) {
	type m = value.Map
	at := time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)
	with := func(fields, more value.Map) value.Map {
		for name, v := range more {
			fields[name] = v
		}
		return fields
	}
	for _, test := range []struct {
		name            string
		stored, request value.Map
		want            string // true, false, or a part of the error
	}{
		{"a constant", inline("true", ""), nil, "true"},
		{"a constant that is false", inline("1 > 2", ""), nil, "false"},
		{"an inferred text", inline("env == 'prod'", ""), m{"env": "prod"}, "true"},
		{"another text", inline("env == 'prod'", ""), m{"env": "test"}, "false"},
		{"an int", inline("n > 5", "n int"), m{"n": int64(10)}, "true"},
		{"an int that is too small", inline("n > 5", "n int"), m{"n": int64(3)}, "false"},
		{"an int in a text, as anywhere", inline("n > 5", "n int"), m{"n": "10"}, "true"},
		{"an address", inline("ip.in_cidr('10.0.0.0/8')", "ip ipaddress"), m{"ip": "10.1.2.3"}, "true"},
		{"a timestamp", inline("ts < timestamp('2023-10-11T10:00:00.000Z')", "ts timestamp"), m{"ts": "2023-10-11T11:00:00.000Z"}, "false"},
		{"a duration", inline("d > duration('1h')", "d duration"), m{"d": "61m"}, "true"},
		{"a list", inline("'a' in l", "l list<string>"), m{"l": value.List{"a"}}, "true"},
		{"a map", inline("x.y == 1", "x map<int>"), m{"x": m{"y": int64(1)}}, "true"},
		{"others' fields are ignored", inline("true", ""), m{"z": int64(1)}, "true"},
		{"others' fields next to one's own", inline("env == 'a'", ""), m{"env": "a", "z": nil}, "true"},
		{"missing", inline("env == 'prod'", ""), nil, "condition $expression lacks parameters: env"},
		{"the wrong type", inline("env == 'prod'", ""), m{"env": int64(1)}, "condition $expression: parameter env must be string, not 1"},
		{"what is stored is no value", with(inline("env == 'prod'", ""), m{"env": "prod"}), nil, "lacks parameters: env"},
		{"nor does it hide one", with(inline("env == 'prod'", ""), m{"env": "test"}), m{"env": "prod"}, "true"},
		{"nor does its type matter", with(inline("env == 'prod'", ""), m{"env": int64(1)}), m{"env": "prod"}, "true"},
		{"the request's expression is a value", inline("expression == 'false'", ""), m{"expression": "false"}, "true"},
		{"division by zero", inline("1 / n == 1", "n int"), m{"n": int64(0)}, "condition $expression: division by zero"},
		{"the bound instant", inline("now > timestamp('2026-06-01T09:00:00Z')", "now timestamp"), m{"now": "2020-01-01T00:00:00Z"}, "true"},
		{"hours", inline("on_schedule(hours, now)", "hours map<any>, now timestamp"), m{"hours": m{
			"zone": "UTC", "windows": m{"monday": value.List{m{"start": "09:00", "end": "17:00"}}},
		}}, "true"},
		{
			"too costly", inline("l.all(x, l.all(y, l.all(z, x + y + z >= 0)))", "l list<int>"),
			m{"l": long(100)},
			ErrCost.Error(),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := Inline.CheckContext(test.stored); err != nil {
				t.Fatalf("CheckContext = %v", err)
			}
			stored := mustContext(t, test.stored)
			for range 2 {
				held, err := Inline.EvaluateContext(t.Context(), stored, &Request{Fields: test.request, At: at, BindNow: true})
				if got := outcome(held, err); got != test.want && (err == nil || !strings.Contains(got, test.want)) {
					t.Errorf("Evaluate = %s, want %s", got, test.want)
				}
			}
		})
	}
}

func TestInlineExpressionIsFoundInTheContext(t *testing.T) {
	c := mustCompile(t, "a", "a bool")
	stored := mustContext(t, inline("b == 'x'", ""))
	if got := Inline.ExpressionFor(stored); got != "b == 'x'" {
		t.Errorf("ExpressionFor = %q", got)
	}
	if got := Inline.ExpressionFor(nil); got != "" {
		t.Errorf("ExpressionFor of nothing = %q", got)
	}
	if got := c.ExpressionFor(stored); got != "a" {
		t.Errorf("ExpressionFor of another condition = %q", got)
	}
}

// A context's expression is compiled once, also for contexts that are decoded anew, and
// is kept no longer than the cache does.
func TestInlineIsCompiledOnce(t *testing.T) {
	fields := inline("once == 'x'", "")
	if err := Inline.CheckContext(fields); err != nil {
		t.Fatal(err)
	}
	stored := mustContext(t, fields)
	compiledOnce(t, stored)
	for i := 0; ; i++ {
		if _, kept := inlines.get(stored.Encoded()); !kept {
			break // what has to go is left to chance
		}
		inlines.put(fmt.Appendf(nil, "%01024d", i), nil)
	}
	runtime.GC()
	if kept := stored.own.Load().Value(); kept != nil {
		t.Error("the context keeps the condition alive")
	}
	if held, err := Inline.Evaluate(stored, &Request{Fields: value.Map{"once": "x"}}); !held || err != nil {
		t.Errorf("Evaluate after it was dropped = %t, %v, want true", held, err)
	}
}

// compiledOnce compiles a context, and holds on to the condition no longer than it runs.
func compiledOnce(t *testing.T, stored *Context) {
	t.Helper()
	first, err := stored.inline()
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := stored.inline(); again != first {
		t.Error("the same context was compiled twice")
	}
	decoded, err := DecodeContext(stored.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := decoded.inline(); again != first {
		t.Error("an equal context was compiled again")
	}
}

// Whatever number of expressions a request meets, it gives each of them its values.
func TestInlineManyInOneRequest(t *testing.T) {
	request := &Request{Fields: value.Map{"a": "7"}}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 3 * maxBound {
				c, err := NewContext(inline(fmt.Sprintf("a == '%d'", i), ""))
				if err != nil {
					t.Error(err)
					return
				}
				if held, err := Inline.Evaluate(c, request); held != (i == 7) || err != nil {
					t.Errorf("Evaluate of a == '%d' = %t, %v", i, held, err)
				}
			}
		})
	}
	wg.Wait()
	if size := request.conditions.Load().size; size > maxBound {
		t.Errorf("the request remembers %d conditions, want at most %d", size, maxBound)
	}
}

// FuzzInline holds that a context compiles or is refused with a reason, and that what
// compiles does what a declared condition of the same text does.
func FuzzInline(f *testing.F) {
	f.Add("a == 'x'", "a", "string", "x")
	f.Add("a > 5", "a", "int", "7")
	f.Add("a.exists(x, x == b) ? c : d[a]", "a", "list<map<any>>", "")
	f.Add("[a].all(a, a == '')", "", "list<string", "")
	f.Add("{a: .b}.c == has(d.e)", "d", "map<bool>", "e")
	f.Add("google.protobuf.Timestamp{seconds: a} == now", "now", "timestamp", "2026-01-01T00:00:00Z")
	f.Add("a.matches('(')", "b", "map<map<", "\x00")
	f.Fuzz(func(t *testing.T, expression, name, typ, given string) {
		fields := value.Map{"expression": expression, "parameters": value.Map{name: typ}}
		stored, err := NewContext(fields)
		if err != nil {
			return // no text, or too much of it
		}
		compiled, err := CompileInline(fields)
		var (
			malformed *InlineError
			refused   *CompileError
		)
		if checked := Inline.CheckContext(fields); (checked == nil) != (err == nil) {
			t.Fatalf("CheckContext = %v, but CompileInline = %v", checked, err)
		}
		request := &Request{Fields: value.Map{name: given, "a": given}}
		held, failed := Inline.Evaluate(stored, request)
		if err != nil {
			if !errors.As(err, &malformed) && !errors.As(err, &refused) || err.Error() == "" {
				t.Fatalf("CompileInline = %v of type %T", err, err)
			}
			if failed == nil {
				t.Fatalf("Evaluate = %t, want the error %v", held, err)
			}
			return
		}
		declared, err := Compile(InlineName, expression, compiled.Parameters())
		if err != nil {
			t.Fatalf("Compile of what was compiled already: %v", err)
		}
		want, wantErr := declared.Evaluate(nil, request)
		if held != want || (failed == nil) != (wantErr == nil) {
			t.Errorf("Evaluate = %s, want %s", outcome(held, failed), outcome(want, wantErr))
		}
	})
}

func TestInlineSyntaxComesBeforeElementsOfWhatHasNone(t *testing.T) {
	_, err := CompileInline(inline("x ==", "x string<int>"))
	var e *CompileError
	if !errors.As(err, &e) || !e.Syntax {
		t.Errorf("CompileInline = %v, want a fault of syntax", err)
	}
}
