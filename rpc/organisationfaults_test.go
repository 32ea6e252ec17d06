package rpc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// What is wrong is said, with its place, and nothing is changed.
func TestChangeRefuses(t *testing.T) {
	r := newWorld(t)
	r.change("", putOf(aSettings(&remitv1.Settings{BusinessHours: &remitv1.BusinessHours{FirstDay: "monday", Days: map[string]string{
		"monday": "08:00-20:00", "tuesday": "08:00-20:00", "friday": "08:00-20:00",
	}}}), "business_hours"))
	hours := func(zone string, days ...string) *remitv1.Hours {
		h := &remitv1.Hours{Zone: zone, Days: map[string]string{}}
		for i := 0; i < len(days); i += 2 {
			h.Days[days[i]] = days[i+1]
		}
		return h
	}
	var many []*remitv1.Edit
	for i := range 30 {
		many = append(many, putOf(aShift(&remitv1.Shift{Id: fmt.Sprintf("s%d", i), Name: fmt.Sprintf("Shift %d", i), Hours: hours("UTC", "monday", "09:00-10:00")})))
	}
	shiftOf := func(shift string, from, until int) *remitv1.ShiftAssignment {
		return &remitv1.ShiftAssignment{Shift: shift, Period: &remitv1.Period{From: timestamppb.New(day(from)), Until: timestamppb.New(day(until))}}
	}
	const (
		badRequest  = remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST
		badOrg      = remitv1.ErrorReason_ERROR_REASON_INVALID_ORGANISATION
		notFound    = remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND
		conflicting = remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED
	)
	for _, tc := range []struct {
		name   string
		edits  []*remitv1.Edit
		reason remitv1.ErrorReason
		field  string
		text   string // part of the message
	}{
		{"a name that is taken", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "new", Name: "REP", Parent: "ceo"}))}, badOrg, "edits[0].put.entity.role", `"REP"`},
		{"two names at once", []*remitv1.Edit{
			putOf(aGroup(&remitv1.Group{Id: "x", Name: "Same"})), putOf(aGroup(&remitv1.Group{Id: "y", Name: "same"})),
		}, badOrg, "edits[1].put.entity.group", "same"},
		{"no name", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "new", Parent: "ceo"}))}, badOrg, "edits[0].put.entity.role", "name"},
		{"a cycle of roles", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "manager", Parent: "rep"}), "parent")}, badOrg, "edits[0].put.entity.role", "rep"},
		{"a cycle of groups", []*remitv1.Edit{putOf(aGroup(&remitv1.Group{Id: "inner", Members: []string{"group:emea"}}), "members")}, badOrg, "edits[0].put.entity.group", "emea"},
		{"a cycle of managers", []*remitv1.Edit{putOf(aSeat(&remitv1.Seat{Id: "bob", Manager: "cid"}), "manager")}, badOrg, "edits[0].put.entity.seat", "higher role"},
		{"a second root", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "rep"}), "parent")}, badOrg, "edits[0].put.entity.role", "above"},
		{"a role goes to nobody", []*remitv1.Edit{deletes(ofRole, "rep", "")}, badOrg, "edits[0].delete", "takes over"},
		{"a role goes to itself", []*remitv1.Edit{deletes(ofRole, "rep", "rep")}, badOrg, "edits[0].delete", "rep"},
		{"a role goes below itself", []*remitv1.Edit{deletes(ofRole, "manager", "rep")}, badOrg, "edits[0].delete", "rep"},
		{"a role goes to what is not there", []*remitv1.Edit{deletes(ofRole, "rep", "nothing")}, badOrg, "edits[0].delete", "nothing"},
		{"the root role goes", []*remitv1.Edit{deletes(ofRole, "ceo", "manager")}, badOrg, "edits[0].delete", "root"},
		{"a profile with holders goes", []*remitv1.Edit{deletes(ofProfile, "standard", "")}, badOrg, "edits[0].delete", "refer"},
		{"an owner goes", []*remitv1.Edit{deletes(ofSeat, "cid", "")}, badOrg, "edits[0].delete", "refer"},
		{"the super admin goes", []*remitv1.Edit{deletes(ofSeat, "ann", "bob")}, badOrg, "edits[0].delete", "super admin"},
		{"a module with records goes", []*remitv1.Edit{deletes(ofModule, "deal", "")}, badOrg, "edits[0].delete", "refer"},
		{"the settings go", []*remitv1.Edit{deletes(ofSettings, "", "")}, badOrg, "edits[0].delete", ""},
		{"what is not there goes", []*remitv1.Edit{deletes(ofGroup, "nothing", "")}, badOrg, "edits[0].delete", "not exist"},
		{"a 31st shift", many, badOrg, "edits[0].put.entity.shift", "at most 30"},
		{"a shift outside business hours", []*remitv1.Edit{putOf(aShift(&remitv1.Shift{Id: "late", Name: "Late", Hours: hours("UTC", "monday", "18:00-22:00")}))}, badOrg, "edits[0].put.entity.shift", "business hours"},
		{"business hours that leave a shift outside", []*remitv1.Edit{putOf(aSettings(&remitv1.Settings{BusinessHours: &remitv1.BusinessHours{Days: map[string]string{"monday": "10:00-20:00"}}}), "business_hours")}, badOrg, "edits[0].put.entity.settings", "business hours"},
		{"an unknown zone", []*remitv1.Edit{putOf(aShift(&remitv1.Shift{Id: "moon", Name: "Moon", Hours: hours("Moon/Base", "monday", "09:00-10:00")}))}, badOrg, "edits[0].put.entity.shift", "Moon/Base"},
		{"hours that are none", []*remitv1.Edit{putOf(aShift(&remitv1.Shift{Id: "x", Name: "X", Hours: hours("UTC", "monday", "9-17")}))}, badRequest, `edits[0].put.entity.shift.hours.days["monday"]`, "09:00-17:30"},
		{"a day that is none", []*remitv1.Edit{putOf(aShift(&remitv1.Shift{Id: "x", Name: "X", Hours: hours("UTC", "Monday", "09:00-17:00")}))}, badRequest, `edits[0].put.entity.shift.hours.days["Monday"]`, "monday"},
		{"too many breaks", []*remitv1.Edit{putOf(aShift(&remitv1.Shift{Id: "x", Name: "X", Hours: hours("UTC", "monday", "09:00-17:00 except 10:00-10:05 11:00-11:05 12:00-12:05")}))}, badOrg, "edits[0].put.entity.shift", "breaks"},
		{"a break outside", []*remitv1.Edit{putOf(aShift(&remitv1.Shift{Id: "x", Name: "X", Hours: hours("UTC", "monday", "09:00-17:00 except 18:00-18:05")}))}, badOrg, "edits[0].put.entity.shift", "break"},
		{"two shifts at once", []*remitv1.Edit{many[0], putOf(aSeat(&remitv1.Seat{Id: "fay", Shifts: []*remitv1.ShiftAssignment{shiftOf("early", 1, 9), shiftOf("s0", 5, 12)}}), "shifts")}, badOrg, "edits[1].put.entity.seat", "same time"},
		{"a period that ends before it begins", []*remitv1.Edit{putOf(aSeat(&remitv1.Seat{Id: "fay", Shifts: []*remitv1.ShiftAssignment{shiftOf("early", 9, 1)}}), "shifts")}, badRequest, "edits[0].put.entity.seat.shifts[0].period", "after"},
		{"a share with who is suspended", []*remitv1.Edit{{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: []string{"deal:d1"}, Shares: []*remitv1.Share{{To: "user:eve", Level: toView}}}}}}, badOrg, "edits[0].share", "eve"},
		{"a share with nobody", []*remitv1.Edit{{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: []string{"deal:d1"}, Shares: []*remitv1.Share{{To: "user:dot", Level: toView}, {To: "dot", Level: toView}}}}}}, badRequest, "edits[0].share.shares[1].to", "user:id"},
		{"a share that ends before time begins", []*remitv1.Edit{{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: []string{"deal:d1"}, Shares: []*remitv1.Share{{To: "user:dot", Level: toView, ExpiresAt: timestamppb.New(time.Time{})}}}}}}, badRequest, "edits[0].share.shares[0].expires_at", "leave it out"},
		{"a share of what is not there", []*remitv1.Edit{{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: []string{"deal:d9"}, Shares: []*remitv1.Share{{To: "user:dot", Level: toView}}}}}}, badOrg, "edits[0].share", "deal:d9"},
		{"a record named wrongly", []*remitv1.Edit{{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: []string{"deal:d1", "d1"}}}}}, badRequest, "edits[0].unshare.records[1]", "deal:d1"},
		{"a seat for a record", []*remitv1.Edit{{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"user:bob"}, To: "dot"}}}}, badRequest, "edits[0].transfer.records[0]", "no module"},
		{"a record in no module", []*remitv1.Edit{putOf(aRecord(&remitv1.Record{Module: "case", Id: "c1", Owner: "bob"}))}, badOrg, "edits[0].put.entity.record", "case"},
		{"a record of a type that is no module", []*remitv1.Edit{putOf(aRecord(&remitv1.Record{Module: "role", Id: "rep", Owner: "bob"}))}, badRequest, "edits[0].put.entity.record", "no module"},
		{"a record of nobody", []*remitv1.Edit{putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d2", Owner: "nobody"}))}, badOrg, "edits[0].put.entity.record", "nobody"},
		{"a note below nothing", []*remitv1.Edit{putOf(aRecord(&remitv1.Record{Module: "note", Id: "n2", Owner: "bob"}))}, badOrg, "edits[0].put.entity.record", "parent"},
		{"a transfer of all and some", []*remitv1.Edit{{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"deal:d1"}, OwnedBy: "cid", To: "dot"}}}}, badRequest, "edits[0].transfer", "either"},
		{"a permission that there is not", []*remitv1.Edit{putOf(aProfile(&remitv1.Profile{Id: "x", Name: "X", Modules: map[string]*remitv1.Permissions{"deal": {Permissions: []string{"view", "read"}}}}))}, badRequest, `edits[0].put.entity.profile.modules["deal"].permissions[1]`, "read"},
		{"a tool that there is not", []*remitv1.Edit{putOf(aProfile(&remitv1.Profile{Id: "x", Name: "X", Tools: []string{"hammer"}}))}, badRequest, "edits[0].put.entity.profile.tools[0]", "hammer"},
		{"a setup permission that there is not", []*remitv1.Edit{putOf(aProfile(&remitv1.Profile{Id: "x", Name: "X", Setup: []string{"manage_all"}}))}, badRequest, "edits[0].put.entity.profile.setup[0]", "manage_all"},
		{"a level of a field that there is not", []*remitv1.Edit{putOf(aField(&remitv1.Field{Module: "deal", Id: "x", Name: "X", Levels: map[string]string{"standard": "none"}}))}, badRequest, `edits[0].put.entity.field.levels["standard"]`, "hidden"},
		{"a mandatory field that is hidden", []*remitv1.Edit{putOf(aField(&remitv1.Field{Module: "deal", Id: "iban", Mandatory: true}), "mandatory")}, badOrg, "edits[0].put.entity.field", "mandatory"},
		{"a rule of no party", []*remitv1.Edit{putOf(aRule(&remitv1.SharingRule{Id: "x", Name: "X", Module: "deal", Source: "rep", Target: "everyone", Level: toView}))}, badRequest, "edits[0].put.entity.rule.source", "role:id"},
		{"a rule from everyone", []*remitv1.Edit{putOf(aRule(&remitv1.SharingRule{Id: "x", Name: "X", Module: "deal", Source: "everyone", Target: "everyone", Level: toView}))}, badOrg, "edits[0].put.entity.rule", "everyone"},
		{"a rule of notes", []*remitv1.Edit{putOf(aRule(&remitv1.SharingRule{Id: "x", Name: "X", Module: "note", Source: "role:rep", Target: "everyone", Level: toView}))}, badOrg, "edits[0].put.entity.rule", "note"},
		{"a login that another has", []*remitv1.Edit{putOf(aSeat(&remitv1.Seat{Id: "dot", Login: "ANN@example.org"}), "login")}, badOrg, "edits[0].put.entity.seat", "ANN@example.org"},
		{"another id of the organisation", []*remitv1.Edit{putOf(aSettings(&remitv1.Settings{Id: "other", Name: "Other", SuperAdmin: "ann"}))}, badOrg, "edits[0].put.entity.settings", "acme"},
		{"no id", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Name: "Nameless", Parent: "ceo"}))}, badRequest, "edits[0].put.entity.role.id", "id"},
		{"an id that is none", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "a b", Name: "A", Parent: "ceo"}))}, badOrg, "edits[0].put.entity.role", "a b"},
		{"a mask of nothing", []*remitv1.Edit{{Edit: &remitv1.Edit_Put{Put: &remitv1.Put{Entity: aRole(&remitv1.Role{Id: "rep"}), UpdateMask: putOf(nil, "x").GetPut().UpdateMask}}}}, badRequest, "edits[0].put.update_mask.paths[0]", `"x"`},
		{"a mask of the id", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "rep"}), "name", "id")}, badRequest, "edits[0].put.update_mask.paths[1]", "never changes"},
		{"a mask of no element", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "rep"}), "name.first")}, badRequest, "edits[0].put.update_mask.paths[0]", "elements"},
		{"a part of what is not there", []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "new", Name: "New"}), "name")}, notFound, "edits[0].put.entity", "role:new"},
		{"a version that is over", []*remitv1.Edit{ifVersion(putOf(aRole(&remitv1.Role{Id: "rep", Name: "New"}), "name"), 7)}, conflicting, "edits[0].put.if_version", "version 1"},
		{"a deletion of a version that is over", []*remitv1.Edit{putOf(aGroup(&remitv1.Group{Id: "x", Name: "X"})), ifVersion(deletes(ofRule, "r1", ""), 3)}, conflicting, "edits[1].delete.if_version", "version 1"},
		{"made although it is there", []*remitv1.Edit{ifVersion(putOf(aRole(&remitv1.Role{Id: "rep", Name: "New", Parent: "ceo"})), 0)}, conflicting, "edits[0].put.if_version", "version 1"},
		{"no edit in an edit", []*remitv1.Edit{{}}, badRequest, "edits[0].edit", ""},
	} {
		before := r.revision()
		_, err := r.try("", tc.edits...)
		if err == nil {
			t.Errorf("%s: it is done", tc.name)
			continue
		}
		_, text, detail := detailOf(t, err)
		if detail.Reason != tc.reason || detail.Field != tc.field || !strings.Contains(text, tc.text) {
			t.Errorf("%s: %v at %q, want %v at %q with %q:\n  %s", tc.name, detail.Reason, detail.Field, tc.reason, tc.field, tc.text, text)
		}
		if r.revision() != before {
			t.Errorf("%s: something was written", tc.name)
		}
	}
}

