package storefile

import (
	"bytes"
	"path/filepath"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph"
)

// ReadTuples reads a tuple file by its extension: .yaml, .yml, .json, .jsonl or .csv.
// The tuples are well-formed and stand once; no model has judged them.
func ReadTuples(name string) ([]Tuple, []Fault, error) {
	data, err := yamlfile.ReadFile(name)
	if err != nil {
		return nil, nil, &Error{Faults: []Fault{{Place: Place{File: name}, Message: yamlfile.Reason(err)}}}
	}
	return ParseTuples(name, filepath.Ext(name), data)
}

// ParseTuples reads tuples in the format of an extension: .yaml, .yml, .json, .jsonl
// or .csv. Name stands for the file in faults.
func ParseTuples(name, extension string, data []byte) ([]Tuple, []Fault, error) {
	r := &reader{}
	tuples := r.distinct(r.tupleData(name, extension, data))
	if err := r.Err(); err != nil {
		return nil, nil, err
	}
	return tuples, r.Warnings, nil
}

// allTuples gathers inline tuples and those of tuple_file and tuple_files.
func (r *reader) allTuples(file string, inline, one, many *yaml.Node) []Tuple {
	var tuples []Tuple
	for _, n := range r.List(file, inline, "tuples") {
		tuples = append(tuples, r.tuple(file, n, true))
	}
	references := []*yaml.Node{}
	if !yamlfile.IsNull(one) {
		references = append(references, one)
	}
	references = append(references, r.List(file, many, "tuple_files")...)
	for _, n := range references {
		name := r.Text(file, n, "the name of a tuple file")
		if name == "" {
			continue
		}
		place := yamlfile.At(file, n)
		name = yamlfile.Beside(file, name)
		data, err := r.open(name)
		if err != nil {
			r.unreadable(name, &place, err)
			continue
		}
		tuples = append(tuples, r.tupleData(name, filepath.Ext(name), data)...)
	}
	return r.distinct(tuples)
}

// distinct leaves out repetitions and refuses contradictions.
func (r *reader) distinct(tuples []Tuple) []Tuple {
	type key struct {
		object   graph.ObjectName
		relation string
		subject  graph.SubjectName
	}
	seen := make(map[key]int, len(tuples))
	kept := tuples[:0]
	for _, t := range tuples {
		k := key{t.Object, t.Relation, t.Subject}
		i, ok := seen[k]
		switch {
		case !ok || t.Relation == "":
			seen[k] = len(kept)
			kept = append(kept, t)
		case kept[i].Condition != t.Condition || !reflect.DeepEqual(kept[i].Context, t.Context) || !kept[i].Expires.Equal(t.Expires):
			r.Faultf(t.Place, "the tuple stands at %s already, with another condition or expiry", kept[i].Place)
		default:
			r.Warnf(t.Place, "the tuple stands at %s already", kept[i].Place)
		}
	}
	return kept
}

func (r *reader) tupleData(name, extension string, data []byte) []Tuple {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var tuples []Tuple
	switch extension {
	case ".yaml", ".yml":
		tuples = r.tupleList(name, r.Document(name, data))
	case ".json":
		tuples = r.tupleList(name, r.jsonOrYAML(name, data))
	case ".jsonl":
		for i, line := range bytes.Split(data, []byte("\n")) {
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if n := r.jsonNode(name, line, i+1); n != nil {
				tuples = append(tuples, r.tuple(name, n, false))
			}
		}
	case ".csv":
		tuples = r.csvTuples(name, data)
	default:
		r.Faultf(Place{File: name}, "cannot tell the format from %q; a tuple file ends in .yaml, .yml, .json, .jsonl or .csv", extension)
		return nil
	}
	if len(tuples) == 0 && len(r.Faults) == 0 {
		r.Faultf(Place{File: name, Line: 1, Column: 1}, "the file holds no tuples")
	}
	return tuples
}

