package openfga

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const readModel = `model
  schema 1.1

type user

type group
  relations
    define member: [user, user:*, group#member]

type document
  relations
    define owner: [user, user with condition1]
    define viewer: [user, user:*, group#member, user with condition1]

condition condition1(param1: string, many: list<string>) {
  param1 == 'ok'
}`

func filterOf(object, relation, user string) *openfgav1.ReadRequestTupleKey {
	return &openfgav1.ReadRequestTupleKey{Object: object, Relation: relation, User: user}
}

func TestReadRefusesWhatOpenFGARefuses(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(readModel)
	const needs = "the 'tuple_key' field was provided but the object type field is required and both the object id and user cannot be empty"
	for _, tc := range []struct {
		name string
		key  *openfgav1.ReadRequestTupleKey
		code Code
		text string
	}{
		{"an empty filter", filterOf("", "", ""), codeValidation, needs},
		{"an object without a type", filterOf("openfga/iam", "", ""), codeValidation, needs},
		{"an object without a type and a user", filterOf("iam", "", "user:jon"), codeValidation, needs},
		{"a colon alone", filterOf(":x", "", ""), codeValidation, needs},
		{"a relation and a user", filterOf("", "admin", "github:jonallie"), codeValidation, needs},
		{"a type and a relation", filterOf("repo:", "writer", ""), codeValidation, needs},
		{"a relation", filterOf("", "writer", ""), codeValidation, needs},
		{
			"a user without a type", filterOf("document:1", "", "jon"), codeInvalid,
			`invalid ReadRequest.TupleKey: embedded message failed validation | caused by: invalid ReadRequestTupleKey.User: value does not match regex pattern "^[^\\s]{1,511}:[^\\s]{1,511}$"`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store, TupleKey: tc.key})
			wantError(t, err, tc.code, tc.text)
		})
	}
	_, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store, PageSize: wrapperspb.Int32(101)})
	wantError(t, err, codeInvalid, "invalid ReadRequest.PageSize: value must be inside range [1, 100]")
}

func TestReadFilters(t *testing.T) {
	r := newRig(t)
	all := []string{
		"document:1#owner@user:anna", "document:1#viewer@group:eng#member", "document:1#viewer@user:*", "document:1#viewer@user:anna",
		"document:2#owner@user:bob", "document:2#viewer@user:anna", "document:1|2#viewer@user:anna@x.org|y",
		"group:eng#member@user:*", "group:eng#member@group:all#member", "group:all#member@user:anna",
	}
	store, _ := r.store(readModel, all...)
	for _, tc := range []struct {
		name string
		key  *openfgav1.ReadRequestTupleKey
		want []string
	}{
		{"no filter", nil, all},
		{"an object", filterOf("document:1", "", ""), all[:4]},
		{"an object and a relation", filterOf("document:1", "viewer", ""), all[1:4]},
		{"an object and a user", filterOf("document:1", "", "user:anna"), []string{all[0], all[3]}},
		{"a whole tuple", filterOf("document:1", "viewer", "user:anna"), all[3:4]},
		{"a tuple that is not there", filterOf("document:2", "viewer", "user:bob"), nil},
		{"a type and a user", filterOf("document:", "", "user:anna"), []string{all[0], all[3], all[5]}},
		{"a type, a relation and a user", filterOf("document:", "viewer", "user:anna"), []string{all[3], all[5]}},
		{"a wildcard is one user", filterOf("document:", "", "user:*"), all[2:3]},
		{"a userset is one user", filterOf("document:", "", "group:eng#member"), all[1:2]},
		{"a group is not its userset", filterOf("document:", "", "group:eng"), nil},
		{"special characters", filterOf("document:1|2", "viewer", "user:anna@x.org|y"), all[6:7]},
		{"another type", filterOf("group:", "", "user:anna"), all[9:]},
		{"a user whose relation is left out", filterOf("document:1", "", "user:anna#"), nil},
		{"an unknown object", filterOf("document:3", "", ""), nil},
		{"an unknown type", filterOf("folder:1", "", ""), nil},
		{"an unknown relation", filterOf("document:1", "editor", ""), nil},
		{"an unknown user", filterOf("document:", "", "user:carl"), nil},
		{"a user of an unknown type", filterOf("document:", "", "robot:r2"), nil},
		{"a userset of an unknown relation", filterOf("document:", "", "group:eng#admin"), nil},
		{"an object with two colons", filterOf("document:1:2", "", ""), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, size := range []int32{0, 1, 2, 3, 100} {
				req := &openfgav1.ReadRequest{StoreId: store, TupleKey: tc.key}
				var got []string
				for _, tuple := range r.pages(req, size) {
					got = append(got, conditionalText(tuple.Key))
				}
				want := slices.Sorted(slices.Values(tc.want))
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("in pages of %d (-want +got):\n%s", size, diff)
				}
			}
			// The page that holds the last tuple is the last.
			if n := int32(len(tc.want)); n > 0 {
				res, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store, TupleKey: tc.key, PageSize: wrapperspb.Int32(n)})
				if err != nil || res.ContinuationToken != "" {
					t.Errorf("a page of all: token %q, %v, want none", res.GetContinuationToken(), err)
				}
			}
		})
	}
}

