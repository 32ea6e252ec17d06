package cluster

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsOfMembersAreTheLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registries := map[string]*prometheus.Registry{}
		var clocks skews
		c := newPeers(t, 1, 3, clocks.option, func(cfg *Config) {
			registries[cfg.NodeID] = prometheus.NewRegistry()
			cfg.Metrics = registries[cfg.NodeID]
		})
		l := c.leader()
		dead, behind := c.others(l)[0], c.others(l)[1]
		clocks.set(behind.ID, -2*time.Second)
		c.crash(dead, 0)
		pass(5 * time.Second)
		l.propose("x")
		pass(2 * time.Second)

		perMember := map[string]map[string]float64{} // by metric, by member
		families, err := registries[l.ID].Gather()
		must(t, err)
		for _, f := range families {
			if name, ok := strings.CutPrefix(f.GetName(), "remit_member_"); ok {
				perMember[name] = map[string]float64{}
				for _, m := range f.Metric {
					perMember[name][m.Label[0].GetValue()] = m.Gauge.GetValue()
				}
			}
		}
		for name, values := range perMember {
			if got := slices.Sorted(maps.Keys(values)); !slices.Equal(got, []string{"n0", "n1", "n2"}) {
				t.Errorf("%s is told of %v", name, got)
			}
		}
		for _, tt := range []struct {
			name, member string
			want         float64
		}{
			{"healthy", l.ID, 1},
			{"healthy", behind.ID, 1},
			{"healthy", dead.ID, 0},
			{"reachable", behind.ID, 1},
			{"reachable", dead.ID, 0},
			{"lag_entries", behind.ID, 0},
			{"lag_entries", l.ID, 0},
		} {
			if got := perMember[tt.name][tt.member]; got != tt.want {
				t.Errorf("%s of %s = %v, want %v", tt.name, tt.member, got, tt.want)
			}
		}
		if lag := perMember["lag_entries"][dead.ID]; lag < 1 {
			t.Errorf("the dead member lags by %v entries, want some", lag)
		}
		if by := perMember["clock_offset_seconds"][behind.ID]; by > -1.99 || by < -2.01 {
			t.Errorf("the clock of %s is %v s ahead, want -2", behind.ID, by)
		}
		if took := perMember["round_trip_seconds"][behind.ID]; took <= 0 || took > 0.01 {
			t.Errorf("%s took %v s to answer", behind.ID, took)
		}
		whole := gathered(t, registries[l.ID])
		if whole["remit_cluster_healthy"] != 0 || whole["remit_cluster_failure_tolerance"] != 0 || whole["remit_cluster_writes_refused"] != 0 {
			t.Errorf("the leader tells %v", whole)
		}
		for name := range gathered(t, registries[behind.ID]) {
			if strings.HasPrefix(name, "remit_member_") || name == "remit_cluster_healthy" {
				t.Errorf("%s is told by a node that does not lead", name)
			}
		}
	})
}
