package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxNesting bounds the brackets of a model as JSON: one operator takes three of them
// (an object, its name's object, its list), and some stand around the definitions.
const maxNesting = 4*MaxDepth + 16

// ParseJSON reads a model in OpenFGA's JSON. Fields that it does not know are ignored,
// as OpenFGA does. Every error is an *Error.
func ParseJSON(file string, data []byte) (*Model, error) {
	var found faults
	text := &outline{files: []string{file}}
	switch at, ok := deepest(file, data); {
	case len(data) > MaxJSON:
		found.add(place{file: file}, "", "", "the model has %d bytes, and at most %d can be read: split the model or shorten it", len(data), MaxJSON)
	case len(bytes.TrimSpace(data)) == 0:
		found.add(place{file, 1, 1}, "", "", "the model is empty: it should be an object with schema_version and type_definitions")
	case !ok:
		found.add(at, "", "", "brackets nest more than %d deep: move a part of the definition into a relation of its own", maxNesting)
	}
	if err := found.err(file); err != nil {
		return nil, err
	}
	message := &openfgav1.AuthorizationModel{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, message); err != nil {
		at, what := jsonFault(file, err)
		found.add(at, "", "", "%s", what)
		return nil, found.err(file)
	}
	newJSONOutliner(file, data, text).read()
	return build(message, text)
}

// deepest reports whether brackets nest no deeper than allowed, and if not, where.
func deepest(file string, data []byte) (place, bool) {
	nesting, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if nesting++; nesting > maxNesting {
				return newLines(file, data).at(i), false
			}
		case c == '}' || c == ']':
			nesting--
		}
	}
	return place{}, true
}

var jsonPattern = regexp.MustCompile(`(?s)^proto:\s*(?:syntax error\s*)?\(line (\d+):(\d+)\):\s*(.*)$`)

// jsonFault takes apart a fault of protojson, which prints places from one.
func jsonFault(file string, err error) (place, string) {
	// Protojson varies the space in its messages on purpose.
	message := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	if m := jsonPattern.FindStringSubmatch(message); m != nil {
		line, _ := strconv.Atoi(m[1])
		column, _ := strconv.Atoi(m[2])
		return place{file, line, column}, "not a model in JSON: " + m[3]
	}
	return place{file, 1, 1}, "not a model in JSON: " + strings.TrimPrefix(message, "proto: ")
}

// lines finds the line and column of an offset. Offsets must not decrease from call to
// call, which makes a whole pass linear.
type lines struct {
	file   string
	data   []byte
	offset int
	place  place
}

func newLines(file string, data []byte) *lines {
	return &lines{file: file, data: data, place: place{file, 1, 1}}
}

func (l *lines) at(offset int) place {
	for l.offset < offset && l.offset < len(l.data) {
		r, size := utf8.DecodeRune(l.data[l.offset:])
		l.offset += size
		if r == '\n' {
			l.place.line++
			l.place.column = 1
		} else {
			l.place.column++
		}
	}
	return l.place
}

// A jsonOutliner finds the places of names in JSON that protojson has accepted. It
// never fails: where it meets something it does not expect, it leaves the rest without
// places.
type jsonOutliner struct {
	decoder *json.Decoder
	lines   *lines
	outline *outline
}

func newJSONOutliner(file string, data []byte, o *outline) *jsonOutliner {
	return &jsonOutliner{
		decoder: json.NewDecoder(bytes.NewReader(data)),
		lines:   newLines(file, data),
		outline: o,
	}
}

// token reads a token and where it begins.
func (j *jsonOutliner) token() (json.Token, place, bool) {
	from := int(j.decoder.InputOffset())
	t, err := j.decoder.Token()
	if err != nil {
		return nil, place{}, false
	}
	for from < len(j.lines.data) && bytes.IndexByte([]byte(" \t\r\n,:"), j.lines.data[from]) >= 0 {
		from++
	}
	return t, j.lines.at(from), true
}

func (j *jsonOutliner) read() {
	t, at, ok := j.token()
	j.outline.header = at
	j.outline.schema = at
	if !ok || t != json.Delim('{') {
		return
	}
	j.object(func(key string, at place) bool {
		switch key {
		case "schema_version":
			_, j.outline.schema, ok = j.token()
			return ok
		case "type_definitions":
			return j.array(j.typeDefinition)
		case "conditions":
			return j.fields(j.condition)
		default:
			return j.skip()
		}
	})
}

// object calls visit for each key of an object that was opened.
func (j *jsonOutliner) object(visit func(key string, at place) bool) bool {
	for j.decoder.More() {
		t, at, ok := j.token()
		key, isString := t.(string)
		if !ok || !isString || !visit(key, at) {
			return false
		}
	}
	_, _, ok := j.token()
	return ok
}

// fields opens an object and calls visit for each of its keys.
func (j *jsonOutliner) fields(visit func(key string, at place) bool) bool {
	t, _, ok := j.token()
	if !ok {
		return false
	}
	if t != json.Delim('{') {
		return t == nil // null
	}
	return j.object(visit)
}

