package graphtest

import (
	"maps"
	"slices"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/value"
)

// usesInline reports whether a model lets tuples bring their own expressions.
func usesInline(m *openfgav1.AuthorizationModel) bool {
	for _, t := range m.GetTypeDefinitions() {
		for _, r := range t.GetMetadata().GetRelations() {
			if slices.ContainsFunc(r.GetDirectlyRelatedUserTypes(), func(ref *openfgav1.RelationReference) bool {
				return ref.GetCondition() == condition.InlineName
			}) {
				return true
			}
		}
	}
	return false
}

// inline is a context that brings one of the samples, whose values it must not bring.
func (g *generator) inline() value.Map {
	s := pick(g, samples)
	declared := value.Map{}
	for _, p := range s.parameters {
		if text := typeText(s.parameter(p)); text != "string" || g.chance(50) {
			declared[p] = text
		}
	}
	if p := pick(g, slices.Sorted(maps.Keys(parameterTypes))); g.chance(15) && !slices.Contains(s.parameters, p) {
		declared[p] = typeText(parameterTypes[p]) // which the expression does not use
	}
	fields := value.Map{"expression": s.expression}
	if len(declared) > 0 || g.chance(50) {
		fields["parameters"] = declared
	}
	if g.chance(30) {
		p := pick(g, s.parameters)
		fields[p] = g.argument(p)
	}
	return fields
}

// spoiled is a context of which no condition can be made.
func (g *generator) spoiled(fields value.Map) value.Map {
	fields = maps.Clone(fields)
	switch g.IntN(4) {
	case 0:
		delete(fields, "expression")
	case 1:
		fields["expression"] = "x ==="
	case 2:
		fields["parameters"] = "x: int"
	default:
		fields["parameters"] = value.Map{"x": "number"}
	}
	return fields
}

// inlineCondition is the condition that a stored context stands for, nil if none can be
// made of it.
func inlineCondition(stored value.Map) *openfgav1.Condition {
	i := slices.IndexFunc(samples, func(s sample) bool { return s.expression == stored["expression"] })
	declared, ok := stored["parameters"]
	texts, isMap := declared.(value.Map)
	if i < 0 || ok && !isMap {
		return nil
	}
	c := &openfgav1.Condition{
		Name: condition.InlineName, Expression: samples[i].expression,
		Parameters: map[string]*openfgav1.ConditionParamTypeRef{},
	}
	for name, text := range texts {
		t := typeOfText(text)
		if t == nil {
			return nil
		}
		c.Parameters[name] = t
	}
	for _, name := range samples[i].parameters {
		t, ok := c.Parameters[name]
		if !ok {
			t = &openfgav1.ConditionParamTypeRef{TypeName: openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING}
			c.Parameters[name] = t
		}
		if typeText(t) != typeText(samples[i].parameter(name)) {
			return nil
		}
	}
	return c
}

// typeOfText finds one of the types that samples have, nil if none reads like this.
func typeOfText(text value.Value) *openfgav1.ConditionParamTypeRef {
	for _, t := range parameterTypes {
		if typeText(t) == text {
			return t
		}
	}
	return nil
}

func typeText(t *openfgav1.ConditionParamTypeRef) string {
	text := strings.ToLower(strings.TrimPrefix(t.GetTypeName().String(), "TYPE_NAME_"))
	for _, element := range t.GetGenericTypes() {
		text += "<" + typeText(element) + ">"
	}
	return text
}
