package storefile

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// store reads a store file's own text and all that it names.
func (r *reader) store(name string, data []byte) *File {
	file := &File{Path: name}
	root := r.Document(name, data)
	if root == nil {
		if len(r.Faults) == 0 {
			r.Faultf(Place{File: name, Line: 1, Column: 1}, "the file is empty")
		}
		return file
	}
	var inline, modelFile, tests *yaml.Node
	var inlineTuples, tupleFile, tupleFiles *yaml.Node
	for _, e := range r.Mapping(name, root, "a store file") {
		switch e.Key {
		case "name":
			file.Name = r.Text(name, e.Value, "name")
		case "model":
			inline = e.Value
		case "model_file":
			modelFile = e.Value
		case "tuples":
			inlineTuples = e.Value
		case "tuple_file":
			tupleFile = e.Value
		case "tuple_files":
			tupleFiles = e.Value
		case "tests":
			tests = e.Value
		default:
			r.unknown(e, "a store file", "name, model, model_file, tuples, tuple_file, tuple_files, tests")
		}
	}
	r.model(file, data, inline, modelFile)
	file.Tuples = r.allTuples(name, inlineTuples, tupleFile, tupleFiles)
	for _, n := range r.List(name, tests, "tests") {
		file.Tests = append(file.Tests, r.test(name, n))
	}
	r.judge(file)
	return file
}

// unknown reports a key that OpenFGA's command line refuses too.
func (r *reader) unknown(e yamlfile.Entry, where, known string) {
	r.Faultf(e.Place, "unknown key %q in %s; known are %s", e.Key, where, known)
}

func (r *reader) test(file string, n *yaml.Node) Test {
	test := Test{Place: yamlfile.At(file, n)}
	var inline, tupleFile, tupleFiles *yaml.Node
	for _, e := range r.Mapping(file, n, "a test") {
		switch e.Key {
		case "name":
			test.Name = r.Text(file, e.Value, "name")
		case "description":
			test.Description = r.Text(file, e.Value, "description")
		case "tuples":
			inline = e.Value
		case "tuple_file":
			tupleFile = e.Value
		case "tuple_files":
			tupleFiles = e.Value
		case "check":
			for _, n := range r.List(file, e.Value, "check") {
				test.Checks = append(test.Checks, r.check(file, n))
			}
		case "list_objects":
			for _, n := range r.List(file, e.Value, "list_objects") {
				test.ListObjects = append(test.ListObjects, r.listObjects(file, n))
			}
		case "list_users":
			for _, n := range r.List(file, e.Value, "list_users") {
				test.ListUsers = append(test.ListUsers, r.listUsers(file, n))
			}
		default:
			r.unknown(e, "a test", "name, description, tuples, tuple_file, tuple_files, check, list_objects, list_users")
		}
	}
	test.Tuples = r.allTuples(file, inline, tupleFile, tupleFiles)
	return test
}

func (r *reader) check(file string, n *yaml.Node) Check {
	check := Check{Place: yamlfile.At(file, n)}
	var user, object string
	for _, e := range r.Mapping(file, n, "a check") {
		switch e.Key {
		case "user":
			user = r.Text(file, e.Value, "user")
		case "users":
			check.Users = r.Texts(file, e.Value, "users")
		case "object":
			object = r.Text(file, e.Value, "object")
		case "objects":
			check.Objects = r.Texts(file, e.Value, "objects")
		case "context":
			check.Context = r.Values(file, e.Value, "context")
		case "assertions":
			for _, a := range r.Mapping(file, e.Value, "assertions") {
				check.Assertions = append(check.Assertions, CheckAssertion{
					Place: a.Place, Relation: a.Key,
					Allowed: r.Boolean(file, a.Value, "what is expected of "+a.Key),
				})
			}
		default:
			r.unknown(e, "a check", "user, users, object, objects, context, assertions")
		}
	}
	check.Users = r.oneOrMany(check.Place, "user", user, check.Users)
	check.Objects = r.oneOrMany(check.Place, "object", object, check.Objects)
	return check
}

// oneOrMany joins a key and its plural, of which a check has one.
func (r *reader) oneOrMany(p Place, key, one string, many []string) []string {
	switch {
	case one != "" && len(many) > 0:
		r.Faultf(p, "a check has either %s or %ss, not both", key, key)
	case one == "" && len(many) == 0:
		r.Faultf(p, "a check needs %s or %ss", key, key)
	case one != "":
		return []string{one}
	}
	return many
}

