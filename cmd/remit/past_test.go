package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// asOf reads what an answer was judged by.
func asOf(t *testing.T, output string) (revision, at, token string) {
	t.Helper()
	var answer struct {
		Token string
		AsOf  struct{ Revision, At string }
	}
	if err := json.Unmarshal([]byte(output), &answer); err != nil {
		t.Fatalf("%v in %s", err, output)
	}
	return answer.AsOf.Revision, answer.AsOf.At, answer.Token
}

// Every query takes every form of a moment.
func TestQueriesOfThePast(t *testing.T) {
	t.Setenv("TZ", "")
	startServer(t)
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	_, _, token := asOf(t, must(t, "read", "-o", "json"))
	revision, instant, _ := asOf(t, must(t, "check", "reader:ida", "holder", "book:dune", "-o", "json", "--as-of", token))
	if revision == "" || instant == "" {
		t.Fatalf("an answer of the past is of revision %q, instant %q", revision, instant)
	}
	then, err := time.Parse(time.RFC3339Nano, instant)
	if err != nil {
		t.Fatal(err)
	}
	for now := time.Now(); !now.After(then.Add(time.Millisecond)); now = time.Now() { // the leader's clock has milliseconds
	}
	must(t, "delete", "book:dune#holder@reader:ida")
	for _, moment := range []string{token, revision, instant, then.Local().Format("2006-01-02 15:04:05.999")} {
		for _, q := range []struct {
			args []string
			want string
		}{
			{[]string{"check", "reader:ida", "holder", "book:dune"}, "allowed"},
			{[]string{"batch", "book:dune#holder@reader:ida"}, "allowed"},
			{[]string{"what", "reader:ida", "holder", "book"}, "book:dune"},
			{[]string{"who", "holder", "book:dune", "--kind", "reader"}, "reader:ida"},
			{[]string{"can", "reader:ida", "book:dune"}, "can_return"},
			{[]string{"explain", "reader:ida", "holder", "book:dune"}, "allowed"},
			{[]string{"expand", "book:dune#holder"}, "reader:ida"},
			{[]string{"read", "--object", "book:dune"}, "book:dune#holder@reader:ida"},
		} {
			args := append(q.args, "--as-of", moment)
			if out := must(t, args...); !strings.Contains(out, q.want) {
				t.Errorf("remit %s says %q, want %q", strings.Join(args, " "), out, q.want)
			}
			if out := must(t, q.args...); strings.Contains(out, q.want) {
				t.Errorf("remit %s says %q of the newest state", strings.Join(q.args, " "), out)
			}
		}
	}
	for moment, want := range map[string]string{
		"yesterday":            `--as-of: "yesterday" is no instant such as 2026-03-03T22:00Z`,
		"0":                    "--as-of: 0 is no revision; they count from 1",
		"99999999999999999999": "is no revision",
		"1":                    "the store did not exist yet: the earliest that can be asked about is revision",
		"2001-01-01":           "the store did not exist yet: the earliest that can be asked about is revision",
		"3h":                   "the store did not exist yet",
		"99999999":             "--as-of: it lies in the future: the newest revision is",
		"2999-01-01":           "--as-of: it lies in the future of",
		token + "x":            "is no instant",
	} {
		refused(t, want, "check", "reader:ida", "holder", "book:dune", "--as-of", moment)
	}
	refused(t, "--as-of names an exact state", "read", "--as-of", token, "--consistency", "fully_consistent")
}

func TestRetentionOfAStore(t *testing.T) {
	startServer(t)
	must(t, "store", "create", "shop")
	shown := must(t, "store", "get", "shop")
	if !regexp.MustCompile(`(?m)^retention +30d\nearliest +\S+, revision \d+$`).MatchString(shown) {
		t.Errorf("store get says\n%s", shown)
	}
	if out := must(t, "store", "set-retention", "shop", "forever"); out != "store shop keeps its past: forever\n" {
		t.Errorf("set-retention says %q", out)
	}
	refused(t, "confirm with --yes", "store", "set-retention", "shop", "90d")
	if out := must(t, "store", "set-retention", "shop", "36h30m", "--yes"); out != "store shop keeps its past: 36h30m0s\n" {
		t.Errorf("set-retention says %q", out)
	}
	must(t, "store", "set-retention", "shop", "90d") // longer: nothing to ask
	refused(t, `"a while" is no period; write it as 90d, 36h or 1h30m, or forever`, "store", "set-retention", "shop", "a while")
	refused(t, "retention", "store", "set-retention", "shop", "1s", "--yes")
	refused(t, "nobody", "store", "set-retention", "nobody", "90d")
}

