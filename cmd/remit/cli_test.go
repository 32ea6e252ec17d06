package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/remit-authz/remit/cmd/remit/server"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// startServer runs a real node with its ports open, and points the environment at it.
func startServer(t *testing.T, change ...func(*server.Config)) *server.Server {
	t.Helper()
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN", "REMIT_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	config := server.Config{DataDir: t.TempDir(), Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"}
	for _, f := range change {
		f(&config)
	}
	s, err := server.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	t.Setenv("REMIT_ADDR", s.Addr())
	go func() { served <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// must runs a command that has to succeed, and gives what it prints.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, status := remit(t, args...)
	if status != exitYes {
		t.Fatalf("remit %s: status %d\n%s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

// refused runs a command that has to fail with a message.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	out, errs, status := remit(t, args...)
	if status != exitError || !strings.Contains(errs, want) || !strings.Contains("\n"+errs, "\nremit: ") {
		t.Errorf("remit %s: status %d\n%s%s\nwant status %d and: %s", strings.Join(args, " "), status, out, errs, exitError, want)
	}
}

func TestImportAskChangeExport(t *testing.T) {
	startServer(t)
	const file = "testdata/stores/blocklist.fga.yaml"
	if out := must(t, "store", "import", file); !strings.Contains(out, "store chat (") || !strings.Contains(out, "9 tuples written, model ") {
		t.Errorf("import says %q", out)
	}
	refused(t, "a store named chat exists already; add to it with --into chat", "store", "import", file)
	must(t, "store", "import", file, "--into", "chat") // a repetition changes nothing

	answers := func(store string) string {
		var b strings.Builder
		for _, args := range [][]string{
			{"check", "member:bea", "speak", "channel:tea"},
			{"check", "channel:tea#speak@member:ana"},
			{"who", "reader", "channel:tea", "--kind", "member"},
			{"who", "channel:tea#blocked", "--kind", "circle#inside"},
			{"what", "member:bea", "reader", "channel"},
			{"can", "member:bea", "channel:tea"},
		} {
			fmt.Fprintf(&b, "%s\n%s", strings.Join(args, " "), must(t, append(args, "--store", store)...))
		}
		return b.String()
	}
	first := answers("chat")
	golden(t, "answers.golden", first)

	exported := must(t, "store", "export", "chat")
	golden(t, "export.golden", exported)
	copied := filepath.Join(t.TempDir(), "copy.fga.yaml")
	if err := os.WriteFile(copied, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "store", "import", copied, "--name", "copy")
	if again := answers("copy"); again != first {
		t.Errorf("an imported export answers\n%s\nwant\n%s", again, first)
	}
	if again := must(t, "store", "export", "copy"); strings.TrimPrefix(again, "name: copy\n") != strings.TrimPrefix(exported, "name: chat\n") {
		t.Errorf("an export of the import is\n%s\nwant\n%s", again, exported)
	}

	must(t, "delete", "channel:tea#blocked@circle:loud#inside", "--store", "copy", "--reason", "peace")
	must(t, "write", "member:cyd", "writer", "channel:tea", "--store", "copy", "--if-absent", "channel:tea#blocked@circle:loud#inside")
	if out := must(t, "check", "member:cyd", "speak", "channel:tea", "-s", "copy"); out != "allowed\n" {
		t.Errorf("after the change, check says %q", out)
	}
	must(t, "store", "delete", "copy", "--yes")
	refused(t, "nope", "check", "member:cyd", "speak", "channel:tea", "-s", "nope")
}

func TestAnswersSetTheStatusOnlyIfAsked(t *testing.T) {
	startServer(t)
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	for _, test := range []struct {
		args   []string
		out    string
		status int
	}{
		{[]string{"check", "reader:ida", "can_return", "book:dune"}, "allowed\n", exitYes},
		{[]string{"check", "reader:ida", "can_extend", "book:dune"}, "denied\n", exitYes},
		{[]string{"check", "reader:ida", "can_return", "book:dune", "--exit-code"}, "allowed\n", exitYes},
		{[]string{"check", "reader:ida", "can_extend", "book:dune", "--exit-code"}, "denied\n", exitNo},
		{[]string{"check", "reader:ida", "can_fly", "book:dune", "--exit-code"}, "", exitError},
		{[]string{"check", "reader:zoe", "holder", "book:dune", "--with", "book:dune#holder@reader:zoe"}, "allowed\n", exitYes},
		{[]string{"batch", "book:dune#holder@reader:ida", "book:dune#holder@reader:ben"}, "allowed  reader:ida holder book:dune\ndenied   reader:ben holder book:dune\n", exitYes},
		{[]string{"batch", "book:dune#holder@reader:ben", "--exit-code"}, "denied   reader:ben holder book:dune\n", exitNo},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			out, errs, status := remit(t, test.args...)
			if out != test.out || status != test.status {
				t.Errorf("status %d, stdout %q, stderr %q; want %d and %q", status, out, errs, test.status, test.out)
			}
		})
	}
}

func TestBatchReadsEveryFormat(t *testing.T) {
	startServer(t)
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	const want = "allowed  reader:ida holder book:dune\ndenied   reader:ben holder book:dune\n"
	for name, test := range map[string]struct{ stdin, format string }{
		"text":  {"# who holds it?\nreader:ida holder book:dune\n\nbook:dune#holder@reader:ben\n", "text"},
		"jsonl": {`{"user":"reader:ida","relation":"holder","object":"book:dune"}` + "\n" + `{"subject":"reader:ben","relation":"holder","object":"book:dune","context":{"x":1}}`, ""},
		"csv":   {"object,subject,relation\nbook:dune,reader:ida,holder\nbook:dune,reader:ben,holder\n", "csv"},
	} {
		t.Run(name, func(t *testing.T) {
			out, errs, status := remitWith(t, test.stdin, "batch", "--file", "-", "--format", test.format)
			if status != exitYes || out != want {
				t.Errorf("status %d, stdout %q, stderr %q; want %q", status, out, errs, want)
			}
		})
	}
}

func TestWriteReadsFilesAndReadPrintsThem(t *testing.T) {
	startServer(t)
	must(t, "store", "create", "gates")
	must(t, "model", "write", "testdata/stores/network.fga.yaml")
	must(t, "write", "--file", "testdata/stores/network.csv")
	must(t, "write", "office:rome#staff@clerk:pio", "--condition", "inside", "--context", `{"net":"10.9.0.0/16"}`, "--until", "2999-01-01T00:00:00Z")
	golden(t, "read.golden", must(t, "read", "--object", "office"))
	if out := must(t, "check", "clerk:pio", "staff", "office:rome", "--context", `{"ip":"10.9.1.1"}`); out != "allowed\n" {
		t.Errorf("check in the network says %q", out)
	}
	if out := must(t, "check", "clerk:pio", "staff", "office:rome", "--context", `{"ip":"10.9.1.1"}`, "--at", "2999-01-01T00:00:00Z"); out != "denied\n" {
		t.Errorf("check after the tuple has expired says %q", out)
	}
	out, _, _ := remitWith(t, "- {user: 'clerk:lu', relation: staff, object: 'office:rome'}\n", "delete", "--file", "-")
	if out != "1 tuple deleted\n" {
		t.Errorf("delete says %q", out)
	}
	var read struct {
		Tuples []struct {
			Tuple struct{ Object, Subject string }
		}
	}
	if err := json.Unmarshal([]byte(must(t, "read", "-o", "json")), &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Tuples) != 2 {
		t.Errorf("%d tuples are left, want 2", len(read.Tuples))
	}
}

func TestModelsAreWrittenShownAndCompared(t *testing.T) {
	startServer(t)
	must(t, "store", "create", "m")
	must(t, "model", "write", "testdata/stores/modular/fga.mod")
	if out := must(t, "model", "write", "testdata/stores/modular/fga.mod"); !strings.Contains(out, "nothing written") {
		t.Errorf("the same model again: %q", out)
	}
	golden(t, "model.golden", must(t, "model", "show"))
	if out := must(t, "model", "diff", "testdata/stores/modular/fga.mod"); out != "the models mean the same\n" {
		t.Errorf("diff with itself says %q", out)
	}
	golden(t, "diff.golden", must(t, "model", "diff", "testdata/stores/roles.fga"))
	if out := must(t, "model", "validate", "testdata/stores/roles.fga", "testdata/stores/modular/fga.mod"); strings.Count(out, "is valid") != 2 {
		t.Errorf("validate says %q", out)
	}
	if lines := strings.Count(must(t, "model", "list"), "\n"); lines != 2 {
		t.Errorf("model list has %d lines, want 2", lines)
	}
}

func TestAWrongFileChangesNothing(t *testing.T) {
	startServer(t)
	if _, errs, status := remit(t, "store", "import", "testdata/failing/broken.fga.yaml"); status != exitError || !strings.Contains(errs, "broken.fga.yaml:8:28: ") {
		t.Errorf("status %d, stderr %q", status, errs)
	}
	if out := must(t, "store", "list", "-o", "json"); strings.Contains(out, "broken") {
		t.Errorf("stores after a refused import: %s", out)
	}
}

func TestErrorsAreSentences(t *testing.T) {
	startServer(t)
	refused(t, `the server has no store yet; make one with "remit store create NAME"`, "check", "user:a", "b", "c:d")
	must(t, "store", "import", "testdata/stores/time.fga.yaml")
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	refused(t, "say which store with --store or REMIT_STORE; the server has visits, library", "check", "user:a", "b", "c:d")
	t.Setenv("REMIT_STORE", "visits")
	refused(t, `--context '{"today": …}'`, "check", "guest:quy", "invited", "room:7")
	refused(t, `subject "user": the model has no such type`, "check", "user:a", "invited", "room:7")
	refused(t, "remit: room:7#booked@guest:pia: subject \"guest:pia\": room#booked takes", "write", "room:7#booked@guest:pia", "--create")
	refused(t, "use --at instead", "check", "guest:quy", "invited", "room:7", "--context", `{"now": "2026-01-01T00:00:00Z"}`)
	refused(t, "remit: --depth: must be", "expand", "room:7", "booked", "--depth", "99")
	refused(t, `remit: --kind "user": the model has no such type; allowed: guest, room`, "who", "booked", "room:7")
	refused(t, `"tomorrow" is no instant; write it with its zone`, "check", "guest:quy", "invited", "room:7", "--at", "tomorrow")
	refused(t, "--consistency", "check", "guest:quy", "invited", "room:7", "--consistency", "soon")
	refused(t, "there is nobody to ask; confirm with --yes", "store", "delete", "visits")
	refused(t, "expected SUBJECT RELATION TYPE, got 1 argument", "what", "guest:quy")
	refused(t, `"http://" is no address`, "store", "list", "--addr", "http://")
	refused(t, `no server answers at http://127.0.0.1:1; start one with "remit serve"`, "store", "list", "--addr", "127.0.0.1:1")
}

func TestNamesOfStoresDoNotSteerTheTerminal(t *testing.T) {
	startServer(t)
	if out := must(t, "store", "create", "red\x1b[31m"); !strings.HasPrefix(out, `store red\x1b[31m created`) {
		t.Errorf("a name with a character of control is shown as %q", out)
	}
	if out := must(t, "store", "list"); !strings.Contains(out, `red\x1b[31m `) {
		t.Errorf("a name with a character of control is listed as %q", out)
	}
}

func TestWhatWouldSurpriseIsRefused(t *testing.T) {
	s := startServer(t)
	must(t, "store", "create", "library")
	refused(t, "a store named library exists already", "store", "create", "library")
	refused(t, "a store's name cannot be empty", "store", "create", "")
	refused(t, "--into adds to a store that exists", "store", "import", "testdata/stores/direct.fga.yaml", "--store", "library")
	refused(t, "testdata/stores: a folder, not a file", "store", "import", "testdata/stores")
	refused(t, "unknown flag: --bogus; see remit check --help", "check", "--bogus")
	refused(t, "unknown command \"chek\" for \"remit\"\n\nDid you mean this?\n\tcheck", "chek", "a", "b", "c")

	// Two stores of a name can only be made by the API.
	stores := remitv1connect.NewStoreServiceClient(connect.NewClient(connecthttp.NewTransport(http.DefaultClient, "http://"+s.Addr())))
	if _, err := stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: "library"}); err != nil {
		t.Fatal(err)
	}
	refused(t, "several stores bear this name", "check", "user:a", "b", "c:d", "--store", "library")
	refused(t, "say which store with --store or REMIT_STORE; the server has library, library", "check", "user:a", "b", "c:d")
}

