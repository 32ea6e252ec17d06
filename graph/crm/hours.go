package crm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// Hours are when a shift is open. Package schedule says exactly what they mean, at night
// and when clocks change, too.
type Hours struct {
	Zone string // an IANA name, such as Europe/Paris, or UTC
	Week Week

	// Holidays cancel what begins on their date. A date is written 2026-12-25.
	Holidays []string

	// Exceptions replace what begins on their date, possibly by nothing.
	Exceptions map[string][]Window
}

// BusinessHours are when an organisation works. They are compared with shifts as clocks
// on the wall show them, each in its own zone.
type BusinessHours struct {
	FirstDay time.Weekday // of the week, for those who show one
	Week     Week
}

// A Week is the windows that begin on each day, by time.Weekday.
type Week [7][]Window

// A Window is working time on one day. If End is not after Start it lies on the next day.
type Window struct {
	Span
	Breaks []Span // inside the window
}

// A Span is from one time of the day to another.
type Span struct{ Start, End Clock }

// A Clock is a time of the day in minutes since midnight, 0 to 1440.
type Clock int

const (
	day  = 24 * 60 // minutes
	week = 7 * day
)

// String writes the time as 09:00.
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", int(c)/60, int(c)%60) }

// String writes the span as 09:00-17:30.
func (s Span) String() string { return s.Start.String() + "-" + s.End.String() }

func (s Span) compare(o Span) int {
	return cmp.Or(cmp.Compare(s.Start, o.Start), cmp.Compare(s.End, o.End))
}

// minutes is the span's end counted from the midnight before its start.
func (s Span) minutes() (start, end int) {
	start, end = int(s.Start), int(s.End)
	if end <= start {
		end += day
	}
	return start, end
}

func (w Window) compare(o Window) int {
	return cmp.Or(w.Span.compare(o.Span), slices.CompareFunc(w.Breaks, o.Breaks, Span.compare))
}

func sortWindows(list []Window) {
	for i := range list {
		slices.SortFunc(list[i].Breaks, Span.compare)
	}
	slices.SortFunc(list, Window.compare)
}

func (h *Hours) sort() {
	for i := range h.Week {
		sortWindows(h.Week[i])
	}
	slices.Sort(h.Holidays)
	for _, windows := range h.Exceptions {
		sortWindows(windows)
	}
}

func (b *BusinessHours) sort() {
	for i := range b.Week {
		sortWindows(b.Week[i])
	}
}

// weekdays are the names of the days as schedules have them, by time.Weekday.
var weekdays = [7]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// closed is how a date without windows is written.
const closed = "closed"

// fields is the schedule in the short form of package schedule, in which every value is a
// text: so a model's condition can take it as map<string>.
func (h *Hours) fields() value.Map {
	m := h.Week.fields()
	m["zone"] = h.Zone
	if len(h.Holidays) > 0 {
		m["holidays"] = strings.Join(slices.Sorted(slices.Values(h.Holidays)), ", ")
	}
	for date, windows := range h.Exceptions {
		m[date] = WindowsText(windows)
	}
	return m
}

func (w *Week) fields() value.Map {
	m := value.Map{}
	for i, windows := range w {
		if len(windows) > 0 {
			m[weekdays[i]] = WindowsText(windows)
		}
	}
	return m
}

// WindowsText is what ParseWindows reads, in its canonical order.
func WindowsText(windows []Window) string {
	if len(windows) == 0 {
		return closed
	}
	texts := make([]string, len(windows))
	for i, w := range windows {
		texts[i] = w.String()
		for j, b := range slices.SortedFunc(slices.Values(w.Breaks), Span.compare) {
			if j == 0 {
				texts[i] += " except"
			}
			texts[i] += " " + b.String()
		}
	}
	slices.Sort(texts) // as Window.compare does
	return strings.Join(texts, ", ")
}

// hoursFrom reads what fields writes.
func hoursFrom(m value.Map) (Hours, error) {
	h := Hours{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		text, ok := m[name].(string)
		if !ok {
			return Hours{}, fmt.Errorf("%s is no text", name)
		}
		switch name {
		case "zone":
			h.Zone = text
			continue
		case "holidays":
			h.Holidays = strings.Split(text, ", ")
			continue
		}
		windows, err := ParseWindows(text)
		if err != nil {
			return Hours{}, fmt.Errorf("%s: %w", name, err)
		}
		if d := slices.Index(weekdays[:], name); d >= 0 {
			h.Week[d] = windows
			continue
		}
		if h.Exceptions == nil {
			h.Exceptions = map[string][]Window{}
		}
		h.Exceptions[name] = windows
	}
	return h, nil
}

func weekFrom(m value.Map) (Week, error) {
	h, err := hoursFrom(m)
	if err == nil && len(h.Exceptions) > 0 {
		err = fmt.Errorf("%v is no day of the week", slices.Sorted(maps.Keys(h.Exceptions)))
	}
	return h.Week, err
}

// within reports whether all working time of the week lies inside another's. A week is a
// circle, and windows that meet are one.
func (w *Week) within(outer *Week) bool {
	var open [week]bool
	outer.each(func(minute int) { open[minute] = true })
	inside := true
	w.each(func(minute int) { inside = inside && open[minute] })
	return inside
}

// each visits the minutes of the week, from Sunday's midnight, that a window covers,
// breaks included.
func (w *Week) each(visit func(minute int)) {
	for d, windows := range w {
		for _, window := range windows {
			start, end := window.minutes()
			for m := start; m < end; m++ {
				visit((d*day + m) % week)
			}
		}
	}
}
