package rpc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

func asOfRevision(revision uint64) *remitv1.Consistency {
	return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactRevision{AtExactRevision: revision}}
}

func asOfTime(t time.Time) *remitv1.Consistency {
	return &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactTime{AtExactTime: timestamppb.New(t)}}
}

func (r *rig) revision() uint64 { return uint64(r.config.State.Current().Revision()) }

func (r *rig) get(store string) *remitv1.Store {
	r.t.Helper()
	res, err := r.stores.GetStore(r.t.Context(), &remitv1.GetStoreRequest{Store: store})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Store
}

func (r *rig) remove(store string, tuples ...string) {
	r.t.Helper()
	ops := touch(r.t, tuples...)
	for _, op := range ops {
		op.Kind = remitv1.Operation_KIND_DELETE
	}
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: ops}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) retain(store string, period time.Duration) *remitv1.Store {
	r.t.Helper()
	retention := &remitv1.Retention{Kind: &remitv1.Retention_Forever{Forever: true}}
	if period > 0 {
		retention = &remitv1.Retention{Kind: &remitv1.Retention_Period{Period: durationpb.New(period)}}
	}
	res, err := r.stores.SetRetention(r.t.Context(), &remitv1.SetRetentionRequest{Store: store, Retention: retention})
	if err != nil {
		r.t.Fatal(err)
	}
	return res.Store
}

// Every query can be asked of a revision, and says of which it was.
func TestEveryQueryOfARevision(t *testing.T) {
	c := &clock{now: time.Now().Truncate(time.Millisecond)}
	r := newRigAt(t, c.Now)
	store := r.store("acme", "document:plan#owner@user:anna")
	then, since := r.revision(), r.config.State.Current().Time()
	c.Advance(time.Hour)
	r.remove(store, "document:plan#owner@user:anna")
	scope := &remitv1.Scope{Store: store, Consistency: asOfRevision(then)}
	want := &remitv1.Moment{Revision: then, At: timestamppb.New(since)}
	question := ask(t, "document:plan#reader@user:anna")

	check, err := r.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scope, Question: question})
	if err != nil || !check.Allowed {
		t.Errorf("Check = %v, %v, want allowed", check, err)
	}
	batch, err := r.access.BatchCheck(t.Context(), &remitv1.BatchCheckRequest{Scope: scope, Questions: []*remitv1.BatchQuestion{{Question: question}}})
	if err != nil || !batch.Answers[0].Allowed {
		t.Errorf("BatchCheck = %v, %v, want allowed", batch, err)
	}
	objects, err := r.access.ListObjects(t.Context(), &remitv1.ListObjectsRequest{Scope: scope, Type: "document", Relation: "reader", Subject: "user:anna"})
	if err != nil || !slices.Equal(objects.Ids, []string{"plan"}) {
		t.Errorf("ListObjects = %v, %v", objects, err)
	}
	subjects, err := r.access.ListSubjects(t.Context(), &remitv1.ListSubjectsRequest{Scope: scope, Object: "document:plan", Relation: "reader", SubjectType: "user"})
	if err != nil || len(subjects.Subjects) != 1 {
		t.Errorf("ListSubjects = %v, %v", subjects, err)
	}
	actions, err := r.access.ListActions(t.Context(), &remitv1.ListActionsRequest{Scope: scope, Object: "document:plan", Subject: "user:anna"})
	if err != nil || !slices.Contains(actions.Relations, "reader") {
		t.Errorf("ListActions = %v, %v", actions, err)
	}
	expanded, err := r.access.Expand(t.Context(), &remitv1.ExpandRequest{Scope: scope, Object: "document:plan", Relation: "owner"})
	if err != nil || len(expanded.Root.Tuples) != 1 {
		t.Errorf("Expand = %v, %v", expanded, err)
	}
	explained, err := r.access.Explain(t.Context(), &remitv1.ExplainRequest{Scope: scope, Question: question})
	if err != nil || !explained.Allowed {
		t.Errorf("Explain = %v, %v", explained, err)
	}
	read, err := r.tuples.Read(t.Context(), &remitv1.ReadRequest{Store: store, Consistency: asOfRevision(then)})
	if err != nil || len(read.Tuples) != 1 {
		t.Errorf("Read = %v, %v", read, err)
	}
	for name, got := range map[string]*remitv1.Moment{
		"Check": check.GetAsOf(), "BatchCheck": batch.GetAsOf(), "ListObjects": objects.GetAsOf(), "ListSubjects": subjects.GetAsOf(),
		"ListActions": actions.GetAsOf(), "Expand": expanded.GetAsOf(), "Explain": explained.GetAsOf(), "Read": read.GetAsOf(),
	} {
		if !proto.Equal(got, want) {
			t.Errorf("%s was of %v, want %v", name, got, want)
		}
	}
	if newest, err := r.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf(store), Question: question}); err != nil || newest.Allowed || newest.AsOf != nil {
		t.Errorf("Check of the newest = %v, %v, want denied and of no moment", newest, err)
	}
}

