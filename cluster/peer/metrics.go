package peer

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a Port counts. All of it is kept, registered or not.
type metrics struct {
	connections *prometheus.GaugeVec
	refusals    *prometheus.CounterVec
	dials       prometheus.Counter
	calls       *prometheus.CounterVec
	requests    *prometheus.CounterVec
	in, out     [2]prometheus.Counter // by carriage, see of
}

// newMetrics registers the metrics of a port, if there is a registry.
func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "remit_peer_connections",
			Help: "Connections to other nodes, by what they carry and who opened them.",
		}, []string{"carries", "direction"}),
		refusals: counters("remit_peer_refused_connections_total",
			"Connections from others that this node refused, or closed because they should not be, by reason.", "reason"),
		dials: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remit_peer_dial_failures_total", Help: "Connections to other nodes that could not be opened.",
		}),
		calls: counters("remit_peer_calls_total",
			"Requests to other nodes, by kind and by whether an answer came, the request surely did not arrive, or nobody knows.", "kind", "outcome"),
		requests: counters("remit_peer_requests_total", "Requests of other nodes that this one was given to serve, by kind.", "kind"),
	}
	bytes := counters("remit_peer_bytes_total", "Bytes between nodes, before they are encrypted, by what they carry.", "carries", "direction")
	for _, c := range []carriage{carriesRaft, carriesCalls} {
		m.in[of(c)], m.out[of(c)] = bytes.WithLabelValues(c.String(), "in"), bytes.WithLabelValues(c.String(), "out")
		for _, direction := range []string{"in", "out"} {
			m.connections.WithLabelValues(c.String(), direction)
		}
	}
	for _, reason := range reasons {
		m.refusals.WithLabelValues(reason)
	}
	if registry == nil {
		return m, nil
	}
	var done []prometheus.Collector
	for _, c := range []prometheus.Collector{m.connections, m.refusals, m.dials, m.calls, m.requests, bytes} {
		if err := registry.Register(c); err != nil {
			for _, d := range done {
				registry.Unregister(d)
			}
			return nil, err
		}
		done = append(done, c)
	}
	return m, nil
}

// of is the place of a carriage.
func of(c carriage) int {
	if c == carriesRaft {
		return 0
	}
	return 1
}

func (m *metrics) received(c carriage, n int) { m.in[of(c)].Add(float64(n)) }

func (m *metrics) sent(c carriage, n int) { m.out[of(c)].Add(float64(n)) }

func (m *metrics) opened(c *conn, by float64) {
	direction := "in"
	if c.dialled {
		direction = "out"
	}
	m.connections.WithLabelValues(c.carries.String(), direction).Add(by)
}

func (m *metrics) refuse(reason string) { m.refusals.WithLabelValues(reason).Inc() }

func (m *metrics) dialFailed() { m.dials.Inc() }

// The outcomes of a call.
const (
	outcomeAnswered = "answered"
	outcomeUnsent   = "unsent"
	outcomeUnknown  = "unknown"
)

func (m *metrics) called(kind byte, outcome string) {
	m.calls.WithLabelValues(kindLabel(kind), outcome).Inc()
}

func (m *metrics) served(kind byte) { m.requests.WithLabelValues(kindLabel(kind)).Inc() }

// kindLabel bounds what another node can make of the metrics.
func kindLabel(kind byte) string {
	if kind < 32 {
		return strconv.Itoa(int(kind))
	}
	return "other"
}
