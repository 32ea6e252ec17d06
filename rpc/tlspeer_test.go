package rpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/cluster/peer"
	"github.com/remit-authz/remit/rpc/gate/gatetest"
)

// A secured node is a port with certificates of files that a test may change.
type securedNode struct {
	*peer.Port
	dir   string
	certs *Certificates
	told  *lines
}

// secureNode opens a port whose certificate is pair, and that knows the nodes of a CA.
func secureNode(t *testing.T, id, name string, pair gatetest.Pair, known *gatetest.CA, clock func() time.Time) *securedNode {
	t.Helper()
	n := &securedNode{dir: t.TempDir(), told: &lines{}}
	log := slog.New(slog.NewTextHandler(n.told, nil))
	config := TLSConfig{ClientAuth: ClientAuthRequired, ClientCAFile: gatetest.File(t, n.dir, "ca.crt", known.PEM())}
	config.CertFile, config.KeyFile = pair.Files(t, n.dir, "node")
	if err := config.ValidatePeers("cert", "key", "ca"); err != nil {
		t.Fatal(err)
	}
	var err error
	if n.certs, err = LoadCertificates(config, clock, log); err != nil {
		t.Fatal(err)
	}
	c := peer.Config{Bind: "127.0.0.1:0", NodeID: id, Cluster: func() uint64 { return 7 }, Log: log, Metrics: prometheus.NewRegistry()}
	c.ServerTLS, c.ClientTLS = n.certs.Peer(name)
	n.Port = openPort(t, c)
	return n
}

// openPort opens a port that answers every request with its own name, until the test ends.
func openPort(t *testing.T, c peer.Config) *peer.Port {
	t.Helper()
	port, err := peer.Listen(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	})
	port.Handle(func(context.Context, byte, []byte) []byte { return []byte(c.NodeID) })
	return port
}

// arrives reports why a request does not get from one node to another, and demands that it
// is known not to have arrived.
func arrives(t *testing.T, from *peer.Port, to *peer.Port) error {
	t.Helper()
	_, err := from.Call(t.Context(), to.LocalAddr(), 1, nil)
	var sent interface{ Unsent() bool }
	if err != nil && (!errors.As(err, &sent) || !sent.Unsent()) {
		t.Errorf("whether a request arrived where it must not is not known: %v", err)
	}
	return err
}

func TestNodesKnowEachOtherByCertificates(t *testing.T) {
	ca, theirs := gatetest.NewCA(t, "ours"), gatetest.NewCA(t, "theirs")
	named := gatetest.Certificate{CommonName: "node", DNS: []string{"remit.test"}}
	expired := gatetest.Certificate{CommonName: "late", DNS: []string{"remit.test"}, NotAfter: time.Now().Add(-time.Minute)}
	for _, test := range []struct {
		name  string // what the node that dials shows
		pair  gatetest.Pair
		known *gatetest.CA // whom it knows
		bears string       // what it wants the other's certificate to bear
		told  string       // what its error says, empty if it gets through
		log   string       // what the other node logs
	}{
		{"a good one", ca.Node(named), ca, "remit.test", "", ""},
		{"a good one, by the address", ca.Node(named), ca, "", "", ""},
		{"of another CA", theirs.Node(named), ca, "remit.test", "unknown certificate authority", "unknown authority"},
		{"of another name", ca.Node(gatetest.Certificate{DNS: []string{"other.test"}}), ca, "remit.test", "bad certificate", "valid for other.test, not remit.test"},
		{"of no use to dial", ca.Server(named), ca, "remit.test", "bad certificate", "incompatible key usage"},
		{"expired", ca.Node(expired), ca, "remit.test", "expired certificate", "certificate has expired"},
		{"a good one, and trusts others", ca.Node(named), theirs, "remit.test", "unknown authority", "bad certificate"},
		{"a good one, and wants another name", ca.Node(named), ca, "another.test", "not another.test", "bad certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := secureNode(t, "to", "remit.test", ca.Node(named), ca, time.Now)
			from := secureNode(t, "from", test.bears, test.pair, test.known, time.Now)
			switch err := arrives(t, from.Port, to.Port); {
			case test.told == "" && err != nil:
				t.Errorf("refused: %v\n%s", err, to.told)
			case test.told != "" && (err == nil || !strings.Contains(err.Error(), test.told)):
				t.Errorf("told %v, want %s", err, test.told)
			}
			eventually(t, "the log of the other node tells: "+test.log, func() bool { return strings.Contains(to.told.String(), test.log) })
			if test.log != "" && !strings.Contains(to.told.String(), "reason=certificate") {
				t.Errorf("the log does not say that it is about a certificate:\n%s", to.told)
			}
		})
	}
}

// A node that has a certificate for clients alone is not one to dial.
func TestANodeThatIsDialledMustBeAServer(t *testing.T) {
	ca := gatetest.NewCA(t, "ours")
	named := gatetest.Certificate{DNS: []string{"remit.test"}}
	to := secureNode(t, "to", "remit.test", ca.Client(named), ca, time.Now)
	from := secureNode(t, "from", "remit.test", ca.Node(named), ca, time.Now)
	if err := arrives(t, from.Port, to.Port); err == nil || !strings.Contains(err.Error(), "incompatible key usage") {
		t.Errorf("it is told %v", err)
	}
}

