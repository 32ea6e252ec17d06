package schedule

import (
	"errors"
	"strings"
	"testing"

	"github.com/remit-authz/remit/graph/value"
)

func TestParseNamesWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ name, schedule, want string }{
		{"nothing", `{}`, "zone: must be a string, such as Europe/Paris"},
		{"an unknown zone", `{"zone":"Mars/Olympus"}`, `zone: "Mars/Olympus": unknown zone`},
		{"the machine's zone", `{"zone":"Local"}`, `zone: "Local": not a zone that means the same everywhere`},
		{"an empty zone", `{"zone":""}`, `zone: "": a zone is needed, such as Europe/Paris`},
		{"a way out of the zone files", `{"zone":"../../etc/passwd"}`, `zone: "../../etc/passwd": unknown zone`},
		{"an unknown field", `{"zone":"UTC","window":{}}`, "window: no such field"},
		{"an unknown day", `{"zone":"UTC","windows":{"Mon":[]}}`, "windows.Mon: not a day of the week: monday to sunday"},
		{"windows that are a list", `{"zone":"UTC","windows":[]}`, "windows: must be an object"},
		{"a day that is no list", `{"zone":"UTC","windows":{"monday":{}}}`, "windows.monday: must be a list of windows, or a text such as 09:00-12:00, 13:00-17:30"},
		{"a window that is none", `{"zone":"UTC","windows":{"monday":["9-5"]}}`, "windows.monday[0]: must have start and end"},
		{"no end", `{"zone":"UTC","windows":{"monday":[{"start":"09:00"}]}}`, "windows.monday[0].end: must be a time, such as 09:00"},
		{
			"a time beyond the day", `{"zone":"UTC","windows":{"monday":[{"start":"09:00","end":"24:01"}]}}`,
			`windows.monday[0].end: "24:01" is no time, such as 09:00`,
		},
		{
			"a time without a zero", `{"zone":"UTC","windows":{"monday":[{"start":"9:00","end":"12:00"}]}}`,
			`windows.monday[0].start: "9:00" is no time, such as 09:00`,
		},
		{
			"a number for a time", `{"zone":"UTC","windows":{"monday":[{"start":9,"end":"12:00"}]}}`,
			`windows.monday[0].start: "9" is no time, such as 09:00`,
		},
		{
			"a start at 24:00", `{"zone":"UTC","windows":{"monday":[{"start":"24:00","end":"12:00"}]}}`,
			"windows.monday[0].start: must be before 24:00",
		},
		{
			"a misspelt field", `{"zone":"UTC","windows":{"monday":[{"start":"09:00","end":"12:00","break":[]}]}}`,
			"windows.monday[0].break: no such field",
		},
		{
			"a break outside", `{"zone":"UTC","windows":{"monday":[{"start":"09:00","end":"12:00","breaks":[{"start":"11:30","end":"12:30"}]}]}}`,
			"windows.monday[0].breaks[0]: not inside its window",
		},
		{
			"a break before a night", `{"zone":"UTC","windows":{"monday":[{"start":"22:00","end":"06:00","breaks":[{"start":"21:00","end":"21:30"}]}]}}`,
			"windows.monday[0].breaks[0]: not inside its window",
		},
		{
			"an empty break", `{"zone":"UTC","windows":{"monday":[{"start":"09:00","end":"12:00","breaks":[{"start":"11:30","end":"11:30"}]}]}}`,
			"windows.monday[0].breaks[0]: start and end are the same",
		},
		{
			"a break that is none", `{"zone":"UTC","windows":{"monday":[{"start":"09:00","end":"12:00","breaks":[1]}]}}`,
			"windows.monday[0].breaks[0]: must have start and end",
		},
		{"a date that does not exist", `{"zone":"UTC","holidays":["2026-02-29"]}`, `holidays[0]: "2026-02-29" is no date, such as 2026-12-25`},
		{"a holiday that is none", `{"zone":"UTC","holidays":[20261225]}`, "holidays[0]: must be a date, such as 2026-12-25"},
		{"an exception's date", `{"zone":"UTC","exceptions":{"25.12.2026":[]}}`, `exceptions.25.12.2026: "25.12.2026" is no date, such as 2026-12-25`},
		{"an exception without windows", `{"zone":"UTC","exceptions":{"2026-12-25":null}}`, "exceptions.2026-12-25: must be a list of windows, or a text such as 09:00-12:00, 13:00-17:30"},
		{"two faults", `{"zone":"UTC","holidays":1,"windows":1}`, "holidays: must be a list; windows: must be an object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fields, err := value.ParseJSON([]byte(test.schedule))
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(fields)
			var faults *Error
			if !errors.As(err, &faults) {
				t.Fatalf("Parse = %v, want an *Error", err)
			}
			if got := strings.TrimPrefix(err.Error(), "schedule: "); got != test.want {
				t.Errorf("Parse = %q, want %q", got, test.want)
			}
		})
	}
}

func TestParseBounds(t *testing.T) {
	many := func(n int, v value.Value) value.List {
		l := make(value.List, n)
		for i := range l {
			l[i] = v
		}
		return l
	}
	window := value.Map{"start": "09:00", "end": "10:00"}
	for _, test := range []struct {
		name   string
		fields value.Map
		ok     bool
	}{
		{"windows", value.Map{"windows": value.Map{"monday": many(MaxWindows, window)}}, true},
		{"more windows", value.Map{"windows": value.Map{"monday": many(MaxWindows+1, window)}}, false},
		{"breaks", value.Map{"windows": value.Map{"monday": value.List{value.Map{"start": "08:00", "end": "12:00", "breaks": many(MaxBreaks, window)}}}}, true},
		{"more breaks", value.Map{"windows": value.Map{"monday": value.List{value.Map{"start": "08:00", "end": "12:00", "breaks": many(MaxBreaks+1, window)}}}}, false},
		{"holidays", value.Map{"holidays": many(MaxDates, "2026-12-25")}, true},
		{"more holidays", value.Map{"holidays": many(MaxDates+1, "2026-12-25")}, false},
		{"very many faults", value.Map{"holidays": many(MaxDates, "x")}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.fields["zone"] = "UTC"
			_, err := Parse(test.fields)
			if (err == nil) != test.ok {
				t.Errorf("Parse = %v, want ok = %t", err, test.ok)
			}
			var faults *Error
			if errors.As(err, &faults) && len(faults.Faults) > maxFaults {
				t.Errorf("Parse reports %d faults, want at most %d", len(faults.Faults), maxFaults)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everyDay("Europe/Paris", `[{"start":"22:00","end":"02:30","breaks":[{"start":"23:30","end":"00:30"}]}]`,
		`,"holidays":["2026-10-25"],"exceptions":{"2026-10-26":[]}`)), int64(1792890000))
	f.Fuzz(func(t *testing.T, data []byte, unix int64) {
		fields, err := value.ParseJSON(data)
		if err != nil {
			return
		}
		s, err := Parse(fields)
		if err != nil {
			return
		}
		s.Open(unixTime(unix))
		if next, ok := s.Next(unixTime(unix)); ok && s.Open(next) == s.Open(unixTime(unix)) {
			t.Errorf("Next(%d) = %s, where nothing changes", unix, next)
		}
	})
}
