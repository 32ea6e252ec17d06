package rpc

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func TestStoresComeAndGo(t *testing.T) {
	r := newRig(t)
	var ids []string
	for i := range 7 {
		name := "store" + strconv.Itoa(i%2)
		res, err := r.stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if res.Store.Name != name || res.Store.CreatedAt == nil || res.Token == "" {
			t.Errorf("CreateStore = %v", res)
		}
		got, err := r.stores.GetStore(t.Context(), &remitv1.GetStoreRequest{Store: res.Store.Id})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(res.Store, got.Store, protocmp.Transform()); diff != "" {
			t.Errorf("GetStore (-made +got):\n%s", diff)
		}
		ids = append(ids, res.Store.Id)
	}
	slices.Sort(ids)
	list := func(name string, size int32) (all []string) {
		req := &remitv1.ListStoresRequest{Name: name, PageSize: size}
		for {
			res, err := r.stores.ListStores(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range res.Stores {
				all = append(all, s.Id)
			}
			if req.Cursor = res.Cursor; req.Cursor == "" {
				return all
			}
		}
	}
	for _, size := range []int32{0, 1, 3, 7} {
		if diff := cmp.Diff(ids, list("", size)); diff != "" {
			t.Errorf("ListStores in pages of %d (-want +got):\n%s", size, diff)
		}
		if got := len(list("store0", size)); got != 4 {
			t.Errorf("ListStores of one name in pages of %d: %d, want 4", size, got)
		}
	}
	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: ids[3]}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(slices.Delete(slices.Clone(ids), 3, 4), list("", 2)); diff != "" {
		t.Errorf("ListStores after a deletion (-want +got):\n%s", diff)
	}
}

func TestModelsHaveVersions(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	same, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl("# says the same\n" + testModel)})
	if err != nil || same.Created {
		t.Errorf("WriteModel of the newest = %v, %v, want no version", same, err)
	}
	second := strings.Replace(testModel, "viewer but not banned", "viewer", 1)
	made, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(second)})
	if err != nil || !made.Created || made.ModelId == same.ModelId {
		t.Fatalf("WriteModel = %v, %v", made, err)
	}
	newest, err := r.models.GetModel(t.Context(), &remitv1.GetModelRequest{Store: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	if m := newest.Model; m.Id != made.ModelId || m.Schema != "1.1" || m.CreatedAt == nil || !strings.Contains(m.Dsl, "define reader: viewer") || !strings.Contains(m.Json, `"reader"`) {
		t.Errorf("GetModel = %v", m)
	}
	// What is shown can be written again, in both forms.
	for _, source := range []*remitv1.ModelSource{dsl(newest.Model.Dsl), {Source: &remitv1.ModelSource_Json{Json: newest.Model.Json}}} {
		again, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: source})
		if err != nil || again.Created {
			t.Errorf("WriteModel of what GetModel shows = %v, %v", again, err)
		}
	}
	var listed []string
	req := &remitv1.ListModelsRequest{Store: store, PageSize: 1}
	for {
		res, err := r.models.ListModels(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range res.Models {
			listed = append(listed, m.Id)
			if m.Dsl != "" || m.Json != "" || m.Schema != "1.1" {
				t.Errorf("ListModels shows %v", m)
			}
		}
		if req.Cursor = res.Cursor; req.Cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{made.ModelId, same.ModelId}, listed); diff != "" {
		t.Errorf("ListModels (-want +got):\n%s", diff)
	}
	for name, req := range map[string]*remitv1.DiffModelsRequest{
		"stored": {Store: store, FromModelId: same.ModelId, To: &remitv1.DiffModelsRequest_ToModelId{ToModelId: made.ModelId}},
		"source": {Store: store, FromModelId: same.ModelId, To: &remitv1.DiffModelsRequest_ToSource{ToSource: dsl(second)}},
	} {
		res, err := r.models.DiffModels(t.Context(), req)
		if err != nil || len(res.Changes) != 1 || res.Changes[0].Subject != "document#reader" || res.Changes[0].Kind != remitv1.ModelChange_KIND_CHANGED {
			t.Errorf("DiffModels with a %s model = %v, %v", name, res, err)
		}
	}
}

