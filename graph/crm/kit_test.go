package crm

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

// A store is an organisation as the engine sees it.
type store struct {
	*graph.Memory
	plan *model.Plan
}

// load builds the store of an organisation, with the ids of entities in another order if
// it is told to.
func load(t testing.TB, o *Organisation, backwards bool) *store {
	t.Helper()
	s := &store{Memory: graph.NewMemory(1, time.Time{}), plan: compiled(t, o.Modules)}
	e := Encode(o)
	if backwards {
		for i := len(e.Tuples) - 1; i >= 0; i-- {
			s.put(t, e.Tuples[i])
		}
		e.Tuples = nil
	}
	s.apply(t, Difference(Encoding{}, e))
	return s
}

// plans are what models were compiled to, by their text: parsing takes longer than all
// else in most tests.
var plans = map[string]*model.Plan{}

func compiled(t testing.TB, modules []Module) *model.Plan {
	t.Helper()
	text := ModelText(modules)
	if plans[text] == nil {
		m := mustModel(t, modules)
		table := model.NewTable()
		table.Define(m.Declarations())
		plan, err := m.Compile("", table)
		if err != nil {
			t.Fatal(err)
		}
		plans[text] = plan
	}
	return plans[text]
}

func (s *store) put(t testing.TB, tuple graph.Tuple) {
	t.Helper()
	if err := s.Put(s.plan, tuple); err != nil {
		t.Fatalf("Put(%s): %v", tuple, err)
	}
}

func (s *store) apply(t testing.TB, c Changes) {
	t.Helper()
	for _, tuple := range c.Delete {
		if found, err := s.Remove(s.plan, tuple); !found || err != nil {
			t.Fatalf("Remove(%s) = %v, %v", tuple, found, err)
		}
	}
	for _, tuple := range c.Put {
		s.put(t, tuple)
	}
	for _, o := range c.DeleteDocuments {
		s.SetDocument(s.entity(t, o), nil)
	}
	for _, d := range c.PutDocuments {
		s.SetDocument(s.entity(t, d.Entity), d.Fields)
	}
}

func (s *store) entity(t testing.TB, o graph.ObjectName) graph.ID {
	t.Helper()
	typ, ok := s.plan.Type(o.Type)
	if !ok {
		t.Fatalf("the model has no type %s", o.Type)
	}
	return s.Entity(typ.ID, o.ID)
}

// A question asks a store at an instant. What the model does not know is not allowed.
type question struct {
	*store
	query graph.Query
}

func (s *store) at(now time.Time) *question {
	return &question{store: s, query: graph.Query{View: s, Plan: s.plan, At: now}}
}

func (q *question) check(t testing.TB, object graph.ObjectName, relation, user string) bool {
	t.Helper()
	typ, ok := q.plan.Type(object.Type)
	if !ok {
		t.Fatalf("the model has no type %s", object.Type)
	}
	r, ok := typ.Relation(relation)
	if !ok {
		return false
	}
	allowed, err := q.query.Check(t.Context(),
		graph.Userset{Object: q.entity(t, object), Relation: r.ID},
		graph.Subject{ID: q.entity(t, entity(typeUser, user))})
	if err != nil {
		t.Fatalf("Check(%s#%s@user:%s): %v", object, relation, user, err)
	}
	return allowed
}

// list is the ids of a module's records that the user has the relation to, sorted.
func (q *question) list(t testing.TB, module, relation, user string) []string {
	t.Helper()
	r, err := graph.ResolveRelation(q.plan, module, relation)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	err = q.query.ListObjects(t.Context(), r, graph.Subject{ID: q.entity(t, entity(typeUser, user))}, 0, func(id graph.ID) bool {
		name, err := q.Name(id)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, name)
		return true
	})
	if err != nil {
		t.Fatalf("ListObjects(%s#%s, %s): %v", module, relation, user, err)
	}
	slices.Sort(ids)
	return ids
}

// can asks what the oracle's can decides.
func (q *question) can(t testing.TB, user string, a Action, r *Record, f *Field) bool {
	t.Helper()
	record := entity(r.Module, r.ID)
	if a == "export" {
		return q.check(t, record, ActionView.Relation(), user) &&
			q.check(t, entity(typeTool, string(ToolExport)), "allowed", user)
	}
	if !q.check(t, record, a.Relation(), user) {
		return false
	}
	if f == nil {
		return true
	}
	relation := map[Action]string{ActionView: "can_read", ActionEdit: "can_write"}[a]
	return q.check(t, entity(typeField, f.key()), relation, user)
}

// same compares organisations in their canonical order.
func same(t testing.TB, want, got *Organisation) {
	t.Helper()
	want.Sort()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("the organisation differs (-want +got):\n%s", diff)
	}
}

// encodingText shows an encoding for a golden file.
func encodingText(t testing.TB, e Encoding) string {
	t.Helper()
	var b strings.Builder
	for _, tuple := range e.Tuples {
		b.WriteString(tuple.String())
		if tuple.Condition != "" {
			b.WriteString(" with " + tuple.Condition + " " + jsonText(t, tuple.Context))
		}
		if !tuple.Expires.IsZero() {
			b.WriteString(" until " + tuple.Expires.Format(time.RFC3339Nano))
		}
		b.WriteString("\n")
	}
	for _, d := range e.Documents {
		b.WriteString(d.Entity.String() + " " + jsonText(t, d.Fields) + "\n")
	}
	return b.String()
}

func jsonText(t testing.TB, m value.Map) string {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
