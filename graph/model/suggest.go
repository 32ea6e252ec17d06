package model

import (
	"fmt"
	"strings"
)

// suggest points to the candidate that name is most likely a misspelling of.
func suggest(name string, candidates []string) string {
	best, least := "", (len(name)+1)/3
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), strings.ToLower(c), least); d <= least && c != name {
			if best == "" || d < least {
				best, least = c, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// suggestOr is suggest, or other if there is nothing to point to.
func suggestOr(name string, candidates []string, other string) string {
	if s := suggest(name, candidates); s != "" {
		return s
	}
	return other
}

// distance is how many bytes must be inserted, dropped or replaced to make b of a; more
// than limit is as good as infinite, which keeps it cheap.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal = row[j+1]
			row[j+1] = cost
		}
	}
	return row[len(b)]
}

// listed prints at most a handful of names.
func listed(names []string) string {
	const most = 8
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	default:
		return strings.Join(names, ", ")
	}
}