func (r *reader) listObjects(file string, n *yaml.Node) ListObjects {
	list := ListObjects{Place: yamlfile.At(file, n)}
	for _, e := range r.Mapping(file, n, "an entry of list_objects") {
		switch e.Key {
		case "user":
			list.User = r.Text(file, e.Value, "user")
		case "type":
			list.Type = r.Text(file, e.Value, "type")
		case "context":
			list.Context = r.Values(file, e.Value, "context")
		case "assertions":
			for _, a := range r.Mapping(file, e.Value, "assertions") {
				list.Assertions = append(list.Assertions, ListAssertion{
					Place: a.Place, Relation: a.Key,
					Want: r.Texts(file, a.Value, "what is expected of "+a.Key),
				})
			}
		default:
			r.unknown(e, "an entry of list_objects", "user, type, context, assertions")
		}
	}
	r.needs(list.Place, "an entry of list_objects", "user", list.User)
	r.needs(list.Place, "an entry of list_objects", "type", list.Type)
	return list
}

func (r *reader) listUsers(file string, n *yaml.Node) ListUsers {
	list := ListUsers{Place: yamlfile.At(file, n)}
	for _, e := range r.Mapping(file, n, "an entry of list_users") {
		switch e.Key {
		case "object":
			list.Object = r.Text(file, e.Value, "object")
		case "user_filter":
			for _, f := range r.List(file, e.Value, "user_filter") {
				list.Filters = append(list.Filters, r.userFilter(file, f))
			}
		case "context":
			list.Context = r.Values(file, e.Value, "context")
		case "assertions":
			for _, a := range r.Mapping(file, e.Value, "assertions") {
				list.Assertions = append(list.Assertions, r.usersAssertion(file, a))
			}
		default:
			r.unknown(e, "an entry of list_users", "object, user_filter, context, assertions")
		}
	}
	r.needs(list.Place, "an entry of list_users", "object", list.Object)
	if len(list.Filters) == 0 {
		r.Faultf(list.Place, "an entry of list_users needs user_filter, a list of {type, relation}")
	}
	return list
}

func (r *reader) userFilter(file string, n *yaml.Node) UserFilter {
	var filter UserFilter
	for _, e := range r.Mapping(file, n, "an entry of user_filter") {
		switch e.Key {
		case "type":
			filter.Type = r.Text(file, e.Value, "type")
		case "relation":
			filter.Relation = r.Text(file, e.Value, "relation")
		default:
			r.unknown(e, "an entry of user_filter", "type, relation")
		}
	}
	r.needs(yamlfile.At(file, n), "an entry of user_filter", "type", filter.Type)
	return filter
}

func (r *reader) usersAssertion(file string, a yamlfile.Entry) ListAssertion {
	assertion := ListAssertion{Place: a.Place, Relation: a.Key}
	for _, e := range r.Mapping(file, a.Value, "what is expected of "+a.Key) {
		if e.Key != "users" {
			r.unknown(e, "what is expected of "+a.Key, "users")
			continue
		}
		assertion.Want = r.Texts(file, e.Value, "users")
	}
	return assertion
}

func (r *reader) needs(p Place, what, key, held string) {
	if held == "" {
		r.Faultf(p, "%s needs %s", what, key)
	}
}

// judge holds every tuple against the model.
func (r *reader) judge(file *File) {
	if file.Model == nil {
		return
	}
	symbols := model.NewTable()
	symbols.Define(file.Model.Declarations())
	plan, err := file.Model.Compile("", symbols)
	if err != nil {
		r.Faultf(Place{File: file.Path}, "%s", err)
		return
	}
	file.Plan = plan
	r.judgeTuples(plan, file.Tuples)
	for _, test := range file.Tests {
		r.judgeTuples(plan, test.Tuples)
	}
}

func (r *reader) judgeTuples(plan *model.Plan, tuples []Tuple) {
	for i := range tuples {
		t := &tuples[i]
		if t.Relation == "" { // was faulted when it was read
			continue
		}
		if _, err := graph.CheckTuple(plan, t.Tuple); err != nil {
			r.Faults = append(r.Faults, t.Fault(err))
		}
	}
}

// Fault puts what is wrong with a tuple at the place of the field at fault.
func (t *Tuple) Fault(err error) Fault {
	place := t.Place
	var tupleErr *graph.TupleError
	if errors.As(err, &tupleErr) {
		field, _, _ := strings.Cut(tupleErr.Field, ".")
		for _, f := range []struct {
			name  string
			place Place
		}{
			{"subject", t.user},
			{"object", t.object},
			{"relation", t.relation},
			{"condition", t.condition},
			{"context", t.condition},
			{"expires_at", t.expires},
		} {
			if f.name == field && f.place.Line != 0 {
				place = f.place
			}
		}
	}
	return Fault{Place: place, Message: err.Error()}
}
