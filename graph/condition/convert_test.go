package condition

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph/value"
)

// Each value is compared inside CEL, so that the test sees what expressions see.
func TestParameterTypes(t *testing.T) {
	type m = value.Map
	type l = value.List
	for _, test := range []struct {
		typ      string
		v        value.Value
		expected string // in CEL; "" if the value is refused
	}{
		{"bool", true, "true"},
		{"bool", "true", ""},
		{"bool", int64(1), ""},
		{"bool", nil, ""},
		{"string", "x", "'x'"},
		{"string", "", "''"},
		{"string", int64(1), ""},
		{"string", nil, ""},
		{"string", l{}, ""},

		{"int", int64(-7), "-7"},
		{"int", uint64(7), "7"},
		{"int", 7.0, "7"},
		{"int", "7", "7"},
		{"int", "-7", "-7"},
		{"int", "7.0", "7"},
		{"int", "7e2", "700"},
		{"int", "9223372036854775807", "9223372036854775807"},
		{"int", "-9223372036854775808", "-9223372036854775808"},
		{"int", "9007199254740993", "9007199254740993"},
		{"int", 7.5, ""},
		{"int", "7.5", ""},
		{"int", "x", ""},
		{"int", "", ""},
		{"int", true, ""},
		{"int", nil, ""},
		{"int", uint64(math.MaxUint64), ""},
		{"int", 1e300, ""},
		{"int", "9223372036854775808", ""},
		{"int", "1e999999999", ""},
		{"int", float64(1 << 63), ""},
		{"int", -float64(1 << 63), "-9223372036854775808"},
		{"int", strings.Repeat("1", 1000), ""},
		{"int", "Inf", ""},
		{"int", "NaN", ""},

		{"uint", int64(7), "7u"},
		{"uint", uint64(7), "7u"},
		{"uint", 7.0, "7u"},
		{"uint", "7", "7u"},
		{"uint", "18446744073709551615", "18446744073709551615u"},
		{"uint", uint64(math.MaxUint64), "18446744073709551615u"},
		{"uint", int64(-1), ""},
		{"uint", "-1", ""},
		{"uint", -1.0, ""},
		{"uint", 7.5, ""},
		{"uint", 1e300, ""},
		{"uint", nil, ""},
		{"uint", "18446744073709551616", ""},
		{"uint", float64(1 << 63), "9223372036854775808u"},

		{"double", 7.5, "7.5"},
		{"double", int64(7), "7.0"},
		{"double", uint64(7), "7.0"},
		{"double", "7.5", "7.5"},
		{"double", "1e3", "1000.0"},
		{"double", "0.1", "0.1"},
		{"double", "x", ""},
		{"double", "Inf", ""},
		{"double", "1e400", ""},
		{"double", true, ""},

		{"duration", "1h30m", "duration('5400s')"},
		{"duration", "-1.5s", "duration('-1500ms')"},
		{"duration", "1d", ""},
		{"duration", "90", ""},
		{"duration", int64(90), ""},
		{"duration", nil, ""},

		{"timestamp", "2026-01-01T01:00:00+01:00", "timestamp('2026-01-01T00:00:00Z')"},
		{"timestamp", "2026-01-01T00:00:00.5Z", "timestamp('2026-01-01T00:00:00.5Z')"},
		{"timestamp", "2026-01-01", ""},
		{"timestamp", "2026-01-01 00:00:00", ""},
		{"timestamp", int64(1), ""},
		{"timestamp", "2026-13-01T00:00:00Z", ""},

		{"ipaddress", "10.0.0.1", "ipaddress('10.0.0.1')"},
		{"ipaddress", "2001:DB8::1", "ipaddress('2001:db8::1')"},
		{"ipaddress", "10.0.0.256", ""},
		{"ipaddress", "10.0.0.0/8", ""},
		{"ipaddress", int64(1), ""},

		{"list<int>", l{}, "[]"},
		{"list<int>", l{int64(1), "2", 3.0}, "[1, 2, 3]"},
		{"list<int>", l{"x"}, ""},
		{"list<int>", m{}, ""},
		{"list<int>", nil, ""},
		{"list<list<string>>", l{l{"a"}, l{}}, "[['a'], []]"},
		{"list<any>", l{"a", int64(1), nil}, "['a', 1.0, null]"},
		{"list<duration>", l{"1s"}, "[duration('1s')]"},

		{"map<int>", m{}, "{}"},
		{"map<int>", m{"a": int64(1)}, "{'a': 1}"},
		{"map<int>", m{"a": "x"}, ""},
		{"map<int>", l{}, ""},
		{"map<map<bool>>", m{"a": m{"b": true}}, "{'a': {'b': true}}"},
		{"map<any>", m{"a": m{"b": l{int64(1)}}}, "{'a': {'b': [1.0]}}"},

		{"any", "x", "'x'"},
		{"any", int64(1), "1.0"},
		{"any", uint64(1), "1.0"},
		{"any", 1.5, "1.5"},
		{"any", true, "true"},
		{"any", nil, "null"},
		{"any", l{int64(1)}, "[1.0]"},
		{"any", m{"a": nil}, "{'a': null}"},
	} {
		expression := "true"
		if test.expected != "" {
			expression = "a == " + test.expected
		}
		c := mustCompile(t, expression, "a "+test.typ)
		fields := value.Map{"a": test.v}
		held, err := c.Evaluate(nil, &Request{Fields: fields})
		checked := c.CheckContext(fields)
		var wrong *TypeError
		switch {
		case test.expected == "" && (!errors.As(err, &wrong) || !errors.As(checked, &wrong)):
			t.Errorf("%s of %#v: Evaluate = %t, %v, CheckContext = %v, want *TypeError", test.typ, test.v, held, err, checked)
		case test.expected != "" && (!held || err != nil || checked != nil):
			t.Errorf("%s of %#v is not %s: %v, CheckContext = %v", test.typ, test.v, test.expected, err, checked)
		}
	}
}

func TestCheckContext(t *testing.T) {
	c := mustCompile(t, "a || b.x == 1", "a bool, b map<int>")
	for _, test := range []struct {
		name   string
		fields value.Map
		want   string
	}{
		{"nothing", nil, ""},
		{"a part", value.Map{"a": true}, ""},
		{"all", value.Map{"a": true, "b": value.Map{}}, ""},
		{"an unknown name", value.Map{"a": true, "z": 1.0, "y": 1.0}, "condition c has no parameter y"},
		{"a wrong type", value.Map{"a": int64(1)}, "condition c: parameter a must be bool, not 1"},
		{"deep inside", value.Map{"b": value.Map{"x": true, "y": nil}}, `condition c: parameter b["x"] must be int, not true`},
		{"a long text", value.Map{"a": strings.Repeat("é", 100)}, `condition c: parameter a must be bool, not "` + strings.Repeat("é", 20) + `"…`},
		{"a map", value.Map{"a": value.Map{"x": nil, "w": nil}}, "condition c: parameter a must be bool, not a map of w, x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := c.CheckContext(test.fields); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("CheckContext = %q, want %q", got, test.want)
			}
		})
	}
}
