package server

import (
	"errors"
	"fmt"
	"net"

	"github.com/remit-authz/remit/cluster/discover"
	"github.com/remit-authz/remit/rpc"
)

// A PeersConfig says how a node meets others. The zero value is a node alone.
type PeersConfig struct {
	// Addr is where other nodes reach this one, as host:port to listen on. Default: nowhere,
	// and the node is alone.
	Addr string
	// Advertise is the address that the others are told, if it is not Addr.
	Advertise string
	// TLS secures what nodes tell each other: each shows its certificate, and all are of
	// the CAs in ClientCAFile. Default: nothing does.
	TLS rpc.TLSConfig
	// TLSName is the name that every node's certificate bears. Default: that of the address
	// by which it is reached.
	TLSName string

	// Join lists nodes to begin a cluster with, or to be joined to one through, in the forms
	// that discover.Parse knows. The node itself may be among them.
	Join []string
	// Expect is how many voters begin a cluster. Default: 1 without Join and gossip, a
	// cluster that others can be joined to; otherwise none, and the node waits to be joined.
	Expect int
	// Replica says that the node answers, and never votes.
	Replica bool

	// Gossip is how nodes find each other without a list. Default: they do not.
	Gossip GossipConfig
}

// A GossipConfig says where a node gossips.
type GossipConfig struct {
	// Addr is where to listen, as host:port, over TCP and UDP. Default: nowhere.
	Addr string
	// Advertise is the address that the others are told, if it is not Addr.
	Advertise string
	// KeyFile holds the keys by which gossip is encrypted, in base64, one a line, the first
	// one for what is sent. Needed on any address but loopback.
	KeyFile string
	// Join lists nodes to gossip with first, in the forms that discover.Parse knows.
	Join []string
	// Label keeps clusters apart that share a network and a key. Default: remit.
	Label string
}

// Enabled reports whether the node has peers.
func (c *PeersConfig) Enabled() bool { return c.Addr != "" }

// expect is how many voters begin a cluster.
func (c *PeersConfig) expect() int {
	if c.Expect == 0 && len(c.Join) == 0 && c.Gossip.Addr == "" && !c.Replica {
		return 1
	}
	return c.Expect
}

// secured reports whether anything of TLS is given.
func (c *PeersConfig) secured() bool {
	return c.TLS.CertFile != "" || c.TLS.KeyFile != "" || c.TLS.ClientCAFile != "" || c.TLSName != ""
}

// validate reports every fault of the settings by themselves.
func (c *PeersConfig) validate(insecure bool) error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !c.Enabled() {
		for _, needs := range []struct {
			setting string
			given   bool
		}{
			{"peer-advertise", c.Advertise != ""},
			{"join", len(c.Join) > 0},
			{"bootstrap-expect", c.Expect != 0},
			{"replica", c.Replica},
			{"peer-tls-cert", c.TLS.CertFile != ""},
			{"peer-tls-key", c.TLS.KeyFile != ""},
			{"peer-tls-ca", c.TLS.ClientCAFile != ""},
			{"peer-tls-name", c.TLSName != ""},
			{"gossip-addr", c.Gossip.Addr != ""},
			{"gossip-advertise", c.Gossip.Advertise != ""},
			{"gossip-join", len(c.Gossip.Join) > 0},
			{"gossip-key-file", c.Gossip.KeyFile != ""},
		} {
			if needs.given {
				fault("%s is given without peer-addr, where other nodes reach this one", needs.setting)
			}
		}
		return errors.Join(faults...)
	}
	for _, address := range []struct{ setting, addr string }{
		{"peer-addr", c.Addr}, {"peer-advertise", c.Advertise}, {"gossip-addr", c.Gossip.Addr}, {"gossip-advertise", c.Gossip.Advertise},
	} {
		if _, _, err := net.SplitHostPort(address.addr); address.addr != "" && err != nil {
			fault("%s %q is not host:port: %w", address.setting, address.addr, err)
		}
	}
	if c.Expect < 0 || c.Expect > maxExpect {
		fault("bootstrap-expect is %d, must be from 0 to %d", c.Expect, maxExpect)
	}
	switch {
	case c.Replica && c.Expect > 0:
		fault("bootstrap-expect is %d, but this node is a replica, which never votes: give one of them", c.Expect)
	case c.Replica && len(c.Join) == 0 && c.Gossip.Addr == "":
		fault("replica needs join or gossip-addr, to find the cluster that it is a part of")
	case c.Expect > 1 && len(c.Join) == 0 && c.Gossip.Addr == "":
		fault("bootstrap-expect is %d, and nothing says where the others are: give join or gossip-addr", c.Expect)
	}
	for _, list := range []struct {
		setting string
		nodes   []string
		port    int
	}{{"join", c.Join, discover.PeerPort}, {"gossip-join", c.Gossip.Join, discover.GossipPort}} {
		if _, err := discover.Parse(list.nodes, list.port); err != nil {
			fault("%s: %w", list.setting, err)
		}
	}
	if c.Gossip.Addr == "" && (c.Gossip.KeyFile != "" || len(c.Gossip.Join) > 0 || c.Gossip.Advertise != "") {
		fault("gossip-addr is missing, where to gossip")
	}
	if c.secured() {
		if err := c.TLS.ValidatePeers("peer-tls-cert", "peer-tls-key", "peer-tls-ca"); err != nil {
			faults = append(faults, err)
		}
	} else if err := rpc.CheckAddr("peer-addr", c.Addr, insecure); err != nil {
		fault("%w, or give peer-tls-cert, peer-tls-key and peer-tls-ca", err)
	}
	if c.Gossip.KeyFile == "" {
		if err := rpc.CheckAddr("gossip-addr", c.Gossip.Addr, insecure); err != nil {
			fault("%w, or give gossip-key-file", err)
		}
	}
	return errors.Join(faults...)
}

// maxExpect is the most voters that a cluster may begin with: each write waits for more
// than half of them.
const maxExpect = 9
