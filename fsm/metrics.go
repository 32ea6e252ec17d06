package fsm

import (
	"sync/atomic"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// cleaned counts what upkeep has removed since Open.
type cleaned struct {
	expired, versions, keys atomic.Uint64
}

// Metrics are those of the state, for a registry. They are read when they are asked
// for: nothing is added to what a read or an entry costs. They may be asked for even
// while the state is being closed.
func (s *State) Metrics() prometheus.Collector { return stateMetrics{s} }

// stateMetrics is a State as a prometheus.Collector.
type stateMetrics struct{ s *State }

// A gauge or a counter that is read from what f is given.
type reading[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(T) float64
}

func gauge[T any](name, help string, read func(T) float64) reading[T] {
	return reading[T]{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, read}
}

func counter[T any](name, help string, read func(T) float64) reading[T] {
	return reading[T]{prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, read}
}

// send gives the values to a registry.
func send[T any](ch chan<- prometheus.Metric, all []reading[T], from T) {
	for _, r := range all {
		ch <- prometheus.MustNewConstMetric(r.desc, r.kind, r.read(from))
	}
}

var indexReadings = []reading[*IndexSize]{
	gauge("remit_revision", "The revision that readers of this node see.", func(x *IndexSize) float64 { return float64(x.Revision) }),
	gauge("remit_index_stores", "Stores.", func(x *IndexSize) float64 { return float64(x.Stores) }),
	gauge("remit_index_tuples", "Tuples in the newest state.", func(x *IndexSize) float64 { return float64(x.Tuples) }),
	gauge("remit_index_entities", "Objects and subjects that have a name in the index.", func(x *IndexSize) float64 { return float64(x.Entities) }),
	gauge("remit_index_estimated_bytes", "Memory of the index, estimated from what it holds.", func(x *IndexSize) float64 { return float64(x.Bytes) }),
	gauge("remit_index_estimated_bytes_per_tuple", "Memory of the index for each tuple, its share of names included; 0 without tuples.",
		func(x *IndexSize) float64 {
			if x.Tuples == 0 {
				return 0
			}
			return float64(x.Bytes) / float64(x.Tuples)
		}),
}

var pebbleReadings = []reading[*pebble.Metrics]{
	gauge("remit_pebble_disk_bytes", "Disk that the state takes, without snapshots.", func(m *pebble.Metrics) float64 { return float64(m.DiskSpaceUsage()) }),
	gauge("remit_pebble_read_amplification", "Places that a read may have to look into.", func(m *pebble.Metrics) float64 { return float64(m.ReadAmp()) }),
	gauge("remit_pebble_l0_tables", "Tables in level 0.", func(m *pebble.Metrics) float64 { return float64(m.Levels[0].TablesCount) }),
	gauge("remit_pebble_l0_sublevels", "Sublevels of level 0; many mean that compactions do not keep up.", func(m *pebble.Metrics) float64 { return float64(m.Levels[0].Sublevels) }),
	counter("remit_pebble_compactions_total", "Compactions.", func(m *pebble.Metrics) float64 { return float64(m.Compact.Count) }),
	counter("remit_pebble_compaction_failures_total", "Compactions that met an error.", func(m *pebble.Metrics) float64 { return float64(m.Compact.FailedCount) }),
	counter("remit_pebble_compaction_seconds_total", "Time spent in compactions.", func(m *pebble.Metrics) float64 { return m.Compact.Duration.Seconds() }),
	gauge("remit_pebble_compactions_in_progress", "Compactions under way.", func(m *pebble.Metrics) float64 { return float64(m.Compact.NumInProgress) }),
	gauge("remit_pebble_compaction_debt_bytes", "Bytes to compact until all is in order, estimated.", func(m *pebble.Metrics) float64 { return float64(m.Compact.EstimatedDebt) }),
	counter("remit_pebble_flushes_total", "Memtables written to level 0.", func(m *pebble.Metrics) float64 { return float64(m.Flush.Count) }),
	gauge("remit_pebble_memtable_bytes", "Memory of the memtables.", func(m *pebble.Metrics) float64 { return float64(m.MemTable.Size) }),
	gauge("remit_pebble_wal_bytes", "Disk that the write-ahead log takes.", func(m *pebble.Metrics) float64 { return float64(m.WAL.PhysicalSize) }),
	counter("remit_pebble_wal_written_bytes_total", "Bytes written to the write-ahead log.", func(m *pebble.Metrics) float64 { return float64(m.WAL.BytesWritten) }),
	gauge("remit_pebble_cache_bytes", "Memory of the block cache.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Size) }),
	counter("remit_pebble_cache_hits_total", "Blocks that were found in the cache.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Hits) }),
	counter("remit_pebble_cache_misses_total", "Blocks that were not found in the cache.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Misses) }),
	gauge("remit_pebble_tombstones", "Rows that say that others are deleted.", func(m *pebble.Metrics) float64 { return float64(m.Keys.TombstoneCount) }),
}

// A disk is what the file system of the state has.
type disk struct{ free, total uint64 }

var diskReadings = []reading[disk]{
	gauge("remit_disk_free_bytes", "What this process may still write to the file system of the state.", func(d disk) float64 { return float64(d.free) }),
	gauge("remit_disk_size_bytes", "The size of the file system of the state.", func(d disk) float64 { return float64(d.total) }),
}

// slow counts what a disk that hangs shows before anything fails.
var slow = prometheus.NewDesc("remit_pebble_disk_slow_total",
	"How often the state waited for its disk for more than 5 seconds; one wait counts again every 2 seconds.", nil, nil)

// removed counts rows by why they went. They are counted since the start, on every node
// alike.
var removed = prometheus.NewDesc("remit_upkeep_removed_total",
	"What passed its time and was removed: expired tuples, past versions of them, keys of idempotency.", []string{"kind"}, nil)

// Describe implements prometheus.Collector.
func (stateMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, r := range indexReadings {
		ch <- r.desc
	}
	for _, r := range pebbleReadings {
		ch <- r.desc
	}
	for _, r := range diskReadings {
		ch <- r.desc
	}
	ch <- slow
	ch <- removed
}

// Collect implements prometheus.Collector.
func (m stateMetrics) Collect(ch chan<- prometheus.Metric) {
	size := m.s.Current().Size()
	send(ch, indexReadings, &size)
	for kind, n := range map[string]*atomic.Uint64{"expired": &m.s.cleaned.expired, "version": &m.s.cleaned.versions, "idempotency": &m.s.cleaned.keys} {
		ch <- prometheus.MustNewConstMetric(removed, prometheus.CounterValue, float64(n.Load()), kind)
	}
	ch <- prometheus.MustNewConstMetric(slow, prometheus.CounterValue, float64(m.s.cfg.diskSlow.Load()))
	if usage, err := m.s.cfg.FS.GetDiskUsage(m.s.cfg.Dir); err == nil { // a file system in memory has none
		send(ch, diskReadings, disk{usage.AvailBytes, usage.TotalBytes})
	}
	// A state that is closed has no more to say.
	_ = m.s.read(func(db *pebble.DB) error {
		send(ch, pebbleReadings, db.Metrics())
		return nil
	})
}

// An IndexSize is how much a root holds in memory.
type IndexSize struct {
	Revision                 uint64
	Stores, Tuples, Entities uint64
	Bytes                    uint64 // estimated
}

// What stands in memory, with what the allocator and nodes that are not full take beside it:
// a tuple's two items, the place of an entity that has tuples, and an entity's two items.
const (
	bytesPerTuple  = (unsafe.Sizeof(ownedTuple{}) + unsafe.Sizeof(heldTuple{})) * 2
	bytesPerSet    = unsafe.Sizeof(tupleSet[ownedTuple]{})
	bytesPerEntity = (unsafe.Sizeof([]nameItem{}) + unsafe.Sizeof(nameItem{}) + unsafe.Sizeof(entityItem{})) * 3 / 2
)

// Size counts what the root holds. It looks at each store once, and at nothing in it.
// The contexts of conditions, documents and models are not in the estimate.
func (r *Root) Size() IndexSize {
	size := IndexSize{Revision: uint64(r.revision)}
	r.Stores(StoreID{}, func(s *Store) bool {
		size.Stores++
		size.Tuples += s.index.tally.tuples
		size.Entities += uint64(s.index.entities.len())
		size.Bytes += s.index.nameBytes + uint64(s.index.forward.sets.len()+s.index.reverse.sets.len())*uint64(bytesPerSet)
		return true
	})
	size.Bytes += size.Tuples*uint64(bytesPerTuple) + size.Entities*uint64(bytesPerEntity)
	return size
}
