package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/token"
)

// exported reads an export to its end.
func exported(t testing.TB, c clients, req *remitv1.ExportRequest) (tuples []*remitv1.Tuple, first *remitv1.ExportResponse) {
	t.Helper()
	stream, err := c.transfers.Export(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return tuples, first
		}
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = res
		}
		tuples = append(tuples, res.Tuples...)
		if last := res.Resume == ""; last && (int(res.Sent) != len(tuples) || res.Total != 0 && res.Total != res.Sent) {
			t.Errorf("the last of %d tuples says %d of %d", len(tuples), res.Sent, res.Total)
		}
	}
}

// imports writes tuples in messages of some size.
func imports(ctx context.Context, c clients, store string, tuples []*remitv1.Tuple, size int) (*remitv1.ImportResponse, error) {
	stream, err := c.transfers.Import(ctx)
	if err != nil {
		return nil, err
	}
	for first := true; len(tuples) > 0; first = false {
		n := min(size, len(tuples))
		req := &remitv1.ImportRequest{Tuples: tuples[:n]}
		if first {
			req.Store = store
		}
		if err := stream.Send(req); err != nil {
			break // what is wrong comes with the answer
		}
		tuples = tuples[n:]
	}
	return stream.CloseAndReceive()
}

// An import does not go on in another store that was given the name of its own.
func TestAnImportKeepsItsStore(t *testing.T) {
	r := newRig(t)
	first := r.store("acme")
	stream, err := r.transfers.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&remitv1.ImportRequest{Store: "acme", Tuples: []*remitv1.Tuple{tuple(t, "document:a#owner@user:anna")}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first message is written", func() bool {
		res, err := r.stores.GetStore(t.Context(), &remitv1.GetStoreRequest{Store: first})
		return err == nil && res.Store.TupleCount == 1
	})
	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: first}); err != nil {
		t.Fatal(err)
	}
	second := r.store("acme")
	// Whether the stream is still open when this is sent does not matter: the answer says why.
	_ = stream.Send(&remitv1.ImportRequest{Tuples: []*remitv1.Tuple{tuple(t, "document:b#owner@user:anna")}})
	_, err = stream.CloseAndReceive()
	wantReason(t, "an import whose store was deleted", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
	res, err := r.stores.GetStore(t.Context(), &remitv1.GetStoreRequest{Store: second})
	if err != nil || res.Store.TupleCount != 0 {
		t.Errorf("the store that has the name now: %v, %v", res, err)
	}
}

// many makes tuples, some with a condition or an expiry.
func many(t testing.TB, n int) []*remitv1.Tuple {
	t.Helper()
	region, err := structpb.NewStruct(map[string]any{"allowed": []any{"eu", "us"}})
	if err != nil {
		t.Fatal(err)
	}
	tuples := make([]*remitv1.Tuple, n)
	for i := range tuples {
		m := &remitv1.Tuple{Object: fmt.Sprintf("document:d%d", i), Relation: "viewer", Subject: fmt.Sprintf("user:u%d", i%977)}
		switch i % 10 {
		case 3:
			m.Condition = &remitv1.Condition{Name: "in_region", Context: region}
		case 7:
			m.ExpiresAt = timestamppb.New(time.Date(2100, 1, 1, 0, 0, i, 0, time.UTC))
		}
		tuples[i] = m
	}
	return tuples
}

func set(t testing.TB, tuples []*remitv1.Tuple) map[string]bool {
	t.Helper()
	all := make(map[string]bool, len(tuples))
	for _, m := range tuples {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if all[string(b)] {
			t.Errorf("%v comes twice", protojson.Format(m))
		}
		all[string(b)] = true
	}
	return all
}

