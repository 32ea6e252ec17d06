package rpc

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Edits, as tests write them.

func putOf(e *remitv1.Entity, mask ...string) *remitv1.Edit {
	p := &remitv1.Put{Entity: e}
	if len(mask) > 0 {
		p.UpdateMask = &fieldmaskpb.FieldMask{Paths: mask}
	}
	return &remitv1.Edit{Edit: &remitv1.Edit_Put{Put: p}}
}

// ifVersion says which version an edit is of.
func ifVersion(e *remitv1.Edit, version uint64) *remitv1.Edit {
	if p := e.GetPut(); p != nil {
		p.IfVersion = &version
	} else {
		e.GetDelete().IfVersion = &version
	}
	return e
}

func deletes(kind remitv1.EntityKind, id, transferTo string) *remitv1.Edit {
	return &remitv1.Edit{Edit: &remitv1.Edit_Delete{Delete: &remitv1.Delete{Entity: &remitv1.EntityRef{Kind: kind, Id: id}, TransferTo: transferTo}}}
}

func aSettings(s *remitv1.Settings) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Settings{Settings: s}}
}

func aSeat(s *remitv1.Seat) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Seat{Seat: s}}
}

func aRole(r *remitv1.Role) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Role{Role: r}}
}

func aProfile(p *remitv1.Profile) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Profile{Profile: p}}
}

func aModule(m *remitv1.Module) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Module{Module: m}}
}

func aField(f *remitv1.Field) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Field{Field: f}}
}

func aGroup(g *remitv1.Group) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Group{Group: g}}
}

func aTeam(m *remitv1.Team) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Team{Team: m}}
}

func aRule(r *remitv1.SharingRule) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Rule{Rule: r}}
}

func aShift(s *remitv1.Shift) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Shift{Shift: s}}
}

func aRecord(r *remitv1.Record) *remitv1.Entity {
	return &remitv1.Entity{Entity: &remitv1.Entity_Record{Record: r}}
}

func someFields(t testing.TB, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	toView = remitv1.Level_LEVEL_VIEW
	toEdit = remitv1.Level_LEVEL_EDIT
)

// worldly are the edits that make a whole organisation of a new one. Each of the seats
// that are named after a setup permission has a profile with that one.
func worldly(t testing.TB) []*remitv1.Edit {
	weekdays := map[string]string{"monday": "09:00-17:00 except 12:00-12:30", "tuesday": "09:00-17:00"}
	edits := []*remitv1.Edit{
		putOf(aRole(&remitv1.Role{Id: "rep", Name: "Rep", Parent: "manager"})),
		putOf(aRole(&remitv1.Role{Id: "agent", Name: "Agent", Parent: "ceo"})),
		putOf(aSeat(&remitv1.Seat{Id: "bob", Name: "Bob", Role: "manager", Profiles: []string{"standard"}, Login: "Bob@example.org"})),
		putOf(aSeat(&remitv1.Seat{Id: "cid", Name: "Cid", Role: "rep", Profiles: []string{"standard"}, Manager: "bob"})),
		putOf(aSeat(&remitv1.Seat{Id: "dot", Name: "Dot", Role: "agent", Profiles: []string{"standard"}})),
		putOf(aSeat(&remitv1.Seat{Id: "eve", Name: "Eve", Role: "agent", Profiles: []string{"standard"}, Suspended: true})),
		putOf(aShift(&remitv1.Shift{Id: "early", Name: "Early", Hours: &remitv1.Hours{
			Zone: "Europe/Paris", Days: weekdays, Holidays: []string{"2026-12-25"}, Exceptions: map[string]string{"2026-12-24": "closed", "2026-12-28": "10:00-11:00"},
		}})),
		putOf(aSeat(&remitv1.Seat{
			Id: "fay", Name: "Fay", Role: "agent", Profiles: []string{"standard"}, NonReporting: true,
			Shifts: []*remitv1.ShiftAssignment{{Shift: "early", Period: &remitv1.Period{From: timestamppb.New(day(1)), Until: timestamppb.New(day(9))}}},
			Leave:  []*remitv1.Period{{From: timestamppb.New(day(3)), Until: timestamppb.New(day(4))}},
		})),
		putOf(aField(&remitv1.Field{Module: "deal", Id: "iban", Name: "IBAN", Levels: map[string]string{"standard": "hidden"}})),
		putOf(aGroup(&remitv1.Group{Id: "inner", Name: "Inner", Members: []string{"role:agent"}})),
		putOf(aGroup(&remitv1.Group{Id: "emea", Name: "EMEA", Members: []string{"user:cid", "role-and-subordinates:manager", "group:inner"}})),
		putOf(aTeam(&remitv1.Team{Id: "t1", Name: "Team", Managers: []string{"dot"}, Members: []string{"eve"}})),
		putOf(aRule(&remitv1.SharingRule{Id: "r1", Name: "Reps to agents", Module: "deal", Source: "role:rep", Target: "role:agent", Level: toView})),
		putOf(aRecord(&remitv1.Record{Module: "account", Id: "a1", Owner: "bob"})),
		putOf(aRecord(&remitv1.Record{
			Module: "deal", Id: "d1", Owner: "cid", Parents: []string{"account:a1"},
			Shares: []*remitv1.Share{{To: "user:fay", Level: toEdit, Related: true, Reason: "help"}},
			Fields: someFields(t, map[string]any{"amount": 5.0, "iban": "FR76"}),
		})),
		putOf(aRecord(&remitv1.Record{Module: "note", Id: "n1", Owner: "cid", Parents: []string{"deal:d1"}})),
	}
	for _, setup := range []string{"data_sharing", "groups", "modules", "profiles", "roles", "shifts", "users"} {
		edits = append(edits,
			putOf(aProfile(&remitv1.Profile{Id: setup, Name: "Who manage " + setup, Setup: []string{"manage_" + setup}})),
			putOf(aSeat(&remitv1.Seat{Id: setup, Name: setup, Role: "agent", Profiles: []string{setup}})))
	}
	return edits
}

