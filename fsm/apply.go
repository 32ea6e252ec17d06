package fsm

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/graph"
)

var _ raft.BatchingFSM = (*State)(nil)

// Apply implements raft.FSM. Its response is a []byte for SplitAnswers.
func (s *State) Apply(l *raft.Log) any {
	return s.ApplyBatch([]*raft.Log{l})[0]
}

// ApplyBatch implements raft.BatchingFSM: it applies the entries in one Pebble batch,
// then shows them to readers. It panics if it cannot follow. The response of an entry
// that was applied before, or that is no command, is nil.
func (s *State) ApplyBatch(logs []*raft.Log) []any {
	s.applying.Lock()
	defer s.applying.Unlock()
	responses := make([]any, len(logs))
	t := &tx{
		State:   s,
		batch:   s.db.NewIndexedBatch(),
		touched: make(map[StoreID]*storeIndex),
	}
	last := s.applied.index
	for i, l := range logs {
		if l.Index <= s.applied.index {
			continue
		}
		s.applied.index, s.applied.term = l.Index, l.Term
		if l.Type == raft.LogCommand {
			responses[i] = t.entry(l)
		}
		s.recent.put(l.Index, s.applied.hash)
	}
	if s.applied.index == last {
		must(t.batch.Close())
		return responses
	}
	for _, st := range t.order {
		if s.stores[st.id] == st {
			t.set(tallyKey(st.id), st.tally.encode())
		}
	}
	t.set(metaKey(metaApplied), s.applied.encode())
	if s.making.journal != nil {
		s.making.journal.add(t.batch.Repr())
	}
	must(t.batch.Commit(pebble.NoSync))
	s.publish(t.order)
	return responses
}

// must ends the process on a storage fault: going on would be to diverge.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("fsm: apply: %v", err))
	}
}

// A tx is the batch being applied. It changes the stores in memory as it goes, so
// every command sees the earlier ones; the batch is indexed for the rows that are not
// in memory. A fault in between panics, so the two cannot come apart.
type tx struct {
	*State
	batch *pebble.Batch

	rev graph.Revision // of the entry being applied
	now int64          // its leader time

	// touched are the stores changed in the batch, in the order of their first change,
	// and inEntry those changed in the entry.
	touched map[StoreID]*storeIndex
	order   []*storeIndex
	inEntry []*storeIndex

	ordinals map[StoreID]uint32 // changes so far, by store, in the entry
}

func (t *tx) entry(l *raft.Log) []byte {
	e, err := decodeEntry(l.Data)
	if err != nil {
		panic(fmt.Sprintf("fsm: entry %d: %v", l.Index, err))
	}
	t.rev = graph.Revision(l.Index)
	t.inEntry = t.inEntry[:0]
	t.ordinals = nil
	if e.kind == entryTermStart {
		r := &Result{Revision: t.rev, Time: t.applied.time}
		return joinAnswers([][]byte{r.Encode()})
	}
	before := t.applied.time
	t.now = max(before, e.now)
	t.applied.time = t.now
	answers := make([][]byte, len(e.commands))
	for i, c := range e.commands {
		answers[i] = t.command(c)
	}
	t.upkeep(len(e.commands))
	if t.now != before {
		t.set(revisionTimeKey(t.rev), encodeTime(t.now))
	}
	t.set(timeRevisionKey(t.now), encodeNumber(uint64(t.rev)))
	return joinAnswers(answers)
}

// command gives the encoded result of one command.
func (t *tx) command(b []byte) []byte {
	res := &Result{Revision: t.rev, Time: t.now}
	c, err := DecodeCommand(b)
	var unknown *formatError
	switch {
	case errors.As(err, &unknown):
		panic(fmt.Sprintf("fsm: entry %d: %v", t.rev, err))
	case errors.Is(err, ErrTooLarge):
		res.Err = refuse(ErrTooLarge)
	case err != nil:
		res.Err = refuse(ErrInvalid)
	default:
		t.execute(c, res)
	}
	return res.Encode()
}

// touch notes that a store changes.
func (t *tx) touch(st *storeIndex) {
	if t.touched[st.id] != st {
		t.touched[st.id] = st
		t.order = append(t.order, st)
	}
	for _, x := range t.inEntry {
		if x == st {
			return
		}
	}
	t.inEntry = append(t.inEntry, st)
}

// insert adds a live row, and remove takes one away that has exactly this value.
func (t *tx) insert(st *storeIndex, key, value []byte) {
	t.set(key, value)
	h := rowHash(key, value)
	st.tally.hash = st.tally.hash.add(h)
	st.tally.rows++
	t.applied.hash = t.applied.hash.add(h)
}

func (t *tx) remove(st *storeIndex, key, value []byte) {
	t.delete(key)
	h := rowHash(key, value)
	st.tally.hash = st.tally.hash.sub(h)
	st.tally.rows--
	t.applied.hash = t.applied.hash.sub(h)
}

// set and delete change rows that the hash does not cover.
func (t *tx) set(key, value []byte) { must(t.batch.Set(key, value, nil)) }
func (t *tx) delete(key []byte)     { must(t.batch.Delete(key, nil)) }
func (t *tx) deleteRange(from, to []byte) {
	must(t.batch.DeleteRange(from, to, nil))
}

func (t *tx) get(key []byte) ([]byte, bool) {
	v, ok, err := get(t.batch, key)
	must(err)
	return v, ok
}
