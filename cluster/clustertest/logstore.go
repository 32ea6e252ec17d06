// Package clustertest helps to test what runs on a cluster.Node: it keeps Raft's
// log on a virtual file system, so that a test can cut the power in memory.
package clustertest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// LogStore is a raft.LogStore and raft.StableStore on Pebble. With sync it is as
// durable as the real log; on vfs.NewCrashableMem, CrashClone then shows what a
// power loss would leave.
type LogStore struct {
	db    *pebble.DB
	write *pebble.WriteOptions
}

// NewLogStore opens the store in dir of fs, creating it when missing. Without
// sync, what it acknowledges can be lost.
func NewLogStore(fs vfs.FS, dir string, sync bool) (*LogStore, error) {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	options := &pebble.Options{FS: markerFS{fs}, Logger: silent{}}
	// Pebble keeps what it writes several blocks of a table with, channels included, for the
	// next table. A log of one synctest bubble must not meet those of another.
	options.Levels[0].BlockSize = 4 << 20
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := syncParents(fs, dir); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), db.Close())
	}
	l := &LogStore{db: db, write: pebble.NoSync}
	if sync {
		l.write = pebble.Sync
	}
	return l, nil
}

// A markerFS syncs a directory before one of Pebble's markers appears in it: a marker
// names another file there, and must not survive a loss of power without it.
type markerFS struct{ vfs.FS }

// Create implements vfs.FS.
func (m markerFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(m.PathBase(name), "marker.") {
		dir, err := m.OpenDir(m.PathDir(name))
		if err != nil {
			return nil, err
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			return nil, err
		}
	}
	return m.FS.Create(name, category)
}

// Unwrap implements vfs.FS.
func (m markerFS) Unwrap() vfs.FS { return m.FS }

// syncParents makes the name of dir durable: a new directory is lost with the
// power unless those above it were synced.
func syncParents(fs vfs.FS, dir string) error {
	for {
		parent := fs.PathDir(dir)
		if parent == "" {
			parent = "."
		}
		d, err := fs.OpenDir(parent)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
		if parent == dir || parent == "." {
			return nil
		}
		dir = parent
	}
}

// Close closes the store. Raft must have stopped.
func (l *LogStore) Close() error { return l.db.Close() }

// Keys: 'l' and the index for an entry, 's' and a name for a value.
func logKey(index uint64) []byte { return binary.BigEndian.AppendUint64([]byte{'l'}, index) }
func stableKey(k []byte) []byte  { return append([]byte{'s'}, k...) }

// FirstIndex returns the lowest index in the log, 0 for an empty one.
func (l *LogStore) FirstIndex() (uint64, error) { return l.end((*pebble.Iterator).First) }

// LastIndex returns the highest index in the log, 0 for an empty one.
func (l *LogStore) LastIndex() (uint64, error) { return l.end((*pebble.Iterator).Last) }

func (l *LogStore) end(seek func(*pebble.Iterator) bool) (index uint64, err error) {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte{'l'}, UpperBound: []byte{'l' + 1}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !seek(it) {
		return 0, it.Error()
	}
	return binary.BigEndian.Uint64(it.Key()[1:]), nil
}

// GetLog reads one entry.
func (l *LogStore) GetLog(index uint64, entry *raft.Log) error {
	value, closer, err := l.db.Get(logKey(index))
	if errors.Is(err, pebble.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return err
	}
	err = decodeEntry(value, entry)
	entry.Index = index
	return errors.Join(err, closer.Close())
}

// StoreLog writes one entry.
func (l *LogStore) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs writes entries, all or none.
func (l *LogStore) StoreLogs(entries []*raft.Log) error {
	b := l.db.NewBatch()
	for _, e := range entries {
		if err := b.Set(logKey(e.Index), encodeEntry(e), nil); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	return errors.Join(b.Commit(l.write), b.Close())
}

// DeleteRange deletes the entries from low to high, both included.
func (l *LogStore) DeleteRange(low, high uint64) error {
	return l.db.DeleteRange(logKey(low), append(logKey(high), 0), l.write)
}

// errNotFound has the text by which Raft knows a value that was never set.
var errNotFound = errors.New("not found")

// Set writes a value.
func (l *LogStore) Set(key, value []byte) error {
	return l.db.Set(stableKey(key), value, l.write)
}

// Get reads a value.
func (l *LogStore) Get(key []byte) ([]byte, error) {
	value, closer, err := l.db.Get(stableKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

// SetUint64 writes a number.
func (l *LogStore) SetUint64(key []byte, value uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 reads a number.
func (l *LogStore) GetUint64(key []byte) (uint64, error) {
	value, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("value of %q has %d bytes, want 8", key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// entryHeader is the term, the type, the time and the length of the data.
const entryHeader = 8 + 1 + 8 + 4

func encodeEntry(e *raft.Log) []byte {
	var at int64
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	b := make([]byte, 0, entryHeader+len(e.Data)+len(e.Extensions))
	b = binary.BigEndian.AppendUint64(b, e.Term)
	b = append(b, byte(e.Type))
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Data)))
	b = append(b, e.Data...)
	return append(b, e.Extensions...)
}

func decodeEntry(b []byte, e *raft.Log) error {
	if len(b) < entryHeader {
		return fmt.Errorf("entry has %d bytes, want at least %d", len(b), entryHeader)
	}
	n := binary.BigEndian.Uint32(b[17:])
	rest := b[entryHeader:]
	if uint64(n) > uint64(len(rest)) {
		return fmt.Errorf("entry of %d bytes claims %d of data", len(b), n)
	}
	*e = raft.Log{Term: binary.BigEndian.Uint64(b), Type: raft.LogType(b[8])}
	if at := int64(binary.BigEndian.Uint64(b[9:])); at != 0 {
		e.AppendedAt = time.Unix(0, at)
	}
	if n > 0 {
		e.Data = append([]byte{}, rest[:n]...)
	}
	if len(rest) > int(n) {
		e.Extensions = append([]byte{}, rest[n:]...)
	}
	return nil
}

// silent drops Pebble's messages: a test that cuts the power makes many.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
