package openfga

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	authzenv1 "github.com/openfga/api/proto/authzen/v1"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// The models, questions and results are those of OpenFGA's own tests.
func TestSearches(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct {
		name, model string
		tuples      []*openfgav1.TupleKey
		results     map[[2]string]string // by endpoint and body
	}{
		{
			name:   "who has a tuple, of the type asked for",
			model:  "type robot\ntype document\n  relations\n    define reader: [user, robot]",
			tuples: r.tuples("document:1#reader@user:alice", "document:1#reader@user:bob", "document:1#reader@robot:r2", "document:2#reader@user:alice"),
			results: map[[2]string]string{
				{"search/subject", `{"subject":{"type":"user"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}}`}:            `{"results":[{"type":"user","id":"alice"},{"type":"user","id":"bob"}]}`,
				{"search/subject", `{"subject":{"type":"user","id":"bob"},"resource":{"type":"document","id":"2"},"action":{"name":"reader"}}`}: `{"results":[{"type":"user","id":"alice"}]}`,
				{"search/subject", `{"subject":{"type":"robot"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}}`}:           `{"results":[{"type":"robot","id":"r2"}]}`,
				{"search/subject", `{"subject":{"type":"user"},"resource":{"type":"document","id":"3"},"action":{"name":"reader"}}`}:            `{"results":[]}`,
				{"search/resource", `{"subject":{"type":"user","id":"alice"},"resource":{"type":"document"},"action":{"name":"reader"}}`}:       `{"results":[{"type":"document","id":"1"},{"type":"document","id":"2"}]}`,
				{"search/resource", `{"subject":{"type":"user","id":"eve"},"resource":{"type":"document"},"action":{"name":"reader"}}`}:         `{"results":[]}`,
			},
		},
		{
			name:   "everybody is a subject of its own",
			model:  "type document\n  relations\n    define viewer: [user, user:*]",
			tuples: r.tuples("document:1#viewer@user:*"),
			results: map[[2]string]string{
				{"search/subject", `{"subject":{"type":"user"},"resource":{"type":"document","id":"1"},"action":{"name":"viewer"}}`}:      `{"results":[{"type":"user","id":"*"}]}`,
				{"search/resource", `{"subject":{"type":"user","id":"eve"},"resource":{"type":"document"},"action":{"name":"viewer"}}`}:   `{"results":[{"type":"document","id":"1"}]}`,
				{"search/action", `{"subject":{"type":"user","id":"*"},"resource":{"type":"document","id":"1"}}`}:                         `{"results":[{"name":"viewer"}]}`,
				{"search/subject", `{"subject":{"type":"document"},"resource":{"type":"document","id":"1"},"action":{"name":"viewer"}}`}:  `{"results":[]}`,
				{"search/subject", `{"subject":{"type":"user"},"resource":{"type":"document","id":"nope"},"action":{"name":"viewer"}}`}:   `{"results":[]}`,
				{"search/resource", `{"subject":{"type":"user","id":"*"},"resource":{"type":"document"},"action":{"name":"viewer"}}`}:     `{"results":[{"type":"document","id":"1"}]}`,
				{"search/action", `{"subject":{"type":"user","id":"eve"},"resource":{"type":"document","id":"1"},"page":null}`}:           `{"results":[{"name":"viewer"}]}`,
				{"search/action", `{"subject":{"type":"document","id":"1"},"resource":{"type":"document","id":"1"},"action":{"name":1}}`}: `{"results":[]}`,
			},
		},
		{
			name:   "groups in groups, and folders in folders",
			model:  "type group\n  relations\n    define member: [user, group#member]\ntype folder\n  relations\n    define parent: [folder]\n    define viewer: [user, group#member] or viewer from parent",
			tuples: r.tuples("group:team#member@user:alice", "group:eng#member@group:team#member", "folder:root#viewer@group:eng#member", "folder:a#parent@folder:root"),
			results: map[[2]string]string{
				{"search/resource", `{"subject":{"type":"user","id":"alice"},"resource":{"type":"folder"},"action":{"name":"viewer"}}`}: `{"results":[{"type":"folder","id":"root"},{"type":"folder","id":"a"}]}`,
				{"search/subject", `{"subject":{"type":"user"},"resource":{"type":"folder","id":"a"},"action":{"name":"viewer"}}`}:      `{"results":[{"type":"user","id":"alice"}]}`,
				{"search/subject", `{"subject":{"type":"group"},"resource":{"type":"folder","id":"a"},"action":{"name":"viewer"}}`}:     `{"results":[]}`,
			},
		},
		{
			name:   "actions, by their names",
			model:  "type document\n  relations\n    define owner: [user]\n    define blocked: [user]\n    define writer: [user] or owner\n    define reader: ([user] or writer) but not blocked",
			tuples: r.tuples("document:1#owner@user:alice", "document:1#writer@user:bob", "document:1#blocked@user:bob"),
			results: map[[2]string]string{
				{"search/action", `{"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"}}`}: `{"results":[{"name":"owner"},{"name":"reader"},{"name":"writer"}]}`,
				{"search/action", `{"subject":{"type":"user","id":"bob"},"resource":{"type":"document","id":"1"}}`}:   `{"results":[{"name":"blocked"},{"name":"writer"}]}`,
				{"search/action", `{"subject":{"type":"user","id":"eve"},"resource":{"type":"document","id":"1"}}`}:   `{"results":[]}`,
			},
		},
		{
			name:   "conditions read properties and the context",
			model:  "type document\n  relations\n    define reader: [user with same]\n    define writer: [user]\ncondition same(subject_department: string, resource_department: string) {\n  subject_department == resource_department\n}",
			tuples: append(r.tuples("document:1#writer@user:alice"), conditional(t, "document:1#reader@user:alice", "same")),
			results: map[[2]string]string{
				{"search/subject", `{"subject":{"type":"user","properties":{"department":"a"}},"resource":{"type":"document","id":"1","properties":{"department":"a"}},"action":{"name":"reader"}}`}:                                            `{"results":[{"type":"user","id":"alice"}]}`,
				{"search/subject", `{"subject":{"type":"user","properties":{"department":"a"}},"resource":{"type":"document","id":"1","properties":{"department":"b"}},"action":{"name":"reader"}}`}:                                            `{"results":[]}`,
				{"search/resource", `{"subject":{"type":"user","id":"alice","properties":{"department":"a"}},"resource":{"type":"document","properties":{"department":"b"}},"action":{"name":"reader"},"context":{"resource_department":"a"}}`}: `{"results":[{"type":"document","id":"1"}]}`,
				{"search/action", `{"subject":{"type":"user","id":"alice","properties":{"department":"a"}},"resource":{"type":"document","id":"1","properties":{"department":"a"}}}`}:                                                           `{"results":[{"name":"reader"},{"name":"writer"}]}`,
				{"search/action", `{"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"}}`}:                                                                                                                           `{"results":[{"name":"writer"}]}`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPEP(t, r, schema+tt.model+"\n", tt.tuples...)
			for asked, want := range tt.results {
				p.wantAnswer(asked[0], asked[1], want)
			}
		})
	}
}

