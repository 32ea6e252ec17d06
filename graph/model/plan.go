package model

import "github.com/remit-authz/remit/graph/condition"

// A Plan is a validated model compiled to a store's ids: what evaluation walks. A Plan
// is immutable and safe for concurrent use.
type Plan struct {
	id         string
	types      []*Type                // sorted by id
	byName     map[string]*Type       // by type name
	relations  []*Relation            // indexed by RelationID; nil where the model has none
	conditions []*condition.Condition // indexed by ConditionID; nil where the model has none
}

// A Type is one object type of a plan.
type Type struct {
	ID        TypeID
	Name      string
	Relations []*Relation // sorted by name
}

// A Relation is one relation of one type.
type Relation struct {
	ID      RelationID
	Type    *Type
	Name    string
	Rewrite *Rewrite

	// Allowed lists the subjects that a tuple of this relation may have. It is empty
	// if the rewrite has no direct part.
	Allowed []Restriction
}

// A Restriction is one entry of a relation's type restrictions, such as user, user:*,
// group#member or user with office_hours.
type Restriction struct {
	Type      *Type
	Relation  *Relation // nil: the object itself, or every object if Wildcard
	Wildcard  bool
	Condition *condition.Condition // nil: a tuple without condition; perhaps condition.Inline
	// ConditionID is Condition's id, 0 if there is none.
	ConditionID ConditionID
}

// An Op is the kind of a Rewrite.
type Op uint8

// The operators of a rewrite.
const (
	OpDirect         Op = iota + 1 // tuples of the relation itself
	OpComputed                     // another relation of the same object
	OpTupleToUserset               // a relation of the objects that another relation points to
	OpUnion                        // any child
	OpIntersection                 // every child
	OpExclusion                    // the first child but not the second
)

// A Rewrite is one node of the expression that defines a relation.
type Rewrite struct {
	Op Op

	// Relation is the relation that is computed (OpComputed only).
	Relation *Relation

	// Tupleset is the relation whose tuples are followed, and Computed the relation
	// asked of each object found there, one per type that has it, sorted by the id of
	// its type (OpTupleToUserset only). ComputedName is its name.
	Tupleset     *Relation
	Computed     []*Relation
	ComputedName string

	// Children are the operands in the order of the model; of an exclusion, the base
	// and what is subtracted.
	Children []*Rewrite

	// Index is the place of this node among all rewrites of its plan, from 0, so that
	// evaluation can key its memory by it.
	Index int
}

// ID is the model's id, a ULID, or empty for a model that is not stored.
func (p *Plan) ID() string { return p.id }

// Types are the plan's types, sorted by id. The caller must not change the slice.
func (p *Plan) Types() []*Type { return p.types }

// Type finds a type by name.
func (p *Plan) Type(name string) (*Type, bool) {
	t, ok := p.byName[name]
	return t, ok
}

// TypeByID finds a type by id; nil if this version of the model does not have it.
func (p *Plan) TypeByID(id TypeID) *Type {
	lo, hi := 0, len(p.types)
	for lo < hi {
		mid := (lo + hi) / 2
		switch t := p.types[mid]; {
		case t.ID == id:
			return t
		case t.ID < id:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil
}

// Relation finds a relation by id; nil if this version of the model does not have it.
func (p *Plan) Relation(id RelationID) *Relation {
	if int(id) >= len(p.relations) {
		return nil
	}
	return p.relations[id]
}

// Condition finds a condition by id; nil if this version of the model does not have it.
func (p *Plan) Condition(id ConditionID) *condition.Condition {
	if int(id) >= len(p.conditions) {
		return nil
	}
	return p.conditions[id]
}

// ConditionNamed finds a condition by name; nil if this version of the model does not
// have it. It looks at all of them: what is asked often has the condition at hand.
func (p *Plan) ConditionNamed(name string) *condition.Condition {
	for _, c := range p.conditions {
		if c != nil && c.Name() == name {
			return c
		}
	}
	return nil
}

// Relation finds a relation of the type by name.
func (t *Type) Relation(name string) (*Relation, bool) {
	lo, hi := 0, len(t.Relations)
	for lo < hi {
		mid := (lo + hi) / 2
		switch r := t.Relations[mid]; {
		case r.Name == name:
			return r, true
		case r.Name < name:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return nil, false
}
