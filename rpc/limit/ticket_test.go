package limit

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// Whoever may take as long as he likes lets others run that are ready, although nobody
// waits for his slot.
func TestLongCallsCedeTheirProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	l := New(Config{Resolve: func(string) (id [16]byte, ok bool) { return id, false }})
	handle := l.intercept(func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		if err := stream.Receive(tenantMessage("")); err != nil {
			return err
		}
		var ran atomic.Bool
		go ran.Store(true)
		for begun := clock(); clock()-begun < 2*slice; {
			if err := Pace(ctx); err != nil {
				return err
			}
		}
		if !ran.Load() {
			t.Errorf("nobody else ran within %s", 2*slice)
		}
		return nil
	})
	if err := handle(t.Context(), connect.Spec{Procedure: remitv1connect.AccessServiceListObjectsProcedure}, silent{}); err != nil {
		t.Fatal(err)
	}
}
