package fsm

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// A manifest describes a snapshot: what Raft knows of it, which state it holds, and
// the files of the Pebble checkpoint.
type manifest struct {
	version            uint64 // raft.SnapshotVersion
	index, term        uint64 // Raft's
	configuration      []byte
	configurationIndex uint64

	// source is the index at which the snapshot was taken. It differs from index only
	// if an operator restored it: Raft then gives it an index of its own, and what
	// follows is another history than the one that the snapshot was taken from.
	source uint64

	// local says that the snapshot was taken on this node. It does not travel.
	local bool

	applied appliedRow // of the checkpoint
	epoch   uint64
	files   []manifestFile
}

type manifestFile struct {
	name string
	size uint64
	sum  uint64 // xxhash64
}

const (
	manifestName    = "MANIFEST.remit"
	manifestMagic   = "RMTS"
	manifestFormat  = 1
	maxManifest     = 64 << 20
	maxManifestFile = 1 << 20
)

func (m *manifest) encode() []byte {
	e := &encoder{b: []byte(manifestMagic)}
	e.byte(manifestFormat)
	e.uvarint(m.version)
	e.uvarint(m.index)
	e.uvarint(m.term)
	e.bytes(m.configuration)
	e.uvarint(m.configurationIndex)
	e.uvarint(m.source)
	e.bool(m.local)
	e.bytes(m.applied.encode())
	e.uvarint(m.epoch)
	e.uvarint(uint64(len(m.files)))
	for _, f := range m.files {
		e.string(f.name)
		e.uvarint(f.size)
		e.b = binary.BigEndian.AppendUint64(e.b, f.sum)
	}
	return binary.BigEndian.AppendUint64(e.b, xxhash.Sum64(e.b))
}

func decodeManifest(b []byte) (*manifest, error) {
	const head = len(manifestMagic) + 1
	if len(b) < head+8 || string(b[:len(manifestMagic)]) != manifestMagic {
		return nil, fmt.Errorf("%w: not a snapshot manifest", ErrCorrupt)
	}
	if v := b[len(manifestMagic)]; v != manifestFormat {
		return nil, &formatError{"snapshot manifest", uint64(v)}
	}
	body, sum := b[:len(b)-8], binary.BigEndian.Uint64(b[len(b)-8:])
	if xxhash.Sum64(body) != sum {
		return nil, fmt.Errorf("%w: snapshot manifest: checksum", ErrCorrupt)
	}
	d := &decoder{b: body[head:]}
	m := &manifest{
		version: d.uvarint(), index: d.uvarint(), term: d.uvarint(), configuration: d.bytes(maxManifest),
		configurationIndex: d.uvarint(), source: d.uvarint(), local: d.bool(),
	}
	applied := d.bytes(1 << 10)
	m.epoch = d.uvarint()
	m.files = make([]manifestFile, d.count(maxManifestFile))
	for i := range m.files {
		f := &m.files[i]
		f.name, f.size = d.string(MaxTextSize), d.uvarint()
		var p [8]byte
		d.fixed(p[:])
		f.sum = binary.BigEndian.Uint64(p[:])
		if d.err == nil && !plainName(f.name) {
			d.fail("file name")
		}
	}
	if err := d.done(); err != nil {
		return nil, fmt.Errorf("decode snapshot manifest: %w", err)
	}
	var err error
	m.applied, err = decodeApplied(applied)
	return m, err
}

// plainName refuses names that could leave the snapshot's directory.
func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, `/\`+"\x00")
}

// travelling is the manifest as other nodes get it.
func (m *manifest) travelling() []byte {
	t := *m
	t.local = false
	return t.encode()
}

// streamSize is the exact number of bytes that a stream of the snapshot has.
func (m *manifest) streamSize() int64 {
	size := int64(4 + len(m.travelling()))
	for _, f := range m.files {
		size += int64(f.size)
	}
	return size
}

func (m *manifest) meta(id string) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersion(m.version), ID: id, Index: m.index, Term: m.term,
		Configuration: raft.DecodeConfiguration(m.configuration), ConfigurationIndex: m.configurationIndex,
		Size: m.streamSize(),
	}
}

// listFiles sums up every file of a checkpoint.
func listFiles(fs vfs.FS, dir string) ([]manifestFile, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	files := make([]manifestFile, 0, len(names))
	for _, name := range names {
		f, err := sumFile(fs, fs.PathJoin(dir, name))
		if err != nil {
			return nil, fmt.Errorf("sum %s: %w", name, err)
		}
		f.name = name
		files = append(files, f)
	}
	sortFiles(files)
	return files, nil
}

func sumFile(fs vfs.FS, path string) (f manifestFile, err error) {
	r, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return f, err
	}
	h := xxhash.New()
	n, err := io.Copy(h, r)
	if e := r.Close(); err == nil {
		err = e
	}
	f.size, f.sum = uint64(n), h.Sum64()
	return f, err
}
