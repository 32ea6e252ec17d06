package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// TestScenarios runs the files in testdata/scenario, each a specification of one idea:
//
//	model                     its input is a model; tuples written so far stay
//	write, remove             tuples, one on a line, in the store
//	context                   contextual tuples for all questions that follow
//	check T [at=] [with={}] … allowed, denied or an error
//	list-objects TYPE#RELATION@SUBJECT
//	list-subjects OBJECT#RELATION KIND
//	list-actions OBJECT SUBJECT
//
// Questions take at= and with= as check does, and max-depth=, undefined-is-no,
// keep-going and eager-conditions, which are a Query's.
//
// A tuple is written object#relation@subject [with CONDITION {"context": 1}]
// [until INSTANT]. Every question is asked of four stores that differ in the order of
// ids and in how the tuples got there, and checks are answered by the fixpoint, too;
// all must agree.
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata/scenario", func(t *testing.T, path string) {
		s := scenario{symbols: model.NewTable()}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.run(t, d)
		})
	})
}

type scenario struct {
	symbols    *model.Table
	plan       *model.Plan
	steps      []scenarioStep
	contextual []scenarioStep
}

type scenarioStep struct {
	plan   *model.Plan // under which it was written
	tuple  Tuple
	remove bool
}

func (s *scenario) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "model":
		s.plan = compileOver(t, s.symbols, d.Input)
		return ""
	case "context":
		s.contextual = nil
		fallthrough
	case "write", "remove":
		return s.write(t, d)
	}
	var first string
	for i, v := range s.views(t) {
		var answer string
		switch d.Cmd {
		case "check":
			answer = s.check(t, v, d)
		case "list-objects":
			answer = s.listObjects(t, v, d)
		case "list-subjects":
			answer = s.listSubjects(t, v, d)
		case "list-actions":
			answer = s.listActions(t, v, d)
		default:
			d.Fatalf(t, "unknown command %q", d.Cmd)
		}
		if i == 0 {
			first = answer
		} else if answer != first {
			d.Fatalf(t, "view %d answers\n%s\nbut view 0\n%s", i, answer, first)
		}
	}
	return first
}

func (s *scenario) write(t *testing.T, d *datadriven.TestData) string {
	var refused []string
	for line := range strings.Lines(d.Input) {
		x, err := parseScenarioTuple(strings.TrimSpace(line))
		if err == nil {
			_, err = CheckTuple(s.plan, x)
		}
		if err != nil {
			refused = append(refused, "refused: "+err.Error())
			continue
		}
		step := scenarioStep{plan: s.plan, tuple: x, remove: d.Cmd == "remove"}
		if d.Cmd == "context" {
			s.contextual = append(s.contextual, step)
		} else {
			s.steps = append(s.steps, step)
		}
	}
	return strings.Join(refused, "\n")
}

func parseScenarioTuple(line string) (Tuple, error) {
	fields := strings.Fields(line)
	x, err := ParseTuple(fields[0])
	for rest := fields[1:]; err == nil && len(rest) > 0; {
		switch {
		case rest[0] == "with" && len(rest) > 1:
			x.Condition, rest = rest[1], rest[2:]
			if len(rest) > 0 && strings.HasPrefix(rest[0], "{") {
				x.Context, err = parseContext(rest[0])
				rest = rest[1:]
			}
		case rest[0] == "until" && len(rest) > 1:
			x.Expires, err = time.Parse(time.RFC3339, rest[1])
			rest = rest[2:]
		default:
			err = fmt.Errorf("unexpected %q", rest[0])
		}
	}
	return x, err
}

func parseContext(text string) (value.Map, error) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	for name, v := range fields {
		if number, ok := v.(json.Number); ok {
			n, err := number.Int64()
			if err != nil {
				return nil, err
			}
			fields[name] = n
		}
	}
	return fields, nil
}

// views builds the store in the order of writing, in one that reverses all ids, as
// edits of an empty store, and with a detour through what is removed again.
func (s *scenario) views(t *testing.T) []View {
	t.Helper()
	forward, backward, empty := NewMemory(1, instant), NewMemory(1, instant), NewMemory(1, instant)
	for _, step := range slices.Backward(slices.Concat(s.steps, s.contextual)) {
		for _, o := range []ObjectName{step.tuple.Subject.Object(), step.tuple.Object} {
			if typ, ok := s.plan.Type(o.Type); ok {
				backward.Entity(typ.ID, o.ID)
			}
		}
	}
	edited, hidden := NewOverlay(empty), NewOverlay(forward)
	apply := func(steps []scenarioStep, stored bool) {
		for _, step := range steps {
			for _, m := range []*Memory{forward, backward} {
				if stored {
					s.apply(t, step, func() error { return m.Put(step.plan, step.tuple) }, func(Userset, Subject) {
						if _, err := m.Remove(step.plan, step.tuple); err != nil {
							t.Fatal(err)
						}
					}, m)
				}
			}
			s.apply(t, step, func() error { return edited.PutTuple(step.plan, step.tuple) }, edited.Remove, edited)
		}
	}
	apply(s.steps, true)
	views := []View{forward, backward, edited, hidden}
	if len(s.contextual) > 0 {
		over, under := NewOverlay(forward), NewOverlay(backward)
		for _, step := range s.contextual {
			for _, o := range []*Overlay{over, under, edited, hidden} {
				s.apply(t, step, func() error { return o.PutTuple(step.plan, step.tuple) }, o.Remove, o)
			}
		}
		views = []View{over, under, edited, hidden}
	}
	return views
}

func (s *scenario) apply(t *testing.T, step scenarioStep, put func() error, remove func(Userset, Subject), v View) {
	t.Helper()
	if !step.remove {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		return
	}
	_, u, subject := question(t, v, step.plan, step.tuple.String())
	remove(u, subject)
}

