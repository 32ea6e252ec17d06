package fsm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
)

// A tupleItem is a tuple in the forward tree, and a reverseItem is one in the reverse tree.
// They are narrow: a search costs what it brings of the tree into the processor's cache, and
// the trees are most of a node's memory. So what few tuples have stands elsewhere.
type tupleItem struct {
	object    graph.ID
	relations relations
	subject   graph.ID
	created   graph.Revision
	written   int64
	terms     *terms // nil: it counts unconditionally and for ever
}

type reverseItem struct {
	relations relations
	subject   graph.ID
	object    graph.ID
	terms     *terms
}

// relations are those of a tuple's object and of its subject, in one number that orders them
// in this order.
type relations uint64

func relationsOf(object, subject model.RelationID) relations {
	return relations(object)<<32 | relations(subject)
}

func (r relations) object() model.RelationID  { return model.RelationID(r >> 32) }
func (r relations) subject() model.RelationID { return model.RelationID(r) } //nolint:gosec // the lower half

// terms say when a tuple counts. Nobody changes them: a tuple's two items share them.
type terms struct {
	condition model.ConditionID
	context   *condition.Context
	expires   int64
}

func termsOf(e *graph.Edge) *terms {
	if e.Plain() && e.Context == nil {
		return nil
	}
	return &terms{e.Condition, e.Context, e.Expires}
}

// edgeTo is the edge to an end under the terms, which may be nil.
func (t *terms) edgeTo(end graph.Subject) graph.Edge {
	if t == nil {
		return graph.Edge{Subject: end}
	}
	return graph.Edge{Subject: end, Condition: t.condition, Context: t.context, Expires: t.expires}
}

func newTupleItem(u graph.Userset, e graph.Edge, created graph.Revision, written int64) tupleItem {
	return tupleItem{u.Object, relationsOf(u.Relation, e.Subject.Relation), e.Subject.ID, created, written, termsOf(&e)}
}

// tupleAt is what the forward tree is searched by.
func tupleAt(u graph.Userset, s graph.Subject) tupleItem {
	return tupleItem{object: u.Object, relations: relationsOf(u.Relation, s.Relation), subject: s.ID}
}

func (t *tupleItem) userset() graph.Userset {
	return graph.Userset{Object: t.object, Relation: t.relations.object()}
}
func (t *tupleItem) edge() graph.Edge {
	return t.terms.edgeTo(graph.Subject{ID: t.subject, Relation: t.relations.subject()})
}
func (t *tupleItem) row() graph.Row {
	return graph.Row{Userset: t.userset(), Edge: t.edge(), Written: t.written}
}

func (t *tupleItem) reverse() reverseItem {
	return reverseItem{t.relations, t.subject, t.object, t.terms}
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

// reverseAt is what the reverse tree is searched by.
func reverseAt(r model.RelationID, s graph.Subject, object graph.ID) reverseItem {
	return reverseItem{relations: relationsOf(r, s.Relation), subject: s.ID, object: object}
}

// edge is the tuple as graph.View.Objects yields it.
func (t *reverseItem) edge() graph.Edge { return t.terms.edgeTo(graph.Subject{ID: t.object}) }

func lessTuple(a, b tupleItem) bool {
	switch {
	case a.object != b.object:
		return a.object < b.object
	case a.relations != b.relations:
		return a.relations < b.relations
	}
	return a.subject < b.subject
}

func lessReverse(a, b reverseItem) bool {
	switch {
	case a.relations != b.relations:
		return a.relations < b.relations
	case a.subject != b.subject:
		return a.subject < b.subject
	}
	return a.object < b.object
}
