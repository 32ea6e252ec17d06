package model

import (
	"errors"
	"fmt"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph/condition"
)

func (m *Model) validateCondition(c *conditionDef, found *faults) {
	before := len(found.list)
	validateName(c.at, "", "", "condition", c.name, MaxName, found)
	if c.message.GetName() != c.name {
		found.add(c.at, "", "", "condition %s stands under that key but calls itself %q: use one name", c.name, c.message.GetName())
	}
	parameters := make([]condition.Parameter, 0, len(c.message.GetParameters()))
	for _, name := range sortedKeys(c.message.GetParameters()) {
		t, err := parameterType(c.message.GetParameters()[name], 0)
		if err != nil {
			at := c.at
			for _, p := range c.parameters {
				if p.text == name {
					at = p.at
				}
			}
			found.add(at, "", "", "condition %s, parameter %s: %v", c.name, name, err)
			continue
		}
		parameters = append(parameters, condition.Parameter{Name: name, Type: t})
	}
	if len(found.list) > before {
		return
	}
	compiled, err := condition.Compile(c.name, c.message.GetExpression(), parameters)
	var refused *condition.CompileError
	switch {
	case err == nil:
		c.compiled = compiled
	case errors.As(err, &refused):
		for _, f := range refused.Faults {
			message := c.explain(f)
			switch {
			case f.Line == 0:
				found.add(c.at, "", "", "condition %s: %s", c.name, message)
			case c.expression.line == 0:
				found.add(c.at, "", "", "condition %s, at %d:%d in its expression: %s", c.name, f.Line, f.Column, message)
			default:
				found.add(c.expression.after(f.Line, f.Column), "", "", "condition %s: %s", c.name, message)
			}
		}
	default:
		found.add(c.at, "", "", "condition %s: %v", c.name, err)
	}
}

// explain says what is wrong, and which names there are where one is unknown.
func (c *conditionDef) explain(f condition.Fault) string {
	name := f.Unknown()
	if name == "" {
		return f.Explain()
	}
	names := sortedKeys(c.message.GetParameters())
	return fmt.Sprintf("%s%s; the parameters are %s", f.Explain(), suggest(name, names), listed(names))
}

// kinds are OpenFGA's types of parameters.
var kinds = map[openfgav1.ConditionParamTypeRef_TypeName]condition.Kind{
	openfgav1.ConditionParamTypeRef_TYPE_NAME_ANY:       condition.KindAny,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_BOOL:      condition.KindBool,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_STRING:    condition.KindString,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_INT:       condition.KindInt,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_UINT:      condition.KindUint,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_DOUBLE:    condition.KindDouble,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_DURATION:  condition.KindDuration,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_TIMESTAMP: condition.KindTimestamp,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_MAP:       condition.KindMap,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_LIST:      condition.KindList,
	openfgav1.ConditionParamTypeRef_TYPE_NAME_IPADDRESS: condition.KindIPAddress,
}

// maxTypeDepth bounds how deep the type of a parameter nests; the modelling language
// has no more than a list or a map of something plain.
const maxTypeDepth = 8

func parameterType(ref *openfgav1.ConditionParamTypeRef, depth int) (condition.Type, error) {
	kind, ok := kinds[ref.GetTypeName()]
	container := kind == condition.KindMap || kind == condition.KindList
	switch {
	case !ok:
		return condition.Type{}, fmt.Errorf("the type is not known: it should be one of %s, list<T> or map<T>", strings.Join(parameterTypes, ", "))
	case depth > maxTypeDepth:
		return condition.Type{}, errors.New("the type nests too deeply: use a plain type, or a list or a map of one")
	case container && len(ref.GetGenericTypes()) != 1:
		return condition.Type{}, errors.New("a list or a map needs the one type of its elements, as in list<string>")
	case !container && len(ref.GetGenericTypes()) != 0:
		return condition.Type{}, errors.New("only a list or a map has a type of elements: leave it out")
	case !container:
		return condition.Type{Kind: kind}, nil
	}
	element, err := parameterType(ref.GetGenericTypes()[0], depth+1)
	if err != nil {
		return condition.Type{}, err
	}
	return condition.Type{Kind: kind, Element: &element}, nil
}
