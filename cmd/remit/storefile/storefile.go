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
	"io/fs"
	"path"
	"path/filepath"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
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
	return read(name, yamlfile.ReadFile)
}

// ReadFS reads a store file from a file system.
func ReadFS(fsys fs.FS, name string) (*File, error) {
	return read(name, func(name string) ([]byte, error) {
		return fs.ReadFile(fsys, path.Clean(filepath.ToSlash(name)))
	})
}

func read(name string, open func(string) ([]byte, error)) (*File, error) {
	r := &reader{open: open}
	data, err := open(name)
	if err != nil {
		return nil, &Error{Faults: []Fault{{Place: Place{File: name}, Message: yamlfile.Reason(err)}}}
	}
	file := r.store(name, data)
	if err := r.Err(); err != nil {
		return nil, err
	}
	file.Warnings = r.Warnings
	return file, nil
}

// A reader gathers faults while files are read.
type reader struct {
	yamlfile.Reader
	open func(string) ([]byte, error)
}
