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
	{"one", `x == 1`, []string{"x"}, func(v arguments) Truth { return v.integer("x", func(x int64) Truth { return truth(x == 1) }) }},
	{"one", `x != 1`, []string{"x"}, func(v arguments) Truth { return v.integer("x", func(x int64) Truth { return truth(x != 1) }) }},
	{"both", `a && b`, []string{"a", "b"}, func(v arguments) Truth { return min(v.boolean("a"), v.boolean("b")) }},
	{"either", `a || b`, []string{"a", "b"}, func(v arguments) Truth { return max(v.boolean("a"), v.boolean("b")) }},
	{"either", `a || !b`, []string{"a", "b"}, func(v arguments) Truth { return max(v.boolean("a"), not(v.boolean("b"))) }},
	{"neither", `!a`, []string{"a"}, func(v arguments) Truth { return not(v.boolean("a")) }},
	{"inside", `ip.in_cidr("10.1.0.0/16")`, []string{"ip"}, func(v arguments) Truth {
		return v.text("ip", func(ip string) Truth { return truth(strings.HasPrefix(ip, "10.1.")) })
	}},
	{"before", `now < until`, []string{"now", "until"}, func(v arguments) Truth {
		return v.instant("now", func(now time.Time) Truth {
			return v.instant("until", func(until time.Time) Truth { return truth(now.Before(until)) })
		})
	}},
	{"fresh", `now < until + ttl`, []string{"now", "until", "ttl"}, func(v arguments) Truth {
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
	{"hours", `on_schedule(schedule, now)`, []string{"schedule", "now"}, func(v arguments) Truth {
		schedule, ok := v("schedule")
		if !ok {
			return Undefined
		}
		return v.instant("now", func(now time.Time) Truth { return open(schedule.(value.Map), now) })
	}},
	{"listed", `s in list`, []string{"s", "list"}, func(v arguments) Truth {
		return v.text("s", func(s string) Truth {
			list, ok := v("list")
			if !ok {
				return Undefined
			}
			return truth(slices.Contains(list.(value.List), value.Value(s)))
		})
	}},
	{"ratio", `x / y == 1`, []string{"x", "y"}, func(v arguments) Truth {
		return v.integer("x", func(x int64) Truth {
			return v.integer("y", func(y int64) Truth {
				if y == 0 {
					return Undefined
				}
				return truth(x/y == 1)
			})
		})
	}},
	{"tagged", `tags["k"] == s`, []string{"tags", "s"}, func(v arguments) Truth {
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
	{"choice", `a ? x == 1 : s == "a"`, []string{"a", "x", "s"}, func(v arguments) Truth {
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
