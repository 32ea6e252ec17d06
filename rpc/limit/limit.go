package limit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remit-authz/remit/rpc/identity"
)

// Unlimited is the number of slots that is no bound: there are no shares.
const Unlimited = -1

// DefaultQueue is Config.Queue unless it says otherwise.
const DefaultQueue = 1000

// largest bounds every number of Config: beyond it lies what nobody means.
const largest = 1_000_000_000

// Config is what a Limiter may be told. The zero value of every field is its default.
type Config struct {
	// RatePerStore and RatePerPrincipal are how many calls a second a store is good for,
	// and a principal may make. Default: any number.
	RatePerStore     int
	RatePerPrincipal int
	// BurstPerStore and BurstPerPrincipal are how many may come at once. Default: those of
	// a second.
	BurstPerStore     int
	BurstPerPrincipal int

	// Concurrency is how many short questions are evaluated at once. Default: two for each
	// processor, for one may wait for the disk. With Unlimited there are no shares at all.
	Concurrency int
	// LongConcurrency is how many lists, large batches and other long evaluations run at
	// once. Default: as many as there are processors but one, and at least one.
	LongConcurrency int
	// Queue is how many calls of one principal to one store may wait. Default: DefaultQueue.
	Queue int

	// Resolve finds the id of a store by what a request names: its id or its name. Required.
	Resolve func(store string) (id [16]byte, ok bool)
	// Metrics receives the metrics. Default: none are kept.
	Metrics prometheus.Registerer
}

// Validate reports every fault at once, but for those of Resolve, which is not a setting.
func (c *Config) Validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int
		least int
	}{
		{"RatePerStore", c.RatePerStore, 0},
		{"RatePerPrincipal", c.RatePerPrincipal, 0},
		{"BurstPerStore", c.BurstPerStore, 0},
		{"BurstPerPrincipal", c.BurstPerPrincipal, 0},
		{"Concurrency", c.Concurrency, Unlimited},
		{"LongConcurrency", c.LongConcurrency, 0},
		{"Queue", c.Queue, 0},
	} {
		if f.value < f.least || f.value > largest {
			faults = append(faults, fmt.Errorf("%s is %d, must be from %d to %d", f.name, f.value, f.least, largest))
		}
	}
	return errors.Join(faults...)
}

// A Limiter stands before the handlers of every face. It is safe for concurrent use.
type Limiter struct {
	resolve     func(string) ([16]byte, bool)
	short, long *pool // nil: there are no shares

	stores     *buckets[[16]byte] // nil: any rate will do
	principals *buckets[string]

	refused [kinds]prometheus.Counter
}

// New makes a limiter. The configuration must be valid.
func New(config Config) *Limiter {
	l := &Limiter{
		resolve:    config.Resolve,
		stores:     newBuckets[[16]byte](config.RatePerStore, config.BurstPerStore),
		principals: newBuckets[string](config.RatePerPrincipal, config.BurstPerPrincipal),
	}
	if config.Concurrency != Unlimited {
		processors := runtime.GOMAXPROCS(0)
		queue := orDefault(config.Queue, DefaultQueue)
		l.short = newPool("short", orDefault(config.Concurrency, 2*processors), queue)
		l.long = newPool("long", orDefault(config.LongConcurrency, max(1, processors-1)), queue)
	}
	l.measure(config.Metrics)
	return l
}

func orDefault(n, byDefault int) int {
	if n == 0 {
		return byDefault
	}
	return n
}

// idle reports whether there is nothing to do.
func (l *Limiter) idle() bool { return l.short == nil && !l.limits() }

// tenantOf is whose turn a call takes. A store that does not exist, or with which the
// caller may not do what the call is for, has no tenant of its own: nobody can use up what
// is another's.
func (l *Limiter) tenantOf(ctx context.Context, store string) tenant {
	t := tenant{principal: identity.Principal(ctx)}
	if store == "" {
		return t
	}
	id, ok := l.resolve(store)
	if call := identity.CallOf(ctx); ok && (call == nil || call.Caller.Grants.On(id).Has(call.Need)) {
		t.store = id
	}
	return t
}

// admit takes the cost of a call from the buckets of its tenant, and what is paid ahead.
func (l *Limiter) admit(of tenant, cost, ahead float64) error {
	now := clock()
	// The principal's goes first: what a caller is refused for his own sake shall not take
	// from the store's.
	if l.principals != nil && of.principal != "" {
		if wait, ok := l.principals.take(of.principal, cost, ahead, now); !ok {
			return &RefusedError{Err: ErrRate, Kind: PrincipalRate, RetryAfter: wait}
		}
	}
	if l.stores != nil {
		if wait, ok := l.stores.take(of.store, cost, ahead, now); !ok {
			if l.principals != nil && of.principal != "" {
				l.principals.charge(of.principal, -cost-ahead, now) // nothing was done for it
			}
			return &RefusedError{Err: ErrRate, Kind: StoreRate, RetryAfter: wait}
		}
	}
	return nil
}

// charge takes what a call turns out to cost.
func (l *Limiter) charge(of tenant, cost float64) {
	now := clock()
	if l.principals != nil && of.principal != "" {
		l.principals.charge(of.principal, cost, now)
	}
	if l.stores != nil {
		l.stores.charge(of.store, cost, now)
	}
}

// limits reports whether there are rates.
func (l *Limiter) limits() bool { return l.stores != nil || l.principals != nil }

// expected is what a long call of a tenant is likely to cost beyond what it is let in for.
func (l *Limiter) expected(of tenant) float64 {
	if l.stores != nil {
		return l.stores.expected(of.store, clock())
	}
	if of.principal != "" {
		return l.principals.expected(of.principal, clock())
	}
	return 0
}

// learn notes what a long call of a tenant turned out to cost beyond what it was let in for.
func (l *Limiter) learn(of tenant, cost float64) {
	if l.stores != nil {
		l.stores.learn(of.store, cost, clock())
	} else if of.principal != "" {
		l.principals.learn(of.principal, cost, clock())
	}
}

// clock is time since the program began, which costs less to read than the time of day.
func clock() time.Duration { return time.Since(began) }

var began = time.Now()
