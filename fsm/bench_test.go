package fsm

import (
	"fmt"
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
