package graph

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/value"
)

const resolveModel = `
model
  schema 1.1
type user
type group
  relations
    define member: [user]
type doc
  relations
    define viewer: [user, user:*, group#member with low]
    define guest: [user with low]
    define caller: [user with $expression, group#member with low]
    define reader: viewer
condition low(level: int) {
  level < 5
}
condition unused(level: int) {
  level < 6
}
`

func TestCheckTuple(t *testing.T) {
	p := compilePlan(t, resolveModel)
	for _, c := range []struct {
		name, text string
		condition  string
		context    value.Map
		err        error
		says       string
	}{
		{name: "entity", text: "doc:1#viewer@user:a"},
		{name: "wildcard", text: "doc:1#viewer@user:*"},
		{name: "userset with its condition", text: "doc:1#viewer@group:g#member", condition: "low", context: value.Map{"level": int64(1)}},
		{name: "userset without its condition", text: "doc:1#viewer@group:g#member", err: ErrNotAllowed, says: "only with a condition; allowed: user, user:*, group#member with low"},
		{name: "entity with a condition", text: "doc:1#viewer@user:a", condition: "low", err: ErrNotAllowed, says: "not take this subject with this condition"},
		{name: "unknown condition", text: "doc:1#viewer@user:a", condition: "high", err: ErrConditionNotFound},
		{name: "another type", text: "doc:1#viewer@group:g", err: ErrNotAllowed, says: "allowed: user, user:*, group#member with low"},
		{name: "wildcard not allowed", text: "doc:1#guest@user:*", condition: "low", err: ErrNotAllowed},
		{name: "computed relation", text: "doc:1#reader@user:a", err: ErrNotAllowed, says: "takes no tuples of its own"},
		{name: "unknown type", text: "dog:1#viewer@user:a", err: ErrTypeNotFound, says: "allowed: user, group, doc"},
		{name: "unknown subject type", text: "doc:1#viewer@usr:a", err: ErrTypeNotFound},
		{name: "unknown relation", text: "doc:1#owner@user:a", err: ErrRelationNotFound, says: "allowed: caller, guest, reader, viewer"},
		{name: "unknown subject relation", text: "doc:1#viewer@group:g#owner", err: ErrRelationNotFound},
		{name: "context of a wrong type", text: "doc:1#guest@user:a", condition: "low", context: value.Map{"level": "x"}, err: ErrInvalid},
		{name: "context without condition", text: "doc:1#viewer@user:a", context: value.Map{"level": int64(1)}, err: ErrInvalid, says: "no condition"},
		{name: "its own expression", text: "doc:1#caller@user:a", condition: "$expression", context: value.Map{"expression": "a > 1", "parameters": value.Map{"a": "int"}}},
		{name: "its own expression and other fields", text: "doc:1#caller@user:a", condition: "$expression", context: value.Map{"expression": "a == 'x'", "a": int64(1)}},
		{name: "no expression", text: "doc:1#caller@user:a", condition: "$expression", err: ErrInvalid, says: `context "$expression": condition $expression: the context lacks expression`},
		{name: "an expression with a fault", text: "doc:1#caller@user:a", condition: "$expression", context: value.Map{"expression": "a =="}, err: ErrInvalid, says: "1:5: the expression ends too early"},
		{name: "an expression of the wrong type", text: "doc:1#caller@user:a", condition: "$expression", context: value.Map{"expression": "a > 1"}, err: ErrInvalid, says: "1:3: > cannot be applied to (string, int)"},
		{name: "an expression where none may be", text: "doc:1#guest@user:a", condition: "$expression", context: value.Map{"expression": "true"}, err: ErrNotAllowed, says: "with this condition; allowed: user with low"},
		{name: "an expression for another subject", text: "doc:1#caller@group:g#member", condition: "$expression", context: value.Map{"expression": "true"}, err: ErrNotAllowed, says: "allowed: user with $expression, group#member with low"},
		{name: "an expression without the condition", text: "doc:1#caller@user:a", context: value.Map{"expression": "true"}, err: ErrNotAllowed, says: "only with a condition"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := tuple(t, c.text)
			x.Condition, x.Context = c.condition, c.context
			r, err := CheckTuple(p, x)
			if c.err == nil {
				if err != nil {
					t.Fatalf("CheckTuple(%s): %v", x, err)
				}
				if r.Relation.Name != x.Relation || p.TypeByID(r.Object).Name != x.Object.Type ||
					p.TypeByID(r.Subject).Name != x.Subject.Type || (r.Condition != 0) != (x.Condition != "") {
					t.Errorf("CheckTuple(%s) = %+v", x, r)
				}
				return
			}
			var fault *TupleError
			if !errors.Is(err, c.err) || !errors.As(err, &fault) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("CheckTuple(%s) = %v, want a *TupleError that is %v and says %q", x, err, c.err, c.says)
			}
		})
	}
	if got := Restrictions(relation(t, p, "doc", "viewer")); !slices.Equal(got, []string{"user", "user:*", "group#member with low"}) {
		t.Errorf("Restrictions = %q", got)
	}
}

// Whoever words the refusal for others finds its cause.
func TestCheckTupleKeepsTheCause(t *testing.T) {
	p := compilePlan(t, resolveModel)
	check := func(context value.Map) error {
		x := tuple(t, "doc:1#caller@user:a")
		x.Condition, x.Context = condition.InlineName, context
		_, err := CheckTuple(p, x)
		return err
	}
	var (
		malformed *condition.InlineError
		refused   *condition.CompileError
	)
	if err := check(nil); !errors.As(err, &malformed) || malformed.Fault != condition.FieldMissing {
		t.Errorf("CheckTuple without an expression = %v, want an *InlineError", err)
	}
	if err := check(value.Map{"expression": "f()"}); !errors.As(err, &refused) || refused.Err == nil {
		t.Errorf("CheckTuple with a bad expression = %v, want a *CompileError", err)
	}
}

func TestExpiryIsKeptToTheMillisecond(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, 0},
		{time.UnixMilli(1234).Add(999 * time.Microsecond), 1234},
		{time.UnixMilli(0), 1},
		{time.UnixMilli(-5), 1},
	} {
		if got := milliseconds(c.at); got != c.want {
			t.Errorf("milliseconds(%v) = %d, want %d", c.at, got, c.want)
		}
	}
}
