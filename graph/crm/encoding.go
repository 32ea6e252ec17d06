package crm

import (
	"cmp"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

// An Encoding is an organisation as a store holds it. Tuples are in the order of object,
// relation and subject, documents in that of their entity, both by name.
type Encoding struct {
	Tuples    []graph.Tuple
	Documents []Document
}

// A Document is the attributes of one entity.
type Document struct {
	Entity graph.ObjectName
	Fields value.Map
}

// Changes are what turns one encoding into another. A tuple that differs in its context
// or its expiry alone is put, which replaces it.
type Changes struct {
	Delete, Put []graph.Tuple

	DeleteDocuments []graph.ObjectName
	PutDocuments    []Document
}

// Tuples is how many tuples are written or deleted.
func (c Changes) Tuples() int { return len(c.Delete) + len(c.Put) }

// Empty reports whether there is nothing to do.
func (c Changes) Empty() bool {
	return c.Tuples() == 0 && len(c.DeleteDocuments) == 0 && len(c.PutDocuments) == 0
}

// Difference is what must be written to come from one encoding to another, each list in
// the order of an Encoding.
func Difference(from, to Encoding) Changes {
	var c Changes
	merge(from.Tuples, to.Tuples, compareTuples, equalTuples,
		func(t graph.Tuple) { c.Delete = append(c.Delete, t) },
		func(t graph.Tuple) { c.Put = append(c.Put, t) })
	merge(from.Documents, to.Documents, compareDocuments, equalDocuments,
		func(d Document) { c.DeleteDocuments = append(c.DeleteDocuments, d.Entity) },
		func(d Document) { c.PutDocuments = append(c.PutDocuments, d) })
	return c
}

// merge walks two sorted lists and reports what is gone and what is new or other.
func merge[T any](from, to []T, compare func(a, b T) int, equal func(a, b T) bool, gone, put func(T)) {
	for len(from) > 0 || len(to) > 0 {
		order := 0
		switch {
		case len(from) == 0:
			order = 1
		case len(to) == 0:
			order = -1
		default:
			order = compare(from[0], to[0])
		}
		switch {
		case order < 0:
			gone(from[0])
			from = from[1:]
		case order > 0:
			put(to[0])
			to = to[1:]
		default:
			if !equal(from[0], to[0]) {
				put(to[0])
			}
			from, to = from[1:], to[1:]
		}
	}
}

func compareObjects(a, b graph.ObjectName) int {
	return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.ID, b.ID))
}

func compareTuples(a, b graph.Tuple) int {
	return cmp.Or(
		compareObjects(a.Object, b.Object),
		strings.Compare(a.Relation, b.Relation),
		compareObjects(a.Subject.Object(), b.Subject.Object()),
		strings.Compare(a.Subject.Relation, b.Subject.Relation),
	)
}

// equalTuples compares what compareTuples leaves out.
func equalTuples(a, b graph.Tuple) bool {
	return a.Condition == b.Condition && a.Expires.Equal(b.Expires) && value.Equal(a.Context, b.Context)
}

func compareDocuments(a, b Document) int { return compareObjects(a.Entity, b.Entity) }

func equalDocuments(a, b Document) bool { return value.Equal(a.Fields, b.Fields) }

func (e *Encoding) sort() {
	slices.SortFunc(e.Tuples, compareTuples)
	slices.SortFunc(e.Documents, compareDocuments)
}