// newWorld is a rig with a whole organisation.
func newWorld(t testing.TB, change ...func(*Config)) *orgRig {
	t.Helper()
	r := newOrgRig(t, change...)
	r.change("", worldly(t)...)
	return r
}

// try changes the organisation on behalf of a seat.
func (r *orgRig) try(as string, edits ...*remitv1.Edit) (*remitv1.ChangeResponse, error) {
	r.t.Helper()
	return r.org.Change(r.t.Context(), &remitv1.ChangeRequest{Store: r.store, As: as, Edits: edits})
}

func (r *orgRig) change(as string, edits ...*remitv1.Edit) *remitv1.ChangeResponse {
	r.t.Helper()
	res, err := r.try(as, edits...)
	if err != nil {
		r.t.Fatalf("Change: %v", err)
	}
	return res
}

// revision is that of the newest state: as long as it stays, so does everything.
func (r *orgRig) revision() graph.Revision { return r.config.State.Current().Revision() }

// Every kind of entity can be made, read as it was made, replaced, replaced in part, and
// deleted; every other edit does what it says.
func TestChangeEveryKind(t *testing.T) {
	r := newWorld(t)
	fay := r.get(ofSeat, "fay").GetSeat()
	if len(fay.Shifts) != 1 || fay.Shifts[0].Shift != "early" || !fay.Shifts[0].Period.Until.AsTime().Equal(day(9)) || len(fay.Leave) != 1 || !fay.NonReporting {
		t.Errorf("fay is %v", fay)
	}
	early := r.get(ofShift, "early").GetShift().Hours
	if early.Zone != "Europe/Paris" || early.Days["monday"] != "09:00-17:00 except 12:00-12:30" || early.Exceptions["2026-12-24"] != "closed" || early.Holidays[0] != "2026-12-25" {
		t.Errorf("the shift is %v", early)
	}
	if f := r.get(ofField, "deal.iban").GetField(); f.Levels["standard"] != "hidden" || f.Module != "deal" || f.Id != "iban" {
		t.Errorf("the field is %v", f)
	}
	if g := r.get(ofGroup, "emea").GetGroup(); strings.Join(g.Members, " ") != "user:cid role-and-subordinates:manager group:inner" {
		t.Errorf("the group is %v", g)
	}
	if u := r.get(ofRule, "r1").GetRule(); u.Source != "role:rep" || u.Target != "role:agent" || u.Module != "deal" || u.Level != toView {
		t.Errorf("the rule is %v", u)
	}
	d1 := r.get(ofRecord, "deal:d1").GetRecord()
	if d1.Owner != "cid" || d1.Parents[0] != "account:a1" || d1.Shares[0].To != "user:fay" || !d1.Shares[0].Related || d1.Fields.AsMap()["amount"] != 5.0 {
		t.Errorf("the deal is %v", d1)
	}
	if !r.check(scopeOf(r.store), "deal:d1#can_view@user:dot") || r.check(scopeOf(r.store), "deal:d1#can_edit@user:dot") {
		t.Error("the rule does not share the deal with agents, to view")
	}

	res := r.change("",
		putOf(aSeat(&remitv1.Seat{Id: "eve"}), "suspended"),
		putOf(aSettings(&remitv1.Settings{Name: "ACME"}), "name"),
		putOf(aProfile(&remitv1.Profile{Id: "standard", Modules: map[string]*remitv1.Permissions{"note": {Permissions: []string{"view"}}}}), "modules.note", "modules.account"),
		putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(t, map[string]any{"amount": 6.0})}), "fields.amount", "fields.iban"),
		putOf(aRule(&remitv1.SharingRule{Id: "r1", Level: toEdit, Name: "Reps and agents"}), "level", "name"),
	)
	if want := []uint64{2, 2, 2, 2, 2}; fmt.Sprint(res.Versions) != fmt.Sprint(want) {
		t.Errorf("versions = %v, want %v", res.Versions, want)
	}
	if eve := r.get(ofSeat, "eve").GetSeat(); eve.Suspended || eve.Name != "Eve" {
		t.Errorf("eve is %v", eve)
	}
	if s := r.get(ofSettings, ""); s.GetSettings().Name != "ACME" || s.GetSettings().SuperAdmin != "ann" || s.Version != 2 {
		t.Errorf("the settings are %v", s)
	}
	if p := r.get(ofProfile, "standard").GetProfile(); len(p.Modules) != 2 || fmt.Sprint(p.Modules["note"].Permissions) != "[view]" || len(p.Modules["deal"].Permissions) != 4 {
		t.Errorf("the profile is %v", p)
	}
	if d := r.get(ofRecord, "deal:d1").GetRecord(); d.Fields.AsMap()["amount"] != 6.0 || len(d.Fields.AsMap()) != 1 || len(d.Shares) != 1 {
		t.Errorf("the deal is %v", d)
	}
	if u := r.get(ofRule, "r1").GetRule(); u.Level != toEdit || u.Source != "role:rep" || u.Name != "Reps and agents" {
		t.Errorf("the rule is %v", u)
	}

	// What is done to records.
	r.change("",
		&remitv1.Edit{Edit: &remitv1.Edit_Share{Share: &remitv1.ShareRecords{Records: []string{"account:a1", "deal:d1"}, Shares: []*remitv1.Share{
			{To: "group:inner", Level: toView}, {To: "everyone", Level: toView, ExpiresAt: timestamppb.New(day(20))},
		}}}},
		&remitv1.Edit{Edit: &remitv1.Edit_Unshare{Unshare: &remitv1.UnshareRecords{Records: []string{"account:a1"}, From: []string{"everyone"}}}},
	)
	if d := r.get(ofRecord, "deal:d1").GetRecord(); len(d.Shares) != 3 || d.Shares[2].To != "everyone" || !d.Shares[2].ExpiresAt.AsTime().Equal(day(20)) {
		t.Errorf("the deal is %v", d)
	}
	if a := r.get(ofRecord, "account:a1").GetRecord(); len(a.Shares) != 1 || a.Shares[0].To != "group:inner" {
		t.Errorf("the account is %v", a)
	}
	res = r.change("", &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"deal:d1"}, To: "dot"}}})
	if d := r.get(ofRecord, "deal:d1").GetRecord(); d.Owner != "dot" || len(d.Shares) != 0 || len(res.Dropped) != 3 || res.Dropped[0].Record != "deal:d1" || res.Tuples == 0 {
		t.Errorf("the deal is %v, and the answer %v", d, res)
	}
	r.change("", &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{OwnedBy: "dot", To: "bob"}}})
	if d := r.get(ofRecord, "deal:d1").GetRecord(); d.Owner != "bob" {
		t.Errorf("the deal is %v", d)
	}
	r.change("", putOf(aSeat(&remitv1.Seat{Id: "cid"}), "manager"), &remitv1.Edit{Edit: &remitv1.Edit_MoveHolders{MoveHolders: &remitv1.MoveHolders{From: &remitv1.EntityRef{Kind: ofRole, Id: "rep"}, To: "agent"}}})
	if cid := r.get(ofSeat, "cid").GetSeat(); cid.Role != "agent" {
		t.Errorf("cid is %v", cid)
	}

	// And all can go again.
	res = r.change("",
		deletes(ofRecord, "note:n1", ""), deletes(ofRecord, "deal:d1", ""), deletes(ofRecord, "account:a1", ""),
		deletes(ofRule, "r1", ""), deletes(ofTeam, "t1", ""), deletes(ofGroup, "emea", ""), deletes(ofGroup, "inner", ""),
		deletes(ofField, "deal.iban", ""), deletes(ofSeat, "fay", ""), deletes(ofShift, "early", ""), deletes(ofRole, "rep", "agent"),
		deletes(ofSeat, "users", ""), deletes(ofProfile, "users", ""), deletes(ofModule, "note", ""),
		putOf(aProfile(&remitv1.Profile{Id: "administrator"}), "modules.note"), putOf(aProfile(&remitv1.Profile{Id: "standard"}), "modules.note"),
	)
	if len(res.Versions) != 16 || res.Versions[0] != 0 {
		t.Errorf("versions = %v", res.Versions)
	}
	for kind, id := range map[remitv1.EntityKind]string{
		ofRecord: "deal:d1", ofRule: "r1", ofTeam: "t1", ofGroup: "emea", ofField: "deal.iban", ofSeat: "fay", ofShift: "early", ofRole: "rep", ofProfile: "users", ofModule: "note",
	} {
		_, err := r.org.GetEntity(t.Context(), &remitv1.GetEntityRequest{Store: r.store, Entity: &remitv1.EntityRef{Kind: kind, Id: id}})
		wantReason(t, id, err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND)
	}
	// A new module is a new model, and one that was there comes back; its version goes on.
	again := r.change("", putOf(aModule(&remitv1.Module{Id: "note", Name: "Notes", Kind: "child", Parents: []string{"deal"}})), putOf(aModule(&remitv1.Module{Id: "case", Name: "Cases"})))
	if fmt.Sprint(again.Versions) != "[2 1]" {
		t.Errorf("versions = %v", again.Versions)
	}
}

