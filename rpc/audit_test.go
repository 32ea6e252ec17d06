package rpc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
)

// headerPrincipal says, in these tests, who calls.
const headerPrincipal = "Test-Principal"

// An auditRig is a rig whose callers are who they say.
type auditRig struct {
	*rig
	clock *clock
	audit remitv1connect.AuditServiceClient
}

func newAuditRig(t testing.TB) *auditRig {
	t.Helper()
	c := &clock{now: time.Now().Truncate(time.Millisecond)}
	r := &auditRig{rig: newRigAt(t, c.Now), clock: c}
	believe := func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			if info, ok := connect.CallInfoForServerContext(ctx); ok && info.RequestHeader().Has(headerPrincipal) {
				ctx = identity.WithCall(ctx, &identity.Call{
					Need:   identity.Admin,
					Caller: &identity.Caller{Principal: info.RequestHeader().Get(headerPrincipal), Grants: identity.Grants{Cluster: true}},
				})
			}
			return next(ctx, spec, stream)
		}
	}
	reader := &reader{backend.NewReader(r.config.backend())}
	r.server = newConnectServer(context.Background(), r.config, reader, backend.NewWriter(reader.Reader), backend.NewKeyring(reader.Reader), []connect.ServerInterceptor{believe})
	r.clients = newClients(connectinprocess.New(r.server))
	r.audit = remitv1connect.NewAuditServiceClient(connect.NewClient(connectinprocess.New(r.server)))
	return r
}

// An author is on whose behalf something is done.
type author struct{ principal, actor, request, reason string }

func (a author) context(t testing.TB) context.Context {
	ctx, info := connect.NewClientContext(t.Context())
	for name, value := range map[string]string{
		headerPrincipal: a.principal, backend.HeaderActor: a.actor, backend.HeaderRequestID: a.request, backend.HeaderReason: a.reason,
	} {
		if value != "" {
			info.RequestHeader().Set(name, value)
		}
	}
	return ctx
}

// A deed is what somebody did, as the test remembers it.
type deed struct {
	author
	at                        time.Time
	kind                      remitv1.AuditChange_Kind
	object, relation, subject string
	detail                    string // id of a model, name of a store
}

func (d deed) String() string {
	return fmt.Sprint(d.at.UTC().Format("05.000"), " ", d.author, " ", d.kind, " ", d.object, "#", d.relation, "@", d.subject, " ", d.detail)
}

// deedOf reads a change back.
func deedOf(c *remitv1.AuditChange) deed {
	return deed{
		author: author{c.Principal, c.Actor, c.RequestId, c.Reason}, at: c.Time.AsTime(), kind: c.Kind,
		object: c.GetTuple().GetObject(), relation: c.GetTuple().GetRelation(), subject: c.GetTuple().GetSubject(),
		detail: c.ModelId + c.StoreName,
	}
}

// wanted judges a deed by a filter, plainly.
func (d deed) wanted(f *remitv1.AuditFilter) bool {
	named := func(filter, name string) bool {
		typ, _, _ := strings.Cut(name, ":")
		entity, _, _ := strings.Cut(name, "#")
		return filter == "" || filter == name || filter == typ || filter == entity
	}
	return (f.GetSince() == nil || !d.at.Before(f.GetSince().AsTime())) && (f.GetUntil() == nil || !d.at.After(f.GetUntil().AsTime())) &&
		(f.GetPrincipal() == "" || f.GetPrincipal() == d.principal) && (f.GetActor() == "" || f.GetActor() == d.actor) &&
		(f.GetRequestId() == "" || f.GetRequestId() == d.request) &&
		named(f.GetObject(), d.object) && named(f.GetSubject(), d.subject) && (f.GetRelation() == "" || f.GetRelation() == d.relation) &&
		(len(f.GetKinds()) == 0 || slices.Contains(f.GetKinds(), d.kind))
}

