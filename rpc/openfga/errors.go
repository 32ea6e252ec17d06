package openfga

import (
	"fmt"
	"net/http"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
)

// A Code is what OpenFGA says an error is: a number of its own, from 1000 on, or a code
// of gRPC. The ranges of its own numbers also decide the status over HTTP.
type Code uint32

// The ranges of OpenFGA's own codes, each up to the next.
const (
	firstAuth          Code = 1000
	firstValidation    Code = 2000
	firstUnprocessable Code = 3500
	firstInternal      Code = 4000
	firstNotFound      Code = 5000
)

// codeForbidden is of a caller who is known and may not do this. It is the one code of its
// range that is not 401 over HTTP: OpenFGA's description of its API says 403, and so do we,
// though its server says 401.
const codeForbidden = Code(openfgav1.AuthErrorCode_forbidden)

// Own reports whether a code is one of OpenFGA's numbers.
func (c Code) Own() bool { return c >= firstAuth }

// String is the name of a code in the body of an answer over HTTP. A number that no
// enum names stays a number.
func (c Code) String() string {
	switch n := int32(c); {
	case c >= firstNotFound:
		return openfgav1.NotFoundErrorCode(n).String()
	case c >= firstInternal:
		return openfgav1.InternalErrorCode(n).String()
	case c >= firstUnprocessable:
		return openfgav1.UnprocessableContentErrorCode(n).String()
	case c >= firstValidation:
		return openfgav1.ErrorCode(n).String()
	case c >= firstAuth:
		return openfgav1.AuthErrorCode(n).String()
	}
	return codes.Code(c).String()
}

// HTTPStatus is the status of an answer over HTTP.
func (c Code) HTTPStatus() int {
	switch {
	case c >= firstNotFound:
		return http.StatusNotFound
	case c >= firstInternal:
		return http.StatusInternalServerError
	case c >= firstUnprocessable:
		return http.StatusUnprocessableEntity
	case c >= firstValidation:
		return http.StatusBadRequest
	case c == codeForbidden:
		return http.StatusForbidden
	case c >= firstAuth:
		return http.StatusUnauthorized
	case c == Code(codes.Aborted):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// An Error is what a client is told. Handlers return it for whatever the client can do
// something about; any other error is looked up in the table of codes.go.
type Error struct {
	Code    Code
	Message string

	// Throttled says that nothing is wrong with the request but that there are too many.
	// OpenFGA has no code for that; its clients go by the status over HTTP, and by the
	// header Retry-After.
	Throttled bool
}

// httpStatus is the status of the answer over HTTP.
func (e *Error) httpStatus() int {
	if e.Throttled {
		return http.StatusTooManyRequests
	}
	return e.Code.HTTPStatus()
}

// name is the code in the body of an answer over HTTP.
func (e *Error) name() string {
	if e.Throttled {
		return "rate_limit_exceeded"
	}
	return e.Code.String()
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// internalText is all that a client learns of an error that nobody foresaw.
const internalText = "Internal Server Error"

// The errors whose text never varies, in OpenFGA's words.
var (
	errModelTooComplex          = newError(openfgav1.ErrorCode_authorization_model_resolution_too_complex, "Authorization Model resolution required too many rewrite rules to be resolved. Check your authorization model for infinite recursion or too much nesting")
	errInvalidWriteInput        = newError(openfgav1.ErrorCode_invalid_write_input, "Invalid input. Make sure you provide at least one write, or at least one delete")
	errInvalidContinuationToken = newError(openfgav1.ErrorCode_invalid_continuation_token, "Invalid continuation token")
	errInvalidStartTime         = newError(openfgav1.ErrorCode_invalid_start_time, "Invalid start time")
	errInvalidExpandInput       = newError(openfgav1.ErrorCode_invalid_expand_input, "Invalid input. Make sure you provide an object and a relation")
	errStoreNotFound            = newError(openfgav1.NotFoundErrorCode_store_id_not_found, "Store ID not found")
	errTokenOfOtherType         = newError(openfgav1.ErrorCode_query_string_type_continuation_token_mismatch, "The type in the querystring and the continuation token don't match")
	errCancelled                = newError(openfgav1.ErrorCode_cancelled, "Request Cancelled")
	errDeadline                 = newError(openfgav1.InternalErrorCode_deadline_exceeded, "Request Deadline Exceeded")
	errInternal                 = newError(openfgav1.InternalErrorCode_internal_error, internalText)
)

// newError makes an error with one of OpenFGA's codes.
func newError[C ~int32 | ~uint32](code C, message string) *Error {
	return &Error{Code: Code(code), Message: message}
}

// errorf is newError with a formatted text.
func errorf[C ~int32 | ~uint32](code C, format string, args ...any) *Error {
	return newError(code, fmt.Sprintf(format, args...))
}

// validationError is a fault of a request that has no code of its own.
func validationError(text string) *Error {
	return newError(openfgav1.ErrorCode_validation_error, text)
}

// modelNotFound says that the store has no model with this id.
func modelNotFound(model string) *Error {
	return errorf(openfgav1.ErrorCode_authorization_model_not_found, "Authorization Model '%s' not found", model)
}

// latestModelNotFound says that the store has no model, or that there is no such store:
// OpenFGA does not tell these apart where a question names no model.
func latestModelNotFound(store string) *Error {
	return errorf(openfgav1.ErrorCode_latest_authorization_model_not_found, "No authorization models found for store '%s'", store)
}

// assertionsNotFound says that nothing was ever asserted about a model.
func assertionsNotFound(model string) *Error {
	return errorf(openfgav1.ErrorCode_authorization_model_assertions_not_found, "No assertions found for authorization model '%s'", model)
}

// typeNotFound says that the model does not define a type.
func typeNotFound(typ string) *Error {
	return errorf(openfgav1.ErrorCode_type_not_found, "type '%s' not found", typ)
}

// relationNotFound says that a type has no such relation. The tuple, as
// object#relation@user, is told if it is not empty.
func relationNotFound(typ, relation, tuple string) *Error {
	text := fmt.Sprintf("relation '%s#%s' not found", typ, relation)
	if tuple != "" {
		text += fmt.Sprintf(" for tuple '%s'", tuple)
	}
	return newError(openfgav1.ErrorCode_relation_not_found, text)
}

// invalidTuple says what is wrong with a tuple, given as object#relation@user.
func invalidTuple(tuple, reason string) *Error {
	return errorf(openfgav1.ErrorCode_invalid_tuple, "Invalid tuple '%s'. Reason: %s", tuple, reason)
}

// entityLimit says that a request holds more of something than a limit allows.
func entityLimit(what string, limit int) *Error {
	return errorf(openfgav1.ErrorCode_exceeded_entity_limit, "The number of %s exceeds the allowed limit of %d", what, limit)
}

// duplicateTuple says that one write names a tuple twice.
func duplicateTuple(user, relation, object string) *Error {
	return errorf(openfgav1.ErrorCode_cannot_allow_duplicate_tuples_in_one_request,
		"duplicate tuple in write: user: '%s', relation: '%s', object: '%s'", user, relation, object)
}

// writeFailed says that what is stored does not allow a write.
func writeFailed(text string) *Error {
	return newError(openfgav1.ErrorCode_write_failed_due_to_invalid_input, text)
}

// invalidModel says what is wrong with a model.
func invalidModel(text string) *Error {
	return newError(openfgav1.ErrorCode_invalid_authorization_model, text)
}
