package graphtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
)

// A liar shows edges other than they are.
type liar struct {
	graph.View
	lie func(*graph.Edge)
}

func (l liar) Contains(u graph.Userset, s graph.Subject) (graph.Edge, bool, error) {
	edge, ok, err := l.View.Contains(u, s)
	l.lie(&edge)
	return edge, ok, err
}

func (l liar) Subjects(u graph.Userset, c *graph.Cursor) error {
	if err := l.View.Subjects(u, c); err != nil {
		return err
	}
	edges := make([]graph.Edge, len(c.Edges)) // the view's own may be shared
	for i, edge := range c.Edges {
		l.lie(&edge)
		edges[i] = edge
	}
	c.Edges = edges
	return nil
}

// A notebook is a test that may fail without failing this one.
type notebook struct {
	testing.TB
	failure string
}

func (n *notebook) Errorf(format string, args ...any) { n.failure += fmt.Sprintf(format, args...) }
func (n *notebook) Failed() bool                      { return n.failure != "" }
func (n *notebook) Logf(string, ...any)               {}

// Whoever compares must notice a difference, and show a small case of it.
func TestRunNoticesLies(t *testing.T) {
	for name, lie := range map[string]func(*graph.Edge){
		"nothing expires":           func(e *graph.Edge) { e.Expires = 0 },
		"everything expires sooner": func(e *graph.Edge) { e.Expires -= min(e.Expires, 1) },
		"no context is stored":      func(e *graph.Edge) { e.Context = nil },
		"usersets are others": func(e *graph.Edge) {
			if e.Subject.Relation != 0 {
				e.Subject.ID ^= 1
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &notebook{TB: t}
			Run(n, Config{Seed: 1, Models: 100, ChecksPerModel: 40, ListsPerModel: 5}, func(t testing.TB, s *Store) (Opened, error) {
				opened, err := Memory(t, s)
				opened.View = liar{opened.View, lie}
				return opened, err
			})
			if n.failure == "" {
				t.Fatal("nothing was noticed")
			}
			_, steps, _ := strings.Cut(n.failure, "--- steps\n")
			steps, _, _ = strings.Cut(steps, "---")
			if lines := strings.Count(steps, "\n"); lines > 4 {
				t.Errorf("the case has %d steps:\n%s", lines, n.failure)
			}
		})
	}
}
