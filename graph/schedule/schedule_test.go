package schedule

import (
	"testing"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

func mustParse(t testing.TB, json string) *Schedule {
	t.Helper()
	fields, err := value.ParseJSON([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(fields)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// everyDay is a schedule with the same windows on each day.
func everyDay(zone, windows, more string) string {
	return `{"zone":"` + zone + `","windows":{"monday":` + windows + `,"tuesday":` + windows +
		`,"wednesday":` + windows + `,"thursday":` + windows + `,"friday":` + windows +
		`,"saturday":` + windows + `,"sunday":` + windows + `}` + more + `}`
}

func TestOpen(t *testing.T) {
	night := everyDay("Europe/Paris", `[{"start":"22:00","end":"02:30"}]`, "")
	office := everyDay("Europe/Paris", `[{"start":"09:00","end":"17:00","breaks":[{"start":"12:00","end":"13:00"}]}]`,
		`,"holidays":["2026-06-01","2026-06-02"],"exceptions":{"2026-06-02":[{"start":"20:00","end":"21:00"}],"2026-06-03":[]}`)
	nightHoliday := everyDay("Europe/Paris", `[{"start":"22:00","end":"06:00","breaks":[{"start":"01:00","end":"02:00"}]}]`,
		`,"holidays":["2026-06-02"]`)
	always := everyDay("Europe/Paris", `[{"start":"00:00","end":"24:00"}]`, "")
	at, of := func(zone, start, end string) string {
		return everyDay(zone, `[{"start":"`+start+`","end":"`+end+`"}]`, "")
	}, "Europe/Paris"

	for _, test := range []struct {
		name, schedule, at string
		want               bool
	}{
		// Clocks in Paris go back on 25 October 2026 at 01:00Z: 03:00 becomes 02:00.
		{"a night opens at its start", night, "2026-10-24T22:00:00+02:00", true},
		{"a night is shut just before", night, "2026-10-24T21:59:59.999999999+02:00", false},
		{"the first 02:29 is still the night", night, "2026-10-25T02:29:59+02:00", true},
		{"the night ends at the first 02:30", night, "2026-10-25T02:30:00+02:00", false},
		{"the second 02:00 is after the night", night, "2026-10-25T02:00:00+01:00", false},
		{"the second 02:29 is after the night", night, "2026-10-25T02:29:59+01:00", false},
		{"an end after the change is not moved", at(of, "22:00", "03:00"), "2026-10-25T02:59:59+01:00", true},
		{"and ends there", at(of, "22:00", "03:00"), "2026-10-25T03:00:00+01:00", false},
		{"a start in the repeated hour is the first", at(of, "02:15", "04:00"), "2026-10-25T02:15:00+02:00", true},
		{"and goes through the second", at(of, "02:15", "04:00"), "2026-10-25T02:10:00+01:00", true},

		// They go forward on 29 March 2026 at 01:00Z: 02:00 becomes 03:00.
		{"the night goes on after the gap", night, "2026-03-29T03:00:00+02:00", true},
		{"02:30 in the gap is 03:30", night, "2026-03-29T03:29:59+02:00", true},
		{"and shut from there", night, "2026-03-29T03:30:00+02:00", false},
		{"the night before is as ever", night, "2026-03-28T02:30:00+01:00", false},
		{"a start in the gap is later too", at(of, "02:15", "05:00"), "2026-03-29T03:14:59+02:00", false},
		{"by the length of the gap", at(of, "02:15", "05:00"), "2026-03-29T03:15:00+02:00", true},
		{"from the gap to its end is nothing", at(of, "02:15", "03:00"), "2026-03-29T03:15:00+02:00", false},

		// New York: 8 March 2026 forward, 1 November back, both at 02:00.
		{"New York in the gap", at("America/New_York", "22:00", "02:30"), "2026-03-08T03:29:00-04:00", true},
		{"New York after it", at("America/New_York", "22:00", "02:30"), "2026-03-08T03:30:00-04:00", false},
		{"New York, first 01:29", at("America/New_York", "22:00", "01:30"), "2026-11-01T01:29:00-04:00", true},
		{"New York, second 01:29", at("America/New_York", "22:00", "01:30"), "2026-11-01T01:29:00-05:00", false},

		// Lord Howe changes by half an hour: 5 April 2026 back at 02:00 to 01:30, 4 October
		// forward at 02:00 to 02:30.
		{"Lord Howe, first 01:44", at("Australia/Lord_Howe", "22:00", "01:45"), "2026-04-05T01:44:00+11:00", true},
		{"Lord Howe, second 01:44", at("Australia/Lord_Howe", "22:00", "01:45"), "2026-04-05T01:44:00+10:30", false},
		{"Lord Howe in the gap", at("Australia/Lord_Howe", "22:00", "02:15"), "2026-10-04T02:44:00+11:00", true},
		{"Lord Howe after it", at("Australia/Lord_Howe", "22:00", "02:15"), "2026-10-04T02:45:00+11:00", false},

		// Apia went from 29 December 2011, 24:00, to 31 December, 00:00.
		{"a night before the lost day", at("Pacific/Apia", "22:00", "06:00"), "2011-12-31T05:59:00+14:00", true},
		{"ends eight hours after it began", at("Pacific/Apia", "22:00", "06:00"), "2011-12-31T06:00:00+14:00", false},
		{"always is always", everyDay("Pacific/Apia", `[{"start":"00:00","end":"00:00"}]`, ""), "2011-12-31T00:00:00+14:00", true},
		{
			"the lost Friday does not happen on Saturday", `{"zone":"Pacific/Apia","windows":{"friday":[{"start":"09:00","end":"17:00"}]}}`,
			"2011-12-31T10:00:00+14:00", false,
		},
		{
			"nor by an exception", `{"zone":"Pacific/Apia","exceptions":{"2011-12-30":[{"start":"09:00","end":"17:00"}]}}`,
			"2011-12-31T10:00:00+14:00", false,
		},

		// Cairo skips midnight: 24 April 2026, 00:00 becomes 01:00.
		{"a start at a midnight that is skipped", at("Africa/Cairo", "00:00", "08:00"), "2026-04-24T01:00:00+03:00", true},
		{"an end at one", at("Africa/Cairo", "16:00", "24:00"), "2026-04-23T23:59:59+02:00", true},
		{"and shut after it", at("Africa/Cairo", "16:00", "24:00"), "2026-04-24T01:00:00+03:00", false},

		{"office hours", office, "2026-06-05T09:00:00+02:00", true},
		{"the last second", office, "2026-06-05T16:59:59.9+02:00", true},
		{"the end is shut", office, "2026-06-05T17:00:00+02:00", false},
		{"a break is shut", office, "2026-06-05T12:00:00+02:00", false},
		{"after a break", office, "2026-06-05T13:00:00+02:00", true},
		{"a holiday", office, "2026-06-01T10:00:00+02:00", false},
		{"an exception beats a holiday", office, "2026-06-02T20:30:00+02:00", true},
		{"and has its own hours only", office, "2026-06-02T10:00:00+02:00", false},
		{"an exception without hours", office, "2026-06-03T10:00:00+02:00", false},
		{"a holiday does not cut the night before", nightHoliday, "2026-06-02T05:00:00+02:00", true},
		{"it cancels the night that starts on it", nightHoliday, "2026-06-02T23:00:00+02:00", false},
		{"up to its end on the next date", nightHoliday, "2026-06-03T05:00:00+02:00", false},
		{"a break after midnight", nightHoliday, "2026-06-02T01:30:00+02:00", false},
		{
			"a break closes its own window only",
			everyDay("UTC", `[{"start":"08:00","end":"16:00","breaks":[{"start":"12:00","end":"13:00"}]},{"start":"12:30","end":"20:00"}]`, ""),
			"2026-06-02T12:45:00Z", true,
		},

		{"no windows", `{"zone":"UTC"}`, "2026-06-02T12:45:00Z", false},
		{"always, in the far past", always, "0001-01-01T00:00:00Z", true},
		{"always, in the far future", always, "9999-12-31T23:59:59Z", true},
		{"not after the year 9999", everyDay("UTC", `[{"start":"00:00","end":"24:00"}]`, ""), "9999-12-31T23:59:59-01:00", false},
		{"before zones had standard time", at(of, "09:00", "10:00"), "1800-01-01T09:00:00+00:09", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := mustParse(t, test.schedule).Open(instant(t, test.at)); got != test.want {
				t.Errorf("Open(%s) = %t, want %t", test.at, got, test.want)
			}
		})
	}
}

func TestAWholeDayNeverShuts(t *testing.T) {
	for _, zone := range walkedZones {
		for _, day := range []string{`[{"start":"00:00","end":"24:00"}]`, `[{"start":"02:30","end":"02:30"}]`} {
			s := mustParse(t, everyDay(zone, day, ""))
			from := instant(t, "1980-01-01T00:00:00Z")
			for range 3 {
				if next, ok := s.Next(from); ok {
					t.Errorf("%s, %s: Next(%s) = %s, want none", zone, day, from, next)
				}
				from = from.AddDate(28, 0, 0)
			}
		}
	}
}

func TestNext(t *testing.T) {
	office := everyDay("Europe/Paris", `[{"start":"09:00","end":"12:00"},{"start":"12:00","end":"17:00"}]`, `,"holidays":["2026-06-01"]`)
	for _, test := range []struct{ name, schedule, at, want string }{
		{"touching windows are one", office, "2026-06-05T10:00:00Z", "2026-06-05T15:00:00Z"},
		{"a start is not next of itself", office, "2026-06-05T07:00:00Z", "2026-06-05T15:00:00Z"},
		{"just before it is", office, "2026-06-05T06:59:59.5Z", "2026-06-05T07:00:00Z"},
		{"a holiday is passed over", office, "2026-05-31T15:00:00Z", "2026-06-02T07:00:00Z"},
		{
			"a single date far ahead", `{"zone":"UTC","exceptions":{"2045-02-03":[{"start":"10:00","end":"11:00"}]}}`,
			"2026-01-01T00:00:00Z", "2045-02-03T10:00:00Z",
		},
		{
			"a year apart", `{"zone":"UTC","exceptions":{"2026-01-01":[{"start":"10:00","end":"11:00"}],"2027-01-01":[{"start":"10:00","end":"11:00"}]}}`,
			"2026-01-01T12:00:00Z", "2027-01-01T10:00:00Z",
		},
		{"nothing", `{"zone":"UTC"}`, "2026-01-01T00:00:00Z", ""},
		{
			"a hole that only a change of the clocks makes",
			everyDay("Europe/Paris", `[{"start":"00:00","end":"03:00"},{"start":"02:59","end":"24:00"}]`, ""),
			"2026-06-01T00:00:00Z", "2027-03-28T01:00:00Z",
		},
		{"time begins", everyDay("UTC", `[{"start":"00:00","end":"24:00"}]`, ""), "-0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		{"time ends", everyDay("UTC", `[{"start":"00:00","end":"24:00"}]`, ""), "9999-01-01T00:00:00Z", "+10000-01-01T00:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			at, want := time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
			if test.at[0] != '-' {
				at = instant(t, test.at)
			}
			if test.want != "" && test.want[0] != '+' {
				want = instant(t, test.want)
			}
			got, ok := mustParse(t, test.schedule).Next(at)
			if ok != (test.want != "") || ok && !got.Equal(want) {
				t.Errorf("Next(%s) = %s, %t, want %s", at, got, ok, test.want)
			}
		})
	}
}

func TestOpenAtAnyInstant(t *testing.T) {
	s := mustParse(t, everyDay("Europe/Paris", `[{"start":"22:00","end":"02:30"}]`, ""))
	for _, at := range []time.Time{{}, time.Unix(1<<62, 0), time.Unix(-1<<62, 0), time.Unix(1<<63-1, 0), time.Unix(-1<<63, 0)} {
		if y := at.Year(); (y < 1 || y > 9999) && s.Open(at) {
			t.Errorf("open in the year %d, want never outside of 1 to 9999", y)
		}
		if next, ok := s.Next(at); ok && !next.After(at) {
			t.Errorf("the next change after %v is %v", at, next)
		}
	}
}

func TestOpenDoesNotAllocate(t *testing.T) {
	s := mustParse(t, everyDay("Europe/Paris", `[{"start":"22:00","end":"02:30"}]`, `,"holidays":["2026-10-25"]`))
	for _, text := range []string{"2026-06-01T00:00:00Z", "2026-10-25T00:00:00Z"} {
		at := instant(t, text)
		if n := testing.AllocsPerRun(100, func() { s.Open(at) }); n != 0 {
			t.Errorf("Open(%s) allocates %v times, want 0", text, n)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := mustParse(b, everyDay("Europe/Paris", `[{"start":"09:00","end":"17:00","breaks":[{"start":"12:00","end":"13:00"}]}]`,
		`,"holidays":["2026-12-25"]`))
	for _, test := range []struct{ name, at string }{
		{"open", "2026-06-01T10:00:00Z"}, {"shut", "2026-06-01T20:00:00Z"}, {"change", "2026-10-25T00:30:00Z"},
	} {
		b.Run(test.name, func(b *testing.B) {
			at := instant(b, test.at)
			b.ReportAllocs()
			for b.Loop() {
				s.Open(at)
			}
		})
	}
}

func unixTime(u int64) time.Time { return time.Unix(u, 0) }

func TestShortFormMeansTheSame(t *testing.T) {
	long := value.Map{
		"zone": "Europe/Paris",
		"windows": value.Map{
			"monday":  value.List{value.Map{"start": "09:00", "end": "17:30", "breaks": value.List{value.Map{"start": "12:00", "end": "13:00"}, value.Map{"start": "15:00", "end": "15:15"}}}},
			"tuesday": value.List{value.Map{"start": "09:00", "end": "17:30", "breaks": value.List{value.Map{"start": "12:00", "end": "13:00"}, value.Map{"start": "15:00", "end": "15:15"}}}},
			"friday":  value.List{value.Map{"start": "08:00", "end": "12:00"}, value.Map{"start": "22:00", "end": "02:30"}},
			"sunday":  value.List{value.Map{"start": "00:00", "end": "24:00"}},
		},
		"holidays":   value.List{"2026-12-25", "2027-01-01"},
		"exceptions": value.Map{"2026-12-24": value.List{value.Map{"start": "10:00", "end": "11:00"}}, "2026-12-28": value.List{}},
	}
	short := value.Map{
		"zone":       "Europe/Paris",
		"mon-tue":    "09:00-17:30 except 12:00-13:00 15:00-15:15",
		"friday":     "08:00-12:00, 22:00-02:30",
		"sun":        "00:00-24:00",
		"holidays":   "2026-12-25, 2027-01-01",
		"2026-12-24": "10:00-11:00",
		"2026-12-28": "closed",
	}
	a, err := Parse(long)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(short)
	if err != nil {
		t.Fatal(err)
	}
	for at := time.Date(2026, 12, 14, 0, 0, 0, 0, time.UTC); at.Before(time.Date(2027, 1, 5, 0, 0, 0, 0, time.UTC)); at = at.Add(time.Minute) {
		if a.Open(at) != b.Open(at) {
			t.Fatalf("at %v the long form is open: %v, the short one: %v", at, a.Open(at), b.Open(at))
		}
	}
}

func TestShortFormRefusals(t *testing.T) {
	for _, test := range []struct{ field, text, want string }{
		{"mon-fry", "09:00-17:00", "schedule: mon-fry: no such field"},
		{"mon", "9-17", `schedule: mon[0].end: "17" is no time, such as 09:00; mon[0].start: "9" is no time, such as 09:00`},
		{"mon", "09:00", `schedule: mon[0]: "09:00" is no window, such as 09:00-17:30`},
		{"mon", "09:00-17:00 except 18:00-19:00", "schedule: mon[0].breaks[0]: not inside its window"},
		{"sat-mon", "09:00-17:00", "schedule: sunday: sunday is in sat-mon already"},
		{"2026-02-30", "closed", "schedule: 2026-02-30: no such field"},
		{"holidays", "2026-12-25,", `schedule: holidays[1]: "" is no date, such as 2026-12-25`},
	} {
		_, err := Parse(value.Map{"zone": "UTC", "sunday": "closed", test.field: test.text})
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %q\n got %v\nwant %s", test.field, test.text, err, test.want)
		}
	}
}
