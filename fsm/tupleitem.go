package fsm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A tupleItem is a tuple of the head.
type tupleItem struct {
	object graph.ID
	ownedTuple
}

// An ownedTuple is what the tuples of its object hold of a tuple, and a heldTuple what those
// of its subject do. They are narrow, for they are most of a node's memory: what few tuples
// have stands elsewhere.
type ownedTuple struct {
	heldTuple
	created graph.Revision
	written int64
}

type heldTuple struct {
	place
	terms *terms // nil: it counts unconditionally and for ever
}

var ownedTuples = &tupleKind[ownedTuple]{
	place: func(t *ownedTuple) *place { return &t.place },
	at:    func(p place) ownedTuple { return ownedTuple{heldTuple: heldTuple{place: p}} },
	less:  func(a, b ownedTuple) bool { return a.less(&b.place) },
}

var heldTuples = &tupleKind[heldTuple]{
	place: func(t *heldTuple) *place { return &t.place },
	at:    func(p place) heldTuple { return heldTuple{place: p} },
	less:  func(a, b heldTuple) bool { return a.less(&b.place) },
}

// relations are those of a tuple's object and of its subject, in one number that orders them
// in this order.
type relations uint64

func relationsOf(object, subject model.RelationID) relations {
	return relations(object)<<32 | relations(subject)
}

func (r relations) object() model.RelationID  { return model.RelationID(r >> 32) }
func (r relations) subject() model.RelationID { return model.RelationID(r) } //nolint:gosec // the lower half

// terms say when a tuple counts. Nobody changes them.
type terms struct {
	condition model.ConditionID
	context   *condition.Context
	expires   int64
}

// edgeTo is the edge to an end under the terms, which may be nil.
func (t *terms) edgeTo(end graph.Subject) graph.Edge {
	if t == nil {
		return graph.Edge{Subject: end}
	}
	return graph.Edge{Subject: end, Condition: t.condition, Context: t.context, Expires: t.expires}
}

func newTupleItem(u graph.Userset, e graph.Edge, created graph.Revision, written int64) tupleItem {
	item := tupleItem{u.Object, ownedTuple{heldTuple{placeAt(u.Relation, e.Subject), nil}, created, written}}
	if !e.Plain() || e.Context != nil {
		item.terms = &terms{e.Condition, e.Context, e.Expires}
	}
	return item
}

// placeAt is a tuple's place among those of its object.
func placeAt(r model.RelationID, s graph.Subject) place {
	return place{relationsOf(r, s.Relation), s.ID}
}

// reverse is what its subject's tuples hold of a tuple.
func (t *tupleItem) reverse() heldTuple {
	return heldTuple{place{t.relations, t.object}, t.terms}
}

// subject is the end of a tuple that its object holds.
func (t *ownedTuple) subject() graph.Subject {
	return graph.Subject{ID: t.end, Relation: t.relations.subject()}
}

// edge is the tuple as graph.View.Subjects yields it.
func (t *ownedTuple) edge() graph.Edge { return t.terms.edgeTo(t.subject()) }

// reverseEdge is the tuple as graph.View.Objects yields it.
func (t *heldTuple) reverseEdge() graph.Edge { return t.terms.edgeTo(graph.Subject{ID: t.end}) }

func (t *tupleItem) userset() graph.Userset {
	return graph.Userset{Object: t.object, Relation: t.relations.object()}
}

func (t *tupleItem) row() graph.Row {
	return graph.Row{Userset: t.userset(), Edge: t.edge(), Written: t.written}
}

// expires is when the tuple does, 0 if never.
func (t *tupleItem) expires() int64 {
	if t.terms == nil {
		return 0
	}
	return t.terms.expires
}

func (t *tupleItem) expiredAt(ms int64) bool {
	e := t.edge()
	return e.ExpiredAt(ms)
}

// context is what was stored for the tuple's condition, encoded; nil if nothing was.
func (t *tupleItem) context() []byte {
	if t.terms == nil {
		return nil
	}
	return contextBytes(t.terms.context)
}

// value is the tuple's row as Pebble holds it.
func (t *tupleItem) value() []byte {
	r := tupleRow{created: t.created, written: t.written}
	if t.terms != nil {
		r.condition, r.expires, r.context = t.terms.condition, t.terms.expires, t.context()
	}
	return r.encode()
}
