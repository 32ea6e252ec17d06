package rpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2/connectinprocess"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A watcher keeps a copy of stores by watching them, and holds every message against
// what Watch promises.
type watcher struct {
	t       testing.TB
	request *remitv1.WatchRequest
	stores  map[string]map[string]bool // tuples by store
	models  int
	erased  int
	resume  string
	token   string
	last    uint64 // the revision of the last change
	within  bool   // the last message ended within it
	counted int    // changes
	beats   int
	ready   bool // the snapshot is complete
}

func newWatcher(t testing.TB, request *remitv1.WatchRequest) *watcher {
	return &watcher{t: t, request: request, stores: map[string]map[string]bool{}}
}

// open begins a watch, or goes on with it.
func (f *watcher) open(ctx context.Context, c remitv1connect.WatchServiceClient) (remitv1connect.WatchServiceWatchClientStream, error) {
	request := &remitv1.WatchRequest{Stores: f.request.Stores, Filters: f.request.Filters, From: f.request.From, Heartbeat: f.request.Heartbeat}
	if f.resume != "" {
		request.From = &remitv1.WatchRequest_Resume{Resume: f.resume}
	}
	return c.Watch(ctx, request)
}

// take applies a message to the copy.
func (f *watcher) take(res *remitv1.WatchResponse) {
	f.t.Helper()
	switch e := res.Event.(type) {
	case *remitv1.WatchResponse_Begun:
		there := map[string]bool{}
		for _, id := range e.Begun.StoreIds {
			there[id] = true
		}
		maps.DeleteFunc(f.stores, func(id string, _ map[string]bool) bool { return !there[id] })
	case *remitv1.WatchResponse_Snapshot:
		s := e.Snapshot
		if f.ready {
			f.t.Errorf("a second snapshot")
		}
		if s.StoreId != "" && f.stores[s.StoreId] == nil {
			f.stores[s.StoreId] = map[string]bool{}
		}
		for _, t := range s.Tuples {
			if f.stores[s.StoreId][text(t)] {
				f.t.Errorf("the snapshot has %s twice", text(t))
			}
			f.stores[s.StoreId][text(t)] = true
		}
		f.ready = s.Complete
	case *remitv1.WatchResponse_Changes:
		for _, r := range e.Changes.Revisions {
			if r.Revision < f.last || r.Revision == f.last && !f.within {
				f.t.Errorf("revision %d behind %d", r.Revision, f.last)
			}
			f.last, f.within = r.Revision, r.More
			for _, c := range r.Changes {
				f.change(c)
			}
		}
	case *remitv1.WatchResponse_Heartbeat:
		f.beats++
	}
	if (res.Token == "") != (f.within || res.GetSnapshot() != nil && !res.GetSnapshot().Complete || res.GetBegun() != nil && res.Token == "") {
		f.t.Errorf("token %q of %v", res.Token, res)
	}
	f.resume, f.token = res.Resume, res.Token
}

func (f *watcher) change(c *remitv1.Change) {
	f.t.Helper()
	f.counted++
	store := f.stores[c.StoreId]
	switch c.Kind {
	case remitv1.Change_KIND_STORE_CREATED:
		if store != nil {
			f.t.Errorf("store %s is created twice", c.StoreId)
		}
		f.stores[c.StoreId] = map[string]bool{}
	case remitv1.Change_KIND_STORE_DELETED:
		delete(f.stores, c.StoreId)
	case remitv1.Change_KIND_MODEL_WRITTEN:
		f.models++
	case remitv1.Change_KIND_ENTITY_ERASED:
		f.erased++
	case remitv1.Change_KIND_TUPLE_PUT:
		if store == nil {
			store = map[string]bool{}
			f.stores[c.StoreId] = store
		}
		store[text(c.Tuple)] = true
	case remitv1.Change_KIND_TUPLE_DELETED, remitv1.Change_KIND_TUPLE_EXPIRED:
		if f.request.GetSnapshot() && !store[text(c.Tuple)] {
			f.t.Errorf("%s is removed and was not there", text(c.Tuple))
		}
		delete(store, text(c.Tuple))
	default:
		f.t.Errorf("change %v", c)
	}
}

