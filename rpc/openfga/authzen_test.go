package openfga

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect/v2/connecthttp"
	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
)

const schema = "model\n  schema 1.1\ntype user\n"

// A pep is whoever enforces what is decided: it calls AuthZEN of a rig, over the JSON
// interface or in process.
type pep struct {
	t testing.TB
	*rig
	authzenv1.AuthZenServiceClient
	store string
}

// newPEP makes a store of the rig, with a model and tuples.
func newPEP(t testing.TB, r *rig, model string, tuples ...*openfgav1.TupleKey) *pep {
	t.Helper()
	store, _ := r.store(model)
	for batch := range slices.Chunk(tuples, DefaultMaxTuplesPerWrite) {
		if err := r.tryWrite(writes(store, batch...)); err != nil {
			t.Fatal(err)
		}
	}
	return &pep{t: t, rig: r, AuthZenServiceClient: authzenv1.NewAuthZenServiceClient(conn{r.face.Server()}), store: store}
}

// post sends a body to an endpoint of the store, and returns the status and the body of
// the answer. The headers come as name, value, name, value.
func (p *pep) post(endpoint, body string, headers ...string) (status int, answer string) {
	p.t.Helper()
	req := httptest.NewRequestWithContext(p.t.Context(), http.MethodPost, "/stores/"+p.store+"/access/v1/"+endpoint, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	p.face.Handler().ServeHTTP(w, req)
	return w.Code, compact(p.t, w.Body.String())
}

// wantAnswer sends a body to an endpoint, and compares the answer.
func (p *pep) wantAnswer(endpoint, body, want string) {
	p.t.Helper()
	if status, got := p.post(endpoint, body); status != http.StatusOK || got != want {
		p.t.Errorf("%s %s = %d %s, want %s", endpoint, body, status, got, want)
	}
}

const (
	permit = `{"decision":true}`
	deny   = `{"decision":false}`
)

// The models, questions and decisions are those of OpenFGA's own tests.
func TestEvaluation(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name, model string
		tuples      []*openfgav1.TupleKey
		decisions   map[string]string // by what is asked, subject resource action and more
	}{
		{
			name:   "a tuple permits",
			model:  "type document\n  relations\n    define reader: [user]\n    define writer: [user]",
			tuples: r.tuples("document:1#reader@user:alice"),
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}`: permit,
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"writer"}`: deny,
				`"subject":{"type":"user","id":"bob"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}`:   deny,
			},
		},
		{
			name:   "owners of a folder view what is in it",
			model:  "type folder\n  relations\n    define owner: [user]\n    define viewer: [user] or owner\ntype document\n  relations\n    define parent: [folder]\n    define viewer: [user] or viewer from parent",
			tuples: r.tuples("folder:root#owner@user:alice", "document:1#parent@folder:root"),
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"viewer"}`: permit,
				`"subject":{"type":"user","id":"bob"},"resource":{"type":"document","id":"1"},"action":{"name":"viewer"}`:   deny,
			},
		},
		{
			name:   "members of groups, and who is blocked",
			model:  "type group\n  relations\n    define member: [user, group#member]\ntype document\n  relations\n    define blocked: [user]\n    define viewer: [user, group#member] but not blocked",
			tuples: r.tuples("group:eng#member@user:alice", "group:eng#member@user:bob", "document:1#viewer@group:eng#member", "document:1#blocked@user:bob"),
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"viewer"}`: permit,
				`"subject":{"type":"user","id":"bob"},"resource":{"type":"document","id":"1"},"action":{"name":"viewer"}`:   deny,
			},
		},
		{
			name:   "a condition reads the context",
			model:  "type document\n  relations\n    define reader: [user with office_hours]\ncondition office_hours(current_hour: int) {\n  current_hour >= 9 && current_hour <= 17\n}",
			tuples: []*openfgav1.TupleKey{conditional(t, "document:1#reader@user:alice", "office_hours")},
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"},"context":{"current_hour":10}`: permit,
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"},"context":{"current_hour":22}`: deny,
			},
		},
		{
			name:   "properties of subject and resource",
			model:  "type document\n  relations\n    define reader: [user with same]\ncondition same(subject_department: string, resource_department: string) {\n  subject_department == resource_department\n}",
			tuples: []*openfgav1.TupleKey{conditional(t, "document:1#reader@user:alice", "same")},
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice","properties":{"department":"a"}},"resource":{"type":"document","id":"1","properties":{"department":"a"}},"action":{"name":"reader"}`: permit,
				`"subject":{"type":"user","id":"alice","properties":{"department":"a"}},"resource":{"type":"document","id":"1","properties":{"department":"b"}},"action":{"name":"reader"}`: deny,
			},
		},
		{
			name:   "the context counts more than properties",
			model:  "type document\n  relations\n    define reader: [user with level]\ncondition level(subject_level: int) {\n  subject_level >= 5\n}",
			tuples: []*openfgav1.TupleKey{conditional(t, "document:1#reader@user:alice", "level")},
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice","properties":{"level":1}},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}`:                                deny,
				`"subject":{"type":"user","id":"alice","properties":{"level":1}},"resource":{"type":"document","id":"1"},"action":{"name":"reader"},"context":{"subject_level":10}`: permit,
			},
		},
		{
			name:   "lists, and properties of the action",
			model:  "type server\n  relations\n    define connect: [user with port]\ncondition port(resource_allowed_ports: list<int>, action_port: int) {\n  action_port in resource_allowed_ports\n}",
			tuples: []*openfgav1.TupleKey{conditional(t, "server:1#connect@user:alice", "port")},
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"server","id":"1","properties":{"allowed_ports":[80,443]}},"action":{"name":"connect","properties":{"port":443}}`: permit,
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"server","id":"1","properties":{"allowed_ports":[80,443]}},"action":{"name":"connect","properties":{"port":22}}`:  deny,
			},
		},
		{
			name:   "maps",
			model:  "type document\n  relations\n    define reader: [user with limit]\ncondition limit(resource_limits: map<double>) {\n  resource_limits[\"max_views\"] <= 100.0\n}",
			tuples: []*openfgav1.TupleKey{conditional(t, "document:1#reader@user:alice", "limit")},
			decisions: map[string]string{
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1","properties":{"limits":{"max_views":50}}},"action":{"name":"reader"}`:  permit,
				`"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1","properties":{"limits":{"max_views":200}}},"action":{"name":"reader"}`: deny,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPEP(t, r, schema+tt.model+"\n", tt.tuples...)
			for asked, want := range tt.decisions {
				p.wantAnswer("evaluation", "{"+asked+"}", want)
			}
		})
	}
}

