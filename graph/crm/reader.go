package crm

import (
	"errors"
	"strings"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
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
