package model

import (
	"slices"
	"strings"

	"github.com/remit-authz/remit/graph/condition"
)

// parameterTypes are the types that the parameters of a condition may have, in the
// modelling language.
var parameterTypes = []string{"bool", "string", "int", "uint", "double", "duration", "timestamp", "ipaddress"}

// condition reads `condition name(parameter: type, ...) { expression }`.
func (o *outliner) condition() {
	o.current, o.listed = nil, false
	o.advance()
	if o.token.kind != tokenWord {
		o.fault("unexpected %s after condition: its name should follow, as in `condition in_hours(now: timestamp) { ... }`", o.seen())
		o.skipLine()
		return
	}
	c := &conditionOutline{name: o.token.text, at: o.token.at}
	if first, ok := o.conditions[c.name]; ok {
		o.fault("condition %s is defined twice%s: give one of them another name", c.name, first.seenFrom(c.at))
	} else {
		o.conditions[c.name] = c.at
	}
	o.outline.conditions = append(o.outline.conditions, c)
	o.advance()
	if !o.parameters(c) || !o.body(c) {
		o.skipCondition()
		return
	}
	o.endLine("the condition")
}

func (o *outliner) parameters(c *conditionOutline) bool {
	if !o.accept("(") {
		o.fault("unexpected %s after the name of the condition: its parameters should follow in parentheses, as in `condition %s(now: timestamp)`", o.seen(), c.name)
		return false
	}
	named := map[string]bool{}
	for {
		if o.lineEnds() {
			return false
		}
		if o.token.kind != tokenWord {
			o.fault("unexpected %s: a parameter should stand here, as in `now: timestamp`; a condition has at least one", o.seen())
			return false
		}
		name, at := o.token.text, o.token.at
		if name == "list" || name == "map" || slices.Contains(parameterTypes, name) {
			o.fault("a parameter cannot be named %s, which is a type: choose another name, as in `the_%s: string`", name, name)
			return false
		}
		if named[name] {
			o.fault("condition %s has two parameters named %s: give one of them another name", c.name, name)
			return false
		}
		named[name] = true
		c.parameters = append(c.parameters, reference{name, at})
		o.advance()
		if !o.accept(":") {
			o.fault("unexpected %s after parameter %s: a colon and its type should follow, as in `%s: string`", o.seen(), name, name)
			return false
		}
		if !o.parameterType(name) {
			return false
		}
		if o.lineEnds() {
			return false
		}
		switch {
		case o.accept(","):
		case o.accept(")"):
			return true
		default:
			o.fault("unexpected %s after parameter %s: a comma and another parameter should follow, or the parenthesis that closes the list", o.seen(), name)
			return false
		}
	}
}

// lineEnds reports the end of a line where OpenFGA's parser does not want one.
func (o *outliner) lineEnds() bool {
	if o.token.kind != tokenLine {
		return false
	}
	o.fault("unexpected end of the line: all parameters of a condition should stand on one line, up to the closing parenthesis")
	return true
}

func (o *outliner) parameterType(name string) bool {
	known := strings.Join(parameterTypes, ", ")
	switch {
	case o.is("list"), o.is("map"):
		container := o.token.text
		o.advance()
		if !o.accept("<") || !slices.Contains(parameterTypes, o.token.text) {
			o.fault("unexpected %s in the type of parameter %s: write %s<T>, with T one of %s", o.seen(), name, container, known)
			return false
		}
		o.advance()
		if !o.accept(">") {
			o.fault("unexpected %s in the type of parameter %s: a > should follow", o.seen(), name)
			return false
		}
		return true
	case slices.Contains(parameterTypes, o.token.text):
		o.advance()
		return true
	default:
		o.fault("unexpected %s as the type of parameter %s: it should be one of %s, list<T> or map<T>", o.seen(), name, known)
		return false
	}
}

// body reads the braces and what is between them. The scanner stands behind the token,
// so the brace must be the token itself for the expression to begin where it reads on.
func (o *outliner) body(c *conditionOutline) bool {
	if !o.is("{") {
		o.fault("unexpected %s after the parameters of condition %s: its expression should follow in braces, as in `{ now < until }`", o.seen(), c.name)
		return false
	}
	open := o.token.at
	from := o.scanner.offset
	at, closed := o.scanner.expression()
	c.expression = at
	body := span{from, o.scanner.offset}
	o.bodies = append(o.bodies, body)
	switch {
	case body.to-body.from > 2*condition.MaxExpression:
		o.refused = true
		o.faultAt(at, "the expression of condition %s has %d bytes, and at most %d are allowed", c.name, body.to-body.from, condition.MaxExpression)
	case blankLines(o.scanner.text[body.from:body.to]) > maxBlankLines:
		o.refused = true
		o.faultAt(at, "the expression of condition %s has more than %d empty lines in a row: leave them out", c.name, maxBlankLines)
	}
	if !closed {
		o.faultAt(open, "the brace of condition %s is never closed: a } should end its expression", c.name)
	}
	o.advance()
	return closed
}

// blankLines is the length of the longest run of empty lines.
func blankLines(text string) int {
	longest, run := 0, 0
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// skipCondition goes to the next line that begins something new, so that the rest of a
// broken condition is not reported line by line.
func (o *outliner) skipCondition() {
	for o.token.kind != tokenEnd {
		o.skipLine()
		if o.is("type") || o.is("extend") || o.is("condition") {
			return
		}
	}
}
