package fsm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// plainly judges a change that has been read, field by field.
func (f *ChangeFilter) plainly(c *Change) bool {
	tuple, object := c.Kind.onTuple(), graph.ID(0)
	switch {
	case tuple:
		object = c.Tuple.Userset.Object
	case c.Kind.onDocument():
		object = c.Entity
	}
	subject := c.Tuple.Edge.Subject
	for _, fault := range []bool{
		len(f.Kinds) > 0 && !slices.Contains(f.Kinds, c.Kind),
		c.Time < f.From,
		f.To != 0 && c.Time > f.To,
		f.Principal != "" && c.Principal != f.Principal,
		f.Actor != "" && c.Actor != f.Actor,
		f.RequestID != "" && c.RequestID != f.RequestID,
		f.Object != 0 && object != f.Object,
		f.ObjectType != 0 && object.Type() != f.ObjectType,
		len(f.Relations) > 0 && (!tuple || !slices.Contains(f.Relations, c.Tuple.Userset.Relation)),
		f.Subject != 0 && (!tuple || subject.ID != f.Subject),
		f.SubjectType != 0 && (!tuple || subject.ID.Type() != f.SubjectType),
		f.SubjectRelation != 0 && subject.Relation != f.SubjectRelation,
	} {
		if fault {
			return false
		}
	}
	return true
}

// history is a store with random changes by random people, which keeps the latter half.
func history(t testing.TB, r *chance, m *machine, entries int) StoreID {
	store := m.store(0)
	m.store(1)
	for i := range entries {
		var commands []*Command
		for range 1 + r.IntN(3) {
			c := r.command(graph.Revision(m.index+1), m.now)
			switch c.Body.(type) {
			case *DeleteStore, *CreateStore, *AdvanceHistory:
				continue
			}
			c.Principal, c.Actor, c.RequestID = r.pick("", "app", "ops"), r.pick("", "anna", "bert"), fmt.Sprint(i%7)
			commands = append(commands, c)
		}
		m.now += int64(r.IntN(2))
		m.apply(commands...)
		if i == entries/2 && r.IntN(2) == 0 {
			m.apply(&Command{Store: store, Body: &AdvanceHistory{Horizon: graph.Revision(m.index - 5)}})
		}
	}
	return store
}

func (r *chance) filter(m *machine, st *Store, all []*Change) *ChangeFilter {
	f := &ChangeFilter{}
	id := func(typ model.TypeID, names ...string) graph.ID {
		n, _, err := st.Lookup(typ, r.pick(names...))
		if err != nil {
			r.t.Fatal(err)
		}
		return n
	}
	often := func() bool { return r.IntN(4) == 0 }
	if often() {
		for range 1 + r.IntN(3) {
			f.Kinds = append(f.Kinds, ChangeKind(1+r.IntN(10)))
		}
	}
	if often() {
		f.From = all[r.IntN(len(all))].Time
	}
	if often() {
		f.To = all[r.IntN(len(all))].Time
	}
	if often() {
		f.Principal = r.pick("app", "ops", "nobody")
	}
	if often() {
		f.Actor = r.pick("anna", "bert")
	}
	if often() {
		f.RequestID = r.pick("1", "2")
	}
	switch r.IntN(8) {
	case 0:
		f.Object = id(typeDocument, "plan", "x", "ü")
	case 1:
		f.ObjectType = model.TypeID(1 + r.IntN(3))
	}
	if often() {
		f.Relations = []model.RelationID{relMember, relViewer}[r.IntN(2):]
	}
	switch r.IntN(8) {
	case 0:
		f.Subject = id(typeUser, "anna", "bert", "*")
	case 1:
		f.Subject = id(typeGroup, "eng", "ops")
	case 2:
		f.Subject, f.SubjectRelation = id(typeGroup, "eng", "ops"), relMember
	case 3:
		f.SubjectType = typeGroup
	}
	return f
}

// Whatever is asked of a changelog, in either direction and in pages of any size, gives
// what reading all of it and judging each change gives.
func TestFiltersOfChanges(t *testing.T) {
	for range volume(3, 40) {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := &chance{rand.New(rand.NewPCG(seed, 5)), t}
			m := newMachine(t)
			id := history(t, r, m, volume(150, 400))
			st, _ := m.s.Current().Store(id)
			all := allChanges(t, m.s, id, ChangeQuery{Kept: true})
			for range 60 {
				q := ChangeQuery{Kept: true, Filter: r.filter(m, st, all), Limit: r.IntN(4) * r.IntN(9)}
				if r.IntN(3) == 0 {
					q.From = all[r.IntN(len(all))].Revision
				}
				if r.IntN(3) == 0 {
					q.Until = all[r.IntN(len(all))].Revision
				}
				var want []Place
				for _, c := range all {
					if q.Filter.plainly(c) && c.Revision >= q.From && (q.Until == 0 || c.Revision <= q.Until) {
						want = append(want, Place{c.Revision, c.Ordinal})
					}
				}
				for _, q.Backwards = range []bool{false, true} {
					var got []Place
					for _, c := range allChanges(t, m.s, id, q) {
						got = append(got, Place{c.Revision, c.Ordinal})
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("%+v, filter %+v (-want +got):\n%s", q, q.Filter, diff)
					}
					slices.Reverse(want)
				}
			}
		})
	}
}

