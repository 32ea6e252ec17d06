package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A listener hears what is logged.
type listener struct {
	slog.Handler
	heard chan string
}

func newListener() *listener { return &listener{slog.DiscardHandler, make(chan string, 1000)} }

func (l *listener) Enabled(context.Context, slog.Level) bool { return true }

func (l *listener) Handle(_ context.Context, r slog.Record) error {
	l.heard <- r.Message
	return nil
}

// await waits for a message.
func (l *listener) await(t *testing.T, message string) {
	t.Helper()
	for {
		select {
		case m := <-l.heard:
			if m == message {
				return
			}
		case <-time.After(time.Minute):
			t.Fatalf("nothing logs %q", message)
		}
	}
}

// running opens a server and runs it until stop.
func running(t *testing.T, config Config) (s *Server, stop func()) {
	t.Helper()
	config.Addr, config.GRPCAddr = "127.0.0.1:0", "127.0.0.1:0"
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		t.Helper()
		if cancel(); !stopped {
			stopped = true
			if err := <-ended; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func createStore(t *testing.T, s *Server, name string) {
	t.Helper()
	stores := remitv1connect.NewStoreServiceClient(connect.NewClient(connectinprocess.New(s.Connect())))
	if _, err := stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: name}); err != nil {
		t.Fatal(err)
	}
}

func TestBackupsAtIntervals(t *testing.T) {
	heard, folder := newListener(), filepath.Join(t.TempDir(), "backups")
	data := t.TempDir()
	s, stop := running(t, Config{DataDir: data, Log: slog.New(heard), Backup: BackupConfig{Dir: folder, Interval: 20 * time.Millisecond, Keep: 2}})
	createStore(t, s, "acme")
	for range 3 {
		heard.await(t, "old backups removed")
	}
	dir := fsm.OpenBackups(folder)
	for range 5 { // while backups come and go
		if err := dir.Verify(t.Context(), nil, nil); err != nil {
			t.Error(err)
		}
	}
	stop()
	stored, err := dir.List()
	if err != nil || len(stored) < 2 || len(stored) > 3 { // it may have been stopped between a save and the removal
		t.Fatalf("%d backups are kept: %v", len(stored), err)
	}
	if err := dir.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}

	// While somebody else saves, it fails; then it goes on.
	w, err := dir.Begin(false)
	if err != nil {
		t.Fatal(err)
	}
	heard = newListener()
	_, stop = running(t, Config{DataDir: data, Log: slog.New(heard), Backup: BackupConfig{Dir: folder, Interval: 20 * time.Millisecond}})
	heard.await(t, "backup failed")
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	heard.await(t, "backup saved")
	stop()
	more, err := dir.List()
	if err != nil || len(more) <= len(stored) {
		t.Errorf("%d backups, %d before: %v", len(more), len(stored), err)
	}
}

func TestABackupIsDueAnIntervalAfterTheNewest(t *testing.T) {
	folder := t.TempDir()
	s, stop := running(t, Config{DataDir: t.TempDir()})
	defer stop()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	config := s.config
	config.Backup = BackupConfig{Dir: folder, Interval: time.Hour, Keep: 7}
	k, err := newBackupKeeper(&config, s.state, nil)
	if err != nil {
		t.Fatal(err)
	}
	k.clock = func() time.Time { return now }
	if wait := k.untilDue(); wait != 0 {
		t.Errorf("the first is due in %s", wait)
	}
	if err := k.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ after, wait time.Duration }{
		{0, time.Hour},
		{20 * time.Minute, 40 * time.Minute},
		{3 * time.Hour, 0},
		{-24 * time.Hour, time.Hour}, // a clock that was wrong does not stop them
	} {
		k.clock = func() time.Time { return now.Add(test.after) }
		if wait := k.untilDue(); wait != test.wait {
			t.Errorf("%s after the newest the next is due in %s, want %s", test.after, wait, test.wait)
		}
	}
}

