package rpc

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// agents make seven seats that hold the role agent's subordinate, and deals of the super
// admin.
func agents(deals int) (edits []*remitv1.Edit) {
	edits = append(edits, putOf(aRole(&remitv1.Role{Id: "desk", Name: "Desk", Parent: "ceo"})))
	for i := range 7 {
		edits = append(edits, putOf(aSeat(&remitv1.Seat{Id: fmt.Sprint("agent", i), Name: fmt.Sprint("Agent ", i), Role: "desk", Profiles: []string{"standard"}})))
	}
	for i := range deals {
		edits = append(edits, putOf(aRecord(&remitv1.Record{Module: "deal", Id: fmt.Sprint(i), Owner: "ann"})))
	}
	return edits
}

func (r *orgRig) assign(req *remitv1.AssignRequest) (*remitv1.AssignResponse, error) {
	req.Store = r.store
	return r.org.Assign(r.t.Context(), req)
}

// mustAssign is who gets a record.
func (r *orgRig) mustAssign(req *remitv1.AssignRequest) *remitv1.AssignResponse {
	r.t.Helper()
	res, err := r.assign(req)
	if err != nil {
		r.t.Fatalf("Assign: %v", err)
	}
	if got := r.get(ofRecord, req.Record).GetRecord().Owner; got != res.Owner {
		r.t.Errorf("%s is %s's, and was given to %s", req.Record, got, res.Owner)
	}
	return res
}

// Records that are assigned on two nodes at once go round as if it were one by one: nobody
// gets two more than anybody else, also when the nodes have been started again.
func TestAssignOnTwoNodes(t *testing.T) {
	const deals = 100
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 12, 3, 0)
		leader := f.leader()
		leader.propose(&fsm.Command{Body: &fsm.SetClusterVersion{Version: fsm.ClusterVersion}})
		f.ready()
		r := &orgRig{rig: leader.rig, org: newOrgClient(leader.rig)}
		r.store = r.create(firstRequest("acme"))
		r.change("", agents(deals+7)...)
		f.ready()

		var mu sync.Mutex
		given := map[string]int{}
		give := func(node, deal int) {
			at := &orgRig{rig: f.node(node).rig, org: newOrgClient(f.node(node).rig), store: r.store}
			res, err := at.assign(&remitv1.AssignRequest{
				As: "ann", Record: fmt.Sprint("deal:", deal), Among: []string{"role:desk"}, IgnoreShifts: true, IdempotencyKey: fmt.Sprint("deal ", deal),
			})
			if err != nil {
				t.Errorf("deal %d: %v", deal, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			given[res.Owner]++
		}
		var wg sync.WaitGroup
		for i := range deals {
			wg.Go(func() { give(i%2, i) })
		}
		wg.Wait()
		for i := range 7 {
			if n := given[fmt.Sprint("agent", i)]; n != deals/7 && n != deals/7+1 {
				t.Errorf("agent%d was given %d of %d", i, n, deals)
			}
		}

		for i := range 3 {
			f.stop(i)
		}
		for i := range 3 {
			f.restart(i)
		}
		f.ready()
		for i := range 5 { // 105 are fifteen rounds
			give(i%3, deals+i)
		}
		for i := range 7 {
			if n := given[fmt.Sprint("agent", i)]; n != (deals+5)/7 {
				t.Errorf("after a restart agent%d was given %d of %d", i, n, deals+5)
			}
		}
		f.wantSameState()
	})
}

