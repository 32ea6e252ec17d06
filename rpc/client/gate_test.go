package client_test

import (
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/client"
	"github.com/remit-authz/remit/rpc/gate"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

func TestAKeyOpensWhatItIsGranted(t *testing.T) {
	r := newRig(t)
	rootSecret := strings.Repeat("root", 10)
	root, err := gate.NewRootKey(rootSecret)
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := r.serve(func(c *rpc.Config) { c.Identity.Root = root })
	as := func(credentials client.Credentials) *client.Client {
		return newClient(t, client.Config{Addrs: []string{addr}, Credentials: credentials, Pause: time.Millisecond})
	}
	operator := as(client.Key(rootSecret))
	mine, other := r.store(operator, "mine"), r.store(operator, "other")
	made, err := operator.Identity.CreateKey(t.Context(), &remitv1.CreateKeyRequest{Name: "reader", Grants: []*remitv1.Grant{{
		Target: &remitv1.Grant_Store{Store: mine}, Permissions: []remitv1.Permission{remitv1.Permission_PERMISSION_READ},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	reader := as(client.Key(made.GetSecret()))
	for _, tc := range []struct {
		name   string
		client *client.Client
		store  string
		want   remitv1.ErrorReason
	}{
		{"its own store", reader, mine, remitv1.ErrorReason_ERROR_REASON_UNSPECIFIED},
		{"another store", reader, other, remitv1.ErrorReason_ERROR_REASON_FORBIDDEN},
		{"without a key", as(nil), mine, remitv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED},
		{"with a key of nobody", as(client.Key(strings.Repeat("nobody", 8))), mine, remitv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED},
	} {
		_, err := tc.client.Tuples.Read(t.Context(), &remitv1.ReadRequest{Store: tc.store})
		if client.Reason(err) != tc.want || (err != nil) != (tc.want != 0) {
			t.Errorf("%s: Read = %v, want reason %v", tc.name, err, tc.want)
		}
	}
	if _, err := reader.Tuples.Write(t.Context(), &remitv1.WriteRequest{Store: mine, Operations: []*remitv1.Operation{create("exhibit:vase", "curator", "user:anna")}}); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("Write with a key that only reads = %v", err)
	}
}

func TestACallThatComesTooSoonIsMadeLater(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve(func(c *rpc.Config) { c.Limits = limit.Config{RatePerStore: 100, BurstPerStore: 5, RateWait: -1} })
	c := newClient(t, client.Config{Addrs: []string{addr}, Pause: time.Millisecond})
	store := r.store(c, "museum")
	hasty := newClient(t, client.Config{Addrs: []string{addr}, Attempts: 1})
	refused := false
	for range 40 {
		if _, err := c.Tuples.Read(t.Context(), &remitv1.ReadRequest{Store: store}); err != nil {
			t.Fatalf("Read by a client that waits = %v", err)
		}
		if _, err := hasty.Tuples.Read(t.Context(), &remitv1.ReadRequest{Store: store}); err != nil {
			if client.Reason(err) != remitv1.ErrorReason_ERROR_REASON_RATE_LIMITED || client.Detail(err).GetRetryAfter() == nil {
				t.Fatalf("Read by a client that does not wait = %v", err)
			}
			refused = true
		}
	}
	if !refused {
		t.Error("nothing came too soon: the test shows nothing")
	}
}
