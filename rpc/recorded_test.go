package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A recorder checks that what is done is recorded with who did it.
type recorder struct {
	*rig
	author author
	base   string      // of HTTP
	answer metadata.MD // the headers of gRPC's answer, if they are wanted
	told   string      // the name of the request, as the answer has it: OpenFGA names requests itself
}

// recorded does something and looks at the newest change of the store, or of the group if
// there is none.
func (r *recorder) recorded(what, store string, do func() error) {
	r.t.Helper()
	r.author.request += "x" // another request each time
	if err := do(); err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
	if r.answer != nil && len(r.answer.Get(backend.HeaderRequestID)) == 1 {
		r.told = r.answer.Get(backend.HeaderRequestID)[0]
	}
	q := fsm.ChangeQuery{Backwards: true, Limit: 1}
	page, err := r.config.State.GroupChanges(q)
	if id, bad := fsm.ParseStoreID(store); bad == nil {
		page, err = r.config.State.Changes(id, q)
	}
	if err != nil || len(page.Changes) != 1 {
		r.t.Fatalf("%s: %+v, %v", what, page, err)
	}
	c, want := page.Changes[0], r.author
	if r.told != "" {
		want.request, r.told = r.told, ""
	}
	if got := (author{c.Principal, c.Actor, c.RequestID, c.Reason}); got != want {
		r.t.Errorf("%s is recorded with %+v, want %+v", what, got, want)
	}
}

// Every write of remit.v1 is recorded with the headers of its request, over each transport.
func TestWritesAreRecorded(t *testing.T) {
	rig := newRig(t)
	s := rig.serve()
	h2c := &http.Client{Transport: &http.Transport{Protocols: new(http.Protocols)}}
	h2c.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	for name, transport := range map[string]connect.Transport{
		"connect": connecthttp.NewTransport(http.DefaultClient, "http://"+s.Addr().String()),
		"json":    connecthttp.NewTransport(http.DefaultClient, "http://"+s.Addr().String(), connecthttp.WithProtoJSON()),
		"grpc":    connecthttp.NewTransport(h2c, "http://"+s.GRPCAddr().String(), connecthttp.WithGRPC()),
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{rig: rig, author: author{actor: "anna", request: name, reason: "ticket 7"}}
			c := newClients(transport)
			var store string
			r.recorded("CreateStore", "", func() error {
				made, err := c.stores.CreateStore(r.author.context(t), &remitv1.CreateStoreRequest{Name: name})
				store = made.GetStore().GetId()
				return err
			})
			r.recorded("WriteModel", store, func() error {
				_, err := c.models.WriteModel(r.author.context(t), &remitv1.WriteModelRequest{Store: store, Source: dsl(testModel)})
				return err
			})
			r.recorded("Write", store, func() error {
				_, err := c.tuples.Write(r.author.context(t), &remitv1.WriteRequest{Store: store, Operations: touch(t, "document:plan#owner@user:anna")})
				return err
			})
			r.recorded("SetRetention", store, func() error {
				_, err := c.stores.SetRetention(r.author.context(t), &remitv1.SetRetentionRequest{Store: store, Retention: retentionMessage(fsm.Forever)})
				return err
			})
			r.recorded("Import", store, func() error {
				_, err := imports(r.author.context(t), c, store, []*remitv1.Tuple{tuple(t, "document:plan#owner@user:bert")}, 1)
				return err
			})
			r.author.reason = "of its own"
			r.recorded("a write with a reason of its own", store, func() error {
				ctx := author{actor: "anna", request: r.author.request, reason: "of the header"}.context(t)
				_, err := c.tuples.Write(ctx, &remitv1.WriteRequest{Store: store, Reason: r.author.reason, Operations: touch(t, "document:plan#owner@user:cleo")})
				return err
			})
			r.recorded("DeleteStore", "", func() error {
				_, err := c.stores.DeleteStore(r.author.context(t), &remitv1.DeleteStoreRequest{StoreId: store})
				return err
			})
		})
	}
}

