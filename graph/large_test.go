package graph

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/model"
)

const largeModel = `
model
  schema 1.1
type user
type group
  relations
    define banned: [user]
    define flag: [user]
    define listed: [user]
    define member: [user, group#member]
    define welcome: [user, group#welcome] but not banned
    define strict: [user, group#strict] and flag
    define either: [user, group#either, group#strict] or listed
    define doubtful: [user, user with low, group#doubtful]
    define grim: [user, user with low, group#grim] and flag
    define base: [user]
    define next: [user, group#win]
    define win: base but not next
condition low(level: int) {
  level < 5
}
`

// groups are a store of groups whose edges the test draws.
type groups struct {
	*Memory
	plan  *model.Plan
	group *model.Type
	user  *model.Type
	low   model.ConditionID
}

func newGroups(t *testing.T) *groups {
	t.Helper()
	p := compilePlan(t, largeModel)
	g := &groups{Memory: NewMemory(1, instant), plan: p}
	g.group, _ = p.Type("group")
	g.user, _ = p.Type("user")
	for _, a := range relation(t, p, "group", "grim").Allowed {
		g.low = max(g.low, a.ConditionID)
	}
	return g
}

func (g *groups) id(i int) ID { return MakeID(g.group.ID, uint64(i+1)) }

func (g *groups) edge(name string, from, to int) {
	r, _ := g.group.Relation(name)
	subject := r
	if name == "next" {
		subject, _ = g.group.Relation("win")
	}
	g.PutRow(Row{Userset: Userset{g.id(from), r.ID}, Edge: Edge{Subject: Subject{g.id(to), subject.ID}}})
}

func (g *groups) user1() Subject { return Subject{ID: MakeID(g.user.ID, 1)} }

func (g *groups) grant(name string, i int, condition model.ConditionID) {
	r, _ := g.group.Relation(name)
	g.PutRow(Row{Userset: Userset{g.id(i), r.ID}, Edge: Edge{Subject: g.user1(), Condition: condition}})
}

func (g *groups) check(t *testing.T, name string, i int) (bool, error) {
	t.Helper()
	r, _ := g.group.Relation(name)
	q := Query{View: g, Plan: g.plan, At: instant, Budget: 20_000_000}
	begin := time.Now()
	u := Userset{g.id(i), r.ID}
	got, err := q.Check(t.Context(), u, g.user1())
	t.Logf("Check took %v", time.Since(begin).Round(time.Microsecond))
	exact, exactErr := byFixpoint(t, &q, u, g.user1())
	if got != exact || (err == nil) != (exactErr == nil) {
		t.Errorf("Check(%s of %d) = %v, %v; by fixpoint %v, %v", name, i, got, err, exact, exactErr)
	}
	return got, err
}

func (g *groups) want(t *testing.T, name string, i int, want bool) {
	t.Helper()
	if got, err := g.check(t, name, i); got != want || err != nil {
		t.Errorf("Check(%s of %d) = %v, %v, want %v", name, i, got, err, want)
	}
}

// The budget bounds an explanation as a whole: its work grows with the square of a
// chain, though each of its sub-questions stays within the budget.
func TestALongExplanationEnds(t *testing.T) {
	const depth = 3_000
	g := newGroups(t)
	for i := range depth {
		g.edge("member", i, i+1)
	}
	g.grant("member", depth, 0)
	r, _ := g.group.Relation("member")
	q := Query{View: g, Plan: g.plan, At: instant, Budget: 20_000}
	for from, short := range map[int]bool{0: false, depth - 50: true} {
		u := Userset{g.id(from), r.ID}
		if ok, err := q.Check(t.Context(), u, g.user1()); !ok || err != nil {
			t.Fatalf("Check of a chain of %d = %v, %v", depth-from, ok, err)
		}
		begin := time.Now()
		e, err := q.Explain(t.Context(), u, g.user1())
		t.Logf("Explain of a chain of %d took %v", depth-from, time.Since(begin).Round(time.Millisecond))
		if short && (err != nil || len(e.Proof) != depth-from+1) || !short && !errors.Is(err, ErrBudget) {
			t.Errorf("Explain of a chain of %d = %v, %v", depth-from, e, err)
		}
		// The denial of one who is not in it may do without the nearest miss.
		stranger := Subject{ID: MakeID(g.user.ID, 2)}
		if e, err := q.Explain(t.Context(), u, stranger); err == nil && e.Allowed || err != nil && !errors.Is(err, ErrBudget) {
			t.Errorf("Explain of a stranger to a chain of %d = %v, %v", depth-from, e, err)
		}
	}
}

