package fsm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A stream is the length of the manifest in four bytes, the manifest, and then the
// files one after the other, in its order and of the sizes that it gives.

func sortFiles(files []manifestFile) {
	slices.SortFunc(files, func(a, b manifestFile) int { return cmp.Compare(a.name, b.name) })
}

// A snapshotReader streams a snapshot and keeps it from being deleted.
type snapshotReader struct {
	store *snapshotStore
	id    string
	m     *manifest

	head []byte // what is left of the manifest's frame
	next int    // the file to open next
	file vfs.File
	done bool
}

func newSnapshotReader(st *snapshotStore, id string, m *manifest) *snapshotReader {
	b := m.travelling()
	return &snapshotReader{store: st, id: id, m: m, head: append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)}
}

// Read implements io.Reader.
func (r *snapshotReader) Read(p []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	for {
		if r.file == nil {
			if r.next == len(r.m.files) {
				return 0, io.EOF
			}
			f, err := r.store.fs.Open(r.store.path(r.id, stateDir, r.m.files[r.next].name), vfs.SequentialReadsOption)
			if err != nil {
				return 0, err
			}
			r.file = f
			r.next++
		}
		n, err := r.file.Read(p)
		if n > 0 {
			return n, nil
		}
		if err == nil && len(p) > 0 {
			return 0, io.ErrNoProgress
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err := r.file.Close(); err != nil {
			return 0, err
		}
		r.file = nil
	}
}

// Close implements io.Closer.
func (r *snapshotReader) Close() error {
	if r.done {
		return nil
	}
	r.done = true
	var err error
	if r.file != nil {
		err = r.file.Close()
	}
	r.store.release(r.id)
	return err
}

// A receiver writes a stream's files into a directory, and checks each as it goes.
type receiver struct {
	fs  vfs.FS
	dir string

	head []byte // the manifest's frame so far
	m    *manifest

	next int // the file being written
	file vfs.File
	left uint64
	sum  *xxhash.Digest
	room []byte
	err  error
}

func newReceiver(fs vfs.FS, dir string) (*receiver, error) {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &receiver{fs: fs, dir: dir, sum: xxhash.New()}, nil
}

// Write implements io.Writer. After a fault every call gives it again.
func (r *receiver) Write(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.write(p)
	r.err = err
	return n, err
}

func (r *receiver) write(p []byte) (n int, err error) {
	if r.m == nil {
		if n, err = r.manifest(p); err != nil || r.m == nil {
			return n, err
		}
	}
	for {
		if r.file == nil {
			if r.next == len(r.m.files) {
				if n < len(p) {
					return n, fmt.Errorf("%w: snapshot stream: bytes behind the last file", ErrCorrupt)
				}
				return n, nil
			}
			if err := r.begin(); err != nil {
				return n, err
			}
		}
		part := p[n:]
		if uint64(len(part)) > r.left {
			part = part[:r.left]
		}
		if len(part) > 0 {
			_, _ = r.sum.Write(part) // a digest's Write never fails
			// A vfs.File may change what it is given to write; an io.Writer may not.
			r.room = append(r.room[:0], part...)
			if _, err := r.file.Write(r.room); err != nil {
				return n, err
			}
			r.left -= uint64(len(part))
			n += len(part)
		}
		if r.left > 0 {
			return n, nil
		}
		if err := r.finish(); err != nil {
			return n, err
		}
	}
}

// manifest takes from p what belongs to the manifest's frame.
func (r *receiver) manifest(p []byte) (n int, err error) {
	want := 4
	for {
		if len(r.head) >= 4 {
			size := binary.BigEndian.Uint32(r.head)
			if size > maxManifest {
				return n, fmt.Errorf("%w: snapshot stream: manifest of %d bytes", ErrCorrupt, size)
			}
			want = 4 + int(size)
		}
		take := min(want-len(r.head), len(p)-n)
		r.head = append(r.head, p[n:n+take]...)
		n += take
		if len(r.head) < want {
			return n, nil
		}
		if len(r.head) > 4 {
			r.m, err = decodeManifest(r.head[4:])
			r.head = nil
			return n, err
		}
		if binary.BigEndian.Uint32(r.head) == 0 {
			return n, fmt.Errorf("%w: snapshot stream: no manifest", ErrCorrupt)
		}
	}
}

func (r *receiver) begin() error {
	f := r.m.files[r.next]
	r.left = f.size
	r.sum.Reset()
	file, err := r.fs.Create(r.fs.PathJoin(r.dir, f.name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// Written back bit by bit: what waits for the disk meanwhile, such as the log, does not
	// wait for hundreds of megabytes.
	r.file = vfs.NewSyncingFile(file, vfs.SyncingFileOptions{BytesPerSync: bytesPerSync})
	return nil
}

func (r *receiver) finish() error {
	f := r.m.files[r.next]
	err := r.file.Sync()
	if e := r.file.Close(); err == nil {
		err = e
	}
	r.file = nil
	r.next++
	if err == nil && r.sum.Sum64() != f.sum {
		err = fmt.Errorf("%w: snapshot stream: checksum of %s", ErrCorrupt, f.name)
	}
	return err
}

// complete says whether the whole stream arrived, and makes the files durable.
func (r *receiver) complete() (*manifest, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.m == nil || r.file != nil || r.next < len(r.m.files) {
		return nil, fmt.Errorf("%w: snapshot stream ends early", ErrCorrupt)
	}
	return r.m, syncDir(r.fs, r.dir)
}

// abandon closes what is open.
func (r *receiver) abandon() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
