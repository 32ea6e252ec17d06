// Package client is Remit's client for Go.
//
// A Client is the services of a cluster, with what every caller of them needs:
//
//   - A call that fails for a reason that passes is repeated. A change carries an
//     idempotency key, so that it takes effect once however often it is sent.
//   - It sees what it has seen: each call carries the newest token that the client met, so
//     that no answer is older than a change or an answer before it, on whichever node.
//   - Of several addresses it keeps to one, and leaves it for another when it fails.
//
// Lists and watches are iterators, which fetch what they need and go on where they were
// when a connection breaks.
package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// DefaultAddr is where a server listens unless it is told otherwise.
const DefaultAddr = "127.0.0.1:8080"

// The defaults of a Config.
const (
	DefaultAttempts       = 6
	DefaultPause          = 100 * time.Millisecond
	DefaultMaxMessageSize = 64 << 20
)

// maxPause bounds the time between two attempts.
const maxPause = 5 * time.Second

// Config says which cluster, and how. The zero value of every field is its default.
type Config struct {
	// Addrs are the nodes, as host:port or as URLs of http or https. Without a scheme it
	// is https if TLS is set, and else http. Default: DefaultAddr.
	Addrs []string
	// Credentials say who calls. Default: nobody in particular. They are not sent without
	// TLS to an address that is not loopback, unless Insecure permits it.
	Credentials Credentials
	// TLS is how to know the servers, and with which certificate to be known to them.
	// Default: the system's roots and no certificate.
	TLS *tls.Config
	// Insecure permits credentials on connections without TLS.
	Insecure bool

	// Attempts is how often a call is made at most, in all. Default: DefaultAttempts.
	Attempts int
	// Pause is the time before the second attempt; each further one is twice as long, up
	// to 5 s, and each is shortened at random by up to a half. Default: DefaultPause.
	Pause time.Duration
	// AttemptTimeout ends an attempt that takes longer, so that another may follow, on
	// another node. Default: only the context ends it.
	AttemptTimeout time.Duration
	// FailFast ends a call when nothing listens at any address and nothing ever did, rather
	// than to wait for servers that may be starting.
	FailFast bool
	// Forgetful sends no tokens, so that each call is answered from what the node holds.
	Forgetful bool

	// Uncompressed asks for answers that are not compressed. Default: they are if the server
	// likes.
	Uncompressed bool
	// MaxMessageSize bounds what is read of one message, in bytes. Default:
	// DefaultMaxMessageSize.
	MaxMessageSize int
	// Interceptors stand between the repeating of calls and the wire: each sees every
	// attempt. Default: none.
	Interceptors []connect.ClientInterceptor
}

// Validate reports every fault.
func (c *Config) Validate() error {
	var faults []error
	for _, addr := range c.Addrs {
		if _, err := c.baseURL(addr); err != nil {
			faults = append(faults, err)
		}
	}
	for _, f := range []struct {
		name     string
		negative bool
	}{
		{"Attempts", c.Attempts < 0},
		{"Pause", c.Pause < 0},
		{"AttemptTimeout", c.AttemptTimeout < 0},
		{"MaxMessageSize", c.MaxMessageSize < 0},
	} {
		if f.negative {
			faults = append(faults, fmt.Errorf("%s must not be negative", f.name))
		}
	}
	return errors.Join(faults...)
}

func (c *Config) defaults() {
	if len(c.Addrs) == 0 {
		c.Addrs = []string{DefaultAddr}
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Pause == 0 {
		c.Pause = DefaultPause
	}
	if c.MaxMessageSize == 0 {
		c.MaxMessageSize = DefaultMaxMessageSize
	}
}

// baseURL is an address as a URL.
func (c *Config) baseURL(addr string) (string, error) {
	if !strings.Contains(addr, "://") {
		scheme := "http://"
		if c.TLS != nil {
			scheme = "https://"
		}
		addr = scheme + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is no address of a server; write HOST:PORT or https://HOST:PORT", addr)
	}
	if c.Credentials != nil && !c.Insecure && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return "", fmt.Errorf("credentials would travel to %s for all to read; use https, or permit it by Insecure", addr)
	}
	return strings.TrimSuffix(addr, "/"), nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// A Client is the services of a cluster. It is safe for concurrent use.
type Client struct {
	Stores        remitv1connect.StoreServiceClient
	Models        remitv1connect.ModelServiceClient
	Tuples        remitv1connect.TupleServiceClient
	Access        remitv1connect.AccessServiceClient
	Organisations remitv1connect.OrganisationServiceClient
	Watches       remitv1connect.WatchServiceClient
	Transfers     remitv1connect.TransferServiceClient
	Backups       remitv1connect.BackupServiceClient
	Identity      remitv1connect.IdentityServiceClient
	Audit         remitv1connect.AuditServiceClient
	Erasures      remitv1connect.EraseServiceClient
	Node          remitv1connect.NodeServiceClient
	Cluster       remitv1connect.ClusterServiceClient

	connect *connect.Client
	repeat  *repeater
	http    *http.Client
}

// New makes a client. It connects to nothing before the first call.
func New(config Config) (*Client, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("client configuration: %w", err)
	}
	config.defaults()
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     config.TLS,
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
		// Without HTTP/2 each call under way has a connection; closing and opening them
		// costs more than to keep as many as a busy application needs.
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
	}
	c := &Client{http: &http.Client{
		Transport: transport,
		// A redirection would carry the credentials to another server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	options := []connecthttp.Option{connecthttp.WithReadMaxBytes(config.MaxMessageSize)}
	if config.Uncompressed {
		options = append(options, connecthttp.WithCompressors())
	}
	nodes := &nodes{}
	for _, addr := range config.Addrs {
		base, err := config.baseURL(addr)
		if err != nil {
			return nil, err
		}
		nodes.add(base, connecthttp.NewTransport(c.http, base, options...))
	}
	c.repeat = &repeater{config: &config, nodes: nodes}
	interceptors := []connect.ClientInterceptor{c.repeat.intercept}
	if !config.Forgetful {
		interceptors = append(interceptors, new(tokens).intercept)
	}
	if config.Credentials != nil {
		interceptors = append(interceptors, authenticate(config.Credentials))
	}
	c.connect = connect.NewClient(nodes, append(interceptors, config.Interceptors...)...)
	c.Stores = remitv1connect.NewStoreServiceClient(c.connect)
	c.Models = remitv1connect.NewModelServiceClient(c.connect)
	c.Tuples = remitv1connect.NewTupleServiceClient(c.connect)
	c.Access = remitv1connect.NewAccessServiceClient(c.connect)
	c.Organisations = remitv1connect.NewOrganisationServiceClient(c.connect)
	c.Watches = remitv1connect.NewWatchServiceClient(c.connect)
	c.Transfers = remitv1connect.NewTransferServiceClient(c.connect)
	c.Backups = remitv1connect.NewBackupServiceClient(c.connect)
	c.Identity = remitv1connect.NewIdentityServiceClient(c.connect)
	c.Audit = remitv1connect.NewAuditServiceClient(c.connect)
	c.Erasures = remitv1connect.NewEraseServiceClient(c.connect)
	c.Node = remitv1connect.NewNodeServiceClient(c.connect)
	c.Cluster = remitv1connect.NewClusterServiceClient(c.connect)
	return c, nil
}

// Connect is what the services stand on, for generated clients of other services.
func (c *Client) Connect() *connect.Client { return c.connect }

// Close drops connections that no call uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }
