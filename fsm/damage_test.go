package fsm

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/remit-authz/remit/graph"
)

// damagePast turns a bit in every table of the state's past, which a start does not read.
func damagePast(t *testing.T, m *machine) {
	t.Helper()
	if err := m.s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	tables, err := m.s.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	dir := generationDir(m.fs, "data", m.s.gen)
	for _, level := range tables {
		for _, table := range level {
			name := m.fs.PathJoin(dir, table.FileNum.String()+".sst")
			b, err := readFile(m.fs, name)
			if err != nil {
				t.Fatal(err)
			}
			b[100] ^= 1 // of the first block; what follows the blocks is read with the table
			f, err := m.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestADamagedBlockIsAnErrorForWhoReadsItAndEndsApply(t *testing.T) {
	m := newMachine(t)
	m.store(1)
	m.do(&Command{Store: storeNumber(1), Key: "retry", Principal: "anna", Body: &Write{Operations: []Operation{touch(viewer("a", "anna"))}}})
	damagePast(t, m)

	// Somebody reads: an error, and the node goes on.
	var fatal error
	m.s.cfg.Fatal = func(err error) { fatal = err }
	_, err := m.s.Changes(storeNumber(1), ChangeQuery{Kept: true})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), ".sst") || fatal != nil {
		t.Errorf("Changes = %v, fatal %v; want ErrCorrupt with the file's name", err, fatal)
	}
	if _, err := m.s.Recount(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Recount = %v, want ErrCorrupt", err)
	}
	if got := m.s.Current().Revision(); got != graph.Revision(m.index) {
		t.Errorf("readers see revision %d, want %d", got, m.index)
	}

	// Apply needs the row of the key, and must not guess.
	c := &Command{Store: storeNumber(1), Key: "retry", Principal: "anna", Body: &Write{Operations: []Operation{touch(viewer("b", "anna"))}}}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("an entry was applied on a damaged database")
			}
		}()
		m.apply(c)
	}()
}

func TestACompactionThatMeetsDamageEndsTheNode(t *testing.T) {
	m := newMachine(t)
	fatal := make(chan error, 100)
	m.s.cfg.Fatal = func(err error) { fatal <- err }
	m.store(1)
	damagePast(t, m)
	m.store(2) // whose table overlaps the damaged ones: a table alone would only be moved
	if err := m.s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	// If Pebble has not begun by itself.
	if err := m.s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false); err == nil {
		t.Fatal("damaged tables were compacted")
	}
	if err := <-fatal; !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "cannot be tidied up") {
		t.Errorf("the node ends with %v", err)
	}
	m.s.cfg.diskListener().BackgroundError(errors.New("no space"))
	for len(fatal) > 0 {
		if err := <-fatal; !errors.Is(err, ErrCorrupt) {
			t.Errorf("a full disk ends the node: %v", err)
		}
	}
}
