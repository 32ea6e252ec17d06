package graphtest

import (
	"testing"
	"time"
)

func TestHours(t *testing.T) {
	for _, test := range []struct {
		schedule int
		at       time.Duration // from the epoch
		want     Truth
	}{
		{0, -time.Millisecond, True},
		{0, 0, False},
		{1, -time.Millisecond, False},
		{1, 0, True},
		{1, time.Hour, False},
		{2, -time.Millisecond, False},
		{2, 0, True},
		{3, 0, True}, // the shift of the evening before a holiday goes on
		{4, 0, False},
		{5, -time.Millisecond, True}, // the exception beats the holiday
		{5, 0, False},
		{6, 0, False},
		{7, 0, Undefined},
	} {
		if got := open(hours[test.schedule], epoch.Add(test.at)); got != test.want {
			t.Errorf("schedule %d at the epoch + %v = %v, want %v", test.schedule, test.at, got, test.want)
		}
	}
}
