package fsm

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// gathered is what a registry holds; of labelled metrics by name{value of the label}.
func gathered(t *testing.T, s *State) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Metrics())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += "{" + l.GetValue() + "}"
			}
			values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return values
}

func TestMetricsTellWhatAStateHolds(t *testing.T) {
	m := newMachine(t)
	store := m.store(1)
	m.store(2)
	m.do(write(store, touch(viewer("plan", "anna")), touch(viewer("plan", "bert"))))
	m.do(write(store, remove(viewer("plan", "bert"))))
	expiring := touch(viewer("plan", "carl"))
	expiring.Expires = m.now + 1
	keyed := write(store, expiring)
	keyed.Key = "k"
	m.do(keyed)
	m.now += idempotencyRetention + 1
	m.do(&Command{Store: store, Body: &AdvanceExpiry{Horizon: m.now}})
	m.do(&Command{Store: store, Body: &AdvanceHistory{Horizon: graph.Revision(m.index)}})

	got := gathered(t, m.s)
	for name, want := range map[string]float64{
		"remit_revision":                          float64(m.index),
		"remit_index_stores":                      2,
		"remit_index_tuples":                      1,
		"remit_index_entities":                    4,
		"remit_pebble_disk_slow_total":            0,
		"remit_upkeep_removed_total{expired}":     1,
		"remit_upkeep_removed_total{version}":     2,
		"remit_upkeep_removed_total{idempotency}": 1,
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	if got["remit_pebble_wal_written_bytes_total"] == 0 || got["remit_pebble_disk_bytes"] == 0 {
		t.Errorf("Pebble has written nothing: %v", got)
	}
	m.reopen()
	if again := gathered(t, m.s); again["remit_index_estimated_bytes"] != got["remit_index_estimated_bytes"] || again["remit_index_tuples"] != 1 {
		t.Errorf("opened again, the index is %v B, it was %v B", again["remit_index_estimated_bytes"], got["remit_index_estimated_bytes"])
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := gathered(t, m.s)["remit_pebble_disk_bytes"]; ok {
		t.Error("Pebble is asked after it was closed")
	}
}

// The estimate of the index's size is as good as who plans memory needs it.
func TestEstimatedBytesAreNearWhatTheIndexTakes(t *testing.T) {
	for _, test := range []struct {
		name             string
		documents, users int // a tuple for each pair
	}{
		{"each tuple has a document of its own", 40_000, 1},
		{"documents share users", 400, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			index := newStoreIndex(storeNumber(1))
			before := heap()
			for _, kind := range []struct {
				typ model.TypeID
				n   int
			}{{typeDocument, test.documents}, {typeUser, test.users}} {
				for i := range kind.n {
					index.addEntity(kind.typ, fmt.Sprintf("%032x", rand.Uint64()), graph.MakeID(kind.typ, uint64(i+1)), 1)
				}
			}
			for i := range test.documents {
				for j := range test.users {
					edge := graph.Edge{Subject: graph.Subject{ID: graph.MakeID(typeUser, uint64(j+1))}}
					index.putTuple(newTupleItem(graph.Userset{Object: graph.MakeID(typeDocument, uint64(i+1)), Relation: relViewer}, edge, 1, 1))
					index.tally.tuples++
				}
			}
			taken := float64(heap() - before)
			all := newIndex()
			all.stores.ReplaceOrInsert(storeItem{index.id, index})
			size := (&Root{index: all}).Size()
			if ratio := float64(size.Bytes) / taken; ratio < 0.8 || ratio > 1.25 {
				t.Errorf("%d tuples and %d entities take %.0f B, estimated are %d", size.Tuples, size.Entities, taken, size.Bytes)
			} else {
				t.Logf("%.0f B for each tuple, the estimate is %.2f of it", taken/float64(size.Tuples), ratio)
			}
		})
	}
}

// heap is how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers held goes with the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
