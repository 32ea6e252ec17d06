package cluster

import (
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// Counters is how often things happened since Open.
type Counters struct {
	Commands   uint64 // commands put into an entry
	Entries    uint64 // entries handed to Raft, those that open a term left out
	Bytes      uint64 // of these entries
	Unknown    uint64 // commands whose outcome stayed open
	Overloaded uint64 // commands refused because the queue was full
	Terms      uint64 // terms in which this node began to serve
	Forwarded  uint64 // commands brought to another node that leads
	Rounds     uint64 // rounds in which this node asked the voters whether it still leads
	Asks       uint64 // times this node asked the leader what a consistent read must see
	Hints      uint64 // times this node as the leader told a member of a commit
	Hinted     uint64 // times this node gave Raft such a hint
}

// counters are the live values behind Counters.
type counters struct {
	commands, entries, bytes, unknown, overloaded, terms, forwarded, rounds, asks, hints, hinted atomic.Uint64
}

func (c *counters) read() Counters {
	return Counters{
		Commands:   c.commands.Load(),
		Entries:    c.entries.Load(),
		Bytes:      c.bytes.Load(),
		Unknown:    c.unknown.Load(),
		Overloaded: c.overloaded.Load(),
		Terms:      c.terms.Load(),
		Forwarded:  c.forwarded.Load(),
		Rounds:     c.rounds.Load(),
		Asks:       c.asks.Load(),
		Hints:      c.hints.Load(),
		Hinted:     c.hinted.Load(),
	}
}

// metrics is what is observed as it happens; what can be read at any time is not in it.
// A nil one observes nothing.
type metrics struct {
	entryCommands    prometheus.Histogram
	sync             prometheus.Histogram
	apply            prometheus.Histogram
	applyBatch       prometheus.Histogram
	applied          prometheus.Counter
	snapshot         prometheus.Histogram
	snapshotFailures prometheus.Counter
	snapshotTime     prometheus.Gauge
	send             prometheus.Histogram
	sendFailures     prometheus.Counter
	receive          prometheus.Histogram
	receiveFailures  prometheus.Counter
	restore          prometheus.Histogram
}

// ioSeconds are the bounds for what waits for a disk: from a write that one caches to
// one that is stuck.
var ioSeconds = []float64{
	50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
}

// newMetrics registers the metrics of a node; nil without a registry.
func newMetrics(registry prometheus.Registerer, n *Node) *metrics {
	if registry == nil {
		return nil
	}
	histogram := func(name, help string, bounds []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: bounds})
		registry.MustRegister(h)
		return h
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		registry.MustRegister(c)
		return c
	}
	sizes := prometheus.ExponentialBuckets(1, 2, 9)         // to MaxEntryCommands, 256
	transfers := prometheus.ExponentialBuckets(0.01, 4, 10) // to three quarters of an hour
	m := &metrics{
		send:            histogram("remit_snapshot_send_duration_seconds", "How long it took until a member had a snapshot of this node and had restored it.", transfers),
		sendFailures:    counter("remit_snapshot_send_failures_total", "Snapshots that this node began to send, and that did not arrive or were refused."),
		receive:         histogram("remit_snapshot_receive_duration_seconds", "How long it took until a snapshot of the leader was here and restored.", transfers),
		receiveFailures: counter("remit_snapshot_receive_failures_total", "Snapshots of the leader that did not arrive whole, or could not be kept or restored."),
		restore:         histogram("remit_snapshot_restore_duration_seconds", "How long the state machine took to restore a snapshot.", transfers),
		entryCommands:   histogram("remit_raft_entry_commands", "Commands sealed into one entry of the log.", sizes),
		sync:            histogram("remit_log_sync_duration_seconds", "How long an append to the log took, sync included.", ioSeconds),
		apply:           histogram("remit_apply_duration_seconds", "How long the state machine took for one batch of entries.", ioSeconds),
		applyBatch:      histogram("remit_apply_batch_entries", "Entries that the state machine got at once.", sizes),
		applied:         counter("remit_apply_entries_total", "Entries that the state machine got, those included that it knew already."),
		snapshot: histogram("remit_snapshot_duration_seconds", "How long a snapshot took, from its beginning until it was durable.",
			prometheus.ExponentialBuckets(0.01, 4, 9)), // to eleven minutes
		snapshotFailures: counter("remit_snapshot_failures_total", "Snapshots that were begun and failed."),
		snapshotTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "remit_snapshot_last_success_timestamp_seconds",
			Help: "When this process last finished a snapshot, in seconds since 1970; 0 if it has not.",
		}),
	}
	registry.MustRegister(m.snapshotTime)
	n.register(registry)
	n.readings(registry)
	registry.MustRegister(memberMetrics{n})
	return m
}

