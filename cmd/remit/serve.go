package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/rpc/observe"
	"github.com/remit-authz/remit/rpc/openfga"
)

// A serveConfig is all that serve can be told.
type serveConfig struct {
	server.Config
	logFormat, logLevel string
	logRequests         string
	logDecisions        string
	minFreeMiB          int
}

// serveSettings is the one table of what serve can be told: flags of a command, and what
// the environment and a configuration file say in their place.
func serveSettings(flags *pflag.FlagSet, c *serveConfig) *settings {
	s := &settings{flags: flags}
	s.heading = "Addresses and data"
	serverSettings(s, &c.Config)
	s.address(&c.AdminAddr, "admin-addr", "", "serve metrics, health and profiles here, as `host:port`; without it nowhere")
	s.text(&c.DataDir, "data-dir", "./data", "the `folder` that holds all data").needed = true
	s.number(&c.minFreeMiB, "min-free-mib", 0, -1, "refuse writes while the disk of --data-dir has fewer `MiB` left; 0 is a twentieth of it, at most 2048, and -1 is none")
	s.heading = "Cluster"
	peerSettings(s, &c.Config)
	s.heading = "Who is let in"
	securitySettings(s, &c.Config)
	s.boolean(&c.Insecure, "insecure", false, "serve other addresses than loopback without TLS or without asking callers who they are")
	s.heading = "Limits"
	limitSettings(s, &c.Limits)
	s.heading = "Backups"
	backupSettings(s, &c.Backup)
	s.heading = "Logs and traces"
	s.choice(&c.logFormat, "log-format", "text", []string{"text", "json"}, "the `form` of the log on standard error: text or json")
	s.choice(&c.logLevel, "log-level", "info", []string{"debug", "info", "warn", "error"}, "log from this `level` on: debug, info, warn or error")
	s.choice(&c.logRequests, "log-requests", string(observe.Off), observe.Selections(), "log these `requests`: off, errors, slow (with errors) or all")
	s.span(&c.SlowRequest, "log-slow", observe.DefaultSlow, "the `time` from which on a request is slow")
	decisionSettings(s, c)
	s.heading = "OpenFGA's API, and AuthZEN's"
	openfgaSettings(s, &c.OpenFGA)
	s.hide(
		s.count(&c.SnapshotThreshold, "snapshot-threshold", 0, "log entries from one snapshot to the next"),
		s.span(&c.SnapshotInterval, "snapshot-interval", 0, "how often to see whether a snapshot is due"),
		s.count(&c.TrailingLogs, "trailing-logs", 0, "log entries that a snapshot leaves in the log"),
		s.boolean(&c.UnsafeNoSync, "unsafe-no-sync", false, "never sync the log; loses acknowledged writes"),
		s.boolean(&c.UnsafeKeepLog, "unsafe-keep-log", false, "never truncate the log; fills the disk"),
	)
	flags.StringVar(&s.file, "config", "", "read settings from this `file`; flags and environment go before it")
	return s
}

// serverSettings are those of serve and demo alike. Their --addr is where to listen, and
// stands in for the global one, which is where to call.
func serverSettings(s *settings, c *server.Config) {
	s.address(&c.Addr, "addr", "127.0.0.1:8080", "listen here for Connect, gRPC, gRPC-Web and JSON, as `host:port`")
	s.address(&c.GRPCAddr, "grpc-addr", "127.0.0.1:8081", "listen here for gRPC alone, as `host:port`")
}

// defaultBackupKeep is a week of a backup a day, or the last seven hours of one an hour.
const defaultBackupKeep = 7

// backupSettings are those of backups that the server saves by itself.
func backupSettings(s *settings, c *server.BackupConfig) {
	s.text(&c.Dir, "backup-dir", "", "save backups into this `folder`; without it none are saved")
	s.span(&c.Interval, "backup-interval", server.DefaultBackupInterval, "the `time` from one backup to the next")
	s.number(&c.Keep, "backup-keep", defaultBackupKeep, 0, "`backups` that stay in the folder, the newest ones; 0 removes none")
}