const readers = schema + "type document\n  relations\n    define reader: [user]\n    define writer: [user]\n"

func TestEvaluationIsDecidedByTheModelOfTheHeader(t *testing.T) {
	p := newPEP(t, newRig(t), readers, key(t, "document:1#reader@user:alice"))
	older := p.model(p.store, readers)
	newer := p.model(p.store, schema+"type document\n  relations\n    define writer: [user]\n")
	req := func() *authzenv1.EvaluationRequest {
		return &authzenv1.EvaluationRequest{
			StoreId: p.store, Subject: &authzenv1.Subject{Type: "user", Id: "alice"},
			Resource: &authzenv1.Resource{Type: "document", Id: "1"}, Action: &authzenv1.Action{Name: "reader"},
		}
	}
	catch, value := header()
	res, err := p.Evaluation(withHeader(t.Context(), HeaderModelID, " "+older+" "), req(), catch)
	if err != nil || !res.Decision || value(HeaderModelID) != older || value(HeaderToken) == "" {
		t.Errorf("by the older model: %v, %v, model %q, token %q", res, err, value(HeaderModelID), value(HeaderToken))
	}
	const noRelation = "invalid relation: relation 'document#reader' not found"
	for _, id := range []string{"", "newest", older[1:], strings.ToLower(older)} {
		_, err = p.Evaluation(withHeader(t.Context(), HeaderModelID, id), req(), catch)
		wantError(t, err, Code(openfgav1.ErrorCode_validation_error), noRelation)
		if value(HeaderModelID) != newer {
			t.Errorf("the header %q chooses %q, want the newest, %q", id, value(HeaderModelID), newer)
		}
	}
	_, err = p.Evaluation(withHeader(t.Context(), HeaderModelID, someID), req())
	wantError(t, err, Code(openfgav1.ErrorCode_authorization_model_not_found), "Authorization Model '"+someID+"' not found")
	_, err = p.Evaluation(withHeader(withHeader(t.Context(), HeaderModelID, "newest"), HeaderExact, "true"), req())
	wantError(t, err, Code(openfgav1.ErrorCode_authorization_model_not_found), "Authorization Model 'newest' not found")
}

