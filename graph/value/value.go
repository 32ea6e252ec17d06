// Package value holds attribute values, as JSON knows them and a little more, and
// their one canonical encoding. Stored contexts of conditions and documents of
// entities are values; so is what a request brings for its conditions.
package value

// A Value is nil, bool, int64, uint64, float64, string, List or Map. Nothing else may
// stand in one. Values are treated as immutable once they are shared.
type Value = any

// A List is a sequence of values.
type List = []any

// A Map holds values by name.
type Map = map[string]any