func TestAnotherServerIsTold(t *testing.T) {
	s := startServer(t)
	refused(t, "remit: the server at http://"+s.GRPCAddr(), "store", "list", "--addr", s.GRPCAddr())
	for status, want := range map[int]string{
		http.StatusNotFound:       "it is another version, or no Remit server",
		http.StatusNotImplemented: "remit: the server at http://",
		http.StatusBadGateway:     "remit: the server at http://",
	} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "what?", status) }))
		refused(t, want, "store", "list", "--addr", other.URL)
		other.Close()
	}
}

func TestFaultsStandInTheOrderOfTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mixed.fga.yaml")
	text := "model: |\n  model\n    schema 1.1\n  type user\n  type doc\n    relations\n      define owner: [user]\ntuples:\n" +
		"  - {user: 'group:a', relation: owner, object: 'doc:1'}\n  - {user: 'user:a', relation: owner, object: doc}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, status := remit(t, "store", "import", name)
	first, second, _ := strings.Cut(strings.TrimSpace(errs), "\n")
	if status != exitError || !strings.Contains(first, "mixed.fga.yaml:9:") || !strings.Contains(second, "mixed.fga.yaml:10:") {
		t.Errorf("status %d, stderr %q", status, errs)
	}
}

func TestStoreNamesAreCompleted(t *testing.T) {
	startServer(t)
	must(t, "store", "create", "shop")
	must(t, "store", "create", "shelter")
	must(t, "store", "create", "bank")
	out := must(t, "__complete", "check", "--store", "sh")
	if want := "shop\nshelter\n"; !strings.HasPrefix(out, want) {
		t.Errorf("completions %q, want them to begin with %q", out, want)
	}
}

