package crm_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
)

const (
	allStated = 100
	fewStated = 2

	// roundsEach is how often a few changes are planned at one view of the two stores.
	roundsEach = 12
)

// A machine is one managed store of a state machine in memory.
type machine struct {
	*testing.T
	state *fsm.State
	id    fsm.StoreID
	plan  *model.Plan
	index uint64
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: "data", FS: vfs.NewMem(), CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &machine{T: t, state: state, id: fsm.StoreID{15: 1}}
	m.must(&fsm.Command{Body: &fsm.SetClusterVersion{Version: fsm.ClusterVersion}})
	m.must(&fsm.Command{Store: m.id, Body: &fsm.CreateStore{Name: "acme", Managed: true}})
	return m
}

// apply applies a command as Raft does.
func (m *machine) apply(c *fsm.Command) error {
	m.Helper()
	encoded, err := c.Encode()
	if err != nil {
		m.Fatal(err)
	}
	m.index++
	now := time.UnixMilli(int64(m.index)) // before any share expires
	entry := &raft.Log{Index: m.index, Term: 1, Type: raft.LogCommand, Data: fsm.Seal([][]byte{encoded}, now)}
	answers, err := fsm.SplitAnswers(m.state.Apply(entry).([]byte))
	if err != nil {
		m.Fatal(err)
	}
	result, err := fsm.DecodeResult(answers[0])
	if err != nil {
		m.Fatal(err)
	}
	return result.Err
}

func (m *machine) must(c *fsm.Command) {
	m.Helper()
	if err := m.apply(c); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) store() *fsm.Store {
	m.Helper()
	s, ok := m.state.Current().Store(m.id)
	if !ok {
		m.Fatal("the store is gone")
	}
	return s
}

func (m *machine) draft() *crm.Draft {
	return crm.NewDraft(m.store(), m.plan, crm.DefaultLimits())
}

// commit carries out a plan, if nothing stands in its way. As a caller does, it writes a model
// first that the plan needs: never one that others have left behind.
func (m *machine) commit(p *crm.Plan) error {
	m.Helper()
	c := &fsm.Command{Store: m.id, Planned: true, Body: &fsm.Write{}}
	for _, r := range p.Requires {
		c.Requires = append(c.Requires, fsm.ScopeVersion{Scope: r.Scope, Version: r.Version})
	}
	for _, r := range p.Read {
		if _, declared := m.store().Symbols().TypeID(r.Entity.Type); declared { // or else there is none
			c.Preconditions = append(c.Preconditions, fsm.Precondition{Kind: fsm.DocumentVersion, Entity: m.entity(r.Entity), Version: r.Version})
		}
	}
	if err := m.apply(c); err != nil {
		return err
	}
	if p.Model != nil {
		m.must(&fsm.Command{Store: m.id, Planned: true, Body: &fsm.WriteModel{
			ID: fsm.ModelID{14: byte(m.index >> 8), 15: byte(m.index)}, Source: []byte("model"), Declarations: p.Model.Declarations(),
		}})
		plan, err := p.Model.Compile("", m.store().Symbols())
		if err != nil {
			m.Fatal(err)
		}
		m.plan = plan
	}
	c.Bumps, c.Body = p.Bumps, m.write(p.Changes)
	return m.apply(c)
}

func (m *machine) entity(name graph.ObjectName) fsm.Entity {
	m.Helper()
	typ, ok := m.store().Symbols().TypeID(name.Type)
	if !ok {
		m.Fatalf("nobody has declared the type %s", name.Type)
	}
	return fsm.Entity{Type: typ, Name: name.ID}
}

func (m *machine) write(c crm.Changes) *fsm.Write {
	m.Helper()
	body := &fsm.Write{}
	for _, t := range c.Delete {
		body.Operations = append(body.Operations, fsm.Operation{Kind: fsm.DeleteTuple, Tuple: m.operation(t).Tuple})
	}
	for _, t := range c.Put {
		body.Operations = append(body.Operations, m.operation(t))
	}
	for _, name := range c.DeleteDocuments {
		body.Operations = append(body.Operations, fsm.Operation{Kind: fsm.DeleteDocument, Entity: m.entity(name)})
	}
	for _, d := range c.PutDocuments {
		fields, err := value.Encode(d.Fields)
		if err != nil {
			m.Fatal(err)
		}
		body.Operations = append(body.Operations, fsm.Operation{Kind: fsm.PutDocument, Entity: m.entity(d.Entity), Fields: fields})
	}
	return body
}

