package openfga

import (
	"context"
	"io"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// newClient calls the procedures of a server in process. Errors come as *Error. What is
// sent becomes the other side's: neither may change it any more. There are no streams.
func newClient(server *connect.Server) openfgav1.OpenFGAServiceClient {
	return openfgav1.NewOpenFGAServiceClient(conn{server})
}

// A conn is what grpc's generated client takes for a connection.
type conn struct{ server *connect.Server }

// Invoke calls a procedure with one answer.
func (c conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	info := callInfo(ctx)
	err := c.server.Call(ctx, method, info, &localStream{request: args, reply: reply})
	for _, o := range opts {
		if o, ok := o.(grpc.HeaderCallOption); ok {
			md := make(metadata.MD, info.ResponseHeader().Len())
			for key, values := range info.ResponseHeader().All() {
				md[key] = values
			}
			*o.HeaderAddr = md
		}
	}
	return err
}

// callInfo describes a call in process, whose headers are the context's metadata.
func callInfo(ctx context.Context) *connect.CallInfo {
	info := &connect.CallInfo{Codec: connect.CodecNameJSON}
	if md, ok := metadata.FromOutgoingContext(ctx); ok {
		for key, values := range md {
			info.RequestHeader().SetValues(key, values)
		}
	}
	return info
}

// NewStream refuses.
func (conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "calls in process have no streams")
}

// A localStream carries one request to a handler, and one answer back.
type localStream struct{ request, reply any }

// Receive hands the request over, once.
func (s *localStream) Receive(msg any) error {
	if s.request == nil {
		return io.EOF
	}
	err := move(msg, s.request)
	s.request = nil
	return err
}

// SendHeaders does nothing: the headers are in the call's info.
func (s *localStream) SendHeaders() error { return nil }

// Send hands the answer back.
func (s *localStream) Send(msg any) error { return move(s.reply, msg) }

// move fills dst with the fields of src, which share what they point to.
func move(dst, src any) error {
	to, ok1 := dst.(proto.Message)
	from, ok2 := src.(proto.Message)
	if !ok1 || !ok2 || to.ProtoReflect().Descriptor() != from.ProtoReflect().Descriptor() {
		return status.Errorf(codes.Internal, "%T is no %T", src, dst)
	}
	target := to.ProtoReflect()
	from.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		target.Set(field, value)
		return true
	})
	return nil
}
