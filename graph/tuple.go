package graph

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/remit-authz/remit/graph/value"
)

// Limits of names. Those of types and relations are OpenFGA's, and an id is as long as one
// may be there: 256 characters with its type, of up to four bytes each.
const (
	MaxIDBytes  = 1016
	MaxType     = 254 // characters
	MaxRelation = 50  // characters
)

// An ObjectName is an entity by name: document:plan.
type ObjectName struct {
	Type string
	ID   string
}

// A SubjectName is a tuple's subject by name: user:anna, user:*, or group:eng#member.
type SubjectName struct {
	Type     string
	ID       string // "*" is every entity of the type
	Relation string // "" is the entity itself
}

// A Tuple says that a subject has a relation to an object: object#relation@subject,
// possibly under a condition and until an instant.
type Tuple struct {
	Object   ObjectName
	Relation string
	Subject  SubjectName

	Condition string    // "" is none
	Context   value.Map // stored for the condition
	Expires   time.Time // zero is never; kept to the millisecond, rounded down
}

// String writes the object as ParseObject reads it.
func (o ObjectName) String() string { return o.Type + ":" + o.ID }

// Object is the entity that the subject names, or whose relation it is.
func (s SubjectName) Object() ObjectName { return ObjectName{Type: s.Type, ID: s.ID} }

// IsWildcard reports whether the subject is every entity of its type.
func (s SubjectName) IsWildcard() bool { return s.ID == "*" && s.Relation == "" }

// String writes the subject as ParseSubject reads it.
func (s SubjectName) String() string {
	if s.Relation == "" {
		return s.Type + ":" + s.ID
	}
	return s.Type + ":" + s.ID + "#" + s.Relation
}

// String writes object, relation and subject as ParseTuple reads them; condition and
// expiry have no place in that text.
func (t Tuple) String() string {
	return t.Object.String() + "#" + t.Relation + "@" + t.Subject.String()
}

// ParseObject reads type:id.
func ParseObject(text string) (ObjectName, error) {
	return parseObject("object", text)
}

// ParseSubject reads type:id, type:* or type:id#relation.
func ParseSubject(text string) (SubjectName, error) {
	object, relation, userset := strings.Cut(text, "#")
	typeName, id, ok := strings.Cut(object, ":")
	if !ok {
		return SubjectName{}, invalid("subject", "it has no type: write type:id, type:* or type:id#relation").of(text)
	}
	s := SubjectName{Type: typeName, ID: id, Relation: relation}
	if userset && relation == "" {
		return SubjectName{}, invalid("subject", "no relation follows '#': write type:id#relation, or type:id").of(text)
	}
	return s, s.Validate()
}

// ParseTuple reads object#relation@subject. The first '#' ends the object and the
// first '@' behind it ends the relation, so ids may contain '@' and ':'.
func ParseTuple(text string) (Tuple, error) {
	object, rest, ok := strings.Cut(text, "#")
	if !ok {
		return Tuple{}, invalid("tuple", "it has no '#': write object#relation@subject, such as document:plan#viewer@user:anna").of(text)
	}
	relation, subject, ok := strings.Cut(rest, "@")
	if !ok {
		return Tuple{}, invalid("tuple", "no '@' follows the relation: write object#relation@subject, such as document:plan#viewer@user:anna").of(text)
	}
	var t Tuple
	var err error
	if t.Object, err = parseObject("object", object); err != nil {
		return Tuple{}, err
	}
	t.Relation = relation
	if err = validateRelation("relation", relation); err != nil {
		return Tuple{}, err
	}
	if t.Subject, err = ParseSubject(subject); err != nil {
		return Tuple{}, err
	}
	return t, nil
}

func parseObject(field, text string) (ObjectName, error) {
	typeName, id, ok := strings.Cut(text, ":")
	if !ok {
		return ObjectName{}, invalid(field, "it has no type: write type:id").of(text)
	}
	o := ObjectName{Type: typeName, ID: id}
	return o, o.validate(field)
}

