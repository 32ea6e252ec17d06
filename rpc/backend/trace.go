package backend

import (
	"context"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/trace"
)

// Trace begins the evaluation of a query, and says what the call is about.
func (q *Question) Trace(ctx context.Context, query *graph.Query) (context.Context, trace.Span) {
	t := q.Reader.Config.Tracer
	if t == nil {
		return ctx, trace.Span{}
	}
	ctx, span := t.Start(ctx, "evaluate")
	if !span.Recorded() {
		return ctx, span
	}
	span.About(q.Head.ID().String(), q.Plan.ID(), uint64(q.Base.Revision()))
	visited := query.Visited
	query.Visited = func(edges int) {
		span.Int("remit.edges", int64(edges))
		if visited != nil {
			visited(edges)
		}
	}
	return ctx, span
}