func TestAssign(t *testing.T) {
	r := newWorld(t)
	r.change("", agents(2)...)
	among := []string{"role:desk"}
	share := &remitv1.Share{To: "user:fay", Level: toEdit, Reason: "help"}
	shared := func(id string) *remitv1.Edit {
		return putOf(aRecord(&remitv1.Record{Module: "deal", Id: id, Owner: "ann", Shares: []*remitv1.Share{share}}))
	}
	r.change("", shared("0"))

	// Its shares end, and are told; repeated under its key it tells the same, even when it
	// could not be done any more.
	first := &remitv1.AssignRequest{Record: "deal:0", Among: among, IgnoreShifts: true, IdempotencyKey: "first"}
	res := r.mustAssign(first)
	if res.Owner != "agent0" || res.FellBack || len(res.Dropped) != 1 || res.Dropped[0].Share.To != "user:fay" || len(r.get(ofRecord, "deal:0").GetRecord().Shares) != 0 {
		t.Errorf("%v", res)
	}
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "agent0", Suspended: true}), "suspended"), deletes(ofRecord, "deal:0", ""))
	again, err := r.assign(first)
	if err != nil || again.Owner != res.Owner || again.FellBack || len(again.Dropped) != 1 || again.Dropped[0].Record != "deal:0" || again.Token != res.Token {
		t.Errorf("again: %v, %v, want %v", again, err, res)
	}
	first.Among = []string{"everyone"}
	_, err = r.assign(first)
	wantReason(t, "another assignment under the key", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT)

	// The fallback gets it where nobody is on duty, and is told to have.
	fallen := &remitv1.AssignRequest{Record: "deal:1", Among: among, Fallback: "dot", IdempotencyKey: "fallen"}
	for range 2 {
		if res := r.mustAssign(fallen); res.Owner != "dot" || !res.FellBack {
			t.Errorf("without anybody on duty: %v", res)
		}
	}
	_, err = r.assign(&remitv1.AssignRequest{Record: "deal:1", Among: among})
	wantReason(t, "without anybody on duty", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NOBODY_AVAILABLE)
	_, err = r.assign(&remitv1.AssignRequest{Record: "deal:1", Among: among, Fallback: "eve"})
	wantReason(t, "with a fallback that is suspended", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_ORGANISATION)
	_, err = r.assign(&remitv1.AssignRequest{Record: "deal:7", Among: among, IgnoreShifts: true})
	if text := wantReason(t, "of no record", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_ORGANISATION); !strings.Contains(text, "make it first") {
		t.Errorf("of no record: %s", text)
	}

	// Who has it keeps it, with its shares, and has had a turn.
	r.change("", shared("own"))
	if res := r.mustAssign(&remitv1.AssignRequest{Record: "deal:own", Among: []string{"user:ann"}, IgnoreShifts: true}); len(res.Dropped) > 0 || len(r.get(ofRecord, "deal:own").GetRecord().Shares) != 1 {
		t.Errorf("to whoever has it: %v", res)
	}
	if res := r.mustAssign(&remitv1.AssignRequest{Record: "deal:own", Among: []string{"user:ann", "user:bob"}, IgnoreShifts: true}); res.Owner != "bob" {
		t.Errorf("behind ann's turn: %v", res)
	}
	if res := r.mustAssign(&remitv1.AssignRequest{Record: "deal:own", Among: []string{"user:dot", "user:fay"}, IgnoreShifts: true, Order: remitv1.AssignOrder_ASSIGN_ORDER_LEAST_LOADED}); res.Owner != "fay" {
		t.Errorf("to the least loaded: %v", res)
	}

	// Shares stay where the organisation keeps them.
	r.change("", putOf(aSettings(&remitv1.Settings{KeepShares: true}), "keep_shares"), shared("kept"))
	if res := r.mustAssign(&remitv1.AssignRequest{Record: "deal:kept", Among: among, IgnoreShifts: true}); len(res.Dropped) > 0 || len(r.get(ofRecord, "deal:kept").GetRecord().Shares) != 1 {
		t.Errorf("with its shares: %v", res)
	}

	// Who is on duty is known, and when who is not will be.
	now := time.Now()
	open := &remitv1.Shift{Id: "always", Name: "Always", Hours: &remitv1.Hours{Zone: "UTC", Days: map[string]string{}}}
	for d := range 7 {
		open.Hours.Days[strings.ToLower(time.Weekday(d).String())] = "00:00-00:00"
	}
	r.change("", putOf(aShift(open)), putOf(aSeat(&remitv1.Seat{Id: "agent3", Shifts: []*remitv1.ShiftAssignment{{Shift: "always"}}}), "shifts"))
	if res := r.mustAssign(&remitv1.AssignRequest{Record: "deal:1", Among: among}); res.Owner != "agent3" {
		t.Errorf("to the one on duty: %v", res)
	}
	back := now.Add(48 * time.Hour).UTC().Truncate(time.Second)
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "agent3", Leave: []*remitv1.Period{{From: timestamppb.New(now.Add(-time.Hour)), Until: timestamppb.New(back)}}}), "leave"))
	_, err = r.assign(&remitv1.AssignRequest{Record: "deal:1", Among: among})
	text := wantReason(t, "while the only one is on leave", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NOBODY_AVAILABLE)
	if !strings.Contains(text, "agent3, from "+back.Format(time.RFC3339)) {
		t.Errorf("while the only one is on leave: %s", text)
	}
}

// A seat gives what it may transfer, to those to whom it may.
func TestAssignAsASeat(t *testing.T) {
	r := newWorld(t)
	r.change("", append(agents(3), putOf(aProfile(&remitv1.Profile{Id: "standard", Modules: map[string]*remitv1.Permissions{
		"deal": {Permissions: []string{"view", "edit", "transfer"}},
	}}), "modules.deal"))...)
	everyone := func(as, record string) *remitv1.AssignRequest {
		return &remitv1.AssignRequest{As: as, Record: record, Among: []string{"role:desk", "user:cid", "user:bob"}, IgnoreShifts: true}
	}
	_, err := r.assign(everyone("cid", "deal:0"))
	wantReason(t, "what is another's", err, connect.CodePermissionDenied, remitv1.ErrorReason_ERROR_REASON_FORBIDDEN)
	_, err = r.assign(everyone("eve", "deal:d1"))
	wantReason(t, "by who is suspended", err, connect.CodePermissionDenied, remitv1.ErrorReason_ERROR_REASON_FORBIDDEN)
	if res := r.mustAssign(everyone("cid", "deal:d1")); res.Owner != "agent0" {
		t.Errorf("what is their own: %v", res)
	}

	r.change("", putOf(aSettings(&remitv1.Settings{AssignScope: remitv1.AssignScope_ASSIGN_SCOPE_SUBORDINATES}), "assign_scope"),
		putOf(aRecord(&remitv1.Record{Module: "deal", Id: "2", Owner: "bob"})))
	if res := r.mustAssign(everyone("bob", "deal:2")); res.Owner != "bob" && res.Owner != "cid" {
		t.Errorf("to a subordinate: %v", res)
	}
	r.change("", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "2", Owner: "bob"})))
	only := everyone("bob", "deal:2")
	only.Among = only.Among[:1]
	_, err = r.assign(only)
	if text := wantReason(t, "to no subordinate", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NOBODY_AVAILABLE); !strings.Contains(text, "settings") {
		t.Errorf("to no subordinate: %s", text)
	}
	only.Fallback = "dot"
	_, err = r.assign(only)
	wantReason(t, "to a fallback that is no subordinate", err, connect.CodePermissionDenied, remitv1.ErrorReason_ERROR_REASON_FORBIDDEN)
}
