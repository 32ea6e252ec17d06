package rpc

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// operators are the clients of who runs the cluster of a rig.
type operators struct {
	remitv1connect.ClusterServiceClient
	audit remitv1connect.AuditServiceClient
}

func operatorsOf(r *rig) operators {
	c := connect.NewClient(connectinprocess.New(r.server))
	return operators{remitv1connect.NewClusterServiceClient(c), remitv1connect.NewAuditServiceClient(c)}
}

// recorded are the changes of a kind in the audit, the oldest first, as subject and text.
func (o operators) recorded(t testing.TB, kind remitv1.AuditChange_Kind) []string {
	t.Helper()
	res, err := o.audit.ListClusterChanges(t.Context(), &remitv1.ListClusterChangesRequest{Filter: &remitv1.AuditFilter{Kinds: []remitv1.AuditChange_Kind{kind}}})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, c := range res.Changes {
		texts = append(texts, strings.TrimSpace(c.Subject+" "+c.Text+" ("+c.Reason+")"))
	}
	return texts
}

func TestANodeAloneTellsOfItself(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"knowing its cluster": func(*Config) {},
		"knowing none":        func(c *Config) { c.Node = struct{ backend.Node }{c.Node} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, change)
			o := operatorsOf(r)
			res, err := o.GetCluster(t.Context(), &remitv1.GetClusterRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if !res.Healthy || len(res.Problems) > 0 || len(res.Members) != 1 || res.LeaderId != "node" || res.AnsweredBy != "node" ||
				res.Voters != 1 || res.Quorum != 1 || res.FailureTolerance != 0 || res.Epoch == "" {
				t.Fatalf("GetCluster = %v", res)
			}
			m, root := res.Members[0], r.config.State.Current()
			if !m.Leader || !m.Reachable || !m.Healthy || m.Kind != remitv1.Member_KIND_VOTER || m.State != remitv1.Member_STATE_LEADER ||
				m.Revision != uint64(root.Revision()) || len(m.StateHash) == 0 || m.Lag != 0 || m.Version != "dev" || m.Supports != fsm.ClusterVersion {
				t.Errorf("the member is %v", m)
			}
			_, err = o.RemoveMember(t.Context(), &remitv1.RemoveMemberRequest{Id: "node"})
			wantReason(t, "to remove the only node", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_MEMBERSHIP)
			_, err = o.PromoteMember(t.Context(), &remitv1.PromoteMemberRequest{Id: "other"})
			wantReason(t, "to promote a stranger", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_MEMBERSHIP)
			_, err = o.AddMember(t.Context(), &remitv1.AddMemberRequest{Id: "other", PeerAddr: "other:8082"})
			wantReason(t, "to add to a node that reaches nobody", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_MEMBERSHIP)
			for _, peer := range []string{"other", ":8082", "other:port", ""} {
				_, err = o.AddMember(t.Context(), &remitv1.AddMemberRequest{Id: "other", PeerAddr: peer})
				wantReason(t, "to add a node at "+peer, err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
			}
			rows := o.recorded(t, remitv1.AuditChange_KIND_MEMBERS_CHANGED)
			if name == "knowing none" {
				if len(rows) > 0 {
					t.Errorf("where there can be no change, %q is on record", rows)
				}
				return
			}
			if len(rows) < 2 || rows[0] != "node to be removed ()" || !strings.HasPrefix(rows[1], "node to be removed, which came to nothing: ") {
				t.Errorf("recorded is %q", rows)
			}
			if slices.ContainsFunc(rows, func(row string) bool { return strings.Contains(row, "given a vote") }) {
				t.Errorf("what nobody could mean is on record: %q", rows)
			}
		})
	}
}

