package condition

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	celSyntax   = regexp.MustCompile(`(?s)^Syntax error: (?:mismatched|extraneous) input '(.*)' expecting .*$`)
	celUnknown  = regexp.MustCompile(`^undeclared reference to '(.*)' \(in container ''\)$`)
	celOverload = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)
)

// Explain is the message, the most frequent ones of CEL in words that its users know.
func (f Fault) Explain() string {
	if m := celSyntax.FindStringSubmatch(f.Message); m != nil {
		if m[1] == "<EOF>" {
			return "the expression ends too early"
		}
		return fmt.Sprintf("unexpected %q in the expression", m[1])
	}
	if name := f.Unknown(); name != "" {
		return name + " is no parameter and no function"
	}
	if m := celOverload.FindStringSubmatch(f.Message); m != nil {
		return fmt.Sprintf("%s cannot be applied to %s", strings.Trim(m[1], "_"), m[2])
	}
	return f.Message
}

// Unknown is the name that the expression uses and that nothing has, empty if the fault
// is another.
func (f Fault) Unknown() string {
	if m := celUnknown.FindStringSubmatch(f.Message); m != nil {
		return m[1]
	}
	return ""
}
