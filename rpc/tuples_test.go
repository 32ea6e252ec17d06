package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/token"
)

func (r *rig) read(req *remitv1.ReadRequest) (all []string, pages int) {
	r.t.Helper()
	for {
		res, err := r.tuples.Read(r.t.Context(), req)
		if err != nil {
			r.t.Fatalf("Read(%v): %v", req, err)
		}
		pages++
		for _, s := range res.Tuples {
			if s.WrittenAt.AsTime().IsZero() {
				r.t.Errorf("%v has no time of writing", s.Tuple)
			}
			all = append(all, s.Tuple.Object+"#"+s.Tuple.Relation+"@"+s.Tuple.Subject)
		}
		if res.Cursor == "" {
			return all, pages
		}
		req.Cursor = res.Cursor
	}
}

func TestReadMatchesAnyFilter(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", append(acme, "folder:plans#viewer@user:anna", "document:zoo#owner@user:anna", "document:zoo#viewer@user:anna")...)
	all, _ := r.read(&remitv1.ReadRequest{Store: store})
	if len(all) != len(acme)+3 {
		t.Fatalf("Read everything = %d tuples, want %d", len(all), len(acme)+3)
	}
	for _, f := range []struct{ object, relation, subject string }{
		{},
		{object: "document"},
		{object: "document:plan"},
		{object: "document:nowhere"},
		{relation: "viewer"},
		{relation: "owner"},
		{subject: "user"},
		{subject: "user:anna"},
		{subject: "user:*"},
		{subject: "group"},
		{subject: "group:all#member"},
		{subject: "user:nobody"},
		{object: "document", relation: "viewer"},
		{object: "document:zoo", relation: "viewer"},
		{object: "document", subject: "user:anna"},
		{object: "document:zoo", subject: "user:anna"},
		{object: "document:zoo", relation: "owner", subject: "user:anna"},
		{relation: "owner", subject: "user:anna"},
		{relation: "viewer", subject: "user"},
		{relation: "viewer", subject: "group"},
		{object: "document:open", relation: "banned", subject: "user"},
	} {
		var want []string
		for _, text := range all {
			m := tuple(t, text)
			if matches(f.object, m.Object) && (f.relation == "" || f.relation == m.Relation) && matches(f.subject, m.Subject) {
				want = append(want, text)
			}
		}
		for _, size := range []int32{0, 1, 2} {
			got, _ := r.read(&remitv1.ReadRequest{
				Store: store, PageSize: size, Filter: &remitv1.TupleFilter{Object: f.object, Relation: f.relation, Subject: f.subject},
			})
			slices.Sort(got)
			sorted := slices.Sorted(slices.Values(want))
			if diff := cmp.Diff(sorted, got); diff != "" {
				t.Errorf("Read(%+v) in pages of %d (-want +got):\n%s", f, size, diff)
			}
		}
	}
}

// matches is what a field of a filter means.
func matches(pattern, name string) bool {
	return pattern == "" || pattern == name || !strings.Contains(pattern, ":") && strings.HasPrefix(name, pattern+":")
}

func TestPagesShowOneState(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	var tuples, want []string
	for i := range 50 {
		tuples = append(tuples, "document:d"+strconv.Itoa(i)+"#owner@user:anna")
		want = append(want, "d"+strconv.Itoa(i))
	}
	r.write(store, tuples...)
	list := &remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:anna", PageSize: 7}
	reading := &remitv1.ReadRequest{Store: store, PageSize: 7}
	var listed, read []string
	for i := 0; ; i++ {
		objects, err := r.access.ListObjects(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, objects.Ids...)
		rows, err := r.tuples.Read(t.Context(), reading)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range rows.Tuples {
			read = append(read, s.Tuple.Object+"#"+s.Tuple.Relation+"@"+s.Tuple.Subject)
		}
		if objects.Cursor == "" {
			break
		}
		list.Cursor, reading.Cursor = objects.Cursor, rows.Cursor
		// Others write, remove what is still to come, and change the model.
		_, err = r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
			op(remitv1.Operation_KIND_DELETE, "document:d"+strconv.Itoa(49-i), "owner", "user:anna"),
			put("document:new"+strconv.Itoa(i), "owner", "user:anna"),
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{
			Store: store, Source: dsl(strings.Replace(testModel, "viewer but not banned", "banned but not owner", i%2)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("ListObjects while others write (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(tuples, read); diff != "" {
		t.Errorf("Read while others write (-want +got):\n%s", diff)
	}
}

func TestARetryGetsTheFirstAnswer(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	req := &remitv1.WriteRequest{
		Store: store, IdempotencyKey: "once",
		Operations: []*remitv1.Operation{op(remitv1.Operation_KIND_CREATE, "document:a", "owner", "user:anna")},
	}
	first, err := r.tuples.Write(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	r.write(store, "document:b#owner@user:anna")
	again, err := r.tuples.Write(t.Context(), req)
	if err != nil || again.Token != first.Token {
		t.Errorf("the retry = %v, %v, want the token %s", again, err, first.Token)
	}
	// Not even a model that forbids the tuple changes the answer.
	_, err = r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl("model\n  schema 1.1\ntype user\n")})
	if err != nil {
		t.Fatal(err)
	}
	again, err = r.tuples.Write(t.Context(), req)
	if err != nil || again.Token != first.Token {
		t.Errorf("the retry under another model = %v, %v, want the token %s", again, err, first.Token)
	}

	makes := &remitv1.CreateStoreRequest{Name: "second", IdempotencyKey: "store"}
	one, err := r.stores.CreateStore(t.Context(), makes)
	if err != nil {
		t.Fatal(err)
	}
	two, err := r.stores.CreateStore(t.Context(), makes)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, two, protocmp.Transform()); diff != "" {
		t.Errorf("CreateStore again (-first +second):\n%s", diff)
	}
	modelled := &remitv1.WriteModelRequest{Store: one.Store.Id, Source: dsl(testModel), IdempotencyKey: "model"}
	m1, err := r.models.WriteModel(t.Context(), modelled)
	if err != nil {
		t.Fatal(err)
	}
	m2, err := r.models.WriteModel(t.Context(), modelled)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m1, m2, protocmp.Transform()); diff != "" || !m1.Created {
		t.Errorf("WriteModel again (-first +second):\n%s", diff)
	}
	removed := &remitv1.DeleteStoreRequest{StoreId: one.Store.Id, IdempotencyKey: "gone"}
	d1, err := r.stores.DeleteStore(t.Context(), removed)
	if err != nil {
		t.Fatal(err)
	}
	d2, err := r.stores.DeleteStore(t.Context(), removed)
	if err != nil || d1.Token != d2.Token {
		t.Errorf("DeleteStore again = %v, %v, want the token %s", d2, err, d1.Token)
	}
}

