package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
)

// deletion reads a DeleteTuples to its end; the last message is what it says of the whole.
func (r *rig) deletion(req *remitv1.DeleteTuplesRequest) (last *remitv1.DeleteTuplesResponse, messages int, err error) {
	r.t.Helper()
	stream, err := r.tuples.DeleteTuples(r.t.Context(), req)
	if err != nil {
		return nil, 0, err
	}
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			if !last.GetDone() {
				r.t.Errorf("the deletion %v ended without saying that it is done: %v", req, last)
			}
			return last, messages, nil
		}
		if err != nil {
			return last, messages, err
		}
		last, messages = res, messages+1
	}
}

// preview is a deletion that has been previewed, and what the preview said.
func (r *rig) preview(store string, filter *remitv1.TupleFilter) (*remitv1.DeleteTuplesRequest, *remitv1.DeleteTuplesResponse) {
	r.t.Helper()
	req := &remitv1.DeleteTuplesRequest{Store: store, Filter: filter, Preview: true, Everything: proto.Size(filter) == 0}
	seen, _, err := r.deletion(req)
	if err != nil {
		r.t.Fatalf("preview of %v: %v", filter, err)
	}
	req.Preview, req.ExpectedCount, req.Token = false, &seen.Matched, seen.Token
	return req, seen
}

func (r *rig) all(store string) []string {
	r.t.Helper()
	all, _ := r.read(&remitv1.ReadRequest{Store: store, PageSize: 10_000})
	slices.Sort(all)
	return all
}

// matchesTuple is what a filter means, in plain words.
func matchesTuple(t testing.TB, f *remitv1.TupleFilter, text string) bool {
	m := tuple(t, text)
	return matches(f.Object, m.Object) && (f.Relation == "" || f.Relation == m.Relation) && matches(f.Subject, m.Subject)
}