func TestEvaluations(t *testing.T) {
	r := newRig(t)
	p := newPEP(t, r, readers+"    define guest: [user with hours]\ncondition hours(hour: int) {\n  hour < 12\n}\n",
		append(r.tuples("document:1#reader@user:alice", "document:3#reader@user:alice", "document:1#writer@user:bob"),
			conditional(t, "document:1#guest@user:gil", "hours"))...)
	const (
		top    = `"subject":{"type":"user","id":"alice"},"action":{"name":"reader"}`
		one    = `{"resource":{"type":"document","id":"1"}}`
		two    = `{"resource":{"type":"document","id":"2"}}`
		three  = `{"resource":{"type":"document","id":"3"}}`
		robot  = `{"resource":{"type":"robot","id":"1"}}`
		all    = ``
		toDeny = `"evaluations_semantic":"deny_on_first_deny"`
		toPass = `"evaluations_semantic":"permit_on_first_permit"`

		faultInBatch = `{"decision":false,"context":{"error":{"message":"invalid relation: type 'robot' not found","status":400}}}`
		faultAlone   = `{"decision":false,"context":{"error":{"message":"rpc error: code = Code(2000) desc = invalid relation: type 'robot' not found","status":400}}}`
		noSubject    = `{"decision":false,"context":{"error":{"message":"missing subject","status":400}}}`
	)
	for _, tt := range []struct {
		name, top   string
		evaluations []string
		options     string
		want        []string
	}{
		{"all are decided, in their order", top, []string{two, one, two, one, three}, all, []string{deny, permit, deny, permit, permit}},
		{"one", top, []string{one}, all, []string{permit}},
		{"as many as fit", top, slices.Repeat([]string{one}, 50), all, slices.Repeat([]string{permit}, 50)},
		{"faults do not end it", top, []string{robot, one, two}, `"evaluations_semantic":"execute_all"`, []string{faultInBatch, permit, deny}},
		{"parts of their own", `"subject":{"type":"user","id":"alice"}`, []string{
			`{"resource":{"type":"document","id":"1"},"action":{"name":"reader"}}`,
			`{"resource":{"type":"document","id":"1"},"action":{"name":"writer"}}`,
			`{"subject":{"type":"user","id":"bob"},"resource":{"type":"document","id":"1"},"action":{"name":"writer"}}`,
		}, all, []string{permit, deny, permit}},
		{"a context for all, and one's own instead", `"subject":{"type":"user","id":"gil"},"action":{"name":"guest"},"resource":{"type":"document","id":"1"},"context":{"hour":9}`, []string{
			`{}`, `{"context":{"hour":13}}`,
		}, all, []string{permit, deny}},
		{"none is one of the request itself", top + `,"resource":{"type":"document","id":"1"}`, nil, all, []string{permit}},
		{"none is one, however it is to end", top + `,"resource":{"type":"document","id":"2"}`, nil, toPass, []string{deny}},

		{"up to a denial", top, []string{one, two, three}, toDeny, []string{permit, deny}},
		{"up to the first", top, []string{two, one, three}, toDeny, []string{deny}},
		{"without a denial", top, []string{one, three, one}, toDeny, []string{permit, permit, permit}},
		{"up to a fault", top, []string{one, robot, one}, toDeny, []string{permit, faultAlone}},
		{"up to one without a subject", `"action":{"name":"reader"}`, []string{one, one}, toDeny, []string{noSubject}},

		{"up to a permit", top, []string{two, one, three}, toPass, []string{deny, permit}},
		{"up to the first permit", top, []string{one, two}, toPass, []string{permit}},
		{"without a permit", top, []string{two, two}, toPass, []string{deny, deny}},
		{"past a fault", top, []string{robot, one, two}, toPass, []string{faultAlone, permit}},
		{"past one without a subject", `"action":{"name":"reader"}`, []string{one, `{"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"}}`, one}, toPass, []string{noSubject, permit}},
		{"more than a batch, one by one", top, slices.Repeat([]string{two}, 60), toPass, slices.Repeat([]string{deny}, 60)},
	} {
		body := "{" + tt.top + `,"evaluations":[` + strings.Join(tt.evaluations, ",") + `],"options":{` + tt.options + `}}`
		status, got := p.post("evaluations", body)
		// The order of fields is the library's, and may change.
		swapped := strings.NewReplacer(`"error":{"status":400,"message":`, `"error":{"message":`, `},"status":400`, `}`)
		want := `{"evaluations":[` + strings.Join(tt.want, ",") + `]}`
		if status != 200 || swapped.Replace(got) != swapped.Replace(want) {
			t.Errorf("%s: %d %s, want %s", tt.name, status, got, want)
		}
	}
}

