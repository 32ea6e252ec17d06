package limit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func store(n byte) [16]byte { return [16]byte{15: n} }

// take takes a slot, at once or in turn.
func (p *pool) take(ctx context.Context, of tenant) (*turn, error) {
	if p.try() {
		return nil, nil
	}
	return p.wait(ctx, of)
}

// A crowd is callers of one pool that do nothing but hold a slot for a while. They run in
// a bubble, where holding takes exactly as long as they say.
type crowd struct {
	t    *testing.T
	pool *pool
	wait sync.WaitGroup

	mu    sync.Mutex
	had   map[tenant]time.Duration // guarded by mu
	order []tenant                 // of the ends, guarded by mu
}

func newCrowd(t *testing.T, slots, queue int) *crowd {
	return &crowd{t: t, pool: newPool("test", slots, queue), had: map[tenant]time.Duration{}}
}

// call holds a slot for a while.
func (c *crowd) call(of tenant, hold time.Duration) {
	turn, err := c.pool.take(c.t.Context(), of)
	if err != nil {
		c.t.Error(err)
		return
	}
	time.Sleep(hold) //nolint:forbidigo // in a bubble, where it takes just that
	c.pool.leave(turn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.had[of] += hold
	c.order = append(c.order, of)
}

// keep keeps some callers of a tenant calling for a time.
func (c *crowd) keep(of tenant, callers int, hold, until time.Duration) {
	end := time.Now().Add(until)
	for range callers {
		c.wait.Go(func() {
			for time.Now().Before(end) {
				c.call(of, hold)
			}
		})
	}
}

func (c *crowd) wantIdle() {
	c.t.Helper()
	if running, waiting := c.pool.running(), c.pool.waiting(); running != 0 || waiting != 0 {
		c.t.Errorf("%d run and %d wait at the end, want none", running, waiting)
	}
	if n := len(c.pool.stores.byKey); n > maxIdle {
		c.t.Errorf("%d stores are remembered, at most %d may be", n, maxIdle)
	}
}

// Stores that want more than there is get the same time each, however many callers they
// have and however long their calls are.
func TestStoresShareAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 2, 1000)
		storm, lists, few := tenant{store: store(1)}, tenant{store: store(2)}, tenant{store: store(3)}
		c.keep(storm, 64, time.Millisecond, 10*time.Second)
		c.keep(lists, 16, 70*time.Millisecond, 10*time.Second)
		c.keep(few, 4, 3*time.Millisecond, 10*time.Second)
		c.wait.Wait()
		for _, of := range []tenant{storm, lists, few} {
			if got, want := c.had[of], 20*time.Second/3; got < want*8/10 || got > want*12/10 {
				t.Errorf("store %d has had %s, want about %s", of.store[15], got, want)
			}
		}
		c.wantIdle()
	})
}

// Within a store, its principals do.
func TestPrincipalsOfAStoreShareAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 1, 1000)
		loud, quiet, other := tenant{store(1), "loud"}, tenant{store(1), "quiet"}, tenant{store(2), "quiet"}
		c.keep(loud, 40, 5*time.Millisecond, 10*time.Second)
		c.keep(quiet, 2, 5*time.Millisecond, 10*time.Second)
		c.keep(other, 2, 5*time.Millisecond, 10*time.Second)
		c.wait.Wait()
		for of, want := range map[tenant]time.Duration{loud: 2500 * time.Millisecond, quiet: 2500 * time.Millisecond, other: 5 * time.Second} {
			if got := c.had[of]; got < want*8/10 || got > want*12/10 {
				t.Errorf("%s of store %d has had %s, want about %s", of.principal, of.store[15], got, want)
			}
		}
		c.wantIdle()
	})
}

// Whoever asks rarely waits for no more than the slot that is freed next, be the storm as
// large as it likes.
func TestWhoAsksRarelyGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 2, 1000)
		c.keep(tenant{store: store(1)}, 64, 2*time.Millisecond, 5*time.Second)
		steady := tenant{store: store(2)}
		for range 200 {
			time.Sleep(7300 * time.Microsecond) //nolint:forbidigo // likewise
			begun := time.Now()
			c.call(steady, 100*time.Microsecond)
			if took := time.Since(begun); took > 2100*time.Microsecond {
				t.Fatalf("a call of the steady store took %s, want at most the time of one call of the storm", took)
			}
		}
		c.wait.Wait()
		c.wantIdle()
	})
}

