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
//
// It also counts what has begun and will be observed: the difference is under way.
type histogram struct {
	bounds []int64

	// numbers are the sum, what has begun, and the buckets, of which the last has no
	// bound. They lie side by side because most values are small: what counts one touches
	// a single line of the processor's cache.
	numbers []atomic.Uint64
}

const (
	sumNumber = iota
	begunNumber
	firstBucket
)

func newHistogram(bounds []int64) *histogram {
	return &histogram{bounds: bounds, numbers: make([]atomic.Uint64, firstBucket+len(bounds)+1)}
}

// begin counts a value that is to come.
func (h *histogram) begin() { h.numbers[begunNumber].Add(1) }

// observe counts a value, which is not negative.
func (h *histogram) observe(v int64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.numbers[firstBucket+i].Add(1)
	h.numbers[sumNumber].Add(uint64(v))
}

// metric is what the histogram holds, with units of so many to one of the metric's. What
// has begun is for the caller to read after it: then it is no less.
func (h *histogram) metric(desc *prometheus.Desc, units float64, labels ...string) (m prometheus.Metric, count uint64) {
	buckets := make(map[float64]uint64, len(h.bounds))
	sum := h.numbers[sumNumber].Load()
	for i := range len(h.bounds) + 1 {
		count += h.numbers[firstBucket+i].Load()
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
		took, ok := c.took.metric(durationTime, float64(time.Second), c.face, c.rpc)
		ch <- took
		underWay := c.took.numbers[begunNumber].Load() - ok
		ch <- prometheus.MustNewConstMetric(inFlight, prometheus.GaugeValue, float64(underWay), c.face, c.rpc)
		for outcome, n := range failed {
			ok -= n
			ch <- prometheus.MustNewConstMetric(requestsTotal, prometheus.CounterValue, float64(n), c.face, c.rpc, outcome)
		}
		ch <- prometheus.MustNewConstMetric(requestsTotal, prometheus.CounterValue, float64(ok), c.face, c.rpc, outcomeOK)
	}
}

// A call is what is known of one RPC.
type call struct {
	key, face, rpc string // the key is the procedure

	took *histogram // of all calls; those that have ended and did not fail are the rest

	mu     sync.Mutex
	failed map[string]uint64 // by code; guarded by mu
}

func newCall(procedure, face, rpc string) *call {
	return &call{key: procedure, face: face, rpc: rpc, took: newHistogram(durations), failed: map[string]uint64{}}
}

// end counts a call that has ended.
func (c *call) end(took time.Duration, outcome string) {
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
