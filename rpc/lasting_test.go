package rpc

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// soonEnough is by when a stream ends after its caller may not have it any more: it is
// judged once a second, and the machine of a test may be busy.
const soonEnough = 10 * time.Second

// Streams end soon after their key was revoked or expired, or lost what they rest on, and
// say so; those of others go on.
func TestStreamsEndWithTheirCredentials(t *testing.T) {
	c := &clock{now: time.Now()}
	g := newGuarded(t, c.Now)
	shop := g.store("shop", acme...)
	g.store("other")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	create := func(name string, expires time.Duration, grants ...*remitv1.Grant) string {
		t.Helper()
		req := &remitv1.CreateKeyRequest{Name: name, Grants: grants}
		if expires > 0 {
			req.ExpiresAt = timestamppb.New(c.Now().Add(expires))
		}
		res, err := g.root.keys.CreateKey(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return res.Secret
	}
	type watcher struct {
		name string
		done chan error
	}
	watch := func(name, key string, stores ...string) watcher {
		t.Helper()
		stream, err := g.as(key).watches.Watch(ctx, &remitv1.WatchRequest{Stores: stores, From: &remitv1.WatchRequest_Now{Now: true}, Heartbeat: durationpb.New(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Receive(); err != nil { // it has begun
			t.Fatalf("watch of %s: %v", name, err)
		}
		w := watcher{name, make(chan error, 1)}
		go func() {
			for {
				if _, err := stream.Receive(); err != nil {
					w.done <- errors.Join(err, stream.Close())
					return
				}
			}
		}()
		return w
	}
	revoked := watch("revoked", create("revoked", 0, onStore(shop, toRead)), shop)
	expired := watch("expired", create("expired", time.Hour, onStore(shop, toRead)), shop)
	taken := watch("taken", create("taken", 0, onStore(shop, toRead), onStore("other", toRead)), shop, "other")
	staying := watch("staying", create("staying", 0, onStore(shop, toRead), onStore("other", toRead)), shop)

	wantEnd := func(w watcher, code connect.Code, reason remitv1.ErrorReason) {
		t.Helper()
		select {
		case err := <-w.done:
			wantReason(t, "the watch "+w.name, err, code, reason)
		case <-time.After(soonEnough):
			t.Errorf("the watch %s goes on", w.name)
		}
	}
	if _, err := g.root.keys.RevokeKey(ctx, &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: "revoked"}}); err != nil {
		t.Fatal(err)
	}
	for _, principal := range []string{"key:taken", "key:staying"} {
		if _, err := g.root.keys.SetGrants(ctx, &remitv1.SetGrantsRequest{Principal: principal, Grants: []*remitv1.Grant{onStore(shop, toRead)}}); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(time.Hour)
	wantEnd(revoked, connect.CodeUnauthenticated, remitv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED)
	wantEnd(expired, connect.CodeUnauthenticated, remitv1.ErrorReason_ERROR_REASON_CREDENTIALS_EXPIRED)
	wantEnd(taken, connect.CodePermissionDenied, remitv1.ErrorReason_ERROR_REASON_FORBIDDEN)
	select {
	case err := <-staying.done:
		t.Errorf("a watch whose key lost another store ended: %v", err)
	default:
	}
}

// A watch of all stores is judged although there is none.
func TestWatchOfNoStores(t *testing.T) {
	g := newGuarded(t, nil)
	stream, err := g.as(g.key("watcher", onAll(toRead))).watches.Watch(t.Context(), &remitv1.WatchRequest{From: &remitv1.WatchRequest_Now{Now: true}})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Receive(); err != nil || first.GetBegun() == nil {
		t.Errorf("the first message is %v, %v", first, err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// An import whose client waits is not written any more once its key has gone.
func TestImportEndsWithItsKey(t *testing.T) {
	g := newGuarded(t, nil)
	s := g.serve()
	shop := g.store("shop")
	conn := dial(t, s.GRPCAddr())
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+g.key("importer", onStore(shop, toWrite)))
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/remit.v1.TransferService/Import")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.root.keys.RevokeKey(t.Context(), &remitv1.RevokeKeyRequest{Which: &remitv1.RevokeKeyRequest_Name{Name: "importer"}}); err != nil {
		t.Fatal(err)
	}
	// Messages that each touch the tuple anew, until the server takes no more.
	for err == nil && ctx.Err() == nil {
		err = stream.SendMsg(&remitv1.ImportRequest{Store: shop, Tuples: []*remitv1.Tuple{tuple(t, "document:plan#owner@user:anna")}})
	}
	if err = stream.RecvMsg(&remitv1.ImportResponse{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("the import ends with %v", err)
	}
}

// The system store is no store to anybody, not even to who may do everything.
func TestSystemStoreIsClosed(t *testing.T) {
	id := backend.SystemStore.String()
	g := newGuarded(t, nil)
	g.key("one", onAll(toRead))
	open := newRig(t)
	keyring := &identityService{reader: &reader{backend.NewReader(open.config.backend())}, keyring: backend.NewKeyring(backend.NewReader(open.config.backend()))}
	if _, err := keyring.CreateKey(t.Context(), &remitv1.CreateKeyRequest{Name: "one", Grants: []*remitv1.Grant{onAll(toRead)}}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		rig   *rig
		calls clients
		key   string
	}{
		"root":       {g.rig, g.root.clients, "Bearer " + testRoot},
		"dev server": {open, open.clients, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			content := func() any {
				store, ok := tc.rig.config.State.Current().Store(backend.SystemStore)
				if !ok {
					t.Fatal("the system store has gone")
				}
				return store.Content()
			}
			before := content()
			want := func(what string, err error) {
				t.Helper()
				wantReason(t, what, err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
			}
			_, err := tc.calls.tuples.Write(ctx, &remitv1.WriteRequest{Store: id, Operations: touch(t, "key:a#x@key:b")})
			want("Write", err)
			_, err = tc.calls.tuples.Read(ctx, &remitv1.ReadRequest{Store: id})
			want("Read", err)
			_, err = tc.calls.models.WriteModel(ctx, &remitv1.WriteModelRequest{Store: id, Source: dsl(testModel)})
			want("WriteModel", err)
			_, err = tc.calls.models.GetModel(ctx, &remitv1.GetModelRequest{Store: id})
			want("GetModel", err)
			_, err = tc.calls.stores.DeleteStore(ctx, &remitv1.DeleteStoreRequest{StoreId: id})
			want("DeleteStore", err)
			_, err = tc.calls.stores.SetRetention(ctx, &remitv1.SetRetentionRequest{Store: id, Retention: &remitv1.Retention{Kind: &remitv1.Retention_Period{Period: durationpb.New(time.Hour)}}})
			want("SetRetention", err)
			_, err = tc.calls.stores.GetStore(ctx, &remitv1.GetStoreRequest{Store: "remit"})
			want("GetStore by name", err)
			imports, err := tc.calls.transfers.Import(ctx)
			if err != nil {
				t.Fatal(err)
			}
			_ = imports.Send(&remitv1.ImportRequest{Store: id}) // the answer tells
			_, err = imports.CloseAndReceive()
			want("Import", err)
			list, err := tc.calls.stores.ListStores(ctx, &remitv1.ListStoresRequest{})
			if err != nil || len(list.Stores) != 0 {
				t.Errorf("ListStores = %v, %v, want none", list, err)
			}

			// OpenFGA's face.
			fga := openfgav1.NewOpenFGAServiceClient(dial(t, tc.rig.serve().GRPCAddr()))
			if tc.key != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", tc.key)
			}
			for what, call := range map[string]func() error{
				"Write": func() error {
					_, err := fga.Write(ctx, &openfgav1.WriteRequest{StoreId: id, Writes: &openfgav1.WriteRequestWrites{TupleKeys: []*openfgav1.TupleKey{{Object: "key:a", Relation: "x", User: "key:b"}}}})
					return err
				},
				"WriteAuthorizationModel": func() error {
					_, err := fga.WriteAuthorizationModel(ctx, &openfgav1.WriteAuthorizationModelRequest{StoreId: id, SchemaVersion: "1.1", TypeDefinitions: []*openfgav1.TypeDefinition{{Type: "user"}}})
					return err
				},
				"WriteAssertions": func() error {
					_, err := fga.WriteAssertions(ctx, &openfgav1.WriteAssertionsRequest{StoreId: id, AuthorizationModelId: id})
					return err
				},
				"GetStore": func() error { _, err := fga.GetStore(ctx, &openfgav1.GetStoreRequest{StoreId: id}); return err },
			} {
				if err := call(); err == nil || status.Code(err) == codes.Unknown {
					t.Errorf("OpenFGA's %s of the system store = %v", what, err)
				}
			}
			if res, err := fga.ReadChanges(ctx, &openfgav1.ReadChangesRequest{StoreId: id}); len(res.GetChanges()) > 0 {
				t.Errorf("OpenFGA's ReadChanges of the system store = %v, %v", res, err)
			}
			_, _ = fga.DeleteStore(ctx, &openfgav1.DeleteStoreRequest{StoreId: id}) // that there is none is as good
			if content() != before {
				t.Error("something was written to the system store")
			}
		})
	}

	// What forgets to look for the store first cannot write to it either.
	w := backend.NewWriter(backend.NewReader(open.config.backend()))
	_, err := w.Do(t.Context(), func(*fsm.Root) (*fsm.Command, error) {
		return &fsm.Command{Store: backend.SystemStore, Body: &fsm.DeleteStore{}}, nil
	})
	if !errors.Is(err, backend.ErrStoreNotFound) {
		t.Errorf("Writer.Do on the system store = %v, want %v", err, backend.ErrStoreNotFound)
	}
}
