package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// Services are those of one server, or of one cluster.
type services struct {
	stores remitv1connect.StoreServiceClient
	models remitv1connect.ModelServiceClient
	tuples remitv1connect.TupleServiceClient
	access remitv1connect.AccessServiceClient
	node   remitv1connect.NodeServiceClient

	watches   remitv1connect.WatchServiceClient
	transfers remitv1connect.TransferServiceClient
	audits    remitv1connect.AuditServiceClient
	erasures  remitv1connect.EraseServiceClient
	clusters  remitv1connect.ClusterServiceClient

	organisations remitv1connect.OrganisationServiceClient
}

// defaultAddr is where serve listens unless told otherwise.
const defaultAddr = "127.0.0.1:8080"

// maxAnswer bounds what is read of one message. A page of 10,000 tuples with long ids
// and contexts may well exceed the transport's default of 4 MiB.
const maxAnswer = 256 << 20

func (a *app) client() (*services, error) {
	c, err := a.connection()
	if err != nil {
		return nil, err
	}
	return newServices(c), nil
}

// connection is how the servers are called: where they are, by what they are known, and by
// what they know who calls. A call that fails for a reason that passes is repeated, at
// another of the addresses if there are several; a server that never listened is not
// waited for.
func (a *app) connection() (*connect.Client, error) {
	if a.connected == nil {
		c, err := a.connect(false)
		if err != nil {
			return nil, err
		}
		a.connected = c
	}
	return a.connected, nil
}

func (a *app) connect(uncompressed bool) (*connect.Client, error) {
	if err := a.credentials.resolve(); err != nil {
		return nil, err
	}
	bases, err := a.baseURLs()
	if err != nil {
		return nil, err
	}
	config := client.Config{
		Addrs:    bases,
		Insecure: true, // baseURLs has chosen what is safe, unless somebody wrote otherwise
		Attempts: maxAttempts, Pause: firstPause, FailFast: true,
		MaxMessageSize: maxAnswer, Uncompressed: uncompressed,
		Interceptors: []connect.ClientInterceptor{a.credentials.authorize, a.provenance.headers},
	}
	if a.credentials.wantTLS() {
		if config.TLS, err = a.credentials.tls(); err != nil {
			return nil, err
		}
	}
	if len(bases) > 1 {
		config.AttemptTimeout = a.timeout // one that hangs must leave time for the next
	}
	c, err := client.New(config)
	if err != nil {
		return nil, err
	}
	a.bases, a.asked = bases, strings.Join(bases, ", ")
	return c.Connect(), nil
}

func newServices(c *connect.Client) *services {
	return &services{
		stores: remitv1connect.NewStoreServiceClient(c),
		models: remitv1connect.NewModelServiceClient(c),
		tuples: remitv1connect.NewTupleServiceClient(c),
		access: remitv1connect.NewAccessServiceClient(c),
		node:   remitv1connect.NewNodeServiceClient(c),

		watches:   remitv1connect.NewWatchServiceClient(c),
		transfers: remitv1connect.NewTransferServiceClient(c),
		audits:    remitv1connect.NewAuditServiceClient(c),
		erasures:  remitv1connect.NewEraseServiceClient(c),
		clusters:  remitv1connect.NewClusterServiceClient(c),

		organisations: remitv1connect.NewOrganisationServiceClient(c),
	}
}

// addresses are those of the flag, of the environment, or the default.
func (a *app) addresses() []string {
	given := a.addrs
	if len(given) == 0 {
		given = strings.Split(os.Getenv("REMIT_ADDR"), ",")
	}
	var addrs []string
	for _, addr := range given {
		if addr = strings.TrimSpace(addr); addr != "" && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return []string{defaultAddr}
	}
	return addrs
}

// baseURLs are the servers' addresses as URLs.
func (a *app) baseURLs() ([]string, error) {
	var bases []string
	for _, addr := range a.addresses() {
		base, err := a.baseURL(addr)
		if err != nil {
			return nil, err
		}
		bases = append(bases, base)
	}
	return bases, nil
}

// baseURL is a server's address as a URL. HOST:PORT alone means http, or https if there
// are files of TLS, or a token that would cross the network for all to read: credentials
// must not go without unless somebody has written so.
func (a *app) baseURL(addr string) (string, error) {
	if !strings.Contains(addr, "://") {
		scheme := "http://"
		if a.credentials.wantTLS() || a.credentials.bringsToken() && !staysHere(addr) {
			scheme = "https://"
		}
		addr = scheme + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is no address of a server; write HOST:PORT or https://HOST:PORT", addr)
	}
	return strings.TrimSuffix(addr, "/"), nil
}

// staysHere reports whether what is sent to HOST:PORT does not leave this machine.
func staysHere(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.Trim(addr, "[]")
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// withTimeout bounds one call. With several addresses each may take as long.
func (a *app) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, a.timeout*time.Duration(max(1, len(a.bases))))
}

// call makes one unary call within the timeout. What fails for a reason that passes has been
// repeated when it returns.
func call[Q, A any](ctx context.Context, a *app, method func(context.Context, Q) (A, error), request Q) (A, error) {
	ctx, cancel := a.withTimeout(ctx)
	defer cancel()
	answer, err := method(ctx, request)
	if err == nil {
		a.answered = true
	}
	return answer, err
}

// What fails for a reason that passes is repeated so often, waiting longer each time: in
// all about as long as an election takes.
const (
	maxAttempts = 6
	firstPause  = 200 * time.Millisecond
)

// worthRepeating reports whether the same request may succeed a moment later. A server
// that does not listen is waited for only if it did before: it may be starting again.
func (a *app) worthRepeating(err error) bool {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return a.answered
	}
	// A connection that breaks while the request is being sent is "canceled" to connect.
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		connect.CodeOf(err) == connect.CodeUnavailable ||
		hasReason(err, remitv1.ErrorReason_ERROR_REASON_NO_LEADER) ||
		hasReason(err, remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME)
}

// storeName is the store that a command works on: --store, $REMIT_STORE, or the only
// one there is.
func (a *app) storeName(ctx context.Context, c *services) (string, error) {
	if name := firstOf(a.store, os.Getenv("REMIT_STORE")); name != "" {
		return name, nil
	}
	page, err := call(ctx, a, c.stores.ListStores, &remitv1.ListStoresRequest{PageSize: 6})
	if err != nil {
		return "", err
	}
	switch stores := page.GetStores(); len(stores) {
	case 0:
		return "", errors.New(`the server has no store yet; make one with "remit store create NAME" or "remit store import FILE"`)
	case 1:
		return stores[0].GetId(), nil
	default:
		var names []string
		for _, s := range stores {
			names = append(names, visible(s.GetName()))
		}
		if len(names) == 6 {
			names[5] = "…"
		}
		return "", fmt.Errorf("say which store with --store or REMIT_STORE; the server has %s", strings.Join(names, ", "))
	}
}

// completeStores completes --store with the names that the server knows. Completion
// must not keep the shell waiting, hence the short timeout.
func (a *app) completeStores(root *cobra.Command) {
	err := root.RegisterFlagCompletionFunc("store", a.storeCompletions)
	if err != nil {
		panic(fmt.Sprintf("complete --store: %v", err)) // no such flag: our own mistake
	}
}

func (a *app) storeCompletions(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	page, err := c.stores.ListStores(ctx, &remitv1.ListStoresRequest{PageSize: 100})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, s := range page.GetStores() {
		if strings.HasPrefix(s.GetName(), prefix) {
			names = append(names, s.GetName())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// firstOf is the first text that is not empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
