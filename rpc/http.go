package rpc

import (
	"encoding/json"
	"net/http"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect"
)

// compressMinBytes is the size from which answers are compressed, if the client takes
// that. What fits into a packet or two arrives no sooner compressed, and compressing
// a Check's answer took a quarter of its time.
const compressMinBytes = 4 << 10

// newHTTPServer serves the connect server over HTTP/1.1 and HTTP/2 without TLS:
// Connect, gRPC, gRPC-Web and JSON, beside reflection and a plain health page.
func newHTTPServer(server *connect.Server, ready func() bool) *http.Server {
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server, connecthttp.WithReadMaxBytes(MaxMessageBytes), connecthttp.WithCompressMinBytes(compressMinBytes),
		connecthttp.WithCodecs(connectproto.NewBinaryCodec(), newJSONCodec()))
	reflector := grpcreflect.NewStaticReflector(serviceNames(server)...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, ready())
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   mux,
		Protocols: protocols,
		// A client that dawdles over its headers, or holds an idle connection, must not
		// hold a file descriptor for ever.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
	}
}

// newJSONCodec reads and writes JSON for people and their scripts. A field that does not
// exist is refused: a precondition whose name is misspelled must not be left out. A
// field that is false or empty is written: a "no" is an answer.
func newJSONCodec() *connectproto.JSONCodec {
	codec := connectproto.NewJSONCodec()
	codec.UnmarshalOptions.DiscardUnknown = false
	codec.MarshalOptions.EmitDefaultValues = true
	return codec
}

// writeHealth answers a load balancer.
func writeHealth(w http.ResponseWriter, ready bool) {
	state, code := "serving", http.StatusOK
	if !ready {
		state, code = "not serving", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that has gone away cannot be told.
	_ = json.NewEncoder(w).Encode(map[string]string{"status": state})
}
