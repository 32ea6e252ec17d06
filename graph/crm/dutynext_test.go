package crm

import (
	"testing"
	"time"
)

// TestNextIsFoundBehindALongLeave: while a seat is away, or between two assignments, shifts
// open and close any number of times, and that keeps nobody from knowing when it works next.
func TestNextIsFoundBehindALongLeave(t *testing.T) {
	var week Week
	for d := range week {
		week[d] = []Window{
			{Span: Span{8 * 60, 12 * 60}, Breaks: []Span{{9 * 60, 9*60 + 10}, {10 * 60, 10*60 + 10}}},
			{Span: Span{13 * 60, 17 * 60}, Breaks: []Span{{14 * 60, 14*60 + 10}, {15 * 60, 15*60 + 10}}},
		}
	}
	day := func(n int) time.Time { return time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC) }
	at := day(1).Add(9 * time.Hour)
	opens := func(n int) time.Time { return day(n).Add(8 * time.Hour) }
	for _, tt := range []struct {
		name      string
		shifts    []Assignment
		leave     []Period
		suspended bool
		want      time.Time // zero: never
	}{
		{"in a break", []Assignment{{Shift: "desk"}}, nil, false, at.Add(10 * time.Minute)},
		{"on leave for a year", []Assignment{{Shift: "desk"}}, []Period{{Until: day(366)}}, false, opens(366)},
		{"on leave for ever", []Assignment{{Shift: "desk"}}, []Period{{From: day(1)}}, false, time.Time{}},
		{"on leave twice", []Assignment{{Shift: "desk"}}, []Period{{Until: day(2)}, {From: day(2), Until: day(90)}}, false, opens(90)},
		{"assigned in a year", []Assignment{{Shift: "desk", Period: Period{From: day(366)}}}, nil, false, opens(366)},
		{"assigned to another until then", []Assignment{
			{Shift: "never", Period: Period{Until: day(366)}}, {Shift: "desk", Period: Period{From: day(366)}},
		}, nil, false, opens(366)},
		{"assigned while away", []Assignment{{Shift: "desk", Period: Period{From: day(3), Until: day(5)}}}, []Period{{Until: day(5)}}, false, time.Time{}},
		{"not any more", []Assignment{{Shift: "desk", Period: Period{Until: day(1)}}}, nil, false, time.Time{}},
		{"suspended", []Assignment{{Shift: "desk"}}, nil, true, time.Time{}},
	} {
		o := exampleOrganisation()
		o.Shifts = append(o.Shifts,
			Shift{ID: "desk", Name: "Desk", Hours: Hours{Zone: "UTC", Week: week}},
			Shift{ID: "never", Name: "Never", Hours: Hours{Zone: "UTC"}})
		s := o.seat("rob")
		s.Shifts, s.Leave, s.Suspended = tt.shifts, tt.leave, tt.suspended
		if err := o.Validate(DefaultLimits()); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		store := load(t, o, false)
		got, found, err := store.Roster(t, at).Next(store.entity(t, entity(typeUser, "rob")), time.Time{})
		if err != nil || found == tt.want.IsZero() || found && !got.Equal(tt.want) {
			t.Errorf("%s: Next() = %v, %v, %v, want %v", tt.name, got, found, err, tt.want)
		}
	}
}
