// Package server puts one node together: the state machine, the Raft node that feeds
// it, and the API in front. It introduces the parts to each other and stops them in
// the reverse order; what they do is their own business.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/decision"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/observe"
	"github.com/remit-authz/remit/rpc/openfga"
	"github.com/remit-authz/remit/rpc/trace"
)

// Config says where a node keeps its data and where it listens.
type Config struct {
	// DataDir holds everything that the node must not lose. One process at a time may
	// use it. Default: data.
	DataDir string
	// Addr serves Connect, gRPC, gRPC-Web and JSON. Default 127.0.0.1:8080.
	Addr string
	// GRPCAddr serves gRPC on a transport of its own. Default 127.0.0.1:8081.
	GRPCAddr string
	// AdminAddr serves metrics, health and profiles. Default: nowhere, and no metrics are
	// kept.
	AdminAddr string
	// Insecure permits addresses other than loopback without TLS and authentication.
	Insecure bool
	// TLS secures the ports. Default: nothing does.
	TLS rpc.TLSConfig
	// Identity is by what callers show who they are. Default: nobody is asked.
	Identity IdentityConfig
	// Version is the program's own, for those who ask.
	Version string
	// Log receives what happens. Default: nothing is logged.
	Log *slog.Logger
	// Clock tells the time. Default: time.Now.
	Clock func() time.Time

	// Peers is how the node meets others. Default: it is alone.
	Peers PeersConfig
	// CaughtUp is called by Open when the node has all that was acknowledged before, and its
	// ports are about to be opened. Default: nothing is.
	CaughtUp func()

	// Requests is which calls are logged, and SlowRequest how long one takes that is
	// slow. Defaults: none, and observe.DefaultSlow.
	Requests    observe.Selection
	SlowRequest time.Duration

	// Limits are how often stores may be called and principals may call, and how the
	// processors are shared.
	Limits limit.Config

	// Decisions is which decisions are logged, and where. Its node, metrics and log are the
	// server's.
	Decisions decision.Config

	// Traces is where calls are told. Its node, version and log are the server's.
	Traces trace.Config

	// DrainDelay is how long calls are still answered when a stop has begun, and the node
	// says already that it is not ready. Default: none.
	DrainDelay time.Duration

	// OpenFGA is what its API may be told.
	OpenFGA openfga.Config

	// Disk is how full the disk of the data directory may get.
	Disk DiskConfig

	// Backup is whether the node saves backups by itself.
	Backup BackupConfig

	// SnapshotThreshold is how many log entries after the last snapshot the next is
	// taken, SnapshotInterval how often that is looked at, and TrailingLogs how many
	// entries a snapshot leaves in the log. Defaults: the cluster's.
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration
	TrailingLogs      uint64

	// UnsafeNoSync leaves the log unsynced and UnsafeKeepLog never truncates it. Both
	// are for tests of durability alone.
	UnsafeNoSync  bool
	UnsafeKeepLog bool
}

