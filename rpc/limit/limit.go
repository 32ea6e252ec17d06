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

// What Config says unless it says otherwise.
const (
	DefaultQueue    = 1000
	DefaultRateWait = 2 * time.Second
)

// maxRateWait bounds Config.RateWait: for longer few clients wait.
const maxRateWait = time.Minute

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
	// RateWait is how long a call that comes more often than it may is kept waiting at most, for
	// its turn or, three quarters of it at least, to be refused, and half the time that it has at
	// most: so a caller who calls again at once costs no more than one who waits. Default: DefaultRateWait. Negative: not at all.
	RateWait time.Duration

	// Concurrency is how many short questions are evaluated at once. Default: two for each
	// processor, for one may wait for the disk. With Unlimited there are no shares at all.
	Concurrency int
	// LongConcurrency is how many lists, large batches and other long evaluations run at
	// once. Default: as many as there are processors but one, and at least one.
	LongConcurrency int
	// Queue is how many calls of one principal to one store may wait for a slot, and how many
	// to one store, or of one principal, for their rate. Default: DefaultQueue.
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
	if c.RateWait > maxRateWait {
		faults = append(faults, fmt.Errorf("RateWait is %s, must be at most %s", c.RateWait, maxRateWait))
	}
	return errors.Join(faults...)
}

// A Limiter stands before the handlers of every face. It is safe for concurrent use.
type Limiter struct {
	resolve     func(string) ([16]byte, bool)
	short, long *pool // nil: there are no shares

	stores     *buckets[[16]byte] // nil: any rate will do
	principals *buckets[string]
	patience   time.Duration       // of a call that comes more often than it may
	waited     prometheus.Observer // for their rate; nil: nobody wants to know

	refused [kinds]prometheus.Counter
}

// New makes a limiter. The configuration must be valid.
func New(config Config) *Limiter {
	queue := orDefault(config.Queue, DefaultQueue)
	l := &Limiter{
		resolve:    config.Resolve,
		stores:     newBuckets[[16]byte](config.RatePerStore, config.BurstPerStore, queue),
		principals: newBuckets[string](config.RatePerPrincipal, config.BurstPerPrincipal, queue),
		patience:   max(0, orDefault(config.RateWait, DefaultRateWait)),
	}
	if config.Concurrency != Unlimited {
		processors := runtime.GOMAXPROCS(0)
		l.short = newPool("short", orDefault(config.Concurrency, 2*processors), queue)
		l.long = newPool("long", orDefault(config.LongConcurrency, max(1, processors-1)), queue)
	}
	l.measure(config.Metrics)
	return l
}

func orDefault[N ~int | ~int64](n, byDefault N) N {
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

// admit takes the cost of a call from the buckets of its tenant, and what is paid ahead, and
// waits for it as long as its patience lasts.
func (l *Limiter) admit(ctx context.Context, of tenant, cost, ahead float64, patience time.Duration) error {
	now := clock()
	own, store := verdict{ok: true}, verdict{ok: true}
	// The principal's goes first: what a caller is refused for his own sake shall not take
	// from the store's.
	if l.principals != nil && of.principal != "" {
		own = l.principals.take(of.principal, cost, ahead, patience, now)
	}
	if own.ok && l.stores != nil {
		store = l.stores.take(of.store, cost, ahead, patience, now)
	}
	if own.ok && !store.ok {
		l.chargePrincipal(of, -cost-ahead, now) // nothing will be done for it
	}
	ended := l.wait(ctx, max(own.wait, store.wait))
	if own.wait > 0 {
		l.principals.waited(of.principal)
	}
	if store.wait > 0 {
		l.stores.waited(of.store)
	}
	switch {
	case ended != nil:
		if own.ok && store.ok {
			l.charge(of, -cost-ahead)
		}
		return ended
	case !own.ok:
		return &RefusedError{Err: ErrRate, Kind: PrincipalRate, RetryAfter: own.retry}
	case !store.ok:
		return &RefusedError{Err: ErrRate, Kind: StoreRate, RetryAfter: store.retry}
	}
	return nil
}

// wait waits for a turn that is to come.
func (l *Limiter) wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	if l.waited != nil {
		begun := clock()
		defer func() { l.waited.Observe((clock() - begun).Seconds()) }()
	}
	turn := time.NewTimer(d)
	defer turn.Stop()
	select {
	case <-turn.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// charge takes what a call turns out to cost.
func (l *Limiter) charge(of tenant, cost float64) {
	now := clock()
	l.chargePrincipal(of, cost, now)
	if l.stores != nil {
		l.stores.charge(of.store, cost, now)
	}
}

func (l *Limiter) chargePrincipal(of tenant, cost float64, now time.Duration) {
	if l.principals != nil && of.principal != "" {
		l.principals.charge(of.principal, cost, now)
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
