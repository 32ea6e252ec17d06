package rpc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// longest is a text of so many bytes, in letters of two bytes.
func longest(bytes int, end string) string {
	bytes -= len(end)
	return strings.Repeat("x", bytes%2) + strings.Repeat("ä", bytes/2) + end
}

// What has the longest id and the longest name is made, named in every question and every
// edit, and deleted.
func TestWhatIsNamedAsLongAsItMay(t *testing.T) {
	r := newWorld(t)
	id := func(end string) string { return longest(graph.MaxIDBytes, end) }
	name := longest(crm.MaxName, "!")
	seat, role, group, shift, rule, record := id("s"), id("r"), id("g"), id("h"), id("u"), id("d")
	field := longest(graph.MaxIDBytes-len("deal."), "f")
	on := "deal:" + record
	r.change("",
		putOf(aRole(&remitv1.Role{Id: role, Name: name, Parent: "manager"})),
		putOf(aShift(&remitv1.Shift{Id: shift, Name: name, Hours: &remitv1.Hours{Zone: "UTC", Days: map[string]string{"monday": "09:00-17:00"}}})),
		putOf(aSeat(&remitv1.Seat{
			Id: seat, Name: name, Login: name, Role: role, Profiles: []string{"standard"}, Shifts: []*remitv1.ShiftAssignment{{Shift: shift}},
		})),
		putOf(aField(&remitv1.Field{Module: "deal", Id: field, Name: name})),
		putOf(aGroup(&remitv1.Group{Id: group, Name: name, Members: []string{"user:" + seat, "role-and-subordinates:" + role}})),
		putOf(aRule(&remitv1.SharingRule{Id: rule, Name: name, Module: "deal", Source: "role-and-subordinates:" + role, Target: "group:" + group, Level: toView})),
		putOf(aRecord(&remitv1.Record{
			Module: "deal", Id: record, Owner: seat, Fields: someFields(t, map[string]any{"amount": 5.0}),
			Shares: []*remitv1.Share{{To: "role-and-subordinates:" + role, Level: toEdit, Reason: name}},
		})))
	scope := &remitv1.OrganisationScope{Store: r.store}
	deed := &remitv1.Deed{User: seat, Action: "edit", On: on, Field: field}
	if res, err := r.org.Can(t.Context(), &remitv1.CanRequest{Scope: scope, Deed: deed}); err != nil || !res.Allowed {
		t.Errorf("Can: %v, %v", res, err)
	}
	own := &remitv1.OrganisationScope{Store: r.store, As: seat}
	if res, err := r.org.Why(t.Context(), &remitv1.WhyRequest{Scope: own, Deed: deed}); err != nil || !res.Allowed || len(res.Grounds) < 4 {
		t.Errorf("Why: %v, %v", res, err)
	}
	if res, err := r.org.CanFields(t.Context(), &remitv1.CanFieldsRequest{Scope: scope, User: seat, Record: on}); err != nil || len(res.Writable) != 1 {
		t.Errorf("CanFields: %v, %v", res, err)
	}
	if res, err := r.org.Actions(t.Context(), &remitv1.ActionsRequest{Scope: scope, User: seat, On: on}); err != nil || len(res.Actions) == 0 {
		t.Errorf("Actions: %v, %v", res, err)
	}
	if res, err := r.org.OnDuty(t.Context(), &remitv1.OnDutyRequest{Scope: scope, Shift: shift}); err != nil {
		t.Errorf("OnDuty: %v, %v", res, err)
	}
	if res, err := r.org.OnDuty(t.Context(), &remitv1.OnDutyRequest{Scope: scope, User: seat}); err != nil {
		t.Errorf("OnDuty of a seat: %v, %v", res, err)
	}
	if res, err := r.org.ListSeats(t.Context(), &remitv1.ListSeatsRequest{Login: name}); err != nil || len(res.Seats) != 1 {
		t.Errorf("ListSeats: %v, %v", res, err)
	}
	page := &remitv1.ListRecordsRequest{Scope: scope, User: seat, Module: "deal", PageSize: 1}
	if res, err := r.org.ListRecords(t.Context(), page); err != nil || len(res.Ids) != 1 {
		t.Errorf("ListRecords: %v, %v", res, err)
	}
	users := &remitv1.ListUsersWithAccessRequest{Scope: scope, Record: on, PageSize: 1}
	for seen := 0; ; seen++ {
		res, err := r.org.ListUsersWithAccess(t.Context(), users)
		if err != nil || seen > 100 {
			t.Errorf("ListUsersWithAccess: %v, %v", res, err)
			break
		}
		if users.Cursor = res.Cursor; res.Cursor == "" {
			break
		}
	}
	entities := &remitv1.ListEntitiesRequest{Store: r.store, Kind: ofSeat, PageSize: 1}
	for seen := 0; ; seen++ {
		res, err := r.org.ListEntities(t.Context(), entities)
		if err != nil || seen > 100 {
			t.Errorf("ListEntities: %v, %v", res, err)
			break
		}
		if entities.Cursor = res.Cursor; res.Cursor == "" {
			break
		}
	}
	key := longest(256, "k")
	res := r.mustAssign(&remitv1.AssignRequest{
		Record: on, Among: []string{"role-and-subordinates:" + role, "group:" + group}, Fallback: seat, IgnoreShifts: true, IdempotencyKey: key,
	})
	if res.Owner != seat {
		t.Errorf("Assign: %v", res)
	}
	made := firstRequest("long")
	made.IdempotencyKey = longest(256, "c")
	for range 2 {
		if _, err := r.org.CreateOrganisation(t.Context(), made); err != nil {
			t.Errorf("CreateOrganisation under the longest key: %v", err)
		}
	}
	r.begun(seat, "") // a watch
	r.change("", deletes(ofSeat, seat, "bob"), deletes(ofRole, role, "manager"), deletes(ofRule, rule, ""), deletes(ofGroup, group, ""), deletes(ofShift, shift, ""))
}

