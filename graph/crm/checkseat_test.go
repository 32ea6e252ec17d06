package crm

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// TestManyPeriodsAtOnceAreOneFault: whoever writes as many periods as a seat may have is not
// told of each pair of them, of which there are 20,000.
func TestManyPeriodsAtOnceAreOneFault(t *testing.T) {
	o := exampleOrganisation()
	s := o.seat("rob")
	s.Shifts, s.Leave = nil, nil
	for range MaxPeriods {
		s.Shifts = append(s.Shifts, Assignment{Shift: "day"})
		s.Leave = append(s.Leave, Period{})
	}
	var wrong *Error
	if err := o.Validate(DefaultLimits()); !errors.As(err, &wrong) || len(wrong.Faults) != 2 {
		t.Errorf("Validate() of %d periods at once has %d faults, want one for shifts and one for leave", MaxPeriods, len(wrong.Faults))
	}
}

// TestOverlappingIsWhatPairsSay compares it with a look at every pair.
func TestOverlappingIsWhatPairsSay(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	at := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	both := map[bool]int{}
	for range 2000 {
		list := make([]Period, r.IntN(5))
		for i := range list {
			from := 1 + r.IntN(20)
			list[i] = Period{From: at(from), Until: at(from + 1 + r.IntN(6))}
			switch r.IntN(12) {
			case 0:
				list[i].From = time.Time{}
			case 1:
				list[i].Until = time.Time{}
			}
		}
		want := false
		for i := range list {
			for j := range list[:i] {
				want = want || list[i].overlaps(list[j])
			}
		}
		a, b, got := overlapping(list, func(p Period) Period { return p })
		if got != want || got && !a.overlaps(b) {
			t.Fatalf("overlapping(%v) = %v, %v, %v, want %v (seed %d)", list, a, b, got, want, seed)
		}
		both[got]++
	}
	if both[true] == 0 || both[false] == 0 {
		t.Errorf("the lists overlap or not: %v", both)
	}
}
