package limit

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
)

// paced makes a limiter of one store, and what calls it: with a principal, and until ctx ends.
func paced(config Config) (l *Limiter, call func(ctx context.Context, principal string) error) {
	config.Resolve = func(string) (id [16]byte, ok bool) { return [16]byte{1}, true }
	l = New(config)
	handle := l.intercept(func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
		return stream.Receive(tenantMessage("acme"))
	})
	return l, func(ctx context.Context, principal string) error {
		if principal != "" {
			ctx = identity.WithCall(ctx, &identity.Call{Caller: &identity.Caller{Principal: principal, Grants: identity.Grants{Cluster: true}}})
		}
		return handle(ctx, connect.Spec{Procedure: remitv1connect.AccessServiceCheckProcedure}, silent{})
	}
}

// wantRefused checks that a call was refused when its patience was over, or a quarter of that
// earlier, and until when.
func wantRefused(t *testing.T, err error, took, patience, until time.Duration) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || (took+refused.RetryAfter-until).Abs() > time.Millisecond {
		t.Errorf("after %s: %v, want a refusal until %s", took, err, until)
	}
	if took > patience || took < patience-patience/scatter {
		t.Errorf("refused after %s, want that from %s to %s", took, patience-patience/scatter, patience)
	}
}

// Who comes too early has his turn when it is: in the order in which they came, and not before
// there is room. Who would have to wait for too long is refused, and told so as late as may be.
func TestWhoComesTooEarlyWaits(t *testing.T) {
	for name, config := range map[string]Config{
		"a store's rate":     {RatePerStore: 10, BurstPerStore: 1},
		"a principal's rate": {RatePerPrincipal: 10, BurstPerPrincipal: 1},
		"both":               {RatePerPrincipal: 10, BurstPerPrincipal: 1, RatePerStore: 10, BurstPerStore: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, call := paced(config)
				begun := time.Now()
				var calls sync.WaitGroup
				for i := range 24 {
					calls.Go(func() {
						err := call(t.Context(), "key:olga")
						took := time.Since(begun).Round(time.Millisecond)
						if i > 20 {
							wantRefused(t, err, took, DefaultRateWait, time.Duration(i)*100*time.Millisecond)
						} else if want := time.Duration(i) * 100 * time.Millisecond; err != nil || took != want {
							t.Errorf("call %d: %v after %s, want its turn after %s", i, err, took, want)
						}
					})
					synctest.Wait()
				}
				if got := max(l.stores.queued(), l.principals.queued()); got != 23 {
					t.Errorf("%d calls wait, want 23", got)
				}
				calls.Wait()
			})
		})
	}
}

// Who leaves while he waits has paid nothing, and who has little time is told early.
func TestWhoLeavesPaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, call := paced(Config{RatePerStore: 1, BurstPerStore: 1, RateWait: 20 * time.Second, RatePerPrincipal: 1, BurstPerPrincipal: 1})
		if err := call(t.Context(), "key:olga"); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			if err := call(ctx, "key:olga"); !errors.Is(err, context.Canceled) {
				t.Errorf("who leaves: %v, want %v", err, context.Canceled)
			}
		}
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		err := call(ctx, "key:olga") // who has 400 ms left shall have some when he is told
		wantRefused(t, err, time.Since(begun), 200*time.Millisecond, 900*time.Millisecond)
		if err := call(t.Context(), "key:olga"); err != nil || time.Since(begun).Round(time.Millisecond) != 900*time.Millisecond {
			t.Errorf("who comes last: %v after %s, want his turn after 900 ms", err, time.Since(begun))
		}
	})
}

// Callers who came all at once, and come again as soon as they are refused, do not for ever come
// all at once.
func TestACrowdScatters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd, rounds = 64, 10
		_, call := paced(Config{RatePerStore: 1, BurstPerStore: 1, RateWait: time.Second})
		var callers sync.WaitGroup
		var mu sync.Mutex
		came := map[time.Duration]int{} // in which hundredth of a second, after some rounds
		begun := time.Now()
		for range crowd {
			callers.Go(func() {
				for range rounds {
					_ = call(t.Context(), "") // whichever it is
				}
				mu.Lock()
				defer mu.Unlock()
				came[time.Since(begun).Truncate(10*time.Millisecond)]++
			})
		}
		callers.Wait()
		for at, n := range came {
			if n > crowd/4 {
				t.Errorf("%d of %d callers came together after %s", n, crowd, at)
			}
		}
	})
}