// What cannot be asked about is refused with what can.
func TestMomentsThatCannotBeAskedAbout(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 22, 0, 0, 0, time.UTC)}
	r := newRigAt(t, c.Now)
	before := r.revision()
	c.Advance(time.Hour)
	store := r.store("acme", "document:plan#owner@user:anna")
	made := r.get(store)
	if made.EarliestRevision <= before || !made.EarliestAt.AsTime().Equal(made.CreatedAt.AsTime()) {
		t.Fatalf("a new store begins at %d of %v", made.EarliestRevision, made.EarliestAt.AsTime())
	}
	c.Advance(time.Hour)
	r.write(store, "document:plan#owner@user:bert")
	newest := r.revision()
	for _, tt := range []struct {
		name    string
		moment  *remitv1.Consistency
		code    connect.Code
		reason  remitv1.ErrorReason
		field   string
		message string
	}{
		{
			"a revision before the store", asOfRevision(before), connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, "scope.consistency",
			fmt.Sprintf("the store did not exist yet: the earliest that can be asked about is revision %d of 2026-03-03T23:00:00", made.EarliestRevision),
		},
		{
			"an instant before the store", asOfTime(time.Date(2026, 3, 3, 22, 30, 0, 0, time.UTC)), connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, "scope.consistency",
			fmt.Sprintf("revision %d of 2026-03-03T23:00:00", made.EarliestRevision),
		},
		{
			"an instant before everything", asOfTime(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)), connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE, "scope.consistency",
			fmt.Sprintf("revision %d of 2026-03-03T23:00:00", made.EarliestRevision),
		},
		{
			"a revision of the future", asOfRevision(newest + 1), connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "scope.consistency.at_exact_revision",
			fmt.Sprintf("it lies in the future: the newest revision is %d", newest),
		},
		{
			"an instant of the future", asOfTime(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)), connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "scope.consistency.at_exact_time",
			"it lies in the future of 2026-03-04",
		},
		{"no revision", asOfRevision(0), connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "scope.consistency.at_exact_revision", "greater than 0"},
	} {
		_, err := r.ask(&remitv1.Scope{Store: store, Consistency: tt.moment}, "document:plan#reader@user:anna")
		code, message, detail := detailOf(t, err)
		if code != tt.code || detail.Reason != tt.reason || detail.Field != tt.field || !strings.Contains(message, tt.message) {
			t.Errorf("%s: %v %v %s: %q, want %v %v %s: … %q …", tt.name, code, detail.Reason, detail.Field, message, tt.code, tt.reason, tt.field, tt.message)
		}
	}
}

// rowsOfThePast are the versions and changes that a store still has.
func (r *rig) rowsOfThePast(store string) bool {
	r.t.Helper()
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		r.t.Fatal(err)
	}
	_, found, err := r.config.State.FirstPast(id)
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

