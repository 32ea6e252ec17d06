package observe

import (
	"context"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkIntercept measures what is added to a call that does nothing.
func BenchmarkIntercept(b *testing.B) {
	o := New(Config{Metrics: prometheus.NewRegistry()})
	server := connect.NewServer(o.Interceptors()...)
	spec := connect.Spec{StreamType: connect.StreamTypeUnary, Procedure: "/remit.v1.AccessService/Check"}
	server.Register(connect.Method{Spec: spec, Handler: nothing})
	o.Know(server)
	visited := o.Visited()
	intercepted := o.intercept(nothing)
	for _, bench := range []struct {
		name string
		call func() error
	}{
		{"call", func() error { return intercepted(b.Context(), spec, nil) }},
		{"question", func() error { visited(7); return nil }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bench.name+"-parallel", func(b *testing.B) {
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := bench.call(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func nothing(context.Context, connect.Spec, connect.ServerStream) error { return nil }