// openfgaSettings are the limits of OpenFGA's API.
func openfgaSettings(s *settings, c *openfga.Config) {
	s.number(&c.MaxDepth, "openfga-max-depth", openfga.DefaultMaxDepth, 1, "`steps` of resolution that a question may nest")
	s.number(&c.MaxTuplesPerWrite, "openfga-max-tuples-per-write", openfga.DefaultMaxTuplesPerWrite, 1, "`tuples` that one Write may name")
	s.number(&c.MaxChecksPerBatch, "openfga-max-checks-per-batch", openfga.DefaultMaxChecksPerBatch, 1, "`checks` that one BatchCheck may hold")
	s.number(&c.ListObjectsMaxResults, "openfga-max-list-results", openfga.DefaultMaxListResults, -1, "`results` of ListObjects and ListUsers; more are left out, -1 leaves out none")
	s.span(&c.ListObjectsDeadline, "openfga-list-deadline", openfga.DefaultListDeadline, "`time` after which a list is what was found so far; -1s is never")
	s.span(&c.RequestTimeout, "openfga-request-timeout", openfga.DefaultRequestTimeout, "`time` after which a request ends; -1s is never")
	s.list(&c.CORSOrigins, "openfga-cors-origins", []string{"*"}, "`origins` whose pages may call the API")
	s.text(&c.AuthZENBaseURL, "authzen-base-url", "", "the `URL` that AuthZEN's discovery tells clients to call; without it there is none")
}

// effective resolves the settings, and judges the whole that they make.
func (c *serveConfig) effective(s *settings) error {
	err := s.resolve()
	c.Requests = observe.Selection(c.logRequests)
	c.Disk.MinFreeBytes = int64(c.minFreeMiB) << 20
	c.OpenFGA.ListUsersMaxResults = c.OpenFGA.ListObjectsMaxResults
	c.OpenFGA.ListUsersDeadline = c.OpenFGA.ListObjectsDeadline
	return errors.Join(err, c.effectiveDecisions(s), settingFaults(c.Validate()))
}

// fieldSettings are the settings behind fields that the server's faults name.
var fieldSettings = strings.NewReplacer(
	"ListObjectsDeadline", "openfga-list-deadline", "ListUsersDeadline", "openfga-list-deadline",
	"RequestTimeout", "openfga-request-timeout", "AuthZENBaseURL", "authzen-base-url",
	"RatePerStore", "rate-per-store", "RateWait", "rate-wait", "RatePerPrincipal", "rate-per-principal", "BurstPerStore", "burst-per-store",
	"BurstPerPrincipal", "burst-per-principal", "LongConcurrency", "concurrency-long", "Concurrency", "concurrency", "Queue", "queue",
)

// settingFaults tells faults in the words of the settings, each once.
func settingFaults(err error) error {
	if err == nil {
		return nil
	}
	var faults []error
	told := map[string]bool{}
	for line := range strings.SplitSeq(fieldSettings.Replace(err.Error()), "\n") {
		if !told[line] {
			told[line] = true
			faults = append(faults, errors.New(line))
		}
	}
	return errors.Join(faults...)
}