func TestSearchFaults(t *testing.T) {
	p := newPEP(t, newRig(t), readers+"type thing\n")
	empty := &pep{t: t, rig: p.rig, store: someID}
	const noModel = `{"code":"latest_authorization_model_not_found","message":"No authorization models found for store '` + someID + `'"}`
	const (
		subjects  = `"subject":{"type":"user"},"resource":{"type":"document","id":"1"},"action":{"name":"reader"}`
		resources = `"subject":{"type":"user","id":"alice"},"resource":{"type":"document"},"action":{"name":"reader"}`
		actions   = `"subject":{"type":"user","id":"alice"},"resource":{"type":"document","id":"1"}`
	)
	for _, tt := range []struct {
		name           string
		p              *pep
		endpoint, body string
		want           string
	}{
		{"no store for subjects", empty, "search/subject", subjects, noModel},
		{"no store for resources", empty, "search/resource", resources, noModel},
		{"no store for actions", empty, "search/action", actions, noModel},
		{"no resource", p, "search/subject", `"subject":{"type":"user"},"action":{"name":"reader"}`, `{"code":"validation_error","message":"invalid SubjectSearchRequest.Resource: value is required"}`},
		{"no subject for resources", p, "search/resource", `"resource":{"type":"document"},"action":{"name":"reader"}`, `{"code":"validation_error","message":"invalid ResourceSearchRequest.Subject: value is required"}`},
		{"no subject for actions", p, "search/action", `"resource":{"type":"document","id":"1"}`, `{"code":"validation_error","message":"invalid ActionSearchRequest.Subject: value is required"}`},
		{"an unknown action", p, "search/subject", strings.Replace(subjects, "reader", "fly", 1), `{"code":"relation_not_found","message":"relation 'document#fly' not found"}`},
		{"an unknown type of resources", p, "search/resource", strings.Replace(resources, "document", "robot", 1), `{"code":"type_not_found","message":"type 'robot' not found"}`},
		{"an unknown type of a resource", p, "search/action", strings.Replace(actions, "document", "robot", 1), `{"code":"validation_error","message":"failed to get relations for type robot: 'robot' is an undefined object type"}`},
		{"a type without relations", p, "search/action", strings.Replace(actions, "document", "thing", 1), `{"code":"validation_error","message":"batch check requires at least one check to evaluate, no checks were received"}`},
		{"a limit that is too high", p, "search/subject", subjects + `,"page":{"limit":1001}`, `{"code":"validation_error","message":"invalid PageRequest.Limit: value must be less than or equal to 1000"}`},
		{"a token that is none", p, "search/resource", resources + `,"page":{"token":"%"}`, `{"code":"invalid_continuation_token","message":"Invalid continuation token"}`},
	} {
		if status, got := tt.p.post(tt.endpoint, "{"+tt.body+"}"); status != 400 || got != tt.want {
			t.Errorf("%s: %d %s, want %s", tt.name, status, got, tt.want)
		}
	}
}

