package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/condition"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/limit"
)

var (
	// ErrTooLarge says that a message, a model, a context or a write is over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrContext says that the parameters of a condition cannot be used.
	ErrContext = errors.New("invalid context")
	// ErrDuplicateOperation says that one write names a tuple twice.
	ErrDuplicateOperation = errors.New("duplicate operation")
)

// A wireError is what a client sees of an error: one line of the table in codes.go.
type wireError struct {
	err    error            // matches as errors.Is does …
	match  func(error) bool // … or this does
	code   connect.Code
	reason remitv1.ErrorReason
}

// at says that a field, given as a path, is at fault.
func at(field string, err error) error { return backend.At(field, err) }

// under puts a fault of a field under the message that holds the field. Other errors
// stay as they are.
func under(path string, err error) error { return backend.Under(path, err) }

// indexed writes an element of a repeated field as a path.
func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// tupleFault puts a fault of a tuple under the field that it names.
func tupleFault(path string, err error) error {
	field := ""
	if te := (*graph.TupleError)(nil); errors.As(err, &te) {
		switch te.Field {
		case "object", "relation", "subject":
			field = "." + te.Field
		case "condition":
			field = ".condition.name"
		case "context":
			field = ".condition.context"
		}
	}
	return at(path+field, err)
}

// find looks an error up in the table.
func find(err error) (wireError, bool) {
	for _, w := range wireErrors {
		if w.match != nil && w.match(err) || w.err != nil && errors.Is(err, w.err) {
			return w, true
		}
	}
	return wireError{}, false
}

// wire turns an error into what the client sees. An error that nobody foresaw is
// logged whole, and the client learns nothing of it.
func wire(ctx context.Context, logger *slog.Logger, procedure string, err error) (*connect.Error, *remitv1.ErrorDetail) {
	detail := &remitv1.ErrorDetail{}
	if fe := (*backend.FieldError)(nil); errors.As(err, &fe) {
		detail.Field = fe.Field
	}
	w, ok := find(err)
	if !ok {
		logger.ErrorContext(ctx, "internal error", "procedure", procedure, "error", err)
		return connect.NewError(connect.CodeInternal, "internal error").WithCause(err), nil
	}
	detail.Reason = w.reason
	describe(detail, err)
	return connect.NewError(w.code, shorten(err.Error())).WithCause(err), detail
}

// maxErrorText bounds the text of an error. gRPC sends it twice in the trailers, for
// which some clients have no more than 8 KiB.
const maxErrorText = 2048

// shorten cuts a text that is too long, between two characters.
func shorten(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	cut := maxErrorText
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + " … (shortened)"
}

// describe fills in what only some errors know.
func describe(detail *remitv1.ErrorDetail, err error) {
	if me := (*model.Error)(nil); errors.As(err, &me) && len(me.Faults) > 0 {
		fault := me.Faults[0]
		detail.File, detail.Line, detail.Column = fault.File, int32(fault.Line), int32(fault.Column)
	}
	if ce := (*condition.MissingError)(nil); errors.As(err, &ce) {
		detail.Missing = ce.Fields
	}
	if se := (*streamError)(nil); errors.As(err, &se) {
		detail.Resume = se.resume
	}
	if re := (*limit.RefusedError)(nil); errors.As(err, &re) {
		detail.RetryAfter = durationpb.New(re.RetryAfter)
	}
}

// wireTransport adds the reason to an error that a transport or the validation of
// messages has made for the wire already.
func wireTransport(ce *connect.Error) *connect.Error {
	detail := &remitv1.ErrorDetail{}
	switch ce.Code() {
	case connect.CodeResourceExhausted:
		detail.Reason = remitv1.ErrorReason_ERROR_REASON_TOO_LARGE
	case connect.CodeInvalidArgument:
		detail.Reason = remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST
	default:
		return ce
	}
	var ve *protovalidate.ValidationError
	if !errors.As(ce, &ve) || len(ve.Violations) == 0 {
		return withDetail(ce, detail)
	}
	first := ve.Violations[0].Proto
	detail.Field = protovalidate.FieldPathString(first.GetField())
	if oversize(detail.Field, first.GetRuleId()) {
		detail.Reason = remitv1.ErrorReason_ERROR_REASON_TOO_LARGE
		return withDetail(connect.NewError(connect.CodeResourceExhausted, shorten("too large: "+violations(ve))).WithCause(ce), detail)
	}
	return withDetail(connect.NewError(connect.CodeInvalidArgument, shorten("invalid request: "+violations(ve))).WithCause(ce), detail)
}

// oversize reports whether a violation means that a request holds too much, rather
// than that a field is wrong.
func oversize(field, rule string) bool {
	if rule == "repeated.max_items" {
		return true
	}
	root, _, _ := strings.Cut(field, ".")
	return rule == "string.max_bytes" && slices.Contains([]string{"source", "to_source"}, root)
}

// violations lists what validation found wrong, in one line.
func violations(ve *protovalidate.ValidationError) string {
	const most = 5 // a message of thousands of operations may have as many faults
	parts := make([]string, 0, most)
	for i, v := range ve.Violations {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(ve.Violations)-most))
			break
		}
		text := v.Proto.GetMessage()
		if v.Proto.GetRuleId() == "enum.not_in" {
			text = "must be given"
		}
		if path := protovalidate.FieldPathString(v.Proto.GetField()); path != "" {
			text = path + ": " + text
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func withDetail(ce *connect.Error, detail *remitv1.ErrorDetail) *connect.Error {
	if detail == nil {
		return ce
	}
	packed, err := connectproto.NewErrorDetail(detail)
	if err != nil {
		// The message is flat and its strings come from messages: it always packs, unless
		// a name is no UTF-8, and then the code and the text must do.
		return ce
	}
	return ce.WithDetail(packed)
}

// errorInterceptor is the one place where errors become codes. It stands outermost.
// A panic ends the request alone: one question must not take down a node that others
// depend on.
func errorInterceptor(logger *slog.Logger) connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
			defer func() {
				switch r := recover(); r {
				case nil:
				case http.ErrAbortHandler:
					panic(r)
				default:
					logger.ErrorContext(ctx, "panic", "procedure", spec.Procedure, "panic", r, "stack", string(debug.Stack()))
					err = connect.NewError(connect.CodeInternal, "internal error")
				}
			}()
			if info, ok := connect.CallInfoForServerContext(ctx); ok {
				info.Spec = spec // not every transport has said so; the log of decisions does
			}
			// Nothing is done for a caller who has left.
			if err = ctx.Err(); err == nil {
				err = next(ctx, spec, stream)
			}
			if err == nil {
				return nil
			}
			if ce := (*connect.Error)(nil); errors.As(err, &ce) {
				return wireTransport(ce)
			}
			ce, detail := wire(ctx, logger, spec.Procedure, err)
			return withDetail(ce, detail)
		}
	}
}
