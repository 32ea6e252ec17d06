package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
)

func TestDeleteByFilter(t *testing.T) {
	startServer(t)
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	before := must(t, "read")
	total := strings.Count(before, "\n")
	for _, test := range []struct {
		want string
		args []string
	}{
		{"that would delete every tuple of the store; narrow it down with --object, --relation or --subject, or say --all", []string{"--yes", "--expect", "100"}},
		{"that would delete every tuple", []string{"--preview"}},
		{"that would delete every tuple", []string{"--object", "", "--yes", "--expect", "100"}},
		{"--all is every tuple", []string{"--all", "--object", "channel", "--preview"}},
		{"--yes needs --expect NUMBER", []string{"--object", "channel", "--yes"}},
		{"--preview deletes nothing", []string{"--object", "channel", "--preview", "--yes", "--expect", "1"}},
		{"give tuples or a filter, not both", []string{"--object", "channel", "channel:tea#blocked@member:ana"}},
		{"--key is for tuples that are named", []string{"--object", "channel", "--key", "x"}},
		{"there is nobody to ask; confirm with --yes", []string{"--object", "channel"}},
		{"more than the 1 expected; nothing was deleted", []string{"--object", "channel", "--yes", "--expect", "1"}},
		{`has a relation "sail"`, []string{"--relation", "sail", "--preview"}},
	} {
		refused(t, test.want, append([]string{"delete"}, test.args...)...)
	}
	if now := must(t, "read"); now != before {
		t.Fatalf("refused deletions left\n%s\nof\n%s", now, before)
	}

	channels := strings.Count(must(t, "read", "--object", "channel"), "\n")
	shown := must(t, "delete", "--object", "channel", "--preview")
	if want := must(t, "read", "--object", "channel", "--limit", "10"); !strings.HasPrefix(shown, want) || !strings.HasSuffix(shown, counted(channels, "tuple")+" match\n") {
		t.Errorf("the preview shows\n%s\nwant\n%s", shown, want)
	}
	var answer struct {
		Matched, Deleted, Gone string
		Done                   bool
		Token                  string
	}
	out := must(t, "delete", "--object", "channel", "--yes", "--expect", "100", "--reason", "closed", "-o", "json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatal(err)
	}
	if n := thousands(channels); answer.Matched != n || answer.Deleted != n || answer.Gone != "0" || !answer.Done {
		t.Errorf("the deletion says %s, want %d deleted", out, channels)
	}
	if left := must(t, "read", "--consistency", "at_least_as_fresh="+answer.Token); strings.Count(left, "\n") != total-channels || strings.Contains(left, "channel:") {
		t.Errorf("left is\n%s", left)
	}
	if out := must(t, "delete", "--object", "channel", "--yes", "--expect", "0"); out != "0 tuples deleted\n" {
		t.Errorf("the same once more says %q", out)
	}
	if out := must(t, "delete", "--all", "--yes", "--expect", "100"); out != counted(total-channels, "tuple")+" deleted\n" {
		t.Errorf("the rest: %q", out)
	}
}

// A deletion that is interrupted says how far it came, and the same command does the rest.
func TestADeletionThatIsInterrupted(t *testing.T) {
	startServer(t)
	manyTuples(t, t.TempDir(), 12_000)
	args := []string{"delete", "--subject", "visitor", "--yes", "--expect", "12500", "--store", "museum"}
	ctx, interrupt := context.WithCancel(t.Context())
	status := make(chan int, 1)
	var out, errs strings.Builder
	go func() { status <- run(ctx, args, strings.NewReader(""), &out, &errs) }()
	for stores := ""; !strings.Contains(stores, "museum") || strings.Contains(stores, "12,0"); {
		stores = must(t, "store", "list") // until some have gone
	}
	interrupt()
	if s := <-status; s != exitError || !strings.Contains(errs.String(), "remit: interrupted; ") || !strings.HasSuffix(errs.String(), " of 12,004 tuples were deleted, the same command deletes the rest\n") {
		t.Errorf("status %d\n%s%s", s, out.String(), errs.String())
	}
	must(t, args...)
	if left := must(t, "read", "--subject", "visitor"); strings.Contains(left, "visitor-number") {
		t.Errorf("there is left\n%.300s", left)
	}
}
