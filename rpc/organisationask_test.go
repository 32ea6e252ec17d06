package rpc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// noon is a Wednesday.
var noon = time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)

// salesTeam is an organisation in which mia is the superior of rob; ada is the super admin
// and administrator, uma manages users, dan data sharing, kim supports and joe is suspended.
func salesTeam() *crm.Organisation {
	o := crm.New("acme", "Acme", "ada", "Ada")
	o.Modules = []crm.Module{
		{ID: "account", Name: "Accounts", Kind: crm.Standard},
		{ID: "deal", Name: "Deals", Kind: crm.Standard, Parents: []string{"account"}},
		{ID: "note", Name: "Notes", Kind: crm.Child, Parents: []string{"deal"}},
		{ID: "forecast", Name: "Forecasts", Kind: crm.Forecast},
	}
	all := map[string]crm.Permissions{}
	for _, m := range o.Modules {
		all[m.ID] = crm.PermissionViewAll - 1
	}
	o.Profiles[0].Modules, o.Profiles[1].Modules = all, all
	o.Profiles = append(o.Profiles,
		crm.Profile{ID: "support", Name: "Support", Modules: map[string]crm.Permissions{"deal": crm.PermissionView | crm.PermissionEdit}},
		crm.Profile{ID: "hr", Name: "HR", Setup: []crm.Setup{crm.ManageUsers}},
		crm.Profile{ID: "data", Name: "Data", Setup: []crm.Setup{crm.ManageDataSharing}})
	o.Roles = append(o.Roles, crm.Role{ID: "emea", Name: "EMEA", Parent: "manager"}, crm.Role{ID: "rep", Name: "Rep", Parent: "emea"},
		crm.Role{ID: "agent", Name: "Agent", Parent: "ceo"})
	seat := func(id, role string, profiles ...string) crm.Seat {
		return crm.Seat{ID: id, Name: strings.ToUpper(id[:1]) + id[1:], Role: role, Profiles: profiles}
	}
	o.Seats = append(o.Seats, seat("mia", "emea", "standard"), seat("rob", "rep", "standard"), seat("kim", "agent", "support"),
		seat("uma", "agent", "hr"), seat("dan", "agent", "data"), seat("joe", "ceo", "administrator"))
	o.Seats[len(o.Seats)-1].Suspended = true
	o.Seats[2].Login = "Rob@acme.test"
	o.Fields = []crm.Field{
		{Module: "deal", ID: "amount", Name: "Amount", Mandatory: true},
		{Module: "deal", ID: "margin", Name: "Margin", Levels: map[string]crm.FieldLevel{"support": crm.FieldHidden}},
		{Module: "deal", ID: "stage", Name: "Stage", Levels: map[string]crm.FieldLevel{"support": crm.FieldRead}},
	}
	o.Records = []crm.Record{
		{Module: "account", ID: "a1", Owner: "rob"},
		{Module: "deal", ID: "d1", Owner: "rob", Shares: []crm.Share{{
			To: crm.Party{Kind: crm.HoldersOf, ID: "agent"}, Level: crm.LevelEdit, Expires: noon.Add(time.Hour),
		}}},
		{Module: "deal", ID: "d2", Owner: "mia"},
		{Module: "note", ID: "n1", Owner: "rob", Parents: []crm.Ref{{Module: "deal", ID: "d1"}}},
		{Module: "forecast", ID: "f1", Owner: "rob"},
	}
	return o
}

