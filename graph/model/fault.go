package model

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid is what every *Error is, so that a caller who only wants to know whether
// the model is at fault can ask errors.Is.
var ErrInvalid = errors.New("invalid model")

// ErrUndefined occurs when a model is compiled against symbols that lack one of its
// names: the store has not been told of the model's declarations.
var ErrUndefined = errors.New("name without an id")

// A Fault is one thing that is wrong with a model.
type Fault struct {
	// File is the name that the text was given, empty if it has none.
	File string

	// Line and Column say where, both counted from one, columns in characters. Both
	// are zero if the fault has no place, as in a model that never was text.
	Line, Column int

	// Type and Relation name the definition at fault, as far as there is one.
	Type, Relation string

	// Message says what is wrong and what would be right.
	Message string
}

// Error prints the fault as file:line:column: message, without the parts it lacks.
func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		b.WriteByte(':')
	}
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", f.Line, f.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(f.Message)
	return b.String()
}

// An Error holds all the faults of a model, in the order of its text.
type Error struct {
	Faults []Fault
}

// Error prints one fault a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Is makes every *Error an ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }

// maxFaults bounds how many faults are gathered: past a hundred faults the first ones are
// what its author needs, and an answer must stay smaller than a message.
const maxFaults = 100

// faults gathers what is wrong.
type faults struct {
	list []Fault
	more bool
}

// full reports whether there is no room for more, so that looking for them can stop.
func (f *faults) full() bool { return len(f.list) >= maxFaults }

func (f *faults) add(at place, typeName, relation, format string, args ...any) {
	if f.full() {
		f.more = true
		return
	}
	f.list = append(f.list, Fault{
		File: at.file, Line: at.line, Column: at.column,
		Type: typeName, Relation: relation,
		Message: fmt.Sprintf(format, args...),
	})
}

// err is the error of all that was gathered, nil if that is nothing.
func (f *faults) err(files ...string) error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortStableFunc(f.list, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File)),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	list := f.list
	if f.more {
		list = append(list, Fault{Message: "there may be more faults: mend these first"})
	}
	return &Error{Faults: list}
}

// A place is where something stands in the text of a model; the zero place is unknown.
type place struct {
	file         string
	line, column int
}

// after is the place that lies line and column (from one) into a text that begins here.
func (p place) after(line, column int) place {
	switch {
	case p.line == 0 || line <= 0:
		return p
	case line == 1:
		return place{p.file, p.line, p.column + max(column, 1) - 1}
	default:
		return place{p.file, p.line + line - 1, max(column, 1)}
	}
}

// seenFrom says in words where p is, to a reader who stands at from.
func (p place) seenFrom(from place) string {
	switch {
	case p.line == 0:
		return ""
	case p.file == from.file:
		return fmt.Sprintf(" (first at %d:%d)", p.line, p.column)
	default:
		return fmt.Sprintf(" (first at %s:%d:%d)", p.file, p.line, p.column)
	}
}
