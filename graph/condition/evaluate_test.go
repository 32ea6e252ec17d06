package condition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

// parameters reads "a bool, b list<int>".
func parameters(t testing.TB, text string) []Parameter {
	t.Helper()
	var list []Parameter
	for field := range strings.SplitSeq(text, ",") {
		if name, typ, ok := strings.Cut(strings.TrimSpace(field), " "); ok {
			list = append(list, Parameter{Name: name, Type: parseType(t, typ)})
		}
	}
	return list
}

func parseType(t testing.TB, text string) Type {
	t.Helper()
	name, rest, generic := strings.Cut(text, "<")
	kind := slices.Index(kindNames[:], name)
	if kind <= 0 {
		t.Fatalf("no type %q", text)
	}
	typ := Type{Kind: Kind(kind)}
	if generic {
		element := parseType(t, strings.TrimSuffix(rest, ">"))
		typ.Element = &element
	}
	return typ
}

func mustCompile(t testing.TB, expression, params string) *Condition {
	t.Helper()
	c, err := Compile("c", expression, parameters(t, params))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustContext(t testing.TB, fields value.Map) *Context {
	t.Helper()
	c, err := NewContext(fields)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEvaluate(t *testing.T) {
	type m = value.Map
	type l = value.List
	for _, test := range []struct {
		name, expression, parameters string
		stored, request              value.Map
		want                         string // true, false, or a part of the error
	}{
		{"a constant", "true", "", nil, nil, "true"},
		{"stored only", "a", "a bool", m{"a": true}, nil, "true"},
		{"request only", "a", "a bool", nil, m{"a": true}, "true"},
		{"stored wins", "a == 'stored'", "a string", m{"a": "stored"}, m{"a": "request"}, "true"},
		{"stored wins over a wrong type", "a", "a bool", m{"a": true}, m{"a": "no bool"}, "true"},
		{"both are used", "a == b", "a int, b int", m{"a": int64(1)}, m{"b": int64(1)}, "true"},
		{"others' fields are ignored", "a", "a bool", nil, m{"a": true, "z": int64(1)}, "true"},
		{"a stored wrong type", "a", "a bool", m{"a": "x"}, nil, `parameter a must be bool, not "x"`},
		{"a wrong type in the request", "a", "a bool", nil, m{"a": nil}, "parameter a must be bool, not null"},
		{"a wrong type that is not needed", "a || b", "a bool, b bool", nil, m{"a": true, "b": int64(1)}, "parameter b must be bool, not 1"},

		{"missing", "a", "a bool", nil, nil, "lacks parameters: a"},
		{"both missing", "a && b", "a bool, b bool", nil, nil, "lacks parameters: a, b"},
		{"true or missing", "a || b", "a bool, b bool", nil, m{"a": true}, "true"},
		{"missing or true", "a || b", "a bool, b bool", nil, m{"b": true}, "true"},
		{"false or missing", "a || b", "a bool, b bool", nil, m{"a": false}, "lacks parameters: b"},
		{"false and missing", "a && b", "a bool, b bool", nil, m{"a": false}, "false"},
		{"missing and false", "a && b", "a bool, b bool", nil, m{"b": false}, "false"},
		{"true and missing", "a && b", "a bool, b bool", nil, m{"a": true}, "lacks parameters: b"},
		{"not missing", "!a", "a bool", nil, nil, "lacks parameters: a"},
		{"the branch not taken", "a ? b : c", "a bool, b bool, c bool", nil, m{"a": true, "b": true}, "true"},
		{"the branch taken", "a ? b : c", "a bool, b bool, c bool", nil, m{"a": false, "b": true}, "lacks parameters: c"},
		{"a missing choice", "a ? b : c", "a bool, b bool, c bool", nil, m{"b": true, "c": true}, "lacks parameters: a"},
		{"a field of what is missing", "a.x == 1", "a map<int>", nil, nil, "lacks parameters: a"},
		{"has of what is missing", "has(a.x)", "a map<int>", nil, nil, "lacks parameters: a"},
		{"an element of what is missing", "1 in a", "a list<int>", nil, nil, "lacks parameters: a"},
		{"a loop over what is missing", "a.all(x, x > b)", "a list<int>, b int", nil, m{"b": int64(1)}, "lacks parameters: a"},
		{"a loop with what is missing", "a.all(x, x > b)", "a list<int>, b int", nil, m{"a": l{int64(1)}}, "lacks parameters: b"},
		{"a loop that needs nothing", "a.all(x, x > b)", "a list<int>, b int", nil, m{"a": l{}}, "true"},
		{"a variable that hides a parameter", "[1].all(a, a == 1)", "a int", nil, nil, "true"},

		{"an absent key", "a.x == 1", "a map<int>", nil, m{"a": m{}}, "no such key: x"},
		{"has an absent key", "has(a.x)", "a map<int>", nil, m{"a": m{}}, "false"},
		{"has a key", "has(a.x)", "a map<int>", nil, m{"a": m{"x": int64(1)}}, "true"},
		{"division by zero", "1 / a == 1", "a int", nil, m{"a": int64(0)}, "division by zero"},
		{"true or an error", "a == 0 || 1 / a == 1", "a int", nil, m{"a": int64(0)}, "true"},
		{"an overflow", "a + 1 > a", "a int", nil, m{"a": int64(1<<63 - 1)}, "overflow"},

		{"any is a string", "a == 'x'", "a any", nil, m{"a": "x"}, "true"},
		{"any is a number", "a == 1 && a < 2 && a / 2.0 == 0.5", "a any", nil, m{"a": int64(1)}, "true"},
		{"any has no ints", "a % 2 == 1", "a any", nil, m{"a": int64(1)}, "no such overload"},
		{"any is null", "a == null", "a any", nil, m{"a": nil}, "true"},
		{"any is an object", "a.b.c[0] == 1 && a.b.size() == 1", "a any", nil, m{"a": m{"b": m{"c": l{int64(1)}}}}, "true"},
		{"any as an index", "a[b] == 'x'", "a list<string>, b any", nil, m{"a": l{"x"}, "b": int64(0)}, "true"},
		{"a map's key", "a['x'] == 1 && 'x' in a && a.exists(k, k == 'x') && a == {'x': 1}", "a map<int>", nil, m{"a": m{"x": int64(1)}}, "true"},
		{"a map of any", "a.x.y == 'z' && a.x == {'y': 'z'}", "a map<any>", nil, m{"a": m{"x": m{"y": "z"}}}, "true"},
		{"a list of lists", "a[1][0] == 2", "a list<list<int>>", nil, m{"a": l{l{}, l{"2"}}}, "true"},
		{"text", "a.startsWith('x') && a.matches('^x+$') && size(a) == 2", "a string", nil, m{"a": "xx"}, "true"},
		{
			"durations and timestamps", "b - a < d", "a timestamp, b timestamp, d duration", nil,
			m{"a": "2026-01-01T00:00:00Z", "b": "2026-01-01T01:00:00+01:00", "d": "1h"},
			"true",
		},
		{"hours in a zone", "a.getHours('Europe/Paris') == 14", "a timestamp", nil, m{"a": "2026-06-01T12:00:00Z"}, "true"},

		{"an address in a network", "a.in_cidr('192.168.0.0/16')", "a ipaddress", nil, m{"a": "192.168.3.4"}, "true"},
		{"an address outside", "a.in_cidr('192.168.0.0/16')", "a ipaddress", nil, m{"a": "10.0.0.1"}, "false"},
		{"IPv6", "a.in_cidr('2001:db8::/32')", "a ipaddress", nil, m{"a": "2001:db8::1"}, "true"},
		{"IPv4 in a network of IPv6", "a.in_cidr('::/0')", "a ipaddress", nil, m{"a": "10.0.0.1"}, "false"},
		{"IPv4 written in IPv6", "a.in_cidr('10.0.0.0/8')", "a ipaddress", nil, m{"a": "::ffff:10.0.0.1"}, "true"},
		{"an IPv4 network written in IPv6", "a.in_cidr('::ffff:10.0.0.0/104')", "a ipaddress", nil, m{"a": "10.0.0.1"}, "true"},
		{"outside of a network written in IPv6", "a.in_cidr('::ffff:10.0.0.0/104')", "a ipaddress", nil, m{"a": "11.0.0.1"}, "false"},
		{"the same address written twice", "a == ipaddress('::ffff:10.0.0.1')", "a ipaddress", nil, m{"a": "10.0.0.1"}, "true"},
		{"a network out of the context", "a.in_cidr(b)", "a ipaddress, b string", m{"b": "10.0.0.0/8"}, m{"a": "10.0.0.1"}, "true"},
		{"any of many networks", "b.exists(n, a.in_cidr(n))", "a ipaddress, b list<string>", m{"b": l{"1.0.0.0/8", "10.0.0.0/8"}}, m{"a": "10.0.0.1"}, "true"},
		{"no network", "a.in_cidr('x')", "a ipaddress", nil, m{"a": "10.0.0.1"}, `'x' is a malformed CIDR string`},
		{"an address in the expression", "a == ipaddress('10.0.0.1') && ipaddress('::1') != a", "a ipaddress", nil, m{"a": "10.0.0.1"}, "true"},
		{"no address", "a == ipaddress('x')", "a ipaddress", nil, m{"a": "10.0.0.1"}, `ParseAddr("x"): unable to parse IP`},
		{"no address in the context", "a == a", "a ipaddress", nil, m{"a": "x"}, `parameter a must be ipaddress, not "x"`},
		{"a list of addresses", "a.exists(x, x.in_cidr('10.0.0.0/8'))", "a list<ipaddress>", nil, m{"a": l{"10.0.0.1"}}, "true"},

		{"now is an ordinary parameter", "now == timestamp('2026-01-01T00:00:00Z')", "now timestamp", nil, m{"now": "2026-01-01T00:00:00Z"}, "true"},
		{"now may be missing", "now == now", "now timestamp", nil, nil, "lacks parameters: now"},
		{"too costly", "a.all(x, a.all(y, x + y != 1000000))", "a list<int>", nil, m{"a": long(200)}, ErrCost.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := mustCompile(t, test.expression, test.parameters)
			stored := mustContext(t, test.stored)
			request := &Request{Fields: test.request}
			for range 2 { // the second time values come out of the caches
				if got := outcome(c.Evaluate(stored, request)); got != test.want && (isBool(test.want) || !strings.Contains(got, test.want)) {
					t.Errorf("Evaluate = %s, want %s", got, test.want)
				}
			}
		})
	}
}

func isBool(s string) bool { return s == "true" || s == "false" }

func outcome(held bool, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(held)
}

func long(n int) value.List {
	out := make(value.List, n)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}

func TestBoundNow(t *testing.T) {
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	c := mustCompile(t, "now == timestamp('2026-06-01T12:00:00Z')", "now timestamp")
	stored := mustContext(t, value.Map{"now": "2020-01-01T00:00:00Z"})
	request := &Request{Fields: value.Map{"now": "no time"}, At: at.In(time.FixedZone("", 3600)), BindNow: true}
	if held, err := c.Evaluate(stored, request); !held || err != nil {
		t.Errorf("Evaluate = %t, %v, want true", held, err)
	}
	if held, err := c.Evaluate(nil, &Request{At: at, BindNow: true}); !held || err != nil {
		t.Errorf("Evaluate without fields = %t, %v, want true", held, err)
	}
	text := mustCompile(t, "now == 'x'", "now string")
	if held, err := text.Evaluate(nil, &Request{Fields: value.Map{"now": "x"}, At: at, BindNow: true}); !held || err != nil {
		t.Errorf("Evaluate of a now that is no timestamp = %t, %v, want true", held, err)
	}
}

func TestErrorTypes(t *testing.T) {
	c := mustCompile(t, "a[0] == b && 1 / b == 1", "a list<int>, b int")
	var missing *MissingError
	if _, err := c.Evaluate(nil, nil); !errors.As(err, &missing) || missing.Condition != "c" || !slices.Equal(missing.Fields, []string{"a", "b"}) {
		t.Errorf("Evaluate = %#v, want a and b missing", err)
	}
	var wrong *TypeError
	_, err := c.Evaluate(nil, &Request{Fields: value.Map{"a": value.List{int64(1), "x"}, "b": int64(0)}})
	if !errors.As(err, &wrong) || wrong.Condition != "c" || wrong.Parameter != "a[1]" || wrong.Want.Kind != KindInt || wrong.Got != `"x"` {
		t.Errorf("Evaluate = %#v, want a *TypeError of a[1]", err)
	}
	var failed *EvaluationError
	_, err = c.Evaluate(nil, &Request{Fields: value.Map{"a": value.List{int64(0)}, "b": int64(0)}})
	if !errors.As(err, &failed) || failed.Condition != "c" {
		t.Errorf("Evaluate = %#v, want an *EvaluationError", err)
	}
	loop := mustCompile(t, "a.all(x, a.all(y, x + y >= 0))", "a list<int>")
	if _, err = loop.Evaluate(nil, &Request{Fields: value.Map{"a": long(1000)}}); !errors.Is(err, ErrCost) {
		t.Errorf("Evaluate = %v, want ErrCost", err)
	}
}

func TestACompleteRequestMissesEveryParameter(t *testing.T) {
	c := mustCompile(t, "x < 100 || y < z", "x int, y int, z int")
	for _, tc := range []struct {
		name    string
		stored  value.Map
		fields  value.Map
		missing []string
	}{
		{name: "nothing is missing", stored: value.Map{"y": int64(1)}, fields: value.Map{"x": int64(1), "z": int64(1)}},
		{name: "the result does not depend on it", fields: value.Map{"x": int64(1), "z": int64(1)}, missing: []string{"y"}},
		{name: "the result depends on others", fields: value.Map{"x": int64(100), "z": int64(1)}, missing: []string{"y"}},
		{name: "all are missing", missing: []string{"x", "y", "z"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stored, err := NewContext(tc.stored)
			if err != nil {
				t.Fatal(err)
			}
			held, err := c.Evaluate(stored, &Request{Fields: tc.fields, Complete: true})
			var missing *MissingError
			switch {
			case tc.missing == nil:
				if !held || err != nil {
					t.Errorf("Evaluate = %t, %v, want true", held, err)
				}
			case !errors.As(err, &missing) || !slices.Equal(missing.Fields, tc.missing):
				t.Errorf("Evaluate = %t, %v, want %v missing", held, err, tc.missing)
			}
		})
	}
}

func TestEvaluateEndsWithItsContext(t *testing.T) {
	c := mustCompile(t, "a.all(x, x >= 0)", "a list<int>")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.EvaluateContext(ctx, nil, &Request{Fields: value.Map{"a": long(1000)}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("EvaluateContext = %v, want %v", err, context.Canceled)
	}
	var failed *EvaluationError
	if errors.As(err, &failed) {
		t.Error("the end of the context looks like a failure of the condition")
	}
}

const shift = `{"zone":"Europe/Paris","windows":{"monday":[{"start":"22:00","end":"02:30"}]},"holidays":["2026-12-28"]}`

func TestOnSchedule(t *testing.T) {
	fields, err := value.ParseJSON([]byte(shift))
	if err != nil {
		t.Fatal(err)
	}
	broken := value.Map{"zone": "Europe/Paris", "windows": value.Map{"monday": value.List{value.Map{"start": "25:00", "end": "02:30"}}}}
	for _, params := range []string{"hours map<any>, now timestamp", "hours any, now timestamp"} {
		c := mustCompile(t, "on_schedule(hours, now)", params)
		stored := mustContext(t, value.Map{"hours": fields})
		for at, want := range map[string]bool{
			"2026-06-01T20:00:00Z": true, "2026-06-02T00:29:59Z": true, "2026-06-02T00:30:00Z": false, "2026-12-28T21:00:00Z": false,
		} {
			instant, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := c.Evaluate(stored, &Request{At: instant, BindNow: true}); got != want || err != nil {
				t.Errorf("on_schedule at %s = %t, %v, want %t", at, got, err, want)
			}
		}
		_, err := c.Evaluate(mustContext(t, value.Map{"hours": broken}), &Request{At: time.Unix(0, 0), BindNow: true})
		var fault *schedule.Error
		if !errors.As(err, &fault) || fault.Faults[0].Path != "windows.monday[0].start" {
			t.Errorf("a broken schedule is %v, want an error that names the field", err)
		}
		if _, err = c.Evaluate(nil, &Request{At: time.Unix(0, 0), BindNow: true}); outcome(false, err) != "condition c lacks parameters: hours" {
			t.Errorf("without a schedule: %v", err)
		}
	}
	inner := mustCompile(t, "on_schedule(shift.hours, now)", "shift any, now timestamp")
	at := time.Date(2026, 6, 1, 20, 0, 0, 0, time.UTC)
	if got, err := inner.Evaluate(mustContext(t, value.Map{"shift": value.Map{"hours": fields}}), &Request{At: at, BindNow: true}); !got || err != nil {
		t.Errorf("a schedule inside another value = %t, %v, want true", got, err)
	}
	literal := mustCompile(t, "on_schedule({'zone': 'UTC', 'windows': {'monday': [{'start': '20:00', 'end': '21:00'}]}}, now)", "now timestamp")
	if got, err := literal.Evaluate(nil, &Request{At: at, BindNow: true}); !got || err != nil {
		t.Errorf("a schedule in the expression = %t, %v, want true", got, err)
	}
	odd := mustCompile(t, "on_schedule({1: 2}, now)", "now timestamp")
	if got, err := odd.Evaluate(nil, &Request{At: at, BindNow: true}); err == nil {
		t.Errorf("a schedule with a number for a key = %t, want an error", got)
	}
	text := mustCompile(t, "on_schedule(hours, now)", "hours any, now timestamp")
	if got, err := text.Evaluate(mustContext(t, value.Map{"hours": "always"}), &Request{At: at, BindNow: true}); err == nil {
		t.Errorf("a text for a schedule = %t, want an error", got)
	}
}

func TestConcurrentEvaluation(t *testing.T) {
	fields, err := value.ParseJSON([]byte(shift))
	if err != nil {
		t.Fatal(err)
	}
	one := mustCompile(t, "on_schedule(hours, now) && a in b", "hours any, now timestamp, a int, b list<int>")
	other := mustCompile(t, "a == 3 && missing", "a int, missing bool")
	stored := mustContext(t, value.Map{"hours": fields, "b": long(10)})
	request := &Request{Fields: value.Map{"a": "3"}, At: time.Date(2026, 6, 1, 20, 0, 0, 0, time.UTC), BindNow: true}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if held, err := one.Evaluate(stored, request); !held || err != nil {
					t.Errorf("Evaluate = %t, %v, want true", held, err)
				}
				if _, err := other.Evaluate(stored, request); outcome(false, err) != "condition c lacks parameters: missing" {
					t.Errorf("Evaluate = %v, want missing", err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkEvaluate(b *testing.B) {
	fields, err := value.ParseJSON([]byte(shift))
	if err != nil {
		b.Fatal(err)
	}
	for _, test := range []struct {
		name, expression, parameters string
		stored, request              value.Map
	}{
		{"bool", "a", "a bool", nil, value.Map{"a": true}},
		{"until", "now < until", "now timestamp, until timestamp", value.Map{"until": "2026-01-01T00:00:00Z"}, nil},
		{
			"in list", "region in regions", "region string, regions list<string>",
			value.Map{"regions": value.List{"eu", "us", "jp"}},
			value.Map{"region": "jp"},
		},
		{"schedule", "on_schedule(hours, now)", "hours any, now timestamp", value.Map{"hours": fields}, nil},
		{"missing", "a", "a bool", nil, nil},
	} {
		b.Run(test.name, func(b *testing.B) {
			c := mustCompile(b, test.expression, test.parameters)
			stored := mustContext(b, test.stored)
			request := &Request{Fields: test.request, At: time.Unix(1780000000, 0), BindNow: true}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.Evaluate(stored, request)
			}
		})
	}
}

func TestScheduleOfTexts(t *testing.T) {
	text := Type{Kind: KindString}
	c, err := Compile("on_shift", "on_schedule(hours, now)", []Parameter{
		{Name: "hours", Type: Type{Kind: KindMap, Element: &text}},
		{Name: "now", Type: Type{Kind: KindTimestamp}},
	})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := NewContext(value.Map{"hours": value.Map{"zone": "Europe/Paris", "mon-fri": "22:00-06:00"}})
	if err != nil {
		t.Fatal(err)
	}
	begins := time.Date(2026, 11, 23, 21, 0, 0, 0, time.UTC) // 22:00 in Paris
	for at, want := range map[time.Time]bool{begins.Add(-time.Millisecond): false, begins: true} {
		got, err := c.Evaluate(stored, &Request{At: at, BindNow: true})
		if err != nil || got != want {
			t.Errorf("at %v: %v, %v, want %v", at, got, err, want)
		}
	}
}
