package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// managedStore makes a managed store with the test's model and some tuples, as a planner
// does.
func (r *rig) managedStore(name string, tuples ...string) string {
	r.t.Helper()
	id, err := backend.NewReader(r.config.backend()).NewID()
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := model.ParseDSL("", testModel)
	if err != nil {
		r.t.Fatal(err)
	}
	source, err := m.JSON()
	if err != nil {
		r.t.Fatal(err)
	}
	store := fsm.StoreID(id)
	for _, c := range []*fsm.Command{
		{Store: store, Body: &fsm.CreateStore{Name: name, Managed: true}},
		{Store: store, Planned: true, Bumps: []string{backend.ModelScope}, Body: &fsm.WriteModel{ID: fsm.ModelID(id), Source: source, Declarations: m.Declarations()}},
	} {
		if res := r.propose(c); res.Err != nil {
			r.t.Fatal(res.Err)
		}
	}
	r.plan(store.String(), fsm.TouchTuple, tuples...)
	return store.String()
}

// plan writes tuples to a managed store as its planner.
func (r *rig) plan(store string, kind fsm.OperationKind, tuples ...string) {
	r.t.Helper()
	head, err := backend.FindStore(r.t.Context(), r.config.State.Current(), "store", store)
	if err != nil {
		r.t.Fatal(err)
	}
	write := &fsm.Write{}
	for _, text := range tuples {
		parsed, err := graph.ParseTuple(text)
		if err != nil {
			r.t.Fatal(err)
		}
		key, err := storedKey(head.Symbols(), "tuple", parsed)
		if err != nil {
			r.t.Fatal(err)
		}
		write.Operations = append(write.Operations, fsm.Operation{Kind: kind, Tuple: key})
	}
	if res := r.propose(&fsm.Command{Store: head.ID(), Planned: true, Body: write}); res.Err != nil {
		r.t.Fatal(res.Err)
	}
}

// rawWrites are the procedures that write tuples, documents or models as they are, by
// what each does to a store.
var rawWrites = map[protoreflect.FullName]func(ctx context.Context, c clients, store string) error{
	"remit.v1.TupleService.Write": func(ctx context.Context, c clients, store string) error {
		_, err := c.tuples.Write(ctx, &remitv1.WriteRequest{Store: store, IdempotencyKey: "k", Operations: []*remitv1.Operation{put("document:plan", "owner", "user:bert")}})
		return err
	},
	"remit.v1.TupleService.DeleteTuples": func(ctx context.Context, c clients, store string) error {
		stream, err := c.tuples.DeleteTuples(ctx, &remitv1.DeleteTuplesRequest{Store: store, Everything: true, ExpectedCount: proto.Uint64(100)})
		for err == nil {
			_, err = stream.Receive()
		}
		return err
	},
	"remit.v1.ModelService.WriteModel": func(ctx context.Context, c clients, store string) error {
		_, err := c.models.WriteModel(ctx, &remitv1.WriteModelRequest{Store: store, Source: dsl(strings.Replace(testModel, "type user", "type user\n\ntype other", 1))})
		return err
	},
	"remit.v1.TransferService.Import": func(ctx context.Context, c clients, store string) error {
		_, err := imports(ctx, c, store, []*remitv1.Tuple{{Object: "document:plan", Relation: "owner", Subject: "user:bert"}}, 1)
		return err
	},
	"remit.v1.EraseService.Erase": func(ctx context.Context, c clients, store string) error {
		stream, err := c.erasures.Erase(ctx, &remitv1.EraseRequest{Store: store, Entity: "user:anna", LeaveMentions: true})
		for err == nil {
			_, err = stream.Receive()
		}
		return err
	},
}

// harmless are the other procedures that may change something, or do not say that they do
// not, and why they may be used on a managed store, if they are about one at all.
var harmless = map[protoreflect.FullName]string{
	"remit.v1.AccessService.StreamObjects":       "reads",
	"remit.v1.AccessService.StreamSubjects":      "reads",
	"remit.v1.BackupService.Save":                "reads",
	"remit.v1.TransferService.Export":            "reads",
	"remit.v1.WatchService.Watch":                "reads",
	"remit.v1.ClusterService.AddMember":          "the cluster",
	"remit.v1.ClusterService.RemoveMember":       "the cluster",
	"remit.v1.ClusterService.PromoteMember":      "the cluster",
	"remit.v1.ClusterService.DemoteMember":       "the cluster",
	"remit.v1.ClusterService.TransferLeadership": "the cluster",
	"remit.v1.ClusterService.SetAutopilot":       "the cluster",
	"remit.v1.IdentityService.CreateKey":         "keys",
	"remit.v1.IdentityService.RotateKey":         "keys",
	"remit.v1.IdentityService.RevokeKey":         "keys",
	"remit.v1.IdentityService.SetGrants":         "keys",
	"remit.v1.StoreService.CreateStore":          "makes another store",
	"remit.v1.StoreService.SetRetention":         "the past alone",
	"remit.v1.StoreService.DeleteStore":          "the store as a whole",
}