// jsonOrYAML reads JSON, and YAML in a file that calls itself JSON: OpenFGA's command
// line reads both with one parser.
func (r *reader) jsonOrYAML(name string, data []byte) *yaml.Node {
	strict := &reader{}
	if n := strict.jsonNode(name, data, 1); n != nil {
		return n
	}
	lenient := &reader{}
	if n := lenient.Document(name, data); n != nil && n.Kind != yaml.ScalarNode {
		return n
	}
	r.Faults = append(r.Faults, strict.Faults...)
	return nil
}

func (r *reader) tupleList(name string, n *yaml.Node) []Tuple {
	var tuples []Tuple
	for _, element := range r.List(name, n, "a tuple file") {
		tuples = append(tuples, r.tuple(name, element, false))
	}
	return tuples
}

// tuple reads one tuple. Unknown keys are faults in a store file and warnings in a
// tuple file, as OpenFGA's command line has it. After a fault the relation is empty.
func (r *reader) tuple(file string, n *yaml.Node, strict bool) Tuple {
	t := Tuple{Place: yamlfile.At(file, n)}
	faults := len(r.Faults)
	var user, object string
	for _, e := range r.Mapping(file, n, "a tuple") {
		place := yamlfile.At(file, e.Value)
		switch e.Key {
		case "user":
			user, t.user = r.Text(file, e.Value, "user"), place
		case "relation":
			t.Relation, t.relation = r.Text(file, e.Value, "relation"), place
		case "object":
			object, t.object = r.Text(file, e.Value, "object"), place
		case "condition":
			t.condition = place
			r.condition(file, e.Value, &t, strict)
		case "expires_at":
			t.expires = place
			t.Expires = r.instant(place, r.Text(file, e.Value, "expires_at"))
		default:
			r.unknownInTuple(e, "a tuple", "user, relation, object, condition, expires_at", strict)
		}
	}
	if len(r.Faults) == faults {
		r.needs(t.Place, "a tuple", "user", user)
		r.needs(t.Place, "a tuple", "relation", t.Relation)
		r.needs(t.Place, "a tuple", "object", object)
	}
	if len(r.Faults) == faults {
		r.names(&t, user, object)
	}
	if len(r.Faults) != faults {
		t.Relation = ""
	}
	return t
}

func (r *reader) condition(file string, n *yaml.Node, t *Tuple, strict bool) {
	for _, e := range r.Mapping(file, n, "condition") {
		switch e.Key {
		case "name":
			t.Condition = r.Text(file, e.Value, "name")
			t.condition = yamlfile.At(file, e.Value)
		case "context":
			t.Context = r.Values(file, e.Value, "context")
		default:
			r.unknownInTuple(e, "a condition", "name, context", strict)
		}
	}
	if t.Condition == "" && !yamlfile.IsNull(n) {
		r.needs(yamlfile.At(file, n), "a condition", "name", "")
	}
}

func (r *reader) unknownInTuple(e yamlfile.Entry, where, known string, strict bool) {
	if strict {
		r.unknown(e, where, known)
		return
	}
	r.Warnf(e.Place, "unknown key %q in %s has no effect; known are %s", e.Key, where, known)
}

// names parses the two ends of a tuple and refuses what no model could accept.
func (r *reader) names(t *Tuple, user, object string) {
	var userErr, objectErr error
	if t.Subject, userErr = graph.ParseSubject(user); userErr != nil {
		r.Faultf(t.user, "%s", userErr)
	}
	if t.Object, objectErr = graph.ParseObject(object); objectErr != nil {
		r.Faultf(t.object, "%s", objectErr)
	}
	if userErr != nil || objectErr != nil || t.Relation == "" {
		return
	}
	if err := t.Validate(); err != nil {
		r.Faults = append(r.Faults, t.Fault(err))
	}
}

func (r *reader) instant(p Place, text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	instant, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.Faultf(p, "%q is no instant; write it as 2006-01-02T15:04:05Z", text)
	}
	return instant
}
