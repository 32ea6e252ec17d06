package openfga

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/cluster"
)

// parrots are handlers that answer what they are told to, so that tests of what stands
// before the handlers need no store.
type parrots struct {
	openfgav1.UnimplementedOpenFGAServiceServer
	seen func(ctx context.Context, req any) // if it is set, is shown every request
	left chan error                         // is told why an endless stream ended
}

var parrotTime = timestamppb.New(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC))

func (p *parrots) show(ctx context.Context, req any) {
	if p.seen != nil {
		p.seen(ctx, req)
	}
}

// Check does what the user's id says.
func (p *parrots) Check(ctx context.Context, req *openfgav1.CheckRequest) (*openfgav1.CheckResponse, error) {
	p.show(ctx, req)
	respondModel(ctx, "01ARZ3NDEKTSV4RRFFQ69G5FAV")
	respondToken(ctx, "token")
	switch req.GetTupleKey().GetUser() {
	case "user:panic":
		panic("a fault of ours")
	case "user:unforeseen":
		return nil, errors.New("secret: pebble is on fire")
	case "user:refused":
		return nil, typeNotFound("<type>")
	case "user:conflict":
		return nil, cluster.ErrNoLeader
	case "user:late":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &openfgav1.CheckResponse{Allowed: true}, nil
}

func (p *parrots) CreateStore(ctx context.Context, req *openfgav1.CreateStoreRequest) (*openfgav1.CreateStoreResponse, error) {
	p.show(ctx, req)
	return &openfgav1.CreateStoreResponse{Id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Name: req.GetName(), CreatedAt: parrotTime, UpdatedAt: parrotTime}, nil
}

func (p *parrots) DeleteStore(ctx context.Context, req *openfgav1.DeleteStoreRequest) (*openfgav1.DeleteStoreResponse, error) {
	p.show(ctx, req)
	return &openfgav1.DeleteStoreResponse{}, nil
}

func (p *parrots) GetStore(ctx context.Context, req *openfgav1.GetStoreRequest) (*openfgav1.GetStoreResponse, error) {
	p.show(ctx, req)
	return &openfgav1.GetStoreResponse{Id: req.GetStoreId(), Name: "abc", CreatedAt: parrotTime, UpdatedAt: parrotTime}, nil
}

func (p *parrots) ListStores(ctx context.Context, req *openfgav1.ListStoresRequest) (*openfgav1.ListStoresResponse, error) {
	p.show(ctx, req)
	return &openfgav1.ListStoresResponse{ContinuationToken: req.GetContinuationToken()}, nil
}

func (p *parrots) Read(ctx context.Context, req *openfgav1.ReadRequest) (*openfgav1.ReadResponse, error) {
	p.show(ctx, req)
	return &openfgav1.ReadResponse{Tuples: []*openfgav1.Tuple{{Key: &openfgav1.TupleKey{Object: "doc:1", Relation: "viewer", User: "user:anne"}, Timestamp: parrotTime}}}, nil
}

func (p *parrots) ReadChanges(ctx context.Context, req *openfgav1.ReadChangesRequest) (*openfgav1.ReadChangesResponse, error) {
	p.show(ctx, req)
	return &openfgav1.ReadChangesResponse{ContinuationToken: req.GetType()}, nil
}

func (p *parrots) Write(ctx context.Context, req *openfgav1.WriteRequest) (*openfgav1.WriteResponse, error) {
	p.show(ctx, req)
	return &openfgav1.WriteResponse{}, nil
}

func (p *parrots) WriteAuthorizationModel(ctx context.Context, req *openfgav1.WriteAuthorizationModelRequest) (*openfgav1.WriteAuthorizationModelResponse, error) {
	p.show(ctx, req)
	return &openfgav1.WriteAuthorizationModelResponse{AuthorizationModelId: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, nil
}

func (p *parrots) WriteAssertions(ctx context.Context, req *openfgav1.WriteAssertionsRequest) (*openfgav1.WriteAssertionsResponse, error) {
	p.show(ctx, req)
	return &openfgav1.WriteAssertionsResponse{}, nil
}

// ReadAuthorizationModel returns a model whose fields have names of their own in JSON.
func (p *parrots) ReadAuthorizationModel(ctx context.Context, req *openfgav1.ReadAuthorizationModelRequest) (*openfgav1.ReadAuthorizationModelResponse, error) {
	p.show(ctx, req)
	return &openfgav1.ReadAuthorizationModelResponse{AuthorizationModel: &openfgav1.AuthorizationModel{
		Id: req.GetId(), SchemaVersion: "1.1",
		TypeDefinitions: []*openfgav1.TypeDefinition{{Type: "doc", Relations: map[string]*openfgav1.Userset{
			"editor": {Userset: &openfgav1.Userset_ComputedUserset{ComputedUserset: &openfgav1.ObjectRelation{Relation: "viewer"}}},
		}}},
	}}, nil
}

// StreamedListObjects sends the objects that the relation names, or one for ever, and
// then fails if the user says so.
func (p *parrots) StreamedListObjects(req *openfgav1.StreamedListObjectsRequest, stream openfgav1.OpenFGAService_StreamedListObjectsServer) error {
	p.show(stream.Context(), req)
	respondModel(stream.Context(), "01ARZ3NDEKTSV4RRFFQ69G5FAV")
	if req.GetRelation() == "endless" {
		for {
			if err := stream.Send(&openfgav1.StreamedListObjectsResponse{Object: "doc:1"}); err != nil {
				p.left <- err
				return err
			}
		}
	}
	if req.GetRelation() != "none" {
		for id := range strings.SplitSeq(req.GetRelation(), "-") {
			if err := stream.Send(&openfgav1.StreamedListObjectsResponse{Object: req.GetType() + ":" + id}); err != nil {
				return err
			}
		}
	}
	switch req.GetUser() {
	case "user:panic":
		panic("a fault of ours")
	case "user:refused":
		return typeNotFound("x")
	}
	return nil
}

// A perch is a face with parrots, and what it has logged.
type perch struct {
	*Face
	parrots *parrots
	log     *bytes.Buffer
}

func newPerch(t testing.TB, change ...func(*Config)) *perch {
	t.Helper()
	p := &perch{parrots: &parrots{left: make(chan error, 1)}, log: new(bytes.Buffer)}
	config := Config{Log: slog.New(slog.NewTextHandler(p.log, nil))}
	for _, c := range change {
		c(&config)
	}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	config.defaults()
	p.Face = newFace(p.parrots, &config)
	return p
}

// serve puts the face on a port, every protocol on it.
func (p *perch) serve(t testing.TB) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	connecthttp.Mount(mux, p.Server())
	mux.Handle("/", p.Handler())
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// do sends a request to the JSON interface, by hand: nothing is cleaned up on the way.
func (p *perch) do(t testing.TB, method, target, body string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for key, values := range header {
		r.Header[key] = values
	}
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, r)
	return w.Result()
}

func read(t testing.TB, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEveryProcedureIsRegistered(t *testing.T) {
	p := newPerch(t)
	var got int
	for spec := range p.Server().Specs() {
		got++
		if spec.Schema == nil {
			t.Errorf("%s has no schema", spec.Procedure)
		}
		writes := strings.Contains(spec.Procedure, "/Write") || strings.Contains(spec.Procedure, "/Create") ||
			strings.Contains(spec.Procedure, "/Update") || strings.Contains(spec.Procedure, "/Delete")
		if reads := spec.IdempotencyLevel == connect.IdempotencyNoSideEffects; reads == writes {
			t.Errorf("%s may be called with GET: %t", spec.Procedure, reads)
		}
	}
	if got != 19 {
		t.Errorf("%d procedures are registered, want 19", got)
	}
}