// all reads every page of a store's audit.
func (r *auditRig) all(req *remitv1.ListChangesRequest) (deeds []deed, last *remitv1.ListChangesResponse) {
	r.t.Helper()
	for {
		res, err := r.audit.ListChanges(r.t.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		if n := pageSize(req.PageSize, defaultAudit); len(res.Changes) > n {
			r.t.Fatalf("a page of %d changes, want %d at most", len(res.Changes), n)
		}
		for _, c := range res.Changes {
			deeds = append(deeds, deedOf(c))
		}
		if req.Cursor = res.Cursor; res.Cursor == "" {
			return deeds, res
		}
	}
}

func (r *auditRig) cluster(req *remitv1.ListClusterChangesRequest) (deeds []deed) {
	r.t.Helper()
	for {
		res, err := r.audit.ListClusterChanges(r.t.Context(), req)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, c := range res.Changes {
			deeds = append(deeds, deedOf(c))
		}
		if req.Cursor = res.Cursor; res.Cursor == "" {
			return deeds
		}
	}
}

func newestFirst(deeds []deed) []deed {
	turned := slices.Clone(deeds)
	slices.Reverse(turned)
	return turned
}

func sameDeeds(t testing.TB, what string, want, got []deed) {
	t.Helper()
	lines := func(deeds []deed) (l []string) {
		for _, d := range deeds {
			l = append(l, d.String())
		}
		return l
	}
	if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// A past is what random people did to one store, and to the cluster.
type auditPast struct {
	store          string
	deeds, cluster []deed
}

// live has people do things: to a store of which all is remembered, and to others that
// come and go, some under the same name.
func (r *auditRig) live(rng *rand.Rand, days int) *auditPast {
	t := r.t
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	n := 0
	somebody := func() author {
		n++
		r.clock.Advance(time.Duration(rng.IntN(3)) * time.Millisecond)
		return author{pick("key:app", "key:ops", "cert:batch"), pick("", "ann", "bob", "ünïcode ☂"), fmt.Sprint("r", n%40), pick("", "because", "ticket 7")}
	}
	p := &auditPast{}
	begun := r.config.State.Current().Time()
	p.cluster = append(p.cluster,
		deed{at: begun, kind: remitv1.AuditChange_KIND_EPOCH_SET}, deed{at: begun, kind: remitv1.AuditChange_KIND_CLUSTER_VERSION_SET})
	create := func(name string) string {
		by := somebody()
		made, err := r.stores.CreateStore(by.context(t), &remitv1.CreateStoreRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		p.cluster = append(p.cluster, deed{author: by, at: made.Store.CreatedAt.AsTime(), kind: remitv1.AuditChange_KIND_STORE_CREATED, detail: name})
		return made.Store.Id
	}
	p.store = create("acme")
	p.deeds = append(p.deeds, p.cluster[len(p.cluster)-1])
	did := func(d deed) {
		d.at = r.config.State.Current().Time()
		p.deeds = append(p.deeds, d)
	}
	var other string
	written := map[string]bool{}
	for day := range days {
		by := somebody()
		switch what := rng.IntN(20); {
		case day == 0 || what == 0:
			res, err := r.models.WriteModel(by.context(t), &remitv1.WriteModelRequest{Store: p.store, Source: dsl(strings.Replace(testModel, "type user\n", fmt.Sprintf("type user\n\ntype day%d\n", day), 1))})
			if err != nil {
				t.Fatal(err)
			}
			did(deed{author: by, kind: remitv1.AuditChange_KIND_MODEL_WRITTEN, detail: res.ModelId})
		case what == 1:
			days := int64(1 + day)
			_, err := r.stores.SetRetention(by.context(t), &remitv1.SetRetentionRequest{Store: p.store, Retention: retentionMessage(days * 1e8)})
			if err != nil {
				t.Fatal(err)
			}
			did(deed{author: by, kind: remitv1.AuditChange_KIND_RETENTION_SET})
		case what < 4 && other == "":
			other = create("other")
		case what < 4:
			if _, err := r.stores.DeleteStore(by.context(t), &remitv1.DeleteStoreRequest{StoreId: other}); err != nil {
				t.Fatal(err)
			}
			p.cluster = append(p.cluster, deed{author: by, at: r.config.State.Current().Time(), kind: remitv1.AuditChange_KIND_STORE_DELETED, detail: "other"})
			other = ""
		default:
			var ops []*remitv1.Operation
			var deeds []deed
			for range 1 + rng.IntN(3) {
				text := pick("document:", "folder:") + pick("a", "b", "ü") + "#" + pick("owner", "viewer") + "@" + pick("user:ann", "user:bob", "user:cleo")
				if rng.IntN(3) == 0 {
					text = "group:" + pick("eng", "ops") + "#member@" + pick("user:ann", "group:all#member", "group:eng#member")
				}
				if slices.ContainsFunc(deeds, func(d deed) bool { return d.detail == text }) {
					continue
				}
				op := touch(t, text)[0]
				d := deed{author: by, kind: remitv1.AuditChange_KIND_TUPLE_PUT, object: op.Tuple.Object, relation: op.Tuple.Relation, subject: op.Tuple.Subject, detail: text}
				if rng.IntN(3) == 0 {
					op.Kind, d.kind = remitv1.Operation_KIND_DELETE, remitv1.AuditChange_KIND_TUPLE_DELETED
				}
				ops, deeds = append(ops, op), append(deeds, d)
			}
			if _, err := r.tuples.Write(by.context(t), &remitv1.WriteRequest{Store: p.store, Operations: ops}); err != nil {
				t.Fatal(err)
			}
			for _, d := range deeds {
				deleted := d.kind == remitv1.AuditChange_KIND_TUPLE_DELETED
				if deleted && !written[d.detail] {
					continue // nothing was there
				}
				written[d.detail], d.detail = !deleted, ""
				did(d)
			}
		}
	}
	return p
}

func randomAudit(rng *rand.Rand, p *auditPast) *remitv1.AuditFilter {
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	often := func() bool { return rng.IntN(4) == 0 }
	f := &remitv1.AuditFilter{}
	at := func() *timestamppb.Timestamp {
		return timestamppb.New(p.deeds[rng.IntN(len(p.deeds))].at.Add(time.Duration(rng.IntN(3)-1) * 300 * time.Microsecond))
	}
	since, until := at(), at()
	if until.AsTime().Before(since.AsTime().Add(time.Millisecond)) {
		until = timestamppb.New(since.AsTime().Add(time.Millisecond))
	}
	if often() {
		f.From = &remitv1.AuditFilter_Since{Since: since}
	}
	if often() {
		f.To = &remitv1.AuditFilter_Until{Until: until}
	}
	if often() {
		f.Principal = pick("key:app", "key:ops", "nobody")
	}
	if often() {
		f.Actor = pick("ann", "bob", "ünïcode ☂")
	}
	if often() {
		f.RequestId = fmt.Sprint("r", rng.IntN(40))
	}
	if rng.IntN(3) == 0 {
		f.Object = pick("document", "document:a", "folder:ü", "group:eng", "document:nobody-knows")
	}
	if often() {
		f.Subject = pick("user", "user:ann", "group:eng", "group:eng#member", "group", "user:*")
	}
	if often() && !strings.HasPrefix(f.Object, "group") {
		f.Relation = pick("viewer", "owner")
	}
	if often() {
		for range 1 + rng.IntN(3) {
			f.Kinds = append(f.Kinds, remitv1.AuditChange_Kind(1+rng.IntN(13)))
		}
	}
	return f
}

// Whoever asks whatever, in either order and in pages of any size, is told what was done.
func TestAuditTellsWhatWasDone(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 8))
	r := newAuditRig(t)
	p := r.live(rng, 150)
	for range 150 {
		f := randomAudit(rng, p)
		var want []deed
		for _, d := range p.deeds {
			if d.wanted(f) {
				want = append(want, d)
			}
		}
		req := &remitv1.ListChangesRequest{Store: p.store, Filter: f, PageSize: int32(rng.IntN(3) * rng.IntN(20))}
		got, _ := r.all(req)
		sameDeeds(t, fmt.Sprint("oldest first: ", req), want, got)
		req.NewestFirst = true
		got, last := r.all(req)
		sameDeeds(t, fmt.Sprint("newest first: ", req), newestFirst(want), got)
		if last.Progress.KeptSince.GetRevision() != r.get(p.store).EarliestRevision {
			t.Fatalf("kept since %v, want the store's creation", last.Progress.KeptSince)
		}

		f.Object, f.Subject, f.Relation = "", "", ""
		want = nil
		for _, d := range p.cluster {
			if d.wanted(f) {
				want = append(want, d)
			}
		}
		c := &remitv1.ListClusterChangesRequest{Filter: f, PageSize: req.PageSize}
		sameDeeds(t, fmt.Sprint("cluster, oldest first: ", c), want, r.cluster(c))
		c.NewestFirst = true
		sameDeeds(t, fmt.Sprint("cluster, newest first: ", c), newestFirst(want), r.cluster(c))
	}
}

// All pages show the changes up to one revision, while somebody writes; and what a store
// gave up meanwhile is never passed over in silence.
func TestAuditWhileOthersWrite(t *testing.T) {
	r := newAuditRig(t)
	store := r.store("acme")
	for i := range 20 {
		r.write(store, fmt.Sprintf("document:%d#owner@user:ann", i))
	}
	for _, newest := range []bool{false, true} {
		want, _ := r.all(&remitv1.ListChangesRequest{Store: store, NewestFirst: newest})
		before := r.revision()
		req := &remitv1.ListChangesRequest{Store: store, PageSize: 3, NewestFirst: newest}
		var got []deed
		for {
			res, err := r.audit.ListChanges(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range res.Changes {
				got = append(got, deedOf(c))
			}
			if res.Progress.Revision != before {
				t.Errorf("a page shows changes up to %d, want %d", res.Progress.Revision, before)
			}
			r.write(store, fmt.Sprintf("document:more#owner@user:%d", len(got)))
			if req.Cursor = res.Cursor; res.Cursor == "" {
				break
			}
		}
		sameDeeds(t, fmt.Sprint("newest first: ", newest), want, got)
	}
}

func TestAuditAtTheHorizon(t *testing.T) {
	r := newAuditRig(t)
	store := r.store("acme")
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		r.clock.Advance(time.Second)
		r.write(store, fmt.Sprintf("document:%d#owner@user:ann", i))
	}
	begun := &remitv1.ListChangesRequest{Store: store, PageSize: 2}
	first, err := r.audit.ListChanges(t.Context(), begun)
	if err != nil {
		t.Fatal(err)
	}
	back := &remitv1.ListChangesRequest{Store: store, PageSize: 2, NewestFirst: true}
	newest, err := r.audit.ListChanges(t.Context(), back)
	if err != nil {
		t.Fatal(err)
	}
	horizon := r.revision() - 5
	r.propose(&fsm.Command{Store: id, Body: &fsm.AdvanceHistory{Horizon: fsm.EndOf(r.config.State.Current().Revision() - 5).Revision}})

	got, res := r.all(&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{From: &remitv1.AuditFilter_SinceRevision{SinceRevision: 1}}})
	if since := res.Progress.KeptSince; len(got) != 6 || since.GetRevision() != horizon || !since.At.AsTime().Equal(got[0].at) {
		t.Errorf("%d changes since %v, want 6 since %d", len(got), since, horizon)
	}
	begun.Cursor = first.Cursor
	if _, err := r.audit.ListChanges(t.Context(), begun); err == nil {
		t.Error("an audit goes on behind changes that are gone")
	} else if code, _, detail := detailOf(t, err); code != connect.CodeFailedPrecondition || detail.Reason != remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED || detail.Field != "cursor" {
		t.Errorf("an audit that goes on behind changes that are gone: %v %v", err, detail)
	}
	back.Cursor = newest.Cursor
	rest, res := r.all(back)
	if len(rest) != 4 || res.Progress.KeptSince.GetRevision() != horizon {
		t.Errorf("newest first, %d more changes since %v, want 4 since %d", len(rest), res.Progress.KeptSince, horizon)
	}
}

