package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
)

// slowRig makes a rig whose stores are good for so many calls at once, and for next to none
// after that; who is refused is told so at once.
func slowRig(t *testing.T, burst int) *rig {
	return newRig(t, func(c *Config) { c.Limits = limit.Config{RatePerStore: 1, BurstPerStore: burst, RateWait: -1} })
}

// made makes a store without spending what it is good for.
func (r *rig) made(name string) string {
	r.t.Helper()
	free := *r
	config := r.config
	config.Limits = limit.Config{}
	free.clients = newClients(connectinprocess.New(NewConnectServer(config)))
	return free.store(name, acme...)
}

// A store is one tenant by its id and by its name, and what it is asked for counts: the
// questions of a batch, the operations of a write.
func TestWhatIsAskedForIsWhatCounts(t *testing.T) {
	questions := func(n int) (all []*remitv1.BatchQuestion) {
		for range n {
			all = append(all, &remitv1.BatchQuestion{Question: ask(t, "document:plan#reader@user:olga")})
		}
		return all
	}
	for _, test := range []struct {
		name string
		cost int
		call func(ctx context.Context, r *rig, store string) error
	}{
		{"a check", 1, func(ctx context.Context, r *rig, store string) error {
			_, err := r.access.Check(ctx, &remitv1.CheckRequest{Scope: scopeOf(store), Question: ask(t, "document:plan#reader@user:olga")})
			return err
		}},
		{"a check that fails", 1, func(ctx context.Context, r *rig, store string) error {
			_, err := r.access.Check(ctx, &remitv1.CheckRequest{Scope: scopeOf(store), Question: ask(t, "nothing:plan#reader@user:olga")})
			if errors.Is(err, connect.NewError(connect.CodeInvalidArgument, "")) || connect.CodeOf(err) == connect.CodeInvalidArgument {
				return nil
			}
			return err
		}},
		{"a batch of 5", 5, func(ctx context.Context, r *rig, store string) error {
			_, err := r.access.BatchCheck(ctx, &remitv1.BatchCheckRequest{Scope: scopeOf(store), Questions: questions(5)})
			return err
		}},
		{"a write of 3", 3, func(ctx context.Context, r *rig, store string) error {
			_, err := r.tuples.Write(ctx, &remitv1.WriteRequest{Store: store, Operations: touch(t, "document:a#owner@user:b", "document:b#owner@user:b", "document:c#owner@user:b")})
			return err
		}},
		{"a list", 1, func(ctx context.Context, r *rig, store string) error {
			_, err := r.access.ListObjects(ctx, &remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:olga"})
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			const burst = 30
			r := slowRig(t, burst)
			id, other := r.made("acme"), r.made("other")
			calls := 0
			for ; calls < burst+1; calls++ {
				store := id
				if calls%2 == 1 {
					store = "acme"
				}
				err := test.call(t.Context(), r, store)
				if err == nil {
					continue
				}
				code, _, detail := detailOf(t, err)
				if wait := detail.GetRetryAfter().AsDuration(); code != connect.CodeResourceExhausted ||
					detail.Reason != remitv1.ErrorReason_ERROR_REASON_RATE_LIMITED || wait <= 0 || wait > time.Duration(test.cost)*time.Second {
					t.Fatalf("call %d: %v, detail %v", calls, err, detail)
				}
				break
			}
			// The bucket fills by one a second meanwhile.
			if want := burst / test.cost; calls < want || calls > want+2 {
				t.Errorf("%d calls were answered, want %d", calls, want)
			}
			if err := test.call(t.Context(), r, other); err != nil {
				t.Errorf("another store: %v", err)
			}
		})
	}
}

// A call that costs more than a bucket holds is let in when that is full, and leaves a
// debt: nothing can be had cheaper in one piece.
func TestALargeCallLeavesADebt(t *testing.T) {
	r := slowRig(t, 10)
	id := r.made("acme")
	batch := &remitv1.BatchCheckRequest{Scope: scopeOf(id)}
	for range 100 {
		batch.Questions = append(batch.Questions, &remitv1.BatchQuestion{Question: ask(t, "document:plan#reader@user:olga")})
	}
	if _, err := r.access.BatchCheck(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	_, err := r.ask(scopeOf(id), "document:plan#reader@user:olga")
	if _, _, detail := detailOf(t, err); detail.GetRetryAfter().AsDuration() < 80*time.Second {
		t.Errorf("after a batch of 100 questions: %v, %v, want a refusal for about 90 s", err, detail)
	}
}

// owned makes a store in which olga owns so many documents, without spending what it is good
// for, and lists what somebody owns.
func (r *rig) owned(documents int) (store string, list func(of string) error) {
	r.t.Helper()
	free := *r
	config := r.config
	config.Limits = limit.Config{}
	free.clients = newClients(connectinprocess.New(NewConnectServer(config)))
	store = free.store("acme")
	for i := 0; i < documents; i += 4096 {
		var tuples []string
		for j := range 4096 {
			tuples = append(tuples, fmt.Sprintf("document:d%d#owner@user:olga", i+j))
		}
		free.write(store, tuples...)
	}
	return store, func(of string) error {
		_, err := r.access.ListObjects(context.Background(), &remitv1.ListObjectsRequest{
			Scope: scopeOf(store), Type: "document", Relation: "owner", Subject: of, PageSize: maxPage,
		})
		return err
	}
}

// A list that visits as many edges as this counts as 320 calls, or a little less: it is counted
// while it goes on.
const (
	manyEdges    = 20 * limit.PaceEdges
	manyEdgesFor = manyEdges / limit.EdgesPerCall
)

// What a question visits is paid for while it does: a list of much leaves a debt, too.
func TestEdgesVisitedCount(t *testing.T) {
	r := slowRig(t, 10)
	id, list := r.owned(manyEdges)
	if err := list("user:olga"); err != nil {
		t.Fatal(err)
	}
	_, err := r.ask(scopeOf(id), "document:d1#owner@user:olga")
	if _, _, detail := detailOf(t, err); detail.GetRetryAfter().AsDuration() < (manyEdgesFor-50)*time.Second {
		t.Errorf("after a list of %d objects: %v, %v, want a refusal for about %d s", maxPage, err, detail, manyEdgesFor-10)
	}
}

// A list pays ahead what the last one took: of many that arrive together those are let in that
// there is room for, and the store is in debt for less than one takes, not for all of them.
func TestListsThatArriveTogether(t *testing.T) {
	const room = 2
	r := slowRig(t, (1+room)*manyEdgesFor-100)
	id, list := r.owned(manyEdges)
	if err := list("user:olga"); err != nil {
		t.Fatal(err)
	}
	var lists sync.WaitGroup
	var answered atomic.Int64
	for range 20 {
		lists.Go(func() {
			switch err := list("user:olga"); {
			case err == nil:
				answered.Add(1)
			case connect.CodeOf(err) != connect.CodeResourceExhausted:
				t.Error(err)
			}
		})
	}
	lists.Wait()
	if n := answered.Load(); n != room {
		t.Errorf("%d lists were answered, want %d", n, room)
	}
	_, err := r.ask(scopeOf(id), "document:d1#owner@user:olga")
	if _, _, detail := detailOf(t, err); detail.GetRetryAfter() == nil || detail.GetRetryAfter().AsDuration() > manyEdgesFor*time.Second {
		t.Errorf("after lists that there was room for: %v, want a refusal for less than %d s", err, manyEdgesFor)
	}
}

// What a list has paid ahead and not spent is given back.
func TestListsThatTakeLittleCostLittle(t *testing.T) {
	r := slowRig(t, 3*manyEdgesFor)
	_, list := r.owned(manyEdges)
	if err := list("user:olga"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := list("user:nobody"); err != nil {
			t.Fatalf("a list of nothing after one of much: %v", err)
		}
	}
	if err := list("user:olga"); err != nil {
		t.Errorf("a list of much after many of nothing: %v", err)
	}
}

// An import that is larger than a bucket comes at the rate that the store is good for, and ends
// with its deadline.
func TestImportsComeAtTheirRate(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits = limit.Config{RatePerStore: 1000, BurstPerStore: 100} })
	id := r.made("acme")
	begun := time.Now()
	if res, err := imports(t.Context(), r.clients, id, many(t, 600), 100); err != nil || res.Written != 600 {
		t.Fatalf("%v, %v", res, err)
	}
	if took := time.Since(begun); took < 450*time.Millisecond {
		t.Errorf("600 tuples of a store that is good for 1,000 a second, and 100 at once, took %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := imports(ctx, r.clients, r.made("other"), many(t, 2000), 10); connect.CodeOf(err) != connect.CodeDeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an import that takes longer than it may: %v, want that its deadline has passed", err)
	}
}

