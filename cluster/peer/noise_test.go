package peer

import (
	"log/slog"
	"testing"
	"time"
)

// The same is told once in a while, with how often it was not; too much at once is not told.
func TestNoiseIsToldOnceInAWhile(t *testing.T) {
	n, now := newNoise(slog.New(slog.DiscardHandler)), time.Unix(1, 0)
	for i, step := range []struct {
		what   string
		after  time.Duration
		unsaid int
		told   bool
	}{
		{"n1 certificate", 0, 0, true},
		{"n1 certificate", time.Second, 0, false},
		{"n2 certificate", time.Second, 0, true},
		{"n1 certificate", repeatInterval - time.Millisecond, 0, false},
		{"n1 certificate", repeatInterval, 2, true},
		{"n1 certificate", 3 * repeatInterval, 0, true},
	} {
		if unsaid, told := n.tell(step.what, now.Add(step.after)); unsaid != step.unsaid || told != step.told {
			t.Errorf("step %d: tell(%s) = %d, %v, want %d, %v", i, step.what, unsaid, told, step.unsaid, step.told)
		}
	}
	told := 0
	for i := range 10 * maxNoted {
		if _, ok := n.tell(string(rune('a'+i)), now.Add(time.Hour)); ok {
			told++
		}
	}
	if told != n.limit.Burst() {
		t.Errorf("%d strangers at once are told, want %d", told, n.limit.Burst())
	}
	for i := range 10 * maxNoted {
		n.tell(string(rune('a'+i)), now.Add(time.Hour+time.Duration(i)*time.Minute))
	}
	if len(n.last) > maxNoted || len(n.unsaid) > maxNoted {
		t.Errorf("%d and %d are remembered, want %d at most", len(n.last), len(n.unsaid), maxNoted)
	}
}