// A result of a search is what pages are tested with: its text, and the page that it is on.
type results struct {
	texts []string
	page  *authzenv1.PageResponse
}

// search asks for a page of a search of any kind.
func (p *pep) search(req proto.Message, page *authzenv1.PageRequest, headers ...string) (got results, err error) {
	p.t.Helper()
	ctx := p.t.Context()
	for i := 0; i < len(headers); i += 2 {
		ctx = withHeader(ctx, headers[i], headers[i+1])
	}
	switch req := proto.Clone(req).(type) {
	case *authzenv1.SubjectSearchRequest:
		req.Page = page
		var res *authzenv1.SubjectSearchResponse
		res, err = p.SubjectSearch(ctx, req)
		for _, s := range res.GetResults() {
			got.texts = append(got.texts, pair(s))
		}
		got.page = res.GetPage()
	case *authzenv1.ResourceSearchRequest:
		req.Page = page
		var res *authzenv1.ResourceSearchResponse
		res, err = p.ResourceSearch(ctx, req)
		for _, r := range res.GetResults() {
			got.texts = append(got.texts, pair(r))
		}
		got.page = res.GetPage()
	case *authzenv1.ActionSearchRequest:
		req.Page = page
		var res *authzenv1.ActionSearchResponse
		res, err = p.ActionSearch(ctx, req)
		for _, a := range res.GetResults() {
			got.texts = append(got.texts, a.Name)
		}
		got.page = res.GetPage()
	}
	return got, err
}

