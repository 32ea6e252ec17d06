package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph/condition"
)

// An outliner reads the text of a model for places. It also knows what it would like
// to see, so that where OpenFGA's parser refuses a text, the outliner can say it in
// words that its author understands. It never refuses a text by itself, except
// where reading it would cost too much.
type outliner struct {
	scanner *scanner
	token   token
	found   faults
	outline *outline

	current  *typeOutline     // whose relations are being defined
	defined  map[string]place // the relations of current
	listed   bool             // `relations` was seen since the type
	relation *relationOutline // whose definition is being read
	refused  bool             // the text would cost OpenFGA's parser too much

	extended, conditions map[string]place

	bodies      []span // the expressions of conditions
	parentheses []int  // the offsets of those that stand directly in parentheses
	last        span   // the parentheses that were read last
	single      bool   // the definition that was read last has one operand
}

// outlineText reads a whole model or one module.
func outlineText(file, text string) *outliner {
	o := &outliner{
		scanner: newScanner(file, text), outline: &outline{files: []string{file}},
		extended: map[string]place{}, conditions: map[string]place{},
	}
	o.advance()
	o.skipLines()
	o.header()
	for o.token.kind != tokenEnd {
		o.statement()
	}
	return o
}

func (o *outliner) advance() { o.token = o.scanner.next() }

func (o *outliner) skipLines() {
	for o.token.kind == tokenLine {
		o.advance()
	}
}

// skipLine goes to the next line, past whatever is left of this one.
func (o *outliner) skipLine() {
	for o.token.kind != tokenLine && o.token.kind != tokenEnd {
		o.advance()
	}
	o.skipLines()
}

func (o *outliner) is(text string) bool { return o.token.kind != tokenEnd && o.token.text == text }

// accept steps over a token if it is text.
func (o *outliner) accept(text string) bool {
	if !o.is(text) {
		return false
	}
	o.advance()
	return true
}

// fault reports what was wanted where the outliner stands.
func (o *outliner) fault(format string, args ...any) {
	o.faultAt(o.token.at, format, args...)
}

func (o *outliner) faultAt(at place, format string, args ...any) {
	typeName, relation := "", ""
	if o.current != nil {
		typeName = o.current.name
	}
	if o.relation != nil {
		relation = o.relation.name
	}
	o.found.add(at, typeName, relation, format, args...)
}

// seen names the token where the outliner stands.
func (o *outliner) seen() string {
	switch o.token.kind {
	case tokenEnd:
		return "end of the text"
	case tokenLine:
		return "end of the line"
	default:
		return fmt.Sprintf("%q", o.token.text)
	}
}

// endLine expects nothing more on a line.
func (o *outliner) endLine(after string) {
	if o.token.kind != tokenLine && o.token.kind != tokenEnd {
		o.fault("unexpected %s after %s: the line should end here; a comment begins with a space and #", o.seen(), after)
	}
	o.skipLine()
}

