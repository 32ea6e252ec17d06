package conformance

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	openfga "github.com/openfga/go-sdk"
	sdk "github.com/openfga/go-sdk/client"
)

func (s *session) wantAllowed(t *testing.T, k sdk.ClientTupleKey, want bool) {
	t.Helper()
	got := ok2(s.client.Check(t.Context()).Body(sdk.ClientCheckRequest{Object: k.Object, Relation: k.Relation, User: k.User}).Execute())(t)
	if got.GetAllowed() != want {
		t.Errorf("Check(%s#%s@%s) = %v, want %v", k.Object, k.Relation, k.User, got.GetAllowed(), want)
	}
}

// wantValidation tells an error of status 400 apart as the SDK does.
func (s *session) wantValidation(t *testing.T, err error, code, message string) {
	t.Helper()
	var e openfga.FgaApiValidationError
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no validation error", err, err)
	}
	model, _ := e.Model().(openfga.ValidationErrorMessageResponse)
	if string(e.ResponseCode()) != code || model.GetMessage() != message || e.ResponseStatusCode() != http.StatusBadRequest {
		t.Errorf("refused with %d %s %q, want 400 %s %q", e.ResponseStatusCode(), e.ResponseCode(), model.GetMessage(), code, message)
	}
	if e.ResponseHeader().Get("X-Request-Id") == "" {
		t.Error("a refusal without X-Request-Id")
	}
}

func (s *session) wantNotFound(t *testing.T, err error) {
	t.Helper()
	var e openfga.FgaApiNotFoundError
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no not-found error", err, err)
	}
	if e.ResponseCode() != openfga.NOTFOUNDERRORCODE_STORE_ID_NOT_FOUND || e.ResponseStatusCode() != http.StatusNotFound {
		t.Errorf("refused with %d %s, want 404 store_id_not_found", e.ResponseStatusCode(), e.ResponseCode())
	}
}

func (s *session) checks(t *testing.T) {
	ctx := t.Context()
	s.wantAllowed(t, key("document:plan", "viewer", "user:anna"), true)
	s.wantAllowed(t, key("document:plan", "reader", "user:anna"), false)
	s.wantAllowed(t, key("document:notice", "viewer", "user:stranger"), true)
	s.wantAllowed(t, key("document:plan", "viewer", "group:design#member"), true)

	guest := sdk.ClientCheckRequest{Object: "document:draft", Relation: "guest", User: "user:gil"}
	for _, c := range []struct {
		level float64
		want  bool
	}{{3, true}, {2, false}} {
		guest.Context = &map[string]any{"region": "north", "level": c.level}
		if got := ok2(s.client.Check(ctx).Body(guest).Execute())(t); got.GetAllowed() != c.want {
			t.Errorf("Check at level %v = %v, want %v", c.level, got.GetAllowed(), c.want)
		}
	}
	guest.Context = nil
	_, err := s.client.Check(ctx).Body(guest).Execute()
	s.wantValidation(t, err, "validation_error", "failed to evaluate relationship condition: 'in_region' - tuple 'document:draft#guest@user:gil' is missing context parameters '[level region]'")

	higher := openfga.CONSISTENCYPREFERENCE_HIGHER_CONSISTENCY
	nina := sdk.ClientCheckRequest{Object: "document:plan", Relation: "viewer", User: "user:nina", ContextualTuples: []sdk.ClientContextualTupleKey{key("group:design", "member", "user:nina")}}
	if got := ok2(s.client.Check(ctx).Body(nina).Options(sdk.ClientCheckOptions{Consistency: &higher}).Execute())(t); !got.GetAllowed() {
		t.Error("a contextual tuple lets nobody in")
	}
	s.wantAllowed(t, key("document:plan", "viewer", "user:nina"), false)

	// Under the first model nothing of this exists.
	_, err = s.client.Check(ctx).Body(nina).Options(sdk.ClientCheckOptions{AuthorizationModelId: &s.first}).Execute()
	s.wantValidation(t, err, "validation_error", "invalid relation: type 'document' not found")
}

