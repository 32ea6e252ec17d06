package rpc

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Health is asked by strangers: what they make up must not stay behind.
func TestWatchesOfUnknownServicesLeaveNothing(t *testing.T) {
	s := newRig(t).serve()
	for name, conn := range map[string]healthpb.HealthClient{
		"grpc-go":  healthpb.NewHealthClient(dial(t, s.GRPCAddr())),
		"net/http": healthpb.NewHealthClient(dial(t, s.Addr())),
	} {
		for i := range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			watch, err := conn.Watch(ctx, &healthpb.HealthCheckRequest{Service: fmt.Sprint(name, i, strings.Repeat("x", 1000))})
			if err != nil {
				t.Fatal(err)
			}
			if res, err := watch.Recv(); err != nil || res.Status != healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
				t.Errorf("%s: a service that is not there: %v, %v", name, res, err)
			}
			cancel()
			if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
				t.Errorf("%s: a watch that was cancelled: %v", name, err)
			}
		}
		_, err := conn.Check(t.Context(), &healthpb.HealthCheckRequest{Service: strings.Repeat("x", 1<<20)})
		if status.Code(err) != codes.NotFound || len(err.Error()) > 200 {
			t.Errorf("%s: a service with a long name: %d bytes of error, %v", name, len(err.Error()), status.Code(err))
		}
	}
	if names := reflect.ValueOf(s.health).Elem().FieldByName("updates").Len(); names != 0 {
		t.Errorf("%d names are kept", names)
	}
	// It is asked like this until a shutdown begins, which it does not hold up.
	watch, err := healthpb.NewHealthClient(dial(t, s.GRPCAddr())).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	s.drain()
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("when a shutdown begins: %v", err)
	}
}