func text(t *remitv1.Tuple) string { return t.Object + "#" + t.Relation + "@" + t.Subject }

// until reads until the copy is as the condition wants it.
func (f *watcher) until(stream remitv1connect.WatchServiceWatchClientStream, want func() bool) {
	f.t.Helper()
	for !want() {
		res, err := stream.Receive()
		if err != nil {
			f.t.Fatalf("watch: %v", err)
		}
		f.take(res)
	}
}

// tuplesOf reads a store.
func tuplesOf(t testing.TB, c remitv1connect.TupleServiceClient, store string, consistency *remitv1.Consistency) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for cursor := ""; ; {
		res, err := c.Read(t.Context(), &remitv1.ReadRequest{Store: store, PageSize: 10_000, Cursor: cursor, Consistency: consistency})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range res.Tuples {
			all[text(s.Tuple)] = true
		}
		if cursor = res.Cursor; cursor == "" {
			return all
		}
	}
}

func fromSnapshot(stores ...string) *remitv1.WatchRequest {
	return &remitv1.WatchRequest{Stores: stores, From: &remitv1.WatchRequest_Snapshot{Snapshot: true}}
}

func TestWatchBeginsWithASnapshotAndGoesOn(t *testing.T) {
	r := newRig(t)
	store := r.store("one", "document:a#owner@user:anna", "folder:f#viewer@user:*", "group:g#member@group:h#member")
	f := newWatcher(t, fromSnapshot("one"))
	stream, err := f.open(t.Context(), r.watches)
	if err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.ready })
	if got := f.stores[store]; !maps.Equal(got, tuplesOf(t, r.tuples, store, nil)) || len(got) != 3 {
		t.Errorf("snapshot %v", got)
	}
	r.write(store, "document:b#owner@user:ben")
	_, err = r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		{Kind: remitv1.Operation_KIND_DELETE, Tuple: tuple(t, "document:a#owner@user:anna")},
		{Kind: remitv1.Operation_KIND_TOUCH, Tuple: tuple(t, "document:a#owner@user:ben")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.counted == 3 })
	if got := f.stores[store]; !maps.Equal(got, tuplesOf(t, r.tuples, store, nil)) {
		t.Errorf("copy %v", got)
	}
	if got := tuplesOf(t, r.tuples, store, &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: f.token}}); !maps.Equal(got, f.stores[store]) {
		t.Errorf("at the token of the last message: %v", got)
	}
}

func TestWatchBeginsWhereItIsTold(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	first := r.write(store, "document:a#owner@user:anna")
	r.write(store, "document:b#owner@user:anna")
	for i, test := range []struct {
		request *remitv1.WatchRequest
		want    int // changes, those of the test included
	}{
		{&remitv1.WatchRequest{From: &remitv1.WatchRequest_Earliest{Earliest: true}}, 5}, // store, model, three tuples
		{&remitv1.WatchRequest{From: &remitv1.WatchRequest_Token{Token: first}}, 3},      // b, and one of each test
		{&remitv1.WatchRequest{From: &remitv1.WatchRequest_Now{Now: true}}, 1},
		{&remitv1.WatchRequest{From: &remitv1.WatchRequest_Time{}}, 1},
	} {
		if from, ok := test.request.From.(*remitv1.WatchRequest_Time); ok {
			from.Time = timestamppb.New(r.config.State.Current().Time())
		}
		f := newWatcher(t, test.request)
		f.request.Stores = []string{store}
		f.request.Heartbeat = durationpb.New(100 * time.Millisecond)
		stream, err := f.open(t.Context(), r.watches)
		if err != nil {
			t.Fatal(err)
		}
		f.until(stream, func() bool { return f.resume != "" }) // begun
		last := fmt.Sprintf("document:last%d#owner@user:anna", i)
		r.write(store, last)
		f.until(stream, func() bool { return f.stores[store][last] })
		if f.counted != test.want {
			t.Errorf("%v: %d changes, want %d", test.request, f.counted, test.want)
		}
		// What others do moves the point of resumption, too.
		was := f.token
		r.store(fmt.Sprintf("other%d", i))
		f.until(stream, func() bool { return f.beats > 0 && f.token != was })
		if f.counted != test.want {
			t.Errorf("%v: %d changes, want %d", test.request, f.counted, test.want)
		}
	}
}