// Whatever the filter, the preview counts and the deletion removes what the filter
// matches, and nothing else.
func TestADeletionRemovesWhatItsFilterMatches(t *testing.T) {
	r := newRig(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	for round := range 25 {
		made := map[string]bool{}
		for range 1 + rng.IntN(80) {
			switch object := fmt.Sprint(rng.IntN(6)); rng.IntN(4) {
			case 0:
				made["group:"+object+"#member@"+pick("user:0", "user:1", "group:0#member", "group:1#member")] = true
			case 1:
				made["folder:"+object+"#"+pick("owner@user:0", "owner@user:1", "viewer@user:*", "viewer@group:0#member")] = true
			default:
				made["document:"+object+"#"+pick("owner", "banned", "viewer")+"@user:"+fmt.Sprint(rng.IntN(4))] = true
			}
		}
		var tuples []string
		for text := range made {
			tuples = append(tuples, text)
		}
		store := r.store(fmt.Sprint("store", round), tuples...)
		filter := &remitv1.TupleFilter{
			Object:   pick("", "", "group", "document", "folder:1", "document:2", "document:unknown"),
			Relation: pick("", "", "viewer", "owner"),
			Subject:  pick("", "", "user", "user:1", "user:*", "group:0#member", "user:unknown"),
		}
		if object, _, _ := strings.Cut(filter.Object, ":"); object == "group" && filter.Relation != "" {
			filter.Relation = "member" // groups have no other
		}
		var stays, goes []string
		for _, text := range tuples {
			if matchesTuple(t, filter, text) {
				goes = append(goes, text)
			} else {
				stays = append(stays, text)
			}
		}
		req, seen := r.preview(store, filter)
		if int(seen.Matched) != len(goes) || len(seen.Sample) != min(len(goes), defaultSample) {
			t.Fatalf("the preview of %v counts %d and shows %d, want %d", filter, seen.Matched, len(seen.Sample), len(goes))
		}
		for _, s := range seen.Sample {
			if text := s.Tuple.Object + "#" + s.Tuple.Relation + "@" + s.Tuple.Subject; !slices.Contains(goes, text) {
				t.Errorf("the preview of %v shows %s", filter, text)
			}
		}
		done, _, err := r.deletion(req)
		if err != nil || done.Matched != seen.Matched || done.Deleted != seen.Matched || done.Gone != 0 || done.Newer != 0 {
			t.Fatalf("deletion of %v = %v, %v", filter, done, err)
		}
		slices.Sort(stays)
		if diff := cmp.Diff(append([]string{}, stays...), append([]string{}, r.all(store)...)); diff != "" {
			t.Fatalf("after the deletion of %v (-want +got):\n%s", filter, diff)
		}
		// Once more: there is nothing left.
		if again, _, err := r.deletion(req); err != nil || again.Matched != 0 || again.Deleted != 0 {
			t.Fatalf("deletion once more = %v, %v", again, err)
		}
	}
}

func TestADeletionIsRefusedWholly(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	count := func(n uint64) *uint64 { return &n }
	banned := &remitv1.TupleFilter{Relation: "banned"}
	for _, tc := range []struct {
		name   string
		req    *remitv1.DeleteTuplesRequest
		code   connect.Code
		reason remitv1.ErrorReason
		field  string
	}{
		{
			"everything, unasked", &remitv1.DeleteTuplesRequest{Store: store, ExpectedCount: count(100)},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "filter",
		}, {
			"an empty filter", &remitv1.DeleteTuplesRequest{Store: store, Filter: &remitv1.TupleFilter{}, Preview: true},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "filter",
		}, {
			"everything and a filter", &remitv1.DeleteTuplesRequest{Store: store, Filter: banned, Everything: true, ExpectedCount: count(100)},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "everything",
		}, {
			"without a preview", &remitv1.DeleteTuplesRequest{Store: store, Filter: banned},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "expected_count",
		}, {
			"more than expected", &remitv1.DeleteTuplesRequest{Store: store, Filter: banned, ExpectedCount: count(2)},
			connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_UNEXPECTED_COUNT, "expected_count",
		}, {
			"an unknown relation", &remitv1.DeleteTuplesRequest{Store: store, Filter: &remitv1.TupleFilter{Relation: "nothing"}, ExpectedCount: count(2)},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND, "filter.relation",
		}, {
			"an unknown type", &remitv1.DeleteTuplesRequest{Store: store, Filter: &remitv1.TupleFilter{Object: "ship"}, Preview: true},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND, "filter.object",
		}, {
			"a token that is none", &remitv1.DeleteTuplesRequest{Store: store, Filter: banned, ExpectedCount: count(3), Token: "x"},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_TOKEN, "token",
		}, {
			"an unknown store", &remitv1.DeleteTuplesRequest{Store: "nobody", Filter: banned, ExpectedCount: count(3)},
			connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND, "store",
		}, {
			"too large a sample", &remitv1.DeleteTuplesRequest{Store: store, Filter: banned, Preview: true, SampleSize: 1001},
			connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "sample_size",
		},
	} {
		_, _, err := r.deletion(tc.req)
		if err == nil {
			t.Errorf("%s: no error", tc.name)
			continue
		}
		code, message, detail := detailOf(t, err)
		if code != tc.code || detail.Reason != tc.reason || detail.Field != tc.field {
			t.Errorf("%s: %v %v %q: %s", tc.name, code, detail.Reason, detail.Field, message)
		}
	}
	if got := r.all(store); len(got) != len(acme) {
		t.Errorf("%d tuples are left, want %d", len(got), len(acme))
	}
	// Everything goes if that is asked for.
	req, seen := r.preview(store, nil)
	if done, _, err := r.deletion(req); err != nil || int(seen.Matched) != len(acme) || done.Deleted != seen.Matched {
		t.Errorf("deletion of everything = %v, %v", done, err)
	}
	if got := r.all(store); len(got) != 0 {
		t.Errorf("%v is left", got)
	}
}

// What is written behind the state that was previewed stays, be it new or written anew.
func TestADeletionSparesWhatCameLater(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	req, seen := r.preview(store, &remitv1.TupleFilter{Relation: "banned"})
	r.write(store, "document:open#banned@user:carl", "document:open#banned@user:dora") // one was there before
	if _, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		op(remitv1.Operation_KIND_DELETE, "document:plan", "banned", "user:bert"),
	}}); err != nil {
		t.Fatal(err)
	}
	done, _, err := r.deletion(req)
	if err != nil || seen.Matched != 3 || done.Matched != 1 || done.Deleted != 1 || done.Newer != 2 {
		t.Fatalf("deletion = %v, %v; the preview was %v", done, err, seen)
	}
	left, _ := r.read(&remitv1.ReadRequest{Store: store, Filter: &remitv1.TupleFilter{Relation: "banned"}})
	slices.Sort(left)
	if want := []string{"document:open#banned@user:carl", "document:open#banned@user:dora"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}

// An interloper is a node before whose proposals a test does something.
type interloper struct {
	backend.Node
	before func(n int) error // the proposal is made unless it fails
	after  func(n int) error // its answer counts unless it fails
	n      int
}

