package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durations are the bounds of the histogram of latencies: from what a Check in memory
// takes to what no client waits for.
var durations = []float64{
	10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3,
	0.1, 0.25, 0.5, 1, 2.5, 5, 10,
}

// metrics are those of all calls.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	edges    prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remit_rpc_requests_total",
			Help: "Calls that have ended, by face, RPC and code.",
		}, []string{"face", "rpc", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "remit_rpc_duration_seconds",
			Help:    "How long calls took, by face and RPC.",
			Buckets: durations,
		}, []string{"face", "rpc"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remit_rpc_in_flight",
			Help: "Calls under way, by face and RPC.",
		}, []string{"face", "rpc"}),
		edges: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "remit_query_edges",
			Help:    "Edges that a question visited: its share of the budget.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 11), // to the default budget, about a million
		}),
	}
	registry.MustRegister(m.requests, m.duration, m.inFlight, m.edges)
	return m
}

// A call is what is known of one RPC. Its metrics are found once, so that a call of it
// looks nothing up.
type call struct {
	procedure, face, rpc string

	metrics  *metrics // nil: none are kept
	ok       prometheus.Counter
	duration prometheus.Observer
	inFlight prometheus.Gauge
}

// prepare finds the metrics of an RPC, which begin at zero: a rate that jumps from
// nothing cannot be told from one that was always there.
func (m *metrics) prepare(c *call) {
	c.metrics = m
	c.ok = m.requests.WithLabelValues(c.face, c.rpc, outcomeOK)
	c.duration = m.duration.WithLabelValues(c.face, c.rpc)
	c.inFlight = m.inFlight.WithLabelValues(c.face, c.rpc)
}

// begin counts a call that begins.
func (c *call) begin() {
	if c.metrics != nil {
		c.inFlight.Inc()
	}
}

// end counts a call that has ended.
func (c *call) end(took time.Duration, outcome string) {
	if c.metrics == nil {
		return
	}
	c.inFlight.Dec()
	c.duration.Observe(took.Seconds())
	if outcome == outcomeOK {
		c.ok.Inc()
		return
	}
	c.metrics.requests.WithLabelValues(c.face, c.rpc, outcome).Inc()
}
