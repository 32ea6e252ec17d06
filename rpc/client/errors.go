package client

import (
	"errors"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// Detail is what a server says of an error beside its code: the reason, the field that is
// at fault, the place in a model. It is nil for an error that did not come from a server,
// or from one that said nothing.
func Detail(err error) *remitv1.ErrorDetail {
	var e *connect.Error
	if !errors.As(err, &e) {
		return nil
	}
	for _, d := range e.Details() {
		value, err := connectproto.UnmarshalErrorDetail(d)
		if detail, ok := value.(*remitv1.ErrorDetail); err == nil && ok {
			return detail
		}
	}
	return nil
}

// Reason is why a server refused a call; unspecified if it did not say.
func Reason(err error) remitv1.ErrorReason { return Detail(err).GetReason() }