func TestAutopilotIsSetForAll(t *testing.T) {
	r := newRig(t)
	o := operatorsOf(r)
	inForce := backend.Autopilot(r.config.State, discard())
	if got := inForce(); got != (cluster.AutopilotConfig{}) {
		t.Errorf("before anybody set it, autopilot is %+v", got)
	}
	res, err := o.GetAutopilot(t.Context(), &remitv1.GetAutopilotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Version != 0 || res.SetAt != nil || res.Autopilot.GetMinQuorum() != 3 || res.Autopilot.ServerStabilizationTime.AsDuration() != 10*time.Second {
		t.Errorf("GetAutopilot = %v", res)
	}
	want := cluster.AutopilotConfig{CleanupDeadServers: true, MinQuorum: 5, DeadAfter: time.Hour, MaxTrailingLogs: 7, LastContactThreshold: 1500 * time.Millisecond, ServerStabilizationTime: time.Minute}
	five, seven, none := uint32(5), uint64(7), uint64(0)
	set := &remitv1.SetAutopilotRequest{
		Autopilot: &remitv1.Autopilot{
			CleanupDeadServers: true, MinQuorum: &five, DeadAfter: durationpb.New(time.Hour), MaxTrailingLogs: &seven,
			LastContactThreshold: durationpb.New(1500 * time.Millisecond), ServerStabilizationTime: durationpb.New(time.Minute),
		},
		Version: &none, Reason: "a fleet of spot machines", IdempotencyKey: "once",
	}
	for range 2 { // the second is a retry
		done, err := o.SetAutopilot(t.Context(), set)
		if err != nil || done.Version != 1 {
			t.Fatalf("SetAutopilot = %v, %v", done, err)
		}
	}
	if got := inForce(); got != want {
		t.Errorf("autopilot is %+v, want %+v", got, want)
	}
	set.IdempotencyKey = ""
	_, err = o.SetAutopilot(t.Context(), set)
	wantReason(t, "a change of what others have changed", err, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_PRECONDITION_FAILED)
	if _, err := o.SetAutopilot(t.Context(), &remitv1.SetAutopilotRequest{Autopilot: &remitv1.Autopilot{Off: true}}); err != nil {
		t.Fatal(err)
	}
	if got := inForce(); got != (cluster.AutopilotConfig{Off: true}) {
		t.Errorf("autopilot is %+v, want it off and all else by default", got)
	}
	res, err = o.GetAutopilot(t.Context(), &remitv1.GetAutopilotRequest{})
	if err != nil || res.Version != 2 || res.SetAt == nil || !res.Autopilot.Off {
		t.Errorf("GetAutopilot = %v, %v", res, err)
	}
	rows := o.recorded(t, remitv1.AuditChange_KIND_AUTOPILOT_SET)
	if len(rows) != 2 || !strings.Contains(rows[0], "removes dead members, leaves 5 voters") || !strings.Contains(rows[0], "(a fleet of spot machines)") {
		t.Errorf("recorded is %q", rows)
	}
	for name, bad := range map[string]*remitv1.SetAutopilotRequest{
		"nothing":                {},
		"a quorum of nobody":     {Autopilot: &remitv1.Autopilot{MinQuorum: new(uint32)}},
		"a threshold of no time": {Autopilot: &remitv1.Autopilot{LastContactThreshold: durationpb.New(0)}},
	} {
		_, err := o.SetAutopilot(t.Context(), bad)
		wantReason(t, name, err, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	}
}

// A system store that an older release made has no types for members and autopilot.
func TestAnOlderSystemStoreGetsTheNewTypes(t *testing.T) {
	r := newRig(t)
	parsed, err := model.ParseDSL("", "model\n  schema 1.1\n\ntype key\n\ntype principal\n")
	if err != nil {
		t.Fatal(err)
	}
	source, err := parsed.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []fsm.Body{
		&fsm.CreateStore{Name: "remit"}, &fsm.SetRetention{Retention: fsm.Forever},
		&fsm.WriteModel{ID: fsm.ModelID(backend.SystemStore), Source: source, Declarations: parsed.Declarations()},
	} {
		if result := r.propose(&fsm.Command{Store: backend.SystemStore, Body: body}); result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	if got := backend.Autopilot(r.config.State, discard())(); got != (cluster.AutopilotConfig{}) {
		t.Errorf("autopilot is %+v", got)
	}
	if _, err := operatorsOf(r).SetAutopilot(t.Context(), &remitv1.SetAutopilotRequest{Autopilot: &remitv1.Autopilot{Off: true}}); err != nil {
		t.Fatal(err)
	}
	if got := backend.Autopilot(r.config.State, discard())(); !got.Off {
		t.Errorf("autopilot is %+v, want it off", got)
	}
}

// knowing has the services of a fleet know their clusters.
func knowing(o *fleetOptions) {
	o.Node = func(n *cluster.Node) backend.Node {
		o.API.Cluster = n
		return n
	}
}

func TestOperatorsSeeAndChangeACluster(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1, 3, 1, knowing)
		f.settled()
		for _, m := range f.up() {
			res, err := operatorsOf(m.rig).GetCluster(t.Context(), &remitv1.GetClusterRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if !res.Healthy || len(res.Members) != 4 || res.LeaderId != f.leader().ID || res.AnsweredBy != m.ID ||
				res.Voters != 3 || res.Quorum != 2 || res.FailureTolerance != 1 {
				t.Errorf("GetCluster of node %s = %v", m.ID, res)
			}
			if kind := res.Members[3].GetKind(); kind != remitv1.Member_KIND_REPLICA {
				t.Errorf("the replica is a %v", kind)
			}
		}

		// Whoever leads can be demoted through any node, and hands over first.
		l, o := f.leader(), operatorsOf(f.follower().rig)
		if _, err := o.DemoteMember(t.Context(), &remitv1.DemoteMemberRequest{Id: l.ID, Reason: "its disk is slow"}); err != nil {
			t.Fatalf("DemoteMember of the leader = %v", err)
		}
		f.settled()
		res, err := o.GetCluster(t.Context(), &remitv1.GetClusterRequest{})
		if err != nil || res.Voters != 2 || res.FailureTolerance != 0 || res.LeaderId == l.ID || !res.Healthy {
			t.Errorf("after the demotion GetCluster = %v, %v", res, err)
		}
		if _, err := o.PromoteMember(t.Context(), &remitv1.PromoteMemberRequest{Id: l.ID}); err != nil {
			t.Fatalf("PromoteMember = %v", err)
		}
		moved, err := o.TransferLeadership(t.Context(), &remitv1.TransferLeadershipRequest{Id: l.ID})
		if err != nil {
			t.Fatalf("TransferLeadership = %v, %v", moved, err)
		}
		if now := f.leader(); now != l {
			t.Errorf("node %s leads, want %s", now.ID, l.ID)
		}

		// A node that leads is removed by itself: it can record nothing afterwards.
		if _, err := operatorsOf(l.rig).RemoveMember(t.Context(), &remitv1.RemoveMemberRequest{Id: l.ID, Reason: "too old"}); err != nil {
			t.Fatalf("RemoveMember of the leader through itself = %v", err)
		}
		if _, err := o.RemoveMember(t.Context(), &remitv1.RemoveMemberRequest{Id: l.ID}); err != nil {
			t.Errorf("RemoveMember of who is none any more = %v", err)
		}
		f.stop(l.at)
		res, err = o.GetCluster(t.Context(), &remitv1.GetClusterRequest{})
		if err != nil || len(res.Members) != 3 || res.Voters != 2 {
			t.Errorf("after the removal GetCluster = %v, %v", res, err)
		}
		want := []string{
			l.ID + " to lose its vote (its disk is slow)", l.ID + " to be given a vote ()", l.ID + " to lead ()",
			l.ID + " to be removed (too old)", l.ID + " to be removed ()",
		}
		if got := o.recorded(t, remitv1.AuditChange_KIND_MEMBERS_CHANGED); !slices.Equal(got, want) {
			t.Errorf("recorded is %q, want %q", got, want)
		}
	})
}

func TestAMemberThatIsCutOffIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2, 3, 0, knowing)
		l, cut := f.leader(), f.follower()
		f.isolate(cut.at)
		pass(10 * time.Second)
		res, err := operatorsOf(l.rig).GetCluster(t.Context(), &remitv1.GetClusterRequest{})
		if err != nil || res.Healthy || res.FailureTolerance != 0 || len(res.Problems) != 1 ||
			res.Problems[0].Kind != remitv1.ClusterProblem_KIND_UNREACHABLE || res.Problems[0].NodeId != cut.ID {
			t.Errorf("GetCluster of the leader = %v, %v", res, err)
		}
		for _, m := range res.GetMembers() {
			if down := m.Id == cut.ID; m.Reachable == down || m.Healthy == down || (m.Error != "") != down {
				t.Errorf("member %v", m)
			}
		}
		// Who is alone with itself still answers, and knows that it is of no use.
		res, err = operatorsOf(cut.rig).GetCluster(t.Context(), &remitv1.GetClusterRequest{})
		if err != nil || res.FailureTolerance != -1 || len(res.Problems) < 3 || res.Problems[0].Kind != remitv1.ClusterProblem_KIND_NO_LEADER {
			t.Errorf("GetCluster of who is cut off = %v, %v", res, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err = operatorsOf(cut.rig).DemoteMember(ctx, &remitv1.DemoteMemberRequest{Id: l.ID})
		wantReason(t, "a demotion without a leader", err, connect.CodeUnavailable, remitv1.ErrorReason_ERROR_REASON_NO_LEADER)
		f.heal()
		f.ready()
	})
}