// brokenBatch is a batch whose questions, which are so many, are no messages.
func brokenBatch(store string, questions int) *remitv1.BatchCheckRequest {
	batch := &remitv1.BatchCheckRequest{Scope: scopeOf(store)}
	var data []byte
	for range questions {
		data = protowire.AppendTag(data, 2, protowire.BytesType)
		data = protowire.AppendBytes(data, bytes.Repeat([]byte{0xff}, 100))
	}
	batch.ProtoReflect().SetUnknown(data)
	return batch
}

// Over the gRPC port a large message is judged before it is decoded: one that cannot be is refused
// for its rate if there is no room for it. What is let in is paid for once, and in full.
func TestLargeMessagesAreJudgedBeforeTheyAreDecoded(t *testing.T) {
	const calls = 600 // of each kind some ten thousand bytes or more
	questions := func(store string) *remitv1.BatchCheckRequest {
		batch := &remitv1.BatchCheckRequest{Scope: scopeOf(store)}
		for range calls {
			batch.Questions = append(batch.Questions, &remitv1.BatchQuestion{Question: ask(t, "document:"+strings.Repeat("p", 100)+"#reader@user:olga")})
		}
		return batch
	}
	edit := func(store string) *remitv1.ChangeRequest { // one edit, of as many records
		share := &remitv1.ShareRecords{Shares: []*remitv1.Share{{}}}
		for i := range calls {
			share.Records = append(share.Records, fmt.Sprintf("%s%d", strings.Repeat("d", 100), i))
		}
		return &remitv1.ChangeRequest{Store: store, Edits: []*remitv1.Edit{{Edit: &remitv1.Edit_Share{Share: share}}}}
	}
	r := slowRig(t, 10)
	conn := dial(t, r.serve().GRPCAddr())
	batchOf := func(req *remitv1.BatchCheckRequest) error {
		return conn.Invoke(t.Context(), remitv1connect.AccessServiceBatchCheckProcedure, req, &remitv1.BatchCheckResponse{})
	}
	for _, test := range []struct {
		name string
		call func(store string) error
		want codes.Code
	}{
		{"a batch", func(store string) error { return batchOf(questions(store)) }, codes.OK},
		{"a batch that is no message", func(store string) error { return batchOf(brokenBatch(store, calls)) }, codes.InvalidArgument},
		{"an edit of many records", func(store string) error {
			return conn.Invoke(t.Context(), remitv1connect.OrganisationServiceChangeProcedure, edit(store), &remitv1.ChangeResponse{})
		}, codes.InvalidArgument},
		{"an import", func(store string) error {
			stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, remitv1connect.TransferServiceImportProcedure)
			if err != nil {
				return err
			}
			if err := stream.SendMsg(&remitv1.ImportRequest{Store: store, Tuples: many(t, calls)}); err != nil {
				return err
			}
			return errors.Join(stream.CloseSend(), stream.RecvMsg(&remitv1.ImportResponse{}))
		}, codes.OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := r.made(strings.ReplaceAll(test.name, " ", "-"))
			if err := test.call(id); status.Code(err) != test.want {
				t.Fatalf("with a full bucket: %v, want %s", err, test.want)
			}
			check := &remitv1.CheckRequest{Scope: scopeOf(id), Question: ask(t, "document:plan#reader@user:olga")}
			err := conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure, check, &remitv1.CheckResponse{})
			if wait := toldToWait(err); wait < (calls-20)*time.Second || wait > calls*time.Second {
				t.Errorf("then a check is told to wait for %s, want nearly %d s: %v", wait, calls, err)
			}
			if err := batchOf(brokenBatch(id, calls)); status.Code(err) != codes.ResourceExhausted {
				t.Errorf("then a batch that is no message: %v, want %s", err, codes.ResourceExhausted)
			}
		})
	}
}