// Who is refused for the store's sake has spent nothing of what he may do himself.
func TestWhoIsRefusedForTheStorePaysNothing(t *testing.T) {
	_, call := paced(Config{RatePerStore: 1, BurstPerStore: 1, RatePerPrincipal: 1, BurstPerPrincipal: 1, RateWait: -1})
	if err := call(t.Context(), "key:olga"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var refused *RefusedError
		if err := call(t.Context(), "key:ivan"); !errors.As(err, &refused) || refused.Kind != StoreRate {
			t.Errorf("%v, want that the store is called more often than it may be", err)
		}
	}
}

// No more wait than may, and nobody who shall not.
func TestNotAllMayWait(t *testing.T) {
	for name, test := range map[string]struct {
		config  Config
		waiting int
	}{
		"so many":  {Config{RatePerStore: 1, BurstPerStore: 1, RateWait: 10 * time.Second, Queue: 3}, 3},
		"none may": {Config{RatePerStore: 1, BurstPerStore: 1, RateWait: -1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, call := paced(test.config)
				var calls sync.WaitGroup
				var refused atomic.Int64
				for range 10 {
					calls.Go(func() {
						if call(t.Context(), "") != nil {
							refused.Add(1)
						}
					})
				}
				synctest.Wait()
				if got := l.stores.queued(); got != test.waiting || int(refused.Load()) != 9-got {
					t.Errorf("%d wait and %d were refused, want %d and %d", got, refused.Load(), test.waiting, 9-test.waiting)
				}
				calls.Wait()
			})
		})
	}
}

// However callers come, wait, leave, come again at once or as they are told: a store is never
// called more often than it may be, and as often as that if enough is asked.
func TestRatesOfRandomCallers(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			perSecond, burst, callers := 1+random.IntN(200), 1+random.IntN(20), 1+random.IntN(60)
			l, call := paced(Config{
				RatePerStore: perSecond, BurstPerStore: burst, RateWait: time.Duration(random.IntN(3000)-500) * time.Millisecond,
				Queue: 1 + random.IntN(40), Concurrency: Unlimited,
			})
			const during = 10 * time.Second
			ctx, cancel := context.WithTimeout(t.Context(), during)
			defer cancel()
			var served atomic.Int64
			var all sync.WaitGroup
			for i := range callers {
				all.Go(func() {
					random := rand.New(rand.NewPCG(seed, uint64(i)+1))
					polite, hasty := random.IntN(3) > 0, random.IntN(3) == 0
					for ctx.Err() == nil {
						one, leave := ctx, context.CancelFunc(func() {})
						if hasty && random.IntN(3) == 0 {
							one, leave = context.WithTimeout(ctx, time.Duration(1+random.IntN(500))*time.Millisecond)
						}
						err := call(one, "")
						leave()
						pause := time.Duration(1+random.IntN(5)) * time.Millisecond
						var refused *RefusedError
						switch {
						case err == nil:
							served.Add(1)
							continue
						case errors.As(err, &refused) && polite:
							pause = refused.RetryAfter
						}
						time.Sleep(pause) //nolint:forbidigo // in a bubble
					}
				})
			}
			all.Wait()
			most := float64(perSecond)*during.Seconds() + float64(burst)
			if got := float64(served.Load()); got > most+1 || got < 0.8*(most-float64(burst)) {
				t.Errorf("seed %d: %v calls in %s of %d callers to a store good for %d a second, and %d at once", seed, got, during, callers, perSecond, burst)
			}
			if l.stores.queued() != 0 {
				t.Errorf("seed %d: %d calls wait at the end", seed, l.stores.queued())
			}
		})
		if t.Failed() {
			return
		}
	}
}