// visitorsFile is a store file of so many tuples.
func visitorsFile(t *testing.T, n int) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("user_type,user_id,relation,object_type,object_id\n")
	for i := range n {
		fmt.Fprintf(&b, "visitor,v%d,open_to,hall,h%d\n", i, i%7)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "many.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "name: many\nmodel: |\n  model\n    schema 1.1\n  type visitor\n  type hall\n    relations\n      define open_to: [visitor]\ntuple_file: many.csv\n"
	file := filepath.Join(dir, "many.fga.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLargeImportsAreWrittenInSteps(t *testing.T) {
	startServer(t)
	const n = maxOperations + 17
	out, errs, status := remit(t, "store", "import", visitorsFile(t, n))
	if status != exitYes || !strings.Contains(out, "10,017 tuples written") || !strings.Contains(errs, "10,017 of 10,017 tuples written") {
		t.Fatalf("status %d, stdout %q, stderr %q", status, out, errs)
	}
	if lines := strings.Count(must(t, "who", "open_to", "hall:h0", "--kind", "visitor"), "\n"); lines != (n+6)/7 {
		t.Errorf("%d visitors of hall:h0, want %d", lines, (n+6)/7)
	}
}

// An import into a store with a rate comes as it is told to: whether its first message finds a
// bucket from which the model has just been paid, or the others one that is empty.
func TestImportsWaitForTheirRate(t *testing.T) {
	for _, test := range []struct{ rate, messages int }{{10, 1}, {20_000, 3}} {
		t.Run(fmt.Sprintf("%d a second", test.rate), func(t *testing.T) {
			startServer(t, func(c *server.Config) {
				c.Limits.RatePerStore, c.Limits.BurstPerStore = test.rate, messageTuples
			})
			out, errs, status := remit(t, "store", "import", visitorsFile(t, test.messages*messageTuples))
			if want := thousands(test.messages*messageTuples) + " tuples written"; status != exitYes || !strings.Contains(out, want) {
				t.Fatalf("status %d, stdout %q, stderr %q", status, out, errs)
			}
		})
	}
}

func TestASecondServerIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := server.Open(t.Context(), server.Config{DataDir: dir, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, fmt.Sprintf("another remit (process %d) serves %s", os.Getpid(), dir), "serve", "--data-dir", dir, "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDemoShowsDecisions(t *testing.T) {
	dir := t.TempDir()
	first := must(t, "demo", "--once", "--data-dir", dir)
	for _, want := range []string{
		"loaded organisation acme: 33 entities, 131 tuples, written in one change",
		"allowed  rob edit deal:orion",
		`"Sam" is superior to the owner, "Rob": role "Sales" stands above role "EMEA rep"`,
		`rule "EMEA to deal desk" shares deals`,
		"denied  noa view deal:orion",
		"deal:atlas is secret",
		`the seat of "Eve" is suspended`,
		"denied  kim view account:aurora",
		"allowed  kim view account:aurora",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("the demo does not show %q:\n%s", want, first)
		}
	}
	if strings.Contains(first, "\x1b") {
		t.Error("the demo colours what is no terminal")
	}
	second := must(t, "demo", "--once", "--data-dir", dir)
	if !strings.Contains(second, "acme is loaded already") {
		t.Errorf("the second demo loads anew:\n%s", second)
	}
	_, decisions, _ := strings.Cut(first, "\n\n")
	if _, again, _ := strings.Cut(second, "\n\n"); again != decisions {
		t.Error("the second demo decides otherwise than the first")
	}
}

func TestATakenPortIsTold(t *testing.T) {
	s := startServer(t)
	dir := filepath.Join(t.TempDir(), "new")
	refused(t, "choose another, or stop who has it", "serve", "--data-dir", dir, "--addr", s.Addr(), "--grpc-addr", "127.0.0.1:0")
	refused(t, `addr "nowhere" is not host:port`, "serve", "--data-dir", dir, "--addr", "nowhere")
	refused(t, "invalid port", "serve", "--data-dir", dir, "--addr", "127.0.0.1:99999")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a server that could not listen has opened its data: %v", err)
	}
}

func TestServeReadsTheEnvironment(t *testing.T) {
	for name, test := range map[string]struct{ value, want string }{
		"REMIT_ADDR":       {"https://remit.example", `REMIT_ADDR="https://remit.example" is no HOST:PORT to listen on; give --addr`},
		"REMIT_LOG_FORMAT": {"xml", "REMIT_LOG_FORMAT=xml is unknown; it is text or json"},
		"REMIT_LOG_LEVEL":  {"loud", "REMIT_LOG_LEVEL=loud is unknown; it is debug, info, warn or error"},
		"REMIT_GRPC_ADDR":  {"0.0.0.0:0", "can be reached from outside"},
		"REMIT_INSECURE":   {"perhaps", `REMIT_INSECURE is "perhaps", want true or false`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, test.value)
			t.Setenv("REMIT_DATA_DIR", t.TempDir())
			refused(t, test.want, "serve", "--data-dir", t.TempDir())
		})
	}
}
