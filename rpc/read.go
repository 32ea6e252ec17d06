package rpc

import (
	"context"
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Read pages through the tuples that match a filter, all at one revision.
func (s *tupleService) Read(ctx context.Context, req *remitv1.ReadRequest) (*remitv1.ReadResponse, error) {
	size, text := pageSize(req.PageSize, defaultTuples), req.Cursor
	req.Cursor, req.PageSize = "", 0
	sum, err := fingerprint(req)
	if err != nil {
		return nil, err
	}
	var state backend.Snapshot
	var after graph.Row
	if text == "" {
		state, err = s.reader.snapshot(ctx, "store", req.Store, "consistency", req.Consistency)
	} else {
		var c *cursor
		if c, err = parseCursor(text, cursorTuples, sum); err == nil {
			after, err = rowPosition(c.position)
		}
		if err != nil {
			return nil, at("cursor", err)
		}
		state, err = s.reader.pinned(ctx, "store", req.Store, c)
	}
	if err != nil {
		return nil, err
	}
	p, err := patternOf(req.Filter)
	if err != nil {
		return nil, err
	}
	f, err := backend.NewFilter(&state, p)
	if err != nil {
		return nil, err
	}
	rows, more, err := f.Page(ctx, after, size)
	if err != nil {
		return nil, err
	}
	res := &remitv1.ReadResponse{AsOf: asOfRead(&state, req.Consistency), Token: s.reader.Token(state.Base.Revision()), Tuples: make([]*remitv1.StoredTuple, len(rows))}
	for i := range rows {
		if res.Tuples[i], err = storedTuple(&state, &rows[i]); err != nil {
			return nil, err
		}
	}
	if more {
		c := cursor{
			kind: cursorTuples, epoch: s.reader.Epoch(), store: state.Head.ID(), revision: state.Base.Revision(),
			position: appendRow(nil, f.After()), request: sum,
		}
		res.Cursor = c.String()
	}
	return res, nil
}

// storedTuple is a row as Read shows it.
func storedTuple(s *backend.Snapshot, row *graph.Row) (*remitv1.StoredTuple, error) {
	named, err := backend.RowTuple(s.Symbols, s.Base, row)
	if err != nil {
		return nil, err
	}
	tuple, err := tupleMessage(named)
	if err != nil {
		return nil, err
	}
	return &remitv1.StoredTuple{Tuple: tuple, WrittenAt: timestamppb.New(time.UnixMilli(row.Written))}, nil
}

// asOfRead says which exact state was read; nil if the newest was asked for.
func asOfRead(s *backend.Snapshot, c *remitv1.Consistency) *remitv1.Moment {
	if !exact(c) {
		return nil
	}
	m := &remitv1.Moment{Revision: uint64(s.Base.Revision()), At: c.GetAtExactTime()}
	if m.At == nil {
		m.At = timestamppb.New(s.Base.Time())
	}
	return m
}

func appendRow(b []byte, row graph.Row) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(row.Userset.Object))
	b = binary.BigEndian.AppendUint32(b, uint32(row.Userset.Relation))
	return appendSubject(b, row.Edge.Subject)
}

func rowPosition(b []byte) (row graph.Row, err error) {
	d := decoder{b: b}
	row.Userset.Object = graph.ID(d.uint64())
	row.Userset.Relation = model.RelationID(d.uint32())
	row.Edge.Subject = d.subject()
	if !d.done() {
		err = ErrCursor
	}
	return row, err
}