// all is every result of a search, page by page.
func (p *pep) all(req proto.Message, first *authzenv1.PageRequest, headers ...string) (all []string, sizes []int) {
	p.t.Helper()
	for page := first; ; {
		got, err := p.search(req, page, headers...)
		if err != nil {
			p.t.Fatal(err)
		}
		all, sizes = append(all, got.texts...), append(sizes, len(got.texts))
		if page != nil && int(got.page.GetCount()) != len(got.texts) {
			p.t.Errorf("a page of %d results says %d", len(got.texts), got.page.GetCount())
		}
		if got.page.GetNextToken() == "" {
			return all, sizes
		}
		page = &authzenv1.PageRequest{Token: proto.String(got.page.GetNextToken())}
	}
}

// crowd is a store with n of everything that can be searched for.
func crowd(t testing.TB, r *rig, n int) (*pep, map[string]proto.Message) {
	t.Helper()
	var model strings.Builder
	model.WriteString(schema + "type document\n  relations\n")
	tuples := []string{}
	for i := range n {
		fmt.Fprintf(&model, "    define act%03d: [user]\n", i)
		tuples = append(tuples, fmt.Sprintf("document:all#act000@user:u%03d", i), fmt.Sprintf("document:d%03d#act000@user:one", i))
		tuples = append(tuples, fmt.Sprintf("document:mine#act%03d@user:one", i))
	}
	p := newPEP(t, r, model.String(), r.tuples(tuples...)...)
	return p, map[string]proto.Message{
		"subjects": &authzenv1.SubjectSearchRequest{
			StoreId: p.store, Subject: &authzenv1.SubjectFilter{Type: "user"},
			Resource: &authzenv1.Resource{Type: "document", Id: "all"}, Action: &authzenv1.Action{Name: "act000"},
		},
		"resources": &authzenv1.ResourceSearchRequest{
			StoreId: p.store, Subject: &authzenv1.Subject{Type: "user", Id: "one"},
			Resource: &authzenv1.ResourceFilter{Type: "document"}, Action: &authzenv1.Action{Name: "act000"},
		},
		"actions": &authzenv1.ActionSearchRequest{
			StoreId: p.store, Subject: &authzenv1.Subject{Type: "user", Id: "one"},
			Resource: &authzenv1.Resource{Type: "document", Id: "mine"},
		},
	}
}

func TestPagesOfSearches(t *testing.T) {
	p, searches := crowd(t, newRig(t), 10)
	for name, req := range searches {
		whole, err := p.search(req, nil)
		if err != nil || whole.page != nil || len(whole.texts) < 10 {
			t.Fatalf("%s without pages: %v, %v, want 10 or more without a page", name, whole, err)
		}
		for _, limit := range []uint32{1, 3, 5, uint32(len(whole.texts)) - 1, uint32(len(whole.texts)), 1000} {
			got, sizes := p.all(req, &authzenv1.PageRequest{Limit: proto.Uint32(limit)})
			pages := (len(whole.texts) + int(limit) - 1) / int(limit)
			if !slices.Equal(got, whole.texts) || len(sizes) != pages || slices.Max(sizes) > int(limit) {
				t.Errorf("%s in pages of %d: %v in pages of %v, want %v", name, limit, got, sizes, whole.texts)
			}
		}
		if got, err := p.search(req, &authzenv1.PageRequest{Limit: proto.Uint32(3)}, HeaderExact, "true"); err != nil || len(got.texts) != 3 || got.page.GetNextToken() == "" {
			t.Errorf("%s exactly: %v, %v, want a page of 3", name, got, err)
		}
	}
}

// A page has 50 results if the client does not say.
func TestPagesOfSearchesHaveADefault(t *testing.T) {
	p, searches := crowd(t, newRig(t, func(c *Config) { c.MaxChecksPerBatch = 60 }), 60)
	for name, req := range searches {
		for _, page := range []*authzenv1.PageRequest{{}, {Limit: proto.Uint32(0)}, {Token: proto.String("")}} {
			if all, sizes := p.all(req, page); len(all) < 60 || len(sizes) != 2 || sizes[0] != defaultPage {
				t.Errorf("%s: pages of %v, want %d and the rest", name, sizes, defaultPage)
			}
		}
	}
}

