package rpc

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// For each kind of edit there is who may make it and who may not; who may not learns what
// is missing, and changes nothing.
func TestRightsToChange(t *testing.T) {
	share := func(records ...string) *remitv1.Edit {
		return &remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: records, Shares: []*remitv1.Share{{To: "user:dot", Level: toView}}}}}
	}
	transfer := func(to string, records ...string) *remitv1.Edit {
		return &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: records, To: to}}}
	}
	full := &remitv1.Permissions{Permissions: []string{"view", "create", "edit", "delete", "share", "transfer"}}
	for _, tc := range []struct {
		name    string
		edit    *remitv1.Edit
		may     string
		mayNot  []string
		missing string // in the words of the refusal
	}{
		{"make a role", putOf(aRole(&remitv1.Role{Id: "vp", Name: "VP", Parent: "ceo"})), "roles", []string{"users", "bob", "dot"}, "manage_roles"},
		{"move a role", putOf(aRole(&remitv1.Role{Id: "rep", Parent: "agent"}), "parent"), "roles", []string{"users", "cid"}, "manage_roles"},
		{"delete a role", deletes(ofRole, "rep", "manager"), "roles", []string{"groups", "bob"}, "manage_roles"},
		{"move all holders", &remitv1.Edit{Edit: &remitv1.Edit_MoveHolders{MoveHolders: &remitv1.MoveHolders{From: &remitv1.EntityRef{Kind: ofRole, Id: "manager"}, To: "agent"}}}, "users", []string{"bob", "groups"}, "manage_users"},
		{"change the hierarchy", putOf(aSettings(&remitv1.Settings{NonReportingByRole: true}), "non_reporting_by_role"), "roles", []string{"users", "bob"}, "manage_roles"},
		{"make a user", putOf(aSeat(&remitv1.Seat{Id: "new", Name: "New", Role: "rep", Profiles: []string{"standard"}})), "users", []string{"roles", "bob"}, "manage_users"},
		{"suspend a user", putOf(aSeat(&remitv1.Seat{Id: "dot", Suspended: true}), "suspended"), "users", []string{"profiles", "dot"}, "manage_users"},
		{"make an administrator", putOf(aSeat(&remitv1.Seat{Id: "dot", Profiles: []string{"administrator"}}), "profiles"), "ann", []string{"users"}, "administrator"},
		{"change the super admin's seat", putOf(aSeat(&remitv1.Seat{Id: "ann", Name: "Anna"}), "name"), "ann", []string{"users"}, "super admin"},
		{"give somebody a profile that says more", putOf(aSeat(&remitv1.Seat{Id: "dot", Profiles: []string{"standard", "roles"}}), "profiles"), "ann", []string{"users", "roles"}, "manage_"},
		{"take the root role", putOf(aSeat(&remitv1.Seat{Id: "users", Role: "ceo"}), "role"), "ann", []string{"users"}, "own seat"},
		{"put somebody into the root role", putOf(aSeat(&remitv1.Seat{Id: "dot", Role: "ceo"}), "role"), "ann", []string{"users"}, "root role"},
		{"sit on a seat that may do more", putOf(aSeat(&remitv1.Seat{Id: "profiles", Login: "me"}), "login"), "ann", []string{"users"}, "manage_profiles"},
		{"add to a profile of one's own", putOf(aProfile(&remitv1.Profile{Id: "profiles", Tools: []string{"export"}}), "tools"), "ann", []string{"profiles"}, "of their own"},
		{"hand over to another super admin", putOf(aSettings(&remitv1.Settings{SuperAdmin: "bob"}), "super_admin"), "ann", []string{"users", "bob"}, "super admin"},
		{"make a profile", putOf(aProfile(&remitv1.Profile{Id: "new", Name: "New"})), "profiles", []string{"users", "bob"}, "manage_profiles"},
		{"grant a permission", putOf(aProfile(&remitv1.Profile{Id: "standard", Tools: []string{"export"}}), "tools"), "profiles", []string{"users", "bob"}, "manage_profiles"},
		{"make a module", putOf(aModule(&remitv1.Module{Id: "lead", Name: "Leads"})), "modules", []string{"profiles", "bob"}, "manage_modules"},
		{"change a default", putOf(aModule(&remitv1.Module{Id: "deal", Default: toView}), "default"), "data_sharing", []string{"modules", "bob"}, "manage_data_sharing"},
		{"restrict a field", putOf(aField(&remitv1.Field{Module: "deal", Id: "iban"}), "levels"), "modules", []string{"data_sharing", "cid"}, "manage_modules"},
		{"make a group", putOf(aGroup(&remitv1.Group{Id: "new", Name: "New"})), "groups", []string{"users", "bob"}, "manage_groups"},
		{"make a team", putOf(aTeam(&remitv1.Team{Id: "new", Name: "New", Managers: []string{"dot"}})), "groups", []string{"roles", "dot"}, "manage_groups"},
		{"make a rule", putOf(aRule(&remitv1.SharingRule{Id: "new", Name: "New", Module: "deal", Source: "role:rep", Target: "everyone", Level: toView})), "data_sharing", []string{"groups", "bob"}, "manage_data_sharing"},
		{"disable a rule", putOf(aRule(&remitv1.SharingRule{Id: "r1", Disabled: true}), "disabled"), "data_sharing", []string{"groups", "bob"}, "manage_data_sharing"},
		{"change a shift", putOf(aShift(&remitv1.Shift{Id: "early", Hours: &remitv1.Hours{Zone: "UTC", Days: map[string]string{"friday": "08:00-12:00"}}}), "hours"), "shifts", []string{"users", "fay"}, "manage_shifts"},
		{"give somebody leave", putOf(aSeat(&remitv1.Seat{Id: "fay"}), "leave"), "shifts", []string{"users", "fay"}, "manage_shifts"},
		{"set business hours", putOf(aSettings(&remitv1.Settings{BusinessHours: &remitv1.BusinessHours{Days: map[string]string{"monday": "08:00-20:00", "tuesday": "08:00-20:00"}}}), "business_hours"), "shifts", []string{"roles", "bob"}, "manage_shifts"},
		{"make a record", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "new", Owner: "dot"})), "dot", []string{"users", "groups"}, "create"},
		{"edit a record", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(t, map[string]any{"amount": 7.0})}), "fields.amount"), "cid", []string{"dot"}, "edit"},
		{"edit what was shared to edit", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(t, map[string]any{"amount": 8.0})}), "fields.amount"), "fay", []string{"eve", "dot"}, ""},
		{"edit a hidden field", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(t, map[string]any{"iban": "DE1"})}), "fields.iban"), "ann", []string{"cid", "bob"}, "iban"},
		{"delete a record", deletes(ofRecord, "deal:d1", ""), "bob", []string{"fay", "dot"}, "delete"},
		{"mark a record secret", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Confidentiality: remitv1.Confidentiality_CONFIDENTIALITY_SECRET}), "confidentiality"), "cid", []string{"bob", "fay"}, "owner"},
		{"add a note", putOf(aRecord(&remitv1.Record{Module: "note", Id: "new", Owner: "dot", Parents: []string{"deal:d1"}})), "dot", []string{"users"}, ""},
		{"share a record", share("deal:d1"), "ann", []string{"cid", "bob", "fay"}, "share"},
		{"transfer a record", transfer("dot", "deal:d1"), "ann", []string{"cid", "bob", "fay"}, "transfer"},
		{"transfer all of somebody's", &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{OwnedBy: "cid", To: "bob"}}}, "users", []string{"dot", "groups"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newWorld(t)
			for _, as := range tc.mayNot {
				before := r.revision()
				_, err := r.try(as, tc.edit)
				text := wantForbidden(t, as, err)
				if !strings.Contains(text, tc.missing) {
					t.Errorf("%s is refused with %q, want a word of %q", as, text, tc.missing)
				}
				if after := r.revision(); after != before {
					t.Errorf("the revision after the refusal of %s is %d, was %d", as, after, before)
				}
			}
			if _, err := r.try(tc.may, tc.edit); err != nil {
				t.Errorf("%s may not: %v", tc.may, err)
			}
		})
	}

	t.Run("what is not seen is not told from what is not there", func(t *testing.T) {
		r := newWorld(t)
		texts := map[string][]string{}
		for _, id := range []string{"d1", "d9"} { // there is no d9
			for i, edit := range []*remitv1.Edit{
				putOf(aRecord(&remitv1.Record{Module: "deal", Id: id, Owner: "users"}), "owner"), ifVersion(deletes(ofRecord, "deal:"+id, ""), 5),
				deletes(ofRecord, "deal:"+id, ""), share("deal:" + id), transfer("users", "deal:"+id),
				{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: []string{"deal:" + id}}}},
			} {
				_, err := r.try("users", edit)
				text := wantForbidden(t, fmt.Sprint(id, " ", i), err)
				texts[id] = append(texts[id], strings.ReplaceAll(text, id, "it"))
			}
		}
		if !slices.Equal(texts["d1"], texts["d9"]) {
			t.Errorf("of a deal that it may not see, a seat learns\n%q\nand of none\n%q", texts["d1"], texts["d9"])
		}
	})

	t.Run("who may edit cannot take the rest", func(t *testing.T) {
		r := newWorld(t)
		r.change("ann", putOf(aProfile(&remitv1.Profile{Id: "standard", Modules: map[string]*remitv1.Permissions{"account": full, "deal": full}}), "modules.account", "modules.deal"))
		// An account of fay's, who may edit the deal, that gives all of what is below it.
		r.change("fay", putOf(aRecord(&remitv1.Record{
			Module: "account", Id: "own", Owner: "fay", Shares: []*remitv1.Share{{To: "role:agent", Level: remitv1.Level_LEVEL_FULL, Related: true}},
		})))
		below := putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Parents: []string{"account:own"}}), "parents")
		_, err := r.try("fay", below)
		if text := wantForbidden(t, "fay", err); !strings.Contains(text, "full access") {
			t.Errorf("fay is refused with %q", text)
		}
		if r.check(scopeOf(r.store), "deal:d1#can_delete@user:fay") {
			t.Error("fay, with whom the deal is shared to edit, may delete it")
		}
		r.change("ann", below)
		if !r.check(scopeOf(r.store), "deal:d1#can_delete@user:fay") {
			t.Error("what the account gives is not given below it")
		}
	})

	t.Run("permissions count with records", func(t *testing.T) {
		r := newWorld(t)
		if _, err := r.try("cid", share("deal:d1")); err == nil {
			t.Error("cid shares without the permission")
		}
		r.change("ann", putOf(aProfile(&remitv1.Profile{Id: "standard", Modules: map[string]*remitv1.Permissions{"deal": full}}), "modules.deal"))
		r.change("cid", share("deal:d1"))
		shares := r.get(ofRecord, "deal:d1").GetRecord().Shares
		if i := slices.IndexFunc(shares, func(s *remitv1.Share) bool { return s.To == "user:dot" }); i < 0 || shares[i].GrantedBy != "cid" {
			t.Errorf("the shares are %v", shares)
		}
		if _, err := r.try("fay", &remitv1.Edit{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: []string{"deal:d1"}}}}); err == nil {
			t.Error("fay, who may edit, ends the shares")
		}
	})
}

