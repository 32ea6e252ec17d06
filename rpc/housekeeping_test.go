package rpc

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func (r *rig) count(store string) uint64 {
	r.t.Helper()
	res, err := r.stores.GetStore(r.t.Context(), &remitv1.GetStoreRequest{Store: store})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Store.TupleCount
}

// until is a touch of a tuple that expires.
func until(t testing.TB, text string, end time.Time) *remitv1.Operation {
	m := tuple(t, text)
	m.ExpiresAt = timestamppb.New(end)
	return &remitv1.Operation{Kind: remitv1.Operation_KIND_TOUCH, Tuple: m}
}

func TestExpiredTuplesLeaveAfterADay(t *testing.T) {
	c := &clock{now: time.Now()}
	r := newRigAt(t, c.Now)
	h := backend.NewHousekeeper(backend.NewWriter(r.reader().Reader))
	end := c.Now().Add(time.Minute).Truncate(time.Millisecond)
	store, other := r.store("acme"), r.store("other", acme...)
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		until(t, "document:a#owner@user:anna", end),
		until(t, "document:a#owner@user:bert", end.Add(time.Hour)),
		put("document:a", "owner", "user:carl"),
	}}); err != nil {
		t.Fatal(err)
	}
	held := r.write(store, "document:b#owner@user:carl")

	c.Advance(backend.ExpiryGrace)
	before := r.config.State.Current().Revision()
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.config.State.Current().Revision(); got != before {
		t.Errorf("something was proposed although nothing is a day old: revision %d, was %d", got, before)
	}

	c.Advance(time.Minute)
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.count(store); got != 3 {
		t.Errorf("%d tuples in the newest state, want 3", got)
	}
	if got, err := backend.FindStore(t.Context(), r.config.State.Current(), "", other); err != nil || got.ExpiryHorizon() != 0 {
		t.Errorf("a store without expired tuples has horizon %d, %v", got.ExpiryHorizon(), err)
	}
	question := "document:a#owner@user:anna"
	early := &remitv1.Scope{Store: store, At: timestamppb.New(end.Add(-time.Millisecond))}
	_, err := r.ask(early, question)
	if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_INSTANT_UNAVAILABLE {
		t.Errorf("Check before the horizon = %v, %s", detail, message)
	}
	for name, past := range map[string]*remitv1.Consistency{
		"of the token":   {Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: held}},
		"of the instant": {Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: early.At}},
	} {
		for _, at := range []*timestamppb.Timestamp{nil, early.At} {
			if !r.check(&remitv1.Scope{Store: store, Consistency: past, At: at}, question) {
				t.Errorf("Check(%s) of the state %s at %v = false, want true", question, name, at.AsTime())
			}
		}
	}

	before = r.config.State.Current().Revision()
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.config.State.Current().Revision(); got != before {
		t.Errorf("a second sweep wrote: revision %d, was %d", got, before)
	}
}

// More rows than one command removes leave in several.
func TestManyExpiredTuplesLeaveInSteps(t *testing.T) {
	c := &clock{now: time.Now()}
	r := newRigAt(t, c.Now)
	h := backend.NewHousekeeper(backend.NewWriter(r.reader().Reader))
	store := r.store("acme")
	end := c.Now().Add(time.Minute)
	for part := range 3 {
		ops := make([]*remitv1.Operation, 5000)
		for i := range ops {
			ops[i] = until(t, fmt.Sprintf("document:d%d-%d#owner@user:anna", part, i), end.Add(time.Duration(part)*time.Second))
		}
		if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: ops}); err != nil {
			t.Fatal(err)
		}
	}
	c.Advance(backend.ExpiryGrace + time.Hour)
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.count(store); got != 0 {
		t.Errorf("%d tuples remain", got)
	}
}

