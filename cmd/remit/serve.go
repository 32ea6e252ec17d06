package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/remit-authz/remit/cmd/remit/server"
	"github.com/remit-authz/remit/rpc/openfga"
)

func (a *app) serveCommand() *cobra.Command {
	var config server.Config
	var logFormat, logLevel string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: `Serve runs one durable node. Everything that it must not lose lies in the data
directory, which one process at a time may use. It prints one line when it is ready.

--addr serves Connect, gRPC, gRPC-Web and JSON; --grpc-addr serves gRPC on a transport
of its own, which costs less per call. Only loopback addresses are served without
--insecure: the service has no TLS of its own and asks nobody who they are.

SIGINT and SIGTERM let requests under way end; a second signal ends the process at
once, which loses nothing that was acknowledged.

OpenFGA's clients find their API on the same ports, with OpenFGA's own limits unless the
flags that begin with --openfga say otherwise.

Environment: REMIT_DATA_DIR stands in for --data-dir where that is not given, and so on
for every flag: upper case, with _ for -.`,
		Example: `  remit serve
  remit serve --data-dir /var/lib/remit
  remit serve --addr 127.0.0.1:9080 --grpc-addr 127.0.0.1:9081 --log-format json`,
		GroupID:     groupRun,
		Args:        cobra.NoArgs,
		Annotations: local,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd, "data-dir", "addr", "grpc-addr", "insecure", "log-format", "log-level",
				"openfga-max-depth", "openfga-max-tuples-per-write", "openfga-max-checks-per-batch", "openfga-max-list-results",
				"openfga-list-deadline", "openfga-request-timeout", "openfga-cors-origins", "authzen-base-url"); err != nil {
				return err
			}
			var err error
			if config.Log, err = newLog(a.stderr, logFormat, logLevel); err != nil {
				return err
			}
			config.Version = buildVersion()
			config.OpenFGA.ListUsersMaxResults = config.OpenFGA.ListObjectsMaxResults
			config.OpenFGA.ListUsersDeadline = config.OpenFGA.ListObjectsDeadline
			return a.serve(cmd.Context(), config)
		},
	}
	flags := cmd.Flags()
	serverFlags(cmd, &config)
	openfgaFlags(flags, &config.OpenFGA)
	flags.StringVar(&config.DataDir, "data-dir", "./data", "the `folder` that holds all data")
	flags.BoolVar(&config.Insecure, "insecure", false, "serve other addresses than loopback, without TLS and authentication")
	flags.StringVar(&logFormat, "log-format", "text", "the `form` of the log on standard error: text or json")
	flags.StringVar(&logLevel, "log-level", "info", "log from this `level` on: debug, info, warn or error")
	flags.Uint64Var(&config.SnapshotThreshold, "snapshot-threshold", 0, "log entries from one snapshot to the next")
	flags.DurationVar(&config.SnapshotInterval, "snapshot-interval", 0, "how often to see whether a snapshot is due")
	flags.Uint64Var(&config.TrailingLogs, "trailing-logs", 0, "log entries that a snapshot leaves in the log")
	flags.BoolVar(&config.UnsafeNoSync, "unsafe-no-sync", false, "never sync the log; loses acknowledged writes")
	flags.BoolVar(&config.UnsafeKeepLog, "unsafe-keep-log", false, "never truncate the log; fills the disk")
	for _, hidden := range []string{"snapshot-threshold", "snapshot-interval", "trailing-logs", "unsafe-no-sync", "unsafe-keep-log"} {
		if err := flags.MarkHidden(hidden); err != nil {
			panic(fmt.Sprintf("hide --%s: %v", hidden, err)) // no such flag: our own mistake
		}
	}
	complete(cmd, "log-format", "text", "json")
	complete(cmd, "log-level", "debug", "info", "warn", "error")
	return cmd
}

// serverFlags are those of serve and demo alike. Their --addr is where to listen, and
// stands in for the global one, which is where to call.
func serverFlags(cmd *cobra.Command, config *server.Config) {
	cmd.Flags().StringVar(&config.Addr, "addr", "127.0.0.1:8080", "listen here for Connect, gRPC, gRPC-Web and JSON, as `host:port`")
	cmd.Flags().StringVar(&config.GRPCAddr, "grpc-addr", "127.0.0.1:8081", "listen here for gRPC alone, as `host:port`")
}

// openfgaFlags are the limits of OpenFGA's API.
func openfgaFlags(flags *pflag.FlagSet, config *openfga.Config) {
	flags.IntVar(&config.MaxDepth, "openfga-max-depth", openfga.DefaultMaxDepth, "`steps` of resolution that a question may nest")
	flags.IntVar(&config.MaxTuplesPerWrite, "openfga-max-tuples-per-write", openfga.DefaultMaxTuplesPerWrite, "`tuples` that one Write may name")
	flags.IntVar(&config.MaxChecksPerBatch, "openfga-max-checks-per-batch", openfga.DefaultMaxChecksPerBatch, "`checks` that one BatchCheck may hold")
	flags.IntVar(&config.ListObjectsMaxResults, "openfga-max-list-results", openfga.DefaultMaxListResults, "`results` of ListObjects and ListUsers; more are left out, -1 leaves out none")
	flags.DurationVar(&config.ListObjectsDeadline, "openfga-list-deadline", openfga.DefaultListDeadline, "`time` after which a list is what was found so far; -1s is never")
	flags.DurationVar(&config.RequestTimeout, "openfga-request-timeout", openfga.DefaultRequestTimeout, "`time` after which a request ends; -1s is never")
	flags.StringSliceVar(&config.CORSOrigins, "openfga-cors-origins", []string{"*"}, "`origins` whose pages may call the API")
	flags.StringVar(&config.AuthZENBaseURL, "authzen-base-url", "", "the `URL` that AuthZEN's discovery tells clients to call; without it there is none")
}

// fromEnvironment sets the flags that were not given from the environment: --data-dir
// from REMIT_DATA_DIR.
func fromEnvironment(cmd *cobra.Command, names ...string) error {
	var faults []error
	for _, flag := range names {
		variable, f := "REMIT_"+strings.ReplaceAll(strings.ToUpper(flag), "-", "_"), cmd.Flags().Lookup(flag)
		value := os.Getenv(variable)
		if value == "" || f == nil || f.Changed {
			continue
		}
		if err := f.Value.Set(value); err != nil {
			faults = append(faults, fmt.Errorf("%s=%q: %w", variable, value, err))
		}
		if strings.HasSuffix(flag, "addr") {
			if _, _, err := net.SplitHostPort(value); err != nil || strings.Contains(value, "/") {
				faults = append(faults, fmt.Errorf("%s=%q is no HOST:PORT to listen on; give --%s", variable, value, flag))
			}
		}
	}
	return errors.Join(faults...)
}

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
	s, err := openServer(ctx, config)
	if err != nil {
		return err
	}
	config.Log.InfoContext(ctx, "serving", "addr", s.Addr(), "grpc_addr", s.GRPCAddr(), "data_dir", config.DataDir, "version", config.Version)
	printf(a.stdout, "remit serves http://%s (gRPC also on %s)\n", s.Addr(), s.GRPCAddr())
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
		return nil, fmt.Errorf("%w; choose others with --addr and --grpc-addr", err)
	}
	return s, err
}
