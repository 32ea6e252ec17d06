package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph"
)

func TestTheMarkOfARewriting(t *testing.T) {
	dir := t.TempDir()
	if got, err := readRewritten(dir); got != 0 || err != nil {
		t.Errorf("without a file: %d, %v, want 0", got, err)
	}
	for _, want := range []graph.Revision{1, 7000} {
		if err := writeRewritten(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := readRewritten(dir); got != want || err != nil {
			t.Errorf("read %d, %v, want %d", got, err, want)
		}
	}
	for _, damaged := range []string{"", "7", "seven\n", "-1\n", "7\n\n"} {
		if err := os.WriteFile(filepath.Join(dir, rewrittenFile), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readRewritten(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("of %q: %v, want a refusal", damaged, err)
		}
	}
}