// Validate checks the form of the name, whatever the model.
func (o ObjectName) Validate() error { return o.validate("object") }

func (o ObjectName) validate(field string) error {
	fault := validateType(field, o.Type)
	switch {
	case fault != nil:
	case o.ID == "*":
		fault = invalid(field, "an object cannot be a wildcard: write one id behind the ':'")
	default:
		fault = validateID(field, o.ID)
	}
	if fault != nil {
		return fault.of(o.String())
	}
	return nil
}

// Validate checks the form of the name, whatever the model.
func (s SubjectName) Validate() error {
	if s.Relation != "" {
		if err := validateRelation("subject", s.Relation); err != nil {
			return err
		}
	}
	fault := validateType("subject", s.Type)
	switch {
	case fault != nil:
	case s.ID != "*":
		fault = validateID("subject", s.ID)
	case s.Relation != "":
		fault = invalid("subject", "a wildcard has no relations: write %s:* or %s:id#%s", s.Type, s.Type, s.Relation)
	}
	if fault != nil {
		return fault.of(s.String())
	}
	return nil
}

// Validate checks the form of the tuple's names, whatever the model.
func (t Tuple) Validate() error {
	if err := t.Object.Validate(); err != nil {
		return err
	}
	if err := validateRelation("relation", t.Relation); err != nil {
		return err
	}
	return t.Subject.Validate()
}

func validateType(field, name string) *TupleError {
	switch {
	case name == "":
		return invalid(field, "the type before the ':' is empty: write type:id")
	case utf8.RuneCountInString(name) > MaxType:
		return invalid(field, "the type has %d characters, at most %d are allowed", utf8.RuneCountInString(name), MaxType)
	}
	if i := strings.IndexFunc(name, notInName); i >= 0 {
		return invalid(field, "the type contains %q: a type has no ':', '#', '@', space or control character", runeAt(name, i))
	}
	return nil
}

func validateRelation(field, name string) error {
	switch {
	case name == "":
		return invalid(field, "it is empty: write object#relation@subject").of(name)
	case utf8.RuneCountInString(name) > MaxRelation:
		return invalid(field, "the relation has %d characters, at most %d are allowed", utf8.RuneCountInString(name), MaxRelation).of(name)
	}
	if i := strings.IndexFunc(name, notInName); i >= 0 {
		return invalid(field, "the relation contains %q: a relation has no ':', '#', '@', space or control character", runeAt(name, i)).of(name)
	}
	return nil
}

// validateID refuses what would end an id in text or in a log, as OpenFGA does; everything
// else is the caller's own business: case, normalisation, other white space of Unicode.
func validateID(field, id string) *TupleError {
	switch {
	case id == "":
		return invalid(field, "the id behind the ':' is empty: write type:id")
	case len(id) > MaxIDBytes:
		return invalid(field, "the id has %d bytes, at most %d are allowed", len(id), MaxIDBytes)
	}
	for i, r := range id {
		switch {
		case r == '#':
			return invalid(field, "the id contains '#', which ends an object: use another character")
		case r == utf8.RuneError && runeAt(id, i) != "\uFFFD":
			return invalid(field, "the id is not valid UTF-8 at byte %d: encode it, for example as hexadecimal digits", i)
		case r == ' ':
			return invalid(field, "the id contains a space (at byte %d): use another character, or encode it", i)
		case unicode.IsControl(r):
			return invalid(field, "the id contains a control character (%q at byte %d): use another character, or encode it", r, i)
		}
	}
	return nil
}

func notInName(r rune) bool {
	return r == ':' || r == '#' || r == '@' || r == utf8.RuneError || r == ' ' || unicode.IsControl(r)
}

// runeAt is the bytes of the rune that begins at i.
func runeAt(s string, i int) string {
	_, n := utf8.DecodeRuneInString(s[i:])
	return s[i : i+n]
}
