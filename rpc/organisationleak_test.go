package rpc

import (
	"strings"
	"testing"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// What a seat may not read it cannot guess either: an edit that changes nothing is refused
// like one that changes something.
func TestChangesDoNotConfirmGuesses(t *testing.T) {
	r := newWorld(t)
	deal := func(fields map[string]any) *remitv1.Entity {
		return aRecord(&remitv1.Record{Module: "deal", Id: "d1", Owner: "cid", Fields: someFields(t, fields)})
	}
	share := &remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{
		Records: []string{"deal:d1"}, Shares: []*remitv1.Share{{To: "user:fay", Level: toEdit, Related: true, Reason: "help"}},
	}}}
	unshare := &remitv1.Edit{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: []string{"deal:d1"}, From: []string{"user:eve"}}}}
	for _, tt := range []struct {
		name    string
		as      string
		edit    *remitv1.Edit
		missing string
	}{
		{"a hidden field, right", "cid", putOf(deal(map[string]any{"iban": "FR76"}), "fields.iban"), "iban"},
		{"a hidden field, wrong", "cid", putOf(deal(map[string]any{"iban": "FR77"}), "fields.iban"), "iban"},
		{"a hidden field that is not there", "cid", putOf(deal(nil), "fields.iban"), "iban"},
		{"a hidden field besides another", "cid", putOf(deal(map[string]any{"iban": "FR76", "amount": 6.0}), "fields"), "iban"},
		{"a field of a deal that is not seen", "users", putOf(deal(map[string]any{"amount": 5.0}), "fields.amount"), "there is no deal:d1"},
		{"who owns a deal that is not seen", "users", putOf(deal(nil), "owner"), "there is no deal:d1"},
		{"a share of a deal that is not seen", "users", share, "there is no deal:d1"},
		{"a share of a deal that is not one's to share", "dot", share, "the right to share"},
		{"that there is no share", "dot", unshare, "the right to share"},
	} {
		_, err := r.try(tt.as, tt.edit)
		if text := wantForbidden(t, tt.name, err); !strings.Contains(text, tt.missing) {
			t.Errorf("%s: %q, want a word of %q", tt.name, text, tt.missing)
		}
	}
	// Who reads a field may send it along as it is.
	r.change("cid", putOf(deal(map[string]any{"amount": 5.0}), "fields.amount"))
}

// Of a record that it may not see, a seat learns no version, no owner and no field, but that
// the id is taken if it could make one.
func TestPutOfHiddenRecords(t *testing.T) {
	r := newWorld(t)
	// A deal of the super admin, which is secret, and so nobody else's.
	r.change("ann", putOf(aRecord(&remitv1.Record{
		Module: "deal", Id: "d2", Owner: "ann", Confidentiality: remitv1.Confidentiality_CONFIDENTIALITY_SECRET,
		Fields: someFields(t, map[string]any{"amount": 5.0}),
	})))
	texts := func(as, id string) []string {
		var list []string
		for _, edit := range []*remitv1.Edit{
			putOf(aRecord(&remitv1.Record{Module: "deal", Id: id, Owner: as})),
			putOf(aRecord(&remitv1.Record{Module: "deal", Id: id, Owner: "ann"})),
			ifVersion(putOf(aRecord(&remitv1.Record{Module: "deal", Id: id, Owner: as})), 0),
			ifVersion(putOf(aRecord(&remitv1.Record{Module: "deal", Id: id, Owner: as})), 7),
			putOf(aRecord(&remitv1.Record{
				Module: "deal", Id: id, Owner: "ann", Confidentiality: remitv1.Confidentiality_CONFIDENTIALITY_SECRET,
				Fields: someFields(t, map[string]any{"amount": 5.0}),
			})),
		} {
			_, err := r.try(as, edit)
			list = append(list, strings.ReplaceAll(wantForbidden(t, as+" "+id, err), id, "it"))
		}
		return list
	}
	for as, id := range map[string]string{"dot": "d2", "users": "d2", "groups": "d9"} {
		list := texts(as, id)
		for _, text := range list {
			if text != list[0] || strings.Contains(text, "version") {
				t.Errorf("%s is told %q and %q", as, list[0], text)
			}
		}
	}
}

// A preview names no record to a seat that may not see it, and nothing of it: how many there
// are it says.
func TestPreviewsNameNoHiddenRecords(t *testing.T) {
	r := newWorld(t)
	r.change("", &remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{
		Records: []string{"deal:d1"}, Shares: []*remitv1.Share{{To: "role:rep", Level: toView, Reason: "a rumour"}},
	}}})
	of := func(as string) (samples, counts int, text string) {
		plan, err := r.planOf(&remitv1.PlanChangeRequest{Store: r.store, As: as, Edits: []*remitv1.Edit{deletes(ofRole, "rep", "agent")}})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range plan.Users {
			for _, m := range u.Modules {
				samples += len(m.GainedSamples) + len(m.LostSamples)
				counts += int(m.Gained.GetCount() + m.Lost.GetCount())
			}
		}
		return samples, counts, plan.String()
	}
	samples, counts, text := of("")
	if samples == 0 || counts == 0 || !strings.Contains(text, "share") {
		t.Errorf("an application is shown %d of %d records in %s", samples, counts, text)
	}
	hidden, same, text := of("roles")
	if hidden != 0 || same != counts || strings.Contains(text, "rumour") {
		t.Errorf("who manages roles is shown %d of %d records in %s", hidden, same, text)
	}
}

