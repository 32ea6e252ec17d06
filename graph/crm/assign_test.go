package crm_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

// desk is an organisation with seven agents, a night shift in Paris, and deals of the boss.
func desk(deals int) *crm.Organisation {
	o := crm.New("acme", "Acme", "ada", "Ada")
	o.Modules = []crm.Module{
		{ID: "deal", Name: "Deals", Kind: crm.Standard},
		{ID: "note", Name: "Notes", Kind: crm.Child, Parents: []string{"deal"}},
	}
	o.Roles = append(o.Roles, crm.Role{ID: "agent", Name: "Agent", Parent: "manager"}, crm.Role{ID: "night", Name: "Night", Parent: "agent"})
	week := func(spans ...crm.Span) (w crm.Week) {
		for i := range w {
			w[i] = []crm.Window{{Span: spans[0], Breaks: spans[1:]}}
		}
		return w
	}
	hour := crm.Clock(60)
	o.Shifts = []crm.Shift{
		{ID: "day", Name: "Day", Hours: crm.Hours{
			Zone: "Europe/Paris", Week: week(crm.Span{Start: 9 * hour, End: 17 * hour}, crm.Span{Start: 12 * hour, End: 13 * hour}), Holidays: []string{"2026-10-23"},
		}},
		{ID: "night", Name: "Night", Hours: crm.Hours{Zone: "Europe/Paris", Week: week(crm.Span{Start: 22 * hour, End: 2*hour + 30})}},
	}
	for i := range 7 {
		s := crm.Seat{ID: fmt.Sprintf("a%d", i), Name: fmt.Sprintf("Agent %d", i), Role: "agent", Profiles: []string{"standard"}, Shifts: []crm.Assignment{{Shift: "day"}}}
		if i == 6 {
			s.Role, s.Shifts[0].Shift = "night", "night"
		}
		o.Seats = append(o.Seats, s)
	}
	o.Seats = append(o.Seats, crm.Seat{ID: "out", Name: "Out", Role: "agent", Profiles: []string{"standard"}, Suspended: true})
	o.Groups = []crm.Group{
		{ID: "in", Name: "In", Members: []crm.Party{{Kind: crm.User, ID: "a1"}}},
		{ID: "all", Name: "All", Members: []crm.Party{{Kind: crm.HoldersOf, ID: "night"}, {Kind: crm.MembersOf, ID: "in"}}},
	}
	for i := range deals {
		o.Records = append(o.Records, crm.Record{Module: "deal", ID: fmt.Sprint(i), Owner: "ada"})
	}
	o.Records = append(o.Records, crm.Record{Module: "note", ID: "n", Owner: "ada", Parents: []crm.Ref{{Module: "deal", ID: "0"}}})
	return o
}

func deal(i int) crm.Ref { return crm.Ref{Module: "deal", ID: fmt.Sprint(i)} }

