package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// print writes an answer in the form that --output asks for. The table is written by
// the caller's function, for people; JSON and YAML are the API's own messages.
func (a *app) print(answer any, table func(w io.Writer) error) error {
	var out bytes.Buffer
	switch a.output {
	case "table", "":
		if err := table(&out); err != nil {
			return err
		}
	case "json":
		plain, err := plainValue(answer)
		if err != nil {
			return err
		}
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(plain); err != nil {
			return err
		}
	case "yaml":
		plain, err := plainValue(answer)
		if err != nil {
			return err
		}
		e := yaml.NewEncoder(&out)
		e.SetIndent(2)
		if err := e.Encode(yamlNumbers(plain)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("--output %s is unknown; it is table, json or yaml", a.output)
	}
	_, err := a.stdout.Write(out.Bytes())
	return err
}

// checkOutput refuses a wrong --output before anything is done.
func (a *app) checkOutput() error {
	switch a.output {
	case "table", "json", "yaml", "":
		return nil
	}
	return fmt.Errorf("--output %s is unknown; it is table, json or yaml", a.output)
}

// plainValue turns messages into maps and lists. Their own JSON varies in its white
// space on purpose, and scripts compare.
func plainValue(answer any) (any, error) {
	switch v := answer.(type) {
	case proto.Message:
		text, err := (protojson.MarshalOptions{EmitDefaultValues: true}).Marshal(v)
		if err != nil {
			return nil, err
		}
		var plain any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		err = d.Decode(&plain)
		return plain, err
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		var plain any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		err = d.Decode(&plain)
		return plain, err
	}
}

// yamlNumbers replaces JSON's numbers, which YAML would write as texts.
func yamlNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, element := range v {
			v[k] = yamlNumbers(element)
		}
	case []any:
		for i, element := range v {
			v[i] = yamlNumbers(element)
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	}
	return v
}

// printf writes for people. A stream that cannot be written is told once, at the end of
// the command: see stream.
func printf(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// printLine is printf for one line.
func printLine(w io.Writer, line string) { _, _ = io.WriteString(w, line+"\n") }

// A stream is standard output. It keeps the first error, for what a command has printed
// halfway was not printed.
type stream struct {
	w   io.Writer
	err error
}

func (s *stream) Write(text []byte) (int, error) {
	n, err := s.w.Write(text)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

// columns aligns rows of cells that tabs separate.
func columns(w io.Writer, rows func(w io.Writer)) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows(t)
	return t.Flush()
}

// A palette colours text, or leaves it alone where nobody would see the colour.
type palette bool

// colours decides for a stream: a terminal that is not told otherwise, see no-color.org.
func colours(w io.Writer) palette {
	return palette(os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w))
}

func (p palette) good(s string) string  { return p.paint("32", s) }
func (p palette) bad(s string) string   { return p.paint("31", s) }
func (p palette) bold(s string) string  { return p.paint("1", s) }
func (p palette) faint(s string) string { return p.paint("2", s) }

func (p palette) paint(code, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// isTerminal reports whether a stream is a terminal: a character device other than the
// null device.
func isTerminal(w any) bool {
	if s, ok := w.(*stream); ok {
		w = s.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// shellWord quotes a word for a shell if it needs quotes, so that what is printed can be
// pasted.
func shellWord(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@#%+=,") == "" && word[0] != '#' {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// counted is a number with its noun: 1 tuple, 2 tuples.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", thousands(n), noun)
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts = append([]string{s[len(s)-3:]}, parts...)
		s = s[:len(s)-3]
	}
	return strings.Join(append([]string{s}, parts...), ",")
}
