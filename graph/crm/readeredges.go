package crm

import (
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// eachSubject visits the subjects of an entity's relation.
func (r *Reader) eachSubject(o graph.ObjectName, name string, behind graph.ID, visit func(graph.ID) error) error {
	id, ok, err := r.id(o)
	if !ok || err != nil {
		return err
	}
	relation, ok := r.relation(o.Type, name)
	if !ok {
		return nil
	}
	return r.eachEdge(id, relation, behind, func(e *graph.Edge) error { return visit(e.Subject.ID) })
}

// eachObject visits the objects of a type whose relation a subject has.
func (r *Reader) eachObject(typ, name string, s graph.SubjectName, behind graph.ID, visit func(graph.ID) error) error {
	relation, ok := r.relation(typ, name)
	if !ok {
		return nil
	}
	to, ok, err := r.subject(s)
	if !ok || err != nil {
		return err
	}
	return r.eachHolder(relation, to, behind, visit)
}

func (r *Reader) subject(s graph.SubjectName) (graph.Subject, bool, error) {
	var to graph.Subject
	if s.IsWildcard() {
		typ, ok := r.plan.Type(s.Type)
		if ok {
			to.ID = graph.Wildcard(typ.ID)
		}
		return to, ok, nil
	}
	id, ok, err := r.id(s.Object())
	if !ok || err != nil {
		return to, false, err
	}
	to.ID = id
	if s.Relation != "" {
		of, ok := r.relation(s.Type, s.Relation)
		if !ok {
			return to, false, nil
		}
		to.Relation = of.ID
	}
	return to, true, nil
}

// eachEdge visits the edges of a userset behind an entity.
func (r *Reader) eachEdge(id graph.ID, relation *model.Relation, behind graph.ID, visit func(*graph.Edge) error) error {
	c := graph.Cursor{After: graph.Subject{ID: behind}}
	for !c.Done {
		if err := r.view.Subjects(graph.Userset{Object: id, Relation: relation.ID}, &c); err != nil {
			return err
		}
		for i := range c.Edges {
			if err := visit(&c.Edges[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachHolder visits the objects whose relation a subject has, behind one.
func (r *Reader) eachHolder(relation *model.Relation, s graph.Subject, behind graph.ID, visit func(graph.ID) error) error {
	c := graph.Cursor{After: graph.Subject{ID: behind}}
	for !c.Done {
		if err := r.view.Objects(relation.ID, s, &c); err != nil {
			return err
		}
		for i := range c.Edges {
			if err := visit(c.Edges[i].Subject.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// document implements source.
func (r *Reader) document(o graph.ObjectName) (value.Map, error) {
	id, ok, err := r.id(o)
	if !ok || err != nil {
		return nil, err
	}
	d, _, err := r.view.Document(id)
	return d.Fields, err
}

// tuples implements source.
func (r *Reader) tuples(o graph.ObjectName, name string) ([]graph.Tuple, error) {
	id, ok, err := r.id(o)
	if !ok || err != nil {
		return nil, err
	}
	relation, ok := r.relation(o.Type, name)
	if !ok {
		return nil, nil
	}
	var list []graph.Tuple
	err = r.eachEdge(id, relation, 0, func(e *graph.Edge) error {
		to, err := r.name(e.Subject.ID)
		if err != nil {
			return err
		}
		t := graph.Tuple{Object: o, Relation: name, Subject: subject(to)}
		if err := complete(&t, r.plan, e); err != nil {
			return err
		}
		list = append(list, t)
		return nil
	})
	return list, err
}

// incoming implements source.
func (r *Reader) incoming(typ, name string, s graph.SubjectName) ([]graph.Tuple, error) {
	relation, ok := r.relation(typ, name)
	if !ok {
		return nil, nil
	}
	to, ok, err := r.subject(s)
	if !ok || err != nil {
		return nil, err
	}
	var list []graph.Tuple
	c := graph.Cursor{}
	for !c.Done {
		if err := r.view.Objects(relation.ID, to, &c); err != nil {
			return nil, err
		}
		for i := range c.Edges {
			e := c.Edges[i]
			object, err := r.name(e.Subject.ID)
			if err != nil {
				return nil, err
			}
			t := graph.Tuple{Object: object, Relation: name, Subject: s}
			e.Subject = graph.Subject{} // the object's, in this direction
			if err := complete(&t, r.plan, &e); err != nil {
				return nil, err
			}
			list = append(list, t)
		}
	}
	return list, nil
}
