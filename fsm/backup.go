package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
	"time"

	"github.com/remit-authz/remit/graph"
)

// A BackupManifest says what a backup holds: the state at one revision, as the files of
// a Pebble checkpoint. Whoever holds the manifest and files with these checksums holds
// the state.
type BackupManifest struct {
	// Created is when the backup was taken, by the clock of the node that took it.
	Created time.Time
	// Program is the version of the program that took it.
	Program string
	// Epoch is the history that the revision counts in. A restore begins another.
	Epoch uint64
	// ClusterVersion is what a program must know to follow the state.
	ClusterVersion uint64
	// Files are in the order of their names.
	Files []BackupFile

	applied appliedRow
}

// A BackupFile is one file of a backup.
type BackupFile struct {
	Name string
	Size uint64
	Sum  BackupSum

	// chunks are the CRC-32C of each chunk of the file. They only say where a file is
	// damaged; that it is not damaged, Sum says.
	chunks []uint32
}

// A BackupSum is the SHA-256 of a file, which is also its name among backups.
type BackupSum [sha256.Size]byte

// String is the sum in hexadecimal.
func (s BackupSum) String() string { return hex.EncodeToString(s[:]) }

func parseBackupSum(text string) (s BackupSum, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(s) {
		return s, false
	}
	copy(s[:], b)
	return s, s.String() == text // not in capitals
}

// Revision is the state's.
func (m *BackupManifest) Revision() graph.Revision { return graph.Revision(m.applied.index) }

// Term is that of the revision's entry.
func (m *BackupManifest) Term() uint64 { return m.applied.term }

// Time is the leader's time at the revision.
func (m *BackupManifest) Time() time.Time { return time.UnixMilli(m.applied.time).UTC() }

// Hash is the state hash at the revision.
func (m *BackupManifest) Hash() Hash { return m.applied.hash }

// Size is the number of bytes in all files.
func (m *BackupManifest) Size() uint64 {
	var size uint64
	for i := range m.Files {
		size += m.Files[i].Size
	}
	return size
}

// backupTime is how a backup's name has its time, so that names order as times do.
const backupTime = "20060102T150405.000Z"

// Name is what the backup is called: when it was taken, and at which revision.
func (m *BackupManifest) Name() string {
	return m.Created.UTC().Format(backupTime) + "-" + strconv.FormatUint(m.applied.index, 10)
}

// missing are the files whose content is not among the sums, each content once. An
// empty file has no content to miss.
func (m *BackupManifest) missing(have map[BackupSum]bool) []*BackupFile {
	var files []*BackupFile
	seen := make(map[BackupSum]bool)
	for i := range m.Files {
		f := &m.Files[i]
		if f.Size > 0 && !have[f.Sum] && !seen[f.Sum] {
			seen[f.Sum] = true
			files = append(files, f)
		}
	}
	return files
}

// The encoding of a manifest. It ends with the SHA-256 of all before, so what follows
// from it is as sure as the files are.
const (
	backupMagic     = "RMTB"
	backupFormat    = 1
	backupChunk     = 1 << 20 // of format 1
	maxBackupFiles  = 1 << 24
	maxBackupSize   = 1 << 50 // of a file
	backupHeadBytes = len(backupMagic) + 1
)

func chunksOf(size uint64) uint64 { return (size + backupChunk - 1) / backupChunk }

// Encode gives the bytes that DecodeBackup reads.
func (m *BackupManifest) Encode() []byte {
	e := &encoder{b: []byte(backupMagic)}
	e.byte(backupFormat)
	e.varint(m.Created.UnixMilli())
	e.string(m.Program)
	e.bytes(m.applied.encode())
	e.uvarint(m.Epoch)
	e.uvarint(m.ClusterVersion)
	e.uvarint(uint64(len(m.Files)))
	for i := range m.Files {
		f := &m.Files[i]
		e.string(f.Name)
		e.uvarint(f.Size)
		e.fixed(f.Sum[:])
		for _, c := range f.chunks {
			e.b = binary.BigEndian.AppendUint32(e.b, c)
		}
	}
	sum := sha256.Sum256(e.b)
	return append(e.b, sum[:]...)
}