// What no evaluation can be about is an error of the request.
func TestFaultsOfEvaluations(t *testing.T) {
	p := newPEP(t, newRig(t), readers)
	empty := &pep{t: t, rig: p.rig, store: someID}
	const whole = `"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}`
	for _, tt := range []struct {
		name           string
		p              *pep
		endpoint, body string
		code, message  string
	}{
		{"no subject", p, "evaluation", `{"resource":{"type":"document","id":"1"},"action":{"name":"reader"}}`, "validation_error", "invalid EvaluationRequest.Subject: value is required"},
		{"an id with a colon", p, "evaluation", `{"subject":{"type":"user","id":"a:b"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}}`, "validation_error", `invalid EvaluationRequest.Subject: embedded message failed validation | caused by: invalid Subject.Id: value does not match regex pattern \"^[^:#@\\\\s]{1,500}$\"`},
		{"an unknown type", p, "evaluation", `{"subject":{"type":"user","id":"alice"},"resource":{"type":"robot","id":"1"},"action":{"name":"reader"}}`, "validation_error", "invalid relation: type 'robot' not found"},
		{"no store", empty, "evaluation", `{` + whole + `}`, "latest_authorization_model_not_found", "No authorization models found for store '" + someID + "'"},
		{"no store for all", empty, "evaluations", `{` + whole + `,"evaluations":[{}]}`, "latest_authorization_model_not_found", "No authorization models found for store '" + someID + "'"},
		{"nothing", p, "evaluations", `{}`, "validation_error", "missing subject"},
		{"no resource", p, "evaluations", `{"subject":{"type":"user","id":"alice"},"action":{"name":"reader"}}`, "validation_error", "missing resource"},
		{"one of all without an action", p, "evaluations", `{"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"evaluations":[{"action":{"name":"reader"}},{}]}`, "validation_error", "evaluation 1: missing action"},
		{"an unknown semantic", p, "evaluations", `{` + whole + `,"evaluations":[{}],"options":{"evaluations_semantic":99}}`, "validation_error", "invalid EvaluationsOptions.EvaluationsSemantic: value must be one of the defined enum values"},
		{"too many", p, "evaluations", `{` + whole + `,"evaluations":[{}` + strings.Repeat(",{}", 50) + `]}`, "validation_error", "batchCheck received 51 checks, the maximum allowed is 50"},
	} {
		status, got := tt.p.post(tt.endpoint, tt.body)
		if _, text, ok := strings.Cut(tt.message, "| caused by: "); ok {
			tt.message = text
		}
		if want := `{"code":"` + tt.code + `","message":"` + tt.message + `"}`; status != 400 || got != want {
			t.Errorf("%s: %d %s, want %s", tt.name, status, got, want)
		}
	}
}

