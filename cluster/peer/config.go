package peer

import (
	"crypto/tls"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// A Config says where a Port listens, and whom it lets in.
type Config struct {
	// Bind is where to listen, as host:port. Required.
	Bind string
	// Advertise is where other nodes reach this one, as host:port. Default: Bind, with the
	// port that was had, which must not be an address of every interface then.
	Advertise string
	// ServerTLS and ClientTLS secure connections that come in and that go out; give both or
	// neither. They must ask for the other side's certificate and verify it, and may do so
	// by callbacks, so that files can change. Default: connections are not secured.
	ServerTLS, ClientTLS *tls.Config
	// NodeID names this node to the others.
	NodeID string
	// Cluster returns the id of the cluster that this node belongs to, 0 if it does not
	// know one yet. Nodes that know different ones do not talk. Required.
	Cluster func() uint64
	// Log receives what happens. Default: nothing is logged.
	Log *slog.Logger
	// Metrics receives the port's metrics. Default: none are kept.
	Metrics prometheus.Registerer
}