// posted is what a request is answered with.
func posted(t *testing.T, url string, header http.Header, body []byte) (res *http.Response, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return res, string(data)
}

// So it is over HTTP, in either form.
func TestLargeMessagesAreJudgedOverHTTP(t *testing.T) {
	const calls = 600
	r := slowRig(t, 10)
	url := "http://" + r.serve().Addr().String() + remitv1connect.AccessServiceBatchCheckProcedure
	for _, form := range []struct {
		kind string
		body func(store string) []byte
	}{
		{"application/proto", func(store string) []byte {
			data, err := proto.Marshal(brokenBatch(store, calls))
			if err != nil {
				t.Fatal(err)
			}
			return data
		}},
		{"application/json", func(store string) []byte {
			question := `{"question":{"object":5,"relation":"` + strings.Repeat("r", 100) + `"}},`
			return []byte(`{"questions":[` + strings.TrimSuffix(strings.Repeat(question, calls), ",") + `],"scope":{"store":"` + store + `"}}`)
		}},
	} {
		t.Run(form.kind, func(t *testing.T) {
			body := form.body(r.made(strings.ReplaceAll(form.kind, "/", "-")))
			for _, want := range []int{http.StatusBadRequest, http.StatusTooManyRequests} {
				res, text := posted(t, url, http.Header{"Content-Type": {form.kind}}, body)
				if res.StatusCode != want {
					t.Errorf("answered with %d, %s, want %d", res.StatusCode, text, want)
				}
				if after, _ := strconv.Atoi(res.Header.Get("Retry-After")); want == http.StatusTooManyRequests && (after < calls-20 || after > calls) {
					t.Errorf("a retry after %d s, want nearly %d", after, calls)
				}
			}
		})
	}
}

