package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A digest is a set of tuples in a few bytes: their number and the sum of their hashes.
type digest struct{ n, sum uint64 }

func (d *digest) add(t testing.TB, m *remitv1.Tuple) {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	d.n++
	d.sum += xxhash.Sum64(b)
}

func numbered(kind string, i int) *remitv1.Tuple {
	return &remitv1.Tuple{Object: fmt.Sprintf("document:%s%d", kind, i), Relation: "viewer", Subject: fmt.Sprintf("user:u%d", i%100_003)}
}

// An export while others write is the store at one revision: of writes that each replace
// a tuple by another it has the first so many, each with both its parts. Imported
// elsewhere it makes the same store.
func TestALargeStoreIsCarriedWhileOthersWrite(t *testing.T) {
	n := 20_000
	if os.Getenv("REMIT_TEST_ALL") != "" {
		n = 2_500_000
	}
	r := newRig(t)
	s := r.serve()
	c := r.every(s)["connect"]
	store := r.store("one")

	begun := time.Now()
	stream, err := c.transfers.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const message = 5000
	for i := 0; i < n; i += message {
		req := &remitv1.ImportRequest{Store: store}
		for j := i; j < min(i+message, n); j++ {
			req.Tuples = append(req.Tuples, numbered("base", j))
		}
		if err := stream.Send(req); err != nil {
			break
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil || int(res.Written) != n {
		t.Fatalf("import: %v, %v", res, err)
	}
	t.Logf("import: %.0f tuples/s", float64(n)/time.Since(begun).Seconds())

	// The writer replaces base tuples, one a write, in order.
	var stop atomic.Bool
	var writes atomic.Int64
	done := make(chan error, 1)
	go func() {
		for i := 0; i < n && !stop.Load(); i++ {
			_, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
				{Kind: remitv1.Operation_KIND_DELETE, Tuple: numbered("base", i)},
				{Kind: remitv1.Operation_KIND_TOUCH, Tuple: numbered("new", i)},
			}})
			if err != nil {
				done <- err
				return
			}
			writes.Add(1)
		}
		done <- nil
	}()
	for writes.Load() < 20 {
		runtime.Gosched()
	}

	begun = time.Now()
	r.store("two")
	copied, err := r.transfers.Import(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want digest
	var token string
	base, fresh := make([]bool, n), make([]bool, n)
	err = eachExported(t.Context(), c, &remitv1.ExportRequest{Store: store}, func(res *remitv1.ExportResponse) error {
		token = res.Token
		for _, m := range res.Tuples {
			want.add(t, m)
			list := base
			number, ok := strings.CutPrefix(m.Object, "document:base")
			if !ok {
				list, number = fresh, strings.TrimPrefix(m.Object, "document:new")
			}
			i, err := strconv.Atoi(number)
			if err != nil || list[i] {
				return fmt.Errorf("%s comes twice, or is none: %w", m.Object, err)
			}
			list[i] = true
		}
		return copied.Send(&remitv1.ImportRequest{Store: "two", Tuples: res.Tuples})
	})
	if err != nil {
		t.Fatal(err)
	}
	during := writes.Load()
	res, err = copied.CloseAndReceive()
	if err != nil || res.Written != want.n {
		t.Fatalf("import of the export: %v, %v; %d were sent", res, err, want.n)
	}
	t.Logf("export and import of it: %.0f tuples/s, %d writes meanwhile", float64(n)/time.Since(begun).Seconds(), during)
	stop.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	replaced := 0
	for replaced < n && fresh[replaced] {
		replaced++
	}
	for i := range n {
		if base[i] == fresh[i] || fresh[i] != (i < replaced) {
			t.Fatalf("of write %d, the export has the old tuple: %v, the new: %v; it has the first %d", i, base[i], fresh[i], replaced)
		}
	}
	if replaced == 0 || want.n != uint64(n) {
		t.Errorf("%d of %d are replaced", replaced, want.n)
	}
	for name, req := range map[string]*remitv1.ExportRequest{
		"the copy": {Store: "two"},
		"the same state, from the history": {Store: store, Consistency: &remitv1.Consistency{
			Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token},
		}},
	} {
		begun = time.Now()
		var got digest
		err := eachExported(t.Context(), c, req, func(res *remitv1.ExportResponse) error {
			for _, m := range res.Tuples {
				got.add(t, m)
			}
			return nil
		})
		if err != nil || got != want {
			t.Errorf("%s has %d tuples, want %d: %v", name, got.n, want.n, err)
		}
		t.Logf("export of %s: %.0f tuples/s", name, float64(n)/time.Since(begun).Seconds())
	}
	begun = time.Now()
	f, tuples := newWatcher(t, fromSnapshot("two")), 0
	watch, err := f.open(t.Context(), c.watches)
	if err != nil {
		t.Fatal(err)
	}
	for complete := false; !complete; {
		res, err := watch.Receive()
		if err != nil {
			t.Fatal(err)
		}
		tuples += len(res.GetSnapshot().GetTuples())
		complete = res.GetSnapshot().GetComplete()
	}
	if tuples != n {
		t.Errorf("a snapshot of %d tuples", tuples)
	}
	t.Logf("snapshot of a watch: %.0f tuples/s", float64(n)/time.Since(begun).Seconds())
}

