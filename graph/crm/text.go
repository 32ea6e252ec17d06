package crm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// How people write what an organisation holds: in files, in the API, on the command line.

// ParseWindows reads the working time of one day: "09:00-12:30, 13:30-18:00", or with
// breaks "22:00-06:00 except 02:00-02:30 04:00-04:15". Nothing, or "closed", is none. Only
// its form is checked, not whether breaks lie inside and windows apart.
func ParseWindows(text string) ([]Window, error) {
	if text = strings.TrimSpace(text); text == "" || text == closed {
		return nil, nil
	}
	var windows []Window
	for part := range strings.SplitSeq(text, ",") {
		span, breaks, broken := strings.Cut(strings.TrimSpace(part), " except")
		var w Window
		var err error
		if w.Span, err = ParseSpan(span); err != nil {
			return nil, err
		}
		for _, b := range strings.Fields(breaks) {
			s, err := ParseSpan(b)
			if err != nil {
				return nil, err
			}
			w.Breaks = append(w.Breaks, s)
		}
		if broken && len(w.Breaks) == 0 {
			return nil, fmt.Errorf("%.80q: no break follows except", part)
		}
		windows = append(windows, w)
	}
	return windows, nil
}

// ParseSpan reads a span such as 09:00-17:30.
func ParseSpan(text string) (Span, error) {
	start, end, ok := strings.Cut(text, "-")
	s, err := ParseClock(start)
	e, also := ParseClock(end)
	if !ok || err != nil || also != nil {
		return Span{}, fmt.Errorf("%.40q is no span of time such as 09:00-17:30", text)
	}
	return Span{Start: s, End: e}, nil
}

// ParseClock reads a time of the day from 00:00 to 24:00.
func ParseClock(text string) (Clock, error) {
	digit := func(i int) int {
		if i < len(text) && text[i] >= '0' && text[i] <= '9' {
			return int(text[i] - '0')
		}
		return 1000 // more than any time has
	}
	hours, minutes := 10*digit(0)+digit(1), 10*digit(3)+digit(4)
	if len(text) != len("09:00") || text[2] != ':' || minutes >= 60 || hours*60+minutes > day {
		return 0, fmt.Errorf("%.40q is no time of the day from 00:00 to 24:00", text)
	}
	return Clock(hours*60 + minutes), nil
}

// ParseWeekday reads the name of a day in lower case: sunday.
func ParseWeekday(text string) (time.Weekday, bool) {
	i := slices.Index(weekdays[:], text)
	return time.Weekday(max(0, i)), i >= 0
}

// WeekdayText is what ParseWeekday reads.
func WeekdayText(d time.Weekday) string { return weekdays[d] }

// permissionNames are the permissions of a module by their bits.
var permissionNames = [...]string{"view", "create", "edit", "delete", "share", "transfer", "view_all"}

// ParsePermission reads one permission of a module.
func ParsePermission(text string) (Permissions, bool) {
	i := slices.Index(permissionNames[:], text)
	if i < 0 {
		return 0, false
	}
	return 1 << i, true
}

// Names lists the permissions of a set, in their order.
func (p Permissions) Names() []string {
	var names []string
	for i, name := range permissionNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// PermissionNames are all the permissions of a module, in their order.
func PermissionNames() []string { return slices.Clone(permissionNames[:]) }

// AllPermissions are all that a profile can have in a module.
func AllPermissions() Permissions { return allPermissions }

// ParseRef reads what Ref.String writes: deal:d1.
func ParseRef(text string) (Ref, error) {
	module, id, ok := strings.Cut(text, ":")
	if !ok || module == "" || id == "" {
		return Ref{}, fmt.Errorf("%.80q names no record, such as deal:d1", text)
	}
	return Ref{Module: module, ID: id}, nil
}