// header reads `model`, `schema 1.1`, or `module NAME`.
func (o *outliner) header() {
	o.outline.header = o.token.at
	switch {
	case o.accept("module"):
		if o.token.kind != tokenWord {
			o.fault("unexpected %s after module: a name should follow, as in `module billing`", o.seen())
		}
		o.outline.module = o.token.text
		if o.token.kind == tokenWord {
			o.advance()
		}
		o.endLine("the name of the module")
	case o.accept("model"):
		o.skipLines()
		o.outline.schema = o.token.at
		if !o.accept("schema") {
			o.fault("unexpected %s after model: `schema 1.1` should follow on a line of its own", o.seen())
			return
		}
		o.outline.schema = o.token.at
		if major, minor, ok := strings.Cut(o.token.text, "."); !ok || !digits(major) || !digits(minor) {
			o.fault("unexpected %s after schema: a version should follow, as in `schema 1.1`", o.seen())
			o.skipLine()
			return
		}
		o.advance()
		o.endLine("the version")
	case o.token.kind == tokenEnd:
		o.faultAt(place{o.token.at.file, 1, 1}, "the model is empty: it should begin with `model` and, on the next line, `schema 1.1`")
	default:
		o.fault("unexpected %s: a model begins with `model` and, on the next line, `schema 1.1`; a module with `module` and its name", o.seen())
	}
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// statement reads one line, or one condition.
func (o *outliner) statement() {
	o.relation = nil
	at := o.token.at
	switch {
	case o.is("type"), o.is("extend"):
		o.typeLine()
	case o.accept("relations"):
		if o.current == nil {
			o.faultAt(at, "`relations` belongs under a type: begin with a line such as `type document`")
		}
		o.listed = true
		o.endLine("relations")
		if o.current != nil && !o.is("define") {
			o.faultAt(at, "type %s says `relations` but defines none: add a line such as `define viewer: [user]`, or leave `relations` out", o.current.name)
		}
	case o.is("define"):
		o.define()
	case o.is("condition"):
		o.condition()
	default:
		o.fault("unexpected %s%s: a line begins with type, relations, define or condition", o.seen(), suggest(o.token.text, statements))
		o.listed = true // it may have been meant to be `relations`
		o.skipLine()
	}
}

var statements = []string{"type", "extend", "relations", "define", "condition"}

// restart goes to the next statement after a fault, which may have been noticed there.
func (o *outliner) restart(from place) {
	if o.token.at.line == from.line || !slices.Contains(statements, o.token.text) {
		o.skipLine()
	}
}

func (o *outliner) typeLine() {
	o.current, o.listed = nil, false
	at := o.token.at
	extend := o.accept("extend")
	if !o.accept("type") {
		o.fault("unexpected %s after extend: `type` and the name of a type should follow", o.seen())
		o.skipLine()
		return
	}
	if o.token.kind != tokenWord {
		o.fault("unexpected %s after type: the name of a type should follow, as in `type document`", o.seen())
		o.skipLine()
		return
	}
	t := &typeOutline{name: o.token.text, at: o.token.at, extend: extend}
	o.current, o.defined = t, map[string]place{}
	if extend && o.outline.module == "" {
		o.faultAt(at, "type %s is extended outside of a module: only a file that begins with `module` can extend a type; here, add its relations to the type", t.name)
	}
	if extend {
		if first, ok := o.extended[t.name]; ok {
			o.fault("type %s is extended twice in this file%s: put its relations together", t.name, first.seenFrom(t.at))
		}
		o.extended[t.name] = t.at
	}
	o.outline.types = append(o.outline.types, t)
	o.advance()
	o.endLine("the name of the type")
}

func (o *outliner) define() {
	at := o.token.at
	o.advance()
	switch {
	case o.current == nil:
		o.faultAt(at, "`define` belongs under a type: begin with the lines `type document` and `relations`")
	case !o.listed:
		o.faultAt(at, "type %s needs a line that says `relations` before its first `define`", o.current.name)
		o.listed = true
	}
	if o.token.kind != tokenWord {
		o.fault("unexpected %s after define: the name of a relation should follow, as in `define viewer: [user]`", o.seen())
		o.skipLine()
		return
	}
	r := &relationOutline{name: o.token.text, at: o.token.at}
	o.relation = r
	if o.current != nil {
		if first, ok := o.defined[r.name]; ok {
			o.fault("type %s defines %s twice%s: join both into one definition, with `or` if either should do",
				o.current.name, r.name, first.seenFrom(r.at))
		} else {
			o.defined[r.name] = r.at
		}
		o.current.relations = append(o.current.relations, r)
	}
	o.advance()
	if !o.accept(":") {
		o.fault("unexpected %s after the name of the relation: a colon should follow, as in `define %s: [user]`", o.seen(), r.name)
		o.skipLine()
		return
	}
	if o.definition(0, true) {
		o.endLine("the definition of " + r.name)
	} else {
		o.restart(at)
	}
}

// definition reads operands and operators up to the end of the line or a closing
// parenthesis, and reports whether it could.
func (o *outliner) definition(depth int, first bool) bool {
	if !o.operand(depth, first) {
		return false
	}
	operator := ""
	for {
		found := ""
		switch {
		case o.is("or"), o.is("and"):
			found = o.token.text
			o.advance()
		case o.accept("but"):
			if !o.accept("not") {
				o.fault("unexpected %s after but: the operator is `but not`", o.seen())
				return false
			}
			found = "but not"
		case o.token.kind == tokenLine, o.token.kind == tokenEnd, o.is(")"):
			o.single = operator == ""
			return true
		default:
			o.fault("unexpected %s: an operator (or, and, but not, from) should stand here, or the line should end", o.seen())
			return false
		}
		switch {
		case operator == "":
			operator = found
		case operator != found:
			o.fault("`%s` and `%s` stand side by side, which can be read in two ways: put parentheses around one of them", operator, found)
			return false
		case found == "but not":
			o.fault("`but not` stands twice: put parentheses around one of them, as in `a but not (b or c)`")
			return false
		}
		if !o.operand(depth, false) {
			return false
		}
	}
}

// operand reads a type restriction, a name, `name from name` or a parenthesis. A type
// restriction may stand only first in the whole definition, whatever the parentheses.
func (o *outliner) operand(depth int, first bool) bool {
	switch {
	case o.is("["):
		if !first {
			o.fault("the types in [ ] should stand first in the definition of %s, and only once", o.relationName())
			return false
		}
		return o.restrictions()
	case o.is("("):
		if depth >= MaxDepth {
			o.refused = true
			o.fault("parentheses nest more than %d deep: move a part of the definition into a relation of its own", MaxDepth)
			return false
		}
		return o.group(depth, first)
	case o.token.kind == tokenWord && !operators[o.token.text]:
		o.refer(o.token.text, o.token.at)
		o.advance()
		if !o.accept("from") {
			return true
		}
		if o.token.kind != tokenWord || operators[o.token.text] {
			o.fault("unexpected %s after from: the name of a relation should follow, as in `viewer from parent`", o.seen())
			return false
		}
		o.refer("from "+o.token.text, o.token.at)
		o.advance()
		return true
	default:
		o.fault("unexpected %s: types in [ ], the name of a relation or a parenthesis should stand here", o.seen())
		return false
	}
}

// group reads what stands in parentheses. Where that is nothing but other parentheses,
// the inner ones are superfluous; see prepare.
func (o *outliner) group(depth int, first bool) bool {
	open := o.token.offset
	o.advance()
	inner := o.token
	if !o.definition(depth+1, first) {
		return false
	}
	if !o.is(")") {
		o.fault("unexpected %s: a parenthesis is open and should be closed", o.seen())
		return false
	}
	if o.single && inner.text == "(" {
		o.parentheses = append(o.parentheses, o.last.from, o.last.to)
	}
	o.last = span{open, o.token.offset}
	o.advance()
	return true
}

var operators = map[string]bool{"or": true, "and": true, "but": true, "not": true, "from": true, "with": true}

func (o *outliner) relationName() string {
	if o.relation == nil {
		return "a relation"
	}
	return o.relation.name
}

func (o *outliner) refer(text string, at place) {
	if o.relation != nil {
		o.relation.refs = append(o.relation.refs, reference{text, at})
	}
}

// restrictions reads `[user, group#member with in_hours, user:*]`, over several lines
// if need be.
func (o *outliner) restrictions() bool {
	o.advance()
	for {
		o.skipLines()
		if o.token.kind != tokenWord {
			o.fault("unexpected %s: the name of a type should stand here, as in [user, user:*, group#member]", o.seen())
			return false
		}
		at, text := o.token.at, o.token.text
		o.advance()
		switch {
		case o.is("#"):
			o.advance()
			if o.token.kind != tokenWord || o.token.spaced {
				o.fault("unexpected %s after %q: the name of a relation should follow at once, as in group#member", o.seen(), text+"#")
				return false
			}
			text += "#" + o.token.text
			o.advance()
		case o.is(":"):
			o.advance()
			if !o.is("*") || o.token.spaced {
				o.fault("unexpected %s after %q: only `*` can follow at once, for every %s", o.seen(), text+":", text)
				return false
			}
			o.advance()
			text += ":*"
		}
		if o.accept("with") {
			name, ok := o.conditionName()
			if !ok {
				return false
			}
			text += " with " + name
		}
		o.refer("["+text, at)
		end, seen := o.token.at, o.seen()
		o.skipLines()
		switch {
		case o.accept(","):
		case o.accept("]"):
			return true
		default:
			o.faultAt(end, "unexpected %s: a comma and another type should follow, or the ] that closes the list", seen)
			return false
		}
	}
}

// conditionName reads the name of a condition in a type restriction. $expression is the
// only one with a mark in it.
func (o *outliner) conditionName() (string, bool) {
	at, seen := o.token.at, o.seen()
	marked := o.accept("$")
	name := o.token.text
	if marked {
		name = "$" + name
	}
	if o.token.kind != tokenWord || marked && (o.token.spaced || name != condition.InlineName) {
		o.faultAt(at, "unexpected %s after with: the name of a condition should follow", seen)
		return "", false
	}
	o.advance()
	return name, true
}
