package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// list reads all pages of a kind.
func (r *orgRig) list(as string, kind remitv1.EntityKind, module string, size int32) []*remitv1.Entity {
	r.t.Helper()
	req := &remitv1.ListEntitiesRequest{Store: r.store, As: as, Kind: kind, Module: module, PageSize: size}
	var all []*remitv1.Entity
	for {
		res, err := r.org.ListEntities(r.t.Context(), proto.CloneOf(req))
		if err != nil {
			r.t.Fatalf("ListEntities(%v): %v", kind, err)
		}
		all = append(all, res.Entities...)
		if res.Cursor == "" {
			return all
		}
		if len(res.Entities) > int(size) {
			r.t.Fatalf("a page of %d has %d entities", size, len(res.Entities))
		}
		req.Cursor = res.Cursor
	}
}

func idsOf(entities []*remitv1.Entity) []string {
	var ids []string
	for _, e := range entities {
		m := inner(e)
		id := m.Get(m.Descriptor().Fields().ByName("id")).String()
		if module := m.Descriptor().Fields().ByName("module"); module != nil && e.GetRule() == nil {
			id = m.Get(module).String() + ":" + id
		}
		ids = append(ids, id)
	}
	return ids
}

// A list has everything once, whatever the size of its pages, and each entity as it is by
// itself; its pages show one revision.
func TestListEntities(t *testing.T) {
	r := newWorld(t)
	for kind, want := range map[remitv1.EntityKind][]string{
		ofSettings: {"acme"},
		ofSeat:     {"ann", "bob", "cid", "data_sharing", "dot", "eve", "fay", "groups", "modules", "profiles", "roles", "shifts", "users"},
		ofRole:     {"agent", "ceo", "manager", "rep"},
		ofProfile:  {"administrator", "data_sharing", "groups", "modules", "profiles", "roles", "shifts", "standard", "users"},
		ofModule:   {"account", "deal", "note"}, ofField: {"deal:iban"}, ofGroup: {"emea", "inner"}, ofTeam: {"t1"}, ofRule: {"r1"}, ofShift: {"early"},
	} {
		var first []*remitv1.Entity
		for _, size := range []int32{1, 3, 1000} {
			all := r.list("", kind, "", size)
			ids := idsOf(all)
			if first == nil {
				first = all
			} else if !slices.EqualFunc(first, all, func(a, b *remitv1.Entity) bool { return proto.Equal(a, b) }) {
				t.Errorf("%v in pages of %d: %v", kind, size, ids)
			}
			slices.Sort(ids)
			if !slices.Equal(ids, want) {
				t.Errorf("%v in pages of %d: %v, want %v", kind, size, ids, want)
			}
		}
	}
	if ids := idsOf(r.list("", ofRecord, "deal", 10)); !slices.Equal(ids, []string{"deal:d1"}) {
		t.Errorf("the deals are %v", ids)
	}

	page, err := r.org.ListEntities(t.Context(), &remitv1.ListEntitiesRequest{Store: r.store, Kind: ofSeat, PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "gus", Name: "Gus", Role: "rep"})), putOf(aSeat(&remitv1.Seat{Id: "dot", Name: "Dorothy"}), "name"))
	rest, err := r.org.ListEntities(t.Context(), &remitv1.ListEntitiesRequest{Store: r.store, Kind: ofSeat, PageSize: 1000, Cursor: page.Cursor})
	if err != nil || rest.Cursor != "" {
		t.Fatalf("the rest is %v, %v", rest, err)
	}
	for _, e := range rest.Entities {
		if e.GetSeat().Id == "gus" || e.GetSeat().Name == "Dorothy" {
			t.Errorf("the second page shows what came later: %v", e)
		}
	}
	if n := len(page.Entities) + len(rest.Entities); n != 13 {
		t.Errorf("there are %d seats", n)
	}

	for name, req := range map[string]*remitv1.ListEntitiesRequest{
		"cursor": {Store: r.store, Kind: ofRole, Cursor: page.Cursor},
		"module": {Store: r.store, Kind: ofRecord},
		"kind":   {Store: r.store},
	} {
		_, err := r.org.ListEntities(t.Context(), req)
		if code, text, detail := detailOf(t, err); code != connect.CodeInvalidArgument || detail.Field != name {
			t.Errorf("%v at %q (%s), want it at %q", code, detail.Field, text, name)
		}
	}
	_, err = r.org.ListEntities(t.Context(), &remitv1.ListEntitiesRequest{Store: r.store, Kind: ofRecord, Module: "case"})
	wantReason(t, "no module", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND)
}

