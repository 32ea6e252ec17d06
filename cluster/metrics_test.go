package cluster

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// gathered is what a registry holds: values, and of histograms the number of
// observations and, under name_sum, their sum.
func gathered(t *testing.T, registry prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				values[f.GetName()] = m.Counter.GetValue()
			case dto.MetricType_GAUGE:
				values[f.GetName()] = m.Gauge.GetValue()
			case dto.MetricType_HISTOGRAM:
				values[f.GetName()] = float64(m.Histogram.GetSampleCount())
				values[f.GetName()+"_sum"] = m.Histogram.GetSampleSum()
			}
		}
	}
	return values
}

func TestMetricsTellWhatANodeDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		r := newRig(t, clustertest.NewDisk(), slow(2*time.Millisecond), func(c *Config) { c.Metrics = registry })
		n := r.open()
		const commands = 20
		before := gathered(t, registry)
		for i := range commands {
			r.propose(fmt.Sprint("command ", i))
		}
		synctest.Wait() // Raft notes what was applied a little after the answer
		got := gathered(t, registry)
		entries := got["remit_raft_entries_total"]
		for name, want := range map[string]float64{
			"remit_raft_leader":                             1,
			"remit_raft_term":                               float64(n.raft.CurrentTerm()),
			"remit_raft_terms_total":                        1,
			"remit_raft_commands_total":                     commands,
			"remit_raft_entry_commands":                     entries,
			"remit_raft_entry_commands_sum":                 commands,
			"remit_raft_queue_commands":                     0,
			"remit_raft_commit_index":                       float64(n.raft.CommitIndex()),
			"remit_raft_applied_index":                      float64(n.raft.AppliedIndex()),
			"remit_apply_lag_entries":                       0,
			"remit_log_first_index":                         1,
			"remit_cluster_staleness_seconds":               0,
			"remit_cluster_lag_entries":                     0,
			"remit_log_stalled_seconds":                     0,
			"remit_log_trailing_entries":                    200_000,
			"remit_log_last_index":                          float64(n.raft.LastIndex()),
			"remit_snapshot_index":                          0,
			"remit_snapshot_last_success_timestamp_seconds": 0,
		} {
			if got[name] != want {
				t.Errorf("%s = %v, want %v", name, got[name], want)
			}
		}
		if entries < 1 || got["remit_apply_entries_total"]-before["remit_apply_entries_total"] != entries {
			t.Errorf("%v entries were handed to Raft, %v applied", entries, got["remit_apply_entries_total"]-before["remit_apply_entries_total"])
		}
		syncs, took := got["remit_log_sync_duration_seconds"], got["remit_log_sync_duration_seconds_sum"]
		if syncs < 1 || math.Abs(took-syncs*0.002) > 1e-9 {
			t.Errorf("%v appends took %v s, want 2 ms each", syncs, took)
		}

		must(t, n.Snapshot(t.Context()))
		got = gathered(t, registry)
		if got["remit_snapshot_index"] == 0 || got["remit_snapshot_duration_seconds"] != 1 ||
			got["remit_snapshot_last_success_timestamp_seconds"] != float64(time.Now().UnixNano())/1e9 {
			t.Errorf("after a snapshot: %v", got)
		}
		r.close()
		if got = gathered(t, registry); got["remit_raft_leader"] != 0 {
			t.Error("a node that is closed leads")
		}
	})
}

// failingSnapshots are of a state machine whose snapshots cannot be made, or not written.
type failingSnapshots struct {
	raft.BatchingFSM
	persist bool
}

func (f failingSnapshots) Snapshot() (raft.FSMSnapshot, error) {
	if f.persist {
		return f, nil
	}
	return nil, errors.New("no room")
}

func (failingSnapshots) Persist(raft.SnapshotSink) error { return errors.New("no room") }
func (failingSnapshots) Release()                        {}

func TestFailedSnapshotsAreCounted(t *testing.T) {
	for _, persist := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			r := newRig(t, clustertest.NewDisk(), func(c *Config) {
				c.Metrics, c.FSM = registry, failingSnapshots{c.FSM, persist}
			})
			n := r.open()
			r.propose("a")
			if err := n.Snapshot(t.Context()); err == nil {
				t.Fatal("the snapshot succeeded")
			}
			if got := gathered(t, registry); got["remit_snapshot_failures_total"] != 1 || got["remit_snapshot_duration_seconds"] != 0 {
				t.Errorf("persist %v: %v snapshots failed, %v were made", persist, got["remit_snapshot_failures_total"], got["remit_snapshot_duration_seconds"])
			}
			r.close()
		})
	}
}