// What a question means, and which nobody could answer.
func TestWhatCanBeAsked(t *testing.T) {
	a := newRig(t).organisation("acme", salesTeam(), noon)
	for _, tt := range []struct {
		user, action, on, field string
		want                    string
	}{
		{"rob", "view", "deal:d1", "", "yes"},
		{"rob", "share", "deal:d1", "", "yes"},
		{"mia", "delete", "deal:d1", "", "yes"},
		{"rob", "view", "deal:d2", "", "no"},
		{"kim", "edit", "deal:d1", "", "yes"},
		{"kim", "edit", "deal:d1", "amount", "yes"},
		{"kim", "edit", "deal:d1", "stage", "no"},
		{"kim", "view", "deal:d1", "stage", "yes"},
		{"kim", "view", "deal:d1", "margin", "no"},
		{"ada", "export", "deal:d1", "", "yes"},
		{"rob", "export", "deal:d1", "", "no"},
		{"ada", "export", "", "", "yes"},
		{"rob", "add_note", "deal:d1", "", "yes"},
		{"rob", "create", "deal", "", "yes"},
		{"kim", "create", "deal", "", "no"},
		{"uma", "manage_users", "", "", "yes"},
		{"mia", "manage_users", "", "", "no"},
		{"joe", "view", "deal:d1", "", "no"},

		// What nobody may is no error.
		{"rob", "share", "forecast:f1", "", "no"},
		{"rob", "transfer", "forecast:f1", "", "yes"},
		{"rob", "share", "note:n1", "", "no"},
		{"rob", "transfer", "note:n1", "", "no"},
		{"rob", "add_note", "account:a1", "", "no"},

		// Nor is who or what does not exist.
		{"zoe", "view", "deal:d1", "", "no"},
		{"ada", "view", "deal:d99", "", "no"},
		{"ada", "view", "deal:d99", "amount", "no"},
		{"zoe", "create", "deal", "", "no"},
		{"zoe", "export", "", "", "no"},

		{"rob", "veiw", "deal:d1", "", `deed.action: "veiw": there is no such action; of this record can be asked: view, edit, delete, share, transfer, export, add_note`},
		{"zoe", "veiw", "deal:d1", "", "deed.action:"},
		{"rob", "view", "lead:l1", "", `deed.on: "lead": there is no such module; there are: account, deal, forecast, note`},
		{"rob", "view", "role:rep", "", `deed.on: "role": there is no such module`},
		{"rob", "create", "lead", "", `deed.on: "lead": there is no such module`},
		{"rob", "view", "deal", "", `deed.on: "deal": view is asked of a record: write deal:id`},
		{"rob", "view", "deal:d1", "iban", `deed.field: "iban": the module deal has no such field; it has 3: amount, margin, stage`},
		{"zoe", "view", "deal:d99", "iban", `deed.field: "iban": the module deal has no such field`},
		{"rob", "edit", "note:n1", "text", `deed.field: "text": the module note has no such field; it has 0`},
		{"rob", "view", "deal:d 1", "", `deed.on: object "deal:d 1"`},
		{"rob", "view", "deal:*", "", `deed.on: object "deal:*"`},
		{"*", "view", "deal:d1", "", `deed.user: object "user:*"`},
		{"r b", "view", "deal:d1", "", `deed.user: object "user:r b"`},
		{"rob", "manage_cats", "", "", `deed.action: "manage_cats"`},
	} {
		name := fmt.Sprintf("Can(%s, %s, %s, %s)", tt.user, tt.action, tt.on, tt.field)
		got, err := a.can(a.scope(), tt.user, tt.action, tt.on, tt.field)
		switch {
		case tt.want == "yes" || tt.want == "no":
			if err != nil || got != (tt.want == "yes") {
				t.Errorf("%s = %v, %v, want %s", name, got, err, tt.want)
			}
		case err == nil:
			t.Errorf("%s = %v, want an error: %s", name, got, tt.want)
		default:
			code, text, detail := detailOf(t, err)
			if code != connect.CodeInvalidArgument || !strings.HasPrefix(text, tt.want) || !strings.HasPrefix(tt.want, detail.Field+":") || detail.Reason == 0 {
				t.Errorf("%s = %v %v %q at %s, want %s", name, code, detail.Reason, text, detail.Field, tt.want)
			}
		}
	}
}