// Evaluations up to a decision are made at one state: a state that is not here is an
// error of them all, and a store that is not there one of each, as in OpenFGA.
func TestEvaluationsUntilADecisionSeeOneState(t *testing.T) {
	p := newPEP(t, newRig(t), readers)
	req := func(store string) *authzenv1.EvaluationsRequest {
		return &authzenv1.EvaluationsRequest{
			StoreId: store, Subject: &authzenv1.Subject{Type: "user", Id: "alice"},
			Resource: &authzenv1.Resource{Type: "document", Id: "1"}, Action: &authzenv1.Action{Name: "reader"},
			Evaluations: []*authzenv1.EvaluationsItemRequest{{}, {}},
			Options:     &authzenv1.EvaluationsOptions{EvaluationsSemantic: authzenv1.EvaluationsSemantic_permit_on_first_permit},
		}
	}
	_, err := p.Evaluations(withHeader(t.Context(), HeaderToken, "nonsense"), req(p.store))
	if e, _ := lookup(err); e.Code != Code(openfgav1.ErrorCode_validation_error) {
		t.Errorf("a token that is none: %v", err)
	}
	res, err := p.Evaluations(t.Context(), req(someID))
	if err != nil || len(res.Evaluations) != 2 {
		t.Fatalf("no store: %v, %v, want two denials", res, err)
	}
	for _, e := range res.Evaluations {
		fault := e.GetContext().GetFields()["error"].GetStructValue().GetFields()
		want := "rpc error: code = Code(2020) desc = No authorization models found for store '" + someID + "'"
		if e.Decision || fault["status"].GetNumberValue() != 400 || fault["message"].GetStringValue() != want {
			t.Errorf("no store: %v", e)
		}
	}
}

func TestDenialsTellTheStatusOfTheirError(t *testing.T) {
	p := newPEP(t, newRig(t), "")
	a := &authZEN{service: &service{config: p.handlers().config}}
	for _, tt := range []struct {
		err     error
		status  float64
		message string
	}{
		{errStoreNotFound, 404, "rpc error: code = Code(5002) desc = Store ID not found"},
		{errModelTooComplex, 400, "rpc error: code = Code(2002) desc = " + errModelTooComplex.Message},
		{context.DeadlineExceeded, 500, "rpc error: code = Code(4004) desc = Request Deadline Exceeded"},
		{newError(codes.Unavailable, "no leader"), 503, "rpc error: code = Unavailable desc = no leader"},
		{http.ErrServerClosed, 500, "rpc error: code = Code(4000) desc = Internal Server Error"},
	} {
		e := a.denialOf(t.Context(), tt.err)
		got := e.GetContext().GetFields()["error"].GetStructValue().GetFields()
		if e.Decision || got["status"].GetNumberValue() != tt.status || got["message"].GetStringValue() != tt.message {
			t.Errorf("%v is the denial %v, want %v %q", tt.err, e, tt.status, tt.message)
		}
	}
}

