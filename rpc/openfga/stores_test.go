package openfga

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
)

const codeToken = Code(openfgav1.ErrorCode_invalid_continuation_token)

func (r *rig) newStore(name string) *openfgav1.CreateStoreResponse {
	r.t.Helper()
	made, err := r.CreateStore(r.t.Context(), &openfgav1.CreateStoreRequest{Name: name})
	if err != nil {
		r.t.Fatal(err)
	}
	return made
}

func TestCreateStore(t *testing.T) {
	c := &clock{now: time.Date(2031, 2, 3, 4, 5, 6, 789_000_000, time.UTC)}
	r := newRigAt(t, c.Now)
	const pattern = `invalid CreateStoreRequest.Name: value does not match regex pattern "^[a-zA-Z0-9\\s\\.\\-\\/^_&@]{3,64}$"`
	for _, name := range []string{"", "ab", "$openfga", strings.Repeat("a", 65)} {
		_, err := r.CreateStore(t.Context(), &openfgav1.CreateStoreRequest{Name: name})
		wantError(t, err, codeInvalid, pattern)
	}
	// A name may be taken, and may read as an id, even as that of another store.
	first := r.newStore("openfga")
	for _, name := range []string{"openfga", "a b.c-d/e^f_g&h@i", strings.Repeat("a", 64), first.Id} {
		made := r.newStore(name)
		if _, err := ulid.ParseStrict(made.Id); err != nil || made.Name != name || made.Id == first.Id {
			t.Errorf("CreateStore(%s) = %v", name, made)
		}
		if !made.CreatedAt.AsTime().Equal(c.Now()) || !made.UpdatedAt.AsTime().Equal(c.Now()) {
			t.Errorf("CreateStore(%s) = %v, want both times to be %s", name, made, c.Now())
		}
		got, err := r.GetStore(t.Context(), &openfgav1.GetStoreRequest{StoreId: made.Id})
		if err != nil {
			t.Fatal(err)
		}
		want := &openfgav1.GetStoreResponse{Id: made.Id, Name: name, CreatedAt: made.CreatedAt, UpdatedAt: made.UpdatedAt}
		wantProto(t, got, want)
	}
	if got, err := r.GetStore(t.Context(), &openfgav1.GetStoreRequest{StoreId: first.Id}); err != nil || got.Name != "openfga" {
		t.Errorf("GetStore(%s) = %v, %v, want openfga", first.Id, got, err)
	}
}

func TestGetStoreThatIsNotThere(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{
		"01JCC8ZD4X84K2W0H0ZA5AQ947",
		"ZZZZZZZZZZZZZZZZZZZZZZZZZZ", // the pattern admits it, though no ULID is so large
		"00000000000000000000000000",
	} {
		_, err := r.GetStore(t.Context(), &openfgav1.GetStoreRequest{StoreId: id})
		wantError(t, err, 5002, "Store ID not found")
		if _, err := r.DeleteStore(t.Context(), &openfgav1.DeleteStoreRequest{StoreId: id}); err != nil {
			t.Errorf("DeleteStore(%s): %v, want that absent is as good", id, err)
		}
	}
	_, err := r.GetStore(t.Context(), &openfgav1.GetStoreRequest{StoreId: "1"})
	wantError(t, err, codeInvalid, `invalid GetStoreRequest.StoreId: value does not match regex pattern "^[ABCDEFGHJKMNPQRSTVWXYZ0-9]{26}$"`)
}