func TestValidationTellsEveryFault(t *testing.T) {
	r := newRig(t)
	res, err := r.models.ValidateModel(t.Context(), &remitv1.ValidateModelRequest{Source: dsl(`model
  schema 1.1
type user
type document
  relations
    define viewer: [usr]
    define editor: wirter
`)})
	if err != nil || len(res.Faults) != 2 || res.Faults[0].Line != 6 || res.Faults[1].Line != 7 || res.Faults[0].Column == 0 || res.Faults[0].Relation != "viewer" {
		t.Errorf("ValidateModel = %v, %v", res, err)
	}
	res, err = r.models.ValidateModel(t.Context(), &remitv1.ValidateModelRequest{Source: dsl(testModel)})
	if err != nil || len(res.Faults) != 0 {
		t.Errorf("ValidateModel of a valid model = %v, %v", res, err)
	}
	modules := &remitv1.Modules{Schema: "1.2", Files: []*remitv1.ModuleFile{
		{Name: "core.fga", Contents: "module core\ntype user\n"},
		{Name: "docs.fga", Contents: "module docs\ntype document\n  relations\n    define owner: [user]\n"},
	}}
	res, err = r.models.ValidateModel(t.Context(), &remitv1.ValidateModelRequest{Source: &remitv1.ModelSource{Source: &remitv1.ModelSource_Modules{Modules: modules}}})
	if err != nil || len(res.Faults) != 0 {
		t.Errorf("ValidateModel of modules = %v, %v", res, err)
	}
	modules.Files[1].Contents = strings.Replace(modules.Files[1].Contents, "[user]", "[usr]", 1)
	res, err = r.models.ValidateModel(t.Context(), &remitv1.ValidateModelRequest{Source: &remitv1.ModelSource{Source: &remitv1.ModelSource_Modules{Modules: modules}}})
	if err != nil || len(res.Faults) != 1 || res.Faults[0].File != "docs.fga" || res.Faults[0].Line != 4 {
		t.Errorf("ValidateModel of modules at fault = %v, %v", res, err)
	}
}

// Where the language has no words for a model, its JSON stands alone.
func TestAModelWithoutWordsHasItsJSON(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	// Tuples of one relation in two places of its definition.
	const source = `{"schema_version":"1.1","type_definitions":[{"type":"user"},{"type":"doc","relations":{
		"a":{"union":{"child":[{"this":{}},{"intersection":{"child":[{"this":{}},{"computedUserset":{"relation":"b"}}]}}]}},
		"b":{"this":{}}},
		"metadata":{"relations":{"a":{"directly_related_user_types":[{"type":"user"}]},"b":{"directly_related_user_types":[{"type":"user"}]}}}}]}`
	asJSON := func(text string) *remitv1.ModelSource {
		return &remitv1.ModelSource{Source: &remitv1.ModelSource_Json{Json: text}}
	}
	written, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: asJSON(source)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.models.GetModel(t.Context(), &remitv1.GetModelRequest{Store: store})
	if err != nil || got.Model.Id != written.ModelId || got.Model.Dsl != "" || got.Model.Json == "" {
		t.Errorf("GetModel = %v, %v, want model %s as JSON alone", got, err, written.ModelId)
	}
	again, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: asJSON(got.GetModel().GetJson())})
	if err != nil || again.Created {
		t.Errorf("WriteModel of what GetModel gave = %v, %v, want no new version", again, err)
	}
	list, err := r.models.ListModels(t.Context(), &remitv1.ListModelsRequest{Store: store})
	if err != nil || len(list.Models) != 2 || list.Models[0].Id != written.ModelId || list.Models[0].Schema != "1.1" {
		t.Errorf("ListModels = %v, %v", list, err)
	}
	diff, err := r.models.DiffModels(t.Context(), &remitv1.DiffModelsRequest{
		Store: store, FromModelId: list.Models[1].Id, To: &remitv1.DiffModelsRequest_ToModelId{ToModelId: written.ModelId},
	})
	if err != nil || len(diff.Changes) == 0 {
		t.Errorf("DiffModels = %v, %v", diff, err)
	}
}