// A cursor names nobody: the last entity that a page has looked at may be one that the asker shall
// not know. One that is made up, to learn what a number stands for, is refused.
func TestCursorsOfEntitiesNameNobody(t *testing.T) {
	r := newWorld(t)
	req := &remitv1.ListEntitiesRequest{Store: r.store, Kind: ofSeat, PageSize: 2}
	page, err := r.org.ListEntities(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	c, err := decodeCursor(page.Cursor)
	if err != nil {
		t.Fatal(err)
	}
	d := decoder{b: c.position}
	last := graph.ID(d.uint64())
	if !d.done() || last.IsWildcard() {
		t.Errorf("the position is %x, want a number", c.position)
	}
	for name, position := range map[string][]byte{
		"of another type": binary.BigEndian.AppendUint64(nil, uint64(graph.MakeID(last.Type()+1, 1))),
		"of nobody":       binary.BigEndian.AppendUint64(nil, uint64(graph.Wildcard(last.Type()))),
		"too long":        append(slices.Clone(c.position), 0),
		"too short":       c.position[:7],
		"a name":          []byte("ann"),
	} {
		made := *c
		made.position = position
		req.Cursor = made.String()
		_, err := r.org.ListEntities(t.Context(), req)
		if code, text, detail := detailOf(t, err); code != connect.CodeInvalidArgument || detail.Field != "cursor" {
			t.Errorf("%s: %v at %q (%s), want it at the cursor", name, code, detail.Field, text)
		}
	}
	never := *c
	never.position = binary.BigEndian.AppendUint64(nil, uint64(graph.MakeID(last.Type(), graph.MaxSequence)))
	req.Cursor = never.String()
	_, err = r.org.ListEntities(t.Context(), req)
	wantReason(t, "one that is not there", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
}

// A seat sees the organisation, of records those that it may view, of these the fields that
// it may read, and shares if it may share.
func TestWhatSeatsSee(t *testing.T) {
	r := newWorld(t)
	r.change("",
		putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d2", Owner: "bob", Fields: someFields(t, map[string]any{"amount": 1.0})})),
		putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d3", Owner: "ann"})))
	for _, tc := range []struct {
		as     string
		deals  string
		fields int  // of d1
		shares bool // of d1
	}{
		{"", "deal:d1 deal:d2 deal:d3", 2, true},
		{"ann", "deal:d1 deal:d2 deal:d3", 2, true},
		{"bob", "deal:d1 deal:d2", 1, false}, // superior, whose profile does not let him share
		{"cid", "deal:d1", 1, true},          // the owner
		{"fay", "deal:d1", 1, false},
		{"dot", "deal:d1", 1, false},
		{"users", "", 0, false}, // an agent without a permission for deals
	} {
		deals := r.list(tc.as, ofRecord, "deal", 2)
		ids := idsOf(deals)
		slices.Sort(ids)
		if strings.Join(ids, " ") != tc.deals {
			t.Errorf("%q sees %v, want %s", tc.as, ids, tc.deals)
		}
		one, err := r.org.GetEntity(t.Context(), &remitv1.GetEntityRequest{Store: r.store, As: tc.as, Entity: &remitv1.EntityRef{Kind: ofRecord, Id: "deal:d1"}})
		if tc.fields == 0 {
			wantReason(t, tc.as, err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND)
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tc.as, err)
			continue
		}
		d := one.Entity.GetRecord()
		if len(d.Fields.AsMap()) != tc.fields || (len(d.Shares) > 0) != tc.shares {
			t.Errorf("%q sees %v", tc.as, d)
		}
		if i := slices.IndexFunc(deals, func(e *remitv1.Entity) bool { return e.GetRecord().Id == "d1" }); !proto.Equal(deals[i], one.Entity) {
			t.Errorf("%q sees %v in the list and %v by itself", tc.as, deals[i], one.Entity)
		}
	}
	if n := len(r.list("dot", ofRole, "", 10)); n != 4 {
		t.Errorf("a seat sees %d roles", n)
	}
	_, err := r.org.ListEntities(t.Context(), &remitv1.ListEntitiesRequest{Store: r.store, As: "eve", Kind: ofRole})
	wantForbidden(t, "a suspended seat", err)
}

// stream reads a whole stream.
func (r *orgRig) stream(req *remitv1.StreamEntitiesRequest) []*remitv1.Entity {
	r.t.Helper()
	stream, err := r.org.StreamEntities(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []*remitv1.Entity
	token := ""
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			r.t.Fatalf("StreamEntities: %v", err)
		}
		if token != "" && res.Token != token {
			r.t.Errorf("the stream shows two states")
		}
		token = res.Token
		all = append(all, res.Entities...)
	}
}

// A stream has everything once, what stands above something before it, at one revision;
// and made again by these edits in this order, the organisation is the same.
func TestStreamEntities(t *testing.T) {
	r := newWorld(t)
	// The store comes to know these in an order that is not that of who is above whom.
	r.change("", putOf(aRole(&remitv1.Role{Id: "top", Name: "Top", Parent: "ceo"})), putOf(aRole(&remitv1.Role{Id: "rep", Parent: "top"}), "parent"),
		putOf(aSeat(&remitv1.Seat{Id: "zoe", Name: "Zoe", Role: "top", Profiles: []string{"standard"}})), putOf(aSeat(&remitv1.Seat{Id: "cid", Manager: "zoe"}), "manager"),
		putOf(aGroup(&remitv1.Group{Id: "zz", Name: "ZZ"})), putOf(aGroup(&remitv1.Group{Id: "inner", Members: []string{"group:zz"}}), "members"),
		putOf(aModule(&remitv1.Module{Id: "account", Parents: []string{"account"}}), "parents"),
		putOf(aRecord(&remitv1.Record{Module: "account", Id: "a0", Owner: "bob"})), putOf(aRecord(&remitv1.Record{Module: "account", Id: "a1", Parents: []string{"account:a0"}}), "parents"))
	all := r.stream(&remitv1.StreamEntitiesRequest{Store: r.store})
	seen := map[string]bool{}
	for _, e := range all {
		of, err := entityOf("", e)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range above(of) {
			if !seen[key.String()] && key != of.Key() {
				t.Errorf("%s comes before %s, which is above it", of.Key(), key)
			}
		}
		if seen[of.Key().String()] {
			t.Errorf("%s comes twice", of.Key())
		}
		seen[of.Key().String()] = true
	}
	if len(all) != 1+3+9+1+5+1+14+3+1+1+4 {
		t.Errorf("the stream has %d entities: %v", len(all), idsOf(all))
	}
	for _, key := range []string{"org:acme", "role:top", "user:zoe", "group:zz", "account:a0", "deal:d1", "note:n1", "field:deal.iban", "rule:r1", "shift:early", "team:t1", "profile:users", "module:note"} {
		if !seen[key] {
			t.Errorf("%s is not in the stream", key)
		}
	}
	without := r.stream(&remitv1.StreamEntitiesRequest{Store: r.store, WithoutRecords: true})
	if len(without) != len(all)-4 {
		t.Errorf("%d entities are no records", len(without))
	}

	// Of the past.
	before := r.stream(&remitv1.StreamEntitiesRequest{Store: r.store, Consistency: &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactRevision{AtExactRevision: uint64(r.revision()) - 1}}})
	if len(before) >= len(all) {
		t.Errorf("before, there were %d entities", len(before))
	}

	// Again elsewhere.
	twin := &orgRig{rig: r.rig, org: r.org}
	twin.store = twin.create(firstRequest("twin"))
	var edits []*remitv1.Edit
	for _, e := range all {
		edits = append(edits, putOf(e))
	}
	twin.change("", edits...)
	again := twin.stream(&remitv1.StreamEntitiesRequest{Store: twin.store})
	plain := func(list []*remitv1.Entity) []string {
		var texts []string
		for _, e := range list {
			e = proto.CloneOf(e)
			e.Version = 0
			texts = append(texts, fmt.Sprint(e))
		}
		slices.Sort(texts)
		return texts
	}
	if !slices.Equal(plain(again), plain(all)) {
		t.Errorf("made again, the organisation is\n%v\nwant\n%v", plain(again), plain(all))
	}
	// To put what is there changes nothing.
	revision := r.revision()
	twin.change("", edits...)
	if r.revision() != revision {
		t.Error("putting an organisation as it is writes something")
	}
}