func TestTokensNameStates(t *testing.T) {
	c := &clock{now: time.Now()}
	r := newRig(t, func(config *Config) { config.Clock = c.Now })
	store := r.store("acme")
	before := r.write(store, "document:a#owner@user:bert")
	beforeTime := r.config.State.Current().Time()
	after := r.write(store, "document:a#owner@user:anna")
	question := "document:a#reader@user:anna"

	asks := func(c *remitv1.Consistency) bool {
		t.Helper()
		return r.check(&remitv1.Scope{Store: store, Consistency: c}, question)
	}
	if !asks(&remitv1.Consistency{Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: after}}) {
		t.Error("Check at least as fresh as the write = false, want true")
	}
	if !asks(&remitv1.Consistency{Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true}}) {
		t.Error("Check fully consistent = false, want true")
	}
	other := token.Token{Epoch: testEpoch(1), Revision: 1 << 40}.String()
	if !asks(&remitv1.Consistency{Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: other}}) {
		t.Error("Check with a token of another epoch = false, want true")
	}
	if asks(&remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: before}}) {
		t.Error("Check at the state before = true, want false")
	}
	if !asks(&remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: after}}) {
		t.Error("Check at the state after = false, want true")
	}
	if r.config.State.Current().Time().After(beforeTime) {
		if asks(&remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: timestamppb.New(beforeTime)}}) {
			t.Error("Check at the time before = true, want false")
		}
	}
	// A past state is judged by the model of its time, unless another is named.
	changed, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{
		Store: store, Source: dsl(strings.Replace(testModel, "viewer but not banned", "banned", 1)),
	})
	if err != nil {
		t.Fatal(err)
	}
	exact := &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: after}}
	if !asks(exact) {
		t.Error("Check of the past by its own model = false, want true")
	}
	if r.check(&remitv1.Scope{Store: store, Consistency: exact, ModelId: changed.ModelId}, question) {
		t.Error("Check of the past by the newest model = true, want false")
	}
	// A later answer's token shows the write as well, and is the same while nothing changes.
	res, err := r.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf(store), Question: ask(t, question)})
	if err != nil {
		t.Fatal(err)
	}
	got, err := token.Parse(res.Token)
	if err != nil || got.Revision != uint64(r.config.State.Current().Revision()) || got.Epoch != r.reader().Epoch() {
		t.Errorf("token = %+v, %v", got, err)
	}
}

func TestIdsAreOpaque(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	ids := []string{
		"plain", "Plain", "PLAIN", "a:b", "a|b", "a/b", "a.b", "a@b", "anna@example.com", "ünïcødé", "u\u0308", "ü", "日本", "🙂", "-", "_", "%20", "\"quoted\"", "\\",
		"**", "a*", strings.Repeat("x", 512),
	}
	for _, id := range ids {
		m := &remitv1.Tuple{Object: "document:" + id, Relation: "owner", Subject: "user:" + id}
		_, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{Kind: remitv1.Operation_KIND_CREATE, Tuple: m}}})
		if err != nil {
			t.Errorf("Write of %q: %v", id, err)
			continue
		}
		res, err := r.tuples.Read(t.Context(), &remitv1.ReadRequest{Store: store, Filter: &remitv1.TupleFilter{Object: m.Object}})
		if err != nil || len(res.Tuples) != 1 {
			t.Errorf("Read of %q = %v, %v", id, res, err)
			continue
		}
		if diff := cmp.Diff(m, res.Tuples[0].Tuple, protocmp.Transform()); diff != "" {
			t.Errorf("%q (-wrote +read):\n%s", id, diff)
		}
		list, err := r.access.ListObjects(t.Context(), &remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: m.Subject})
		if err != nil || !slices.Equal(list.Ids, []string{id}) {
			t.Errorf("ListObjects of %q = %v, %v", id, list.GetIds(), err)
		}
	}
}

