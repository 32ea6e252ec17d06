package crm_test

import (
	"testing"
	"time"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/crm/crmtest"
)

// TestRosterIsWhatTheEngineDecides steps through random organisations minute by minute:
// whoever is on duty is so by the engine, and nobody else, and stays so until exactly the
// instant that the roster tells.
func TestRosterIsWhatTheEngineDecides(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 15, 200)
	const minutes = 4 * 60
	seen, ended := 0, 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		busy(t, g, o)
		s := crm.Load(t, o, n%2 == 1)
		begin := g.Instant()
		until := map[[2]string]time.Time{} // of the duties that last, as they were told first
		for m := range minutes {
			at := begin.Add(time.Duration(m) * time.Minute)
			duties := s.Duties(t, at)
			now, oracle := s.Asked(at), crmtest.NewOracle(o, at)
			for _, shift := range o.Shifts {
				for i := range o.Seats {
					key := [2]string{shift.ID, o.Seats[i].ID}
					end, on := duties[key]
					want := now.Check(t, "shift", shift.ID, "on_duty", o.Seats[i].ID)
					if on != want || want != oracle.OnDuty(&o.Seats[i], shift.ID) {
						t.Fatalf("%v on duty at %s = %v, engine says %v\n%s", key, at, on, want, v.Again(n))
					}
					told, lasts := until[key]
					switch {
					case !on && lasts && (told.IsZero() || at.Before(told)):
						t.Fatalf("%v was to be on duty until %s, and is not at %s\n%s", key, told, at, v.Again(n))
					case !on:
						delete(until, key)
						continue
					case lasts && (told.IsZero() || at.Before(told)):
						if !end.Equal(told) {
							t.Fatalf("%v is on duty until %s, and was to be until %s\n%s", key, end, told, v.Again(n))
						}
						continue
					}
					until[key] = end
					seen++
					if end.IsZero() {
						continue
					}
					ended++
					if !s.Asked(end.Add(-time.Nanosecond)).Check(t, "shift", shift.ID, "on_duty", o.Seats[i].ID) {
						t.Fatalf("%v at %s is not on duty until %s, but less long\n%s", key, at, end, v.Again(n))
					}
					if s.Asked(end).Check(t, "shift", shift.ID, "on_duty", o.Seats[i].ID) {
						t.Fatalf("%v at %s is on duty longer than until %s\n%s", key, at, end, v.Again(n))
					}
				}
			}
		}
	}
	t.Logf("%d duties, %d of them end", seen, ended)
	if v.Count > 1 && ended == 0 {
		t.Error("no duty ended")
	}
}

