package crm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/remit-authz/remit/graph"
)

// Keys are the ids of the entities of a type behind the id given, in the store's own order,
// which does not change, at most as many as the limit says; 0 is no limit. Fewer than that
// are the last. Types are those of Entity.Key.
//
// A page costs as much as it holds; of roles, fields and rules, as much as there are.
func (r *Reader) Keys(typ, after string, limit int) ([]string, error) {
	if r.plan == nil {
		return nil, nil
	}
	behind := graph.ID(0)
	if after != "" {
		id, ok, err := r.id(entity(typ, after))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("keys behind %s:%s: %w", typ, after, graph.ErrUnknownEntity)
		}
		behind = id
	}
	var ids []string
	err := r.each(typ, behind, func(id graph.ID) error {
		name, err := r.view.Name(id)
		if err != nil {
			return err
		}
		ids = append(ids, name)
		if len(ids) == limit {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return ids, err
}

// each visits the entities of a type behind an id, in order.
func (r *Reader) each(typ string, behind graph.ID, visit func(graph.ID) error) error {
	switch typ {
	case typeOrg:
		key, ok, err := r.Organisation()
		if !ok || err != nil {
			return err
		}
		id, ok, err := r.id(key)
		if !ok || err != nil || id <= behind {
			return err
		}
		return visit(id)
	case typeUser:
		org, ok, err := r.Organisation()
		if !ok || err != nil {
			return err
		}
		return r.eachSubject(org, relSeat, behind, visit)
	case typeRole:
		return r.ordered(r.roles, behind, visit)
	case typeField:
		return r.ordered(r.fields, behind, visit)
	case typeRule:
		return r.rules(behind, visit)
	case typeProfile, typeModule, typeGroup, typeTeam, typeShift:
		org, ok, err := r.Organisation()
		if !ok || err != nil {
			return err
		}
		return r.eachObject(typ, relOrg, subject(org), behind, visit)
	default:
		if reserved[typ] {
			return nil
		}
		return r.eachObject(typ, relModule, subject(entity(typeModule, typ)), behind, visit)
	}
}

// ordered visits in order what is gathered without one.
func (r *Reader) ordered(gather func(visit func(graph.ID) error) error, behind graph.ID, visit func(graph.ID) error) error {
	var ids []graph.ID
	err := gather(func(id graph.ID) error {
		if id > behind {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := visit(id); err != nil {
			return err
		}
	}
	return nil
}

// roles visits the tree of roles.
func (r *Reader) roles(visit func(graph.ID) error) error {
	org, ok, err := r.Organisation()
	if !ok || err != nil {
		return err
	}
	child, ok := r.relation(typeRole, relChild)
	if !ok {
		return nil
	}
	var todo []graph.ID
	add := func(id graph.ID) error {
		todo = append(todo, id)
		return visit(id)
	}
	if err := r.eachSubject(org, relRootRole, 0, add); err != nil {
		return err
	}
	for len(todo) > 0 {
		next := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := r.eachEdge(next, child, 0, func(e *graph.Edge) error { return add(e.Subject.ID) }); err != nil {
			return err
		}
	}
	return nil
}

// root is the id of the root role, empty if there is no organisation.
func (r *Reader) root() (id string, err error) {
	org, ok, err := r.Organisation()
	if !ok || err != nil {
		return "", err
	}
	err = r.eachSubject(org, relRootRole, 0, func(role graph.ID) error {
		id, err = r.view.Name(role)
		return err
	})
	return id, err
}

// fields visits those of each module.
func (r *Reader) fields(visit func(graph.ID) error) error {
	modules, err := r.Keys(typeModule, "", 0)
	if err != nil {
		return err
	}
	for _, m := range modules {
		if err := r.eachObject(typeField, relModule, subject(entity(typeModule, m)), 0, visit); err != nil {
			return err
		}
	}
	return nil
}

// rules visits them by their tuples, which all of them have: they have no edge to the
// organisation.
func (r *Reader) rules(behind graph.ID, visit func(graph.ID) error) error {
	typ, ok := r.plan.Type(typeRule)
	if !ok {
		return nil
	}
	scanner, ok := r.view.(graph.Scanner)
	if !ok {
		return fmt.Errorf("list rules: a %T cannot be scanned", r.view)
	}
	c := graph.RowCursor{From: max(graph.MakeID(typ.ID, 1), behind+1), To: graph.MakeID(typ.ID, graph.MaxSequence)}
	last := behind
	for !c.Done {
		if err := scanner.Rows(&c); err != nil {
			return err
		}
		for i := range c.Rows {
			id := c.Rows[i].Userset.Object
			if id == last {
				continue
			}
			last = id
			if err := visit(id); err != nil {
				return err
			}
		}
	}
	return nil
}