func (o *interloper) Propose(ctx context.Context, command []byte) ([]byte, error) {
	o.n++
	n := o.n
	if o.before != nil {
		if err := o.before(n); err != nil {
			return nil, err
		}
	}
	answer, err := o.Node.Propose(ctx, command)
	if err == nil && o.after != nil {
		err = o.after(n)
	}
	return answer, err
}

// meddled is the tuple service of a rig whose node a test meddles with.
func (r *rig) meddled(o *interloper) *tupleService {
	r.t.Helper()
	o.Node = r.config.Node
	config := r.config
	config.Node = o
	reading := &reader{backend.NewReader(config.backend())}
	return &tupleService{streamer{reader: reading, slow: time.Minute, draining: context.Background()}, backend.NewWriter(reading.Reader)}
}

// A sink takes what a deletion sends.
type sink struct {
	last *remitv1.DeleteTuplesResponse
	take func(res *remitv1.DeleteTuplesResponse) error
}

func (s *sink) Send(res *remitv1.DeleteTuplesResponse) error {
	s.last = res
	if s.take != nil {
		return s.take(res)
	}
	return nil
}

// fill makes a store of n documents that anna owns.
func (r *rig) fill(name string, n int) string {
	r.t.Helper()
	store := r.store(name)
	tuples := make([]*remitv1.Tuple, n)
	for i := range tuples {
		tuples[i] = &remitv1.Tuple{Object: fmt.Sprintf("document:d%05d", i), Relation: "owner", Subject: "user:anna"}
	}
	if _, err := imports(r.t.Context(), r.clients, store, tuples, 5000); err != nil {
		r.t.Fatal(err)
	}
	return store
}

// Others write what is about to be deleted, at the worst moment: between the look at the
// state and the transaction. What they wrote stays, all else goes, and the end says so.
func TestADeletionAmongOtherWriters(t *testing.T) {
	r := newRig(t)
	const n = 2500
	store := r.fill("acme", n)
	touched := map[string]bool{}
	m := &interloper{}
	m.before = func(i int) error {
		if i > 40 {
			return nil
		}
		anew, gone := fmt.Sprintf("document:d%05d", i*61%n), fmt.Sprintf("document:d%05d", (i*61+30)%n)
		if _, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
			put(anew, "owner", "user:anna"), op(remitv1.Operation_KIND_DELETE, gone, "owner", "user:anna"), put(fmt.Sprint("document:new", i), "owner", "user:anna"),
		}}); err != nil {
			return err
		}
		touched[anew+"#owner@user:anna"], touched[fmt.Sprint("document:new", i, "#owner@user:anna")] = true, true
		return nil
	}
	s, out := r.meddled(m), &sink{}
	expected := uint64(n)
	req := &remitv1.DeleteTuplesRequest{Store: store, Filter: &remitv1.TupleFilter{Subject: "user:anna"}, ExpectedCount: &expected}
	if err := s.deleteTuples(t.Context(), req, out); err != nil {
		t.Fatal(err)
	}
	left := r.all(store)
	for _, text := range left {
		if !touched[text] {
			t.Errorf("%s is left, and nobody wrote it", text)
		}
	}
	if len(left) != len(touched) {
		t.Errorf("%d tuples are left, want the %d that were written meanwhile", len(left), len(touched))
	}
	if !out.last.Done || out.last.Matched != n || out.last.Deleted+out.last.Gone != n || out.last.Gone == 0 {
		t.Errorf("the deletion says %v", out.last)
	}
	t.Logf("%d proposals, %v", m.n, out.last)
}