func (c *Config) defaults() {
	if c.DataDir == "" {
		c.DataDir = "data"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Backup.defaults()
}

// Validate reports every fault of the settings, as far as they show by themselves.
func (c *Config) Validate() error {
	watch := observe.Config{Requests: c.Requests, Slow: c.SlowRequest}
	return errors.Join(c.OpenFGA.Validate(), c.Limits.Validate(), watch.Validate(), c.validateSecurity(),
		c.Peers.validate(c.Insecure),
		c.Backup.check(c.DataDir), c.Decisions.Validate(), c.Traces.Validate())
}

// check finds out whether the settings make sense and the ports can be had before
// anything else is opened: who mistypes one should not start a node, nor wait for one.
func (c *Config) check(ctx context.Context) error {
	if err := c.Validate(); err != nil {
		return err
	}
	had := map[string]string{} // the setting behind each address that is taken here
	for _, port := range []struct{ setting, addr string }{
		{"addr", c.Addr}, {"grpc-addr", c.GRPCAddr}, {"admin-addr", c.AdminAddr}, {"peer-addr", c.Peers.Addr}, {"gossip-addr", c.Peers.Gossip.Addr},
	} {
		if port.addr == "" {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", port.addr)
		if other, again := had[port.addr]; again && err != nil {
			return fmt.Errorf("%s and %s are both %s, must be two", other, port.setting, port.addr)
		}
		if err != nil {
			return fmt.Errorf("%s: listen on %s: %w", port.setting, port.addr, reason(err))
		}
		had[port.addr] = port.setting
		defer func() { _ = l.Close() }() // both at once, so that they cannot be the same
	}
	return nil
}

// reason is a network error without the address, which stands before it already.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// A Server is one node with its ports open.
type Server struct {
	config Config
	lock   *dirLock
	state  *fsm.State
	peers  *peers // nil for a node alone
	node   *cluster.Node
	api    *rpc.Server
	secure *security
	admin  *admin        // nil without an address
	backup *backupKeeper // nil without a folder
	disk   *diskWatcher
	files  *rewriter

	decisions *decision.Log // nil if neither counted nor logged
	tracer    *trace.Tracer // nil without an endpoint

	fatal     chan error // what ends the node, at most one
	fatalOnce sync.Once
}

// Open starts a node on its data directory and opens its ports. It returns once the
// node leads and has read all that was acknowledged before. Nothing is answered before
// Run.
func Open(ctx context.Context, config Config) (*Server, error) {
	config.defaults()
	s := &Server{config: config, fatal: make(chan error, 1)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	if err := s.config.check(ctx); err != nil {
		return err
	}
	var err error
	s.secure, err = openSecurity(&s.config)
	if err = errors.Join(err, s.config.Decisions.Probe()); err != nil {
		return err
	}
	if err := makeDir(s.config.DataDir); err != nil {
		return fmt.Errorf("create data directory: %w", err)
	}
	if s.lock, err = lockDir(s.config.DataDir); err != nil {
		return err
	}
	if err := errors.Join(checkRestored(s.config.DataDir), checkRecovered(s.config.DataDir)); err != nil {
		return err
	}
	var registry prometheus.Registerer // nil keeps no metrics
	if s.config.AdminAddr != "" {
		if s.admin, err = openAdmin(ctx, &s.config, s.secure.certificates); err != nil {
			return err
		}
		registry = s.admin.registry
	}
	s.state, err = fsm.Open(fsm.Config{Dir: filepath.Join(s.config.DataDir, stateDir), Log: s.config.Log, Fatal: s.fail})
	if err != nil {
		return advise(err)
	}
	if registry != nil {
		registry.MustRegister(s.state.Metrics())
	}
	s.disk = newDiskWatcher(s.config.Disk, s.config.DataDir, s.config.Log, registry)
	node := cluster.Config{
		Dir:               filepath.Join(s.config.DataDir, raftDir),
		FSM:               s.state,
		Snapshots:         s.state.Snapshots(),
		Seal:              fsm.Seal,
		SplitAnswers:      fsm.SplitAnswers,
		TermStart:         fsm.TermStart,
		DurableIndex:      s.state.DurableIndex,
		Published:         s.state.Published,
		Log:               s.config.Log,
		Clock:             s.config.Clock,
		Metrics:           registry,
		Fatal:             s.fail,
		Writable:          s.disk.Writable,
		SnapshotThreshold: s.config.SnapshotThreshold,
		SnapshotInterval:  s.config.SnapshotInterval,
		TrailingLogs:      s.config.TrailingLogs,
		KeepLog:           s.config.UnsafeKeepLog,
		NoSync:            s.config.UnsafeNoSync,
	}
	node.About = s.about
	if s.config.Peers.Enabled() {
		if err := s.meet(ctx, &node); err != nil {
			return err
		}
	}
	if s.node, err = cluster.Open(ctx, node); err != nil {
		return err
	}
	if err := s.node.WaitReady(ctx); err != nil {
		return err
	}
	if err := s.found(ctx); err != nil {
		return err
	}
	if s.config.CaughtUp != nil {
		s.config.CaughtUp()
	}
	if s.files, err = newRewriter(&s.config, s.state, s.node, registry); err != nil {
		return err
	}
	if s.config.Backup.Dir != "" {
		if s.backup, err = newBackupKeeper(&s.config, s.state, registry); err != nil {
			return err
		}
	}
	logged := s.config.Decisions
	logged.Node, logged.Metrics, logged.Log = s.node.ID(), registry, s.config.Log
	if s.decisions, err = decision.Open(logged); err != nil {
		return err
	}
	traced := s.config.Traces
	traced.Node, traced.Version, traced.Log, traced.Outcome = s.node.ID(), s.config.Version, s.config.Log, rpc.Outcome
	if s.tracer, err = trace.Open(ctx, traced); err != nil {
		return err
	}
	s.api, err = rpc.Listen(ctx, rpc.Config{
		Addr:        s.config.Addr,
		GRPCAddr:    s.config.GRPCAddr,
		Insecure:    s.config.Insecure,
		TLS:         s.secure.certificates,
		Identity:    s.secure.gate,
		State:       s.state,
		Node:        s.node,
		Cluster:     s.cluster(),
		Rewriter:    s.files,
		OpenFGA:     s.config.OpenFGA,
		Version:     s.config.Version,
		Log:         s.config.Log,
		Clock:       s.config.Clock,
		Metrics:     registry,
		Decisions:   s.decisions,
		Tracer:      s.tracer,
		Requests:    s.config.Requests,
		SlowRequest: s.config.SlowRequest,
		Limits:      s.config.Limits,

		StaleBackups: s.staleBackups,
	})
	if err == nil && s.admin != nil {
		s.admin.served.Store(&served{api: s.api, node: s.node})
	}
	return err
}

// fail ends the node: it can no longer follow, and must not go on as if it could.
func (s *Server) fail(err error) {
	s.fatalOnce.Do(func() { s.fatal <- err })
}

// Addr is where Connect, gRPC, gRPC-Web and JSON are served.
func (s *Server) Addr() string { return s.api.Addr().String() }

// GRPCAddr is where gRPC is served on a transport of its own.
func (s *Server) GRPCAddr() string { return s.api.GRPCAddr().String() }

// AdminAddr is where metrics, health and profiles are served; empty if nowhere.
func (s *Server) AdminAddr() string {
	if s.admin == nil {
		return ""
	}
	return s.admin.listener.Addr().String()
}

// Reload reads the files of TLS again, and those of the keys of gossip.
func (s *Server) Reload(ctx context.Context) {
	if s.secure.certificates != nil {
		s.secure.certificates.Reload()
	}
	if s.peers != nil {
		s.peers.reload(ctx, s.config.Log)
	}
}

// Reopen lets go of the files of logs, for whoever has renamed them.
func (s *Server) Reopen() error { return s.decisions.Reopen() }

// Connect is the API for callers in the same process.
func (s *Server) Connect() *connect.Server { return s.api.Connect() }

// Run serves until ctx is done or the node cannot go on, then stops everything in the
// reverse order of Open. It may be called once; Close need not be called after it.
func (s *Server) Run(ctx context.Context) error {
	serving, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	watched := make(chan struct{})
	api := s.api
	go func() {
		defer close(watched)
		select {
		case err := <-s.fatal:
			stop(err)
		case <-ctx.Done():
			if err := s.retire(api); err != nil {
				stop(err)
			} else {
				stop(context.Canceled)
			}
		case <-serving.Done():
		}
	}()
	var background sync.WaitGroup
	background.Go(func() { s.files.run(serving) })
	background.Go(func() { s.disk.run(serving) })
	background.Go(func() { newUpgrader(&s.config, s.state, s.node).run(serving) })
	if s.backup != nil {
		background.Go(func() { s.backup.run(serving) })
	}
	err := s.api.Run(serving)
	s.api = nil // Run has closed it
	stop(nil)
	<-watched
	end := func() error {
		background.Wait() // a backup may wait for the same disk
		return s.Close()
	}
	if cause := context.Cause(serving); cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return errors.Join(cause, err, within(faultPatience, end))
	}
	return errors.Join(err, end())
}

// Close stops a Server that does not Run: ports, logs, Raft, state, admin, lock.
func (s *Server) Close() error {
	var errs []error
	if s.api != nil {
		errs = append(errs, s.api.Close())
		s.api = nil
	}
	errs = append(errs, s.decisions.Close())
	s.decisions = nil
	if err := s.tracer.Close(); err != nil {
		s.config.Log.Warn("last traces are lost", "error", err) // nothing that must not be lost
	}
	s.tracer = nil
	if s.node != nil {
		errs = append(errs, s.node.Close())
		s.node = nil
	}
	if s.peers != nil {
		errs = append(errs, s.peers.close())
		s.peers = nil
	}
	if s.state != nil {
		errs = append(errs, s.state.Close())
		s.state = nil
	}
	if s.admin != nil {
		errs = append(errs, s.admin.close())
		s.admin = nil
	}
	if s.secure != nil {
		s.secure.close()
		s.secure = nil
	}
	if s.lock != nil {
		errs = append(errs, s.lock.release())
		s.lock = nil
	}
	return errors.Join(errs...)
}