func TestWatchFilters(t *testing.T) {
	r := newRig(t)
	store, other := r.store("one"), r.store("two")
	for _, test := range []struct {
		filters []*remitv1.TupleFilter
		want    []string
	}{
		{[]*remitv1.TupleFilter{{Object: "document"}}, []string{"document:a#owner@user:anna", "document:a#parent@folder:f"}},
		{[]*remitv1.TupleFilter{{Relation: "owner"}}, []string{"document:a#owner@user:anna", "folder:f#owner@user:ben"}},
		{[]*remitv1.TupleFilter{{Subject: "user:anna"}}, []string{"document:a#owner@user:anna"}},
		{[]*remitv1.TupleFilter{{Subject: "group:g#member"}, {Object: "folder:f", Subject: "user"}}, []string{"folder:f#owner@user:ben", "folder:f#viewer@group:g#member"}},
		{[]*remitv1.TupleFilter{{Object: "nothing"}}, nil},
	} {
		all := []string{"document:a#owner@user:anna", "document:a#parent@folder:f", "folder:f#owner@user:ben", "folder:f#viewer@group:g#member"}
		_, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: deletions(t, all...)})
		if err != nil {
			t.Fatal(err)
		}
		for _, snapshot := range []bool{false, true} {
			f := newWatcher(t, &remitv1.WatchRequest{Stores: []string{store, other}, Filters: test.filters, Heartbeat: durationpb.New(100 * time.Millisecond)})
			f.request.From = &remitv1.WatchRequest_Now{Now: true}
			if snapshot {
				f.request.From = &remitv1.WatchRequest_Snapshot{Snapshot: true}
			}
			stream, err := f.open(t.Context(), r.watches)
			if err != nil {
				t.Fatal(err)
			}
			f.until(stream, func() bool { return f.resume != "" })
			if !snapshot {
				r.write(store, all...)
			}
			f.until(stream, func() bool { return f.beats > 0 })
			if got := slices.Sorted(maps.Keys(f.stores[store])); !slices.Equal(got, test.want) {
				t.Errorf("%v, snapshot %v: %v, want %v", test.filters, snapshot, got, test.want)
			}
			if err := stream.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := newWatcher(t, &remitv1.WatchRequest{Filters: []*remitv1.TupleFilter{{Object: "document"}, {Subject: "user:"}}, From: &remitv1.WatchRequest_Now{Now: true}}).first(r.watches)
	if _, _, detail := detailOf(t, err); detail.Field != "filters[1].subject" || detail.Reason != remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE {
		t.Errorf("a bad filter: %v, %v", err, detail)
	}
}

// first opens a watch and reads until it fails.
func (f *watcher) first(c remitv1connect.WatchServiceClient) (*remitv1.WatchResponse, error) {
	f.t.Helper()
	stream, err := f.open(f.t.Context(), c)
	if err != nil {
		return nil, err
	}
	return stream.Receive()
}

func deletions(t testing.TB, tuples ...string) []*remitv1.Operation {
	ops := touch(t, tuples...)
	for _, op := range ops {
		op.Kind = remitv1.Operation_KIND_DELETE
	}
	return ops
}

