package crm

import (
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// read gathers the tuples of a view, and the documents of the entities that they name.
func read(v graph.Scanner, p *model.Plan) (Encoding, error) {
	r := scan{view: v, plan: p, names: map[graph.ID]graph.ObjectName{}}
	var c graph.RowCursor
	for !c.Done {
		if err := v.Rows(&c); err != nil {
			return Encoding{}, err
		}
		for i := range c.Rows {
			if err := r.row(&c.Rows[i]); err != nil {
				return Encoding{}, err
			}
		}
	}
	r.e.sort()
	return r.e, nil
}

// A scan is a view on its way to an encoding.
type scan struct {
	view  graph.Scanner
	plan  *model.Plan
	names map[graph.ID]graph.ObjectName
	e     Encoding
}

func (r *scan) row(row *graph.Row) error {
	object, err := r.name(row.Userset.Object)
	if err != nil {
		return err
	}
	relation := r.plan.Relation(row.Userset.Relation)
	if relation == nil {
		return foreign("%s has a tuple of a relation that the model does not have", object)
	}
	to, err := r.name(row.Edge.Subject.ID)
	if err != nil {
		return err
	}
	t := graph.Tuple{Object: object, Relation: relation.Name, Subject: subject(to)}
	if err := complete(&t, r.plan, &row.Edge); err != nil {
		return err
	}
	r.e.Tuples = append(r.e.Tuples, t)
	return nil
}

// complete adds what an edge says of a tuple apart from its ends.
func complete(t *graph.Tuple, p *model.Plan, e *graph.Edge) error {
	if id := e.Subject.Relation; id != 0 {
		of := p.Relation(id)
		if of == nil {
			return foreign("%s has a subject whose relation the model does not have", t)
		}
		t.Subject.Relation = of.Name
	}
	if id := e.Condition; id != 0 {
		c := p.Condition(id)
		if c == nil {
			return foreign("%s has a condition that the model does not have", t)
		}
		t.Condition = c.Name()
		if e.Context != nil {
			t.Context = e.Context.Fields()
		}
	}
	if e.Expires != 0 {
		t.Expires = time.UnixMilli(e.Expires).UTC()
	}
	return nil
}

// name names an entity, and gathers its document when it is seen first.
func (r *scan) name(id graph.ID) (graph.ObjectName, error) {
	if name, ok := r.names[id]; ok {
		return name, nil
	}
	typ := r.plan.TypeByID(id.Type())
	if typ == nil {
		return graph.ObjectName{}, foreign("there is an entity of a type that the model does not have")
	}
	text, err := r.view.Name(id)
	if err != nil {
		return graph.ObjectName{}, err
	}
	name := graph.ObjectName{Type: typ.Name, ID: text}
	r.names[id] = name
	if id.IsWildcard() {
		return name, nil
	}
	d, found, err := r.view.Document(id)
	if err != nil {
		return name, err
	}
	if found {
		r.e.Documents = append(r.e.Documents, Document{Entity: name, Fields: d.Fields})
	}
	return name, nil
}

// document finds the document of an entity by name.
func document(v graph.View, p *model.Plan, name graph.ObjectName) (Document, bool, error) {
	typ, ok := p.Type(name.Type)
	if !ok {
		return Document{}, false, nil
	}
	id, ok, err := v.Lookup(typ.ID, name.ID)
	if !ok || err != nil {
		return Document{}, false, err
	}
	d, ok, err := v.Document(id)
	return Document{Entity: name, Fields: d.Fields}, ok, err
}
