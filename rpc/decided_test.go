package rpc

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/rpc/decision"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// A decisionEvent is what a line of the decision log says.
type decisionEvent struct {
	SpecVersion, ID, Source, Type, Subject string
	Time                                   time.Time
	DataContentType                        string
	Data                                   map[string]any
}

// logDecisions opens a log. What it says is told by the function, which ends it.
func logDecisions(t testing.TB, config decision.Config) (*decision.Log, func() []decisionEvent) {
	t.Helper()
	out := &lockedBuffer{}
	config.Output, config.Node = out, "node 1"
	decisions, err := decision.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return decisions, func() (all []decisionEvent) {
		t.Helper()
		if err := decisions.Close(); err != nil {
			t.Error(err)
		}
		out.mu.Lock()
		defer out.mu.Unlock()
		for line := range strings.Lines(out.b.String()) {
			var e decisionEvent
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all = append(all, e)
		}
		return all
	}
}

// brief writes an event with what does not vary from run to run.
func (e *decisionEvent) brief() string {
	var b strings.Builder
	b.WriteString(strings.TrimPrefix(e.Type, "remit.v1."))
	if e.Subject != "" {
		b.WriteString(" " + e.Subject)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Data)) {
		switch name {
		case "store", "model", "token", "revision", "at", "duration_seconds":
		case "request_id":
			if id, _ := e.Data[name].(string); len(id) == 36 {
				continue // one that a face has made up
			}
			fallthrough
		default:
			text, _ := json.Marshal(e.Data[name])
			b.WriteString(" " + name + "=" + strings.Trim(string(text), `"`))
		}
	}
	return b.String()
}

