//go:build !race

package rpc

import (
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// Metrics cost a Check no memory. The race detector's sync.Pool drops what it is given
// at random, hence the build tag.
func TestObservedCheckAllocatesNoMore(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	req := &remitv1.CheckRequest{
		Scope: scopeOf(store), Question: &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"},
	}
	allocs := func(observed bool) float64 {
		access := remitv1connect.NewAccessServiceClient(connect.NewClient(connectinprocess.New(r.observedServer(observed))))
		return testing.AllocsPerRun(500, func() {
			if res, err := access.Check(t.Context(), req); err != nil || !res.Allowed {
				t.Fatal(res, err)
			}
		})
	}
	if without, with := allocs(false), allocs(true); with > without {
		t.Errorf("a Check allocates %v times with metrics, %v times without", with, without)
	}
}
