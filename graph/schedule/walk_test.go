package schedule

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// The walk is a second, plain reading of the rules. It looks at clocks minute by minute,
// notes when each local minute is first read, and colours the minutes between the starts
// and the ends of windows. It shares nothing with the package but the shape of a schedule.

// A plainSpan is an interval of local minutes since midnight; end may lie on the next day.
type plainSpan struct{ start, end int }

type plainWindow struct {
	plainSpan
	breaks []plainSpan
}

type plainSchedule struct {
	zone     string
	week     [7][]plainWindow
	holidays map[string]bool
	replaced map[string][]plainWindow
}

func (p *plainSchedule) fields() value.Map {
	clock := func(minute int) string {
		minute %= 24 * 60
		return fmt.Sprintf("%02d:%02d", minute/60, minute%60)
	}
	windows := func(list []plainWindow) value.List {
		out := value.List{}
		for _, w := range list {
			fields := value.Map{"start": clock(w.start), "end": clock(w.end)}
			if len(w.breaks) > 0 {
				breaks := value.List{}
				for _, b := range w.breaks {
					breaks = append(breaks, value.Map{"start": clock(b.start), "end": clock(b.end)})
				}
				fields["breaks"] = breaks
			}
			out = append(out, fields)
		}
		return out
	}
	names := [7]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}
	week, holidays, replaced := value.Map{}, value.List{}, value.Map{}
	for day, list := range p.week {
		if len(list) > 0 {
			week[names[day]] = windows(list)
		}
	}
	for date := range p.holidays {
		holidays = append(holidays, date)
	}
	for date, list := range p.replaced {
		replaced[date] = windows(list)
	}
	return value.Map{"zone": p.zone, "windows": week, "holidays": holidays, "exceptions": replaced}
}

// on are the windows that start on a date.
func (p *plainSchedule) on(date time.Time) []plainWindow {
	text := date.Format(time.DateOnly)
	if list, ok := p.replaced[text]; ok {
		return list
	}
	if p.holidays[text] {
		return nil
	}
	return p.week[date.Weekday()]
}

// A minute counts minutes since 1970, of instants or of what local clocks read.
type minute = int

// A walked stretch of time in one zone.
type walked struct {
	from, to minute      // instants
	first    []minute    // by local minute from from-reach: the instant at which it is first read, or that stands for it in a gap
	dates    []time.Time // that clocks read, in UTC form
}

// reach is how far local clocks and instants are apart at most, and unread is where no
// clock went.
const (
	reach  = 3 * 24 * 60
	unread = -1 << 62
)

// at is the instant of a local minute.
func (w *walked) at(local minute) (minute, bool) {
	i := local - w.from + reach
	if i < 0 || i >= len(w.first) || w.first[i] == unread {
		return 0, false
	}
	return w.first[i], true
}

// note keeps the first instant that was seen for a local minute.
func (w *walked) note(local, instant minute) {
	if i := local - w.from + reach; w.first[i] == unread {
		w.first[i] = instant
	}
}

// walk reads the zone's clock at every minute.
func walk(zone *time.Location, from, to minute) *walked {
	w := &walked{from: from, to: to, first: make([]minute, to-from+2*reach)}
	for i := range w.first {
		w.first[i] = unread
	}
	seen := map[time.Time]bool{}
	skipped := map[minute]minute{}
	last := 0
	for m := from; m < to; m++ {
		t := time.Unix(int64(m)*60, 0).In(zone)
		year, month, day := t.Date()
		date := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
		if !seen[date] {
			seen[date] = true
			w.dates = append(w.dates, date)
		}
		read := int(date.Unix()/60) + t.Hour()*60 + t.Minute()
		w.note(read, m)
		// Clocks that were put forward jumped over minutes; had they not been, they would
		// have gone on reading them.
		if m > from {
			for missed := last + 1; missed < read; missed++ {
				if _, ok := skipped[missed]; !ok {
					skipped[missed] = m - 1 + missed - last
				}
			}
		}
		last = read
	}
	for read, m := range skipped {
		w.note(read, m)
	}
	return w
}

// open colours the minutes at which the schedule is open. Those of the first and last
// days, where occurrences reach over the edge, are not to be relied on.
func (w *walked) open(p *plainSchedule) []bool {
	open := make([]bool, w.to-w.from)
	for _, date := range w.dates {
		midnight := int(date.Unix() / 60)
		for _, win := range p.on(date) {
			start, known := w.at(midnight + win.start)
			end, also := w.at(midnight + win.end)
			if !known || !also {
				continue
			}
			for m := start; m < end && m < w.to; m++ {
				inBreak := false
				for _, b := range win.breaks {
					from, _ := w.at(midnight + b.start)
					to, _ := w.at(midnight + b.end)
					inBreak = inBreak || m >= from && m < to
				}
				if !inBreak {
					open[m-w.from] = true
				}
			}
		}
	}
	return open
}

var walkedZones = []string{
	"Africa/Cairo", "Africa/Casablanca", "Africa/Johannesburg", "Africa/Monrovia", "America/Asuncion",
	"America/Bogota", "America/Caracas", "America/Chicago", "America/Havana", "America/Los_Angeles",
	"America/New_York", "America/Nuuk", "America/Phoenix", "America/Santiago", "America/Sao_Paulo",
	"America/St_Johns", "Antarctica/Casey", "Antarctica/Troll", "Asia/Amman", "Asia/Beirut", "Asia/Gaza",
	"Asia/Jerusalem", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Pyongyang", "Asia/Shanghai", "Asia/Tehran",
	"Asia/Tokyo", "Asia/Yangon", "Atlantic/Azores", "Australia/Adelaide", "Australia/Eucla",
	"Australia/Lord_Howe", "Australia/Sydney", "Europe/Chisinau", "Europe/Dublin", "Europe/Istanbul",
	"Europe/London", "Europe/Moscow", "Europe/Paris", "Europe/Volgograd", "Pacific/Apia", "Pacific/Auckland",
	"Pacific/Chatham", "Pacific/Fiji", "Pacific/Kiritimati", "Pacific/Norfolk", "Pacific/Tongatapu", "UTC",
}

