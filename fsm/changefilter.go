package fsm

import (
	"math"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// A ChangeFilter says which changes are wanted. What is zero is not asked about: the zero
// value wants all.
type ChangeFilter struct {
	// Kinds are those that are wanted.
	Kinds []ChangeKind

	// From and To bound the leader's time, in milliseconds since 1970 UTC; both are
	// wanted themselves.
	From, To int64

	// Principal, Actor and RequestID are compared as they are.
	Principal, Actor, RequestID string

	// Object is that of a tuple, or the entity of a document; ObjectType is its type.
	Object     graph.ID
	ObjectType model.TypeID

	// Relations are those of tuples, of any of which one is wanted.
	Relations []model.RelationID

	// Subject is that of a tuple, together with its usersets unless SubjectRelation says
	// which one; SubjectType is its type.
	Subject         graph.ID
	SubjectRelation model.RelationID
	SubjectType     model.TypeID
}

// wants judges a row of the changelog without reading all of it: most rows are examined
// only to be left out.
func (f *ChangeFilter) wants(value []byte) (bool, error) {
	d := readRow(value)
	kind, at := ChangeKind(d.byte()), d.varint()
	to := f.To
	if to == 0 {
		to = math.MaxInt64
	}
	if at < f.From || at > to || len(f.Kinds) > 0 && !slices.Contains(f.Kinds, kind) {
		return false, d.err
	}
	wanted := true
	for _, want := range [...]string{f.Principal, f.Actor, f.RequestID} {
		got := d.bytes(MaxTextSize)
		wanted = wanted && (want == "" || string(got) == want)
	}
	d.bytes(MaxTextSize) // the reason
	switch {
	case !wanted:
	case kind.onTuple():
		wanted = f.wantsTuple(d)
	case kind.onDocument():
		wanted = f.wantsObject(graph.ID(d.uvarint())) && !f.onTuples()
	default:
		wanted = f.wantsObject(0) && !f.onTuples()
	}
	return wanted && d.err == nil, d.err
}

// onTuples reports whether the filter asks about what only tuples have.
func (f *ChangeFilter) onTuples() bool {
	return len(f.Relations) > 0 || f.Subject != 0 || f.SubjectType != 0
}

func (f *ChangeFilter) wantsObject(id graph.ID) bool {
	return (f.Object == 0 || f.Object == id) && (f.ObjectType == 0 || f.ObjectType == id.Type())
}

func (f *ChangeFilter) wantsTuple(d *decoder) bool {
	object, relation := graph.ID(d.uvarint()), model.RelationID(d.uint32())
	if !f.wantsObject(object) || len(f.Relations) > 0 && !slices.Contains(f.Relations, relation) {
		return false
	}
	subject, userset := graph.ID(d.uvarint()), model.RelationID(d.uint32())
	return (f.Subject == 0 || f.Subject == subject) && (f.SubjectType == 0 || f.SubjectType == subject.Type()) &&
		(f.SubjectRelation == 0 || f.SubjectRelation == userset)
}
