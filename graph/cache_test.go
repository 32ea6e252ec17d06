package graph

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/model"
)

// A dated view tells an era.
type dated struct {
	View
	era Era
}

func (d dated) Era([]model.TypeID) Era { return d.era }

func limitOf(n int64) func() int64 { return func() int64 { return n } }

func cacheOf(p *model.Plan) *Cache {
	var all []*model.Relation
	for _, t := range p.Types() {
		all = append(all, t.Relations...)
	}
	return NewCache(p, all, limitOf(1<<20))
}

// What a condition decided is not remembered, however it comes about.
func TestCacheForgetsWhatTimeDecides(t *testing.T) {
	p := compilePlan(t, `model
  schema 1.1
type user
type group
  relations
    define member: [user, user with later, group#member]
type doc
  relations
    define viewer: [group#member]
    define listed: [user]
    define helper: [user with later]
    define never: [user]
    define guarded: never and helper
    define banned: [doc#member] or guarded
    define member: listed but not banned
    define helped: helper
condition later(now: timestamp, from: timestamp) {
  now >= from
}
`)
	m := remember(t, p, "doc:1#viewer@group:a#member", "doc:1#viewer@group:c#member", "group:a#member@group:b#member",
		"group:b#member@group:a#member", "group:c#member@group:b#member", "doc:1#listed@user:ann", "doc:1#banned@doc:1#member")
	for _, text := range []string{"group:a#member@user:ann", "doc:1#helper@user:ann"} {
		conditional := tuple(t, text)
		conditional.Condition, conditional.Context = "later", map[string]any{"from": instant.Add(time.Hour).Format(time.RFC3339)}
		if err := m.Put(p, conditional); err != nil {
			t.Fatal(err)
		}
	}
	expiring := tuple(t, "group:x#member@user:ann")
	expiring.Expires = instant.Add(time.Hour)
	if err := m.Put(p, expiring); err != nil {
		t.Fatal(err)
	}

	view, c := dated{m, Era{0, 1}}, cacheOf(p)
	ask := func(at time.Time, text string) bool {
		_, u, s := question(t, m, p, text)
		got, err := (&Query{View: view, Plan: p, At: at, Cache: c, UndefinedIsNo: true}).Check(t.Context(), u, s)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return got
	}
	actions := func(at time.Time) (names []string) {
		_, u, s := question(t, m, p, "doc:1#member@user:ann")
		q := Query{View: view, Plan: p, At: at, Cache: c, UndefinedIsNo: true}
		held, err := q.ListActions(t.Context(), u.Object, s, []*model.Relation{relation(t, p, "doc", "member"), relation(t, p, "doc", "helped")})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range held {
			names = append(names, r.Name)
		}
		return names
	}

	const viewer = "doc:1#viewer@user:ann"
	if ask(instant, viewer) || len(actions(instant)) != 0 || !ask(instant, "group:x#member@user:ann") {
		t.Error("the first answers are wrong")
	}
	after := instant.Add(2 * time.Hour)
	for _, member := range []string{"group:c#member@user:ann", "group:b#member@user:ann", viewer} {
		if !ask(after, member) {
			t.Errorf("%s is no after two hours, want yes", member)
		}
	}
	if got := fmt.Sprint(actions(after)); got != "[helped]" {
		t.Errorf("actions after two hours: %v, want helped", got)
	}
	if ask(after, "group:x#member@user:ann") {
		t.Error("an expired tuple counts")
	}
}

// A question that ends early finds out nothing that is not so.
func TestCacheAfterAFault(t *testing.T) {
	m, p := cacheStore(t, 20)
	_, u, s := question(t, m, p, "group:20#member@user:ann")
	view := dated{m, Era{0, 1}}
	ask := func(v View, c *Cache, budget int) error {
		ok, err := (&Query{View: v, Plan: p, At: instant, Cache: c, Budget: budget}).Check(t.Context(), u, s)
		if err == nil && !ok {
			t.Fatal("no, want yes or an error")
		}
		return err
	}
	failed := 0
	for i := 1; i < 70; i++ {
		for _, first := range []func(c *Cache) error{
			func(c *Cache) error { return ask(dated{&faulty{View: m, reads: i}, view.era}, c, 0) },
			func(c *Cache) error { return ask(view, c, i) },
		} {
			c := cacheOf(p)
			if first(c) != nil {
				failed++
			}
			if err := ask(view, c, 0); err != nil {
				t.Error(err)
			}
		}
	}
	if failed < 70 {
		t.Errorf("%d questions failed, want most of 138", failed)
	}
}