// Over HTTP, too, a large message waits for its turn to be decoded; one whose turn does not come is
// out of time, and not wrong.
func TestLargeMessagesOverHTTPAreReadInTurn(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits = limit.Config{LongConcurrency: 1} })
	s := r.serve()
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- s.faces[0].limits.Code(t.Context(), limit.LargeMessage, func() error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	batch := []byte(`{"scope":{"store":"` + strings.Repeat("s", limit.LargeMessage) + `"}}`)
	url := "http://" + s.Addr().String() + remitv1connect.AccessServiceBatchCheckProcedure
	header := http.Header{"Content-Type": {"application/json"}, "Connect-Timeout-Ms": {"200"}}
	res, text := posted(t, url, header, batch)
	if res.StatusCode != http.StatusGatewayTimeout || !strings.Contains(text, "deadline_exceeded") {
		t.Errorf("answered with %d, %s, want that the deadline has passed", res.StatusCode, text)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	header.Del("Connect-Timeout-Ms")
	if res, text := posted(t, url, header, batch); res.StatusCode != http.StatusBadRequest {
		t.Errorf("then answered with %d, %s, want that the store's name is too long", res.StatusCode, text)
	}
}

// Stores that there are not, or that the caller may not use, share one bucket: nobody can
// make the server remember names, nor use up what is another's.
func TestNobodyUsesUpWhatIsAnothers(t *testing.T) {
	r := slowRig(t, 5)
	id := r.made("acme")
	stranger := identity.WithCall(t.Context(), &identity.Call{Caller: &identity.Caller{Principal: "key:stranger"}, Need: identity.Read})
	refused := 0
	for i := range 20 {
		_, err := r.access.Check(stranger, &remitv1.CheckRequest{Scope: scopeOf(id), Question: ask(t, "document:plan#reader@user:olga")})
		if err == nil {
			t.Fatal("a stranger was answered")
		}
		_, err = r.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf("nobody" + strconv.Itoa(i)), Question: ask(t, "document:plan#reader@user:olga")})
		if connect.CodeOf(err) == connect.CodeResourceExhausted {
			refused++
		}
	}
	if refused < 10 {
		t.Errorf("%d of 20 calls to stores that do not exist were refused for their rate, want most", refused)
	}
	if !r.check(scopeOf(id), "document:plan#reader@user:olga") {
		t.Error("the answer is no")
	}
}