// What goes beyond a limit is refused, with the edit at fault, and nothing of the change is
// made.
func TestWhatGoesBeyondALimit(t *testing.T) {
	r := newWorld(t)
	var modules []*remitv1.Edit
	for i := range crm.MaxModules - 3 {
		modules = append(modules, putOf(aModule(&remitv1.Module{Id: fmt.Sprint("m", i), Name: fmt.Sprint("M ", i)})))
	}
	r.change("", modules...)
	shift := func(i int) *remitv1.Edit {
		return putOf(aShift(&remitv1.Shift{Id: fmt.Sprint("s", i), Name: fmt.Sprint("S ", i), Hours: &remitv1.Hours{Zone: "UTC", Days: map[string]string{"monday": "09:00-17:00"}}}))
	}
	for i := range crm.DefaultLimits().Shifts - 1 {
		r.change("", shift(i))
	}
	periods := func(n int) (list []*remitv1.ShiftAssignment) {
		for i := range n {
			list = append(list, &remitv1.ShiftAssignment{Shift: "s0", Period: &remitv1.Period{
				From: timestamppb.New(day(1).Add(time.Duration(2*i) * time.Hour)), Until: timestamppb.New(day(1).Add(time.Duration(2*i+1) * time.Hour)),
			}})
		}
		return list
	}
	works := func(n int) *remitv1.Edit { return putOf(aSeat(&remitv1.Seat{Id: "dot", Shifts: periods(n)}), "shifts") }
	r.change("", works(crm.MaxPeriods))
	other := putOf(aGroup(&remitv1.Group{Id: "along", Name: "Along"}))
	for _, tt := range []struct {
		name string
		edit *remitv1.Edit
		want string
	}{
		{"modules", putOf(aModule(&remitv1.Module{Id: "one_more", Name: "One more"})), "with it there are 101 modules, at most 100 are allowed"},
		{"shifts", shift(99), "with it there are 31 shifts, at most 30 are allowed"},
		{"a name", putOf(aRole(&remitv1.Role{Id: "rep", Name: longest(1000, "")}), "name"), "its name has 1000 bytes, at most 900 are allowed"},
		{"a name that grows when it is folded", putOf(aRole(&remitv1.Role{Id: "rep", Name: strings.Repeat("%", 900)}), "name"), "too long when its case is folded"},
		{"an id", putOf(aGroup(&remitv1.Group{Id: longest(graph.MaxIDBytes+1, ""), Name: "G"})), "the id has 1017 bytes, at most 1016 are allowed"},
		{"a field's id", putOf(aField(&remitv1.Field{Module: "deal", Id: longest(graph.MaxIDBytes, ""), Name: "F"})), "at most 1016 are allowed"},
		{"periods", works(crm.MaxPeriods + 1), "shifts have 201 periods, at most 200 are allowed"},
	} {
		_, err := r.try("", other, tt.edit)
		if err == nil {
			t.Errorf("%s: it is made", tt.name)
			continue
		}
		code, text, detail := detailOf(t, err)
		if code != connect.CodeInvalidArgument || !strings.Contains(text, tt.want) || !strings.HasPrefix(detail.Field, "edits[1]") {
			t.Errorf("%s: %v at %q: %s, want %s", tt.name, code, detail.Field, text, tt.want)
		}
	}
	if res, err := r.org.GetEntity(t.Context(), &remitv1.GetEntityRequest{Store: r.store, Entity: &remitv1.EntityRef{Kind: ofGroup, Id: "along"}}); err == nil {
		t.Errorf("a part of a change was made: %v", res)
	}
}

