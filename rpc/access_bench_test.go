package rpc

import (
	"context"
	"net"
	"net/http"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// BenchmarkCheck measures what a question costs beside its evaluation: the handler
// alone, and through the dispatcher.
func BenchmarkCheck(b *testing.B) {
	r := newRig(b)
	store := r.store("acme", acme...)
	req := &remitv1.CheckRequest{
		Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"},
	}
	b.Run("handler", func(b *testing.B) {
		s := &accessService{reader: r.reader()}
		b.ReportAllocs()
		for b.Loop() {
			if res, err := s.Check(b.Context(), req); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
	b.Run("in-process", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := r.access.Check(b.Context(), req); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
}

// emptyProcedure does nothing: what it costs is the transport's.
const emptyProcedure = "/remit.bench.Empty/Call"

// BenchmarkTransport sets a Check over real connections beside a call that does
// nothing, client included, on each port.
func BenchmarkTransport(b *testing.B) {
	r := newRig(b)
	store := r.store("acme", acme...)
	req := &remitv1.CheckRequest{
		Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"},
	}
	r.server.Register(connect.Method{
		Spec: connect.Spec{StreamType: connect.StreamTypeUnary, Procedure: emptyProcedure},
		Handler: func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			if err := stream.Receive(&emptypb.Empty{}); err != nil {
				return err
			}
			return stream.Send(&emptypb.Empty{})
		},
	})
	faces := []face{{server: r.server, maxBytes: MaxMessageBytes, json: newJSONCodec()}}
	web, native := newHTTPServer(faces, http.NotFoundHandler(), 0, func() bool { return true }, nil, &pageGuard{}), newGRPCServer(faces, 0)
	listen := func(serve func(net.Listener) error) string {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = serve(l) }() // ends with an error when it is closed
		return l.Addr().String()
	}
	webAddr, nativeAddr := listen(web.Serve), listen(native.Serve)
	b.Cleanup(func() { _ = web.Close() })
	b.Cleanup(native.Stop)

	conn, err := grpc.NewClient(nativeAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	b.Run("grpc/empty", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := conn.Invoke(b.Context(), emptyProcedure, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("grpc/check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var res remitv1.CheckResponse
			if err := conn.Invoke(b.Context(), remitv1connect.AccessServiceCheckProcedure, req, &res); err != nil || !res.Allowed {
				b.Fatal(&res, err)
			}
		}
	})
	client := connect.NewClient(connecthttp.NewTransport(http.DefaultClient, "http://"+webAddr))
	access := remitv1connect.NewAccessServiceClient(client)
	b.Run("connect/empty", func(b *testing.B) {
		b.ReportAllocs()
		spec := connect.Spec{StreamType: connect.StreamTypeUnary, Procedure: emptyProcedure}
		for b.Loop() {
			if err := client.CallUnary(b.Context(), spec, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("connect/check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if res, err := access.Check(b.Context(), req); err != nil || !res.Allowed {
				b.Fatal(res, err)
			}
		}
	})
}