func TestStoredTuplesRoundTripWithConditionAndExpiry(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	m := conditional(t, "document:a#viewer@user:anna", "in_region", map[string]any{"allowed": []any{"eu", "ch"}})
	m.ExpiresAt = timestamppb.New(time.Date(2040, 2, 29, 12, 0, 0, 1_999_999, time.UTC))
	_, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{Kind: remitv1.Operation_KIND_TOUCH, Tuple: m}}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.tuples.Read(t.Context(), &remitv1.ReadRequest{Store: store, Filter: &remitv1.TupleFilter{Subject: "user:anna"}})
	if err != nil || len(res.Tuples) != 1 {
		t.Fatalf("Read = %v, %v", res, err)
	}
	m.ExpiresAt = timestamppb.New(m.ExpiresAt.AsTime().Truncate(time.Millisecond))
	if diff := cmp.Diff(m, res.Tuples[0].Tuple, protocmp.Transform()); diff != "" {
		t.Errorf("(-wrote +read):\n%s", diff)
	}
}

// meddler writes a model between the plan of a write and its proposal.
type meddler struct {
	backend.Node
	mu      sync.Mutex
	between func()
	times   int
}

func (m *meddler) Propose(ctx context.Context, command []byte) ([]byte, error) {
	m.mu.Lock()
	f := m.between
	if f != nil && m.times > 0 {
		m.times--
		m.between = nil // the meddling itself is not meddled with
	} else {
		f = nil
	}
	m.mu.Unlock()
	if f != nil {
		f()
		m.mu.Lock()
		m.between = f
		m.mu.Unlock()
	}
	return m.Node.Propose(ctx, command)
}

func TestAModelWrittenMeanwhileIsHeeded(t *testing.T) {
	m := &meddler{}
	r := newRig(t, func(c *Config) { m.Node, c.Node = c.Node, m })
	store := r.store("acme")
	version := 0
	change := func() {
		version++
		text := strings.Replace(testModel, "define owner: [user]\n    define banned", fmt.Sprintf("define x%d: [user]\n    define owner: [user]\n    define banned", version), 1)
		if version == 1 {
			text = strings.Replace(text, "define banned: [user]", "define banned: [group#member]", 1)
		}
		if _, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(text)}); err != nil {
			t.Error(err)
		}
	}
	// The first model meanwhile forbids the tuple: the write must be judged by it.
	m.between, m.times = change, 1
	err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{put("document:a", "banned", "user:anna")}})
	if _, _, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_TUPLE_NOT_ALLOWED {
		t.Errorf("Write under a model that forbids it = %v", err)
	}
	// Models that keep coming: a few are outrun, too many are given up on.
	m.between, m.times = change, backend.MaxReplans
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{put("document:b", "owner", "user:anna")}}); err != nil {
		t.Errorf("Write that is planned %d times = %v", backend.MaxReplans+1, err)
	}
	m.between, m.times = change, 2*backend.MaxReplans
	err = r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{put("document:c", "owner", "user:anna")}})
	if _, _, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_ABORTED {
		t.Errorf("Write that never gets through = %v", err)
	}
}

// faulty stands in for a node in trouble.
type faulty struct {
	backend.Node
	err error
}

func (f *faulty) Propose(context.Context, []byte) ([]byte, error) { return nil, f.err }
func (f *faulty) ReadIndex(context.Context) (uint64, error)       { return 0, f.err }

func TestTroubleOfTheClusterHasItsReasons(t *testing.T) {
	f := &faulty{}
	r := newRig(t)
	store := r.store("acme", acme...)
	r.config.Node, f.Node = f, r.config.Node
	s := &tupleService{streamer: streamer{reader: r.reader()}, writer: backend.NewWriter(r.reader().Reader)}
	for err, reason := range map[error]remitv1.ErrorReason{
		cluster.ErrNoLeader:       remitv1.ErrorReason_ERROR_REASON_NO_LEADER,
		cluster.ErrUnknownOutcome: remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME,
		cluster.ErrShuttingDown:   remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		cluster.ErrOverloaded:     remitv1.ErrorReason_ERROR_REASON_OVERLOADED,
	} {
		f.err = fmt.Errorf("at node 7: %w", err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // for a leader it would wait longer
		defer cancel()
		_, got := s.Write(ctx, &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{put("document:b", "owner", "user:anna")}})
		if ce, detail := wire(t.Context(), discard(), "Write", got); !errors.Is(got, err) || detail.GetReason() != reason {
			t.Errorf("Write in %v = %v, %v", err, ce, detail)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, got = r.reader().open(ctx, &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
			Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true},
		}})
		if !errors.Is(got, err) {
			t.Errorf("a consistent read in %v = %v", err, got)
		}
	}
}
