package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// auditLines are the changes that audit prints, without times, revisions and ids.
func auditLines(t *testing.T, args ...string) string {
	t.Helper()
	out := must(t, append([]string{"audit"}, args...)...)
	out = regexp.MustCompile(`\d{4}-\S+Z +\d+ +`).ReplaceAllString(out, "")
	out = regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{26}\b`).ReplaceAllString(out, "ID")
	out = regexp.MustCompile(` +\[[^]]*\]`).ReplaceAllString(out, "")
	return regexp.MustCompile(` {2,}`).ReplaceAllString(out, "  ")
}

func TestAudit(t *testing.T) {
	startServer(t)
	t.Setenv("REMIT_REASON", "by the environment")
	must(t, "store", "import", "testdata/stores/direct.fga.yaml", "--actor", "ann", "--reason", "the first")
	must(t, "write", "reader:zoe", "holder", "book:dune", "--actor", "bob ☂")
	t.Setenv("REMIT_REASON", "")
	must(t, "delete", "book:emma#librarian@reader:ben", "--reason", "on leave")
	must(t, "store", "create", "other", "--actor", "ann")

	const zoe, ben = "- for bob ☂  + book:dune#holder@reader:zoe  (by the environment)\n", "-  - book:emma#librarian@reader:ben  (on leave)\n"
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--object", "book:dune", "--subject", "reader:zoe"}, zoe},
		{[]string{"--actor", "bob ☂"}, zoe},
		{[]string{"-n", "2"}, ben + zoe},
		{[]string{"--since", "1h", "--kind", "tuple_deleted"}, ben},
		{[]string{"--until", "1"}, ""},
		{[]string{"--kind", "tuple_deleted,tuple_put", "--object", "book:emma", "--newest-first", "-n", "1"}, ben},
		{[]string{"--kind", "model_written"}, "- for ann  * model ID  (the first)\n"},
		{[]string{"--kind", "store_created"}, "- for ann  * store library created (ID)  (the first)\n"},
	} {
		if got := auditLines(t, append(tt.args, "--store", "library")...); got != tt.want {
			t.Errorf("audit %s:\n%s\nwant\n%s", strings.Join(tt.args, " "), got, tt.want)
		}
	}
	if got, want := auditLines(t, "--cluster", "--actor", "ann"), "- for ann  * store library created (ID)  (the first)\n- for ann  * store other created (ID)\n"; got != want {
		t.Errorf("audit --cluster:\n%s\nwant\n%s", got, want)
	}

	// Keys and grants are told in words, never with what a key is compared by.
	secret := strings.TrimSpace(must(t, "key", "create", "backend", "--grant", "other:read,write", "--actor", "ann"))
	must(t, "key", "revoke", "backend")
	if got, want := auditLines(t, "--cluster", "-n", "4"), "-  * key:backend may do nothing\n-  * key ID revoked\n"+
		"- for ann  * key:backend may read,write on store ID; has key ID\n- for ann  * key ID of key:backend\n"; got != want {
		t.Errorf("audit --cluster:\n%s\nwant\n%s", got, want)
	}
	if all := must(t, "audit", "--cluster", "-o", "json"); strings.Contains(all, "hash") || strings.Contains(all, secret[len(secret)-59:]) {
		t.Errorf("audit --cluster tells too much:\n%s", all)
	}

	// JSON is one change a line, of as many pages as there are.
	out := strings.TrimSpace(must(t, "audit", "--store", "library", "-o", "json"))
	var last struct{ Kind, Reason, Revision string }
	for line := range strings.Lines(out) {
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
	}
	if last.Kind != "KIND_TUPLE_DELETED" || last.Reason != "on leave" {
		t.Errorf("the last line is of %+v", last)
	}

	refused(t, "--since: it lies in the future of", "audit", "--store", "library", "--since", "2999-01-01")
	refused(t, "is no instant such as", "audit", "--store", "library", "--since", "yesterday")
	refused(t, "it lies in the future", "audit", "--store", "library", "--since", "2999-01-01")
	refused(t, "--kind nope is unknown; it is assertions_removed,", "audit", "--store", "library", "--kind", "nope")
	refused(t, "--cluster is about no tuples", "audit", "--cluster", "--object", "book")
	refused(t, "--output yaml is not for audit", "audit", "--cluster", "-o", "yaml")
	refused(t, "has a type", "audit", "--store", "library", "--object", "nope")
}

// What a writer says of itself must be what can be recorded, and is refused before it is sent.
func TestActorsAndReasonsAreBounded(t *testing.T) {
	startServer(t)
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	write := []string{"write", "reader:zoe", "holder", "book:dune"}
	must(t, append(write, "--actor", strings.Repeat("ü", 512))...)
	refused(t, "--actor: it has 1025 bytes; at most 1024 are recorded", append(write, "--actor", strings.Repeat("x", 1025))...)
	refused(t, `--actor: "a\nb" has control characters`, append(write, "--actor", "a\nb")...)
	refused(t, `--actor: "\xff" is not UTF-8`, append(write, "--actor", "\xff")...)
	refused(t, `--actor: " a" begins or ends with a space`, append(write, "--actor", " a")...)
}

// What others have written must not act on the terminal of who audits them.
func TestWhatAnAuditorSeesIsVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain ünïcode ☂":         "plain ünïcode ☂",
		"\x1b[2J\x07":             `\x1b[2J\x07`,
		"a\r\nb\tc\x7f":           `a\x0d\x0ab\x09c\x7f`,
		"\u202egnp.exe":           `\u{202e}gnp.exe`,
		"\u009b31m\u200b":         `\u{9b}31m\u{200b}`,
		"not UTF-8: \xff\xfe":     `not UTF-8: \xff\xfe`,
		"zero-width\u2066 \ufeff": `zero-width\u{2066} \u{feff}`,
	} {
		if got := visible(text); got != want {
			t.Errorf("visible(%q) = %s, want %s", text, got, want)
		}
	}
	startServer(t)
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	must(t, "write", "reader:zoe", "holder", "book:dune", "--actor", "\u202eeve")
	if out := auditLines(t, "-n", "1"); !strings.Contains(out, `- for \u{202e}eve`) {
		t.Errorf("audit shows %q", out)
	}
}

// Watch shows who it was, as audit does.
func TestWatchShowsWho(t *testing.T) {
	w := &watching{request: &remitv1.WatchRequest{Stores: []string{"one"}}}
	c := &remitv1.Change{
		Kind: remitv1.Change_KIND_TUPLE_DELETED, Tuple: &remitv1.Tuple{Object: "book:dune", Relation: "holder", Subject: "reader:zoe"},
		Principal: "key:app", Actor: "ann\x1b", Reason: "on leave\n",
	}
	if got, want := w.change(c), `- book:dune#holder@reader:zoe  by key:app for ann\x1b  (on leave\x0a)`; got != want {
		t.Errorf("watch shows %s, want %s", got, want)
	}
}

// Every kind has words of its own.
func TestEveryKindOfChangeIsTold(t *testing.T) {
	seen := map[string]string{}
	w := &auditing{}
	for n, name := range remitv1.AuditChange_Kind_name {
		text := w.what(&remitv1.AuditChange{Kind: remitv1.AuditChange_Kind(n), Tuple: &remitv1.Tuple{Object: "a:b", Relation: "c", Subject: "d:e"}, Text: "text", Subject: "subject"})
		if strings.HasPrefix(name, "KIND_PRINCIPAL") {
			text = name // its text tells
		}
		if other, ok := seen[text]; ok {
			t.Errorf("%s and %s are both told as %s", name, other, text)
		}
		seen[text] = name
	}
}
