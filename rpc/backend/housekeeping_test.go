package backend

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/model"
)

// alone is a node without others, and what writes to it.
func alone(t *testing.T, clock func() time.Time) (*fsm.State, *Writer) {
	t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	node, err := cluster.Open(t.Context(), cluster.Config{
		Dir: t.TempDir(), NodeID: "node", Clock: clock, NoSync: true, // nobody cuts the power
		FSM: state, Snapshots: state.Snapshots(), Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers,
		TermStart: fsm.TermStart, DurableIndex: state.DurableIndex, Published: state.Published,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	return state, NewWriter(NewReader(Config{State: state, Node: node, Clock: clock, Log: slog.New(slog.DiscardHandler)}))
}

// A store that nobody writes to has nothing to give up, but its horizon holds back the
// times of the revisions of all stores. It is moved now and then, and not each time.
func TestAnIdleStoreDoesNotHoldBackTheTimes(t *testing.T) {
	begin := time.Now().Truncate(time.Millisecond)
	var passed atomic.Int64 // since then; the node's own goroutines look at the clock, too
	clock := func() time.Time { return begin.Add(time.Duration(passed.Load())) }
	state, w := alone(t, clock)
	h := NewHousekeeper(w)
	h.worthwhile = 20
	do := func(store byte, body fsm.Body) {
		t.Helper()
		result, err := w.propose(t.Context(), &fsm.Command{Store: fsm.StoreID{0: 1, 15: store}, Body: body})
		if err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
	}
	const idle, busy, always = 1, 2, 3
	for _, store := range []byte{idle, busy, always} {
		do(store, &fsm.CreateStore{Name: fmt.Sprint(store)})
	}
	horizon := func(store byte) uint64 {
		s, _ := state.Current().Store(fsm.StoreID{0: 1, 15: store})
		return uint64(s.HistoryHorizon())
	}
	// later lets so many entries come, and a month pass.
	later := func(entries int) {
		t.Helper()
		for i := range entries {
			passed.Add(int64(time.Second))
			do(busy, &fsm.SetRetention{Retention: fsm.DefaultRetention - int64(i%2)})
		}
		passed.Add(int64(31 * 24 * time.Hour))
		if err := h.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	later(5) // the changes of their creation go
	first := horizon(idle)
	later(10)
	if got := horizon(idle); got != first {
		t.Errorf("the horizon of an idle store was moved to %d for 10 revisions, it was %d", got, first)
	}
	if horizon(busy) <= first {
		t.Errorf("the horizon of a store with changes is still %d", horizon(busy))
	}
	later(30)
	second := horizon(idle)
	if second <= first+20 {
		t.Errorf("the horizon of an idle store is %d, want it moved behind %d", second, first)
	}
	do(always, &fsm.SetRetention{Retention: fsm.Forever})
	later(50) // the change of its retention stays in the one store, whose times stay with it
	later(50)
	if got := horizon(idle); got != second {
		t.Errorf("the horizon of an idle store was moved to %d for times that another store keeps", got)
	}
}

// Who began an erasure may be gone. One that goes on by itself is left alone.
func TestAnErasureThatWasLeftIsEnded(t *testing.T) {
	state, w := alone(t, time.Now)
	h := NewHousekeeper(w)
	store, id := fsm.StoreID{15: 1}, fsm.ErasureID{15: 1}
	anna := fsm.Entity{Type: 1, Name: "anna"}
	do := func(body fsm.Body) {
		t.Helper()
		result, err := w.propose(t.Context(), &fsm.Command{Store: store, Principal: "clerk", Body: body})
		if err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
	}
	do(&fsm.CreateStore{Name: "one"})
	do(&fsm.WriteModel{ID: fsm.ModelID{15: 1}, Source: []byte("model"), Declarations: model.Declarations{
		Types: []model.TypeDeclaration{{Name: "user", Relations: []string{"friend"}}},
	}})
	var operations []fsm.Operation
	for i := range 10 {
		key := fsm.TupleKey{Object: fsm.Entity{Type: 1, Name: fmt.Sprint(i)}, Relation: 1, Subject: anna}
		operations = append(operations, fsm.Operation{Kind: fsm.CreateTuple, Tuple: key})
	}
	do(&fsm.Write{Operations: operations})
	do(&fsm.Erase{ID: id, Entity: anna, Limit: 1})
	for i, moves := range []bool{true, true, false, false} {
		if err := h.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		one, _ := state.Current().Store(store)
		if over := len(one.Erasures()) == 0; over != (i == 3) {
			t.Fatalf("after %d sweeps the erasure is over: %v", i+1, over)
		}
		if moves {
			do(&fsm.Erase{ID: id, Limit: 1})
		}
	}
	page, err := state.Changes(store, fsm.ChangeQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if last := page.Changes[len(page.Changes)-1]; last.Kind != fsm.EntityErased || last.Principal != "clerk" || last.Erased.Tuples != 10 {
		t.Errorf("the last change is %+v, want that the clerk erased 10 tuples", last)
	}
}
