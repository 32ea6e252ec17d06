package conformance

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	openfga "github.com/openfga/go-sdk"
	sdk "github.com/openfga/go-sdk/client"
)

// A session of the unmodified Go SDK. Every step has one right answer, which OpenFGA must
// give as well.
func TestGoSDKSession(t *testing.T) {
	for _, target := range []*Target{subject, peer} {
		t.Run(target.Name, func(t *testing.T) {
			s := newSession(t, target)
			for _, step := range []struct {
				name string
				run  func(*session, *testing.T)
			}{
				{"stores", (*session).stores},
				{"models", (*session).models},
				{"writes", (*session).writes},
				{"reads", (*session).reads},
				{"changes", (*session).changes},
				{"checks", (*session).checks},
				{"batches", (*session).batches},
				{"lists", (*session).lists},
				{"expand", (*session).expand},
				{"assertions", (*session).assertions},
				{"errors", (*session).errors},
				{"retries", (*session).retries},
				{"read your writes", (*session).readYourWrites},
				{"delete", (*session).deleteStore},
			} {
				if !t.Run(step.name, func(t *testing.T) { step.run(s, t) }) {
					return // the next steps build on it
				}
			}
		})
	}
}

// A session is a client and what it has made so far.
type session struct {
	target       *Target
	client       *sdk.OpenFgaClient
	store, model string
	first        string // the model before
}

func newSession(t *testing.T, target *Target) *session {
	t.Helper()
	return &session{target: target, client: newClient(t, target.URL)}
}

