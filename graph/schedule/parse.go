package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// Bounds of a schedule: far beyond what people work, and low enough that Open stays quick.
const (
	MaxWindows = 32   // that start on one day
	MaxBreaks  = 32   // in one window
	MaxDates   = 4096 // holidays and exceptions together
)

// maxFaults keeps the error of a large schedule that is all wrong readable.
const maxFaults = 20

// A Fault is one thing wrong with a schedule. Path names the field:
// windows.monday[0].breaks[1].end.
type Fault struct{ Path, Message string }

// An Error says why a value is no schedule: all its faults, up to twenty, sorted by path.
type Error struct{ Faults []Fault }

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("schedule: ")
	for i, f := range e.Faults {
		if i > 0 {
			b.WriteString("; ")
		}
		if f.Path != "" {
			b.WriteString(f.Path + ": ")
		}
		b.WriteString(f.Message)
	}
	return b.String()
}

// Parse reads a schedule of the shape that the package comment shows. An error is an
// *Error.
func Parse(fields value.Map) (*Schedule, error) {
	p := parser{}
	s := p.schedule(fields)
	if len(p.faults) > 0 {
		slices.SortStableFunc(p.faults, func(a, b Fault) int { return strings.Compare(a.Path, b.Path) })
		return nil, &Error{Faults: p.faults[:min(len(p.faults), maxFaults)]}
	}
	return s, nil
}

type parser struct{ faults []Fault }

func (p *parser) fault(path, format string, args ...any) {
	p.faults = append(p.faults, Fault{Path: path, Message: fmt.Sprintf(format, args...)})
}

func (p *parser) schedule(fields value.Map) *Schedule {
	s := &Schedule{zone: time.UTC}
	if name, ok := fields["zone"].(string); !ok {
		p.fault("zone", "must be a string, such as Europe/Paris")
	} else if zone, err := loadZone(name); err != nil {
		p.fault("zone", "%q: %v", name, err)
	} else {
		s.zone = zone
	}
	named := make(map[time.Weekday]string)
	for name, windows := range p.object(fields, "windows") {
		path := "windows." + name
		if day, ok := weekdays[name]; ok {
			named[day] = path
			s.week[day] = p.windows(path, windows)
		} else {
			p.fault(path, "not a day of the week: monday to sunday")
		}
	}
	dates := make(map[int64][]window)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch name {
		case "zone", "windows", "holidays", "exceptions":
		default:
			// A field that is misspelt must not be ignored, or a door stays open.
			if !p.short(s, named, dates, name, fields[name]) {
				p.fault(name, "no such field")
			}
		}
	}
	p.specials(s, fields, dates)
	return s
}

var weekdays = map[string]time.Weekday{
	"monday": time.Monday, "tuesday": time.Tuesday, "wednesday": time.Wednesday, "thursday": time.Thursday,
	"friday": time.Friday, "saturday": time.Saturday, "sunday": time.Sunday,
}

// specials gathers holidays and exceptions; dates are those of the short form.
func (p *parser) specials(s *Schedule, fields value.Map, dates map[int64][]window) {
	holidays, exceptions := p.list(fields, "holidays"), p.object(fields, "exceptions")
	if len(holidays)+len(exceptions)+len(dates) > MaxDates {
		p.fault("holidays", "more than %d dates with the exceptions", MaxDates)
		return
	}
	byDay := make(map[int64][]window, len(holidays)+len(exceptions))
	for i, v := range holidays {
		path := fmt.Sprintf("holidays[%d]", i)
		if date, ok := v.(string); !ok {
			p.fault(path, "must be a date, such as 2026-12-25")
		} else if day, ok := p.date(path, date); ok {
			byDay[day] = nil
		}
	}
	for date, windows := range exceptions {
		path := "exceptions." + date
		if day, ok := p.date(path, date); ok {
			byDay[day] = p.windows(path, windows)
		}
	}
	for day, windows := range dates {
		if _, twice := exceptions[time.Unix(day*daySeconds, 0).UTC().Format(time.DateOnly)]; twice {
			p.fault("exceptions", "%s is a field of its own as well", time.Unix(day*daySeconds, 0).UTC().Format(time.DateOnly))
		}
		byDay[day] = windows
	}
	for day, windows := range byDay {
		s.specials = append(s.specials, special{day, windows})
	}
	slices.SortFunc(s.specials, func(a, b special) int { return int(a.day - b.day) })
}

func (p *parser) date(path, text string) (int64, bool) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil || t.Year() < 1 {
		p.fault(path, "%q is no date, such as 2026-12-25", text)
		return 0, false
	}
	return floorDay(t.Unix()), true
}

