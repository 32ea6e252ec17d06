package yamlfile

import (
	"strings"
	"testing"
)

// Too deep is told once: by aliases, a short file reaches one place in millions of ways.
func TestTooDeepIsToldOnce(t *testing.T) {
	for _, tt := range []struct {
		depth int
		want  string
	}{
		{MaxDepth - 2, ""},
		{MaxDepth - 1, "acme.yaml:1:203: values are nested more than 200 deep"},
	} {
		text := "a: " + strings.Repeat("[", tt.depth) + "[], [], []" + strings.Repeat("]", tt.depth) + "\n"
		var r Reader
		r.Values("acme.yaml", r.Document("acme.yaml", []byte(text)), "values")
		got := ""
		if err := r.Err(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%d deep: %q, want %q", tt.depth, got, tt.want)
		}
	}
}