func TestDeleteStore(t *testing.T) {
	r := newRig(t)
	store, modelID := r.store(writeModel, "document:1#viewer@user:jon")
	kept := r.newStore("kept")
	for range 2 {
		if _, err := r.DeleteStore(t.Context(), &openfgav1.DeleteStoreRequest{StoreId: store}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.GetStore(t.Context(), &openfgav1.GetStoreRequest{StoreId: store})
	wantError(t, err, 5002, "Store ID not found")
	list, err := r.ListStores(t.Context(), &openfgav1.ListStoresRequest{})
	if err != nil || len(list.Stores) != 1 || list.Stores[0].Id != kept.Id {
		t.Errorf("ListStores: %v, %v, want only %s", list, err, kept.Id)
	}
	// Of what a store that is not there holds, OpenFGA tells nothing, without an error.
	wantTuples(t, r, store)
	if changes := r.changes(store); len(changes) != 0 {
		t.Errorf("changes of a deleted store: %v", changes)
	}
	if models, err := r.ReadAuthorizationModels(t.Context(), &openfgav1.ReadAuthorizationModelsRequest{StoreId: store}); err != nil || len(models.AuthorizationModels) != 0 {
		t.Errorf("models of a deleted store: %v, %v", models, err)
	}
	_, err = r.ReadAuthorizationModel(t.Context(), &openfgav1.ReadAuthorizationModelRequest{StoreId: store, Id: modelID})
	wantError(t, err, 2001, "Authorization Model '"+modelID+"' not found")
	wantError(t, r.tryWrite(writes(store, key(t, "document:1#viewer@user:jon"))), 2020, "No authorization models found for store '"+store+"'")
	// A model needs a store to stand in, which OpenFGA does not ask for.
	_, err = r.WriteAuthorizationModel(t.Context(), modelRequest(t, store, writeModel))
	wantError(t, err, 5002, "Store ID not found")
}

func TestListStores(t *testing.T) {
	r := newRig(t)
	var want []string
	for i := range 7 {
		name := "odd"
		if i%2 == 0 {
			name = "even"
		}
		want = append(want, r.newStore(name).Id)
	}
	list := func(name string, size int32) []string {
		t.Helper()
		var ids []string
		req := &openfgav1.ListStoresRequest{Name: name}
		for {
			ask := &openfgav1.ListStoresRequest{Name: name, ContinuationToken: req.ContinuationToken}
			if size > 0 {
				ask.PageSize = wrapperspb.Int32(size)
			}
			res, err := r.ListStores(t.Context(), ask)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range res.Stores {
				ids = append(ids, s.Id)
				if s.DeletedAt != nil || s.CreatedAt == nil || s.UpdatedAt == nil || name != "" && s.Name != name {
					t.Errorf("ListStores(%q) lists %v", name, s)
				}
			}
			if size > 0 && len(res.Stores) != min(int(size), len(res.Stores)) {
				t.Errorf("a page has %d stores, want at most %d", len(res.Stores), size)
			}
			if req.ContinuationToken = res.ContinuationToken; req.ContinuationToken == "" {
				return ids
			}
		}
	}
	even := []string{want[0], want[2], want[4], want[6]}
	for _, size := range []int32{0, 1, 2, 3, 4, 7, 100} {
		if diff := cmp.Diff(want, list("", size)); diff != "" {
			t.Errorf("all, in pages of %d (-want +got):\n%s", size, diff)
		}
		if diff := cmp.Diff(even, list("even", size)); diff != "" {
			t.Errorf("even, in pages of %d (-want +got):\n%s", size, diff)
		}
	}
	if got := list("neither", 0); got != nil {
		t.Errorf("stores named neither: %v", got)
	}
	// A page that ends with the last store is the last one.
	res, err := r.ListStores(t.Context(), &openfgav1.ListStoresRequest{PageSize: wrapperspb.Int32(7)})
	if err != nil || res.ContinuationToken != "" {
		t.Errorf("a page of all: token %q, %v, want none", res.GetContinuationToken(), err)
	}
	_, err = r.ListStores(t.Context(), &openfgav1.ListStoresRequest{PageSize: wrapperspb.Int32(101)})
	wantError(t, err, codeInvalid, "invalid ListStoresRequest.PageSize: value must be inside range [1, 100]")
}

func TestTokensOfListsAreTheirOwn(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(writeModel, "document:1#viewer@user:a", "document:2#viewer@user:b")
	other, _ := r.store(writeModel, "document:1#viewer@user:a", "document:2#viewer@user:b")
	r.model(store, writeModel)
	r.model(other, writeModel)
	one := wrapperspb.Int32(1)
	ask := map[string]func(store, token string) (string, error){
		"stores": func(_, token string) (string, error) {
			res, err := r.ListStores(t.Context(), &openfgav1.ListStoresRequest{PageSize: one, ContinuationToken: token})
			return res.GetContinuationToken(), err
		},
		"models": func(store, token string) (string, error) {
			res, err := r.ReadAuthorizationModels(t.Context(), &openfgav1.ReadAuthorizationModelsRequest{StoreId: store, PageSize: one, ContinuationToken: token})
			return res.GetContinuationToken(), err
		},
		"tuples": func(store, token string) (string, error) {
			res, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store, PageSize: one, ContinuationToken: token})
			return res.GetContinuationToken(), err
		},
		"changes": func(store, token string) (string, error) {
			res, err := r.ReadChanges(t.Context(), &openfgav1.ReadChangesRequest{StoreId: store, PageSize: one, ContinuationToken: token})
			return res.GetContinuationToken(), err
		},
	}
	tokens := map[string]string{}
	for list, page := range ask {
		token, err := page(store, "")
		if err != nil || token == "" {
			t.Fatalf("the first page of %s: token %q, %v", list, token, err)
		}
		if _, err := page(store, token); err != nil {
			t.Errorf("the second page of %s: %v", list, err)
		}
		tokens[list] = token
	}
	altered := func(token string) string {
		last := byte('A')
		if token[len(token)-8] == 'A' {
			last = 'B'
		}
		return token[:len(token)-8] + string(last) + token[len(token)-7:]
	}
	for list, page := range ask {
		bad := []string{"bad", "bad_token", "AAAA", tokens[list] + "=", tokens[list][4:], altered(tokens[list])}
		for from, token := range tokens {
			if from != list {
				bad = append(bad, token)
			}
		}
		for _, token := range bad {
			_, err := page(store, token)
			wantError(t, err, codeToken, "Invalid continuation token")
		}
		if list != "stores" {
			for _, id := range []string{other, "01JCC8ZD4X84K2W0H0ZA5AQ947"} {
				_, err := page(id, tokens[list])
				wantError(t, err, codeToken, "Invalid continuation token")
			}
		}
		_, err := page(store, "no token!")
		if e, ok := lookup(err); !ok || e.Code != codeInvalid {
			t.Errorf("%s with a token of foreign characters: %v", list, err)
		}
	}
}

