package rpc

import (
	"context"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

const (
	ofSettings = remitv1.EntityKind_ENTITY_KIND_SETTINGS
	ofSeat     = remitv1.EntityKind_ENTITY_KIND_SEAT
	ofRole     = remitv1.EntityKind_ENTITY_KIND_ROLE
	ofProfile  = remitv1.EntityKind_ENTITY_KIND_PROFILE
	ofModule   = remitv1.EntityKind_ENTITY_KIND_MODULE
	ofField    = remitv1.EntityKind_ENTITY_KIND_FIELD
	ofGroup    = remitv1.EntityKind_ENTITY_KIND_GROUP
	ofTeam     = remitv1.EntityKind_ENTITY_KIND_TEAM
	ofRule     = remitv1.EntityKind_ENTITY_KIND_RULE
	ofShift    = remitv1.EntityKind_ENTITY_KIND_SHIFT
	ofRecord   = remitv1.EntityKind_ENTITY_KIND_RECORD
)

// A new organisation has what everything else begins from.
func TestCreateOrganisation(t *testing.T) {
	r := newOrgRig(t)
	every := []string{"view", "create", "edit", "delete"}
	all := append(every[:4:4], "share", "transfer", "view_all")
	modules := func(names []string) map[string]*remitv1.Permissions {
		p := &remitv1.Permissions{Permissions: names}
		return map[string]*remitv1.Permissions{"account": p, "deal": p, "note": p}
	}
	for _, tc := range []struct {
		kind remitv1.EntityKind
		id   string
		want *remitv1.Entity
	}{
		{ofSettings, "", &remitv1.Entity{Entity: &remitv1.Entity_Settings{Settings: &remitv1.Settings{
			Id: "acme", Name: "acme", SuperAdmin: "ann", Hierarchy: remitv1.Hierarchy_HIERARCHY_BY_ROLE,
			AssignScope: remitv1.AssignScope_ASSIGN_SCOPE_ANYONE,
		}}}},
		{ofSeat, "ann", &remitv1.Entity{Entity: &remitv1.Entity_Seat{Seat: &remitv1.Seat{
			Id: "ann", Name: "Ann", Login: "ann@example.org", Role: "ceo", Profiles: []string{"administrator"},
		}}}},
		{ofRole, "manager", &remitv1.Entity{Entity: &remitv1.Entity_Role{Role: &remitv1.Role{
			Id: "manager", Name: "Manager", Parent: "ceo", Peers: remitv1.Level_LEVEL_NONE,
		}}}},
		{ofProfile, "standard", &remitv1.Entity{Entity: &remitv1.Entity_Profile{Profile: &remitv1.Profile{
			Id: "standard", Name: "Standard", Modules: modules(every),
		}}}},
		{ofProfile, "administrator", &remitv1.Entity{Entity: &remitv1.Entity_Profile{Profile: &remitv1.Profile{
			Id: "administrator", Name: "Administrator", Administrator: true, Modules: modules(all),
			Tools: []string{"export", "import", "mass_delete", "mass_email", "mass_transfer", "mass_update", "print"},
			Setup: []string{"manage_data_sharing", "manage_groups", "manage_modules", "manage_profiles", "manage_roles", "manage_shifts", "manage_users"},
		}}}},
		{ofModule, "note", &remitv1.Entity{Entity: &remitv1.Entity_Module{Module: &remitv1.Module{
			Id: "note", Name: "Notes", Kind: "child", Parents: []string{"account", "deal"}, Default: remitv1.Level_LEVEL_NONE,
		}}}},
	} {
		tc.want.Version = 1
		if diff := cmp.Diff(tc.want, r.get(tc.kind, tc.id), protocmp.Transform()); diff != "" {
			t.Errorf("%v %s:\n%s", tc.kind, tc.id, diff)
		}
	}
	if !r.check(scopeOf(r.store), "module:deal#can_create@user:ann") {
		t.Error("the super admin may not make deals")
	}
}

// What is made twice under one key is made once, whatever became of it since.
func TestCreateOrganisationAgain(t *testing.T) {
	r := newOrgRig(t)
	r.change("", putOf(aModule(&remitv1.Module{Id: "case", Name: "Cases"})), putOf(aProfile(&remitv1.Profile{
		Id: "standard", Name: "Standard", Modules: map[string]*remitv1.Permissions{"case": {Permissions: []string{"view", "create"}}},
	})), putOf(aSeat(&remitv1.Seat{Id: "bob", Name: "Bob", Role: "manager", Profiles: []string{"standard"}})))
	before := r.revision()
	again, err := r.org.CreateOrganisation(t.Context(), firstRequest("acme"))
	if err != nil || again.Store != r.store {
		t.Fatalf("the same request made %v, %v, want %s", again, err, r.store)
	}
	if !r.check(scopeOf(r.store), "module:case#can_create@user:bob") {
		t.Errorf("what came later is gone; the revision is %d, was %d", r.revision(), before)
	}
	if models, err := r.models.ListModels(t.Context(), &remitv1.ListModelsRequest{Store: r.store}); err != nil || len(models.Models) != 2 {
		t.Errorf("the models are %v, %v", models, err)
	}
	other := firstRequest("acme")
	other.SuperAdmin.Name = "Anna"
	_, err = r.org.CreateOrganisation(t.Context(), other)
	wantReason(t, "other content under the key", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT)
}

// A cutNode lets some proposals through, and then none.
type cutNode struct {
	backend.Node
	cut   atomic.Bool
	after atomic.Int64 // so many
	lost  atomic.Bool  // the last of them is carried out, and nobody learns of it
}

func (n *cutNode) Propose(ctx context.Context, command []byte) ([]byte, error) {
	if !n.cut.Load() {
		return n.Node.Propose(ctx, command)
	}
	left := n.after.Add(-1)
	if left < 0 {
		return nil, cluster.ErrShuttingDown
	}
	answer, err := n.Node.Propose(ctx, command)
	if left == 0 && n.lost.Load() {
		n.after.Store(0)
		return nil, cluster.ErrShuttingDown
	}
	return answer, err
}

// An organisation that is cut off while it is made, after whichever step and whether or not
// the answer to it arrived, is made to its end by whoever repeats the request.
func TestCreateOrganisationGoesOn(t *testing.T) {
	for _, lost := range []bool{false, true} {
		for after := range int64(4) {
			node := &cutNode{}
			r := &orgRig{rig: newRig(t, func(c *Config) { node.Node, c.Node = c.Node, node })}
			r.org = newOrgClient(r.rig)
			node.after.Store(after)
			node.lost.Store(lost)
			node.cut.Store(true)
			_, err := r.org.CreateOrganisation(t.Context(), firstRequest("acme"))
			if (err == nil) != (after == 3 && !lost) {
				t.Errorf("cut after %d (lost %v): %v", after, lost, err)
			}
			node.cut.Store(false)
			stores, err := r.stores.ListStores(t.Context(), &remitv1.ListStoresRequest{})
			if err != nil || len(stores.Stores) != int(min(after, 1)) {
				t.Fatalf("cut after %d (lost %v) there are %v, %v", after, lost, stores, err)
			}
			if after == 1 || after == 2 {
				r.store = stores.Stores[0].Id
				_, err := r.org.GetEntity(t.Context(), &remitv1.GetEntityRequest{Store: r.store, Entity: &remitv1.EntityRef{Kind: ofSettings}})
				wantReason(t, "half an organisation", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION)
				_, err = r.try("", deletes(ofRole, "manager", "ceo"))
				wantReason(t, "half an organisation", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION)
			}
			made := r.create(firstRequest("acme"))
			if after > 0 && made != stores.Stores[0].Id {
				t.Errorf("cut after %d (lost %v), another store was made", after, lost)
			}
			r.store = made
			if s := r.get(ofSettings, ""); s.Version != 1 || s.GetSettings().SuperAdmin != "ann" {
				t.Errorf("cut after %d (lost %v): %v", after, lost, s)
			}
			if !r.check(scopeOf(r.store), "module:deal#can_create@user:ann") {
				t.Errorf("cut after %d (lost %v), the super admin may not make deals", after, lost)
			}
			r.change("", worldly(t)...)
		}
	}
}

func TestCreateOrganisationRefuses(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		name   string
		change func(*remitv1.CreateOrganisationRequest)
		code   connect.Code
		field  string
	}{
		{"a name like an id", func(q *remitv1.CreateOrganisationRequest) { q.Name = otherStore }, connect.CodeInvalidArgument, "name"},
		{"a seat without a name", func(q *remitv1.CreateOrganisationRequest) { q.SuperAdmin.Name = "" }, connect.CodeInvalidArgument, "super_admin"},
		{"a role that is not there", func(q *remitv1.CreateOrganisationRequest) { q.SuperAdmin.Role = "rep" }, connect.CodeInvalidArgument, "super_admin"},
		{"no super admin", func(q *remitv1.CreateOrganisationRequest) { q.SuperAdmin = nil }, connect.CodeInvalidArgument, "super_admin"},
		{"a super admin who may do nothing", func(q *remitv1.CreateOrganisationRequest) { q.SuperAdmin.Suspended = true }, connect.CodeInvalidArgument, "super_admin"},
		{"an id that is none", func(q *remitv1.CreateOrganisationRequest) { q.Id = "a b" }, connect.CodeInvalidArgument, "id"},
		{"a name between spaces", func(q *remitv1.CreateOrganisationRequest) { q.Name = " acme " }, connect.CodeInvalidArgument, "name"},
		{"a reserved module", func(q *remitv1.CreateOrganisationRequest) { q.Modules[1].Id = "role" }, connect.CodeInvalidArgument, "modules[1]"},
		{"two modules of one name", func(q *remitv1.CreateOrganisationRequest) { q.Modules[1].Name = "ACCOUNTS" }, connect.CodeInvalidArgument, "modules[1]"},
		{"a kind that there is not", func(q *remitv1.CreateOrganisationRequest) { q.Modules[2].Kind = "notes" }, connect.CodeInvalidArgument, "modules[2]"},
	} {
		req := proto.CloneOf(firstRequest("acme"))
		tc.change(req)
		_, err := newOrgClient(r).CreateOrganisation(t.Context(), req)
		code, text, detail := detailOf(t, err)
		if code != tc.code || detail.Field != tc.field {
			t.Errorf("%s: %v at %q (%s), want %v at %q", tc.name, code, detail.Field, text, tc.code, tc.field)
		}
	}
	if stores, err := r.stores.ListStores(t.Context(), &remitv1.ListStoresRequest{}); err != nil || len(stores.Stores) > 0 {
		t.Errorf("there are stores: %v, %v", stores, err)
	}
}