func (s *session) batches(t *testing.T) {
	ctx := t.Context()
	questions := []sdk.ClientCheckRequest{
		{Object: "document:plan", Relation: "viewer", User: "user:anna"},
		{Object: "document:plan", Relation: "reader", User: "user:anna"},
		{Object: "document:plan", Relation: "printer", User: "user:anna"},
	}
	each := ok2(s.client.ClientBatchCheck(ctx).Body(questions).Execute())(t)
	if len(*each) != 3 {
		t.Fatalf("%d answers to 3 questions", len(*each))
	}
	for i := range *each {
		answer := &(*each)[i]
		switch answer.Request.Relation {
		case "viewer", "reader":
			if answer.Error != nil || answer.GetAllowed() != (answer.Request.Relation == "viewer") {
				t.Errorf("%s: %v, %v", answer.Request.Relation, answer.GetAllowed(), answer.Error)
			}
		case "printer":
			s.wantValidation(t, answer.Error, "validation_error", "invalid relation: relation 'document#printer' not found")
		}
	}

	var checks []sdk.ClientBatchCheckItem
	for i, q := range questions {
		checks = append(checks, sdk.ClientBatchCheckItem{Object: q.Object, Relation: q.Relation, User: q.User, CorrelationId: []string{"see", "read", "print"}[i]})
	}
	checks = append(checks, sdk.ClientBatchCheckItem{
		Object: "document:plan", Relation: "viewer", User: "user:nina", CorrelationId: "context",
		ContextualTuples: []sdk.ClientContextualTupleKey{key("group:design", "member", "user:nina")},
	}, sdk.ClientBatchCheckItem{
		Object: "document:draft", Relation: "guest", User: "user:gil", CorrelationId: "condition", Context: &map[string]any{"region": "north", "level": 3},
	})
	for i := range 60 { // more than one request takes
		checks = append(checks, sdk.ClientBatchCheckItem{Object: "document:plan", Relation: "owner", User: "user:otto", CorrelationId: fmt.Sprintf("owner-%d", i)})
	}
	together := ok2(s.client.BatchCheck(ctx).Body(sdk.ClientBatchCheckRequest{Checks: checks}).Execute())(t)
	result := together.GetResult()
	if len(result) != len(checks) {
		t.Errorf("%d answers to %d questions", len(result), len(checks))
	}
	for id, want := range map[string]string{
		"see": `{"allowed":true}`, "read": `{"allowed":false}`, "context": `{"allowed":true}`, "condition": `{"allowed":true}`,
		"print": `{"error":{"input_error":"validation_error","message":"invalid relation: relation 'document#printer' not found"}}`,
	} {
		wantJSON(t, id, result[id], want)
	}
	allowed := 0
	for _, r := range result {
		if r.GetAllowed() {
			allowed++
		}
	}
	if allowed != 63 {
		t.Errorf("%d of the batch are allowed, want 63", allowed)
	}
}

func (s *session) lists(t *testing.T) {
	ctx := t.Context()
	objects := ok2(s.client.ListObjects(ctx).Body(sdk.ClientListObjectsRequest{Type: "document", Relation: "viewer", User: "user:anna"}).Execute())(t)
	wantSet(t, "what anna views", objects.GetObjects(), "document:plan", "document:draft", "document:notice")
	objects = ok2(s.client.ListObjects(ctx).Body(sdk.ClientListObjectsRequest{
		Type: "document", Relation: "viewer", User: "user:nina", ContextualTuples: []sdk.ClientContextualTupleKey{key("document:extra", "owner", "user:nina")},
	}).Execute())(t)
	wantSet(t, "what nina views with a contextual tuple", objects.GetObjects(), "document:extra", "document:notice")
	objects = ok2(s.client.ListObjects(ctx).Body(sdk.ClientListObjectsRequest{
		Type: "document", Relation: "guest", User: "user:gil", Context: &map[string]any{"region": "north", "level": 3},
	}).Execute())(t)
	wantSet(t, "what gil visits", objects.GetObjects(), "document:draft")

	stream := ok2(s.client.StreamedListObjects(ctx).Body(sdk.ClientStreamedListObjectsRequest{Type: "document", Relation: "viewer", User: "user:anna"}).Execute())(t)
	defer stream.Close()
	var streamed []string
	for object := range stream.Objects {
		streamed = append(streamed, object.GetObject())
	}
	if err := <-stream.Errors; err != nil {
		t.Errorf("the stream ends with %v", err)
	}
	wantSet(t, "what anna views, streamed", streamed, "document:plan", "document:draft", "document:notice")

	relations := ok2(s.client.ListRelations(ctx).Body(sdk.ClientListRelationsRequest{
		Object: "document:plan", User: "user:anna", Relations: []string{"viewer", "reader", "owner", "blocked"},
	}).Execute())(t)
	wantSet(t, "what anna is to the plan", relations.Relations, "viewer", "blocked")

	filter := func(kind, relation string) []openfga.UserTypeFilter {
		f := openfga.UserTypeFilter{Type: kind}
		if relation != "" {
			f.Relation = &relation
		}
		return []openfga.UserTypeFilter{f}
	}
	users := ok2(s.client.ListUsers(ctx).Body(sdk.ClientListUsersRequest{Object: openfga.FgaObject{Type: "document", Id: "plan"}, Relation: "owner", UserFilters: filter("user", "")}).Execute())(t)
	wantJSON(t, "who owns the plan", users, `{"users":[{"object":{"type":"user","id":"otto"}}]}`)
	users = ok2(s.client.ListUsers(ctx).Body(sdk.ClientListUsersRequest{Object: openfga.FgaObject{Type: "document", Id: "notice"}, Relation: "viewer", UserFilters: filter("user", "")}).Execute())(t)
	wantJSON(t, "who views the notice", users, `{"users":[{"wildcard":{"type":"user"}}]}`)
	users = ok2(s.client.ListUsers(ctx).Body(sdk.ClientListUsersRequest{Object: openfga.FgaObject{Type: "document", Id: "draft"}, Relation: "editor", UserFilters: filter("group", "member")}).Execute())(t)
	wantJSON(t, "which groups edit the draft", users, `{"users":[{"userset":{"type":"group","id":"design","relation":"member"}}]}`)
}