// Certificates and CAs are exchanged under nodes that run: what is new is verified by what
// the files say now, and what is there stays.
func TestNodesFollowFilesThatChange(t *testing.T) {
	first, second := gatetest.NewCA(t, "first"), gatetest.NewCA(t, "second")
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	a := secureNode(t, "a", "", first.Node(gatetest.Certificate{}), first, clock)
	b := secureNode(t, "b", "", first.Node(gatetest.Certificate{}), first, clock)
	nodes := []*securedNode{a, b}
	trust := func(pem []byte, n *securedNode) {
		gatetest.File(t, n.dir, "ca.crt", pem)
		n.certs.Reload()
	}
	if err := arrives(t, a.Port, b.Port); err != nil {
		t.Fatal(err)
	}
	// Both CAs everywhere, then new certificates, then the old CA goes.
	for _, n := range nodes {
		trust(append(first.PEM(), second.PEM()...), n)
	}
	second.Node(gatetest.Certificate{}).Files(t, b.dir, "node")
	b.certs.Reload()
	if err := arrives(t, b.Port, a.Port); err != nil { // a new connection, with the new certificate
		t.Error(err)
	}
	trust(second.PEM(), b)
	if err := arrives(t, a.Port, b.Port); err != nil {
		t.Errorf("a connection that was there: %v", err)
	}
	stranger := secureNode(t, "c", "", first.Node(gatetest.Certificate{}), second, clock)
	if err := arrives(t, stranger.Port, b.Port); err == nil || !strings.Contains(err.Error(), "unknown certificate authority") {
		t.Errorf("a new connection with a certificate whose CA was removed: %v", err)
	}
	// What was good when it was loaded expires.
	ahead.Store(int64(48 * time.Hour))
	late := secureNode(t, "d", "", second.Node(gatetest.Certificate{NotAfter: time.Now().Add(96 * time.Hour)}), second, clock)
	if err := arrives(t, late.Port, b.Port); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a node whose certificate has expired is dialled: %v", err)
	}
}

// One node with TLS and one without: each is told what is wrong.
func TestTLSOnOneSideAlone(t *testing.T) {
	ca := gatetest.NewCA(t, "ours")
	secure := secureNode(t, "secure", "", ca.Node(gatetest.Certificate{}), ca, time.Now)
	told := &lines{}
	plain := openPort(t, peer.Config{
		Bind: "127.0.0.1:0", NodeID: "plain", Cluster: func() uint64 { return 7 }, Log: slog.New(slog.NewTextHandler(told, nil)),
	})
	if err := arrives(t, plain, secure.Port); err == nil || !strings.Contains(err.Error(), "came without TLS, which this node demands") {
		t.Errorf("a node without TLS is told %v", err)
	}
	if err := arrives(t, secure.Port, plain); err == nil || !strings.Contains(err.Error(), "the node there has no TLS, which this one demands") {
		t.Errorf("a node with TLS is told %v", err)
	}
	eventually(t, "both logs tell", func() bool {
		return strings.Contains(secure.told.String(), "reason=plain") && strings.Contains(told.String(), "TLS, which this port is not set up for")
	})
}

// What speaks no TLS to a port with TLS is told so in a form that people can read.
func TestHTTPAtAPeersPortWithTLS(t *testing.T) {
	ca := gatetest.NewCA(t, "ours")
	secure := secureNode(t, "secure", "", ca.Node(gatetest.Certificate{}), ca, time.Now)
	conn, err := net.Dial("tcp", secure.Addr().String()) //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), "400 Bad Request") || !strings.Contains(string(answer), "nodes of a cluster") {
		t.Errorf("it is told %q, %v", answer, err)
	}
	eventually(t, "the log tells", func() bool { return strings.Contains(secure.told.String(), "reason=stranger") })
}

func TestIncompleteTLSSettingsOfPeers(t *testing.T) {
	for _, test := range []struct {
		config TLSConfig
		want   string
	}{
		{TLSConfig{KeyFile: "b", ClientCAFile: "c"}, "p-cert is missing"},
		{TLSConfig{CertFile: "a", ClientCAFile: "c"}, "p-key is missing"},
		{TLSConfig{CertFile: "a", KeyFile: "b"}, "p-ca is missing"},
		{TLSConfig{CertFile: "a", KeyFile: "b", ClientCAFile: "c", ClientAuth: ClientAuthOptional}, "optional"},
	} {
		if err := test.config.ValidatePeers("p-cert", "p-key", "p-ca"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.config, err, test.want)
		}
	}
}

// Without CAs nobody is let in, whatever the rest of the settings says.
func TestPeersWithoutCAsKnowNobody(t *testing.T) {
	ca, dir := gatetest.NewCA(t, "ours"), t.TempDir()
	config := TLSConfig{}
	config.CertFile, config.KeyFile = ca.Node(gatetest.Certificate{}).Files(t, dir, "node")
	certs, err := LoadCertificates(config, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := peer.Config{Bind: "127.0.0.1:0", NodeID: "open", Cluster: func() uint64 { return 7 }}
	c.ServerTLS, c.ClientTLS = certs.Peer("")
	open := openPort(t, c)
	good := secureNode(t, "good", "", ca.Node(gatetest.Certificate{}), ca, time.Now)
	if arrives(t, open, good.Port) == nil || arrives(t, good.Port, open) == nil {
		t.Error("a node without CAs talks to others")
	}
}