// A batch answers what it can, and says of the rest what was wrong with it.
func TestTheStructureIsRemembered(t *testing.T) {
	a := newRig(t).organisation("acme", salesTeam(), noon)
	reader, visited := a.reader(), 0
	reader.Config.Visited = func(edges int) { visited = edges }
	service := &organisationService{streamer: streamer{reader: reader}}
	ask := func() int {
		t.Helper()
		res, err := service.Can(t.Context(), &remitv1.CanRequest{Scope: a.scope(), Deed: &remitv1.Deed{User: "mia", Action: "view", On: "deal:d1"}})
		if err != nil || !res.Allowed {
			t.Fatal(res, err)
		}
		return visited
	}
	change := func(edits ...*remitv1.Edit) {
		t.Helper()
		if _, err := a.org.Change(t.Context(), &remitv1.ChangeRequest{Store: a.store, Edits: edits}); err != nil {
			t.Fatal(err)
		}
	}
	first := ask()
	known := ask()
	if known >= first {
		t.Errorf("the second question visits %d, the first %d", known, first)
	}
	for _, tt := range []struct {
		name string
		edit *remitv1.Edit
		want int
	}{
		{"a record is transferred", &remitv1.Edit{Edit: &remitv1.Edit_Transfer{Transfer: &remitv1.TransferRecords{Records: []string{"deal:d2"}, To: "rob"}}}, known},
		{"a role is renamed", putOf(aRole(&remitv1.Role{Id: "rep", Name: "Reps"}), "name"), known},
		{"a role is moved", putOf(aRole(&remitv1.Role{Id: "agent", Parent: "manager"}), "parent"), first},
	} {
		change(tt.edit)
		if n := ask(); n != tt.want {
			t.Errorf("after %s a question visits %d, want %d", tt.name, n, tt.want)
		}
		if n := ask(); n != known {
			t.Errorf("after %s the second question visits %d, want %d", tt.name, n, known)
		}
	}
}