// openfgaProcedures are those of OpenFGA's API, by whether they write tuples or models.
var openfgaProcedures = map[protoreflect.Name]bool{
	"Write": true, "WriteAuthorizationModel": true,

	"Read": false, "Check": false, "BatchCheck": false, "Expand": false, "ListObjects": false, "StreamedListObjects": false, "ListUsers": false,
	"ReadAuthorizationModels": false, "ReadAuthorizationModel": false, "ReadChanges": false, "ReadAssertions": false,
	"WriteAssertions": false, // what somebody expects of a model
	"CreateStore":     false, "UpdateStore": false, "DeleteStore": false, "GetStore": false, "ListStores": false,
}

// Whoever adds a procedure decides here what it may do to a managed store.
func TestEveryProcedureIsJudgedByWhatItWrites(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	protoregistry.GlobalFiles.RangeFilesByPackage("remit.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				name := m.FullName()
				seen[name] = true
				reads := m.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
				_, refused := rawWrites[name]
				_, spared := harmless[name]
				if planner := s.Name() == "OrganisationService"; !planner && !reads && refused == spared {
					t.Errorf("%s may change something: say whether it writes tuples, documents or models", name)
				}
			}
		}
		return true
	})
	for name := range rawWrites {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
	services := openfgav1.File_openfga_v1_openfga_service_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			if name := services.Get(i).Methods().Get(j).Name(); !knownOpenFGA(name) {
				t.Errorf("OpenFGA's %s may change something: say whether it writes tuples or models", name)
			}
		}
	}
}

func knownOpenFGA(name protoreflect.Name) bool { _, ok := openfgaProcedures[name]; return ok }

// A managed store refuses raw writes by every procedure and over every protocol, says what
// to do instead, and is as it was.
func TestManagedStoresRefuseRawWrites(t *testing.T) {
	r := newRig(t)
	store := r.managedStore("acme org", acme...)
	s := r.serve()
	speakers := r.every(s)
	speakers["in process"] = r.clients
	_, before := r.config.State.StateHash()
	for protocol, c := range speakers {
		for name, write := range rawWrites {
			text := wantReason(t, protocol+" "+string(name), write(t.Context(), c, store), connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_STORE_MANAGED)
			if !strings.Contains(text, "OrganisationService or remit org") {
				t.Errorf("%s says %q, not what to use instead", name, text)
			}
		}
	}
	r.refusedByOpenFGA(t, s, store)
	for name, c := range map[string]func() error{
		"a preview of a deletion": func() error {
			_, _, err := r.deletion(&remitv1.DeleteTuplesRequest{Store: store, Everything: true, Preview: true})
			return err
		},
		"the model that is there": func() error {
			_, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(testModel)})
			return err
		},
		"a write of nothing new": func() error {
			return r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: touch(t, acme[0])})
		},
		"by name": func() error {
			return r.tryWrite(&remitv1.WriteRequest{Store: "acme org", Operations: touch(t, acme[0])})
		},
	} {
		wantReason(t, name, c(), connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_STORE_MANAGED)
	}
	if _, after := r.config.State.StateHash(); after != before {
		t.Error("a refused write changed the state")
	}
	// The same writes are possible elsewhere: what refuses them is that the store is managed.
	for name, write := range rawWrites {
		shop := r.store("shop "+string(name), acme...)
		if err := write(t.Context(), r.clients, shop); err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("%s of another store: %v", name, err)
		}
	}
}