// A deletion whose client goes away at any message, or which the node cuts off, has done
// whole transactions, and is completed by another one.
func TestADeletionIsRepeated(t *testing.T) {
	r := newRig(t)
	const n = 2500
	expected := uint64(n)
	for cut := range 3 {
		store := r.fill(fmt.Sprint("acme", cut), n)
		req := &remitv1.DeleteTuplesRequest{Store: store, Filter: &remitv1.TupleFilter{Object: "document"}, ExpectedCount: &expected}
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := r.tuples.DeleteTuples(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for range cut + 1 {
			if _, err := stream.Receive(); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		for err == nil {
			_, err = stream.Receive() // until the handler has ended
		}
		done, _, err := r.deletion(req)
		if err != nil || len(r.all(store)) != 0 {
			t.Fatalf("cut off after %d messages, then %v, %v; %d tuples are left", cut+1, done, err, len(r.all(store)))
		}
	}
}

// A transaction whose outcome is unknown is proposed again, and counts once.
func TestADeletionOfUnknownOutcomeCountsOnce(t *testing.T) {
	r := newRig(t)
	const n = 1500
	store := r.fill("acme", n)
	lost, busy := false, false
	s, out := r.meddled(&interloper{
		before: func(n int) error {
			if n == 3 && !busy {
				busy = true
				return cluster.ErrOverloaded
			}
			return nil
		},
		after: func(n int) error {
			if n == 1 && !lost {
				lost = true
				return cluster.ErrUnknownOutcome
			}
			return nil
		},
	}), &sink{}
	expected := uint64(n)
	req := &remitv1.DeleteTuplesRequest{Store: store, Everything: true, ExpectedCount: &expected}
	if err := s.deleteTuples(t.Context(), req, out); err != nil {
		t.Fatal(err)
	}
	if !lost || !busy || out.last.Deleted != n || out.last.Gone != 0 || len(r.all(store)) != 0 {
		t.Errorf("the deletion says %v; %d tuples are left", out.last, len(r.all(store)))
	}
}

// Transactions are far smaller than a command may be, whatever the names.
func TestTransactionsOfADeletionAreBounded(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	const n = 1200
	long := strings.Repeat("x", 900)
	tuples := make([]*remitv1.Tuple, n)
	for i := range tuples {
		tuples[i] = &remitv1.Tuple{Object: fmt.Sprintf("document:%s%d", long, i), Relation: "owner", Subject: "user:" + long}
	}
	if _, err := imports(t.Context(), r.clients, store, tuples, 1000); err != nil {
		t.Fatal(err)
	}
	before := r.config.State.Current().Revision()
	req, _ := r.preview(store, &remitv1.TupleFilter{Object: "document"})
	req.Reason = "spring"
	done, messages, err := r.deletion(req)
	if err != nil || done.Deleted != n {
		t.Fatalf("deletion = %v, %v", done, err)
	}
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	changes := map[graph.Revision]int{}
	page := fsm.Place{Revision: before + 1}
	for more := true; more; {
		p, err := r.config.State.Changes(id, fsm.ChangeQuery{After: page})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Changes {
			if c.Kind != fsm.TupleDeleted || c.Reason != "spring" {
				t.Fatalf("change %v", c)
			}
			changes[c.Revision]++
		}
		page, more = p.Next, p.More
	}
	if len(changes) < 4 || messages <= len(changes) {
		t.Errorf("%d transactions, %d messages", len(changes), messages)
	}
}

// Who may write sees how many would go, and not which, unless they may read.
func TestAPreviewShowsTuplesToWhoMayRead(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		grant  identity.Permissions
		want   error
		sample int
	}{
		{identity.Write, nil, 0},
		{identity.Write | identity.Read, nil, 3},
		{identity.Admin, nil, 3},
		{identity.Read, identity.ErrForbidden, 0},
	} {
		ctx := identity.WithCall(t.Context(), &identity.Call{
			Caller: &identity.Caller{Principal: "key:test", Grants: identity.Grants{Stores: map[identity.Store]identity.Permissions{id: tc.grant}}},
			Need:   identity.Write,
		})
		out := &sink{}
		err := r.meddled(&interloper{}).deleteTuples(ctx, &remitv1.DeleteTuplesRequest{
			Store: store, Filter: &remitv1.TupleFilter{Relation: "banned"}, Preview: true,
		}, out)
		if !errors.Is(err, tc.want) || len(out.last.GetSample()) != tc.sample || err == nil && out.last.GetMatched() != 3 {
			t.Errorf("%s: %v, %v", tc.grant, out.last, err)
		}
	}
}

// What one subject has is gone through without a page of memory for each tuple of it.
func TestAFilterBySubjectTakesLittleMemory(t *testing.T) {
	const tuples = 3000
	r := newRig(t)
	id, err := fsm.ParseStoreID(r.fill("acme", tuples))
	if err != nil {
		t.Fatal(err)
	}
	store, _ := r.config.State.Current().Store(id)
	head := backend.HeadOf(store)
	f, err := backend.NewFilter(&head, backend.Pattern{SubjectType: "user", SubjectID: "anna", HasSubjectID: true})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	seen := 0
	if err := f.Each(t.Context(), func(*graph.Row) error { seen++; return nil }); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / tuples; seen != tuples || per > 2000 {
		t.Errorf("%d of %d tuples, with %d bytes each", seen, tuples, per)
	}
}
