package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// deadAddr is an address at which nobody listens.
func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// A dead first address is no obstacle to any command.
func TestADeadAddressFailsOver(t *testing.T) {
	s := startServer(t)
	must(t, "store", "import", "testdata/stores/blocklist.fga.yaml")
	dir := t.TempDir()
	for _, addrs := range [][]string{
		{"--addr", deadAddr(t) + "," + s.Addr()},
		{"--addr", deadAddr(t), "--addr", s.Addr()},
		{"--addr", "http://" + deadAddr(t) + ", http://" + s.Addr()},
	} {
		for _, args := range [][]string{
			{"check", "member:bea", "speak", "channel:tea", "--store", "chat"},
			{"who", "reader", "channel:tea", "--kind", "member"},
			{"store", "list"},
			{"whoami"},
			{"key", "list"},
			{"cluster", "status", "--check"},
			{"cluster", "autopilot"},
			{"write", "channel:tea#writer@member:cyd"},
			{"delete", "channel:tea#writer@member:cyd"},
			{"store", "export", "chat"},
			{"backup", "save", dir},
			{"audit", "--cluster"},
			{"store", "import", "testdata/stores/blocklist.fga.yaml", "--into", "chat"},
		} {
			if out, errs, status := remit(t, append(args, addrs...)...); status != exitYes {
				t.Errorf("remit %s: status %d\n%s%s", strings.Join(append(args, addrs...), " "), status, out, errs)
			}
		}
	}
	t.Setenv("REMIT_ADDR", deadAddr(t)+","+s.Addr())
	must(t, "store", "list")
}

func TestServersThatAreAllDownAreTold(t *testing.T) {
	a, b := deadAddr(t), deadAddr(t)
	refused(t, "no server answers at http://"+a+", http://"+b+"; start one", "store", "list", "--addr", a+","+b)
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "what?", http.StatusTeapot) }))
	defer broken.Close()
	refused(t, "remit: the server at "+broken.URL, "store", "list", "--addr", broken.URL+","+broken.URL)
	refused(t, `"http://" is no address`, "store", "list", "--addr", a+",http://")
}

func TestANodeAloneIsShown(t *testing.T) {
	startServer(t)
	out := must(t, "cluster", "status", "--check")
	for _, want := range []string{": one node, alone\n", "leader *", "healthy", "all is well\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("cluster status does not show %q:\n%s", want, out)
		}
	}
	var res struct {
		Healthy bool
		Members []struct{ ID, StateHash string }
	}
	if err := json.Unmarshal([]byte(must(t, "cluster", "status", "-o", "json")), &res); err != nil || !res.Healthy || len(res.Members) != 1 {
		t.Fatalf("cluster status -o json: %+v, %v", res, err)
	}
	id := res.Members[0].ID
	refused(t, "node "+id+" is the last voter, so it cannot be removed; promote another one first", "cluster", "remove", id, "--force")
	refused(t, "node "+id+" is the last voter, so it cannot be demoted", "cluster", "demote", id[:len(id)-1])
	refused(t, `nobody is no member of the cluster; "remit cluster status" shows who is`, "cluster", "promote", "nobody")
	refused(t, "must be HOST:PORT", "cluster", "join", "other", "nowhere")
	refused(t, "remit: members not changed: ", "cluster", "join", "other", "other:8082")
	refused(t, "there is no other voter that could lead", "cluster", "transfer-leader")
}

func TestAutopilotIsShownAndSet(t *testing.T) {
	startServer(t)
	if out := must(t, "cluster", "autopilot"); !strings.Contains(out, "min-quorum                 3\n") || strings.Contains(out, "set by") {
		t.Errorf("autopilot shows\n%s", out)
	}
	refused(t, "say what to set", "cluster", "autopilot", "set")
	must(t, "cluster", "autopilot", "set", "--cleanup-dead-servers", "--min-quorum", "5", "--dead-after", "1h", "--reason", "spot machines")
	must(t, "cluster", "autopilot", "set", "--off")
	out := must(t, "cluster", "autopilot")
	for _, want := range []string{
		"off                        true\n", "cleanup-dead-servers       true\n", "min-quorum                 5\n", "dead-after                 1h0m0s\n", "(version 2)\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("autopilot does not show %q:\n%s", want, out)
		}
	}
	if out := must(t, "cluster", "autopilot", "set", "--defaults"); !strings.Contains(out, "off                        false\n") || !strings.Contains(out, "min-quorum                 3\n") {
		t.Errorf("autopilot by default is\n%s", out)
	}
	refused(t, "the member has no name", "cluster", "promote", "")
	refused(t, `unknown command "add" for "remit cluster"`, "cluster", "add", "n4")
	refused(t, "--dead-after: must be", "cluster", "autopilot", "set", "--dead-after", "1ms")
	if out := must(t, "audit", "--cluster", "--kind", "autopilot_set"); strings.Count(out, "\n") < 3 || !strings.Contains(out, "leaves 5 voters") || !strings.Contains(out, "spot machines") {
		t.Errorf("the audit shows\n%s", out)
	}
}