// eachExported reads an export to its end. It goes on if it was too slow, which is what
// whoever waits for an import between two messages may be.
func eachExported(ctx context.Context, c clients, req *remitv1.ExportRequest, take func(*remitv1.ExportResponse) error) error {
	for {
		stream, err := c.transfers.Export(ctx, req)
		if err != nil {
			return err
		}
		for err == nil {
			var res *remitv1.ExportResponse
			if res, err = stream.Receive(); err == nil {
				req = &remitv1.ExportRequest{Store: req.Store, Resume: res.Resume}
				err = take(res)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case req.Resume == "" || connect.CodeOf(err) != connect.CodeUnavailable:
			return err
		}
	}
}

// BenchmarkWatchLatency is from a write's acknowledgement to its arrival at a watcher,
// both over HTTP; negative ones, where the watcher is first, count as they are.
func BenchmarkWatchLatency(b *testing.B) {
	r := newRig(b)
	s := r.serve()
	c := r.every(s)["connect"]
	store := r.store("one")
	f := newWatcher(b, &remitv1.WatchRequest{Stores: []string{store}, From: &remitv1.WatchRequest_Now{Now: true}})
	stream, err := f.open(b.Context(), c.watches)
	if err != nil {
		b.Fatal(err)
	}
	f.until(stream, func() bool { return f.resume != "" })
	arrived := make(chan time.Time, 1)
	go func() {
		for {
			res, err := stream.Receive()
			if err != nil {
				close(arrived)
				return
			}
			if res.GetChanges() != nil {
				arrived <- time.Now()
			}
		}
	}()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		_, err := c.tuples.Write(b.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
			{Kind: remitv1.Operation_KIND_TOUCH, Tuple: numbered("base", i)},
		}})
		if err != nil {
			b.Fatal(err)
		}
		written := time.Now()
		took = append(took, (<-arrived).Sub(written))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	if err := stream.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkImport writes messages of 5000 new tuples.
func BenchmarkImport(b *testing.B) {
	const message = 5000
	r := newRig(b)
	s := r.serve()
	c := r.every(s)["connect"]
	store := r.store("one")
	stream, err := c.transfers.Import(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	sent := 0
	for b.Loop() {
		req := &remitv1.ImportRequest{Store: store}
		for range message {
			req.Tuples = append(req.Tuples, numbered("base", sent))
			sent++
		}
		if err := stream.Send(req); err != nil {
			break
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil || int(res.Written) != sent {
		b.Fatalf("import: %v, %v", res, err)
	}
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "tuples/s")
}
