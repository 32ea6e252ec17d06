package discover

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what is observed of gossip.
type metrics struct {
	refused *prometheus.CounterVec
	all     []prometheus.Collector
}

// newMetrics makes the metrics of a node's gossip. They are registered when it has begun.
func newMetrics(g *Gossip) *metrics {
	m := &metrics{refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "remit_gossip_refused_total",
		Help: "Messages of others that were refused, by reason: key or label.",
	}, []string{"reason"})}
	for _, reason := range []string{refusedKey, refusedLabel} {
		m.refused.WithLabelValues(reason)
	}
	m.all = []prometheus.Collector{
		m.refused,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "remit_gossip_members", Help: "Nodes that gossip, this one among them, as far as it knows.",
		}, func() float64 { return float64(len(g.contacts())) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "remit_gossip_health_score", Help: "How late this node's gossip is, 0 if it is in time.",
		}, func() float64 { return float64(g.list.GetHealthScore()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "remit_gossip_keys", Help: "Keys by which gossip is read, 0 if it is not encrypted.",
		}, func() float64 {
			if g.ring == nil {
				return 0
			}
			return float64(len(g.ring.GetKeys()))
		}),
	}
	return m
}

func (m *metrics) refuse(reason string) { m.refused.WithLabelValues(reason).Inc() }

// register adds the metrics to a registry, if there is one.
func (m *metrics) register(registry prometheus.Registerer) error {
	if registry == nil {
		return nil
	}
	var faults []error
	for _, c := range m.all {
		faults = append(faults, registry.Register(c))
	}
	return errors.Join(faults...)
}

// unregister takes them out again.
func (m *metrics) unregister(registry prometheus.Registerer) {
	if registry == nil {
		return
	}
	for _, c := range m.all {
		registry.Unregister(c)
	}
}
