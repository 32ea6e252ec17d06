package storefile

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph"
)

// A Writer writes a store file piece by piece, so that a store of any size can be
// exported without holding it. The tuples keep the order in which they come.
type Writer struct {
	w      *bufio.Writer
	tuples int
	err    error
}

// NewWriter begins a store file with a name and a model in the modelling language.
func NewWriter(w io.Writer, name, dsl string) *Writer {
	e := &Writer{w: bufio.NewWriter(w)}
	if name != "" {
		e.printf("name: %s\n", yamlfile.Scalar(name))
	}
	if dsl != "" {
		e.printf("model: |\n")
		for _, line := range strings.Split(strings.TrimRight(dsl, "\n"), "\n") {
			if line == "" {
				e.printf("\n")
				continue
			}
			e.printf("  %s\n", line)
		}
	}
	return e
}

// Tuple writes one tuple.
func (e *Writer) Tuple(t graph.Tuple) error {
	if e.tuples == 0 {
		e.printf("tuples:\n")
	}
	e.tuples++
	e.printf("  - user: %s\n    relation: %s\n    object: %s\n",
		yamlfile.Scalar(t.Subject.String()), yamlfile.Scalar(t.Relation), yamlfile.Scalar(t.Object.String()))
	if t.Condition != "" {
		e.printf("    condition:\n      name: %s\n", yamlfile.Scalar(t.Condition))
		if len(t.Context) > 0 {
			e.printf("      context: %s\n", yamlfile.Quoted(t.Context))
		}
	}
	if !t.Expires.IsZero() {
		e.printf("    expires_at: %s\n", strconv.Quote(t.Expires.UTC().Format(time.RFC3339Nano)))
	}
	return e.err
}

// Close ends the file. It does not close the writer below.
func (e *Writer) Close() error {
	if e.tuples == 0 {
		e.printf("tuples: []\n")
	}
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.err
}

func (e *Writer) printf(format string, args ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, args...)
	}
}
