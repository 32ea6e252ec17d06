package server

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
)

// The parts of a data directory.
const (
	stateDir = "state"
	raftDir  = "raft"

	// restoringDir is where a restore works. As long as it is there, the directory
	// holds no node, whatever else is in it.
	restoringDir = "restoring"
)

var (
	// ErrDirNotEmpty says that a restore would go where there is something already.
	ErrDirNotEmpty = errors.New("directory not empty")
	// ErrRestoreInterrupted says that a restore into a data directory was cut off.
	ErrRestoreInterrupted = errors.New("restore interrupted")
)

// RestoreConfig says which backup goes where.
type RestoreConfig struct {
	// Backups is the folder of the backups, and Backup the name of one; the empty name
	// is the newest.
	Backups *fsm.BackupDir
	Backup  string
	// DataDir is the data directory to make. It must be empty, or not be there.
	DataDir string
	// Log receives what happens. Default: nothing is logged.
	Log *slog.Logger
	// Progress, if given, is told how many bytes of how many are there.
	Progress func(done, total uint64)
}

// Restored tells what a restore has made.
type Restored struct {
	Manifest *fsm.BackupManifest
	NodeID   string
	Epoch    uint64
}

// Restore makes a data directory of a backup: that of a new node, alone in a cluster with
// an epoch of its own. No server need run, and none may on that directory. Until it
// returns without an error, Open refuses the directory.
func Restore(ctx context.Context, config RestoreConfig) (restored *Restored, err error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	manifest, err := config.Backups.Find(config.Backup)
	if err != nil {
		return nil, err
	}
	dir := config.DataDir
	if err := checkEmpty(dir); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	if err := checkEmpty(dir); err != nil { // now that nobody else can fill it
		return nil, err
	}
	if err := clearRestore(dir); err != nil {
		return nil, err
	}
	work := filepath.Join(dir, restoringDir)
	if err := errors.Join(os.Mkdir(work, 0o700), syncDir(dir)); err != nil {
		return nil, err
	}
	restored, err = restoreInto(ctx, config, manifest, work)
	if err != nil {
		return nil, errors.Join(err, clearRestore(dir))
	}
	// The state first: with raft's part alone, a node could take itself for a new one.
	// The folder that says that all this is not finished goes last.
	for _, part := range []string{stateDir, raftDir} {
		if err := errors.Join(os.Rename(filepath.Join(work, part), filepath.Join(dir, part)), syncDir(dir)); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(os.Remove(work), syncDir(dir)); err != nil {
		return nil, err
	}
	return restored, nil
}

// checkEmpty refuses a directory that holds anything that a restore has not put there.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == restoringDir }) {
		return nil
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, "lost+found": // the second is a file system's own
		default:
			return fmt.Errorf("%w: %s holds %s, and a restore overwrites nothing; choose another directory, or move that one away",
				ErrDirNotEmpty, dir, e.Name())
		}
	}
	return nil
}

// clearRestore removes what a restore that did not end has left.
func clearRestore(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, restoringDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, part := range []string{raftDir, stateDir, restoringDir} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func restoreInto(ctx context.Context, config RestoreConfig, m *fsm.BackupManifest, work string) (restored *Restored, err error) {
	epoch, err := newEpoch(m.Epoch)
	if err != nil {
		return nil, err
	}
	if err := config.Backups.Restore(ctx, m, filepath.Join(work, stateDir), epoch, config.Progress); err != nil {
		return nil, err
	}
	var fatal error
	state, err := fsm.Open(fsm.Config{Dir: filepath.Join(work, stateDir), Log: config.Log, Fatal: func(err error) { fatal = err }})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, fatal, state.Close()); err != nil {
			restored = nil
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id, err := cluster.Adopt(cluster.Config{
		Dir: filepath.Join(work, raftDir), FSM: state, Snapshots: state.Snapshots(), DurableIndex: state.DurableIndex,
	}, m.Term())
	if err != nil {
		return nil, err
	}
	return &Restored{Manifest: m, NodeID: id, Epoch: epoch}, ctx.Err()
}

// newEpoch is a number that no other history of the group has.
func newEpoch(not uint64) (uint64, error) {
	for {
		var random [8]byte
		if _, err := rand.Read(random[:]); err != nil {
			return 0, fmt.Errorf("choose an epoch: %w", err)
		}
		if epoch := binary.BigEndian.Uint64(random[:]); epoch != 0 && epoch != not { // 0 means that there is none
			return epoch, nil
		}
	}
}

// checkRestored refuses a directory that a restore has not finished.
func checkRestored(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, restoringDir)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%w: a restore into %s was cut off; run it again, it begins anew", ErrRestoreInterrupted, dir))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
