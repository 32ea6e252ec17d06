package storefile

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

// maxNodes and maxDepth bound what a file may unfold to. YAML's aliases let a short
// file stand for a huge one, or for one without end.
const (
	maxNodes = 20_000_000
	maxDepth = 200
)

// yamlNode parses the first document of a file. It returns nil for an empty file and
// after a fault.
func (r *reader) yamlNode(file string, data []byte) *yaml.Node {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var document yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		place, message := yamlFault(file, data, err)
		r.faultf(place, "%s", message)
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

func at(file string, n *yaml.Node) Place { return Place{File: file, Line: n.Line, Column: n.Column} }

// follow gives the node that an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = follow(n)
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// kindOf names what a node is, for messages.
func kindOf(n *yaml.Node) string {
	switch n = follow(n); {
	case isNull(n):
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	return strconv.Quote(n.Value)
}

// An entry is one key of a mapping and what it holds.
type entry struct {
	key   string
	place Place // of the key
	value *yaml.Node
}

// mapping lists the entries of a mapping in their order, merge keys (<<) resolved. What
// is null has no entries.
func (r *reader) mapping(file string, n *yaml.Node, what string) []entry {
	return r.mappingAt(file, n, what, 0)
}

func (r *reader) mappingAt(file string, n *yaml.Node, what string, depth int) []entry {
	if isNull(n) || !r.visit(file, n, depth) {
		return nil
	}
	place := at(file, n)
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		r.faultf(place, "%s must be a mapping, not %s", what, kindOf(n))
		return nil
	}
	var entries, merged []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, held := n.Content[i], n.Content[i+1]
		if key.ShortTag() == "!!merge" {
			sources := []*yaml.Node{held}
			if follow(held).Kind == yaml.SequenceNode {
				sources = follow(held).Content
			}
			for _, source := range sources {
				merged = append(merged, r.mappingAt(file, source, "what << names", depth+1)...)
			}
			continue
		}
		name := follow(key).Value
		if line, ok := seen[name]; ok {
			r.faultf(at(file, key), "key %q was given already, in line %d", name, line)
			continue
		}
		seen[name] = key.Line
		entries = append(entries, entry{key: name, place: at(file, key), value: held})
	}
	for _, e := range merged { // the mapping's own keys win, then the first merged
		if _, ok := seen[e.key]; !ok {
			seen[e.key] = e.place.Line
			entries = append(entries, e)
		}
	}
	return entries
}

// list gives the elements of a list. What is null has none.
func (r *reader) list(file string, n *yaml.Node, what string) []*yaml.Node {
	if isNull(n) || !r.visit(file, n, 0) {
		return nil
	}
	place := at(file, n)
	n = follow(n)
	if n.Kind != yaml.SequenceNode {
		r.faultf(place, "%s must be a list, not %s", what, kindOf(n))
		return nil
	}
	return n.Content
}

// text gives a scalar as it is written: an id may look like a number. Null is empty.
func (r *reader) text(file string, n *yaml.Node, what string) string {
	if isNull(n) {
		return ""
	}
	place := at(file, n)
	n = follow(n)
	if n.Kind != yaml.ScalarNode {
		r.faultf(place, "%s must be a text, not %s", what, kindOf(n))
		return ""
	}
	return n.Value
}

// texts gives a list of scalars.
func (r *reader) texts(file string, n *yaml.Node, what string) []string {
	var all []string
	for _, element := range r.list(file, n, what) {
		all = append(all, r.text(file, element, "an entry of "+what))
	}
	return all
}

// boolean gives true or false. The other spellings are YAML 1.1's, which the Go library
// that OpenFGA uses reads for booleans too.
func (r *reader) boolean(file string, n *yaml.Node, what string) bool {
	if !isNull(n) && follow(n).Kind == yaml.ScalarNode && follow(n).Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) == 0 {
		switch strings.ToLower(follow(n).Value) {
		case "true", "yes", "on", "y":
			return true
		case "false", "no", "off", "n":
			return false
		}
	}
	r.faultf(at(file, n), "%s must be true or false, not %s", what, kindOf(n))
	return false
}

// values gives a mapping of values, nil if there is none.
func (r *reader) values(file string, n *yaml.Node, what string) value.Map {
	if isNull(n) {
		return nil
	}
	fields := value.Map{}
	for _, e := range r.mapping(file, n, what) {
		fields[e.key] = r.value(file, e.value, 1)
	}
	return fields
}

func (r *reader) value(file string, n *yaml.Node, depth int) value.Value {
	if isNull(n) || !r.visit(file, n, depth) {
		return nil
	}
	place := at(file, n)
	switch n = follow(n); n.Kind {
	case yaml.MappingNode:
		fields := value.Map{}
		for _, e := range r.mappingAt(file, n, "a value", depth) {
			fields[e.key] = r.value(file, e.value, depth+1)
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
		r.faultf(place, "%s does not fit into 64 bits; write it in quotes", n.Value)
	case "!!float":
		var f float64
		if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			r.faultf(place, "%s is not a finite number", n.Value)
		}
		return f
	}
	// Instants stay as they are written: conditions read RFC 3339 themselves.
	return n.Value
}

// visit counts a node and refuses a file that unfolds without bound.
func (r *reader) visit(file string, n *yaml.Node, depth int) bool {
	r.nodes++
	if r.nodes == maxNodes {
		r.faultf(at(file, n), "the file's aliases unfold to more than %d values", maxNodes)
	}
	if depth == maxDepth {
		r.faultf(at(file, n), "values are nested more than %d deep", maxDepth)
	}
	return r.nodes < maxNodes && depth < maxDepth
}
