package crm

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/remit-authz/remit/graph"
)

// Fold is a name as it is compared with others: names that people would read as the same
// fold to the same text, whatever their case and however their letters are composed.
func Fold(name string) string {
	// Folding can take a text out of its normal form, and what it composes to can fold again.
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(name)))
}

// Claim names the document that reserves a name: name:role/emea%20sales. Kind is that
// of what bears the name; names of fields are claimed per module, as field/deal. What an
// id cannot hold is escaped as in a URL.
func Claim(kind, name string) graph.ObjectName {
	var b strings.Builder
	for _, r := range Fold(name) {
		if r == '%' || r == '#' || unicode.IsSpace(r) || unicode.IsControl(r) {
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
			continue
		}
		b.WriteRune(r)
	}
	return graph.ObjectName{Type: typeName, ID: kind + "/" + b.String()}
}
