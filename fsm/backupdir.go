package fsm

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrNoBackup says that a folder holds no backup of that name, or none at all.
var ErrNoBackup = errors.New("no such backup")

// The names in a folder of backups.
const (
	backupSuffix   = ".backup"     // a manifest, after the backup's name
	backupFiles    = "files"       // what manifests list, each file named by its checksum
	backupIncoming = "incoming"    // what a save has got so far
	backupLock     = "backup.lock" // held by who saves or prunes
)

// A BackupDir is a folder of backups: a manifest for each, and beside them the files
// that the manifests list, each named by its checksum, so that backups share what they
// have in common. A backup exists once its manifest does, which is written last and
// removed first. One process saves or prunes at a time; reading needs nobody's leave.
type BackupDir struct {
	fs  vfs.FS
	dir string
}

// OpenBackups is a folder on the disk; it need not exist before something is saved.
func OpenBackups(dir string) *BackupDir { return &BackupDir{fs: vfs.Default, dir: dir} }

// Path is the folder's.
func (d *BackupDir) Path() string { return d.dir }

// A StoredBackup is a backup in a folder.
type StoredBackup struct {
	Name string
	// Manifest is nil if it cannot be read, and Err says why.
	Manifest *BackupManifest
	Err      error
}

func (d *BackupDir) path(elem ...string) string {
	return d.fs.PathJoin(append([]string{d.dir}, elem...)...)
}

// List is what the folder holds, oldest first.
func (d *BackupDir) List() ([]StoredBackup, error) {
	names, err := d.fs.List(d.dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no folder %s", ErrNoBackup, d.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var stored []StoredBackup
	for _, name := range names {
		if name, ok := strings.CutSuffix(name, backupSuffix); ok {
			s := StoredBackup{Name: name}
			s.Manifest, s.Err = d.read(name)
			if errors.Is(s.Err, iofs.ErrNotExist) {
				continue // removed meanwhile
			}
			stored = append(stored, s)
		}
	}
	slices.SortFunc(stored, func(a, b StoredBackup) int { return strings.Compare(a.Name, b.Name) })
	return stored, nil
}

// read reads a manifest. A fault names its file.
func (d *BackupDir) read(name string) (*BackupManifest, error) {
	file := name + backupSuffix
	b, err := readFile(d.fs, d.path(file))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	m, err := DecodeBackup(b)
	if unknown := (*formatError)(nil); errors.As(err, &unknown) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err != nil {
		return nil, &DamageError{Place: file, Problem: strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": ")}
	}
	if m.Name() != name {
		return nil, &DamageError{Place: file, Problem: "it is the manifest of backup " + m.Name()}
	}
	return m, nil
}

// Find reads the manifest of the backup with a name; the empty name is the newest.
func (d *BackupDir) Find(name string) (*BackupManifest, error) {
	stored, err := d.List()
	if err != nil {
		return nil, err
	}
	if name == "" && len(stored) > 0 {
		name = stored[len(stored)-1].Name
	}
	for _, s := range stored {
		if s.Name == name {
			return s.Manifest, s.Err
		}
	}
	if name == "" {
		return nil, fmt.Errorf("%w: %s holds none", ErrNoBackup, d.dir)
	}
	return nil, fmt.Errorf("%w: %s holds none named %q", ErrNoBackup, d.dir, name)
}

// lock keeps others from saving and pruning.
func (d *BackupDir) lock() (io.Closer, error) {
	if err := makeDir(d.fs, d.dir); err != nil {
		return nil, err
	}
	lock, err := d.fs.Lock(d.path(backupLock))
	if err != nil {
		return nil, fmt.Errorf("lock %s, which somebody else may be saving to: %w", d.dir, err)
	}
	return lock, nil
}

// A BackupWriter saves one backup into a folder: Start, Write, then Commit. Until Commit
// has succeeded there is no backup.
type BackupWriter struct {
	d    *BackupDir
	lock io.Closer
	have map[BackupSum]bool
	list []BackupSum // the same, those of the newest backups first

	m       *BackupManifest
	missing []*BackupFile
	total   uint64

	next    int // the file being written
	file    vfs.File
	sums    *backupSummer
	room    []byte
	written uint64
	err     error
}

