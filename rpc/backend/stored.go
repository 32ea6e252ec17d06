package backend

import (
	"fmt"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// StoredType finds a type by the name that any version of the store's model had.
func StoredType(symbols *model.Table, name string) (model.TypeID, error) {
	id, ok := symbols.TypeID(name)
	if !ok {
		return 0, fmt.Errorf("%w: no version of the store's model has a type %q", graph.ErrTypeNotFound, name)
	}
	return id, nil
}

// StoredRelation finds a relation by the name that any version of the store's model
// had.
func StoredRelation(symbols *model.Table, t model.TypeID, typeName, name string) (model.RelationID, error) {
	id, ok := symbols.RelationID(t, name)
	if !ok {
		return 0, fmt.Errorf("%w: no version of the store's model has a relation %q of type %s", graph.ErrRelationNotFound, name, typeName)
	}
	return id, nil
}
