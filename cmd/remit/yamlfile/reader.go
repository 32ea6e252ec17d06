package yamlfile

import (
	"cmp"
	"fmt"
	"slices"
)

// A Reader gathers faults while files are read. Its zero value is ready.
type Reader struct {
	Faults   []Fault
	Warnings []Fault // of what was read and has no effect

	nodes int  // nodes visited, aliases counted anew each time
	deep  bool // some were nested too deep
}

// maxFaults bounds what is reported of one file: someone who fed it the wrong file does
// not want a thousand lines.
const maxFaults = 20

// Faultf notes that something is wrong.
func (r *Reader) Faultf(p Place, format string, args ...any) {
	r.Faults = append(r.Faults, Fault{Place: p, Message: fmt.Sprintf(format, args...)})
}

// Warnf notes that something was read and has no effect.
func (r *Reader) Warnf(p Place, format string, args ...any) {
	r.Warnings = append(r.Warnings, Fault{Place: p, Message: fmt.Sprintf(format, args...)})
}

// Err is an *Error with all faults so far, file by file and in the order of their places,
// or nil.
func (r *Reader) Err() error {
	if len(r.Faults) == 0 {
		return nil
	}
	files := map[string]int{} // in the order in which they were met
	for _, f := range r.Faults {
		if _, met := files[f.Place.File]; !met {
			files[f.Place.File] = len(files)
		}
	}
	slices.SortStableFunc(r.Faults, func(x, y Fault) int {
		return cmp.Or(cmp.Compare(files[x.Place.File], files[y.Place.File]),
			cmp.Compare(x.Place.Line, y.Place.Line), cmp.Compare(x.Place.Column, y.Place.Column))
	})
	return &Error{Faults: r.Faults}
}
