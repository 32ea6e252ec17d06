package rpc

import (
	"context"

	"connectrpc.com/connect/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// registerHealth serves grpc.health.v1 on the connect server, so that it is there on
// every transport. The state is kept by grpc-go's own health server. Watches end when
// draining is done, or they would hold up a shutdown.
func registerHealth(server *connect.Server, h *health.Server, draining context.Context) {
	methods := healthpb.File_grpc_health_v1_health_proto.Services().ByName("Health").Methods()
	unary := func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		var req healthpb.HealthCheckRequest
		if err := stream.Receive(&req); err != nil {
			return err
		}
		res, err := h.Check(ctx, &req)
		if err != nil {
			return connect.Errorf(connect.CodeNotFound, "no service %.100q", req.Service).WithCause(err)
		}
		return stream.Send(res)
	}
	watch := func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		var req healthpb.HealthCheckRequest
		if err := stream.Receive(&req); err != nil {
			return err
		}
		bound, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(draining, cancel)()
		if _, err := h.Check(bound, &req); err != nil {
			return watchUnknown(ctx, bound, stream)
		}
		if err := h.Watch(&req, &healthWatch{ctx: bound, stream: stream}); err != nil {
			if ctx.Err() != nil {
				return ctx.Err() // it is the caller who ended it
			}
			return connect.NewError(connect.CodeUnavailable, "the watch has ended").WithCause(err)
		}
		return nil
	}
	server.Register(
		connect.Method{
			Spec: connect.Spec{
				StreamType: connect.StreamTypeUnary,
				Schema:     methods.ByName("Check"),
				Procedure:  healthpb.Health_Check_FullMethodName,
			},
			Handler: unary,
		},
		connect.Method{
			Spec: connect.Spec{
				StreamType: connect.StreamTypeServer,
				Schema:     methods.ByName("Watch"),
				Procedure:  healthpb.Health_Watch_FullMethodName,
			},
			Handler: watch,
		},
	)
}

// watchUnknown watches a service that is not there, and none appears once a server has begun
// to serve. grpc-go would keep its name for ever, and strangers, who are not asked who they
// are, can make up names without end.
func watchUnknown(ctx, bound context.Context, stream connect.ServerStream) error {
	if err := stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVICE_UNKNOWN}); err != nil {
		return err
	}
	<-bound.Done()
	if ctx.Err() != nil {
		return ctx.Err() // it is the caller who ended it
	}
	return connect.NewError(connect.CodeUnavailable, "the watch has ended")
}

// A healthWatch is the stream that grpc-go's health server sends its states to. It
// uses these two methods alone.
type healthWatch struct {
	grpc.ServerStream
	ctx    context.Context //nolint:containedctx // the interface asks for it
	stream connect.ServerStream
}

// Context is the call's context.
func (w *healthWatch) Context() context.Context { return w.ctx }

// Send sends a state.
func (w *healthWatch) Send(res *healthpb.HealthCheckResponse) error { return w.stream.Send(res) }