// register adds what can be read at any time. It is registered before Raft runs, so
// each reads 0 until it does.
func (n *Node) register(registry prometheus.Registerer) {
	for _, c := range []struct {
		name, help string
		value      *atomic.Uint64
	}{
		{"remit_raft_commands_total", "Commands that this node put into entries.", &n.counters.commands},
		{"remit_raft_entries_total", "Entries that this node handed to Raft.", &n.counters.entries},
		{"remit_raft_entry_bytes_total", "Bytes of the entries that this node handed to Raft.", &n.counters.bytes},
		{"remit_raft_unknown_outcomes_total", "Commands whose outcome their caller was not told.", &n.counters.unknown},
		{"remit_raft_overloaded_total", "Commands that were refused because too many were waiting.", &n.counters.overloaded},
		{"remit_raft_terms_total", "Terms in which this node began to lead.", &n.counters.terms},
		{"remit_raft_forwarded_total", "Commands that this node brought to the leader.", &n.counters.forwarded},
		{"remit_read_rounds_total", "Rounds in which this node asked the voters whether it still leads.", &n.counters.rounds},
		{"remit_read_asks_total", "Times this node asked the leader what a consistent read must see.", &n.counters.asks},
		{"remit_raft_hints_total", "Times this node as the leader told a member of a commit that no entry followed.", &n.counters.hints},
		{"remit_raft_hinted_total", "Times this node learned of a commit by such a hint.", &n.counters.hinted},
	} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help},
			func() float64 { return float64(c.value.Load()) }))
	}
	for _, g := range []struct {
		name, help string
		value      func(n *Node) uint64
	}{
		{"remit_raft_term", "Raft's current term.", func(n *Node) uint64 { return n.raft.CurrentTerm() }},
		{"remit_raft_leader", "1 if this node leads and serves, 0 if not.", (*Node).serves},
		{"remit_raft_commit_index", "The last index that Raft has committed.", func(n *Node) uint64 { return n.raft.CommitIndex() }},
		{"remit_raft_applied_index", "The last index that the state machine was given.", func(n *Node) uint64 { return n.raft.AppliedIndex() }},
		{"remit_apply_lag_entries", "Committed entries that the state machine was not given yet.", (*Node).lag},
		{"remit_cluster_lag_entries", "Entries known to be committed that readers of this node do not see yet.", (*Node).Lag},
		{"remit_raft_queue_commands", "Commands that wait for an entry.", func(n *Node) uint64 { return uint64(len(n.proposer.queue)) }},
		{"remit_raft_queue_bytes", "Bytes of the commands that wait for an entry.", func(n *Node) uint64 { return uint64(max(n.proposer.queued.Load(), 0)) }},
		{"remit_log_first_index", "The first index in the log, 0 if it is empty.", func(n *Node) uint64 { i, _ := n.logs.FirstIndex(); return i }},
		{"remit_log_last_index", "The last index in the log, 0 if it is empty.", func(n *Node) uint64 { i, _ := n.logs.LastIndex(); return i }},
		{"remit_log_size_bytes", "The size of the log's file.", (*Node).logSize},
		{"remit_log_entry_mean_bytes", "The mean size of an entry in the log, of newer ones more than of older ones.", func(n *Node) uint64 { return n.logs.sizes.mean() }},
		{"remit_log_trailing_entries", "How many entries a snapshot leaves in the log.", (*Node).trailing},
		{"remit_snapshot_index", "The index of the newest snapshot, 0 if there is none.", (*Node).snapshotIndex},
	} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 {
			if !n.running.Load() {
				return 0
			}
			return float64(g.value(n))
		}))
	}
}

