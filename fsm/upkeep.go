package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/remit-authz/remit/graph"
)

// Upkeep removes what has passed its time. It runs inside Apply, by leader time and in
// bounded steps, so it happens alike on every node and never stalls one for long. To
// the steps of an entry comes twice what the entry itself adds: upkeep gains on any load.
const (
	idempotencyPerEntry = 64
	cleanupPerEntry     = 256
	rowsPerAdvance      = 10_000
)

// noRevision is later than every revision.
const noRevision = graph.Revision(1<<64 - 1)

// upkeep follows every entry with commands. Which rows it takes depends only on the
// rows, the time, and what the entry changed.
func (t *tx) upkeep(commands int) {
	keys := idempotencyPerEntry + 2*commands
	t.forgetKeys(t.group(), keys)
	for _, st := range t.inEntry {
		if t.stores[st.id] != st {
			continue
		}
		if !st.id.IsZero() {
			t.forgetKeys(st, keys)
		}
		t.cleanHistory(st, cleanupPerEntry+2*int(t.ordinals[st.id]))
	}
}

// forgetKeys drops idempotency keys past their retention.
func (t *tx) forgetKeys(st *storeIndex, limit int) {
	expired := t.now - idempotencyRetention
	if st.nextIdempotency > expired {
		return
	}
	prefix := storePrefix(spaceIdempotencyAt, st.id)
	var due [][]byte
	next := int64(never)
	must(scan(t.batch, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
		if at := readTime(key[prefixSize:]); at > expired || len(due) == limit {
			next = at
			return false, nil
		}
		due = append(due, bytes.Clone(key))
		return true, nil
	}))
	if len(due) > 0 {
		t.touch(st)
	}
	for _, at := range due {
		key := append(storePrefix(spaceIdempotency, st.id), at[prefixSize+8:]...)
		v, ok := t.get(key)
		if !ok {
			must(fmt.Errorf("%w: no row for idempotency key %x", ErrCorrupt, key))
		}
		t.remove(st, key, v)
		t.delete(at)
	}
	t.cleaned.keys.Add(uint64(len(due)))
	st.nextIdempotency = next
}

// cleanHistory drops versions that no kept revision shows.
func (t *tx) cleanHistory(st *storeIndex, limit int) {
	horizon := st.row.historyHorizon
	if st.nextCleanup > horizon {
		return
	}
	prefix := storePrefix(spaceCleanup, st.id)
	var due [][]byte
	next := noRevision
	must(scan(t.batch, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
		deleted := graph.Revision(binary.BigEndian.Uint64(key[prefixSize:]))
		if deleted > horizon || len(due) == limit {
			next = deleted
			return false, nil
		}
		due = append(due, bytes.Clone(key))
		return true, nil
	}))
	for _, row := range due {
		t.dropVersion(st, row)
	}
	t.cleaned.versions.Add(uint64(len(due)))
	st.nextCleanup = next
}

// dropVersion removes one version from the history, given its row in the queue.
func (t *tx) dropVersion(st *storeIndex, row []byte) {
	deleted := graph.Revision(binary.BigEndian.Uint64(row[prefixSize:]))
	suffix := row[prefixSize+9:]
	switch row[prefixSize+8] {
	case cleanupTuple:
		u, sub := readForwardSuffix(suffix)
		t.delete(forwardPastKey(st.id, u, sub, deleted))
		t.delete(reversePastKey(st.id, u, sub, deleted))
	case cleanupDocument:
		t.delete(documentPastKey(st.id, graph.ID(binary.BigEndian.Uint64(suffix)), deleted))
	}
	t.delete(row)
}

// advanceExpiry removes expired tuples from the head, oldest first. If it stops early,
// the horizon is the expiry of the last one removed: those that remain with the same
// expiry count for no instant from there on either.
func (t *tx) advanceExpiry(c *Command, st *storeIndex, b *AdvanceExpiry, res *Result) *Refusal {
	if b.Horizon > t.now {
		return refuse(ErrHorizon)
	}
	if b.Horizon < st.row.expiryHorizon {
		return nil
	}
	prefix := storePrefix(spaceExpiry, st.id)
	var due [][]byte
	horizon := b.Horizon
	must(scan(t.batch, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
		if readTime(key[prefixSize:]) > b.Horizon {
			return false, nil
		}
		if len(due) == rowsPerAdvance {
			res.Remaining = true
			horizon = readTime(due[len(due)-1][prefixSize:])
			return false, nil
		}
		due = append(due, bytes.Clone(key))
		return true, nil
	}))
	for _, key := range due {
		u, sub := readForwardSuffix(key[prefixSize+8:])
		item, ok := st.tuple(u, sub)
		if !ok {
			must(fmt.Errorf("%w: no tuple for expiry key %x", ErrCorrupt, key))
		}
		t.dropTuple(st, &item)
		t.change(st, c, &Change{Kind: TupleExpired, Tuple: item.row()})
	}
	t.cleaned.expired.Add(uint64(len(due)))
	row := st.row
	row.expiryHorizon = max(row.expiryHorizon, horizon)
	t.setStore(st, row)
	return nil
}

// FirstExpiry is when the first tuple in the store's head expires, in milliseconds since
// 1970 UTC. It may lie in the past: an expired tuple stays until AdvanceExpiry.
func (s *State) FirstExpiry(store StoreID) (ms int64, found bool, err error) {
	prefix := storePrefix(spaceExpiry, store)
	err = s.read(func(db *pebble.DB) error {
		return scan(db, prefix, prefixEnd(prefix), func(key, _ []byte) (bool, error) {
			ms, found = readTime(key[prefixSize:]), true
			return false, nil
		})
	})
	return ms, found, err
}

// advanceHistory gives up revisions: readers are refused at once, the rows go in steps.
func (t *tx) advanceHistory(st *storeIndex, b *AdvanceHistory, res *Result) *Refusal {
	if b.Horizon > t.rev || st.row.retention == Forever && b.Horizon > st.row.historyHorizon {
		return refuse(ErrHorizon)
	}
	if b.Horizon > st.row.historyHorizon {
		row := st.row
		row.historyHorizon = b.Horizon
		t.setStore(st, row)
		// The changes of the horizon itself stay: who stands among them may go on.
		t.deleteRange(storePrefix(spaceChange, st.id), changeKey(st.id, b.Horizon, 0))
		t.trimTimes()
	}
	t.cleanHistory(st, rowsPerAdvance)
	res.Remaining = st.nextCleanup <= st.row.historyHorizon
	return nil
}

// trimTimes drops the times of revisions that no store keeps, but for the last of them,
// which tells the time of the revisions right behind it.
func (t *tx) trimTimes() {
	horizon := noRevision
	for _, st := range t.stores {
		if !st.id.IsZero() {
			horizon = min(horizon, st.row.historyHorizon)
		}
	}
	if horizon == noRevision {
		return
	}
	it, err := t.batch.NewIter(&pebble.IterOptions{
		LowerBound: storePrefix(spaceRevisionTime, StoreID{}),
		UpperBound: revisionTimeKey(horizon + 1),
	})
	must(err)
	var floor, floorTime []byte
	if it.Last() {
		v, err := it.ValueAndErr()
		must(err)
		floor, floorTime = bytes.Clone(it.Key()), bytes.Clone(v)
	}
	must(it.Close())
	if floor == nil {
		return
	}
	ms, err := decodeTime(floorTime)
	must(err)
	t.deleteRange(storePrefix(spaceRevisionTime, StoreID{}), floor)
	t.deleteRange(storePrefix(spaceTimeRevision, StoreID{}), timeRevisionKey(ms))
}
