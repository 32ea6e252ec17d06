package crm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// A Reader reads an organisation, one entity at a time, from the view of its store. It
// remembers nothing, and is safe for concurrent use.
//
// Errors are those of the view, and ErrForeign for what only something else can have written.
type Reader struct {
	view graph.View
	plan *model.Plan
}

// NewReader makes a reader. The plan is that of the store's newest model, or nil if it has
// none: then nothing is there.
func NewReader(v graph.View, p *model.Plan) *Reader { return &Reader{view: v, plan: p} }

// Organisation is the key of the organisation itself; ok is false if there is none yet.
func (r *Reader) Organisation() (key graph.ObjectName, ok bool, err error) {
	tuples, err := r.tuples(entity(typeTool, string(ToolExport)), relOrg)
	if err != nil || len(tuples) == 0 {
		return graph.ObjectName{}, false, err
	}
	return tuples[0].Subject.Object(), true, nil
}

// Entity is an entity in canonical order and its version, or nil and 0 if it is not there.
func (r *Reader) Entity(key graph.ObjectName) (Entity, uint64, error) {
	id, ok, err := r.id(key)
	if !ok || err != nil {
		return nil, 0, err
	}
	document, ok, err := r.view.Document(id)
	if !ok || err != nil {
		return nil, 0, err
	}
	d := decoder{source: r}
	e := r.decode(&d, key)
	if err := d.err(); err != nil {
		return nil, 0, err
	}
	if e == nil {
		return nil, 0, nil
	}
	return e.clone(), document.Version, nil
}

func (r *Reader) decode(d *decoder, key graph.ObjectName) Entity {
	org := func() graph.ObjectName {
		org, _, err := r.Organisation()
		d.fail(err)
		return org
	}
	switch key.Type {
	case typeOrg:
		return d.head(key.ID)
	case typeUser:
		return d.seat(org(), key.ID)
	case typeRole:
		return d.role(key.ID)
	case typeProfile:
		return d.profile(org(), key.ID)
	case typeModule:
		return d.module(key.ID)
	case typeField:
		return d.field(key.ID, func() []string {
			ids, err := r.Keys(typeProfile, "", 0)
			d.fail(err)
			return ids
		})
	case typeGroup:
		return d.group(key.ID)
	case typeTeam:
		return d.team(key.ID)
	case typeRule:
		return d.rule(key.ID, r.shared())
	case typeShift:
		return d.shift(key.ID)
	default:
		if reserved[key.Type] {
			return nil
		}
		return d.record(key.Type, key.ID)
	}
}

// shared are the modules that the model lets rules share.
func (r *Reader) shared() []string {
	var ids []string
	if role, ok := r.plan.Type(typeRole); ok {
		for _, relation := range role.Relations {
			if id, ok := strings.CutSuffix(relation.Name, suffixSource); ok {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// Claim is whose a unique name is, by the key of its claim, and the claim's version; a
// name that nobody has has no holder and the version 0.
func (r *Reader) Claim(claim graph.ObjectName) (holder string, version uint64, err error) {
	id, ok, err := r.id(claim)
	if !ok || err != nil {
		return "", 0, err
	}
	document, ok, err := r.view.Document(id)
	if !ok || err != nil {
		return "", 0, err
	}
	return textOf(document.Fields, attrHolder), document.Version, nil
}

// errStop ends a walk over keys that has seen enough.
var errStop = errors.New("enough")

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

func (r *Reader) id(key graph.ObjectName) (graph.ID, bool, error) {
	if r.plan == nil {
		return 0, false, nil
	}
	typ, ok := r.plan.Type(key.Type)
	if !ok || key.ID == "" || key.ID == "*" {
		return 0, false, nil
	}
	return r.view.Lookup(typ.ID, key.ID)
}

func (r *Reader) name(id graph.ID) (graph.ObjectName, error) {
	typ := r.plan.TypeByID(id.Type())
	if typ == nil {
		return graph.ObjectName{}, foreign("there is an entity of a type that the model does not have")
	}
	name, err := r.view.Name(id)
	return entity(typ.Name, name), err
}

func (r *Reader) relation(typ, name string) (*model.Relation, bool) {
	if r.plan == nil {
		return nil, false
	}
	t, ok := r.plan.Type(typ)
	if !ok {
		return nil, false
	}
	return t.Relation(name)
}

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
