package fsm

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion pins Pebble's on-disk format: it is raised by a release, after all
// nodes run it, and never by an upgrade of the library.
const formatVersion = pebble.FormatWALSyncChunks

// bytesPerSync is how much of a large file is written before the system is told to begin
// putting it on the disk.
const bytesPerSync = 512 << 10

// openPebble opens or creates the database of one generation. The comparer's name is
// burnt into it for ever; the default one orders bytes.
func openPebble(cfg *Config, dir string) (*pebble.DB, error) {
	opts := &pebble.Options{
		FS:                          markerFS{cfg.FS},
		Comparer:                    pebble.DefaultComparer,
		FormatMajorVersion:          formatVersion,
		CacheSize:                   cfg.CacheBytes,
		MemTableSize:                cfg.MemTableBytes,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		MaxOpenFiles:                4096,
		BytesPerSync:                bytesPerSync,
		WALBytesPerSync:             bytesPerSync,
		Logger:                      pebbleLog{cfg.Log},
		EventListener:               cfg.diskListener(),
	}
	cfg.setLevels(opts)
	var watch io.Closer
	if cfg.FS == vfs.Default { // others have no disk that could be slow, or a clock of their own
		opts.WithFSDefaults()
		watch, _ = opts.FS.(io.Closer)
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		if watch != nil { // a database that is open ends it when it is closed
			err = errors.Join(err, watch.Close())
		}
		return nil, fmt.Errorf("pebble in %s: %w", dir, damaged(err))
	}
	return db, nil
}

// diskListener says what becomes of a block that fails its checksum. Who reads it gets an
// error: Apply then ends the process, and whoever asked for it is told. Pebble itself must
// not go on trying to compact it, until its tables pile up.
//
// It also tells of a disk that is slow: of what is not done after five seconds, which are
// Pebble's own choice, and again every two seconds while it lasts.
func (c *Config) diskListener() *pebble.EventListener {
	return &pebble.EventListener{
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			c.Log.Error("database damaged", "file", info.Path, "error", info.Details)
		},
		BackgroundError: func(err error) {
			c.Log.Error("database not tidied up", "error", err)
			if pebble.IsCorruptionError(err) {
				c.Fatal(fmt.Errorf("the database cannot be tidied up: %w", damaged(err)))
			}
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			c.diskSlow.Add(1)
			c.Log.Warn("disk slow", "file", info.Path, "operation", info.OpType.String(), "duration", info.Duration.Round(time.Millisecond))
		},
	}
}

// damaged marks an error of Pebble's as ErrCorrupt if that is what it says.
func damaged(err error) error {
	if !pebble.IsCorruptionError(err) {
		return err
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, info.Path, info.Details)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// setLevels says what tables are like.
func (c *Config) setLevels(opts *pebble.Options) {
	for i := range opts.Levels {
		if c.plainTables {
			opts.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		}
		opts.Levels[i].BlockSize = 16 << 10
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
}

// get reads one row; the value is the caller's own.
func get(r pebble.Reader, key []byte) ([]byte, bool, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %x: %w", key, damaged(err))
	}
	own := append([]byte(nil), v...)
	return own, true, closer.Close()
}

// scan calls f for every row in [lower, upper) until it returns false. Key and value
// hold only during the call.
func scan(r pebble.Reader, lower, upper []byte, f func(key, value []byte) (bool, error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("scan %x: %w", lower, damaged(err))
	}
	defer func() {
		if e := it.Close(); err == nil && e != nil {
			err = fmt.Errorf("scan %x: %w", lower, damaged(e))
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan %x: %w", lower, damaged(err))
		}
		if more, err := f(it.Key(), value); err != nil || !more {
			return err
		}
	}
	return nil
}

// scanBack is scan in the opposite order.
func scanBack(r pebble.Reader, lower, upper []byte, f func(key, value []byte) (bool, error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("scan back from %x: %w", upper, damaged(err))
	}
	defer func() {
		if e := it.Close(); err == nil && e != nil {
			err = fmt.Errorf("scan back from %x: %w", upper, damaged(e))
		}
	}()
	for ok := it.Last(); ok; ok = it.Prev() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan back from %x: %w", upper, damaged(err))
		}
		if more, err := f(it.Key(), value); err != nil || !more {
			return err
		}
	}
	return nil
}

// A generation is one directory with a database. CURRENT names the one in use; Restore
// fills the next one and then moves CURRENT.
const (
	currentFile      = "CURRENT"
	lockFile         = "LOCK"
	generationPrefix = "gen-"
)

func generationDir(fs vfs.FS, dir string, gen uint64) string {
	return fs.PathJoin(dir, fmt.Sprintf("%s%06d", generationPrefix, gen))
}

// currentGeneration reads CURRENT, or makes the first one, and removes every other
// generation: a crash during Restore leaves either the old one or the new one over. A
// generation without CURRENT is what no crash leaves, so it is not removed.
func currentGeneration(fs vfs.FS, dir string) (uint64, error) {
	gen, err := readCurrent(fs, dir)
	if err != nil {
		return 0, err
	}
	names, err := fs.List(dir)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, generationPrefix) || (gen != 0 && fs.PathJoin(dir, name) == generationDir(fs, dir, gen)) {
			continue
		}
		if gen == 0 {
			return 0, fmt.Errorf("%w: there is %s, but no file %s to say whether it counts", ErrCorrupt, name, currentFile)
		}
		if err := fs.RemoveAll(fs.PathJoin(dir, name)); err != nil {
			return 0, fmt.Errorf("remove left-over %s: %w", name, err)
		}
	}
	if gen == 0 {
		gen = 1
		if err := writeCurrent(fs, dir, gen); err != nil {
			return 0, err
		}
	}
	return gen, nil
}

func readCurrent(fs vfs.FS, dir string) (uint64, error) {
	b, err := readFile(fs, fs.PathJoin(dir, currentFile))
	if errors.Is(err, iofs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	name, ok := strings.CutSuffix(string(b), "\n")
	number, ok2 := strings.CutPrefix(name, generationPrefix)
	gen, err := strconv.ParseUint(number, 10, 64)
	if !ok || !ok2 || err != nil || gen == 0 {
		return 0, fmt.Errorf("%w: %s holds %q", ErrCorrupt, currentFile, b)
	}
	return gen, nil
}

func writeCurrent(fs vfs.FS, dir string, gen uint64) error {
	return writeFile(fs, dir, currentFile, fmt.Appendf(nil, "%s%06d\n", generationPrefix, gen))
}

// writeFile replaces a file such that a crash leaves the old or the new content.
func writeFile(fs vfs.FS, dir, name string, content []byte) error {
	tmp := fs.PathJoin(dir, name+".tmp")
	f, err := fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := fs.Rename(tmp, fs.PathJoin(dir, name)); err != nil {
		return err
	}
	return syncDir(fs, dir)
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if e := f.Close(); err == nil {
		err = e
	}
	return b, err
}

// makeDir makes a directory and what lacks above it, durably and for the owner alone.
func makeDir(fs vfs.FS, dir string) error {
	parent := fs.PathDir(dir)
	if _, err := fs.Stat(parent); errors.Is(err, iofs.ErrNotExist) && parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// pebbleLog hands Pebble's messages on. A fatal one must not return.
type pebbleLog struct{ log *slog.Logger }

func (l pebbleLog) Infof(format string, args ...any) {
	l.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("pebble", "message", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Fatalf(format string, args ...any) {
	panic("fsm: pebble: " + fmt.Sprintf(format, args...))
}
