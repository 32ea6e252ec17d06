package openfga

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"connectrpc.com/connect/v2"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	streamPath      = "/stores/{store_id}/streamed-list-objects"
	streamProcedure = openfgav1.OpenFGAService_StreamedListObjects_FullMethodName
)

// streamObjects serves StreamedListObjects as one JSON value per line. It writes what
// the handler sends at once, on the request's own goroutine; the library would need
// another one that reads what the first has sent.
func streamObjects(server *connect.Server, mux *runtime.ServeMux) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, params map[string]string) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		in, out := runtime.MarshalerForRequest(mux, r)
		ctx, err := runtime.AnnotateContext(ctx, mux, r, streamProcedure, runtime.WithHTTPPathPattern(streamPath))
		if err != nil {
			writeError(r.Context(), mux, out, w, r, err)
			return
		}
		var req openfgav1.StreamedListObjectsRequest
		if err := in.NewDecoder(r.Body).Decode(&req); err != nil && !errors.Is(err, io.EOF) {
			writeError(ctx, mux, out, w, r, status.Error(codes.InvalidArgument, err.Error()))
			return
		}
		req.StoreId = params["store_id"]
		info := callInfo(ctx)
		s := &lineStream{localStream: localStream{request: &req}, info: info, w: w, out: out}
		if err := server.Call(ctx, streamProcedure, info, s); err != nil {
			s.fail(err)
			return
		}
		s.begin(http.StatusOK)
	}
}

// A lineStream writes a stream of answers as lines of JSON.
type lineStream struct {
	localStream
	info  *connect.CallInfo
	w     http.ResponseWriter
	out   runtime.Marshaler
	begun bool
}

// SendHeaders writes the headers.
func (s *lineStream) SendHeaders() error {
	s.begin(http.StatusOK)
	return s.flush()
}

// Send writes an answer.
func (s *lineStream) Send(msg any) error {
	s.begin(http.StatusOK)
	if err := s.line("result", msg); err != nil {
		return err
	}
	return s.flush()
}

// begin writes the status and the headers, once.
func (s *lineStream) begin(code int) {
	if s.begun {
		return
	}
	s.begun = true
	for key, values := range s.info.ResponseHeader().All() {
		s.w.Header()[key] = values
	}
	s.w.Header().Set("Content-Type", "application/json")
	s.w.WriteHeader(code)
}

// line writes a message under a name.
func (s *lineStream) line(name string, msg any) error {
	data, err := s.out.Marshal(map[string]any{name: msg})
	if err != nil {
		return fmt.Errorf("encode %T: %w", msg, err)
	}
	_, err = s.w.Write(append(data, '\n'))
	return err
}

// flush sends what was written. Who cannot be sent to has gone.
func (s *lineStream) flush() error {
	if err := http.NewResponseController(s.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("%w: %w", context.Canceled, err)
	}
	return nil
}

// fail ends the stream with an error, whose code is gRPC's here.
func (s *lineStream) fail(err error) {
	e := restError(err)
	code := grpcCode(e.Code)
	s.begin(runtime.HTTPStatusFromCode(code))
	_ = s.line("error", status.New(code, e.Message).Proto()) // the client has gone
}

// grpcCode is the code of gRPC that OpenFGA's code is a case of.
func grpcCode(c Code) codes.Code {
	switch {
	case c >= firstNotFound:
		return codes.NotFound
	case c >= firstInternal:
		return codes.Internal
	case c >= firstUnprocessable:
		return codes.ResourceExhausted
	case c >= firstValidation:
		return codes.InvalidArgument
	case c == codeForbidden:
		return codes.PermissionDenied
	case c >= firstAuth:
		return codes.Unauthenticated
	case c == Code(codes.Aborted), c == Code(codes.ResourceExhausted):
		return codes.Code(c)
	}
	return codes.Internal
}
