package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/gate"
)

// An admin listens for those who run a node, on an address that its users need not
// reach: metrics, health and profiles. It is there before the state is open and after
// the ports are closed, so that a long start and a long stop can be watched.
type admin struct {
	registry *prometheus.Registry
	guarded  bool // metrics and profiles are not for everybody
	served   atomic.Pointer[served]
	listener net.Listener
	server   *http.Server
	done     chan error // takes what Serve returns
}

// served is what a node is ready by.
type served struct {
	api  *rpc.Server
	node *cluster.Node
}

// openAdmin opens the address and answers there until close.
//
// On an address that others can reach, metrics and profiles are for those with the grant
// cluster, if callers are asked who they are, and cross the network as the API does.
// Loopback stays as it is: who is there can look into the process by other means.
func openAdmin(ctx context.Context, config *Config, certificates *rpc.Certificates) (*admin, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", config.AdminAddr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", config.AdminAddr, reason(err))
	}
	reachable := rpc.CheckAddr("", config.AdminAddr, false) != nil
	a := &admin{registry: newRegistry(config.Version), guarded: reachable && config.asks(), done: make(chan error, 1)}
	if certificates != nil {
		a.registry.MustRegister(certificates)
		if reachable {
			listener = certificates.Listen(listener, true, "h2", "http/1.1")
		}
	}
	a.listener = listener
	a.server = &http.Server{
		Handler:           a.handler(config.Log),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		// What a profile takes its caller says, so there is no limit to writing.
	}
	go func() { a.done <- a.server.Serve(listener) }()
	return a, nil
}

// newRegistry has what is known of the process.
func newRegistry(version string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "remit_build_info",
		Help: "1, with the versions of the program and of Go as labels.",
	}, []string{"version", "go_version"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	registry.MustRegister(build,
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsGC)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

func (a *admin) handler(log *slog.Logger) http.Handler {
	open, mux := http.NewServeMux(), http.NewServeMux()
	open.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeState(w, "") })
	open.HandleFunc("GET /readyz", a.readyz)
	open.Handle("/", a.guard(mux))
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		ErrorLog:      scrapeLog{log},
		ErrorHandling: promhttp.ContinueOnError, // most is better than nothing
		// Those who gather are few; more would be a fault that costs every request.
		MaxRequestsInFlight: 4,
		EnableOpenMetrics:   true,
	}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return open
}

// guard lets only those pass who may see what concerns the whole cluster.
func (a *admin) guard(next http.Handler) http.Handler {
	if !a.guarded {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := a.served.Load()
		if s == nil {
			http.Error(w, "the node is starting, and does not know its callers yet", http.StatusServiceUnavailable)
			return
		}
		if err := s.api.Gate().Administers(r); err != nil {
			gate.Refuse(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// readyz says whether the node answers calls and knows who leads. With ?max_lag=5s it also
// says how far readers of this node may be behind: as a time, what was acknowledged longer
// ago must be seen here.
func (a *admin) readyz(w http.ResponseWriter, r *http.Request) {
	most := time.Duration(math.MaxInt64)
	if text := r.URL.Query().Get("max_lag"); text != "" {
		var err error
		if most, err = time.ParseDuration(text); err != nil || most < 0 {
			http.Error(w, fmt.Sprintf("max_lag is %q, must be a time such as 500ms or 5s", text), http.StatusBadRequest)
			return
		}
	}
	writeState(w, a.unready(most))
}

// unready is why the node is not ready for readers that may be behind by so much, empty if
// it is.
func (a *admin) unready(most time.Duration) string {
	s := a.served.Load()
	switch {
	case s == nil:
		return "the node is starting; its log says what it waits for"
	case !s.api.Ready():
		return "the node does not answer calls yet, or is about to stop"
	case s.node.Leader() == "":
		return "no leader is known to this node"
	}
	if behind := s.node.Staleness(); behind > most {
		return fmt.Sprintf("readers may be %s behind, and max_lag is %s", behind.Round(time.Millisecond), most)
	}
	return ""
}

// writeState answers in the words of grpc.health.v1, as the API's own health page does, and
// says what is wrong, if anything is.
func writeState(w http.ResponseWriter, wrong string) {
	state, code := map[string]string{"status": "SERVING"}, http.StatusOK
	if wrong != "" {
		state, code = map[string]string{"status": "NOT_SERVING", "reason": wrong}, http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that has gone away cannot be told.
	_ = json.NewEncoder(w).Encode(state)
}

// close ends at once: a profile under way is cut off.
func (a *admin) close() error {
	err := a.server.Close()
	if serveErr := <-a.done; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve admin: %w", serveErr))
	}
	return err
}

// A scrapeLog tells what kept metrics from being complete.
type scrapeLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) {
	l.log.Warn("metrics incomplete", "error", fmt.Sprint(v...))
}
