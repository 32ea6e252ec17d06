// Package model reads authorization models: the types of a store, their relations, and
// how relations combine.
//
// A model comes as text (OpenFGA's modelling language or its JSON) or as a message, and
// becomes a Model only if it is valid in every respect: whoever holds one can compile,
// print and compare it without looking for faults again. The syntax is judged by OpenFGA's
// own parser; what a model means, and where in the text each fault stands, is judged
// here.
//
// A Model knows names. Compile turns it into a Plan, which knows the ids of one store
// and is what evaluation walks; a Table gives out those ids.
package model

import (
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph/condition"
)

// A Model is a valid authorization model. It is immutable and safe for concurrent use.
type Model struct {
	message    *openfgav1.AuthorizationModel
	types      []*typeDef // in the order of the source
	byName     map[string]*typeDef
	conditions []*conditionDef // in the order of the source
	guards     map[string]*conditionDef
	inline     bool // some tuples bring their own expressions
}

// A typeDef is one type with all its relations, those of extensions included.
type typeDef struct {
	name      string
	at        place
	relations []*relationDef // in the order of the source
	byName    map[string]*relationDef
}

// A relationDef is one relation of a type.
type relationDef struct {
	owner   *typeDef
	name    string
	rewrite *openfgav1.Userset
	allowed []*openfgav1.RelationReference
	at      place
	refs    []reference // where its definition mentions what
}

func (r *relationDef) String() string { return r.owner.name + "#" + r.name }

// find is the place where the definition mentions text, else that of the definition.
func (r *relationDef) find(text string) place {
	for _, ref := range r.refs {
		if ref.text == text {
			return ref.at
		}
	}
	return r.at
}

// A conditionDef is one condition.
type conditionDef struct {
	name       string
	message    *openfgav1.Condition
	at         place
	expression place
	parameters []reference
	compiled   *condition.Condition
}

// FromProto validates a model that has no text. Its faults have no places.
func FromProto(message *openfgav1.AuthorizationModel) (*Model, error) {
	if message == nil {
		message = &openfgav1.AuthorizationModel{}
	}
	return build(proto.CloneOf(message), &outline{})
}

// build joins a message, which it keeps, with the places of its text.
func build(message *openfgav1.AuthorizationModel, text *outline) (*Model, error) {
	message.Id = "" // a store names its versions, a model has no name
	m := &Model{message: message, byName: map[string]*typeDef{}, guards: map[string]*conditionDef{}}
	var found faults
	m.checkSize(text, &found)
	if len(found.list) == 0 {
		m.define(text, &found)
		m.validate(text, &found)
	}
	if err := found.err(text.files...); err != nil {
		return nil, err
	}
	return m, nil
}

// define fills in the definitions, in the order in which the text has them.
func (m *Model) define(text *outline, found *faults) {
	used := map[*typeOutline]bool{}
	for _, def := range m.message.GetTypeDefinitions() {
		own := &typeOutline{}
		var all []*typeOutline // the type's own text, then its extensions
		for _, o := range text.typesNamed(def.GetType()) {
			if own.name == "" && !o.extend && !used[o] {
				own = o
				used[o] = true
				all = slices.Insert(all, 0, o)
			} else if o.extend {
				all = append(all, o)
			}
		}
		t := &typeDef{name: def.GetType(), at: own.at, byName: map[string]*relationDef{}}
		if first, ok := m.byName[t.name]; ok {
			found.add(t.at, t.name, "", "type %s is defined twice%s: give each type one definition that holds all its relations",
				t.name, first.at.seenFrom(t.at))
			continue
		}
		m.byName[t.name] = t
		m.types = append(m.types, t)
		for _, o := range all {
			for _, r := range o.relations {
				t.define(def, r.name, r)
			}
		}
		for _, name := range sortedKeys(def.GetRelations()) {
			t.define(def, name, &relationOutline{at: t.at})
		}
		m.inline = m.inline || slices.ContainsFunc(t.relations, (*relationDef).acceptsInline)
	}
	for _, o := range text.conditions {
		m.defineCondition(o.name, o)
	}
	for _, name := range sortedKeys(m.message.GetConditions()) {
		m.defineCondition(name, &conditionOutline{})
	}
}

func (t *typeDef) define(def *openfgav1.TypeDefinition, name string, text *relationOutline) {
	rewrite, ok := def.GetRelations()[name]
	if !ok || t.byName[name] != nil {
		return
	}
	r := &relationDef{
		owner: t, name: name, rewrite: rewrite,
		allowed: def.GetMetadata().GetRelations()[name].GetDirectlyRelatedUserTypes(),
		at:      text.at, refs: text.refs,
	}
	t.byName[name] = r
	t.relations = append(t.relations, r)
}

// acceptsInline reports whether tuples of the relation may bring their own expressions.
func (r *relationDef) acceptsInline() bool {
	return slices.ContainsFunc(r.allowed, func(ref *openfgav1.RelationReference) bool {
		return ref.GetCondition() == condition.InlineName
	})
}

func (m *Model) defineCondition(name string, text *conditionOutline) {
	message, ok := m.message.GetConditions()[name]
	if !ok || m.guards[name] != nil {
		return
	}
	c := &conditionDef{
		name: name, message: message, at: text.at, expression: text.expression, parameters: text.parameters,
	}
	m.guards[name] = c
	m.conditions = append(m.conditions, c)
}

// Proto is the model as OpenFGA's message, without an id. The caller must not change it.
func (m *Model) Proto() *openfgav1.AuthorizationModel { return m.message }

// Schema is the version of the modelling language, 1.1 or 1.2.
func (m *Model) Schema() string { return m.message.GetSchemaVersion() }

// Declarations are the names of the model, in the order of its text; a model without a
// text has its relations and conditions in the order of their names. If tuples may bring
// their own expressions, the name that stands for that is the last of the conditions.
func (m *Model) Declarations() Declarations {
	d := Declarations{
		Types:      make([]TypeDeclaration, 0, len(m.types)),
		Conditions: make([]string, 0, len(m.conditions)),
	}
	for _, t := range m.types {
		names := make([]string, 0, len(t.relations))
		for _, r := range t.relations {
			names = append(names, r.name)
		}
		d.Types = append(d.Types, TypeDeclaration{Name: t.name, Relations: names})
	}
	for _, c := range m.conditions {
		d.Conditions = append(d.Conditions, c.name)
	}
	if m.inline {
		d.Conditions = append(d.Conditions, condition.InlineName)
	}
	return d
}

// sortedKeys are a map's keys in order, so that nothing depends on the order of maps.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
