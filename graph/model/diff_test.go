package model

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestDiff holds pairs of models, separated by a line of three equal signs, against
// their differences.
func TestDiff(t *testing.T) {
	datadriven.RunTest(t, filepath.Join("testdata", "diff"), func(t *testing.T, d *datadriven.TestData) string {
		from, to, ok := strings.Cut(d.Input, "\n===\n")
		if !ok {
			d.Fatalf(t, "no === between two models")
		}
		a, b := mustParse(t, from), mustParse(t, to)
		changes := Diff(a, b)
		if equal := len(changes) == 0; a.Equal(b) != equal || b.Equal(a) != equal {
			t.Errorf("%s: Equal is not what Diff says", d.Pos)
		}
		var out strings.Builder
		for _, c := range changes {
			fmt.Fprintf(&out, "%s %s\n", c.Kind, c.Subject)
			print := func(mark, text string) {
				for line := range strings.Lines(text) {
					out.WriteString("  " + mark + " " + strings.TrimSuffix(line, "\n") + "\n")
				}
			}
			print("-", c.From)
			print("+", c.To)
		}
		if out.Len() == 0 {
			return "nothing\n"
		}
		return out.String()
	})
}
