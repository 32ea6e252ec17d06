package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/token"
)

// What a call does besides answering from memory.
type traits uint8

const (
	proposes  traits = 1 << iota // it waits for a command to be replicated
	catchesUp                    // it waits for the newest state
	endless                      // it goes on until its caller leaves
	slotless                     // it evaluates nothing, and so waits for no slot
	visits                       // it looks at so much that it must look up in between
	apart                        // each part of its answer says for itself that the time was up, as OpenFGA's does
)

// A timedCall is a procedure's request, or requests, as JSON. STORE and MODEL stand for
// those of the test, OTHER for a store that may go, ORG for one that holds an organisation.
type timedCall struct {
	traits   traits
	requests []string
}

func timed(t traits, requests ...string) timedCall { return timedCall{t, requests} }

const (
	timedScope    = `"scope":{"store":"STORE","consistency":{"fullyConsistent":true}}`
	timedQuestion = `"question":{"object":"document:plan","relation":"reader","subject":"user:nobody"}`
	timedObjects  = `{` + timedScope + `,"type":"document","relation":"reader","subject":"user:olga"}`
	timedSubjects = `{` + timedScope + `,"object":"document:wide","relation":"reader","subjectType":"user"}`
	timedModel    = `{"dsl":"model\n  schema 1.1\ntype user\n"}`

	timedOrg     = `"scope":{"store":"ORG","consistency":{"fullyConsistent":true}}`
	timedDeed    = `{"user":"cid","action":"view","on":"deal:d1"}`
	timedRecords = `{` + timedOrg + `,"user":"bob","module":"deal"}`
	timedUsers   = `{` + timedOrg + `,"record":"deal:d1"}`

	fgaTuple     = `{"object":"document:plan","relation":"reader","user":"user:nobody"}`
	fgaLatest    = `"store_id":"STORE","consistency":"HIGHER_CONSISTENCY"`
	zenSubject   = `"subject":{"type":"user","id":"nobody"}`
	zenResource  = `"resource":{"type":"document","id":"plan"}`
	zenAction    = `"action":{"name":"reader"}`
	fgaTypes     = `{"store_id":"STORE","schema_version":"1.1","type_definitions":[{"type":"user"}]}`
	fgaListUsers = `{` + fgaLatest + `,"object":{"type":"document","id":"wide"},"relation":"reader","user_filters":[{"type":"user"}]}`
	fgaObjects   = `{` + fgaLatest + `,"type":"document","relation":"reader","user":"user:olga"}`
)