func TestThePastGoesWhenItsRetentionEnds(t *testing.T) {
	c := &clock{now: time.Now().Truncate(time.Millisecond)}
	r := newRigAt(t, c.Now)
	h := backend.NewHousekeeper(backend.NewWriter(r.reader().Reader))
	sweep := func() (wrote bool) {
		t.Helper()
		before := r.revision()
		if err := h.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.revision() != before
	}
	short, usual, always := r.store("short"), r.store("usual"), r.store("always")
	r.retain(short, time.Hour)
	if got := r.retain(always, 0); !got.Retention.GetForever() {
		t.Errorf("retention %v, want for ever", got.Retention)
	}
	if got := r.get(usual).Retention.GetPeriod().AsDuration(); got != 30*24*time.Hour {
		t.Errorf("a new store keeps %v, want 30 days", got)
	}
	tuples := map[string][]string{usual: {"document:d1#owner@user:anna"}, always: {"document:d1#owner@user:anna"}}
	for i := range 6_000 { // more versions than one step removes
		tuples[short] = append(tuples[short], fmt.Sprintf("document:d%d#owner@user:anna", i))
	}
	for _, store := range []string{short, usual, always} {
		r.write(store, tuples[store]...)
	}
	then, since := r.revision(), c.Now()
	for _, store := range []string{short, usual, always} { // the last change is none of short's
		for range 2 {
			r.remove(store, tuples[store]...)
			r.write(store, tuples[store]...)
		}
	}
	list := &remitv1.ListObjectsRequest{
		Scope: &remitv1.Scope{Store: short, Consistency: asOfRevision(then)}, Type: "document", Relation: "reader", Subject: "user:anna", PageSize: 10,
	}
	pinned, err := r.access.ListObjects(t.Context(), proto.CloneOf(list))
	if err != nil || pinned.Cursor == "" {
		t.Fatal(pinned, err)
	}
	if sweep() {
		t.Error("something was proposed although nothing is past its retention")
	}

	c.Advance(time.Hour + time.Millisecond)
	if !sweep() {
		t.Error("nothing was proposed for a store that is past its retention")
	}
	if r.rowsOfThePast(short) {
		t.Error("rows of the past are left after the sweep")
	}
	if !r.rowsOfThePast(usual) || !r.rowsOfThePast(always) {
		t.Error("a store lost what its retention covers")
	}
	if sweep() {
		t.Error("a second sweep wrote")
	}
	got := r.get(short)
	if got.EarliestRevision <= then || !r.check(&remitv1.Scope{Store: short, Consistency: asOfRevision(got.EarliestRevision)}, "document:d1#reader@user:anna") {
		t.Errorf("the earliest revision is %d", got.EarliestRevision)
	}
	if !r.check(&remitv1.Scope{Store: short, Consistency: asOfTime(got.EarliestAt.AsTime())}, "document:d1#reader@user:anna") {
		t.Error("the earliest instant cannot be asked about")
	}
	for _, moment := range []*remitv1.Consistency{asOfRevision(got.EarliestRevision - 1), asOfTime(got.EarliestAt.AsTime().Add(-time.Millisecond))} {
		_, err := r.ask(&remitv1.Scope{Store: short, Consistency: moment}, "document:d1#reader@user:anna")
		_, message, detail := detailOf(t, err)
		want := fmt.Sprintf("the state is no longer kept: the earliest that can be asked about is revision %d of %s", got.EarliestRevision, got.EarliestAt.AsTime().Format(time.RFC3339Nano))
		if detail.Reason != remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE || !strings.Contains(message, want) {
			t.Errorf("Check at %v = %v %q, want %q", moment, detail.Reason, message, want)
		}
	}
	list.Cursor = pinned.Cursor
	_, err = r.access.ListObjects(t.Context(), list)
	if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED {
		t.Errorf("the page of a state that is gone = %v %q", detail.Reason, message)
	}
	for _, store := range []string{usual, always} {
		if !r.check(&remitv1.Scope{Store: store, Consistency: asOfTime(since)}, "document:d1#reader@user:anna") {
			t.Errorf("store %s does not know its past", store)
		}
	}

	c.Advance(30 * 24 * time.Hour)
	if !sweep() || r.rowsOfThePast(usual) || !r.rowsOfThePast(always) {
		t.Errorf("after 30 days: rows of the usual store %v, of the one for ever %v", r.rowsOfThePast(usual), r.rowsOfThePast(always))
	}
	// A shorter retention takes effect with the next sweep.
	r.retain(always, time.Minute)
	r.write(usual, "document:new#owner@user:anna") // the changes of the horizon itself stay
	if c.Advance(2 * time.Minute); !sweep() || r.rowsOfThePast(always) {
		t.Error("a store kept its past after its retention was shortened")
	}
}

