// Package storetest runs the tests of store files and of organisation files on an embedded
// engine, without a server and without leaving a trace: the model compiled to ids of its
// own, the tuples in a graph.Memory, and each test's own tuples in an overlay on top.
package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/cmd/remit/storefile"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A Result is what the tests of one file came to.
type Result struct {
	File  string       `json:"file"`
	Store string       `json:"store,omitempty"`
	Tests []TestResult `json:"tests"`
}

// A TestResult is what one test came to.
type TestResult struct {
	Name        string      `json:"name"`
	Description string      `json:"description,omitempty"`
	Assertions  []Assertion `json:"assertions"`
}

// An Assertion is one expectation and what became of it.
type Assertion struct {
	// Kind is check, list_objects or list_users; of an organisation, can, list, who, fields
	// or on_duty.
	Kind string `json:"kind"`
	// Place is where the assertion stands: file:line:column.
	Place string `json:"place"`
	// Question is what was asked, as the remit command asks it.
	Question string `json:"question"`
	// At is the instant that a context's now asked for.
	At *time.Time `json:"at,omitempty"`

	Passed bool `json:"passed"`
	// Error is why there is no answer.
	Error string `json:"error,omitempty"`

	// Of a check, and of can:
	Expected *bool `json:"expected,omitempty"`
	Got      *bool `json:"got,omitempty"`

	// Of a list: what is expected and what there is, sorted, and how they differ.
	ExpectedList []string `json:"expectedList,omitempty"`
	GotList      []string `json:"gotList,omitempty"`
	Missing      []string `json:"missing,omitempty"`
	Unexpected   []string `json:"unexpected,omitempty"`

	// Why explains wrong answers: of a check, its own; of a list, those for some of the
	// entries that make the difference.
	Why []Why `json:"-"`

	// Reasons are the same of an organisation, in an administrator's words.
	Reasons []Reason `json:"reasons,omitempty"`
}

// A Why is one question with the reasons for its answer.
type Why struct {
	Question    *remitv1.Question
	Explanation *remitv1.ExplainResponse
}

// A Reason is one question to an organisation, its answer, and why.
type Reason struct {
	Question string `json:"question"` // rob view deal:d1
	Allowed  bool   `json:"allowed"`
	// Grounds are those on which it is allowed, the strongest first; or what is missing, the
	// nearest first. Each is a sentence without a full stop.
	Grounds []string `json:"grounds"`
}

// How many of a list's wrong entries are explained: in tuples, and in words.
const (
	maxWhy     = 2
	maxReasons = 5
)

// Count is how many assertions passed and failed.
func (r *Result) Count() (passed, failed int) {
	for _, t := range r.Tests {
		p, f := t.Count()
		passed, failed = passed+p, failed+f
	}
	return passed, failed
}

// Count is how many assertions passed and failed.
func (t *TestResult) Count() (passed, failed int) {
	for _, a := range t.Assertions {
		if a.Passed {
			passed++
		} else {
			failed++
		}
	}
	return passed, failed
}