// Every transport tells a client that is refused when to come back.
func TestEveryTransportSaysWhenToComeBack(t *testing.T) {
	r := slowRig(t, 1)
	id := r.made("acme")
	s := r.serve()
	post := func(path, body string) (*http.Response, string) {
		t.Helper()
		return posted(t, "http://"+s.Addr().String()+path, http.Header{"Content-Type": {"application/json"}}, []byte(body))
	}
	wantRetry := func(res *http.Response, body, want string) {
		t.Helper()
		seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if res.StatusCode != http.StatusTooManyRequests || err != nil || seconds < 1 || seconds > 200 || !strings.Contains(body, want) {
			t.Errorf("answered with %d, Retry-After %q, %s; want 429, a time, and %s", res.StatusCode, res.Header.Get("Retry-After"), body, want)
		}
	}
	// A batch leaves a debt of minutes.
	batch := `{"checks":[` + strings.Repeat(`{"correlation_id":"N","tuple_key":{"user":"user:olga","relation":"reader","object":"document:plan"}},`, 49)
	batch = strings.TrimSuffix(batch, ",") + "]}"
	for i := range 49 {
		batch = strings.Replace(batch, `"N"`, fmt.Sprintf(`"c%d"`, i), 1)
	}
	if res, body := post("/stores/"+id+"/batch-check", batch); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status, body)
	}
	question := `{"tuple_key":{"user":"user:olga","relation":"reader","object":"document:plan"}}`
	res, body := post("/stores/"+id+"/check", question)
	wantRetry(res, body, "rate_limit_exceeded")
	res, body = post("/stores/"+id+"/streamed-list-objects", `{"type":"document","relation":"reader","user":"user:olga"}`)
	wantRetry(res, body, "rate limit")
	res, body = post("/remit.v1.AccessService/Check", `{"scope":{"store":"acme"},"question":{"object":"document:plan","relation":"reader","subject":"user:olga"}}`)
	wantRetry(res, body, "RATE_LIMITED")

	fga := openfgav1.NewOpenFGAServiceClient(dial(t, s.GRPCAddr()))
	_, err := fga.Check(t.Context(), &openfgav1.CheckRequest{StoreId: id, TupleKey: &openfgav1.CheckRequestTupleKey{Object: "document:plan", Relation: "reader", User: "user:olga"}})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("OpenFGA's face over gRPC: %v, want %s", err, codes.ResourceExhausted)
	}
}

// The tenant of a name is that of the store's id, and that of what the service keeps for
// itself is nobody's.
func TestStoresAreResolvedToTheirIDs(t *testing.T) {
	r := newRig(t)
	id := r.store("acme")
	r.store("twin")
	r.store("twin")
	want, err := fsm.ParseStoreID(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		store string
		ok    bool
	}{{id, true}, {"acme", true}, {"twin", false}, {"nobody", false}, {"00000000000000000000000001", false}, {"", false}} {
		got, ok := resolve(r.config.State.Current(), test.store)
		if ok != test.ok || ok && got != want {
			t.Errorf("resolve(%q) = %v, %v, want %v", test.store, got, ok, test.ok)
		}
	}
}