func (s *scenario) query(t *testing.T, v View, d *datadriven.TestData) *Query {
	t.Helper()
	q := &Query{View: v, Plan: s.plan, At: instant}
	for _, arg := range d.CmdArgs {
		var err error
		switch arg.Key {
		case "at":
			q.At, err = time.Parse(time.RFC3339, arg.Vals[0])
		case "with":
			q.Context, err = parseContext(arg.Vals[0])
		case "max-depth":
			q.MaxDepth, err = strconv.Atoi(arg.Vals[0])
		case "undefined-is-no":
			q.UndefinedIsNo = true
		case "keep-going":
			q.KeepGoing = true
		case "eager-conditions":
			q.EagerConditions = true
		}
		if err != nil {
			d.Fatalf(t, "%s: %v", arg.Key, err)
		}
	}
	return q
}

func (s *scenario) check(t *testing.T, v View, d *datadriven.TestData) string {
	t.Helper()
	v, u, subject := question(t, v, s.plan, d.CmdArgs[0].Key)
	q := s.query(t, v, d)
	got, err := q.Check(t.Context(), u, subject)
	exact, exactErr := byFixpoint(t, q, u, subject)
	if got != exact || (err == nil) != (exactErr == nil) {
		d.Fatalf(t, "Check = %v, %v; by fixpoint %v, %v", got, err, exact, exactErr)
	}
	return outcomeText(got, err)
}

func outcomeText(ok bool, err error) string {
	switch {
	case errors.Is(err, ErrUndefined):
		return "undefined"
	case err != nil:
		return "error: " + err.Error()
	case ok:
		return "allowed"
	}
	return "denied"
}

// byFixpoint answers without the depth-first search.
func byFixpoint(t *testing.T, q *Query, u Userset, s Subject) (bool, error) {
	t.Helper()
	e := newEvaluator(t.Context(), q)
	defer e.release()
	e.about(s)
	if s == (Subject{ID: u.Object, Relation: u.Relation}) {
		return true, nil
	}
	value, number := e.fixpoint(u.Object, q.Plan.Relation(u.Relation))
	switch {
	case e.fatal != nil:
		return false, e.fatal
	case value == unsure && q.UndefinedIsNo && errors.Is(e.errorAt(number), ErrUndefined):
		return false, nil
	case value == unsure:
		return false, e.errorAt(number)
	}
	return value == allowed, nil
}

func (s *scenario) listObjects(t *testing.T, v View, d *datadriven.TestData) string {
	t.Helper()
	kind, subjectText, _ := strings.Cut(d.CmdArgs[0].Key, "@")
	typeName, name, _ := strings.Cut(kind, "#")
	v, _, subject := question(t, v, s.plan, typeName+":none#"+name+"@"+subjectText)
	var found []string
	last := ID(0)
	q := s.query(t, v, d)
	err := q.ListObjects(t.Context(), relation(t, s.plan, typeName, name), subject, 0, func(id ID) bool {
		if id <= last {
			t.Errorf("%s: %v is listed behind %v", d.Pos, id, last)
		}
		last = id
		found = append(found, nameOf(t, v, s.plan, Subject{ID: id}))
		return true
	})
	return listing(q, found, err)
}

func (s *scenario) listSubjects(t *testing.T, v View, d *datadriven.TestData) string {
	t.Helper()
	v, u, _ := question(t, v, s.plan, d.CmdArgs[0].Key+"@"+s.plan.Types()[0].Name+":none")
	typeName, name, _ := strings.Cut(d.CmdArgs[1].Key, "#")
	kind, err := ResolveKind(s.plan, typeName, name)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	q := s.query(t, v, d)
	err = q.ListSubjects(t.Context(), u, kind, Subject{}, func(l ListedSubject) bool {
		text := nameOf(t, v, s.plan, l.Subject)
		if len(l.Excluded) > 0 {
			var excluded []string
			for _, id := range l.Excluded {
				excluded = append(excluded, nameOf(t, v, s.plan, Subject{ID: id}))
			}
			slices.Sort(excluded)
			text += " but not " + strings.Join(excluded, ", ")
		}
		found = append(found, text)
		return true
	})
	return listing(q, found, err)
}

func (s *scenario) listActions(t *testing.T, v View, d *datadriven.TestData) string {
	t.Helper()
	object, err := ParseObject(d.CmdArgs[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := s.plan.Type(object.Type)
	v, u, subject := question(t, v, s.plan, object.String()+"#"+typ.Relations[0].Name+"@"+d.CmdArgs[1].Key)
	q := s.query(t, v, d)
	held, err := q.ListActions(t.Context(), u.Object, subject, typ.Relations)
	var found []string
	for _, r := range held {
		found = append(found, r.Name)
	}
	return listing(q, found, err)
}

// listing sorts by name, for ids differ between the views. How far a list gets before it
// ends with an error does so too, unless it keeps going.
func listing(q *Query, found []string, err error) string {
	if err != nil {
		failure := outcomeText(false, err)
		if !q.KeepGoing {
			return failure
		}
		slices.Sort(found)
		return strings.Join(append(found, failure), "\n")
	}
	if len(found) == 0 {
		return "none"
	}
	slices.Sort(found)
	return strings.Join(found, "\n")
}

func nameOf(t *testing.T, v View, p *model.Plan, s Subject) string {
	t.Helper()
	id, err := v.Name(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	n := SubjectName{Type: p.TypeByID(s.ID.Type()).Name, ID: id}
	if s.Relation != 0 {
		n.Relation = p.Relation(s.Relation).Name
	}
	return n.String()
}
