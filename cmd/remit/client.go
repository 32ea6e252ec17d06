package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/spf13/cobra"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// Services are those of one server.
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

// connection is how the server is called: where it is, by what it is known, and by what it
// knows who calls.
func (a *app) connection(options ...connecthttp.Option) (*connect.Client, error) {
	if err := a.credentials.resolve(); err != nil {
		return nil, err
	}
	base, err := a.baseURL()
	if err != nil {
		return nil, err
	}
	over, err := a.credentials.client()
	if err != nil {
		return nil, err
	}
	a.asked = base
	options = append(options, connecthttp.WithReadMaxBytes(maxAnswer))
	return connect.NewClient(connecthttp.NewTransport(over, base, options...), a.credentials.authorize, a.provenance.headers), nil
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
	}
}

// baseURL is the server's address as a URL. HOST:PORT alone means http, or https if there
// are files of TLS, or a token that would cross the network for all to read: credentials
// must not go without unless somebody has written so.
func (a *app) baseURL() (string, error) {
	addr := firstOf(a.addr, os.Getenv("REMIT_ADDR"), defaultAddr)
	if !strings.Contains(addr, "://") {
		scheme := "http://"
		if a.credentials.wantTLS() || a.credentials.bringsToken() && !staysHere(addr) {
			scheme = "https://"
		}
		addr = scheme + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
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

// withTimeout bounds one call.
func (a *app) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, a.timeout)
}

// call makes one unary call within the timeout.
func call[Q, A any](ctx context.Context, a *app, method func(context.Context, Q) (A, error), request Q) (A, error) {
	ctx, cancel := a.withTimeout(ctx)
	defer cancel()
	return method(ctx, request)
}

// Outcomes that a repetition mends are repeated so often, waiting longer each time: in
// all about as long as an election takes.
const (
	maxAttempts = 6
	firstPause  = 200 * time.Millisecond
)

// repeated is call for a request with an idempotency key: what may have been done
// already can be asked for again.
func repeated[Q, A any](ctx context.Context, a *app, method func(context.Context, Q) (A, error), request Q) (A, error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		answer, err := call(ctx, a, method, request)
		if err == nil {
			a.answered = true
		}
		if err == nil || attempt == maxAttempts || !a.worthRepeating(err) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return answer, err
		case <-time.After(pause):
			pause *= 2
		}
	}
}

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
