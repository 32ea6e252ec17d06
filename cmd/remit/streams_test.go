package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A copyist keeps a copy of a store by watching it.
type copyist struct {
	t       *testing.T
	client  *services
	request *remitv1.WatchRequest
	tuples  map[string]bool
	changes []string // all that came behind the snapshot, in order
	begun   string   // the token of the snapshot
	token   string
	last    uint64
}

// read reads one stream until it breaks, or until stop says so.
func (c *copyist) read(ctx context.Context, stop func() bool) error {
	stream, err := c.client.watches.Watch(ctx, c.request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for !stop() {
		res, err := stream.Receive()
		if err != nil {
			return err
		}
		for _, t := range res.GetSnapshot().GetTuples() {
			c.tuples[tupleText(t)] = true
		}
		if res.GetSnapshot().GetComplete() {
			c.begun = res.GetToken()
		}
		for _, r := range res.GetChanges().GetRevisions() {
			if r.GetRevision() <= c.last || r.GetMore() {
				c.t.Errorf("revision %d behind %d, more %v", r.GetRevision(), c.last, r.GetMore())
			}
			c.last = r.GetRevision()
			for _, change := range r.GetChanges() {
				c.change(r.GetRevision(), change)
			}
		}
		c.token = res.GetToken()
		c.request.From = &remitv1.WatchRequest_Resume{Resume: res.GetResume()}
	}
	return nil
}

func (c *copyist) change(revision uint64, change *remitv1.Change) {
	text := tupleText(change.GetTuple())
	c.changes = append(c.changes, fmt.Sprint(revision, change.GetKind(), text))
	if change.GetKind() == remitv1.Change_KIND_TUPLE_PUT {
		c.tuples[text] = true
		return
	}
	if !c.tuples[text] {
		c.t.Errorf("%s is removed and was not there", text)
	}
	delete(c.tuples, text)
}

// A reader that is cut off ten times while others write, by itself or because the server
// is killed and starts again, has the store's content in the end, and got every change
// once and in order.
func TestAWatchSurvivesKillsUnderLoad(t *testing.T) {
	dir := t.TempDir()
	p := serveProcess(t, dir)
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr)
	a := &app{stderr: io.Discard, addrs: []string{p.addr}, timeout: time.Minute, answered: true}
	client, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, uint64(os.Getpid())))

	// The writer, until it is told to stop.
	var stop, written atomic.Bool
	done := make(chan error, 1)
	var last string
	go func() {
		random := rand.New(rand.NewPCG(11, 13))
		for n := 0; !stop.Load(); n++ {
			ops := map[string]*remitv1.Operation{}
			for range 1 + random.IntN(8) {
				kind := remitv1.Operation_KIND_TOUCH
				if random.IntN(3) == 0 {
					kind = remitv1.Operation_KIND_DELETE
				}
				subject := fmt.Sprintf("visitor:v%d", random.IntN(300))
				ops[subject] = &remitv1.Operation{Kind: kind, Tuple: &remitv1.Tuple{Object: "hall:west", Relation: "open_to", Subject: subject}}
			}
			// The key makes the repetition of a write with an unknown outcome safe.
			res, err := call(t.Context(), a, client.tuples.Write, &remitv1.WriteRequest{
				Store: "museum", Operations: slices.Collect(maps.Values(ops)), IdempotencyKey: fmt.Sprint("load", n),
			})
			if err != nil {
				done <- err
				return
			}
			last = res.GetToken()
			written.Store(true)
		}
		done <- nil
	}()

	c := &copyist{t: t, client: client, tuples: map[string]bool{}, request: &remitv1.WatchRequest{
		Stores: []string{"museum"}, From: &remitv1.WatchRequest_Snapshot{Snapshot: true},
	}}
	for round := range 10 {
		ctx, cut := context.WithCancel(t.Context())
		goal := len(c.changes) + 5 + random.IntN(200)
		err := c.read(ctx, func() bool { return len(c.changes) >= goal && c.begun != "" })
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if round%3 == 1 {
			if err := p.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			p.ends(t)
			// The stream breaks; what it still brings is kept.
			p = serveProcess(t, dir, "--addr", p.addr)
		}
		cut()
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Fatalf("write: %v", err)
	}
	if !written.Load() || last == "" {
		t.Fatal("nothing was written")
	}
	// A last write, so that there is something to wait for.
	res, err := call(t.Context(), a, client.tuples.Write, &remitv1.WriteRequest{Store: "museum", Operations: []*remitv1.Operation{
		{Kind: remitv1.Operation_KIND_TOUCH, Tuple: &remitv1.Tuple{Object: "hall:west", Relation: "open_to", Subject: "visitor:last"}},
	}, IdempotencyKey: "last"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.read(t.Context(), func() bool { return c.tuples["hall:west#open_to@visitor:last"] }); err != nil {
		t.Fatal(err)
	}
	store := exportedTuples(t, client, "museum", res.GetToken())
	if !maps.Equal(c.tuples, store) {
		t.Errorf("the copy has %d tuples, the store %d", len(c.tuples), len(store))
	}
	// One stream without a break tells the same story.
	again := &copyist{t: t, client: client, tuples: map[string]bool{}, request: &remitv1.WatchRequest{
		Stores: []string{"museum"}, From: &remitv1.WatchRequest_Token{Token: c.begun},
	}}
	maps.Copy(again.tuples, exportedTuples(t, client, "museum", c.begun))
	if err := again.read(t.Context(), func() bool { return again.tuples["hall:west#open_to@visitor:last"] }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.changes, c.changes) {
		t.Errorf("%d changes came in pieces, %d at once", len(c.changes), len(again.changes))
	}
	t.Logf("%d changes", len(c.changes))
}

// A server that stops in order ends its streams with the reason and the point to go on
// from, and does not wait for them.
func TestAServerThatStopsEndsItsStreams(t *testing.T) {
	p := serveProcess(t, t.TempDir())
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr)
	a := &app{stderr: io.Discard, addrs: []string{p.addr}, timeout: time.Minute}
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.watches.Watch(t.Context(), &remitv1.WatchRequest{From: &remitv1.WatchRequest_Now{Now: true}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := stream.Receive()
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Receive()
	var told *connect.Error
	if !errors.As(err, &told) || !hasReason(err, remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN) || client.Detail(told).GetResume() != res.GetResume() {
		t.Errorf("the watch ends with %v", err)
	}
	if state := p.ends(t); state.ExitCode() != 0 || time.Since(begun) > 9*time.Second {
		t.Errorf("serve ended with %s after %s\n%s", state, time.Since(begun), p.stderr.String())
	}
}

// exportedTuples reads a store's tuples in the state of a token.
func exportedTuples(t *testing.T, c *services, store, token string) map[string]bool {
	t.Helper()
	stream, err := c.transfers.Export(t.Context(), &remitv1.ExportRequest{Store: store, Consistency: &remitv1.Consistency{
		Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token},
	}})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, tuple := range res.GetTuples() {
			all[tupleText(tuple)] = true
		}
	}
}