func (p *parser) windows(path string, v value.Value) []window {
	if text, ok := v.(string); ok {
		v = p.textWindows(path, text)
	}
	list, ok := v.(value.List)
	if !ok {
		p.fault(path, "must be a list of windows, or a text such as 09:00-12:00, 13:00-17:30")
		return nil
	}
	if len(list) > MaxWindows {
		p.fault(path, "more than %d windows", MaxWindows)
		return nil
	}
	windows := make([]window, 0, len(list))
	for i, element := range list {
		path := fmt.Sprintf("%s[%d]", path, i)
		fields, ok := element.(value.Map)
		if !ok {
			p.fault(path, "must have start and end")
			continue
		}
		p.only(fields, path+".", "start", "end", "breaks")
		if w, ok := p.times(path, fields); ok {
			windows = append(windows, window{span: w, breaks: p.breaks(path, fields, w)})
		}
	}
	return windows
}

func (p *parser) breaks(path string, fields value.Map, w span) []span {
	v, ok := fields["breaks"]
	if !ok {
		return nil
	}
	path += ".breaks"
	list, ok := v.(value.List)
	if !ok {
		p.fault(path, "must be a list of breaks")
		return nil
	}
	if len(list) > MaxBreaks {
		p.fault(path, "more than %d breaks", MaxBreaks)
		return nil
	}
	var breaks []span
	for i, element := range list {
		path := fmt.Sprintf("%s[%d]", path, i)
		fields, ok := element.(value.Map)
		if !ok {
			p.fault(path, "must have start and end")
			continue
		}
		p.only(fields, path+".", "start", "end")
		b, ok := p.times(path, fields)
		switch {
		case !ok:
			continue
		case b.end-b.start == daySeconds && w.end-w.start < daySeconds:
			p.fault(path, "start and end are the same")
			continue
		case b.start < w.start:
			b.start, b.end = b.start+daySeconds, b.end+daySeconds
		}
		if b.start < w.start || b.end > w.end {
			p.fault(path, "not inside its window")
			continue
		}
		breaks = append(breaks, b)
	}
	return breaks
}

// times reads start and end, and puts an end that is not after its start on the next day.
func (p *parser) times(path string, fields value.Map) (span, bool) {
	start, ok := p.clock(path+".start", fields["start"])
	if ok && start == daySeconds {
		p.fault(path+".start", "must be before 24:00")
		ok = false
	}
	end, also := p.clock(path+".end", fields["end"])
	if !ok || !also {
		return span{}, false
	}
	if end <= start {
		end += daySeconds
	}
	return span{start, end}, true
}

// clock reads HH:MM, from 00:00 to 24:00, as seconds.
func (p *parser) clock(path string, v value.Value) (int64, bool) {
	text, ok := v.(string)
	if ok && len(text) == 5 && text[2] == ':' {
		digit := func(i int) int64 { return int64(text[i]) - '0' }
		valid := true
		for _, i := range [...]int{0, 1, 3, 4} {
			valid = valid && digit(i) >= 0 && digit(i) <= 9
		}
		hours, minutes := digit(0)*10+digit(1), digit(3)*10+digit(4)
		if valid && (hours < 24 && minutes < 60 || hours == 24 && minutes == 0) {
			return (hours*60 + minutes) * 60, true
		}
	}
	if v == nil {
		p.fault(path, "must be a time, such as 09:00")
	} else {
		p.fault(path, "%.40q is no time, such as 09:00", fmt.Sprint(v))
	}
	return 0, false
}

func (p *parser) object(fields value.Map, name string) value.Map {
	v, ok := fields[name]
	if !ok {
		return nil
	}
	m, ok := v.(value.Map)
	if !ok {
		p.fault(name, "must be an object")
	}
	return m
}

func (p *parser) list(fields value.Map, name string) value.List {
	v, ok := fields[name]
	if !ok {
		return nil
	}
	if text, ok := v.(string); ok {
		var l value.List
		for _, element := range strings.Split(text, ",") {
			l = append(l, strings.TrimSpace(element))
		}
		return l
	}
	l, ok := v.(value.List)
	if !ok {
		p.fault(name, "must be a list")
	}
	return l
}

// only refuses fields that a schedule does not have: one that is misspelt must not be
// ignored, or a door stays open.
func (p *parser) only(fields value.Map, prefix string, known ...string) {
	for name := range fields {
		if !slices.Contains(known, name) {
			p.fault(prefix+name, "no such field")
		}
	}
}