// A store that holds no organisation, and a state before there was one, are told apart from
// one that is there.
func TestNoOrganisation(t *testing.T) {
	r := newOrgRig(t)
	plain := r.rig.store("plain")
	_, err := r.org.Change(t.Context(), &remitv1.ChangeRequest{Store: plain, Edits: []*remitv1.Edit{deletes(ofRole, "rep", "")}})
	wantReason(t, "a store of tuples", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION)
	_, err = r.org.ListEntities(t.Context(), &remitv1.ListEntitiesRequest{Store: plain, Kind: ofRole})
	wantReason(t, "a store of tuples", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION)
	_, err = r.org.GetEntity(t.Context(), &remitv1.GetEntityRequest{Store: "nowhere", Entity: &remitv1.EntityRef{Kind: ofRole, Id: "rep"}})
	wantReason(t, "no store", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
}

// Equal requests have equal digests, whatever the order of their maps, and others do not.
func TestContentOf(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, edit := range append(worldly(t), deletes(ofRole, "rep", "ceo"), deletes(ofRole, "rep", ""), putOf(aRole(&remitv1.Role{Id: "rep", Name: "Rep", Parent: "manager"}), "name"),
		ifVersion(deletes(ofRole, "rep", ""), 0), ifVersion(deletes(ofRole, "rep", ""), 1)) {
		req := &remitv1.ChangeRequest{Store: "a", Edits: []*remitv1.Edit{edit}, IdempotencyKey: "k"}
		sum := contentOf("change", req, "store", "idempotency_key")
		other := proto.CloneOf(req)
		other.Store, other.IdempotencyKey = "b", ""
		for range 3 {
			if contentOf("change", other, "store", "idempotency_key") != sum {
				t.Errorf("%v has several digests", edit)
			}
		}
		if twin, ok := seen[sum]; ok {
			t.Errorf("%v and %v have one digest", edit, twin)
		}
		seen[sum] = edit.String()
	}
}