// Run runs the tests of a file. Now is the instant that questions are about which name
// no other. An error means that the tests could not be run at all.
func Run(ctx context.Context, file *storefile.File, now time.Time) (*Result, error) {
	result := &Result{File: file.Path, Store: file.Name, Tests: []TestResult{}}
	if len(file.Tests) == 0 {
		return result, nil
	}
	if file.Model == nil {
		return nil, fmt.Errorf("%s holds tests but no model", file.Path)
	}
	memory := graph.NewMemory(1, now)
	for _, t := range file.Tuples {
		if err := memory.Put(file.Plan, t.Tuple); err != nil {
			return nil, fmt.Errorf("%s: %w", t.Place, err)
		}
	}
	for _, test := range file.Tests {
		r := &runner{ctx: ctx, plan: file.Plan, base: memory, tuples: test.Tuples, now: now, bindsNow: bindsNow(file.Model)}
		outcome, err := r.run(test)
		if err != nil {
			return nil, err
		}
		result.Tests = append(result.Tests, outcome)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// bindsNow reports whether a condition of the model has a timestamp parameter now,
// which is the instant that a question is about.
func bindsNow(m *model.Model) bool {
	for _, c := range m.Proto().GetConditions() {
		p := c.GetParameters()["now"]
		if p.GetTypeName() == openfgav1.ConditionParamTypeRef_TYPE_NAME_TIMESTAMP {
			return true
		}
	}
	return false
}

// A runner runs one test. Each question gets an overlay of its own, since asking about
// an unknown entity makes it known.
type runner struct {
	ctx      context.Context
	plan     *model.Plan
	base     graph.View
	tuples   []storefile.Tuple
	now      time.Time
	bindsNow bool
}

func (r *runner) run(test storefile.Test) (TestResult, error) {
	result := TestResult{Name: test.Name, Description: test.Description, Assertions: []Assertion{}}
	if _, err := r.view(); err != nil {
		return result, err
	}
	for _, check := range test.Checks {
		for _, user := range check.Users {
			for _, object := range check.Objects {
				for _, a := range check.Assertions {
					result.Assertions = append(result.Assertions, r.check(check, user, object, a))
				}
			}
		}
	}
	for _, list := range test.ListObjects {
		for _, a := range list.Assertions {
			result.Assertions = append(result.Assertions, r.listObjects(list, a))
		}
	}
	for _, list := range test.ListUsers {
		for _, a := range list.Assertions {
			result.Assertions = append(result.Assertions, r.listUsers(list, a))
		}
	}
	return result, nil
}

// view is the store with the test's own tuples.
func (r *runner) view() (*graph.Overlay, error) {
	overlay := graph.NewOverlay(r.base)
	for _, t := range r.tuples {
		if err := overlay.PutTuple(r.plan, t.Tuple); err != nil {
			return nil, fmt.Errorf("%s: %w", t.Place, err)
		}
	}
	return overlay, nil
}

// A question is one query and the view that it reads.
type question struct {
	graph.Query
	overlay *graph.Overlay
}

// question prepares a query in a context, whose now sets the instant.
func (r *runner) question(a *Assertion, fields value.Map) (*question, error) {
	overlay, err := r.view()
	if err != nil {
		return nil, err
	}
	q := &question{Query: graph.Query{View: overlay, Plan: r.plan, At: r.now, Context: fields}, overlay: overlay}
	now, given := fields["now"]
	if !given || !r.bindsNow {
		return q, nil
	}
	text, ok := now.(string)
	if !ok {
		return nil, fmt.Errorf("the context's now must be an instant such as 2026-03-29T22:00:00Z, not %v", now)
	}
	if q.At, err = time.Parse(time.RFC3339, text); err != nil {
		return nil, fmt.Errorf("the context's now must be an instant such as 2026-03-29T22:00:00Z, not %q", text)
	}
	at := q.At
	a.At = &at
	q.Context = maps.Clone(fields)
	delete(q.Context, "now")
	return q, nil
}

// userset finds object#relation; the object may be one that no tuple names.
func (q *question) userset(object, relation string) (graph.Userset, error) {
	name, err := graph.ParseObject(object)
	if err != nil {
		return graph.Userset{}, err
	}
	rel, err := graph.ResolveRelation(q.Plan, name.Type, relation)
	if err != nil {
		return graph.Userset{}, err
	}
	id, err := q.overlay.Entity(rel.Type.ID, name.ID)
	return graph.Userset{Object: id, Relation: rel.ID}, err
}

// subject finds a subject; it may be one that no tuple names.
func (q *question) subject(text string) (graph.Subject, error) {
	name, err := graph.ParseSubject(text)
	if err != nil {
		return graph.Subject{}, err
	}
	kind, err := graph.ResolveKind(q.Plan, name.Type, name.Relation)
	if err != nil {
		return graph.Subject{}, err
	}
	id, err := q.overlay.Entity(kind.Type.ID, name.ID)
	s := graph.Subject{ID: id}
	if kind.Relation != nil {
		s.Relation = kind.Relation.ID
	}
	return s, err
}

// attempt runs a part of an assertion and keeps its error as the outcome.
func (a *Assertion) attempt(part func() error) {
	if err := part(); err != nil {
		a.Passed, a.Error = false, err.Error()
	}
}

func (r *runner) check(check storefile.Check, user, object string, want storefile.CheckAssertion) Assertion {
	a := Assertion{
		Kind: "check", Place: want.Place.String(), Expected: &want.Allowed,
		Question: fmt.Sprintf("check %s %s %s", user, want.Relation, object),
	}
	a.attempt(func() error {
		q, err := r.question(&a, check.Context)
		if err != nil {
			return err
		}
		u, err := q.userset(object, want.Relation)
		if err != nil {
			return err
		}
		s, err := q.subject(user)
		if err != nil {
			return err
		}
		got, err := q.Check(r.ctx, u, s)
		if err != nil {
			return err
		}
		a.Got, a.Passed = &got, got == want.Allowed
		if !a.Passed {
			a.explain(r.ctx, q, &remitv1.Question{Object: object, Relation: want.Relation, Subject: user})
		}
		return nil
	})
	return a
}

func (r *runner) listObjects(list storefile.ListObjects, want storefile.ListAssertion) Assertion {
	a := Assertion{
		Kind: "list_objects", Place: want.Place.String(),
		Question: fmt.Sprintf("what %s %s %s", list.User, want.Relation, list.Type),
	}
	a.attempt(func() error {
		q, err := r.question(&a, list.Context)
		if err != nil {
			return err
		}
		rel, err := graph.ResolveRelation(r.plan, list.Type, want.Relation)
		if err != nil {
			return err
		}
		s, err := q.subject(list.User)
		if err != nil {
			return err
		}
		got := []string{}
		var nameErr error
		err = q.ListObjects(r.ctx, rel, s, 0, func(id graph.ID) bool {
			var name string
			if name, nameErr = q.View.Name(id); nameErr != nil {
				return false
			}
			got = append(got, list.Type+":"+name)
			return true
		})
		if err == nil {
			err = nameErr
		}
		if err != nil {
			return err
		}
		a.compare(want.Want, got)
		for _, object := range a.differing(maxWhy) {
			a.explain(r.ctx, q, &remitv1.Question{Object: object, Relation: want.Relation, Subject: list.User})
		}
		return nil
	})
	return a
}

func (r *runner) listUsers(list storefile.ListUsers, want storefile.ListAssertion) Assertion {
	var kinds []string
	for _, f := range list.Filters {
		kind := f.Type
		if f.Relation != "" {
			kind += "#" + f.Relation
		}
		kinds = append(kinds, kind)
	}
	a := Assertion{
		Kind: "list_users", Place: want.Place.String(),
		Question: fmt.Sprintf("who %s %s --kind %s", want.Relation, list.Object, strings.Join(kinds, ",")),
	}
	a.attempt(func() error {
		q, err := r.question(&a, list.Context)
		if err != nil {
			return err
		}
		u, err := q.userset(list.Object, want.Relation)
		if err != nil {
			return err
		}
		got := []string{}
		for _, f := range list.Filters {
			if got, err = r.usersOf(q, u, f, got); err != nil {
				return err
			}
		}
		a.compare(want.Want, got)
		for _, user := range a.differing(maxWhy) {
			a.explain(r.ctx, q, &remitv1.Question{Object: list.Object, Relation: want.Relation, Subject: user})
		}
		return nil
	})
	return a
}

func (r *runner) usersOf(q *question, u graph.Userset, f storefile.UserFilter, got []string) ([]string, error) {
	kind, err := graph.ResolveKind(r.plan, f.Type, f.Relation)
	if err != nil {
		return nil, err
	}
	var nameErr error
	err = q.ListSubjects(r.ctx, u, kind, graph.Subject{}, func(s graph.ListedSubject) bool {
		var name string
		if name, nameErr = subjectName(q.View, r.plan, s.Subject); nameErr != nil {
			return false
		}
		got = append(got, name)
		return true
	})
	if err == nil {
		err = nameErr
	}
	return got, err
}

// compare compares two lists as sets.
func (a *Assertion) compare(want, got []string) {
	a.ExpectedList, a.GotList = set(want), set(got)
	for _, w := range a.ExpectedList {
		if !slices.Contains(a.GotList, w) {
			a.Missing = append(a.Missing, w)
		}
	}
	for _, g := range a.GotList {
		if !slices.Contains(a.ExpectedList, g) {
			a.Unexpected = append(a.Unexpected, g)
		}
	}
	a.Passed = len(a.Missing) == 0 && len(a.Unexpected) == 0
}

func set(list []string) []string {
	sorted := slices.Sorted(slices.Values(list))
	return slices.Compact(sorted)
}

// differing is some entries in which the lists differ: of those that are missing and of those
// that are too many.
func (a *Assertion) differing(most int) []string {
	missing := a.Missing[:min(len(a.Missing), max(most-len(a.Unexpected), (most+1)/2))]
	unexpected := a.Unexpected[:min(len(a.Unexpected), most-len(missing))]
	return slices.Concat(missing, unexpected)
}
