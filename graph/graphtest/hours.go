package graphtest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// hours are the schedules that generated tuples carry. All are in UTC, where a local
// time is an instant, so that a few lines can tell what they mean.
var hours = []value.Map{
	{"zone": "UTC", "windows": value.Map{"sunday": value.List{
		value.Map{"start": "01:00", "end": "01:30"}, // until the epoch
	}}},
	{"zone": "UTC", "windows": value.Map{"sunday": value.List{
		value.Map{"start": "01:30", "end": "09:00", "breaks": value.List{value.Map{"start": "02:30", "end": "03:00"}}},
	}}},
	{"zone": "UTC", "windows": value.Map{"saturday": value.List{
		value.Map{"start": "22:00", "end": "02:00", "breaks": value.List{value.Map{"start": "01:00", "end": "01:30"}}},
	}}},
	{
		"zone": "UTC", "windows": value.Map{"saturday": value.List{value.Map{"start": "22:00", "end": "02:00"}}},
		"holidays": value.List{"2026-03-29"},
	},
	{
		"zone": "UTC", "windows": value.Map{"sunday": value.List{value.Map{"start": "00:00", "end": "24:00"}}},
		"holidays": value.List{"2026-03-29"},
	},
	{
		"zone": "UTC", "windows": value.Map{"sunday": value.List{value.Map{"start": "00:00", "end": "24:00"}}},
		"holidays":   value.List{"2026-03-29"},
		"exceptions": value.Map{"2026-03-29": value.List{value.Map{"start": "00:00", "end": "01:30"}}},
	},
	{"zone": "UTC"},
	{"windows": value.Map{}}, // of no zone, hence without meaning
}

// open says whether a schedule in UTC is open, Undefined if it has no zone.
func open(schedule value.Map, at time.Time) Truth {
	if schedule["zone"] != "UTC" {
		return Undefined
	}
	at = at.UTC()
	midnight := at.Truncate(24 * time.Hour)
	for _, day := range []time.Time{midnight, midnight.AddDate(0, 0, -1)} {
		for _, w := range windowsOf(schedule, day) {
			window := w.(value.Map)
			if !within(window, at.Sub(day), 0) {
				continue
			}
			breaks, _ := window["breaks"].(value.List)
			start := clock(window["start"])
			if !slices.ContainsFunc(breaks, func(b value.Value) bool { return within(b.(value.Map), at.Sub(day), start) }) {
				return True
			}
		}
	}
	return False
}

func windowsOf(schedule value.Map, day time.Time) value.List {
	date := day.Format(time.DateOnly)
	exceptions, _ := schedule["exceptions"].(value.Map)
	if windows, ok := exceptions[date]; ok {
		return windows.(value.List)
	}
	if holidays, _ := schedule["holidays"].(value.List); slices.Contains(holidays, value.Value(date)) {
		return nil
	}
	windows, _ := schedule["windows"].(value.Map)
	list, _ := windows[strings.ToLower(day.Weekday().String())].(value.List)
	return list
}

// within says whether a time of day, beyond midnight if need be, lies in a span that
// begins at the earliest at notBefore.
func within(span value.Map, since, notBefore time.Duration) bool {
	start, end := clock(span["start"]), clock(span["end"])
	if end <= start {
		end += 24 * time.Hour
	}
	if start < notBefore {
		start, end = start+24*time.Hour, end+24*time.Hour
	}
	return start <= since && since < end
}

func clock(v value.Value) time.Duration {
	hour, minute, _ := strings.Cut(v.(string), ":")
	h, _ := strconv.Atoi(hour)
	m, _ := strconv.Atoi(minute)
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
}
