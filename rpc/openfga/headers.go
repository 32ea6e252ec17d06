package openfga

import (
	"context"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/token"
)

// The headers of requests and answers.
const (
	// HeaderStoreID names the store that a request was about, as the request wrote it.
	HeaderStoreID = "Openfga-Store-Id"
	// HeaderModelID names the model that a question was answered by.
	HeaderModelID = "Openfga-Authorization-Model-Id"
	// HeaderRequestID names the request.
	HeaderRequestID = "X-Request-Id"
	// HeaderQueryDuration tells how many milliseconds an answer took.
	HeaderQueryDuration = "Fga-Query-Duration-Ms"
	// HeaderToken is, in an answer, the token of the state that was read or written;
	// in a request, it asks for a state that is no older.
	HeaderToken = token.Header
	// HeaderExact asks, with the value true, for Remit's own answers where OpenFGA's
	// are cut short: no limit of depth, lists that are complete or an error, and an
	// error where an answer depends on its own negation.
	HeaderExact = "Remit-Exact"

	// headerTraceparent and headerTracestate bring the caller's trace.
	headerTraceparent = "Traceparent"
	headerTracestate  = "Tracestate"
)

// respondModel tells the client which model its question was answered by.
func respondModel(ctx context.Context, id string) { respond(ctx, HeaderModelID, id) }

// respondToken tells the client which state was read or written.
func respondToken(ctx context.Context, token string) { respond(ctx, HeaderToken, token) }

func respond(ctx context.Context, key, value string) {
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		info.ResponseHeader().Set(key, value)
	}
}

// requestToken is the token of the state that the answer must not be older than; empty
// if any will do.
func requestToken(ctx context.Context) string { return requested(ctx, HeaderToken) }

// exact reports whether the client asks for exact answers.
func exact(ctx context.Context) bool { return requested(ctx, HeaderExact) == "true" }

func requested(ctx context.Context, key string) string {
	info, ok := connect.CallInfoForServerContext(ctx)
	if !ok {
		return ""
	}
	return info.RequestHeader().Get(key)
}
