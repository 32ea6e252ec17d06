// Package seldom keeps a log readable when the same thing happens again and again: it says
// when to tell of it, and how often it was passed over in between.
package seldom

import (
	"sync"
	"time"
)

const (
	// Interval is how long after it was told something is passed over.
	Interval = 10 * time.Second
	// most is how many things are remembered. When there are more, all are forgotten.
	most = 100
)

// A Memory remembers what was told of late. The zero value remembers nothing yet. Its
// methods may be called from any goroutine.
type Memory struct {
	// Limit, if it is not nil, may refuse what has not been told of late. It is called with
	// the Memory locked.
	Limit func(now time.Time) bool

	mu sync.Mutex
	of map[string]*telling // guarded by mu
}

type telling struct {
	at     time.Time
	unsaid int // how often it was passed over since
}

// Tell reports whether what happens now may be told, and how often it was passed over since
// it last was told.
func (m *Memory) Tell(what string, now time.Time) (unsaid int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.of[what]
	if before != nil && now.Sub(before.at) < Interval {
		before.unsaid++
		return 0, false
	}
	if m.Limit != nil && !m.Limit(now) {
		return 0, false
	}
	if before != nil {
		unsaid = before.unsaid
	}
	if m.of == nil || len(m.of) >= most {
		m.of = map[string]*telling{}
	}
	m.of[what] = &telling{at: now}
	return unsaid, true
}
