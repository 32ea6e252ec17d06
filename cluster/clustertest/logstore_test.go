package clustertest_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/remit-authz/remit/cluster/clustertest"
)

type store interface {
	raft.LogStore
	raft.StableStore
	Close() error
}

// stores are the log stores that must behave alike: the real one and the one
// that tests put in its place. Each opens the same log every time it is called.
var stores = []struct {
	name string
	open func(t *testing.T) func() (store, error)
}{
	{"bolt", func(t *testing.T) func() (store, error) {
		path := filepath.Join(t.TempDir(), "raft.db")
		return func() (store, error) {
			return raftboltdb.New(raftboltdb.Options{Path: path, MsgpackUseNewTimeFormat: true})
		}
	}},
	{"clustertest", func(*testing.T) func() (store, error) {
		fs := vfs.NewMem()
		return func() (store, error) { return clustertest.NewLogStore(fs, "log", true) }
	}},
}

func TestLogStoreConformance(t *testing.T) {
	for _, s := range stores {
		for _, test := range conformance {
			t.Run(s.name+"/"+test.name, func(t *testing.T) {
				open := s.open(t)
				l, err := open()
				if err != nil {
					t.Fatal(err)
				}
				reopen := func() store {
					t.Helper()
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
					if l, err = open(); err != nil {
						t.Fatal(err)
					}
					return l
				}
				test.run(t, l, reopen)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

var conformance = []struct {
	name string
	run  func(t *testing.T, l store, reopen func() store)
}{
	{"an empty log is from 0 to 0", func(t *testing.T, l store, _ func() store) {
		wantRange(t, l, 0, 0)
		if err := l.GetLog(1, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("GetLog(1) of an empty log: error %v, want %v", err, raft.ErrLogNotFound)
		}
	}},
	{"entries come back as they were stored", func(t *testing.T, l store, reopen func() store) {
		at := time.Date(2026, 11, 21, 10, 20, 30, 123456789, time.UTC)
		entries := []*raft.Log{
			{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: []byte{0, 255}, AppendedAt: at},
			{Index: 2, Term: 1, Type: raft.LogNoop},
			{Index: 3, Term: 7, Type: raft.LogCommand, Data: make([]byte, 300_000), Extensions: []byte("x")},
		}
		put(t, l, entries...)
		for range 2 {
			for _, want := range entries {
				var got raft.Log
				if err := l.GetLog(want.Index, &got); err != nil {
					t.Fatalf("GetLog(%d): %v", want.Index, err)
				}
				// Whether no bytes come back as nil or empty is left open.
				if diff := cmp.Diff(*want, got, cmp.Comparer(time.Time.Equal), cmp.Comparer(bytes.Equal)); diff != "" {
					t.Errorf("GetLog(%d) (-want +got):\n%s", want.Index, diff)
				}
			}
			l = reopen()
		}
	}},
	{"a truncated log begins later", func(t *testing.T, l store, reopen func() store) {
		fill(t, l, 1, 100)
		remove(t, l, 1, 40)
		wantRange(t, l, 41, 100)
		wantEntries(t, l, 41, 100)
		l = reopen()
		wantRange(t, l, 41, 100)
		if err := l.GetLog(40, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("GetLog(40) after truncation: error %v, want %v", err, raft.ErrLogNotFound)
		}
	}},
	{"a cut log ends earlier and grows again", func(t *testing.T, l store, _ func() store) {
		fill(t, l, 1, 100)
		remove(t, l, 90, 100)
		wantRange(t, l, 1, 89)
		fill(t, l, 90, 95)
		wantRange(t, l, 1, 95)
		wantEntries(t, l, 1, 95)
	}},
	{"a log may be deleted whole and beyond its ends", func(t *testing.T, l store, _ func() store) {
		fill(t, l, 5, 10)
		remove(t, l, 1, 1000)
		wantRange(t, l, 0, 0)
		remove(t, l, 1, 1000)
		fill(t, l, 300, 300)
		wantRange(t, l, 300, 300)
	}},
	{"an entry may be stored over another", func(t *testing.T, l store, _ func() store) {
		fill(t, l, 1, 3)
		put(t, l, &raft.Log{Index: 3, Term: 9, Data: []byte("later")})
		var got raft.Log
		if err := l.GetLog(3, &got); err != nil || got.Term != 9 || string(got.Data) != "later" {
			t.Errorf("GetLog(3) = %+v, %v, want the later entry of term 9", got, err)
		}
		wantRange(t, l, 1, 3)
	}},
	{"a gap is allowed", func(t *testing.T, l store, _ func() store) {
		// Raft leaves one after a restored backup, unless the store forbids it.
		if m, ok := l.(raft.MonotonicLogStore); ok && m.IsMonotonic() {
			t.Fatal("IsMonotonic() = true, want gaps allowed")
		}
		fill(t, l, 1, 3)
		fill(t, l, 10, 12)
		wantRange(t, l, 1, 12)
		if err := l.GetLog(5, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("GetLog(5) in the gap: error %v, want %v", err, raft.ErrLogNotFound)
		}
	}},
	{"indexes order as numbers", func(t *testing.T, l store, _ func() store) {
		fill(t, l, 254, 258)
		wantRange(t, l, 254, 258)
		wantEntries(t, l, 254, 258)
	}},
	{"a value that was never set is not found", func(t *testing.T, l store, _ func() store) {
		if _, err := l.Get([]byte("k")); err == nil || err.Error() != "not found" {
			t.Errorf("Get(k): error %v, want the text by which raft knows it", err)
		}
		if n, err := l.GetUint64([]byte("k")); n != 0 || err == nil || err.Error() != "not found" {
			t.Errorf("GetUint64(k) = %d, %v, want the text by which raft knows it", n, err)
		}
	}},
	{"values survive and are not entries", func(t *testing.T, l store, reopen func() store) {
		if err := errors.Join(l.Set([]byte("vote"), []byte("node")), l.SetUint64([]byte("term"), 1<<40)); err != nil {
			t.Fatal(err)
		}
		if err := l.SetUint64([]byte("term"), 1<<41); err != nil {
			t.Fatal(err)
		}
		wantRange(t, l, 0, 0)
		fill(t, l, 1, 5)
		remove(t, l, 1, 5)
		l = reopen()
		if v, err := l.Get([]byte("vote")); err != nil || string(v) != "node" {
			t.Errorf("Get(vote) = %q, %v, want node", v, err)
		}
		if n, err := l.GetUint64([]byte("term")); err != nil || n != 1<<41 {
			t.Errorf("GetUint64(term) = %d, %v, want %d", n, err, uint64(1<<41))
		}
	}},
}

func fill(t *testing.T, l store, from, to uint64) {
	t.Helper()
	var entries []*raft.Log
	for i := from; i <= to; i++ {
		entries = append(entries, &raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "entry %d", i)})
	}
	put(t, l, entries...)
}

func put(t *testing.T, l store, entries ...*raft.Log) {
	t.Helper()
	if err := l.StoreLogs(entries); err != nil {
		t.Fatalf("StoreLogs: %v", err)
	}
}

func remove(t *testing.T, l store, low, high uint64) {
	t.Helper()
	if err := l.DeleteRange(low, high); err != nil {
		t.Fatalf("DeleteRange(%d, %d): %v", low, high, err)
	}
}

func wantRange(t *testing.T, l store, first, last uint64) {
	t.Helper()
	f, err := l.FirstIndex()
	if err != nil || f != first {
		t.Errorf("FirstIndex() = %d, %v, want %d", f, err, first)
	}
	n, err := l.LastIndex()
	if err != nil || n != last {
		t.Errorf("LastIndex() = %d, %v, want %d", n, err, last)
	}
}

func wantEntries(t *testing.T, l store, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		var e raft.Log
		want := fmt.Sprintf("entry %d", i)
		if err := l.GetLog(i, &e); err != nil || e.Index != i || string(e.Data) != want {
			t.Fatalf("GetLog(%d) = %q at %d, %v, want %q", i, e.Data, e.Index, err, want)
		}
	}
}

func TestPowerLossTakesOnlyWhatWasNotSynced(t *testing.T) {
	for _, tt := range []struct {
		name string
		sync bool
		last uint64
	}{
		{"synced entries stay", true, 50},
		{"unsynced entries go", false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			l, err := clustertest.NewLogStore(fs, "data/log", tt.sync)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, l, 1, 50)
			after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0})
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l, err = clustertest.NewLogStore(after, "data/log", tt.sync)
			if err != nil {
				t.Fatal(err)
			}
			if last, err := l.LastIndex(); err != nil || last != tt.last {
				t.Errorf("LastIndex() after power loss = %d, %v, want %d", last, err, tt.last)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
