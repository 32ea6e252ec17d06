package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress what they send
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/limit"
)

// streamWorkers are goroutines that answer one call after the other: more than there are
// processors to run them on most machines, and few enough to be no matter when idle.
const streamWorkers = 64

// newGRPCServer puts the connect server behind grpc-go's own transport, which costs a
// third less than gRPC over net/http. Every procedure arrives at one handler for
// unknown services, so that handlers, interceptors and errors exist once. The reader of a
// list is cut off after a time, if that is positive.
func newGRPCServer(faces []face, lists time.Duration, options ...grpc.ServerOption) *grpc.Server {
	services := map[string]face{}
	names := serviceInfo{}
	for _, f := range faces {
		for _, name := range serviceNames(f.server) {
			services[name] = f
			names[name] = grpc.ServiceInfo{}
		}
	}
	g := grpc.NewServer(append(options,
		// Beyond this grpc-go refuses by itself, and can give no reason.
		grpc.MaxRecvMsgSize(2*MaxMessageBytes),
		// As much as net/http takes. grpc-go would keep sixteen times that of every call of a
		// stranger before anybody is asked.
		grpc.MaxHeaderListSize(http.DefaultMaxHeaderBytes),
		// A client that opens calls and never sends their requests holds no more than this.
		grpc.MaxConcurrentStreams(maxConcurrentStreams),
		// A goroutine of its own for each call would grow its stack anew each time: a tenth of
		// what a Check costs. What finds all of these at work, gets one.
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ForceServerCodecV2(frameCodec{encoding.GetCodecV2(grpcproto.Name)}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			serve := func(stream grpc.ServerStream) error { return serveGRPC(services, stream) }
			switch procedure, _ := grpc.MethodFromServerStream(stream); {
			case mayBeCut(procedure):
				return serveCuttable(procedure, stream, 0, serve)
			case lists > 0 && isList(procedure):
				return serveCuttable(procedure, stream, lists, serve)
			}
			return serve(stream)
		}),
	)...)
	told := reflection.ServerOptions{Services: names}
	reflectionv1.RegisterServerReflectionServer(g, reflection.NewServerV1(told))
	reflectionv1alpha.RegisterServerReflectionServer(g, reflection.NewServer(told))
	return g
}

// guardReflection keeps strangers from grpc-go's own services. Every other call is asked
// by the gate among the interceptors of its face.
func guardReflection(identify *gate.Gate) []grpc.ServerOption {
	if !identify.Enabled() {
		return nil
	}
	return []grpc.ServerOption{grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if strings.HasPrefix(info.FullMethod, "/grpc.reflection.") {
			ctx := stream.Context()
			if p, ok := peer.FromContext(ctx); ok {
				if secured, ok := p.AuthInfo.(credentials.TLSInfo); ok {
					ctx = gate.WithTLS(ctx, &secured.State)
				}
			}
			if err := identify.Know(ctx, metadata.ValueFromIncomingContext(ctx, "authorization")); err != nil {
				return status.Error(codes.Unauthenticated, err.Error())
			}
		}
		return handler(srv, stream)
	})}
}

// serveGRPC hands one call of grpc-go to the face that has the service. grpc-go has put
// the caller's deadline into the stream's context.
func serveGRPC(services map[string]face, stream grpc.ServerStream) error {
	ctx := stream.Context()
	procedure, ok := grpc.MethodFromServerStream(stream)
	if !ok {
		return status.Error(codes.Internal, "the call has no method")
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(procedure, "/"), "/")
	f, ok := services[service]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown service %s, method %s", service, method)
	}
	info := &connect.CallInfo{
		Protocol:         connect.ProtocolNameGRPC,
		Codec:            connect.CodecNameProto,
		RequestEncoding:  connect.CompressionNameIdentity,
		ResponseEncoding: connect.CompressionNameIdentity,
	}
	if p, ok := peer.FromContext(ctx); ok {
		info.PeerAddr = p.Addr.String()
		if secured, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			ctx = gate.WithTLS(ctx, &secured.State)
		}
	}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for key, values := range md {
			setHeader(info.RequestHeader(), key, values)
		}
	}
	ctx, arrival := f.limits.Arrive(ctx)
	adapter := &grpcStream{stream: stream, info: info, maxBytes: f.maxBytes, limits: f.limits, arrival: arrival}
	err := f.server.Call(ctx, procedure, info, adapter)
	if headerErr := adapter.SendHeaders(); err == nil && headerErr != nil {
		err = headerErr
	}
	stream.SetTrailer(outgoing(info.ResponseTrailer()))
	return grpcError(err)
}

// A frame is a request message as it came. grpc-go ends a call with a status of its own
// when a message cannot be decoded, so decoding is kept out of its hands: only that way
// does a fault get the reason that it has on every transport.
type frame struct{ data mem.BufferSlice }

// A frameCodec is grpc-go's protobuf codec that also reads frames.
type frameCodec struct{ encoding.CodecV2 }

