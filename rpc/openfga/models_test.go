package openfga

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/remit-authz/remit/fsm"
)

func wantProto(t testing.TB, got, want proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// fullModel has a little of all that a model can hold.
const fullModel = `{
  "schema_version": "1.2",
  "type_definitions": [
    {"type": "user"},
    {"type": "group", "relations": {"member": {"this": {}}}, "metadata": {
      "relations": {"member": {
        "directly_related_user_types": [
          {"type": "user"}, {"type": "user", "wildcard": {}}, {"type": "group", "relation": "member"},
          {"type": "user", "condition": "in_time"}
        ],
        "module": "teams", "source_info": {"file": "teams.fga"}
      }},
      "module": "core", "source_info": {"file": "core.fga"}
    }},
    {"type": "document", "relations": {
      "parent": {"this": {}},
      "viewer": {"union": {"child": [
        {"this": {}},
        {"computedUserset": {"relation": "owner"}},
        {"tupleToUserset": {"tupleset": {"relation": "parent"}, "computedUserset": {"relation": "member"}}}
      ]}},
      "owner": {"this": {}},
      "both": {"intersection": {"child": [{"computedUserset": {"relation": "owner"}}, {"computedUserset": {"object": "", "relation": "viewer"}}]}},
      "one": {"difference": {"base": {"computedUserset": {"relation": "viewer"}}, "subtract": {"computedUserset": {"relation": "owner"}}}}
    }, "metadata": {"relations": {
      "parent": {"directly_related_user_types": [{"type": "group"}]},
      "viewer": {"directly_related_user_types": [{"type": "user"}, {"type": "user", "condition": "in_time"}]},
      "owner": {"directly_related_user_types": [{"type": "user"}]},
      "both": {"directly_related_user_types": []}
    }}}
  ],
  "conditions": {
    "in_time": {
      "name": "in_time", "expression": "now < until && tags.size() > 0",
      "parameters": {
        "now": {"type_name": "TYPE_NAME_TIMESTAMP"}, "until": {"type_name": "TYPE_NAME_TIMESTAMP"},
        "tags": {"type_name": "TYPE_NAME_MAP", "generic_types": [{"type_name": "TYPE_NAME_STRING"}]}
      },
      "metadata": {"module": "core", "source_info": {"file": "core.fga"}}
    }
  }
}`

func TestAModelIsReadAsItWasWritten(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("")
	want := &openfgav1.AuthorizationModel{}
	if err := protojson.Unmarshal([]byte(fullModel), want); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for range 2 { // an equal model is another version all the same
		res, err := r.WriteAuthorizationModel(t.Context(), &openfgav1.WriteAuthorizationModelRequest{
			StoreId: store, SchemaVersion: want.SchemaVersion, TypeDefinitions: want.TypeDefinitions, Conditions: want.Conditions,
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.ReadAuthorizationModel(t.Context(), &openfgav1.ReadAuthorizationModelRequest{StoreId: store, Id: res.AuthorizationModelId})
		if err != nil {
			t.Fatal(err)
		}
		want.Id = res.AuthorizationModelId
		wantProto(t, got.AuthorizationModel, want)
		ids[want.Id] = true
	}
	if len(ids) != 2 {
		t.Errorf("an equal model got the same id: %v", ids)
	}
}

func TestWriteAuthorizationModelRefuses(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxMessageBytes = 1 << 20 })
	store, _ := r.store("")
	types := func(n int) []*openfgav1.TypeDefinition {
		defs := make([]*openfgav1.TypeDefinition, n)
		for i := range defs {
			defs[i] = &openfgav1.TypeDefinition{Type: fmt.Sprintf("type%d", i)}
		}
		return defs
	}
	long := types(1)
	long[0].Relations = map[string]*openfgav1.Userset{}
	for i := range 5000 {
		long[0].Relations[fmt.Sprintf("%s%04d", strings.Repeat("x", 46), i)] = &openfgav1.Userset{Userset: &openfgav1.Userset_This{}}
	}
	longSize := proto.Size(&openfgav1.AuthorizationModel{Id: "01JCC8ZD4X84K2W0H0ZA5AQ947", SchemaVersion: "1.1", TypeDefinitions: long})
	for _, tc := range []struct {
		name string
		req  *openfgav1.WriteAuthorizationModelRequest
		code Code
		text string
	}{
		{
			name: "no types", req: &openfgav1.WriteAuthorizationModelRequest{SchemaVersion: "1.1"},
			code: codeInvalid, text: "invalid WriteAuthorizationModelRequest.TypeDefinitions: value must contain at least 1 item(s)",
		},
		{
			name: "too many types", req: &openfgav1.WriteAuthorizationModelRequest{SchemaVersion: "1.1", TypeDefinitions: types(101)},
			code: codeLimit, text: "The number of type definitions in an authorization model exceeds the allowed limit of 100",
		},
		{
			name: "too many bytes", req: &openfgav1.WriteAuthorizationModelRequest{SchemaVersion: "1.1", TypeDefinitions: long},
			code: codeLimit, text: fmt.Sprintf("model exceeds size limit: %d bytes vs 262144 bytes", longSize),
		},
		{
			name: "an old schema", req: &openfgav1.WriteAuthorizationModelRequest{SchemaVersion: "1.0", TypeDefinitions: types(1)},
			code: 2056, text: "invalid schema version",
		},
		{
			name: "a type twice", req: &openfgav1.WriteAuthorizationModelRequest{SchemaVersion: "1.1", TypeDefinitions: append(types(1), types(1)...)},
			code: 2056, text: "an authorization model cannot contain duplicate types",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.req.StoreId = store
			_, err := r.WriteAuthorizationModel(t.Context(), tc.req)
			wantError(t, err, tc.code, tc.text)
		})
	}
	if res, err := r.ReadAuthorizationModels(t.Context(), &openfgav1.ReadAuthorizationModelsRequest{StoreId: store}); err != nil || len(res.AuthorizationModels) != 0 {
		t.Errorf("models after refusals: %v, %v, want none", res, err)
	}
	if _, err := r.WriteAuthorizationModel(t.Context(), &openfgav1.WriteAuthorizationModelRequest{StoreId: store, SchemaVersion: "1.1", TypeDefinitions: types(100)}); err != nil {
		t.Errorf("100 types: %v", err)
	}
}

