package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// Raft's entries carry no checksum of their own, nor does bbolt sum its pages: a bit that
// a disk turned would be applied on one node alone. So an entry gets one when it is first
// stored, in its extensions, and takes it along to the other nodes and to their disks. An
// entry of a release that wrote none has none, and is taken as it is.

// sumKind is the first byte of the extensions of an entry with a checksum, sumLen their
// length. They are in every log. Never change them: another checksum gets another number.
const (
	sumKind = 1
	sumLen  = 5
)

// castagnoli is the polynomial that processors know.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that an entry is not what was stored.
var errDamaged = errors.New("the log is damaged")

// entrySum is an entry's checksum: of everything by which nodes could come apart.
func entrySum(e *raft.Log) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], e.Index)
	binary.BigEndian.PutUint64(head[8:], e.Term)
	head[16] = byte(e.Type)
	return crc32.Update(crc32.Update(0, castagnoli, head[:]), castagnoli, e.Data)
}

// summed returns the entry with a checksum. One that has none is copied: others may be
// reading it.
func summed(e *raft.Log) *raft.Log {
	if len(e.Extensions) > 0 {
		return e
	}
	s := *e
	s.Extensions = binary.BigEndian.AppendUint32([]byte{sumKind}, entrySum(e))
	return &s
}

// verify compares an entry with its checksum, if it has one that this release knows.
func verify(e *raft.Log) error {
	if len(e.Extensions) != sumLen || e.Extensions[0] != sumKind {
		return nil
	}
	if want, got := binary.BigEndian.Uint32(e.Extensions[1:]), entrySum(e); got != want {
		return fmt.Errorf("%w: entry %d of term %d has the checksum %08x, its content %08x", errDamaged, e.Index, e.Term, want, got)
	}
	return nil
}

// checked is the log as Raft sees it, with checksums. It stands before the cache, so that
// entries that go to other nodes from there bring theirs.
type checked struct {
	raft.LogStore
	fail func(error)
}

// StoreLog appends one entry.
func (c *checked) StoreLog(entry *raft.Log) error { return c.StoreLogs([]*raft.Log{entry}) }

// StoreLogs appends entries, each with a checksum.
func (c *checked) StoreLogs(entries []*raft.Log) error {
	all := make([]*raft.Log, len(entries))
	for i, e := range entries {
		all[i] = summed(e)
	}
	return c.LogStore.StoreLogs(all)
}

// GetLog reads one entry. A damaged one ends the node: Raft would ask for it for ever, or
// panic.
func (c *checked) GetLog(index uint64, entry *raft.Log) error {
	err := readEntry(c.LogStore, index, entry)
	if errors.Is(err, errDamaged) {
		err = fmt.Errorf("%w; %s", err, adviceLog)
		c.fail(err)
	}
	return err
}

// IsMonotonic says whether the store refuses gaps.
func (c *checked) IsMonotonic() bool {
	m, ok := c.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// adviceLog says what to do about a damaged log.
const adviceLog = "nothing was changed; keep this data directory until the data is safe. In a cluster, remove this member " +
	"and join a new node with an empty data directory in its place; a node that is alone starts from a backup. " +
	"Then look at the disk"

// readEntry reads one entry and verifies it. What cannot be read as an entry is damaged.
func readEntry(logs raft.LogStore, index uint64, entry *raft.Log) error {
	switch err := logs.GetLog(index, entry); {
	case errors.Is(err, raft.ErrLogNotFound), errors.Is(err, errClosed):
		return err
	case err != nil:
		return fmt.Errorf("%w: read entry %d: %w", errDamaged, index, err)
	case entry.Index != index:
		return fmt.Errorf("%w: in the place of entry %d is one that calls itself %d", errDamaged, index, entry.Index)
	}
	return verify(entry)
}

// checkLog reads the entries from first to last, as Raft does at the start, where it would
// panic at one that cannot be read. It returns the last one's term, 0 if there is none.
func checkLog(logs raft.LogStore, first, last uint64, each func(*raft.Log) error) (term uint64, err error) {
	for i := first; i != 0 && i <= last; i++ {
		var e raft.Log
		err := readEntry(logs, i, &e)
		if errors.Is(err, raft.ErrLogNotFound) {
			err = fmt.Errorf("%w: entry %d is missing, the last one is %d", errDamaged, i, last)
		}
		if err == nil && e.Term < term {
			err = fmt.Errorf("%w: entry %d is of term %d, the one before it of term %d", errDamaged, i, e.Term, term)
		}
		if err == nil && each != nil {
			err = each(&e)
		}
		if err != nil {
			return 0, err
		}
		term = e.Term
	}
	return term, nil
}

// verifyLog refuses a start on a log of which an entry behind the newest snapshot, which
// Raft will read, is missing or not what was stored, or whose term is lost: a term is
// durable before an entry of it is.
func (f found) verifyLog(logs raft.LogStore) error { return f.readLog(logs, nil) }

// readLog is verifyLog for who wants to see what is read.
func (f found) readLog(logs raft.LogStore, each func(*raft.Log) error) error {
	// The last entry is read in any case.
	first := min(max(f.first, f.snapshot+1), f.last)
	term, err := checkLog(logs, first, f.last, each)
	switch {
	case errors.Is(err, errDamaged):
		return f.refuse(err.Error() + "; " + adviceLog)
	case err != nil:
		return err
	case term > f.term:
		return f.refuse(fmt.Sprintf("%v: its last entry is of term %d, and this node remembers term %d; %s", errDamaged, term, f.term, adviceLog))
	}
	return nil
}

// decodeConfiguration is Raft's, which panics at what it cannot read.
func decodeConfiguration(data []byte) (c raft.Configuration, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%w: a configuration of members cannot be read: %v", errDamaged, reason)
		}
	}()
	return raft.DecodeConfiguration(data), nil
}
