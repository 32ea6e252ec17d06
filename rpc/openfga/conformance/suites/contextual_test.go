package suites

import (
	"context"
	"slices"
	"sync"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/openfga/tests"
	"google.golang.org/grpc"
)

// A contextual client writes no tuples: it sends them along with every question. OpenFGA
// has such a run of its own but does not export it.
type contextual struct {
	tests.ClientInterface

	mu     sync.Mutex
	tuples map[string][]*openfgav1.TupleKey // by store; guarded by mu
}

func newContextual(client tests.ClientInterface) *contextual {
	return &contextual{ClientInterface: client, tuples: map[string][]*openfgav1.TupleKey{}}
}

func (c *contextual) Write(_ context.Context, in *openfgav1.WriteRequest, _ ...grpc.CallOption) (*openfgav1.WriteResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tuples[in.GetStoreId()] = append(c.tuples[in.GetStoreId()], in.GetWrites().GetTupleKeys()...)
	return &openfgav1.WriteResponse{}, nil
}

// with joins the tuples of a store and those of a request.
func (c *contextual) with(store string, more []*openfgav1.TupleKey) []*openfgav1.TupleKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(slices.Clone(c.tuples[store]), more...)
}

func (c *contextual) keys(store string, more *openfgav1.ContextualTupleKeys) *openfgav1.ContextualTupleKeys {
	return &openfgav1.ContextualTupleKeys{TupleKeys: c.with(store, more.GetTupleKeys())}
}

func (c *contextual) Check(ctx context.Context, in *openfgav1.CheckRequest, opts ...grpc.CallOption) (*openfgav1.CheckResponse, error) {
	in.ContextualTuples = c.keys(in.GetStoreId(), in.GetContextualTuples())
	return c.ClientInterface.Check(ctx, in, opts...)
}

func (c *contextual) ListUsers(ctx context.Context, in *openfgav1.ListUsersRequest, opts ...grpc.CallOption) (*openfgav1.ListUsersResponse, error) {
	in.ContextualTuples = c.with(in.GetStoreId(), in.GetContextualTuples())
	return c.ClientInterface.ListUsers(ctx, in, opts...)
}

func (c *contextual) ListObjects(ctx context.Context, in *openfgav1.ListObjectsRequest, opts ...grpc.CallOption) (*openfgav1.ListObjectsResponse, error) {
	in.ContextualTuples = c.keys(in.GetStoreId(), in.GetContextualTuples())
	return c.ClientInterface.ListObjects(ctx, in, opts...)
}

func (c *contextual) StreamedListObjects(ctx context.Context, in *openfgav1.StreamedListObjectsRequest, opts ...grpc.CallOption) (openfgav1.OpenFGAService_StreamedListObjectsClient, error) {
	in.ContextualTuples = c.keys(in.GetStoreId(), in.GetContextualTuples())
	return c.ClientInterface.StreamedListObjects(ctx, in, opts...)
}
