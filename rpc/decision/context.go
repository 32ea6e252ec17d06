package decision

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"
)

// A Context is what an event says of the parameters that a question came with.
type Context struct {
	names  []string
	values []byte // JSON; nil unless values are wanted, and there is room for them
	cut    bool   // there was more than an event holds
}

// Context describes the parameters of a question, those of the last one where several have
// the same name.
func (l *Log) Context(given ...*structpb.Struct) Context {
	var all map[string]*structpb.Value
	owned := false
	for _, s := range given {
		switch {
		case len(s.GetFields()) == 0:
		case all == nil:
			all = s.GetFields()
		default:
			if !owned {
				all, owned = maps.Clone(all), true
			}
			maps.Copy(all, s.GetFields())
		}
	}
	if len(all) == 0 {
		return Context{}
	}
	c := Context{names: make([]string, 0, len(all))}
	for name := range all {
		c.names = append(c.names, clip(name, maxName))
	}
	slices.Sort(c.names)
	if len(c.names) > maxNames {
		c.names, c.cut = slices.Clone(c.names[:maxNames]), true
	}
	if !l.config.Values {
		return c
	}
	values, err := json.Marshal((&structpb.Struct{Fields: all}).AsMap())
	values = bytes.ReplaceAll(values, []byte("\u0085"), []byte(`\u0085`)) // it ends a line, too
	if err != nil || len(values) > maxValues {
		c.cut = true
		return c
	}
	c.values = values
	return c
}
