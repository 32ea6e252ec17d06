package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrTableFull occurs when a store has given out every type id it has. Ids are never
// reused, so only a store that keeps inventing types gets there.
var ErrTableFull = errors.New("store has no type ids left")

// A Table is a store's Symbols: every name that any of its models ever used, and its id.
// It only grows. Ids are given out in the order of the declarations, from one, so
// every node that sees the same declarations gives out the same ids.
//
// A Table may be read while others read it. Define and Restore want it alone, but not
// its clones: they share nothing that changes.
type Table struct {
	names *names
}

// names is the content of a Table. It is never changed once a Table holds it: growth is
// rare, a clone is taken for every published revision.
type names struct {
	types      []string // by TypeID; the first is no type
	relations  []relationName
	conditions []string

	typeIDs      map[string]TypeID
	relationIDs  map[relationName]RelationID
	conditionIDs map[string]ConditionID
}

type relationName struct {
	typeID TypeID
	name   string
}

// Additions are the names that a table gained, with the ids they got: what a state
// machine persists, and what Restore takes.
type Additions struct {
	Types      []TypeAddition
	Relations  []RelationAddition
	Conditions []ConditionAddition
}

// A TypeAddition is a new type.
type TypeAddition struct {
	ID   TypeID
	Name string
}

// A RelationAddition is a new relation of a type.
type RelationAddition struct {
	ID   RelationID
	Type TypeID
	Name string
}

// A ConditionAddition is a new condition.
type ConditionAddition struct {
	ID   ConditionID
	Name string
}

// Empty reports whether there is nothing to add.
func (a Additions) Empty() bool {
	return len(a.Types) == 0 && len(a.Relations) == 0 && len(a.Conditions) == 0
}

// NewTable returns a table without names.
func NewTable() *Table {
	return &Table{names: &names{
		types:        make([]string, 1),
		relations:    make([]relationName, 1),
		conditions:   make([]string, 1),
		typeIDs:      map[string]TypeID{},
		relationIDs:  map[relationName]RelationID{},
		conditionIDs: map[string]ConditionID{},
	}}
}

// Clone returns a table that grows on its own from here. It costs nothing.
func (t *Table) Clone() *Table {
	c := *t
	return &c
}

func (n *names) clone() *names {
	return &names{
		types:        slices.Clone(n.types),
		relations:    slices.Clone(n.relations),
		conditions:   slices.Clone(n.conditions),
		typeIDs:      maps.Clone(n.typeIDs),
		relationIDs:  maps.Clone(n.relationIDs),
		conditionIDs: maps.Clone(n.conditionIDs),
	}
}

// Fits reports ErrTableFull if the declarations need more type ids than are left. Who
// lets strangers declare types asks before Define.
func (t *Table) Fits(d Declarations) error {
	fresh := 0
	for _, declared := range d.Types {
		if _, ok := t.names.typeIDs[declared.Name]; !ok {
			fresh++
		}
	}
	if len(t.names.types)-1+fresh > int(MaxTypeID) {
		return fmt.Errorf("%d types are declared and %d more asked for, of at most %d: %w",
			len(t.names.types)-1, fresh, MaxTypeID, ErrTableFull)
	}
	return nil
}

// Define gives ids to the names that have none yet, in the order of the declarations,
// and returns them. Names that are known keep their ids. It panics if the ids run out:
// see Fits.
func (t *Table) Define(d Declarations) (added Additions) {
	if err := t.Fits(d); err != nil {
		panic(err)
	}
	if t.defines(d) {
		return Additions{}
	}
	n := t.names.clone()
	for _, declared := range d.Types {
		id, ok := n.typeIDs[declared.Name]
		if !ok {
			id = TypeID(len(n.types))
			n.types = append(n.types, declared.Name)
			n.typeIDs[declared.Name] = id
			added.Types = append(added.Types, TypeAddition{ID: id, Name: declared.Name})
		}
		for _, name := range declared.Relations {
			key := relationName{id, name}
			if _, ok := n.relationIDs[key]; ok {
				continue
			}
			relation := RelationID(len(n.relations))
			n.relations = append(n.relations, key)
			n.relationIDs[key] = relation
			added.Relations = append(added.Relations, RelationAddition{ID: relation, Type: id, Name: name})
		}
	}
	for _, name := range d.Conditions {
		if _, ok := n.conditionIDs[name]; ok {
			continue
		}
		id := ConditionID(len(n.conditions))
		n.conditions = append(n.conditions, name)
		n.conditionIDs[name] = id
		added.Conditions = append(added.Conditions, ConditionAddition{ID: id, Name: name})
	}
	t.names = n
	return added
}

// defines reports whether every declared name has an id.
func (t *Table) defines(d Declarations) bool {
	for _, declared := range d.Types {
		id, ok := t.TypeID(declared.Name)
		if !ok {
			return false
		}
		for _, name := range declared.Relations {
			if _, ok := t.RelationID(id, name); !ok {
				return false
			}
		}
	}
	for _, name := range d.Conditions {
		if _, ok := t.ConditionID(name); !ok {
			return false
		}
	}
	return true
}

