package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/fsm"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// An incrementer adds one to a deal and to another, in one change, again and again.
type incrementer struct {
	t     testing.TB
	name  string
	org   remitv1connect.OrganisationServiceClient
	store string

	conflicts, done int
}

// once reads the deal and writes both, if the first is still of the version that was read.
func (w *incrementer) once(ctx context.Context, n int) error {
	got, err := w.org.GetEntity(ctx, &remitv1.GetEntityRequest{
		Store: w.store, Entity: &remitv1.EntityRef{Kind: ofRecord, Id: "deal:d1"},
		Consistency: &remitv1.Consistency{Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true}},
	})
	if err != nil {
		return err
	}
	amount, _ := got.Entity.GetRecord().Fields.AsMap()["amount"].(float64)
	fields := someFields(w.t, map[string]any{"amount": amount + 1})
	_, err = w.org.Change(ctx, &remitv1.ChangeRequest{
		Store: w.store, As: "ann", IdempotencyKey: fmt.Sprintf("%s %d %d", w.name, n, w.conflicts),
		Edits: []*remitv1.Edit{
			ifVersion(putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: fields}), "fields.amount"), got.Entity.Version),
			putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d2", Fields: fields}), "fields.amount"),
			putOf(aGroup(&remitv1.Group{Id: w.name, Name: fmt.Sprintf("%s has done %d", w.name, n+1)})),
		},
	})
	return err
}

// Changes that are planned on several nodes at once are as if they were made one by one,
// also while the cluster changes its leader: nothing is lost, done twice, or done by half.
func TestChangesOnSeveralNodes(t *testing.T) {
	const each, nodes = 6, 3
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 11, nodes, 0)
		leader := f.leader()
		leader.propose(&fsm.Command{Body: &fsm.SetClusterVersion{Version: fsm.ClusterVersion}})
		f.ready()
		r := &orgRig{rig: leader.rig, org: newOrgClient(leader.rig)}
		r.store = r.create(firstRequest("acme"))
		r.change("", worldly(t)...)
		r.change("", putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d1", Fields: someFields(t, map[string]any{"amount": 0.0})}), "fields.amount"),
			putOf(aRecord(&remitv1.Record{Module: "deal", Id: "d2", Owner: "dot"})))

		var workers []*incrementer
		var wg sync.WaitGroup
		for i := range 2 * nodes {
			w := &incrementer{t: t, name: fmt.Sprintf("worker%d", i), org: newOrgClient(f.node(i % nodes).rig), store: r.store}
			workers = append(workers, w)
			wg.Go(func() {
				for w.done < each {
					err := w.once(t.Context(), w.done)
					switch ce := (*connect.Error)(nil); {
					case err == nil:
						w.done++
					case errors.As(err, &ce) && (ce.Code() == connect.CodeFailedPrecondition || ce.Code() == connect.CodeAborted):
						w.conflicts++
					default:
						t.Errorf("%s: %v", w.name, err)
						return
					}
				}
			})
		}
		f.transfer(f.follower().ID)
		wg.Wait()
		conflicts := 0
		for _, w := range workers {
			conflicts += w.conflicts
		}
		t.Logf("%d increments met %d conflicts", len(workers)*each, conflicts)
		if conflicts == 0 {
			t.Error("nobody was in anybody's way: the test does not reach what it is about")
		}
		f.ready()
		at := &orgRig{rig: f.leader().rig, org: newOrgClient(f.leader().rig), store: r.store}
		for _, id := range []string{"deal:d1", "deal:d2"} {
			if got := at.get(ofRecord, id).GetRecord().Fields.AsMap()["amount"]; got != float64(len(workers)*each) {
				t.Errorf("the amount of %s is %v, want %d", id, got, len(workers)*each)
			}
		}
		for _, w := range workers {
			if got, want := at.get(ofGroup, w.name), fmt.Sprintf("%s has done %d", w.name, each); got.GetGroup().Name != want || got.Version != each {
				t.Errorf("the group is %v, want the name %q at version %d", got, want, each)
			}
		}
		f.wantSameState()
	})
}
