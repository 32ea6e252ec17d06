package server

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStopThatHangsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := make(chan struct{})
		start := time.Now()
		err := within(time.Minute, func() error { <-hanging; return nil })
		if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "did not stop within 1m0s") || took != time.Minute {
			t.Errorf("it ended after %s with %v", took, err)
		}
		close(hanging)
	})
}

func TestStopEndsWithItsError(t *testing.T) {
	bad := errors.New("bad")
	if err := within(time.Minute, func() error { return bad }); !errors.Is(err, bad) {
		t.Errorf("it ended with %v, want %v", err, bad)
	}
	if err := within(time.Minute, func() error { return nil }); err != nil {
		t.Error(err)
	}
}
