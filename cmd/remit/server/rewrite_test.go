package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
)

func TestTheMarkOfARewriting(t *testing.T) {
	dir := t.TempDir()
	if got, err := readRewritten(dir); got != 0 || err != nil {
		t.Errorf("without a file: %d, %v, want 0", got, err)
	}
	for _, want := range []graph.Revision{1, 7000} {
		if err := writeRewritten(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := readRewritten(dir); got != want || err != nil {
			t.Errorf("read %d, %v, want %d", got, err, want)
		}
	}
	for _, damaged := range []string{"", "7", "seven\n", "-1\n", "7\n\n"} {
		if err := os.WriteFile(filepath.Join(dir, rewrittenFile), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readRewritten(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("of %q: %v, want a refusal", damaged, err)
		}
	}
}

func TestARewritingThatSomebodyAsksFor(t *testing.T) {
	data := t.TempDir()
	s, stop := running(t, Config{DataDir: data})
	createStore(t, s, "acme")
	files := s.files
	if _, ok := files.Rewriting(); ok || files.Rewritten() != 0 {
		t.Errorf("rewritten up to %d before anybody asked", files.Rewritten())
	}
	// Who reads a backup keeps the old files, so the end waits for it.
	backup, err := s.state.Backup(t.Context(), "test", time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	type outcome struct {
		revision graph.Revision
		err      error
	}
	ended := make(chan outcome, 1)
	go func() {
		revision, err := files.Rewrite(t.Context())
		ended <- outcome{revision, err}
	}()
	for progress := (backend.RewriteProgress{}); progress.Part != "snapshots"; progress, _ = files.Rewriting() {
		select {
		case o := <-ended:
			t.Fatalf("Rewrite = %d, %v while a backup is read", o.revision, o.err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := backup.Close(); err != nil {
		t.Fatal(err)
	}
	o := <-ended
	if o.err != nil || o.revision == 0 || files.Rewritten() < o.revision {
		t.Errorf("Rewrite = %d, %v, then it is rewritten up to %d", o.revision, o.err, files.Rewritten())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := files.WaitRewritten(ctx, o.revision+100); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitRewritten = %v, want %v", err, context.Canceled)
	}
	stop()
	if err := files.WaitRewritten(t.Context(), o.revision+100); !errors.Is(err, cluster.ErrShuttingDown) {
		t.Errorf("WaitRewritten of a server that has stopped = %v, want %v", err, cluster.ErrShuttingDown)
	}
	s, _ = running(t, Config{DataDir: data})
	if got := s.files.Rewritten(); got < o.revision {
		t.Errorf("after a restart it is rewritten up to %d, want %d", got, o.revision)
	}
}

func TestARewritingThatFailsIsTriedAgain(t *testing.T) {
	heard := newListener()
	s, stop := running(t, Config{DataDir: t.TempDir(), Log: slog.New(heard), UnsafeKeepLog: true})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() { _, err := s.files.Rewrite(ctx); asked <- err }()
	heard.await(t, "files not rewritten")
	heard.await(t, "files not rewritten")
	if p, ok := s.files.Rewriting(); !ok || p.Attempt < 2 || !errors.Is(p.Err, cluster.ErrKeepsLog) {
		t.Errorf("Rewriting = %+v, %t", p, ok)
	}
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("Rewrite = %v, want %v", err, context.Canceled)
	}
	stop()
}
