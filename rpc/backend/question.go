package backend

import (
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/limit"
)

// A Question is what all the parts of one request have in common: the view, the model,
// the instant and the context that it is judged by. It belongs to one goroutine.
type Question struct {
	Snapshot
	Reader *Reader
	Plan   *Plan
	At     time.Time
	Given  value.Map

	// UnboundNow is graph.Query's.
	UnboundNow bool

	// overlay carries the request's own tuples, and the names that the store does not
	// know; nil until there are any. It is the question's own to write to, or below it.
	overlay *graph.Overlay
	own     bool
}

// View is what the question reads: the store, under the request's own tuples.
func (q *Question) View() graph.View {
	if q.overlay != nil {
		return q.overlay
	}
	return q.Base
}

// Query hands the question to the evaluator.
func (q *Question) Query() graph.Query {
	return graph.Query{
		View: q.View(), Plan: q.Plan.Plan, At: q.At, Context: q.Given, Budget: q.Reader.Config.Budget,
		UnboundNow: q.UnboundNow, Pace: limit.PaceEvaluation, Visited: q.Reader.Config.Visited, Cache: q.Plan.Cache,
	}
}

// Fork copies the question, so that one of many can have its own context and tuples.
func (q *Question) Fork() Question {
	f := *q
	f.own = false
	return f
}

// Put adds a tuple that counts for this question alone. A fault is a *graph.TupleError.
func (q *Question) Put(tuple graph.Tuple) error {
	q.layer()
	return q.overlay.PutTuple(q.Plan.Plan, tuple)
}

// layer makes sure that the overlay belongs to this question alone.
func (q *Question) layer() {
	if !q.own {
		q.overlay, q.own = graph.NewOverlay(q.View()), true
	}
}

// Entity finds an entity, or gives it an id for this question: an unknown object has
// no tuples, but an unknown subject may still be one of everybody.
func (q *Question) Entity(t model.TypeID, name string) (graph.ID, error) {
	id, ok, err := q.View().Lookup(t, name)
	if err != nil || ok {
		return id, err
	}
	q.layer()
	return q.overlay.Entity(t, name)
}

// Userset reads an object and a relation. Faults name the fields object and relation.
func (q *Question) Userset(object, relation string) (graph.Userset, error) {
	name, err := graph.ParseObject(object)
	if err != nil {
		return graph.Userset{}, At("object", err)
	}
	t, err := graph.ResolveType(q.Plan.Plan, "object", name.Type)
	if err != nil {
		return graph.Userset{}, At("object", err)
	}
	r, err := RelationOf(q.Plan.Plan, t, relation)
	if err != nil {
		return graph.Userset{}, At("relation", err)
	}
	id, err := q.Entity(t.ID, name.ID)
	return graph.Userset{Object: id, Relation: r.ID}, err
}

// RelationOf finds a relation of a type.
func RelationOf(p *model.Plan, t *model.Type, name string) (*model.Relation, error) {
	if r, ok := t.Relation(name); ok {
		return r, nil
	}
	return graph.ResolveRelation(p, t.Name, name) // for its error
}

// Subject reads a subject. Faults name the field subject.
func (q *Question) Subject(text string) (graph.Subject, error) {
	name, err := graph.ParseSubject(text)
	if err != nil {
		return graph.Subject{}, At("subject", err)
	}
	kind, err := graph.ResolveKind(q.Plan.Plan, name.Type, name.Relation)
	if err != nil {
		return graph.Subject{}, At("subject", err)
	}
	id, err := q.Entity(kind.Type.ID, name.ID)
	s := graph.Subject{ID: id}
	if kind.Relation != nil {
		s.Relation = kind.Relation.ID
	}
	return s, err
}

// Names, for answers.

// ObjectName names an entity.
func (q *Question) ObjectName(id graph.ID) (graph.ObjectName, error) {
	return ObjectName(q.Symbols, q.View(), id)
}

// SubjectName names a subject.
func (q *Question) SubjectName(s graph.Subject) (graph.SubjectName, error) {
	return SubjectName(q.Symbols, q.View(), s)
}

// ObjectName names an entity of a view.
func ObjectName(symbols *model.Table, v graph.View, id graph.ID) (graph.ObjectName, error) {
	name, err := v.Name(id)
	if err != nil {
		return graph.ObjectName{}, err
	}
	return graph.ObjectName{Type: symbols.TypeName(id.Type()), ID: name}, nil
}

// SubjectName names a subject of a view.
func SubjectName(symbols *model.Table, v graph.View, s graph.Subject) (graph.SubjectName, error) {
	o, err := ObjectName(symbols, v, s.ID)
	if err != nil {
		return graph.SubjectName{}, err
	}
	_, relation := symbols.RelationName(s.Relation)
	return graph.SubjectName{Type: o.Type, ID: o.ID, Relation: relation}, nil
}

// Contextual reports whether a tuple came with the request.
func (q *Question) Contextual(row *graph.Row) bool {
	if q.overlay == nil {
		return false
	}
	if row.Userset.Object.IsLocal() || row.Edge.Subject.ID.IsLocal() {
		return true
	}
	_, stored, err := q.Base.Contains(row.Userset, row.Edge.Subject)
	return err == nil && !stored
}

// Row names a tuple.
func (q *Question) Row(row *graph.Row) (graph.Tuple, error) {
	return RowTuple(q.Symbols, q.View(), row)
}

// Token names the state that the question saw.
func (q *Question) Token() string { return q.Reader.Token(q.Base.Revision()) }

// RowTuple names a tuple of a view.
func RowTuple(symbols *model.Table, v graph.View, row *graph.Row) (graph.Tuple, error) {
	object, err := ObjectName(symbols, v, row.Userset.Object)
	if err != nil {
		return graph.Tuple{}, err
	}
	subject, err := SubjectName(symbols, v, row.Edge.Subject)
	if err != nil {
		return graph.Tuple{}, err
	}
	_, relation := symbols.RelationName(row.Userset.Relation)
	tuple := graph.Tuple{Object: object, Relation: relation, Subject: subject}
	if row.Edge.Condition != 0 {
		tuple.Condition = symbols.ConditionName(row.Edge.Condition)
		if row.Edge.Context != nil {
			tuple.Context = row.Edge.Context.Fields()
		}
	}
	if row.Edge.Expires != 0 {
		tuple.Expires = time.UnixMilli(row.Edge.Expires).UTC()
	}
	return tuple, nil
}
