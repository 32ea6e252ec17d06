package graphtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph/value"
)

// A sample is a condition that generated models use: its text, what it needs, and its
// meaning written out by hand.
type sample struct {
	name       string
	expression string
	parameters []string
	holds      func(arguments) Truth
	types      map[string]*openfgav1.ConditionParamTypeRef // where they differ from parameterTypes
}

// arguments finds a parameter's value; it is absent if neither the tuple nor the
// request brings it.
type arguments func(name string) (value.Value, bool)

// parameterTypes gives each parameter one type throughout, so that a request's context
// serves all conditions.
var parameterTypes = map[string]*openfgav1.ConditionParamTypeRef{
	"a":     {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_BOOL},
	"b":     {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_BOOL},
	"x":     {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_INT},
	"y":     {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_INT},
	"s":     {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING},
	"ip":    {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_IPADDRESS},
	"now":   {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_TIMESTAMP},
	"until": {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_TIMESTAMP},
	"ttl":   {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_DURATION},
	"list": {
		TypeName:     openfgav1.ConditionParamTypeRef_TYPE_NAME_LIST,
		GenericTypes: []*openfgav1.ConditionParamTypeRef{{TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING}},
	},
	"schedule": {
		TypeName:     openfgav1.ConditionParamTypeRef_TYPE_NAME_MAP,
		GenericTypes: []*openfgav1.ConditionParamTypeRef{{TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_ANY}},
	},
	"tags": {
		TypeName:     openfgav1.ConditionParamTypeRef_TYPE_NAME_MAP,
		GenericTypes: []*openfgav1.ConditionParamTypeRef{{TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING}},
	},
}

// samples are all conditions there are. Two of the same name are the same condition in
// two versions of a model.
var samples = []sample{
	{name: "one", expression: `x == 1`, parameters: []string{"x"}, holds: func(v arguments) Truth { return v.integer("x", func(x int64) Truth { return truth(x == 1) }) }},
	{name: "one", expression: `x != 1`, parameters: []string{"x"}, holds: func(v arguments) Truth { return v.integer("x", func(x int64) Truth { return truth(x != 1) }) }},
	{name: "one", expression: `x == "1"`, parameters: []string{"x"}, holds: func(v arguments) Truth {
		return v.text("x", func(x string) Truth { return truth(x == "1") })
	}, types: map[string]*openfgav1.ConditionParamTypeRef{"x": {TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING}}},
	{name: "both", expression: `a && b`, parameters: []string{"a", "b"}, holds: func(v arguments) Truth { return min(v.boolean("a"), v.boolean("b")) }},
	{name: "either", expression: `a || b`, parameters: []string{"a", "b"}, holds: func(v arguments) Truth { return max(v.boolean("a"), v.boolean("b")) }},
	{name: "either", expression: `a || !b`, parameters: []string{"a", "b"}, holds: func(v arguments) Truth { return max(v.boolean("a"), not(v.boolean("b"))) }},
	{name: "neither", expression: `!a`, parameters: []string{"a"}, holds: func(v arguments) Truth { return not(v.boolean("a")) }},
	{name: "inside", expression: `ip.in_cidr("10.1.0.0/16")`, parameters: []string{"ip"}, holds: func(v arguments) Truth {
		return v.text("ip", func(ip string) Truth { return truth(strings.HasPrefix(ip, "10.1.")) })
	}},
	{name: "before", expression: `now < until`, parameters: []string{"now", "until"}, holds: func(v arguments) Truth {
		return v.instant("now", func(now time.Time) Truth {
			return v.instant("until", func(until time.Time) Truth { return truth(now.Before(until)) })
		})
	}},
	{name: "fresh", expression: `now < until + ttl`, parameters: []string{"now", "until", "ttl"}, holds: func(v arguments) Truth {
		return v.instant("now", func(now time.Time) Truth {
			return v.instant("until", func(until time.Time) Truth {
				return v.text("ttl", func(ttl string) Truth {
					d, err := time.ParseDuration(ttl)
					if err != nil {
						return Undefined
					}
					return truth(now.Before(until.Add(d)))
				})
			})
		})
	}},
	{name: "hours", expression: `on_schedule(schedule, now)`, parameters: []string{"schedule", "now"}, holds: func(v arguments) Truth {
		schedule, ok := v("schedule")
		if !ok {
			return Undefined
		}
		return v.instant("now", func(now time.Time) Truth { return open(schedule.(value.Map), now) })
	}},
	{name: "listed", expression: `s in list`, parameters: []string{"s", "list"}, holds: func(v arguments) Truth {
		return v.text("s", func(s string) Truth {
			list, ok := v("list")
			if !ok {
				return Undefined
			}
			return truth(slices.Contains(list.(value.List), value.Value(s)))
		})
	}},
	{name: "ratio", expression: `x / y == 1`, parameters: []string{"x", "y"}, holds: func(v arguments) Truth {
		return v.integer("x", func(x int64) Truth {
			return v.integer("y", func(y int64) Truth {
				if y == 0 {
					return Undefined
				}
				return truth(x/y == 1)
			})
		})
	}},
	{name: "tagged", expression: `tags["k"] == s`, parameters: []string{"tags", "s"}, holds: func(v arguments) Truth {
		return v.text("s", func(s string) Truth {
			tags, ok := v("tags")
			if !ok {
				return Undefined
			}
			tag, ok := tags.(value.Map)["k"]
			if !ok {
				return Undefined
			}
			return truth(tag == value.Value(s))
		})
	}},
	{name: "choice", expression: `a ? x == 1 : s == "a"`, parameters: []string{"a", "x", "s"}, holds: func(v arguments) Truth {
		switch v.boolean("a") {
		case True:
			return v.integer("x", func(x int64) Truth { return truth(x == 1) })
		case False:
			return v.text("s", func(s string) Truth { return truth(s == "a") })
		default:
			return Undefined
		}
	}},
}