func TestFilesOfEveryFormatComeBack(t *testing.T) {
	startServer(t)
	must(t, "store", "import", "testdata/stores/time.fga.yaml")
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	dir := t.TempDir()
	for _, store := range []string{"chat"} {
		model := filepath.Join(dir, store+".fga.yaml")
		must(t, "store", "export", store, "--file", model)
		want := must(t, "store", "export", store)
		for _, format := range []string{"csv", "jsonl"} {
			file := filepath.Join(dir, store+"."+format)
			must(t, "store", "export", store, "-f", file)
			if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			copied := store + "-" + format
			must(t, "store", "import", model, "--name", copied)
			for subject := range strings.SplitSeq(strings.TrimSpace(must(t, "read", "--store", copied)), "\n") {
				must(t, "delete", strings.Fields(subject)[0], "--store", copied)
			}
			refused(t, "add tuples to a store that has one with --into", "store", "import", file)
			if out := must(t, "store", "import", file, "--into", copied); !strings.Contains(out, "9 tuples written, the model as it was") {
				t.Errorf("import says %q", out)
			}
			if out := must(t, "store", "import", file, "--into", copied); !strings.Contains(out, "0 tuples written, 9 there already") {
				t.Errorf("a repetition says %q", out)
			}
			if got := must(t, "store", "export", copied); strings.TrimPrefix(got, "name: "+copied+"\n") != strings.TrimPrefix(want, "name: "+store+"\n") {
				t.Errorf("%s came back as\n%s\nwant\n%s", format, got, want)
			}
		}
	}
	refused(t, `cannot write "xml"`, "store", "export", "chat", "--format", "xml")
	refused(t, "there is no export to", "store", "export", "chat", "--file", filepath.Join(dir, "none.csv"), "--resume")

	bad := filepath.Join(dir, "bad.csv")
	text := "user_type,user_id,relation,object_type,object_id\nmember,ana,writer,channel,a\nmember,ana,nothing,channel,b\n"
	if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "bad.csv:3:1: channel:b#nothing@member:ana: ", "store", "import", bad, "--into", "chat")
	if err := os.WriteFile(bad, []byte(text+"member,ana\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "bad.csv:4", "store", "import", bad, "--into", "chat")
}

// manyTuples writes a store of more tuples than an export sorts.
func manyTuples(t *testing.T, dir string, n int) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("user_type,user_id,relation,object_type,object_id\n")
	for i := range n {
		fmt.Fprintf(&b, "visitor,visitor-number-%d,open_to,hall,h%d\n", i, i%7)
	}
	file := filepath.Join(dir, "many.csv")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "store", "import", "testdata/stores/public.fga.yaml")
	must(t, "store", "import", file, "--into", "museum")
}

