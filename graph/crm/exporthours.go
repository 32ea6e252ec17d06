package crm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/remit-authz/remit/graph/schedule"
	"github.com/remit-authz/remit/graph/value"
)

const (
	// maxExportedContext bounds the context of an exported tuple in bytes: what OpenFGA
	// allows by default, and Remit always, less some room for names and parameters that
	// are counted only roughly.
	maxExportedContext = 31 << 10

	// exportedBits is how many slots of time one number holds. Contexts carry numbers as
	// floating point, which is exact up to 53 bits, and 48 of half an hour are a day.
	exportedBits = 48

	daySeconds = 24 * 60 * 60

	// slotSeconds is the longest slot, with which a day is one number.
	slotSeconds = daySeconds / exportedBits
)

// exportHours is a schedule as parameters of the exported condition on_schedule: a table
// of days in UTC, each of which points to one of the patterns that occur. A pattern has a
// bit for each slot of the day, and slots are as long as the turns of the hours allow. So
// the table is exact whatever clocks do, and looking into it costs the same whatever the
// hours are.
//
// It is the table up to an instant: the horizon's end, or an earlier midnight if more
// would not fit into a context.
func exportHours(fields value.Map, horizon Period) (value.Map, time.Time, error) {
	s, err := schedule.Parse(fields)
	if err != nil {
		return nil, time.Time{}, err
	}
	from, until := horizon.From.Unix(), horizon.Until.Unix()
	var turns []int64 // at which it opens and closes by turns, after from
	for at := horizon.From; ; {
		next, ok := s.Next(at)
		if !ok || next.Unix() >= until {
			break
		}
		turns = append(turns, next.Unix())
		at = next
	}
	slot := int64(slotSeconds)
	for _, t := range turns {
		slot = gcd(slot, t%daySeconds)
	}

	first := from / daySeconds
	open := s.Open(horizon.From)
	var days, words value.List
	places := map[string]int64{} // where the patterns begin, by their bits
	size := exportedBits * numberSize(1<<(exportedBits-1))
	end := first
	for ; end*daySeconds < until; end++ {
		var bits []uint64
		bits, open, turns = dayBits(end*daySeconds, slot, open, turns)
		key := string(bitsKey(bits))
		place, known := places[key]
		if !known {
			place = int64(len(words))
			places[key] = place
			for _, b := range bits {
				words = append(words, int64(b))
				size += numberSize(int64(b))
			}
		}
		if size += numberSize(place); size > maxExportedContext {
			if !known {
				words = words[:place]
			}
			break
		}
		days = append(days, place)
	}
	return value.Map{
		parameterFirst: first,
		parameterDays:  days,
		parameterSlot:  slot,
		parameterOpen:  words,
		parameterBit:   powers(),
	}, time.Unix(end*daySeconds, 0).UTC(), nil
}

// powers are the values of a number's bits: CEL has no shifts.
func powers() value.List {
	list := make(value.List, exportedBits)
	for i := range list {
		list[i] = int64(1) << i
	}
	return list
}

// dayBits are the slots of the day that begins at midnight in which it is open. It is
// told whether it is open then, and the turns from then on, and tells both for the end of
// the day.
func dayBits(midnight, slot int64, open bool, turns []int64) ([]uint64, bool, []int64) {
	bits := make([]uint64, daySeconds/slot/exportedBits)
	for i := range daySeconds / slot {
		for len(turns) > 0 && turns[0] <= midnight+i*slot {
			open, turns = !open, turns[1:]
		}
		if open {
			bits[i/exportedBits] |= 1 << (i % exportedBits)
		}
	}
	return bits, open, turns
}

