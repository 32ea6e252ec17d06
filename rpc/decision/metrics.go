package decision

import "github.com/prometheus/client_golang/prometheus"

var (
	decisionsTotal = prometheus.NewDesc("remit_decisions_total", "Decisions by outcome; a list counts as listed, whatever it holds.", []string{"outcome"}, nil)
	writtenTotal   = prometheus.NewDesc("remit_decisionlog_written_total", "Events that were written to the decision log.", nil, nil)
	droppedTotal   = prometheus.NewDesc("remit_decisionlog_dropped_total", "Events that the decision log is missing, by why: the queue was full, or they could not be written.", []string{"kind"}, nil)
	bytesTotal     = prometheus.NewDesc("remit_decisionlog_written_bytes_total", "Bytes that were written to the decision log.", nil, nil)
)

// Describe implements prometheus.Collector.
func (l *Log) Describe(ch chan<- *prometheus.Desc) {
	ch <- decisionsTotal
	if l.sink != nil {
		ch <- writtenTotal
		ch <- droppedTotal
		ch <- bytesTotal
	}
}

// Collect implements prometheus.Collector.
func (l *Log) Collect(ch chan<- prometheus.Metric) {
	for o := range outcomes {
		ch <- prometheus.MustNewConstMetric(decisionsTotal, prometheus.CounterValue, float64(l.counts[o].Load()), o.String())
	}
	if l.sink != nil {
		ch <- prometheus.MustNewConstMetric(writtenTotal, prometheus.CounterValue, float64(l.written.Load()))
		ch <- prometheus.MustNewConstMetric(droppedTotal, prometheus.CounterValue, float64(l.full.Load()), "queue_full")
		ch <- prometheus.MustNewConstMetric(droppedTotal, prometheus.CounterValue, float64(l.unwritten.Load()), "unwritten")
		ch <- prometheus.MustNewConstMetric(bytesTotal, prometheus.CounterValue, float64(l.bytes.Load()))
	}
}