func TestBackupSettingsAreChecked(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	for want, config := range map[string]BackupConfig{
		"would be lost with it": {Dir: filepath.Join(data, "backups")},
		"backup-interval -1ns":  {Dir: t.TempDir(), Interval: -1},
		"backup-keep is -1":     {Dir: t.TempDir(), Keep: -1},
	} {
		_, err := Open(t.Context(), Config{DataDir: data, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", Backup: config})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open with %+v: %v, want %s", config, err, want)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("a server that was refused has made its data directory")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{DataDir: data, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0", Backup: BackupConfig{Dir: file}}); err == nil {
		t.Error("a file is taken for the backups' folder")
	}
}

// saved is a folder with a backup of a server that has one store.
func saved(t *testing.T) *fsm.BackupDir {
	t.Helper()
	folder := t.TempDir()
	s, stop := running(t, Config{DataDir: t.TempDir()})
	createStore(t, s, "acme")
	config := s.config
	config.Backup.Dir = folder
	k, err := newBackupKeeper(&config, s.state, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	return fsm.OpenBackups(folder)
}

// wantStore opens a data directory and looks for the store.
func wantStore(t *testing.T, dir string, restored *Restored) {
	t.Helper()
	for range 2 {
		s, stop := running(t, Config{DataDir: dir})
		root := s.state.Current()
		if len(root.StoresNamed("acme")) != 1 {
			t.Errorf("%s lacks the store", dir)
		}
		if root.Epoch() != restored.Epoch || root.Epoch() == restored.Manifest.Epoch || s.node.ID() != restored.NodeID || root.Revision() <= restored.Manifest.Revision() {
			t.Errorf("node %s at %d, epoch %x; restored was %+v", s.node.ID(), root.Revision(), root.Epoch(), restored)
		}
		if sum, err := s.state.Recount(); err != nil || sum != root.Hash().Bytes() {
			t.Errorf("recount %x, %v; the state hash is %v", sum, err, root.Hash())
		}
		if err := s.node.Snapshot(t.Context()); err != nil {
			t.Errorf("snapshot of a restored node: %v", err)
		}
		stop()
	}
}

func TestRestoreMakesANodeOfItsOwn(t *testing.T) {
	backups, dir := saved(t), filepath.Join(t.TempDir(), "new", "data")
	var told uint64
	restored, err := Restore(t.Context(), RestoreConfig{Backups: backups, DataDir: dir, Progress: func(done, _ uint64) { told = done }})
	if err != nil {
		t.Fatal(err)
	}
	if told != restored.Manifest.Size() {
		t.Errorf("%d bytes were told, the backup has %d", told, restored.Manifest.Size())
	}
	wantStore(t, dir, restored)
	if _, err := Restore(t.Context(), RestoreConfig{Backups: backups, DataDir: dir}); !errors.Is(err, ErrDirNotEmpty) {
		t.Errorf("a second restore: %v", err)
	}
	again := t.TempDir()
	if err := os.Mkdir(filepath.Join(again, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	other, err := Restore(t.Context(), RestoreConfig{Backups: backups, Backup: restored.Manifest.Name(), DataDir: again})
	if err != nil || other.Epoch == restored.Epoch || other.NodeID == restored.NodeID {
		t.Errorf("restored again: %+v, %v; first was %+v", other, err, restored)
	}
	if _, err := Restore(t.Context(), RestoreConfig{Backups: backups, Backup: "other", DataDir: t.TempDir()}); !errors.Is(err, fsm.ErrNoBackup) {
		t.Errorf("a backup that is not there: %v", err)
	}
}

func TestARestoreThatIsCutOffLeavesNoNode(t *testing.T) {
	backups := saved(t)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	_, err := Restore(ctx, RestoreConfig{Backups: backups, DataDir: dir, Progress: func(uint64, uint64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a restore that is interrupted: %v", err)
	}
	if left := namesIn(t, dir); !slices.Equal(left, []string{lockFile}) {
		t.Errorf("it leaves %v", left)
	}

	// What a crash leaves: at first all in the working folder, then one part after the
	// other where it belongs, at last only the folder itself.
	for n := range 3 {
		dir := t.TempDir()
		if _, err := Restore(t.Context(), RestoreConfig{Backups: backups, DataDir: dir}); err != nil {
			t.Fatal(err)
		}
		work := filepath.Join(dir, restoringDir)
		if err := os.Mkdir(work, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{stateDir, raftDir}[min(n, 2):] {
			if err := os.Rename(filepath.Join(dir, part), filepath.Join(work, part)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(t.Context(), Config{DataDir: dir, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"})
		if !errors.Is(err, ErrRestoreInterrupted) {
			t.Errorf("a server on what a crash after %d parts left: %v", n, err)
		}
		restored, err := Restore(t.Context(), RestoreConfig{Backups: backups, DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		wantStore(t, dir, restored)
	}
}

func TestARestoreOfADamagedBackupLeavesNothing(t *testing.T) {
	backups := saved(t)
	m, err := backups.Find("")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The files lie where the folder's own documentation says.
	var wal fsm.BackupFile
	for _, f := range m.Files {
		if strings.HasSuffix(f.Name, ".log") {
			wal = f
		}
	}
	path := filepath.Join(backups.Path(), "files", wal.Sum.String())
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), RestoreConfig{Backups: backups, DataDir: dir}); !errors.Is(err, fsm.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), wal.Sum.String()) {
		t.Errorf("restore: %v", err)
	}
	if left := namesIn(t, dir); !slices.Equal(left, []string{lockFile}) {
		t.Errorf("it leaves %v", left)
	}
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