// A group of more members than one change can hold grows and shrinks in steps.
func TestAGroupOfVeryManyMembers(t *testing.T) {
	r := newWorld(t)
	const all, some = 6000, 3000
	var members []string
	for begin := 0; begin < all; begin += 1000 {
		var edits []*remitv1.Edit
		for i := begin; i < begin+1000; i++ {
			id := fmt.Sprintf("m%04d", i)
			edits = append(edits, putOf(aSeat(&remitv1.Seat{Id: id, Name: id, Role: "agent", Profiles: []string{"standard"}})))
			members = append(members, "user:"+id)
		}
		r.change("", edits...)
	}
	of := func(members []string) *remitv1.Edit {
		return putOf(aGroup(&remitv1.Group{Id: "many", Name: "Many", Members: members}))
	}
	_, err := r.try("", of(members))
	if text := wantReason(t, "all at once", err, connect.CodeResourceExhausted, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE); !strings.Contains(text, "make it in steps") {
		t.Errorf("all at once: %s", text)
	}
	r.change("", of(members[:some]))
	r.change("", of(members), putOf(aRecord(&remitv1.Record{Module: "deal", Id: "big", Owner: "bob"})), sharing("group:many", "deal:big"))
	can := func(id string) bool {
		t.Helper()
		res, err := r.org.Can(t.Context(), &remitv1.CanRequest{Scope: &remitv1.OrganisationScope{Store: r.store}, Deed: &remitv1.Deed{User: id, Action: "view", On: "deal:big"}})
		if err != nil {
			t.Fatal(err)
		}
		return res.Allowed
	}
	for _, id := range []string{"m0000", "m2999", "m3000", "m5999"} {
		if !can(id) {
			t.Errorf("%s does not see what is shared with the group", id)
		}
	}
	if got := len(r.get(ofGroup, "many").GetGroup().Members); got != all {
		t.Errorf("the group has %d members", got)
	}
	_, err = r.try("", deletes(ofRecord, "deal:big", ""), deletes(ofGroup, "many", ""))
	wantReason(t, "deleted at once", err, connect.CodeResourceExhausted, remitv1.ErrorReason_ERROR_REASON_TOO_LARGE)
	r.change("", of(members[some:]))
	if can("m0000") || !can("m5999") {
		t.Error("half of the group is not as it was changed")
	}
	r.change("", deletes(ofRecord, "deal:big", ""), deletes(ofGroup, "many", ""))
}