// Unmarshal reads a message, or keeps it for later if v is a frame.
func (c frameCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	data.Ref()
	f.data = data
	return nil
}

// A grpcStream is a connect.ServerStream over grpc-go's.
type grpcStream struct {
	stream  grpc.ServerStream
	info    *connect.CallInfo
	frame   frame // the last that was read
	flushed bool

	maxBytes int // of a message
	limits   *limit.Limiter
	arrival  *limit.Arrival
}

// Receive reads the next request message.
func (s *grpcStream) Receive(msg any) error {
	err := s.stream.RecvMsg(&s.frame)
	if err == nil {
		return s.decode(msg)
	}
	if errors.Is(err, io.EOF) {
		return err
	}
	if st, ok := status.FromError(err); ok {
		return connect.NewError(connect.Code(st.Code()), st.Message()).WithCause(err)
	}
	return err
}

// decode reads the message that has been received.
func (s *grpcStream) decode(msg any) error {
	buf := s.frame.data.MaterializeToBuffer(mem.DefaultBufferPool())
	s.frame.data.Free()
	defer buf.Free()
	data := buf.ReadOnlyData()
	if len(data) > s.maxBytes {
		return connect.Errorf(connect.CodeResourceExhausted, "message size %d is larger than configured max %d", len(data), s.maxBytes)
	}
	m, ok := msg.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", msg)
	}
	if err := s.arrival.Judge(data, limit.Binary, m); err != nil {
		return err
	}
	return s.limits.Code(s.stream.Context(), len(data), func() error {
		if err := proto.Unmarshal(data, m); err != nil {
			return connect.Errorf(connect.CodeInvalidArgument, "unmarshal message: %v", err).WithCause(err)
		}
		return nil
	})
}

// SendHeaders flushes the response's headers.
func (s *grpcStream) SendHeaders() error {
	if s.flushed {
		return nil
	}
	s.flushed = true
	if header := s.info.ResponseHeader(); header.Len() > 0 {
		return s.stream.SetHeader(outgoing(header))
	}
	return nil
}

// Send sends the next response message.
func (s *grpcStream) Send(msg any) error {
	if err := s.SendHeaders(); err != nil {
		return err
	}
	m, ok := msg.(proto.Message)
	if !ok {
		return s.stream.SendMsg(msg)
	}
	if size := proto.Size(m); size >= limit.LargeMessage {
		var encoded grpc.PreparedMsg
		if err := s.limits.Code(s.stream.Context(), size, func() error { return encoded.Encode(s.stream, msg) }); err != nil {
			return err
		}
		return s.stream.SendMsg(&encoded)
	}
	return s.stream.SendMsg(msg)
}

// setHeader copies metadata to a header. Binary values travel raw in metadata and
// encoded in headers.
func setHeader(h *connect.Header, key string, values []string) {
	if strings.HasPrefix(key, ":") {
		return
	}
	if !strings.HasSuffix(key, "-bin") {
		h.SetValues(key, values)
		return
	}
	for _, v := range values {
		h.Add(key, connect.EncodeBinaryHeader([]byte(v)))
	}
}

// outgoing is the reverse of setHeader, for a whole header.
func outgoing(h *connect.Header) metadata.MD {
	if h.Len() == 0 {
		return nil
	}
	md := make(metadata.MD, h.Len())
	for key, values := range h.All() {
		key = strings.ToLower(key)
		if !strings.HasSuffix(key, "-bin") {
			md[key] = values
			continue
		}
		for _, v := range values {
			if raw, err := connect.DecodeBinaryHeader(v); err == nil {
				md[key] = append(md[key], string(raw))
			}
		}
	}
	return md
}

// grpcError writes an error as grpc-go sends it, details included. Only an error that
// was made for the wire carries its text there, as over HTTP.
func grpcError(err error) error {
	if err == nil {
		return nil
	}
	var ce *connect.Error // it costs an allocation, which a good answer is spared
	switch {
	case !errors.As(err, &ce):
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return status.FromContextError(err).Err()
		}
		return status.Error(codes.Unknown, "")
	case ce.IsRemote():
		return status.Error(codes.Internal, "")
	}
	st := status.New(codes.Code(ce.Code()), ce.Message()).Proto()
	for _, detail := range ce.Details() {
		st.Details = append(st.Details, connectproto.ErrorDetailToAny(detail))
	}
	return status.ErrorProto(st)
}

// serviceInfo is what grpc's reflection asks for.
type serviceInfo map[string]grpc.ServiceInfo

// GetServiceInfo lists the services.
func (s serviceInfo) GetServiceInfo() map[string]grpc.ServiceInfo { return s }

// serviceNames lists the services of a connect server in the order of their
// registration.
func serviceNames(server *connect.Server) []string {
	var names []string
	for spec := range server.Specs() {
		name, _, _ := strings.Cut(strings.TrimPrefix(spec.Procedure, "/"), "/")
		if len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}