// timedCalls are of every procedure of every face: whoever adds one says here how it is
// called, and what it waits for.
var timedCalls = map[string]timedCall{
	"/remit.v1.AccessService/Check":          timed(catchesUp|visits, `{`+timedScope+`,`+timedQuestion+`}`),
	"/remit.v1.AccessService/BatchCheck":     timed(catchesUp|visits, `{`+timedScope+`,"questions":[{`+timedQuestion+`},{`+timedQuestion+`}]}`),
	"/remit.v1.AccessService/ListObjects":    timed(catchesUp|visits, timedObjects),
	"/remit.v1.AccessService/StreamObjects":  timed(catchesUp|visits, timedObjects),
	"/remit.v1.AccessService/ListSubjects":   timed(catchesUp|visits, timedSubjects),
	"/remit.v1.AccessService/StreamSubjects": timed(catchesUp|visits, timedSubjects),
	"/remit.v1.AccessService/ListActions":    timed(catchesUp|visits, `{`+timedScope+`,"object":"document:plan","subject":"user:nobody"}`),
	"/remit.v1.AccessService/Expand":         timed(catchesUp|visits, `{`+timedScope+`,"object":"document:plan","relation":"reader","depth":9}`),
	"/remit.v1.AccessService/Explain":        timed(catchesUp|visits, `{`+timedScope+`,`+timedQuestion+`}`),
	"/remit.v1.AccessService/DiffAccess": timed(catchesUp|visits, `{"store":"STORE","from":{"atExactSnapshot":"BEFORE"},"to":{"fullyConsistent":true},
		"subject":{"subject":"user:olga","relation":"reader","type":"document"}}`),

	"/remit.v1.AuditService/ListChanges":          timed(catchesUp, `{"store":"STORE"}`),
	"/remit.v1.AuditService/ListClusterChanges":   timed(catchesUp, `{}`),
	"/remit.v1.BackupService/Save":                timed(slotless, `{}`),
	"/remit.v1.ClusterService/GetCluster":         timed(slotless, `{}`),
	"/remit.v1.ClusterService/AddMember":          timed(slotless, `{"id":"NODE","peerAddr":"127.0.0.1:7400"}`),
	"/remit.v1.ClusterService/RemoveMember":       timed(slotless, `{"id":"NODE"}`),
	"/remit.v1.ClusterService/PromoteMember":      timed(slotless, `{"id":"NODE"}`),
	"/remit.v1.ClusterService/DemoteMember":       timed(slotless, `{"id":"NODE"}`),
	"/remit.v1.ClusterService/TransferLeadership": timed(slotless, `{}`),
	"/remit.v1.ClusterService/GetAutopilot":       timed(slotless, `{}`),
	"/remit.v1.ClusterService/SetAutopilot":       timed(slotless|proposes, `{"autopilot":{}}`),
	"/remit.v1.EraseService/Erase":                timed(catchesUp|proposes, `{"store":"STORE","entity":"user:gone"}`),

	"/remit.v1.IdentityService/CreateKey":  timed(proposes, `{"name":"new","grants":[{"store":"STORE","permissions":["PERMISSION_READ"]}]}`),
	"/remit.v1.IdentityService/RotateKey":  timed(proposes, `{"name":"old"}`),
	"/remit.v1.IdentityService/ListKeys":   timed(0, `{}`),
	"/remit.v1.IdentityService/RevokeKey":  timed(proposes, `{"name":"old"}`),
	"/remit.v1.IdentityService/SetGrants":  timed(proposes, `{"principal":"oidc:someone","grants":[{"store":"STORE","permissions":["PERMISSION_READ"]}]}`),
	"/remit.v1.IdentityService/ListGrants": timed(0, `{}`),
	"/remit.v1.IdentityService/WhoAmI":     timed(0, `{}`),

	"/remit.v1.ModelService/WriteModel":    timed(proposes, `{"store":"STORE","source":`+timedModel+`}`),
	"/remit.v1.ModelService/ValidateModel": timed(0, `{"source":`+timedModel+`}`),
	"/remit.v1.ModelService/GetModel":      timed(0, `{"store":"STORE"}`),
	"/remit.v1.ModelService/ListModels":    timed(0, `{"store":"STORE"}`),
	"/remit.v1.ModelService/DiffModels":    timed(0, `{"store":"STORE","toSource":`+timedModel+`}`),

	"/remit.v1.OrganisationService/CreateOrganisation": timed(proposes, `{"name":"newest","superAdmin":{"id":"ann","name":"Ann"}}`),
	"/remit.v1.OrganisationService/Change":             timed(proposes, `{"store":"ORG","edits":[{"put":{"entity":{"group":{"id":"new","name":"New"}}}}]}`),
	"/remit.v1.OrganisationService/PlanChange":         timed(0, `{"store":"ORG","edits":[{"put":{"entity":{"group":{"id":"new","name":"New"}}}}]}`),
	"/remit.v1.OrganisationService/GetEntity":          timed(catchesUp, `{"store":"ORG","entity":{"kind":"ENTITY_KIND_ROLE","id":"rep"},"consistency":{"fullyConsistent":true}}`),
	"/remit.v1.OrganisationService/ListEntities":       timed(catchesUp|visits, `{"store":"ORG","kind":"ENTITY_KIND_SEAT","consistency":{"fullyConsistent":true}}`),
	"/remit.v1.OrganisationService/StreamEntities":     timed(catchesUp|visits, `{"store":"ORG","consistency":{"fullyConsistent":true}}`),

	"/remit.v1.OrganisationService/Can":                   timed(catchesUp, `{`+timedOrg+`,"deed":`+timedDeed+`}`),
	"/remit.v1.OrganisationService/CanBatch":              timed(catchesUp, `{`+timedOrg+`,"deeds":[`+timedDeed+`,`+timedDeed+`]}`),
	"/remit.v1.OrganisationService/CanFields":             timed(catchesUp, `{`+timedOrg+`,"user":"cid","record":"deal:d1"}`),
	"/remit.v1.OrganisationService/Actions":               timed(catchesUp, `{`+timedOrg+`,"user":"cid","on":"deal:d1"}`),
	"/remit.v1.OrganisationService/ListRecords":           timed(catchesUp, timedRecords),
	"/remit.v1.OrganisationService/StreamRecords":         timed(catchesUp, timedRecords),
	"/remit.v1.OrganisationService/ListUsersWithAccess":   timed(catchesUp, timedUsers),
	"/remit.v1.OrganisationService/StreamUsersWithAccess": timed(catchesUp, timedUsers),
	"/remit.v1.OrganisationService/OnDuty":                timed(catchesUp, `{`+timedOrg+`}`),
	"/remit.v1.OrganisationService/ListSeats":             timed(0, `{"login":"ann@example.org"}`),
	"/remit.v1.OrganisationService/Why":                   timed(catchesUp, `{`+timedOrg+`,"deed":`+timedDeed+`}`),
	"/remit.v1.OrganisationService/Assign":                timed(proposes, `{"store":"ORG","record":"deal:d1","among":["user:dot"],"ignoreShifts":true}`),
	"/remit.v1.OrganisationService/WatchOwned":            timed(endless, `{"store":"ORG"}`),

	"/remit.v1.NodeService/GetNode":       timed(slotless, `{}`),
	"/remit.v1.StoreService/CreateStore":  timed(proposes, `{"name":"new"}`),
	"/remit.v1.StoreService/GetStore":     timed(0, `{"store":"STORE"}`),
	"/remit.v1.StoreService/ListStores":   timed(0, `{}`),
	"/remit.v1.StoreService/SetRetention": timed(proposes, `{"store":"STORE","retention":{"period":"3600s"}}`),
	"/remit.v1.StoreService/DeleteStore":  timed(proposes, `{"storeId":"OTHER"}`),

	"/remit.v1.TransferService/Export": timed(catchesUp|visits, `{"store":"STORE","consistency":{"fullyConsistent":true}}`),
	"/remit.v1.TransferService/Import": timed(proposes, `{"store":"STORE","tuples":[{"object":"document:new","relation":"owner","subject":"user:ann"}]}`),

	"/remit.v1.TupleService/Write":        timed(proposes, `{"store":"STORE","operations":[{"kind":"KIND_TOUCH","tuple":{"object":"document:new","relation":"owner","subject":"user:bob"}}]}`),
	"/remit.v1.TupleService/Read":         timed(catchesUp, `{"store":"STORE","consistency":{"fullyConsistent":true}}`),
	"/remit.v1.TupleService/DeleteTuples": timed(catchesUp|proposes, `{"store":"STORE","filter":{"subject":"user:gone"},"expectedCount":"9"}`),
	"/remit.v1.WatchService/Watch":        timed(endless|visits, `{"stores":["STORE"],"snapshot":true}`),

	"/grpc.health.v1.Health/Check": timed(slotless, `{}`),
	"/grpc.health.v1.Health/Watch": timed(slotless|endless, `{}`),

	"/openfga.v1.OpenFGAService/Check":               timed(catchesUp|visits, `{`+fgaLatest+`,"tuple_key":`+fgaTuple+`}`),
	"/openfga.v1.OpenFGAService/BatchCheck":          timed(catchesUp|visits|apart, `{`+fgaLatest+`,"checks":[{"tuple_key":`+fgaTuple+`,"correlation_id":"a"}]}`),
	"/openfga.v1.OpenFGAService/ListObjects":         timed(catchesUp|visits, fgaObjects),
	"/openfga.v1.OpenFGAService/StreamedListObjects": timed(catchesUp|visits, fgaObjects),
	"/openfga.v1.OpenFGAService/ListUsers":           timed(catchesUp|visits, fgaListUsers),
	"/openfga.v1.OpenFGAService/Expand":              timed(catchesUp, `{`+fgaLatest+`,"tuple_key":{"object":"document:plan","relation":"reader"}}`),
	"/openfga.v1.OpenFGAService/Read":                timed(catchesUp, `{`+fgaLatest+`}`),
	"/openfga.v1.OpenFGAService/ReadChanges":         timed(0, `{"store_id":"STORE"}`),
	"/openfga.v1.OpenFGAService/Write": timed(proposes, `{"store_id":"STORE","writes":{"tuple_keys":[
		{"object":"document:new","relation":"owner","user":"user:carl"}]}}`),

	"/openfga.v1.OpenFGAService/ReadAuthorizationModel":  timed(0, `{"store_id":"STORE","id":"MODEL"}`),
	"/openfga.v1.OpenFGAService/ReadAuthorizationModels": timed(0, `{"store_id":"STORE"}`),
	"/openfga.v1.OpenFGAService/WriteAuthorizationModel": timed(proposes, fgaTypes),
	"/openfga.v1.OpenFGAService/ReadAssertions":          timed(0, `{"store_id":"STORE","authorization_model_id":"MODEL"}`),
	"/openfga.v1.OpenFGAService/WriteAssertions": timed(proposes, `{"store_id":"STORE","authorization_model_id":"MODEL","assertions":[
		{"tuple_key":`+fgaTuple+`,"expectation":true}]}`),

	"/openfga.v1.OpenFGAService/CreateStore": timed(proposes, `{"name":"newer"}`),
	"/openfga.v1.OpenFGAService/GetStore":    timed(0, `{"store_id":"STORE"}`),
	"/openfga.v1.OpenFGAService/ListStores":  timed(0, `{}`),
	"/openfga.v1.OpenFGAService/UpdateStore": timed(0, `{"store_id":"STORE","name":"renamed"}`),
	"/openfga.v1.OpenFGAService/DeleteStore": timed(proposes, `{"store_id":"OTHER"}`),

	"/authzen.v1.AuthZenService/Evaluation":       timed(visits, `{"store_id":"STORE",`+zenSubject+`,`+zenResource+`,`+zenAction+`}`),
	"/authzen.v1.AuthZenService/Evaluations":      timed(visits|apart, `{"store_id":"STORE",`+zenSubject+`,`+zenAction+`,"evaluations":[{`+zenResource+`},{`+zenResource+`}]}`),
	"/authzen.v1.AuthZenService/SubjectSearch":    timed(visits, `{"store_id":"STORE","subject":{"type":"user"},"resource":{"type":"document","id":"wide"},`+zenAction+`}`),
	"/authzen.v1.AuthZenService/ResourceSearch":   timed(visits, `{"store_id":"STORE","subject":{"type":"user","id":"olga"},"resource":{"type":"document"},`+zenAction+`}`),
	"/authzen.v1.AuthZenService/ActionSearch":     timed(visits, `{"store_id":"STORE",`+zenSubject+`,`+zenResource+`}`),
	"/authzen.v1.AuthZenService/GetConfiguration": timed(slotless, `{"store_id":"STORE"}`),
}