func TestWatchOfAllStoresTellsOfTheirComingAndGoing(t *testing.T) {
	r := newRig(t)
	first, second := r.store("first", "document:a#owner@user:anna"), r.store("second", "document:a#owner@user:ben")
	f := newWatcher(t, fromSnapshot())
	stream, err := f.open(t.Context(), r.watches)
	if err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.ready })
	if len(f.stores) != 2 || len(f.stores[first]) != 1 || len(f.stores[second]) != 1 {
		t.Errorf("snapshot %v", f.stores)
	}
	third := r.store("third", "document:a#owner@user:cyd")
	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: first}); err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.stores[first] == nil && len(f.stores[third]) == 1 })

	// A reader that was away learns of it, too.
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: second}); err != nil {
		t.Fatal(err)
	}
	if stream, err = f.open(t.Context(), r.watches); err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.stores[second] == nil })
	if len(f.stores) != 1 {
		t.Errorf("stores %v", f.stores)
	}

	// A store that was named ends its watch by going.
	g := newWatcher(t, fromSnapshot("third"))
	named, err := g.open(t.Context(), r.watches)
	if err != nil {
		t.Fatal(err)
	}
	g.until(named, func() bool { return g.ready })
	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: third}); err != nil {
		t.Fatal(err)
	}
	g.until(named, func() bool { return g.stores[third] == nil })
	_, err = named.Receive()
	if _, _, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND || detail.Resume != "" {
		t.Errorf("the watch of a store that has gone: %v, %v", err, detail)
	}
}

func TestWatchRefusesAPointThatIsNoLongerKept(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	token := r.write(store, "document:a#owner@user:anna")
	f := newWatcher(t, fromSnapshot(store))
	stream, err := f.open(t.Context(), r.watches)
	if err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.ready })
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	r.write(store, "document:b#owner@user:anna")
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	r.trim(id)

	refused := func(request *remitv1.WatchRequest, reason remitv1.ErrorReason) {
		t.Helper()
		_, err := newWatcher(t, request).first(r.watches)
		if _, _, detail := detailOf(t, err); detail.Reason != reason || detail.Resume != "" {
			t.Errorf("%v: %v, %v", request, err, detail)
		}
	}
	one := []string{store}
	gone := remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE
	refused(&remitv1.WatchRequest{Stores: one, From: &remitv1.WatchRequest_Resume{Resume: f.resume}}, gone)
	refused(&remitv1.WatchRequest{Stores: one, From: &remitv1.WatchRequest_Token{Token: token}}, gone)
	refused(&remitv1.WatchRequest{Stores: one, From: &remitv1.WatchRequest_Resume{Resume: "abc"}}, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR)
	refused(&remitv1.WatchRequest{From: &remitv1.WatchRequest_Resume{Resume: f.resume}}, remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR)
	refused(&remitv1.WatchRequest{Stores: []string{"none"}, From: &remitv1.WatchRequest_Now{Now: true}}, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
	refused(&remitv1.WatchRequest{Stores: one}, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)

	// The earliest that is kept can be followed.
	g := newWatcher(t, &remitv1.WatchRequest{Stores: one, From: &remitv1.WatchRequest_Earliest{Earliest: true}})
	if stream, err = g.open(t.Context(), r.watches); err != nil {
		t.Fatal(err)
	}
	r.write(store, "document:c#owner@user:anna")
	g.until(stream, func() bool { return g.stores[store]["document:c#owner@user:anna"] })
}

// trim cleans up the store's past up to now.
func (r *rig) trim(store fsm.StoreID) {
	r.t.Helper()
	horizon := r.config.State.Current().Revision()
	for {
		result := r.propose(&fsm.Command{Store: store, Body: &fsm.AdvanceHistory{Horizon: horizon}})
		if result.Err != nil {
			r.t.Fatal(result.Err)
		}
		if !result.Remaining {
			return
		}
	}
}