// refusedByOpenFGA tries OpenFGA's writes over gRPC and HTTP.
func (r *rig) refusedByOpenFGA(t *testing.T, s *Server, store string) {
	t.Helper()
	fga := openfgav1.NewOpenFGAServiceClient(dial(t, s.GRPCAddr()))
	keys := []*openfgav1.TupleKey{{Object: "document:plan", Relation: "owner", User: "user:bert"}}
	_, written := fga.Write(t.Context(), &openfgav1.WriteRequest{StoreId: store, Writes: &openfgav1.WriteRequestWrites{TupleKeys: keys}})
	_, deleted := fga.Write(t.Context(), &openfgav1.WriteRequest{StoreId: store, Deletes: &openfgav1.WriteRequestDeletes{
		TupleKeys: []*openfgav1.TupleKeyWithoutCondition{{Object: "folder:plans", Relation: "owner", User: "user:olga"}},
	}})
	_, modelled := fga.WriteAuthorizationModel(t.Context(), &openfgav1.WriteAuthorizationModelRequest{
		StoreId: store, SchemaVersion: "1.1", TypeDefinitions: []*openfgav1.TypeDefinition{{Type: "user"}},
	})
	for name, err := range map[string]error{"Write": written, "Write of deletes": deleted, "WriteAuthorizationModel": modelled} {
		if got := status.Code(err); got != codes.Code(openfgav1.ErrorCode_validation_error) || !strings.Contains(err.Error(), "OrganisationService") {
			t.Errorf("OpenFGA's %s = %v, want a validation error with what to use instead", name, err)
		}
	}
	for path, body := range map[string]string{
		"/write":                `{"writes":{"tuple_keys":[{"user":"user:bert","relation":"owner","object":"document:plan"}]}}`,
		"/authorization-models": `{"schema_version":"1.1","type_definitions":[{"type":"user"}]}`,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr().String()+"/stores/"+store+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusBadRequest || !bytes.Contains(text, []byte(`"validation_error"`)) || !bytes.Contains(text, []byte("OrganisationService")) {
			t.Errorf("POST %s = %d %s, want 400 validation_error with what to use instead", path, res.StatusCode, text)
		}
	}
}

// All that does not touch what a planner writes is as for any store.
func TestManagedStoresAreStores(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	fga := openfgav1.NewOpenFGAServiceClient(dial(t, s.GRPCAddr()))
	store, shop := r.managedStore("acme org", acme...), r.store("shop")
	for id, want := range map[string]bool{store: true, shop: false} {
		got, err := r.stores.GetStore(t.Context(), &remitv1.GetStoreRequest{Store: id})
		if err != nil || got.Store.Managed != want {
			t.Errorf("GetStore(%s) = %v, %v, want managed: %v", id, got, err, want)
		}
	}
	all, err := r.stores.ListStores(t.Context(), &remitv1.ListStoresRequest{})
	if err != nil || len(all.Stores) != 2 {
		t.Fatal(all, err)
	}
	for _, listed := range all.Stores {
		if listed.Managed != (listed.Id == store) {
			t.Errorf("ListStores = %v", listed)
		}
	}
	if !r.check(scopeOf(store), "document:plan#reader@user:olga") {
		t.Error("a question is answered with no")
	}
	if tuples, _ := exported(t, r.clients, &remitv1.ExportRequest{Store: store}); len(tuples) != len(acme) {
		t.Errorf("an export has %d tuples, want %d", len(tuples), len(acme))
	}
	set, err := r.stores.SetRetention(t.Context(), &remitv1.SetRetentionRequest{Store: store, Retention: &remitv1.Retention{Kind: &remitv1.Retention_Forever{Forever: true}}})
	if err != nil || !set.Store.Managed || !set.Store.Retention.GetForever() {
		t.Errorf("SetRetention = %v, %v", set, err)
	}
	models, err := fga.ReadAuthorizationModels(t.Context(), &openfgav1.ReadAuthorizationModelsRequest{StoreId: store})
	if err != nil || len(models.AuthorizationModels) != 1 {
		t.Fatal(models, err)
	}
	if _, err := fga.WriteAssertions(t.Context(), &openfgav1.WriteAssertionsRequest{
		StoreId: store, AuthorizationModelId: models.AuthorizationModels[0].Id,
		Assertions: []*openfgav1.Assertion{{TupleKey: &openfgav1.AssertionTupleKey{Object: "document:plan", Relation: "reader", User: "user:olga"}, Expectation: true}},
	}); err != nil {
		t.Errorf("WriteAssertions: %v", err)
	}
	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: store}); err != nil {
		t.Errorf("DeleteStore: %v", err)
	}
}

// An import learns from its first message that the store takes none, though nothing is
// written yet and others would follow.
func TestAnImportIntoAManagedStoreEndsAtOnce(t *testing.T) {
	r := newRig(t)
	store := r.managedStore("acme org")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	received := 0
	_, err := (&transferService{streamer: streamer{reader: &reader{backend.NewReader(r.config.backend())}}}).importTuples(ctx, importOf(func() (*remitv1.ImportRequest, error) {
		if received++; received > 1 {
			t.Error("a second message is asked for")
			return nil, io.EOF
		}
		return &remitv1.ImportRequest{Store: store, Tuples: many(t, 10)}, nil
	}))
	if !errors.Is(err, fsm.ErrManaged) {
		t.Errorf("Import = %v, want %v", err, fsm.ErrManaged)
	}
}

type importOf func() (*remitv1.ImportRequest, error)

