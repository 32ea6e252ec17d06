package storefile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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
		e.printf("name: %s\n", scalar(name))
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
		scalar(t.Subject.String()), scalar(t.Relation), scalar(t.Object.String()))
	if t.Condition != "" {
		e.printf("    condition:\n      name: %s\n", scalar(t.Condition))
		if len(t.Context) > 0 {
			e.printf("      context: %s\n", quoted(t.Context))
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

// scalar writes a text so that YAML reads back the same text: plain where that is surely
// safe, otherwise in double quotes.
func scalar(s string) string {
	if plain.MatchString(s) && !strings.HasSuffix(s, ":") && !keywords[strings.ToLower(s)] {
		return s
	}
	return string(quoted(s))
}

var (
	plain    = regexp.MustCompile(`^[A-Za-z][-A-Za-z0-9_.:/@|*#+=]*$`)
	keywords = map[string]bool{"y": true, "n": true, "yes": true, "no": true, "on": true, "off": true, "true": true, "false": true, "null": true}
)

// quoted writes a value as JSON, which is YAML too once the characters are escaped that
// YAML does not allow to stand for themselves. Outside of strings JSON has none of them.
func quoted(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // values are JSON's own, see value.Value
		return []byte("null")
	}
	var escaped []byte
	for i, c := range string(text) {
		switch {
		case c == 0x7f, c >= 0x80 && c < 0xa0, c == 0x2028, c == 0x2029, c == 0xfeff, c == 0xfffe, c == 0xffff:
			if escaped == nil {
				escaped = append(make([]byte, 0, len(text)+16), text[:i]...)
			}
			escaped = fmt.Appendf(escaped, "\\u%04x", c)
		case escaped != nil:
			escaped = utf8.AppendRune(escaped, c)
		}
	}
	if escaped != nil {
		return escaped
	}
	return text
}
