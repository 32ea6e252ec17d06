package cluster

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// countingLogs records which slices of it were deleted.
type countingLogs struct {
	*raft.InmemStore
	first, last uint64
	deleted     [][2]uint64
	err         error
}

func (c *countingLogs) FirstIndex() (uint64, error) { return c.first, nil }
func (c *countingLogs) LastIndex() (uint64, error)  { return c.last, nil }
func (c *countingLogs) DeleteRange(low, high uint64) error {
	c.deleted = append(c.deleted, [2]uint64{low, high})
	return c.err
}

func TestDeleteRangeGoesInSlicesFromItsEnd(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, last uint64
		low, high   uint64
		want        [][2]uint64
	}{
		{"the beginning, upwards", 1, 50_000, 1, 25_000, [][2]uint64{{1, 10_000}, {10_001, 20_000}, {20_001, 25_000}}},
		{"the end, downwards", 1, 50_000, 25_001, 50_000, [][2]uint64{{40_001, 50_000}, {30_001, 40_000}, {25_001, 30_000}}},
		{"a slice exactly", 1, 50_000, 1, 10_000, [][2]uint64{{1, 10_000}}},
		{"one more than a slice", 1, 50_000, 1, 10_001, [][2]uint64{{1, 10_000}, {10_001, 10_001}}},
		{"beyond both ends", 5, 7, 0, 1 << 60, [][2]uint64{{5, 7}}},
		{"outside", 5, 7, 1, 4, nil},
		{"of an empty log", 0, 0, 0, 10, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logs := &countingLogs{first: tt.first, last: tt.last}
			g := &guarded{logs: logs}
			if err := g.DeleteRange(tt.low, tt.high); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, logs.deleted); diff != "" {
				t.Errorf("DeleteRange(%d, %d) (-want +got):\n%s", tt.low, tt.high, diff)
			}
		})
	}
}

func TestFirstFailedWriteIsTheLast(t *testing.T) {
	inmem := raft.NewInmemStore()
	logs := &countingLogs{InmemStore: inmem, first: 1, last: 100_000, err: errDisk}
	var failures []error
	g := &guarded{logs: logs, stable: inmem, fail: func(err error) { failures = append(failures, err) }}
	if err := g.StoreLog(&raft.Log{Index: 1}); err != nil {
		t.Fatal(err)
	}
	if err := g.DeleteRange(1, 50_000); !errors.Is(err, errDisk) {
		t.Errorf("DeleteRange: error %v, want %v", err, errDisk)
	}
	if len(logs.deleted) != 1 {
		t.Errorf("%d slices were tried, want the first failure to end it", len(logs.deleted))
	}
	if err := g.DeleteRange(1, 50_000); !errors.Is(err, errDisk) {
		t.Errorf("second DeleteRange: error %v, want %v", err, errDisk)
	}
	if err := g.StoreLog(&raft.Log{Index: 2}); !errors.Is(err, errBroken) {
		t.Errorf("StoreLog after a failure: error %v, want %v", err, errBroken)
	}
	if len(failures) != 1 || !errors.Is(failures[0], errDisk) {
		t.Errorf("failures are %v, want one of %v", failures, errDisk)
	}
	g.close()
	if _, err := g.FirstIndex(); !errors.Is(err, errClosed) {
		t.Errorf("FirstIndex after close: error %v, want %v", err, errClosed)
	}
	if _, err := g.LastIndex(); !errors.Is(err, errClosed) {
		t.Errorf("LastIndex after close: error %v, want %v", err, errClosed)
	}
	if err := g.GetLog(1, new(raft.Log)); !errors.Is(err, errClosed) {
		t.Errorf("GetLog after close: error %v, want %v", err, errClosed)
	}
	if g.IsMonotonic() {
		t.Error("IsMonotonic() = true of a store that allows gaps")
	}
}

// fakeMachine is a state machine without a state, which answers every entry with itself.
type fakeMachine struct{ restore error }

func (fakeMachine) Apply(*raft.Log) any { return nil }

func (fakeMachine) ApplyBatch(l []*raft.Log) []any {
	results := make([]any, len(l))
	for i := range l {
		results[i] = l[i].Data
	}
	return results
}

func (fakeMachine) Snapshot() (raft.FSMSnapshot, error) { return toySnapshot(nil), nil }
func (f fakeMachine) Restore(io.ReadCloser) error       { return f.restore }

func TestNoSnapshotDuringReplay(t *testing.T) {
	m := &machine{BatchingFSM: fakeMachine{}, fresh: new(freshness), before: func() {}, holds: func() uint64 { return 10 }}
	m.durable.Store(10)
	m.ApplyBatch([]*raft.Log{{Index: 8}, {Index: 9}})
	if _, err := m.Snapshot(); !errors.Is(err, errReplaying) {
		t.Errorf("Snapshot at 9 of 10: error %v, want %v", err, errReplaying)
	}
	m.Apply(&raft.Log{Index: 10})
	if _, err := m.Snapshot(); err != nil {
		t.Errorf("Snapshot at 10 of 10: %v", err)
	}
	if err := m.Restore(nil); err != nil || m.durable.Load() != 0 {
		t.Errorf("Restore: %v, then %d to be replayed, want none", err, m.durable.Load())
	}
}

func TestFailedRestoreEndsTheNode(t *testing.T) {
	bad := errors.New("bad block")
	var failures []error
	m := &machine{BatchingFSM: fakeMachine{restore: bad}, fresh: new(freshness), before: func() {}, fail: func(err error) { failures = append(failures, err) }}
	m.started.Store(true)
	if err := m.Restore(nil); !errors.Is(err, bad) {
		t.Errorf("Restore: error %v, want %v", err, bad)
	}
	if len(failures) != 1 || !errors.Is(failures[0], bad) {
		t.Errorf("failures are %v, want one of %v", failures, bad)
	}
}

func TestStartErrorNamesTheIndexes(t *testing.T) {
	err := &StartError{Problem: "lost", Durable: 12, Snapshot: 5, First: 3, Last: 9}
	want := "lost (state machine at 12, newest snapshot at 5, log from 3 to 9)"
	if got := fmt.Sprint(err); got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

// The log's bytes lie on disks for years: the format of time above all, which older
// decoders do not read.
func TestLogEntryBytes(t *testing.T) {
	dir := t.TempDir()
	store, err := openLog(dir, false)
	must(t, err)
	must(t, store.StoreLog(&raft.Log{
		Index: 300, Term: 4, Type: raft.LogCommand, Data: []byte("data"),
		AppendedAt: time.UnixMilli(1_700_000_000_123).UTC(),
	}))
	must(t, store.Close())

	db, err := bbolt.Open(filepath.Join(dir, logFile), 0o600, nil)
	must(t, err)
	must(t, db.View(func(tx *bbolt.Tx) error {
		key, value := tx.Bucket([]byte("logs")).Cursor().First()
		got := fmt.Sprintf("%x %x", key, value)
		const want = "000000000000012c 86aa417070656e6465644174a81d5353006553f100a444617461a464617461aa457874656e73696f6e73c0" +
			"a5496e646578cd012ca45465726d04a45479706500"
		if got != want {
			t.Errorf("an entry is stored as\n%s, want\n%s", got, want)
		}
		return nil
	}))
	must(t, db.Close())
}
