package rpc

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/graph/crm/crmtest"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// askAll compares everything with the procedure.
func (c *askedAll) askAll() {
	c.t.Helper()
	c.deeds()
	for i := range c.o.Seats {
		c.generally(&c.o.Seats[i])
	}
	c.lists()
}

// Of an organisation that was deleted nothing is seen in one that is made under its name,
// however much had been asked and remembered of it: neither by who asks by the name, nor in
// what was begun in the first.
func TestAnOrganisationIsMadeAnewUnderItsName(t *testing.T) {
	v := crmtest.VolumeOf(t, "rpc", 3, 40)
	r := newRig(t)
	for n := v.First; n < v.First+v.Count; n++ {
		name := fmt.Sprint("acme ", n)
		var gone []string // ids
		for variant := range uint64(2) {
			g, o := v.Organisation(n, variant)
			at := g.Instant()
			c := askedAll{
				askedOrganisation: r.organisation(name, o, at), Generator: g,
				oracle: crmtest.NewOracle(o, at), again: v.Again(n),
			}
			id := c.store
			c.store = name
			c.askAll() // fills the caches
			c.askAll()
			for _, store := range gone {
				c.store = store
				_, err := c.askedOrganisation.can(c.scope(), o.Seats[0].ID, "manage_users", "", "")
				wantReason(t, "the deleted store", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
			}
			gone = append(gone, id)
			if variant == 1 {
				continue
			}
			if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: id}); err != nil {
				t.Fatal(err)
			}
			c.store = name
			_, err := c.askedOrganisation.can(c.scope(), o.Seats[0].ID, "manage_users", "", "")
			wantReason(t, "no store of the name", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
		}
		if t.Failed() {
			return
		}
	}
}

// What was begun in an organisation ends with it, and is not gone on with in the next one.
func TestWhatWasBegunEndsWithTheOrganisation(t *testing.T) {
	r := newWorld(t)
	r.change("", deals("cid", "cid", "cid")...)
	old := r.store
	r.store = "acme"
	scope := &remitv1.OrganisationScope{Store: "acme"}
	list, err := r.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: scope, User: "cid", Module: "deal", PageSize: 1})
	if err != nil || list.Cursor == "" {
		t.Fatalf("ListRecords: %v, %v", list, err)
	}
	entities, err := r.org.ListEntities(t.Context(), &remitv1.ListEntitiesRequest{Store: "acme", Kind: ofSeat, PageSize: 1})
	if err != nil || entities.Cursor == "" {
		t.Fatalf("ListEntities: %v, %v", entities, err)
	}
	l := r.begun("", "cid")
	stream := l.open(t.Context(), r.org)
	if _, err := stream.Receive(); err != nil {
		t.Fatal(err)
	}
	token := list.Token

	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: old}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Receive()
	}
	if errors.Is(err, io.EOF) {
		t.Error("the watch ends as if all had been told")
	} else {
		wantReason(t, "the watch", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
	}

	again := firstRequest("acme")
	_, err = r.org.CreateOrganisation(t.Context(), again)
	wantReason(t, "the request that made the first", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
	again.IdempotencyKey = ""
	r.create(again)
	r.change("", worldly(t)...)
	r.change("", deals("cid", "bob", "cid")...)

	_, err = r.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: scope, User: "cid", Module: "deal", PageSize: 1, Cursor: list.Cursor})
	wantReason(t, "a list gone on with", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
	_, err = r.org.ListEntities(t.Context(), &remitv1.ListEntitiesRequest{Store: "acme", Kind: ofSeat, PageSize: 1, Cursor: entities.Cursor})
	wantReason(t, "entities gone on with", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
	stream = l.open(t.Context(), r.org)
	_, err = stream.Receive()
	wantReason(t, "a watch gone on with", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR)

	// The past of the name is that of the store that has it now.
	past := &remitv1.OrganisationScope{Store: "acme", Consistency: &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token}}}
	if res, err := r.org.Can(t.Context(), &remitv1.CanRequest{Scope: past, Deed: &remitv1.Deed{User: "cid", Action: "view", On: "deal:d1"}}); err == nil {
		t.Errorf("before the store was made, it answers %v", res)
	}
	if why, err := r.org.Why(t.Context(), &remitv1.WhyRequest{Scope: past, Deed: &remitv1.Deed{User: "cid", Action: "view", On: "deal:d1"}}); err == nil {
		t.Errorf("before the store was made, it explains %v", why)
	}
}