// A role that is made and names none above it is put below the root; one that there is
// keeps what it says.
func TestRolesAreMadeBelowTheRoot(t *testing.T) {
	r := newWorld(t)
	r.change("", putOf(aRole(&remitv1.Role{Id: "x", Name: "X"})))
	if got := r.get(ofRole, "x").GetRole().Parent; got != "ceo" {
		t.Errorf("the new role is below %q, want below ceo", got)
	}
	r.change("", putOf(aRole(&remitv1.Role{Id: "ceo", Name: "Chief"})))
	if got := r.get(ofRole, "ceo").GetRole(); got.Parent != "" || got.Name != "Chief" {
		t.Errorf("the root is %v after its renaming", got)
	}
}

// What changes nothing is no change.
func TestChangeOfNothing(t *testing.T) {
	r := newWorld(t)
	before := r.revision()
	res := r.change("", putOf(aRole(&remitv1.Role{Id: "rep", Name: "Rep", Parent: "manager"})))
	if r.revision() != before || res.Tuples != 0 || fmt.Sprint(res.Versions) != "[1]" || res.Token == "" {
		t.Errorf("the answer is %v, and the revision %d, was %d", res, r.revision(), before)
	}
}

// Of two edits of one version, one wins; the other learns what there is now, and nothing of
// it is there.
func TestConcurrentEdits(t *testing.T) {
	r := newWorld(t)
	for _, change := range []func(i int) *remitv1.Edit{
		func(i int) *remitv1.Edit {
			return ifVersion(putOf(aRule(&remitv1.SharingRule{Id: "r1", Name: fmt.Sprintf("By %d", i), Module: "deal", Source: "role:rep", Target: "role:agent", Level: toView})), r.get(ofRule, "r1").Version)
		},
		func(i int) *remitv1.Edit {
			return ifVersion(putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(t, map[string]any{"amount": float64(i)})}), "fields"), r.get(ofRecord, "deal:d1").Version)
		},
		func(i int) *remitv1.Edit {
			return ifVersion(putOf(aRole(&remitv1.Role{Id: "new", Name: fmt.Sprintf("New %d", i), Parent: "ceo"})), 0)
		},
	} {
		const writers = 8
		edits := make([]*remitv1.Edit, writers)
		for i := range edits {
			edits[i] = change(i)
		}
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for i := range writers {
			wg.Go(func() {
				_, errs[i] = r.org.Change(context.WithoutCancel(t.Context()), &remitv1.ChangeRequest{Store: r.store, Edits: []*remitv1.Edit{
					edits[i], putOf(aGroup(&remitv1.Group{Id: fmt.Sprintf("g%d", i), Name: fmt.Sprintf("G%d", i)})),
				}})
			})
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			if err == nil {
				if won >= 0 {
					t.Errorf("%d and %d have both won", won, i)
				}
				won = i
				continue
			}
			code, text, detail := detailOf(t, err)
			if code != connect.CodeFailedPrecondition || detail.Reason != remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED || detail.Field != "edits[0].put.if_version" || !strings.Contains(text, "version") {
				t.Errorf("the loser got %v %v at %q: %s", code, detail.Reason, detail.Field, text)
			}
		}
		if won < 0 {
			t.Fatalf("nobody has won: %v", errs)
		}
		for i := range writers {
			_, err := r.org.GetEntity(t.Context(), &remitv1.GetEntityRequest{Store: r.store, Entity: &remitv1.EntityRef{Kind: ofGroup, Id: fmt.Sprintf("g%d", i)}})
			if (err == nil) != (i == won) {
				t.Errorf("the group of %d, where %d has won: %v", i, won, err)
			}
		}
		r.change("", deletes(ofGroup, fmt.Sprintf("g%d", won), ""))
	}
}