// The name of a request is kept so that every answer can hold it: one that cannot would keep
// all who audit or watch the store from its changes.
func TestOddRequestIDsCanBeTold(t *testing.T) {
	rig := newRig(t)
	transport := connecthttp.NewTransport(http.DefaultClient, "http://"+rig.serve().Addr().String())
	c, audit := newClients(transport), remitv1connect.NewAuditServiceClient(connect.NewClient(transport))
	store := rig.store("acme")
	long := strings.Repeat("n", 127) + "ü" // which is cut behind 128 bytes
	for _, given := range []string{"caf\xe9", "\xff\xfe", long} {
		ctx := author{request: given}.context(t)
		if _, err := c.tuples.Write(ctx, &remitv1.WriteRequest{Store: store, Operations: touch(t, "document:plan#owner@user:anna")}); err != nil {
			t.Fatalf("a write that is named %q: %v", given, err)
		}
	}
	res, err := audit.ListChanges(t.Context(), &remitv1.ListChangesRequest{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, change := range res.Changes {
		told = append(told, change.RequestId)
	}
	for _, want := range []string{"caf", "", long[:127]} {
		if !slices.Contains(told, want) {
			t.Errorf("changes of the requests %q, want one of %q", told, want)
		}
	}
}

const recordedModel = `{"schema_version":"1.1","type_definitions":[{"type":"user"},{"type":"document","relations":{"viewer":{"this":{}}},` +
	`"metadata":{"relations":{"viewer":{"directly_related_user_types":[{"type":"user"}]}}}}]}`

// Every write of the OpenFGA face over gRPC.
func TestWritesOfOpenFGAAreRecorded(t *testing.T) {
	rig := newRig(t)
	fga := openfgav1.NewOpenFGAServiceClient(dial(t, rig.serve().GRPCAddr()))
	r := &recorder{rig: rig, author: author{actor: "anna", request: "r", reason: "ticket 7"}}
	header := grpc.Header(&r.answer)
	ctx := func() context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), strings.ToLower(backend.HeaderActor), r.author.actor,
			strings.ToLower(backend.HeaderRequestID), r.author.request, strings.ToLower(backend.HeaderReason), r.author.reason)
	}
	var store, model string
	r.recorded("CreateStore", "", func() error {
		made, err := fga.CreateStore(ctx(), &openfgav1.CreateStoreRequest{Name: "acme"}, header)
		store = made.GetId()
		return err
	})
	r.recorded("WriteAuthorizationModel", store, func() error {
		req := &openfgav1.WriteAuthorizationModelRequest{}
		if err := protojson.Unmarshal([]byte(recordedModel), req); err != nil {
			return err
		}
		req.StoreId = store
		res, err := fga.WriteAuthorizationModel(ctx(), req, header)
		model = res.GetAuthorizationModelId()
		return err
	})
	key := &openfgav1.TupleKey{Object: "document:plan", Relation: "viewer", User: "user:anna"}
	r.recorded("Write", store, func() error {
		_, err := fga.Write(ctx(), &openfgav1.WriteRequest{StoreId: store, Writes: &openfgav1.WriteRequestWrites{TupleKeys: []*openfgav1.TupleKey{key}}}, header)
		return err
	})
	r.recorded("WriteAssertions", store, func() error {
		_, err := fga.WriteAssertions(ctx(), &openfgav1.WriteAssertionsRequest{StoreId: store, AuthorizationModelId: model, Assertions: []*openfgav1.Assertion{{
			TupleKey: &openfgav1.AssertionTupleKey{Object: key.Object, Relation: key.Relation, User: key.User}, Expectation: true,
		}}}, header)
		return err
	})
	r.recorded("DeleteStore", "", func() error {
		_, err := fga.DeleteStore(ctx(), &openfgav1.DeleteStoreRequest{StoreId: store}, header)
		return err
	})
}

// send is curl with the author's headers. It returns what the pattern's field holds.
func (r *recorder) send(method, path, body, field string) (string, error) {
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.base+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(backend.HeaderActor, r.author.actor)
	req.Header.Set(backend.HeaderRequestID, r.author.request)
	req.Header.Set(backend.HeaderReason, r.author.reason)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	r.told = res.Header.Get(backend.HeaderRequestID)
	answer, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err == nil && res.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", res.Status, answer)
	}
	_, rest, _ := strings.Cut(strings.ReplaceAll(string(answer), " ", ""), `"`+field+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value, err
}

// Every write of the OpenFGA face over REST, and of remit.v1 in JSON.
func TestWritesOfRESTAreRecorded(t *testing.T) {
	rig := newRig(t)
	r := &recorder{rig: rig, author: author{actor: "anna ü", request: "r", reason: "ticket 7"}, base: "http://" + rig.serve().Addr().String()}
	var store, model string
	sent := func(what, in, method, path, body string) {
		t.Helper()
		r.recorded(what, in, func() error {
			_, err := r.send(method, path, body, "")
			return err
		})
	}
	r.recorded("CreateStore", "", func() (err error) {
		store, err = r.send("POST", "/stores", `{"name":"acme"}`, "id")
		return err
	})
	r.recorded("WriteAuthorizationModel", store, func() (err error) {
		model, err = r.send("POST", "/stores/"+store+"/authorization-models", recordedModel, "authorization_model_id")
		return err
	})
	key := `{"object":"document:plan","relation":"viewer","user":"user:anna"}`
	sent("Write", store, "POST", "/stores/"+store+"/write", `{"writes":{"tuple_keys":[`+key+`]}}`)
	sent("WriteAssertions", store, "PUT", "/stores/"+store+"/assertions/"+model, `{"assertions":[{"tuple_key":`+key+`,"expectation":true}]}`)
	sent("a write in JSON", store, "POST", "/remit.v1.TupleService/Write",
		`{"store":"`+store+`","operations":[{"kind":"KIND_DELETE","tuple":{"object":"document:plan","relation":"viewer","subject":"user:anna"}}]}`)
	sent("DeleteStore", "", "DELETE", "/stores/"+store, "")
}