// operation puts a tuple.
func (m *machine) operation(t graph.Tuple) fsm.Operation {
	m.Helper()
	r, err := graph.CheckTuple(m.plan, t)
	if err != nil {
		m.Fatal(err)
	}
	o := fsm.Operation{Kind: fsm.TouchTuple, Condition: r.Condition, Tuple: fsm.TupleKey{
		Object: fsm.Entity{Type: r.Object, Name: t.Object.ID}, Relation: r.Relation.ID,
		Subject: fsm.Entity{Type: r.Subject, Name: t.Subject.ID}, SubjectRelation: r.SubjectRelation,
	}}
	if !t.Expires.IsZero() {
		o.Expires = t.Expires.UnixMilli()
	}
	if len(t.Context) > 0 {
		context, err := condition.NewContext(t.Context)
		if err != nil {
			m.Fatal(err)
		}
		o.Context = context.Encoded()
	}
	return o
}

// TestManagedIsAsTheStateMachine carries out the same plans in a Managed and in a state
// machine, a few from each view, so that some conflict: both refuse the same, hold the same
// and plan the same.
func TestManagedIsAsTheStateMachine(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", fewStated, allStated)
	done, refused := 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		s, m := crm.Manage(t, o), newMachine(t)
		d := m.draft()
		for e := range o.Entities() {
			if err := d.Put(e, nil); err != nil {
				t.Fatal(err)
			}
		}
		first, err := d.Plan()
		if err == nil {
			err = m.commit(first)
		}
		if err != nil {
			t.Fatal(err)
		}
		p := &pairing{
			T: t, administration: administration{Generator: g, o: o.Copy()}, at: s,
			limits: crm.DefaultLimits(), tally: &pairTally{guards: map[string]int{}}, again: v.Again(n),
		}
		for range roundsEach {
			var list []*proposal
			var plans []*crm.Plan
			for tries := 0; len(list) < 4 && tries < 100; tries++ {
				for _, c := range p.tangle() {
					p.propose(&list, c.name, "", c.change)
				}
			}
			for _, c := range list {
				d := m.draft()
				if err := c.change(d); err != nil {
					t.Fatalf("%s: %v\n%s", c.name, err, p.again)
				}
				plan, err := d.Plan()
				if err != nil {
					t.Fatalf("%s: %v\n%s", c.name, err, p.again)
				}
				if diff := differences(c.plan, plan); diff != "" {
					t.Fatalf("%s is planned otherwise on the state machine:\n%s\n%s", c.name, diff, p.again)
				}
				plans = append(plans, plan)
			}
			for i, c := range list {
				here := s.Conflict(c.plan)
				if here == nil {
					here = s.Commit(t, c.plan)
				}
				there := m.commit(plans[i])
				if there != nil && !errors.Is(there, fsm.ErrScope) && !errors.Is(there, fsm.ErrPrecondition) {
					t.Fatalf("%s: %v\n%s", c.name, there, p.again)
				}
				if (here == nil) != (there == nil) {
					t.Fatalf("%s: here %v, in the state machine %v\n%s", c.name, here, there, p.again)
				}
				if done++; here != nil {
					refused++
				}
			}
			p.o = p.sound(s, "what was planned at one view", "")
			held, err := crm.Decode(m.store(), m.plan)
			if err != nil {
				t.Fatalf("%v\n%s", err, p.again)
			}
			if diff := gocmp.Diff(p.o, held); diff != "" {
				t.Fatalf("the state machine holds another organisation (-here +there):\n%s\n%s", diff, p.again)
			}
		}
	}
	t.Logf("%d plans, %d of them refused", done, refused)
	if v.Count >= fewStated && (refused < done/20 || refused > done*3/4) {
		t.Errorf("%d of %d plans are refused: others would show more", refused, done)
	}
}
