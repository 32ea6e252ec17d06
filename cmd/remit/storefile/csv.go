package storefile

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
)

// columns are the columns of a tuple file in CSV; the first five must be there.
var columns = []string{
	"user_type", "user_id", "relation", "object_type", "object_id",
	"user_relation", "condition_name", "condition_context", "expires_at",
}

const neededColumns = 5

// csvTuples reads a table whose first line names its columns, in any order.
func (r *reader) csvTuples(name string, data []byte) []Tuple {
	table := csv.NewReader(bytes.NewReader(data))
	table.ReuseRecord = true
	index, ok := r.csvHeader(name, table)
	if !ok {
		return nil
	}
	var tuples []Tuple
	for {
		record, err := table.Read()
		if errors.Is(err, io.EOF) {
			return tuples
		}
		if err != nil {
			r.csvFault(name, err)
			return nil
		}
		row := csvRow{name: name, table: table, record: record, index: index}
		tuples = append(tuples, r.csvTuple(row))
	}
}

// csvHeader finds where the columns are.
func (r *reader) csvHeader(name string, table *csv.Reader) (map[string]int, bool) {
	header, err := table.Read()
	if errors.Is(err, io.EOF) {
		r.Faultf(Place{File: name, Line: 1, Column: 1}, "the file is empty; its first line must name the columns %s", strings.Join(columns[:neededColumns], ", "))
		return nil, false
	}
	if err != nil {
		r.csvFault(name, err)
		return nil, false
	}
	faults := len(r.Faults)
	index := map[string]int{}
	for i, title := range header {
		title = strings.TrimSpace(title)
		line, column := table.FieldPos(i)
		place := Place{File: name, Line: line, Column: column}
		known := false
		for _, c := range columns {
			known = known || c == title
		}
		if !known {
			r.Faultf(place, "unknown column %q; known are %s", title, strings.Join(columns, ", "))
		}
		if _, ok := index[title]; ok && known {
			r.Faultf(place, "column %q was given already", title)
		}
		index[title] = i
	}
	first := Place{File: name, Line: 1, Column: 1}
	for _, c := range columns[:neededColumns] {
		if _, ok := index[c]; !ok {
			r.Faultf(first, "column %q is missing", c)
		}
	}
	if _, ok := index["condition_context"]; ok {
		if _, ok := index["condition_name"]; !ok {
			r.Faultf(first, "column \"condition_context\" needs column \"condition_name\"")
		}
	}
	return index, len(r.Faults) == faults
}

func (r *reader) csvFault(name string, err error) {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		r.Faultf(Place{File: name, Line: parse.Line, Column: parse.Column}, "not CSV: %s", parse.Err)
		return
	}
	r.Faultf(Place{File: name}, "not CSV: %s", err)
}

// A csvRow is one record and where it stands.
type csvRow struct {
	name   string
	table  *csv.Reader
	record []string
	index  map[string]int
}

// cell is a column's content and place; both empty if the file has no such column.
func (c csvRow) cell(column string) (string, Place) {
	i, ok := c.index[column]
	if !ok {
		return "", Place{}
	}
	line, at := c.table.FieldPos(i)
	return c.record[i], Place{File: c.name, Line: line, Column: at}
}

func (r *reader) csvTuple(row csvRow) Tuple {
	faults := len(r.Faults)
	var t Tuple
	line, column := row.table.FieldPos(0)
	t.Place = Place{File: row.name, Line: line, Column: column}

	userType, place := row.cell("user_type")
	t.user = place
	userID, _ := row.cell("user_id")
	user := userType + ":" + userID
	if relation, _ := row.cell("user_relation"); relation != "" {
		user += "#" + relation
	}
	objectType, place := row.cell("object_type")
	t.object = place
	objectID, _ := row.cell("object_id")
	t.Relation, t.relation = row.cell("relation")
	r.needs(t.relation, "a tuple", "relation", t.Relation)
	r.names(&t, user, objectType+":"+objectID)

	t.Condition, t.condition = row.cell("condition_name")
	if context, place := row.cell("condition_context"); strings.TrimSpace(context) != "" {
		if t.Condition == "" {
			r.Faultf(place, "condition_context needs condition_name")
		}
		inner := &reader{}
		t.Context = inner.Values(row.name, inner.jsonNode(row.name, []byte(context), 1), "condition_context")
		for _, f := range inner.Faults { // the cell's place: quoting moves what is inside
			r.Faultf(place, "condition_context: %s", f.Message)
		}
	}
	if expires, place := row.cell("expires_at"); expires != "" {
		t.expires = place
		t.Expires = r.instant(place, expires)
	}
	if len(r.Faults) != faults {
		t.Relation = ""
	}
	return t
}
