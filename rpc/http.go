package rpc

import (
	"encoding/json"
	"net/http"
	"path"
	"time"

	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect"
)

// compressMinBytes is the size from which answers are compressed, if the client takes
// that. What fits into a packet or two arrives no sooner compressed, and compressing
// a Check's answer took a quarter of its time.
const compressMinBytes = 4 << 10

// newHTTPServer serves the faces over HTTP/1.1 and HTTP/2 without TLS: Connect, gRPC,
// gRPC-Web and JSON, beside reflection and a plain health page. What none of them takes
// is rest's.
func newHTTPServer(faces []face, rest http.Handler, ready func() bool) *http.Server {
	mux := http.NewServeMux()
	var names []string
	for _, f := range faces {
		connecthttp.Mount(mux, f.server, connecthttp.WithReadMaxBytes(f.maxBytes), connecthttp.WithCompressMinBytes(compressMinBytes),
			connecthttp.WithCodecs(connectproto.NewBinaryCodec(), f.json))
		names = append(names, serviceNames(f.server)...)
	}
	mux.Handle("/", rest)
	reflector := grpcreflect.NewStaticReflector(names...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, ready())
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:   cuttable(unredirected(mux, rest)),
		Protocols: protocols,
		// A client that dawdles over its headers, or holds an idle connection, must not
		// hold a file descriptor for ever.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
	}
}

// unredirected keeps the mux from redirecting a path that is not clean: no page lies
// behind it, and a client of an API gets an answer.
func unredirected(mux, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clean := path.Clean(r.URL.Path); clean != r.URL.Path && clean+"/" != r.URL.Path {
			rest.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// newLenientCodec passes over fields that do not exist, as servers of OpenFGA's
// protocol do, whose clients may be newer.
func newLenientCodec() *connectproto.JSONCodec {
	codec := newJSONCodec()
	codec.UnmarshalOptions.DiscardUnknown = true
	return codec
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

// writeHealth answers a load balancer, in the words of grpc.health.v1.
func writeHealth(w http.ResponseWriter, ready bool) {
	state, code := "SERVING", http.StatusOK
	if !ready {
		state, code = "NOT_SERVING", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that has gone away cannot be told.
	_ = json.NewEncoder(w).Encode(map[string]string{"status": state})
}