func TestOnlyTheLeaderKeepsHouse(t *testing.T) {
	c := &clock{now: time.Now()}
	r := newRigAt(t, c.Now)
	store := r.store("acme")
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		until(t, "document:a#owner@user:anna", c.Now().Add(time.Minute)),
	}}); err != nil {
		t.Fatal(err)
	}
	c.Advance(backend.ExpiryGrace + time.Hour)
	config := r.config
	config.Node = follower{config.Node}
	h := backend.NewHousekeeper(backend.NewWriter(backend.NewReader(config.backend())))
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.count(store); got != 1 {
		t.Errorf("a follower removed tuples: %d remain, want 1", got)
	}
}

type follower struct{ backend.Node }

func (follower) Leader() string { return "another" }

// A question about an exact state has one answer, however much is written afterwards.
func TestAnExactStateIsJudgedAtItsOwnInstant(t *testing.T) {
	c := &clock{now: time.Now()}
	r := newRigAt(t, c.Now)
	store := r.store("acme")
	end := c.Now().Add(time.Hour).Truncate(time.Millisecond)
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{until(t, "document:a#owner@user:anna", end)}}); err != nil {
		t.Fatal(err)
	}
	token := r.write(store, "document:b#owner@user:anna")
	c.Advance(3 * time.Hour)
	for _, later := range []bool{false, true} {
		if later {
			r.write(store, "document:c#owner@user:anna")
		}
		for _, q := range []struct {
			name        string
			consistency *remitv1.Consistency
			want        bool
		}{
			{"the newest", nil, false},
			{"a token", &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: token}}, true},
			{"an instant after the expiry", &remitv1.Consistency{
				Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: timestamppb.New(end.Add(time.Minute))},
			}, false},
			{"an instant before it", &remitv1.Consistency{
				Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: timestamppb.New(end.Add(-time.Millisecond))},
			}, true},
		} {
			scope := &remitv1.Scope{Store: store, Consistency: q.consistency}
			if got := r.check(scope, "document:a#owner@user:anna"); got != q.want {
				t.Errorf("others have written: %v; Check at %s = %v, want %v", later, q.name, got, q.want)
			}
		}
	}
}

// An instant before 1970 is as good as any other while nothing has left.
func TestTheInstantMayBeAny(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	for _, at := range []time.Time{time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)} {
		if !r.check(&remitv1.Scope{Store: store, At: timestamppb.New(at)}, "document:plan#reader@user:anna") {
			t.Errorf("Check at %s = false, want true", at)
		}
	}
}

// The name of a store that is gone must not lead to another one.
func TestAnIdIsNeverAName(t *testing.T) {
	r := newRig(t)
	victim := r.store("acme", "document:a#owner@user:anna")
	if _, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: victim}); err != nil {
		t.Fatal(err)
	}
	// As an older release might have let it be made.
	id, err := r.reader().NewID()
	if err != nil {
		t.Fatal(err)
	}
	if result := r.propose(&fsm.Command{Store: id, Body: &fsm.CreateStore{Name: victim}}); result.Err != nil {
		t.Fatal(result.Err)
	}
	_, err = r.ask(scopeOf(victim), "document:a#owner@user:anna")
	if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND {
		t.Errorf("Check in a deleted store = %v, %s", detail, message)
	}
}

// A retry has the answer of the first attempt even if that was "nothing to do" and the
// model has changed since.
func TestARetriedModelChangesNothing(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	first, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(testModel), IdempotencyKey: "k"})
	if err != nil || first.Created {
		t.Fatalf("WriteModel of the newest = %v, %v", first, err)
	}
	other, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl("model\n  schema 1.1\ntype user\n")})
	if err != nil || !other.Created {
		t.Fatalf("WriteModel of another = %v, %v", other, err)
	}
	again, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(testModel), IdempotencyKey: "k"})
	if err != nil || again.Created || again.ModelId != first.ModelId || again.Token != first.Token {
		t.Errorf("retry = %v, %v, want %v", again, err, first)
	}
	newest, err := r.models.GetModel(t.Context(), &remitv1.GetModelRequest{Store: store})
	if err != nil || newest.Model.Id != other.ModelId {
		t.Errorf("newest = %v, %v, want %s", newest.GetModel().GetId(), err, other.ModelId)
	}
}