// DecodeBackup reads a manifest. Any damage is ErrCorrupt.
func DecodeBackup(b []byte) (*BackupManifest, error) {
	if len(b) < backupHeadBytes+sha256.Size || string(b[:len(backupMagic)]) != backupMagic {
		return nil, fmt.Errorf("%w: not a backup's manifest", ErrCorrupt)
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if got := sha256.Sum256(body); BackupSum(got) != BackupSum(sum) {
		return nil, fmt.Errorf("%w: a backup's manifest: its checksum does not match", ErrCorrupt)
	}
	if v := b[len(backupMagic)]; v != backupFormat {
		return nil, &formatError{"backup", uint64(v)}
	}
	d := &decoder{b: body[backupHeadBytes:]}
	m := &BackupManifest{Created: time.UnixMilli(d.varint()).UTC(), Program: d.string(MaxTextSize)}
	applied := d.bytes(1 << 10)
	m.Epoch, m.ClusterVersion = d.uvarint(), d.uvarint()
	m.Files = make([]BackupFile, 0, min(d.count(maxBackupFiles), len(d.b)/sha256.Size+1))
	for d.err == nil && len(d.b) > 0 && len(m.Files) < cap(m.Files) {
		m.Files = append(m.Files, d.backupFile())
		if n := len(m.Files); n > 1 && m.Files[n-1].Name <= m.Files[n-2].Name {
			d.fail("files out of order")
		}
	}
	if len(m.Files) != cap(m.Files) {
		d.fail("files are missing")
	}
	if err := d.done(); err != nil {
		return nil, fmt.Errorf("decode a backup's manifest: %w", err)
	}
	var err error
	m.applied, err = decodeApplied(applied)
	if err != nil {
		return nil, fmt.Errorf("decode a backup's manifest: %w", err)
	}
	return m, nil
}

func (d *decoder) backupFile() BackupFile {
	f := BackupFile{Name: d.string(MaxTextSize), Size: d.uvarint()}
	d.fixed(f.Sum[:])
	n := chunksOf(min(f.Size, maxBackupSize+1))
	if !plainName(f.Name) || f.Size > maxBackupSize || n > uint64(len(d.b)/4) {
		d.fail("file")
		return f
	}
	f.chunks = make([]uint32, n)
	for i := range f.chunks {
		f.chunks[i] = binary.BigEndian.Uint32(d.b[4*i:])
	}
	d.b = d.b[4*n:]
	return f
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A backupSummer sums a file as it is written to it.
type backupSummer struct {
	size   uint64
	whole  hash.Hash
	chunk  hash.Hash32
	chunks []uint32
}

func newBackupSummer() *backupSummer {
	return &backupSummer{whole: sha256.New(), chunk: crc32.New(castagnoli)}
}

// Write implements io.Writer.
func (s *backupSummer) Write(p []byte) (int, error) {
	n := len(p)
	_, _ = s.whole.Write(p) // a hash's Write never fails
	for len(p) > 0 {
		part := p[:min(uint64(len(p)), backupChunk-s.size%backupChunk)]
		_, _ = s.chunk.Write(part)
		if s.size += uint64(len(part)); s.size%backupChunk == 0 {
			s.endChunk()
		}
		p = p[len(part):]
	}
	return n, nil
}

func (s *backupSummer) endChunk() {
	s.chunks = append(s.chunks, s.chunk.Sum32())
	s.chunk.Reset()
}

// file is what has been summed. Nothing may be written afterwards.
func (s *backupSummer) file(name string) BackupFile {
	if s.size%backupChunk != 0 {
		s.endChunk()
	}
	return BackupFile{Name: name, Size: s.size, Sum: BackupSum(s.whole.Sum(nil)), chunks: s.chunks}
}

// compare tells where a file that was summed differs from what it should be; nil if it
// does not. The place is a file's path.
func (f *BackupFile) compare(place string, got BackupFile) error {
	switch {
	case got.Sum == f.Sum && got.Size == f.Size:
		return nil
	case got.Size < f.Size:
		return &DamageError{Place: place, Problem: fmt.Sprintf("it is cut off: %d of %d bytes", got.Size, f.Size)}
	case got.Size > f.Size:
		return &DamageError{Place: place, Problem: fmt.Sprintf("it has %d bytes, %d more than it should", got.Size, got.Size-f.Size)}
	}
	for i, c := range got.chunks {
		if c != f.chunks[i] {
			from := uint64(i) * backupChunk
			return &DamageError{Place: place, Problem: fmt.Sprintf("its bytes from %d to %d are not what was written", from, min(from+backupChunk, f.Size)-1)}
		}
	}
	return &DamageError{Place: place, Problem: "it is not what was written"}
}

// A DamageError says which part of a backup is not what was written. It is ErrCorrupt.
type DamageError struct {
	Place   string // the path of a file within the backup's folder
	Problem string
}

func (e *DamageError) Error() string { return e.Place + ": " + e.Problem }

// Is makes it ErrCorrupt.
func (e *DamageError) Is(target error) bool { return errors.Is(ErrCorrupt, target) }

// sumReader sums all that a reader has.
func sumReader(r io.Reader, room []byte, tell func(n int) error) (*backupSummer, error) {
	s := newBackupSummer()
	for {
		n, err := r.Read(room)
		_, _ = s.Write(room[:n])
		if n > 0 {
			if e := tell(n); e != nil {
				return nil, e
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case err != nil:
			return nil, err
		case n == 0:
			return nil, io.ErrNoProgress
		}
	}
}
