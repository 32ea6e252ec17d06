package rpc

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/remit-authz/remit/fsm"
)

// OpenFGA's clients and AuthZEN's learn in their own words that they are strangers, or may
// not do this; their changes are recorded under who they are.
func TestOpenFGAFaceAsksWhoCalls(t *testing.T) {
	g := newGuarded(t, nil)
	shop, other := g.store("shop", acme...), g.store("other", acme...)
	key := g.key("shop-web", onStore(shop, toRead, toWrite))
	s := g.serve()
	ask := func(method, path, authorization, body string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addr().String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Remit-Actor", "user:ann")
		req.Header.Set("Remit-Reason", "because")
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		data, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ Code string }
		_ = json.Unmarshal(data, &m) // a good answer has none
		return res.StatusCode, m.Code, res.Header
	}
	const check = `{"tuple_key":{"user":"user:olga","relation":"reader","object":"document:plan"}}`
	const evaluation = `{"subject":{"type":"user","id":"olga"},"action":{"name":"reader"},"resource":{"type":"document","id":"plan"}}`
	for _, tc := range []struct {
		name, method, path, authorization, body string
		status                                  int
		code                                    string
	}{
		{"no key", "POST", "/stores/" + shop + "/check", "", check, 401, "bearer_token_missing"},
		{"no key, and a body that is none", "POST", "/stores/" + shop + "/check", "", "{", 401, "bearer_token_missing"},
		{"a key of others", "POST", "/stores/" + shop + "/check", "Bearer other", check, 401, "unauthenticated"},
		{"the right key", "POST", "/stores/" + shop + "/check", "Bearer " + key, check, 200, ""},
		{"another store", "POST", "/stores/" + other + "/check", "Bearer " + key, check, 403, "forbidden"},
		{"no store", "POST", "/stores/" + otherStore + "/check", "Bearer " + key, check, 403, "forbidden"},
		{"another store, streamed", "POST", "/stores/" + other + "/streamed-list-objects", "Bearer " + key, `{"user":"user:olga","relation":"reader","type":"document"}`, 403, ""},
		{"no key, streamed", "POST", "/stores/" + shop + "/streamed-list-objects", "", `{"user":"user:olga","relation":"reader","type":"document"}`, 401, "bearer_token_missing"},
		{"streamed", "POST", "/stores/" + shop + "/streamed-list-objects", "Bearer " + key, `{"user":"user:olga","relation":"reader","type":"document"}`, 200, ""},
		{"a store of one's own", "POST", "/stores", "Bearer " + key, `{"name":"mine"}`, 403, "forbidden"},
		{"the stores", "GET", "/stores", "Bearer " + key, "", 200, ""},
		{"the end of a store", "DELETE", "/stores/" + shop, "Bearer " + key, "", 403, "forbidden"},
		{"AuthZEN", "POST", "/stores/" + shop + "/access/v1/evaluation", "Bearer " + key, evaluation, 200, ""},
		{"AuthZEN without a key", "POST", "/stores/" + shop + "/access/v1/evaluation", "", evaluation, 401, "bearer_token_missing"},
		{"AuthZEN of another store", "POST", "/stores/" + other + "/access/v1/evaluation", "Bearer " + key, evaluation, 403, "forbidden"},
	} {
		status, code, header := ask(tc.method, tc.path, tc.authorization, tc.body)
		if status != tc.status || code != tc.code || (status == 401) != (header.Get("Www-Authenticate") != "") {
			t.Errorf("%s: %d %q, want %d %q; WWW-Authenticate %q", tc.name, status, code, tc.status, tc.code, header.Get("Www-Authenticate"))
		}
	}

	// The raw codes are OpenFGA's over gRPC, too.
	fga := openfgav1.NewOpenFGAServiceClient(dial(t, s.GRPCAddr()))
	with := func(authorization string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", authorization)
	}
	for _, tc := range []struct {
		ctx   context.Context
		store string
		want  codes.Code
	}{
		{t.Context(), shop, codes.Code(openfgav1.AuthErrorCode_bearer_token_missing)},
		{with("Bearer nothing"), shop, codes.Code(openfgav1.AuthErrorCode_unauthenticated)},
		{with("Bearer " + key), other, codes.Code(openfgav1.AuthErrorCode_forbidden)},
		{with("Bearer " + key), shop, codes.OK},
	} {
		_, err := fga.Check(tc.ctx, &openfgav1.CheckRequest{StoreId: tc.store, TupleKey: &openfgav1.CheckRequestTupleKey{User: "user:olga", Relation: "reader", Object: "document:plan"}})
		if got := status.Code(err); got != tc.want {
			t.Errorf("Check of %s = %v, want code %d", tc.store, err, tc.want)
		}
	}

	if status, code, _ := ask("POST", "/stores/"+shop+"/write", "Bearer "+key, `{"writes":{"tuple_keys":[{"user":"user:bob","relation":"owner","object":"document:new"}]}}`); status != 200 {
		t.Fatalf("write: %d %s", status, code)
	}
	id, err := fsm.ParseStoreID(shop)
	if err != nil {
		t.Fatal(err)
	}
	last := lastChange(t, g.rig, id)
	if last.Principal != "key:shop-web" || last.Actor != "user:ann" || last.Reason != "because" {
		t.Errorf("the change is recorded as of %q for %q, because %q", last.Principal, last.Actor, last.Reason)
	}
}

// lastChange is the last change of a store.
func lastChange(t *testing.T, r *rig, store fsm.StoreID) *fsm.Change {
	t.Helper()
	page, err := r.config.State.Changes(store, fsm.ChangeQuery{Backwards: true, Limit: 1})
	if err != nil || len(page.Changes) == 0 {
		t.Fatal(page, err)
	}
	return page.Changes[0]
}