// A revision that is larger than a message comes in several that say so, and a reader
// that is cut off between them goes on within it.
func TestWatchSaysWhenItSplitsARevision(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	f := newWatcher(t, &remitv1.WatchRequest{Stores: []string{store}, From: &remitv1.WatchRequest_Now{Now: true}})
	if _, err := f.first(r.watches); err != nil {
		t.Fatal(err)
	}
	var tuples []string
	for i := range 4000 {
		tuples = append(tuples, fmt.Sprintf("document:%s%d#owner@user:%s%d", strings.Repeat("d", 400), i, strings.Repeat("u", 400), i))
	}
	f.request.From = &remitv1.WatchRequest_Token{Token: r.storesToken()}
	r.write(store, tuples...)
	splits := 0
	for f.counted < len(tuples) {
		stream, err := f.open(t.Context(), r.watches) // anew for every message
		if err != nil {
			t.Fatal(err)
		}
		for f.beats = 0; ; {
			res, err := stream.Receive()
			if err != nil {
				t.Fatal(err)
			}
			f.take(res)
			if res.GetChanges() != nil {
				break
			}
		}
		if f.within {
			splits++
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if splits == 0 || f.within || f.counted != len(tuples) || !maps.Equal(f.stores[store], tuplesOf(t, r.tuples, store, nil)) {
		t.Errorf("%d splits, within %v, %d changes", splits, f.within, f.counted)
	}
}

// storesToken is the token of the newest state.
func (r *rig) storesToken() string {
	res, err := r.tuples.Read(r.t.Context(), &remitv1.ReadRequest{Store: "one"})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Token
}

func TestWatchEndsWhenTheNodeStops(t *testing.T) {
	draining, drain := context.WithCancel(t.Context())
	r := newRig(t)
	read := r.reader()
	server := newConnectServer(draining, r.config, read, nil, nil, nil)
	c := newClients(connectinprocess.New(server))
	f := newWatcher(t, fromSnapshot(r.store("one")))
	stream, err := f.open(t.Context(), c.watches)
	if err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.ready })
	drain()
	_, err = stream.Receive()
	if _, _, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN || detail.Resume != f.resume {
		t.Errorf("%v, %v", err, detail)
	}
}

