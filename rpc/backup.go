package rpc

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// backupService answers remit.v1.BackupService.
type backupService struct {
	streamer
	version string        // the program's
	sign    time.Duration // how often a caller hears of the preparation
}

// preparationInterval is how often a caller hears that a backup is being prepared: often
// enough that it does not take the node for dead.
const preparationInterval = time.Second

// Save sends a backup.
func (s *backupService) Save(ctx context.Context, req *remitv1.SaveRequest, stream remitv1connect.BackupServiceSaveServerStream) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	if err := s.save(ctx, req, out, stream.Send); err != nil {
		return out.end(ctx, err)
	}
	return nil
}

func (s *backupService) save(ctx context.Context, req *remitv1.SaveRequest, out *outlet, send func(*remitv1.SaveResponse) error) error {
	deliver := func(res *remitv1.SaveResponse) error {
		return out.send("", func() error { return send(res) })
	}
	var failed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	told := time.Now()
	config := s.reader.Config
	b, err := config.State.Backup(ctx, s.version, config.Clock(), func(done, total uint64) {
		if failed != nil || time.Since(told) < s.sign {
			return
		}
		told = time.Now()
		p := &remitv1.SaveResponse_Preparation{DoneBytes: done, TotalBytes: total}
		if failed = deliver(&remitv1.SaveResponse{Part: &remitv1.SaveResponse_Preparation_{Preparation: p}}); failed != nil {
			cancel()
		}
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return err
	}
	defer func() {
		if e := b.Close(); e != nil {
			config.Log.Warn("backup's files not removed", "error", e) // the next start does
		}
	}()
	_, err = pieces(func(p []byte) error {
		return deliver(&remitv1.SaveResponse{Part: &remitv1.SaveResponse_Manifest{Manifest: p}})
	}).Write(b.Manifest().Encode())
	if err != nil {
		return err
	}
	have := make([]fsm.BackupSum, len(req.Have))
	for i, sum := range req.Have {
		have[i] = fsm.BackupSum(sum)
	}
	return b.WriteTo(ctx, pieces(func(p []byte) error {
		return deliver(&remitv1.SaveResponse{Part: &remitv1.SaveResponse_Data{Data: p}})
	}), have)
}

// pieces hands on what is written to it in pieces of a message's size.
type pieces func(p []byte) error

var _ io.Writer = pieces(nil)

// Write implements io.Writer.
func (f pieces) Write(p []byte) (n int, err error) {
	for n < len(p) {
		piece := p[n:min(len(p), n+messageBytes)]
		if err := f(bytes.Clone(piece)); err != nil { // a transport may keep it
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}
