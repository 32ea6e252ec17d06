package schedule

import (
	"errors"
	"math"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // so that zones are known where the machine has no zone data
)

// zones are the locations that were loaded, by name. Only names that exist get in, so it
// stays small.
var zones sync.Map

// loadZone finds a zone by its IANA name. What depends on the machine's settings, and what
// counts leap seconds, is refused.
func loadZone(name string) (*time.Location, error) {
	if z, ok := zones.Load(name); ok {
		return z.(*time.Location), nil
	}
	switch {
	case name == "":
		return nil, errors.New("a zone is needed, such as Europe/Paris")
	case name == "Local", name == "localtime", name == "posixrules",
		strings.HasPrefix(name, "right/"), strings.HasPrefix(name, "posix/"):
		return nil, errors.New("not a zone that means the same everywhere")
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return nil, errors.New("unknown zone")
	}
	zones.Store(name, z)
	return z, nil
}

// A period is a stretch of time with one offset from UTC: instants from <= u < until.
type period struct{ from, until, offset int64 }

func periodAt(zone *time.Location, u int64) period {
	t := time.Unix(u, 0).In(zone)
	// The far ends leave room to add and subtract days.
	p := period{from: math.MinInt64 / 2, until: math.MaxInt64 / 2}
	from, until := t.ZoneBounds()
	if !from.IsZero() {
		p.from = from.Unix()
	}
	if !until.IsZero() {
		p.until = until.Unix()
	}
	_, offset := t.Zone()
	p.offset = int64(offset)
	// Where a zone goes on by a rule, ZoneBounds takes the calendar year in UTC for a
	// bound, and takes every year to have 365 days: on the last day of a leap year the
	// bound lies in the past. A bound too many does no harm, one that is passed does.
	if p.until <= u {
		p.until = time.Date(t.UTC().Year()+1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	}
	p.from = min(p.from, u)
	return p
}

// steady reports whether the offset changes neither shortly before u nor shortly after.
func (p period) steady(u int64) bool { return u >= p.from+near && u < p.until-near }

// resolve is the instant of a local time, given as the Unix time that it would be in UTC.
// A local time that occurs twice is its first occurrence; one that does not occur has the
// offset before the gap. The period is a guess that saves work if it is right.
func resolve(zone *time.Location, guess period, local int64) int64 {
	if u := local - guess.offset; guess.steady(u) {
		return u
	}
	gap := local - guess.offset
	found := false
	p := periodAt(zone, local-near/2)
	for {
		if u := local - p.offset; u >= p.from && u < p.until {
			return u
		}
		if p.until > local+near/2 {
			return gap
		}
		next := periodAt(zone, p.until)
		if !found && p.until+p.offset <= local && local < p.until+next.offset {
			gap, found = local-p.offset, true
		}
		p = next
	}
}

// dateExists reports whether clocks in the zone ever read the date.
func dateExists(zone *time.Location, guess period, day int64) bool {
	local := day * daySeconds
	if guess.steady(local - guess.offset) {
		return true
	}
	for p := periodAt(zone, local-near/2); p.from <= local+near; p = periodAt(zone, p.until) {
		if p.from+p.offset < local+daySeconds && p.until+p.offset > local {
			return true
		}
		if p.until > local+near {
			break
		}
	}
	return false
}