// seenCluster is a cluster in which much is wrong.
func seenCluster() *remitv1.GetClusterResponse {
	return &remitv1.GetClusterResponse{
		AnsweredBy: "n2", LeaderId: "n1", Epoch: "00000000000000001234567890abcdef", ClusterVersion: 2, Voters: 3, Quorum: 2,
		Members: []*remitv1.Member{
			{Id: "n1", Addr: "10.0.0.1:8080", Kind: remitv1.Member_KIND_VOTER, Leader: true, Reachable: true, Healthy: true, Revision: 812345, Term: 7, Version: "v1.4.0", RoundTrip: durationpb.New(800e3)},
			{Id: "n2", Addr: "10.0.0.2:8080", Kind: remitv1.Member_KIND_VOTER, Reachable: true, Revision: 812101, Lag: 244, Term: 7, Version: "v1.3.0", LastContact: durationpb.New(42e6), ClockOffset: durationpb.New(0)},
			{Id: "n3", PeerAddr: "10.0.0.3:8082", Kind: remitv1.Member_KIND_VOTER, Error: "no route"},
			{Id: "n4", Addr: "10.0.0.4:8080", Kind: remitv1.Member_KIND_REPLICA, Reachable: true, Healthy: true, Revision: 812345, Term: 7, Version: "v1.4.0", LastContact: durationpb.New(1200e6), ClockOffset: durationpb.New(-6500e6)},
		},
		Problems: []*remitv1.ClusterProblem{
			{Kind: remitv1.ClusterProblem_KIND_READ_ONLY, Text: "writes are refused: no space"},
			{Kind: remitv1.ClusterProblem_KIND_READ_ONLY, NodeId: "n2", Text: "it should not write: no space"},
			{Kind: remitv1.ClusterProblem_KIND_BEHIND, NodeId: "n2", Text: "its log is 2000 entries behind the leader's"},
			{Kind: remitv1.ClusterProblem_KIND_UNREACHABLE, NodeId: "n3", Text: "it does not answer: no route"},
			{Kind: remitv1.ClusterProblem_KIND_CLOCK, NodeId: "n4", Text: "its clock is 6.5s behind that of node n2"},
		},
	}
}

func TestAClusterInTroubleIsShown(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out}
	if err := a.printCluster(&out, seenCluster()); err != nil {
		t.Fatal(err)
	}
	golden(t, "cluster.golden", regexp.MustCompile(` +\n`).ReplaceAllString(out.String(), "\n"))
}

func TestVotesAreNotTakenLightly(t *testing.T) {
	three := func(answering ...string) *remitv1.GetClusterResponse {
		res := &remitv1.GetClusterResponse{Voters: 3, Quorum: 2, FailureTolerance: int32(len(answering)) - 2}
		for _, id := range []string{"n1", "n2", "n3"} {
			m := &remitv1.Member{Id: id, Kind: remitv1.Member_KIND_VOTER, Reachable: strings.Contains(strings.Join(answering, " "), id)}
			res.Members = append(res.Members, m)
		}
		return res
	}
	for _, tt := range []struct {
		name  string
		res   *remitv1.GetClusterResponse
		force bool
		want  string
	}{
		{"of three that answer", three("n1", "n2", "n3"), false, "2 voters would be left, none of which may fail, if node n1 is removed; if that is meant, repeat it with --force"},
		{"by force", three("n1", "n2", "n3"), true, ""},
		{"that does not answer", three("n2", "n3"), false, ""},
		{"beside one that does not answer", three("n1", "n2"), false, "2 voters would be left, of which 1 answer and 2 must"},
		{"of five", &remitv1.GetClusterResponse{Voters: 5, Quorum: 3, FailureTolerance: 2, Members: three("n1").Members}, false, ""},
		{"the last", &remitv1.GetClusterResponse{Voters: 1, Quorum: 1, Members: three("n1").Members}, true, "node n1 is the last voter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := losesVote(tt.res, tt.res.Members[0], tt.force, "removed")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("losesVote = %v, want %q", err, tt.want)
			}
		})
	}
	replica := &remitv1.Member{Id: "r", Kind: remitv1.Member_KIND_REPLICA, Reachable: true}
	if err := losesVote(three("n1", "n2", "n3"), replica, false, "removed"); err != nil {
		t.Errorf("losesVote of who has none = %v", err)
	}
}

// What this program itself refuses is told as such, and not as a server's word.
func TestOwnErrorsStayOwn(t *testing.T) {
	a := &app{asked: "http://n1:8080", bases: []string{"http://n1:8080"}}
	if got := a.errorText(own(errors.New("the token: gone"))); got != "remit: the token: gone" {
		t.Errorf("errorText = %q", got)
	}
}