// A timedStream is the stream of a call that a test makes of a server itself, so that no
// transport ends it in the server's place.
type timedStream struct {
	ctx      context.Context //nolint:containedctx // it is what a transport knows of the call
	requests []string
	silent   bool // the client sends no more, and does not say so
	received atomic.Bool
	sent     atomic.Int32
	last     any // that was sent
}

func (s *timedStream) Receive(msg any) error {
	if len(s.requests) > 0 {
		err := protojson.Unmarshal([]byte(s.requests[0]), msg.(proto.Message))
		s.requests = s.requests[1:]
		s.received.Store(true)
		return err
	}
	if !s.silent {
		return io.EOF
	}
	<-s.ctx.Done()
	return s.ctx.Err()
}

func (s *timedStream) SendHeaders() error { return nil }

func (s *timedStream) Send(msg any) error {
	s.last = msg
	s.sent.Add(1)
	return nil
}

// A stuckNode waits, when it is told to, until its caller's time is up, which it makes so.
type stuckNode struct {
	backend.Node
	writes, reads atomic.Bool
	reached       func() // called when somebody waits
}

func (n *stuckNode) Propose(ctx context.Context, command []byte) ([]byte, error) {
	if !n.writes.Load() {
		return n.Node.Propose(ctx, command)
	}
	n.reached()
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", cluster.ErrUnknownOutcome, ctx.Err())
}

