package fsm

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskWatchers is how many goroutines of Pebble's look at how long the disk takes.
func diskWatchers(t *testing.T) int {
	t.Helper()
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	return strings.Count(stacks.String(), "created by github.com/cockroachdb/pebble/v2/vfs.(*diskHealthChecking")
}

// A state on a disk is watched, and when it is closed nobody watches any more, even where it
// could not be opened.
func TestASlowDiskIsWatchedWhileTheStateIsOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if diskWatchers(t) == 0 {
		t.Error("nobody watches the disk")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// A database that cannot be opened: where its generation was, there is a file.
	generation := generationDir(vfs.Default, dir, s.gen)
	if err := vfs.Default.RemoveAll(generation); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(vfs.Default, dir, filepath.Base(generation), nil); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(Config{Dir: dir}); err == nil {
		t.Errorf("opened on a file: %v", s.Close())
	}
	for end := time.Now().Add(10 * time.Second); diskWatchers(t) > 0; { // they end by themselves, soon
		if time.Now().After(end) {
			t.Fatal("the disk is watched after the state was closed")
		}
	}
}

// What is slow is counted and told as a warning: it ends by itself, or other nodes take over.
func TestASlowDiskIsCountedAndTold(t *testing.T) {
	var told bytes.Buffer
	s, err := Open(Config{Dir: "state", FS: vfs.NewMem(), Log: slog.New(slog.NewTextHandler(&told, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.cfg.diskListener().DiskSlow(pebble.DiskSlowInfo{Path: "gen-000001/000002.log", OpType: vfs.OpTypeSync, Duration: 7 * time.Second})
	if got := gathered(t, s)["remit_pebble_disk_slow_total"]; got != 1 {
		t.Errorf("counted %v times, want once", got)
	}
	for _, want := range []string{"level=WARN", `msg="disk slow"`, "file=gen-000001/000002.log", "operation=sync", "duration=7s"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("the log has no %s: %s", want, told.String())
		}
	}
}