func bitsKey(bits []uint64) []byte {
	var key []byte
	for _, b := range bits {
		key = binary.AppendUvarint(key, b)
	}
	return key
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// numberSize is how many bytes a number of a list takes in a context: eleven in OpenFGA's
// encoding, or its digits and a comma as JSON.
func numberSize(n int64) int { return max(11, len(strconv.FormatInt(n, 10))+1) }

// textSize is the same of a text without characters that JSON escapes.
func textSize(text string) int { return len(text) + 6 }

// never is later than every instant of a horizon.
const never = "9999-12-31T23:59:59Z"

// exportTurns is periods, given as the turns of a tuple's condition in_effect, as
// parameters of the exported one. OpenFGA's limit of cost allows to look at a few of them
// alone; so a table says which two may count, for each of the equal parts into which it
// cuts the horizon.
//
// It is nil if no period lies in the horizon. The instant is the horizon's end, or that
// from which periods had to be left out, because more than two lie too near to each other.
func exportTurns(turns value.List, horizon Period) (value.Map, time.Time, error) {
	periods, err := periodsOf(turns)
	if err != nil {
		return nil, time.Time{}, err
	}
	periods = slices.DeleteFunc(periods, func(p Period) bool { return !p.overlaps(horizon) })
	for complete := horizon.Until; ; {
		if len(periods) == 0 {
			return nil, complete, nil
		}
		if fields := periodTable(periods, horizon); fields != nil {
			return fields, complete, nil
		}
		complete = periods[len(periods)-1].From
		periods = periods[:len(periods)-1]
	}
}

func periodsOf(turns value.List) ([]Period, error) {
	var periods []Period
	for i, t := range turns {
		text, _ := t.(string)
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return nil, fmt.Errorf("turn %d: %w", i, err)
		}
		if i%2 == 0 {
			periods = append(periods, Period{From: at})
		} else {
			periods[len(periods)-1].Until = at
		}
	}
	return periods, nil
}

// periodTable is nil if the periods do not fit into a context.
func periodTable(periods []Period, horizon Period) value.Map {
	var from, until value.List
	size := 0
	for _, p := range periods {
		f, u := p.From.UTC().Format(time.RFC3339Nano), never
		if !p.Until.IsZero() {
			u = p.Until.UTC().Format(time.RFC3339Nano)
		}
		from, until = append(from, f), append(until, u)
		size += textSize(f) + textSize(u)
	}
	if len(periods) == 1 { // the condition looks at two
		from, until = append(from, never), append(until, never)
	}
	first, whole := horizon.From.Unix(), horizon.Until.Unix()-horizon.From.Unix()
	for parts := int64(1); ; parts *= 2 {
		span := (whole + parts - 1) / parts
		near, fits := nearPeriods(periods, first, span, int((whole+span-1)/span))
		if size+len(near)*numberSize(int64(len(periods))) > maxExportedContext {
			return nil
		}
		if fits {
			return value.Map{
				parameterFrom: from, parameterUntil: until,
				parameterFirst: first, parameterSpan: span, parameterNear: near,
			}
		}
		if span == 1 {
			return nil
		}
	}
}

// nearPeriods is, for each part, the first of the two periods that may count in it; they
// do not fit if there are more than two.
func nearPeriods(periods []Period, first, span int64, parts int) (near value.List, fits bool) {
	place, fits := 0, true
	for part := range parts {
		start, end := time.Unix(first+int64(part)*span, 0), time.Unix(first+int64(part+1)*span, 0)
		for place < len(periods) && !periods[place].Until.IsZero() && !periods[place].Until.After(start) {
			place++
		}
		if place+2 < len(periods) && periods[place+2].From.Before(end) {
			fits = false
		}
		near = append(near, int64(max(0, min(place, len(periods)-2))))
	}
	return near, fits
}

// Horizons are from 1971 on, since days are counted from 1970 and the day before the first
// must not be taken for it, and until the end of timestamps.
const (
	earliestExport = 365 * daySeconds
	latestExport   = 253402214400
)

// midnights widens a horizon to whole days in UTC.
func midnights(p Period) (Period, error) {
	from, until := p.From.Unix(), p.Until.Unix()
	if p.Until.Nanosecond() > 0 {
		until++
	}
	switch {
	case !p.From.Before(p.Until):
		return Period{}, fmt.Errorf("from %s until %s is no time", p.From.Format(time.RFC3339), p.Until.Format(time.RFC3339))
	case from < earliestExport || until > latestExport:
		return Period{}, fmt.Errorf("from %s until %s is not within the years 1971 to 9999", p.From.Format(time.RFC3339), p.Until.Format(time.RFC3339))
	}
	from -= from % daySeconds
	until += (daySeconds - until%daySeconds) % daySeconds
	return Period{From: time.Unix(from, 0).UTC(), Until: time.Unix(until, 0).UTC()}, nil
}
