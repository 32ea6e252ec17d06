package rpc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/gate"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
)

// Who is on duty, on which shift, and until when.
func TestOnDuty(t *testing.T) {
	o := salesTeam()
	day := crm.Week{}
	for d := range day {
		day[d] = []crm.Window{{Span: crm.Span{Start: 9 * 60, End: 17 * 60}, Breaks: []crm.Span{{Start: 13 * 60, End: 14 * 60}}}}
	}
	o.Shifts = []crm.Shift{
		{ID: "day", Name: "Day", Hours: crm.Hours{Zone: "Europe/Paris", Week: day, Holidays: []string{"2026-06-11"}}},
		{ID: "always", Name: "Always", Hours: crm.Hours{Zone: "UTC", Week: crm.Week{{{}}, {{}}, {{}}, {{}}, {{}}, {{}}, {{}}}}},
	}
	works := func(id, shift string, period crm.Period, leave ...crm.Period) {
		i := slices.IndexFunc(o.Seats, func(s crm.Seat) bool { return s.ID == id })
		o.Seats[i].Shifts = append(o.Seats[i].Shifts, crm.Assignment{Shift: shift, Period: period})
		o.Seats[i].Leave = leave
	}
	works("ada", "always", crm.Period{})
	works("joe", "always", crm.Period{}) // suspended
	works("kim", "always", crm.Period{Until: noon.Add(90 * time.Minute)})
	works("kim", "day", crm.Period{From: noon.Add(90 * time.Minute)})
	works("mia", "always", crm.Period{}, crm.Period{From: noon.Add(time.Hour), Until: noon.Add(2 * time.Hour)})
	works("rob", "day", crm.Period{})
	works("uma", "day", crm.Period{}, crm.Period{From: noon.Add(-time.Hour), Until: noon.Add(time.Hour)})
	works("dan", "day", crm.Period{From: noon.Add(time.Hour)})
	a := newRig(t).organisation("acme", o, noon)

	ask := func(at time.Time, shift, user string, size int32) string {
		t.Helper()
		a.at = at
		duties, pages := a.duties(&remitv1.OnDutyRequest{Scope: a.scope(), Shift: shift, User: user}, func() int32 { return size })
		if size > 0 && pages != max(1, (len(duties)+int(size)-1)/int(size)) {
			t.Errorf("%d duties in %d pages of %d", len(duties), pages, size)
		}
		var texts []string
		for _, d := range duties {
			until := "for ever"
			if d.Until != nil {
				until = d.Until.AsTime().Format("02 15:04")
			}
			texts = append(texts, fmt.Sprintf("%s %s %s", d.User, d.Shift, until))
		}
		return strings.Join(slices.Sorted(slices.Values(texts)), ", ")
	}
	at := func(hour, minute int) time.Time { return time.Date(2026, 6, 10, hour, minute, 0, 0, time.UTC) }
	for _, tt := range []struct {
		at          time.Time
		shift, user string
		want        string
	}{
		// In Paris it is two hours later: the break has just ended.
		{at(12, 0), "", "", "ada always for ever, kim always 10 13:30, mia always 10 13:00, rob day 10 15:00"},
		{at(11, 30), "", "", "ada always for ever, kim always 10 13:30, mia always 10 13:00"},
		{at(12, 0), "day", "", "rob day 10 15:00"},
		{at(12, 0), "", "kim", "kim always 10 13:30"},
		{at(13, 30), "", "kim", "kim day 10 15:00"},
		{at(12, 0), "day", "kim", ""},
		{at(12, 0), "always", "kim", "kim always 10 13:30"},
		{at(13, 0), "", "mia", ""},
		{at(14, 0), "", "mia", "mia always for ever"},
		{at(13, 0), "day", "", "dan day 10 15:00, rob day 10 15:00, uma day 10 15:00"},
		{at(10, 30), "day", "", "rob day 10 11:00, uma day 10 11:00"},
		{at(15, 0), "day", "", ""},
		{at(36, 0), "day", "", ""}, // a holiday
		{at(60, 0), "day", "rob", "rob day 12 15:00"},
		{at(12, 0), "", "joe", ""},
	} {
		for _, size := range []int32{0, 1, 2, 3} {
			if got := ask(tt.at, tt.shift, tt.user, size); got != tt.want {
				t.Errorf("on duty at %s (%s, %s) in pages of %d: %s, want %s", tt.at.Format("02 15:04"), tt.shift, tt.user, size, got, tt.want)
			}
		}
	}
	_, err := a.org.OnDuty(t.Context(), &remitv1.OnDutyRequest{Scope: a.scope(), Shift: "night"})
	if _, text, _ := detailOf(t, err); !strings.Contains(text, `"night": there is no such shift; there are: always, day`) {
		t.Errorf("OnDuty of no shift: %v", err)
	}
}

