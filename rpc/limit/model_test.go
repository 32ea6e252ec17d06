package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
)

// A randomCall does at random what handlers do with their turns: it waits, is paced,
// leaves and enters, has helpers, sends, panics, and gives up.
type randomCall struct {
	t     *testing.T
	l     *Limiter
	rand  *rand.Rand
	kinds []string
}

// errCaller is an end that the handler makes.
var errCaller = errors.New("the handler's own")

func (c *randomCall) run() {
	ctx := c.t.Context()
	if c.rand.IntN(4) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(c.rand.IntN(10))*time.Millisecond)
		defer cancel()
	}
	next := c.l.intercept(c.handle)
	defer func() {
		if r := recover(); r != nil && r != any(errCaller) {
			panic(r)
		}
	}()
	spec := connect.Spec{Procedure: c.kinds[c.rand.IntN(len(c.kinds))]}
	switch err := next(ctx, spec, silent{}); {
	case err == nil, errors.Is(err, errCaller), errors.Is(err, ErrQueue), ctx.Err() != nil && errors.Is(err, ctx.Err()):
	default:
		c.t.Errorf("%s: %v", spec.Procedure, err)
	}
}

// silent is a stream on which anything may be sent and received.
type silent struct{ connect.ServerStream }

func (silent) Receive(any) error { return nil }
func (silent) Send(any) error    { return nil }

func (c *randomCall) handle(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	if err := stream.Receive(tenantMessage(fmt.Sprint(c.rand.IntN(3)))); err != nil {
		return err
	}
	for range c.rand.IntN(8) {
		c.work()
		if err := c.step(ctx, stream); err != nil {
			return err
		}
		for _, p := range []*pool{c.l.short, c.l.long} {
			if n := p.running(); n > int(p.slots)+runtime.GOMAXPROCS(0) {
				c.t.Errorf("%d slots of %s are in use, which has %d, and one more for each processor", n, p.name, p.slots)
			}
		}
	}
	return nil
}

// work takes some time of the bubble's: whole milliseconds, as deadlines do, so that things happen at
// once.
func (c *randomCall) work() {
	time.Sleep(time.Duration(c.rand.IntN(4)) * time.Millisecond) //nolint:forbidigo // in a bubble, where it takes just that
}

func (c *randomCall) step(ctx context.Context, stream connect.ServerStream) error {
	switch c.rand.IntN(10) {
	case 0:
		return errCaller
	case 1:
		panic(errCaller)
	case 2:
		Leave(ctx)
		c.work()
		return Enter(ctx)
	case 3:
		return stream.Send(nil)
	case 4:
		var helpers sync.WaitGroup
		for _, h := range Helpers(ctx, 1+c.rand.IntN(3)) {
			helpers.Go(func() {
				defer h.Leave()
				_ = Pace(h) // that of a caller who has left
				h.Wanted()
			})
		}
		helpers.Wait()
		return nil
	case 5:
		return Yield(ctx)
	default:
		return Pace(ctx)
	}
}

// A tenantMessage is a request for a store.
type tenantMessage string

// GetStore names it.
func (m tenantMessage) GetStore() string { return string(m) }

// Whatever calls do, everybody who waits gets a turn in the end, there are no more turns
// than there may be, and no slot is lost.
func TestTurnsOfRandomCalls(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			l := New(Config{
				Concurrency: 1 + random.IntN(4), LongConcurrency: 1 + random.IntN(2), Queue: []int{2, 100}[random.IntN(2)],
				Resolve: func(store string) (id [16]byte, ok bool) { return [16]byte{15: store[0]}, store != "0" },
			})
			var callers sync.WaitGroup
			for i := range 2 + random.IntN(30) {
				callers.Go(func() {
					c := &randomCall{t, l, rand.New(rand.NewPCG(seed, uint64(i)+1)), []string{"/remit.v1.AccessService/Check", "/remit.v1.AccessService/ListObjects", "/remit.v1.WatchService/Watch", "/remit.v1.NodeService/GetNode"}}
					for range 10 {
						c.run()
					}
				})
			}
			callers.Wait() // or the bubble says that all its goroutines are blocked
			for _, p := range []*pool{l.short, l.long} {
				if state := p.state.Load(); state != 0 {
					t.Errorf("seed %d: the state of %s is %#x at the end, want 0", seed, p.name, state)
				}
				if len(p.stores.queue) != 0 {
					t.Errorf("seed %d: %d stores wait for %s at the end", seed, len(p.stores.queue), p.name)
				}
				for _, s := range p.stores.byKey {
					if s.running != 0 || s.waiting != 0 || len(s.principals.queue) != 0 {
						t.Errorf("seed %d: of a store %d run and %d wait for %s at the end", seed, s.running, s.waiting, p.name)
					}
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}
