package openfga

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
)

func TestCodesHaveTheNamesOfTheirEnums(t *testing.T) {
	for _, enum := range []struct {
		names        map[int32]string
		http         int
		grpc         codes.Code
		connect      connect.Code
		otherConnect map[int32]connect.Code
	}{
		{openfgav1.AuthErrorCode_name, 401, codes.Unauthenticated, connect.CodeUnauthenticated, nil},
		{openfgav1.ErrorCode_name, 400, codes.InvalidArgument, connect.CodeInvalidArgument, map[int32]connect.Code{2058: connect.CodeCanceled}},
		{openfgav1.UnprocessableContentErrorCode_name, 422, codes.ResourceExhausted, connect.CodeResourceExhausted, nil},
		{openfgav1.InternalErrorCode_name, 500, codes.Internal, connect.CodeInternal, map[int32]connect.Code{4004: connect.CodeDeadlineExceeded}},
		{openfgav1.NotFoundErrorCode_name, 404, codes.NotFound, connect.CodeNotFound, map[int32]connect.Code{5004: connect.CodeUnimplemented}},
	} {
		for n, name := range enum.names {
			if n == 0 {
				continue // stands for no error
			}
			c := Code(n)
			if got := c.String(); got != name {
				t.Errorf("%d is named %s, want %s", n, got, name)
			}
			wantHTTP, wantGRPC, want := enum.http, enum.grpc, enum.connect
			if c == codeForbidden { // of somebody who is known
				wantHTTP, wantGRPC, want = 403, codes.PermissionDenied, connect.CodePermissionDenied
			}
			if got := c.HTTPStatus(); got != wantHTTP {
				t.Errorf("%s is %d over HTTP, want %d", name, got, wantHTTP)
			}
			if got := grpcCode(c); got != wantGRPC {
				t.Errorf("%s is %s in a stream of JSON, want %s", name, got, wantGRPC)
			}
			if other, ok := enum.otherConnect[n]; ok {
				want = other
			}
			if got := newError(c, "").standard().Code(); got != want {
				t.Errorf("%s is %s over Connect, want %s", name, got, want)
			}
		}
	}
	if got := Code(codes.Aborted); got.String() != "Aborted" || got.HTTPStatus() != 409 || grpcCode(got) != codes.Aborted {
		t.Errorf("a conflict is %s, %d, %s", got, got.HTTPStatus(), grpcCode(got))
	}
}

func TestErrorsAreLookedUp(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code Code
		text string
	}{
		{"ours, wrapped", fmt.Errorf("check: %w", typeNotFound("x")), 2021, "type 'x' not found"},
		{"a deadline", fmt.Errorf("read: %w", context.DeadlineExceeded), 4004, "Request Deadline Exceeded"},
		{"a caller who left", context.Canceled, 2058, "Request Cancelled"},
		{"a write whose caller left", fmt.Errorf("%w: %w", cluster.ErrUnknownOutcome, context.Canceled), 14, "outcome unknown: context canceled"},
		{"a depth", fmt.Errorf("%w: 25", graph.ErrDepth), 2002, errModelTooComplex.Message},
		{"a store that is none", backend.At("store", backend.ErrStoreNotFound), 5002, "Store ID not found"},
		{"a managed store", backend.At("store_id", fmt.Errorf("%w: use another API", fsm.ErrManaged)), 2000, "store_id: store is managed: use another API"},
		{"a conflict", fmt.Errorf("%w: planned 5 times", backend.ErrAborted), 10, "transactional write failed due to conflict"},
		{"a transport's", connect.NewError(connect.CodeInvalidArgument, "unmarshal message: eof"), 3, "unmarshal message: eof"},
		{"a procedure that nobody implements", unimplemented(t), 12, "method UpdateStore not implemented"},
	} {
		e, ok := lookup(tt.err)
		if !ok || e.Code != tt.code || e.Message != tt.text {
			t.Errorf("%s: %d %q, want %d %q", tt.name, e.Code, e.Message, tt.code, tt.text)
		}
	}
	if e, ok := lookup(errors.New("secret")); ok || e.Code != 4000 || e.Message != "Internal Server Error" {
		t.Errorf("an error that nobody foresaw is %d %q, and foreseen: %t", e.Code, e.Message, ok)
	}
}