// readings are those that are no whole numbers.
func (n *Node) readings(registry prometheus.Registerer) {
	for _, g := range []struct {
		name, help string
		value      func(n *Node) float64
	}{
		{"remit_cluster_staleness_seconds", "How long ago, at most, what readers of this node see was the newest; +Inf if it never heard of a leader.", (*Node).stalenessSeconds},
		{"remit_log_oldest_entry_age_seconds", "How long ago the first entry in the log was appended by its leader; 0 if the log is empty.", (*Node).oldestEntryAge},
		{"remit_log_stalled_seconds", "For how long a write of the log has been hanging.", func(n *Node) float64 { return time.Duration(n.stalled.Load()).Seconds() }},
	} {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 {
			if !n.running.Load() {
				return 0
			}
			return g.value(n)
		}))
	}
}

// serves is 0 as well on a leader that has fallen silent: another one may serve.
func (n *Node) serves() uint64 {
	if n.hangs() != nil {
		return 0
	}
	return min(n.tenure.serving(), 1)
}

func (n *Node) stalenessSeconds() float64 {
	age := n.Staleness()
	if age == math.MaxInt64 {
		return math.Inf(1)
	}
	return age.Seconds()
}

// oldestEntryAge is also 0 for an entry of a release that did not note when it was appended.
func (n *Node) oldestEntryAge() float64 {
	var e raft.Log
	first, err := n.logs.FirstIndex()
	if err != nil || first == 0 || n.logs.GetLog(first, &e) != nil || e.AppendedAt.IsZero() {
		return 0
	}
	return max(time.Since(e.AppendedAt).Seconds(), 0)
}

// lag is how far the state machine is behind. The index it has reached is read first,
// so it cannot be ahead.
func (n *Node) lag() uint64 {
	applied := n.raft.AppliedIndex()
	return max(n.raft.CommitIndex(), applied) - applied
}

func (n *Node) logSize() uint64 {
	if n.cfg.Logs != nil {
		return 0 // the caller brought the log
	}
	info, err := os.Stat(filepath.Join(n.cfg.Dir, logFile))
	if err != nil {
		return 0
	}
	return uint64(info.Size())
}

func (n *Node) snapshotIndex() uint64 {
	all, err := n.cfg.Snapshots.List()
	if err != nil || len(all) == 0 {
		return 0
	}
	return all[0].Index
}

// since observes how long something took that began at start, if it was timed.
func since(h prometheus.Histogram, start time.Time) { h.Observe(time.Since(start).Seconds()) }

// sealed observes an entry that goes to Raft.
func (m *metrics) sealed(commands int) {
	if m != nil {
		m.entryCommands.Observe(float64(commands))
	}
}

// timed runs an append to the log.
func (m *metrics) timed(appending func() error) error {
	if m == nil {
		return appending()
	}
	defer since(m.sync, time.Now())
	return appending()
}

// applying runs the state machine on entries.
func (m *metrics) applying(entries int, apply func()) {
	if m == nil {
		apply()
		return
	}
	start := time.Now()
	apply()
	since(m.apply, start)
	m.applyBatch.Observe(float64(entries))
	m.applied.Add(float64(entries))
}

// snapshotting watches a snapshot that began at start.
func (m *metrics) snapshotting(s raft.FSMSnapshot, err error, start time.Time) (raft.FSMSnapshot, error) {
	switch {
	case m == nil:
		return s, err
	case err != nil:
		m.snapshotFailures.Inc()
		return s, err
	}
	return &timedSnapshot{FSMSnapshot: s, metrics: m, start: start}, nil
}

// snapshotSent observes a snapshot that was sent to a member from start on.
func (m *metrics) snapshotSent(arrived bool, start time.Time) {
	switch {
	case m == nil:
	case arrived:
		since(m.send, start)
	default:
		m.sendFailures.Inc()
	}
}

// snapshotReceived observes a snapshot that came from the leader from start on.
func (m *metrics) snapshotReceived(whole bool, start time.Time) {
	switch {
	case m == nil:
	case whole:
		since(m.receive, start)
	default:
		m.receiveFailures.Inc()
	}
}

// restored observes a restore that began at start.
func (m *metrics) restored(start time.Time) {
	if m != nil {
		since(m.restore, start)
	}
}

// A timedSnapshot is one under way.
type timedSnapshot struct {
	raft.FSMSnapshot
	metrics *metrics
	start   time.Time
}

// Persist writes the snapshot.
func (s *timedSnapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.FSMSnapshot.Persist(sink); err != nil {
		s.metrics.snapshotFailures.Inc()
		return err
	}
	since(s.metrics.snapshot, s.start)
	s.metrics.snapshotTime.SetToCurrentTime()
	return nil
}
