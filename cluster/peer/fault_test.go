package peer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster/clustertest"
)

// between are two ports of one cluster with a proxy between them, under the names a and b.
// The second is where a reaches b.
func between(t *testing.T) (a, b *node, proxy *clustertest.Proxy, to raft.ServerAddress) {
	t.Helper()
	proxy = clustertest.NewProxy(t)
	a, b = listen(t, "id-a", 7), listen(t, "id-b", 7)
	proxy.Name("id-a", "a")
	proxy.Name("id-b", "b")
	b.Handle(echo)
	return a, b, proxy, raft.ServerAddress(proxy.Front("b", b.Addr().String()))
}

// takes is how long a call took, which must be less than limit.
func takes(t *testing.T, limit time.Duration, call func()) {
	t.Helper()
	start := time.Now()
	call()
	if took := time.Since(start); took > limit {
		t.Errorf("it took %v, at most %v is right", took, limit)
	}
}

func TestCallAcrossACut(t *testing.T) {
	for _, test := range []struct {
		name     string
		from, to string
		fault    clustertest.Fault
	}{
		{"request", "a", "b", clustertest.Fault{Cut: true}},
		{"answer", "b", "a", clustertest.Fault{Cut: true}},
		{"both", clustertest.Anybody, clustertest.Anybody, clustertest.Fault{Cut: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, b, proxy, to := between(t)
			if _, err := a.Call(t.Context(), to, 1, nil); err != nil {
				t.Fatal(err)
			}
			proxy.Set(test.from, test.to, test.fault)
			takes(t, 7*time.Second, func() {
				if _, err := a.Call(t.Context(), to, 1, nil); err == nil || unsent(err) || !errors.Is(err, errSilent) {
					// Where only requests are cut, the other side ends the connection.
					if test.name != "request" || err == nil || unsent(err) {
						t.Errorf("a call over a cut link: %v, unsent %v", err, unsent(err))
					}
				}
			})
			takes(t, 2*time.Second, func() {
				if _, err := a.Call(t.Context(), to, 1, nil); err == nil || !unsent(err) {
					t.Errorf("a call that finds no way: %v, unsent %v", err, unsent(err))
				}
			})
			proxy.Heal()
			takes(t, 2*time.Second, func() {
				if _, err := a.Call(t.Context(), to, 1, nil); err != nil {
					t.Errorf("a call after the cut: %v\n%s\n%s", err, a.told.String(), b.told.String())
				}
			})
		})
	}
}

func TestCallOverASlowLink(t *testing.T) {
	a, _, proxy, to := between(t)
	proxy.Set("a", "b", clustertest.Fault{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Rate: 1 << 20})
	large := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, err := a.Call(ctx, to, 2, make([]byte, maxMessage))
		large <- err
	}()
	// The small ones have their turn while the large one needs eight seconds.
	for range 3 {
		takes(t, 6*time.Second, func() {
			if _, err := a.Call(t.Context(), to, 1, nil); err != nil {
				t.Error(err)
			}
		})
	}
	cancel()
	if err := <-large; !errors.Is(err, context.Canceled) || !unsent(err) {
		t.Errorf("the large one, given up: %v, unsent %v", err, unsent(err))
	}
}

func TestResetLink(t *testing.T) {
	a, _, proxy, to := between(t)
	if _, err := a.Call(t.Context(), to, 1, nil); err != nil {
		t.Fatal(err)
	}
	proxy.Set("b", "a", clustertest.Fault{Reset: true})
	eventually(t, "the connection is gone", func() bool {
		_, err := a.Call(t.Context(), to, 1, nil)
		return unsent(err)
	})
	proxy.Heal()
	if _, err := a.Call(t.Context(), to, 1, nil); err != nil {
		t.Error(err)
	}
}
