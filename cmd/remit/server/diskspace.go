package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A DiskConfig says how full the disk of the data directory may get.
type DiskConfig struct {
	// MinFreeBytes is the reserve: with less than that free for this process on the file
	// system of the data directory, the node writes nothing that it can refuse. A write
	// that fails for want of space would end it. Default: 5 % of the file system, at most
	// 2 GiB; a negative value keeps no reserve. Where free space cannot be told none is kept.
	MinFreeBytes int64
}

const (
	// diskWatch is how often free space is looked at: a fast disk writes a gigabyte
	// meanwhile, half of the usual reserve.
	diskWatch = time.Second

	// usualReservePart is which part of the file system is the usual reserve, which is at
	// most usualReserve: enough for compactions and a snapshot to end.
	usualReservePart = 20
	usualReserve     = 2 << 30

	// reserveSlack is which part of the reserve must be free beside it until writes go on,
	// so that the log of a node does not flap with each file that a compaction removes.
	reserveSlack = 10
)

// A diskWatcher watches the free space of a directory's file system.
type diskWatcher struct {
	dir     string
	minFree int64
	log     *slog.Logger
	measure func(dir string) (free, total uint64, err error)

	full    atomic.Pointer[error] // why nothing should be written; nil if it can
	reserve atomic.Uint64
	blind   bool // free space could not be told last time; of who looks
}

// errNoFreeSpace says that this system does not tell how much space is free.
var errNoFreeSpace = errors.New("free space cannot be told on this system")

// newDiskWatcher looks once, so that Writable has an answer. registry may be nil.
func newDiskWatcher(c DiskConfig, dir string, log *slog.Logger, registry prometheus.Registerer) *diskWatcher {
	w := &diskWatcher{dir: dir, minFree: c.MinFreeBytes, log: log, measure: freeSpace}
	w.look()
	if registry != nil {
		registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_disk_reserve_bytes", Help: "With less than this free on the file system of the state the node refuses writes.",
			}, func() float64 { return float64(w.reserve.Load()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_disk_below_reserve", Help: "1 if so little is free that the node refuses writes, 0 if not.",
			}, func() float64 {
				if w.Writable() != nil {
					return 1
				}
				return 0
			}),
		)
	}
	return w
}

// run looks again and again until ctx ends.
func (w *diskWatcher) run(ctx context.Context) {
	ticker := time.NewTicker(diskWatch)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.look()
		case <-ctx.Done():
			return
		}
	}
}

// Writable returns why nothing should be written, nil if it can. It does not wait.
func (w *diskWatcher) Writable() error {
	if full := w.full.Load(); full != nil {
		return *full
	}
	return nil
}

// look measures and judges. If it cannot measure, what was found last holds.
func (w *diskWatcher) look() {
	free, total, err := w.measure(w.dir)
	if err != nil {
		if !w.blind && w.minFree >= 0 {
			w.log.Warn("free space is not watched", "dir", w.dir, "error", err)
		}
		w.blind = true
		return
	}
	w.blind = false
	reserve := min(total/usualReservePart, usualReserve)
	if w.minFree != 0 {
		reserve = uint64(max(w.minFree, 0))
	}
	w.reserve.Store(reserve)
	enough, was := reserve, w.full.Load()
	if was != nil {
		enough += reserve / reserveSlack
	}
	if free >= enough {
		if was != nil {
			w.full.Store(nil)
			w.log.Info("enough disk is free again", "dir", w.dir, "free", free, "reserve", reserve)
		}
		return
	}
	full := fmt.Errorf("the file system of %s has %s free, and %s are kept in reserve; "+
		"make room there or enlarge it, and writes go on when %s are free", w.dir, mebibytes(free), mebibytes(reserve), mebibytes(reserve+reserve/reserveSlack))
	if w.full.Store(&full); was == nil {
		w.log.Error("disk nearly full, writes are refused", "dir", w.dir, "free", free, "reserve", reserve)
	}
}

// mebibytes writes a number of bytes for people, rounded up: a reserve is not 0 MiB.
func mebibytes(n uint64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