func (n *stuckNode) ReadIndex(ctx context.Context) (uint64, error) {
	if !n.reads.Load() {
		return n.Node.ReadIndex(ctx)
	}
	n.reached()
	<-ctx.Done()
	return 0, ctx.Err()
}

// A deadline is a context whose deadline passes when a test says so.
type deadline struct {
	context.Context //nolint:containedctx // it is one
	once            sync.Once
	done            chan struct{}
}

func newDeadline(t testing.TB) *deadline {
	return &deadline{Context: t.Context(), done: make(chan struct{})}
}

func (d *deadline) pass()                 { d.once.Do(func() { close(d.done) }) }
func (d *deadline) Done() <-chan struct{} { return d.done }

func (d *deadline) Err() error {
	select {
	case <-d.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// A countdown is a context that is cancelled when it is looked at for the n-th time; never,
// if n is 0.
type countdown struct {
	context.Context //nolint:containedctx // it is one
	cancel          context.CancelFunc
	n               int64
	looks           atomic.Int64
}

func newCountdown(t testing.TB, n int64) *countdown {
	ctx, cancel := context.WithCancel(t.Context())
	return &countdown{Context: ctx, cancel: cancel, n: n}
}

func (c *countdown) look() {
	if c.looks.Add(1) == c.n {
		c.cancel()
	}
}

func (c *countdown) Value(key any) any {
	c.look()
	return c.Context.Value(key)
}

func (c *countdown) Err() error {
	c.look()
	return c.Context.Err()
}

// A timedRig serves every face of a node that can be stuck.
type timedRig struct {
	*rig
	node   *stuckNode
	server *Server
	names  *strings.Replacer
}

// timedEdges is what a question of the test visits, about.
const timedEdges = 3 * limit.PaceEdges

func newTimedRig(t *testing.T) *timedRig {
	node := &stuckNode{}
	r := newRig(t, func(c *Config) {
		node.Node, c.Node = c.Node, node
		c.OpenFGA.AuthZENBaseURL = "https://authzen.example.com"
		c.OpenFGA.ListObjectsMaxResults, c.OpenFGA.ListUsersMaxResults = -1, -1
		c.OpenFGA.RequestTimeout = time.Hour // whatever ends a call is the caller's
	})
	keys := &identityService{reader: &reader{backend.NewReader(r.config.backend())}, keyring: backend.NewKeyring(backend.NewReader(r.config.backend()))}
	if _, err := keys.CreateKey(t.Context(), &remitv1.CreateKeyRequest{Name: "old", Grants: []*remitv1.Grant{onAll(toRead)}}); err != nil {
		t.Fatal(err)
	}
	store, other := r.store("acme", "document:plan#owner@user:gone"), r.store("other")
	model, err := r.models.GetModel(t.Context(), &remitv1.GetModelRequest{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	before := r.write(store, "folder:f0#owner@user:gone")
	var tuples []string
	for i := range timedEdges / 2 {
		tuples = append(tuples, fmt.Sprintf("document:plan#parent@folder:f%d", i), fmt.Sprintf("folder:f%d#viewer@user:u%d", i, i))
	}
	for i := range timedEdges / 4 {
		tuples = append(tuples, fmt.Sprintf("document:wide#viewer@user:u%d", i))
		tuples = append(tuples, fmt.Sprintf("document:d%d#parent@folder:shared", i), fmt.Sprintf("document:d%d#banned@user:u%d", i, i))
	}
	tuples = append(tuples, "folder:shared#viewer@group:all#member", "group:all#member@user:olga")
	for len(tuples) > 0 {
		n := min(len(tuples), 5000)
		r.write(store, tuples[:n]...)
		tuples = tuples[n:]
	}
	org := &orgRig{rig: r, org: newOrgClient(r)}
	org.store = org.create(firstRequest("org"))
	org.change("", worldly(t)...)
	return &timedRig{rig: r, node: node, names: strings.NewReplacer("STORE", store, "OTHER", other, "MODEL", model.Model.Id, "BEFORE", before, "ORG", org.store)}
}

// serving is the rig with a server that has some limits.
func (r *timedRig) serving(t *testing.T, limits limit.Config) *timedRig {
	t.Helper()
	config := r.config
	config.Limits = limits
	s, err := Listen(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	inner := *r.rig
	inner.t = t
	return &timedRig{&inner, r.node, s, r.names}
}

// A timedProcedure is a procedure that can be called.
type timedProcedure struct {
	timedCall
	rig    *timedRig
	server *connect.Server
	name   string
}

// each calls f with every procedure, and says if the test knows no request for one.
func (r *timedRig) each(f func(p *timedProcedure)) {
	r.t.Helper()
	known := 0
	for _, face := range r.server.faces {
		for spec := range face.server.Specs() {
			c, ok := timedCalls[spec.Procedure]
			if !ok {
				r.t.Errorf("%s has no line in timedCalls: say how it is called, and what it waits for", spec.Procedure)
				continue
			}
			known++
			f(&timedProcedure{c, r, face.server, spec.Procedure})
		}
	}
	if known < len(timedCalls) {
		r.t.Errorf("of %d lines in timedCalls, %d are of procedures that there are", len(timedCalls), known)
	}
}

// is reports whether the procedure has one of some traits.
func (p *timedProcedure) is(t traits) bool { return p.traits&t != 0 }

// stream is one that has the procedure's requests.
func (p *timedProcedure) stream(ctx context.Context) *timedStream {
	s := &timedStream{ctx: ctx}
	for _, text := range p.requests {
		s.requests = append(s.requests, p.rig.names.Replace(text))
	}
	return s
}

// call calls the procedure, which must come back within a second of the end of its context.
func (p *timedProcedure) call(stream *timedStream, header ...string) error {
	info := &connect.CallInfo{}
	for i := 0; i < len(header); i += 2 {
		info.RequestHeader().Set(header[i], header[i+1])
	}
	ended := make(chan error, 1)
	go func() { ended <- p.server.Call(stream.ctx, p.name, info, stream) }()
	select {
	case err := <-ended:
		return err
	case <-stream.ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Second):
		p.rig.t.Fatalf("%s goes on although its caller has left", p.name)
		return nil
	}
}

// wantEnded calls the procedure and checks that the call ends for the context's sake.
func (p *timedProcedure) wantEnded(what string, stream *timedStream, header ...string) {
	p.rig.t.Helper()
	err := p.call(stream, header...)
	want := "deadline_exceeded"
	if errors.Is(stream.ctx.Err(), context.Canceled) {
		want = "cancel" // OpenFGA writes it with two l
	}
	if got := outcome(err); err == nil || !strings.HasPrefix(got, want) {
		p.rig.t.Errorf("%s, %s: %v (%s), want %s", what, p.name, err, got, want)
	}
}

// soon is a context that ends shortly.
func soon(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 3*time.Millisecond)
}

// wantGoroutines waits until there are no more goroutines than there were.
func wantGoroutines(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Errorf("%d goroutines, there were %d:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
			return
		}
		<-time.After(time.Millisecond)
	}
}

// Every procedure of every face ends with its caller's context: when that has ended
// already, while the call waits for a state, a slot, the caller or a command to be
// replicated, and while it evaluates. None leaves a goroutine behind.
func TestEveryProcedureEndsWithItsContext(t *testing.T) {
	rig := newTimedRig(t)
	r := rig.serving(t, limit.Config{})
	goroutines := runtime.NumGoroutine()
	defer func() { wantGoroutines(t, goroutines) }()

	t.Run("that has ended", func(t *testing.T) {
		past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		for _, ctx := range []context.Context{stopped(t), past} {
			r.each(func(p *timedProcedure) {
				stream := p.stream(ctx)
				p.wantEnded("before it began", stream)
				if n := stream.sent.Load(); n > 0 {
					t.Errorf("%s sent %d messages to a caller who had left", p.name, n)
				}
			})
		}
	})
	t.Run("while a state is waited for", func(t *testing.T) {
		future := token.Token{Epoch: backend.EpochOf(r.config.State.Current()), Revision: 1 << 40}.String()
		r.each(func(p *timedProcedure) {
			if strings.HasPrefix(p.name, "/openfga.") || strings.HasPrefix(p.name, "/authzen.") {
				return // they know no such header
			}
			ctx, cancel := soon(t)
			defer cancel()
			p.wantEnded("waiting for a revision", p.stream(ctx), token.Header, future)
		})
	})
	t.Run("while the leader is asked", func(t *testing.T) {
		r.node.reads.Store(true)
		defer r.node.reads.Store(false)
		r.each(func(p *timedProcedure) {
			if !p.is(catchesUp) {
				return
			}
			d := newDeadline(t)
			r.node.reached = d.pass
			p.wantEnded("waiting for the leader", p.stream(d))
		})
	})
	t.Run("while a command is replicated", func(t *testing.T) {
		r.node.writes.Store(true)
		defer r.node.writes.Store(false)
		r.each(func(p *timedProcedure) {
			if p.is(endless | visits) { // it reads
				return
			}
			var waited atomic.Bool
			d := newDeadline(t)
			r.node.reached = func() {
				waited.Store(true)
				d.pass()
			}
			err := p.call(p.stream(d))
			switch got := outcome(err); {
			case p.is(proposes) != waited.Load():
				t.Errorf("%s proposes something: %v, by timedCalls %v; %v", p.name, waited.Load(), p.is(proposes), err)
			case p.is(proposes) && got != "unavailable":
				t.Errorf("%s, whose outcome is open: %v (%s), want unavailable", p.name, err, got)
			case p.is(proposes) && strings.HasPrefix(p.name, "/remit.v1."):
				wantReason(t, p.name, err, connect.CodeUnavailable, remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME)
			}
		})
	})
	t.Run("while the caller says nothing", func(t *testing.T) {
		r.each(func(p *timedProcedure) {
			ctx, cancel := soon(t)
			defer cancel()
			stream := &timedStream{ctx: ctx, silent: true}
			p.wantEnded("waiting for a message", stream)
			if p.is(endless) || p.name == remitv1connect.TransferServiceImportProcedure {
				ctx, cancel := soon(t)
				defer cancel()
				stream := p.stream(ctx)
				stream.silent = true
				p.wantEnded("waiting for what comes next", stream)
			}
		})
	})
	t.Run("while it waits for a slot", func(t *testing.T) {
		wantEndInQueue(t, rig.serving(t, limit.Config{Concurrency: 1, LongConcurrency: 1}))
	})
	t.Run("in the midst of it", func(t *testing.T) {
		// Slots would hide looks at the context from it.
		wantEndInTheMidst(t, rig.serving(t, limit.Config{Concurrency: limit.Unlimited}))
	})
}

// wantEndInQueue checks that calls which wait for a slot end with their context, and that
// those which need none are answered beside a server that is full.
func wantEndInQueue(t *testing.T, r *timedRig) {
	var holders sync.WaitGroup
	release := make(chan struct{})
	r.each(func(p *timedProcedure) {
		if p.name == remitv1connect.StoreServiceGetStoreProcedure || p.name == remitv1connect.AccessServiceListObjectsProcedure {
			h := &holder{Context: t.Context(), held: make(chan struct{}), release: release}
			stream := p.stream(h)
			h.stream = stream
			holders.Go(func() {
				if err := p.call(stream); err != nil {
					t.Errorf("%s, which has the slot: %v", p.name, err)
				}
			})
			<-h.held
		}
	})
	r.each(func(p *timedProcedure) {
		ctx, cancel := soon(t)
		defer cancel()
		switch {
		case !p.is(slotless):
			p.wantEnded("waiting for a slot", p.stream(ctx))
		case !p.is(endless):
			// A server alone judges changes of its members, and refuses them.
			if err := p.call(p.stream(t.Context())); err != nil && !errors.Is(err, cluster.ErrMembership) {
				t.Errorf("%s, which needs no slot: %v", p.name, err)
			}
		}
	})
	close(release)
	holders.Wait()
}

// A holder is the context of a call that stands still once it has its slot, which is when
// its handler looks into the context.
type holder struct {
	context.Context //nolint:containedctx // it is one
	stream          *timedStream
	once            sync.Once
	held, release   chan struct{}
}

func (h *holder) Value(key any) any {
	if h.stream.received.Load() {
		h.once.Do(func() { close(h.held) })
		<-h.release
	}
	return h.Context.Value(key)
}

const (
	// leastLooks is how often a call that visits timedEdges looks at its context, at least.
	leastLooks = 5
	// mostLooks is how often one does so on its way out.
	mostLooks = 40
)

// wantEndInTheMidst checks that whatever visits much ends in the midst of it. The context
// ends when it is looked at for the n-th time.
func wantEndInTheMidst(t *testing.T, r *timedRig) {
	r.each(func(p *timedProcedure) {
		if !p.is(visits) {
			return
		}
		looks := int64(2 * leastLooks)
		if !p.is(endless) {
			whole := newCountdown(t, 0)
			if err := p.call(p.stream(whole)); err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
			whole.cancel()
			looks = whole.looks.Load()
		}
		if looks < leastLooks {
			t.Errorf("%s looks at its context %d times, want %d: the test does not reach what it is about", p.name, looks, leastLooks)
		}
		for i := range int64(3) {
			c := newCountdown(t, 1+looks*i/4)
			stream := p.stream(c)
			switch {
			case i == 0 || !p.is(apart):
				p.wantEnded("in the midst of it", stream)
			default:
				if err := p.call(stream); err != nil || !strings.Contains(fmt.Sprint(stream.last), "context canceled") {
					t.Errorf("%s: %v, %v, want an answer that says why it has none", p.name, stream.last, err)
				}
			}
			if more := c.looks.Load() - c.n; more > mostLooks {
				t.Errorf("%s looked at its context %d times after that had ended", p.name, more)
			}
			c.cancel()
		}
	})
}