// What was asked must not change from page to page.
func TestTokensOfSearchesHoldForTheirSearch(t *testing.T) {
	r := newRig(t)
	p, searches := crowd(t, r, 10)
	_, elsewhere := crowd(t, r, 10)
	tokens := map[string]string{}
	for name, req := range searches {
		got, err := p.search(req, &authzenv1.PageRequest{Limit: proto.Uint32(2)})
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = got.page.GetNextToken()
	}
	wantRefused := func(what string, req proto.Message, page *authzenv1.PageRequest, headers ...string) {
		t.Helper()
		_, err := p.search(req, page, headers...)
		if !errors.Is(err, errInvalidContinuationToken) {
			t.Errorf("%s: %v, want %v", what, err, errInvalidContinuationToken)
		}
	}
	for name, req := range searches {
		page := &authzenv1.PageRequest{Token: proto.String(tokens[name])}
		if got, err := p.search(req, page); err != nil || len(got.texts) != 2 {
			t.Errorf("%s, the second page: %v, %v", name, got, err)
		}
		if got, err := p.search(req, &authzenv1.PageRequest{Token: page.Token, Limit: proto.Uint32(2)}); err != nil || len(got.texts) != 2 {
			t.Errorf("%s, the second page of the same size: %v, %v", name, got, err)
		}
		wantRefused(name+" of another size", req, &authzenv1.PageRequest{Token: page.Token, Limit: proto.Uint32(3)})
		wantRefused(name+" in another store", elsewhere[name], page)
		wantRefused(name+" by another model", req, page, HeaderModelID, someID)
		wantRefused(name+", a token cut short", req, &authzenv1.PageRequest{Token: proto.String(tokens[name][:len(tokens[name])-2])})
		for other, token := range tokens {
			if other != name {
				wantRefused(name+" with the token of "+other, req, &authzenv1.PageRequest{Token: proto.String(token)})
			}
		}
		m := proto.Clone(req).ProtoReflect()
		subject := m.Mutable(m.Descriptor().Fields().ByName("context")).Message().Interface()
		proto.Merge(subject, fields(t, "now", 1.0))
		wantRefused(name+" in another context", m.Interface(), page)
	}
}

