package rpc

import (
	"context"
	"slices"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/validate"

	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/limit"
)

// A face is one API that the ports serve.
type face struct {
	server   *connect.Server
	maxBytes int // of a message in either direction
	json     *connectproto.JSONCodec
	limits   *limit.Limiter // nil: none
}

// NewConnectServer registers the remit.v1 services on a dispatcher that has no
// transport: a Server puts both ports in front of it, a test calls it in process. The
// configuration must be valid.
func NewConnectServer(config Config) *connect.Server {
	config.defaults()
	r := &reader{backend.NewReader(config.backend())}
	k := backend.NewKeyring(r.Reader)
	return newConnectServer(context.Background(), config, r, backend.NewWriter(r.Reader), k, guards(gate.New(config.Identity, k), config.limiter(config.Limits)))
}

// newConnectServer puts some interceptors before its own. The guards stand behind the one
// that maps errors and before anything that reads a message. Its streams end when draining
// is done.
func newConnectServer(draining context.Context, config Config, r *reader, w *backend.Writer, k *backend.Keyring, guards []connect.ServerInterceptor, before ...connect.ServerInterceptor) *connect.Server {
	// Errors stand outermost, so that what the guards, the validation and the transports
	// refuse goes through the same table.
	server := connect.NewServer(slices.Concat(before, []connect.ServerInterceptor{errorInterceptor(config.Log)}, guards, []connect.ServerInterceptor{
		validate.NewServerInterceptor(validate.WithoutErrorDetails(), validate.WithValidator(schemaValidator{protovalidate.GlobalValidator})), freshInterceptor(r),
	})...)
	remitv1connect.RegisterStoreServiceHandler(server, &storeService{reader: r, writer: w})
	remitv1connect.RegisterModelServiceHandler(server, &modelService{reader: r, writer: w})
	s := streamer{reader: r, slow: config.SlowReader, draining: draining}
	remitv1connect.RegisterTupleServiceHandler(server, &tupleService{s, w})
	remitv1connect.RegisterEraseServiceHandler(server, &eraseService{s, w, config.Rewriter, config.StaleBackups})
	remitv1connect.RegisterAccessServiceHandler(server, &accessService{reader: r})
	remitv1connect.RegisterOrganisationServiceHandler(server, newOrganisationService(s, w))
	remitv1connect.RegisterWatchServiceHandler(server, &watchService{s})
	remitv1connect.RegisterTransferServiceHandler(server, &transferService{s, w})
	remitv1connect.RegisterBackupServiceHandler(server, &backupService{s, config.Version, preparationInterval})
	remitv1connect.RegisterAuditServiceHandler(server, &auditService{reader: r, budget: auditWork})
	remitv1connect.RegisterIdentityServiceHandler(server, &identityService{reader: r, keyring: k})
	remitv1connect.RegisterNodeServiceHandler(server, &nodeService{reader: r, version: config.Version})
	remitv1connect.RegisterClusterServiceHandler(server, newClusterService(&config, r, k))
	return server
}
