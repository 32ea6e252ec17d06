package rpc

import (
	"testing"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A change is under way while its record is deleted, erased, and made again by somebody else
// under the same name. It is planned anew, about the record that there is.
func TestAChangeDoesNotMistakeWhatCameAfterAnErasure(t *testing.T) {
	m := &meddler{}
	r := newWorld(t, func(c *Config) { m.Node, c.Node = c.Node, m })
	deal := func(owner string) *remitv1.Edit {
		return putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d2", Owner: owner, Fields: someFields(t, map[string]any{"of": owner})}))
	}
	r.change("", deal("bob"))
	m.times, m.between = 1, func() {
		r.change("", deletes(ofRecord, "deal:d2", ""))
		if err := r.receiveErase(t.Context(), &remitv1.EraseRequest{Store: r.store, Entity: "deal:d2", LeaveMentions: true}); err != nil {
			t.Fatal(err)
		}
		r.change("", deal("dot"))
	}
	r.change("", &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"deal:d2"}, To: "cid"}}})
	if m.times != 0 {
		t.Fatal("nobody meddled")
	}
	if d := r.get(ofRecord, "deal:d2").GetRecord(); d.Owner != "cid" || d.Fields.AsMap()["of"] != "dot" {
		t.Errorf("the record is %v, want dot's, given to cid", d)
	}
	head, err := backend.FindStore(t.Context(), r.config.State.Current(), "store", r.store)
	if err != nil {
		t.Fatal(err)
	}
	if v := head.ScopeVersion(fsm.ErasedScope); v != 1 {
		t.Errorf("one erasure makes the scope %d", v)
	}
}
