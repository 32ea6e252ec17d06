package openfga

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
)

// A rig is a whole node in memory with the face before it: state machine, Raft, and a
// client that calls the face in process.
type rig struct {
	lagging
	t      testing.TB
	state  *fsm.State
	node   *cluster.Node
	reader *backend.Reader
	writer *backend.Writer
	face   *Face
	openfgav1.OpenFGAServiceClient
}

// lagging makes a rig seem to lag behind another node.
type lagging struct {
	// unseen, if it is set, was acknowledged elsewhere and has not arrived here: it runs
	// when somebody asks how far the others are, once.
	unseen func()
}

// A laggingNode is the node as the face knows it.
type laggingNode struct {
	*cluster.Node
	rig *rig
}

// ReadIndex lets arrive what others have written.
func (n laggingNode) ReadIndex(ctx context.Context) (uint64, error) {
	if unseen := n.rig.unseen; unseen != nil {
		n.rig.unseen = nil
		unseen()
	}
	return n.Node.ReadIndex(ctx)
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

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	return newRigAt(t, time.Now, change...)
}

// newRigAt makes a rig whose leader and face go by one clock.
func newRigAt(t testing.TB, clock func() time.Time, change ...func(*Config)) *rig {
	t.Helper()
	return newRigIn(t, t.TempDir(), t.TempDir(), clock, change...)
}

// newRigIn makes a rig that keeps its state and its log in the given folders. Closing it
// and making another one there is a restart.
func newRigIn(t testing.TB, stateDir, logDir string, clock func() time.Time, change ...func(*Config)) *rig {
	t.Helper()
	state, err := fsm.Open(fsm.Config{Dir: stateDir})
	if err != nil {
		t.Fatal(err)
	}
	node, err := cluster.Open(t.Context(), cluster.Config{
		Dir: logDir, NodeID: "node", Clock: clock, NoSync: true, // nobody cuts the power
		FSM: state, Snapshots: state.Snapshots(), Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers,
		TermStart: fsm.TermStart, DurableIndex: state.DurableIndex, Published: state.Published,
	})
	if err != nil {
		t.Fatal(err)
	}
	var config Config
	for _, f := range change {
		f(&config)
	}
	r := &rig{t: t, state: state, node: node}
	r.reader = backend.NewReader(backend.Config{State: state, Node: laggingNode{node, r}, Clock: clock})
	r.writer = backend.NewWriter(r.reader)
	if r.face, err = New(r.reader, r.writer, config); err != nil {
		t.Fatal(err)
	}
	r.OpenFGAServiceClient = newClient(r.face.Server())
	t.Cleanup(r.close)
	r.propose(&fsm.Command{Body: &fsm.SetEpoch{To: 1}})
	r.propose(&fsm.Command{Body: &fsm.SetClusterVersion{Version: fsm.ClusterVersion}})
	return r
}

// close stops the node, once.
func (r *rig) close() {
	if r.node == nil {
		return
	}
	if err := errors.Join(r.node.Close(), r.state.Close()); err != nil {
		r.t.Error(err)
	}
	r.node = nil
}