// Every call that decides something is logged, on every face, with what it was about; what
// decides nothing is not.
func TestEveryDecisionIsLogged(t *testing.T) {
	registry := prometheus.NewRegistry()
	log, events := logDecisions(t, decision.Config{Select: decision.All, Metrics: registry})
	r := newRig(t, func(c *Config) { c.Decisions = log })
	store := r.store("acme", acme...)
	s := r.serve()
	conn := dial(t, s.GRPCAddr())
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "r-1", "remit-actor", "ann")
	region, err := structpb.NewStruct(map[string]any{"region": "secret"})
	if err != nil {
		t.Fatal(err)
	}
	scope := &remitv1.Scope{Store: store, Context: region}
	allowed := &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:olga"}
	denied := &remitv1.Question{Object: "document:plan", Relation: "reader", Subject: "user:bert"}
	wrong := &remitv1.Question{Object: "document:plan", Relation: "nobody", Subject: "user:bert"}

	check := func(q *remitv1.Question) {
		_ = conn.Invoke(ctx, remitv1connect.AccessServiceCheckProcedure, &remitv1.CheckRequest{Scope: scope, Question: q}, &remitv1.CheckResponse{})
	}
	check(allowed)
	check(denied)
	check(wrong)
	invoke := func(procedure string, req, res any) {
		t.Helper()
		if err := conn.Invoke(t.Context(), procedure, req, res); err != nil {
			t.Errorf("%s: %v", procedure, err)
		}
	}
	if _, err := r.access.Check(t.Context(), &remitv1.CheckRequest{Scope: scopeOf("nowhere"), Question: allowed}); err == nil {
		t.Error("a store that does not exist was asked")
	}
	invoke(remitv1connect.AccessServiceExplainProcedure, &remitv1.ExplainRequest{Scope: scopeOf(store), Question: denied}, &remitv1.ExplainResponse{})
	invoke(remitv1connect.AccessServiceBatchCheckProcedure, &remitv1.BatchCheckRequest{Scope: scope, Questions: []*remitv1.BatchQuestion{
		{Question: allowed}, {Question: denied}, {Question: wrong},
	}}, &remitv1.BatchCheckResponse{})
	objects := &remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:olga", PageSize: 1}
	invoke(remitv1connect.AccessServiceListObjectsProcedure, objects, &remitv1.ListObjectsResponse{})
	stream, err := r.access.StreamObjects(t.Context(), &remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:olga"})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Receive()
	}
	invoke(remitv1connect.AccessServiceListSubjectsProcedure,
		&remitv1.ListSubjectsRequest{Scope: scopeOf(store), Object: "folder:plans", Relation: "owner", SubjectType: "user"}, &remitv1.ListSubjectsResponse{})
	invoke(remitv1connect.AccessServiceListActionsProcedure,
		&remitv1.ListActionsRequest{Scope: scopeOf(store), Object: "document:plan", Subject: "user:olga"}, &remitv1.ListActionsResponse{})

	fga := openfgav1.NewOpenFGAServiceClient(conn)
	key := &openfgav1.CheckRequestTupleKey{Object: "document:plan", Relation: "reader", User: "user:bert"}
	if _, err := fga.Check(ctx, &openfgav1.CheckRequest{StoreId: store, TupleKey: key}); err != nil {
		t.Error(err)
	}
	_, _ = fga.Check(t.Context(), &openfgav1.CheckRequest{StoreId: store, TupleKey: &openfgav1.CheckRequestTupleKey{Object: "document:plan", Relation: "nobody", User: "user:bert"}})
	if _, err := fga.BatchCheck(t.Context(), &openfgav1.BatchCheckRequest{StoreId: store, Checks: []*openfgav1.BatchCheckItem{{TupleKey: key, CorrelationId: "1"}}}); err != nil {
		t.Error(err)
	}
	if _, err := fga.ListObjects(t.Context(), &openfgav1.ListObjectsRequest{StoreId: store, Type: "document", Relation: "reader", User: "user:olga"}); err != nil {
		t.Error(err)
	}
	streamed, err := fga.StreamedListObjects(t.Context(), &openfgav1.StreamedListObjectsRequest{StoreId: store, Type: "document", Relation: "reader", User: "user:olga"})
	for err == nil {
		_, err = streamed.Recv()
	}
	if _, err := fga.ListUsers(t.Context(), &openfgav1.ListUsersRequest{
		StoreId: store, Object: &openfgav1.Object{Type: "folder", Id: "plans"}, Relation: "owner", UserFilters: []*openfgav1.UserTypeFilter{{Type: "user"}},
	}); err != nil {
		t.Error(err)
	}
	zen := authzenv1.NewAuthZenServiceClient(conn)
	subject, resource, action := &authzenv1.Subject{Type: "user", Id: "bert"}, &authzenv1.Resource{Type: "document", Id: "plan"}, &authzenv1.Action{Name: "reader"}
	if _, err := zen.Evaluation(t.Context(), &authzenv1.EvaluationRequest{StoreId: store, Subject: subject, Resource: resource, Action: action}); err != nil {
		t.Error(err)
	}
	for _, semantic := range []authzenv1.EvaluationsSemantic{authzenv1.EvaluationsSemantic_execute_all, authzenv1.EvaluationsSemantic_deny_on_first_deny} {
		if _, err := zen.Evaluations(t.Context(), &authzenv1.EvaluationsRequest{
			StoreId: store, Subject: subject, Action: action, Evaluations: []*authzenv1.EvaluationsItemRequest{{Resource: resource}},
			Options: &authzenv1.EvaluationsOptions{EvaluationsSemantic: semantic},
		}); err != nil {
			t.Error(err)
		}
	}
	limit := uint32(1)
	if _, err := zen.ResourceSearch(t.Context(), &authzenv1.ResourceSearchRequest{
		StoreId: store, Subject: &authzenv1.Subject{Type: "user", Id: "olga"}, Resource: &authzenv1.ResourceFilter{Type: "document"}, Action: action,
		Page: &authzenv1.PageRequest{Limit: &limit},
	}); err != nil {
		t.Error(err)
	}
	if _, err := zen.SubjectSearch(t.Context(), &authzenv1.SubjectSearchRequest{
		StoreId: store, Subject: &authzenv1.SubjectFilter{Type: "user"}, Resource: &authzenv1.Resource{Type: "folder", Id: "plans"}, Action: &authzenv1.Action{Name: "owner"},
	}); err != nil {
		t.Error(err)
	}
	if _, err := zen.ActionSearch(t.Context(), &authzenv1.ActionSearchRequest{StoreId: store, Subject: subject, Resource: resource}); err != nil {
		t.Error(err)
	}

	all := events()
	var got []string
	for i := range all {
		e := &all[i]
		got = append(got, e.brief())
		if e.SpecVersion != "1.0" || e.Source != "/nodes/node%201" || e.ID == "" || e.DataContentType != "application/json" || e.Time.IsZero() {
			t.Errorf("event %+v lacks what CloudEvents asks for", e)
		}
		if want := store; e.Data["store"] != want && e.Data["store"] != "nowhere" {
			t.Errorf("store of %s is %v, want %s", e.brief(), e.Data["store"], want)
		}
		if took, ok := e.Data["duration_seconds"].(float64); !ok || took <= 0 {
			t.Errorf("%s took %v", e.brief(), e.Data["duration_seconds"])
		}
		if e.Data["store"] == store && e.Data["type"] == nil && (e.Data["model"] == nil || e.Data["revision"] == nil || e.Data["token"] == nil || e.Data["at"] == nil) {
			t.Errorf("event %+v does not say what it was judged by", e)
		}
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(everyDecision), "\n"), got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for outcome, want := range map[string]float64{"allowed": 2, "denied": 8, "error": 4, "listed": 10} {
		if got := gathered(t, registry)[`remit_decisions_total{outcome="`+outcome+`"}`]; got != want {
			t.Errorf("%v decisions were %s, want %v", got, outcome, want)
		}
	}
}

