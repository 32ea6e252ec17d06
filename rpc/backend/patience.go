package backend

import (
	"context"
	"math/rand/v2"
	"time"
)

// A patience is how long one call waits for a leader. An election, or a transfer of
// leadership, takes a second or two; whoever calls meanwhile should not notice more than
// that.
type patience struct {
	reader *Reader
	until  time.Time
	pause  time.Duration
}

// firstPause and lastPause bound the time between two attempts: a transfer is over in some
// milliseconds, and an election takes so long that it does not matter how often one asks.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

func (r *Reader) patience() patience {
	return patience{reader: r, until: time.Now().Add(LeaderTimeout), pause: firstPause}
}

// wait waits until the next attempt may be made. It is false, at once, if there is none:
// the call's time or the patience would be over by then, or too many wait already, each
// with a command in its hands.
func (p *patience) wait(ctx context.Context) bool {
	pause := p.pause - rand.N(p.pause/2) // so that many do not come back all at once
	p.pause = min(2*p.pause, lastPause)
	next := time.Now().Add(pause)
	if end, bounded := ctx.Deadline(); next.After(p.until) || bounded && !next.Before(end) {
		return false
	}
	defer p.reader.waiting.Add(-1)
	if p.reader.waiting.Add(1) > maxWaiting {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