// array calls visit for each element of an array.
func (j *jsonOutliner) array(visit func() bool) bool {
	t, _, ok := j.token()
	if !ok || t != json.Delim('[') {
		return ok && t == nil
	}
	for j.decoder.More() {
		if !visit() {
			return false
		}
	}
	_, _, ok = j.token()
	return ok
}

// skip steps over a value.
func (j *jsonOutliner) skip() bool {
	nesting := 0
	for {
		t, _, ok := j.token()
		if !ok {
			return false
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			nesting++
		case json.Delim('}'), json.Delim(']'):
			nesting--
		}
		if nesting <= 0 {
			return true
		}
	}
}

func (j *jsonOutliner) typeDefinition() bool {
	t := &typeOutline{}
	places := map[string]*relationOutline{}
	relation := func(name string, at place) *relationOutline {
		if places[name] == nil {
			places[name] = &relationOutline{name: name, at: at}
		}
		return places[name]
	}
	ok := j.fields(func(key string, at place) bool {
		switch key {
		case "type":
			name, at, ok := j.token()
			t.name, _ = name.(string)
			t.at = at
			return ok
		case "relations":
			return j.fields(func(name string, at place) bool {
				r := relation(name, at)
				r.at = at // rather than in the metadata
				t.relations = append(t.relations, r)
				return j.definition(r)
			})
		case "metadata":
			return j.fields(func(key string, _ place) bool {
				if key != "relations" {
					return j.skip()
				}
				return j.fields(func(name string, at place) bool {
					return j.metadata(relation(name, at))
				})
			})
		default:
			return j.skip()
		}
	})
	j.outline.types = append(j.outline.types, t)
	return ok
}

// definition notes the names of relations that a rewrite mentions.
func (j *jsonOutliner) definition(r *relationOutline) bool {
	return j.walk("", func(within, key, value string, at place) {
		if key != "relation" {
			return
		}
		if within == "tupleset" {
			value = "from " + value
		}
		r.refs = append(r.refs, reference{value, at})
	})
}

// metadata notes the type restrictions of a relation, each at its opening brace.
func (j *jsonOutliner) metadata(r *relationOutline) bool {
	return j.fields(func(key string, _ place) bool {
		if key != "directly_related_user_types" {
			return j.skip()
		}
		return j.array(func() bool {
			ref := &openfgav1.RelationReference{}
			var start place
			ok := j.fields(func(key string, at place) bool {
				if start.line == 0 {
					start = at
				}
				if key == "wildcard" {
					ref.RelationOrWildcard = &openfgav1.RelationReference_Wildcard{Wildcard: &openfgav1.Wildcard{}}
					return j.skip()
				}
				value, at, ok := j.token()
				text, isString := value.(string)
				if !ok || !isString {
					return ok && value == nil
				}
				switch key {
				case "type":
					start, ref.Type = at, text
				case "relation":
					ref.RelationOrWildcard = &openfgav1.RelationReference_Relation{Relation: text}
				case "condition":
					ref.Condition = text
				}
				return true
			})
			r.refs = append(r.refs, reference{"[" + restrictionText(ref), start})
			return ok
		})
	})
}

// walk steps over a value and calls visit for each string in it that has a key.
func (j *jsonOutliner) walk(within string, visit func(within, key, value string, at place)) bool {
	t, _, ok := j.token()
	switch {
	case !ok:
		return false
	case t == json.Delim('['):
		for j.decoder.More() {
			if !j.walk(within, visit) {
				return false
			}
		}
		_, _, ok := j.token()
		return ok
	case t != json.Delim('{'):
		return true
	}
	return j.object(func(key string, _ place) bool {
		// A value that is not a string is walked in its turn; one that is has a place.
		if next := j.peek(); next == '{' || next == '[' {
			return j.walk(key, visit)
		}
		value, at, ok := j.token()
		if text, isString := value.(string); isString {
			visit(within, key, text, at)
		}
		return ok
	})
}

// peek is the first byte of the value that follows a key.
func (j *jsonOutliner) peek() byte {
	rest := bytes.TrimLeft(j.lines.data[j.decoder.InputOffset():], " \t\r\n:")
	if len(rest) == 0 {
		return 0
	}
	return rest[0]
}

func (j *jsonOutliner) condition(name string, at place) bool {
	c := &conditionOutline{name: name, at: at}
	j.outline.conditions = append(j.outline.conditions, c)
	return j.fields(func(key string, at place) bool {
		switch key {
		case "parameters":
			return j.fields(func(name string, at place) bool {
				c.parameters = append(c.parameters, reference{name, at})
				return j.skip()
			})
		default:
			return j.skip()
		}
	})
}

// JSON is the model in OpenFGA's JSON, in one line, the same bytes every time.
func (m *Model) JSON() ([]byte, error) {
	data, err := protojson.Marshal(m.message)
	if err != nil {
		return nil, fmt.Errorf("encode model: %w", err)
	}
	// Protojson varies its white space on purpose; a model that is stored or compared
	// should not vary.
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, fmt.Errorf("encode model: %w", err)
	}
	return compact.Bytes(), nil
}