// planOf reads what a change would do.
func (r *orgRig) planOf(req *remitv1.PlanChangeRequest) (*remitv1.ChangePlan, error) {
	r.t.Helper()
	stream, err := r.org.PlanChange(r.t.Context(), req)
	if err != nil {
		return nil, err
	}
	told := 0
	for {
		res, err := stream.Receive()
		if err != nil {
			return nil, err
		}
		if res.Plan != nil {
			if told == 0 {
				r.t.Error("no progress was told")
			}
			return res.Plan, nil
		}
		told++
	}
}

// A plan says what a change would do and to whom, and changes nothing.
func TestPlanChange(t *testing.T) {
	r := newWorld(t)
	before := r.revision()
	edits := []*remitv1.Edit{
		putOf(aRule(&remitv1.SharingRule{Id: "r1", Level: toEdit}), "level"),
		putOf(aRole(&remitv1.Role{Id: "rep", Name: "Reps", Parent: "agent"}), "name", "parent"),
		putOf(aSeat(&remitv1.Seat{Id: "cid"}), "manager"),
		putOf(aGroup(&remitv1.Group{Id: "new", Name: "New"})),
		deletes(ofGroup, "emea", ""),
		putOf(aModule(&remitv1.Module{Id: "lead", Name: "Leads"})),
		putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(t, map[string]any{"amount": 6.0})}), "fields.amount"),
		putOf(aProfile(&remitv1.Profile{Id: "users", Modules: map[string]*remitv1.Permissions{"deal": {Permissions: []string{"view"}}}}), "modules.deal"),
	}
	plan, err := r.planOf(&remitv1.PlanChangeRequest{Store: r.store, Edits: edits})
	if err != nil {
		t.Fatal(err)
	}
	if r.revision() != before {
		t.Error("something was written")
	}
	var texts []string
	for _, e := range plan.Entities {
		texts = append(texts, strings.ToLower(strings.TrimPrefix(e.Kind.String(), "KIND_"))+" "+entityKinds[e.Entity.Kind].field+" "+e.Entity.Id+" "+strings.Join(e.Differences, "; "))
	}
	want := []string{
		`changed rule r1 level from view to edit`,
		`changed role rep name from "Rep" to "Reps"; parent from "manager" to "agent"`,
		`changed seat cid manager from "bob" to nothing`,
		`made group new `,
		`deleted group emea `,
		`made module lead `,
		`changed record deal:d1 fields: amount from 5 to 6`,
		`changed profile users modules: "deal" added: view`,
	}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], `"deal" added`, `deal added`)
	}
	if !slices.Equal(texts, want) {
		t.Errorf("the plan is\n%s\nwant\n%s", strings.Join(texts, "\n"), strings.Join(want, "\n"))
	}
	if plan.TuplesWritten == 0 || plan.TuplesDeleted == 0 || plan.Token == "" {
		t.Errorf("the plan is %v", plan)
	}
	// dot, an agent, comes to be above cid; bob, a manager, no more.
	if plan.UsersLosing != 1 || plan.UsersGaining < 2 {
		t.Errorf("%d gain and %d lose: %v", plan.UsersGaining, plan.UsersLosing, plan.Users)
	}
	i := slices.IndexFunc(plan.Users, func(u *remitv1.UserDifference) bool { return u.User == "bob" })
	if i < 0 || plan.Users[i].Name != "Bob" || plan.Users[i].Modules[0].Lost.Count != 1 {
		t.Errorf("the users are %v", plan.Users)
	}
	bob := slices.IndexFunc(plan.Users[i].Modules, func(m *remitv1.ModuleDifference) bool { return m.Module == "deal" && m.Action == "view" })
	if bob < 0 || !slices.Equal(plan.Users[i].Modules[bob].LostSamples, []string{"d1"}) {
		t.Errorf("bob loses %v", plan.Users[i].Modules)
	}

	short, err := r.planOf(&remitv1.PlanChangeRequest{Store: r.store, Edits: edits, WithoutAccess: true})
	if err != nil || short.UsersGaining != 0 || len(short.Entities) != len(plan.Entities) {
		t.Errorf("without access the plan is %v, %v", short, err)
	}
	_, err = r.planOf(&remitv1.PlanChangeRequest{Store: r.store, As: "dot", Edits: edits})
	wantForbidden(t, "a seat without rights", err)
	_, err = r.planOf(&remitv1.PlanChangeRequest{Store: r.store, Edits: []*remitv1.Edit{deletes(ofRole, "ceo", "manager")}})
	wantReason(t, "the root", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_ORGANISATION)

	// What was planned comes about.
	r.change("", edits...)
	if r.check(scopeOf(r.store), "deal:d1#can_view@user:bob") || !r.check(scopeOf(r.store), "deal:d1#can_delete@user:dot") {
		t.Error("bob still sees the deal, or dot is not above it")
	}
}