// propose carries out a command that does not come from the face.
func (r *rig) propose(c *fsm.Command) *fsm.Result {
	r.t.Helper()
	encoded, err := c.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	answer, err := r.node.Propose(r.t.Context(), encoded)
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := fsm.DecodeResult(answer)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// store makes a store with a model, unless it is empty, and tuples, and returns the ids
// of the store and the model.
func (r *rig) store(dsl string, tuples ...string) (store, modelID string) {
	r.t.Helper()
	made, err := r.CreateStore(r.t.Context(), &openfgav1.CreateStoreRequest{Name: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	if dsl != "" {
		modelID = r.model(made.Id, dsl)
	}
	if len(tuples) > 0 {
		r.write(made.Id, tuples...)
	}
	return made.Id, modelID
}

// model writes a model and returns its id.
func (r *rig) model(store, dsl string) string {
	r.t.Helper()
	res, err := r.WriteAuthorizationModel(r.t.Context(), modelRequest(r.t, store, dsl))
	if err != nil {
		r.t.Fatal(err)
	}
	return res.AuthorizationModelId
}

// modelRequest is the request that writes a model.
func modelRequest(t testing.TB, store, dsl string) *openfgav1.WriteAuthorizationModelRequest {
	t.Helper()
	m := parseModel(t, dsl).Proto()
	return &openfgav1.WriteAuthorizationModelRequest{
		StoreId: store, SchemaVersion: m.SchemaVersion, TypeDefinitions: m.TypeDefinitions, Conditions: m.Conditions,
	}
}

func parseModel(t testing.TB, dsl string) *model.Model {
	t.Helper()
	m, err := model.ParseDSL("", dsl)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// write writes tuples, given as object#relation@user, by the newest model.
func (r *rig) write(store string, tuples ...string) {
	r.t.Helper()
	if err := r.tryWrite(writes(store, r.tuples(tuples...)...)); err != nil {
		r.t.Fatal(err)
	}
}

// remove deletes tuples, given as object#relation@user.
func (r *rig) remove(store string, tuples ...string) {
	r.t.Helper()
	if err := r.tryWrite(deletes(store, r.tuples(tuples...)...)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) tryWrite(req *openfgav1.WriteRequest) error {
	_, err := r.Write(r.t.Context(), req)
	return err
}

// writes is a request that writes tuples.
func writes(store string, keys ...*openfgav1.TupleKey) *openfgav1.WriteRequest {
	return &openfgav1.WriteRequest{StoreId: store, Writes: &openfgav1.WriteRequestWrites{TupleKeys: keys}}
}

// deletes is a request that deletes tuples.
func deletes(store string, keys ...*openfgav1.TupleKey) *openfgav1.WriteRequest {
	req := &openfgav1.WriteRequest{StoreId: store, Deletes: &openfgav1.WriteRequestDeletes{}}
	for _, k := range keys {
		req.Deletes.TupleKeys = append(req.Deletes.TupleKeys,
			&openfgav1.TupleKeyWithoutCondition{User: k.User, Relation: k.Relation, Object: k.Object})
	}
	return req
}

func (r *rig) tuples(texts ...string) []*openfgav1.TupleKey {
	r.t.Helper()
	keys := make([]*openfgav1.TupleKey, len(texts))
	for i, text := range texts {
		keys[i] = key(r.t, text)
	}
	return keys
}

// key reads object#relation@user.
func key(t testing.TB, text string) *openfgav1.TupleKey {
	t.Helper()
	parsed, err := graph.ParseTuple(text)
	if err != nil {
		t.Fatal(err)
	}
	return &openfgav1.TupleKey{Object: parsed.Object.String(), Relation: parsed.Relation, User: parsed.Subject.String()}
}

// conditional is key with a condition and, given as name, value, name, value, a context.
func conditional(t testing.TB, text, condition string, context ...any) *openfgav1.TupleKey {
	t.Helper()
	k := key(t, text)
	k.Condition = &openfgav1.RelationshipCondition{Name: condition}
	if len(context) > 0 {
		k.Condition.Context = fields(t, context...)
	}
	return k
}

// fields is a context, given as name, value, name, value.
func fields(t testing.TB, values ...any) *structpb.Struct {
	t.Helper()
	m := map[string]any{}
	for i := 0; i < len(values); i += 2 {
		m[values[i].(string)] = values[i+1]
	}
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wantError compares an error with what OpenFGA answers.
func wantError(t testing.TB, got error, code Code, text string) {
	t.Helper()
	var e *Error
	if !errors.As(got, &e) {
		t.Errorf("error %v, want %d %q", got, code, text)
		return
	}
	if e.Code != code || e.Message != text {
		t.Errorf("error %d %q, want %d %q", e.Code, e.Message, code, text)
	}
}

// withHeader is a context whose calls send a header.
func withHeader(ctx context.Context, name, value string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, name, value)
}

// header returns the option that catches the answer's headers, and how to ask for one.
func header() (grpc.CallOption, func(name string) string) {
	var md metadata.MD
	return grpc.Header(&md), func(name string) string {
		for key, values := range md {
			if len(values) > 0 && strings.EqualFold(key, name) {
				return values[0]
			}
		}
		return ""
	}
}

// read is all that Read answers, in pages of the default size.
func (r *rig) read(req *openfgav1.ReadRequest) []*openfgav1.Tuple {
	r.t.Helper()
	return r.pages(req, 0)
}

// pages is all that Read answers, in pages of a size; 0 is the default.
func (r *rig) pages(req *openfgav1.ReadRequest, size int32) []*openfgav1.Tuple {
	r.t.Helper()
	req = proto.CloneOf(req)
	if size > 0 {
		req.PageSize = wrapperspb.Int32(size)
	}
	var tuples []*openfgav1.Tuple
	for {
		res, err := r.Read(r.t.Context(), proto.CloneOf(req))
		if err != nil {
			r.t.Fatal(err)
		}
		if size > 0 && len(res.Tuples) > int(size) {
			r.t.Errorf("a page has %d tuples, want at most %d", len(res.Tuples), size)
		}
		tuples = append(tuples, res.Tuples...)
		if req.ContinuationToken = res.ContinuationToken; req.ContinuationToken == "" {
			return tuples
		}
	}
}

// changes is all that ReadChanges answers about a store.
func (r *rig) changes(store string) []*openfgav1.TupleChange {
	r.t.Helper()
	changes, _ := r.changesFrom(&openfgav1.ReadChangesRequest{StoreId: store, PageSize: wrapperspb.Int32(100)})
	return changes
}

// changesFrom is all that ReadChanges answers from where a request begins, and the token
// at the end.
func (r *rig) changesFrom(req *openfgav1.ReadChangesRequest) ([]*openfgav1.TupleChange, string) {
	r.t.Helper()
	req = proto.CloneOf(req)
	var changes []*openfgav1.TupleChange
	for {
		res, err := r.ReadChanges(r.t.Context(), proto.CloneOf(req))
		if err != nil {
			r.t.Fatal(err)
		}
		changes = append(changes, res.Changes...)
		if len(res.Changes) == 0 {
			if res.ContinuationToken != req.ContinuationToken {
				r.t.Errorf("nothing is new, but the token moves from %q to %q", req.ContinuationToken, res.ContinuationToken)
			}
			return changes, res.ContinuationToken
		}
		req.ContinuationToken = res.ContinuationToken
	}
}
