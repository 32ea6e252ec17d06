package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// blocks are the texts between fences in the README that are marked with a language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllSubmatch(text, -1) {
		found = append(found, string(m[1]))
	}
	if len(found) == 0 {
		t.Fatalf("the README holds no %s", language)
	}
	return found
}

// likeShown turns what the README shows into a pattern: … stands for anything.
func likeShown(text string) *regexp.Regexp {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(text)), "…", "(?s:.*)")
	return regexp.MustCompile("^" + pattern + "$")
}

// acme runs a server with the example organisation.
func acme(t *testing.T) *process {
	t.Helper()
	p := serveProcess(t, t.TempDir())
	must(t, "org", "apply", "demo/acme.org.yaml", "--create", "--yes", "--store", "acme", "--addr", p.addr)
	return p
}

func TestReadmeShowsWhatIsPrinted(t *testing.T) {
	p := acme(t)
	for _, block := range blocks(t, "console") {
		command, shown, _ := strings.Cut(block, "\n")
		args, ok := strings.CutPrefix(command, "$ remit ")
		if !ok {
			continue // curl, which not everybody has: see below
		}
		out := must(t, append(strings.Fields(args), "--addr", p.addr)...)
		if !likeShown(shown).MatchString(strings.TrimSpace(out)) {
			t.Errorf("%s\nprints\n%s\nthe README shows\n%s", command, out, shown)
		}
	}
}

func TestReadmeCommandsWorkAsTheyStand(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "shop.fga.yaml"), []byte(blocks(t, "yaml")[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "remit")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "cmd/remit/demo"), os.DirFS("demo")); err != nil {
		t.Fatal(err)
	}
	p := serveProcess(t, filepath.Join(dir, "data")) // instead of the README's own, whose ports may be taken
	demo := acme(t)
	for line := range strings.Lines(strings.Join(blocks(t, "sh"), "")) {
		if !strings.HasPrefix(line, "remit ") || strings.HasPrefix(line, "remit serve ") {
			continue
		}
		addr := p.addr
		if strings.HasPrefix(line, "remit org ") {
			addr = demo.addr
		}
		shell := exec.Command("sh", "-c", line)
		shell.Dir = dir
		shell.Env = append(os.Environ(), asRemit+"=1", "REMIT_ADDR="+addr, "REMIT_STORE=", "PATH="+dir+":"+os.Getenv("PATH"))
		if out, err := shell.CombinedOutput(); err != nil {
			t.Errorf("%s%v\n%s", line, err, out)
		}
	}
	exported, err := os.ReadFile(filepath.Join(dir, "copy.fga.yaml"))
	if err != nil || !bytes.Contains(exported, []byte("user:carl")) {
		t.Errorf("the export is %q, %v", exported, err)
	}
}

func TestReadmeAsksByCurl(t *testing.T) {
	p := acme(t)
	parts := regexp.MustCompile(`(?s)\$ curl -s http://127.0.0.1:8080(\S+) .*?-d '(.*?)'\n(.*)`).FindStringSubmatch(strings.Join(blocks(t, "console"), ""))
	if parts == nil {
		t.Fatal("the README calls no curl")
	}
	answer, err := http.Post("http://"+p.addr+parts[1], "application/json", strings.NewReader(parts[2]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var whole json.RawMessage
	if err := json.NewDecoder(answer.Body).Decode(&whole); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Compact(&got, whole); err != nil { // its white space varies on purpose
		t.Fatal(err)
	}
	if !likeShown(parts[3]).Match(got.Bytes()) {
		t.Errorf("curl prints %s, the README shows %s", &got, parts[3])
	}
}

// askFromGo is the README's example, word for word: the next test compares.
func askFromGo(ctx context.Context, addrs []string, key client.Credentials) (allowed bool, deals []string, err error) {
	c, err := client.New(client.Config{Addrs: addrs, Credentials: key})
	if err != nil {
		return false, nil, err
	}
	defer c.Close()

	answer, err := c.Access.Check(ctx, &remitv1.CheckRequest{
		Scope:    &remitv1.Scope{Store: "acme"},
		Question: &remitv1.Question{Object: "deal:orion", Relation: "can_view", Subject: "user:sam"},
	})
	if err != nil {
		return false, nil, err
	}

	for id, err := range c.Objects(ctx, &remitv1.ListObjectsRequest{
		Scope: &remitv1.Scope{Store: "acme"}, Type: "deal", Relation: "can_view", Subject: "user:sam",
	}) {
		if err != nil {
			return false, nil, err
		}
		deals = append(deals, id)
	}
	return answer.GetAllowed(), deals, nil
}

func TestReadmeAsksByGo(t *testing.T) {
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks(t, "go") {
		for line := range strings.Lines(block) {
			if !bytes.Contains(source, []byte(line)) {
				t.Errorf("the README's example says what is not compiled here: %s", line)
			}
		}
	}
	p := acme(t)
	allowed, deals, err := askFromGo(t.Context(), []string{p.addr}, client.Key("nobody asks for one here"))
	if err != nil || !allowed || !slices.Contains(deals, "orion") {
		t.Errorf("the README's example answers %v, %v, %v", allowed, deals, err)
	}
}