const cacheModel = `model
  schema 1.1
type user
type group
  relations
    define parent: [group]
    define listed: [user]
    define member: listed or member from parent
`

// cacheStore is a chain of groups, with a user in the outermost.
func cacheStore(t testing.TB, groups int) (*Memory, *model.Plan) {
	p := compilePlan(t, cacheModel)
	m := remember(t, p, "group:0#listed@user:ann", "group:0#listed@user:bob")
	for i := range groups {
		put(t, m, p, fmt.Sprintf("group:%d#parent@group:%d", i+1, i))
	}
	return m, p
}

func TestCacheSavesVisits(t *testing.T) {
	m, p := cacheStore(t, 100)
	c := NewCache(p, []*model.Relation{relation(t, p, "group", "member")}, limitOf(1<<20))
	visited := func(v View, text string) (n int) {
		_, u, s := question(t, m, p, text)
		q := Query{View: v, Plan: p, At: instant, Cache: c, Visited: func(k int) { n = k }}
		if ok, err := q.Check(t.Context(), u, s); !ok || err != nil {
			t.Errorf("%s: %v, %v", text, ok, err)
		}
		return n
	}
	first := dated{m, Era{0, 5}}
	if n := visited(first, "group:100#member@user:ann"); n < 100 {
		t.Errorf("the first question visited %d, want every group", n)
	}
	for _, text := range []string{"group:100#member@user:ann", "group:50#member@user:ann"} {
		if n := visited(first, text); n != 1 {
			t.Errorf("%s visited %d, want 1", text, n)
		}
	}
	if n := visited(first, "group:100#member@user:bob"); n < 100 {
		t.Errorf("another user's question visited %d, want every group", n)
	}
	if n := visited(dated{m, Era{0, 4}}, "group:100#member@user:ann"); n < 100 {
		t.Errorf("a view of an earlier era visited %d, want every group", n)
	}
	if n := visited(first, "group:100#member@user:ann"); n != 1 {
		t.Errorf("after a view of an earlier era: %d visited, want 1", n)
	}
	for _, era := range []Era{{0, 6}, {1, 2}} {
		if n := visited(dated{m, era}, "group:100#member@user:ann"); n < 100 {
			t.Errorf("in era %v: %d visited, want every group", era, n)
		}
	}
	if n := visited(m, "group:100#member@user:ann"); n < 100 {
		t.Errorf("a view without eras: %d visited, want every group", n)
	}
}

func TestCacheStaysWithinItsLimit(t *testing.T) {
	m, p := cacheStore(t, 3000)
	c := NewCache(p, []*model.Relation{relation(t, p, "group", "member")}, limitOf(4096))
	view := dated{m, Era{0, 1}}
	emptied := 0
	for i := range 200 {
		put(t, m, p, fmt.Sprintf("group:0#listed@user:u%d", i))
		_, u, s := question(t, m, p, fmt.Sprintf("group:%d#member@user:u%d", 10*i, i))
		if ok, err := (&Query{View: view, Plan: p, At: instant, Cache: c}).Check(t.Context(), u, s); !ok || err != nil {
			t.Fatal(ok, err)
		}
		g := c.current.Load()
		if g == nil {
			emptied++
		} else if size := g.size.Load(); size > 4096 {
			t.Fatalf("the cache holds %d bytes, want at most 4096", size)
		}
	}
	if emptied == 0 {
		t.Error("the cache was never full")
	}
}

// Many ask about one subject at once; what they note must not be torn.
func TestCacheIsSafeForConcurrentUse(t *testing.T) {
	m, p := cacheStore(t, 2000)
	put(t, m, p, "group:2500#parent@group:2400")
	c := NewCache(p, []*model.Relation{relation(t, p, "group", "member")}, limitOf(1<<14))
	var wait sync.WaitGroup
	for seed := range uint64(4) {
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 1))
			for i := range 2000 {
				n := rng.IntN(2500)
				user, group := []string{"ann", "bob"}[rng.IntN(2)], fmt.Sprint(n)
				if n > 2000 {
					group = []string{"2400", "2500"}[n%2]
				}
				_, u, s := question(t, m, p, "group:"+group+"#member@user:"+user)
				q := Query{View: dated{m, Era{0, Revision(i / 100)}}, Plan: p, At: instant, Cache: c}
				if ok, err := q.Check(t.Context(), u, s); err != nil || ok != (n <= 2000) {
					t.Errorf("group %s: %v, %v", group, ok, err)
				}
			}
		})
	}
	wait.Wait()
}
