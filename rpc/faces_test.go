package rpc

import (
	"slices"
	"testing"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Both faces show one state: what a client writes through one of them, a client of the
// other reads at once.
func TestFacesSeeEachOthersWrites(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	fga := openfgav1.NewOpenFGAServiceClient(dial(t, s.GRPCAddr()))
	ctx := t.Context()

	// From remit.v1 to OpenFGA's: a store, a model, tuples with a condition and an expiry.
	store := r.store("acme", "document:plan#owner@user:anna")
	in := tuple(t, "document:plan#viewer@user:bob")
	in.Condition = &remitv1.Condition{Name: "in_region"}
	until := tuple(t, "document:plan#viewer@user:carl")
	until.ExpiresAt = timestamppb.New(time.Now().Add(time.Hour))
	_, err := r.tuples.Write(ctx, &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		{Kind: remitv1.Operation_KIND_CREATE, Tuple: in}, {Kind: remitv1.Operation_KIND_CREATE, Tuple: until},
	}})
	if err != nil {
		t.Fatal(err)
	}
	named, err := fga.GetStore(ctx, &openfgav1.GetStoreRequest{StoreId: store})
	if err != nil || named.Name != "acme" {
		t.Errorf("GetStore(%s) = %v, %v", store, named, err)
	}
	models, err := fga.ReadAuthorizationModels(ctx, &openfgav1.ReadAuthorizationModelsRequest{StoreId: store})
	if err != nil || len(models.AuthorizationModels) != 1 || len(models.AuthorizationModels[0].TypeDefinitions) != 4 {
		t.Errorf("ReadAuthorizationModels = %v, %v", models, err)
	}
	read := func() []string {
		t.Helper()
		res, err := fga.Read(ctx, &openfgav1.ReadRequest{StoreId: store})
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, tuple := range res.Tuples {
			texts = append(texts, tuple.Key.Relation+"@"+tuple.Key.User+" "+tuple.Key.Condition.GetName())
		}
		slices.Sort(texts)
		return texts
	}
	if got, want := read(), []string{"owner@user:anna ", "viewer@user:bob in_region", "viewer@user:carl "}; !slices.Equal(got, want) {
		t.Errorf("OpenFGA's face reads %q, want %q", got, want)
	}

	// And back: a tuple and a delete, a model, a store.
	_, err = fga.Write(ctx, &openfgav1.WriteRequest{
		StoreId: store,
		Deletes: &openfgav1.WriteRequestDeletes{TupleKeys: []*openfgav1.TupleKeyWithoutCondition{{Object: "document:plan", Relation: "viewer", User: "user:carl"}}},
		Writes:  &openfgav1.WriteRequestWrites{TupleKeys: []*openfgav1.TupleKey{{Object: "document:plan", Relation: "banned", User: "user:anna"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := read(), []string{"banned@user:anna ", "owner@user:anna ", "viewer@user:bob in_region"}; !slices.Equal(got, want) {
		t.Errorf("OpenFGA's face reads %q, want %q", got, want)
	}
	if r.check(scopeOf(store), "document:plan#reader@user:anna") || r.check(scopeOf(store), "document:plan#viewer@user:carl") {
		t.Error("remit.v1 does not see what OpenFGA's face banned and deleted")
	}
	model, err := fga.WriteAuthorizationModel(ctx, &openfgav1.WriteAuthorizationModelRequest{
		StoreId: store, SchemaVersion: "1.1", TypeDefinitions: []*openfgav1.TypeDefinition{{Type: "user"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if newest, err := r.models.GetModel(ctx, &remitv1.GetModelRequest{Store: store}); err != nil || newest.Model.Id != model.AuthorizationModelId {
		t.Errorf("GetModel = %v, %v, want %s", newest, err, model.AuthorizationModelId)
	}
	made, err := fga.CreateStore(ctx, &openfgav1.CreateStoreRequest{Name: "made over there"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.stores.GetStore(ctx, &remitv1.GetStoreRequest{Store: "made over there"}); err != nil || got.Store.Id != made.Id {
		t.Errorf("GetStore(made over there) = %v, %v, want %s", got, err, made.Id)
	}
}
