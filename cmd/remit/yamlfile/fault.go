package yamlfile

import (
	"fmt"
	"strings"
)

// A Place is where something stands in a file. Lines and columns count from 1; columns
// count bytes. Zero is unknown.
type Place struct {
	File   string
	Line   int
	Column int
}

// String is the place as compilers write it: file:line:column.
func (p Place) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Fault is something wrong, and where.
type Fault struct {
	Place   Place
	Message string
}

// String is the fault on one line, its place first.
func (f Fault) String() string { return f.Place.String() + ": " + f.Message }

// An Error holds all that is wrong with a file, in the order in which it stands there.
type Error struct{ Faults []Fault }

// Error lists the faults, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	for i, f := range e.Faults {
		if i == maxFaults {
			fmt.Fprintf(&b, "\nand %d more", len(e.Faults)-maxFaults)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(f.String())
	}
	return b.String()
}