// Who may not transfer a record learns nothing by assigning it: not whether it is there, nor
// whether there is anybody to give it to.
func TestAssignTellsNothingOfHiddenRecords(t *testing.T) {
	r := newWorld(t)
	var texts []string
	for _, id := range []string{"d1", "d9"} { // there is no d9
		for _, among := range []string{"user:bob", "user:eve"} { // who is suspended
			_, err := r.org.Assign(t.Context(), &remitv1.AssignRequest{Store: r.store, As: "users", Record: "deal:" + id, Among: []string{among}, IgnoreShifts: true})
			texts = append(texts, strings.ReplaceAll(wantForbidden(t, id+" "+among, err), id, "it"))
		}
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Errorf("a seat is told %q", texts)
		}
	}
	_, err := r.org.Assign(t.Context(), &remitv1.AssignRequest{Store: r.store, As: "dot", Record: "deal:d1", Among: []string{"user:eve"}, IgnoreShifts: true})
	if text := wantForbidden(t, "who views the deal", err); !strings.Contains(text, "transfer") {
		t.Errorf("who views the deal is told %q", text)
	}
}

// With whom a record is shared is told to its owner and to who may share it, be it that a
// change would end a share, or has ended it.
func TestChangesTellSharesToWhoMayShare(t *testing.T) {
	r := newWorld(t)
	see := &remitv1.Permissions{Permissions: []string{"view", "transfer"}}
	r.change("",
		putOf(aModule(&remitv1.Module{Id: "deal", Default: toView}), "default"),
		putOf(aProfile(&remitv1.Profile{Id: "roles", Modules: map[string]*remitv1.Permissions{"deal": see}}), "modules.deal"),
		putOf(aProfile(&remitv1.Profile{Id: "standard", Modules: map[string]*remitv1.Permissions{"deal": see}}), "modules.deal"),
		&remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{
			Records: []string{"deal:d1"}, Shares: []*remitv1.Share{{To: "role:rep", Level: toView, Reason: "a rumour"}},
		}}})
	planned := func(as string) string {
		plan, err := r.planOf(&remitv1.PlanChangeRequest{Store: r.store, As: as, Edits: []*remitv1.Edit{deletes(ofRole, "rep", "agent")}, WithoutAccess: true})
		if err != nil {
			t.Fatal(err)
		}
		text := plan.String()
		if !strings.Contains(text, "deal:d1") {
			t.Errorf("the plan of %q does not name the deal: %s", as, text)
		}
		return text
	}
	if text := planned(""); !strings.Contains(text, "rumour") {
		t.Errorf("an application is not told of the share: %s", text)
	}
	if seen, err := r.org.GetEntity(t.Context(), &remitv1.GetEntityRequest{Store: r.store, As: "roles", Entity: &remitv1.EntityRef{Kind: ofRecord, Id: "deal:d1"}}); err != nil || len(seen.Entity.GetRecord().Shares) > 0 {
		t.Fatalf("who manages roles sees the deal as %v, %v", seen, err)
	}
	if text := planned("roles"); strings.Contains(text, "rumour") {
		t.Errorf("who manages roles, and may not share the deal, is told of the share: %s", text)
	}

	give := func(as, key string, transfer *remitv1.TransferRecords) int {
		t.Helper()
		res, err := r.org.Change(t.Context(), &remitv1.ChangeRequest{
			Store: r.store, As: as, IdempotencyKey: key, Edits: []*remitv1.Edit{{Edit: &remitv1.Edit_Transfer{Transfer: transfer}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(res.Dropped)
	}
	share := &remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{
		Records: []string{"deal:d1"}, Shares: []*remitv1.Share{{To: "user:fay", Level: toView, Reason: "another"}},
	}}}
	for _, again := range []string{"", "again "} {
		if n := give("users", "all of cid's", &remitv1.TransferRecords{OwnedBy: "cid", To: "bob"}); n != 0 {
			t.Errorf("%swho manages users, and does not see the deal, is told of %d shares", again, n)
		}
	}
	r.change("", share)
	for _, again := range []string{"", "again "} {
		if n := give("bob", "bob's own", &remitv1.TransferRecords{Records: []string{"deal:d1"}, To: "cid"}); n != 1 {
			t.Errorf("%sthe owner is told of %d shares, want 1", again, n)
		}
	}
	r.change("", share)
	for _, again := range []string{"", "again "} {
		res, err := r.org.Assign(t.Context(), &remitv1.AssignRequest{
			Store: r.store, As: "bob", Record: "deal:d1", Among: []string{"user:dot"}, IgnoreShifts: true, IdempotencyKey: "to dot",
		})
		if err != nil || res.Owner != "dot" || len(res.Dropped) != 0 {
			t.Errorf("%swho is above the owner, and may not share, is told %v, %v", again, res, err)
		}
	}
}