// At whatever message an export breaks off, it goes on with the same state, and what it
// brings makes the same store elsewhere.
func TestAnExportIsOneRevision(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	const n = 5500
	want := many(t, n)
	if _, err := imports(t.Context(), r.clients, store, want, 1000); err != nil {
		t.Fatal(err)
	}
	var got []*remitv1.Tuple
	var token, resume string
	for streams := 0; ; streams++ {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := r.transfers.Export(ctx, &remitv1.ExportRequest{Store: "one", Resume: resume})
		if err != nil {
			t.Fatal(err)
		}
		res, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, res.Tuples...)
		if token == "" {
			token = res.Token
		}
		if res.Token != token || res.Total != n || int(res.Sent) != len(got) || res.Store.GetId() != store || !strings.Contains(res.Model.GetDsl(), "define reader") {
			t.Fatalf("stream %d: token %s, %d of %d sent, store %v", streams, res.Token, res.Sent, res.Total, res.Store)
		}
		cancel()
		if resume = res.Resume; resume == "" {
			break
		}
		// What is written meanwhile does not show.
		r.write(store, fmt.Sprintf("document:new%d#owner@user:anna", streams))
		if _, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
			{Kind: remitv1.Operation_KIND_DELETE, Tuple: want[n-1-streams]},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(set(t, got), set(t, want)) {
		t.Fatalf("%d tuples exported, %d written", len(got), len(want))
	}
	copied := r.store("copy")
	for _, again := range []bool{false, true} {
		res, err := imports(t.Context(), r.clients, "copy", got, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if again && res.Unchanged != n || !again && res.Written != n || res.Written+res.Unchanged != n || res.Token == "" {
			t.Errorf("import: %v", res)
		}
	}
	back, _ := exported(t, r.clients, &remitv1.ExportRequest{Store: copied})
	if !maps.Equal(set(t, back), set(t, want)) {
		t.Errorf("the copy has %d tuples, want %d", len(back), len(want))
	}
	past, _ := exported(t, r.clients, &remitv1.ExportRequest{Store: store, Consistency: &remitv1.Consistency{
		Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token},
	}})
	if !maps.Equal(set(t, past), set(t, want)) {
		t.Errorf("an export of the past has %d tuples, want %d", len(past), len(want))
	}
}

