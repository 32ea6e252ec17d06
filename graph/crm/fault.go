package crm

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is what every *Error is, so that a caller who only wants to know whether the
// organisation is at fault can ask errors.Is.
var ErrInvalid = errors.New("invalid organisation")

// A Fault is one thing that is wrong with an organisation.
type Fault struct {
	// Subject is what is at fault, as kind and id: role:sales, field:deal.iban, deal:d1.
	Subject string

	// Message says what is wrong, and what would be right.
	Message string
}

// Error prints the fault as subject: message.
func (f Fault) Error() string { return f.Subject + ": " + f.Message }

// An Error holds all the faults of an organisation, or of a change to it.
type Error struct{ Faults []Fault }

// maxShown keeps the message of an organisation that is all wrong readable; Faults has
// them all.
const maxShown = 50

// Error prints one fault a line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("invalid organisation:")
	for _, f := range e.Faults[:min(len(e.Faults), maxShown)] {
		b.WriteString("\n  " + f.Error())
	}
	if more := len(e.Faults) - maxShown; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// Is makes every *Error an ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }
