package client_test

import (
	"math"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/rpc"
	"github.com/remit-authz/remit/rpc/backend"
	"github.com/remit-authz/remit/rpc/client"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// A staleNode says that it is behind.
type staleNode struct {
	backend.Node
	by time.Duration
}

func (n *staleNode) Staleness() time.Duration { return n.by }

func TestAnswersSayHowOldTheyMayBe(t *testing.T) {
	r := newRig(t)
	n := &staleNode{Node: r.node}
	addr, _ := r.serve(func(c *rpc.Config) { c.Node = n })
	c := r.client(addr)
	store := r.store(c, "louvre")
	for _, tt := range []struct{ by, least, most time.Duration }{
		{0, 0, 0},
		{1, time.Millisecond, time.Minute},
		{90*time.Second + 1, 90*time.Second + time.Millisecond, 150 * time.Second},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64},
	} {
		n.by = tt.by
		ctx, call := connect.NewClientContext(t.Context())
		_, err := c.Access.Check(ctx, &remitv1.CheckRequest{
			Scope:    &remitv1.Scope{Store: store},
			Question: &remitv1.Question{Object: "exhibit:lisa", Relation: "visitor", Subject: "user:anna"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := client.Staleness(call); got < tt.least || got > tt.most {
			t.Errorf("the staleness of an answer by a node that is %s behind is %s, want from %s to %s", tt.by, got, tt.least, tt.most)
		}
	}
	// A write is no older than itself.
	ctx, call := connect.NewClientContext(t.Context())
	if _, err := c.Stores.CreateStore(ctx, &remitv1.CreateStoreRequest{Name: "prado"}); err != nil || client.Staleness(call) != 0 {
		t.Errorf("the staleness of a write is %s, %v", client.Staleness(call), err)
	}
}
