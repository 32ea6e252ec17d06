package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Verify reads every byte of backups, compares it with the manifests, opens each state
// and counts its hash anew. No names means all, and then also that nothing else lies in
// the folder. It goes on after a fault and gives all of them, each a *DamageError that
// tells the place. progress, if given, is told how many bytes of how many are read.
func (d *BackupDir) Verify(ctx context.Context, names []string, progress func(done, total uint64)) error {
	stored, err := d.List()
	if err != nil {
		return err
	}
	var faults []error
	if len(names) == 0 {
		if len(stored) == 0 {
			return fmt.Errorf("%w: %s holds none", ErrNoBackup, d.dir)
		}
		faults, err = d.foreign(stored)
		if err != nil {
			return err
		}
	} else {
		var chosen []StoredBackup
		for _, name := range names {
			i := slices.IndexFunc(stored, func(s StoredBackup) bool { return s.Name == name })
			if i < 0 {
				return fmt.Errorf("%w: %s holds none named %q", ErrNoBackup, d.dir, name)
			}
			chosen = append(chosen, stored[i])
		}
		stored = chosen
	}
	v := &verification{d: d, ctx: ctx, progress: progress, users: map[BackupSum][]string{}, known: map[BackupSum]error{}, room: make([]byte, backupChunk)}
	for _, s := range stored {
		if s.Manifest == nil {
			continue
		}
		for _, f := range s.Manifest.missing(nil) {
			if len(v.users[f.Sum]) == 0 {
				v.total += f.Size
			}
			v.users[f.Sum] = append(v.users[f.Sum], s.Name)
		}
	}
	for _, s := range stored {
		if s.Err != nil {
			faults = append(faults, s.Err)
			continue
		}
		found, err := v.backup(s.Manifest)
		if err != nil {
			return err
		}
		faults = append(faults, found...)
	}
	return errors.Join(faults...)
}

// A verification remembers the files that it has read: backups share them.
type verification struct {
	d           *BackupDir
	ctx         context.Context //nolint:containedctx // it lives for one Verify
	progress    func(done, total uint64)
	done, total uint64
	users       map[BackupSum][]string // the backups that have a file
	known       map[BackupSum]error    // what was found in the files that are read
	room        []byte
}

// backup gives the damage of one backup that has not been told of another; err is
// something else.
func (v *verification) backup(m *BackupManifest) (faults []error, err error) {
	damaged := false
	for _, f := range m.missing(nil) {
		fault, read := v.known[f.Sum]
		if !read {
			if fault, err = v.file(f); err != nil {
				return nil, err
			}
			if v.known[f.Sum] = fault; fault != nil {
				faults = append(faults, fault)
			}
		}
		damaged = damaged || fault != nil
	}
	if damaged {
		return faults, nil // the state cannot be read
	}
	if err := v.d.verifyState(m); err != nil && v.d.has(m.Name()) {
		faults = append(faults, &DamageError{Place: m.Name() + backupSuffix, Problem: "its files are as they were, but the state in them is not: " + err.Error()})
	}
	return faults, v.ctx.Err()
}

func (v *verification) file(f *BackupFile) (fault, err error) {
	place := v.d.fs.PathJoin(backupFiles, f.Sum.String())
	sums, err := sumBackupFile(v.d.fs, v.d.path(backupFiles, f.Sum.String()), v.room, func(n int) error {
		v.done += uint64(n)
		if v.progress != nil {
			v.progress(v.done, max(v.done, v.total))
		}
		return v.ctx.Err()
	})
	users := v.users[f.Sum]
	what := fmt.Sprintf("%s (%s of backup %s)", place, f.Name, users[0])
	if len(users) > 1 {
		what = fmt.Sprintf("%s (%s of %d backups from %s to %s)", place, f.Name, len(users), users[0], users[len(users)-1])
	}
	switch {
	case v.ctx.Err() != nil:
		return nil, v.ctx.Err()
	case errors.Is(err, iofs.ErrNotExist) && !slices.ContainsFunc(users, v.d.has):
		return nil, nil
	case errors.Is(err, iofs.ErrNotExist):
		return &DamageError{Place: what, Problem: "it is missing"}, nil
	case err != nil:
		return &DamageError{Place: what, Problem: "it cannot be read: " + err.Error()}, nil
	}
	return f.compare(what, sums.file(f.Name)), nil
}