func TestDeepHierarchy(t *testing.T) {
	const depth = 100_000
	g := newGroups(t)
	for i := range depth {
		g.edge("welcome", i, i+1)
		if i < depth/10 {
			g.edge("member", i, i+1)
		}
	}
	g.want(t, "member", 0, false)
	g.want(t, "welcome", 0, false)
	g.grant("member", depth/10, 0)
	g.grant("welcome", depth, 0)
	g.want(t, "member", 0, true)
	g.want(t, "welcome", 0, true)
	g.grant("banned", depth/2, 0)
	g.want(t, "welcome", 0, false)

	// The last one wins, the one before loses, and so on: a tower of negations.
	const height = 20_000
	for i := range height {
		g.edge("next", i, i+1)
		g.grant("base", i, 0)
	}
	g.grant("base", height, 0)
	r, _ := g.group.Relation("win")
	q := Query{View: g, Plan: g.plan, At: instant}
	for i, want := range []bool{height%2 == 0, height%2 == 1} {
		if got, err := q.Check(t.Context(), Userset{g.id(i), r.ID}, g.user1()); got != want || err != nil {
			t.Errorf("Check(win of %d) = %v, %v, want %v", i, got, err, want)
		}
	}
}

// TestCyclicGroups draws large graphs that are full of cycles, with and without other
// operators on the way, with answers that are hard to find or not there.
func TestCyclicGroups(t *testing.T) {
	for _, size := range []struct{ nodes, degree int }{{150, 149}, {3000, 3}} {
		t.Run(fmt.Sprintf("%dx%d", size.nodes, size.degree), func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 3))
			n := size.nodes
			g := newGroups(t)
			names := []string{"member", "welcome", "strict", "either", "doubtful", "grim"}
			for i := range n {
				for k := range size.degree {
					to := (i + 1 + k) % n
					if k > 0 && size.degree < n-1 {
						to = r.IntN(n)
					}
					for _, name := range names {
						g.edge(name, i, to)
					}
				}
				g.grant("flag", i, 0)
				if i%3 == 0 {
					g.grant("doubtful", i, g.low)
					g.grant("grim", i, g.low)
				}
			}
			for _, name := range names[:4] {
				g.want(t, name, 0, false)
			}
			for _, name := range names[4:] {
				if _, err := g.check(t, name, 1); err == nil || errors.Is(err, ErrBudget) {
					t.Errorf("Check(%s) = %v, want the error of its condition", name, err)
				}
			}
			for _, name := range names {
				g.grant(name, n-2, 0)
				g.want(t, name, 0, true)
			}
			// Half of the groups let nobody pass.
			for i := range n {
				if i%2 == 0 {
					g.grant("banned", i, 0)
					r, _ := g.group.Relation("flag")
					g.RemoveRow(Userset{g.id(i), r.ID}, g.user1())
				}
			}
			g.grant("flag", n-2, 0)
			g.want(t, "welcome", 0, false)
			g.want(t, "strict", 0, false)
			_, _ = g.check(t, "welcome", 1)
			_, _ = g.check(t, "strict", 1)
			_, _ = g.check(t, "either", 0)
			_, _ = g.check(t, "grim", 1)
		})
	}
}