var meanings = func() map[string]func(arguments) Truth {
	meanings := map[string]func(arguments) Truth{}
	for _, s := range samples {
		meanings[s.expression] = s.holds
	}
	return meanings
}()

// fits reports whether a value can stand for a parameter of the type.
func fits(t *openfgav1.ConditionParamTypeRef, v value.Value) bool {
	text, isText := v.(string)
	switch t.GetTypeName() {
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_BOOL:
		_, ok := v.(bool)
		return ok
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_INT:
		_, err := strconv.ParseInt(text, 10, 64)
		_, whole := v.(int64)
		_, double := v.(float64) // a whole one: generated doubles are
		return whole || double || isText && err == nil
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING:
		return isText
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_IPADDRESS:
		return isText && strings.HasPrefix(text, "10.")
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_TIMESTAMP:
		_, err := time.Parse(time.RFC3339Nano, text)
		return isText && err == nil
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_DURATION:
		_, err := time.ParseDuration(text)
		return isText && err == nil
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_LIST:
		list, ok := v.(value.List)
		return ok && !slices.ContainsFunc(list, func(e value.Value) bool { return !fits(t.GetGenericTypes()[0], e) })
	case openfgav1.ConditionParamTypeRef_TYPE_NAME_MAP:
		m, ok := v.(value.Map)
		for _, e := range m {
			ok = ok && fits(t.GetGenericTypes()[0], e)
		}
		return ok
	default: // any
		return true
	}
}

// evaluate finds a condition's meaning by its text.
func evaluate(expression string, v arguments) Truth {
	holds, ok := meanings[expression]
	if !ok {
		panic(fmt.Sprintf("graphtest: no meaning known for condition %q", expression))
	}
	return holds(v)
}

func (v arguments) boolean(name string) Truth {
	b, ok := v(name)
	if !ok {
		return Undefined
	}
	return truth(b.(bool))
}

func (v arguments) integer(name string, then func(int64) Truth) Truth {
	n, ok := v(name)
	if !ok {
		return Undefined
	}
	switch n := n.(type) {
	case int64:
		return then(n)
	case float64:
		return then(int64(n))
	case string:
		parsed, err := strconv.ParseInt(n, 10, 64)
		if err != nil {
			return Undefined
		}
		return then(parsed)
	default:
		return Undefined
	}
}

func (v arguments) text(name string, then func(string) Truth) Truth {
	s, ok := v(name)
	if !ok {
		return Undefined
	}
	return then(s.(string))
}

func (v arguments) instant(name string, then func(time.Time) Truth) Truth {
	return v.text(name, func(s string) Truth {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return Undefined
		}
		return then(at)
	})
}
