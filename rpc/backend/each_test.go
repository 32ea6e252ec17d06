package backend

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
)

func TestEachDoesEveryOneOnce(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 1000} {
		done := make([]atomic.Int32, n)
		err := Each(t.Context(), n, 8, func(_ context.Context, i int) error {
			done[i].Add(1)
			return nil
		})
		if err != nil {
			t.Errorf("Each(%d): %v", n, err)
		}
		for i := range done {
			if got := done[i].Load(); got != 1 {
				t.Errorf("Each(%d) did %d %d times, want once", n, i, got)
			}
		}
	}
}

func TestEachEndsAtAnError(t *testing.T) {
	fault := errors.New("fault")
	err := Each(t.Context(), 100, 1, func(ctx context.Context, i int) error {
		if i == 0 {
			return fault
		}
		<-ctx.Done()
		return nil
	})
	if !errors.Is(err, fault) {
		t.Errorf("Each: %v, want %v", err, fault)
	}
}

func TestEachContainsAPanic(t *testing.T) {
	err := Each(t.Context(), 2, 1, func(context.Context, int) error { panic("boom") })
	if err == nil || !strings.Contains(err.Error(), "panic: boom") {
		t.Errorf("Each: %v, want the panic", err)
	}
}
