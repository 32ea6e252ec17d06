package orgfile

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
)

type entry = yamlfile.Entry

// A parser reads one file, or the change of one test in it.
type parser struct {
	*yamlfile.Reader
	path   string
	places map[string]yamlfile.Place

	// changing is while a test's change is read: sections then begin with the entities
	// that there are, and an entity with what it is.
	changing bool
}

func newParser(path string) *parser {
	return &parser{Reader: &yamlfile.Reader{}, path: path, places: map[string]yamlfile.Place{}}
}

// second refuses a second document, which would be overlooked.
func (p *parser) second(data []byte) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var n yaml.Node
	for i := range 2 {
		if err := decoder.Decode(&n); errors.Is(err, io.EOF) || err != nil && i == 0 {
			return
		}
	}
	p.Faultf(p.at(&n), "a second document begins here; an organisation file has one")
}

func (p *parser) at(n *yaml.Node) yamlfile.Place { return yamlfile.At(p.path, n) }

func (p *parser) unknown(e entry, what string, known []string) {
	p.Faultf(e.Place, "unknown key %q in %s; known are %s", e.Key, what, strings.Join(known, ", "))
}

// kind is what a node is, for messages.
func kind(n *yaml.Node) string { return yamlfile.KindOf(n) }

// mapping is the entries of a mapping. Nothing is none: who takes the last entry out of a
// section, or begins one, has not said that there shall be none.
func (p *parser) mapping(n *yaml.Node, what string) []entry {
	if yamlfile.IsNull(n) {
		p.Faultf(p.at(n), "%s has no content; write {} for none, or leave the key out", what)
		return nil
	}
	return p.Mapping(p.path, n, what)
}

// list is the elements of a list.
func (p *parser) list(n *yaml.Node, what string) []*yaml.Node {
	if yamlfile.IsNull(n) {
		p.Faultf(p.at(n), "%s has no content; write [] for none, or leave the key out", what)
		return nil
	}
	return p.List(p.path, n, what)
}

// isText reports whether a node can be taken for a text. Numbers and instants are taken
// as they are written: an id may look like one.
func isText(n *yaml.Node) bool {
	n = yamlfile.Follow(n)
	if n.Kind != yaml.ScalarNode {
		return false
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!timestamp":
		return true
	}
	return false
}

// text is a scalar.
func (p *parser) text(n *yaml.Node, what string) string {
	if !isText(n) {
		p.Faultf(p.at(n), "%s must be a text, not %s%s", what, kind(n), inQuotes(n))
		return ""
	}
	return yamlfile.Follow(n).Value
}

// inQuotes says how to write a scalar that YAML takes for something else.
func inQuotes(n *yaml.Node) string {
	if n = yamlfile.Follow(n); n.Kind == yaml.ScalarNode && !yamlfile.IsNull(n) {
		return ", which YAML takes for something else: write it in quotes"
	}
	return ""
}

// flag is true or false.
func (p *parser) flag(n *yaml.Node, what string) bool {
	f := yamlfile.Follow(n)
	is := strings.EqualFold(f.Value, "true")
	// A tag makes any text a boolean.
	if f.Kind != yaml.ScalarNode || f.ShortTag() != "!!bool" || !is && !strings.EqualFold(f.Value, "false") {
		p.Faultf(p.at(n), "%s must be true or false, not %s", what, kind(n))
		return false
	}
	return is
}

// count is a whole number from 0.
func (p *parser) count(n *yaml.Node, what string) int {
	f := yamlfile.Follow(n)
	count, err := strconv.Atoi(f.Value)
	if f.Kind != yaml.ScalarNode || f.ShortTag() != "!!int" || err != nil || count < 0 {
		p.Faultf(p.at(n), "%s must be a whole number such as 50, not %s", what, kind(n))
		return 0
	}
	return count
}

// texts are a list of texts.
func (p *parser) texts(n *yaml.Node, what string) []string {
	var all []string
	for _, element := range p.list(n, what) {
		all = append(all, p.text(element, "an entry of "+what))
	}
	return all
}

// instant is a point in time.
func (p *parser) instant(n *yaml.Node, what string) time.Time {
	if !isText(n) {
		p.Faultf(p.at(n), "%s must be an instant such as 2026-12-24T08:00:00+01:00, not %s", what, kind(n))
		return time.Time{}
	}
	text := yamlfile.Follow(n).Value
	at, err := time.Parse(time.RFC3339, text)
	switch {
	case err != nil:
		p.Faultf(p.at(n), "%s is %q; write an instant such as 2026-12-24T08:00:00+01:00", what, text)
	case at.IsZero(): // which stands for none at all
		p.Faultf(p.at(n), "%s is %q, before which there is nothing; leave it out, or write a later one", what, text)
	}
	return at
}

// choice is one of some words.
func choice[T any](p *parser, n *yaml.Node, what string, parse func(string) (T, bool), words []string) T {
	var none T
	if !isText(n) {
		p.Faultf(p.at(n), "%s must be one of %s, not %s", what, strings.Join(words, ", "), kind(n))
		return none
	}
	v, ok := parse(yamlfile.Follow(n).Value)
	if !ok {
		p.Faultf(p.at(n), "%s cannot be %q; it is one of %s", what, yamlfile.Follow(n).Value, strings.Join(words, ", "))
	}
	return v
}

// A key is one that a mapping may have, and how what it holds is read.
type key struct {
	name     string
	required bool
	read     func(n *yaml.Node, what string)
}

// keys reads a mapping with certain keys. Those that are required may be absent from what
// changes something that is there.
func (p *parser) keys(n *yaml.Node, what string, partial bool, known ...key) {
	faults := len(p.Faults)
	found := map[string]bool{}
	for _, e := range p.mapping(n, what) {
		i := slices.IndexFunc(known, func(k key) bool { return k.name == e.Key })
		if i < 0 {
			names := make([]string, len(known))
			for j := range known {
				names[j] = known[j].name
			}
			p.unknown(e, what, names)
			continue
		}
		found[e.Key] = true
		known[i].read(e.Value, e.Key)
	}
	if partial || len(p.Faults) > faults {
		return // what is missing may be what was misspelt
	}
	for _, k := range known {
		if k.required && !found[k.name] {
			p.Faultf(p.at(n), "%s needs %s", what, k.name)
		}
	}
}

func (k key) needed() key {
	k.required = true
	return k
}

func (p *parser) textKey(name string, to *string) key {
	return key{name: name, read: func(n *yaml.Node, what string) { *to = p.text(n, what) }}
}

func (p *parser) textsKey(name string, to *[]string) key {
	return key{name: name, read: func(n *yaml.Node, what string) { *to = p.texts(n, what) }}
}

func (p *parser) flagKey(name string, to *bool) key {
	return key{name: name, read: func(n *yaml.Node, what string) { *to = p.flag(n, what) }}
}

func (p *parser) instantKey(name string, to *time.Time) key {
	return key{name: name, read: func(n *yaml.Node, what string) { *to = p.instant(n, what) }}
}

func choiceKey[T any](p *parser, name string, to *T, parse func(string) (T, bool), words []string) key {
	return key{name: name, read: func(n *yaml.Node, what string) { *to = choice(p, n, what, parse, words) }}
}

// inside is a parser of a change of what has been read so far: faults are gathered
// together, places are its own.
func (p *parser) inside() *parser {
	return &parser{Reader: p.Reader, path: p.path, places: maps.Clone(p.places), changing: true}
}