// A stream that nobody reads ends, and so does one whose caller has left.
func TestStreamEntitiesEnds(t *testing.T) {
	r := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := r.org.StreamEntities(ctx, &remitv1.StreamEntitiesRequest{Store: r.store})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil {
		_, err = stream.Receive()
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		t.Errorf("the stream ends with %v", err)
	}
}

// A stream is cut off if its reader is slow, and ends when the node is about to stop.
func TestStreamEntitiesBoundsItsReader(t *testing.T) {
	r := newOrgRig(t)
	var edits []*remitv1.Edit
	for i := range messageTuples + 10 {
		edits = append(edits, putOf(aGroup(&remitv1.Group{Id: fmt.Sprintf("g%d", i), Name: fmt.Sprintf("Group %d", i)})))
	}
	r.change("", edits...)
	service := func(slow time.Duration, draining context.Context) *organisationService {
		own := &reader{backend.NewReader(r.config.backend())}
		return newOrganisationService(streamer{reader: own, slow: slow, draining: draining}, backend.NewWriter(own.Reader))
	}
	req := &remitv1.StreamEntitiesRequest{Store: r.store}
	whole := &entitiesOf{}
	if err := service(time.Minute, t.Context()).streamEntities(t.Context(), req, whole); err != nil || whole.n < messageTuples+10 {
		t.Errorf("the stream has %d entities, %v", whole.n, err)
	}
	slow := &entitiesOf{}
	if err := service(1, t.Context()).streamEntities(t.Context(), req, slow); !errors.Is(err, ErrSlowReader) || slow.n != messageTuples {
		t.Errorf("a reader that takes longer than a nanosecond got %d entities, and %v", slow.n, err)
	}
	if err := service(time.Minute, stopped(t)).streamEntities(t.Context(), req, &entitiesOf{}); !errors.Is(err, ErrDraining) {
		t.Errorf("on a node that is stopping, the stream ends with %v", err)
	}
}

