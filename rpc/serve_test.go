package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// serve runs a rig's services on real ports until the test ends.
func (r *rig) serve() *Server {
	r.t.Helper()
	s, err := Listen(r.t.Context(), r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return s
}

func dial(t *testing.T, addr net.Addr) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// post is curl.
func post(t *testing.T, s *Server, procedure, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr().String()+procedure, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var m map[string]any
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, m
}

func TestPlainJSONIsEnough(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	code, store := post(t, s, "/remit.v1.StoreService/CreateStore", `{"name":"acme"}`)
	if code != http.StatusOK || store["token"] == "" {
		t.Fatalf("CreateStore = %d, %v", code, store)
	}
	source, err := json.Marshal(testModel)
	if err != nil {
		t.Fatal(err)
	}
	if code, m := post(t, s, "/remit.v1.ModelService/WriteModel", `{"store":"acme","source":{"dsl":`+string(source)+`}}`); code != http.StatusOK {
		t.Fatalf("WriteModel = %d, %v", code, m)
	}
	if code, m := post(t, s, "/remit.v1.TupleService/Write",
		`{"store":"acme","operations":[{"kind":"KIND_TOUCH","tuple":{"object":"document:plan","relation":"owner","subject":"user:anna"}}]}`); code != http.StatusOK {
		t.Fatalf("Write = %d, %v", code, m)
	}
	code, m := post(t, s, "/remit.v1.AccessService/Check",
		`{"scope":{"store":"acme"},"question":{"object":"document:plan","relation":"reader","subject":"user:anna"}}`)
	if code != http.StatusOK || m["allowed"] != true {
		t.Errorf("Check = %d, %v", code, m)
	}
	code, m = post(t, s, "/remit.v1.AccessService/Check",
		`{"scope":{"store":"acme"},"question":{"object":"document:plan","relation":"raeder","subject":"user:anna"}}`)
	detail, _ := json.Marshal(m["details"])
	if code != http.StatusBadRequest || m["code"] != "invalid_argument" || !bytes.Contains(detail, []byte("ERROR_REASON_RELATION_NOT_FOUND")) {
		t.Errorf("Check of an unknown relation = %d, %v", code, m)
	}
	code, m = post(t, s, "/remit.v1.AccessService/Check",
		`{"scope":{"store":"acme"},"question":{"object":"document:plan","relation":"reader","subject":"user:bert"}}`)
	if allowed, told := m["allowed"]; code != http.StatusOK || allowed != false || !told {
		t.Errorf("Check that is denied = %d, %v, want allowed: false", code, m)
	}
	code, m = post(t, s, "/remit.v1.TupleService/Write",
		`{"store":"acme","precondition":[{}],"operations":[{"kind":"KIND_TOUCH","tuple":{"object":"document:plan","relation":"owner","subject":"user:bert"}}]}`)
	detail, _ = json.Marshal(m["details"])
	if text, _ := m["message"].(string); code != http.StatusBadRequest || !strings.Contains(text, `unknown field "precondition"`) ||
		!bytes.Contains(detail, []byte("ERROR_REASON_INVALID_REQUEST")) || r.check(scopeOf("acme"), "document:plan#owner@user:bert") {
		t.Errorf("Write with a misspelled field = %d, %v", code, m)
	}
	code, m = post(t, s, "/remit.v1.AccessService/Check", `{"scope":`+strings.Repeat(" ", MaxMessageBytes)+`{}}`)
	detail, _ = json.Marshal(m["details"])
	if code != http.StatusTooManyRequests || !bytes.Contains(detail, []byte("ERROR_REASON_TOO_LARGE")) {
		t.Errorf("a message over the limit = %d, %v", code, m)
	}
	code, m = post(t, s, "/remit.v1.AccessService/Check", `{"scope":`)
	detail, _ = json.Marshal(m["details"])
	if code != http.StatusBadRequest || !bytes.Contains(detail, []byte("ERROR_REASON_INVALID_REQUEST")) {
		t.Errorf("a message that is no JSON = %d, %v", code, m)
	}

	res, err := http.Get("http://" + s.Addr().String() + "/healthz") //nolint:noctx // a liveness probe has no context
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusOK || !json.Valid(body) {
		t.Errorf("/healthz = %d, %q, %v", res.StatusCode, body, err)
	}

	stay := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"//stores", "/nothing/../nothing", "/nothing"} {
		res, err := stay.Get("http://" + s.Addr().String() + path) //nolint:noctx // as above
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil || res.StatusCode != http.StatusNotFound || !bytes.Contains(body, []byte("undefined_endpoint")) {
			t.Errorf("%s = %d, %q, %v", path, res.StatusCode, body, err)
		}
	}
}