func (a *app) serveCommand() *cobra.Command {
	var config serveConfig
	var set *settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `Serve runs one durable node. Everything that it must not lose lies in the data
directory, which one process at a time may use. It prints one line when it is ready: alone
at once, in a cluster when it has found a leader and has caught up.

--addr serves Connect, gRPC, gRPC-Web and JSON; --grpc-addr serves gRPC on a transport
of its own, which costs less per call. Any address but loopback needs --tls-cert and
--tls-key, and callers who say who they are; --insecure does without.

--peer-addr makes the node a part of a cluster. Give all that are to begin one the same
--bootstrap-expect, and a --join that names them: they begin it when all are there, and log
what they wait for until then. A node that comes later, or a --replica, is joined to the
cluster that it finds. Any of them answers reads, and brings writes to the leader. Other
addresses than loopback need --peer-tls-cert, --peer-tls-key and --peer-tls-ca: whoever shows a
certificate of that CA is a node. With --gossip-addr nodes tell each other where all are, and
--gossip-key-file encrypts that. "remit cluster" shows and changes the members.

Callers are asked who they are as soon as there is a way to say it: the operator's key
(--root-key-file), from which "remit key create" makes others; tokens of an identity
provider (--oidc-issuer and --oidc-audience); client certificates (--tls-client-auth and
--tls-client-ca). Without any of them everybody may do everything, which is for
development: pages in a browser are refused then, unless they are of this machine or
--openfga-cors-origins names them. Keys are stored; --authenticate keeps asking for them
without --root-key-file. Files of certificates are read again when they change, and on SIGHUP,
which also has the file of gossip's keys read again.

--admin-addr serves /metrics for Prometheus, /healthz, /readyz and /debug/pprof, from
the beginning of the start to the end of the stop. On any address but loopback metrics
and profiles are for callers with the grant cluster.

--backup-dir saves a backup of all stores every hour, or as --backup-interval says, and
keeps the newest seven; "remit backup" verifies and restores them.

One tenant's storm leaves the others alone: when more is asked than the processors can
answer, stores take turns, and in each store its callers (--concurrency). Beyond that,
--rate-per-store and --rate-per-principal bound how often one may call: a batch counts
as its questions, a write as its operations, and every 64 edges that a list or another
long evaluation visits as a call. Whoever comes too early waits for his turn, up to
--rate-wait; if that is not enough he is refused then, and told when to come back.

--decision-log writes decisions to a file, or to standard output: those that denied and
those that could not be made, or as --decision-log-select says. Each is a line of JSON in
the shape of CloudEvents. The file is set aside when it has grown, and opened again after
SIGHUP, for those who rename it themselves.

--trace-endpoint tells a collector of OpenTelemetry of calls: those whose callers bring a
trace that is told, and of the others a share, --trace-sample. Names are not told.

SIGINT and SIGTERM let requests under way end; a second signal ends the process at
once, which loses nothing that was acknowledged. With --drain-delay the node says first that it
is not ready, and answers on for that time; if it leads, another one does before it ends.

OpenFGA's clients find their API on the same ports, with OpenFGA's own limits unless the
flags that begin with --openfga say otherwise.

Every flag can also be given in the environment and in a file, and goes in this order:
--data-dir, then REMIT_DATA_DIR (upper case, with _ for -), then the key data-dir of the
YAML file that --config or REMIT_CONFIG names. "remit config print" shows what comes of
them, "remit config schema" what the file may say.`,
		Example: `  remit serve
  remit serve --data-dir /var/lib/remit
  remit serve --addr 127.0.0.1:9080 --grpc-addr 127.0.0.1:9081 --log-format json
  remit serve --data-dir /var/lib/remit --backup-dir /mnt/backups --backup-interval 15m
  remit serve --config remit.yaml --admin-addr 127.0.0.1:2112
  remit serve --decision-log /var/log/remit/decisions.jsonl --decision-log-select all
  remit serve --addr :8080 --grpc-addr :8081 --tls-cert tls.crt --tls-key tls.key --root-key-file root.key
  remit serve --peer-addr 127.0.0.1:7400 --bootstrap-expect 3 --join 127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402
  remit serve --peer-addr 127.0.0.1:7403 --replica --join 127.0.0.1:7400 --data-dir ./data/replica`,
		GroupID:     groupRun,
		Args:        cobra.NoArgs,
		Annotations: local,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := config.effective(set); err != nil {
				return err
			}
			var err error
			if config.Log, err = newLog(a.stderr, config.logFormat, config.logLevel); err != nil {
				return err
			}
			config.Version, config.Clock = buildVersion(), serveClock
			return a.serve(cmd.Context(), config.Config)
		},
	}
	set = serveSettings(cmd.Flags(), &config)
	set.present(cmd)
	return cmd
}

// serveClock tells a served node the time; nil is the machine's. Tests have others.
var serveClock func() time.Time

// newLog makes the service's log.
func newLog(w io.Writer, format, level string) (*slog.Logger, error) {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %s is unknown; it is debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: threshold}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format %s is unknown; it is text or json", format)
}

// serve runs a node until it is told to stop.
func (a *app) serve(ctx context.Context, config server.Config) error {
	if config.Peers.Enabled() {
		config.CaughtUp = leaveProcessors()
	}
	defer keepSpareHeap()()
	s, err := openServer(ctx, config)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		// Nothing went wrong: a node may wait for others for as long as nobody stops it.
		config.Log.Info("stopped before it served", "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer reopenLogs(s, config)()
	config.Log.InfoContext(ctx, "serving", "addr", s.Addr(), "grpc_addr", s.GRPCAddr(), "admin_addr", s.AdminAddr(),
		"data_dir", config.DataDir, "version", config.Version)
	scheme := "http"
	if config.TLS.Enabled() {
		scheme = "https"
	}
	printf(a.stdout, "remit serves %s://%s (gRPC also on %s)\n", scheme, s.Addr(), s.GRPCAddr())
	serving, stop := context.WithCancel(ctx)
	defer stop()
	reloadOnHangup(serving, s, &config)
	defer context.AfterFunc(ctx, func() { config.Log.Info("stopping; requests under way may end") })()
	if err := s.Run(ctx); err != nil {
		return err
	}
	config.Log.Info("stopped")
	return nil
}

// openServer opens a node, and says what to do about a port that is taken.
func openServer(ctx context.Context, config server.Config) (*server.Server, error) {
	s, err := server.Open(ctx, config)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%w; choose another, or stop who has it", err)
	}
	return s, err
}