func parties(t testing.TB, texts ...string) (list []crm.Party) {
	t.Helper()
	for _, text := range texts {
		p, err := crm.ParseParty(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// Whoever was given one the longest ago is next, whatever the clock says, and of two choices
// that are made at once only one is carried out.
func TestAssignGoesRound(t *testing.T) {
	const deals = 100
	s := crm.Manage(t, desk(deals))
	given := map[string]int{}
	for i := range deals {
		o := crm.Offer{Record: deal(i), Among: parties(t, "role-and-subordinates:agent"), IgnoreShifts: true, At: time.Unix(int64(1000-i), 0)}
		first, plan, err := s.Assign(t, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Record = deal((i + 1) % deals)
		second, late, err := s.Assign(t, o)
		if err != nil || second.Owner != first.Owner {
			t.Fatalf("at once with %v: %v, %v", first, second, err)
		}
		if err := s.Commit(t, plan); err != nil {
			t.Fatal(err)
		}
		if s.Conflict(late) == nil {
			t.Fatal("two were given to one by choices that were made at once")
		}
		given[first.Owner]++
		if s.FellBack(t, first.Owner) {
			t.Errorf("%s is said to be a fallback", first.Owner)
		}
	}
	if len(given) != 7 {
		t.Errorf("given to %v, want seven", given)
	}
	for seat, n := range given {
		if n != deals/7 && n != deals/7+1 {
			t.Errorf("%s was given %d of %d", seat, n, deals)
		}
	}
}

// A choice is made again if anybody's work changes after it, and not if a record does.
func TestAssignRestsOnWhoIsAvailable(t *testing.T) {
	s := crm.Manage(t, desk(3))
	_, plan, err := s.Assign(t, crm.Offer{Record: deal(0), Among: parties(t, "everyone"), IgnoreShifts: true})
	if err != nil {
		t.Fatal(err)
	}
	edit := func(e crm.Entity) {
		t.Helper()
		d := s.Draft()
		if err := d.Put(e, nil); err != nil {
			t.Fatal(err)
		}
		p, err := d.Plan()
		if err == nil {
			err = s.Commit(t, p)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	edit(&crm.Record{Module: "deal", ID: "1", Owner: "a3"})
	if err := s.Conflict(plan); err != nil {
		t.Errorf("in the way of another record: %v", err)
	}
	seat := desk(0).Seats[3]
	seat.Suspended = true
	edit(&seat)
	if s.Conflict(plan) == nil {
		t.Error("the plan rests on a seat that is suspended")
	}
}

func TestAssignToTheLeastLoaded(t *testing.T) {
	o := desk(9)
	for i, owner := range []string{"a0", "a0", "a1", "a2", "a2", "a3"} {
		o.Records[i].Owner = owner
	}
	s := crm.Manage(t, o)
	var got []string
	for i := 6; i < 9; i++ {
		offer := crm.Offer{Record: deal(i), Among: parties(t, "user:a3", "user:a1", "user:a0", "user:a2"), Order: crm.LeastLoaded, IgnoreShifts: true}
		turn, plan, err := s.Assign(t, offer)
		if err != nil {
			t.Fatal(err)
		}
		offer.Record = deal(0)
		_, late, err := s.Assign(t, offer)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t, plan); err != nil {
			t.Fatal(err)
		}
		if s.Conflict(late) == nil {
			t.Fatal("two choices by the same counts")
		}
		got = append(got, turn.Owner)
	}
	if want := []string{"a1", "a3", "a0"}; !slices.Equal(got, want) {
		t.Errorf("given to %v, want %v", got, want)
	}
}

func TestAssignAtTheEdgesOfDuty(t *testing.T) {
	s := crm.Manage(t, desk(1))
	for _, c := range []struct{ at, among, want string }{
		{"2026-10-24T06:59:59Z", "role:agent", ""},
		{"2026-10-24T07:00:00Z", "role:agent", "a0"},
		{"2026-10-24T09:59:59Z", "role:agent", "a0"},
		{"2026-10-24T10:00:00Z", "role:agent", ""}, // the break
		{"2026-10-24T11:00:00Z", "role:agent", "a0"},
		{"2026-10-24T15:00:00Z", "role:agent", ""},
		{"2026-10-23T08:00:00Z", "role:agent", ""},   // the holiday
		{"2026-10-24T20:00:00Z", "group:all", "a6"},  // 22:00 in summer time …
		{"2026-10-25T00:29:59Z", "group:all", "a6"},  // … until the first 02:30
		{"2026-10-25T00:30:00Z", "group:all", ""},    // and not again
		{"2026-10-25T01:15:00Z", "role:night", ""},   // at the second 02:15
		{"2026-10-25T21:00:00Z", "everyone", "a6"},   // 22:00 in winter time
		{"2026-03-29T01:29:59Z", "role:night", "a6"}, // 02:30 does not exist: it is 03:30
		{"2026-03-29T01:30:00Z", "role:night", ""},   //
		{"2026-10-24T12:00:00Z", "user:out", ""},     // suspended
		{"2026-10-24T12:00:00Z", "user:ada", ""},     // without a shift
		{"2026-10-24T12:00:00Z", "group:in", "a1"},   //
		{"2026-10-24T12:00:00Z", "group:all", "a1"},  // by the group inside
		{"2026-10-24T12:00:00Z", "role:manager", ""}, // holds nobody
		{"2026-10-24T12:00:00Z", "role:night", ""},   //
		{"2026-10-24T12:00:00Z", "role-and-subordinates:manager", "a0"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		offer := crm.Offer{Record: deal(0), Among: parties(t, c.among), At: at}
		turn, _, err := s.Assign(t, offer)
		switch {
		case c.want == "":
			if !errors.As(err, new(*crm.NobodyError)) {
				t.Errorf("among %s at %s: %v, %v, want nobody", c.among, c.at, turn, err)
			}
		case err != nil || turn.Owner != c.want || turn.FellBack:
			t.Errorf("among %s at %s: %v, %v, want %s", c.among, c.at, turn, err, c.want)
		}
		if c.want != "" {
			continue
		}
		offer.Fallback = "ada"
		turn, plan, err := s.Assign(t, offer)
		if err != nil || turn.Owner != "ada" || !turn.FellBack || plan == nil {
			t.Errorf("among %s at %s with a fallback: %v, %v", c.among, c.at, turn, err)
		}
	}
}

func TestAssignRefuses(t *testing.T) {
	s := crm.Manage(t, desk(1))
	closed := time.Date(2026, 10, 24, 20, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		offer crm.Offer
		want  string
	}{
		{crm.Offer{Record: deal(7), Among: parties(t, "everyone")}, "deal:7: it does not exist: make it first"},
		{crm.Offer{Record: crm.Ref{Module: "note", ID: "n"}, Among: parties(t, "everyone")}, "note:n: it belongs to the record above it"},
		{crm.Offer{Record: deal(0), Among: parties(t, "role:nobody")}, "role:nobody: it does not exist"},
		{crm.Offer{Record: deal(0), Among: parties(t, "role:night", "user:zoe")}, "user:zoe: it does not exist"},
		{crm.Offer{Record: deal(0), Among: parties(t, "role:manager")}, "nobody of them is available"},
		{crm.Offer{Record: deal(0), Among: parties(t, "role:agent"), At: closed}, "the next is a0, from 2026-10-25T08:00:00Z"},
		{crm.Offer{Record: deal(0), Among: parties(t, "role:manager"), Fallback: "out"}, "user:out: it is to get the record"},
		{crm.Offer{Record: deal(0), Among: parties(t, "role:manager"), Fallback: "zoe"}, "user:zoe: it is to get the record"},
		{crm.Offer{
			Record: deal(0), Among: parties(t, "everyone"), IgnoreShifts: true, Permit: func([]crm.Need) (bool, error) { return false, nil },
		}, "settings do not let"},
	} {
		if turn, _, err := s.Assign(t, c.offer); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, %v, want %q", c.offer, turn, err, c.want)
		}
	}
}

// In random organisations whoever gets a record is on duty by the procedure; if nobody is,
// nobody is until the instant that the error tells, and then the one whom it names.
func TestAssignIsToThoseOnDuty(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 25, 250)
	const minutes = 2 * 24 * 60
	given, awaited := 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		busy(t, g, o)
		i := slices.IndexFunc(o.Records, func(r crm.Record) bool {
			return slices.ContainsFunc(o.Modules, func(m crm.Module) bool { return m.ID == r.Module && m.Kind == crm.Standard })
		})
		if i < 0 {
			continue
		}
		s := crm.Manage(t, o)
		at := g.Instant()
		working := func(at time.Time) (list []string) {
			oracle := crmtest.NewOracle(o, at)
			for i := range o.Seats {
				if slices.ContainsFunc(o.Shifts, func(sh crm.Shift) bool { return oracle.OnDuty(&o.Seats[i], sh.ID) }) {
					list = append(list, o.Seats[i].ID)
				}
			}
			slices.Sort(list)
			return list
		}
		turn, _, err := s.Assign(t, crm.Offer{Record: o.Records[i].Ref(), Among: parties(t, "everyone"), At: at})
		var none *crm.NobodyError
		switch want := working(at); {
		case errors.As(err, &none):
			if len(want) > 0 {
				t.Fatalf("nobody at %s, want one of %v\n%s", at, want, v.Again(n))
			}
			if none.Seat == "" {
				continue
			}
			awaited++
			if !slices.Contains(working(none.Next), none.Seat) {
				t.Fatalf("%s is not on duty from %s\n%s", none.Seat, none.Next, v.Again(n))
			}
			for m := range minutes {
				earlier := at.Add(time.Duration(m) * time.Minute)
				if !earlier.Before(none.Next) {
					break
				}
				if list := working(earlier); len(list) > 0 {
					t.Fatalf("at %s %v are on duty, and not %s from %s first\n%s", earlier, list, none.Seat, none.Next, v.Again(n))
				}
			}
		case err != nil:
			t.Fatalf("%v\n%s", err, v.Again(n))
		case len(want) == 0 || turn.Owner != want[0]:
			t.Fatalf("given to %s at %s, want the first of %v\n%s", turn.Owner, at, want, v.Again(n))
		default:
			given++
		}
	}
	t.Logf("%d given, %d awaited", given, awaited)
	if v.Count > 1 && (given == 0 || awaited == 0) {
		t.Error("nothing was given, or nobody was awaited")
	}
}
