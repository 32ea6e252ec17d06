package orgfile

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/remit-authz/remit/cmd/remit/yamlfile"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/schedule"
)

func (p *parser) businessHours(n *yaml.Node) *crm.BusinessHours {
	var b crm.BusinessHours
	days := make([]string, 0, 7)
	for d := time.Sunday; d <= time.Saturday; d++ {
		days = append(days, crm.WeekdayText(d))
	}
	p.keys(n, "business_hours", false,
		choiceKey(p, "first_day", &b.FirstDay, crm.ParseWeekday, days),
		key{name: "hours", read: func(n *yaml.Node, what string) { b.Week = p.week(n, what) }}.needed(),
	)
	return &b
}

// week reads hours by day (monday, mon) or by a range of days (mon-fri).
func (p *parser) week(n *yaml.Node, what string) crm.Week {
	var week crm.Week
	named := map[time.Weekday]string{}
	for _, e := range p.mapping(n, what) {
		days, ok := schedule.Days(e.Key)
		if !ok {
			p.Faultf(e.Place, "%q is no day of the week; write monday or mon, or some in a row as mon-fri", e.Key)
			continue
		}
		windows := p.windows(e.Value, what+" of "+e.Key)
		for _, d := range days {
			if before, twice := named[d]; twice {
				p.Faultf(e.Place, "%s is in %s already", crm.WeekdayText(d), before)
				continue
			}
			named[d] = e.Key
			week[d] = windows
		}
	}
	return week
}

func (p *parser) windows(n *yaml.Node, what string) []crm.Window {
	const right = "write 09:00-12:30, 13:30-18:00, or 22:00-06:00 except 02:00-02:30, or closed"
	if !isText(n) {
		p.Faultf(p.at(n), "%s must be a text, not %s; %s", what, kind(n), right)
		return nil
	}
	text := yamlfile.Follow(n).Value
	windows, err := crm.ParseWindows(text)
	switch {
	case text == "":
		p.Faultf(p.at(n), "%s is empty; %s", what, right)
	case err != nil:
		p.Faultf(p.at(n), "%s: %s; %s", what, err, right)
	}
	return windows
}

func (p *parser) dates(n *yaml.Node, what string) []string {
	var dates []string
	for _, element := range p.list(n, what) {
		date := p.text(element, "a date")
		p.date(p.at(element), date)
		dates = append(dates, date)
	}
	return dates
}

func (p *parser) date(at yamlfile.Place, text string) {
	if _, err := time.Parse(time.DateOnly, text); err != nil && text != "" {
		p.Faultf(at, "%q is no date such as 2026-12-25", text)
	}
}

// exceptions are the hours of single dates.
func (p *parser) exceptions(n *yaml.Node, what string) map[string][]crm.Window {
	exceptions := map[string][]crm.Window{}
	for _, e := range p.mapping(n, what) {
		p.date(e.Place, e.Key)
		exceptions[e.Key] = p.windows(e.Value, "hours of "+e.Key)
	}
	return exceptions
}

// A run is days in a row that have the same hours.
type run struct{ days, text string }

// runs are a week's hours as they are written: from Monday on, days in a row together.
func runs(w *crm.Week) []run {
	var list []run
	short := func(d time.Weekday) string { return crm.WeekdayText(d)[:3] }
	for i := 1; i <= 7; {
		first := time.Weekday(i % 7)
		text := crm.WindowsText(w[first])
		j := i + 1
		for j <= 7 && crm.WindowsText(w[j%7]) == text {
			j++
		}
		days := crm.WeekdayText(first)
		if j > i+1 {
			days = short(first) + "-" + short(time.Weekday((j-1)%7))
		}
		if len(w[first]) > 0 {
			list = append(list, run{days, text})
		}
		i = j
	}
	return list
}
