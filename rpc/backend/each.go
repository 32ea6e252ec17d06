package backend

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/remit-authz/remit/rpc/limit"
)

// Each does something for every number below n, several at a time; up to serial of them
// are done sooner than a helper starts, and helpers go when others need the processor. The
// first error ends it. A panic is an error too: whoever contains the others does not see
// those of goroutines, and one question must not take down the node.
func Each(ctx context.Context, n, serial int, do func(ctx context.Context, i int) error) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	work := func(ctx context.Context, goOn func() (bool, error)) (err error) {
		defer contain(&err)
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return nil
			}
			if err := do(ctx, i); err != nil {
				return err
			}
			if more, err := goOn(); err != nil || !more {
				return err
			}
		}
	}
	for _, h := range limit.Helpers(ctx, min(runtime.GOMAXPROCS(0), (n+serial-1)/serial)-1) {
		group.Go(func() error {
			defer h.Leave()
			return work(h, func() (bool, error) { return h.Wanted(), nil })
		})
	}
	group.Go(func() error {
		return work(ctx, func() (bool, error) { return true, limit.Yield(ctx) })
	})
	return group.Wait()
}

// contain makes a panic an error.
func contain(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}
