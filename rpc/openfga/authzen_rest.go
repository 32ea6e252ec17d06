package openfga

import (
	"context"
	"net/http"
	"strings"

	"connectrpc.com/connect/v2"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	authzenv1 "github.com/openfga/api/proto/authzen/v1"
)

// routeAuthZEN adds AuthZEN's paths to the JSON interface.
func routeAuthZEN(mux *runtime.ServeMux, server *connect.Server) {
	// It only registers, and cannot fail.
	_ = authzenv1.RegisterAuthZenServiceHandlerClient(context.Background(), mux, authzenv1.NewAuthZenServiceClient(conn{server}))
}

// requestIDFor names a request. AuthZEN, unlike OpenFGA, lets the client do that.
func requestIDFor(procedure string, info *connect.CallInfo) string {
	if strings.HasPrefix(procedure, "/authzen.v1.") {
		if given := headerValue(info.RequestHeader().Get(HeaderRequestID)); given != "" {
			return given
		}
	}
	return requestID()
}

// returnRequestID gives a client of AuthZEN its name of a request that no procedure was
// called for, because its body cannot be read.
func returnRequestID(w http.ResponseWriter, r *http.Request) {
	given := r.Header.Get(HeaderRequestID)
	if given == "" || w.Header().Get(HeaderRequestID) != "" || !strings.Contains(r.URL.Path, "/access/v1/") {
		return
	}
	w.Header().Set(HeaderRequestID, headerValue(given))
}