// A page ends when it has examined enough, found or not, and says how far it is.
func TestAuditSaysHowFarItHasLooked(t *testing.T) {
	r := newAuditRig(t)
	store := r.store("acme", "group:eng#member@user:ann")
	const writes, each = 3, 5000
	for i := range writes {
		var tuples []string
		for j := range each {
			tuples = append(tuples, fmt.Sprintf("folder:%d#owner@user:%d", j, i))
		}
		r.write(store, tuples...)
	}
	audit := &auditService{&reader{backend.NewReader(r.config.backend())}, 2 * each}
	req := &remitv1.ListChangesRequest{Store: store, NewestFirst: true, Filter: &remitv1.AuditFilter{Object: "group"}}
	res, err := audit.ListChanges(t.Context(), proto.CloneOf(req))
	if err != nil {
		t.Fatal(err)
	}
	if p := res.Progress; len(res.Changes) != 0 || res.Cursor == "" || p.ExaminedChanges != 2*each || p.Examined.GetRevision() != r.revision()-1 || p.Examined.At == nil {
		t.Errorf("the first page: %v, want that it ends at its work", res)
	}
	req.Cursor = res.Cursor
	if res, err = audit.ListChanges(t.Context(), req); err != nil || len(res.Changes) != 1 || res.Cursor != "" {
		t.Errorf("the second page: %v, %v, want the change", res, err)
	}
}