// has says whether a backup is there: while one is verified, another process may remove
// it.
func (d *BackupDir) has(name string) bool {
	_, err := d.fs.Stat(d.path(name + backupSuffix))
	return !errors.Is(err, iofs.ErrNotExist)
}

// foreign tells what lies in the folder and belongs to no backup. What an interrupted
// save leaves is no fault: the next one removes it.
func (d *BackupDir) foreign(stored []StoredBackup) (faults []error, err error) {
	names, err := d.fs.List(d.dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		switch name {
		case backupFiles, backupIncoming, backupLock:
			continue
		}
		if !strings.HasSuffix(name, backupSuffix) && !strings.HasSuffix(name, backupSuffix+".tmp") {
			faults = append(faults, &DamageError{Place: name, Problem: "it belongs to no backup"})
		}
	}
	names, err = d.fs.List(d.path(backupFiles))
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return nil, err
	}
	slices.Sort(names)
	listed := map[BackupSum]bool{}
	for _, s := range stored {
		if s.Err != nil {
			continue
		}
		for i := range s.Manifest.Files {
			listed[s.Manifest.Files[i].Sum] = true
		}
	}
	room := make([]byte, backupChunk)
	for _, name := range names {
		sum, ours := parseBackupSum(name)
		if ours && listed[sum] {
			continue
		}
		if ours {
			s, err := sumBackupFile(d.fs, d.path(backupFiles, name), room, func(int) error { return nil })
			if errors.Is(err, iofs.ErrNotExist) || err == nil && s.file(name).Sum == sum {
				continue // what a save has brought whole, and then was cut off
			}
		}
		faults = append(faults, &DamageError{Place: d.fs.PathJoin(backupFiles, name), Problem: "it belongs to no backup"})
	}
	return faults, nil
}

// verifyState opens a backup's state and compares it with the manifest.
func (d *BackupDir) verifyState(m *BackupManifest) error {
	return d.readState(m, func(db *pebble.DB) error {
		if err := m.verifyRows(db); err != nil {
			return err
		}
		sum, err := recount(db)
		if err != nil {
			return err
		}
		if sum != m.applied.hash {
			return fmt.Errorf("the rows hash to %v, the manifest says %v", sum, m.applied.hash)
		}
		return nil
	})
}

// verifyRows compares what a state says of itself with the manifest.
func (m *BackupManifest) verifyRows(db *pebble.DB) error {
	var applied appliedRow
	v, _, err := get(db, metaKey(metaApplied))
	if err == nil {
		applied, err = decodeApplied(v)
	}
	if err != nil {
		return err
	}
	if applied != m.applied {
		return fmt.Errorf("the state is at revision %d with hash %v, the manifest says %d with %v",
			applied.index, applied.hash, m.applied.index, m.applied.hash)
	}
	for _, n := range []struct {
		name byte
		what string
		want uint64
	}{{groupEpoch, "epoch", m.Epoch}, {groupClusterVer, "cluster version", m.ClusterVersion}} {
		v, ok, err := get(db, groupKey(n.name))
		if err != nil {
			return err
		}
		var got uint64
		if ok {
			if got, err = decodeNumber(v); err != nil {
				return err
			}
		}
		if got != n.want {
			return fmt.Errorf("the state's %s is %x, the manifest says %x", n.what, got, n.want)
		}
	}
	return nil
}

// A BackedStore is a store within a backup.
type BackedStore struct {
	ID      StoreID
	Name    string
	Created time.Time
	Tuples  uint64
	Managed bool // see Store.Managed
}

