package schedule

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

const (
	daySeconds = 24 * 60 * 60

	// near is the distance from a change of the offset within which local time may be
	// surprising. No zone ever changed by more than a day, and an occurrence lasts no
	// more than two.
	near = 4 * daySeconds

	// The instants for which a schedule may be open are those of the years 1 to 9999, as
	// timestamps have them.
	earliest = -62135596800
	latest   = 253402300799

	// lookahead bounds Next. After 28 years the days of the week fall on the same dates,
	// so what did not change by then does not.
	lookahead = 30 * 366 * daySeconds
)

// A Schedule is working hours, ready to be asked. It is immutable and safe for concurrent
// use.
type Schedule struct {
	zone     *time.Location
	week     [7][]window // by time.Weekday
	specials []special   // sorted by day, one for each
}

// A span is an interval, of instants as Unix time or of local time in seconds since the
// midnight of the date on which an occurrence starts; then it reaches into the next day
// from 86400 on.
type span struct{ start, end int64 }

// A window is an interval of a day without its breaks.
type window struct {
	span
	breaks []span
}

// A special is a date whose windows are not those of its day of the week.
type special struct {
	day     int64 // since 1970-01-01
	windows []window
}

// Zone is the name of the time zone.
func (s *Schedule) Zone() string { return s.zone.String() }

// Open reports whether the hours are open at an instant.
func (s *Schedule) Open(at time.Time) bool { return s.open(at.Unix()) }

func (s *Schedule) open(u int64) bool {
	if u < earliest || u > latest {
		return false
	}
	p := periodAt(s.zone, u)
	today := floorDay(u + p.offset)
	if p.steady(u) {
		return s.occurs(p, today, u) || s.occurs(p, today-1, u)
	}
	// A date may be repeated or left out near here, so look further to both sides.
	for day := today - 3; day <= today+2; day++ {
		if s.occurs(p, day, u) {
			return true
		}
	}
	return false
}

// occurs reports whether an occurrence that starts on a local date is open at u. The
// period is one near u.
func (s *Schedule) occurs(p period, day, u int64) bool {
	for _, w := range s.windows(p, day) {
		if u < resolve(s.zone, p, day*daySeconds+w.start) || u >= resolve(s.zone, p, day*daySeconds+w.end) {
			continue
		}
		if !s.inBreak(p, day, w.breaks, u) {
			return true
		}
	}
	return false
}

func (s *Schedule) inBreak(p period, day int64, breaks []span, u int64) bool {
	for _, b := range breaks {
		if u >= resolve(s.zone, p, day*daySeconds+b.start) && u < resolve(s.zone, p, day*daySeconds+b.end) {
			return true
		}
	}
	return false
}

// windows are those that start on a local date.
func (s *Schedule) windows(p period, day int64) []window {
	windows := s.week[weekday(day)]
	if len(s.specials) > 0 {
		i := sort.Search(len(s.specials), func(i int) bool { return s.specials[i].day >= day })
		if i < len(s.specials) && s.specials[i].day == day {
			windows = s.specials[i].windows
		}
	}
	if len(windows) > 0 && !dateExists(s.zone, p, day) {
		return nil
	}
	return windows
}

// Next is the first instant after at from which Open differs from what it is at at. It is
// false if there is none within thirty years.
func (s *Schedule) Next(at time.Time) (time.Time, bool) {
	// Before the first instant that can be open, and after the last, nothing changes.
	u := max(at.Unix(), earliest-1)
	state := s.open(u)
	const step = 7 * daySeconds
	for end := min(u+lookahead, latest+1); u < end; {
		until := min(u+step, end)
		for _, o := range s.stretches(u, until) {
			change := o.start
			if state {
				change = o.end
			}
			if change > u && change <= until {
				return time.Unix(change, 0).UTC(), true
			}
		}
		u = s.skip(u, until)
	}
	return time.Time{}, false
}

// stretches are the instants at which the schedule is open, as intervals in order that
// neither touch nor overlap. They are exact after from and up to until.
func (s *Schedule) stretches(from, until int64) []span {
	p := periodAt(s.zone, from)
	first, last := floorDay(from+p.offset)-3, floorDay(until+periodAt(s.zone, until).offset)+2
	var open []span
	for day := first; day <= last; day++ {
		at := func(local int64) int64 { return resolve(s.zone, p, day*daySeconds+local) }
		for _, w := range s.windows(p, day) {
			breaks := make([]span, 0, len(w.breaks))
			for _, b := range w.breaks {
				breaks = append(breaks, span{at(b.start), at(b.end)})
			}
			open = appendWithout(open, span{max(at(w.start), earliest), min(at(w.end), latest+1)}, breaks)
		}
	}
	slices.SortFunc(open, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	merged := open[:0]
	for _, o := range open {
		if n := len(merged); n > 0 && o.start <= merged[n-1].end {
			merged[n-1].end = max(merged[n-1].end, o.end)
		} else {
			merged = append(merged, o)
		}
	}
	return merged
}

// appendWithout appends the parts of a whole that lie in none of the breaks.
func appendWithout(to []span, whole span, breaks []span) []span {
	slices.SortFunc(breaks, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for _, b := range breaks {
		if b.end <= b.start {
			continue
		}
		if whole.start < min(b.start, whole.end) {
			to = append(to, span{whole.start, min(b.start, whole.end)})
		}
		whole.start = max(whole.start, b.end)
	}
	if whole.start < whole.end {
		to = append(to, whole)
	}
	return to
}

// skip is where to look on after a week from u to until without a change. Where every
// week is like the next, all of them are without one: so until shortly before the next
// special date or change of the offset.
func (s *Schedule) skip(u, until int64) int64 {
	p := periodAt(s.zone, u)
	if !p.steady(u) || !p.steady(until) {
		return until
	}
	for _, sp := range s.specials {
		if start := sp.day * daySeconds; start >= u-near {
			return max(until, min(start, p.until, latest)-2*near)
		}
	}
	return max(until, min(p.until, latest)-2*near)
}

// floorDay is the day of a local time, counted from 1970-01-01.
func floorDay(local int64) int64 {
	day := local / daySeconds
	if local%daySeconds < 0 {
		day--
	}
	return day
}

// weekday is the day of the week of a day; 1970-01-01 was a Thursday.
func weekday(day int64) time.Weekday {
	return time.Weekday(((day+int64(time.Thursday))%7 + 7) % 7)
}