// dateLines are where and when whole dates were left out or read twice.
var dateLines = []struct {
	zone  string
	month string
}{
	{"Pacific/Apia", "2011-12"},
	{"Pacific/Fakaofo", "2011-12"},
	{"Pacific/Kwajalein", "1993-08"},
	{"Pacific/Kwajalein", "1969-09"},
	{"Pacific/Kiritimati", "1994-12"},
	{"Pacific/Enderbury", "1994-12"},
}

func TestOpenAgreesWithAPlainWalk(t *testing.T) {
	all := os.Getenv("REMIT_TEST_ALL") == "1"
	for _, name := range walkedZones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			if all {
				for year := 2019; year < 2029; year++ {
					compareWalk(t, zone, unixMinute(year, 1, 1), unixMinute(year+1, 1, 1), 1)
				}
				compareWalk(t, zone, unixMinute(2040, 9, 1), unixMinute(2041, 2, 1), 1)
				return
			}
			// Far enough for zones to go on by rule, at the end of a leap year.
			compareWalk(t, zone, unixMinute(2040, 12, 27), unixMinute(2041, 1, 5), 1)
			// A week on both sides of each change of the clocks, or of the year's start.
			at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for at.Year() == 2026 {
				m := int(at.Unix() / 60)
				compareWalk(t, zone, m-7*24*60, m+7*24*60, 2)
				_, end := at.In(zone).ZoneBounds()
				if end.IsZero() {
					break
				}
				at = end.UTC()
			}
		})
	}
	for _, d := range dateLines {
		t.Run(d.zone+" "+d.month, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(d.zone)
			if err != nil {
				t.Fatal(err)
			}
			month, err := time.Parse("2006-01", d.month)
			if err != nil {
				t.Fatal(err)
			}
			m := int(month.Unix() / 60)
			compareWalk(t, zone, m, m+40*24*60, 6)
		})
	}
}

func unixMinute(year int, month time.Month, day int) minute {
	return int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() / 60)
}

// compareWalk asks random schedules at every minute of [from, to), and for each change.
func compareWalk(t *testing.T, zone *time.Location, from, to minute, schedules int) {
	t.Helper()
	const margin = 5 * 24 * 60
	w := walk(zone, from-margin, to+margin)
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, zone, from) // a hash takes everything
	for n := range schedules {
		seed := h.Sum64() + uint64(n)
		p := randomSchedule(rand.New(rand.NewPCG(seed, 0)), zone.String(), w.dates)
		s, err := Parse(p.fields())
		if err != nil {
			t.Fatalf("Parse of seed %d: %v", seed, err)
		}
		open := w.open(p)
		change := from // the last instant that was checked against Next
		for m := from; m < to; m++ {
			want := open[m-w.from]
			at := time.Unix(int64(m)*60, 0)
			if got := s.Open(at); got != want {
				t.Fatalf("seed %d: Open(%s) = %t, want %t; %v", seed, at.In(zone), got, want, p)
			}
			if m > from && want != open[m-1-w.from] {
				next, ok := s.Next(time.Unix(int64(change)*60, 0))
				if !ok || !next.Equal(at) {
					t.Fatalf("seed %d: Next(%s) = %s, %t, want %s; %v", seed,
						time.Unix(int64(change)*60, 0).In(zone), next.In(zone), ok, at.In(zone), p)
				}
				change = m
			}
		}
	}
}

// randomSchedule favours the hours in which clocks change, and dates among those given.
func randomSchedule(r *rand.Rand, zone string, dates []time.Time) *plainSchedule {
	p := &plainSchedule{zone: zone, holidays: map[string]bool{}, replaced: map[string][]plainWindow{}}
	for day := range p.week {
		p.week[day] = randomWindows(r)
	}
	for range r.IntN(6) {
		p.holidays[dates[r.IntN(len(dates))].Format(time.DateOnly)] = true
	}
	for range r.IntN(6) {
		p.replaced[dates[r.IntN(len(dates))].Format(time.DateOnly)] = randomWindows(r)
	}
	return p
}

func randomWindows(r *rand.Rand) []plainWindow {
	var list []plainWindow
	for range r.IntN(4) {
		start, end := randomMinute(r), randomMinute(r)
		if end <= start {
			end += 24 * 60
		}
		w := plainWindow{plainSpan: plainSpan{start, end}}
		for range r.IntN(3) {
			// A break is inside the window; its start and end are told apart by the clock.
			from := start + r.IntN(end-start)
			to := from + 1 + r.IntN(end-from)
			if to-from < 24*60 {
				w.breaks = append(w.breaks, plainSpan{from, to})
			}
		}
		list = append(list, w)
	}
	return list
}

func randomMinute(r *rand.Rand) int {
	switch r.IntN(4) {
	case 0:
		return r.IntN(24 * 60)
	case 1:
		return r.IntN(5 * 60)
	case 2:
		return r.IntN(10) * 30
	default:
		return (22*60 + r.IntN(8)*30) % (24 * 60)
	}
}
