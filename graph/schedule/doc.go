// Package schedule decides whether working hours are open at an instant. It is a pure
// function of a schedule and an instant: no clock, no state.
//
// A schedule is a value.Map of this shape, here as JSON:
//
//	{
//	  "zone": "Europe/Paris",
//	  "windows": {
//	    "monday":  [{"start": "09:00", "end": "17:30", "breaks": [{"start": "12:00", "end": "13:00"}]}],
//	    "tuesday": [{"start": "08:00", "end": "12:00"}, {"start": "22:00", "end": "02:30"}]
//	  },
//	  "holidays":   ["2026-12-25"],
//	  "exceptions": {"2026-12-24": [{"start": "09:00", "end": "12:00"}], "2026-12-31": []}
//	}
//
// Only zone is required: an IANA name, or UTC. Fields that are not listed are refused.
//
// Models in OpenFGA's modelling language can declare a parameter of type map<string>, but
// none whose values are lists or maps. So there is a short form in which every value is a
// text, and the two may be mixed:
//
//	{
//	  "zone": "Europe/Paris",
//	  "mon-thu": "09:00-17:30 except 12:00-13:00",
//	  "friday": "08:00-12:00, 22:00-02:30",
//	  "holidays": "2026-12-25, 2027-01-01",
//	  "2026-12-24": "09:00-12:00",
//	  "2026-12-31": "closed"
//	}
//
// A day of the week is named in full or by three letters, alone or in a range, and in one
// field only; a date is an exception. Several breaks are separated by spaces.
//
//   - A window opens at start and closes at end, both HH:MM, end also 24:00. If end is
//     not after start it lies on the next day, so 00:00 to 00:00 and 00:00 to 24:00 are
//     both a whole day, and seven of them are always.
//   - Breaks lie inside their window. In a window past midnight, a break before its start
//     is on the next day. A break closes its own window only: where windows overlap, any
//     of them opens.
//   - A holiday cancels the windows that start on its date.
//   - An exception replaces the windows that start on its date by its own, possibly by
//     none. It beats a holiday on the same date: it is the more particular statement.
//
// A window makes one occurrence for every date that has it. The occurrence belongs to the
// local date on which it starts, and a holiday on the next date does not cut it short.
// Local times become instants by RFC 5545, section 3.3.5: a time that occurs twice is its
// first occurrence, and a time that does not occur has the offset from UTC that was in
// force before the gap. An occurrence is the half-open interval between the instants of
// its start and its end, empty if they come out in the wrong order; so are breaks. A date
// that does not exist in a zone (30 December 2011 in Apia) has no occurrences.
//
// So hours of 22:00 to 02:30 in Paris end at 02:30 summer time on the night when clocks
// go back, and at 03:30 summer time on the night when they go forward.
//
// Zone data is what the machine has, and otherwise the copy in the binary.
package schedule