func TestHundredThousandCyclicGroups(t *testing.T) {
	const n = 100_000
	r := rand.New(rand.NewPCG(4, 4))
	g := newGroups(t)
	for i := range n {
		g.edge("welcome", i, (i+1)%n)
		g.edge("welcome", i, r.IntN(n))
	}
	g.want(t, "welcome", 0, false)
	g.grant("welcome", n/2, 0)
	g.want(t, "welcome", 0, true)
}

func TestNegativeCyclesEnd(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	g := newGroups(t)
	const n = 3000
	for i := range n {
		g.grant("base", i, 0)
		for range 1 + r.IntN(3) {
			g.edge("next", i, r.IntN(n))
		}
		if i%50 == 0 {
			rel, _ := g.group.Relation("next")
			g.PutRow(Row{Userset: Userset{g.id(i), rel.ID}, Edge: Edge{Subject: g.user1()}})
		}
	}
	for i := range 20 {
		if _, err := g.check(t, "win", i); err != nil && !errors.Is(err, ErrUndefined) {
			t.Errorf("Check(win of %d): %v", i, err)
		}
	}
}

func TestBudget(t *testing.T) {
	g := newGroups(t)
	const n = 2000
	for i := range n {
		g.edge("member", i, i+1)
		g.edge("next", i, (i+1)%7)
		g.grant("base", i, 0)
	}
	member, _ := g.group.Relation("member")
	win, _ := g.group.Relation("win")
	kind := SubjectKind{Type: g.user}
	asks := map[string]func(context.Context, *Query) error{
		"Check": func(ctx context.Context, q *Query) error {
			_, err := q.Check(ctx, Userset{g.id(0), member.ID}, g.user1())
			return err
		},
		"Check by fixpoint": func(ctx context.Context, q *Query) error {
			_, err := q.Check(ctx, Userset{g.id(n - 1), win.ID}, g.user1())
			return err
		},
		"ListObjects": func(ctx context.Context, q *Query) error {
			return q.ListObjects(ctx, member, Subject{g.id(n), member.ID}, 0, func(ID) bool { return true })
		},
		"ListSubjects": func(ctx context.Context, q *Query) error {
			return q.ListSubjects(ctx, Userset{g.id(0), member.ID}, kind, Subject{}, func(ListedSubject) bool { return true })
		},
		"ListActions": func(ctx context.Context, q *Query) error {
			_, err := q.ListActions(ctx, g.id(0), g.user1(), g.group.Relations)
			return err
		},
	}
	for name, ask := range asks {
		t.Run(name, func(t *testing.T) {
			q := Query{View: g, Plan: g.plan, At: instant, Budget: 5}
			if err := ask(t.Context(), &q); !errors.Is(err, ErrBudget) {
				t.Errorf("with a budget of 5: %v, want ErrBudget", err)
			}
			q.Budget = 0
			if err := ask(t.Context(), &q); err != nil && !errors.Is(err, ErrUndefined) {
				t.Errorf("with the default budget: %v", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := ask(ctx, &q); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v, want context.Canceled", err)
			}
			// A fault at any read is an error, and whatever ran before it.
			for reads := range 30 {
				q.View = &faulty{View: g, reads: reads}
				if err := ask(t.Context(), &q); !errors.Is(err, errFault) && q.View.(*faulty).reads < 0 {
					t.Errorf("a fault at read %d: %v", reads, err)
				}
			}
		})
	}
}

var errFault = errors.New("fault")

// A faulty view fails after a number of reads.
type faulty struct {
	View
	reads int
}

func (f *faulty) fault() error {
	if f.reads--; f.reads < 0 {
		return errFault
	}
	return nil
}

func (f *faulty) Contains(u Userset, s Subject) (Edge, bool, error) {
	if err := f.fault(); err != nil {
		return Edge{}, false, err
	}
	return f.View.Contains(u, s)
}

func (f *faulty) Subjects(u Userset, c *Cursor) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.View.Subjects(u, c)
}

func (f *faulty) Objects(r model.RelationID, s Subject, c *Cursor) error {
	if err := f.fault(); err != nil {
		return err
	}
	return f.View.Objects(r, s, c)
}
