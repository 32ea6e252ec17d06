package crm_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

// TestWhyOnDutyAgreesWithTheEngine asks of everybody in random organisations whether they
// work each shift, or any, and why: the answer is the engine's, what it rests on is there, and
// hours that are said to begin at an instant do so just then.
func TestWhyOnDutyAgreesWithTheEngine(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 12, 200)
	works, rests, begins := 0, 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		busy(t, g, o)
		s := crm.Load(t, o, n%2 == 1)
		at := g.Instant()
		ask := func(at time.Time, user, shift string) *crm.Answer {
			a, err := s.Inquiry(t, at).OnDuty(t.Context(), user, shift)
			if err != nil {
				t.Fatalf("OnDuty(%s, %s): %v\n%s", user, shift, err, v.Again(n))
			}
			return a
		}
		for _, seat := range o.Seats {
			some := false
			for _, shift := range o.Shifts {
				a := ask(at, seat.ID, shift.ID)
				want := s.Asked(at).Check(t, "shift", shift.ID, "on_duty", seat.ID)
				some = some || want
				sound := a.Allowed == want && a.Allowed == (len(a.Grounds) > 0) && a.Allowed == (len(a.Missing) == 0)
				for _, ground := range slices.Concat(a.Grounds, a.Missing) {
					sound = sound && ground.Text != "" && !strings.Contains(ground.Text, "%!") && !strings.Contains(ground.Text, `""`)
					for _, f := range ground.Facts {
						sound = sound && s.Holds(t, f)
					}
					_, text, next := strings.Cut(ground.Text, " begin at ")
					if !next {
						continue
					}
					begins++
					open := func(at time.Time) bool {
						return !slices.ContainsFunc(ask(at, seat.ID, shift.ID).Missing, func(g crm.Ground) bool { return g.Entity == shift.Key() })
					}
					from := instantOf(t, text)
					if !open(from) || from.Add(-time.Millisecond).After(at) && open(from.Add(-time.Millisecond)) {
						t.Fatalf("OnDuty(%s, %s) at %s: %s, and that is not so\n%s", seat.ID, shift.ID, at, ground.Text, v.Again(n))
					}
				}
				if !sound {
					t.Fatalf("OnDuty(%s, %s) at %s, the engine says %v:\n%s\n%s", seat.ID, shift.ID, at, want, answerText(a), v.Again(n))
				}
				if rests++; want {
					works++
				}
			}
			if a := ask(at, seat.ID, ""); a.Allowed != some {
				t.Fatalf("OnDuty(%s) at %s, the engine says %v:\n%s\n%s", seat.ID, at, some, answerText(a), v.Again(n))
			}
		}
	}
	t.Logf("%d of %d are on duty, %d will be", works, rests, begins)
	if v.Count > 1 && (works == 0 || begins == 0) {
		t.Error("nobody is on duty, or nobody will be")
	}
}

// instantOf reads an instant as it is told.
func instantOf(t *testing.T, text string) time.Time {
	t.Helper()
	for _, layout := range []string{"2006-01-02 15:04 MST", "2006-01-02 15:04:05.999 MST"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at
		}
	}
	t.Fatalf("%q is no instant", text)
	return time.Time{}
}

// The sentences about duty.
func TestWhyOnDutySentences(t *testing.T) {
	for _, tt := range []struct {
		name, user, shift string
		change            func(*crm.Seat) // of kim, who works the day shift
		at                time.Duration   // from noon on a Wednesday
		want              []string
	}{
		{"at work", "kim", "day", nil, 0, []string{`the seat of "Kim" is active`, `"Kim" works shift "Day" until 2026-06-10 17:00 UTC`}},
		{"any shift", "kim", "", nil, 0, []string{`the seat of "Kim" is active`, `"Kim" works shift "Day" until 2026-06-10 17:00 UTC`}},
		{"after work", "kim", "day", nil, 6 * time.Hour, []string{`"Kim" is outside the hours of shift "Day", which begin at 2026-06-17 09:00 UTC`}},
		{"another's shift", "rob", "day", nil, 0, []string{`"Rob" is not assigned to shift "Day"`}},
		{"no shift", "rob", "", nil, 0, []string{`"Rob" is assigned to no shift`}},
		{"a shift that is not there", "kim", "night", nil, 0, []string{`there is no shift "night"`}},
		{"nobody", "zoe", "day", nil, 0, []string{`no seat has the id "zoe"`}},
		{"suspended", "kim", "day", func(s *crm.Seat) { s.Suspended = true }, 0, []string{
			`the seat of "Kim" is suspended: who manages users can make it active again`,
		}},
		{"before leave", "kim", "day", func(s *crm.Seat) { s.Leave = []crm.Period{{From: whyNoon.Add(time.Hour)}} }, 0, []string{
			`the seat of "Kim" is active`, `"Kim" works shift "Day" until 2026-06-10 13:00 UTC`,
		}},
		{"on leave", "kim", "day", func(s *crm.Seat) { s.Leave = []crm.Period{{Until: whyNoon.Add(time.Hour)}} }, 0, []string{
			`"Kim" is on leave until 2026-06-10 13:00 UTC`,
		}},
		{"away for ever, and at night", "kim", "day", func(s *crm.Seat) { s.Leave = []crm.Period{{From: whyNoon}} }, 9 * time.Hour, []string{
			`"Kim" is outside the hours of shift "Day", which begin at 2026-06-17 09:00 UTC`, `"Kim" is on leave`,
		}},
		{"no more", "kim", "day", func(s *crm.Seat) { s.Shifts[0].Until = whyNoon }, 0, []string{`"Kim" works shift "Day" no more`}},
		{"not yet", "kim", "day", func(s *crm.Seat) { s.Shifts[0].From = whyNoon.Add(time.Hour) }, 0, []string{
			`"Kim" is assigned to shift "Day" only from 2026-06-10 13:00 UTC`,
		}},
	} {
		o := whyCompany(func(o *crm.Organisation) {
			kim := &o.Seats[slices.IndexFunc(o.Seats, func(s crm.Seat) bool { return s.ID == "kim" })]
			kim.Shifts = []crm.Assignment{{Shift: "day"}}
			if tt.change != nil {
				tt.change(kim)
			}
		})
		a, err := crm.Load(t, o, false).Inquiry(t, whyNoon.Add(tt.at)).OnDuty(t.Context(), tt.user, tt.shift)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, g := range slices.Concat(a.Grounds, a.Missing) {
			got = append(got, g.Text)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if _, err := crm.Load(t, whyCompany(nil), false).Inquiry(t, whyNoon).OnDuty(t.Context(), "a b", ""); err == nil {
		t.Error("an id with a space is one of a seat")
	}
}
