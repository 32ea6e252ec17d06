package openfga

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/remit-authz/remit/graph/condition"
)

// conditionMessage is what OpenFGA says of a tuple, as object#relation@user, whose
// condition could not be evaluated. It is empty if err is none of package condition.
func conditionMessage(tuple, name string, err error) string {
	text := evaluationText(tuple, name, err)
	if text == "" {
		return ""
	}
	return "failed to evaluate relationship condition: " + text
}

func evaluationText(tuple, name string, err error) string {
	var missing *condition.MissingError
	if errors.As(err, &missing) {
		if name == inlineCondition {
			return fmt.Sprintf("'%s' - missing required parameters: %s", name, strings.Join(missing.Fields, ", "))
		}
		return fmt.Sprintf("'%s' - tuple '%s' is missing context parameters '%v'", name, tuple, missing.Fields)
	}
	var mistyped *condition.TypeError
	if errors.As(err, &mistyped) {
		return typeFault(name, pathFault(mistyped))
	}
	var evaluation *condition.EvaluationError
	if !errors.As(err, &evaluation) {
		return ""
	}
	if errors.Is(err, condition.ErrCost) {
		return fmt.Sprintf("'%s' - failed to evaluate condition expression: operation cancelled: actual cost limit exceeded", name)
	}
	var inline *condition.InlineError
	var compile *condition.CompileError
	if errors.As(err, &inline) || errors.As(err, &compile) {
		return fmt.Sprintf("'%s' - %s", name, inlineText(evaluation.Err))
	}
	return fmt.Sprintf("'%s' - failed to evaluate condition expression: %v", name, evaluation.Err)
}

// pathFault says what is wrong with a parameter, from the outside in.
func pathFault(err *condition.TypeError) string {
	name, path, _ := strings.Cut(err.Parameter, "[")
	fault := convertFault(err.Want, err.Value)
	if fault == "" {
		fault = fmt.Sprintf("expected type value '%s', but found '%s'", err.Want, err.Got)
	}
	for _, step := range slices.Backward(pathSteps(path)) {
		if i, err := strconv.Atoi(step); err == nil {
			fault = inList(i, fault)
		} else if key, err := strconv.Unquote(step); err == nil {
			fault = inMap(key, fault)
		}
	}
	return parameterFault(name, fault)
}

// pathSteps are the steps of a path such as 2]["eu"], which is what follows the first
// bracket of a parameter in a condition.TypeError.
func pathSteps(path string) []string {
	var steps []string
	for path != "" {
		step, err := strconv.QuotedPrefix(path)
		if err != nil {
			step, _, _ = strings.Cut(path, "]")
		}
		steps = append(steps, step)
		path = strings.TrimPrefix(strings.TrimPrefix(path[len(step):], "]"), "[")
	}
	return steps
}
