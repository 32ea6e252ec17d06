package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/cluster/discover"
	"github.com/remit-authz/remit/cluster/peer"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/backend"
)

// peers are what a node meets others by.
type peers struct {
	port         *peer.Port
	gossip       *discover.Gossip  // nil if it does not
	certificates *rpc.Certificates // nil without TLS

	stop    context.CancelFunc
	watched chan struct{} // closed when nobody looks after the certificates any more
}

// openPeers opens the port for other nodes and begins to look for them.
func openPeers(ctx context.Context, config *Config, id string, epoch func() uint64, registry prometheus.Registerer) (*peers, error) {
	p := &peers{watched: make(chan struct{})}
	err := p.openPort(ctx, config, id, epoch, registry)
	if err == nil {
		err = p.openGossip(ctx, config, id, registry)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// openPort opens the port, secured if it is to be.
func (p *peers) openPort(ctx context.Context, config *Config, id string, epoch func() uint64, registry prometheus.Registerer) (err error) {
	c := &config.Peers
	port := peer.Config{
		Bind: c.Addr, Advertise: c.Advertise, NodeID: id, Cluster: epoch, Log: config.Log, Metrics: registry,
	}
	if c.TLS.Enabled() {
		files := c.TLS
		files.ClientAuth = rpc.ClientAuthRequired
		if p.certificates, err = rpc.LoadCertificates(files, time.Now, config.Log); err != nil {
			return peerFault(err)
		}
		port.ServerTLS, port.ClientTLS = p.certificates.Peer(c.TLSName)
		if registry != nil {
			registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "remit_peer_certificate_expiry_timestamp_seconds",
				Help: "When the certificate that this node shows other nodes expires, in seconds since 1970.",
			}, func() float64 { return float64(p.certificates.NotAfter().Unix()) }))
		}
		running, stop := context.WithCancel(context.WithoutCancel(ctx))
		p.stop = stop
		go func() { defer close(p.watched); p.certificates.Run(running) }()
	}
	if p.port, err = peer.Listen(ctx, port); err != nil {
		return fmt.Errorf("peer-addr: %w", err)
	}
	return nil
}

// openGossip begins to gossip, if this node is to.
func (p *peers) openGossip(ctx context.Context, config *Config, id string, registry prometheus.Registerer) error {
	c := &config.Peers.Gossip
	if c.Addr == "" {
		return nil
	}
	seeds, err := discover.Parse(c.Join, discover.GossipPort)
	if err != nil {
		return err
	}
	p.gossip, err = discover.OpenGossip(ctx, discover.GossipConfig{
		Bind: c.Addr, Advertise: c.Advertise, KeyFile: c.KeyFile, Insecure: config.Insecure, Label: c.Label, Seeds: seeds.Find,
		Self: discover.Member{ID: id, Peer: string(p.port.LocalAddr()), API: p.reachable(config.Addr)},
		Log:  config.Log, Metrics: registry,
	})
	if err != nil {
		return fmt.Errorf("gossip-addr: %w", err)
	}
	return nil
}

// peerSettings are the names that the settings of a TLSConfig have here.
var peerSettings = strings.NewReplacer("tls-client-ca", "peer-tls-ca", "tls-cert", "peer-tls-cert", "tls-key", "peer-tls-key")

// peerFault tells of files in the names of the settings that they come from here.
func peerFault(err error) error { return errors.New(peerSettings.Replace(err.Error())) }

// find is where the addresses of other nodes come from.
func (p *peers) find(config *PeersConfig) (discover.Find, error) {
	list, err := discover.Parse(config.Join, discover.PeerPort)
	if err != nil {
		return nil, err
	}
	if config.Expect > 1 && p.gossip == nil && list.Only(string(p.port.LocalAddr())) {
		return nil, fmt.Errorf("join names only this node, %s, and bootstrap-expect wants %d: name the others", p.port.LocalAddr(), config.Expect)
	}
	if p.gossip == nil {
		return list.Find, nil
	}
	return discover.All(list.Find, p.gossip.Find), nil
}

// reload reads the files of certificates and keys again.
func (p *peers) reload(ctx context.Context, logger *slog.Logger) {
	if p.certificates != nil {
		p.certificates.Reload()
	}
	if p.gossip == nil {
		return
	}
	if err := p.gossip.Reload(ctx); err != nil {
		logger.Error("changed keys of gossip cannot be used; those read before stay in use", "error", err)
	}
}

// close leaves the others. The port belongs to a node that was opened; closing it twice
// does nothing.
func (p *peers) close() error {
	var errs []error
	if p.gossip != nil {
		errs = append(errs, p.gossip.Close())
	}
	if p.port != nil {
		errs = append(errs, p.port.Close())
	}
	if p.stop != nil {
		p.stop()
		<-p.watched
	}
	return errors.Join(errs...)
}

// meet opens the port for other nodes and completes the configuration of this one.
func (s *Server) meet(ctx context.Context, node *cluster.Config) error {
	id, err := cluster.Identify(*node)
	if err != nil {
		return err
	}
	config := &s.config.Peers
	if s.peers, err = openPeers(ctx, &s.config, id, s.state.Epoch, node.Metrics); err != nil {
		return err
	}
	node.Find, err = s.peers.find(config)
	node.Transport, node.Peers = s.peers.port, s.peers.port
	node.Expect, node.Replica = config.expect(), config.Replica
	node.Autopilot = backend.Autopilot(s.state, s.config.Log)
	node.ClusterVersion = func() uint64 { return s.state.Current().ClusterVersion() }
	return err
}

// about is what other nodes may know of this one.
func (s *Server) about() cluster.About {
	root := s.state.Current()
	hash := root.Hash().Bytes()
	about := cluster.About{
		Version: s.config.Version, Supports: fsm.ClusterVersion, Addr: s.config.Addr, GRPCAddr: s.config.GRPCAddr,
		Revision: uint64(root.Revision()), StateHash: hex.EncodeToString(hash[:]),
	}
	if s.peers != nil {
		about.Addr, about.GRPCAddr = s.peers.reachable(about.Addr), s.peers.reachable(about.GRPCAddr)
	}
	return about
}

// reachable is where others find what listens at an address: one that listens everywhere
// is at the host by which other nodes reach this one.
func (p *peers) reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return addr
	}
	here, _, err := net.SplitHostPort(string(p.port.LocalAddr()))
	if err != nil {
		return addr
	}
	return net.JoinHostPort(here, port)
}

// cluster is the node for those who run its cluster, nil if it is alone.
func (s *Server) cluster() rpc.Cluster {
	if s.peers == nil {
		return nil
	}
	return s.node
}