// Both faces stand on the same state: what one writes, the other sees at once.
func TestCommandsOfTheOtherFaceAreSeenAtOnce(t *testing.T) {
	r := newRig(t)
	store, _ := r.store(writeModel, "document:1#viewer@user:jon")
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	head, _ := r.state.Current().Store(id)
	if head.StoreName() != "test" || head.TupleCount() != 1 || len(head.Models()) != 1 {
		t.Fatalf("the state has the store %q with %d tuples and %d models", head.StoreName(), head.TupleCount(), len(head.Models()))
	}
	document, _ := head.Symbols().TypeID("document")
	user, _ := head.Symbols().TypeID("user")
	viewer, _ := head.Symbols().RelationID(document, "viewer")
	for i, kind := range []fsm.OperationKind{fsm.CreateTuple, fsm.DeleteTuple} {
		res := r.propose(&fsm.Command{Store: id, Body: &fsm.Write{Operations: []fsm.Operation{{Kind: kind, Tuple: fsm.TupleKey{
			Object: fsm.Entity{Type: document, Name: "2"}, Relation: viewer, Subject: fsm.Entity{Type: user, Name: "anna"},
		}}}}})
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		want := []string{"document:1#viewer@user:jon"}
		if kind == fsm.CreateTuple {
			want = append(want, "document:2#viewer@user:anna")
		}
		wantTuples(t, r, store, want...)
		if got := len(r.changes(store)); got != i+2 {
			t.Errorf("%d changes after %d writes", got, i+2)
		}
	}
	if res := r.propose(&fsm.Command{Store: id, Body: &fsm.DeleteStore{}}); res.Err != nil {
		t.Fatal(res.Err)
	}
	_, err = r.GetStore(t.Context(), &openfgav1.GetStoreRequest{StoreId: store})
	wantError(t, err, 5002, "Store ID not found")
}