func TestAuditRefuses(t *testing.T) {
	r := newAuditRig(t)
	store := r.store("acme", "document:plan#owner@user:ann")
	other := r.store("other")
	page, err := r.audit.ListChanges(t.Context(), &remitv1.ListChangesRequest{Store: store, PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	tomorrow := timestamppb.New(r.clock.Now().Add(24 * time.Hour))
	for name, tt := range map[string]struct {
		req   *remitv1.ListChangesRequest
		field string
		why   remitv1.ErrorReason
	}{
		"a store that is not there":    {&remitv1.ListChangesRequest{Store: "nope"}, "store", remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND},
		"a type that is not there":     {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{Object: "nope"}}, "filter.object", remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND},
		"a relation that is not there": {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{Relation: "nope"}}, "filter.relation", remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND},
		"a relation of another type":   {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{Object: "group", Relation: "owner"}}, "filter.relation", remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND},
		"a userset that is not there":  {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{Subject: "user:ann#owner"}}, "filter.subject", remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND},
		"a malformed object":           {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{Object: "document:a b"}}, "filter.object", remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE},
		"an instant to come":           {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{From: &remitv1.AuditFilter_Since{Since: tomorrow}}}, "filter.since", remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
		"a revision to come":           {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{From: &remitv1.AuditFilter_SinceRevision{SinceRevision: 1e6}}}, "filter.since_revision", remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
		"an end before the beginning": {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{
			From: &remitv1.AuditFilter_Since{Since: timestamppb.New(r.clock.Now())}, To: &remitv1.AuditFilter_Until{Until: timestamppb.New(r.clock.Now().Add(-time.Hour))},
		}}, "filter.until", remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
		"another kind":         {&remitv1.ListChangesRequest{Store: store, Filter: &remitv1.AuditFilter{Kinds: []remitv1.AuditChange_Kind{0}}}, "filter.kinds[0]", remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
		"a page too long":      {&remitv1.ListChangesRequest{Store: store, PageSize: 10_001}, "page_size", remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
		"a made-up cursor":     {&remitv1.ListChangesRequest{Store: store, Cursor: "AQ"}, "cursor", remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR},
		"another direction":    {&remitv1.ListChangesRequest{Store: store, NewestFirst: true, Cursor: page.Cursor}, "cursor", remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR},
		"another store's page": {&remitv1.ListChangesRequest{Store: other, Cursor: page.Cursor}, "cursor", remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR},
	} {
		_, err := r.audit.ListChanges(t.Context(), tt.req)
		if err == nil {
			t.Errorf("%s is not refused", name)
			continue
		}
		if _, _, detail := detailOf(t, err); detail.Reason != tt.why || detail.Field != tt.field {
			t.Errorf("%s: %v, %v at %q, want %v at %q", name, err, detail.Reason, detail.Field, tt.why, tt.field)
		}
	}
	_, err = r.audit.ListClusterChanges(t.Context(), &remitv1.ListClusterChangesRequest{Filter: &remitv1.AuditFilter{Object: "document"}})
	if err == nil {
		t.Error("the cluster has tuples")
	} else if _, _, detail := detailOf(t, err); detail.Field != "filter.object" {
		t.Errorf("tuples of the cluster: %v", err)
	}
}

// Who watches learns who it was.
func TestWatchTellsWho(t *testing.T) {
	r := newAuditRig(t)
	store := r.store("acme")
	by := author{"key:app", "ann", "r1", "because"}
	if _, err := r.tuples.Write(by.context(t), &remitv1.WriteRequest{Store: store, Operations: touch(t, "document:plan#owner@user:ann")}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stream, err := r.watches.Watch(ctx, &remitv1.WatchRequest{Stores: []string{store}, From: &remitv1.WatchRequest_Earliest{Earliest: true}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		res, err := stream.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, revision := range res.GetChanges().GetRevisions() {
			for _, c := range revision.Changes {
				if c.Kind != remitv1.Change_KIND_TUPLE_PUT {
					continue
				}
				if got := (author{c.Principal, c.Actor, c.RequestId, c.Reason}); got != by {
					t.Errorf("the change is told with %+v, want %+v", got, by)
				}
				return
			}
		}
	}
}
