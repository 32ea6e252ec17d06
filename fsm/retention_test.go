package fsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/remit-authz/remit/graph"
)

// pastRows counts what is stored of a store's past.
func pastRows(t *testing.T, s *State, store StoreID) (n int) {
	for _, sp := range []space{spaceCleanup, spaceForwardPast, spaceReversePast, spaceDocumentPast, spaceChange} {
		n += countRows(t, s, sp, store)
	}
	return n
}

// A store that nobody writes to any more loses its past by the horizon's own command,
// repeated until nothing remains.
func TestThePastOfAnIdleStoreGoesInSteps(t *testing.T) {
	const perEntry, entries = 6_700, 3
	m := newMachine(t)
	store, other := m.store(1), m.store(2)
	for i := range entries + 1 {
		ops := make([]Operation, perEntry)
		for j := range ops {
			if ops[j] = touch(viewer(fmt.Sprint(j), "anna")); i%2 == 1 {
				ops[j] = remove(viewer(fmt.Sprint(j), "anna"))
			}
		}
		m.do(write(store, ops...))
	}
	horizon := m.do(write(other, touch(viewer("plan", "anna")))).Revision
	if first, found, err := m.s.FirstPast(store); err != nil || !found || first >= horizon {
		t.Fatalf("FirstPast = %d, %v, %v, want a revision before %d", first, found, err, horizon)
	}
	advance := &Command{Store: store, Body: &AdvanceHistory{Horizon: horizon}}
	steps := 0
	for remaining := true; remaining; steps++ {
		if remaining = m.do(advance).Remaining; steps == 1 {
			m.reopen() // the rest of the work is found again
			m.do(write(other, touch(viewer("plan", "bert"))))
		}
		if got, _ := m.s.Current().Store(store); got.HistoryHorizon() != horizon {
			t.Fatalf("horizon %d, want %d", got.HistoryHorizon(), horizon)
		}
	}
	// Each change of the entries but the first ended one version; the first made it.
	if want := (entries*perEntry/2+rowsPerAdvance-1)/rowsPerAdvance + 1; steps < 2 || steps > want+1 {
		t.Errorf("%d steps, want about %d", steps, want)
	}
	if n := pastRows(t, m.s, store); n != 0 {
		t.Errorf("%d rows of the past are left, want none", n)
	}
	if first, found, err := m.s.FirstPast(store); err != nil || found {
		t.Errorf("FirstPast = %d, %v, %v, want none", first, found, err)
	}
	m.checkHash()
	replay(t, m, &chance{rand.New(rand.NewPCG(1, 1)), t})
}

func TestAStoreThatKeepsItsPastForEver(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	if st, _ := m.s.Current().Store(store); st.Retention() != DefaultRetention {
		t.Errorf("retention %d of a new store, want %d", st.Retention(), DefaultRetention)
	}
	a := m.do(write(store, touch(viewer("plan", "anna")))).Revision
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: a}})
	m.do(write(store, remove(viewer("plan", "anna"))))
	m.do(&Command{Store: store, Body: &SetRetention{Retention: Forever}})
	again := m.do(&Command{Store: store, Body: &SetRetention{Retention: Forever}}).Revision
	m.reopen()
	st, _ := m.s.Current().Store(store)
	if st.Retention() != Forever {
		t.Errorf("retention %d, want %d", st.Retention(), Forever)
	}
	advance := &Command{Store: store, Body: &AdvanceHistory{Horizon: again}}
	if err := m.apply(advance)[0].Err; !errors.Is(err, ErrHorizon) {
		t.Errorf("AdvanceHistory = %v, want %v", err, ErrHorizon)
	}
	if _, err := m.s.ViewAt(store, a); err != nil {
		t.Errorf("ViewAt(%d): %v", a, err)
	}
	changes := 0
	for _, c := range allChanges(t, m.s, store, ChangeQuery{After: EndOf(a)}) {
		if c.Kind == RetentionSet && c.Retention == Forever {
			changes++
		}
	}
	if changes != 1 {
		t.Errorf("the retention was changed %d times, want once", changes)
	}
	m.do(&Command{Store: store, Body: &SetRetention{}})
	m.do(advance)
	if _, err := m.s.ViewAt(store, a); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("ViewAt(%d) = %v, want %v", a, err, ErrRevisionGone)
	}
	m.checkHash()
}

// The time of the oldest revision that any store keeps is known, and no older one's.
func TestTimesAreKeptAsLongAsAnyStoreNeedsThem(t *testing.T) {
	m := newMachine(t)
	a, b := m.store(1), m.store(2)
	var revisions []graph.Revision
	for i := range 20 {
		revisions = append(revisions, m.do(write(a, touch(viewer(fmt.Sprint(i), "anna")))).Revision)
	}
	m.do(&Command{Store: a, Body: &AdvanceHistory{Horizon: revisions[15]}})
	if _, err := m.s.TimeOf(revisions[0]); err != nil {
		t.Errorf("TimeOf(%d), which a store keeps: %v", revisions[0], err)
	}
	m.do(&Command{Store: b, Body: &AdvanceHistory{Horizon: revisions[10]}})
	for _, rev := range revisions[10:] {
		if _, err := m.s.TimeOf(rev); err != nil {
			t.Errorf("TimeOf(%d): %v", rev, err)
		}
	}
	if _, err := m.s.TimeOf(revisions[9]); !errors.Is(err, ErrRevisionGone) {
		t.Errorf("TimeOf(%d) = %v, want %v", revisions[9], err, ErrRevisionGone)
	}
}