// What an answer leaves out, the limit of results that lists have or their time being
// reached, comes with the next page, whether a page was asked for or not.
func TestSearchesTellWhatTheyLeaveOut(t *testing.T) {
	p, searches := crowd(t, newRig(t, func(c *Config) { c.ListUsersMaxResults = 4 }), 10)
	got, err := p.search(searches["subjects"], nil)
	if err != nil || len(got.texts) != 4 || got.page.GetNextToken() == "" || got.page.GetCount() != 4 {
		t.Errorf("subjects = %v, %v, want 4 and a token", got, err)
	}
	if all, sizes := p.all(searches["subjects"], nil); len(all) != 10 || !slices.Equal(sizes, []int{4, 4, 2}) {
		t.Errorf("subjects = %v in pages of %v, want 10 in pages of 4", all, sizes)
	}
	if got, err := p.search(searches["subjects"], nil, HeaderExact, "true"); err != nil || len(got.texts) != 10 || got.page != nil {
		t.Errorf("subjects exactly = %v, %v, want all 10", got, err)
	}

	var tuples []*openfgav1.TupleKey
	for i := range 2000 {
		tuples = append(tuples, key(t, fmt.Sprintf("document:m%d#act000@user:many", i)))
	}
	for batch := range slices.Chunk(tuples, DefaultMaxTuplesPerWrite) {
		if err := p.tryWrite(writes(p.store, batch...)); err != nil {
			t.Fatal(err)
		}
	}
	face, err := New(p.reader, p.writer, Config{ListObjectsDeadline: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	req := proto.CloneOf(searches["resources"].(*authzenv1.ResourceSearchRequest))
	req.Subject.Id = "many"
	hasty := &pep{t: t, rig: p.rig, AuthZenServiceClient: authzenv1.NewAuthZenServiceClient(conn{face.Server()})}
	first, err := hasty.search(req, nil)
	if err != nil || len(first.texts) == 0 || len(first.texts) >= len(tuples) || first.page.GetNextToken() == "" {
		t.Fatalf("in no time: %d resources, %v, %v, want some and a token", len(first.texts), first.page, err)
	}
	rest, err := p.search(req, &authzenv1.PageRequest{Token: proto.String(first.page.GetNextToken())})
	if err != nil || rest.page.GetNextToken() != "" {
		t.Fatalf("the rest: %v, %v, want all of it", rest.page, err)
	}
	all := slices.Sorted(slices.Values(append(first.texts, rest.texts...)))
	if len(all) != len(tuples) || len(slices.Compact(all)) != len(tuples) {
		t.Errorf("%d resources, want each of %d once", len(all), len(tuples))
	}
}

// A search that was cut before its first result has no place to go on from.
func TestSearchWithoutAnyTimeIsAnError(t *testing.T) {
	p := &page{req: &authzenv1.SubjectSearchRequest{}, kind: continueSubjects, most: 5}
	if _, err := p.close(0, true, nil, nil); !errors.Is(err, errDeadline) {
		t.Errorf("close(0) = %v, want %v", err, errDeadline)
	}
	if res, err := p.close(1, true, nil, idPosition(1)); err != nil || res.GetNextToken() == "" {
		t.Errorf("close(1) = %v, %v, want a token", res, err)
	}
}

// An action that cannot be decided is left out, and a type may have as many relations as a
// batch has checks, unless the answer is to be exact.
func TestActionSearchExactly(t *testing.T) {
	r := newRig(t)
	p := newPEP(t, r, readers+"    define guest: [user with hours]\ntype thing\ncondition hours(hour: int) {\n  hour < 12\n}\n",
		key(t, "document:1#reader@user:alice"), conditional(t, "document:1#guest@user:alice", "hours"))
	ask := func(typ string) *authzenv1.ActionSearchRequest {
		return &authzenv1.ActionSearchRequest{StoreId: p.store, Subject: &authzenv1.Subject{Type: "user", Id: "alice"}, Resource: &authzenv1.Resource{Type: typ, Id: "1"}}
	}
	if got, err := p.search(ask("document"), nil); err != nil || !slices.Equal(got.texts, []string{"reader"}) {
		t.Errorf("actions = %v, %v, want reader", got, err)
	}
	_, err := p.search(ask("document"), nil, HeaderExact, "true")
	wantError(t, err, Code(openfgav1.ErrorCode_validation_error),
		"failed to evaluate relationship condition: 'hours' - tuple 'document:1#guest@user:alice' is missing context parameters '[hour]'")
	if got, err := p.search(ask("thing"), nil, HeaderExact, "true"); err != nil || len(got.texts) != 0 {
		t.Errorf("actions on what has none = %v, %v, want none", got, err)
	}

	many, searches := crowd(t, r, 51)
	_, err = many.search(searches["actions"], nil)
	wantError(t, err, Code(openfgav1.ErrorCode_validation_error), "batchCheck received 51 checks, the maximum allowed is 50")
	if got, err := many.search(searches["actions"], nil, HeaderExact, "true"); err != nil || len(got.texts) != 51 {
		t.Errorf("actions exactly = %d, %v, want 51", len(got.texts), err)
	}
	_, err = p.search(ask("robot"), nil)
	wantError(t, err, Code(codes.InvalidArgument), "failed to get relations for type robot: 'robot' is an undefined object type")
}
