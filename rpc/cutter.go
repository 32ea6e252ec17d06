package rpc

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc"

	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// mayBeCut reports whether a procedure sends for as long as its reader likes. The others
// are spared what it costs to cut them off.
func mayBeCut(procedure string) bool {
	return strings.HasSuffix(procedure, remitv1connect.WatchServiceWatchProcedure) ||
		strings.HasSuffix(procedure, remitv1connect.TransferServiceExportProcedure) ||
		strings.HasSuffix(procedure, remitv1connect.OrganisationServiceStreamEntitiesProcedure) ||
		strings.HasSuffix(procedure, remitv1connect.OrganisationServiceWatchOwnedProcedure)
}

// isList reports whether a path is that of OpenFGA's stream, which ends by itself once the
// time for a request is up, unless it waits for a reader then.
func isList(path string) bool {
	return strings.HasSuffix(path, openfgav1.OpenFGAService_StreamedListObjects_FullMethodName) ||
		strings.HasSuffix(path, "/streamed-list-objects")
}

// cuttable lets the streams of a handler cut off readers that do not read, and cuts off
// those of a list after a time; never, if that is not positive. Over HTTP such a reader
// learns no reason: there is no room to tell it.
func cuttable(next http.Handler, lists time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case mayBeCut(r.URL.Path):
			r = r.WithContext(context.WithValue(r.Context(), cutterKey{}, httpCutter{http.NewResponseController(w)}))
		case lists > 0 && isList(r.URL.Path):
			cutter := httpCutter{http.NewResponseController(w)}
			cutter.arm(lists, nil)
			defer cutter.disarm()
		}
		next.ServeHTTP(w, r)
	})
}

// An httpCutter makes writes fail.
type httpCutter struct{ controller *http.ResponseController }

// A transport that knows no deadlines has none.

func (c httpCutter) arm(after time.Duration, _ error) {
	_ = c.controller.SetWriteDeadline(time.Now().Add(after))
}

func (c httpCutter) disarm() { _ = c.controller.SetWriteDeadline(time.Time{}) }

// A grpcCutter ends a call of grpc-go by returning from its handler, which makes it let
// go of whoever waits for it. What has been sent the reader still gets, and then why it
// was cut off, if it reads again.
type grpcCutter struct {
	timer *time.Timer
	cut   chan error
}

func (c *grpcCutter) arm(after time.Duration, err error) {
	c.timer = time.AfterFunc(after, func() {
		select {
		case c.cut <- err:
		default: // it has been cut already
		}
	})
}

func (c *grpcCutter) disarm() { c.timer.Stop() }

// A contextStream is a stream whose context holds more.
type contextStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // the interface asks for it
}

// Context is the call's context.
func (s *contextStream) Context() context.Context { return s.ctx }

// serveCuttable serves a call that may be cut off, and is after a time if that is positive.
func serveCuttable(procedure string, stream grpc.ServerStream, after time.Duration, serve func(grpc.ServerStream) error) error {
	cutter := &grpcCutter{cut: make(chan error, 1)}
	if after > 0 {
		cutter.arm(after, ErrSlowReader)
		defer cutter.disarm()
	}
	ctx := context.WithValue(stream.Context(), cutterKey{}, cutter)
	done := make(chan error, 1)
	go func() { done <- serve(&contextStream{stream, ctx}) }()
	select {
	case err := <-done:
		return err
	case err := <-cutter.cut:
		ce, detail := wire(ctx, slog.New(slog.DiscardHandler), procedure, err) // it is in the table
		return grpcError(withDetail(ce, detail))
	}
}
