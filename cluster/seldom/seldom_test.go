package seldom

import (
	"strconv"
	"testing"
	"time"
)

func TestTheSameIsToldOnceInAWhile(t *testing.T) {
	var m Memory
	start := time.Now()
	for i, step := range []struct {
		what   string
		after  time.Duration
		unsaid int
		ok     bool
	}{
		{"a", 0, 0, true},
		{"a", time.Second, 0, false},
		{"b", time.Second, 0, true},
		{"a", Interval - 1, 0, false},
		{"a", Interval, 2, true},
		{"a", Interval + 1, 0, false},
		{"a", 3 * Interval, 1, true},
		{"a", 5 * Interval, 0, true},
	} {
		if unsaid, ok := m.Tell(step.what, start.Add(step.after)); unsaid != step.unsaid || ok != step.ok {
			t.Errorf("step %d: Tell(%s) = %d, %t, want %d, %t", i, step.what, unsaid, ok, step.unsaid, step.ok)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var m Memory
	now := time.Now()
	for i := range 10 * most {
		if _, ok := m.Tell(strconv.Itoa(i), now); !ok {
			t.Errorf("%d is not told", i)
		}
	}
	if len(m.of) > most {
		t.Errorf("%d things are remembered, want %d at most", len(m.of), most)
	}
}

func TestLimitRefusesWhatIsNew(t *testing.T) {
	left := 2
	m := Memory{Limit: func(time.Time) bool { left--; return left >= 0 }}
	now := time.Now()
	if _, ok := m.Tell("a", now); !ok {
		t.Error("a is refused before the limit")
	}
	m.Tell("a", now) // passed over, so it costs nothing
	if _, ok := m.Tell("b", now); !ok {
		t.Error("b is refused before the limit")
	}
	if _, ok := m.Tell("c", now); ok {
		t.Error("c is told over the limit")
	}
}
