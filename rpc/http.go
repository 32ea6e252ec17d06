package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect"

	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/limit"
)

// compressMinBytes is the size from which answers are compressed, if the client takes
// that. What fits into a packet or two arrives no sooner compressed, and compressing
// a Check's answer took a quarter of its time.
const compressMinBytes = 4 << 10

// newHTTPServer serves the faces over HTTP/1.1 and HTTP/2, with TLS and without: Connect, gRPC,
// gRPC-Web and JSON, beside reflection and a plain health page. What none of them takes
// is rest's. The reader of a list is cut off after a time, if that is positive. Nil lets
// everybody use reflection.
func newHTTPServer(faces []face, rest http.Handler, lists time.Duration, ready func() bool, identify *gate.Gate, pages *pageGuard) *http.Server {
	mux := http.NewServeMux()
	var names []string
	for _, f := range faces {
		connecthttp.Mount(mux, f.server, connecthttp.WithReadMaxBytes(f.maxBytes), connecthttp.WithCompressMinBytes(compressMinBytes),
			connecthttp.WithCodecs(turnCodec{connectproto.NewBinaryCodec(), limit.Binary, f.limits}, turnCodec{f.json, limit.JSON, f.limits}))
		names = append(names, serviceNames(f.server)...)
	}
	mux.Handle("/", rest)
	reflector := grpcreflect.NewStaticReflector(names...)
	v1, reflectV1 := grpcreflect.NewHandlerV1(reflector)
	v1alpha, reflectV1Alpha := grpcreflect.NewHandlerV1Alpha(reflector)
	mux.Handle(v1, identify.Guard(reflectV1))
	mux.Handle(v1alpha, identify.Guard(reflectV1Alpha))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, ready())
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)            // over TLS
	protocols.SetUnencryptedHTTP2(true) // the listener of a port with TLS lets none through
	return &http.Server{
		Handler:   pages.guard(cuttable(punctual(arriving(unredirected(mux, rest), faces[0].limits), bodyTimeout), lists)),
		Protocols: protocols,
		// A client that dawdles over its headers, or holds an idle connection, must not
		// hold a file descriptor for ever.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
	}
}

// arriving lets requests be judged by their rate before they are decoded.
func arriving(next http.Handler, limits *limit.Limiter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ctx, arrival := limits.Arrive(r.Context()); arrival != nil {
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r)
	})
}

// bodyTimeout is how long a request may take to arrive, after its headers. The largest
// message does so over a line of one megabit per second.
const bodyTimeout = time.Minute

// punctual ends requests that do not arrive: one that dawdles must not hold a goroutine
// and a file descriptor for ever. A stream of requests takes as long as it likes.
func punctual(next http.Handler, within time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && !strings.HasSuffix(r.URL.Path, remitv1connect.TransferServiceImportProcedure) {
			r.Body = &punctualBody{ReadCloser: r.Body, response: w, within: within}
		}
		next.ServeHTTP(w, r)
	})
}

// A punctualBody is the body of a request that has to arrive in time.
type punctualBody struct {
	io.ReadCloser
	response http.ResponseWriter // of the same connection
	within   time.Duration       // from the first Read on
	begun    bool
}

// Read reads the body. Once it has ended, what follows on the connection may take its time.
func (b *punctualBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.expect(time.Now().Add(b.within))
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: the request did not arrive within %s", context.DeadlineExceeded, b.within)
	case err != nil:
		b.expect(time.Time{})
	}
	return n, err
}

// expect sets until when the body may arrive. A transport that knows no deadlines has none.
func (b *punctualBody) expect(until time.Time) {
	_ = http.NewResponseController(b.response).SetReadDeadline(until)
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
