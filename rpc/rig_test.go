package rpc

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A rig is a whole node in memory: state machine, Raft and services, without ports.
type rig struct {
	t      testing.TB
	config Config
	server *connect.Server
	clients
}

// clients are those of the services, over one transport.
type clients struct {
	stores remitv1connect.StoreServiceClient
	models remitv1connect.ModelServiceClient
	tuples remitv1connect.TupleServiceClient
	access remitv1connect.AccessServiceClient
	node   remitv1connect.NodeServiceClient

	watches   remitv1connect.WatchServiceClient
	transfers remitv1connect.TransferServiceClient
	erasures  remitv1connect.EraseServiceClient
}

func newClients(transport connect.Transport) clients {
	c := connect.NewClient(transport)
	return clients{
		stores: remitv1connect.NewStoreServiceClient(c),
		models: remitv1connect.NewModelServiceClient(c),
		tuples: remitv1connect.NewTupleServiceClient(c),
		access: remitv1connect.NewAccessServiceClient(c),
		node:   remitv1connect.NewNodeServiceClient(c),

		watches:   remitv1connect.NewWatchServiceClient(c),
		transfers: remitv1connect.NewTransferServiceClient(c),
		erasures:  remitv1connect.NewEraseServiceClient(c),
	}
}

// A clock is what a test says it is.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// testEpochNumber is the epoch that rigs give their cluster.
const testEpochNumber = 0x1234567890abcdef

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	return newRigAt(t, nil, change...)
}

// newRigAt makes a rig whose leader and services go by one clock; nil is the real one.
func newRigAt(t testing.TB, clock func() time.Time, change ...func(*Config)) *rig {
	t.Helper()
	state, node := newNode(t, clock)
	return newRigOn(t, state, node, clock, change...)
}

// newSyncedRig makes a rig that syncs what it writes, as a server does.
func newSyncedRig(t testing.TB) *rig {
	t.Helper()
	state, node := newNode(t, nil, func(c *cluster.Config) { c.NoSync = false })
	return newRigOn(t, state, node, nil)
}

func newRigOn(t testing.TB, state *fsm.State, node *cluster.Node, clock func() time.Time, change ...func(*Config)) *rig {
	t.Helper()
	config := Config{State: state, Node: node, Clock: clock, Addr: "127.0.0.1:0", GRPCAddr: "127.0.0.1:0"}
	for _, f := range change {
		f(&config)
	}
	config.defaults()
	r := &rig{t: t, config: config, server: NewConnectServer(config)}
	r.clients = newClients(connectinprocess.New(r.server))
	r.propose(&fsm.Command{Body: &fsm.SetEpoch{To: testEpochNumber}})
	r.propose(&fsm.Command{Body: &fsm.SetClusterVersion{Version: fsm.ClusterVersion}})
	return r
}

func newNode(t testing.TB, clock func() time.Time, change ...func(*cluster.Config)) (*fsm.State, *cluster.Node) {
	t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	config := cluster.Config{
		Dir: t.TempDir(), NodeID: "node", Clock: clock, NoSync: true, // nobody cuts the power
		FSM: state, Snapshots: state.Snapshots(), Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers,
		TermStart: fsm.TermStart, DurableIndex: state.DurableIndex, Published: state.Published,
	}
	for _, f := range change {
		f(&config)
	}
	node, err := cluster.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	})
	return state, node
}

func (r *rig) propose(c *fsm.Command) *fsm.Result {
	r.t.Helper()
	encoded, err := c.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.config.Node.Propose(r.t.Context(), encoded)
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := fsm.DecodeResult(answer)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

const testModel = `model
  schema 1.1

type user

type group
  relations
    define member: [user, group#member, user with until]

type folder
  relations
    define owner: [user]
    define viewer: [user, user:*, group#member] or owner

type document
  relations
    define parent: [folder]
    define owner: [user]
    define banned: [user]
    define viewer: [user, user:*, group#member, user with in_region, user with until] or owner or viewer from parent
    define reader: viewer but not banned

condition in_region(region: string, allowed: list<string>) {
  region in allowed
}

condition until(now: timestamp, end: timestamp) {
  now < end
}
`

// store makes a store with the test's model and some tuples.
func (r *rig) store(name string, tuples ...string) string {
	r.t.Helper()
	made, err := r.stores.CreateStore(r.t.Context(), &remitv1.CreateStoreRequest{Name: name})
	if err != nil {
		r.t.Fatal(err)
	}
	id := made.Store.Id
	_, err = r.models.WriteModel(r.t.Context(), &remitv1.WriteModelRequest{Store: id, Source: dsl(testModel)})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(tuples) > 0 {
		r.write(id, tuples...)
	}
	return id
}

func dsl(text string) *remitv1.ModelSource {
	return &remitv1.ModelSource{Source: &remitv1.ModelSource_Dsl{Dsl: text}}
}

// write touches tuples and returns the token.
func (r *rig) write(store string, tuples ...string) string {
	r.t.Helper()
	res, err := r.tuples.Write(r.t.Context(), &remitv1.WriteRequest{Store: store, Operations: touch(r.t, tuples...)})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Token
}

func touch(t testing.TB, tuples ...string) []*remitv1.Operation {
	t.Helper()
	ops := make([]*remitv1.Operation, len(tuples))
	for i, text := range tuples {
		ops[i] = &remitv1.Operation{Kind: remitv1.Operation_KIND_TOUCH, Tuple: tuple(t, text)}
	}
	return ops
}

// check asks one question of the newest state, or as the scope says.
func (r *rig) check(scope *remitv1.Scope, question string) bool {
	r.t.Helper()
	allowed, err := r.ask(scope, question)
	if err != nil {
		r.t.Fatalf("Check(%s): %v", question, err)
	}
	return allowed
}

func (r *rig) ask(scope *remitv1.Scope, question string) (bool, error) {
	r.t.Helper()
	res, err := r.access.Check(r.t.Context(), &remitv1.CheckRequest{Scope: scope, Question: ask(r.t, question)})
	return res.GetAllowed(), err
}

func ask(t testing.TB, text string) *remitv1.Question {
	m := tuple(t, text)
	return &remitv1.Question{Object: m.Object, Relation: m.Relation, Subject: m.Subject}
}

// detailOf is the detail of an error, as a client sees it.
func detailOf(t testing.TB, err error) (connect.Code, string, *remitv1.ErrorDetail) {
	t.Helper()
	ce := asConnect(err)
	if ce == nil {
		t.Fatalf("error %v is not a connect error", err)
	}
	for _, d := range ce.Details() {
		m, err := connectproto.UnmarshalErrorDetail(d)
		if err != nil {
			t.Fatal(err)
		}
		if detail, ok := m.(*remitv1.ErrorDetail); ok {
			return ce.Code(), ce.Message(), detail
		}
	}
	return ce.Code(), ce.Message(), &remitv1.ErrorDetail{}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// stopped is a context that is done.
func stopped(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func asConnect(err error) *connect.Error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return nil
	}
	return ce
}

// tuple reads object#relation@subject.
func tuple(t testing.TB, text string) *remitv1.Tuple {
	t.Helper()
	parsed, err := graph.ParseTuple(text)
	if err != nil {
		t.Fatal(err)
	}
	return &remitv1.Tuple{Object: parsed.Object.String(), Relation: parsed.Relation, Subject: parsed.Subject.String()}
}

func scopeOf(store string) *remitv1.Scope { return &remitv1.Scope{Store: store} }

func decodeJSON(text string, m proto.Message) error { return protojson.Unmarshal([]byte(text), m) }
