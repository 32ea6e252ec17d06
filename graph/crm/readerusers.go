package crm

import (
	"slices"

	"github.com/remit-authz/remit/graph"
)

// ofType reports whether an entity is of a type; the type may be empty, which is any, or
// anyModule, which is any record.
func ofType(key graph.ObjectName, typ string) bool {
	return typ == "" || key.Type == typ || typ == anyModule && isRecord(key)
}

// users visits every entity that refers to another one, some more than once; only those
// of a type: see ofType.
func (r *Reader) users(key graph.ObjectName, typ string, visit func(graph.ObjectName) error) error {
	if r.plan == nil {
		return nil
	}
	if key == everyProfile {
		return r.restricted(visit)
	}
	if key.Type == typeModule {
		if err := r.usersOfModule(key.ID, typ, visit); err != nil {
			return err
		}
	}
	for i := range links {
		if l := &links[i]; l.refersTo(key.Type) && (typ == "" || l.ownedBy(typ)) {
			if err := r.usersBy(l, key, typ, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// usersBy visits those that refer to an entity by one link.
func (r *Reader) usersBy(l *link, key graph.ObjectName, typ string, visit func(graph.ObjectName) error) error {
	id, ok, err := r.id(key)
	if !ok || err != nil {
		return err
	}
	subjectType, of := l.subjectType()
	s := graph.Subject{ID: id}
	if l.owner == ofObject && of != "" {
		relation, ok := r.relation(key.Type, of)
		if !ok {
			return nil
		}
		s.Relation = relation.ID
	}
	named := func(id graph.ID) error {
		name, err := r.name(id)
		if err != nil {
			return err
		}
		return visit(name)
	}
	for _, relation := range l.relations(r.plan) {
		var err error
		switch {
		case l.owner == ofObject && ofType(entity(relation.Type.Name, ""), typ):
			err = r.eachHolder(relation, s, 0, named)
		case l.owner == ofSubject && relation.Type.Name == key.Type:
			err = r.eachEdge(id, relation, 0, func(e *graph.Edge) error {
				if t := r.plan.TypeByID(e.Subject.ID.Type()); t == nil || t.Name != subjectType {
					return nil
				}
				return named(e.Subject.ID)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// usersOfModule visits those that name a module by no edge to it: the modules below it,
// which name it in their document, and rules, which name it in their source's relation.
func (r *Reader) usersOfModule(id, typ string, visit func(graph.ObjectName) error) error {
	if typ == "" || typ == typeModule {
		if err := r.modulesBelow(id, visit); err != nil {
			return err
		}
	}
	if typ == "" || typ == typeRule {
		return r.rulesOf(id, visit)
	}
	return nil
}

func (r *Reader) modulesBelow(id string, visit func(graph.ObjectName) error) error {
	modules, err := r.Keys(typeModule, "", 0)
	if err != nil {
		return err
	}
	d := decoder{source: r}
	for _, m := range modules {
		if slices.Contains(d.module(m).Parents, id) {
			if err := visit(entity(typeModule, m)); err != nil {
				return err
			}
		}
	}
	return d.err()
}

func (r *Reader) rulesOf(module string, visit func(graph.ObjectName) error) error {
	return r.rules(0, func(rule graph.ID) error {
		for _, s := range ruleRelations {
			relation, ok := r.relation(s.typ, module+s.source)
			if s.typ == "" || !ok {
				continue
			}
			err := r.eachHolder(relation, graph.Subject{ID: rule}, 0, func(graph.ID) error {
				name, err := r.name(rule)
				if err != nil {
					return err
				}
				return visit(name)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// restricted visits the fields that are not open.
func (r *Reader) restricted(visit func(graph.ObjectName) error) error {
	open, ok := r.relation(typeField, relOpen)
	if !ok {
		return nil
	}
	user, ok := r.plan.Type(typeUser)
	if !ok {
		return nil
	}
	everyone := graph.Subject{ID: graph.Wildcard(user.ID)}
	return r.fields(func(id graph.ID) error {
		_, is, err := r.view.Contains(graph.Userset{Object: id, Relation: open.ID}, everyone)
		if is || err != nil {
			return err
		}
		name, err := r.name(id)
		if err != nil {
			return err
		}
		return visit(name)
	})
}