func TestEveryProtocolSpeaksToOneServer(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	s := r.serve()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2c := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	base := "http://" + s.Addr().String()
	for name, transport := range map[string]connect.Transport{
		"connect":  connecthttp.NewTransport(http.DefaultClient, base),
		"json":     connecthttp.NewTransport(http.DefaultClient, base, connecthttp.WithProtoJSON()),
		"get":      connecthttp.NewTransport(http.DefaultClient, base, connecthttp.WithHTTPGet()),
		"grpc":     connecthttp.NewTransport(h2c, base, connecthttp.WithGRPC()),
		"grpc-web": connecthttp.NewTransport(http.DefaultClient, base, connecthttp.WithGRPCWeb()),
		"8081":     connecthttp.NewTransport(h2c, "http://"+s.GRPCAddr().String(), connecthttp.WithGRPC()),
	} {
		t.Run(name, func(t *testing.T) {
			c := newClients(transport)
			res, err := c.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf(store), Question: ask(t, "document:plan#reader@user:anna")})
			if err != nil || !res.Allowed {
				t.Errorf("Check = %v, %v", res, err)
			}
			_, err = c.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf("nobody"), Question: ask(t, "document:plan#reader@user:anna")})
			if code, _, detail := detailOf(t, err); code != connect.CodeNotFound || detail.Reason != remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND {
				t.Errorf("Check in an unknown store = %v", err)
			}
			stream, err := c.access.StreamObjects(t.Context(), &remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:anna"})
			if err != nil {
				t.Fatal(err)
			}
			first, err := stream.Receive()
			if err != nil || len(first.Ids) != 2 {
				t.Errorf("StreamObjects = %v, %v", first, err)
			}
			if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("StreamObjects ends with %v", err)
			}
			node, err := c.node.GetNode(t.Context(), &remitv1.GetNodeRequest{})
			if err != nil || node.NodeId != "node" || node.LeaderId != "node" || node.Revision == 0 || len(node.StateHash) != 32 || node.Version != "dev" {
				t.Errorf("GetNode = %v, %v", node, err)
			}
		})
	}
}

func TestGRPCGoClientsAreAtHome(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	conn := dial(t, r.serve().GRPCAddr())

	res := &remitv1.CheckResponse{}
	err := conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure,
		&remitv1.CheckRequest{Scope: scopeOf(store), Question: ask(t, "document:plan#reader@user:anna")}, res)
	if err != nil || !res.Allowed || res.Token == "" {
		t.Errorf("Check = %v, %v", res, err)
	}

	// Error details.
	err = conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure,
		&remitv1.CheckRequest{Scope: scopeOf("nobody"), Question: ask(t, "document:plan#reader@user:anna")}, res)
	st := status.Convert(err)
	if st.Code() != codes.NotFound || len(st.Details()) != 1 {
		t.Fatalf("Check in an unknown store = %v, details %v", err, st.Details())
	}
	if detail, ok := st.Details()[0].(*remitv1.ErrorDetail); !ok || detail.Reason != remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND || detail.Field != "scope.store" {
		t.Errorf("detail = %v", st.Details()[0])
	}
	// The validation of messages.
	err = conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure, &remitv1.CheckRequest{}, res)
	if st := status.Convert(err); st.Code() != codes.InvalidArgument || len(st.Details()) != 1 {
		t.Errorf("an empty Check = %v, details %v", err, st.Details())
	}
	// The size limit.
	big := &remitv1.CheckRequest{Scope: scopeOf(strings.Repeat("x", MaxMessageBytes+1)), Question: ask(t, "document:plan#reader@user:anna")}
	err = conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure, big, res, grpc.MaxCallSendMsgSize(2*MaxMessageBytes))
	st = status.Convert(err)
	if st.Code() != codes.ResourceExhausted || len(st.Details()) != 1 || st.Details()[0].(*remitv1.ErrorDetail).Reason != remitv1.ErrorReason_ERROR_REASON_TOO_LARGE {
		t.Errorf("a message over the limit = %v, details %v", err, st.Details())
	}
	// Bytes that are no such message.
	err = conn.Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure, &healthpb.HealthCheckRequest{Service: "garbage"}, res)
	st = status.Convert(err)
	if st.Code() != codes.InvalidArgument || len(st.Details()) != 1 || st.Details()[0].(*remitv1.ErrorDetail).Reason != remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST {
		t.Errorf("a malformed message = %v, details %v", err, st.Details())
	}
	// Deadlines: a token from the future is waited for no longer than the caller does.
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	future := &remitv1.CheckRequest{
		Scope: &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
			Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: r.reader().Token(1 << 40)},
		}},
		Question: ask(t, "document:plan#reader@user:anna"),
	}
	if err := conn.Invoke(short, remitv1connect.AccessServiceCheckProcedure, future, res); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("Check under a short deadline = %v", err)
	}
	if err := conn.Invoke(t.Context(), "/remit.v1.AccessService/Nothing", &remitv1.CheckRequest{}, res); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown method = %v", err)
	}

	// Streams.
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, remitv1connect.AccessServiceStreamObjectsProcedure)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(&remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:anna"}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	list := &remitv1.ListObjectsResponse{}
	if err := stream.RecvMsg(list); err != nil || len(list.Ids) != 2 {
		t.Errorf("StreamObjects = %v, %v", list, err)
	}
	if err := stream.RecvMsg(list); !errors.Is(err, io.EOF) {
		t.Errorf("StreamObjects ends with %v", err)
	}

	health, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: remitv1connect.AccessServiceName})
	if err != nil || health.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health = %v, %v", health, err)
	}
}