// Begin begins a backup. What the folder has of it already need not be brought again,
// unless it is to be full, and thereby mend what has been damaged.
func (d *BackupDir) Begin(full bool) (*BackupWriter, error) {
	lock, err := d.lock()
	if err != nil {
		return nil, fmt.Errorf("begin a backup: %w", err)
	}
	w := &BackupWriter{d: d, lock: lock, have: map[BackupSum]bool{}}
	if err := w.begin(full); err != nil {
		return nil, errors.Join(fmt.Errorf("begin a backup: %w", err), w.Abort())
	}
	return w, nil
}

func (w *BackupWriter) begin(full bool) error {
	d := w.d
	if _, err := d.tidy(); err != nil {
		return err
	}
	for _, dir := range []string{backupFiles, backupIncoming} {
		if err := makeDir(d.fs, d.path(dir)); err != nil {
			return err
		}
	}
	if full {
		return nil
	}
	stored, err := d.List()
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(stored) {
		if s.Manifest == nil {
			continue
		}
		for i := range s.Manifest.Files {
			f := &s.Manifest.Files[i]
			if f.Size == 0 || w.have[f.Sum] {
				continue
			}
			info, err := d.fs.Stat(d.path(backupFiles, f.Sum.String()))
			if err == nil && uint64(info.Size()) == f.Size {
				w.have[f.Sum] = true
				w.list = append(w.list, f.Sum)
			}
		}
	}
	return nil
}

// Have are the sums of files that need not be brought, those of the newest backups
// first. They may be cut to the first n, if Trim is told so.
func (w *BackupWriter) Have() []BackupSum { return w.list }

// Trim forgets all that the folder has but the first n of Have.
func (w *BackupWriter) Trim(n int) {
	if len(w.list) > n {
		w.list = w.list[:n]
		w.have = sumSet(w.list)
	}
}

// Start takes the manifest.
func (w *BackupWriter) Start(manifest []byte) (*BackupManifest, error) {
	m, err := DecodeBackup(manifest)
	if err != nil {
		return nil, err
	}
	if _, err := w.d.fs.Stat(w.d.path(m.Name() + backupSuffix)); err == nil {
		return nil, fmt.Errorf("there is a backup %s already", m.Name())
	}
	w.m, w.missing = m, m.missing(w.have)
	for _, f := range w.missing {
		w.total += f.Size
	}
	return m, nil
}

// Progress is how many bytes of how many have been written.
func (w *BackupWriter) Progress() (written, total uint64) { return w.written, w.total }

// Files is how many files must be brought.
func (w *BackupWriter) Files() int { return len(w.missing) }

// Write takes the files that are missing, one after the other in the manifest's order.
// After a fault every call gives it again.
func (w *BackupWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.write(p)
	w.err = err
	return n, err
}