func TestReadShowsWhatWasWritten(t *testing.T) {
	c := &clock{now: time.Date(2031, 2, 3, 4, 5, 6, 789_000_000, time.UTC)}
	r := newRigAt(t, c.Now)
	store, _ := r.store("")
	model := modelRequest(t, store, readModel)
	model.Conditions["condition1"].Parameters["many"].GenericTypes[0].TypeName = openfgav1.ConditionParamTypeRef_TYPE_NAME_ANY // which the language does not know
	if _, err := r.WriteAuthorizationModel(t.Context(), model); err != nil {
		t.Fatal(err)
	}
	context := fields(t, "param1", "ok", "many", []any{
		1, 1.5, -3, float64(1 << 60), 1e300, "text", true, nil, []any{}, map[string]any{"a": map[string]any{}},
	})
	for _, key := range []*openfgav1.TupleKey{
		{Object: "document:1", Relation: "viewer", User: "user:anna"},
		{Object: "document:1", Relation: "viewer", User: "user:bob", Condition: &openfgav1.RelationshipCondition{Name: "condition1", Context: context}},
		{Object: "document:1", Relation: "viewer", User: "user:carl", Condition: &openfgav1.RelationshipCondition{Name: "condition1"}},
		{Object: "document:1", Relation: "viewer", User: "user:dora", Condition: &openfgav1.RelationshipCondition{Name: "condition1", Context: &structpb.Struct{}}},
	} {
		if err := r.tryWrite(writes(store, key)); err != nil {
			t.Fatal(err)
		}
		got := r.read(&openfgav1.ReadRequest{StoreId: store, TupleKey: filterOf(key.Object, key.Relation, key.User)})
		if len(got) != 1 {
			t.Fatalf("Read(%s) gives %d tuples", tupleText(key), len(got))
		}
		// A condition always has a context when it is read.
		if key.Condition != nil && key.Condition.Context == nil {
			key.Condition.Context = &structpb.Struct{}
		}
		wantProto(t, got[0].Key, key)
		if !got[0].Timestamp.AsTime().Equal(c.Now()) {
			t.Errorf("%s was written at %s, want %s", tupleText(key), got[0].Timestamp.AsTime(), c.Now())
		}
		change := r.changes(store)
		last := change[len(change)-1]
		wantProto(t, last.TupleKey, key)
		if !last.Timestamp.AsTime().Equal(c.Now()) {
			t.Errorf("%s was changed at %s, want %s", tupleText(key), last.Timestamp.AsTime(), c.Now())
		}
		c.Advance(time.Second)
	}
}

// What an older model allowed is read also if the newest knows neither type nor relation.
func TestReadKnowsOlderModels(t *testing.T) {
	r := newRig(t)
	store, _ := r.store("model\n  schema 1.1\ntype user_old\ntype document_old\n  relations\n    define admin_old: [user_old]\n")
	r.write(store, "document_old:budget#admin_old@user_old:maria")
	r.model(store, "model\n  schema 1.1\ntype user_new\ntype document_new\n  relations\n    define viewer_new: [user_new, user_new:*]\n")
	got := r.read(&openfgav1.ReadRequest{StoreId: store, TupleKey: filterOf("document_old:budget", "", "")})
	if len(got) != 1 || tupleText(got[0].Key) != "document_old:budget#admin_old@user_old:maria" {
		t.Errorf("Read(document_old:budget) = %v", got)
	}
	r.remove(store, "document_old:budget#admin_old@user_old:maria")
	wantTuples(t, r, store)
}

// Pages are not pinned: what is written or deleted behind the place of a token is seen
// as it is by then, and what stays is seen once.
func TestReadGoesOnWhereItWas(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(readModel)
	const count = 30
	for i := range count {
		r.write(store, fmt.Sprintf("document:%02d#viewer@user:jon", i))
	}
	seen := map[string]int{}
	req := &openfgav1.ReadRequest{StoreId: store, PageSize: wrapperspb.Int32(10)}
	for page := 0; ; page++ {
		res, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store, PageSize: req.PageSize, ContinuationToken: req.ContinuationToken})
		if err != nil {
			t.Fatal(err)
		}
		for _, tuple := range res.Tuples {
			seen[tuple.Key.Object]++
		}
		if req.ContinuationToken = res.ContinuationToken; req.ContinuationToken == "" {
			break
		}
		if page == 0 {
			r.remove(store, "document:09#viewer@user:jon", "document:29#viewer@user:jon") // the last of the page, too
			r.write(store, "document:new#viewer@user:jon")
		}
	}
	for i := range count - 1 {
		if object := fmt.Sprintf("document:%02d", i); seen[object] != 1 {
			t.Errorf("%s was seen %d times, want once", object, seen[object])
		}
	}
	if seen["document:29"] != 0 || seen["document:new"] != 1 {
		t.Errorf("what was deleted was seen %d times, what was written %d times, want 0 and 1", seen["document:29"], seen["document:new"])
	}
}

func TestReadConsistency(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(readModel, "document:1#viewer@user:anna")
	for _, c := range []openfgav1.ConsistencyPreference{
		openfgav1.ConsistencyPreference_UNSPECIFIED, openfgav1.ConsistencyPreference_MINIMIZE_LATENCY, openfgav1.ConsistencyPreference_HIGHER_CONSISTENCY,
	} {
		option, of := header()
		res, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store, Consistency: c}, option)
		if err != nil || len(res.Tuples) != 1 {
			t.Errorf("Read with %s: %v, %v", c, res, err)
		}
		if got, want := of(HeaderToken), r.reader.Token(r.state.Current().Revision()); got != want {
			t.Errorf("Read with %s names the state %q, want %q", c, got, want)
		}
	}
}
