package condition

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"

	"github.com/remit-authz/remit/graph/value"
)

// A mapValue is a map out of a context. It remembers the value that it was made of.
type mapValue struct {
	traits.Mapper
	fields value.Map
}

func newMap(fields value.Map, converted map[string]any) *mapValue {
	return &mapValue{Mapper: types.NewStringInterfaceMap(adapter, converted), fields: fields}
}