// A page that finds nothing says how far it has looked.
func TestAPageBackwardsExaminesSoMuch(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	first := m.do(write(store, create(member("eng", "anna"))))
	for i := range 3 {
		ops := make([]Operation, changesPerPage/2)
		for j := range ops {
			ops[j] = create(viewer(fmt.Sprint(i, "-", j), "anna"))
		}
		m.do(write(store, ops...))
	}
	q := ChangeQuery{Backwards: true, Filter: &ChangeFilter{Relations: []model.RelationID{relMember}}}
	page, err := m.s.Changes(store, q)
	if err != nil || len(page.Changes) != 0 || !page.More || page.Examined != changesPerPage || page.Next.Revision != first.Revision+2 || page.Time != first.Time+2 {
		t.Fatalf("first page %+v, %v, want that it ends early", page, err)
	}
	q.After = page.Next
	if page, err = m.s.Changes(store, q); err != nil || len(page.Changes) != 1 || page.More || page.Examined != changesPerPage/2+3 {
		t.Fatalf("second page %+v, %v, want the one change", page, err)
	}
	q.After = page.Next
	if page, err = m.s.Changes(store, q); err != nil || page.Examined != 0 || page.More {
		t.Errorf("in front of the first: %+v, %v, want nothing", page, err)
	}
	q.After = EndOf(graph.Revision(m.index + 1))
	if _, err = m.s.Changes(store, q); !errors.Is(err, ErrRevisionUnknown) {
		t.Errorf("in front of the future: %v, want %v", err, ErrRevisionUnknown)
	}
}

// Who reads backwards comes to the horizon and learns where it is.
func TestBackwardsToTheHorizon(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.do(write(store, create(viewer("a", "anna"))))
	horizon := m.do(write(store, create(viewer("b", "anna")), create(viewer("c", "anna")))).Revision
	m.do(write(store, create(viewer("d", "anna"))))
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: horizon}})
	page, err := m.s.Changes(store, ChangeQuery{Backwards: true})
	if err != nil || len(page.Changes) != 3 || page.More || page.Kept != horizon {
		t.Errorf("%+v, %v, want three changes since %d", page, err, horizon)
	}
	page, err = m.s.Changes(store, ChangeQuery{Kept: true, Since: time.UnixMilli(1)})
	if err != nil || len(page.Changes) != 3 || page.Kept != horizon {
		t.Errorf("%+v, %v, want three changes since %d", page, err, horizon)
	}
}

// BenchmarkFilteredChanges asks a million changes for what nobody did: the price of a
// filter without an index.
func BenchmarkFilteredChanges(b *testing.B) {
	const rows, each = 1_000_000, 5000
	m := newMachine(b)
	store := m.store(1)
	for i := range rows / each {
		ops := make([]Operation, each)
		for j := range ops {
			ops[j] = create(viewer(fmt.Sprint("document-", i, "-", j), fmt.Sprint("user-", j%977)))
		}
		c := write(store, ops...)
		c.Principal, c.Actor, c.RequestID, c.Reason = "key:backend", fmt.Sprint("user-", i%50), fmt.Sprint("request-", i), "import"
		m.apply(c)
	}
	for _, filter := range []struct {
		name   string
		filter *ChangeFilter
	}{
		{"actor", &ChangeFilter{Actor: "nobody"}},
		{"subject", &ChangeFilter{Subject: graph.MakeID(typeUser, graph.MaxSequence)}},
	} {
		for _, backwards := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/backwards=%v", filter.name, backwards), func(b *testing.B) {
				examined := 0
				for b.Loop() {
					q := ChangeQuery{Filter: filter.filter, Backwards: backwards}
					for more := true; more; {
						page, err := m.s.Changes(store, q)
						if err != nil || len(page.Changes) != 0 {
							b.Fatal(page, err)
						}
						examined += page.Examined
						q.After, more = page.Next, page.More
					}
				}
				b.ReportMetric(float64(examined)/b.Elapsed().Seconds(), "changes/s")
			})
		}
	}
}
