package limit

import (
	"testing"
	"time"
)

func TestABucketFillsUpAndForgetsNoDebt(t *testing.T) {
	b := newBuckets[string](10, 20, 1)
	for _, step := range []struct {
		at    time.Duration
		cost  float64
		ok    bool
		retry time.Duration
	}{
		{0, 15, true, 0},
		{0, 10, false, 500 * time.Millisecond},
		{500 * time.Millisecond, 10, true, 0},
		{10 * time.Second, 100, true, 0}, // full, and so let in: what is missing is a debt
		{11 * time.Second, 1, false, 7100 * time.Millisecond},
		{18100 * time.Millisecond, 1, true, 0},
	} {
		got := b.take("a", step.cost, 0, 0, step.at)
		if got.ok != step.ok || got.wait != 0 || (got.retry-step.retry).Abs() > time.Millisecond {
			t.Errorf("at %s, %v: %+v, want %v and a retry after %s", step.at, step.cost, got, step.ok, step.retry)
		}
	}
}

// Of many who are refused at once and come back when they are told, none is refused again.
func TestThoseWhoWaitAsTheyAreToldAreLetIn(t *testing.T) {
	b := newBuckets[string](100, 10, 1)
	if !b.take("a", 10, 0, 0, 0).ok {
		t.Fatal("a full bucket lets nobody in")
	}
	var turns []time.Duration
	for range 200 {
		refused := b.take("a", 1, 0, 0, 0)
		if refused.ok {
			t.Fatal("an empty bucket lets somebody in")
		}
		turns = append(turns, refused.retry)
	}
	for i, turn := range turns {
		if want := time.Duration(i+1) * 10 * time.Millisecond; (turn - want).Abs() > time.Millisecond {
			t.Fatalf("turn %d is after %s, want %s", i, turn, want)
		}
		if !b.take("a", 1, 0, 0, turn+time.Microsecond).ok {
			t.Fatalf("who waited %s is refused again", turn)
		}
	}
	for range 10_000 {
		if refused := b.take("a", 10, 0, 0, 3*time.Second); refused.retry > maxPromise+time.Second {
			t.Fatalf("a retry after %s, want at most %s", refused.retry, maxPromise+time.Second)
		}
	}
}

// However many tenants come, so many are remembered; those who owe nothing make room.
func TestTenantsAreForgottenWhenTheyOweNothing(t *testing.T) {
	b := newBuckets[int](1, 1, 1)
	for i := range 2 * maxTenants {
		b.take(i, 1, 0, 0, time.Millisecond)
	}
	if len(b.byKey) != maxTenants {
		t.Errorf("%d tenants are remembered, want %d", len(b.byKey), maxTenants)
	}
	if b.take(-1, 1, 0, 0, 2*time.Millisecond).ok {
		t.Error("one of those who share a bucket was let in after others had emptied it")
	}
	b.take(-2, 1, 0, 0, time.Minute)
	if len(b.byKey) != 1 {
		t.Errorf("%d tenants are remembered when all buckets are full again, want the one that is not", len(b.byKey))
	}
}

// A bucket for which somebody waits is not forgotten, full as it may be.
func TestThoseWhoWaitAreRemembered(t *testing.T) {
	b := newBuckets[string](1, 1, 1)
	b.take("a", 1, 0, 0, 0)
	const patience = time.Second / 2
	if refused := b.take("a", 1, 0, patience, 0); refused.ok || refused.wait > patience || refused.wait < patience-patience/scatter {
		t.Fatalf("%+v, want a refusal after %s, or a quarter of that earlier", refused, patience)
	}
	b.sweep(time.Minute)
	b.waited("a")
	if one := b.byKey["a"]; one == nil || one.waiting != 0 || b.queued() != 0 {
		t.Errorf("%+v and %d who wait, want a bucket for which nobody does", one, b.queued())
	}
	b.sweep(2 * time.Minute)
	if len(b.byKey) != 0 {
		t.Error("a full bucket is remembered for which nobody waits")
	}
}
