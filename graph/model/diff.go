package model

import (
	"slices"
	"strconv"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
)

// A ChangeKind says what happened to a definition.
type ChangeKind uint8

// The kinds of a change.
const (
	Added ChangeKind = iota + 1
	Removed
	Changed
)

// String is the kind in a word.
func (k ChangeKind) String() string {
	switch k {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Changed:
		return "changed"
	default:
		return "unknown"
	}
}

// A Change is one difference in meaning between two models.
type Change struct {
	Kind ChangeKind

	// Subject is what changed: `schema`, a type, a relation as type#relation, or
	// `condition` and its name.
	Subject string

	// From and To are the definitions in the modelling language; From is empty for what
	// was added, To for what was removed. A type that came or went carries its relations,
	// which are not listed again.
	From, To string
}

// Diff lists what changed in meaning. The order of types, of relations and of the
// operands of `or` and `and` means nothing, nor do comments, modules and superfluous
// parentheses. Changes come as schema, types with their relations by name, conditions
// by name; there are none if and only if the models are Equal.
func Diff(from, to *Model) []Change {
	var changes []Change
	if from.Schema() != to.Schema() {
		changes = append(changes, Change{Changed, "schema", from.Schema(), to.Schema()})
	}
	changes = append(changes, diffTypes(from, to)...)
	return append(changes, diffConditions(from, to)...)
}

func diffTypes(from, to *Model) []Change {
	var changes []Change
	for _, name := range union(from.byName, to.byName) {
		switch before, after := from.byName[name], to.byName[name]; {
		case before == nil:
			changes = append(changes, Change{Kind: Added, Subject: name, To: after.print()})
		case after == nil:
			changes = append(changes, Change{Kind: Removed, Subject: name, From: before.print()})
		default:
			changes = append(changes, diffRelations(before, after)...)
		}
	}
	return changes
}

func diffRelations(from, to *typeDef) []Change {
	var changes []Change
	for _, name := range union(from.byName, to.byName) {
		switch before, after := from.byName[name], to.byName[name]; {
		case before == nil:
			changes = append(changes, Change{Kind: Added, Subject: after.String(), To: after.print()})
		case after == nil:
			changes = append(changes, Change{Kind: Removed, Subject: before.String(), From: before.print()})
		case before.canonical() != after.canonical():
			changes = append(changes, Change{Changed, after.String(), before.print(), after.print()})
		}
	}
	return changes
}

func diffConditions(from, to *Model) []Change {
	var changes []Change
	for _, name := range union(from.guards, to.guards) {
		subject := "condition " + name
		switch before, after := from.guards[name], to.guards[name]; {
		case before == nil:
			changes = append(changes, Change{Kind: Added, Subject: subject, To: after.print()})
		case after == nil:
			changes = append(changes, Change{Kind: Removed, Subject: subject, From: before.print()})
		case before.canonical() != after.canonical():
			changes = append(changes, Change{Changed, subject, before.print(), after.print()})
		}
	}
	return changes
}

// Equal reports whether two models mean the same: see Diff.
func (m *Model) Equal(o *Model) bool { return m == o || len(Diff(m, o)) == 0 }

// union are the keys of both maps, in order.
func union[V any](a, b map[string]V) []string {
	keys := append(sortedKeys(a), sortedKeys(b)...)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// canonical is a text that two definitions share if and only if they mean the same by
// the rules of Diff.
func (r *relationDef) canonical() string {
	var allowed []string
	for _, ref := range r.allowed {
		allowed = append(allowed, restrictionText(ref))
	}
	slices.Sort(allowed)
	return canonicalRewrite(r.rewrite) + "\n" + strings.Join(slices.Compact(allowed), "\n")
}

func canonicalRewrite(rewrite *openfgav1.Userset) string {
	switch rewrite.GetUserset().(type) {
	case *openfgav1.Userset_ComputedUserset:
		return strconv.Quote(rewrite.GetComputedUserset().GetRelation())
	case *openfgav1.Userset_TupleToUserset:
		from := rewrite.GetTupleToUserset()
		return strconv.Quote(from.GetComputedUserset().GetRelation()) + " from " + strconv.Quote(from.GetTupleset().GetRelation())
	case *openfgav1.Userset_Union, *openfgav1.Userset_Intersection:
		inner, op := operands(rewrite)
		var parts []string
		for _, child := range flatten(op, inner) {
			parts = append(parts, canonicalRewrite(child))
		}
		slices.Sort(parts)
		parts = slices.Compact(parts)
		if len(parts) == 1 {
			return parts[0]
		}
		if op == OpUnion {
			return "(" + strings.Join(parts, " or ") + ")"
		}
		return "(" + strings.Join(parts, " and ") + ")"
	case *openfgav1.Userset_Difference:
		from := rewrite.GetDifference()
		return "(" + canonicalRewrite(from.GetBase()) + " but not " + canonicalRewrite(from.GetSubtract()) + ")"
	default:
		return "[]"
	}
}

func (c *conditionDef) canonical() string {
	var b strings.Builder
	for _, name := range sortedKeys(c.message.GetParameters()) {
		b.WriteString(name + ": " + typeText(c.message.GetParameters()[name]) + "\n")
	}
	b.WriteString(canonicalExpression(c.message.GetExpression()))
	return b.String()
}

// canonicalExpression leaves out the white space around an expression and around each
// of its lines, unless a string could be running over a line's end.
func canonicalExpression(expression string) string {
	expression = strings.TrimSpace(strings.ReplaceAll(expression, "\r\n", "\n"))
	if strings.Contains(expression, `"""`) || strings.Contains(expression, "'''") {
		return expression
	}
	lines := strings.Split(expression, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool { return line == "" }), "\n")
}