// An export that is interrupted leaves nothing under the file's name, and goes on.
func TestAnExportToAFileGoesOn(t *testing.T) {
	startServer(t)
	dir := t.TempDir()
	manyTuples(t, dir, sortedTuples+30_000)
	whole := filepath.Join(dir, "whole.csv")
	must(t, "store", "export", "museum", "--file", whole)
	want, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}

	// Half an export, as an interruption leaves it.
	file := filepath.Join(dir, "half.csv")
	a := &app{stdout: io.Discard, stderr: io.Discard, addrs: []string{os.Getenv("REMIT_ADDR")}, timeout: time.Minute}
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	e := &exporting{app: a, client: c, format: ".csv", to: file, request: &remitv1.ExportRequest{Store: "museum"}}
	if err := e.openPart(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	messages := 0
	err = e.receive(ctx, func() {
		if messages++; messages == 30 {
			e.saved = time.Time{} // time passes
		}
		if messages == 40 {
			interrupt()
		}
	})
	if err == nil {
		t.Fatal("it was not interrupted")
	}
	if err := e.writer.Flush(); err != nil { // more than was noted
		t.Fatal(err)
	}
	if err := e.closePart(err); !strings.Contains(fmt.Sprint(err), "--resume") {
		t.Errorf("the interruption says %v", err)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("there is a file before all of it was written: %v", err)
	}
	must(t, "write", "hall:h1#open_to@visitor:late", "--store", "museum") // does not show
	refused(t, "the export to "+file+" that was interrupted is of store", "store", "export", "museum", "--file", file, "--format", "jsonl", "--resume")
	must(t, "store", "export", "museum", "--file", file, "--resume")
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the export that went on has %d bytes, want %d: %v", len(got), len(want), err)
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A disk that is full is told, and nothing half-done stays. The limit on a file's size
// stands for the disk's.
func TestAnExportThatCannotBeWrittenLeavesNothing(t *testing.T) {
	startServer(t)
	dir := t.TempDir()
	manyTuples(t, dir, sortedTuples+1000)
	file := filepath.Join(dir, "full.jsonl")
	if err := os.WriteFile(file, []byte("older\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh", "-c", `ulimit -f 256; exec "$0" store export museum --file "$1"`, os.Args[0], file)
	shell.Env = append(os.Environ(), asRemit+"=1")
	out, err := shell.CombinedOutput()
	if shell.ProcessState.ExitCode() != exitError || !strings.Contains(string(out), "remit: "+file+".part: file too large") {
		t.Errorf("%v\n%s", err, out)
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if old, err := os.ReadFile(file); err != nil || string(old) != "older\n" {
		t.Errorf("the file that was there: %q, %v", old, err)
	}
}

// A lineTap is output that a test reads while it is written.
type lineTap struct {
	lines chan string
	rest  string
}

func (w *lineTap) Write(text []byte) (int, error) {
	w.rest += string(text)
	for {
		line, rest, ok := strings.Cut(w.rest, "\n")
		if !ok {
			return len(text), nil
		}
		w.lines <- line
		w.rest = rest
	}
}

func TestWatchPrintsAndTellsWhereToGoOn(t *testing.T) {
	startServer(t)
	must(t, "store", "import", "testdata/stores/public.fga.yaml")
	must(t, "store", "import", "testdata/stores/direct.fga.yaml")
	watch := func(args ...string) (lines chan string, end func() string) {
		out := &lineTap{lines: make(chan string, 1000)}
		var errs strings.Builder
		ctx, interrupt := context.WithCancel(t.Context())
		done := make(chan int, 1)
		go func() { done <- run(ctx, append([]string{"watch"}, args...), nil, out, &errs) }()
		return out.lines, func() string {
			interrupt()
			if status := <-done; status != exitError {
				t.Errorf("watch ends with %d: %s", status, errs.String())
			}
			return errs.String()
		}
	}
	lines, end := watch("museum", "--from", "snapshot", "--object", "hall")
	for line := range lines {
		if line == "the snapshot is complete" {
			break
		}
	}
	must(t, "write", "hall:west#open_to@visitor:ivy", "--store", "museum", "--reason", "a gift")
	if line := <-lines; !strings.HasSuffix(line, "Z  + hall:west#open_to@visitor:ivy  (a gift)") {
		t.Errorf("watch prints %q", line)
	}
	_, point, ok := strings.Cut(end(), "go on with --from ")
	if !ok {
		t.Fatal("it does not say where to go on")
	}
	must(t, "delete", "hall:west#open_to@visitor:ivy", "--store", "museum")
	lines, end = watch("museum", "--object", "hall", "-o", "json", "--from", strings.TrimSpace(point))
	for line := range lines {
		var res struct {
			Changes struct {
				Revisions []struct{ Changes []struct{ Kind string } }
			}
		}
		if err := json.Unmarshal([]byte(line), &res); err != nil {
			t.Fatal(err)
		}
		if r := res.Changes.Revisions; len(r) == 1 && len(r[0].Changes) == 1 && r[0].Changes[0].Kind == "KIND_TUPLE_DELETED" {
			break
		} else if len(r) > 0 {
			t.Fatalf("watch prints %s", line)
		}
	}
	end()
	refused(t, "--from then: it is now,", "watch", "museum", "--from", "then")
	refused(t, "name none", "watch", "museum", "--all")
	if _, errs, _ := remit(t, "watch", "museum", "--from", "resume=abc"); !strings.Contains(errs, "the cursor does not belong to this request") || strings.Contains(errs, "go on with") {
		t.Errorf("from a point that is none, watch says %q", errs)
	}
}
