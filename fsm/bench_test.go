package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/graph"
)

// BenchmarkApply writes new tuples, so many to an entry, and reports the time of one.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 64, 512} {
		b.Run(fmt.Sprint("tuples=", size), func(b *testing.B) {
			m := newMachine(b)
			store := m.store(1)
			n := 0
			for b.Loop() {
				ops := make([]Operation, size)
				for i := range ops {
					n++
					ops[i] = create(viewer(fmt.Sprint("d", n), fmt.Sprint("u", n%1000)))
				}
				c, err := write(store, ops...).Encode()
				if err != nil {
					b.Fatal(err)
				}
				m.index++
				m.s.Apply(&raft.Log{Index: m.index, Term: 1, Type: raft.LogCommand, Data: Seal([][]byte{c}, time.UnixMilli(m.now))})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/tuple")
		})
	}
}

// BenchmarkRead asks for one tuple of a userset of a thousand, from the head and the past.
func BenchmarkRead(b *testing.B) {
	m := newMachine(b)
	store := m.store(1)
	var ops []Operation
	for i := range 1000 {
		ops = append(ops, create(viewer("plan", fmt.Sprint("u", i))))
	}
	m.do(write(store, ops...))
	st, _ := m.s.Current().Store(store)
	past, err := m.s.ViewAt(store, st.Revision())
	if err != nil {
		b.Fatal(err)
	}
	plan, _, _ := st.Lookup(typeDocument, "plan")
	user, _, _ := st.Lookup(typeUser, "u500")
	u, s := graph.Userset{Object: plan, Relation: relViewer}, graph.Subject{ID: user}
	for _, v := range []struct {
		name string
		view graph.View
	}{{"head", st}, {"past", past}} {
		b.Run("contains/"+v.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, err := v.view.Contains(u, s); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

// BenchmarkIndex searches the index of a large store at random places, which the processor's
// caches do not hold.
func BenchmarkIndex(b *testing.B) {
	const documents, users = 1 << 20, 1 << 10
	index := newStoreIndex(storeNumber(1))
	document := func(i uint64) graph.ID { return graph.MakeID(typeDocument, i%documents+1) }
	user := func(i uint64) graph.Subject { return graph.Subject{ID: graph.MakeID(typeUser, i%users+1)} }
	for i := range uint64(documents) {
		for j := range uint64(3) {
			index.putTuple(newTupleItem(graph.Userset{Object: document(i), Relation: relViewer}, graph.Edge{Subject: user(i*7 + j)}, 1, 1))
		}
	}
	all := newIndex()
	all.stores.ReplaceOrInsert(storeItem{index.id, index})
	store := &Store{root: &Root{index: all}, index: index}
	names := make([]string, documents)
	for i := range names {
		names[i] = fmt.Sprint("d", i)
		index.addEntity(typeDocument, names[i], document(uint64(i)), 1)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok, err := store.Lookup(typeDocument, names[rng.IntN(documents)]); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("contains", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i := rng.Uint64N(documents)
			if _, ok, err := store.Contains(graph.Userset{Object: document(i), Relation: relViewer}, user(i*7+1)); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	})
	b.Run("subjects", func(b *testing.B) {
		b.ReportAllocs()
		var c graph.Cursor
		for b.Loop() {
			c.After, c.Done = graph.Subject{}, false
			if err := store.Subjects(graph.Userset{Object: document(rng.Uint64()), Relation: relViewer}, &c); err != nil || len(c.Edges) != 3 {
				b.Fatal(c.Edges, err)
			}
		}
	})
}
