package rpc

import (
	"context"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/token"
)

// freshInterceptor lets a call begin once this node shows the state of the token in its
// header, if it has one: so a client that carries its newest token sees no older state
// than it saw, on whichever node and in whichever call. What a request says itself of the
// state that it wants comes on top of that.
func freshInterceptor(r *reader) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			if info, ok := connect.CallInfoForServerContext(ctx); ok {
				if text := info.RequestHeader().Get(token.Header); text != "" {
					if err := r.AtLeast(ctx, text); err != nil {
						return at(token.Header, err)
					}
				}
			}
			return next(ctx, spec, stream)
		}
	}
}
