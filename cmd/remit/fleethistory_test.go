package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// passing reports whether an error may be the fault of what goes wrong, and a later call do
// better.
func passing(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeAborted:
		return true
	}
	return false
}

// markTuple is a tuple that carries a number.
func markTuple(object string, mark int64) *remitv1.Tuple {
	return &remitv1.Tuple{
		Object: object, Relation: "holder", Subject: "user:x", ExpiresAt: timestamppb.New(time.UnixMilli(loadFuture + mark)),
	}
}

// readMark reads the number that an object's tuple carries, 0 if there is none.
func readMark(ctx context.Context, c *client.Client, store, object string, consistency *remitv1.Consistency) (mark int64, err error) {
	res, err := c.Tuples.Read(ctx, &remitv1.ReadRequest{Store: store, Filter: &remitv1.TupleFilter{Object: object}, Consistency: consistency})
	if err != nil {
		return 0, err
	}
	for _, t := range res.GetTuples() {
		mark = t.GetTuple().GetExpiresAt().AsTime().UnixMilli() - loadFuture
	}
	return mark, nil
}

const endObject = "counter:end"

// mark puts what ends the reading of changes.
func (f *fleet) mark(store string) {
	f.t.Helper()
	_, err := f.client(client.Config{}).Tuples.Write(f.t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{
		Kind: remitv1.Operation_KIND_TOUCH, Tuple: markTuple(endObject, 1),
	}}})
	if err != nil {
		f.t.Fatal(err)
	}
}

// watch is told of all changes from the beginning on, through whichever node, until the
// mark.
func (w *witnesses) watch(ctx context.Context) {
	c := w.f.patient(client.Config{})
	changes, err := changelogUpToMark(ctx, c, w.store, func() { w.count("changes of a watch", 1) })
	if err != nil && ctx.Err() == nil {
		w.accuse("watch: %w", err)
	}
	w.live = changes
	if ctx.Err() != nil {
		w.accuse("a watch has not seen the mark that was put last, but %d changes", len(changes))
	}
}

// changelogUpToMark is all that a store's changelog tells up to the mark, a line each, in order.
func changelogUpToMark(ctx context.Context, c *client.Client, store string, came func()) (changes []string, err error) {
	var revision uint64
	more, ordinal := false, 0
	for res, err := range c.Watch(ctx, &remitv1.WatchRequest{
		Stores: []string{store}, From: &remitv1.WatchRequest_Earliest{Earliest: true}, Heartbeat: durationpb.New(500 * time.Millisecond),
	}) {
		if err != nil {
			return changes, err
		}
		for _, r := range res.GetChanges().GetRevisions() {
			switch {
			case more && r.GetRevision() != revision:
				return changes, fmt.Errorf("revision %d follows %d, which has not ended", r.GetRevision(), revision)
			case !more && r.GetRevision() <= revision:
				return changes, fmt.Errorf("revision %d follows %d", r.GetRevision(), revision)
			}
			if !more {
				ordinal = 0
			}
			revision, more = r.GetRevision(), r.GetMore()
			for _, change := range r.GetChanges() {
				ordinal++
				changes = append(changes, fmt.Sprintf("%d.%d %s %s %s expires %d because %q model %s", revision, ordinal, r.GetTime().AsTime().Format(time.RFC3339Nano),
					change.GetKind(), tupleText(change.GetTuple()), change.GetTuple().GetExpiresAt().GetSeconds(), change.GetReason(), change.GetModelId()))
				came()
				if change.GetTuple().GetObject() == endObject {
					return changes, nil
				}
			}
		}
	}
	return changes, ctx.Err()
}

// wantOneHistory compares what all nodes tell of the past, and what one was told while
// things went wrong, and leads it to what the load has left.
func (f *fleet) wantOneHistory(store string, load *load, live []string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), readyWithin)
	defer cancel()
	for _, n := range f.nodes {
		c := f.client(client.Config{Forgetful: true}, n)
		changes, err := changelogUpToMark(ctx, c, store, func() {})
		if err != nil {
			f.t.Fatalf("node %s, its changelog: %v", n.name, err)
		}
		for i := range max(len(changes), len(live)) {
			var is, was string
			if i < len(changes) {
				is = changes[i]
			}
			if i < len(live) {
				was = live[i]
			}
			if is != was {
				f.t.Fatalf("node %s tells change %d of %d otherwise than it was told at the time (%d):\n%s\n%s", n.name, i, len(changes), len(live), is, was)
			}
		}
	}
	held := map[string]bool{}
	for _, line := range live {
		fields := strings.Fields(line)
		kind, text := fields[2], fields[3]
		if !strings.HasPrefix(text, "document:") {
			continue
		}
		if kind == remitv1.Change_KIND_TUPLE_PUT.String() {
			held[text] = true
			continue
		}
		if !held[text] {
			f.t.Fatalf("the changelog removes what is not there: %s", line)
		}
		delete(held, text)
	}
	want := map[string]bool{}
	for _, w := range load.writers {
		for number := range w.held {
			t := loadTuple{w.id, number}
			want["document:"+t.object()+"#viewer@user:"+t.subject()] = true
		}
	}
	if !maps.Equal(held, want) {
		f.t.Fatalf("the changelog leads to %v, want %v", slices.Sorted(maps.Keys(held)), slices.Sorted(maps.Keys(want)))
	}
}
