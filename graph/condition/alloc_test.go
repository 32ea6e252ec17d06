//go:build !race

package condition

import (
	"testing"

	"github.com/remit-authz/remit/graph/value"
)

// The race detector's sync.Pool drops what it is given at random, hence the build tag.
func TestInlineDoesNotAllocate(t *testing.T) {
	stored := mustContext(t, inline("a == 'x' && b > 5", "b int"))
	request := &Request{Fields: value.Map{"a": "x", "b": int64(7)}}
	declared := mustCompile(t, "a == 'x' && b > 5", "a string, b int")
	count := func(c *Condition, stored *Context) float64 {
		return testing.AllocsPerRun(100, func() {
			if held, err := c.Evaluate(stored, request); !held || err != nil {
				t.Fatalf("Evaluate = %t, %v", held, err)
			}
		})
	}
	if got, want := count(Inline, stored), count(declared, nil); got > want {
		t.Errorf("an inline condition allocates %v times, a declared one %v times", got, want)
	}
}
