package cluster

import "time"

// ahead returns how far a clock that shows now is ahead of the member's, at least. The
// member's shows no more than what it said and the time that has passed since it was
// asked, which is taken from a clock that nobody sets. So it is noticed at once when this
// node's clock is set forward, and not when the member is next asked.
func (s report) ahead(now time.Time) time.Duration {
	return now.Sub(s.status.Clock.Add(time.Since(s.asked)))
}

// aheadOf returns how far the clock of s was ahead of another member's, at least.
func (s report) aheadOf(other report) time.Duration {
	return s.offset - other.offset - (s.delay+other.delay)/2
}