func TestGetConfiguration(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AuthZENBaseURL = "https://pdp.example/base/" })
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/.well-known/authzen-configuration/"+someID, nil)
	req.Host = "attacker.example"
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"} {
		req.Header.Set(name, "attacker.example")
	}
	w := httptest.NewRecorder()
	r.face.Handler().ServeHTTP(w, req)
	store := "https://pdp.example/base/stores/" + someID
	want := `{"policy_decision_point":"` + store + `","access_evaluation_endpoint":"` + store + `/access/v1/evaluation",` +
		`"access_evaluations_endpoint":"` + store + `/access/v1/evaluations","search_subject_endpoint":"` + store + `/access/v1/search/subject",` +
		`"search_resource_endpoint":"` + store + `/access/v1/search/resource","search_action_endpoint":"` + store + `/access/v1/search/action","capabilities":[]}`
	if got := compact(t, w.Body.String()); w.Code != 200 || got != want {
		t.Errorf("discovery is %d %s, want %s", w.Code, got, want)
	}

	client := authzenv1.NewAuthZenServiceClient(conn{r.face.Server()})
	_, err := client.GetConfiguration(t.Context(), &authzenv1.GetConfigurationRequest{StoreId: "abc"})
	wantError(t, err, Code(codes.InvalidArgument), `invalid GetConfigurationRequest.StoreId: value does not match regex pattern "^[ABCDEFGHJKMNPQRSTVWXYZ0-9]{26}$"`)
	_, err = newPEP(t, newRig(t), "").GetConfiguration(t.Context(), &authzenv1.GetConfigurationRequest{StoreId: someID})
	wantError(t, err, Code(codes.FailedPrecondition), "AuthZEN discovery base URL is not configured; set --authzen-base-url or REMIT_AUTHZEN_BASE_URL")
}

func TestAuthZENBaseURL(t *testing.T) {
	for _, tt := range []struct{ in, want, fault string }{
		{in: ""},
		{in: "https://good.com", want: "https://good.com"},
		{in: "https://good.com/openfga/", want: "https://good.com/openfga"},
		{in: "https://good.com/a%2Fb//", want: "https://good.com/a%2Fb"},
		{in: "http://localhost:8080", want: "http://localhost:8080"},
		{in: "/openfga", fault: "must have the scheme http or https"},
		{in: "javascript://evil.example", fault: "must have the scheme http or https"},
		{in: "https://good.com?q=x", fault: "must have neither query nor fragment"},
		{in: "https://good.com?", fault: "must have neither query nor fragment"},
		{in: "https://good.com#frag", fault: "must have neither query nor fragment"},
		{in: "https://user:pass@good.com", fault: "must not say who calls"},
		{in: "https://good.com,evil.com", fault: "must have one host"},
		{in: "https:///stores", fault: "must have a host"},
		{in: "https://:443", fault: "must have a host"},
		{in: "https://[", fault: "must be a URL"},
	} {
		c := Config{AuthZENBaseURL: tt.in}
		if err := c.Validate(); (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), "AuthZENBaseURL "+tt.fault) {
			t.Errorf("%q: Validate() = %v, want a fault %q", tt.in, err, tt.fault)
		}
		if c.defaults(); tt.fault == "" && c.AuthZENBaseURL != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.in, c.AuthZENBaseURL, tt.want)
		}
	}
}

// AuthZEN's service is on every protocol that OpenFGA's is on.
func TestAuthZENOverConnect(t *testing.T) {
	p := newPEP(t, newRig(t), readers, key(t, "document:1#reader@user:alice"))
	mux := http.NewServeMux()
	connecthttp.Mount(mux, p.face.Server())
	call := func(body string) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, authzenv1.AuthZenService_Evaluation_FullMethodName, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(HeaderRequestID, "mine")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, req)
		return w
	}
	w := call(`{"store_id":"` + p.store + `","subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}}`)
	if got := compact(t, w.Body.String()); w.Code != 200 || got != permit || w.Header().Get(HeaderRequestID) != "mine" || w.Header().Get(HeaderStoreID) != p.store {
		t.Errorf("%d %s with the headers %v, want %s", w.Code, got, w.Header(), permit)
	}
	w = call(`{"store_id":"` + p.store + `","subject":{"type":"user","id":"alice"},"resource":{"type":"robot","id":"1"},"action":{"name":"reader"}}`)
	if got := w.Body.String(); w.Code != 400 || !strings.Contains(got, "invalid_argument") || !strings.Contains(got, strconv.Quote("invalid relation: type 'robot' not found")) {
		t.Errorf("%d %s, want 400 and the fault", w.Code, got)
	}
}