// A client may compress what it sends, whichever port it uses.
func TestRequestsMayBeCompressed(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	s := r.serve()
	req := &remitv1.CheckRequest{Scope: scopeOf(store), Question: ask(t, "document:plan#reader@user:anna")}
	for _, addr := range []net.Addr{s.Addr(), s.GRPCAddr()} {
		var res remitv1.CheckResponse
		err := dial(t, addr).Invoke(t.Context(), remitv1connect.AccessServiceCheckProcedure, req, &res, grpc.UseCompressor("gzip"))
		if err != nil || !res.Allowed {
			t.Errorf("compressed Check on %s = %v, %v, want allowed", addr, res.Allowed, err)
		}
	}
}

// Only an answer that gains by it is compressed.
func TestSmallAnswersAreNotCompressed(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("document:with-a-rather-long-name-%d#owner@user:olga", i)
	}
	r.write(store, many...)
	s := r.serve()
	for body, want := range map[string]string{
		`{"store":"acme","pageSize":1}`:    "",
		`{"store":"acme","pageSize":1000}`: "gzip",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr().String()+remitv1connect.TupleServiceReadProcedure, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Content-Encoding"); res.StatusCode != http.StatusOK || got != want {
			t.Errorf("Read(%s) = %d in encoding %q, want %q", body, res.StatusCode, got, want)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A server that only echoes: what the bridge to grpc-go passes on.
func TestMetadataCrossesTheBridge(t *testing.T) {
	echo := func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		info, _ := connect.CallInfoForServerContext(ctx)
		var req healthpb.HealthCheckRequest
		if err := stream.Receive(&req); err != nil {
			return err
		}
		info.ResponseHeader().Set("X-Echo", info.RequestHeader().Get("X-Ask"))
		info.ResponseHeader().Set("X-Echo-Bin", info.RequestHeader().Get("X-Ask-Bin"))
		info.ResponseTrailer().Set("X-Peer", info.PeerAddr)
		return connect.Errorf(connect.Code(2000), "raw codes pass")
	}
	server := connect.NewServer()
	server.Register(connect.Method{Spec: connect.Spec{Procedure: "/echo.Echo/Echo"}, Handler: echo})
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own port
	if err != nil {
		t.Fatal(err)
	}
	g := newGRPCServer([]face{{server: server, maxBytes: MaxMessageBytes, json: newJSONCodec()}}, 0)
	done := make(chan error, 1)
	go func() { done <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	var header, trailer metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-ask", "why", "x-ask-bin", "\x00\xff")
	err = dial(t, listener.Addr()).Invoke(ctx, "/echo.Echo/Echo", &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{},
		grpc.Header(&header), grpc.Trailer(&trailer))
	if status.Code(err) != codes.Code(2000) || status.Convert(err).Message() != "raw codes pass" {
		t.Errorf("error = %v", err)
	}
	if got := header.Get("x-echo"); len(got) != 1 || got[0] != "why" {
		t.Errorf("header = %v", header)
	}
	if got := header.Get("x-echo-bin"); len(got) != 1 || got[0] != "\x00\xff" {
		t.Errorf("binary header = %v", header)
	}
	if got := trailer.Get("x-peer"); len(got) != 1 || got[0] == "" {
		t.Errorf("trailer = %v", trailer)
	}
}

func TestBothPortsTellTheirServices(t *testing.T) {
	s := newRig(t).serve()
	for _, addr := range []net.Addr{s.Addr(), s.GRPCAddr()} {
		stream, err := reflectionv1.NewServerReflectionClient(dial(t, addr)).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ symbol, want string }{
			{"", remitv1connect.AccessServiceName}, // the list of services
			{"", openfgav1.OpenFGAService_ServiceDesc.ServiceName},
			{remitv1connect.TupleServiceName, "TupleFilter"},
			{openfgav1.OpenFGAService_ServiceDesc.ServiceName, "WriteAssertions"},
		} {
			request := &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}
			if c.symbol != "" {
				request.MessageRequest = &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: c.symbol}
			}
			if err := stream.Send(request); err != nil {
				t.Fatal(err)
			}
			res, err := stream.Recv()
			if err != nil || !strings.Contains(res.String(), c.want) {
				t.Errorf("%s: %v, %v, want %s", addr, res, err, c.want)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Error(err)
		}
		for _, service := range []string{"", remitv1connect.StoreServiceName, openfgav1.OpenFGAService_ServiceDesc.ServiceName} {
			health, err := healthpb.NewHealthClient(dial(t, addr)).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
			if err != nil || health.Status != healthpb.HealthCheckResponse_SERVING {
				t.Errorf("%s: health of %q = %v, %v", addr, service, health, err)
			}
		}
		_, err = healthpb.NewHealthClient(dial(t, addr)).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "nobody"})
		if status.Code(err) != codes.NotFound {
			t.Errorf("%s: health of nobody = %v", addr, err)
		}
	}
}

