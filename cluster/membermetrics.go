package cluster

import "github.com/prometheus/client_golang/prometheus"

// memberMetrics are what the leader knows of the members; on another node there are none.
// They are labelled with the member's id: members are few, and whoever is removed is gone
// from here.
type memberMetrics struct{ n *Node }

var (
	descHealthy   = prometheus.NewDesc("remit_cluster_healthy", "1 if every member is healthy as this leader sees it, 0 if not.", nil, nil)
	descTolerance = prometheus.NewDesc("remit_cluster_failure_tolerance", "How many healthy voters may fail before there is no quorum of them.", nil, nil)
	descRefused   = prometheus.NewDesc("remit_cluster_writes_refused", "1 if this leader refuses writes, 0 if not.", nil, nil)

	descMemberHealthy = prometheus.NewDesc("remit_member_healthy", "1 if the member is healthy as this leader sees it, 0 if not.", []string{"member"}, nil)
	descMemberAnswers = prometheus.NewDesc("remit_member_reachable", "1 if the member answered when this leader last asked, 0 if not.", []string{"member"}, nil)
	descMemberLag     = prometheus.NewDesc("remit_member_lag_entries", "How many entries the member's log was behind this leader's.", []string{"member"}, nil)
	descMemberClock   = prometheus.NewDesc("remit_member_clock_offset_seconds", "How far the member's clock is ahead of this leader's.", []string{"member"}, nil)
	descMemberDelay   = prometheus.NewDesc("remit_member_round_trip_seconds", "How long the member took to answer this leader.", []string{"member"}, nil)
)

// Describe implements prometheus.Collector.
func (memberMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descHealthy, descTolerance, descRefused,
		descMemberHealthy, descMemberAnswers, descMemberLag, descMemberClock, descMemberDelay,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m memberMetrics) Collect(to chan<- prometheus.Metric) {
	if !m.n.running.Load() {
		return
	}
	term := m.n.tenure.serving()
	pilot, _ := m.n.helm.watch()
	if term == 0 || pilot == nil {
		return
	}
	h := m.n.healthBy(pilot, term)
	tell := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	tell(descHealthy, flag(h.Healthy))
	tell(descTolerance, float64(h.FailureTolerance))
	tell(descRefused, flag(h.Refusal != ""))
	for _, it := range h.Members {
		tell(descMemberHealthy, flag(it.Healthy), it.ID)
		tell(descMemberAnswers, flag(it.Reachable), it.ID)
		tell(descMemberLag, float64(it.Lag), it.ID)
		tell(descMemberClock, it.ClockOffset.Seconds(), it.ID)
		tell(descMemberDelay, it.Delay.Seconds(), it.ID)
	}
}
