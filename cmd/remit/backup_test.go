package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// serveDir runs a node on a data directory until stop, and points the environment at it.
func serveDir(t *testing.T, dir string) (s *server.Server, stop func()) {
	t.Helper()
	s, err := server.Open(t.Context(), server.Config{DataDir: dir, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	t.Setenv("REMIT_ADDR", s.Addr())
	go func() { served <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func nodeOf(t *testing.T) *remitv1.GetNodeResponse {
	t.Helper()
	c, err := (&app{}).client()
	if err != nil {
		t.Fatal(err)
	}
	node, err := c.node.GetNode(t.Context(), &remitv1.GetNodeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func TestBackupWipeRestoreGivesTheSameAnswers(t *testing.T) {
	for _, name := range []string{"REMIT_STORE", "REMIT_TOKEN", "REMIT_DATA_DIR"} {
		t.Setenv(name, "")
	}
	data, folder := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backups")
	s, stop := serveDir(t, data)
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	must(t, "store", "import", "testdata/stores/public.fga.yaml")
	must(t, "delete", "channel:tea#blocked@circle:loud#inside", "--store", "chat")
	revisions := map[string]string{} // by store, a token of a state before the last change
	for _, store := range []string{"chat", "museum"} {
		var written struct{ Token string }
		out := must(t, "write", "member:cyd", "reader", "channel:tea", "--store", "chat", "-o", "json")
		if err := json.Unmarshal([]byte(out), &written); err != nil {
			t.Fatal(err)
		}
		revisions[store] = written.Token
	}
	answers := func() string {
		var b strings.Builder
		for _, args := range [][]string{
			{"store", "list"},
			{"store", "export", "chat"},
			{"store", "export", "museum"},
			{"model", "list", "--store", "chat"},
			{"check", "member:bea", "speak", "channel:tea", "--store", "chat", "--explain"},
			{"who", "reader", "channel:tea", "--kind", "member", "--store", "chat"},
			{"who", "channel:tea#blocked", "--kind", "circle#inside", "--store", "chat"},
			{"what", "member:bea", "reader", "channel", "--store", "chat"},
			{"can", "member:bea", "channel:tea", "--store", "chat"},
			{"who", "can_visit", "hall:west", "--kind", "visitor", "--store", "museum"},
			{"read", "--store", "chat", "-o", "json"},
		} {
			out := must(t, args...)
			if i := strings.Index(out, `"token"`); i >= 0 { // names the epoch
				out = out[:i]
			}
			fmt.Fprintf(&b, "%s\n%s", strings.Join(args, " "), out)
		}
		return b.String()
	}
	want, before := answers(), nodeOf(t)
	continuation := changesOf(t, s.Addr(), "chat", "")

	var saved savedBackup
	if err := json.Unmarshal([]byte(must(t, "backup", "save", folder, "-o", "json")), &saved); err != nil {
		t.Fatal(err)
	}
	if saved.Revision != before.GetRevision() || saved.NewBytes != saved.Bytes {
		t.Errorf("saved %+v, the node was at %d", saved, before.GetRevision())
	}
	must(t, "write", "member:dee", "reader", "channel:tea", "--store", "chat")
	lost := changesOf(t, s.Addr(), "chat", continuation)
	if out := must(t, "backup", "verify", folder); !strings.Contains(out, "backup "+saved.Backup+" is whole") {
		t.Errorf("verify says %q", out)
	}
	stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}

	out := must(t, "backup", "restore", folder, "--data-dir", data)
	if !strings.Contains(out, "backup "+saved.Backup+" restored to "+data) || !strings.Contains(out, "remit serve --data-dir "+data) {
		t.Errorf("restore says %q", out)
	}
	s, stop = serveDir(t, data)
	if got := answers(); got != want {
		t.Errorf("after the restore:\n%s\nwant\n%s", got, want)
	}
	after := nodeOf(t)
	if after.GetEpoch() == before.GetEpoch() || after.GetNodeId() == before.GetNodeId() || after.GetRevision() <= before.GetRevision() {
		t.Errorf("the restored node is %v, the old one was %v", after, before)
	}
	// What clients have kept.
	refused(t, "the token is from before the cluster was restored", "check", "member:cyd", "reader", "channel:tea",
		"--store", "chat", "--consistency", "at_exact_snapshot="+revisions["museum"])
	if out := must(t, "check", "member:cyd", "reader", "channel:tea", "--store", "chat", "--consistency", "at_least_as_fresh="+revisions["museum"]); out != "allowed\n" {
		t.Errorf("with an old token, check says %q", out)
	}
	// Readers of changes go on by the time of the last one that they saw, be it lost or not.
	if answer := changes(t, s.Addr(), "chat", continuation); !strings.Contains(answer, "member:cyd") || strings.Contains(answer, "member:dee") || strings.Contains(answer, "member:ana") {
		t.Errorf("with an old continuation token, ReadChanges says %s", answer)
	}
	if answer := changes(t, s.Addr(), "chat", lost); !strings.Contains(answer, `"changes":[]`) {
		t.Errorf("with a continuation token behind a lost change, ReadChanges says %s", answer)
	}
	changesOf(t, s.Addr(), "chat", "") // from the beginning they can be read

	// The new history is saved beside the old one, and both stay what they are.
	must(t, "write", "member:eve", "reader", "channel:tea", "--store", "chat")
	must(t, "backup", "save", folder)
	if out := must(t, "backup", "verify", folder); !strings.Contains(out, "2 backups are whole") {
		t.Errorf("verify says %q", out)
	}
	stop()
	serveDir(t, data)
	if out := must(t, "check", "member:eve", "reader", "channel:tea", "--store", "chat"); out != "allowed\n" {
		t.Errorf("after a restart, check says %q", out)
	}
}

// changes asks OpenFGA's API for the changes of a store.
func changes(t *testing.T, addr, store, continuation string) string {
	t.Helper()
	c, err := (&app{addrs: []string{addr}}).client()
	if err != nil {
		t.Fatal(err)
	}
	found, err := c.stores.GetStore(t.Context(), &remitv1.GetStoreRequest{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		"http://"+addr+"/stores/"+found.GetStore().GetId()+"/changes?page_size=100&continuation_token="+continuation, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// changesOf reads changes, and gives where they end.
func changesOf(t *testing.T, addr, store, continuation string) string {
	t.Helper()
	answer := changes(t, addr, store, continuation)
	var page struct {
		Changes      []any
		Continuation string `json:"continuation_token"`
	}
	if err := json.Unmarshal([]byte(answer), &page); err != nil || len(page.Changes) == 0 || page.Continuation == "" {
		t.Fatalf("ReadChanges says %s: %v", answer, err)
	}
	return page.Continuation
}

func TestBackupsAreInspected(t *testing.T) {
	startServer(t)
	folder := filepath.Join(t.TempDir(), "backups")
	refused(t, "no such backup: there is no folder", "backup", "inspect", folder)
	refused(t, "no such backup", "backup", "verify", folder)
	refused(t, "no such backup", "backup", "restore", folder, "--data-dir", t.TempDir())
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	var names []string
	for range 3 {
		var saved savedBackup
		if err := json.Unmarshal([]byte(must(t, "backup", "save", folder, "-o", "json")), &saved); err != nil {
			t.Fatal(err)
		}
		names = append(names, saved.Backup)
		must(t, "store", "create", "s"+fmt.Sprint(len(names)))
	}
	list := must(t, "backup", "inspect", folder)
	for _, name := range names {
		if !strings.Contains(list, name) {
			t.Errorf("%s is not in the list\n%s", name, list)
		}
	}
	var content backupContent
	if err := json.Unmarshal([]byte(must(t, "backup", "inspect", folder, "latest", "--files", "-o", "json")), &content); err != nil {
		t.Fatal(err)
	}
	var stores []string
	for _, s := range content.Stores {
		stores = append(stores, fmt.Sprint(s.Name, " ", s.Tuples))
	}
	if content.Backup != names[2] || !slices.Equal(stores, []string{"chat 9", "s1 0", "s2 0"}) || len(content.FileList) != content.Files ||
		content.Epoch != nodeOf(t).GetEpoch() {
		t.Errorf("the newest holds %+v", content)
	}
	if out := must(t, "backup", "inspect", folder, names[0]+".backup"); !strings.Contains(out, "chat ") || strings.Contains(out, "s1") {
		t.Errorf("the first holds\n%s", out)
	}
	refused(t, "--files is for one backup", "backup", "inspect", folder, "--files")
	refused(t, `holds none named "then"`, "backup", "inspect", folder, "then")
	refused(t, `holds none named "then"`, "backup", "verify", folder, "then")
	refused(t, "--keep must be 1 at least", "backup", "save", folder, "--keep", "0")
	refused(t, "expected DIR, got 0 arguments", "backup", "save")
	refused(t, "expected DIR [NAME], got 0 arguments", "backup", "verify")

	out := must(t, "backup", "save", folder, "--keep", "2")
	if strings.Count(out, "removed\n") != 2 || !strings.Contains(out, "backup "+names[1]+" removed") {
		t.Errorf("a save that keeps two says %q", out)
	}
	must(t, "backup", "save", folder, "--full")
	must(t, "backup", "verify", folder, "latest")
	if out := must(t, "backup", "verify", folder); !strings.Contains(out, "3 backups are whole") {
		t.Errorf("verify says %q", out)
	}
	writer, err := fsm.OpenBackups(folder).Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "which somebody else may be saving to", "backup", "save", folder)
	if err := writer.Abort(); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedBackupsAreRefusedWithThePlace(t *testing.T) {
	startServer(t)
	folder := filepath.Join(t.TempDir(), "backups")
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	must(t, "backup", "save", folder)
	var files []string
	for _, pattern := range []string{"*.backup", "files/*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 4 {
		t.Fatalf("the folder holds only %v", files)
	}
	for _, file := range files {
		was, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(was)
		flipped[len(was)/3] ^= 0x10
		place, err := filepath.Rel(folder, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range [][]byte{flipped, was[:len(was)/2], nil} {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if bad == nil && strings.HasSuffix(file, ".backup") {
				bad = []byte{}
			}
			if bad != nil {
				if err := os.WriteFile(file, bad, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, errs, status := remit(t, "backup", "verify", folder)
			if status != exitNo || errs != "" || !strings.Contains(out, "damaged: "+place) {
				t.Errorf("%s of %d bytes: verify says %q, %q, status %d", place, len(bad), out, errs, status)
			}
			data := filepath.Join(t.TempDir(), "data")
			refused(t, place, "backup", "restore", folder, "--data-dir", data)
			if left, _ := filepath.Glob(filepath.Join(data, "*")); len(left) > 1 { // the lock's file may stay
				t.Errorf("%s: restore leaves %v", place, left)
			}
			if err := os.WriteFile(file, was, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	must(t, "backup", "verify", folder)
	if err := os.WriteFile(filepath.Join(folder, "files", "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, status := remit(t, "backup", "verify", folder)
	if status != exitNo || out != "damaged: files/notes: it belongs to no backup\n" {
		t.Errorf("with a foreign file, verify says %q, status %d", out, status)
	}
}

// A tap stands between a client and a server, and stops the flow of what the server says
// behind some bytes.
type tap struct {
	net.Listener
	server  string
	after   int64
	reached chan struct{} // closed then
	opened  chan struct{} // closed to let the connection end
}

func newTap(t *testing.T, server string, after int64) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{Listener: l, server: server, after: after, reached: make(chan struct{}), opened: make(chan struct{})}
	go p.run()
	t.Cleanup(func() { _ = l.Close() })
	return p
}

func (p *tap) run() {
	client, err := p.Accept()
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", p.server) //nolint:noctx // as above
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() { _, _ = io.Copy(server, client) }()
	_, _ = io.CopyN(client, server, p.after)
	close(p.reached)
	<-p.opened
}

// largeStore imports some megabytes.
func largeStore(t *testing.T, addr string) {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	b.WriteString("user_type,user_id,relation,object_type,object_id\n")
	for i := range 9000 {
		fmt.Fprintf(&b, "visitor,v%d%s,open_to,hall,h%d\n", i, strings.Repeat("x", 200), i%7)
	}
	if err := os.WriteFile(filepath.Join(dir, "many.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "name: many\nmodel: |\n  model\n    schema 1.1\n  type visitor\n  type hall\n    relations\n      define open_to: [visitor]\ntuple_file: many.csv\n"
	if err := os.WriteFile(filepath.Join(dir, "many.fga.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "store", "import", filepath.Join(dir, "many.fga.yaml"), "--addr", addr)
}

// savingProcess runs "remit backup save" as a process.
func savingProcess(t *testing.T, folder, addr string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "backup", "save", folder, "--addr", addr)
	cmd.Env = append(os.Environ(), asRemit+"=1")
	cmd.Stderr = new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func TestASaveThatIsKilledLeavesNoBackup(t *testing.T) {
	data := t.TempDir()
	p := serveProcess(t, data)
	largeStore(t, p.addr)
	folder := filepath.Join(t.TempDir(), "backups")
	incoming := filepath.Join(folder, "incoming")
	const part = 600 << 10

	wantNone := func(what string) {
		t.Helper()
		stored, err := fsm.OpenBackups(folder).List()
		if err != nil || len(stored) > 0 {
			t.Errorf("after %s the folder holds %v, %v", what, stored, err)
		}
	}
	// The client is killed: what it had got stays for the next save to remove.
	flow := newTap(t, p.addr, part)
	cmd := savingProcess(t, folder, flow.Addr().String())
	<-flow.reached
	awaitFile(t, incoming)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	close(flow.opened)
	wantNone("a kill of the client")
	refused(t, "holds none", "backup", "restore", folder, "--data-dir", t.TempDir())

	// It is interrupted: it removes that itself.
	flow = newTap(t, p.addr, part)
	cmd = savingProcess(t, folder, flow.Addr().String())
	<-flow.reached
	awaitFile(t, incoming)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	close(flow.opened)
	if cmd.ProcessState.ExitCode() != exitError {
		t.Errorf("an interrupted save ends with %s", cmd.ProcessState)
	}
	wantNone("an interrupt")
	if left, _ := filepath.Glob(filepath.Join(folder, "*", "*")); len(left) > 0 {
		t.Errorf("an interrupted save leaves %v", left)
	}

	// The server is killed.
	flow = newTap(t, p.addr, part)
	cmd = savingProcess(t, folder, flow.Addr().String())
	<-flow.reached
	awaitFile(t, incoming)
	held := filepath.Join(data, "state", "snapshots", "backup-*")
	if left, _ := filepath.Glob(held); len(left) == 0 {
		t.Error("the server holds nothing still, so its kill shows little")
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.ends(t)
	close(flow.opened)
	_ = cmd.Wait()
	if text := cmd.Stderr.(*bytes.Buffer).String(); cmd.ProcessState.ExitCode() != exitError || !strings.HasPrefix(text, "remit: ") {
		t.Errorf("a save from a server that is killed ends with %s, %q", cmd.ProcessState, text)
	}
	wantNone("a kill of the server")
	p = serveProcess(t, data)
	if left, _ := filepath.Glob(held); len(left) > 0 {
		t.Errorf("its successor leaves %v", left)
	}
	must(t, "backup", "save", folder, "--addr", p.addr)
	if out := must(t, "backup", "verify", folder); !strings.Contains(out, "is whole") {
		t.Errorf("verify says %q", out)
	}
	if left, _ := filepath.Glob(held); len(left) > 0 {
		t.Errorf("after a save the server holds %v", left)
	}
}

// awaitFile waits until a folder holds a file.
func awaitFile(t *testing.T, dir string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if found, _ := filepath.Glob(filepath.Join(dir, "*")); len(found) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing comes to %s", dir)
		}
	}
}

func TestASilentServerIsNotWaitedForEver(t *testing.T) {
	s := startServer(t)
	largeStore(t, s.Addr())
	flow := newTap(t, s.Addr(), 600<<10)
	defer close(flow.opened)
	refused(t, "did not answer within 200ms", "backup", "save", t.TempDir(), "--addr", flow.Addr().String(), "--timeout", "200ms")
}

func TestServeSavesBackups(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "backups")
	t.Setenv("REMIT_BACKUP_KEEP", "3")
	p := serveProcess(t, t.TempDir(), "--backup-dir", folder, "--backup-interval", "10ms")
	must(t, "store", "create", "acme", "--addr", p.addr)
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for first := ""; ; <-tick.C { // until the first one has gone
		stored, err := fsm.OpenBackups(folder).List()
		if err != nil {
			stored = nil // not there yet
		}
		if first == "" && len(stored) > 0 {
			first = stored[0].Name
		}
		if first != "" && len(stored) == 3 && stored[0].Name != first {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the folder holds %v, %v\n%s", stored, err, p.stderr.String())
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state := p.ends(t); state.ExitCode() != 0 {
		t.Errorf("serve ended with %s\n%s", state, p.stderr.String())
	}
	must(t, "backup", "verify", folder)
	var content backupContent
	if err := json.Unmarshal([]byte(must(t, "backup", "inspect", folder, "latest", "-o", "json")), &content); err != nil || len(content.Stores) != 1 {
		t.Errorf("the newest backup holds %+v, %v", content, err)
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 72_900_000: "72.9 MB", 5_000_000_000_000: "5.0 TB",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %s, want %s", n, got, want)
		}
	}
}