func (w *BackupWriter) write(p []byte) (n int, err error) {
	for n < len(p) {
		if w.next == len(w.missing) {
			return n, fmt.Errorf("%w: a backup has bytes behind its last file", ErrCorrupt)
		}
		f := w.missing[w.next]
		if w.file == nil {
			name := w.d.path(backupIncoming, f.Sum.String())
			if w.file, err = w.d.fs.Create(name, vfs.WriteCategoryUnspecified); err != nil {
				return n, err
			}
			w.sums = newBackupSummer()
		}
		part := p[n:]
		part = part[:min(uint64(len(part)), f.Size-w.sums.size)]
		_, _ = w.sums.Write(part) // never fails
		// A vfs.File may change what it is given to write; an io.Writer may not.
		w.room = append(w.room[:0], part...)
		if _, err := w.file.Write(w.room); err != nil {
			return n, fmt.Errorf("write backup: %w", err)
		}
		n += len(part)
		w.written += uint64(len(part))
		if w.sums.size == f.Size {
			if err := w.finish(f); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (w *BackupWriter) finish(f *BackupFile) error {
	err := w.file.Sync()
	if e := w.file.Close(); err == nil {
		err = e
	}
	w.file = nil
	w.next++
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	if err := f.compare(f.Name, w.sums.file(f.Name)); err != nil {
		return fmt.Errorf("a file arrived otherwise than it was summed: %w", err)
	}
	return nil
}

// Commit makes what was written a backup, once all of it has been.
func (w *BackupWriter) Commit() error {
	switch {
	case w.err != nil:
		return w.err
	case w.m == nil || w.next < len(w.missing):
		return fmt.Errorf("%w: the backup ended early", ErrCorrupt)
	}
	d := w.d
	for _, f := range w.missing {
		name := f.Sum.String()
		if err := d.fs.Rename(d.path(backupIncoming, name), d.path(backupFiles, name)); err != nil {
			return fmt.Errorf("save backup: %w", err)
		}
	}
	if err := syncDir(d.fs, d.path(backupFiles)); err != nil {
		return fmt.Errorf("save backup: %w", err)
	}
	if err := writeFile(d.fs, d.dir, w.m.Name()+backupSuffix, w.m.Encode()); err != nil {
		return fmt.Errorf("save backup: %w", err)
	}
	w.m = nil
	return w.Abort() // nothing is left but to tidy
}

// Abort ends a save that was not committed, and leaves nothing of it. After Commit it
// does nothing.
func (w *BackupWriter) Abort() error {
	if w.lock == nil {
		return nil
	}
	var err error
	if w.file != nil {
		err = w.file.Close()
		w.file = nil
	}
	if w.err == nil {
		w.err = errors.New("the save has ended")
	}
	_, e := w.d.tidy()
	err = errors.Join(err, e, w.lock.Close())
	w.lock = nil
	return err
}

// tidy removes what no backup lists: what saves that were cut off have left. If there is
// a manifest that cannot be read, nobody knows what it lists, so all files stay. The
// caller holds the lock.
func (d *BackupDir) tidy() (freed uint64, err error) {
	if err := d.fs.RemoveAll(d.path(backupIncoming)); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return 0, err
	}
	stored, err := d.List()
	if err != nil {
		return 0, err
	}
	names, err := d.fs.List(d.dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, backupSuffix+".tmp") {
			if err := d.fs.Remove(d.path(name)); err != nil {
				return 0, err
			}
		}
	}
	listed := map[string]bool{}
	for _, s := range stored {
		if s.Err != nil {
			return 0, nil //nolint:nilerr // it is told by who reads that backup
		}
		for i := range s.Manifest.Files {
			listed[s.Manifest.Files[i].Sum.String()] = true
		}
	}
	names, err = d.fs.List(d.path(backupFiles))
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return 0, err
	}
	// No loss of power may bring a manifest back whose files go now.
	if err := syncDir(d.fs, d.dir); err != nil {
		return 0, err
	}
	for _, name := range names {
		// A file that no save has named is not ours to remove.
		if _, ours := parseBackupSum(name); !ours || listed[name] {
			continue
		}
		info, err := d.fs.Stat(d.path(backupFiles, name))
		if err != nil {
			return freed, err
		}
		if err := d.fs.Remove(d.path(backupFiles, name)); err != nil {
			return freed, err
		}
		freed += uint64(info.Size())
	}
	return freed, nil
}

// Prune removes all backups but the newest ones, and tells which, and how many bytes
// that freed. A backup whose manifest cannot be read is neither counted nor removed.
func (d *BackupDir) Prune(keep int) (removed []string, freed uint64, err error) {
	lock, err := d.lock()
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	stored, err := d.List()
	if err != nil {
		return nil, 0, err
	}
	stored = slices.DeleteFunc(stored, func(s StoredBackup) bool { return s.Err != nil })
	if len(stored) <= keep {
		return nil, 0, nil
	}
	for _, s := range stored[:len(stored)-keep] {
		if err := d.fs.Remove(d.path(s.Name + backupSuffix)); err != nil {
			return removed, 0, fmt.Errorf("remove backup %s: %w", s.Name, err)
		}
		removed = append(removed, s.Name)
	}
	if err := syncDir(d.fs, d.dir); err != nil {
		return removed, 0, err
	}
	freed, err = d.tidy()
	return removed, freed, err
}
