package limit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// Of the large messages that arrive at once only as many are read as may take long. What is
// small, or one too many, is read at once.
func TestLargeMessagesAreReadInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{LongConcurrency: 1, Queue: 2, Resolve: func(string) (id [16]byte, ok bool) { return id, false }})
		finish := make(chan struct{})
		done := make(chan error)
		reading := 0
		read := func() error {
			reading++
			<-finish
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { done <- l.Code(t.Context(), LargeMessage, read) }()
		synctest.Wait()
		go func() { done <- l.Code(ctx, LargeMessage, read) }()
		go func() { done <- l.Code(t.Context(), LargeMessage, read) }()
		synctest.Wait()
		if reading != 1 {
			t.Errorf("%d large messages are read at once, want 1", reading)
		}
		for _, test := range []struct {
			name string
			size int
		}{{"a small message", LargeMessage - 1}, {"one that the queue has no room for", LargeMessage}} {
			was := false
			if err := l.Code(t.Context(), test.size, func() error { was = true; return nil }); err != nil || !was {
				t.Errorf("%s: read %v, %v", test.name, was, err)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("one that nobody waits for any more: %v, want %v", err, context.Canceled)
		}
		close(finish)
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if got := l.long.running(); got != 0 {
			t.Errorf("%d slots are in use at the end", got)
		}
	})
}

// Without shares, and without a limiter, nothing waits.
func TestWithoutSharesMessagesAreReadAtOnce(t *testing.T) {
	unlimited := New(Config{Concurrency: Unlimited})
	for _, l := range []*Limiter{nil, unlimited} {
		want := errors.New("unreadable")
		if err := l.Code(t.Context(), 8<<20, func() error { return want }); !errors.Is(err, want) {
			t.Errorf("Code() = %v, want %v", err, want)
		}
	}
}
