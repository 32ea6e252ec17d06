package limit

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// maxPromise bounds how far ahead refused calls are spread: who does not come back, or comes
// too early, shall not put off others for long.
const maxPromise = 2 * time.Second

// maxTenants bounds the buckets that are kept of stores, and of principals. Whoever
// arrives when all are in use shares one with the others of whom that is true.
const maxTenants = 16_384

// A rate is how often one tenant may call.
type rate struct {
	perSecond float64
	burst     float64
}

// A bucket holds what a tenant may still spend; the zero value of filled is a full one. It
// goes below zero by what a call turned out to cost.
type bucket struct {
	tokens   float64
	filled   time.Duration // when tokens was true
	promised time.Duration // when whoever was refused last may expect to be let in
	waiting  int           // calls that wait for their turn, or to be refused
	long     float64       // what long calls turned out to cost of late, beyond what they are let in for
}

// time is how long it takes until a bucket has got a number of tokens.
func (r rate) time(tokens float64) time.Duration {
	return time.Duration(tokens / r.perSecond * float64(time.Second))
}

// level is what the bucket holds by now.
func (b *bucket) level(r rate, now time.Duration) float64 {
	return min(r.burst, b.tokens+(now-b.filled).Seconds()*r.perSecond)
}

// buckets are those of all tenants of a kind. One that is full again is forgotten, for it
// is as good as a new one.
type buckets[K comparable] struct {
	rate  rate
	queue int // calls of one tenant that may wait

	mu      sync.Mutex
	byKey   map[K]*bucket
	others  bucket        // of those that the map has no room for
	swept   time.Duration // when the map was last looked through
	waiting int           // calls of all tenants that wait
}

// newBuckets makes buckets, nil if there is no limit.
func newBuckets[K comparable](perSecond, burst, queue int) *buckets[K] {
	if perSecond <= 0 {
		return nil
	}
	size := float64(orDefault(burst, perSecond))
	return &buckets[K]{rate: rate{float64(perSecond), size}, queue: queue, byKey: map[K]*bucket{}, others: bucket{tokens: size}}
}

// A verdict is what a bucket says of a call.
type verdict struct {
	ok    bool
	wait  time.Duration // until it goes on, or is refused; if there is any, it ends with waited
	retry time.Duration // then, until the next attempt of one that is refused
}

// forever is the patience of who is not to be refused.
const forever = time.Duration(math.MaxInt64)

// scatter is by which part of their patience at most some are refused earlier than others: those
// who came all at once, and come again when they are refused, shall not for ever do so all at once.
const scatter = 4

// take takes a cost from a tenant's bucket, all of it even if the bucket does not hold
// that much: but then it must be full. A call that has the patience to wait until it does takes
// it beforehand, and so goes before all that come later. Otherwise nothing is taken, and the call
// is told when to come back: after those who were refused before it, so that many who wait as they
// are told come one after the other, and not all at once to be refused again. It is told so about
// as late as its patience lasts, or those who do not wait would cost more than those who do. What
// is paid ahead need not be there: or those who ask for little would keep out who asks for much.
func (b *buckets[K]) take(key K, cost, ahead float64, patience, now time.Duration) verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.of(key, now)
	level := one.level(b.rate, now)
	needed := min(cost, b.rate.burst)
	if level >= needed {
		one.tokens, one.filled = level-cost-ahead, now
		return verdict{ok: true}
	}
	if one.waiting >= b.queue && patience < forever {
		patience = 0
	}
	if patience > 0 {
		one.waiting++
		b.waiting++
	}
	lacking := max(time.Millisecond, b.rate.time(needed-level))
	if lacking <= patience {
		one.tokens, one.filled = level-cost-ahead, now
		return verdict{ok: true, wait: lacking}
	}
	filled := now + lacking
	turn := max(filled, one.promised)
	if turn > filled+maxPromise { // those who have no turn yet shall not come back all at once
		turn = filled + maxPromise - rand.N(maxPromise/2)
	} else {
		one.promised = turn + b.rate.time(cost+ahead)
	}
	patience -= rand.N(1 + patience/scatter)
	return verdict{wait: patience, retry: turn - now - patience}
}

// waited says that a call waits no longer.
func (b *buckets[K]) waited(key K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(key, clock()).waiting--
	b.waiting--
}

// queued is how many calls wait.
func (b *buckets[K]) queued() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting
}

// charge takes what a call cost beyond what it was let in for.
func (b *buckets[K]) charge(key K, cost float64, now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.of(key, now)
	one.tokens, one.filled = one.level(b.rate, now)-cost, now
}

// newest is how much the last long call counts in what the next one is expected to cost.
const newest = 0.25

// expected is what a long call is likely to cost beyond what it is let in for; nothing, if none
// is known.
func (b *buckets[K]) expected(key K, now time.Duration) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(key, now).long
}

// learn notes what a long call turned out to cost beyond what it was let in for.
func (b *buckets[K]) learn(key K, cost float64, now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.of(key, now)
	if one.long == 0 {
		one.long = cost
		return
	}
	one.long += newest * (cost - one.long)
}

// of finds a tenant's bucket, or makes one. The caller holds mu.
func (b *buckets[K]) of(key K, now time.Duration) *bucket {
	if one, ok := b.byKey[key]; ok {
		return one
	}
	if len(b.byKey) >= maxTenants {
		b.sweep(now)
		if len(b.byKey) >= maxTenants {
			return &b.others
		}
	}
	one := &bucket{tokens: b.rate.burst, filled: now, promised: now}
	b.byKey[key] = one
	return one
}

// sweepInterval keeps a map that stays full from being looked through for every call.
const sweepInterval = time.Second

// sweep forgets the buckets that are full. The caller holds mu.
func (b *buckets[K]) sweep(now time.Duration) {
	if b.swept != 0 && now-b.swept < sweepInterval {
		return
	}
	b.swept = now
	for key, one := range b.byKey {
		if one.level(b.rate, now) >= b.rate.burst && one.waiting == 0 {
			delete(b.byKey, key)
		}
	}
}
