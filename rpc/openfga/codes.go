package openfga

import (
	"context"
	"errors"
	"strconv"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/token"
)

// A wireError is one line of the table of errors: what a client is told of err.
type wireError struct {
	err  error
	code Code
	text string // err's own if it is empty

	throttled bool
}

// wireErrors maps errors that are no *Error to codes, the most specific first. OpenFGA's
// codes stand where it has the same idea; a cluster's are gRPC's, of which a client knows
// whether to try again.
var wireErrors = []wireError{
	// A write that its caller stopped waiting for is both of the first two lines, and that
	// it may have happened is what matters.
	{err: cluster.ErrUnknownOutcome, code: Code(codes.Unavailable)},
	{err: context.DeadlineExceeded, code: errDeadline.Code, text: errDeadline.Message},
	{err: context.Canceled, code: errCancelled.Code, text: errCancelled.Message},
	{err: graph.ErrDepth, code: errModelTooComplex.Code, text: errModelTooComplex.Message},
	{err: graph.ErrBudget, code: errModelTooComplex.Code},
	{err: graph.ErrUndefined, code: errModelTooComplex.Code},

	// What the gate says. There is a code of OpenFGA's own for each.
	{err: identity.ErrNoCredentials, code: Code(openfgav1.AuthErrorCode_bearer_token_missing)},
	{err: identity.ErrExpired, code: Code(openfgav1.AuthErrorCode_auth_failed_invalid_bearer_token)},
	{err: identity.ErrUnauthenticated, code: Code(openfgav1.AuthErrorCode_unauthenticated)},
	{err: identity.ErrForbidden, code: codeForbidden},
	{err: gate.ErrIssuer, code: Code(codes.Unavailable)},

	{err: limit.ErrRate, code: Code(codes.ResourceExhausted), throttled: true},
	{err: limit.ErrQueue, code: Code(codes.ResourceExhausted), throttled: true},

	{err: backend.ErrStoreNotFound, code: errStoreNotFound.Code, text: errStoreNotFound.Message},
	{err: backend.ErrModelNotFound, code: Code(openfgav1.ErrorCode_authorization_model_not_found)},
	{err: token.ErrInvalid, code: Code(openfgav1.ErrorCode_validation_error)},
	{err: backend.ErrOtherEpoch, code: Code(openfgav1.ErrorCode_validation_error)},
	{err: backend.ErrRequest, code: Code(openfgav1.ErrorCode_validation_error)},
	{err: backend.ErrNotReached, code: Code(codes.Unavailable)},
	{err: backend.ErrAborted, code: Code(codes.Aborted), text: conflictText},

	{err: fsm.ErrStoreNotFound, code: errStoreNotFound.Code, text: errStoreNotFound.Message},
	{err: fsm.ErrScope, code: Code(codes.Aborted), text: conflictText},
	{err: fsm.ErrTooLarge, code: Code(openfgav1.ErrorCode_exceeded_entity_limit)},
	// OpenFGA has no such stores. A code of gRPC would be 500 over HTTP, and tried again.
	{err: fsm.ErrManaged, code: Code(openfgav1.ErrorCode_validation_error)},
	{err: fsm.ErrErasing, code: Code(codes.FailedPrecondition)},
	{err: fsm.ErrExhausted, code: Code(openfgav1.ErrorCode_exceeded_entity_limit)},
	{err: fsm.ErrRevisionUnknown, code: Code(codes.Unavailable)},
	{err: fsm.ErrClosed, code: Code(codes.Unavailable)},

	{err: cluster.ErrTooLarge, code: Code(openfgav1.ErrorCode_exceeded_entity_limit)},
	{err: cluster.ErrOverloaded, code: Code(codes.Unavailable)},
	{err: cluster.ErrReadOnly, code: Code(codes.Unavailable)},
	{err: cluster.ErrNoLeader, code: Code(codes.Unavailable)},
	{err: cluster.ErrShuttingDown, code: Code(codes.Unavailable)},
}

// conflictText is what OpenFGA says of a write that another one got in the way of.
const conflictText = "transactional write failed due to conflict"

// lookup is what a client is told of an error, and false if nobody foresaw it.
func lookup(err error) (*Error, bool) {
	var e *Error
	if errors.As(err, &e) {
		return e, true
	}
	for _, w := range wireErrors {
		if errors.Is(err, w.err) {
			e = &Error{Code: w.code, Message: w.text, Throttled: w.throttled}
			if e.Message == "" {
				e.Message = err.Error()
			}
			return e, true
		}
	}
	// What a transport refused, and what grpc's generated code answers to a procedure
	// that nobody implements.
	if ce := (*connect.Error)(nil); errors.As(err, &ce) {
		return &Error{Code: Code(ce.Code()), Message: ce.Message()}, true
	}
	if st, ok := status.FromError(err); ok {
		return &Error{Code: Code(st.Code()), Message: st.Message()}, true
	}
	return errInternal, false
}

// raw is the error as gRPC and gRPC-Web send it: OpenFGA's numbers take the place of
// gRPC's.
func (e *Error) raw() *connect.Error {
	return connect.NewError(connect.Code(e.Code), e.Message).WithCause(e)
}

// standard is the error as the Connect protocol sends it, which has no codes but its
// own. OpenFGA's name and number come as a detail.
func (e *Error) standard() *connect.Error {
	code := connect.Code(e.Code)
	if e.Code >= firstAuth {
		code = connectCode(e.Code)
	}
	ce := connect.NewError(code, e.Message).WithCause(e)
	detail, err := connectproto.NewErrorDetail(&errdetails.ErrorInfo{
		Domain:   "openfga.dev",
		Reason:   e.Code.String(),
		Metadata: map[string]string{"code": strconv.Itoa(int(e.Code))},
	})
	if err != nil {
		return ce // cannot be: the strings are ours
	}
	return ce.WithDetail(detail)
}

// connectCode is the code of the Connect protocol that says most nearly the same.
func connectCode(c Code) connect.Code {
	switch {
	case c == codeForbidden:
		return connect.CodePermissionDenied
	case c == errCancelled.Code:
		return connect.CodeCanceled
	case c == errDeadline.Code:
		return connect.CodeDeadlineExceeded
	case c == Code(openfgav1.NotFoundErrorCode_unimplemented):
		return connect.CodeUnimplemented
	case c >= firstNotFound:
		return connect.CodeNotFound
	case c >= firstInternal:
		return connect.CodeInternal
	case c >= firstUnprocessable:
		return connect.CodeResourceExhausted
	case c >= firstValidation:
		return connect.CodeInvalidArgument
	}
	return connect.CodeUnauthenticated
}
