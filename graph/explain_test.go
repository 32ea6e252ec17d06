package graph_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// explainModel has every operator, a recursive relation and a condition.
const explainModel = `model
  schema 1.1

type user

type group
  relations
    define member: [user, group#member]

type folder
  relations
    define parent: [folder]
    define viewer: [user, user:*, group#member] or viewer from parent

type doc
  relations
    define parent: [folder]
    define owner: [user, user with office_hours]
    define blocked: [user, group#member] but not pardoned
    define pardoned: [user]
    define editor: owner and can_view
    define can_view: (owner or viewer from parent) but not blocked

condition office_hours(hour: int) {
  hour >= 9 && hour < 17
}
`

type explained struct {
	*testing.T
	plan   *model.Plan
	memory *graph.Memory
}

func newExplained(t *testing.T, tuples ...string) *explained {
	t.Helper()
	m, err := model.ParseDSL("model.fga", explainModel)
	if err != nil {
		t.Fatal(err)
	}
	table := model.NewTable()
	table.Define(m.Declarations())
	plan, err := m.Compile("", table)
	if err != nil {
		t.Fatal(err)
	}
	e := &explained{T: t, plan: plan, memory: graph.NewMemory(1, time.Unix(0, 0))}
	for _, text := range tuples {
		text, condition, _ := strings.Cut(text, " with ")
		tuple, err := graph.ParseTuple(text)
		if err != nil {
			t.Fatal(err)
		}
		tuple.Condition = condition
		if err := e.memory.Put(plan, tuple); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// ask turns object#relation@subject into ids.
func (e *explained) ask(text string) (graph.Userset, graph.Subject) {
	e.Helper()
	tuple, err := graph.ParseTuple(text)
	if err != nil {
		e.Fatal(err)
	}
	r, err := graph.ResolveRelation(e.plan, tuple.Object.Type, tuple.Relation)
	if err != nil {
		e.Fatal(err)
	}
	st, ok := e.plan.Type(tuple.Subject.Type)
	if !ok {
		e.Fatalf("no type %s", tuple.Subject.Type)
	}
	return graph.Userset{Object: e.memory.Entity(r.Type.ID, tuple.Object.ID), Relation: r.ID},
		graph.Subject{ID: e.memory.Entity(st.ID, tuple.Subject.ID)}
}

func (e *explained) row(r graph.Row) string {
	e.Helper()
	entity := func(id graph.ID) string {
		name, err := e.memory.Name(id)
		if err != nil {
			e.Fatal(err)
		}
		return e.plan.TypeByID(id.Type()).Name + ":" + name
	}
	text := entity(r.Userset.Object) + "#" + e.plan.Relation(r.Userset.Relation).Name + "@" + entity(r.Edge.Subject.ID)
	if rel := r.Edge.Subject.Relation; rel != 0 {
		text += "#" + e.plan.Relation(rel).Name
	}
	return text
}

func (e *explained) explain(text string) *graph.Explanation {
	e.Helper()
	u, s := e.ask(text)
	q := &graph.Query{View: e.memory, Plan: e.plan, At: time.Unix(0, 0), Context: map[string]any{"hour": int64(20)}}
	x, err := q.Explain(e.Context(), u, s)
	if err != nil {
		e.Fatalf("Explain(%s): %v", text, err)
	}
	return x
}

func TestProofHoldsWhatIsNeededAndNoMore(t *testing.T) {
	for _, test := range []struct {
		name   string
		tuples []string
		ask    string
		want   string
	}{
		{
			name:   "a direct tuple is enough, however many others there are",
			tuples: []string{"doc:1#owner@user:anna", "doc:1#parent@folder:a", "folder:a#viewer@user:anna"},
			ask:    "doc:1#can_view@user:anna",
			want:   "doc:1#owner@user:anna",
		},
		{
			name: "a chain names every link",
			tuples: []string{
				"doc:1#parent@folder:b", "folder:b#parent@folder:a", "folder:a#viewer@group:eng#member",
				"group:eng#member@group:core#member", "group:core#member@user:anna", "group:eng#member@user:rob",
			},
			ask:  "doc:1#can_view@user:anna",
			want: "doc:1#parent@folder:b folder:a#viewer@group:eng#member folder:b#parent@folder:a group:core#member@user:anna group:eng#member@group:core#member",
		},
		{
			name:   "a wildcard stands for the subject",
			tuples: []string{"doc:1#parent@folder:a", "folder:a#viewer@user:*"},
			ask:    "doc:1#can_view@user:anna",
			want:   "doc:1#parent@folder:a folder:a#viewer@user:*",
		},
		{
			name:   "one tuple may serve both operands of an intersection",
			tuples: []string{"doc:1#owner@user:anna"},
			ask:    "doc:1#editor@user:anna",
			want:   "doc:1#owner@user:anna",
		},
		{
			name: "the way round a cycle is no proof",
			tuples: []string{
				"group:a#member@group:b#member", "group:b#member@group:a#member", "group:b#member@user:anna",
			},
			ask:  "group:a#member@user:anna",
			want: "group:a#member@group:b#member group:b#member@user:anna",
		},
		{
			name: "a pardon is not needed where nothing blocks",
			tuples: []string{
				"doc:1#owner@user:anna", "doc:1#blocked@user:anna", "doc:1#pardoned@user:anna",
			},
			ask:  "doc:1#can_view@user:anna",
			want: "doc:1#owner@user:anna",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newExplained(t, test.tuples...)
			x := e.explain(test.ask)
			if !x.Allowed || !x.Reason.Granted {
				t.Fatalf("%s is denied, want allowed", test.ask)
			}
			var rows []string
			for _, r := range x.Proof {
				rows = append(rows, e.row(r))
			}
			if got := sorted(rows); got != test.want {
				t.Errorf("proof of %s\n got %s\nwant %s", test.ask, got, test.want)
			}
		})
	}
}

func TestNearestMissWouldAllow(t *testing.T) {
	for _, test := range []struct {
		name   string
		tuples []string
		ask    string
		want   string
	}{
		{
			name: "one tuple is missing",
			ask:  "doc:1#can_view@user:anna",
			want: "+doc:1#owner@user:anna",
		},
		{
			name:   "what blocks is removed",
			tuples: []string{"doc:1#owner@user:anna", "doc:1#blocked@user:anna"},
			ask:    "doc:1#can_view@user:anna",
			want:   "-doc:1#blocked@user:anna",
		},
		{
			name:   "a condition that does not hold is replaced",
			tuples: []string{"doc:1#owner@user:anna with office_hours"},
			ask:    "doc:1#can_view@user:anna",
			want:   "+doc:1#owner@user:anna",
		},
		{
			name:   "a block of two groups and no ownership takes three changes",
			tuples: []string{"doc:1#blocked@group:a#member", "group:a#member@user:anna", "doc:1#blocked@user:anna"},
			ask:    "doc:1#can_view@user:anna",
			want:   "+doc:1#owner@user:anna +doc:1#pardoned@user:anna",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newExplained(t, test.tuples...)
			x := e.explain(test.ask)
			if x.Allowed || x.Reason.Granted {
				t.Fatalf("%s is allowed, want denied", test.ask)
			}
			var edits []string
			for _, edit := range x.Nearest {
				sign := "+"
				if edit.Remove {
					sign = "-"
				}
				edits = append(edits, sign+e.row(edit.Row))
			}
			if got := sorted(edits); got != test.want {
				t.Errorf("nearest miss of %s\n got %s\nwant %s", test.ask, got, test.want)
			}
		})
	}
}

