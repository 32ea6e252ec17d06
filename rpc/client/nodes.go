package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
)

// rest is how long a node that failed is left alone while there are others.
const rest = 2 * time.Second

// nodes are where calls can go. They are complete before the first call.
type nodes struct {
	all     []*node
	current atomic.Uint32 // index of the one that calls go to
}

// A node is one address.
type node struct {
	base      string
	transport connect.Transport
	answered  atomic.Bool  // ever
	until     atomic.Int64 // left alone, in nanoseconds since 1970
}

func (n *nodes) add(base string, t connect.Transport) {
	n.all = append(n.all, &node{base: base, transport: t})
}

// named is an error with the address that it comes from, unless a server has said it.
func (n *node) named(err error) error {
	var e *connect.Error
	if !errors.As(err, &e) || e.IsRemote() {
		return err
	}
	text := n.base + ": " + e.Message()
	if why := n.misplaced(err); why != "" {
		text += ": " + why
	}
	return connect.NewError(e.Code(), text).WithCause(err)
}

// misplaced says how a call came to a port that is not meant for it, if it did: what
// answers there has no other words for it than a status of HTTP.
func (n *node) misplaced(err error) string {
	var e *connect.Error
	if !errors.As(err, &e) || e.IsRemote() {
		return ""
	}
	switch text := e.Message(); {
	case strings.HasPrefix(n.base, "http:") && strings.HasSuffix(text, "400 Bad Request"):
		return "it takes no calls without TLS, it seems; write https"
	case strings.HasSuffix(text, "415 Unsupported Media Type"):
		return "it speaks gRPC alone, it seems; name the server's other address"
	}
	return ""
}

type nodeKey struct{}

// NewClientStream opens a stream to the node of the attempt, or else to the current one.
func (n *nodes) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	to, ok := ctx.Value(nodeKey{}).(*node)
	if !ok {
		to = n.pick()
	}
	return to.transport.NewClientStream(ctx, spec)
}

// pick is the node that calls go to: the current one until it fails, so that connections
// are used again, and then the next that is not left alone.
func (n *nodes) pick() *node {
	at := n.current.Load()
	now := time.Now().UnixNano()
	for i := range uint32(len(n.all)) {
		next := (at + i) % uint32(len(n.all))
		if n.all[next].until.Load() <= now {
			if next != at {
				n.current.CompareAndSwap(at, next)
			}
			return n.all[next]
		}
	}
	return n.all[at]
}

// failed leaves a node alone for a while, and moves on from it.
func (n *nodes) failed(which *node) {
	which.until.Store(time.Now().Add(rest).UnixNano())
	if at := n.current.Load(); n.all[at] == which {
		n.current.CompareAndSwap(at, (at+1)%uint32(len(n.all)))
	}
}

// known reports whether any node ever answered.
func (n *nodes) known() bool {
	for _, one := range n.all {
		if one.answered.Load() {
			return true
		}
	}
	return false
}
