package storefile

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/value"
)

// WriteExport writes the export of an organisation as a store file, with the tests that it
// is given: see OrganisationTests. What whoever asks must know, and what the export could
// not keep, stands at the head as comments.
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

// tests writes what tests ask. Tuples of their own are not written.
func (e *Writer) tests(tests []Test) {
	if len(tests) > 0 {
		e.printf("tests:\n")
	}
	for _, t := range tests {
		e.printf("  - name: %s\n", yamlfile.Scalar(t.Name))
		if t.Description != "" {
			e.printf("    description: %s\n", yamlfile.Scalar(t.Description))
		}
		for i, c := range t.Checks {
			e.heading(i, "check")
			e.check(c)
		}
		for i, l := range t.ListObjects {
			e.heading(i, "list_objects")
			e.listObjects(l)
		}
		for i, l := range t.ListUsers {
			e.heading(i, "list_users")
			e.listUsers(l)
		}
	}
}

func (e *Writer) heading(i int, key string) {
	if i == 0 {
		e.printf("    %s:\n", key)
	}
}

func (e *Writer) check(c Check) {
	e.oneOrMany("user", "      - ", c.Users)
	e.oneOrMany("object", "        ", c.Objects)
	e.context(c.Context)
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

// context also begins what is asserted in it.
func (e *Writer) context(fields value.Map) {
	if len(fields) > 0 {
		e.printf("        context: %s\n", yamlfile.Quoted(fields))
	}
	e.printf("        assertions:\n")
}

func (e *Writer) listObjects(l ListObjects) {
	e.printf("      - user: %s\n        type: %s\n", yamlfile.Scalar(l.User), yamlfile.Scalar(l.Type))
	e.context(l.Context)
	for _, a := range l.Assertions {
		e.printf("          %s: %s\n", yamlfile.Scalar(a.Relation), yamlfile.Quoted(a.Want))
	}
}

func (e *Writer) listUsers(l ListUsers) {
	e.printf("      - object: %s\n        user_filter:\n", yamlfile.Scalar(l.Object))
	for _, f := range l.Filters {
		e.printf("          - type: %s\n", yamlfile.Scalar(f.Type))
		if f.Relation != "" {
			e.printf("            relation: %s\n", yamlfile.Scalar(f.Relation))
		}
	}
	e.context(l.Context)
	for _, a := range l.Assertions {
		e.printf("          %s:\n            users: %s\n", yamlfile.Scalar(a.Relation), yamlfile.Quoted(a.Want))
	}
}