// everyDecision is what the calls of TestEveryDecisionIsLogged have in the log.
const everyDecision = `
decision document:plan actor=ann allowed=true context=["region"] face=remit object=document:plan outcome=allowed relation=reader request_id=r-1 rpc=AccessService/Check subject=user:olga
decision document:plan actor=ann allowed=false context=["region"] face=remit object=document:plan outcome=denied relation=reader request_id=r-1 rpc=AccessService/Check subject=user:bert
decision document:plan actor=ann context=["region"] face=remit object=document:plan outcome=error reason=RELATION_NOT_FOUND relation=nobody request_id=r-1 rpc=AccessService/Check subject=user:bert
decision document:plan face=remit object=document:plan outcome=error reason=STORE_NOT_FOUND relation=reader rpc=AccessService/Check subject=user:olga
decision document:plan allowed=false face=remit object=document:plan outcome=denied relation=reader rpc=AccessService/Explain subject=user:bert
decision document:plan allowed=true context=["region"] face=remit object=document:plan outcome=allowed relation=reader rpc=AccessService/BatchCheck subject=user:olga
decision document:plan allowed=false context=["region"] face=remit object=document:plan outcome=denied relation=reader rpc=AccessService/BatchCheck subject=user:bert
decision document:plan context=["region"] face=remit object=document:plan outcome=error reason=RELATION_NOT_FOUND relation=nobody rpc=AccessService/BatchCheck subject=user:bert
list document complete=false count=1 face=remit outcome=listed relation=reader rpc=AccessService/ListObjects subject=user:olga type=document
list document complete=true count=2 face=remit outcome=listed relation=reader rpc=AccessService/StreamObjects subject=user:olga type=document
list folder:plans complete=true count=1 face=remit object=folder:plans outcome=listed relation=owner rpc=AccessService/ListSubjects type=user
list document:plan complete=true count=2 face=remit object=document:plan outcome=listed rpc=AccessService/ListActions subject=user:olga
decision document:plan actor=ann allowed=false face=openfga object=document:plan outcome=denied relation=reader rpc=OpenFGAService/Check subject=user:bert
decision document:plan face=openfga object=document:plan outcome=error reason=validation_error relation=nobody rpc=OpenFGAService/Check subject=user:bert
decision document:plan allowed=false face=openfga object=document:plan outcome=denied relation=reader rpc=OpenFGAService/BatchCheck subject=user:bert
list document complete=true count=2 face=openfga outcome=listed relation=reader rpc=OpenFGAService/ListObjects subject=user:olga type=document
list document complete=true count=2 face=openfga outcome=listed relation=reader rpc=OpenFGAService/StreamedListObjects subject=user:olga type=document
list folder:plans complete=true count=1 face=openfga object=folder:plans outcome=listed relation=owner rpc=OpenFGAService/ListUsers type=user
decision document:plan allowed=false face=authzen object=document:plan outcome=denied relation=reader rpc=AuthZenService/Evaluation subject=user:bert
decision document:plan allowed=false face=authzen object=document:plan outcome=denied relation=reader rpc=AuthZenService/Evaluations subject=user:bert
decision document:plan allowed=false face=authzen object=document:plan outcome=denied relation=reader rpc=AuthZenService/Evaluations subject=user:bert
list document complete=false count=1 face=authzen outcome=listed relation=reader rpc=AuthZenService/ResourceSearch subject=user:olga type=document
list folder:plans complete=true count=1 face=authzen object=folder:plans outcome=listed relation=owner rpc=AuthZenService/SubjectSearch type=user
list document:plan complete=true count=1 face=authzen object=document:plan outcome=listed rpc=AuthZenService/ActionSearch subject=user:bert
`