func TestDiffAccess(t *testing.T) {
	startServer(t)
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	revision, _, _ := asOf(t, must(t, "read", "-o", "json", "--as-of", newestToken(t)))
	must(t, "write", "reader:zoe", "holder", "book:dune")
	must(t, "delete", "book:emma#librarian@reader:ben", "--reason", "on leave")

	lines := func(args ...string) string {
		out := must(t, append([]string{"diff-access"}, append(args, "--from", revision)...)...)
		return regexp.MustCompile(` +`).ReplaceAllString(regexp.MustCompile(` +20\S+Z`).ReplaceAllString(out, ""), " ")
	}
	for _, tt := range []struct{ name, got, want string }{
		{"an object", lines("book:dune", "--kind", "reader"), `+ reader:zoe can_return book:dune: +book:dune#holder@reader:zoe
+ reader:zoe holder book:dune: +book:dune#holder@reader:zoe
`},
		{"a subject", lines("reader:ben"), `- reader:ben can_extend book:emma: -book:emma#librarian@reader:ben (on leave)
- reader:ben librarian book:emma: -book:emma#librarian@reader:ben (on leave)
`},
		{"one relation of one type", lines("reader:ben", "--type", "book", "--relation", "can_extend"), "- reader:ben can_extend book:emma: -book:emma#librarian@reader:ben (on leave)\n"},
		{"nothing", lines("reader:ida"), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, tt.got, tt.want)
		}
	}
	var answer struct {
		Complete    bool
		From, To    struct{ Revision string }
		Differences []struct {
			Kind, Subject, Relation, Object string
			Cause                           struct{ Revision string }
		}
	}
	out, errs, status := remit(t, "diff-access", "reader:ben", "--from", revision, "--limit", "1", "-o", "json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil || status != exitYes {
		t.Fatal(err, out, errs)
	}
	if answer.Complete || len(answer.Differences) != 1 || answer.From.Revision != revision || answer.Differences[0].Kind != remitv1.AccessDifference_KIND_LOST.String() ||
		answer.Differences[0].Subject != "reader:ben" || answer.Differences[0].Object != "book:emma" || !strings.Contains(errs, "more than 1") {
		t.Errorf("diff-access says %s%s", out, errs)
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{`required flag(s) "from" not set`, []string{"reader:ben"}},
		{`--from: "x" is no instant`, []string{"reader:ben", "--from", "x"}},
		{`--to: "x" is no instant`, []string{"reader:ben", "--from", revision, "--to", "x"}},
		{"lies before the earlier one", []string{"reader:ben", "--from", answer.Differences[0].Cause.Revision, "--to", revision}},
		{"it lies in the future", []string{"reader:ben", "--from", "99999999"}},
		{"did not exist yet", []string{"reader:ben", "--from", "1"}},
		{"the model has no type deal", []string{"reader:ben", "--from", revision, "--type", "deal"}},
		{"the model has no type deal", []string{"deal:ben", "--from", revision}},
		{"give one of them", []string{"reader:ben", "--from", revision, "--type", "book", "--kind", "reader"}},
		{"the model has no relation reads of or to reader:ben", []string{"reader:ben", "--from", revision, "--relation", "reads"}},
	} {
		refused(t, tt.want, append([]string{"diff-access"}, tt.args...)...)
	}
}

// newestToken is the token of the newest state.
func newestToken(t *testing.T) string {
	t.Helper()
	_, _, token := asOf(t, must(t, "read", "-o", "json"))
	return token
}

func TestCausesInALine(t *testing.T) {
	for want, c := range map[string]*remitv1.AccessCause{
		"unknown: too much was changed in between, or it could not be decided": {Kind: remitv1.AccessCause_KIND_UNKNOWN},
		"1970-01-01T00:00:00Z by key for anna: +d:1#r@u:2 and more (why); it may have come and gone since": {
			Kind: remitv1.AccessCause_KIND_TUPLES, Actor: "anna", Principal: "key", Reason: "why", MoreChanges: true, PerhapsNotLast: true,
			Changes: []*remitv1.TupleChange{{Kind: remitv1.TupleChange_KIND_ADD, Tuple: &remitv1.Tuple{Object: "d:1", Relation: "r", Subject: "u:2"}}},
		},
		"1970-01-01T00:00:00Z: by time alone":             {Kind: remitv1.AccessCause_KIND_TIME},
		`1970-01-01T00:00:00Z by key: model 01 (why\x1b)`: {Kind: remitv1.AccessCause_KIND_MODEL, ModelId: "01", Principal: "key", Reason: "why\x1b"},
	} {
		if got := causeText(c); got != want {
			t.Errorf("causeText(%v) = %q, want %q", c, got, want)
		}
	}
}
