package condition

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/remit-authz/remit/graph/value"
)

var (
	// ErrCost occurs if an evaluation costs more than DefaultCostLimit.
	ErrCost = errors.New("condition costs too much to evaluate")

	// ErrTooLarge occurs if a stored context's encoding is longer than MaxContext.
	ErrTooLarge = errors.New("context is too large")
)

// A Fault is one thing wrong with a condition. Line and Column are its place in the
// expression, from 1, Column in characters; both are 0 if it has none. Message may be
// CEL's: see Explain.
type Fault struct {
	Line, Column int
	Message      string
}

// A CompileError says why a condition cannot be compiled: all its faults, in the order
// of their places.
type CompileError struct {
	Condition string
	Faults    []Fault

	// Syntax is whether the expression could not even be read.
	Syntax bool

	// Yields is the type of what the expression yields, if all that is wrong is that it
	// is not bool.
	Yields string

	// Err is what CEL says itself, with the lines at fault; nil if it is not CEL that
	// objects.
	Err error
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
		b.WriteString(f.Explain())
	}
	return b.String()
}

// Unwrap is what CEL says.
func (e *CompileError) Unwrap() error { return e.Err }

func compileError(name string, issues *cel.Issues, err error, syntax bool) error {
	e := &CompileError{Condition: name, Syntax: syntax, Err: err}
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

// An InlineFault is what is wrong with a context that should hold an expression.
type InlineFault uint8

// The faults of such contexts.
const (
	FieldMissing  InlineFault = iota + 1 // the field is not there
	FieldMistyped                        // it is not a text with something in it, or not a map
	TypeUnknown                          // no type has this name
	TypeUnclosed                         // list<string without its end
	TypeBare                             // list or map without the type of elements
	TypePlain                            // the type of elements for what has none
)

// An InlineError occurs if the context of a tuple under the condition Inline does not hold
// an expression and the types of its parameters.
type InlineError struct {
	Field     string // expression or parameters
	Parameter string // whose type is wrong; empty if it is the field itself
	Type      string // the part of the parameter's type that is wrong
	Fault     InlineFault
}

func (e *InlineError) Error() string {
	at := fmt.Sprintf("condition %s: ", InlineName)
	if e.Parameter != "" {
		at += fmt.Sprintf("parameter %s: ", e.Parameter)
	}
	switch e.Fault {
	case FieldMissing:
		return fmt.Sprintf("%sthe context lacks %s", at, e.Field)
	case FieldMistyped:
		if e.Field == inlineParameters {
			return fmt.Sprintf("%s%s must be a map of names to types", at, e.Field)
		}
		return fmt.Sprintf("%s%s must be a text that is not empty", at, e.Field)
	case TypeUnclosed:
		return fmt.Sprintf("%stype %q lacks its closing >", at, e.Type)
	case TypeBare:
		return fmt.Sprintf("%stype %s needs the type of its elements, as in %s<string>", at, e.Type, e.Type)
	case TypePlain:
		return fmt.Sprintf("%stype %q has no elements: only list and map do", at, e.Type)
	default:
		return fmt.Sprintf("%s%q is no type: it should be one of %s, list<T> or map<T>", at, e.Type, plainTypes)
	}
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
	Value                value.Value
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
