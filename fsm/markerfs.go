package fsm

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A markerFS syncs a directory before a marker appears in it. A marker is a name by
// which Pebble says which of its files counts, and Pebble syncs the names of both in one
// go. A file system that does not keep names in their order may keep the marker and lose
// the file it names, and Pebble would never open again.
type markerFS struct{ vfs.FS }

// markerPrefix begins the names of Pebble's markers.
const markerPrefix = "marker."

// Create implements vfs.FS.
func (m markerFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(m.PathBase(name), markerPrefix) {
		if err := syncDir(m.FS, m.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return m.FS.Create(name, category)
}

// Unwrap implements vfs.FS.
func (m markerFS) Unwrap() vfs.FS { return m.FS }
