package graph

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrInvalid occurs when a text or a name is malformed: no model could accept it.
	ErrInvalid = errors.New("malformed")

	// ErrTypeNotFound occurs when the model has no type of the given name.
	ErrTypeNotFound = errors.New("type not found")

	// ErrRelationNotFound occurs when the type has no relation of the given name.
	ErrRelationNotFound = errors.New("relation not found")

	// ErrConditionNotFound occurs when the model has no condition of the given name.
	ErrConditionNotFound = errors.New("condition not found")

	// ErrNotAllowed occurs when a tuple is well formed but the type restrictions of
	// its relation do not admit it.
	ErrNotAllowed = errors.New("the model does not allow it")

	// ErrUnknownEntity occurs when a View is asked the name of an id that it does not
	// know.
	ErrUnknownEntity = errors.New("unknown entity")

	// ErrBudget occurs when a question needs more edges than its budget. It ends the
	// whole question; asking again does not help.
	ErrBudget = errors.New("work budget exhausted")

	// ErrUndefined occurs when an answer depends on its own negation: a cycle of the
	// data passes through the subtracted side of an exclusion.
	ErrUndefined = errors.New("the answer depends on its own negation")

	// ErrDepth occurs when an answer depends on what is further from the question than
	// Query.MaxDepth allows.
	ErrDepth = errors.New("resolution deeper than the limit")
)

// A ConditionError says which tuple's condition could not be evaluated. It wraps the
// reason, whose text it keeps: the ids here are for those who can name them.
type ConditionError struct {
	Userset   Userset // with Subject, the tuple
	Subject   Subject
	Condition string
	Err       error
}

// Error implements error.
func (e *ConditionError) Error() string { return e.Err.Error() }

// Unwrap makes errors.Is and errors.As find the reason.
func (e *ConditionError) Unwrap() error { return e.Err }

// A TupleError says which part of a tuple is wrong, why, and what would be right. It
// wraps ErrInvalid, ErrTypeNotFound, ErrRelationNotFound, ErrConditionNotFound or
// ErrNotAllowed.
type TupleError struct {
	Field   string   // object, relation, subject, condition, context or tuple
	Text    string   // the part as it was given, shortened
	Reason  string   // what is wrong with it, and what would be right
	Allowed []string // what may stand there instead, as the model writes it; may be empty
	Err     error
}

// Error implements error.
func (e *TupleError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q: ", e.Field, e.Text)
	if e.Reason != "" {
		b.WriteString(e.Reason)
	} else {
		b.WriteString(e.Err.Error())
	}
	if len(e.Allowed) > 0 {
		fmt.Fprintf(&b, "; allowed: %s", strings.Join(e.Allowed, ", "))
	}
	return b.String()
}

// Unwrap makes errors.Is find the kind of the error.
func (e *TupleError) Unwrap() error { return e.Err }

// shorten keeps a hostile text from filling an error message.
func shorten(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "…"
}

// invalid is an ErrInvalid without its text, which of adds: so that names which are well
// formed, as nearly all are, are not put together for nothing.
func invalid(field, format string, args ...any) *TupleError {
	return &TupleError{Field: field, Reason: fmt.Sprintf(format, args...), Err: ErrInvalid}
}

func (e *TupleError) of(text string) error {
	e.Text = shorten(text)
	return e
}
