package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/gate"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
	"github.com/remit-authz/remit/rpc/token"
)

// wireErrors maps domain errors to codes and reasons, the most specific first. Nothing
// else in the program knows codes.
var wireErrors = []wireError{
	// What ends a request whatever else was wrong. A write that its caller stopped
	// waiting for is both, and that it may have happened is what matters.
	{err: cluster.ErrUnknownOutcome, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_UNKNOWN_OUTCOME},
	{err: context.DeadlineExceeded, code: connect.CodeDeadlineExceeded},
	{err: context.Canceled, code: connect.CodeCanceled},
	{err: graph.ErrBudget, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_BUDGET_EXCEEDED}, // a retry would not help

	// Who calls, and what they may do.
	{err: identity.ErrExpired, code: connect.CodeUnauthenticated, reason: remitv1.ErrorReason_ERROR_REASON_CREDENTIALS_EXPIRED},
	{err: identity.ErrUnauthenticated, code: connect.CodeUnauthenticated, reason: remitv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED},
	{err: gate.ErrIssuer, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_IDENTITY_UNAVAILABLE},
	{err: identity.ErrForbidden, code: connect.CodePermissionDenied, reason: remitv1.ErrorReason_ERROR_REASON_FORBIDDEN},
	{err: identity.ErrGrant, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},

	// Requests.
	{err: ErrTooLarge, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_TOO_LARGE},
	{err: crm.ErrTooLarge, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_TOO_LARGE},
	{err: condition.ErrTooLarge, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_TOO_LARGE},
	{err: token.ErrInvalid, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_TOKEN},
	{err: ErrCursor, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_CURSOR},
	{err: ErrCursorExpired, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED},
	{err: backend.ErrNotReached, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE},
	{err: backend.ErrOtherEpoch, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE},
	{err: backend.ErrStoreNotFound, code: connect.CodeNotFound, reason: remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND},
	{err: backend.ErrStoreAmbiguous, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_STORE_NAME_AMBIGUOUS},
	{err: backend.ErrKeyNotFound, code: connect.CodeNotFound, reason: remitv1.ErrorReason_ERROR_REASON_KEY_NOT_FOUND},
	{err: backend.ErrKeyExists, code: connect.CodeAlreadyExists, reason: remitv1.ErrorReason_ERROR_REASON_KEY_EXISTS},
	{err: backend.ErrModelNotFound, code: connect.CodeNotFound, reason: remitv1.ErrorReason_ERROR_REASON_MODEL_NOT_FOUND},
	{err: ErrEntityNotFound, code: connect.CodeNotFound, reason: remitv1.ErrorReason_ERROR_REASON_ENTITY_NOT_FOUND},
	{match: as[*crm.DeedError], code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
	{err: ErrNoOrganisation, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_NO_ORGANISATION},
	{err: ErrDuplicateOperation, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_DUPLICATE_OPERATION},
	{err: ErrContext, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID},
	{err: backend.ErrRequest, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST},
	{match: as[*crm.ConflictError], code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED},
	{match: as[*crm.NobodyError], code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_NOBODY_AVAILABLE},
	{err: crm.ErrInvalid, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_ORGANISATION},
	{err: ErrMentioned, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_MENTIONED},
	{err: ErrUnexpectedCount, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_UNEXPECTED_COUNT},
	{err: ErrInstant, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_INSTANT_UNAVAILABLE},
	{err: backend.ErrAborted, code: connect.CodeAborted, reason: remitv1.ErrorReason_ERROR_REASON_ABORTED},

	// Streams.
	{err: ErrSlowReader, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_SLOW_READER},
	{err: ErrDraining, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN},

	// Evaluation. A context's fault also is one of the tuple that carries it.
	{err: graph.ErrUndefined, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_UNDEFINED},
	{err: condition.ErrCost, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_CONDITION_COST},
	{match: as[*condition.MissingError], code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_CONTEXT_MISSING},
	{match: as[*condition.TypeError], code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID},
	{match: as[*condition.UnknownError], code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID},
	{match: as[*condition.EvaluationError], code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_CONDITION_FAILED},
	{match: as[*condition.InlineError], code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID},
	{match: as[*condition.CompileError], code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_CONTEXT_INVALID}, // of an expression: a model's are in its faults

	// Names and models.
	{err: graph.ErrTypeNotFound, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND},
	{err: graph.ErrRelationNotFound, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND},
	{err: graph.ErrConditionNotFound, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_CONDITION_NOT_FOUND},
	{err: graph.ErrNotAllowed, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_TUPLE_NOT_ALLOWED},
	{err: graph.ErrInvalid, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE},
	{err: model.ErrInvalid, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_INVALID_MODEL},

	// What is refused because there is too much of it.
	{err: limit.ErrRate, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_RATE_LIMITED},
	{err: ErrBusy, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_OVERLOADED},
	{err: limit.ErrQueue, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_OVERLOADED},

	// The state machine.
	{err: fsm.ErrTooLarge, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_TOO_LARGE},
	{err: fsm.ErrStoreNotFound, code: connect.CodeNotFound, reason: remitv1.ErrorReason_ERROR_REASON_STORE_NOT_FOUND},
	{err: fsm.ErrDuplicate, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_DUPLICATE_OPERATION},
	{err: fsm.ErrTupleExists, code: connect.CodeAlreadyExists, reason: remitv1.ErrorReason_ERROR_REASON_TUPLE_EXISTS},
	{err: fsm.ErrPrecondition, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED},
	{err: fsm.ErrIdempotencyConflict, code: connect.CodeInvalidArgument, reason: remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT},
	{err: fsm.ErrScope, code: connect.CodeAborted, reason: remitv1.ErrorReason_ERROR_REASON_ABORTED},
	{err: fsm.ErrManaged, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_STORE_MANAGED},
	{err: fsm.ErrVersion, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_CLUSTER_VERSION},
	{err: fsm.ErrErasing, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_ERASING},
	{err: fsm.ErrExhausted, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_TOO_LARGE},
	{err: fsm.ErrRevisionGone, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE},
	{err: fsm.ErrRevisionUnknown, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE},
	{err: fsm.ErrBackups, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_OVERLOADED},
	{err: fsm.ErrClosed, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN},

	// The cluster.
	{err: cluster.ErrTooLarge, code: connect.CodeResourceExhausted, reason: remitv1.ErrorReason_ERROR_REASON_TOO_LARGE},
	{err: cluster.ErrOverloaded, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_OVERLOADED},
	{err: cluster.ErrMembership, code: connect.CodeFailedPrecondition, reason: remitv1.ErrorReason_ERROR_REASON_MEMBERSHIP},
	{err: cluster.ErrReadOnly, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_READ_ONLY},
	{err: cluster.ErrNoLeader, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_NO_LEADER},
	{err: cluster.ErrShuttingDown, code: connect.CodeUnavailable, reason: remitv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN},
}

// as reports whether an error is, or wraps, one of a type.
func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
