package model

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRandomModels holds round trips for texts with operators nested in every way that
// the modelling language allows, superfluous parentheses included.
func TestRandomModels(t *testing.T) {
	valid := 0
	for seed := range uint64(300) {
		text := randomText(rand.New(rand.NewPCG(seed, 0)))
		m, err := ParseDSL("m.fga", text)
		if err != nil {
			continue // circles and dead ends happen
		}
		valid++
		roundTrip(t, m)
		compiles(t, m)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
	if valid < 100 {
		t.Errorf("only %d of 300 random models are valid", valid)
	}
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString(head + "type group\n  relations\n    define member: [user, group#member]\ntype doc\n  relations\n    define parent: [doc, group]\n    define r0: [user, user:*, group#member with late]\n")
	for i := 1; i < 8; i++ {
		// Relations refer to earlier ones, so that most models have no circles.
		fmt.Fprintf(&b, "    define r%d: %s\n", i, randomDefinition(r, i, 4, r.IntN(2) == 0))
	}
	b.WriteString("condition late(x: int, y: list<string>) { x > 1 && \"}\" in y }\n")
	return b.String()
}

// randomDefinition is a definition whose first leaf is a type restriction if direct.
func randomDefinition(r *rand.Rand, below, depth int, direct bool) string {
	operand := func(direct bool) string {
		if depth > 0 && r.IntN(2) == 0 {
			return "(" + strings.Repeat(" ", r.IntN(2)) + randomDefinition(r, below, depth-1, direct) + strings.Repeat(" ", r.IntN(2)) + ")"
		}
		switch {
		case direct:
			return []string{"[user]", "[user with late, group#member]", "[user:*, doc#r0]", "[user with $expression]"}[r.IntN(4)]
		case r.IntN(3) == 0:
			return "r0 from parent"
		default:
			return fmt.Sprintf("r%d", r.IntN(below))
		}
	}
	parts := []string{operand(direct)}
	operator := []string{" or ", " and ", " but not "}[r.IntN(3)]
	for range r.IntN(3) {
		parts = append(parts, operand(false))
		if operator == " but not " {
			break
		}
	}
	return strings.Join(parts, operator)
}
