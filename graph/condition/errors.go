package condition

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

var (
	// ErrCost occurs if an evaluation costs more than DefaultCostLimit.
	ErrCost = errors.New("condition costs too much to evaluate")

	// ErrTooLarge occurs if a stored context's encoding is longer than MaxContext.
	ErrTooLarge = errors.New("context is too large")
)

// A Fault is one thing wrong with a condition. Line and Column are its place in the
// expression, from 1, Column in characters; both are 0 if it has none.
type Fault struct {
	Line, Column int
	Message      string
}

// A CompileError says why a condition cannot be compiled: all its faults, in the order
// of their places.
type CompileError struct {
	Condition string
	Faults    []Fault
}

func (e *CompileError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "condition %s: ", e.Condition)
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteString("; ")
		}
		if f.Line > 0 {
			fmt.Fprintf(&b, "%d:%d: ", f.Line, f.Column)
		}
		b.WriteString(f.Message)
	}
	return b.String()
}

func compileError(name string, issues *cel.Issues) error {
	e := &CompileError{Condition: name}
	for _, issue := range issues.Errors() {
		f := Fault{Message: issue.Message}
		if issue.Location != nil && issue.Location.Line() > 0 {
			f.Line, f.Column = issue.Location.Line(), max(issue.Location.Column()+1, 1)
		}
		e.Faults = append(e.Faults, f)
	}
	slices.SortStableFunc(e.Faults, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return e
}

// An UnknownError occurs if a stored context names something that is no parameter.
type UnknownError struct {
	Condition, Parameter string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("condition %s has no parameter %s", e.Condition, e.Parameter)
}

// A TypeError occurs if a context's value does not have its parameter's type. Parameter
// is a path if the value stands inside a list or a map: allowed[2].
type TypeError struct {
	Condition, Parameter string
	Want                 Type
	Got                  string // the value in short
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("condition %s: parameter %s must be %s, not %s", e.Condition, e.Parameter, e.Want, e.Got)
}

// A MissingError occurs if the answer depends on parameters that neither context has.
type MissingError struct {
	Condition string
	Fields    []string // sorted
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("condition %s lacks parameters: %s", e.Condition, strings.Join(e.Fields, ", "))
}

// An EvaluationError occurs if an expression has no result: a division by zero, a key
// that a map lacks, a malformed schedule.
type EvaluationError struct {
	Condition string
	Err       error
}

func (e *EvaluationError) Error() string {
	return fmt.Sprintf("condition %s: %v", e.Condition, e.Err)
}

// Unwrap is the cause.
func (e *EvaluationError) Unwrap() error { return e.Err }