// Restore takes additions that were persisted, in any order. An id that already stands
// for another name, or a name that already has another id, is an error and leaves the
// table as it was.
func (t *Table) Restore(a Additions) error {
	n := t.names.clone()
	for _, add := range a.Types {
		if add.ID == 0 || add.ID > MaxTypeID || add.Name == "" {
			return fmt.Errorf("restore type %q with id %d: out of range", add.Name, add.ID)
		}
		if have, ok := n.typeIDs[add.Name]; ok && have != add.ID {
			return fmt.Errorf("restore type %q with id %d: it has id %d", add.Name, add.ID, have)
		}
		n.types = grow(n.types, int(add.ID))
		if have := n.types[add.ID]; have != "" && have != add.Name {
			return fmt.Errorf("restore type %q with id %d: the id is that of %q", add.Name, add.ID, have)
		}
		n.types[add.ID] = add.Name
		n.typeIDs[add.Name] = add.ID
	}
	for _, add := range a.Relations {
		key := relationName{add.Type, add.Name}
		if add.ID == 0 || add.Name == "" {
			return fmt.Errorf("restore relation %q with id %d: out of range", add.Name, add.ID)
		}
		if int(add.Type) >= len(n.types) || n.types[add.Type] == "" {
			return fmt.Errorf("restore relation %q with id %d: no type has id %d", add.Name, add.ID, add.Type)
		}
		if have, ok := n.relationIDs[key]; ok && have != add.ID {
			return fmt.Errorf("restore relation %q with id %d: it has id %d", add.Name, add.ID, have)
		}
		n.relations = grow(n.relations, int(add.ID))
		if have := n.relations[add.ID]; have.name != "" && have != key {
			return fmt.Errorf("restore relation %q with id %d: the id is that of %q", add.Name, add.ID, have.name)
		}
		n.relations[add.ID] = key
		n.relationIDs[key] = add.ID
	}
	for _, add := range a.Conditions {
		if add.ID == 0 || add.Name == "" {
			return fmt.Errorf("restore condition %q with id %d: out of range", add.Name, add.ID)
		}
		if have, ok := n.conditionIDs[add.Name]; ok && have != add.ID {
			return fmt.Errorf("restore condition %q with id %d: it has id %d", add.Name, add.ID, have)
		}
		n.conditions = grow(n.conditions, int(add.ID))
		if have := n.conditions[add.ID]; have != "" && have != add.Name {
			return fmt.Errorf("restore condition %q with id %d: the id is that of %q", add.Name, add.ID, have)
		}
		n.conditions[add.ID] = add.Name
		n.conditionIDs[add.Name] = add.ID
	}
	t.names = n
	return nil
}

// grow makes room for index i.
func grow[T any](s []T, i int) []T {
	if i < len(s) {
		return s
	}
	return append(s, make([]T, i+1-len(s))...)
}

// All returns everything the table holds, in the order of the ids.
func (t *Table) All() Additions {
	var a Additions
	for id, name := range t.names.types {
		if name != "" {
			a.Types = append(a.Types, TypeAddition{ID: TypeID(id), Name: name})
		}
	}
	for id, r := range t.names.relations {
		if r.name != "" {
			a.Relations = append(a.Relations, RelationAddition{ID: RelationID(id), Type: r.typeID, Name: r.name})
		}
	}
	for id, name := range t.names.conditions {
		if name != "" {
			a.Conditions = append(a.Conditions, ConditionAddition{ID: ConditionID(id), Name: name})
		}
	}
	return a
}

// TypeID finds a type's id by its name.
func (t *Table) TypeID(name string) (TypeID, bool) {
	id, ok := t.names.typeIDs[name]
	return id, ok
}

// RelationID finds a relation's id by its type and name.
func (t *Table) RelationID(typeID TypeID, name string) (RelationID, bool) {
	id, ok := t.names.relationIDs[relationName{typeID, name}]
	return id, ok
}

// ConditionID finds a condition's id by its name.
func (t *Table) ConditionID(name string) (ConditionID, bool) {
	id, ok := t.names.conditionIDs[name]
	return id, ok
}

// TypeName is the name of a type, empty if no type has the id.
func (t *Table) TypeName(id TypeID) string {
	if int(id) >= len(t.names.types) {
		return ""
	}
	return t.names.types[id]
}

// RelationName is a relation's type and name, zero and empty if no relation has the id.
func (t *Table) RelationName(id RelationID) (TypeID, string) {
	if int(id) >= len(t.names.relations) {
		return 0, ""
	}
	r := t.names.relations[id]
	return r.typeID, r.name
}

// ConditionName is the name of a condition, empty if no condition has the id.
func (t *Table) ConditionName(id ConditionID) string {
	if int(id) >= len(t.names.conditions) {
		return ""
	}
	return t.names.conditions[id]
}
