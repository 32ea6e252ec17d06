package rpc

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	"github.com/remit-authz/remit/rpc/gate"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// testRoot is the root key of guarded rigs. Its text is nowhere else, so whatever holds it
// has leaked it.
const testRoot = "canary-root-0123456789abcdef0123456789"

// A guarded rig asks its callers who they are.
type guarded struct {
	*rig
	root caller
}

// A caller is somebody's clients.
type caller struct {
	clients
	keys    remitv1connect.IdentityServiceClient
	backups remitv1connect.BackupServiceClient
}

// newGuarded makes a guarded rig. Its own clients have the root key.
func newGuarded(t testing.TB, clock func() time.Time, change ...func(*Config)) *guarded {
	t.Helper()
	r := newRigAt(t, clock, append(change, func(c *Config) { c.Identity = guardedBy(t) })...)
	g := &guarded{rig: r}
	g.root = g.as(testRoot)
	r.clients = g.root.clients
	return g
}

func guardedBy(t testing.TB) gate.Config {
	t.Helper()
	root, err := gate.NewRootKey(testRoot)
	if err != nil {
		t.Fatal(err)
	}
	return gate.Config{Root: root}
}

// as are the clients of who has a key; of a stranger, if it is empty.
func (g *guarded) as(key string) caller { return callerOf(connectinprocess.New(g.server), key) }

func callerOf(transport connect.Transport, key string) caller {
	transport = bearerTransport{transport, key}
	c := connect.NewClient(transport)
	return caller{newClients(transport), remitv1connect.NewIdentityServiceClient(c), remitv1connect.NewBackupServiceClient(c)}
}

// A bearerTransport brings a key with every call.
type bearerTransport struct {
	connect.Transport
	key string
}

// NewClientStream implements connect.Transport.
func (b bearerTransport) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	if info, ok := connect.CallInfoForClientContext(ctx); ok && b.key != "" {
		info.RequestHeader().Set("Authorization", "Bearer "+b.key)
	}
	return b.Transport.NewClientStream(ctx, spec)
}

// key makes a key with grants, as text, and returns its secret.
func (g *guarded) key(name string, grants ...*remitv1.Grant) string {
	g.t.Helper()
	res, err := g.root.keys.CreateKey(g.t.Context(), &remitv1.CreateKeyRequest{Name: name, Grants: grants})
	if err != nil {
		g.t.Fatalf("CreateKey(%s): %v", name, err)
	}
	return res.Secret
}

func onStore(store string, permissions ...remitv1.Permission) *remitv1.Grant {
	return &remitv1.Grant{Target: &remitv1.Grant_Store{Store: store}, Permissions: permissions}
}

func onAll(permissions ...remitv1.Permission) *remitv1.Grant {
	return &remitv1.Grant{Target: &remitv1.Grant_AllStores{AllStores: true}, Permissions: permissions}
}

func onCluster() *remitv1.Grant {
	return &remitv1.Grant{Target: &remitv1.Grant_Cluster{Cluster: true}}
}

const (
	toRead       = remitv1.Permission_PERMISSION_READ
	toWrite      = remitv1.Permission_PERMISSION_WRITE
	toModel      = remitv1.Permission_PERMISSION_MODEL
	toAdminister = remitv1.Permission_PERMISSION_ADMIN
)

// wantReason checks that a call was refused, and why.
func wantReason(t testing.TB, what string, err error, code connect.Code, reason remitv1.ErrorReason) string {
	t.Helper()
	if err == nil {
		t.Errorf("%s is permitted, want %v", what, reason)
		return ""
	}
	got, text, detail := detailOf(t, err)
	if got != code || detail.Reason != reason {
		t.Errorf("%s = %v %v (%s), want %v %v", what, got, detail.Reason, text, code, reason)
	}
	return text
}

func wantStranger(t testing.TB, what string, err error) string {
	t.Helper()
	return wantReason(t, what, err, connect.CodeUnauthenticated, remitv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED)
}

func wantForbidden(t testing.TB, what string, err error) string {
	t.Helper()
	return wantReason(t, what, err, connect.CodePermissionDenied, remitv1.ErrorReason_ERROR_REASON_FORBIDDEN)
}
