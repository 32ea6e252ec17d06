package rpc

import (
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A directCheck is a Check as a transport hands it to the server: what it takes is the
// server's alone.
type directCheck struct {
	server  *connect.Server
	info    connect.CallInfo
	request *remitv1.CheckRequest
	allowed bool
}

func (c *directCheck) Receive(msg any) error {
	proto.Merge(msg.(proto.Message), c.request)
	return nil
}

func (c *directCheck) SendHeaders() error { return nil }

func (c *directCheck) Send(msg any) error {
	c.allowed = msg.(*remitv1.CheckResponse).Allowed
	return nil
}

// directChecks are one on a server that asks nobody, and one each by the holders of some
// keys on a server that asks.
func directChecks(t testing.TB) map[string]*directCheck {
	request := func(store string) *remitv1.CheckRequest {
		return &remitv1.CheckRequest{Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"}}
	}
	open, g := newRig(t), newGuarded(t, nil)
	checks := map[string]*directCheck{"nobody is asked": {server: open.server, request: request(open.store("acme", acme...))}}
	store := g.store("acme", acme...)
	for name, key := range map[string]string{
		"a key for one store":  g.key("one", onStore(store, toRead)),
		"a key for all stores": g.key("all", onAll(toRead)),
		"the root key":         testRoot,
	} {
		checks[name] = &directCheck{server: g.server, request: request(store)}
		checks[name].info.RequestHeader().Set("Authorization", "Bearer "+key)
	}
	return checks
}

func (c *directCheck) ask(t testing.TB) {
	c.allowed = false
	if err := c.server.Call(t.Context(), remitv1connect.AccessServiceCheckProcedure, &c.info, c); err != nil || !c.allowed {
		t.Fatal(c.allowed, err)
	}
}

// BenchmarkIdentity sets Checks on a server that asks who calls beside those on one that
// asks nobody.
func BenchmarkIdentity(b *testing.B) {
	for name, check := range directChecks(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				check.ask(b)
			}
		})
	}
}

// BenchmarkAuthenticate is what it takes to know a key.
func BenchmarkAuthenticate(b *testing.B) {
	g := newGuarded(b, nil)
	key := g.key("one", onAll(toRead))
	keyring := backend.NewKeyring(backend.NewReader(g.config.backend()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keyring.Authenticate(key); err != nil {
			b.Fatal(err)
		}
	}
}