// busy gives work to seats and hours to shifts that have none, so that more people are on
// duty than in other organisations.
func busy(t *testing.T, g *crmtest.Generator, o *crm.Organisation) {
	t.Helper()
	for i := range o.Shifts {
		for d := range o.Shifts[i].Hours.Week {
			if windows := &o.Shifts[i].Hours.Week[d]; len(*windows) == 0 {
				from := crm.Clock(g.Between(1, 22*60))
				*windows = []crm.Window{{Breaks: []crm.Span{{Start: from, End: from + crm.Clock(g.Between(1, 60))}}}}
			}
		}
	}
	for i := range o.Seats {
		if s := &o.Seats[i]; len(s.Shifts) == 0 {
			s.Shifts = []crm.Assignment{{Shift: crmtest.Pick(g, o.Shifts).ID}}
		}
	}
	if err := o.Validate(crm.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
}

// TestWhereOnePeriodEndsAndTheNextBeginsADutyGoesOn shows what ends a duty and what does not.
func TestWhereOnePeriodEndsAndTheNextBeginsADutyGoesOn(t *testing.T) {
	noon := time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	always, day := crm.Week{}, crm.Week{}
	for d := range always {
		always[d] = []crm.Window{{}}
		day[d] = []crm.Window{{Span: crm.Span{Start: 8 * 60, End: 18 * 60}, Breaks: []crm.Span{{Start: 13 * 60, End: 14 * 60}}}}
	}
	for _, tt := range []struct {
		name   string
		shifts []crm.Assignment
		leave  []crm.Period
		want   string // the shift
		until  time.Time
	}{
		{"for ever", []crm.Assignment{{Shift: "always"}}, nil, "always", time.Time{}},
		{"until the assignment ends", []crm.Assignment{{Shift: "always", Period: crm.Period{Until: hour(5)}}}, nil, "always", hour(5)},
		{"through periods that meet", []crm.Assignment{
			{Shift: "always", Period: crm.Period{Until: hour(1)}}, {Shift: "always", Period: crm.Period{From: hour(1), Until: hour(2)}},
		}, nil, "always", hour(2)},
		{"until another shift begins", []crm.Assignment{
			{Shift: "always", Period: crm.Period{Until: hour(1)}}, {Shift: "day", Period: crm.Period{From: hour(1)}},
		}, nil, "always", hour(1)},
		{"until a break", []crm.Assignment{{Shift: "day"}}, nil, "day", hour(1)},
		{"until leave", []crm.Assignment{{Shift: "always"}}, []crm.Period{{From: hour(3), Until: hour(4)}}, "always", hour(3)},
		{"back from leave", []crm.Assignment{{Shift: "always"}}, []crm.Period{{Until: noon}}, "always", time.Time{}},
		{"on leave", []crm.Assignment{{Shift: "always"}}, []crm.Period{{From: noon}}, "", time.Time{}},
		{"not any more", []crm.Assignment{{Shift: "always", Period: crm.Period{Until: noon}}}, nil, "", time.Time{}},
	} {
		o := crm.New("acme", "Acme", "ada", "Ada")
		o.Shifts = []crm.Shift{
			{ID: "always", Name: "Always", Hours: crm.Hours{Zone: "UTC", Week: always}},
			{ID: "day", Name: "Day", Hours: crm.Hours{Zone: "UTC", Week: day}},
		}
		o.Seats[0].Shifts, o.Seats[0].Leave = tt.shifts, tt.leave
		if err := o.Validate(crm.DefaultLimits()); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		duties := crm.Load(t, o, false).Duties(t, noon)
		until, on := duties[[2]string{tt.want, "ada"}]
		if on != (tt.want != "") || !until.Equal(tt.until) || len(duties) > 1 {
			t.Errorf("%s: %v, want %s until %s", tt.name, duties, tt.want, tt.until)
		}
	}
}

// TestARosterIsReadFromAnywhere shows that a list of who works a shift can be gone on with
// behind anybody, and that each seat's own answer is the same.
func TestARosterIsReadFromAnywhere(t *testing.T) {
	v := crmtest.VolumeOf(t, "graph/crm", 20, 200)
	pages := 0
	for n := v.First; n < v.First+v.Count; n++ {
		g, o := v.Organisation(n, 0)
		s := crm.Load(t, o, false)
		r := s.Roster(t, g.Instant())
		shifts, err := r.Shifts()
		if err != nil || len(shifts) != len(o.Shifts) {
			t.Fatalf("Shifts() = %v, %v, want %d\n%s", shifts, err, len(o.Shifts), v.Again(n))
		}
		for _, shift := range shifts {
			var all []crm.Duty
			if err := r.Shift(shift, 0, func(d crm.Duty) bool { all = append(all, d); return true }); err != nil {
				t.Fatal(err)
			}
			after := graph.ID(0)
			for _, want := range all {
				var got crm.Duty
				if err := r.Shift(shift, after, func(d crm.Duty) bool { got = d; return false }); err != nil || got != want {
					t.Fatalf("Shift(%v) behind %v = %+v, %v, want %+v\n%s", shift, after, got, err, want, v.Again(n))
				}
				if own, on, err := r.Seat(want.Seat); err != nil || !on || own != want {
					t.Fatalf("Seat(%v) = %+v, %v, %v, want %+v\n%s", want.Seat, own, on, err, want, v.Again(n))
				}
				after = want.Seat
				pages++
			}
		}
	}
	if v.Count > 1 && pages == 0 {
		t.Error("nobody was on duty")
	}
}
