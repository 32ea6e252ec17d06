package fsm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A tableSum says what rows there are.
type tableSum struct {
	rows uint64
	hash Hash // of those under the state hash
}

func (s *tableSum) add(key, value []byte) {
	s.rows++
	if space(key[0]).hashed() {
		s.hash = s.hash.add(rowHash(key, value))
	}
}

// rewrittenTableSize is when a table is large enough: as Pebble's own at the bottom.
const rewrittenTableSize = 64 << 20

// A tableWriter writes rows, which come in order, into tables for Pebble to take over.
type tableWriter struct {
	fs      vfs.FS
	dir     string
	options sstable.WriterOptions
	table   *sstable.Writer // nil between two
	size    uint64
	paths   []string
}

func newTableWriter(cfg *Config, dir string) *tableWriter {
	o := &pebble.Options{Comparer: pebble.DefaultComparer}
	cfg.setLevels(o)
	o.EnsureDefaults()
	const bottom = 6
	return &tableWriter{fs: cfg.FS, dir: dir, options: o.MakeWriterOptions(bottom, formatVersion.MaxTableFormat())}
}

func (w *tableWriter) add(key, value []byte) error {
	if w.table == nil {
		path := w.fs.PathJoin(w.dir, fmt.Sprintf("%06d.sst", len(w.paths)+1))
		f, err := w.fs.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		w.paths = append(w.paths, path)
		w.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), w.options)
	}
	if err := w.table.Set(key, value); err != nil {
		return err
	}
	if w.size += uint64(len(key) + len(value)); w.size < rewrittenTableSize {
		return nil
	}
	return w.finish()
}

// finish syncs the table, too.
func (w *tableWriter) finish() error {
	err := w.table.Close()
	w.table, w.size = nil, 0
	return err
}

// close gives the tables written. It is called after an error of add, too.
func (w *tableWriter) close() ([]string, error) {
	if w.table == nil {
		return w.paths, nil
	}
	err := w.finish()
	return w.paths, err
}

// A journal keeps the batches that are applied while rows are copied, in their order, in
// a file: what memory would do for a minute would not do for an hour.
type journal struct {
	mu     sync.Mutex
	out    vfs.File
	buffer *bufio.Writer
	added  int64
	err    error // the first; nothing is added after it

	in   vfs.File
	read int64
}

const journalBuffer = 1 << 20

func newJournal(fs vfs.FS, path string) (*journal, error) {
	out, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	in, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return &journal{out: out, buffer: bufio.NewWriterSize(out, journalBuffer), in: in}, nil
}

// add adds a batch. A fault is that of the rewriting, and not of the entries.
func (j *journal) add(batch []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return
	}
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(batch)))
	if _, j.err = j.buffer.Write(size[:]); j.err == nil {
		_, j.err = j.buffer.Write(batch)
	}
	j.added += int64(len(size) + len(batch))
}

// replay commits what was added since it was last called, and says how many bytes.
func (j *journal) replay(ctx context.Context, db *pebble.DB) (int64, error) {
	j.mu.Lock()
	if j.err == nil {
		j.err = j.buffer.Flush()
	}
	end, err := j.added, j.err
	j.mu.Unlock()
	if err != nil {
		return 0, err
	}
	begin := j.read
	in := bufio.NewReaderSize(io.NewSectionReader(j.in, begin, end-begin), journalBuffer)
	for j.read < end {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		var size [4]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return 0, err
		}
		repr := make([]byte, binary.BigEndian.Uint32(size[:])) // the batch takes it
		if _, err := io.ReadFull(in, repr); err != nil {
			return 0, err
		}
		b := db.NewBatch()
		if err := b.SetRepr(repr); err != nil {
			return 0, err
		}
		if err := errors.Join(b.Commit(pebble.NoSync), b.Close()); err != nil {
			return 0, err
		}
		j.read += int64(len(size) + len(repr))
	}
	return end - begin, nil
}

// close may be called twice.
func (j *journal) close() error {
	if j.in == nil {
		return nil
	}
	err := errors.Join(j.out.Close(), j.in.Close())
	j.in = nil
	return err
}
