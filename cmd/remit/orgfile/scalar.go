package orgfile

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/value"
)

// severalWords are texts that YAML reads as they stand, though there are spaces in them.
var severalWords = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9_./@+]*( [A-Za-z0-9][-A-Za-z0-9_./@+]*)+$`)

// text writes a text, plain if that is safe.
func text(s string) string {
	if severalWords.MatchString(s) {
		return s
	}
	return yamlfile.Scalar(s)
}

// valueText writes a value so that the same is read back: texts in quotes, and what is no
// whole number so that it looks like none.
func valueText(v value.Value) string {
	switch v := v.(type) {
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return s
	case value.List:
		return "[" + strings.Join(scalars(v, valueText), ", ") + "]"
	case value.Map:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			key := string(yamlfile.Quoted(name))
			if len(key) > maxKey {
				key = "? " + key + " "
			}
			parts = append(parts, key+": "+valueText(v[name]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return string(yamlfile.Quoted(v))
	}
}
