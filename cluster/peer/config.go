package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

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

// maxNodeID bounds a node's id, as everywhere in the cluster.
const maxNodeID = 255

// Validate reports every fault of c.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("peer config: "+format, args...))
	}
	bound, _, err := net.SplitHostPort(c.Bind)
	if err != nil {
		fault("Bind is %q, want host:port", c.Bind)
	}
	switch host, to, e := net.SplitHostPort(c.Advertise); {
	case c.Advertise == "" && err == nil && everywhere(bound):
		fault("Bind is %q, every interface: Advertise must say which address others are to use", c.Bind)
	case c.Advertise == "":
	case e != nil || host == "" || to == "" || to == "0":
		fault("Advertise is %q, want the host:port that others reach this node by", c.Advertise)
	case everywhere(host):
		fault("Advertise is %q, want an address that others can reach, not that of every interface", c.Advertise)
	case len(c.Advertise) > maxAddress:
		fault("Advertise has %d bytes, at most %d are allowed", len(c.Advertise), maxAddress)
	}
	if (c.ServerTLS == nil) != (c.ClientTLS == nil) {
		fault("ServerTLS and ClientTLS are given together or not at all")
	}
	if t := c.ServerTLS; t != nil && t.ClientAuth != tls.RequireAndVerifyClientCert && t.GetConfigForClient == nil {
		fault("ServerTLS does not demand a certificate of the other side and verify it")
	}
	if t := c.ClientTLS; t != nil && t.InsecureSkipVerify && t.VerifyConnection == nil {
		fault("ClientTLS does not verify the certificate of the other side")
	}
	if c.NodeID == "" || len(c.NodeID) > maxNodeID {
		fault("NodeID is %q, want an id of at most %d bytes", c.NodeID, maxNodeID)
	}
	if c.Cluster == nil {
		fault("Cluster is required")
	}
	return errors.Join(faults...)
}

// everywhere says whether a host stands for every interface.
func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
