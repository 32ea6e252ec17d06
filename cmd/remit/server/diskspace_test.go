package server

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWritesAreRefusedWhenTheDiskIsNearlyFull(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name    string
		minFree int64
		total   uint64
		reserve uint64
	}{
		{"a large disk keeps 2 GiB", 0, 1000 * gib, 2 * gib},
		{"a small disk keeps a twentieth", 0, 10 * gib, gib / 2},
		{"as much as is asked for", 3 * gib, 1000 * gib, 3 * gib},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &diskWatcher{dir: "/data", minFree: tt.minFree, log: slog.New(slog.DiscardHandler)}
			for _, step := range []struct {
				free uint64
				err  error
				full bool
			}{
				{tt.reserve, nil, false},
				{tt.reserve - 1, nil, true},
				{tt.reserve, nil, true}, // not before there is some more
				{0, errors.New("bad"), true},
				{tt.reserve + tt.reserve/reserveSlack, nil, false},
				{tt.reserve, nil, false},
				{0, errors.New("bad"), false},
				{0, nil, true},
			} {
				w.measure = func(string) (uint64, uint64, error) { return step.free, tt.total, step.err }
				w.look()
				err := w.Writable()
				if (err != nil) != step.full {
					t.Errorf("with %d free, %v, of which %d are the reserve: %v, want full: %t", step.free, step.err, tt.reserve, err, step.full)
				}
				if err != nil && !strings.Contains(err.Error(), "/data") {
					t.Errorf("%q does not say where", err)
				}
			}
		})
	}
}

func TestDiskWithoutAReserveIsWrittenToTheEnd(t *testing.T) {
	w := &diskWatcher{minFree: -1, log: slog.New(slog.DiscardHandler), measure: func(string) (uint64, uint64, error) { return 0, 1 << 30, nil }}
	w.look()
	if err := w.Writable(); err != nil {
		t.Error(err)
	}
}

func TestDiskSpaceIsLookedAtAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(10 << 30)
		w := &diskWatcher{minFree: 1 << 30, log: slog.New(slog.DiscardHandler), measure: func(string) (uint64, uint64, error) { return free.Load(), 100 << 30, nil }}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.run(ctx) }()
		synctest.Wait()
		free.Store(0)
		time.Sleep(diskWatch + time.Millisecond) //nolint:forbidigo // virtual time
		synctest.Wait()
		if w.Writable() == nil {
			t.Error("it was not noticed that the disk is full")
		}
		stop()
		<-done
	})
}

func TestFreeSpaceOfThisMachine(t *testing.T) {
	registry := prometheus.NewRegistry()
	free, total, err := freeSpace(t.TempDir())
	if errors.Is(err, errNoFreeSpace) {
		return // this system does not tell
	}
	if err != nil || free > total || total == 0 {
		t.Errorf("%d of %d bytes are free, %v", free, total, err)
	}
	if _, _, err := freeSpace("/no/such/directory"); err == nil {
		t.Error("a directory that does not exist has free space")
	}
	w := newDiskWatcher(DiskConfig{MinFreeBytes: 1 << 62}, t.TempDir(), slog.New(slog.DiscardHandler), registry)
	if w.Writable() == nil {
		t.Error("more than there can be is free")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		got[f.GetName()] = f.Metric[0].Gauge.GetValue()
	}
	if got["remit_disk_reserve_bytes"] != 1<<62 || got["remit_disk_below_reserve"] != 1 {
		t.Errorf("the metrics are %v", got)
	}
}