func TestCanBatch(t *testing.T) {
	a := newRig(t).organisation("acme", salesTeam(), noon)
	deed := func(user, action, on string) *remitv1.Deed { return &remitv1.Deed{User: user, Action: action, On: on} }
	req := &remitv1.CanBatchRequest{Scope: a.as("rob"), Deeds: []*remitv1.Deed{
		deed("rob", "view", "deal:d1"), deed("rob", "view", "deal:d2"), deed("rob", "veiw", "deal:d1"), deed("mia", "view", "deal:d1"),
	}}
	res, err := a.org.CanBatch(t.Context(), req)
	if err != nil || res.Token == "" || res.AsOf != nil {
		t.Fatalf("CanBatch = %v, %v", res, err)
	}
	var got []string
	for _, answer := range res.Answers {
		if answer.Error == nil {
			got = append(got, fmt.Sprint(answer.Allowed))
		} else {
			got = append(got, answer.Error.Code+" "+answer.Error.Detail.Field+" "+strings.TrimPrefix(answer.Error.Detail.Reason.String(), "ERROR_REASON_"))
		}
	}
	want := []string{"true", "false", "invalid_argument deeds[2].action INVALID_REQUEST", "permission_denied deeds[3].user FORBIDDEN"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// Lists and the rest refuse what Can refuses, and name the field.
func TestWhatCannotBeAskedOfLists(t *testing.T) {
	a := newRig(t).organisation("acme", salesTeam(), noon)
	c := t.Context()
	for name, tt := range map[string]struct {
		ask   func() error
		field string
	}{
		"a record of no module": {func() error {
			_, err := a.org.CanFields(c, &remitv1.CanFieldsRequest{Scope: a.scope(), User: "rob", Record: "lead:l1"})
			return err
		}, "record"},
		"a record without an id": {func() error {
			_, err := a.org.CanFields(c, &remitv1.CanFieldsRequest{Scope: a.scope(), User: "rob", Record: "deal"})
			return err
		}, "record"},
		"a user of no form": {func() error {
			_, err := a.org.CanFields(c, &remitv1.CanFieldsRequest{Scope: a.scope(), User: "*", Record: "deal:d1"})
			return err
		}, "user"},
		"actions on no module": {func() error {
			_, err := a.org.Actions(c, &remitv1.ActionsRequest{Scope: a.scope(), User: "rob", On: "lead"})
			return err
		}, "on"},
		"actions on a record of no module": {func() error {
			_, err := a.org.Actions(c, &remitv1.ActionsRequest{Scope: a.scope(), User: "rob", On: "lead:l1"})
			return err
		}, "on"},
		"records of no module": {func() error {
			_, err := a.org.ListRecords(c, &remitv1.ListRecordsRequest{Scope: a.scope(), User: "rob", Module: "lead"})
			return err
		}, "module"},
		"records with no action": {func() error {
			_, err := a.org.ListRecords(c, &remitv1.ListRecordsRequest{Scope: a.scope(), User: "rob", Module: "deal", Action: "create"})
			return err
		}, "action"},
		"records with a cursor of others": {func() error {
			first, err := a.org.ListRecords(c, &remitv1.ListRecordsRequest{Scope: a.scope(), User: "ada", Module: "deal", PageSize: 1})
			if err != nil {
				t.Fatal(err)
			}
			_, err = a.org.ListRecords(c, &remitv1.ListRecordsRequest{Scope: a.scope(), User: "mia", Module: "deal", Cursor: first.Cursor})
			return err
		}, "cursor"},
		"users of no module": {func() error {
			_, err := a.org.ListUsersWithAccess(c, &remitv1.ListUsersWithAccessRequest{Scope: a.scope(), Record: "lead:l1"})
			return err
		}, "record"},
		"users with no action": {func() error {
			_, err := a.org.ListUsersWithAccess(c, &remitv1.ListUsersWithAccessRequest{Scope: a.scope(), Record: "deal:d1", Action: "create"})
			return err
		}, "action"},
		"no shift": {func() error {
			_, err := a.org.OnDuty(c, &remitv1.OnDutyRequest{Scope: a.scope(), Shift: "day"})
			return err
		}, "shift"},
		"nobody on duty": {func() error {
			_, err := a.org.OnDuty(c, &remitv1.OnDutyRequest{Scope: a.scope(), User: "*"})
			return err
		}, "user"},
	} {
		err := tt.ask()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if code, text, detail := detailOf(t, err); code != connect.CodeInvalidArgument || detail.Field != tt.field {
			t.Errorf("%s: %v at %q: %s", name, code, detail.Field, text)
		}
	}
}

// What does not exist has no fields, no actions, and nobody reaches it.
func TestNothingIsKnownOfWhatDoesNotExist(t *testing.T) {
	a := newRig(t).organisation("acme", salesTeam(), noon)
	for _, user := range []string{"zoe", "ada"} {
		record := "deal:d1"
		if user == "ada" {
			record = "deal:d99"
		}
		fields, err := a.org.CanFields(t.Context(), &remitv1.CanFieldsRequest{Scope: a.scope(), User: user, Record: record})
		if err != nil || len(fields.Readable)+len(fields.Writable) > 0 || fields.Token == "" {
			t.Errorf("CanFields(%s, %s) = %v, %v", user, record, fields, err)
		}
		actions, err := a.org.Actions(t.Context(), &remitv1.ActionsRequest{Scope: a.scope(), User: user, On: record})
		if err != nil || len(actions.Actions) > 0 {
			t.Errorf("Actions(%s, %s) = %v, %v", user, record, actions, err)
		}
	}
	if ids, _ := a.records(a.scope(), "zoe", "deal", "", whole); len(ids) > 0 {
		t.Errorf("zoe has %q", ids)
	}
	if ids, _ := a.users(a.scope(), "deal:d99", "", whole); len(ids) > 0 {
		t.Errorf("%q reach what is not there", ids)
	}
	if duties, _ := a.duties(&remitv1.OnDutyRequest{Scope: a.scope(), User: "zoe"}, whole); len(duties) > 0 {
		t.Errorf("zoe is on duty: %v", duties)
	}
}

// Who asks about others must be above them, or look after the organisation.
func TestWhoMayAskAboutWhom(t *testing.T) {
	r := newGuarded(t, nil)
	a := r.organisation("acme", salesTeam(), noon)
	a.org = remitv1connect.NewOrganisationServiceClient(connect.NewClient(bearerTransport{connectinprocess.New(r.server), testRoot}))
	ask := map[string]func(as, about string) error{
		"Can": func(as, about string) error {
			_, err := a.can(a.as(as), about, "view", "deal:d1", "")
			return err
		},
		"CanBatch": func(as, about string) error {
			res, err := a.org.CanBatch(t.Context(), &remitv1.CanBatchRequest{Scope: a.as(as), Deeds: []*remitv1.Deed{{User: about, Action: "view", On: "deal:d1"}}})
			if err == nil && res.Answers[0].Error != nil {
				return connect.NewError(connect.CodePermissionDenied, res.Answers[0].Error.Message)
			}
			return err
		},
		"CanFields": func(as, about string) error {
			_, err := a.org.CanFields(t.Context(), &remitv1.CanFieldsRequest{Scope: a.as(as), User: about, Record: "deal:d1"})
			return err
		},
		"Actions": func(as, about string) error {
			_, err := a.org.Actions(t.Context(), &remitv1.ActionsRequest{Scope: a.as(as), User: about})
			return err
		},
		"ListRecords": func(as, about string) error {
			_, err := a.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: a.as(as), User: about, Module: "deal"})
			return err
		},
		"StreamRecords": func(as, about string) error {
			stream, err := a.org.StreamRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: a.as(as), User: about, Module: "deal"})
			if err == nil {
				_, err = stream.Receive()
			}
			return err
		},
	}
	for _, tt := range []struct {
		as, about string
		may       bool
	}{
		{"", "rob", true},
		{"", "zoe", true},
		{"rob", "rob", true},
		{"rob", "mia", false},
		{"rob", "zoe", false},
		{"rob", "kim", false},
		{"mia", "rob", true},
		{"mia", "kim", false},
		{"mia", "ada", false},
		{"ada", "kim", true},
		{"ada", "zoe", true},
		{"uma", "ada", true},
		{"dan", "rob", false},
		{"joe", "joe", true}, // who may do nothing, and may know it
		{"joe", "rob", false},
	} {
		for name, f := range ask {
			err := f(tt.as, tt.about)
			if tt.may && err != nil {
				t.Errorf("%s as %s about %s: %v", name, tt.as, tt.about, err)
			} else if !tt.may && connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("%s as %s about %s: %v, want to be refused", name, tt.as, tt.about, err)
			}
		}
	}
	for _, tt := range []struct {
		as, record string
		may        bool
	}{
		{"", "deal:d1", true},
		{"rob", "deal:d1", true},
		{"rob", "deal:d2", false},
		{"rob", "forecast:f1", true},
		{"mia", "forecast:f1", false},
		{"rob", "note:n1", true},
		{"kim", "deal:d1", false}, // who edits it, and may not share it
		{"mia", "deal:d1", true},
		{"uma", "deal:d1", true},
		{"dan", "deal:d1", true},
		{"ada", "deal:d1", true},
		{"joe", "deal:d1", false},
	} {
		_, err := a.org.ListUsersWithAccess(t.Context(), &remitv1.ListUsersWithAccessRequest{Scope: a.as(tt.as), Record: tt.record})
		if (err == nil) != tt.may || err != nil && connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("ListUsersWithAccess(%s) as %s: %v, want %v", tt.record, tt.as, err, tt.may)
		}
	}
	for as, may := range map[string]bool{"": true, "kim": true, "joe": false} {
		_, err := a.org.OnDuty(t.Context(), &remitv1.OnDutyRequest{Scope: a.as(as)})
		if (err == nil) != may || err != nil && connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("OnDuty as %s: %v, want %v", as, err, may)
		}
	}
	_, err := a.can(a.as("zoe"), "zoe", "view", "deal:d1", "")
	wantReason(t, "a question as nobody", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND)
}

