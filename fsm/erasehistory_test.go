package fsm

import (
	"fmt"
	"testing"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/graphtest"
	"github.com/remit-authz/remit/graph/model"
)

// Entities come into a store, are linked with all that it has, in every way its model
// allows, and are erased. Whatever revision is asked about, the evaluator must say what
// the reference says over tuples among which they never were.
func TestRandomErasures(t *testing.T) {
	x := &erasures{tenants: newTenants(t), other: newMachine(t)}
	graphtest.Run(t, random(t, 4), x.open)
}

type erasures struct {
	*tenants
	other *machine // a node that applies the same log in its own batches, or gets a snapshot
	asked int
}

const erasedName = "erased"

func (x *erasures) open(t testing.TB, s *graphtest.Store) (opened graphtest.Opened, err error) {
	x.asked++
	empty := graphtest.Store{Written: s.Written, Asked: s.Asked}
	if opened.Written, opened.Asked, err = x.fill(&empty); err != nil {
		return opened, err
	}
	var linked []graphtest.Step
	types := map[string]bool{}
	var order []string
	see := func(typ string) {
		if !types[typ] {
			types[typ] = true
			order = append(order, typ)
		}
	}
	for _, tuple := range s.Tuples() {
		object, subject, both := tuple, tuple, tuple
		object.Object.ID, both.Object.ID = erasedName, erasedName
		linked = append(linked, graphtest.Step{Tuple: object})
		see(tuple.Object.Type)
		if tuple.Subject.ID != "*" {
			subject.Subject.ID, both.Subject.ID = erasedName, erasedName
			linked = append(linked, graphtest.Step{Tuple: subject}, graphtest.Step{Tuple: both})
			see(tuple.Subject.Type)
		}
	}
	x.rng.Shuffle(len(linked), func(i, j int) { linked[i], linked[j] = linked[j], linked[i] })
	steps := s.Steps
	for len(steps) > 0 || len(linked) > 0 {
		n := min(len(steps), 1+x.rng.IntN(6))
		m := min(len(linked), 1+x.rng.IntN(6))
		if err = x.steps(opened.Written, append(append([]graphtest.Step(nil), linked[:m]...), steps[:n]...)); err != nil {
			return opened, err
		}
		for i := range m { // some go before they are erased
			if step := linked[i]; x.rng.IntN(3) == 0 {
				step.Remove = true
				if err = x.steps(opened.Written, []graphtest.Step{step}); err != nil {
					return opened, err
				}
			}
		}
		steps, linked = steps[n:], linked[m:]
	}
	revision := graph.Revision(x.index)
	inPast := x.rng.IntN(3) > 0
	erase := func() error {
		for i, name := range order {
			typ, _ := opened.Written.Type(name)
			if err := x.erase(byte(i+1), typ.ID); err != nil {
				return err
			}
		}
		return nil
	}
	before := inPast && x.rng.IntN(2) == 0
	if before {
		if err = erase(); err != nil {
			return opened, err
		}
	}
	if inPast {
		if err = x.disturb(opened.Written, s.Tuples()); err != nil {
			return opened, err
		}
	}
	if !before {
		if err = erase(); err != nil {
			return opened, err
		}
	}
	at, err := x.elsewhere(t)
	if err != nil {
		return opened, err
	}
	if found := rowsWith(t, at.s, erasedName); len(found) > 0 {
		return opened, fmt.Errorf("the name stands in %q", found)
	}
	if inPast {
		opened.View, err = at.s.ViewAt(x.store, revision)
		return opened, err
	}
	st, _ := at.s.Current().Store(x.store)
	opened.View = st.View()
	return opened, nil
}

func (x *erasures) erase(n byte, typ model.TypeID) error {
	c := begin(x.store, n, Entity{typ, erasedName})
	c.Body.(*Erase).Limit = uint64(1 + x.rng.IntN(200))
	done := x.do(c)
	for done.Remaining {
		done = x.do(&Command{Store: x.store, Body: &Erase{ID: done.Erased.ID, Limit: uint64(1 + x.rng.IntN(200))}})
	}
	if done.Erased.Revision != graph.Revision(x.index) {
		return fmt.Errorf("erased %+v at %d", done.Erased, x.index)
	}
	return nil
}

// elsewhere is where the store is asked about: here, here after a restart, or on another
// node.
func (x *erasures) elsewhere(t testing.TB) (*machine, error) {
	switch x.asked % 4 {
	case 1:
		x.reopen()
	case 2:
		meta := snapshot(t, x.s, x.index)
		id, err := receive(x.other.s, meta.Index, meta.Term, stream(t, x.s, meta.ID))
		if err != nil {
			return nil, err
		}
		restore(t, x.other.s, id)
		x.logs = nil
		return x.other, sameHash(x.s, x.other.s)
	case 3: // the node of before goes on from its snapshot
		x.other.s.ApplyBatch(x.logs)
		x.logs = nil
		return x.other, sameHash(x.s, x.other.s)
	}
	return x.machine, nil
}

func sameHash(a, b *State) error {
	ra, ha := a.StateHash()
	rb, hb := b.StateHash()
	if ra != rb || ha != hb {
		return fmt.Errorf("state hash %x at %d, and %x at %d", ha, ra, hb, rb)
	}
	recounted, err := b.Recount()
	if recounted != hb {
		return fmt.Errorf("recount %x, hash %x: %w", recounted, hb, err)
	}
	return nil
}
