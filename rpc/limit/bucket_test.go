package limit

import (
	"testing"
	"time"
)

func TestABucketFillsUpAndForgetsNoDebt(t *testing.T) {
	b := newBuckets[string](10, 20)
	for _, step := range []struct {
		at   time.Duration
		cost float64
		ok   bool
		wait time.Duration
	}{
		{0, 15, true, 0},
		{0, 10, false, 500 * time.Millisecond},
		{500 * time.Millisecond, 10, true, 0},
		{10 * time.Second, 100, true, 0}, // full, and so let in: what is missing is a debt
		{11 * time.Second, 1, false, 7100 * time.Millisecond},
		{18100 * time.Millisecond, 1, true, 0},
	} {
		wait, ok := b.take("a", step.cost, 0, step.at)
		if ok != step.ok || (wait-step.wait).Abs() > time.Millisecond {
			t.Errorf("at %s, %v: %v after %s, want %v after %s", step.at, step.cost, ok, wait, step.ok, step.wait)
		}
	}
}

// Of many who are refused at once and come back when they are told, none is refused again.
func TestThoseWhoWaitAsTheyAreToldAreLetIn(t *testing.T) {
	b := newBuckets[string](100, 10)
	if _, ok := b.take("a", 10, 0, 0); !ok {
		t.Fatal("a full bucket lets nobody in")
	}
	var turns []time.Duration
	for range 200 {
		wait, ok := b.take("a", 1, 0, 0)
		if ok {
			t.Fatal("an empty bucket lets somebody in")
		}
		turns = append(turns, wait)
	}
	for i, turn := range turns {
		if want := time.Duration(i+1) * 10 * time.Millisecond; (turn - want).Abs() > time.Millisecond {
			t.Fatalf("turn %d is after %s, want %s", i, turn, want)
		}
		if _, ok := b.take("a", 1, 0, turn+time.Microsecond); !ok {
			t.Fatalf("who waited %s is refused again", turn)
		}
	}
	for range 10_000 {
		if wait, _ := b.take("a", 10, 0, 3*time.Second); wait > maxPromise+time.Second {
			t.Fatalf("a wait of %s, want at most %s", wait, maxPromise+time.Second)
		}
	}
}

// However many tenants come, so many are remembered; those who owe nothing make room.
func TestTenantsAreForgottenWhenTheyOweNothing(t *testing.T) {
	b := newBuckets[int](1, 1)
	for i := range 2 * maxTenants {
		b.take(i, 1, 0, time.Millisecond)
	}
	if len(b.byKey) != maxTenants {
		t.Errorf("%d tenants are remembered, want %d", len(b.byKey), maxTenants)
	}
	if _, ok := b.take(-1, 1, 0, 2*time.Millisecond); ok {
		t.Error("one of those who share a bucket was let in after others had emptied it")
	}
	b.take(-2, 1, 0, time.Minute)
	if len(b.byKey) != 1 {
		t.Errorf("%d tenants are remembered when all buckets are full again, want the one that is not", len(b.byKey))
	}
}