// Who acts is a seat that is there and active; or the application, if it administers.
func TestWhoActs(t *testing.T) {
	g := newGuarded(t, nil)
	r := &orgRig{rig: g.rig}
	r.org = g.orgAs(testRoot)
	r.store = r.create(firstRequest("acme"))
	r.change("", worldly(t)...)
	rename := func(n int) *remitv1.ChangeRequest {
		return &remitv1.ChangeRequest{Store: r.store, Edits: []*remitv1.Edit{putOf(aGroup(&remitv1.Group{Id: "emea", Name: fmt.Sprint("EMEA ", n)}), "name")}}
	}
	as := func(req *remitv1.ChangeRequest, seat string) *remitv1.ChangeRequest {
		req.As = seat
		return req
	}
	writer, reader := g.orgAs(g.key("writer", onStore(r.store, toWrite))), g.orgAs(g.key("reader", onStore(r.store, toRead)))
	admin, other := g.orgAs(g.key("admin", onStore(r.store, toAdminister))), g.orgAs(g.key("other", onStore(g.store("other"), toAdminister)))
	ctx := t.Context()
	for i, tc := range []struct {
		name string
		org  interface {
			Change(req *remitv1.ChangeRequest) error
		}
		seat    string
		code    connect.Code // 0: it is done
		missing string
	}{
		{"the application, with admin", changer{ctx, admin}, "", 0, ""},
		{"for a seat, with write", changer{ctx, writer}, "groups", 0, ""},
		{"for a seat, with admin: the seat decides", changer{ctx, admin}, "dot", connect.CodePermissionDenied, "manage_groups"},
		{"the application, with write", changer{ctx, writer}, "", connect.CodePermissionDenied, "admin"},
		{"with read", changer{ctx, reader}, "groups", connect.CodePermissionDenied, "write"},
		{"of another store", changer{ctx, other}, "groups", connect.CodePermissionDenied, ""},
		{"a seat that is suspended", changer{ctx, writer}, "eve", connect.CodePermissionDenied, "suspended"},
		{"a seat that is not there", changer{ctx, writer}, "nobody", connect.CodeNotFound, "nobody"},
		{"a seat of no possible name", changer{ctx, writer}, "no#body", connect.CodeInvalidArgument, ""},
	} {
		before := r.revision()
		err := tc.org.Change(as(rename(i), tc.seat))
		if tc.code == 0 {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: it is done", tc.name)
			continue
		}
		if code, text, _ := detailOf(t, err); code != tc.code || !strings.Contains(text, tc.missing) {
			t.Errorf("%s: %v %q, want %v and a word of %q", tc.name, code, text, tc.code, tc.missing)
		}
		if after := r.revision(); after != before {
			t.Errorf("%s: the revision is %d, was %d", tc.name, after, before)
		}
	}

	// The change is recorded with the seat as who acted, and the key as who called.
	audit, err := g.auditAs(testRoot).ListChanges(ctx, &remitv1.ListChangesRequest{Store: r.store, NewestFirst: true, PageSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(audit.Changes, func(c *remitv1.AuditChange) bool { return c.Principal == "key:writer" && c.Actor == "user:groups" }) {
		t.Errorf("no change of key:writer for user:groups is recorded, but %v", audit.Changes)
	}

	// Reading takes read, and making an organisation the whole cluster.
	if _, err := writer.GetEntity(ctx, &remitv1.GetEntityRequest{Store: r.store, Entity: &remitv1.EntityRef{Kind: ofSeat, Id: "ann"}}); err == nil {
		t.Error("who may write may read")
	}
	if _, err := reader.GetEntity(ctx, &remitv1.GetEntityRequest{Store: r.store, Entity: &remitv1.EntityRef{Kind: ofSeat, Id: "ann"}}); err != nil {
		t.Error(err)
	}
	_, err = admin.CreateOrganisation(ctx, firstRequest("another"))
	wantForbidden(t, "CreateOrganisation", err)
}
