package condition

import (
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/remit-authz/remit/graph/value"
)

// convert makes a CEL value of a context's value. In an error, Parameter is the path
// from v down to what is wrong.
func (t Type) convert(v value.Value) (ref.Val, *TypeError) {
	var out ref.Val
	switch t.Kind {
	case KindAny:
		out = toCEL(v)
	case KindBool:
		if b, ok := v.(bool); ok {
			out = types.Bool(b)
		}
	case KindString:
		if s, ok := v.(string); ok {
			out = types.String(s)
		}
	case KindInt:
		if i, ok := toInt(v); ok {
			out = types.Int(i)
		}
	case KindUint:
		if u, ok := toUint(v); ok {
			out = types.Uint(u)
		}
	case KindDouble:
		if f, ok := toDouble(v); ok {
			out = types.Double(f)
		}
	case KindDuration:
		if s, ok := v.(string); ok {
			if d, err := time.ParseDuration(s); err == nil {
				out = types.Duration{Duration: d}
			}
		}
	case KindTimestamp:
		if s, ok := v.(string); ok {
			if at, err := time.Parse(time.RFC3339, s); err == nil {
				out = types.Timestamp{Time: at}
			}
		}
	case KindIPAddress:
		if s, ok := v.(string); ok {
			if addr, err := netip.ParseAddr(s); err == nil {
				out = newIPAddress(addr)
			}
		}
	case KindList:
		if l, ok := v.(value.List); ok {
			return t.convertList(l)
		}
	case KindMap:
		if m, ok := v.(value.Map); ok {
			return t.convertMap(m)
		}
	}
	if out == nil {
		return nil, &TypeError{Want: t, Got: brief(v), Value: v}
	}
	return out, nil
}

func (t Type) convertList(l value.List) (ref.Val, *TypeError) {
	out := make([]ref.Val, len(l))
	for i, v := range l {
		converted, err := t.Element.convert(v)
		if err != nil {
			err.Parameter = fmt.Sprintf("[%d]%s", i, err.Parameter)
			return nil, err
		}
		out[i] = converted
	}
	return types.NewRefValList(adapter, out), nil
}

func (t Type) convertMap(m value.Map) (ref.Val, *TypeError) {
	out := make(map[string]any, len(m))
	var first *TypeError // the same whatever the order of the map
	for k, v := range m {
		converted, err := t.Element.convert(v)
		if err != nil {
			err.Parameter = fmt.Sprintf("[%q]%s", k, err.Parameter)
			if first == nil || err.Parameter < first.Parameter {
				first = err
			}
			continue
		}
		out[k] = converted
	}
	if first != nil {
		return nil, first
	}
	return newMap(m, out), nil
}

// toCEL converts what an any holds. All its numbers are doubles, as in OpenFGA and in
// JSON, whatever Go type they have here: otherwise x / 2.0 would hang on how the number
// was written. CEL compares doubles with ints by value, so x == 1 and x < 10 do as one
// expects.
func toCEL(v value.Value) ref.Val {
	switch v := v.(type) {
	case nil:
		return types.NullValue
	case bool:
		return types.Bool(v)
	case int64:
		return types.Double(v)
	case uint64:
		return types.Double(v)
	case float64:
		return types.Double(v)
	case string:
		return types.String(v)
	case value.List:
		out := make([]ref.Val, len(v))
		for i, element := range v {
			if out[i] = toCEL(element); out[i] == nil {
				return nil
			}
		}
		return types.NewRefValList(adapter, out)
	case value.Map:
		out := make(map[string]any, len(v))
		for k, element := range v {
			converted := toCEL(element)
			if converted == nil {
				return nil
			}
			out[k] = converted
		}
		return newMap(v, out)
	}
	return nil
}

func toInt(v value.Value) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case float64:
		// 2^63 itself is a float64, and too large.
		return int64(v), v == math.Trunc(v) && v >= -1<<63 && v < 1<<63
	case string:
		n, ok := parseWhole(v)
		return n.Int64(), ok && n.IsInt64()
	}
	return 0, false
}

func toUint(v value.Value) (uint64, bool) {
	switch v := v.(type) {
	case int64:
		return uint64(v), v >= 0
	case uint64:
		return v, true
	case float64:
		return uint64(v), v == math.Trunc(v) && v >= 0 && v < 1<<64
	case string:
		n, ok := parseWhole(v)
		return n.Uint64(), ok && n.IsUint64()
	}
	return 0, false
}

func toDouble(v value.Value) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		f, ok := parseNumber(v)
		if !ok {
			return 0, false
		}
		d, _ := f.Float64()
		return d, !math.IsInf(d, 0)
	}
	return 0, false
}

// parseNumber reads a decimal number out of a string, as OpenFGA does.
func parseNumber(s string) (*big.Float, bool) {
	// The bound keeps an exponent from asking for a number of a million digits.
	if len(s) > 64 {
		return nil, false
	}
	f, _, err := big.ParseFloat(s, 10, 128, big.ToNearestEven)
	if err != nil || f.IsInf() {
		return nil, false
	}
	return f, true
}

func parseWhole(s string) (*big.Int, bool) {
	f, ok := parseNumber(s)
	// Beyond 64 bits it is refused anyway, before it becomes a large Int.
	if !ok || !f.IsInt() || f.MantExp(nil) > 65 {
		return new(big.Int), false
	}
	n, _ := f.Int(nil)
	return n, true
}

// brief describes a value in an error, and shows no more of it than helps.
func brief(v value.Value) string {
	const most = 40
	switch v := v.(type) {
	case nil:
		return "null"
	case bool, int64, uint64, float64:
		return fmt.Sprint(v)
	case string:
		if len(v) > most {
			cut := most
			for cut > 0 && !utf8.RuneStart(v[cut]) {
				cut--
			}
			return fmt.Sprintf("%q…", v[:cut])
		}
		return fmt.Sprintf("%q", v)
	case value.List:
		return fmt.Sprintf("a list of %d", len(v))
	case value.Map:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if s := strings.Join(keys, ", "); len(s) <= most {
			return "a map of " + s
		}
		return fmt.Sprintf("a map of %d", len(v))
	}
	return fmt.Sprintf("%T", v)
}
