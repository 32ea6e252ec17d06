package openfga

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/remit-authz/remit/rpc/backend"
)

// A service answers OpenFGA's procedures. Its methods stand in a file per noun. The one
// that it does not have itself, UpdateStore, OpenFGA does not implement either.
type service struct {
	openfgav1.UnimplementedOpenFGAServiceServer

	config *Config // complete: no field is zero that has another default
	reader *backend.Reader
	writer *backend.Writer
}

// registerOpenFGA serves every procedure of openfga.v1.OpenFGAService.
func registerOpenFGA(server *connect.Server, handlers openfgav1.OpenFGAServiceServer) {
	register(server, &openfgav1.OpenFGAService_ServiceDesc,
		openfgav1.File_openfga_v1_openfga_service_proto.Services().ByName("OpenFGAService"), handlers)
}

// register serves every procedure of a service. What generated code would say of each is
// read off grpc's own description of the service, so that none can be forgotten.
func register(server *connect.Server, desc *grpc.ServiceDesc, schema protoreflect.ServiceDescriptor, handlers any) {
	methods := schema.Methods()
	for _, m := range desc.Methods {
		server.Register(connect.Method{
			Spec: connect.Spec{
				StreamType:       connect.StreamTypeUnary,
				IdempotencyLevel: idempotency(m.MethodName),
				Schema:           methods.ByName(protoreflect.Name(m.MethodName)),
				Procedure:        "/" + desc.ServiceName + "/" + m.MethodName,
			},
			Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
				res, err := m.Handler(handlers, ctx, stream.Receive, nil)
				if err != nil {
					return err
				}
				return stream.Send(res)
			},
		})
	}
	for _, s := range desc.Streams {
		server.Register(connect.Method{
			Spec: connect.Spec{
				StreamType:       connect.StreamTypeServer,
				IdempotencyLevel: idempotency(s.StreamName),
				Schema:           methods.ByName(protoreflect.Name(s.StreamName)),
				Procedure:        "/" + desc.ServiceName + "/" + s.StreamName,
			},
			Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
				return s.Handler(handlers, &serverStream{ctx, stream})
			},
		})
	}
}

// idempotency says which procedures change nothing, so that clients of the Connect
// protocol may call them with GET.
func idempotency(method string) connect.IdempotencyLevel {
	switch method {
	case "CreateStore", "UpdateStore", "DeleteStore", "Write", "WriteAuthorizationModel", "WriteAssertions":
		return connect.IdempotencyUnknown
	}
	return connect.IdempotencyNoSideEffects
}

// A serverStream is the stream that grpc's generated code sends answers to.
type serverStream struct {
	ctx    context.Context //nolint:containedctx // the interface asks for it
	stream connect.ServerStream
}

var _ grpc.ServerStream = (*serverStream)(nil)

// Context is the call's context.
func (s *serverStream) Context() context.Context { return s.ctx }

// RecvMsg reads the request.
func (s *serverStream) RecvMsg(m any) error { return s.stream.Receive(m) }

// SendMsg sends an answer.
func (s *serverStream) SendMsg(m any) error { return s.stream.Send(m) }

// SendHeader flushes the headers, these among them.
func (s *serverStream) SendHeader(md metadata.MD) error {
	if err := s.SetHeader(md); err != nil {
		return err
	}
	return s.stream.SendHeaders()
}

// SetHeader adds to the headers.
func (s *serverStream) SetHeader(md metadata.MD) error {
	info, ok := connect.CallInfoForServerContext(s.ctx)
	if !ok {
		return errNoCall
	}
	for key, values := range md {
		info.ResponseHeader().SetValues(key, values)
	}
	return nil
}

// SetTrailer adds to the trailers.
func (s *serverStream) SetTrailer(md metadata.MD) {
	if info, ok := connect.CallInfoForServerContext(s.ctx); ok {
		for key, values := range md {
			info.ResponseTrailer().SetValues(key, values)
		}
	}
}

// errNoCall says that a context is not one of a call.
var errNoCall = errors.New("there is no call to set headers of")
