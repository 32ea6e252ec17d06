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
	waited := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "remit_limit_wait_seconds", Buckets: waitSeconds,
		Help: "How long calls waited for a slot that were not given one at once, by pool, or that came more often than they may (rate).",
	}, []string{"pool"})
	registry.MustRegister(waited)
	waiting := func(pool string, n func() int) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "remit_limit_waiting", ConstLabels: prometheus.Labels{"pool": pool},
			Help: "Calls that wait for a slot, by pool, or for their rate (rate).",
		}, func() float64 { return float64(n()) }))
	}
	if l.limits() {
		l.waited = waited.WithLabelValues("rate")
		waiting("rate", func() int { return max(l.stores.queued(), l.principals.queued()) })
	}
	if l.short == nil {
		return
	}
	for _, p := range []*pool{l.short, l.long} {
		p.waited = waited.WithLabelValues(p.name)
		labels := prometheus.Labels{"pool": p.name}
		waiting(p.name, p.waiting)
		registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_limit_running", ConstLabels: labels, Help: "Slots in use, by pool.",
			}, func() float64 { return float64(p.running()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "remit_limit_admitted_total", ConstLabels: labels, Help: "Slots that were taken, with or without a wait, by pool.",
			}, func() float64 { return float64(p.admitted.Load()) }),
		)
	}
}