// A depth takes the responses of a stream, and how deep the stack is when they are sent.
type depth struct {
	ids  []string
	most int
}

func (d *depth) Send(res *remitv1.StreamEntitiesResponse) error {
	d.most = max(d.most, runtime.Callers(0, make([]uintptr, 10_000)))
	for _, e := range res.Entities {
		if r := e.GetRecord(); r != nil {
			d.ids = append(d.ids, r.Id)
		}
	}
	return nil
}

// However long a chain of records is, each comes behind the one above it, and the stack does
// not grow with it: one that outgrows its bound takes the node down.
func TestStreamEntitiesOfALongChain(t *testing.T) {
	r := newRig(t)
	o := salesTeam()
	o.Records = nil
	for i := range o.Modules {
		if m := &o.Modules[i]; m.ID == "account" {
			m.Parents = []string{"account"}
		}
	}
	const chain = 4 * messageTuples
	id := func(i int) string { return fmt.Sprintf("a%06d", i) }
	for i := range chain {
		record := crm.Record{Module: "account", ID: id(i), Owner: "rob"}
		if i+1 < chain {
			record.Parents = []crm.Ref{{Module: "account", ID: id(i + 1)}}
		}
		o.Records = append(o.Records, record)
	}
	a := r.organisation("acme", o, noon)
	own := &reader{backend.NewReader(r.config.backend())}
	s := newOrganisationService(streamer{reader: own, slow: time.Minute, draining: t.Context()}, backend.NewWriter(own.Reader))
	var d depth
	if err := s.streamEntities(t.Context(), &remitv1.StreamEntitiesRequest{Store: a.store}, &d); err != nil || len(d.ids) != chain {
		t.Fatalf("%d of %d records: %v", len(d.ids), chain, err)
	}
	for i, got := range d.ids {
		if want := id(chain - 1 - i); got != want {
			t.Fatalf("record %d of the stream is %s, want %s", i, got, want)
		}
	}
	if d.most > 100 {
		t.Errorf("%d calls deep for a chain of %d records", d.most, chain)
	}
}

// A change that one command cannot hold is refused with its place.
func TestChangeTooLarge(t *testing.T) {
	r := newOrgRig(t)
	var edits []*remitv1.Edit
	for i := range 4000 {
		edits = append(edits, putOf(aGroup(&remitv1.Group{Id: fmt.Sprintf("g%d", i), Name: fmt.Sprintf("Group %d", i), Members: []string{"user:ann"}})))
	}
	_, err := r.try("", edits...)
	text := wantReason(t, "12,000 tuples", err, connect.CodeResourceExhausted, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE)
	if _, _, detail := detailOf(t, err); detail.Field != "edits" {
		t.Errorf("the fault is at %q: %s", detail.Field, text)
	}
	// What it would do can be told all the same.
	plan, err := r.planOf(&remitv1.PlanChangeRequest{Store: r.store, Edits: edits})
	if err != nil || len(plan.Entities) != len(edits) {
		t.Errorf("the plan has %d entities: %v", len(plan.GetEntities()), err)
	}
	r.change("", edits[:1500]...)
}
