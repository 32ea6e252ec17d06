package client_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func TestEveryServiceHasAClient(t *testing.T) {
	fields := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[client.Client]()) {
		if f.IsExported() {
			fields[f.Type.Name()] = true
		}
	}
	for _, file := range []protoreflect.FileDescriptor{
		remitv1.File_remit_v1_access_proto, remitv1.File_remit_v1_audit_proto, remitv1.File_remit_v1_backup_proto,
		remitv1.File_remit_v1_cluster_proto, remitv1.File_remit_v1_erase_proto, remitv1.File_remit_v1_identity_proto,
		remitv1.File_remit_v1_model_proto, remitv1.File_remit_v1_node_proto, remitv1.File_remit_v1_organisation_proto,
		remitv1.File_remit_v1_store_proto, remitv1.File_remit_v1_transfer_proto, remitv1.File_remit_v1_tuple_proto,
		remitv1.File_remit_v1_watch_proto,
	} {
		if file.Services().Len() == 0 {
			t.Errorf("%s has no service", file.Path())
		}
		for i := range file.Services().Len() {
			if name := string(file.Services().Get(i).Name()); !fields[name+"Client"] {
				t.Errorf("a Client has no %s", name)
			}
		}
	}
}

// office makes an organisation whose super admin, ann, owns three deals.
func (r *rig) office(c *client.Client) (store string) {
	r.t.Helper()
	made, err := c.Organisations.CreateOrganisation(r.t.Context(), &remitv1.CreateOrganisationRequest{
		Name: "office", Id: "office", SuperAdmin: &remitv1.Seat{Id: "ann", Name: "Ann", Login: "ann@example.org"},
		Modules: []*remitv1.Module{{Id: "deal", Name: "Deals"}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	edits := []*remitv1.Edit{put(&remitv1.Entity{Entity: &remitv1.Entity_Seat{Seat: &remitv1.Seat{
		Id: "bob", Name: "Bob", Login: "bob@example.org", Role: "manager", Profiles: []string{"standard"},
	}}})}
	for i := range 3 {
		edits = append(edits, putDeal(i, 1))
	}
	if _, err := c.Organisations.Change(r.t.Context(), &remitv1.ChangeRequest{Store: made.GetStore(), Edits: edits}); err != nil {
		r.t.Fatal(err)
	}
	return made.GetStore()
}

func put(entity *remitv1.Entity) *remitv1.Edit {
	return &remitv1.Edit{Edit: &remitv1.Edit_Put{Put: &remitv1.Put{Entity: entity}}}
}

func putDeal(i int, amount float64) *remitv1.Edit {
	return put(&remitv1.Entity{Entity: &remitv1.Entity_Record{Record: &remitv1.Record{
		Module: "deal", Id: fmt.Sprint(i), Owner: "ann",
		Fields: &structpb.Struct{Fields: map[string]*structpb.Value{"amount": structpb.NewNumberValue(amount)}},
	}}})
}

func TestAnOrganisationIsMadeAndChangedOnce(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	relay := newRelay(t, addr)
	relay.lose.Store(3)
	c := r.client(relay.addr())
	store := r.office(c)
	if n := relay.lost.Load(); n != 3 {
		t.Fatalf("the relay lost %d answers, want 3", n)
	}
	scope := &remitv1.OrganisationScope{Store: store}
	for user, want := range map[string]bool{"ann": true, "bob": false} {
		res, err := c.Organisations.Can(t.Context(), &remitv1.CanRequest{Scope: scope, Deed: &remitv1.Deed{User: user, Action: "edit", On: "deal:1"}})
		if err != nil || res.GetAllowed() != want {
			t.Errorf("%s may edit the deal: %t, %v, want %t", user, res.GetAllowed(), err, want)
		}
	}
	var records, users, seats []string
	for id, err := range c.Records(t.Context(), &remitv1.ListRecordsRequest{Scope: scope, User: "ann", Module: "deal", PageSize: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, id)
	}
	for id, err := range c.UsersWithAccess(t.Context(), &remitv1.ListUsersWithAccessRequest{Scope: scope, Record: "deal:1", PageSize: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, id)
	}
	for entity, err := range c.Entities(t.Context(), &remitv1.ListEntitiesRequest{Store: store, Kind: remitv1.EntityKind_ENTITY_KIND_SEAT, PageSize: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		seats = append(seats, entity.GetSeat().GetId())
	}
	slices.Sort(records)
	if got := strings.Join(slices.Concat(records, users, seats), " "); got != "0 1 2 ann ann bob" {
		t.Errorf("records, users and seats are %q", got)
	}
}

func TestOwnersMissNothingWhenTheirConnectionBreaks(t *testing.T) {
	r := newRig(t)
	addr, _ := r.serve()
	relay := newRelay(t, addr)
	writer := r.client(addr)
	store := r.office(writer)
	const changes = 20
	got := 0
	for message, err := range r.client(relay.addr()).OwnerNotices(t.Context(), &remitv1.WatchOwnedRequest{Store: store, User: "ann"}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range message.GetNotices() {
			if n.GetKind() != remitv1.OwnerNotice_KIND_CHANGED || n.GetRecord() != fmt.Sprint("deal:", got%3) {
				t.Fatalf("notice %d is %v: something is missing or came twice", got, n)
			}
			got++
		}
		if got == changes {
			break
		}
		if len(message.GetNotices()) > 0 || got == 0 {
			relay.cut()
			if _, err := writer.Organisations.Change(t.Context(), &remitv1.ChangeRequest{Store: store, Edits: []*remitv1.Edit{putDeal(got%3, float64(2+got))}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got != changes {
		t.Errorf("%d notices, want %d", got, changes)
	}
}
