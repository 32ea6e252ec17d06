package fsm

import (
	"fmt"
	"testing"

	"github.com/remit-authz/remit/graph"
)

func countRows(t *testing.T, s *State, sp space, store StoreID) (n int) {
	t.Helper()
	prefix := storePrefix(sp, store)
	if err := scan(s.db, prefix, prefixEnd(prefix), func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// Entries grow with the load, so a fixed number of rows per entry would fall behind.
func TestKeysAreForgottenAsFastAsTheyCome(t *testing.T) {
	const perEntry = 2 * idempotencyPerEntry
	m := newMachine(t)
	store := m.store(1)
	for i := range 24 {
		commands := make([]*Command, perEntry)
		for j := range commands {
			commands[j] = write(store, touch(viewer("plan", "anna")))
			commands[j].Key = fmt.Sprint(i, "/", j)
		}
		m.now += idempotencyRetention / 4
		m.apply(commands...)
	}
	for _, sp := range []space{spaceIdempotency, spaceIdempotencyAt} {
		if n := countRows(t, m.s, sp, store); n > 5*perEntry {
			t.Errorf("%d rows in space %#x, %d within the retention", n, byte(sp), 4*perEntry)
		}
	}
	m.checkHash()
}

func TestHistoryIsCleanedUpAsFastAsItComes(t *testing.T) {
	const perEntry, before, after = 4 * cleanupPerEntry, 16, 4
	m := newMachine(t)
	store := m.store(1)
	ops, none := make([]Operation, perEntry), mustFields(t, nil)
	for i := range ops {
		ops[i] = Operation{Kind: PutDocument, Entity: Entity{typeDocument, fmt.Sprint(i)}, Fields: none}
	}
	for range before {
		m.do(write(store, ops...))
	}
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: graph.Revision(m.index)}})
	for range after {
		m.do(write(store, ops...))
	}
	if n := countRows(t, m.s, spaceCleanup, store); n != after*perEntry {
		t.Errorf("%d versions left, %d of them in the kept history", n, after*perEntry)
	}
	m.checkHash()
}