func (s *session) expand(t *testing.T) {
	ctx := t.Context()
	tree := ok2(s.client.Expand(ctx).Body(sdk.ClientExpandRequest{Object: "document:plan", Relation: "viewer"}).Execute())(t)
	wantJSON(t, "the tree", tree, `{"tree":{"root":{"name":"document:plan#viewer","union":{"nodes":[
		{"name":"document:plan#viewer","leaf":{"users":{"users":[]}}},
		{"name":"document:plan#viewer","leaf":{"computed":{"userset":"document:plan#editor"}}},
		{"name":"document:plan#viewer","leaf":{"tupleToUserset":{"tupleset":"document:plan#parent","computed":[{"userset":"folder:plans#viewer"}]}}}]}}}}`)
	tree = ok2(s.client.Expand(ctx).Body(sdk.ClientExpandRequest{
		Object: "document:plan", Relation: "owner", ContextualTuples: []sdk.ClientContextualTupleKey{key("document:other", "owner", "user:nina")},
	}).Execute())(t)
	wantJSON(t, "the tree of owners", tree, `{"tree":{"root":{"name":"document:plan#owner","leaf":{"users":{"users":["user:otto"]}}}}}`)
}

func (s *session) assertions(t *testing.T) {
	ctx := t.Context()
	none := ok2(s.client.ReadAssertions(ctx).Execute())(t)
	wantJSON(t, "no assertions", none, `{"authorization_model_id":"<id>","assertions":[]}`)
	ok2(s.client.WriteAssertions(ctx).Body(sdk.ClientWriteAssertionsRequest{
		{Object: "document:plan", Relation: "viewer", User: "user:anna", Expectation: true},
		{
			Object: "document:draft", Relation: "guest", User: "user:gil", Context: &map[string]any{"region": "south"},
			ContextualTuples: []sdk.ClientContextualTupleKey{key("group:design", "member", "user:gil")},
		},
	}).Execute())(t)
	both := ok2(s.client.ReadAssertions(ctx).Execute())(t)
	wantJSON(t, "both assertions", both, `{"authorization_model_id":"<id>","assertions":[
		{"expectation":true,"contextual_tuples":[],"tuple_key":{"object":"document:plan","relation":"viewer","user":"user:anna"}},
		{"expectation":false,"context":{"region":"south"},"contextual_tuples":[{"object":"group:design","relation":"member","user":"user:gil"}],
		 "tuple_key":{"object":"document:draft","relation":"guest","user":"user:gil"}}]}`)
}

