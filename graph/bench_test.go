package graph

import (
	"fmt"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

const benchModel = `
model
  schema 1.1

type user

type group
  relations
    define member: [user, group#member]

type folder
  relations
    define parent: [folder]
    define viewer: [user, group#member] or viewer from parent

type shift
  relations
    define open: [user:* with rota]
    define assignee: [user]
    define on_duty: assignee and open

type document
  relations
    define parent: [folder]
    define blocked: [user, group#member]
    define owner: [user]
    define reader: [user, group#member]
    define viewer: owner or reader or viewer from parent
    define readable: reader but not blocked
    define office: [user with office]
    define caller: [user with $expression]

condition office(level: int) {
  level < 5
}

condition rota(schedule: map<string>, now: timestamp) {
  on_schedule(schedule, now)
}
`

// benchStore is a store in which every benchmark's answer is worth looking for: the
// objects asked have other tuples, too.
func benchStore(t testing.TB) (*Memory, *model.Plan) {
	t.Helper()
	p := compileBench(t)
	m := remember(
		t, p,
		"document:direct#owner@user:anna",
		"document:grouped#reader@group:g1#member",
		"group:g1#member@group:g2#member",
		"group:g2#member@group:g3#member",
		"group:g3#member@user:anna",
		"document:deep#parent@folder:f1",
		"folder:f10#viewer@user:anna",
		"document:open#reader@user:anna",
		"document:open#blocked@user:carl",
		"document:open#blocked@group:g9#member",
		"group:g9#member@user:dora",
		"shift:early#assignee@user:anna",
	)
	for i := 1; i < 10; i++ {
		put(t, m, p, fmt.Sprintf("folder:f%d#parent@folder:f%d", i, i+1))
	}
	for i := range 50 {
		for _, object := range []string{"document:direct#owner", "group:g1#member", "group:g2#member", "group:g3#member", "document:open#reader"} {
			put(t, m, p, fmt.Sprintf("%s@user:u%d", object, i))
		}
	}
	conditional(t, m, p, "document:cond#office@user:anna", "office", value.Map{"level": int64(3)})
	conditional(t, m, p, "document:cond#caller@user:anna", "$expression", value.Map{
		"expression": "now < timestamp('2100-01-01T00:00:00Z')", "parameters": value.Map{"now": "timestamp"},
	})
	window := value.List{value.Map{"start": "09:00", "end": "17:00"}}
	conditional(t, m, p, "shift:early#open@user:*", "rota", value.Map{"schedule": value.Map{
		"zone": "Europe/Paris", "windows": value.Map{"monday": window},
	}})
	return m, p
}

// compileBench makes the schedule a map of anything, which the DSL has no word for.
func compileBench(t testing.TB) *model.Plan {
	t.Helper()
	m, err := model.ParseDSL("bench.fga", benchModel)
	if err != nil {
		t.Fatal(err)
	}
	changed := proto.Clone(m.Proto()).(*openfgav1.AuthorizationModel)
	schedule := changed.Conditions["rota"].Parameters["schedule"]
	schedule.GenericTypes[0].TypeName = openfgav1.ConditionParamTypeRef_TYPE_NAME_ANY
	if m, err = model.FromProto(changed); err != nil {
		t.Fatal(err)
	}
	table := model.NewTable()
	table.Define(m.Declarations())
	p, err := m.Compile("", table)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func conditional(t testing.TB, m *Memory, p *model.Plan, text, condition string, context value.Map) {
	t.Helper()
	x := tuple(t, text)
	x.Condition, x.Context = condition, context
	if err := m.Put(p, x); err != nil {
		t.Fatalf("Put(%s): %v", text, err)
	}
}

var benchChecks = []struct{ name, question string }{
	{"direct", "document:direct#viewer@user:anna"},
	{"group3", "document:grouped#reader@user:anna"},
	{"hierarchy10", "document:deep#viewer@user:anna"},
	{"denied10", "document:deep#viewer@user:u1"},
	{"exclusion", "document:open#readable@user:anna"},
	{"condition", "document:cond#office@user:anna"},
	{"inline", "document:cond#caller@user:anna"},
	{"shift", "shift:early#on_duty@user:anna"},
}

func BenchmarkCheck(b *testing.B) {
	m, p := benchStore(b)
	for _, c := range benchChecks {
		b.Run(c.name, func(b *testing.B) {
			v, u, s := question(b, m, p, c.question)
			q := Query{View: v, Plan: p, At: instant}
			b.ReportAllocs()
			for b.Loop() {
				got, err := q.Check(b.Context(), u, s)
				if err != nil || got == (c.name == "denied10") {
					b.Fatalf("Check(%s) = %v, %v", c.question, got, err)
				}
			}
		})
	}
}

// BenchmarkFloor is what one read of the view costs, which no Check can undercut.
func BenchmarkFloor(b *testing.B) {
	m, p := benchStore(b)
	_, u, s := question(b, m, p, "document:direct#owner@user:anna")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := m.Contains(u, s); !ok {
			b.Fatal("no such tuple")
		}
	}
}

func BenchmarkListObjects(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		p := compilePlan(b, benchModel)
		m := NewMemory(1, instant)
		put(b, m, p, "group:all#member@user:anna")
		put(b, m, p, "document:x#blocked@user:anna")
		for i := range n {
			put(b, m, p, fmt.Sprintf("document:d%d#reader@group:all#member", i))
		}
		for _, name := range []string{"viewer", "readable"} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				_, _, s := question(b, m, p, "group:all#member@user:anna")
				q := Query{View: m, Plan: p, At: instant}
				r := relation(b, p, "document", name)
				b.ReportAllocs()
				for b.Loop() {
					found := 0
					err := q.ListObjects(b.Context(), r, s, 0, func(ID) bool { found++; return true })
					if err != nil || found != n {
						b.Fatalf("ListObjects found %d, %v", found, err)
					}
				}
			})
		}
	}
}

func BenchmarkListSubjects(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		p := compilePlan(b, benchModel)
		m := NewMemory(1, instant)
		put(b, m, p, "document:d#reader@group:all#member")
		put(b, m, p, "document:d#blocked@group:none#member")
		for i := range n {
			put(b, m, p, fmt.Sprintf("group:all#member@user:u%d", i))
		}
		for _, name := range []string{"viewer", "readable"} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				_, u, s := question(b, m, p, "document:d#"+name+"@user:u1")
				q := Query{View: m, Plan: p, At: instant}
				kind := SubjectKind{Type: p.TypeByID(s.ID.Type())}
				b.ReportAllocs()
				for b.Loop() {
					found := 0
					err := q.ListSubjects(b.Context(), u, kind, Subject{}, func(ListedSubject) bool { found++; return true })
					if err != nil || found != n {
						b.Fatalf("ListSubjects found %d, %v", found, err)
					}
				}
			})
		}
	}
}
