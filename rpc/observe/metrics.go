package observe

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// durations are the bounds of the histogram of latencies: from what a Check in memory
// takes to what no client waits for.
var durations = bounds(
	10*time.Microsecond, 25*time.Microsecond, 50*time.Microsecond, 100*time.Microsecond, 250*time.Microsecond, 500*time.Microsecond,
	time.Millisecond, 2500*time.Microsecond, 5*time.Millisecond, 10*time.Millisecond, 25*time.Millisecond, 50*time.Millisecond,
	100*time.Millisecond, 250*time.Millisecond, 500*time.Millisecond, time.Second, 2500*time.Millisecond, 5*time.Second, 10*time.Second,
)

// edgeCounts go to the default budget, about a million.
var edgeCounts = bounds(1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576)

func bounds(of ...time.Duration) []int64 {
	all := make([]int64, len(of))
	for i, b := range of {
		all[i] = int64(b)
	}
	return all
}

// A histogram counts whole numbers: a search and two additions for each. The library's
// own, which adds floats and can be read while it is written to without a difference
// between its parts, costs five times as much, and a Check is short enough to feel that.
type histogram struct {
	bounds  []int64 // the last bucket has none
	buckets []atomic.Uint64
	sum     atomic.Int64
}

func newHistogram(bounds []int64) *histogram {
	return &histogram{bounds: bounds, buckets: make([]atomic.Uint64, len(bounds)+1)}
}

func (h *histogram) observe(v int64) {
	i, n := 0, len(h.bounds)
	for i < n {
		if middle := (i + n) / 2; v <= h.bounds[middle] {
			n = middle
		} else {
			i = middle + 1
		}
	}
	h.buckets[i].Add(1)
	h.sum.Add(v)
}

// metric is what the histogram holds, with units of so many to one of the metric's.
func (h *histogram) metric(desc *prometheus.Desc, units float64, labels ...string) (m prometheus.Metric, count uint64) {
	buckets := make(map[float64]uint64, len(h.bounds))
	sum := h.sum.Load()
	for i := range h.buckets {
		count += h.buckets[i].Load()
		if i < len(h.bounds) {
			// Divided, for that gives the float nearest to 25 µs, as 25 × 1e-9 does not.
			buckets[float64(h.bounds[i])/units] = count
		}
	}
	return prometheus.MustNewConstHistogram(desc, count, float64(sum)/units, buckets, labels...), count
}

// metrics are those of all calls, as a prometheus.Collector.
type metrics struct {
	edges *histogram
	calls map[string]*call // the observer's
}

var (
	rpcLabels     = []string{"face", "rpc"}
	requestsTotal = prometheus.NewDesc("remit_rpc_requests_total", "Calls that have ended, by face, RPC and code.", []string{"face", "rpc", "code"}, nil)
	durationTime  = prometheus.NewDesc("remit_rpc_duration_seconds", "How long calls took, by face and RPC.", rpcLabels, nil)
	inFlight      = prometheus.NewDesc("remit_rpc_in_flight", "Calls under way, by face and RPC.", rpcLabels, nil)
	queryEdges    = prometheus.NewDesc("remit_query_edges", "Edges that a question visited: its share of the budget.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- requestsTotal
	ch <- durationTime
	ch <- inFlight
	ch <- queryEdges
}

// Collect implements prometheus.Collector. Every RPC has its metrics from the beginning:
// a rate that jumps from nothing cannot be told from one that was always there.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	edges, _ := m.edges.metric(queryEdges, 1)
	ch <- edges
	for _, c := range m.calls {
		// What failed is read first, for it is counted last: what is left is not negative.
		failed := c.outcomes()
		ch <- prometheus.MustNewConstMetric(inFlight, prometheus.GaugeValue, float64(c.inFlight.Load()), c.face, c.rpc)
		took, ok := c.took.metric(durationTime, float64(time.Second), c.face, c.rpc)
		ch <- took
		for outcome, n := range failed {
			ok -= n
			ch <- prometheus.MustNewConstMetric(requestsTotal, prometheus.CounterValue, float64(n), c.face, c.rpc, outcome)
		}
		ch <- prometheus.MustNewConstMetric(requestsTotal, prometheus.CounterValue, float64(ok), c.face, c.rpc, outcomeOK)
	}
}

// A call is what is known of one RPC.
type call struct {
	procedure, face, rpc string

	inFlight atomic.Int64
	took     *histogram // of all that have ended; those that did not fail are the rest

	mu     sync.Mutex
	failed map[string]uint64 // by code; guarded by mu
}

func newCall(procedure, face, rpc string) *call {
	return &call{procedure: procedure, face: face, rpc: rpc, took: newHistogram(durations), failed: map[string]uint64{}}
}

// end counts a call that has ended.
func (c *call) end(took time.Duration, outcome string) {
	c.inFlight.Add(-1)
	c.took.observe(int64(took))
	if outcome == outcomeOK {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed[outcome]++
}

// outcomes are the calls that failed, by code.
func (c *call) outcomes() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.failed)
}

// clock is time since the program began, which costs less to read than the time of day.
func clock() time.Duration { return time.Since(began) }

var began = time.Now()
