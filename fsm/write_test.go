package fsm

import (
	"errors"
	"slices"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/value"
)

func TestEnsureLeavesAnEqualTupleAlone(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	expires := m.now + 1000
	conditional := func(o *Operation) {
		o.Condition, o.Context, o.Expires = conditionOne, mustFields(t, value.Map{"a": int64(1)}), expires
	}
	empty := func(o *Operation) { o.Condition, o.Context = conditionOne, mustFields(t, value.Map{}) }
	none := func(o *Operation) { o.Condition = conditionOne }
	plain, bound, bare := viewer("plan", "anna"), viewer("plan", "bert"), viewer("plan", "cleo")
	first := m.do(write(store, ensure(plain), ensure(bound, conditional), ensure(bare, empty))).Revision
	_, before := m.s.StateHash()
	rows := countRows(t, m.s, spaceForwardPast, store)
	again := m.do(write(store, ensure(plain), ensure(bound, conditional), ensure(bare, none))).Revision
	if _, after := m.s.StateHash(); after != before {
		t.Error("ensuring what is there changed the state")
	}
	if n := countRows(t, m.s, spaceForwardPast, store); n != rows {
		t.Errorf("%d past versions, want %d", n, rows)
	}
	if changes := allChanges(t, m.s, store, ChangeQuery{After: EndOf(first)}); len(changes) != 0 {
		t.Errorf("ensuring what is there left %d changes", len(changes))
	}
	if again <= first {
		t.Errorf("the second write took effect at %d, the first at %d", again, first)
	}

	m.now = expires
	r := m.do(write(store, ensure(bound, conditional))) // the expired one gives way
	changes := allChanges(t, m.s, store, ChangeQuery{After: EndOf(again)})
	if len(changes) != 1 || changes[0].Kind != TuplePut || changes[0].Tuple.Written != r.Time {
		t.Errorf("ensuring an expired tuple left %+v", changes)
	}
	if r := m.apply(write(store, take(bound)))[0]; !errors.Is(r.Err, ErrTupleNotFound) {
		t.Errorf("removing an expired tuple = %v, want %v", r.Err, ErrTupleNotFound)
	}
	m.do(write(store, take(plain)))
	if m.has(store, plain) {
		t.Error("the tuple was not removed")
	}
	m.checkHash()
}

// OpenFGA applies a request's deletes and then its writes, all or nothing.
func TestRemovalsAndCreationsAreOneChange(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	old, next := viewer("plan", "anna"), viewer("plan", "bert")
	m.do(write(store, create(old)))
	r := m.apply(write(store, take(old), create(next), take(viewer("plan", "cleo"))))[0]
	var f *Refusal
	if !errors.As(r.Err, &f) || !errors.Is(f, ErrTupleNotFound) || f.Index != 2 {
		t.Fatalf("apply = %v, want %v at 2", r.Err, ErrTupleNotFound)
	}
	if !m.has(store, old) || m.has(store, next) {
		t.Error("a part of a refused write took effect")
	}
	r = m.do(write(store, take(old), create(next)))
	var kinds []ChangeKind
	for _, c := range allChanges(t, m.s, store, ChangeQuery{After: EndOf(r.Revision - 1)}) {
		kinds = append(kinds, c.Kind)
	}
	if !slices.Equal(kinds, []ChangeKind{TupleDeleted, TuplePut}) {
		t.Errorf("changes %v, want the removal and then the creation", kinds)
	}
}

func TestIdsOfATypeEnd(t *testing.T) {
	k := viewer("plan", "anna")
	for kind, want := range map[OperationKind]error{
		CreateTuple: ErrExhausted, TouchTuple: ErrExhausted, EnsureTuple: ErrExhausted, PutDocument: ErrExhausted,
		DeleteTuple: nil, DeleteDocument: nil, RemoveTuple: ErrTupleNotFound,
	} {
		m := newMachine(t)
		store := m.store(1)
		m.s.stores[store].sequences.ReplaceOrInsert(sequenceItem{typeDocument, graph.MaxSequence})
		o := Operation{Kind: kind}
		if kind.onTuple() {
			o.Tuple = k
		} else {
			o.Entity, o.Fields = k.Object, mustFields(t, nil)
		}
		if r := m.apply(write(store, o))[0]; !errors.Is(r.Err, want) {
			t.Errorf("operation %d = %v, want %v", kind, r.Err, want)
		}
	}
}