// A store that is no organisation cannot be asked as one.
func TestOnlyOrganisationsAreAsked(t *testing.T) {
	r := newRig(t)
	a := r.organisation("acme", salesTeam(), noon)
	plain, empty := r.store("plain", acme...), ""
	made, err := r.stores.CreateStore(t.Context(), &remitv1.CreateStoreRequest{Name: "empty"})
	if err != nil {
		t.Fatal(err)
	}
	empty = made.Store.Id
	for _, store := range []string{plain, empty, r.managedStore("managed")} {
		scope := &remitv1.OrganisationScope{Store: store}
		_, err := a.can(scope, "rob", "view", "deal:d1", "")
		wantReason(t, "Can", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION)
		_, err = a.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: scope, User: "rob", Module: "deal"})
		wantReason(t, "ListRecords", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION)
	}
	_, err = a.can(&remitv1.OrganisationScope{Store: "nowhere"}, "rob", "view", "deal:d1", "")
	wantReason(t, "Can", err, connect.CodeNotFound, remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND)
}

// Every question can be asked of the past, and of another instant.
func TestAnOrganisationOfThePast(t *testing.T) {
	c := &clock{now: noon}
	r := newRigAt(t, c.Now)
	a := r.organisation("acme", salesTeam(), noon)
	then, since := r.revision(), r.config.State.Current().Time()
	c.Advance(10 * time.Minute)
	later := salesTeam()
	later.Records[1].Owner, later.Records[1].Shares = "ada", nil
	a.become(later)

	now := &remitv1.OrganisationScope{Store: a.store}
	past := &remitv1.OrganisationScope{Store: a.store, Consistency: asOfRevision(then)}
	want := &remitv1.Moment{Revision: then, At: timestamppb.New(since)}
	for _, tt := range []struct {
		scope *remitv1.OrganisationScope
		user  string
		want  bool
	}{
		{now, "rob", false},
		{past, "rob", true},
		{now, "kim", false},
		{past, "kim", true},
		{&remitv1.OrganisationScope{Store: a.store, Consistency: asOfRevision(then), At: timestamppb.New(noon.Add(2 * time.Hour))}, "kim", false},
	} {
		got, err := a.can(tt.scope, tt.user, "view", "deal:d1", "")
		if err != nil || got != tt.want {
			t.Errorf("Can(%s) of %v = %v, %v, want %v", tt.user, tt.scope, got, err, tt.want)
		}
	}
	moments := map[string]*remitv1.Moment{}
	can, err := a.org.Can(t.Context(), &remitv1.CanRequest{Scope: past, Deed: &remitv1.Deed{User: "rob", Action: "view", On: "deal:d1"}})
	moments["Can"] = can.GetAsOf()
	note := func(name string, e error) {
		if e != nil {
			t.Errorf("%s: %v", name, e)
		}
	}
	note("Can", err)
	batch, err := a.org.CanBatch(t.Context(), &remitv1.CanBatchRequest{Scope: past, Deeds: []*remitv1.Deed{{User: "rob", Action: "view", On: "deal:d1"}}})
	note("CanBatch", err)
	fields, err := a.org.CanFields(t.Context(), &remitv1.CanFieldsRequest{Scope: past, User: "rob", Record: "deal:d1"})
	note("CanFields", err)
	if !slices.Equal(fields.GetWritable(), []string{"amount", "margin", "stage"}) {
		t.Errorf("CanFields = %v", fields)
	}
	actions, err := a.org.Actions(t.Context(), &remitv1.ActionsRequest{Scope: past, User: "rob", On: "deal:d1"})
	note("Actions", err)
	records, err := a.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: past, User: "rob", Module: "deal"})
	note("ListRecords", err)
	if !slices.Equal(records.GetIds(), []string{"d1"}) {
		t.Errorf("ListRecords = %v", records)
	}
	users, err := a.org.ListUsersWithAccess(t.Context(), &remitv1.ListUsersWithAccessRequest{Scope: past, Record: "deal:d1"})
	note("ListUsersWithAccess", err)
	if got := sorted(t, "users", users.GetUsers()); !slices.Equal(got, []string{"ada", "kim", "mia", "rob"}) {
		t.Errorf("ListUsersWithAccess = %v", users)
	}
	duty, err := a.org.OnDuty(t.Context(), &remitv1.OnDutyRequest{Scope: past})
	note("OnDuty", err)
	moments["CanBatch"], moments["CanFields"], moments["Actions"] = batch.GetAsOf(), fields.GetAsOf(), actions.GetAsOf()
	moments["ListRecords"], moments["ListUsersWithAccess"], moments["OnDuty"] = records.GetAsOf(), users.GetAsOf(), duty.GetAsOf()
	for name, got := range moments {
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s was of another moment:\n%s", name, diff)
		}
	}
}

