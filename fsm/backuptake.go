package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrBackups says that as many backups are being taken as may be at once.
var ErrBackups = errors.New("too many backups are being taken at once")

const (
	// maxBackups bounds how many backups are taken at once: each pins the files of its
	// revision as long as somebody reads it.
	maxBackups = 4

	backupPrefix = "backup" // of checkpoints; what a crash leaves goes at the next start
)

// A Backup is the state at one revision, held still so that its files can be read. It
// stands beside the database as hard links, so taking one is quick, and what is written
// meanwhile does not change it.
type Backup struct {
	manifest *BackupManifest
	s        *State
	dir      string // the checkpoint's, within the snapshots
	ended    sync.Once
	err      error // of Close
}

// backups is what a State knows about backups being taken.
type backups struct {
	mu    sync.Mutex
	taken int
	// sums remembers those of tables, which never change, so that a later backup reads
	// only what is new.
	sums map[string]BackupFile
	of   uint64 // the generation that the sums are of
}

// Backup holds the state at the newest revision still, and sums its files. The caller
// must close it. progress, if given, is told how many bytes of how many are summed.
func (s *State) Backup(ctx context.Context, program string, now time.Time, progress func(done, total uint64)) (*Backup, error) {
	if !s.backups.enter() {
		return nil, ErrBackups
	}
	b := &Backup{s: s}
	if err := b.take(ctx, program, now, progress); err != nil {
		return nil, errors.Join(fmt.Errorf("take a backup: %w", err), b.Close())
	}
	return b, nil
}

func (k *backups) enter() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.taken == maxBackups {
		return false
	}
	k.taken++
	return true
}

func (b *Backup) take(ctx context.Context, program string, now time.Time, progress func(done, total uint64)) error {
	b.manifest = &BackupManifest{Created: now.UTC().Truncate(time.Millisecond), Program: program}
	generation, err := b.checkpoint()
	if err != nil {
		return err
	}
	b.manifest.Files, err = b.sum(ctx, generation, progress)
	return err
}

// checkpoint says of which generation it is.
func (b *Backup) checkpoint() (generation uint64, err error) {
	s := b.s
	// No entry is applied meanwhile, as for a snapshot of Raft's: the copy of the WAL must
	// end where a batch does, and the manifest must say what is in it.
	s.applying.Lock()
	defer s.applying.Unlock()
	err = s.read(func(db *pebble.DB) error {
		generation = s.gen
		b.dir = s.snaps.fresh(backupPrefix, generation)
		b.manifest.applied, b.manifest.Epoch, b.manifest.ClusterVersion = s.applied, s.epoch, s.version
		return db.Checkpoint(s.snaps.path(b.dir, stateDir), pebble.WithFlushedWAL())
	})
	return generation, err
}

// sum sums the checkpoint's files, or remembers the sums.
func (b *Backup) sum(ctx context.Context, generation uint64, progress func(done, total uint64)) ([]BackupFile, error) {
	fs, dir := b.s.snaps.fs, b.s.snaps.path(b.dir, stateDir)
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	files, known := make([]BackupFile, len(names)), b.s.backups.remembered(generation)
	var done, total uint64
	for i, name := range names {
		info, err := fs.Stat(fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		if f, ok := known[name]; ok && f.Size == uint64(info.Size()) {
			files[i] = f
			continue
		}
		total += uint64(info.Size())
	}
	room := make([]byte, backupChunk)
	for i, name := range names {
		if files[i].Name != "" {
			continue
		}
		sums, err := sumBackupFile(fs, fs.PathJoin(dir, name), room, func(n int) error {
			done += uint64(n)
			if progress != nil {
				progress(done, max(done, total))
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, fmt.Errorf("sum %s: %w", name, err)
		}
		files[i] = sums.file(name)
	}
	b.s.backups.remember(generation, files)
	return files, ctx.Err()
}

func sumBackupFile(fs vfs.FS, path string, room []byte, tell func(n int) error) (*backupSummer, error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	s, err := sumReader(f, room, tell)
	if e := f.Close(); err == nil {
		err = e
	}
	return s, err
}

func (k *backups) remembered(generation uint64) map[string]BackupFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of != generation {
		return nil
	}
	return k.sums // replaced as a whole, never changed
}

// remember keeps the sums of the tables, by names that Pebble gives once in a
// generation.
func (k *backups) remember(generation uint64, files []BackupFile) {
	sums := make(map[string]BackupFile, len(files))
	for _, f := range files {
		if isTable(f.Name) {
			sums[f.Name] = f
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sums, k.of = sums, generation
}

// isTable says whether a file is one that Pebble writes once.
func isTable(name string) bool { return strings.HasSuffix(name, ".sst") }

// Manifest says what the backup holds. The caller must not change it.
func (b *Backup) Manifest() *BackupManifest { return b.manifest }

// WriteTo writes the files that are not among those the receiver has, one after the
// other in the manifest's order: what a BackupWriter takes.
func (b *Backup) WriteTo(ctx context.Context, w io.Writer, have []BackupSum) error {
	fs := b.s.snaps.fs
	room := make([]byte, backupChunk)
	for _, f := range b.manifest.missing(sumSet(have)) {
		if err := copyBackupFile(ctx, fs, b.s.snaps.path(b.dir, stateDir, f.Name), w, room); err != nil {
			return fmt.Errorf("read %s: %w", f.Name, err)
		}
	}
	return nil
}

func copyBackupFile(ctx context.Context, fs vfs.FS, path string, w io.Writer, room []byte) error {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	for err == nil {
		var n int
		if n, err = f.Read(room); n > 0 {
			if _, e := w.Write(room[:n]); e != nil {
				err = e
			}
		}
		if e := ctx.Err(); e != nil {
			err = e
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// Close lets go of the files.
func (b *Backup) Close() error {
	b.ended.Do(func() {
		if b.dir != "" {
			b.err = b.s.snaps.drop(b.dir)
		}
		b.s.backups.mu.Lock()
		defer b.s.backups.mu.Unlock()
		b.s.backups.taken--
	})
	return b.err
}

func sumSet(sums []BackupSum) map[BackupSum]bool {
	set := make(map[BackupSum]bool, len(sums))
	for _, s := range sums {
		set[s] = true
	}
	return set
}
