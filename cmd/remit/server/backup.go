package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/fsm"
)

// BackupConfig says whether and where a node saves backups by itself.
type BackupConfig struct {
	// Dir is the folder of the backups. Default: none are saved.
	Dir string
	// Interval is the time from one backup to the next. Default: an hour.
	Interval time.Duration
	// Keep is how many of the newest backups in the folder stay when one more has been
	// saved, whoever saved them. Default: all.
	Keep int
}

const (
	// DefaultBackupInterval is for who gives a folder alone.
	DefaultBackupInterval = time.Hour

	// backupRetry is how long after a failure the next attempt comes, if the interval
	// is not shorter.
	backupRetry = time.Minute
)

func (c *BackupConfig) defaults() {
	if c.Interval == 0 {
		c.Interval = DefaultBackupInterval
	}
}

// check refuses what cannot be meant: a folder of backups that is lost together with
// what they are backups of.
func (c *BackupConfig) check(dataDir string) error {
	switch {
	case c.Dir == "":
		return nil
	case c.Interval <= 0:
		return fmt.Errorf("backup-interval %s is no time from one backup to the next", c.Interval)
	case c.Keep < 0:
		return fmt.Errorf("backup-keep is %d, must not be negative", c.Keep)
	case dataDir == "":
		dataDir = "data"
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	data, err := filepath.Abs(dataDir)
	if err != nil {
		return err
	}
	if dir == data || strings.HasPrefix(dir, data+string(filepath.Separator)) {
		return fmt.Errorf("the backups' folder %s lies in the data directory %s, and would be lost with it; choose another, on another disk at best", c.Dir, dataDir)
	}
	return nil
}

// A backupKeeper saves backups now and then.
type backupKeeper struct {
	config  BackupConfig
	dir     *fsm.BackupDir
	state   *fsm.State
	version string
	log     *slog.Logger
	clock   func() time.Time

	newest   prometheus.Gauge
	failures prometheus.Counter
}

// newBackupKeeper makes the folder, so that one which cannot be had is told at the start.
func newBackupKeeper(config *Config, state *fsm.State, registry prometheus.Registerer) (*backupKeeper, error) {
	k := &backupKeeper{
		config: config.Backup, dir: fsm.OpenBackups(config.Backup.Dir), state: state,
		version: config.Version, log: config.Log, clock: time.Now,
		newest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "remit_backup_newest_timestamp_seconds", Help: "When the newest backup in the folder was taken, in seconds since 1970; 0 if there is none.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "remit_backup_failures_total", Help: "How many times a backup failed.",
		}),
	}
	if err := makeDir(config.Backup.Dir); err != nil {
		return nil, fmt.Errorf("create the backups' folder: %w", err)
	}
	if registry != nil {
		registry.MustRegister(k.newest, k.failures)
	}
	return k, nil
}

// run saves backups until ctx is done. The first is due an interval after the newest in
// the folder, so a node that starts often neither saves each time nor never.
func (k *backupKeeper) run(ctx context.Context) {
	wait := k.untilDue()
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		switch err := k.save(ctx); {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(backupRetry, k.config.Interval)
			k.failures.Inc()
			k.log.ErrorContext(ctx, "backup failed", "dir", k.config.Dir, "error", err, "next_attempt", wait)
		default:
			wait = k.config.Interval
		}
	}
}

// untilDue is how long the newest backup still is new enough.
func (k *backupKeeper) untilDue() time.Duration {
	newest, err := k.dir.Find("")
	if err != nil {
		return 0 // there is none, or it is time to say what is wrong
	}
	k.newest.Set(float64(newest.Created.Unix()))
	return max(0, min(k.config.Interval, newest.Created.Add(k.config.Interval).Sub(k.clock())))
}

// save saves one backup, and removes those that are too many.
func (k *backupKeeper) save(ctx context.Context) (err error) {
	begun := time.Now()
	w, err := k.dir.Begin(false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	b, err := k.state.Backup(ctx, k.version, k.clock(), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	m, err := w.Start(b.Manifest().Encode())
	if err != nil {
		return err
	}
	if err := b.WriteTo(ctx, w, w.Have()); err != nil {
		return err
	}
	written, _ := w.Progress()
	if err := w.Commit(); err != nil {
		return err
	}
	k.newest.Set(float64(m.Created.Unix()))
	k.log.InfoContext(ctx, "backup saved", "backup", m.Name(), "revision", uint64(m.Revision()), "bytes", m.Size(), "new_bytes", written, "took", time.Since(begun))
	if k.config.Keep == 0 {
		return nil
	}
	removed, freed, err := k.dir.Prune(k.config.Keep)
	if len(removed) > 0 {
		k.log.InfoContext(ctx, "old backups removed", "backups", removed, "freed_bytes", freed)
	}
	return err
}
