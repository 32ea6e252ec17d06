package model

// A TypeID names an object type within one store. Ids begin at 1, are given out in
// the order of the writes that introduce the types, and are never reused, so a type
// keeps its id through every version of the model.
type TypeID uint32

// A RelationID names one relation of one type within one store: document#viewer and
// folder#viewer have different ids. Zero is no relation; as a subject's relation it
// means the object itself.
type RelationID uint32

// A ConditionID names a condition within one store. Zero is no condition.
type ConditionID uint32

// MaxTypeID is the highest type id: an entity's id carries its type in 24 bits.
const MaxTypeID TypeID = 1<<24 - 1

// Symbols finds a store's ids for the names of a model.
type Symbols interface {
	TypeID(name string) (TypeID, bool)
	RelationID(t TypeID, name string) (RelationID, bool)
	ConditionID(name string) (ConditionID, bool)
}

// Declarations are the names that a model uses, in the order of the model: what a
// state machine needs in order to give out ids without understanding models.
type Declarations struct {
	Types      []TypeDeclaration
	Conditions []string
}

// A TypeDeclaration is a type's name and the names of its relations.
type TypeDeclaration struct {
	Name      string
	Relations []string
}
