package rpc

import (
	"bytes"
	"context"
	"io"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/rpc/limit"
)

// A turnCodec is a codec of the HTTP port whose large messages take turns to be read and written,
// and whose requests are judged by their rate before that.
type turnCodec struct {
	connect.StableCodec
	form   limit.Form
	limits *limit.Limiter
}

// UnmarshalRead reads a message.
func (c turnCodec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	read := func() error { return c.StableCodec.UnmarshalRead(ctx, src, msg) }
	arrived, ok := src.(*bytes.Buffer)
	if !ok {
		return read()
	}
	if m, ok := msg.(proto.Message); ok {
		if err := limit.ArrivalOf(ctx).Judge(arrived.Bytes(), c.form, m); err != nil {
			return err
		}
	}
	return c.limits.Code(ctx, arrived.Len(), read)
}

// MarshalWrite writes a message.
func (c turnCodec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	write := func() error { return c.StableCodec.MarshalWrite(ctx, dst, msg) }
	if m, ok := msg.(proto.Message); ok {
		return c.limits.Code(ctx, proto.Size(m), write)
	}
	return write()
}
