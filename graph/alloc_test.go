//go:build !race

package graph

import (
	"testing"

	"github.com/remit-authz/remit/graph/model"
)

// The race detector's sync.Pool drops what it is given at random, hence the build tag.
func TestCheckDoesNotAllocate(t *testing.T) {
	m, p := benchStore(t)
	for _, c := range benchChecks {
		if c.name == "condition" || c.name == "inline" || c.name == "shift" {
			continue // CEL allocates
		}
		v, u, s := question(t, m, p, c.question)
		for _, depth := range []int{0, 25} {
			visited := 0
			q := Query{View: v, Plan: p, At: instant, MaxDepth: depth, Visited: func(n int) { visited = n }}
			ctx := t.Context()
			got := testing.AllocsPerRun(1000, func() {
				if _, err := q.Check(ctx, u, s); err != nil {
					t.Fatal(err)
				}
			})
			if got != 0 {
				t.Errorf("%s: Check(%s) with depth %d allocates %v times, want 0", c.name, c.question, depth, got)
			}
			if visited == 0 {
				t.Errorf("%s: Check(%s) with depth %d has visited no edge", c.name, c.question, depth)
			}
		}
	}
}

func TestCacheDoesNotAllocate(t *testing.T) {
	m, p := cacheStore(t, 100)
	c := NewCache(p, []*model.Relation{relation(t, p, "group", "member")}, limitOf(1<<20))
	_, u, s := question(t, m, p, "group:100#member@user:ann")
	q := Query{View: dated{m, Era{0, 1}}, Plan: p, At: instant, Cache: c}
	got := testing.AllocsPerRun(1000, func() {
		if ok, err := q.Check(t.Context(), u, s); !ok || err != nil {
			t.Fatal(ok, err)
		}
	})
	if got != 0 {
		t.Errorf("Check allocates %v times, want 0", got)
	}
}
