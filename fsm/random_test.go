package fsm

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/graphtest"
	"github.com/remit-authz/remit/graph/model"
)

// The evaluator must say the same over the index, over an index that was loaded from
// Pebble, and over a past revision as the reference says over plain tuples.

func TestRandomHead(t *testing.T) {
	graphtest.Run(t, random(t, 80), newTenants(t).head)
}

// A cache may know what it likes of the store before: it must say what the view says.
func TestRandomHeadWithCache(t *testing.T) {
	c := random(t, 40)
	x := &cached{tenants: newTenants(t)}
	graphtest.Run(t, c, x.open)
	t.Logf("%d checks between writes, of which %d visited less than without the cache", x.checks, x.saved)
	if x.saved == 0 {
		t.Error("the cache has saved nothing")
	}
}

// cached opens a store whose questions share a cache, which was in use while the store was
// filled.
type cached struct {
	*tenants
	checks, saved int
}

func (x *cached) open(t testing.TB, s *graphtest.Store) (graphtest.Opened, error) {
	written, asked, err := x.fill(&graphtest.Store{Written: s.Written, Asked: s.Asked})
	if err != nil {
		return graphtest.Opened{}, err
	}
	o := graphtest.Opened{Written: written, Asked: asked}.WithCache()
	for i, step := range s.Steps {
		if err := x.steps(written, s.Steps[i:i+1]); err != nil {
			return o, err
		}
		st, _ := x.s.Current().Store(x.store)
		o.View = st.View()
		if x.rng.IntN(3) == 0 {
			if err := x.compare(t, &o, step.Tuple); err != nil {
				return o, err
			}
		}
	}
	st, _ := x.s.Current().Store(x.store)
	o.View = st.View()
	return o, nil
}

// compare asks what the tuple's subject has to all entities of its object's type.
func (x *cached) compare(t testing.TB, o *graphtest.Opened, tuple graph.Tuple) error {
	at := time.UnixMilli(int64(x.rng.IntN(4000)))
	subject, ok, err := o.View.Lookup(mustType(t, o.Asked, tuple.Subject.Type), tuple.Subject.ID)
	if err != nil || !ok || tuple.Subject.Relation != "" {
		return err
	}
	for _, r := range graphtest.Relations(o.Asked) {
		for sequence := uint64(1); sequence < 4; sequence++ {
			object := graph.MakeID(r.Type.ID, sequence)
			if _, err := o.View.Name(object); err != nil {
				break // there are no more
			}
			u, sub := graph.Userset{Object: object, Relation: r.ID}, graph.Subject{ID: subject}
			var with, without int
			plain := graph.Query{View: o.View, Plan: o.Asked, At: at, Visited: func(n int) { without = n }}
			got := graph.Query{View: o.View, Plan: o.Asked, At: at, Cache: o.Cache, Visited: func(n int) { with = n }}
			want, wantErr := plain.Check(t.Context(), u, sub)
			have, haveErr := got.Check(t.Context(), u, sub)
			if have != want || (haveErr == nil) != (wantErr == nil) {
				t.Errorf("%v#%s of %v at %v: %v, %v with the cache, %v, %v without", object, r.Name, subject, at, have, haveErr, want, wantErr)
			}
			x.checks++
			if with < without {
				x.saved++
			}
		}
	}
	return nil
}

func mustType(t testing.TB, p *model.Plan, name string) model.TypeID {
	t.Helper()
	typ, ok := p.Type(name)
	if !ok {
		t.Fatalf("no type %s", name)
	}
	return typ.ID
}

func TestRandomHeadAfterRestart(t *testing.T) {
	c := random(t, 160)
	c.Models = (c.Models + 3) / 4 // a restart takes longer than the questions
	graphtest.Run(t, c, newTenants(t).reopened)
}

func TestRandomPast(t *testing.T) {
	graphtest.Run(t, random(t, 15), newTenants(t).past)
}

func random(t *testing.T, models int) graphtest.Config {
	return graphtest.Volume(t, "fsm", 2, models)
}

// tenants is a state that opens one store after the other. A store is deleted when the
// next one is opened, so what is left of it, if anything, stands beside all later ones.
type tenants struct {
	*machine
	rng   *rand.Rand
	store StoreID
	made  uint64
}

func newTenants(t *testing.T) *tenants {
	return &tenants{machine: newMachine(t), rng: rand.New(rand.NewPCG(3, 3))}
}

func (x *tenants) head(_ testing.TB, s *graphtest.Store) (graphtest.Opened, error) {
	written, asked, err := x.fill(s)
	if err != nil {
		return graphtest.Opened{}, err
	}
	st, _ := x.s.Current().Store(x.store)
	return graphtest.Opened{View: st.View(), Written: written, Asked: asked}, nil
}

func (x *tenants) reopened(t testing.TB, s *graphtest.Store) (graphtest.Opened, error) {
	o, err := x.head(t, s)
	if err != nil {
		return o, err
	}
	x.reopen()
	st, ok := x.s.Current().Store(x.store)
	if !ok {
		return o, fmt.Errorf("store %v is gone after a restart", x.store)
	}
	return graphtest.Opened{View: st.View(), Written: o.Written, Asked: o.Asked}, nil
}

