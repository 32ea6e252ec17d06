package main

import "github.com/remit-authz/remit/cmd/remit/server"

// peerSettings are those by which nodes make a cluster.
func peerSettings(s *settings, c *server.Config) {
	p := &c.Peers
	s.address(&p.Addr, "peer-addr", "", "listen here for the other nodes of a cluster, as `host:port`; without it the node is alone")
	s.address(&p.Advertise, "peer-advertise", "", "the `host:port` at which other nodes reach --peer-addr, if it is another")
	s.list(&p.Join, "join", []string{}, "`nodes` to begin a cluster with or to be joined to one through: host:port, a name with several addresses, or srv+NAME")
	s.number(&p.Expect, "bootstrap-expect", 0, 0, "how many `nodes` begin a cluster, the same on each of them; 0 waits to be joined, or alone begins one")
	s.boolean(&p.Replica, "replica", false, "answer like any node, but never vote and never lead")
	s.text(&p.TLS.CertFile, "peer-tls-cert", "", "the certificate that this node shows other nodes, a `file` as PEM")
	s.text(&p.TLS.KeyFile, "peer-tls-key", "", "the `file` of the certificate's private key, as PEM")
	s.text(&p.TLS.ClientCAFile, "peer-tls-ca", "", "the `file` of the CAs whose certificates are other nodes', as PEM")
	s.text(&p.TLSName, "peer-tls-name", "", "the `name` that every node's certificate bears; without it, the host that it is reached by")
	s.address(&p.Gossip.Addr, "gossip-addr", "", "gossip here to find other nodes, over TCP and UDP, as `host:port`; without it only --join finds them")
	s.address(&p.Gossip.Advertise, "gossip-advertise", "", "the `host:port` at which other nodes reach --gossip-addr, if it is another")
	s.list(&p.Gossip.Join, "gossip-join", []string{}, "`nodes` to gossip with first, in the forms of --join")
	s.text(&p.Gossip.KeyFile, "gossip-key-file", "", "the `file` of the keys of 32 bytes that gossip is encrypted with, in base64, one a line, the one in use first")
	s.text(&p.Gossip.Label, "gossip-label", "remit", "`name` that keeps the gossip of clusters on one network apart")
	s.span(&c.DrainDelay, "drain-delay", 0, "`time` for which a node that stops still answers, and says already that it is not ready")
}