func TestRetentionsAreWithinBounds(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	for name, retention := range map[string]*remitv1.Retention{
		"none":          nil,
		"of no kind":    {},
		"of a second":   {Kind: &remitv1.Retention_Period{Period: durationpb.New(time.Second)}},
		"of an age":     {Kind: &remitv1.Retention_Period{Period: &durationpb.Duration{Seconds: 3153600001}}},
		"negative":      {Kind: &remitv1.Retention_Period{Period: durationpb.New(-time.Hour)}},
		"not for ever":  {Kind: &remitv1.Retention_Forever{}},
		"without value": {Kind: &remitv1.Retention_Period{}},
	} {
		_, err := r.stores.SetRetention(t.Context(), &remitv1.SetRetentionRequest{Store: store, Retention: retention})
		if code := connect.CodeOf(err); code != connect.CodeInvalidArgument {
			t.Errorf("a retention %s = %v, %v, want that it is refused", name, code, err)
		}
	}
	if _, err := r.stores.SetRetention(t.Context(), &remitv1.SetRetentionRequest{Store: "nobody", Retention: r.get(store).Retention}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("SetRetention of no store = %v", err)
	}
	longest := &remitv1.Retention{Kind: &remitv1.Retention_Period{Period: &durationpb.Duration{Seconds: 3153600000}}}
	res, err := r.stores.SetRetention(t.Context(), &remitv1.SetRetentionRequest{Store: "acme", Retention: longest, IdempotencyKey: "k"})
	if err != nil || !proto.Equal(res.Store.Retention, longest) {
		t.Errorf("SetRetention = %v, %v, want %v", res, err, longest)
	}
	again, err := r.stores.SetRetention(t.Context(), &remitv1.SetRetentionRequest{Store: "acme", Retention: longest, IdempotencyKey: "k"})
	if err != nil || again.Token != res.Token {
		t.Errorf("a retry = %v, %v, want %v", again, err, res)
	}
}

// What was known at one moment can be judged at another: as long before as expired tuples
// stay, and at any instant after.
func TestAsOfOneMomentAndAtAnother(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 22, 0, 0, 0, time.UTC)}
	r := newRigAt(t, c.Now)
	h := backend.NewHousekeeper(backend.NewWriter(r.reader().Reader))
	store := r.store("acme")
	end := c.Now().Add(time.Hour)
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{until(t, "document:a#owner@user:anna", end)}}); err != nil {
		t.Fatal(err)
	}
	c.Advance(3 * time.Hour)
	r.write(store, "document:b#owner@user:anna")
	then := r.revision()
	c.Advance(40 * time.Hour)
	if err := h.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.write(store, "document:c#owner@user:anna")
	for at, want := range map[time.Time]bool{
		end.Add(-time.Millisecond): true,
		end:                        false,
		end.Add(1000 * time.Hour):  false,
	} {
		scope := &remitv1.Scope{Store: store, Consistency: asOfRevision(then), At: timestamppb.New(at)}
		if got := r.check(scope, "document:a#reader@user:anna"); got != want {
			t.Errorf("Check as of %d at %v = %v, want %v", then, at, got, want)
		}
	}
	scope := &remitv1.Scope{Store: store, Consistency: asOfRevision(then), At: timestamppb.New(end.Add(-48 * time.Hour))}
	_, err := r.ask(scope, "document:a#reader@user:anna")
	if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_INSTANT_UNAVAILABLE {
		t.Errorf("Check at an instant whose expired tuples may have left = %v %q", detail.Reason, message)
	}
}