// past asks for the revision at which the store held its tuples, after all of them have
// been changed and others have come.
func (x *tenants) past(_ testing.TB, s *graphtest.Store) (graphtest.Opened, error) {
	written, asked, err := x.fill(s)
	if err != nil {
		return graphtest.Opened{}, err
	}
	revision := graph.Revision(x.index)
	if err := x.disturb(written, s.Tuples()); err != nil {
		return graphtest.Opened{}, err
	}
	if x.rng.IntN(2) == 0 { // everything older may go; this revision may not
		x.do(&Command{Store: x.store, Body: &AdvanceHistory{Horizon: revision}})
	}
	view, err := x.s.ViewAt(x.store, revision)
	if err != nil {
		return graphtest.Opened{}, err
	}
	return graphtest.Opened{View: view, Written: written, Asked: asked}, nil
}

// fill makes a store and carries its steps out.
func (x *tenants) fill(s *graphtest.Store) (written, asked *model.Plan, err error) {
	if !x.store.IsZero() {
		x.do(&Command{Store: x.store, Body: &DeleteStore{}})
	}
	x.made++
	x.store = StoreID{0: 1}
	binary.BigEndian.PutUint64(x.store[8:], x.made)
	x.do(&Command{Store: x.store, Body: &CreateStore{Name: "tenant"}})
	for i, m := range []*model.Model{s.Written, s.Asked} {
		x.do(&Command{Store: x.store, Body: &WriteModel{ID: modelNumber(byte(i + 1)), Source: []byte("model"), Declarations: m.Declarations()}})
	}
	st, _ := x.s.Current().Store(x.store)
	if written, err = s.Written.Compile("", st.Symbols()); err != nil {
		return nil, nil, err
	}
	if asked, err = s.Asked.Compile("", st.Symbols()); err != nil {
		return nil, nil, err
	}
	return written, asked, x.steps(written, s.Steps)
}

// steps are written in commands of several operations, of which no two may be on the
// same tuple.
func (x *tenants) steps(p *model.Plan, steps []graphtest.Step) error {
	var ops []Operation
	flush := func() {
		if len(ops) > 0 {
			x.do(write(x.store, ops...))
		}
		ops = nil
	}
	for _, step := range steps {
		op, err := operation(p, step)
		if err != nil {
			return err
		}
		for i := range ops {
			if ops[i].Tuple == op.Tuple {
				flush()
				break
			}
		}
		if ops = append(ops, op); x.rng.IntN(8) == 0 {
			flush()
		}
	}
	flush()
	return nil
}

// disturb changes every tuple and adds others, some about entities that were unknown
// before.
func (x *tenants) disturb(p *model.Plan, tuples []graph.Tuple) error {
	var first, second []graphtest.Step
	for _, t := range tuples {
		altered := t
		altered.Expires = t.Expires.Add(time.Hour)
		if t.Expires.IsZero() {
			altered.Expires = time.UnixMilli(1)
		}
		fate := x.rng.IntN(4)
		switch fate {
		case 0:
			first = append(first, graphtest.Step{Tuple: altered})
		default:
			first = append(first, graphtest.Step{Tuple: t, Remove: true})
		}
		if fate == 2 {
			second = append(second, graphtest.Step{Tuple: altered})
		}
		if fate == 3 { // and back again, but for the time of writing
			second = append(second, graphtest.Step{Tuple: t})
		}
		noise := t
		// An id that the questions use although no tuple of the store names it.
		noise.Object.ID = "nobody-knows"
		second = append(second, graphtest.Step{Tuple: noise})
		noise = t
		if noise.Subject.ID != "*" {
			noise.Subject.ID = "noise-" + strconv.Itoa(x.rng.IntN(4))
			second = append(second, graphtest.Step{Tuple: noise})
		}
	}
	if err := x.steps(p, first); err != nil {
		return err
	}
	return x.steps(p, second)
}

// operation is what a step asks of the state. The model must allow what is put; what is
// removed is named without its condition.
func operation(p *model.Plan, step graphtest.Step) (Operation, error) {
	t := step.Tuple
	r, err := graph.ResolveRelation(p, t.Object.Type, t.Relation)
	if err != nil {
		return Operation{}, err
	}
	kind, err := graph.ResolveKind(p, t.Subject.Type, t.Subject.Relation)
	if err != nil {
		return Operation{}, err
	}
	key := TupleKey{
		Object:   Entity{Type: r.Type.ID, Name: t.Object.ID},
		Relation: r.ID,
		Subject:  Entity{Type: kind.Type.ID, Name: t.Subject.ID},
	}
	if kind.Relation != nil {
		key.SubjectRelation = kind.Relation.ID
	}
	if step.Remove {
		return remove(key), nil
	}
	op := touch(key)
	allowed, err := graph.CheckTuple(p, t)
	if err != nil {
		return Operation{}, err
	}
	op.Condition = allowed.Condition
	if !t.Expires.IsZero() {
		op.Expires = t.Expires.UnixMilli()
	}
	if len(t.Context) > 0 {
		c, err := condition.NewContext(t.Context)
		if err != nil {
			return Operation{}, err
		}
		op.Context = c.Encoded()
	}
	return op, nil
}
