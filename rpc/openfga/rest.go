package openfga

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"connectrpc.com/connect/v2"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/rs/cors"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/rpc/backend"
)

// jsonOverhead is how many times longer a request may be in JSON than as protobuf.
// Every byte of a text may be written as an escape of six.
const jsonOverhead = 8

// newREST is the JSON interface of a server. Paths, parameters and bodies are read by
// the same library that OpenFGA uses, from the same annotations: what it makes of odd
// requests is part of the protocol, and no rewriting of it could be as exact. It calls
// the server in process.
func newREST(server *connect.Server, config *Config) http.Handler {
	mux := runtime.NewServeMux(
		runtime.WithErrorHandler(writeError),
		runtime.WithForwardResponseOption(writeStatus),
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMetadata(incoming),
		runtime.WithOutgoingHeaderMatcher(func(key string) (string, bool) { return key, true }),
	)
	// Neither can fail: the first only registers, and the path of the second is right.
	_ = openfgav1.RegisterOpenFGAServiceHandlerClient(context.Background(), mux, newClient(server))
	_ = mux.HandlePath(http.MethodPost, streamPath, streamObjects(server, mux))
	routeAuthZEN(mux, server)
	limit := int64(config.MaxMessageBytes) * jsonOverhead
	return newCORS(config).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if config.Admit != nil {
			ctx, err := config.Admit(r.Context(), r.Header)
			if err != nil {
				e, _ := lookup(err)
				writeError(r.Context(), mux, nil, w, r, e)
				return
			}
			r = r.WithContext(ctx)
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		// A body is JSON whatever its type is said to be, unless it is a form's: then it
		// holds the parameters of a GET. The library would log any type that it cannot parse.
		if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			r.Header.Del("Content-Type")
		}
		mux.ServeHTTP(quiet{w}, r)
	}))
}

// A quiet writer has no errors. What goes wrong while writing is that the client has gone,
// which the library would log.
type quiet struct{ http.ResponseWriter }

// Write writes what it can.
func (q quiet) Write(data []byte) (int, error) {
	_, _ = q.ResponseWriter.Write(data)
	return len(data), nil
}

// Unwrap is the writer that can flush.
func (q quiet) Unwrap() http.ResponseWriter { return q.ResponseWriter }

// newCORS lets pages of the allowed origins call, as OpenFGA does.
func newCORS(config *Config) *cors.Cors {
	options := cors.Options{
		AllowedOrigins:   config.CORSOrigins,
		AllowedHeaders:   config.CORSHeaders,
		AllowCredentials: true,
		AllowedMethods: []string{
			http.MethodGet, http.MethodPost, http.MethodHead,
			http.MethodPatch, http.MethodDelete, http.MethodPut,
		},
	}
	if len(options.AllowedOrigins) == 0 {
		options.AllowedOrigins = []string{"*"}
	}
	if len(options.AllowedHeaders) == 0 {
		options.AllowedHeaders = []string{"*"}
	}
	return cors.New(options)
}

// headerAuthorization brings the caller's credentials.
const headerAuthorization = "Authorization"

// incoming picks the headers of a request that handlers read.
func incoming(_ context.Context, r *http.Request) metadata.MD {
	md := metadata.MD{}
	for _, key := range []string{headerAuthorization, HeaderToken, HeaderExact, HeaderModelID, HeaderRequestID, backend.HeaderActor, backend.HeaderReason, headerTraceparent, headerTracestate} {
		if values := r.Header[key]; len(values) > 0 {
			md[key] = values
		}
	}
	return md
}

// writeStatus sets the status of an answer that is not 200.
func writeStatus(_ context.Context, w http.ResponseWriter, answer proto.Message) error {
	switch answer.(type) {
	case *openfgav1.CreateStoreResponse, *openfgav1.WriteAuthorizationModelResponse:
		w.WriteHeader(http.StatusCreated)
	case *openfgav1.DeleteStoreResponse, *openfgav1.WriteAssertionsResponse:
		w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// An errorBody is the body of an answer that is an error.
type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// writeError answers with an error, be it a handler's or the library's own.
func writeError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	e := restError(err)
	if md, ok := runtime.ServerMetadataFromContext(ctx); ok {
		for key, values := range md.HeaderMD {
			w.Header()[http.CanonicalHeaderKey(key)] = values
		}
	}
	returnRequestID(w, r)
	if e.Code.HTTPStatus() == http.StatusUnauthorized {
		w.Header().Set("Www-Authenticate", `Bearer realm="remit"`)
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(errorBody{Code: e.name(), Message: e.Message}) // two strings
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.httpStatus())
	_, _ = w.Write(body.Bytes()) // the client has gone, and nobody is left to tell
}

// restError is an error in the terms of the JSON interface, which has none of gRPC's
// codes but one, and a plainer text.
func restError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		st := status.Convert(err)
		e = &Error{Code: Code(st.Code()), Message: st.Message()}
		if e.Message == bodyTooLarge {
			e.Code = Code(codes.ResourceExhausted)
		}
	}
	if e.Throttled {
		return e
	}
	e = &Error{Code: e.Code, Message: plain(e.Message)}
	e.Code = restCode(e)
	return e
}

// bodyTooLarge is all that the library leaves of the error about a body over its limit.
var bodyTooLarge = (&http.MaxBytesError{}).Error()

var statusPrefix = regexp.MustCompile(`rpc error: code = [a-zA-Z0-9()]* desc = `)

// plain is a text without what the libraries that it comes from put around it.
func plain(text string) string {
	const cause = "| caused by:"
	if i := strings.LastIndex(text, cause); i >= 0 {
		text = text[i+len(cause):]
	}
	text = strings.ReplaceAll(strings.TrimSpace(text), "unexpected EOF", "malformed JSON")
	text = statusPrefix.ReplaceAllString(text, "")
	return strings.TrimSpace(strings.TrimPrefix(text, "proto:"))
}

// restCode is the code that stands for one of gRPC's. A fault of a field has a code of
// its own where OpenFGA knows the field.
func restCode(e *Error) Code {
	if e.Code >= firstAuth {
		return e.Code
	}
	switch codes.Code(e.Code) {
	case codes.Aborted:
		return e.Code
	case codes.InvalidArgument:
		return fieldCode(e.Message)
	case codes.Unauthenticated:
		return Code(openfgav1.AuthErrorCode_unauthenticated)
	case codes.Canceled:
		return Code(openfgav1.ErrorCode_cancelled)
	case codes.DeadlineExceeded:
		return Code(openfgav1.InternalErrorCode_deadline_exceeded)
	case codes.NotFound:
		return Code(openfgav1.NotFoundErrorCode_undefined_endpoint)
	case codes.AlreadyExists:
		return Code(openfgav1.InternalErrorCode_already_exists)
	case codes.ResourceExhausted:
		return Code(openfgav1.InternalErrorCode_resource_exhausted)
	case codes.FailedPrecondition:
		return Code(openfgav1.InternalErrorCode_failed_precondition)
	case codes.OutOfRange:
		return Code(openfgav1.InternalErrorCode_out_of_range)
	case codes.Unimplemented:
		return Code(openfgav1.NotFoundErrorCode_unimplemented)
	case codes.Unavailable:
		return Code(openfgav1.InternalErrorCode_unavailable)
	case codes.DataLoss:
		return Code(openfgav1.InternalErrorCode_data_loss)
	}
	return Code(openfgav1.InternalErrorCode_internal_error)
}
