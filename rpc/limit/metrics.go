package limit

import "github.com/prometheus/client_golang/prometheus"

// waitSeconds goes from what a Check takes to what no client waits for.
var waitSeconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// measure registers the metrics, if anybody wants them. Their labels are bounded: pools
// and kinds of refusals, never tenants.
func (l *Limiter) measure(registry prometheus.Registerer) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "remit_limit_refused_total",
		Help: "Calls refused by rate (rate_store, rate_principal) or because too many of their tenant wait (queue).",
	}, []string{"kind"})
	for kind, label := range kindLabels {
		l.refused[kind] = refused.WithLabelValues(label)
	}
	if registry == nil {
		return
	}
	registry.MustRegister(refused)
	if l.short == nil {
		return
	}
	waited := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "remit_limit_wait_seconds", Buckets: waitSeconds,
		Help: "How long calls waited for a slot that were not given one at once, by pool.",
	}, []string{"pool"})
	registry.MustRegister(waited)
	for _, p := range []*pool{l.short, l.long} {
		p.waited = waited.WithLabelValues(p.name)
		labels := prometheus.Labels{"pool": p.name}
		registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_limit_waiting", ConstLabels: labels, Help: "Calls that wait for a slot, by pool.",
			}, func() float64 { return float64(p.waiting()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_limit_running", ConstLabels: labels, Help: "Slots in use, by pool.",
			}, func() float64 { return float64(p.running()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "remit_limit_admitted_total", ConstLabels: labels, Help: "Slots that were taken, with or without a wait, by pool.",
			}, func() float64 { return float64(p.admitted.Load()) }),
		)
	}
}