// What was acknowledged on another node before is known here, whether it has arrived or
// not: clients of OpenFGA have no tokens to ask for it.
func TestWhatOtherNodesAcknowledgedIsKnown(t *testing.T) {
	r := newRig(t)
	elsewhere := func(do func()) {
		done := false
		r.unseen = func() { done = true; do() }
		t.Cleanup(func() {
			if !done {
				t.Error("nobody asked how far the other nodes are")
			}
		})
	}
	const name = "elsewhere"
	var store string
	id, err := r.reader.NewID()
	if err != nil {
		t.Fatal(err)
	}
	store = fsm.StoreID(id).String()
	elsewhere(func() { r.propose(&fsm.Command{Store: id, Body: &fsm.CreateStore{Name: name}}) })
	if got, err := r.GetStore(t.Context(), &openfgav1.GetStoreRequest{StoreId: store}); err != nil || got.Name != name {
		t.Errorf("GetStore: %v, %v", got, err)
	}

	m := parseModel(t, writeModel)
	source, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	written := func() string {
		modelID, err := r.reader.NewID()
		if err != nil {
			t.Fatal(err)
		}
		elsewhere(func() {
			r.propose(&fsm.Command{
				Store: id, Bumps: []string{backend.ModelScope}, Body: &fsm.WriteModel{ID: modelID, Source: source, Declarations: m.Declarations()},
			})
		})
		return fsm.ModelID(modelID).String()
	}
	written()
	r.write(store, "document:1#viewer@user:jon")
	modelID := written()
	if _, err := r.ReadAuthorizationModel(t.Context(), &openfgav1.ReadAuthorizationModelRequest{StoreId: store, Id: modelID}); err != nil {
		t.Errorf("ReadAuthorizationModel: %v", err)
	}
	modelID = written()
	if _, err := r.ReadAssertions(t.Context(), &openfgav1.ReadAssertionsRequest{StoreId: store, AuthorizationModelId: modelID}); err != nil {
		t.Errorf("ReadAssertions: %v", err)
	}
	modelID = written()
	if res, err := r.Check(t.Context(), &openfgav1.CheckRequest{
		StoreId: store, AuthorizationModelId: modelID,
		TupleKey: &openfgav1.CheckRequestTupleKey{Object: "document:1", Relation: "viewer", User: "user:jon"},
	}); err != nil || !res.GetAllowed() {
		t.Errorf("Check by a model of another node = %v, %v", res, err)
	}
	req := writes(store, key(t, "document:2#viewer@user:jon"))
	req.AuthorizationModelId = written()
	if err := r.tryWrite(req); err != nil {
		t.Errorf("Write by a model of another node: %v", err)
	}

	// A delete that ignores what is missing must not ignore what is there, by names that
	// came with a model of another node.
	m = parseModel(t, "model\n  schema 1.1\ntype user\ntype late\n  relations\n    define viewer: [user]\n")
	if source, err = m.JSON(); err != nil {
		t.Fatal(err)
	}
	lateID, err := r.reader.NewID()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere(func() {
		r.propose(&fsm.Command{
			Store: id, Bumps: []string{backend.ModelScope}, Body: &fsm.WriteModel{ID: lateID, Source: source, Declarations: m.Declarations()},
		})
		r.write(store, "late:1#viewer@user:jon")
	})
	req = deletes(store, key(t, "late:1#viewer@user:jon"))
	req.Deletes.OnMissing = "ignore"
	if err := r.tryWrite(req); err != nil {
		t.Errorf("Write: %v", err)
	}
	wantTuples(t, r, store, "document:1#viewer@user:jon", "document:2#viewer@user:jon")

	// And a read that asks for it waits for what it would not miss.
	elsewhere(func() { r.write(store, "late:2#viewer@user:jon") })
	res, err := r.Read(t.Context(), &openfgav1.ReadRequest{StoreId: store, Consistency: openfgav1.ConsistencyPreference_HIGHER_CONSISTENCY})
	if err != nil || len(res.Tuples) != 3 {
		t.Errorf("Read with higher consistency: %v, %v, want 3 tuples", res, err)
	}
}

func FuzzContinuation(f *testing.F) {
	store := fsm.StoreID{1, 2, 3}
	for kind := continueStores; kind <= continueChanges; kind++ {
		c := continuation{kind: kind, store: store, position: []byte(fmt.Sprint("position", kind))}
		f.Add(c.String())
	}
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		for kind := continueStores; kind <= continueChanges; kind++ {
			position, err := positionIn(text, kind, store)
			if err != nil || position == nil {
				continue
			}
			c := continuation{kind: kind, store: store, position: position}
			if got := c.String(); got != text {
				t.Errorf("positionIn(%q) reads what is written %q", text, got)
			}
			_, _ = rowAt(position)
			if p, err := changeAt(position); err == nil && string(p.append(nil)) != string(position) && p.time.UnixMilli() >= 0 {
				t.Errorf("changeAt(%x) reads what is written %x", position, p.append(nil))
			}
		}
	})
}
