package fsm

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/graphtest"
	"github.com/remit-authz/remit/graph/model"
)

// A revision in the middle of a history is asked about: other tuples came and went before
// it, and all of it changed afterwards. The evaluator must say over it what the reference
// says over the tuples of the time, whatever became of the older revisions, and on
// whichever node the rows lie by then.
func TestRandomHistories(t *testing.T) {
	x := &histories{tenants: newTenants(t), other: newMachine(t)}
	graphtest.Run(t, random(t, 6), x.open)
	t.Logf("fates of the stores: %v", x.fates)
	for fate := range fates {
		if x.fates[fate] == 0 {
			t.Errorf("no store had fate %q", fate)
		}
	}
}

// A fate is what happens between the change that is asked about and the question.
type fate string

var fates = map[fate]bool{"kept": true, "cleaned": true, "restarted": true, "went back": true, "moved": true}

type histories struct {
	*tenants
	other *machine // a node that gets snapshots
	made  int
	fates map[fate]int
}

func (x *histories) open(t testing.TB, s *graphtest.Store) (graphtest.Opened, error) {
	opened, revision, err := x.history(s)
	if err != nil {
		return opened, err
	}
	at := x.s
	next := []fate{"kept", "cleaned", "cleaned", "kept", "restarted", "cleaned", "went back", "cleaned", "moved"}[x.made%9]
	x.made++
	if x.fates == nil {
		x.fates = map[fate]int{}
	}
	x.fates[next]++
	if next != "kept" {
		// Everything older goes: of what is asked about, nothing may.
		advance := &Command{Store: x.store, Body: &AdvanceHistory{Horizon: revision}}
		for x.do(advance).Remaining {
		}
		if first, found, err := x.s.FirstPast(x.store); err != nil || found && first <= revision {
			return opened, fmt.Errorf("the past of %d is left behind the horizon %d: %w", first, revision, err)
		}
		if _, err := x.s.ViewAt(x.store, revision-1); err == nil {
			return opened, fmt.Errorf("revision %d is shown behind the horizon", revision-1)
		}
	}
	switch next {
	case "restarted":
		x.reopen()
		at = x.s
	case "went back":
		meta := snapshot(t, x.s, x.index)
		x.do(&Command{Store: x.store, Body: &AdvanceHistory{Horizon: graph.Revision(x.index + 1)}})
		restore(t, x.s, meta.ID)
		x.s.Apply(x.logs[len(x.logs)-1])
		if _, err := x.s.ViewAt(x.store, revision); err == nil {
			return opened, fmt.Errorf("revision %d is shown behind the horizon", revision)
		}
		restore(t, x.s, meta.ID)
		x.index, x.logs = meta.Index, x.logs[:len(x.logs)-1]
	case "moved":
		meta := snapshot(t, x.s, x.index)
		id, err := receive(x.other.s, meta.Index, meta.Term, stream(t, x.s, meta.ID))
		if err != nil {
			return opened, err
		}
		restore(t, x.other.s, id)
		at = x.other.s
	}
	x.logs = nil // nobody replays them
	opened.View, err = at.ViewAt(x.store, revision)
	return opened, err
}

// history makes a store, and gives the revision at which it holds its tuples.
func (x *histories) history(s *graphtest.Store) (opened graphtest.Opened, revision graph.Revision, err error) {
	empty := graphtest.Store{Written: s.Written, Asked: s.Asked}
	if opened.Written, opened.Asked, err = x.fill(&empty); err != nil {
		return opened, 0, err
	}
	tuples := s.Tuples()
	before, err := x.noise(opened.Written, tuples)
	if err != nil {
		return opened, 0, err
	}
	// What is not of the store goes again, in between its own steps.
	for i, noise := range before {
		before[i].Remove = true
		for _, step := range s.Steps {
			if sameTuple(&step.Tuple, &noise.Tuple) {
				before[i] = graphtest.Step{} // the store's own steps see to it
				break
			}
		}
	}
	var steps []graphtest.Step
	for _, step := range s.Steps {
		if n := len(before); n > 0 && x.rng.IntN(2) == 0 {
			steps, before = append(steps, before[n-1]), before[:n-1]
		}
		steps = append(steps, step)
	}
	steps = append(steps, before...)
	n := 0
	for _, step := range steps {
		if step.Tuple.Relation != "" {
			steps[n] = step
			n++
		}
	}
	if err := x.steps(opened.Written, steps[:n]); err != nil {
		return opened, 0, err
	}
	revision = graph.Revision(x.index)
	x.now += int64(x.rng.IntN(1000))
	for range 1 + x.rng.IntN(2) {
		if err := x.disturb(opened.Written, tuples); err != nil {
			return opened, 0, err
		}
	}
	return opened, revision, nil
}

// noise writes the tuples in other forms, and others like them, and gives what is there.
func (x *histories) noise(p *model.Plan, tuples []graph.Tuple) (written []graphtest.Step, err error) {
	for _, t := range tuples {
		switch x.rng.IntN(4) {
		case 0:
			continue
		case 1:
			t.Expires = time.UnixMilli(int64(1 + x.rng.IntN(1000)))
		case 2:
			t.Object.ID = "before-" + strconv.Itoa(x.rng.IntN(4))
		case 3:
			if t.Subject.ID == "*" {
				continue
			}
			t.Subject.ID = "before-" + strconv.Itoa(x.rng.IntN(4))
		}
		written = append(written, graphtest.Step{Tuple: t})
	}
	if err := x.steps(p, written); err != nil {
		return nil, err
	}
	// A part of it comes and goes more than once.
	again := written[:x.rng.IntN(len(written)+1)]
	gone := make([]graphtest.Step, len(again))
	for i, step := range again {
		gone[i] = graphtest.Step{Tuple: step.Tuple, Remove: true}
	}
	if err := x.steps(p, gone); err != nil {
		return nil, err
	}
	return written, x.steps(p, again)
}

func sameTuple(a, b *graph.Tuple) bool {
	return a.Object == b.Object && a.Relation == b.Relation && a.Subject == b.Subject
}
