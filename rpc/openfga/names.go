package openfga

import (
	"strings"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/graph"
)

// wildcard is the id that stands for every object of a type.
const wildcard = "*"

// A userForm is the form of what stands in the field user.
type userForm uint8

// The forms of users.
const (
	userMalformed userForm = iota // none that OpenFGA reads
	userBare                      // anna, an id without a type, which only old models had
	userObject                    // user:anna, or user:*
	userSet                       // group:eng#member
)

// formOf tells what form a user has.
func formOf(user string) userForm {
	switch {
	case user == "" || hasSpace(user):
		return userMalformed
	case strings.IndexByte(user, '#') >= 0:
		if isUserset(user) {
			return userSet
		}
		return userMalformed
	case strings.IndexByte(user, ':') < 0:
		return userBare
	case isObject(user):
		return userObject
	}
	return userMalformed
}

// isObject reports whether text is type:id with one colon.
func isObject(text string) bool {
	typ, id, ok := strings.Cut(text, ":")
	return ok && typ != "" && id != "" && strings.IndexByte(id, ':') < 0 &&
		strings.IndexByte(text, '#') < 0 && !hasSpace(text)
}

// isUserset reports whether text is type:id#relation with no star but in the type.
func isUserset(text string) bool {
	typ, rest, _ := strings.Cut(text, ":")
	id, relation, _ := strings.Cut(rest, "#")
	return typ != "" && id != "" && relation != "" &&
		strings.IndexByte(typ, '#') < 0 && !strings.ContainsAny(id, "*:") && !strings.ContainsAny(relation, "*:#") &&
		!hasSpace(text)
}

// isRelation reports whether text can be the name of a relation.
func isRelation(text string) bool {
	return text != "" && !strings.ContainsAny(text, "#:@") && !hasSpace(text)
}

// hasSpace reports whether text has a space or a control character, tabs and ends of
// lines among them. Other white space of Unicode is as good as a letter.
func hasSpace(text string) bool {
	for _, r := range text {
		if r == ' ' || isControl(r) {
			return true
		}
	}
	return false
}

// hasControl reports whether text has a control character.
func hasControl(text string) bool {
	for _, r := range text {
		if isControl(r) {
			return true
		}
	}
	return false
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f }

// objectName takes type:id apart. Text without a colon is an id without a type.
func objectName(text string) graph.ObjectName {
	typ, id, ok := strings.Cut(text, ":")
	if !ok {
		return graph.ObjectName{ID: text}
	}
	return graph.ObjectName{Type: typ, ID: id}
}

// subjectName takes a user apart. A # that nothing follows stays in the id, which no
// tuple has then: it does not name the same as without it.
func subjectName(user string) graph.SubjectName {
	relation := ""
	if i := strings.LastIndexByte(user, '#'); i >= 0 && i < len(user)-1 {
		user, relation = user[:i], user[i+1:]
	}
	o := objectName(user)
	return graph.SubjectName{Type: o.Type, ID: o.ID, Relation: relation}
}

// A tupleKey is the part that all of OpenFGA's messages for tuples have.
type tupleKey interface {
	GetUser() string
	GetRelation() string
	GetObject() string
}

// tupleText writes a tuple as object#relation@user.
func tupleText(t tupleKey) string {
	return t.GetObject() + "#" + t.GetRelation() + "@" + t.GetUser()
}

// conditionalText writes a tuple with the name of its condition.
func conditionalText(t *openfgav1.TupleKey) string {
	if t.GetCondition() == nil {
		return tupleText(t)
	}
	return tupleText(t) + " (condition " + t.GetCondition().GetName() + ")"
}
