package schedule

import (
	"fmt"
	"strings"
	"time"

	"github.com/remit-authz/remit/graph/value"
)

// Days finds the days of the week that a field of the short form names: one of them
// (monday or mon) or a range (mon-fri), which may run over the end of the week. It reports
// whether the name is one.
func Days(name string) ([]time.Weekday, bool) {
	first, last, isRange := strings.Cut(name, "-")
	from, ok := dayNamed(first)
	if !ok {
		return nil, false
	}
	to := from
	if isRange {
		if to, ok = dayNamed(last); !ok {
			return nil, false
		}
	}
	list := []time.Weekday{from}
	for day := from; day != to; {
		day = (day + 1) % 7
		list = append(list, day)
	}
	return list, true
}

func dayNamed(name string) (time.Weekday, bool) {
	for full, day := range weekdays {
		if name == full || name == full[:3] {
			return day, true
		}
	}
	return 0, false
}

// short reads a field of the short form, and reports whether the name is one.
func (p *parser) short(s *Schedule, named map[time.Weekday]string, dates map[int64][]window, name string, v value.Value) bool {
	if list, ok := Days(name); ok {
		windows := p.windows(name, v)
		for _, day := range list {
			if before, twice := named[day]; twice {
				p.fault(name, "%s is in %s already", strings.ToLower(day.String()), before)
				continue
			}
			named[day] = name
			s.week[day] = windows
		}
		return true
	}
	if _, err := time.Parse(time.DateOnly, name); err != nil {
		return false
	}
	if day, ok := p.date(name, name); ok {
		dates[day] = p.windows(name, v)
	}
	return true
}

// textWindows turns the text of a day's windows into the list that it stands for:
// "09:00-12:00, 22:00-02:30 except 00:00-00:30", or "closed".
func (p *parser) textWindows(path, text string) value.List {
	if strings.TrimSpace(text) == "closed" {
		return value.List{}
	}
	var list value.List
	for i, part := range strings.Split(text, ",") {
		path := fmt.Sprintf("%s[%d]", path, i)
		window, breaks, broken := strings.Cut(part, " except ")
		fields, ok := p.textSpan(path, window)
		if !ok {
			continue
		}
		if broken {
			var between value.List
			for _, b := range strings.Fields(breaks) {
				if fields, ok := p.textSpan(path, b); ok {
					between = append(between, fields)
				}
			}
			fields["breaks"] = between
		}
		list = append(list, fields)
	}
	return list
}

func (p *parser) textSpan(path, text string) (value.Map, bool) {
	start, end, ok := strings.Cut(strings.TrimSpace(text), "-")
	if !ok {
		p.fault(path, "%.40q is no window, such as 09:00-17:30", text)
		return nil, false
	}
	return value.Map{"start": start, "end": end}, true
}