// A store that was away has saved nothing up.
func TestAbsenceSavesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 1, 1000)
		present, absent := tenant{store: store(1)}, tenant{store: store(2)}
		c.keep(present, 4, time.Millisecond, 6*time.Second)
		c.call(absent, time.Millisecond)
		time.Sleep(5 * time.Second) //nolint:forbidigo // likewise
		c.mu.Lock()
		before := c.had[present]
		c.mu.Unlock()
		c.keep(absent, 4, time.Millisecond, time.Second)
		c.wait.Wait()
		if got, want := c.had[present]-before, 500*time.Millisecond; got < want*8/10 {
			t.Errorf("beside one that came back, a store has had %s of a second, want about %s", got, want)
		}
	})
}

// Nobody gets a slot while others wait, and there are never more than there may be.
func TestSlotsAreNeverExceeded(t *testing.T) {
	p := newPool("test", 3, 1000)
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			for range 2000 {
				turn, err := p.take(t.Context(), tenant{store(byte(i % 5)), fmt.Sprint(i % 3)})
				if err != nil {
					t.Error(err)
					return
				}
				if n := p.running(); n < 1 || n > 3 {
					t.Errorf("%d slots are in use, at most 3 may be", n)
				}
				p.leave(turn)
			}
		})
	}
	callers.Wait()
	if state := p.state.Load(); state != 0 {
		t.Errorf("the state is %#x at the end, want 0", state)
	}
	if got := p.admitted.Load(); got != 16*2000 {
		t.Errorf("%d slots were taken, want %d", got, 16*2000)
	}
}

// A full queue refuses, the principal's own at its bound and the store's at several times
// that, and says when to come back.
func TestAFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 1, 3)
		held, err := c.pool.take(t.Context(), tenant{})
		if err != nil {
			t.Fatal(err)
		}
		wait := func(of tenant, n int) {
			for range n {
				c.wait.Go(func() { c.call(of, time.Millisecond) })
			}
			synctest.Wait()
		}
		refused := func(of tenant) {
			t.Helper()
			turn, err := c.pool.take(t.Context(), of)
			var r *RefusedError
			if !errors.Is(err, ErrQueue) || !errors.As(err, &r) || r.RetryAfter < minRetry || r.RetryAfter > maxRetry || turn != nil {
				t.Errorf("beside a full queue: %v, %v, want a refusal that says when to come back", turn, err)
			}
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			wait(tenant{store(1), name}, 3)
			refused(tenant{store(1), name})
		}
		refused(tenant{store(1), "e"}) // the store is full
		wait(tenant{store(2), "e"}, 1)
		c.pool.leave(held)
		c.wait.Wait()
		if len(c.order) != 13 {
			t.Errorf("%d calls were answered, want the 13 that waited", len(c.order))
		}
		c.wantIdle()
	})
}

// Who stops waiting leaves nothing behind, and does not take the turn of another.
func TestWhoStopsWaitingIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 1, 10)
		held, err := c.pool.take(t.Context(), tenant{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 5 {
			c.wait.Go(func() {
				if _, err := c.pool.take(ctx, tenant{store: store(1)}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a call whose time is up: %v, want %v", err, context.DeadlineExceeded)
				}
			})
		}
		c.wait.Go(func() { c.call(tenant{store: store(1)}, time.Millisecond) })
		time.Sleep(2 * time.Second) //nolint:forbidigo // likewise
		if n := c.pool.waiting(); n != 1 {
			t.Errorf("%d wait, want one", n)
		}
		c.pool.leave(held)
		c.wait.Wait()
		if len(c.order) != 1 {
			t.Errorf("%d calls were answered, want the one that kept waiting", len(c.order))
		}
		c.wantIdle()
	})
}

func BenchmarkSlot(b *testing.B) {
	p := newPool("test", 1<<20, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if !p.try() {
			b.Fatal("no slot is free")
		}
		p.leave(nil)
	}
}