func (s *session) errors(t *testing.T) {
	ctx := t.Context()
	nowhere := "01HVMMBCMGZNTGTTYYYYYYYYYY"
	_, err := s.client.GetStore(ctx).Options(sdk.ClientGetStoreOptions{StoreId: &nowhere}).Execute()
	s.wantNotFound(t, err)
	question := sdk.ClientCheckRequest{Object: "document:plan", Relation: "viewer", User: "user:anna"}
	_, err = s.client.Check(ctx).Body(question).Options(sdk.ClientCheckOptions{AuthorizationModelId: &nowhere}).Execute()
	s.wantValidation(t, err, "authorization_model_not_found", "Authorization Model '"+nowhere+"' not found")
	_, err = s.client.Check(ctx).Body(sdk.ClientCheckRequest{Object: "plan", Relation: "viewer", User: "user:anna"}).Execute()
	s.wantValidation(t, err, "validation_error", "invalid relation: invalid 'object' field format")
	_, err = s.client.Write(ctx).Body(sdk.ClientWriteRequest{Writes: []sdk.ClientTupleKey{key("document:one", "owner", "robot:r2")}}).Execute()
	s.wantValidation(t, err, "validation_error", "Invalid tuple 'document:one#owner@robot:r2'. Reason: type 'robot' not found")
	_, err = s.client.CreateStore(ctx).Body(sdk.ClientCreateStoreRequest{Name: "x"}).Execute()
	s.wantValidation(t, err, "validation_error", `invalid CreateStoreRequest.Name: value does not match regex pattern "^[a-zA-Z0-9\\s\\.\\-\\/^_&@]{3,64}$"`)
	_, err = s.client.ListStores(ctx).Options(sdk.ClientListStoresOptions{PageSize: openfga.PtrInt32(101)}).Execute()
	s.wantValidation(t, err, "page_size_invalid", "invalid ListStoresRequest.PageSize: value must be inside range [1, 100]")
	_, err = s.client.ReadChanges(ctx).Options(sdk.ClientReadChangesOptions{ContinuationToken: openfga.PtrString("bad")}).Execute()
	s.wantValidation(t, err, "invalid_continuation_token", "Invalid continuation token")
}

// The SDK takes a refusal for what it is and tries again.
func (s *session) retries(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter){
		"too many requests": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"unavailable": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
	} {
		t.Run(name, func(t *testing.T) {
			proxy := newFlaky(t, s.target.URL, refuse)
			client := newClient(t, proxy.URL)
			if err := errors.Join(client.SetStoreId(s.store), client.SetAuthorizationModelId(s.model)); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			got := ok2(client.Check(t.Context()).Body(sdk.ClientCheckRequest{Object: "document:plan", Relation: "viewer", User: "user:anna"}).Execute())(t)
			if !got.GetAllowed() || proxy.refused.Load() != 2 {
				t.Errorf("allowed %v after %d attempts", got.GetAllowed(), proxy.refused.Load())
			}
			if name == "too many requests" && time.Since(begin) < time.Second {
				t.Errorf("tried again after %s, told to wait a second", time.Since(begin))
			}
		})
	}
}

// Remit's token, sent back, makes a later read see the write. OpenFGA has none.
func (s *session) readYourWrites(t *testing.T) {
	ctx := t.Context()
	k := key("document:fresh", "owner", "user:anna")
	written := ok2(s.client.Write(ctx).Body(sdk.ClientWriteRequest{Writes: []sdk.ClientTupleKey{k}}).Execute())(t)
	token := written.Writes[0].HttpResponse.Header.Get("Remit-Token")
	if (token != "") != (s.target.Name == Remit) {
		t.Fatalf("%s sends the token %q", s.target.Name, token)
	}
	options := sdk.ClientCheckOptions{RequestOptions: sdk.RequestOptions{Headers: map[string]string{"Remit-Token": token}}}
	got := ok2(s.client.Check(ctx).Body(sdk.ClientCheckRequest{Object: k.Object, Relation: k.Relation, User: k.User}).Options(options).Execute())(t)
	if !got.GetAllowed() || s.target.Name == Remit && got.HttpResponse.Header.Get("Remit-Token") == "" {
		t.Errorf("allowed %v, headers %v", got.GetAllowed(), got.HttpResponse.Header)
	}
	if s.target.Name == Remit {
		options.Headers = map[string]string{"Remit-Token": "no token"}
		if _, err := s.client.Check(ctx).Body(sdk.ClientCheckRequest{Object: k.Object, Relation: k.Relation, User: k.User}).Options(options).Execute(); err == nil {
			t.Error("a token that is none is accepted")
		}
	}
}
