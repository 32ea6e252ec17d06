package rpc

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A question is what all the parts of one request have in common: the view, the model,
// the instant and the context that it is judged by. It belongs to one goroutine.
type question struct {
	snapshot
	reader *reader
	plan   *plan
	at     time.Time
	given  value.Map

	// overlay carries the request's own tuples, and the names that the store does not
	// know; nil until there are any. It is the question's own to write to, or below it.
	overlay *graph.Overlay
	own     bool
}

// view is what the question reads: the store, under the request's own tuples.
func (q *question) view() graph.View {
	if q.overlay != nil {
		return q.overlay
	}
	return q.base
}

// query hands the question to the evaluator.
func (q *question) query() graph.Query {
	return graph.Query{View: q.view(), Plan: q.plan.Plan, At: q.at, Context: q.given, Budget: q.reader.config.Budget}
}

// fork copies the question, so that one of many can have its own context and tuples.
func (q *question) fork() *question {
	f := *q
	f.own = false
	return &f
}

// checkContext takes the request's context. The instant is a field of its own, so a
// parameter that stands for it is refused rather than ignored.
func (q *question) checkContext(path string, m value.Map) error {
	if _, ok := m["now"]; ok && q.plan.bindsNow {
		return at(path+".now", fmt.Errorf("%w: now is the instant that the question is about: set scope.at instead", ErrContext))
	}
	return nil
}

// add takes tuples that count for this question alone.
func (q *question) add(path string, tuples []*remitv1.Tuple) error {
	if len(tuples) == 0 {
		return nil
	}
	q.layer()
	for i, message := range tuples {
		where := indexed(path, i)
		tuple, err := tupleOf(where, message)
		if err != nil {
			return err
		}
		if err := q.overlay.PutTuple(q.plan.Plan, tuple); err != nil {
			return tupleFault(where, err)
		}
	}
	return nil
}

// layer makes sure that the overlay belongs to this question alone.
func (q *question) layer() {
	if !q.own {
		q.overlay, q.own = graph.NewOverlay(q.view()), true
	}
}

// entity finds an entity, or gives it an id for this question: an unknown object has
// no tuples, but an unknown subject may still be one of everybody.
func (q *question) entity(t model.TypeID, name string) (graph.ID, error) {
	id, ok, err := q.view().Lookup(t, name)
	if err != nil || ok {
		return id, err
	}
	q.layer()
	return q.overlay.Entity(t, name)
}

// userset reads an object and a relation. Faults name the fields object and relation.
func (q *question) userset(object, relation string) (graph.Userset, error) {
	name, err := graph.ParseObject(object)
	if err != nil {
		return graph.Userset{}, at("object", err)
	}
	t, err := graph.ResolveType(q.plan.Plan, "object", name.Type)
	if err != nil {
		return graph.Userset{}, at("object", err)
	}
	r, err := relationOf(q.plan.Plan, t, relation)
	if err != nil {
		return graph.Userset{}, at("relation", err)
	}
	id, err := q.entity(t.ID, name.ID)
	return graph.Userset{Object: id, Relation: r.ID}, err
}

// relationOf finds a relation of a type.
func relationOf(p *model.Plan, t *model.Type, name string) (*model.Relation, error) {
	if r, ok := t.Relation(name); ok {
		return r, nil
	}
	return graph.ResolveRelation(p, t.Name, name) // for its error
}

// subject reads a subject. Faults name the field subject.
func (q *question) subject(text string) (graph.Subject, error) {
	name, err := graph.ParseSubject(text)
	if err != nil {
		return graph.Subject{}, at("subject", err)
	}
	kind, err := graph.ResolveKind(q.plan.Plan, name.Type, name.Relation)
	if err != nil {
		return graph.Subject{}, at("subject", err)
	}
	id, err := q.entity(kind.Type.ID, name.ID)
	s := graph.Subject{ID: id}
	if kind.Relation != nil {
		s.Relation = kind.Relation.ID
	}
	return s, err
}

// Names, for answers.

// objectName names an entity.
func (q *question) objectName(id graph.ID) (graph.ObjectName, error) {
	return objectName(q.symbols, q.view(), id)
}

// subjectName names a subject.
func (q *question) subjectName(s graph.Subject) (graph.SubjectName, error) {
	return subjectName(q.symbols, q.view(), s)
}

// tuple names a row.
func (q *question) tuple(row *graph.Row) (*remitv1.Tuple, error) {
	return rowMessage(q.symbols, q.view(), row)
}

func objectName(symbols *model.Table, v graph.View, id graph.ID) (graph.ObjectName, error) {
	name, err := v.Name(id)
	if err != nil {
		return graph.ObjectName{}, err
	}
	return graph.ObjectName{Type: symbols.TypeName(id.Type()), ID: name}, nil
}

func subjectName(symbols *model.Table, v graph.View, s graph.Subject) (graph.SubjectName, error) {
	o, err := objectName(symbols, v, s.ID)
	if err != nil {
		return graph.SubjectName{}, err
	}
	_, relation := symbols.RelationName(s.Relation)
	return graph.SubjectName{Type: o.Type, ID: o.ID, Relation: relation}, nil
}

func rowMessage(symbols *model.Table, v graph.View, row *graph.Row) (*remitv1.Tuple, error) {
	object, err := objectName(symbols, v, row.Userset.Object)
	if err != nil {
		return nil, err
	}
	subject, err := subjectName(symbols, v, row.Edge.Subject)
	if err != nil {
		return nil, err
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
	return tupleMessage(tuple)
}

// indexed writes an element of a repeated field as a path.
func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// tupleFault puts a fault of a tuple under the field that it names.
func tupleFault(path string, err error) error {
	field := ""
	if te := (*graph.TupleError)(nil); errors.As(err, &te) {
		switch te.Field {
		case "object", "relation", "subject":
			field = "." + te.Field
		case "condition":
			field = ".condition.name"
		case "context":
			field = ".condition.context"
		}
	}
	return at(path+field, err)
}
