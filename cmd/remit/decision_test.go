package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// objectsIn are the objects that the events of a decision log are about, with the outcomes.
func objectsIn(t *testing.T, path string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var event struct {
			Type, Subject string
			Data          struct{ Outcome string }
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, event.Subject+" "+event.Data.Outcome)
	}
	return all
}

// until waits for something that another process does.
func until(t *testing.T, happened func() bool) {
	t.Helper()
	tick, late := time.NewTicker(20*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for !happened() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not happen")
		}
	}
}

// A process logs what it denied, and follows whoever renames the file.
func TestServeLogsDecisions(t *testing.T) {
	dir := t.TempDir()
	path, aside := filepath.Join(dir, "decisions.jsonl"), filepath.Join(dir, "aside")
	p := serveProcess(t, filepath.Join(dir, "data"), "--decision-log", path)
	must(t, "store", "import", "testdata/stores/public.fga.yaml", "--addr", p.addr)
	must(t, "write", "hall:west#open_to@visitor:ivy", "--addr", p.addr)
	must(t, "check", "visitor:ivy", "can_visit", "hall:west", "--addr", p.addr)
	must(t, "check", "visitor:bob", "can_visit", "hall:west", "--addr", p.addr)
	remit(t, "check", "visitor:bob", "can_visit", "hall:west", "--store", "nowhere", "--addr", p.addr)
	until(t, func() bool { return len(objectsIn(t, path)) == 2 })
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		must(t, "check", "visitor:bob", "can_visit", "hall:west", "--addr", p.addr)
		_, err := os.Stat(path)
		return err == nil
	})
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state := p.ends(t); state.ExitCode() != 0 {
		t.Fatalf("serve ended with %s\n%s", state, p.stderr.String())
	}
	got := strings.Join(append(objectsIn(t, aside)[:2], objectsIn(t, path)[0]), ", ")
	if want := "hall:west denied, hall:west error, hall:west denied"; got != want {
		t.Errorf("decisions are %s, want %s", got, want)
	}
}

// Settings of logs that cannot be followed keep a server from starting.
func TestServeRefusesLogsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		flags []string
		want  string
	}{
		{[]string{"--decision-log", filepath.Join(dir, "none", "log")}, filepath.Join(dir, "none", "log")},
		{[]string{"--decision-log", dir}, "is no regular file"},
		{[]string{"--decision-log-select", "all"}, "--decision-log-select says which decisions to log, and nothing says where to: give --decision-log"},
		{[]string{"--decision-log", filepath.Join(dir, "log"), "--decision-log-select", "some"}, "some is unknown; it is off, denied, sampled or all"},
		{[]string{"--decision-log", filepath.Join(dir, "log"), "--decision-log-sample", "0"}, "0 is too small; it is at least 1"},
	} {
		data := filepath.Join(dir, "data")
		_, stderr, status := remit(t, append([]string{"serve", "--data-dir", data, "--addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0"}, test.flags...)...)
		if status != exitError || !strings.Contains(stderr, test.want) {
			t.Errorf("serve %v ended with %d and said %q, want %q", test.flags, status, stderr, test.want)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("serve %v made a data directory", test.flags)
		}
	}
}