func TestAShutdownDrains(t *testing.T) {
	r := newRig(t, func(c *Config) { c.DrainTimeout = 30 * time.Second })
	store := r.store("acme", acme...)
	s, err := Listen(t.Context(), r.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	conn := dial(t, s.GRPCAddr())
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	// A request that is under way when the shutdown begins gets its answer.
	waiting := make(chan error, 1)
	next := r.config.State.Current().Revision() + 1
	go func() {
		waiting <- conn.Invoke(context.Background(), remitv1connect.AccessServiceCheckProcedure, &remitv1.CheckRequest{
			Scope: &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{
				Requirement: &remitv1.Consistency_AtLeastAsFresh{AtLeastAsFresh: r.reader().Token(next)},
			}},
			Question: ask(t, "document:plan#reader@user:anna"),
		}, &remitv1.CheckResponse{})
	}()
	stop()
	for { // the watch sees the end of service, then its own
		if _, err := watch.Recv(); err != nil {
			break
		}
	}
	r.write(store, "document:a#owner@user:anna")
	if err := <-waiting; err != nil && status.Code(err) != codes.Unavailable {
		t.Errorf("the request under way = %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil { //nolint:noctx // it must fail at once
		t.Error("the port is open after the shutdown")
	}
}

func TestOnlyLoopbackWithoutPermission(t *testing.T) {
	r := newRig(t)
	for addr, want := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "[::1]:0": true, "127.8.8.8:0": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "192.0.2.1:0": false, "example.org:0": false, "nonsense": false,
	} {
		for _, insecurely := range []bool{false, true} {
			c := r.config
			c.Addr, c.Insecure = addr, insecurely
			err := c.Validate()
			if ok := err == nil; ok != (want || insecurely && addr != "nonsense") {
				t.Errorf("Validate of %s, insecure %v: %v", addr, insecurely, err)
			}
		}
	}
	if err := (&Config{Budget: -1, DrainTimeout: -1}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("Validate = %v, want four faults", err)
	}
}