// A login is shown its seats in all organisations; others' seats are shown to who may read.
func TestListSeats(t *testing.T) {
	r := newGuarded(t, nil)
	var stores []string
	for i, name := range []string{"acme", "bolt", "core"} {
		o := salesTeam()
		o.Name = strings.ToUpper(name)
		switch i {
		case 1:
			o.Seats[2].Login, o.Seats[1].Login = "rob@acme.test", "Rob@ACME.test2"
			o.Seats[2].Suspended = true
		case 2:
			o.Seats[2].Login = ""
			o.Seats[3].Login = "Rob@acme.test"
		}
		stores = append(stores, r.organisation(name, o, noon).store)
	}
	r.store("plain", acme...)
	client := func(key string) remitv1connect.OrganisationServiceClient {
		return remitv1connect.NewOrganisationServiceClient(connect.NewClient(bearerTransport{connectinprocess.New(r.server), key}))
	}
	seats := func(key, login string) string {
		t.Helper()
		res, err := client(key).ListSeats(t.Context(), &remitv1.ListSeatsRequest{Login: login})
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, s := range res.Seats {
			text := fmt.Sprintf("%s %s (%s)", s.Organisation, s.Seat, s.Name)
			if s.Suspended {
				text += " suspended"
			}
			texts = append(texts, text)
			if slices.Index(stores, s.Store) != slices.Index([]string{"ACME", "BOLT", "CORE"}, s.Organisation) {
				t.Errorf("%s has the store %s", s.Organisation, s.Store)
			}
		}
		return strings.Join(texts, ", ")
	}
	reader := r.key("reader", onStore(stores[0], toRead), onStore(stores[2], toRead))
	writer := r.key("writer", onStore(stores[0], toWrite))
	for _, tt := range []struct{ name, key, login, want string }{
		{"letter by letter", testRoot, "Rob@acme.test", "ACME rob (Rob), CORE kim (Kim)"},
		{"in another case", testRoot, "rob@acme.test", "BOLT rob (Rob) suspended"},
		{"in no organisation's case", testRoot, "ROB@acme.test", ""},
		{"nobody", testRoot, "zoe@acme.test", ""},
		{"what one may read", reader, "Rob@acme.test", "ACME rob (Rob), CORE kim (Kim)"},
		{"what one may not read", reader, "rob@acme.test", ""},
		{"who may not read", writer, "Rob@acme.test", ""},
	} {
		if got := seats(tt.key, tt.login); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	_, err := client(testRoot).ListSeats(t.Context(), &remitv1.ListSeatsRequest{})
	wantReason(t, "ListSeats of nobody", err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
}

// A person is whose subject the identity provider's token has.
type person struct {
	subject string
	grants  identity.Grants
}

// Authenticate implements gate.BearerAuthenticator: the token is the subject.
func (p person) Authenticate(_ context.Context, token string) (*identity.Caller, error) {
	if token != p.subject {
		return nil, identity.ErrNotMine
	}
	return &identity.Caller{Principal: gate.PrefixOIDC + p.subject, Grants: p.grants}, nil
}

// Whoever brings a token of their own asks as the seat that it names, and is shown their
// seats without having to read the organisations.
func TestAPersonAsksAsTheirSeat(t *testing.T) {
	rob := person{subject: "Rob@acme.test", grants: identity.Grants{Stores: map[identity.Store]identity.Permissions{}}}
	stranger := person{subject: "rob@acme.test", grants: identity.Grants{All: identity.Read}}
	r := newRig(t, func(c *Config) {
		c.Identity = guardedBy(t)
		c.Identity.Bearers = []gate.BearerAuthenticator{rob, stranger}
	})
	acme, bolt, core := r.organisation("acme", salesTeam(), noon), r.organisation("bolt", salesTeam(), noon), r.organisation("core", salesTeam(), noon)
	for a, permission := range map[*askedOrganisation]identity.Permissions{acme: identity.Read, bolt: identity.Write, core: 0} {
		id, err := fsm.ParseStoreID(a.store)
		if err != nil {
			t.Fatal(err)
		}
		rob.grants.Stores[identity.Store(id)] = permission
	}
	client := func(key string) remitv1connect.OrganisationServiceClient {
		return remitv1connect.NewOrganisationServiceClient(connect.NewClient(bearerTransport{connectinprocess.New(r.server), key}))
	}
	acme.org = client(rob.subject)
	seats, err := acme.org.ListSeats(t.Context(), &remitv1.ListSeatsRequest{})
	if err != nil || len(seats.Seats) != 2 || seats.Seats[0].Store != acme.store || seats.Seats[1].Store != bolt.store {
		t.Errorf("the seats of rob are %v, %v, want those of acme and bolt", seats, err)
	}
	if allowed, err := acme.can(acme.scope(), "rob", "view", "deal:d1", ""); err != nil || !allowed {
		t.Errorf("rob about himself: %v, %v", allowed, err)
	}
	_, err = acme.can(acme.scope(), "kim", "view", "deal:d1", "")
	wantForbidden(t, "rob about kim", err)
	asKim := acme.scope()
	asKim.As = "kim"
	_, err = acme.can(asKim, "kim", "view", "deal:d1", "")
	wantForbidden(t, "rob as kim", err)

	// Who has no seat is an application: to read the store is all that it needs.
	acme.org = client(stranger.subject)
	if allowed, err := acme.can(acme.scope(), "kim", "view", "deal:d1", ""); err != nil || !allowed {
		t.Errorf("a stranger with a permission about kim: %v, %v", allowed, err)
	}
}
