// Package storefile reads and writes store files (*.fga.yaml): a model, tuples and
// tests, the format of the OpenFGA command line, so that files written for it serve
// Remit unchanged.
//
// A file is read whole or not at all: the model is validated, every tuple is held
// against it, and all that is wrong is reported at once, each fault with file, line
// and column. What OpenFGA's command line accepts without using it (an unknown key in
// a tuple file, say) is a warning here, so that it cannot go unnoticed.
//
// Two things go beyond that format: a tuple may carry expires_at, an RFC 3339 instant,
// and a test may name several tuple_files, as a store may.
package storefile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// A File is a store file with all that it refers to.
type File struct {
	// Path is where the file was read from.
	Path string

	// Name is the store's name; empty if the file gives none.
	Name string

	// Source is the model as it was written, for a server to read; its zero value if the
	// file has none. Model is the same, validated, and nil if there is none. Plan is the
	// model compiled to ids of its own.
	Source Source
	Model  *model.Model
	Plan   *model.Plan

	// Tuples are those of the store, inline ones first, without repetitions.
	Tuples []Tuple

	Tests []Test

	// Warnings tell of what was read and has no effect.
	Warnings []Fault
}

// A Source is the text of a model: one of DSL, JSON and Modules is set.
type Source struct {
	DSL  string
	JSON string

	Schema  string // of Modules
	Modules []model.File
}

// A Tuple is a tuple and the place where it stands.
type Tuple struct {
	graph.Tuple
	Place Place

	user, object, relation, condition, expires Place
}

// A Test is one entry of tests.
type Test struct {
	Name        string
	Description string
	Place       Place

	// Tuples count in this test beside those of the store.
	Tuples []Tuple

	Checks      []Check
	ListObjects []ListObjects
	ListUsers   []ListUsers
}

// A Check asserts relations of every one of Users to every one of Objects.
type Check struct {
	Place      Place
	Users      []string
	Objects    []string
	Context    value.Map
	Assertions []CheckAssertion
}

// A CheckAssertion says what a check of a relation must answer.
type CheckAssertion struct {
	Place    Place
	Relation string
	Allowed  bool
}

// ListObjects asserts which objects of a type a user has relations to.
type ListObjects struct {
	Place      Place
	User       string
	Type       string
	Context    value.Map
	Assertions []ListAssertion
}

// ListUsers asserts which users of certain kinds have relations to an object.
type ListUsers struct {
	Place      Place
	Object     string
	Filters    []UserFilter
	Context    value.Map
	Assertions []ListAssertion
}

// A UserFilter is a kind of user: entities of a type, or its usersets with a relation.
type UserFilter struct {
	Type     string
	Relation string
}

// A ListAssertion says what a list for a relation must hold, in whatever order.
type ListAssertion struct {
	Place    Place
	Relation string
	Want     []string
}

// Read reads a store file from the disk. Files that it names are found relative to its
// folder.
func Read(name string) (*File, error) {
	return read(name, readFile)
}

// ReadFS reads a store file from a file system.
func ReadFS(fsys fs.FS, name string) (*File, error) {
	return read(name, func(name string) ([]byte, error) {
		return fs.ReadFile(fsys, path.Clean(filepath.ToSlash(name)))
	})
}

// readFile refuses what is no regular file but a named pipe handed over by a shell: a
// device has no end.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("a folder, not a file")
	}
	if !info.Mode().IsRegular() && info.Mode()&fs.ModeNamedPipe == 0 {
		return nil, errors.New("not a file that can be read to its end")
	}
	return os.ReadFile(name)
}

func read(name string, open func(string) ([]byte, error)) (*File, error) {
	r := &reader{open: open}
	data, err := open(name)
	if err != nil {
		return nil, &Error{Faults: []Fault{{Place: Place{File: name}, Message: reason(err)}}}
	}
	file := r.store(name, data)
	if err := r.err(); err != nil {
		return nil, err
	}
	file.Warnings = r.warnings
	return file, nil
}

// reason is an error of the file system without the path, which the fault's place
// gives already.
func reason(err error) string {
	if pathErr, ok := err.(*fs.PathError); ok { //nolint:errorlint // only the outermost repeats the path
		return pathErr.Err.Error()
	}
	return err.Error()
}

// A reader gathers faults while files are read.
type reader struct {
	open     func(string) ([]byte, error)
	faults   []Fault
	warnings []Fault
	nodes    int // nodes visited, aliases counted anew each time
}

// maxFaults bounds what is reported of one file: someone who fed it the wrong file does
// not want a thousand lines.
const maxFaults = 20

func (r *reader) faultf(p Place, format string, args ...any) {
	r.faults = append(r.faults, Fault{Place: p, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) warnf(p Place, format string, args ...any) {
	r.warnings = append(r.warnings, Fault{Place: p, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) err() error {
	if len(r.faults) == 0 {
		return nil
	}
	files := map[string]int{} // in the order in which they were met
	for _, f := range r.faults {
		if _, met := files[f.Place.File]; !met {
			files[f.Place.File] = len(files)
		}
	}
	slices.SortStableFunc(r.faults, func(x, y Fault) int {
		return cmp.Or(cmp.Compare(files[x.Place.File], files[y.Place.File]),
			cmp.Compare(x.Place.Line, y.Place.Line), cmp.Compare(x.Place.Column, y.Place.Column))
	})
	return &Error{Faults: r.faults}
}

// beside resolves a reference in a file: relative to its folder unless absolute.
func beside(file, reference string) string {
	if filepath.IsAbs(reference) {
		return reference
	}
	return filepath.Join(filepath.Dir(file), filepath.FromSlash(reference))
}
