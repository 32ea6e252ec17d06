package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/token"
)

// transferService answers remit.v1.TransferService; importing stands in import.go.
type transferService struct {
	streamer
	writer *backend.Writer
}

// An exportStream sends the responses of an Export.
type exportStream interface {
	Send(res *remitv1.ExportResponse) error
}

// An export is one Export under way.
type export struct {
	*outlet
	stream exportStream
	pin    pin
	cursor cursor // but for the position
	token  string

	row         graph.Row // the last that has been put into a message
	sent, total uint64
}

// Export sends a store at one revision.
func (s *transferService) Export(ctx context.Context, req *remitv1.ExportRequest, stream remitv1connect.TransferServiceExportServerStream) error {
	return s.export(ctx, req, stream)
}

func (s *transferService) export(ctx context.Context, req *remitv1.ExportRequest, stream exportStream) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	e := &export{outlet: out, stream: stream}
	res, err := e.begin(ctx, s.reader, req)
	if err == nil {
		err = e.run(ctx, res)
	}
	if err != nil {
		return e.end(ctx, err)
	}
	return nil
}

// begin finds the state, and makes the first message.
func (e *export) begin(ctx context.Context, r *reader, req *remitv1.ExportRequest) (*remitv1.ExportResponse, error) {
	var snapshot backend.Snapshot
	var err error
	if req.Resume == "" {
		snapshot, err = r.snapshot(ctx, "store", req.Store, "consistency", req.Consistency)
	} else {
		snapshot, err = e.resumed(ctx, r, req)
	}
	if err != nil {
		return nil, err
	}
	root := r.Config.State.Current()
	e.pin = r.pin(root, snapshot.Head.ID())
	revision := snapshot.Base.Revision()
	if head, ok := snapshot.Base.(*fsm.Store); ok {
		// It is of the root that the snapshot was taken from, which may not be the newest.
		e.pin.head = head
		if req.Resume == "" {
			e.total = head.TupleCount()
		}
	} else {
		e.pin.head = nil
	}
	e.pin.revision = revision
	e.token = token.Token{Epoch: backend.EpochOf(root), Revision: uint64(revision)}.String()
	e.cursor = cursor{kind: cursorExport, epoch: backend.EpochOf(root), store: snapshot.Head.ID(), revision: revision}
	res := &remitv1.ExportResponse{Store: storeMessage(snapshot.Head)}
	if n := len(snapshot.Models); n > 0 {
		if res.Model, err = fullModel(snapshot.Models[n-1]); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// resumed finds the state of an export that has begun before, and where it goes on.
func (e *export) resumed(ctx context.Context, r *reader, req *remitv1.ExportRequest) (backend.Snapshot, error) {
	if req.Consistency != nil {
		return backend.Snapshot{}, at("consistency", fmt.Errorf("%w: the state is that of the export that is resumed", backend.ErrRequest))
	}
	c, err := parseCursor(req.Resume, cursorExport, 0)
	if err != nil {
		return backend.Snapshot{}, at("resume", err)
	}
	d := decoder{b: c.position}
	e.sent, e.total = d.uvarint(), d.uvarint()
	if e.row, err = rowPosition(d.take(len(d.b))); err != nil || d.bad {
		return backend.Snapshot{}, at("resume", ErrCursor)
	}
	s, err := r.pinned(ctx, "store", req.Store, c)
	if fe := (*backend.FieldError)(nil); errors.As(err, &fe) && fe.Field == "cursor" {
		err = at("resume", fe.Err)
	}
	return s, err
}

// run sends the tuples. The last message has no point of resumption.
func (e *export) run(ctx context.Context, res *remitv1.ExportResponse) error {
	var b batch
	err := e.pin.rows(ctx, e.row, func(row *graph.Row, names *fsm.Store) error {
		tuple, err := backend.RowTuple(names.Symbols(), names, row)
		if err != nil {
			return err
		}
		message, err := tupleMessage(tuple)
		if err != nil {
			return err
		}
		if b.full() {
			if err := e.sendTuples(res, &b, false); err != nil {
				return err
			}
			res = &remitv1.ExportResponse{}
		}
		b.add(message)
		e.row = *row
		return nil
	})
	if err != nil {
		return err
	}
	return e.sendTuples(res, &b, true)
}

func (e *export) sendTuples(res *remitv1.ExportResponse, b *batch, last bool) error {
	res.Tuples = b.take()
	e.sent += uint64(len(res.Tuples))
	res.Sent, res.Total, res.Token = e.sent, e.total, e.token
	c := e.cursor
	c.position = binary.AppendUvarint(c.position, e.sent)
	c.position = binary.AppendUvarint(c.position, e.total)
	c.position = appendRow(c.position, e.row)
	resume := c.String()
	if !last {
		res.Resume = resume
	}
	err := e.send(resume, func() error { return e.stream.Send(res) })
	if last && errors.Is(err, ErrSlowReader) {
		return nil // it has everything
	}
	return err
}
