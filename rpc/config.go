package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/decision"
	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/observe"
	"github.com/remit-authz/remit/rpc/openfga"
	"github.com/remit-authz/remit/rpc/trace"
)

// Config is what a Server needs. State and Node are required; the zero value of every
// other field is its default.
type Config struct {
	// Addr serves Connect, gRPC, gRPC-Web and JSON. Default 127.0.0.1:8080; a port of 0
	// is chosen by the system.
	Addr string
	// GRPCAddr serves gRPC on grpc-go's own transport. Default 127.0.0.1:8081.
	GRPCAddr string
	// Insecure permits addresses other than loopback without TLS, or without asking callers
	// who they are. Otherwise such addresses are refused, and on loopback a server that asks
	// nobody refuses pages in a browser that come from elsewhere.
	Insecure bool

	// TLS secures both ports. Default: neither is.
	TLS *Certificates
	// Identity is who is let in. Default: everybody, with every right, as is fit for
	// development on loopback.
	Identity gate.Config

	// State answers reads, Node takes writes.
	State *fsm.State
	Node  backend.Node
	// Cluster tells of the node's cluster and changes its members. Default: the node is alone,
	// and stays so.
	Cluster Cluster
	// Rewriter tells how far the node's files are free of what was erased. Default:
	// nobody knows.
	Rewriter backend.Rewriter
	// StaleBackups names those of the node's own backups that are older than a revision,
	// for the report of an erasure, which does not reach them. Default: none are known.
	StaleBackups func(ctx context.Context, before graph.Revision) ([]string, error)

	// Budget is the number of edges that one question, or one page of a list, may
	// visit. Default graph.DefaultBudget.
	Budget int
	// OpenFGA is what its face may be told. Default: OpenFGA's own limits. Its log, if
	// none is given, is Log.
	OpenFGA openfga.Config

	// Limits are how often a store may be called and a principal may call, and how the
	// processors are shared. Default: any rate, and shares for all stores alike.
	Limits limit.Config

	// SlowReader is how long the reader of a stream may take for one message; one that
	// takes longer is cut off. Default 30 s.
	SlowReader time.Duration

	// DrainTimeout is how long a shutdown waits for requests that are under way.
	// Default 10 s.
	DrainTimeout time.Duration
	// Version is the program's, as NodeService tells it. Default "dev".
	Version string
	// Clock tells the time. Default time.Now.
	Clock func() time.Time
	// Log receives what needs a person. Default: nothing is logged.
	Log *slog.Logger

	// Metrics receives the metrics of calls. Default: none are kept.
	Metrics prometheus.Registerer
	// Requests is which calls are logged, and SlowRequest how long one takes that is
	// slow. Defaults: none, and observe.DefaultSlow.
	Requests    observe.Selection
	SlowRequest time.Duration

	// Decisions counts and logs what is decided. It is the caller's to close, after Run.
	// Default: nothing is.
	Decisions *decision.Log
	// Tracer tells a collector of calls. It is the caller's to close, after Run. Default:
	// nobody is told.
	Tracer *trace.Tracer
}

// defaults fills in what is not set.
func (c *Config) defaults() {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:8080"
	}
	if c.GRPCAddr == "" {
		c.GRPCAddr = "127.0.0.1:8081"
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 10 * time.Second
	}
	if c.SlowReader == 0 {
		c.SlowReader = 30 * time.Second
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OpenFGA.Log == nil {
		c.OpenFGA.Log = c.Log
	}
	if c.OpenFGA.MaxMessageBytes == 0 {
		c.OpenFGA.MaxMessageBytes = openfga.DefaultMaxMessageBytes
	}
	if c.OpenFGA.RequestTimeout == 0 {
		c.OpenFGA.RequestTimeout = openfga.DefaultRequestTimeout
	}
}

// Validate reports every fault of the configuration at once.
func (c *Config) Validate() error {
	var faults []error
	if c.State == nil {
		faults = append(faults, errors.New("state is required"))
	}
	if c.Node == nil {
		faults = append(faults, errors.New("node is required"))
	}
	if c.Budget < 0 {
		faults = append(faults, fmt.Errorf("budget %d is negative", c.Budget))
	}
	if c.DrainTimeout < 0 {
		faults = append(faults, fmt.Errorf("drain timeout %s is negative", c.DrainTimeout))
	}
	if c.SlowReader < 0 {
		faults = append(faults, fmt.Errorf("slow reader limit %s is negative", c.SlowReader))
	}
	faults = append(faults, c.Identity.Validate())
	watch := c.observe()
	return errors.Join(append(faults, watch.Validate(), c.OpenFGA.Validate(), c.Limits.Validate(), c.CheckAddrs())...)
}

// CheckAddrs is the part of Validate that can be asked before there is a node.
func (c *Config) CheckAddrs() error {
	return errors.Join(c.checkAddr("addr", c.Addr), c.checkAddr("grpc-addr", c.GRPCAddr))
}

// checkAddr refuses an address of the API that others could reach, unless they are asked
// who they are and nobody can listen, or it is wanted without.
func (c *Config) checkAddr(name, addr string) error {
	err := CheckAddr(name, addr, c.Insecure || c.TLS != nil && c.Identity.Enabled())
	if errors.Is(err, errReachable) {
		missing := "has no TLS and asks nobody who they are: give it tls-cert and tls-key, and root-key-file, oidc-issuer or tls-client-ca"
		switch {
		case c.TLS != nil:
			missing = "asks nobody who they are: give it root-key-file, oidc-issuer or tls-client-ca"
		case c.Identity.Enabled():
			missing = "has no TLS, so that keys would cross the network for all to read: give it tls-cert and tls-key"
		}
		return fmt.Errorf("%s %q %w, and the service %s; or listen on 127.0.0.1 behind a proxy that makes up for it, or permit it with --insecure", name, addr, errReachable, missing)
	}
	return err
}

// errReachable says that an address is not one of loopback.
var errReachable = errors.New("can be reached from outside")

// CheckAddr refuses an address that others could reach, unless that is wanted.
func CheckAddr(name, addr string, insecure bool) error {
	if addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %q is not host:port: %w", name, addr, err)
	}
	if insecure || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s %q %w, and has no TLS and asks nobody who they are: "+
		"listen on 127.0.0.1 behind a proxy that does, or permit it with --insecure", name, addr, errReachable)
}

// observe is what the observer of all faces needs.
func (c *Config) observe() observe.Config {
	return observe.Config{Metrics: c.Metrics, Requests: c.Requests, Slow: c.SlowRequest, Log: c.Log, Outcome: outcome}
}

// Outcome is how calls are told to have ended, by all who tell.
func Outcome(err error) string { return outcome(err) }

// outcome names the code of an error: OpenFGA's name where it has one, whatever the
// transport made of it.
func outcome(err error) string {
	if e := (*openfga.Error)(nil); errors.As(err, &e) && e.Code.Own() {
		return e.Code.String()
	} else if e != nil {
		return connect.Code(e.Code).String()
	}
	return connect.CodeOf(err).String()
}

// backend is what the faces share.
func (c *Config) backend() backend.Config {
	return backend.Config{State: c.State, Node: c.Node, Budget: c.Budget, Decisions: c.Decisions, Tracer: c.Tracer, Clock: c.Clock, Log: c.Log}
}
