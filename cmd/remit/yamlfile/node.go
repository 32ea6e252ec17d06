package yamlfile

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/graph/value"
)

// maxNodes and MaxDepth bound what a file may unfold to. YAML's aliases let a short
// file stand for a huge one, or for one without end.
const (
	maxNodes = 20_000_000
	MaxDepth = 200
)

// Document parses the first document of a file. It returns nil for an empty file and
// after a fault.
func (r *Reader) Document(file string, data []byte) *yaml.Node {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var document yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		place, message := yamlFault(file, data, err)
		r.Faultf(place, "%s", message)
		return nil
	}
	if len(document.Content) == 0 {
		return nil
	}
	return document.Content[0]
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// yamlFault reads the line out of the parser's message; it gives no column, so the
// first character of that line stands for it.
func yamlFault(file string, data []byte, err error) (Place, string) {
	message := err.Error()
	place := Place{File: file, Line: 1, Column: 1}
	match := yamlLine.FindStringSubmatch(message)
	if match == nil {
		return place, "not YAML: " + strings.TrimPrefix(message, "yaml: ")
	}
	place.Line, _ = strconv.Atoi(match[1])
	lines := bytes.Split(data, []byte("\n"))
	if place.Line >= 1 && place.Line <= len(lines) {
		line := lines[place.Line-1]
		place.Column = len(line) - len(bytes.TrimLeft(line, " \t")) + 1
	}
	return place, "not YAML: " + strings.TrimPrefix(message, match[0])
}

// At is where a node begins.
func At(file string, n *yaml.Node) Place { return Place{File: file, Line: n.Line, Column: n.Column} }

// Follow gives the node that an alias stands for.
func Follow(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// IsNull reports whether a node is absent or says that there is nothing.
func IsNull(n *yaml.Node) bool {
	n = Follow(n)
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// KindOf names what a node is, for messages.
func KindOf(n *yaml.Node) string {
	switch n = Follow(n); {
	case IsNull(n):
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}

// An Entry is one key of a mapping and what it holds.
type Entry struct {
	Key   string
	Place Place // of the key
	Value *yaml.Node
}

// Mapping lists the entries of a mapping in their order, merge keys (<<) resolved. What
// is null has no entries.
func (r *Reader) Mapping(file string, n *yaml.Node, what string) []Entry {
	return r.mappingAt(file, n, what, 0)
}

func (r *Reader) mappingAt(file string, n *yaml.Node, what string, depth int) []Entry {
	if IsNull(n) || !r.visit(file, n, depth) {
		return nil
	}
	place := At(file, n)
	n = Follow(n)
	if n.Kind != yaml.MappingNode {
		r.Faultf(place, "%s must be a mapping, not %s", what, KindOf(n))
		return nil
	}
	var entries, merged []Entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, held := n.Content[i], n.Content[i+1]
		if key.ShortTag() == "!!merge" {
			sources := []*yaml.Node{held}
			if Follow(held).Kind == yaml.SequenceNode {
				sources = Follow(held).Content
			}
			for _, source := range sources {
				merged = append(merged, r.mappingAt(file, source, "what << names", depth+1)...)
			}
			continue
		}
		if Follow(key).Kind != yaml.ScalarNode {
			r.Faultf(At(file, key), "a key must be a text, not %s", KindOf(key))
			continue
		}
		name := Follow(key).Value
		if line, ok := seen[name]; ok {
			r.Faultf(At(file, key), "key %q was given already, in line %d", name, line)
			continue
		}
		seen[name] = key.Line
		entries = append(entries, Entry{Key: name, Place: At(file, key), Value: held})
	}
	for _, e := range merged { // the mapping's own keys win, then the first merged
		if _, ok := seen[e.Key]; !ok {
			seen[e.Key] = e.Place.Line
			entries = append(entries, e)
		}
	}
	return entries
}

// List gives the elements of a list. What is null has none.
func (r *Reader) List(file string, n *yaml.Node, what string) []*yaml.Node {
	if IsNull(n) || !r.visit(file, n, 0) {
		return nil
	}
	place := At(file, n)
	n = Follow(n)
	if n.Kind != yaml.SequenceNode {
		r.Faultf(place, "%s must be a list, not %s", what, KindOf(n))
		return nil
	}
	return n.Content
}

// Text gives a scalar as it is written: an id may look like a number. Null is empty.
func (r *Reader) Text(file string, n *yaml.Node, what string) string {
	if IsNull(n) {
		return ""
	}
	place := At(file, n)
	n = Follow(n)
	if n.Kind != yaml.ScalarNode {
		r.Faultf(place, "%s must be a text, not %s", what, KindOf(n))
		return ""
	}
	return n.Value
}

// Texts gives a list of scalars.
func (r *Reader) Texts(file string, n *yaml.Node, what string) []string {
	var all []string
	for _, element := range r.List(file, n, what) {
		all = append(all, r.Text(file, element, "an Entry of "+what))
	}
	return all
}

// Boolean gives true or false. The other spellings are YAML 1.1's, which the Go library
// that OpenFGA uses reads for booleans too.
func (r *Reader) Boolean(file string, n *yaml.Node, what string) bool {
	if !IsNull(n) && Follow(n).Kind == yaml.ScalarNode && Follow(n).Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		switch strings.ToLower(Follow(n).Value) {
		case "true", "yes", "on", "y":
			return true
		case "false", "no", "off", "n":
			return false
		}
	}
	r.Faultf(At(file, n), "%s must be true or false, not %s", what, KindOf(n))
	return false
}

// Values gives a mapping of values, nil if there is none.
func (r *Reader) Values(file string, n *yaml.Node, what string) value.Map {
	if IsNull(n) {
		return nil
	}
	fields := value.Map{}
	for _, e := range r.Mapping(file, n, what) {
		fields[e.Key] = r.value(file, e.Value, 1)
	}
	return fields
}

func (r *Reader) value(file string, n *yaml.Node, depth int) value.Value {
	if IsNull(n) || !r.visit(file, n, depth) {
		return nil
	}
	place := At(file, n)
	switch n = Follow(n); n.Kind {
	case yaml.MappingNode:
		fields := value.Map{}
		for _, e := range r.mappingAt(file, n, "a value", depth) {
			fields[e.Key] = r.value(file, e.Value, depth+1)
		}
		return fields
	case yaml.SequenceNode:
		elements := make(value.List, 0, len(n.Content))
		for _, element := range n.Content {
			elements = append(elements, r.value(file, element, depth+1))
		}
		return elements
	}
	switch n.ShortTag() {
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return i
		}
		var u uint64
		if n.Decode(&u) == nil {
			return u
		}
		r.Faultf(place, "%s does not fit into 64 bits; write it in quotes", n.Value)
	case "!!float":
		var f float64
		if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			r.Faultf(place, "%s is not a finite number", n.Value)
		}
		return f
	}
	// Instants stay as they are written: conditions read RFC 3339 themselves.
	return n.Value
}

// visit counts a node and refuses a file that unfolds without bound.
func (r *Reader) visit(file string, n *yaml.Node, depth int) bool {
	r.nodes++
	if r.nodes == maxNodes {
		r.Faultf(At(file, n), "the file's aliases unfold to more than %d values", maxNodes)
	}
	if depth == MaxDepth && !r.deep {
		r.deep = true // by aliases, one place can be reached in millions of ways
		r.Faultf(At(file, n), "values are nested more than %d deep", MaxDepth)
	}
	return r.nodes < maxNodes && depth < MaxDepth
}
