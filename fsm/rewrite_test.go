package fsm

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func rewriteState(t testing.TB, s *State) {
	t.Helper()
	if err := s.Rewrite(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// dump is every row but the mark.
func dump(t testing.TB, s *State) map[string]string {
	t.Helper()
	rows := map[string]string{}
	err := s.read(func(db *pebble.DB) error {
		return scan(db, []byte{0}, []byte{byte(spaceEnd)}, func(key, value []byte) (bool, error) {
			if !bytes.Equal(key, metaKey(metaRewritten)) {
				rows[string(key)] = string(value)
			}
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestARewritingKeepsEveryRow(t *testing.T) {
	m, _ := filled(t)
	want := dump(t, m.s)
	if m.s.Rewritten() != 0 {
		t.Errorf("rewritten up to %d before the first time", m.s.Rewritten())
	}
	at := m.s.Current()
	var told []uint64
	if err := m.s.Rewrite(t.Context(), func(rows, total uint64) { told = append(told, rows, total) }); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if got := m.s.Rewritten(); got != at.Revision() {
			t.Errorf("rewritten up to %d, want %d", got, at.Revision())
		}
		if got := dump(t, m.s); len(got) != len(want) || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Error("the rows differ")
		}
		m.checkHash()
	}
	check()
	if m.s.Current() != at {
		t.Error("readers see another state")
	}
	m.reopen()
	check()
	names, err := m.fs.List("data")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, " "); strings.Count(got, generationPrefix) != 1 || !strings.Contains(got, "gen-000002") {
		t.Errorf("the directory holds %s", got)
	}
	if n := len(told); n < 2 || told[n-2] != told[n-1] || told[n-1] < uint64(2*len(want)) {
		t.Errorf("progress was told as %v, want it to end with %d rows copied and as many compared", told, len(want))
	}
}

func TestWhatIsAppliedDuringARewritingIsKept(t *testing.T) {
	for range volume(4, 60) {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := &chance{rand.New(rand.NewPCG(seed, 7)), t}
			m := newMachine(t)
			m.store(0)
			m.store(1)
			for range 40 {
				m.apply(r.command(0, m.now), r.command(0, m.now))
			}
			done := make(chan error, 1)
			go func() { done <- m.s.Rewrite(context.WithoutCancel(t.Context()), nil) }()
			for running := true; running; {
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					running = false
				default:
				}
				m.apply(r.command(0, m.now), r.command(0, m.now))
				if r.IntN(10) == 0 {
					snapshot(t, m.s, m.index)
				}
			}
			m.checkHash()
			want := newMachine(t)
			want.s.ApplyBatch(m.logs)
			if fmt.Sprint(dump(t, m.s)) != fmt.Sprint(dump(t, want.s)) {
				t.Error("the rows differ from those of a replay")
			}
			m.reopen()
			if hashOf(m.s) != hashOf(want.s) {
				t.Error("the restart leads elsewhere")
			}
			m.checkHash()
		})
	}
}

// holding are the files that hold some bytes.
func holding(t testing.TB, fs vfs.FS, dir, name string) (files []string) {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		path := fs.PathJoin(dir, n)
		info, err := fs.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			files = append(files, holding(t, fs, path, name)...)
			continue
		}
		b, err := readFile(fs, path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(name)) {
			files = append(files, path)
		}
	}
	return files
}

// A million tuples on a real disk, rewritten while one writer writes entry after entry,
// as the only measure of how long it waits. REMIT_TEST_ALL=1 has the whole of them.
func TestWritersDuringARewriting(t *testing.T) {
	tuples := volume(20_000, 1_000_000)
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	m := &machine{t: t, s: s, now: epochMs}
	store := m.store(1)
	for i := 0; i < tuples; {
		var ops []Operation
		for ; len(ops) < 1000 && i < tuples; i++ {
			ops = append(ops, touch(viewer(fmt.Sprint("document", i/10), fmt.Sprint("user", i%(tuples/20)))))
		}
		m.do(write(store, ops...))
		m.logs = nil
	}
	gap := func(ended <-chan error) (entries int, longest time.Duration) {
		t.Helper()
		for {
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
				return entries, longest
			default:
			}
			begun := time.Now()
			m.do(write(store, touch(viewer("plan", fmt.Sprint("user", entries%(tuples/20))))))
			longest = max(longest, time.Since(begun))
			entries++
		}
	}
	for range volume(1, 3) {
		quiet := make(chan error, 1)
		time.AfterFunc(100*time.Millisecond, func() { quiet <- nil })
		entries, longest := gap(quiet)
		t.Logf("before: %d entries in 0.1 s, the longest took %v", entries, longest)
		ended, begun := make(chan error, 1), time.Now()
		go func() { ended <- s.Rewrite(context.WithoutCancel(t.Context()), nil) }()
		entries, longest = gap(ended)
		t.Logf("rewritten %d tuples in %v: %d entries meanwhile, the longest took %v", tuples, time.Since(begun), entries, longest)
	}
	m.checkHash()
}