func (f importOf) Receive() (*remitv1.ImportRequest, error) { return f() }

// Who has left the organisation can be erased, who has not cannot.
func TestErasingFromAManagedStore(t *testing.T) {
	r := newRig(t)
	store := r.managedStore("acme org", append(acme, "document:plan#owner@user:zoe")...)
	erase := &remitv1.EraseRequest{Store: store, Entity: "user:zoe"}
	text := wantReason(t, "Erase", r.receiveErase(t.Context(), erase), connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_STORE_MANAGED)
	if !strings.HasPrefix(text, "entity: ") || !strings.Contains(text, "delete it there first") {
		t.Errorf("the refusal says %q", text)
	}
	erase.Preview = true
	l := &eraseLog{}
	if err := r.eraser(nil, nil).erase(t.Context(), erase, l); err != nil || l.last().Found.TuplesAsSubject != 1 {
		t.Errorf("a preview = %v, %v", l.last(), err)
	}
	erase.Preview = false
	r.plan(store, fsm.RemoveTuple, "document:plan#owner@user:zoe")
	l = &eraseLog{}
	if err := r.eraser(nil, nil).erase(t.Context(), erase, l); err != nil || l.last().Erased.Changes != 2 {
		t.Errorf("Erase = %v, %v", l.last(), err)
	}
}

// A refused command is proposed once, and one whose plan is outdated again.
func TestWhatAManagedStoreRefusesIsNotRetried(t *testing.T) {
	r := newRig(t)
	shop := r.store("shop", acme...)
	head, err := backend.FindStore(t.Context(), r.config.State.Current(), "store", shop)
	if err != nil {
		t.Fatal(err)
	}
	store := r.managedStore("acme org", acme...)
	org, err := backend.FindStore(t.Context(), r.config.State.Current(), "store", store)
	if err != nil {
		t.Fatal(err)
	}
	writer := backend.NewWriter(backend.NewReader(r.config.backend()))
	user, _ := org.Symbols().TypeID("user")
	read := fsm.Precondition{Kind: fsm.DocumentVersion, Entity: fsm.Entity{Type: user, Name: "ann"}, Version: 7}
	for _, tt := range []struct {
		name    string
		command *fsm.Command
		want    error
		plans   int
	}{
		{"a raw write", &fsm.Command{Store: org.ID(), Body: &fsm.Write{}}, fsm.ErrManaged, 1},
		{"a plan for another store", &fsm.Command{Store: head.ID(), Planned: true, Body: &fsm.Write{}}, fsm.ErrManaged, 1},
		{"a client's precondition", &fsm.Command{Store: head.ID(), Preconditions: []fsm.Precondition{read}, Body: &fsm.Write{}}, fsm.ErrPrecondition, 1},
		{"a plan that is outdated", &fsm.Command{Store: org.ID(), Planned: true, Preconditions: []fsm.Precondition{read}, Body: &fsm.Write{}}, backend.ErrAborted, backend.MaxReplans + 1},
		{"a plan", &fsm.Command{Store: org.ID(), Planned: true, Body: &fsm.Write{}}, nil, 1},
	} {
		plans := 0
		_, err := writer.Do(t.Context(), func(*fsm.Root) (*fsm.Command, error) {
			plans++
			return tt.command, nil
		})
		if !errors.Is(err, tt.want) || plans != tt.plans {
			t.Errorf("%s: %v after %d plans, want %v after %d", tt.name, err, plans, tt.want, tt.plans)
		}
	}
}

// A cluster with a node that does not know managed stores makes none.
func TestAManagedStoreWaitsForEveryNode(t *testing.T) {
	state, node := newNode(t, nil)
	config := Config{State: state, Node: node, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"}
	config.defaults()
	writer := backend.NewWriter(backend.NewReader(config.backend()))
	create := func(*fsm.Root) (*fsm.Command, error) {
		return &fsm.Command{Store: fsm.StoreID{1}, Body: &fsm.CreateStore{Name: "acme", Managed: true}}, nil
	}
	_, err := writer.Do(t.Context(), create)
	ce, detail := wire(t.Context(), discard(), "Create", err)
	if ce.Code() != connect.CodeFailedPrecondition || detail.GetReason() != remitv1.ErrorReason_ERROR_REASON_CLUSTER_VERSION || !strings.Contains(ce.Message(), "every node") {
		t.Errorf("before: %v, %v", ce, detail)
	}
	r := &rig{t: t, config: config}
	r.propose(&fsm.Command{Body: &fsm.SetClusterVersion{Version: fsm.ManagedVersion}})
	if _, err := writer.Do(t.Context(), create); err != nil {
		t.Errorf("after: %v", err)
	}
}