// Every answer is in the log of decisions, with what was asked.
func TestDecisionsOfAnOrganisationAreLogged(t *testing.T) {
	log, events := logDecisions(t, decision.Config{Select: decision.All})
	r := newRig(t, func(c *Config) { c.Decisions = log })
	a := r.organisation("acme", salesTeam(), noon)
	for _, m := range []*remitv1.Deed{
		{User: "rob", Action: "view", On: "deal:d1"},
		{User: "kim", Action: "edit", On: "deal:d1", Field: "stage"},
		{User: "rob", Action: "veiw", On: "deal:d1"},
		{User: "ada", Action: "export"},
	} {
		_, _ = a.can(a.scope(), m.User, m.Action, m.On, m.Field)
	}
	_, _ = a.can(&remitv1.OrganisationScope{Store: a.store, As: "rob"}, "mia", "view", "deal:d1", "")
	_, _ = a.can(&remitv1.OrganisationScope{Store: "nowhere"}, "mia", "view", "deal:d1", "")
	a.batch([]*remitv1.Deed{{User: "rob", Action: "view", On: "deal:d2"}, {User: "rob", Action: "view", On: "lead:l1"}})
	_, _ = a.org.CanBatch(t.Context(), &remitv1.CanBatchRequest{Scope: a.as("zoe"), Deeds: []*remitv1.Deed{{User: "rob", Action: "view"}, {User: "rob", Action: "view"}}})
	_, _ = a.org.CanFields(t.Context(), &remitv1.CanFieldsRequest{Scope: a.scope(), User: "kim", Record: "deal:d1"})
	_, _ = a.org.Actions(t.Context(), &remitv1.ActionsRequest{Scope: a.scope(), User: "kim", On: "deal:d1"})
	_, _ = a.org.ListRecords(t.Context(), &remitv1.ListRecordsRequest{Scope: a.scope(), User: "mia", Module: "deal", PageSize: 1})
	_, _ = a.org.ListUsersWithAccess(t.Context(), &remitv1.ListUsersWithAccessRequest{Scope: a.scope(), Record: "deal:d1", Action: "share"})
	stream, err := a.org.StreamUsersWithAccess(t.Context(), &remitv1.ListUsersWithAccessRequest{Scope: a.scope(), Record: "deal:d1"})
	all[*remitv1.ListUsersWithAccessResponse](t, stream, err)
	_, _ = a.org.OnDuty(t.Context(), &remitv1.OnDutyRequest{Scope: a.scope(), User: "rob"})
	var got []string
	for _, e := range events() {
		got = append(got, e.brief())
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(decisionsOfAnOrganisation), "\n"), got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// decisionsOfAnOrganisation is what the calls of the test before have in the log.
const decisionsOfAnOrganisation = `
decision deal:d1 allowed=true face=remit object=deal:d1 outcome=allowed relation=view rpc=OrganisationService/Can subject=user:rob
decision deal:d1 allowed=false face=remit field=stage object=deal:d1 outcome=denied relation=edit rpc=OrganisationService/Can subject=user:kim
decision deal:d1 face=remit object=deal:d1 outcome=error reason=INVALID_REQUEST relation=veiw rpc=OrganisationService/Can subject=user:rob
decision allowed=true face=remit outcome=allowed relation=export rpc=OrganisationService/Can subject=user:ada
decision deal:d1 face=remit object=deal:d1 outcome=error reason=FORBIDDEN relation=view rpc=OrganisationService/Can subject=user:mia
decision deal:d1 face=remit object=deal:d1 outcome=error reason=STORE_NOT_FOUND relation=view rpc=OrganisationService/Can subject=user:mia
decision deal:d2 allowed=false face=remit object=deal:d2 outcome=denied relation=view rpc=OrganisationService/CanBatch subject=user:rob
decision lead:l1 face=remit object=lead:l1 outcome=error reason=INVALID_REQUEST relation=view rpc=OrganisationService/CanBatch subject=user:rob
decision face=remit outcome=error questions=2 reason=ENTITY_NOT_FOUND rpc=OrganisationService/CanBatch
list deal:d1 complete=true count=2 face=remit object=deal:d1 outcome=listed rpc=OrganisationService/CanFields subject=user:kim type=field
list deal:d1 complete=true count=2 face=remit object=deal:d1 outcome=listed rpc=OrganisationService/Actions subject=user:kim
list deal complete=false count=1 face=remit outcome=listed relation=view rpc=OrganisationService/ListRecords subject=user:mia type=deal
list deal:d1 complete=true count=3 face=remit object=deal:d1 outcome=listed relation=share rpc=OrganisationService/ListUsersWithAccess type=user
list deal:d1 complete=true count=4 face=remit object=deal:d1 outcome=listed relation=view rpc=OrganisationService/StreamUsersWithAccess type=user
list shift complete=true count=0 face=remit outcome=listed relation=on_duty rpc=OrganisationService/OnDuty subject=user:rob type=shift
`