// Whoever changes different things at once is in nobody's way.
func TestConcurrentChanges(t *testing.T) {
	r := newWorld(t)
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			edit := putOf(aGroup(&remitv1.Group{Id: fmt.Sprintf("g%d", i), Name: fmt.Sprintf("G%d", i), Members: []string{"role:rep"}}))
			if i%2 == 0 {
				edit = putOf(aRecord(&remitv1.Record{Module: "deal", Id: fmt.Sprintf("x%d", i), Owner: "ann"}))
			}
			if _, err := r.org.Change(context.WithoutCancel(t.Context()), &remitv1.ChangeRequest{Store: r.store, As: "ann", Edits: []*remitv1.Edit{edit}}); err != nil {
				t.Errorf("change %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// A change that is repeated under its key is done once and answered as it was.
func TestChangeAgain(t *testing.T) {
	r := newWorld(t)
	req := &remitv1.ChangeRequest{Store: r.store, IdempotencyKey: "once", Edits: []*remitv1.Edit{
		ifVersion(putOf(aRole(&remitv1.Role{Id: "rep", Name: "Reps", Parent: "manager"})), 1),
		{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"deal:d1"}, To: "dot"}}},
	}}
	first, err := r.org.Change(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Dropped) != 1 || first.Tuples == 0 {
		t.Errorf("the answer is %v", first)
	}
	// Now the version is another, and the deal is elsewhere again.
	r.change("", &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"deal:d1"}, To: "cid"}}})
	again, err := r.org.Change(t.Context(), req)
	if err != nil || !proto.Equal(first, again) {
		t.Errorf("the second answer is %v, %v, want %v", again, err, first)
	}
	if d := r.get(ofRecord, "deal:d1").GetRecord(); d.Owner != "cid" {
		t.Errorf("the deal is %v: it was given away twice", d)
	}
	other := proto.CloneOf(req)
	other.Edits[0].GetPut().Entity.GetRole().Name = "Representatives"
	_, err = r.org.Change(t.Context(), other)
	wantReason(t, "other content under the key", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT)

	// One that changed nothing is remembered, too.
	none := &remitv1.ChangeRequest{Store: r.store, IdempotencyKey: "none", Edits: []*remitv1.Edit{putOf(aRole(&remitv1.Role{Id: "rep", Name: "Reps", Parent: "manager"}))}}
	first, err = r.org.Change(t.Context(), none)
	if err != nil {
		t.Fatal(err)
	}
	r.change("", putOf(aRole(&remitv1.Role{Id: "rep", Name: "Rep", Parent: "manager"})))
	if again, err = r.org.Change(t.Context(), none); err != nil || !proto.Equal(first, again) || r.get(ofRole, "rep").GetRole().Name != "Rep" {
		t.Errorf("the second answer is %v, %v, want %v", again, err, first)
	}
}