func TestAnExportIsNotResumedElsewhere(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	if _, err := imports(t.Context(), r.clients, store, many(t, 3000), 3000); err != nil {
		t.Fatal(err)
	}
	r.store("two")
	stream, err := r.transfers.Export(t.Context(), &remitv1.ExportRequest{Store: "one"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := stream.Receive()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		req    *remitv1.ExportRequest
		reason remitv1.ErrorReason
	}{
		"another store": {&remitv1.ExportRequest{Store: "two", Resume: res.Resume}, remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED},
		"garbage":       {&remitv1.ExportRequest{Store: "one", Resume: "x" + res.Resume}, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR},
		"two states": {&remitv1.ExportRequest{Store: "one", Resume: res.Resume, Consistency: &remitv1.Consistency{
			Requirement: &remitv1.Consistency_MinimizeLatency{MinimizeLatency: true},
		}}, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
		"no store": {&remitv1.ExportRequest{Store: "three"}, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND},
	} {
		again, err := r.transfers.Export(t.Context(), test.req)
		if err == nil {
			_, err = again.Receive()
		}
		if _, _, detail := detailOf(t, err); detail.Reason != test.reason {
			t.Errorf("%s: %v, %v", name, err, detail)
		}
	}
}

// What is wrong is told with its place in the import; what stood in messages before stays.
func TestAnImportTellsPlaces(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	for name, test := range map[string]struct {
		spoil  func([]*remitv1.Tuple)
		field  string
		reason remitv1.ErrorReason
		text   string
	}{
		"malformed": {func(m []*remitv1.Tuple) { m[25].Object = "document:"; m[27].Subject = "user" }, "tuples[25].object", remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "tuples[27].subject: "},
		"forbidden": {func(m []*remitv1.Tuple) { m[21].Relation = "reader" }, "tuples[21].relation", remitv1.ErrorReason_ERROR_REASON_TUPLE_NOT_ALLOWED, "reader"},
		"unknown":   {func(m []*remitv1.Tuple) { m[22].Object = "planet:mars" }, "tuples[22].object", remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND, "planet"},
		"twice":     {func(m []*remitv1.Tuple) { m[28] = m[24] }, "tuples[28]", remitv1.ErrorReason_ERROR_REASON_DUPLICATE_OPERATION, "tuples[24]"},
	} {
		tuples := many(t, 40)
		for i := range tuples {
			tuples[i].Object = fmt.Sprintf("document:%s%d", name, i)
		}
		test.spoil(tuples)
		_, err := imports(t.Context(), r.clients, store, tuples, 10)
		_, message, detail := detailOf(t, err)
		if detail.Field != test.field || detail.Reason != test.reason || !strings.Contains(message, test.text) {
			t.Errorf("%s: %v, %v", name, err, detail)
		}
		there := 0
		for text := range tuplesOf(t, r.tuples, store, nil) {
			if strings.HasPrefix(text, "document:"+name) {
				there++
			}
		}
		if there != 20 {
			t.Errorf("%s: %d tuples are there, want those of two messages", name, there)
		}
	}
	stream, err := r.transfers.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.CloseAndReceive()
	if _, _, detail := detailOf(t, err); detail.Field != "store" {
		t.Errorf("an import of nothing: %v", err)
	}
}

// A message of long names and contexts is more than a command may be.
func TestAnImportDividesWhatIsTooLarge(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	tuples := many(t, 6000)
	for i, m := range tuples {
		m.Object = fmt.Sprintf("document:%s%d", strings.Repeat("d", 500), i)
		m.Subject = fmt.Sprintf("user:%s%d", strings.Repeat("u", 500), i)
	}
	res, err := imports(t.Context(), r.clients, store, tuples, 6000)
	if err != nil || res.Written != 6000 {
		t.Fatalf("%v, %v", res, err)
	}
	back, _ := exported(t, r.clients, &remitv1.ExportRequest{Store: store})
	if !maps.Equal(set(t, back), set(t, tuples)) {
		t.Errorf("%d tuples are there", len(back))
	}
}

// every is each way of speaking to a server.
func (r *rig) every(s *Server) map[string]clients {
	// Small buffers, so that who does not read is noticed.
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return conn, conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	}
	h1 := &http.Client{Transport: &http.Transport{DialContext: dial}}
	h2c := &http.Client{Transport: &http.Transport{DialContext: dial, Protocols: new(http.Protocols)}}
	h2c.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	base := "http://" + s.Addr().String()
	all := map[string]clients{}
	for name, transport := range map[string]connect.Transport{
		"connect":  connecthttp.NewTransport(h1, base),
		"json":     connecthttp.NewTransport(h1, base, connecthttp.WithProtoJSON()),
		"http/2":   connecthttp.NewTransport(h2c, base),
		"grpc":     connecthttp.NewTransport(h2c, base, connecthttp.WithGRPC()),
		"grpc-web": connecthttp.NewTransport(h1, base, connecthttp.WithGRPCWeb()),
		"8081":     connecthttp.NewTransport(h2c, "http://"+s.GRPCAddr().String(), connecthttp.WithGRPC()),
	} {
		all[name] = newClients(transport)
	}
	return all
}

func TestStreamsOverEveryProtocol(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	for name, c := range r.every(s) {
		t.Run(strings.ReplaceAll(name, "/", ""), func(t *testing.T) {
			store := r.store("store " + name)
			f := newWatcher(t, fromSnapshot(store))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream, err := f.open(ctx, c.watches)
			if err != nil {
				t.Fatal(err)
			}
			f.until(stream, func() bool { return f.ready })
			tuples := many(t, 2500)
			res, err := imports(t.Context(), c, store, tuples, 1000)
			if err != nil || res.Written != 2500 {
				t.Fatalf("import: %v, %v", res, err)
			}
			f.until(stream, func() bool { return f.counted == 2500 })
			back, _ := exported(t, c, &remitv1.ExportRequest{Store: store})
			if !maps.Equal(set(t, back), set(t, tuples)) {
				t.Errorf("%d tuples are exported", len(back))
			}
			// A refusal in the middle reaches a client that is still sending.
			for i := range tuples {
				tuples[i].Subject = "user:other"
			}
			tuples[700].Relation = "nothing"
			_, err = imports(t.Context(), c, store, tuples, 100)
			if _, _, detail := detailOf(t, err); detail.Field != "tuples[700].relation" {
				t.Errorf("refusal: %v, %v", err, detail)
			}
		})
	}
}

// Streams that end, whoever ends them, leave nothing behind.
func TestCancelledStreamsLeaveNothing(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	store := r.store("one")
	if _, err := imports(t.Context(), r.clients, store, many(t, 3000), 3000); err != nil {
		t.Fatal(err)
	}
	all := r.every(s)
	delete(all, "json") // as "connect", and slow
	use := func() {
		for name, c := range all {
			for i := range 4 {
				ctx, cancel := context.WithCancel(t.Context())
				f := newWatcher(t, fromSnapshot(store))
				stream, err := f.open(ctx, c.watches)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if i%2 == 0 {
					f.until(stream, func() bool { return f.ready })
				}
				export, err := c.transfers.Export(ctx, &remitv1.ExportRequest{Store: store})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if _, err := export.Receive(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				cancel()
				_ = stream.Close()
				_ = export.Close()
			}
		}
	}
	use() // connections and pools are made once
	before := runtime.NumGoroutine()
	for range 5 {
		use()
	}
	// Each round cancels 40 streams; connections may be kept.
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before+25 {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
	}
}

// watching reports whether the server is still busy with a Watch.
func watching(t *testing.T, metrics prometheus.Gatherer) bool {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "remit_rpc_in_flight" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if strings.HasSuffix(label.GetValue(), "Watch") && m.GetGauge().GetValue() > 0 {
					return true
				}
			}
		}
	}
	return false
}

