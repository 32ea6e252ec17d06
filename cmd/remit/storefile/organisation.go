package storefile

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/crm"
)

// WriteExport writes the export of an organisation as a store file, with the tests that it
// is given, of which only checks are written. What whoever asks must know, and what the
// export could not keep, stands at the head as comments.
func WriteExport(w io.Writer, name string, x *crm.Exported, tests []Test) error {
	var head strings.Builder
	comment := func(format string, args ...any) {
		head.WriteString(strings.TrimRight("# "+commentText(fmt.Sprintf(format, args...)), " ") + "\n")
	}
	comment("An organisation as an ordinary store, for OpenFGA and Remit.")
	comment("")
	comment("Questions need the instant as now in their context, such as %q:", x.Horizon.From.Format(time.RFC3339))
	comment("OpenFGA knows no time. Remit takes its clock, or the instant that is asked about.")
	comment("")
	comment("Working hours, assignments to shifts and leave are written down from %s until %s,", x.Horizon.From.Format(time.DateOnly), x.Horizon.Until.Format(time.DateOnly))
	comment("both at midnight in UTC. At other times every shift is closed: export again before.")
	comment("")
	comment("In ids, the characters : * and %% are written %%3A, %%2A and %%25.")
	comment("Names, and attributes of records, are left out: no answer depends on them.")
	if len(x.Notes) > 0 {
		comment("")
		comment("What is not as it is in the organisation:")
		for _, n := range x.Notes {
			comment("  - %s", n)
		}
	}
	if _, err := io.WriteString(w, head.String()+"\n"); err != nil {
		return err
	}
	e := NewWriter(w, name, x.Model)
	for _, t := range x.Tuples {
		if err := e.Tuple(t); err != nil {
			return err
		}
	}
	if e.tuples == 0 {
		e.printf("tuples: []\n")
		e.tuples = -1 // Close has nothing to add
	}
	e.tests(tests)
	return e.Close()
}

// commentText keeps a comment on its line, whatever ids hold.
func commentText(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// tests writes the checks of tests.
func (e *Writer) tests(tests []Test) {
	begun := false
	for _, t := range tests {
		if len(t.Checks) == 0 {
			continue
		}
		if !begun {
			e.printf("tests:\n")
			begun = true
		}
		e.printf("  - name: %s\n", yamlfile.Scalar(t.Name))
		if t.Description != "" {
			e.printf("    description: %s\n", yamlfile.Scalar(t.Description))
		}
		e.printf("    check:\n")
		for _, c := range t.Checks {
			e.check(c)
		}
	}
}

func (e *Writer) check(c Check) {
	e.oneOrMany("user", "      - ", c.Users)
	e.oneOrMany("object", "        ", c.Objects)
	if len(c.Context) > 0 {
		e.printf("        context: %s\n", yamlfile.Quoted(c.Context))
	}
	e.printf("        assertions:\n")
	for _, a := range c.Assertions {
		e.printf("          %s: %t\n", yamlfile.Scalar(a.Relation), a.Allowed)
	}
}

// oneOrMany writes what a check has one or several of.
func (e *Writer) oneOrMany(key, indent string, names []string) {
	if len(names) == 1 {
		e.printf("%s%s: %s\n", indent, key, yamlfile.Scalar(names[0]))
		return
	}
	e.printf("%s%ss:\n", indent, key)
	for _, name := range names {
		e.printf("          - %s\n", yamlfile.Scalar(name))
	}
}