func TestReadAuthorizationModels(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("")
	res, err := r.ReadAuthorizationModels(t.Context(), &openfgav1.ReadAuthorizationModelsRequest{StoreId: store})
	if err != nil || len(res.AuthorizationModels) != 0 || res.ContinuationToken != "" {
		t.Errorf("models of a new store: %v, %v, want none", res, err)
	}
	const count = 7
	want := make([]string, count) // newest first
	for i := range count {
		want[count-1-i] = r.model(store, fmt.Sprintf("model\n  schema 1.1\ntype user%d\n", i))
	}
	for _, size := range []int32{0, 1, 2, 3, 6, 7, 100} {
		var got []string
		req := &openfgav1.ReadAuthorizationModelsRequest{StoreId: store}
		if size > 0 {
			req.PageSize = wrapperspb.Int32(size)
		}
		for {
			res, err := r.ReadAuthorizationModels(t.Context(), proto.CloneOf(req))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range res.AuthorizationModels {
				if name := m.TypeDefinitions[0].Type; name != fmt.Sprintf("user%d", count-1-len(got)) {
					t.Errorf("model %d of the list defines %s", len(got), name)
				}
				got = append(got, m.Id)
			}
			if req.ContinuationToken = res.ContinuationToken; req.ContinuationToken == "" {
				break
			}
			if len(res.AuthorizationModels) != int(size) {
				t.Errorf("a page that is not the last has %d models, want %d", len(res.AuthorizationModels), size)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", size, diff)
		}
	}
	// What is written meanwhile stands before the place that a token names.
	first, err := r.ReadAuthorizationModels(t.Context(), &openfgav1.ReadAuthorizationModelsRequest{StoreId: store, PageSize: wrapperspb.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	r.model(store, writeModel)
	second, err := r.ReadAuthorizationModels(t.Context(), &openfgav1.ReadAuthorizationModelsRequest{
		StoreId: store, PageSize: wrapperspb.Int32(1), ContinuationToken: first.ContinuationToken,
	})
	if err != nil || second.AuthorizationModels[0].Id != want[1] {
		t.Errorf("the page after %s is %v, %v, want %s", want[0], second, err, want[1])
	}
}

func TestReadAuthorizationModelThatIsNotThere(t *testing.T) {
	r := newRig(t)
	store, modelID := r.store(writeModel)
	other, _ := r.store("")
	for _, tc := range []struct {
		store, model string
		code         Code
		text         string
	}{
		{store, "01JCC8ZD4X84K2W0H0ZA5AQ947", 2001, "Authorization Model '01JCC8ZD4X84K2W0H0ZA5AQ947' not found"},
		{store, "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", 2001, "Authorization Model 'ZZZZZZZZZZZZZZZZZZZZZZZZZZ' not found"},
		{other, modelID, 2001, "Authorization Model '" + modelID + "' not found"},
		{"01JCC8ZD4X84K2W0H0ZA5AQ947", modelID, 2001, "Authorization Model '" + modelID + "' not found"},
		{store, "1", codeInvalid, `invalid ReadAuthorizationModelRequest.Id: value does not match regex pattern "^[ABCDEFGHJKMNPQRSTVWXYZ0-9]{26}$"`},
		{store, modelID + "A", codeInvalid, `invalid ReadAuthorizationModelRequest.Id: value does not match regex pattern "^[ABCDEFGHJKMNPQRSTVWXYZ0-9]{26}$"`},
	} {
		_, err := r.ReadAuthorizationModel(t.Context(), &openfgav1.ReadAuthorizationModelRequest{StoreId: tc.store, Id: tc.model})
		wantError(t, err, tc.code, tc.text)
	}
}

// A model that remit.v1 wrote is read as any other.
func TestAModelOfTheOtherFace(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("")
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	modelID, err := r.reader.NewID()
	if err != nil {
		t.Fatal(err)
	}
	m := parseModel(t, writeModel)
	source, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	res := r.propose(&fsm.Command{Store: id, Body: &fsm.WriteModel{ID: modelID, Source: source, Declarations: m.Declarations()}})
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	want := proto.CloneOf(m.Proto())
	want.Id = res.Model.String()
	got, err := r.ReadAuthorizationModel(t.Context(), &openfgav1.ReadAuthorizationModelRequest{StoreId: store, Id: want.Id})
	if err != nil {
		t.Fatal(err)
	}
	wantProto(t, got.AuthorizationModel, want)
	r.write(store, "document:1#viewer@user:jon")
}
