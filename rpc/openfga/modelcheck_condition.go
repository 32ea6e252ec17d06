package openfga

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph/condition"
)

// inlineCondition is the condition that no model defines: its tuples bring expressions of
// their own.
const inlineCondition = condition.InlineName

// checkConditions compiles the conditions of a model.
func (c *modelCheck) checkConditions() error {
	for _, key := range slices.Sorted(maps.Keys(c.conditions)) {
		def := c.conditions[key]
		if def.GetName() != key {
			return fmt.Errorf("condition key '%s' does not match condition name '%s'", key, def.GetName())
		}
		if err := checkCondition(def); err != nil {
			return err
		}
	}
	return nil
}

func checkCondition(def *openfgav1.Condition) error {
	parameters := make([]condition.Parameter, 0, len(def.GetParameters()))
	for _, name := range slices.Sorted(maps.Keys(def.GetParameters())) {
		t, err := parameterType(def.GetParameters()[name])
		if err != nil {
			return notCompiled(def.GetName(), fmt.Sprintf("failed to decode parameter type for parameter '%s': %v", name, err))
		}
		parameters = append(parameters, condition.Parameter{Name: name, Type: t})
	}
	if _, err := condition.Compile(def.GetName(), def.GetExpression(), parameters); err != nil {
		return notCompiled(def.GetName(), compileText(err))
	}
	return nil
}

func notCompiled(name, why string) error {
	return fmt.Errorf("failed to compile expression on condition '%s' - %s", name, why)
}

// compileText is what OpenFGA says of an expression that cannot be compiled: in most
// cases what CEL says.
func compileText(err error) string {
	var refused *condition.CompileError
	if !errors.As(err, &refused) {
		return err.Error()
	}
	if refused.Err != nil {
		return refused.Err.Error()
	}
	if refused.Yields != "" {
		return fmt.Sprintf("expected a bool condition expression output, but got '%s'", refused.Yields)
	}
	texts := make([]string, len(refused.Faults))
	for i, fault := range refused.Faults {
		texts[i] = fault.Message
	}
	return strings.Join(texts, "; ")
}

// parameterKinds are OpenFGA's types of parameters.
var parameterKinds = map[openfgav1.ConditionParamTypeRef_TypeName]condition.Kind{
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

// parameterType reads the type of a parameter.
func parameterType(ref *openfgav1.ConditionParamTypeRef) (condition.Type, error) {
	kind, ok := parameterKinds[ref.GetTypeName()]
	if !ok {
		return condition.Type{}, fmt.Errorf("unknown condition parameter type `%s`", ref.GetTypeName())
	}
	want := 0
	if kind == condition.KindList || kind == condition.KindMap {
		want = 1
	}
	if have := len(ref.GetGenericTypes()); have != want {
		return condition.Type{}, fmt.Errorf("condition parameter type `%s` requires %d generic types; found %d", ref.GetTypeName(), want, have)
	}
	if want == 0 {
		return condition.Type{Kind: kind}, nil
	}
	element, err := parameterType(ref.GetGenericTypes()[0])
	if err != nil {
		return condition.Type{}, err
	}
	return condition.Type{Kind: kind, Element: &element}, nil
}