// However often a reader is cut off within a snapshot, and whatever is written meanwhile,
// it gets one revision, and then what changed behind it.
func TestASnapshotGoesOnWhereItBrokeOff(t *testing.T) {
	r := newRig(t)
	stores := []string{r.store("one"), r.store("two"), r.store("three")}
	for i, store := range stores {
		if i == 1 {
			continue // an empty one
		}
		if _, err := imports(t.Context(), r.clients, store, many(t, 3500), 5000); err != nil {
			t.Fatal(err)
		}
	}
	f := newWatcher(t, fromSnapshot())
	streams := 0
	for ; !f.ready; streams++ {
		stream, err := f.open(t.Context(), r.watches)
		if err != nil {
			t.Fatal(err)
		}
		for done := false; !done; {
			res, err := stream.Receive()
			if err != nil {
				t.Fatal(err)
			}
			f.take(res)
			done = res.GetSnapshot() != nil
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		r.write(stores[streams%3], fmt.Sprintf("document:meanwhile%d#owner@user:anna", streams))
		if _, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: stores[2*(streams%2)], Operations: []*remitv1.Operation{
			{Kind: remitv1.Operation_KIND_DELETE, Tuple: many(t, 3500)[3000+streams]},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	for id, copied := range f.stores {
		for text := range copied {
			if strings.Contains(text, "meanwhile") {
				t.Errorf("the snapshot of %s has %s", id, text)
			}
		}
	}
	stream, err := f.open(t.Context(), r.watches)
	if err != nil {
		t.Fatal(err)
	}
	r.write(stores[2], "document:last#owner@user:anna")
	f.until(stream, func() bool { return f.stores[stores[2]]["document:last#owner@user:anna"] })
	for _, store := range stores {
		if !maps.Equal(f.stores[store], tuplesOf(t, r.tuples, store, nil)) {
			t.Errorf("the copy of %s has %d tuples", store, len(f.stores[store]))
		}
	}
	if streams < 8 || len(f.stores) != 3 {
		t.Errorf("%d streams, %d stores", streams, len(f.stores))
	}
}

func TestWatchTellsWhatExpires(t *testing.T) {
	c := &clock{now: time.Now()}
	r := newRigAt(t, c.Now)
	store := r.store("one")
	f := newWatcher(t, fromSnapshot(store))
	m := tuple(t, "document:a#owner@user:anna")
	m.ExpiresAt = timestamppb.New(c.Now().Add(time.Hour))
	if _, err := imports(t.Context(), r.clients, store, []*remitv1.Tuple{m}, 1); err != nil {
		t.Fatal(err)
	}
	stream, err := f.open(t.Context(), r.watches)
	if err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.ready })
	if len(f.stores[store]) != 1 {
		t.Errorf("snapshot %v", f.stores)
	}
	c.Advance(48 * time.Hour)
	r.write(store, "document:b#owner@user:anna") // the leader's time moves with its commands
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	if result := r.propose(&fsm.Command{Store: id, Body: &fsm.AdvanceExpiry{Horizon: c.Now().Add(-time.Hour).UnixMilli()}}); result.Err != nil {
		t.Fatal(result.Err)
	}
	f.until(stream, func() bool { return !f.stores[store]["document:a#owner@user:anna"] })
	if f.counted != 2 || len(f.stores[store]) != 1 {
		t.Errorf("%d changes, %v", f.counted, f.stores[store])
	}
}

// Who follows a store learns that somebody was erased, but not who, whether the stream
// goes on or begins again before all that was told of them.
func TestWatchTellsOfAnErasure(t *testing.T) {
	r := newRig(t)
	store := r.store("one")
	f := newWatcher(t, fromSnapshot(store))
	stream, err := f.open(t.Context(), r.watches)
	if err != nil {
		t.Fatal(err)
	}
	f.until(stream, func() bool { return f.ready })
	resume := f.resume
	r.write(store, "document:a#owner@user:anna", "document:a#owner@user:bert")
	f.until(stream, func() bool { return len(f.stores[store]) == 2 })
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	st, _ := r.config.State.Current().Store(id)
	user, _ := st.Symbols().TypeID("user")
	result := r.propose(&fsm.Command{Store: id, Body: &fsm.Erase{ID: fsm.ErasureID{1}, Entity: fsm.Entity{Type: user, Name: "anna"}}})
	if result.Err != nil || result.Remaining || result.Erased.Tuples != 1 {
		t.Fatalf("%+v, erased %+v", result, result.Erased)
	}
	f.until(stream, func() bool { return f.erased == 1 })
	again := newWatcher(t, &remitv1.WatchRequest{Stores: []string{store}})
	again.resume, again.stores[store] = resume, map[string]bool{}
	if stream, err = again.open(t.Context(), r.watches); err != nil {
		t.Fatal(err)
	}
	again.until(stream, func() bool { return again.erased == 1 })
	if len(again.stores[store]) != 1 || !again.stores[store]["document:a#owner@user:bert"] {
		t.Errorf("who resumes has %v, want bert's alone", again.stores[store])
	}
}

// places are points of resumption as clients keep them: a later release must go on from
// each of them.
var places = []struct {
	place watchPlace
	text  string
}{
	{watchPlace{revision: 7}, "00"},
	{watchPlace{revision: 1 << 40, inside: true, store: fsm.StoreID{1, 2, 15: 3}, ordinal: 0x01020304}, "010102000000000000000000000000000301020304"},
	{watchPlace{revision: 9, snapshot: true, store: fsm.StoreID{15: 9}, row: graph.Row{
		Userset: graph.Userset{Object: graph.MakeID(3, 5), Relation: 2},
		Edge:    graph.Edge{Subject: graph.Subject{ID: graph.MakeID(1, 8), Relation: 4}},
	}}, "0200000000000000000000000000000009000003000000000500000002000001000000000800000004"},
}

func TestPointsOfResumptionStayAsTheyAre(t *testing.T) {
	for _, p := range places {
		if got := hex.EncodeToString(p.place.encode()); got != p.text {
			t.Errorf("%+v is %s, want %s", p.place, got, p.text)
		}
		b, err := hex.DecodeString(p.text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodePlace(p.place.revision, b); err != nil || !reflect.DeepEqual(got, p.place) {
			t.Errorf("%s is %+v, %v; want %+v", p.text, got, err, p.place)
		}
	}
}

func FuzzPointOfResumption(f *testing.F) {
	for _, p := range places {
		f.Add(uint64(p.place.revision), p.place.encode())
	}
	f.Fuzz(func(t *testing.T, revision uint64, b []byte) {
		p, err := decodePlace(graph.Revision(revision), b)
		if err == nil && !bytes.Equal(p.encode(), b) {
			t.Errorf("%x decodes to %+v, which is %x", b, p, p.encode())
		}
		_ = p.after(fsm.StoreID{})
	})
}
