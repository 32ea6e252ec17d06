package crm

import (
	"context"
	"fmt"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// pacedReads is how many edges are visited from one call of Inquiry.Pace to the next.
const pacedReads = 1024

// A walker reads the graph for one inquiry, and counts what it visits.
type walker struct {
	ctx   func() context.Context // of the inquiry, which lasts as long as the walker
	pace  func(context.Context) error
	view  graph.View
	plan  *model.Plan
	deeds *Deeds
	at    time.Time
	err   error

	budget, visited int // edges
	paced           int // edges until the next pace

	org   graph.ID
	names map[graph.ID]string
}

func (w *walker) begin(ctx context.Context, q *Inquiry) {
	*w = walker{
		ctx: func() context.Context { return ctx }, pace: q.Pace,
		view: q.View, plan: q.Plan, deeds: q.Deeds, at: q.At, budget: q.Budget, paced: pacedReads, names: map[graph.ID]string{},
	}
	if w.budget <= 0 {
		w.budget = graph.DefaultBudget
	}
	if w.at.IsZero() {
		w.at = q.View.Time()
	}
	if w.pace == nil {
		w.pace = func(ctx context.Context) error { return ctx.Err() }
	}
	w.fail(w.pace(ctx))
	var err error
	w.org, _, err = q.Deeds.Organisation(q.View)
	w.fail(err)
}

func (w *walker) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// visit counts edges, and reports whether the walk goes on.
func (w *walker) visit(edges int) bool {
	if w.err != nil {
		return false
	}
	if w.visited += edges; w.visited > w.budget {
		w.err = graph.ErrBudget
		return false
	}
	if w.paced -= edges; w.paced < 0 {
		w.paced = pacedReads
		w.fail(w.pace(w.ctx()))
	}
	return w.err == nil
}

// find is an entity's id, 0 if it is not known.
func (w *walker) find(key graph.ObjectName) graph.ID {
	typ, ok := w.plan.Type(key.Type)
	if !ok || !w.visit(1) {
		return 0
	}
	id, ok, err := w.view.Lookup(typ.ID, key.ID)
	if w.fail(err); !ok || err != nil {
		return 0
	}
	return id
}

// key names an entity.
func (w *walker) key(id graph.ID) graph.ObjectName {
	typ := w.plan.TypeByID(id.Type())
	if id == 0 || typ == nil {
		return graph.ObjectName{}
	}
	name, err := w.view.Name(id)
	w.fail(err)
	return entity(typ.Name, name)
}

// document is an entity's attributes.
func (w *walker) document(id graph.ID) value.Map {
	if id == 0 || !w.visit(1) {
		return nil
	}
	d, _, err := w.view.Document(id)
	w.fail(err)
	return d.Fields
}

// relation finds one of an object's type; nil if the model does not have it.
func (w *walker) relation(object graph.ID, name string) *model.Relation {
	typ := w.plan.TypeByID(object.Type())
	if typ == nil {
		return nil
	}
	r, ok := typ.Relation(name)
	if !ok {
		return nil
	}
	return r
}

// subject is an entity, or with a relation those who have that to it.
func (w *walker) subject(id graph.ID, relation string) graph.Subject {
	s := graph.Subject{ID: id}
	if r := w.relation(id, relation); r != nil {
		s.Relation = r.ID
	}
	return s
}

// everyone is the subject of what is simply so.
func (w *walker) everyone() graph.Subject { return graph.Subject{ID: graph.Wildcard(w.deeds.User.ID)} }

// fact finds a tuple.
func (w *walker) fact(object graph.ID, relation string, s graph.Subject) (graph.Edge, Fact, bool) {
	r := w.relation(object, relation)
	if object == 0 || s.ID == 0 || r == nil || !w.visit(1) {
		return graph.Edge{}, Fact{}, false
	}
	u := graph.Userset{Object: object, Relation: r.ID}
	e, ok, err := w.view.Contains(u, s)
	w.fail(err)
	return e, Fact{u, s}, ok && err == nil
}

// tuple is the fact of a tuple that was come upon.
func (w *walker) tuple(object graph.ID, relation string, to graph.ID) Fact {
	u := graph.Userset{Object: object}
	if r := w.relation(object, relation); r != nil {
		u.Relation = r.ID
	}
	return Fact{u, graph.Subject{ID: to}}
}

// has reports whether a tuple is there.
func (w *walker) has(object graph.ID, relation string, s graph.Subject) bool {
	_, _, ok := w.fact(object, relation, s)
	return ok
}

// is reports whether something is simply so.
func (w *walker) is(object graph.ID, relation string) bool {
	return w.has(object, relation, w.everyone())
}

// facts are those of the tuples that are there.
func (w *walker) facts(object graph.ID, relation string, subjects ...graph.Subject) []Fact {
	var facts []Fact
	for _, s := range subjects {
		if _, f, ok := w.fact(object, relation, s); ok {
			facts = append(facts, f)
		}
	}
	return facts
}

// eachSubject visits the edges of an entity's relation, until visit is false.
func (w *walker) eachSubject(object graph.ID, relation string, visit func(e *graph.Edge) bool) {
	r := w.relation(object, relation)
	if r == nil || object == 0 {
		return
	}
	w.each(func(c *graph.Cursor) error {
		return w.view.Subjects(graph.Userset{Object: object, Relation: r.ID}, c)
	}, visit)
}

// eachObject visits the objects of a type whose relation a subject has, until visit is false.
func (w *walker) eachObject(typ, relation string, s graph.Subject, visit func(e *graph.Edge) bool) {
	t, ok := w.plan.Type(typ)
	if !ok || s.ID == 0 {
		return
	}
	if r, ok := t.Relation(relation); ok {
		w.each(func(c *graph.Cursor) error { return w.view.Objects(r.ID, s, c) }, visit)
	}
}

func (w *walker) each(fill func(*graph.Cursor) error, visit func(e *graph.Edge) bool) {
	var c graph.Cursor
	for !c.Done && w.visit(1) {
		if err := fill(&c); err != nil {
			w.fail(err)
			return
		}
		for i := range c.Edges {
			if !w.visit(1) || !visit(&c.Edges[i]) {
				return
			}
		}
	}
}

// subjects are the other ends of an entity's edges.
func (w *walker) subjects(object graph.ID, relation string) []graph.ID {
	var ids []graph.ID
	w.eachSubject(object, relation, func(e *graph.Edge) bool {
		ids = append(ids, e.Subject.ID)
		return true
	})
	return ids
}

// objects are the objects of a type whose relation an entity has.
func (w *walker) objects(typ, relation string, id graph.ID) []graph.ID {
	var ids []graph.ID
	w.eachObject(typ, relation, graph.Subject{ID: id}, func(e *graph.Edge) bool {
		ids = append(ids, e.Subject.ID)
		return true
	})
	return ids
}

// first is the first of the other ends, or 0.
func (w *walker) first(object graph.ID, relation string) graph.ID {
	var id graph.ID
	w.eachSubject(object, relation, func(e *graph.Edge) bool {
		id = e.Subject.ID
		return false
	})
	return id
}

// Names.

// name is an entity's name in quotation marks, or its id if it has none.
func (w *walker) name(id graph.ID) string {
	if text, ok := w.names[id]; ok {
		return text
	}
	text := textOf(w.document(id), attrName)
	if text == "" {
		text = w.key(id).ID
	}
	text = fmt.Sprintf("%q", text)
	w.names[id] = text
	return text
}

// named is an entity's name behind the word for what it is.
func (w *walker) named(id graph.ID) string {
	typ := w.plan.TypeByID(id.Type())
	if typ == nil {
		return w.name(id)
	}
	return typ.Name + " " + w.name(id)
}

// module is what the records of a module are called.
func (w *walker) module(id string) string {
	text := textOf(w.document(w.find(entity(typeModule, id))), attrName)
	if text == "" {
		return id
	}
	return lowerFirst(text)
}