// Stores reads which stores a backup holds, in the order of their ids.
func (d *BackupDir) Stores(m *BackupManifest) ([]BackedStore, error) {
	var stores []BackedStore
	err := d.readState(m, func(db *pebble.DB) error {
		return scan(db, []byte{byte(spaceStore)}, []byte{byte(spaceStore) + 1}, func(key, value []byte) (bool, error) {
			if len(key) != prefixSize {
				return false, fmt.Errorf("%w: key %x", ErrCorrupt, key)
			}
			row, err := decodeStoreRow(value)
			if err != nil {
				return false, err
			}
			s := BackedStore{ID: StoreID(key[1:]), Name: row.name, Created: time.UnixMilli(row.createdTime).UTC(), Managed: row.managed}
			v, ok, err := get(db, tallyKey(s.ID))
			if err != nil {
				return false, err
			}
			if ok {
				t, err := decodeTally(v)
				if err != nil {
					return false, err
				}
				s.Tuples = t.tuples
			}
			stores = append(stores, s)
			return true, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the state in backup %s: %w", m.Name(), err)
	}
	return stores, nil
}

// readState opens a backup's state for reading, where it lies. What a damaged file makes
// Pebble do is an error.
func (d *BackupDir) readState(m *BackupManifest, f func(db *pebble.DB) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	fs := &backupFS{FS: d.fs, d: d, files: make(map[string]*BackupFile, len(m.Files))}
	for i := range m.Files {
		fs.files[m.Files[i].Name] = &m.Files[i]
	}
	db, err := pebble.Open(backupRoot, &pebble.Options{
		FS: fs, Comparer: pebble.DefaultComparer, ReadOnly: true, ErrorIfNotExists: true, CacheSize: 8 << 20,
		Logger: pebbleLog{slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return f(db)
}

// backupRoot is where a backupFS has its files.
const backupRoot = "backup"

// A backupFS shows a backup as Pebble wrote it: one folder, of files by their own names.
// Nothing can be written to it.
type backupFS struct {
	vfs.FS
	d     *BackupDir
	files map[string]*BackupFile
}

var errReadOnly = errors.New("a backup is not written to")

func (b *backupFS) find(name string) (*BackupFile, error) {
	if f, ok := b.files[b.PathBase(name)]; ok && b.PathDir(name) == backupRoot {
		return f, nil
	}
	return nil, &iofs.PathError{Op: "open", Path: name, Err: iofs.ErrNotExist}
}

// empty is what an empty file is opened as: it has no content among the files.
func (b *backupFS) empty() (vfs.File, error) {
	fs := vfs.NewMem()
	f, err := fs.Create("empty", vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Open implements vfs.FS.
func (b *backupFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := b.find(name)
	if err != nil {
		return nil, err
	}
	if f.Size == 0 {
		return b.empty()
	}
	return b.FS.Open(b.d.path(backupFiles, f.Sum.String()), opts...)
}

// OpenDir implements vfs.FS.
func (b *backupFS) OpenDir(string) (vfs.File, error) { return b.FS.OpenDir(b.d.path(backupFiles)) }

// List implements vfs.FS.
func (b *backupFS) List(dir string) ([]string, error) {
	if dir != backupRoot {
		return nil, &iofs.PathError{Op: "list", Path: dir, Err: iofs.ErrNotExist}
	}
	names := make([]string, 0, len(b.files))
	for name := range b.files {
		names = append(names, name)
	}
	return names, nil
}

// Stat implements vfs.FS.
func (b *backupFS) Stat(name string) (vfs.FileInfo, error) {
	if name == backupRoot {
		return b.FS.Stat(b.d.path(backupFiles))
	}
	f, err := b.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	return info, errors.Join(err, f.Close())
}

// Lock implements vfs.FS: what nobody writes to needs no lock.
func (b *backupFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// Create implements vfs.FS.
func (b *backupFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }

// OpenReadWrite implements vfs.FS.
func (b *backupFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}

// Link implements vfs.FS.
func (b *backupFS) Link(string, string) error { return errReadOnly }

// Remove implements vfs.FS.
func (b *backupFS) Remove(string) error { return errReadOnly }

// RemoveAll implements vfs.FS.
func (b *backupFS) RemoveAll(string) error { return errReadOnly }

// Rename implements vfs.FS.
func (b *backupFS) Rename(string, string) error { return errReadOnly }

// ReuseForWrite implements vfs.FS.
func (b *backupFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}

// MkdirAll implements vfs.FS.
func (b *backupFS) MkdirAll(string, iofs.FileMode) error { return errReadOnly }

// Unwrap implements vfs.FS.
func (b *backupFS) Unwrap() vfs.FS { return nil }
