package fsm

import (
	"path/filepath"
	"testing"
)

// The other tests run on a file system in memory; here are the real one's links, locks
// and directories.
func TestOnDisk(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "a", "b"), CacheBytes: 1 << 20}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Open(cfg); err == nil {
		t.Errorf("a second Open succeeded: %v", second.Close())
	}
	m := &machine{t: t, s: s, now: epochMs}
	store := m.store(1)
	m.do(write(store, create(viewer("plan", "anna"))))
	meta := snapshot(t, s, m.index)
	want := hashOf(s)
	m.do(write(store, create(viewer("plan", "bert"))))
	restore(t, s, meta.ID)
	if hashOf(s) != want {
		t.Error("the restore leads elsewhere")
	}
	id, err := receive(s, meta.Index, meta.Term, stream(t, s, meta.ID))
	if err != nil {
		t.Fatal(err)
	}
	restore(t, s, id)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if hashOf(s) != want {
		t.Error("the restart leads elsewhere")
	}
	checkHash(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
