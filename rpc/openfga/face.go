package openfga

import (
	"fmt"
	"net/http"
	"slices"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"

	"github.com/remit-authz/remit/rpc/backend"
)

// A Face is OpenFGA's interface to a backend, on every protocol.
type Face struct {
	server  *connect.Server
	handler http.Handler
}

// New makes a face. The configuration must be valid.
func New(reader *backend.Reader, writer *backend.Writer, config Config) (*Face, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("openfga: %w", err)
	}
	config.defaults()
	s := &service{config: &config, reader: reader, writer: writer}
	f := newFace(s, &config)
	registerAuthZEN(f.server, s)
	return f, nil
}

// newFace puts handlers behind every protocol. The configuration must be complete.
func newFace(handlers openfgav1.OpenFGAServiceServer, config *Config) *Face {
	d := &dispatcher{config: config}
	server := connect.NewServer(slices.Concat(config.Interceptors, []connect.ServerInterceptor{d.intercept}, config.Guards)...)
	registerOpenFGA(server, handlers)
	return &Face{server: server, handler: newREST(server, config)}
}

// Server dispatches openfga.v1.OpenFGAService and authzen.v1.AuthZenService for gRPC,
// gRPC-Web and Connect.
func (f *Face) Server() *connect.Server { return f.server }

// Handler serves the JSON interface. It answers every path: what it does not know, and
// what no other handler before it took, is 404 in OpenFGA's words.
func (f *Face) Handler() http.Handler { return f.handler }
