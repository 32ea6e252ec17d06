package clustertest

import (
	"errors"
	"io"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is a file system in memory whose power can be cut. It has what a small
// state machine of a test needs; FS is the whole of it.
type Disk struct{ FS *vfs.MemFS }

// NewDisk returns an empty disk.
func NewDisk() Disk { return Disk{vfs.NewCrashableMem()} }

// Crash returns the disk as it would be after a power loss now: what was not
// synced survives with the given probability, block by block. The disk itself
// goes on as if nothing had happened.
func (d Disk) Crash(percent int, rng *rand.Rand) Disk {
	return Disk{d.FS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})}
}

// Create makes an empty file, and its directory when missing.
func (d Disk) Create(name string) (File, error) {
	if err := d.FS.MkdirAll(d.FS.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return d.FS.Create(name, vfs.WriteCategoryUnspecified)
}

// File is a file that is being written.
type File interface {
	io.WriteCloser
	Sync() error
}

// Read returns what a file holds.
func (d Disk) Read(name string) ([]byte, error) {
	f, err := d.FS.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

// Replace gives from, which must be synced, the name to, durably.
func (d Disk) Replace(from, to string) error {
	if err := d.FS.Rename(from, to); err != nil {
		return err
	}
	dir, err := d.FS.OpenDir(d.FS.PathDir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close(), syncParents(d.FS, d.FS.PathDir(to)))
}