func unimplemented(t *testing.T) error {
	_, err := openfgav1.UnimplementedOpenFGAServiceServer{}.UpdateStore(t.Context(), nil)
	return err
}

func TestTableOfErrorsHasNoLineInVain(t *testing.T) {
	for i, w := range wireErrors {
		for _, before := range wireErrors[:i] {
			if errors.Is(w.err, before.err) {
				t.Errorf("%v is found as %v, which stands before it", w.err, before.err)
			}
		}
	}
}

func TestFaultsOfFieldsHaveCodes(t *testing.T) {
	for text, want := range map[string]openfgav1.ErrorCode{
		"other error":                                                                      2000,
		"no dot | foo :other error":                                                        2000,
		"invalid A.B.TupleKey: value is required":                                          2000,
		"invalid A.Unknown: value must be absolute":                                        2000,
		"invalid A.StoreId: value length must be less than 26 runes":                       2030,
		"invalid A.StoreId: value does not match regex pattern":                            2000,
		"invalid A.Assertions: value must contain no more than 40 items":                   2033,
		"invalid A.AuthorizationModelId: value length must be at most 40 runes":            2036,
		"invalid A.Base: value is required":                                                2041,
		"invalid A.Id: value length must be at most 40 runes":                              2034,
		"invalid A.Object: value length must be at most 256 bytes":                         2043,
		"invalid A.Object: value is required":                                              2000,
		"invalid A.PageSize: value must be inside range [1, 100]":                          2039,
		"invalid A.Params: value is required":                                              2040,
		"invalid A.Relation: value length must be at most 50 bytes":                        2044,
		"invalid A.Relations: value must contain at least 1 pair":                          2048,
		"invalid A.Relations[abc]: value length must be at most 50 bytes":                  2049,
		"invalid A.Relations[abc]: value does not match regex pattern":                     2050,
		"invalid A.Relations[a.b]: value does not match regex pattern":                     2000,
		"invalid A.Subtract: value is required":                                            2042,
		"invalid A.TupleKey: value is required":                                            2037,
		"invalid A.TupleKeys: value must contain between 1 and 10 items":                   2038,
		"invalid A.TupleKeys: value must contain at least 1 item(s)":                       2000,
		"invalid A.Type: value length must be at least 1":                                  2046,
		"invalid A.Type: value length must be at most 254 bytes":                           2046,
		"invalid A.Type: value does not match regex pattern \"^[^:#]*$\"":                  2047,
		"invalid A.TypeDefinitions: value must contain at least 1 item(s)":                 2045,
		"invalid A.PageSize: value must be inside range [1, 100]; invalid A.Type: too bad": 2039,
	} {
		if got := fieldCode(text); got != Code(want) {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// The texts are promised to clients, and two of them are easy to break.
func TestTexts(t *testing.T) {
	got := map[string]*Error{
		"relation 'doc#viewer' not found":                                                  relationNotFound("doc", "viewer", ""),
		"relation 'doc#viewer' not found for tuple 'doc:1#viewer@user:anne'":               relationNotFound("doc", "viewer", "doc:1#viewer@user:anne"),
		"Invalid tuple 'doc:1#viewer@user:anne'. Reason: why":                              invalidTuple("doc:1#viewer@user:anne", "why"),
		"The number of write operations exceeds the allowed limit of 100":                  entityLimit("write operations", 100),
		"duplicate tuple in write: user: 'user:anne', relation: 'viewer', object: 'doc:1'": duplicateTuple("user:anne", "viewer", "doc:1"),
		"No authorization models found for store '1'":                                      latestModelNotFound("1"),
		"Authorization Model '1' not found":                                                modelNotFound("1"),
		"No assertions found for authorization model '1'":                                  assertionsNotFound("1"),
		"100% is no verb": validationError("100% is no verb"),
		"Invalid input. Make sure you provide at least one write, or at least one delete":                                                                          errInvalidWriteInput,
		"The type in the querystring and the continuation token don't match":                                                                                       errTokenOfOtherType,
		"Authorization Model resolution required too many rewrite rules to be resolved. Check your authorization model for infinite recursion or too much nesting": errModelTooComplex,
	}
	for _, want := range slices.Sorted(maps.Keys(got)) {
		if got[want].Message != want {
			t.Errorf("the text is %q, want %q", got[want].Message, want)
		}
	}
}
