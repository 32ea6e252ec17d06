package rpc

import (
	"context"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
)

// Who brings a token of the identity provider acts as their own seat, and as no other unless
// they administer the store; the same name of a key, or in other letters, is nobody's.
func TestOwnSeat(t *testing.T) {
	r := newWorld(t)
	store, err := fsm.ParseStoreID(r.store)
	if err != nil {
		t.Fatal(err)
	}
	own := &reader{backend.NewReader(r.config.backend())}
	s := newOrganisationService(streamer{reader: own, slow: r.config.SlowReader, draining: context.Background()}, backend.NewWriter(own.Reader))
	by := func(principal string, need, granted identity.Permissions) context.Context {
		return identity.WithCall(t.Context(), &identity.Call{Need: need, Caller: &identity.Caller{
			Principal: principal, Grants: identity.Grants{Stores: map[identity.Store]identity.Permissions{store: granted}},
		}})
	}
	seats := func(principal string) error {
		_, err := s.ListEntities(by(principal, identity.Read, identity.Read), &remitv1.ListEntitiesRequest{Store: r.store, Kind: ofRole})
		return err
	}
	rename := func(principal, as, name string, granted identity.Permissions) error {
		_, err := s.Change(by(principal, identity.Write, granted), &remitv1.ChangeRequest{Store: r.store, As: as, Edits: []*remitv1.Edit{
			putOf(aSeat(&remitv1.Seat{Id: "cid", Name: name}), "name"),
		}})
		return err
	}
	forbidden := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s is permitted", what)
		} else if w, ok := find(err); !ok || w.code != connect.CodePermissionDenied {
			t.Errorf("%s: %v", what, err)
		}
	}

	if err := rename("oidc:ann@example.org", "", "One", identity.Write); err != nil {
		t.Errorf("the super admin, by a token: %v", err)
	}
	forbidden("a manager, by a token", rename("oidc:Bob@example.org", "", "Two", identity.Write))
	forbidden("a manager, by a token, who administers the store", rename("oidc:Bob@example.org", "", "Two", identity.Admin))
	forbidden("a manager, by a token, for another seat", rename("oidc:Bob@example.org", "users", "Three", identity.Write))
	if err := rename("oidc:Bob@example.org", "users", "Three", identity.Admin); err != nil {
		t.Errorf("for another seat, who administers the store: %v", err)
	}
	if err := rename("oidc:nobody", "users", "Four", identity.Write); err != nil {
		t.Errorf("an application for a seat: %v", err)
	}
	forbidden("who has no seat", rename("oidc:nobody", "", "Four", identity.Write))
	forbidden("the login in other letters", rename("oidc:ANN@example.org", "", "Four", identity.Write))
	forbidden("a key of the login's name", rename("key:ann@example.org", "", "Four", identity.Write))
	forbidden("a certificate of the login's name", rename("cert:ann@example.org", "", "Four", identity.Write))
	if err := rename("oidc:nobody", "", "Five", identity.Admin); err != nil {
		t.Errorf("who has no seat and administers the store: %v", err)
	}
	if got := r.get(ofSeat, "cid").GetSeat().Name; got != "Five" {
		t.Errorf("the name is %s", got)
	}

	// Reading: their own, suspended seat is in the way of whoever has one.
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "eve", Login: "eve"}), "login"))
	if err := seats("oidc:nobody"); err != nil {
		t.Errorf("an application reads: %v", err)
	}
	forbidden("who is suspended", seats("oidc:eve"))
	forbidden("who is suspended, for another seat", rename("oidc:eve", "users", "Six", identity.Write))

	// What seats may not see, they may not stream.
	stream := &entitiesOf{}
	if err := s.streamEntities(by("oidc:nobody", identity.Read, identity.Read), &remitv1.StreamEntitiesRequest{Store: r.store}, stream); err != nil || stream.n == 0 {
		t.Errorf("an application streams %d: %v", stream.n, err)
	}
	forbidden("the stream of a seat", s.streamEntities(by("oidc:Bob@example.org", identity.Read, identity.Read), &remitv1.StreamEntitiesRequest{Store: r.store}, stream))
}

// entitiesOf counts what it is sent.
type entitiesOf struct{ n int }

func (e *entitiesOf) Send(res *remitv1.StreamEntitiesResponse) error {
	e.n += len(res.Entities)
	return nil
}
