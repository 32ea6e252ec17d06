package rpc

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// An orgRig is a rig with an organisation in it: acme, in which ann is the super admin.
type orgRig struct {
	*rig
	org   remitv1connect.OrganisationServiceClient
	store string
}

func newOrgRig(t testing.TB, change ...func(*Config)) *orgRig {
	t.Helper()
	r := newRig(t, change...)
	o := &orgRig{rig: r, org: newOrgClient(r)}
	o.store = o.create(firstRequest("acme"))
	return o
}

func newOrgClient(r *rig) remitv1connect.OrganisationServiceClient {
	return remitv1connect.NewOrganisationServiceClient(connect.NewClient(connectinprocess.New(r.server)))
}

func firstRequest(name string) *remitv1.CreateOrganisationRequest {
	return &remitv1.CreateOrganisationRequest{
		Name: name, Id: "acme", SuperAdmin: &remitv1.Seat{Id: "ann", Name: "Ann", Login: "ann@example.org"},
		Modules: []*remitv1.Module{
			{Id: "account", Name: "Accounts"},
			{Id: "deal", Name: "Deals", Parents: []string{"account"}},
			{Id: "note", Name: "Notes", Kind: "child", Parents: []string{"account", "deal"}},
		},
		IdempotencyKey: "make " + name,
	}
}

func (r *orgRig) create(req *remitv1.CreateOrganisationRequest) string {
	r.t.Helper()
	res, err := r.org.CreateOrganisation(r.t.Context(), req)
	if err != nil {
		r.t.Fatalf("CreateOrganisation: %v", err)
	}
	return res.Store
}

// get reads an entity as an application.
func (r *orgRig) get(kind remitv1.EntityKind, id string) *remitv1.Entity {
	r.t.Helper()
	res, err := r.org.GetEntity(r.t.Context(), &remitv1.GetEntityRequest{Store: r.store, Entity: &remitv1.EntityRef{Kind: kind, Id: id}})
	if err != nil {
		r.t.Fatalf("GetEntity(%v %s): %v", kind, id, err)
	}
	return res.Entity
}

// day is one of December 2026.
func day(n int) time.Time { return time.Date(2026, 12, n, 0, 0, 0, 0, time.UTC) }

// A changer calls Change alone.
type changer struct {
	ctx context.Context //nolint:containedctx // the test's
	org remitv1connect.OrganisationServiceClient
}

func (c changer) Change(req *remitv1.ChangeRequest) error {
	_, err := c.org.Change(c.ctx, req)
	return err
}

// orgAs are the clients of who has a key.
func (g *guarded) orgAs(key string) remitv1connect.OrganisationServiceClient {
	return remitv1connect.NewOrganisationServiceClient(connect.NewClient(bearerTransport{connectinprocess.New(g.server), key}))
}

func (g *guarded) auditAs(key string) remitv1connect.AuditServiceClient {
	return remitv1connect.NewAuditServiceClient(connect.NewClient(bearerTransport{connectinprocess.New(g.server), key}))
}
