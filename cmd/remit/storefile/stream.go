package storefile

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph"
)

// Streams reports whether a tuple file of this extension can be read piece by piece: one
// of tuples that each stand for themselves.
func Streams(extension string) bool { return extension == ".csv" || extension == ".jsonl" }

// A Scanner reads a tuple file piece by piece, so that one of any size can be imported.
// Unlike ReadTuples it does not notice tuples that stand twice in the file.
type Scanner struct {
	r    *reader
	next func() (t Tuple, ok bool)
}

// NewScanner reads tuples in the format of an extension, .csv or .jsonl. Name stands for
// the file in faults.
func NewScanner(name, extension string, in io.Reader) (*Scanner, error) {
	s := &Scanner{r: &reader{}}
	buffered := bufio.NewReaderSize(in, 1<<20)
	if mark, err := buffered.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(len(mark)) // what was peeked is there
	}
	switch extension {
	case ".csv":
		table := csv.NewReader(buffered)
		table.ReuseRecord = true
		index, ok := s.r.csvHeader(name, table)
		if !ok {
			return nil, s.r.Err()
		}
		s.next = func() (Tuple, bool) { return s.r.nextRecord(name, table, index) }
	case ".jsonl":
		line := 0
		s.next = func() (Tuple, bool) { return s.r.nextLine(name, buffered, &line) }
	default:
		return nil, fmt.Errorf("%s: only .csv and .jsonl are read piece by piece", name)
	}
	return s, nil
}

// maxScanFaults is after how many faults a Scanner gives up: a file that is no tuple file
// at all has one on every line.
const maxScanFaults = 20

// Next returns the next tuples, at most so many; io.EOF says that there are none. What is
// wrong with the file is an *Error.
func (s *Scanner) Next(most int) ([]Tuple, error) {
	var tuples []Tuple
	for len(tuples) < most {
		t, ok := s.next()
		if !ok || len(s.r.Faults) >= maxScanFaults {
			break
		}
		tuples = append(tuples, t)
	}
	if err := s.r.Err(); err != nil {
		return nil, err
	}
	if len(tuples) == 0 {
		return nil, io.EOF
	}
	return tuples, nil
}

// Warnings are what was found so far that has no effect.
func (s *Scanner) Warnings() []Fault { return s.r.Warnings }

func (r *reader) nextRecord(name string, table *csv.Reader, index map[string]int) (Tuple, bool) {
	record, err := table.Read()
	if errors.Is(err, io.EOF) {
		return Tuple{}, false
	}
	if err != nil {
		r.csvFault(name, err)
		return Tuple{}, false
	}
	return r.csvTuple(csvRow{name: name, table: table, record: record, index: index}), true
}

func (r *reader) nextLine(name string, in *bufio.Reader, number *int) (Tuple, bool) {
	for {
		line, err := in.ReadBytes('\n')
		*number++
		if len(bytes.TrimSpace(line)) > 0 {
			n := r.jsonNode(name, line, *number)
			if n == nil {
				return Tuple{}, true // the fault is kept
			}
			return r.tuple(name, n, false), true
		}
		if errors.Is(err, io.EOF) {
			return Tuple{}, false
		}
		if err != nil {
			r.Faultf(Place{File: name, Line: *number}, "%s", err)
			return Tuple{}, false
		}
	}
}

// A TupleWriter writes tuples in one of the formats that are read here.
type TupleWriter interface {
	Tuple(t graph.Tuple) error
	// Flush hands on what has been written so far.
	Flush() error
	// Close ends the file. It does not close the writer below.
	Close() error
}

// Flush hands on what has been written so far.
func (e *Writer) Flush() error {
	if e.err == nil {
		e.err = e.w.Flush()
	}
	return e.err
}

// ContinueWriter goes on with a store file that holds tuples already.
func ContinueWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriter(w), tuples: 1} }

// NewTupleWriter writes a tuple file in the format of an extension, .csv or .jsonl. A file
// that is continued has its beginning already.
func NewTupleWriter(w io.Writer, extension string, continued bool) (TupleWriter, error) {
	switch extension {
	case ".csv":
		table := csv.NewWriter(w)
		if continued {
			return &csvWriter{table}, nil
		}
		return &csvWriter{table}, table.Write(columns)
	case ".jsonl":
		return &jsonlWriter{bufio.NewWriter(w)}, nil
	default:
		return nil, fmt.Errorf("no tuple file ends in %q that can be written; .csv and .jsonl can", extension)
	}
}

type csvWriter struct{ table *csv.Writer }

// Tuple implements TupleWriter.
func (w *csvWriter) Tuple(t graph.Tuple) error {
	context := ""
	if len(t.Context) > 0 {
		context = string(yamlfile.Quoted(t.Context))
	}
	return w.table.Write([]string{
		t.Subject.Type, t.Subject.ID, t.Relation, t.Object.Type, t.Object.ID,
		t.Subject.Relation, t.Condition, context, expiryText(t),
	})
}

// Flush implements TupleWriter.
func (w *csvWriter) Flush() error {
	w.table.Flush()
	return w.table.Error()
}

// Close implements TupleWriter.
func (w *csvWriter) Close() error { return w.Flush() }

type jsonlWriter struct{ w *bufio.Writer }

// Tuple implements TupleWriter.
func (w *jsonlWriter) Tuple(t graph.Tuple) error {
	type condition struct {
		Name    string `json:"name"`
		Context any    `json:"context,omitempty"`
	}
	line := struct {
		User      string     `json:"user"`
		Relation  string     `json:"relation"`
		Object    string     `json:"object"`
		Condition *condition `json:"condition,omitempty"`
		ExpiresAt string     `json:"expires_at,omitempty"`
	}{User: t.Subject.String(), Relation: t.Relation, Object: t.Object.String(), ExpiresAt: expiryText(t)}
	if t.Condition != "" {
		line.Condition = &condition{Name: t.Condition}
		if len(t.Context) > 0 {
			line.Condition.Context = t.Context
		}
	}
	e := json.NewEncoder(w.w)
	e.SetEscapeHTML(false)
	return e.Encode(line)
}

// Flush implements TupleWriter.
func (w *jsonlWriter) Flush() error { return w.w.Flush() }

// Close implements TupleWriter.
func (w *jsonlWriter) Close() error { return w.w.Flush() }

func expiryText(t graph.Tuple) string {
	if t.Expires.IsZero() {
		return ""
	}
	return t.Expires.UTC().Format(time.RFC3339Nano)
}