func newClient(t *testing.T, url string) *sdk.OpenFgaClient {
	t.Helper()
	c, err := sdk.NewSdkClient(&sdk.ClientConfiguration{ApiUrl: url, RetryParams: &openfga.RetryParams{MaxRetry: 3, MinWaitInMs: 5}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ok is the answer, or the end of the test.
func ok[T any](t *testing.T, answer T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// wantJSON compares an answer as JSON, without ids, times and tokens.
func wantJSON(t *testing.T, what string, got any, want string) {
	t.Helper()
	content, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var g, w any
	if err := json.Unmarshal(content, &g); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%s: %v", want, err)
	}
	if diff := cmp.Diff(w, masked("", g)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantSet(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	got = slices.Sorted(slices.Values(got))
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func key(object, relation, user string) sdk.ClientTupleKey {
	return sdk.ClientTupleKey{Object: object, Relation: relation, User: user}
}

func without(k sdk.ClientTupleKey) sdk.ClientTupleKeyWithoutCondition {
	return sdk.ClientTupleKeyWithoutCondition{Object: k.Object, Relation: k.Relation, User: k.User}
}

func (s *session) stores(t *testing.T) {
	ctx := t.Context()
	names := []string{"sdk session", "sdk other", "sdk session"}
	var ids []string
	for _, name := range names {
		created := ok2(s.client.CreateStore(ctx).Body(sdk.ClientCreateStoreRequest{Name: name}).Execute())(t)
		if created.GetName() != name || !ulid.MatchString(created.GetId()) || time.Since(created.GetCreatedAt()).Abs() > time.Minute {
			t.Errorf("CreateStore answers %+v", created)
		}
		ids = append(ids, created.GetId())
	}
	s.store = ids[0]
	if err := s.client.SetStoreId(s.store); err != nil {
		t.Fatal(err)
	}

	var found []string
	options := sdk.ClientListStoresOptions{Name: openfga.PtrString("sdk session"), PageSize: openfga.PtrInt32(1)}
	for range 10 {
		page := ok2(s.client.ListStores(ctx).Options(options).Execute())(t)
		if len(page.GetStores()) > 1 {
			t.Errorf("a page of one holds %d stores", len(page.GetStores()))
		}
		for _, store := range page.GetStores() {
			found = append(found, store.GetId())
		}
		if page.GetContinuationToken() == "" {
			break
		}
		options.ContinuationToken = openfga.PtrString(page.GetContinuationToken())
	}
	wantSet(t, "stores of a name", found, ids[0], ids[2])

	got := ok2(s.client.GetStore(ctx).Execute())(t)
	if got.GetId() != s.store || got.GetName() != "sdk session" {
		t.Errorf("GetStore answers %+v", got)
	}
	if _, err := s.client.ReadLatestAuthorizationModel(ctx).Execute(); err != nil {
		t.Errorf("the latest model of a store without one: %v", err)
	}
}

// ok2 is ok for the SDK's pairs.
func ok2[T any](answer T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		return ok(t, answer, err)
	}
}

func (s *session) models(t *testing.T) {
	ctx := t.Context()
	var small, large sdk.ClientWriteAuthorizationModelRequest
	for text, model := range map[string]*sdk.ClientWriteAuthorizationModelRequest{
		`{"schema_version":"1.1","type_definitions":[{"type":"user"}]}`: &small,
		read(t, "model.json"): &large,
	} {
		if err := json.Unmarshal([]byte(text), model); err != nil {
			t.Fatal(err)
		}
	}
	first := ok2(s.client.WriteAuthorizationModel(ctx).Body(small).Execute())(t)
	second := ok2(s.client.WriteAuthorizationModel(ctx).Body(large).Execute())(t)
	s.first, s.model = first.GetAuthorizationModelId(), second.GetAuthorizationModelId()
	if err := s.client.SetAuthorizationModelId(s.model); err != nil {
		t.Fatal(err)
	}

	one := ok2(s.client.ReadAuthorizationModel(ctx).Options(sdk.ClientReadAuthorizationModelOptions{AuthorizationModelId: &s.first}).Execute())(t)
	wantJSON(t, "the first model", one.GetAuthorizationModel(), `{"id":"<id>","schema_version":"1.1","type_definitions":[{"type":"user","relations":{}}],"conditions":{}}`)
	latest := ok2(s.client.ReadLatestAuthorizationModel(ctx).Execute())(t)
	model := latest.GetAuthorizationModel()
	if model.GetId() != s.model || len(model.GetTypeDefinitions()) != 5 || len(model.GetConditions()) != 1 {
		t.Errorf("the latest model is %+v", model)
	}
	if got := model.GetTypeDefinitions()[4].GetRelations()["reader"].Difference.Subtract.ComputedUserset.GetRelation(); got != "blocked" {
		t.Errorf("reader is all but %q", got)
	}

	var ids []string
	options := sdk.ClientReadAuthorizationModelsOptions{PageSize: openfga.PtrInt32(1)}
	for range 10 {
		page := ok2(s.client.ReadAuthorizationModels(ctx).Options(options).Execute())(t)
		for _, m := range page.GetAuthorizationModels() {
			ids = append(ids, m.GetId())
		}
		if page.GetContinuationToken() == "" {
			break
		}
		options.ContinuationToken = openfga.PtrString(page.GetContinuationToken())
	}
	if diff := cmp.Diff([]string{s.model, s.first}, ids); diff != "" {
		t.Errorf("the models, newest first (-want +got):\n%s", diff)
	}
}

func (s *session) writes(t *testing.T) {
	ctx := t.Context()
	var file struct {
		Writes struct {
			TupleKeys []sdk.ClientTupleKey `json:"tuple_keys"`
		} `json:"writes"`
	}
	if err := json.Unmarshal([]byte(read(t, "tuples.json")), &file); err != nil {
		t.Fatal(err)
	}
	all := ok2(s.client.Write(ctx).Body(sdk.ClientWriteRequest{Writes: file.Writes.TupleKeys}).Execute())(t)
	if len(all.Writes) != len(file.Writes.TupleKeys) || all.Writes[0].Status != sdk.SUCCESS {
		t.Errorf("Write answers %+v", all)
	}

	anna, nina, gone := key("document:one", "viewer", "user:anna"), key("document:one", "viewer", "user:nina"), key("document:one", "viewer", "user:gone")
	ok2(s.client.WriteTuples(ctx).Body([]sdk.ClientTupleKey{anna}).Execute())(t)

	// One transaction: all or nothing.
	_, err := s.client.Write(ctx).Body(sdk.ClientWriteRequest{Writes: []sdk.ClientTupleKey{nina, anna}}).Execute()
	s.wantValidation(t, err, "write_failed_due_to_invalid_input", "cannot write a tuple which already exists: user: 'user:anna', relation: 'viewer', object: 'document:one': tuple to be written already existed or the tuple to be deleted did not exist")
	s.wantAllowed(t, nina, false)

	// Without a transaction: each by itself.
	each := ok2(s.client.Write(ctx).Body(sdk.ClientWriteRequest{Writes: []sdk.ClientTupleKey{nina, anna}, Deletes: []sdk.ClientTupleKeyWithoutCondition{without(gone)}}).
		Options(sdk.ClientWriteOptions{Transaction: &sdk.TransactionOptions{Disable: true, MaxPerChunk: 1, MaxParallelRequests: 2}}).Execute())(t)
	statuses := map[string]sdk.ClientWriteStatus{}
	for _, w := range each.Writes {
		statuses[w.TupleKey.User] = w.Status
	}
	for _, d := range each.Deletes {
		statuses[d.TupleKey.User] = d.Status
	}
	if diff := cmp.Diff(map[string]sdk.ClientWriteStatus{"user:nina": sdk.SUCCESS, "user:anna": sdk.FAILURE, "user:gone": sdk.FAILURE}, statuses); diff != "" {
		t.Errorf("writes without a transaction (-want +got):\n%s", diff)
	}
	s.wantAllowed(t, nina, true)

	// What is there, or is not, may be ignored.
	ok2(s.client.Write(ctx).Body(sdk.ClientWriteRequest{Writes: []sdk.ClientTupleKey{anna}, Deletes: []sdk.ClientTupleKeyWithoutCondition{without(gone)}}).
		Options(sdk.ClientWriteOptions{Conflict: sdk.ClientWriteConflictOptions{
			OnDuplicateWrites: sdk.CLIENT_WRITE_REQUEST_ON_DUPLICATE_WRITES_IGNORE, OnMissingDeletes: sdk.CLIENT_WRITE_REQUEST_ON_MISSING_DELETES_IGNORE,
		}}).Execute())(t)
	ok2(s.client.DeleteTuples(ctx).Body([]sdk.ClientTupleKeyWithoutCondition{without(anna), without(nina)}).Execute())(t)
	_, err = s.client.DeleteTuples(ctx).Body([]sdk.ClientTupleKeyWithoutCondition{without(anna)}).Execute()
	s.wantValidation(t, err, "write_failed_due_to_invalid_input", "cannot delete a tuple which does not exist: user: 'user:anna', relation: 'viewer', object: 'document:one': tuple to be written already existed or the tuple to be deleted did not exist")
}

func (s *session) reads(t *testing.T) {
	ctx := t.Context()
	one := ok2(s.client.Read(ctx).Body(sdk.ClientReadRequest{Object: openfga.PtrString("document:draft"), Relation: openfga.PtrString("guest")}).Execute())(t)
	wantJSON(t, "a tuple with its condition", one, `{"continuation_token":"","tuples":[{"timestamp":"<time>","key":{
		"object":"document:draft","relation":"guest","user":"user:gil","condition":{"name":"in_region","context":{"wanted":"north"}}}}]}`)

	var users []string
	options := sdk.ClientReadOptions{PageSize: openfga.PtrInt32(2)}
	calls := 0
	for range 20 {
		page := ok2(s.client.Read(ctx).Options(options).Execute())(t)
		calls++
		for _, tuple := range page.GetTuples() {
			users = append(users, tuple.Key.Object+"#"+tuple.Key.Relation+"@"+tuple.Key.User)
		}
		if page.GetContinuationToken() == "" {
			break
		}
		options.ContinuationToken = openfga.PtrString(page.GetContinuationToken())
	}
	wantSet(t, "all tuples", users,
		"group:design#member@user:anna", "group:all#member@group:design#member", "folder:plans#viewer@group:all#member", "document:plan#parent@folder:plans",
		"document:plan#owner@user:otto", "document:plan#blocked@user:anna", "document:notice#viewer@user:*", "document:draft#editor@group:design#member", "document:draft#guest@user:gil")
	if calls < 5 {
		t.Errorf("nine tuples came in %d pages of two", calls)
	}
	_, err := s.client.Read(ctx).Body(sdk.ClientReadRequest{User: openfga.PtrString("user:anna")}).Execute()
	s.wantValidation(t, err, "validation_error", "the 'tuple_key' field was provided but the object type field is required and both the object id and user cannot be empty")
}

func (s *session) changes(t *testing.T) {
	ctx := t.Context()
	groups := ok2(s.client.ReadChanges(ctx).Body(sdk.ClientReadChangesRequest{Type: "group"}).Execute())(t)
	wantJSON(t, "the changes of groups", groups, `{"continuation_token":"<token>","changes":[
		{"operation":"TUPLE_OPERATION_WRITE","timestamp":"<time>","tuple_key":{"object":"group:design","relation":"member","user":"user:anna"}},
		{"operation":"TUPLE_OPERATION_WRITE","timestamp":"<time>","tuple_key":{"object":"group:all","relation":"member","user":"group:design#member"}}]}`)
	token := groups.GetContinuationToken()
	same := ok2(s.client.ReadChanges(ctx).Body(sdk.ClientReadChangesRequest{Type: "group"}).Options(sdk.ClientReadChangesOptions{ContinuationToken: &token}).Execute())(t)
	if len(same.GetChanges()) != 0 || same.GetContinuationToken() != token {
		t.Errorf("nothing is new, but ReadChanges answers %+v", same)
	}

	ok2(s.client.WriteTuples(ctx).Body([]sdk.ClientTupleKey{key("group:late", "member", "user:lena")}).Execute())(t)
	ok2(s.client.DeleteTuples(ctx).Body([]sdk.ClientTupleKeyWithoutCondition{without(key("group:late", "member", "user:lena"))}).Execute())(t)
	more := ok2(s.client.ReadChanges(ctx).Body(sdk.ClientReadChangesRequest{Type: "group"}).Options(sdk.ClientReadChangesOptions{ContinuationToken: &token}).Execute())(t)
	wantJSON(t, "what is new", more.GetChanges(), `[
		{"operation":"TUPLE_OPERATION_WRITE","timestamp":"<time>","tuple_key":{"object":"group:late","relation":"member","user":"user:lena"}},
		{"operation":"TUPLE_OPERATION_DELETE","timestamp":"<time>","tuple_key":{"object":"group:late","relation":"member","user":"user:lena"}}]`)

	since := ok2(s.client.ReadChanges(ctx).Body(sdk.ClientReadChangesRequest{Type: "group", StartTime: time.Now().Add(-time.Hour)}).Execute())(t)
	if len(since.GetChanges()) != 4 {
		t.Errorf("%d changes of the last hour, want 4", len(since.GetChanges()))
	}
	_, err := s.client.ReadChanges(ctx).Body(sdk.ClientReadChangesRequest{Type: "group", StartTime: time.Now().Add(time.Hour)}).Execute()
	s.wantValidation(t, err, "validation_error", "invalid ReadChangesRequest.StartTime: value must be less than now")
}

// deleteStore ends the session.
func (s *session) deleteStore(t *testing.T) {
	ok2(s.client.DeleteStore(t.Context()).Execute())(t)
	_, err := s.client.GetStore(t.Context()).Execute()
	s.wantNotFound(t, err)
	ok2(s.client.DeleteStore(t.Context()).Execute())(t)
}

// A flaky proxy refuses the first request of each path once.
type flaky struct {
	*httptest.Server
	refused atomic.Int64
}

func newFlaky(t *testing.T, target string, refuse func(http.ResponseWriter)) *flaky {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	f := &flaky{}
	proxy := httputil.NewSingleHostReverseProxy(u)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/check") && f.refused.Add(1) == 1 {
			refuse(w)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}
