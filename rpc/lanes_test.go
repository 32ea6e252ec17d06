package rpc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/remit-authz/remit/fsm"
)

// One at a time is in the lane of a store; who gives up waiting is in nobody's way, and
// what nobody uses is forgotten.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes()
		a, b := fsm.StoreID{1}, fsm.StoreID{2}
		leave, err := l.enter(t.Context(), a)
		if err != nil || !l.busy(a) || l.busy(b) {
			t.Fatal("the first does not get in, or into another")
		}
		other, err := l.enter(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		other()

		ctx, cancel := context.WithCancel(t.Context())
		gaveUp, entered := make(chan error, 1), make(chan func(), 1)
		go func() {
			_, err := l.enter(ctx, a)
			gaveUp <- err
		}()
		go func() {
			next, err := l.enter(t.Context(), a)
			if err != nil {
				t.Error(err)
			}
			entered <- next
		}()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		select {
		case <-entered:
			t.Fatal("two are in one lane")
		default:
		}
		leave()
		(<-entered)()
		if l.busy(a) || len(l.byKey) != 0 {
			t.Errorf("%d lanes are left", len(l.byKey))
		}

		// It holds no more than it may.
		full := &lane{users: maxLane, turn: make(chan struct{}, 1)}
		l.byKey[a] = full
		if _, err := l.enter(t.Context(), a); !errors.Is(err, ErrBusy) {
			t.Errorf("a full lane lets one more wait: %v", err)
		}
	})
}