func TestExplanationOfAWideGroupStaysShort(t *testing.T) {
	var tuples []string
	for i := range 3000 {
		tuples = append(tuples, fmt.Sprintf("folder:a#viewer@group:g%d#member", i))
	}
	e := newExplained(t, append(tuples, "doc:1#parent@folder:a")...)
	x := e.explain("doc:1#can_view@user:anna")
	if n := countReasons(x.Reason); n > 600 {
		t.Errorf("the explanation has %d steps, want at most 600", n)
	}
}

func countReasons(r *graph.Reason) int {
	n := 1
	for _, c := range r.Children {
		n += countReasons(c)
	}
	return n
}

func TestExpandShowsTheRewrite(t *testing.T) {
	e := newExplained(t,
		"doc:1#owner@user:rob", "doc:1#parent@folder:a", "folder:a#viewer@group:eng#member",
		"group:eng#member@user:anna", "group:eng#member@group:eng#member", "doc:1#owner@user:anna with office_hours",
	)
	u, _ := e.ask("doc:1#can_view@user:anna")
	q := &graph.Query{View: e.memory, Plan: e.plan, At: time.Unix(0, 0), Context: map[string]any{"hour": int64(20)}}
	shallow, err := q.Expand(t.Context(), u, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := e.expansion(shallow), "exclusion(union(computed(doc:1#owner …) from(doc:1#parent@folder:a …)) computed(doc:1#blocked …))"; got != want {
		t.Errorf("depth 1\n got %s\nwant %s", got, want)
	}
	deep, err := q.Expand(t.Context(), u, graph.MaxExpandDepth)
	if err != nil {
		t.Fatal(err)
	}
	want := "exclusion(union(computed(doc:1#owner direct(doc:1#owner@user:rob)) " +
		"from(doc:1#parent@folder:a union(direct(folder:a#viewer@group:eng#member " +
		"direct(group:eng#member@user:anna group:eng#member@group:eng#member …)) from()))) " +
		"computed(doc:1#blocked exclusion(direct() computed(doc:1#pardoned direct()))))"
	if got := e.expansion(deep); got != want {
		t.Errorf("in full\n got %s\nwant %s", got, want)
	}
}

func (e *explained) expansion(x *graph.Expansion) string {
	var parts []string
	name := map[model.Op]string{
		model.OpDirect: "direct", model.OpComputed: "computed", model.OpTupleToUserset: "from",
		model.OpUnion: "union", model.OpIntersection: "intersection", model.OpExclusion: "exclusion",
	}[x.Op]
	for _, edge := range x.Edges {
		u := x.Userset
		if x.Op == model.OpTupleToUserset {
			u.Relation = e.relation(u, "parent")
		}
		parts = append(parts, e.row(graph.Row{Userset: u, Edge: edge}))
	}
	if x.Op == model.OpComputed {
		object, err := e.memory.Name(x.Userset.Object)
		if err != nil {
			e.Fatal(err)
		}
		r := e.plan.Relation(x.Userset.Relation)
		parts = append(parts, r.Type.Name+":"+object+"#"+r.Name)
	}
	for _, c := range x.Children {
		parts = append(parts, e.expansion(c))
	}
	if x.Cut {
		parts = append(parts, "…")
	}
	return name + "(" + strings.Join(parts, " ") + ")"
}

func (e *explained) relation(u graph.Userset, name string) model.RelationID {
	r, ok := e.plan.TypeByID(u.Object.Type()).Relation(name)
	if !ok {
		e.Fatalf("no relation %s", name)
	}
	return r.ID
}

// sorted joins texts in order.
func sorted(texts []string) string {
	slices.Sort(texts)
	return strings.Join(texts, " ")
}