// A reader that does not read is cut off, and resumes where it stood.
func TestAReaderThatDoesNotReadIsCutOff(t *testing.T) {
	const slow = 300 * time.Millisecond
	metrics := prometheus.NewRegistry()
	r := newRig(t, func(c *Config) { c.SlowReader, c.Metrics = slow, metrics })
	s := r.serve()
	store := r.store("one")
	var tuples []*remitv1.Tuple
	noise := rand.NewChaCha8([32]byte{})
	for i, m := range many(t, 20_000) { // more than buffers on the way hold, however compressed
		var id [360]byte
		_, _ = noise.Read(id[:])
		m.Object = fmt.Sprintf("document:%s%d", token.Seal(id[:]), i)
		tuples = append(tuples, m)
	}
	if _, err := imports(t.Context(), r.clients, store, tuples, 5000); err != nil {
		t.Fatal(err)
	}
	want := tuplesOf(t, r.tuples, store, nil)
	for name, c := range r.every(s) {
		// Each takes some seconds: HTTP/1, HTTP/2 and grpc-go stand for the others.
		if os.Getenv("REMIT_TEST_ALL") == "" && name != "connect" && name != "grpc" && name != "8081" {
			continue
		}
		t.Run(strings.ReplaceAll(name, "/", ""), func(t *testing.T) {
			f := newWatcher(t, fromSnapshot(store))
			stream, err := f.open(t.Context(), c.watches)
			if err != nil {
				t.Fatal(err)
			}
			res, err := stream.Receive()
			if err != nil {
				t.Fatal(err)
			}
			f.take(res)
			// It does not read until the server has let go of it, which it does at twice the
			// limit once the buffers are full.
			for watching(t, metrics) {
				<-time.After(slow / 10)
			}
			for err == nil && !f.ready {
				if res, err = stream.Receive(); err == nil {
					f.take(res)
				}
			}
			if f.ready {
				t.Fatal("it was not cut off")
			}
			told := asConnect(err).IsRemote()
			if told {
				if _, _, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_SLOW_READER || detail.Resume != f.resume {
					t.Errorf("%v, %v; the last message was %s", err, detail, f.resume)
				}
			}
			if !told && name == "8081" {
				t.Errorf("%v, and no reason", err)
			}
			// Now it reads, as fast as it can.
			for range 100 {
				if stream, err = f.open(t.Context(), c.watches); err != nil {
					t.Fatal(err)
				}
				for err == nil && !f.ready {
					if res, err = stream.Receive(); err == nil {
						f.take(res)
					}
				}
				_ = stream.Close()
				if f.ready {
					break
				}
			}
			if !maps.Equal(f.stores[store], want) {
				t.Errorf("the copy has %d tuples", len(f.stores[store]))
			}
		})
	}
}
