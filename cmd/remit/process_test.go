package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// asRemit makes the test binary be the program, for tests of what only a process shows:
// signals, locks and restarts.
const asRemit = "REMIT_TEST_AS_REMIT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(keptDisk); dir != "" {
		serveDisk(dir, os.Stdin, os.Stdout)
		return
	}
	if os.Getenv(asRemit) != "" {
		if name := os.Getenv(clockFile); name != "" {
			serveClock = (&wrongClock{name: name}).now
		}
		main()
	}
	m.Run()
}

// A process is a running "remit serve".
type process struct {
	cmd    *exec.Cmd
	addr   string
	line   string // on standard output, the only one
	stderr bytes.Buffer
}

// serveProcess starts a server and returns once it has printed its line.
func serveProcess(t *testing.T, dir string, flags ...string) *process {
	t.Helper()
	p := &process{}
	p.cmd = exec.Command(os.Args[0], append([]string{"serve", "--data-dir", dir, "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"}, flags...)...)
	p.cmd.Env = append(os.Environ(), asRemit+"=1")
	p.cmd.Stderr = &p.stderr
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("serve printed %q, then %v\n%s", line, err, p.stderr.String())
	}
	p.line = line
	_, rest, ok := strings.Cut(line, "serves ")
	if !ok {
		t.Fatalf("serve printed %q", line)
	}
	rest, _, _ = strings.Cut(rest, " ")
	p.addr = strings.TrimPrefix(rest, "http://") // one of https stays what it is
	return p
}

// ends waits for the process.
func (p *process) ends(t *testing.T) *os.ProcessState {
	t.Helper()
	watchdog := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer watchdog.Stop()
	_ = p.cmd.Wait() // its status is what the tests look at
	return p.cmd.ProcessState
}

func TestServeStopsInOrderAndKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	p := serveProcess(t, dir)
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state := p.ends(t); state.ExitCode() != 0 {
		t.Fatalf("serve ended with %s\n%s", state, p.stderr.String())
	}

	p = serveProcess(t, dir, "--log-format", "json")
	must(t, "write", "hall:west#open_to@visitor:ivy", "--addr", p.addr)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.ends(t)

	p = serveProcess(t, dir)
	if out := must(t, "who", "can_visit", "hall:west", "--kind", "visitor", "--addr", p.addr); out != "visitor:ivy\n" {
		t.Errorf("after a kill, who says %q", out)
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if state := p.ends(t); state.ExitCode() != 0 {
		t.Errorf("serve ended with %s\n%s", state, p.stderr.String())
	}
}

func TestAnImportOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	p := serveProcess(t, dir)
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr)
	a := &app{stderr: io.Discard, addrs: []string{p.addr}, timeout: time.Minute}
	c, err := a.client()
	if err != nil {
		t.Fatal(err)
	}
	operations := []*remitv1.Operation{{
		Kind:  remitv1.Operation_KIND_TOUCH,
		Tuple: &remitv1.Tuple{Object: "hall:west", Relation: "open_to", Subject: "visitor:ivy"},
	}}
	w := &batchWriter{app: a, client: c, store: "museum", key: "one"}
	if _, err := w.write(t.Context(), operations, "written"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.ends(t)
	w.key = "two"
	written := make(chan error, 1)
	go func() {
		_, err := w.write(t.Context(), operations, "written")
		written <- err
	}()
	serveProcess(t, dir, "--addr", p.addr)
	if err := <-written; err != nil {
		t.Errorf("a write while the server starts again: %v", err)
	}
}

func TestDemoCommandsWorkAsPrinted(t *testing.T) {
	cmd := exec.Command(os.Args[0], "demo", "--data-dir", t.TempDir(), "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asRemit+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("demo: %v", err)
		}
	}()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "serving on ") {
	}
	for range 3 {
		if !lines.Scan() {
			t.Fatal("the demo prints fewer than three commands")
		}
		shell := exec.Command("sh", "-c", lines.Text())
		shell.Env = cmd.Env
		if out, err := shell.CombinedOutput(); err != nil || len(out) == 0 {
			t.Errorf("%s: %v\n%s", lines.Text(), err, out)
		}
	}
}
