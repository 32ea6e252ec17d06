package client

import (
	"math"
	"strconv"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc/token"
)

// Staleness tells how old the answer to a read may be: what was acknowledged longer before
// it than that, it reflects. It is 0 where the leader answered, math.MaxInt64 where nobody
// could tell, and means nothing before there is an answer. The call is the one of a context
// that connect.NewClientContext returned:
//
//	ctx, call := connect.NewClientContext(ctx)
//	res, err := c.Access.Check(ctx, req)
//	if err == nil && client.Staleness(call) > time.Minute {
//		// ask with another consistency
//	}
func Staleness(call *connect.CallInfo) time.Duration {
	ms, err := strconv.ParseInt(call.ResponseHeader().Get(token.StalenessHeader), 10, 64)
	switch {
	case err != nil:
		return 0
	case ms > math.MaxInt64/int64(time.Millisecond):
		return math.MaxInt64
	}
	return time.Duration(ms) * time.Millisecond
}
