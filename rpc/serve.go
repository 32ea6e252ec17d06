package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"connectrpc.com/connect/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/observe"
	"github.com/remit-authz/remit/rpc/openfga"
)

// A Server serves the API on its two ports.
type Server struct {
	config  Config
	connect *connect.Server // remit.v1
	faces   []face          // it and the others
	gate    *gate.Gate
	health  *health.Server
	http    *http.Server
	grpc    *grpc.Server

	housekeeper *backend.Housekeeper

	httpListener, grpcListener net.Listener

	serving  atomic.Bool
	draining context.Context // done when a shutdown begins
	drain    context.CancelFunc
}

// Listen checks the configuration and opens the ports; nothing is answered before Run.
func Listen(ctx context.Context, config Config) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("rpc configuration: %w", err)
	}
	config.defaults()
	s := &Server{config: config, health: health.NewServer()}
	s.draining, s.drain = context.WithCancel(context.Background())
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	observer := observe.New(config.observe())
	before := append(config.Tracer.Interceptors(), observer.Interceptors()...) // so that logged requests know their trace
	config.OpenFGA.Interceptors = before
	shared := config.backend()
	shared.Visited = observer.Visited()
	r := &reader{backend.NewReader(shared)}
	w := backend.NewWriter(r.Reader)
	s.housekeeper = backend.NewHousekeeper(w)
	keyring := backend.NewKeyring(r.Reader)
	identify := gate.New(config.Identity, keyring)
	s.gate = identify
	limits := config.Limits
	limits.Metrics = config.Metrics
	limiter := config.limiter(limits)
	guarded := guards(identify, limiter)
	s.connect = newConnectServer(s.draining, config, r, w, keyring, guarded, before...)
	registerHealth(s.connect, s.health, s.draining)
	config.OpenFGA.Guards, config.OpenFGA.Admit = guarded, identify.Admit
	fga, err := openfga.New(r.Reader, w, config.OpenFGA)
	if err != nil {
		return nil, err
	}
	s.faces = []face{
		{server: s.connect, maxBytes: MaxMessageBytes, json: newJSONCodec(), limits: limiter},
		{server: fga.Server(), maxBytes: config.OpenFGA.MaxMessageBytes, json: newLenientCodec(), limits: limiter},
	}
	observer.Know(s.connect, fga.Server())
	// As much time again lets the end of a list arrive, with the reason if there is one.
	lists := 2 * config.OpenFGA.RequestTimeout
	s.http = newHTTPServer(s.faces, fga.Handler(), lists, s.serving.Load, identify, newPageGuard(&config))
	options := guardReflection(identify)
	if config.TLS != nil {
		options = append(options, grpc.Creds(newShakenHands()))
	}
	s.grpc = newGRPCServer(s.faces, lists, options...)

	var lc net.ListenConfig
	if s.httpListener, err = lc.Listen(ctx, "tcp", config.Addr); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", config.Addr, err)
	}
	if s.grpcListener, err = lc.Listen(ctx, "tcp", config.GRPCAddr); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", config.GRPCAddr, err), s.httpListener.Close())
	}
	if config.TLS != nil {
		s.httpListener = config.TLS.Listen(s.httpListener, false, "h2", "http/1.1")
		s.grpcListener = config.TLS.Listen(s.grpcListener, false, "h2")
	}
	return s, nil
}

// Addr is the address of the HTTP port.
func (s *Server) Addr() net.Addr { return s.httpListener.Addr() }

// GRPCAddr is the address of the gRPC port.
func (s *Server) GRPCAddr() net.Addr { return s.grpcListener.Addr() }

// Connect is remit.v1 behind both ports, for callers in the same process.
func (s *Server) Connect() *connect.Server { return s.connect }

// Gate recognises callers, for those who serve something else beside the API.
func (s *Server) Gate() *gate.Gate { return s.gate }

// Ready reports whether calls are answered: Run has begun, and no shutdown has.
func (s *Server) Ready() bool { return s.serving.Load() }

// Retire says that this server should be sent no more calls, to those who ask for its
// health. Calls are answered as before, until Run is told to end.
func (s *Server) Retire() {
	s.serving.Store(false)
	s.health.Shutdown()
}

// Run serves and keeps house until ctx is done, then refuses new requests, lets those under way end
// for at most Config.DrainTimeout, and returns. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	for _, f := range s.faces {
		for _, name := range serviceNames(f.server) {
			s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
		}
	}
	s.serving.Store(true)
	var group errgroup.Group
	failed, fail := context.WithCancel(ctx)
	defer fail()
	group.Go(func() error {
		defer fail()
		if err := s.http.Serve(s.httpListener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve http: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		defer fail()
		if err := s.grpc.Serve(s.grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve grpc: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		s.housekeeper.Run(failed)
		return nil
	})
	<-failed.Done()
	s.shutdown()
	return group.Wait()
}

// Close frees the ports of a Server that will not Run.
func (s *Server) Close() error {
	s.drain()
	s.grpc.Stop() // it has goroutines before it serves
	return errors.Join(s.httpListener.Close(), s.grpcListener.Close())
}

// shutdown refuses, drains and, when the time is up, cuts.
func (s *Server) shutdown() {
	s.Retire()
	s.drain()
	bound, cancel := context.WithTimeout(context.Background(), s.config.DrainTimeout)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error {
		if err := s.http.Shutdown(bound); err != nil {
			return s.http.Close()
		}
		return nil
	})
	group.Go(func() error {
		defer context.AfterFunc(bound, s.grpc.Stop)()
		s.grpc.GracefulStop()
		return nil
	})
	if err := group.Wait(); err != nil {
		s.config.Log.Warn("requests were cut off", "error", err)
	}
}
