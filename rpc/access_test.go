package rpc

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

var acme = []string{
	"group:all#member@group:design#member",
	"group:design#member@user:anna",
	"folder:plans#viewer@group:all#member",
	"folder:plans#owner@user:olga",
	"document:plan#parent@folder:plans",
	"document:plan#banned@user:bert",
	"document:open#viewer@user:*",
	"document:open#banned@user:bert",
	"document:open#banned@user:carl",
}

func TestCheckFollowsTheModel(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	for question, want := range map[string]bool{
		"document:plan#reader@user:anna":                  true,
		"document:plan#reader@user:olga":                  true,
		"document:plan#reader@user:bert":                  false,
		"document:plan#reader@user:nobody":                false,
		"document:plan#reader@group:design#member":        true,
		"document:open#reader@user:nobody":                true,
		"document:open#reader@user:bert":                  false,
		"document:open#viewer@user:*":                     true,
		"document:unknown#reader@user:anna":               false,
		"document:unknown#reader@user:nobody":             false,
		"document:unknown#viewer@document:unknown#viewer": true,
	} {
		for _, name := range []string{store, "acme"} {
			if got := r.check(scopeOf(name), question); got != want {
				t.Errorf("Check(%s) in %s = %v, want %v", question, name, got, want)
			}
		}
	}
}

func TestContextualTuplesCountForOneQuestion(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	question := "document:plan#reader@user:newcomer"
	scope := scopeOf(store)
	scope.ContextualTuples = []*remitv1.Tuple{tuple(t, "group:design#member@user:newcomer")}
	if !r.check(scope, question) {
		t.Errorf("Check(%s) with a contextual tuple = false, want true", question)
	}
	if r.check(scopeOf(store), question) {
		t.Errorf("Check(%s) = true, want false", question)
	}
}

func TestConditionsSeeContextAndInstant(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		{Kind: remitv1.Operation_KIND_CREATE, Tuple: conditional(t, "document:a#viewer@user:anna", "in_region", map[string]any{"allowed": []any{"eu", "ch"}})},
		{Kind: remitv1.Operation_KIND_CREATE, Tuple: conditional(t, "document:b#viewer@user:anna", "until", map[string]any{"end": end.Format(time.RFC3339)})},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for region, want := range map[string]bool{"eu": true, "us": false} {
		scope := scopeOf(store)
		scope.Context = fields(t, map[string]any{"region": region})
		if got := r.check(scope, "document:a#viewer@user:anna"); got != want {
			t.Errorf("in %s: Check = %v, want %v", region, got, want)
		}
	}
	for at, want := range map[time.Time]bool{end.Add(-time.Nanosecond): true, end: false} {
		scope := scopeOf(store)
		scope.At = timestamppb.New(at)
		if got := r.check(scope, "document:b#viewer@user:anna"); got != want {
			t.Errorf("at %s: Check = %v, want %v", at, got, want)
		}
	}
}

func TestTuplesExpire(t *testing.T) {
	c := &clock{now: time.Now().Add(time.Hour)}
	r := newRig(t, func(config *Config) { config.Clock = c.Now })
	store := r.store("acme")
	m := tuple(t, "document:a#viewer@user:anna")
	end := c.Now().Add(time.Minute).Truncate(time.Millisecond)
	m.ExpiresAt = timestamppb.New(end)
	_, err := r.tuples.Write(t.Context(), &remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{Kind: remitv1.Operation_KIND_CREATE, Tuple: m}}})
	if err != nil {
		t.Fatal(err)
	}
	if !r.check(scopeOf(store), "document:a#viewer@user:anna") {
		t.Error("Check before the expiry = false, want true")
	}
	scope := scopeOf(store)
	scope.At = timestamppb.New(end)
	if r.check(scope, "document:a#viewer@user:anna") {
		t.Error("Check at the expiry = true, want false")
	}
	c.Advance(time.Minute)
	if r.check(scopeOf(store), "document:a#viewer@user:anna") {
		t.Error("Check after the expiry = true, want false")
	}
}

func TestABatchSharesOneStateAndKeepsErrorsApart(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	questions := []*remitv1.BatchQuestion{
		{Question: ask(t, "document:plan#reader@user:anna")},
		{Question: ask(t, "document:plan#reader@user:bert")},
		{Question: ask(t, "document:plan#nothing@user:bert")},
		{Question: ask(t, "document:plan#reader@user:dora"), ContextualTuples: []*remitv1.Tuple{tuple(t, "document:plan#owner@user:dora")}},
	}
	for range 200 {
		questions = append(questions, questions[:4]...)
	}
	res, err := r.access.BatchCheck(t.Context(), &remitv1.BatchCheckRequest{Scope: scopeOf(store), Questions: questions})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Answers) != len(questions) || res.Token == "" {
		t.Fatalf("%d answers, token %q", len(res.Answers), res.Token)
	}
	for i, a := range res.Answers {
		switch i % 4 {
		case 0, 3:
			if !a.Allowed || a.Error != nil {
				t.Fatalf("answer %d = %v, want allowed", i, a)
			}
		case 1:
			if a.Allowed || a.Error != nil {
				t.Fatalf("answer %d = %v, want denied", i, a)
			}
		case 2:
			if a.Allowed || a.Error.GetCode() != "invalid_argument" || a.Error.Detail.Reason != remitv1.ErrorReason_ERROR_REASON_RELATION_NOT_FOUND {
				t.Fatalf("answer %d = %v, want relation not found", i, a)
			}
		}
	}
}

func TestABatchWhoseCallerIsGoneEnds(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	s := &accessService{reader: r.reader()}
	_, err := s.BatchCheck(stopped(t), &remitv1.BatchCheckRequest{
		Scope: scopeOf(store), Questions: []*remitv1.BatchQuestion{{Question: ask(t, "document:plan#reader@user:anna")}},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("BatchCheck = %v, want context.Canceled", err)
	}
}

func TestAPanicInABatchEndsTheBatchAlone(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	s := &accessService{reader: r.reader()}
	// The interceptors would not let a question without content pass.
	_, err := s.BatchCheck(t.Context(), &remitv1.BatchCheckRequest{Scope: scopeOf(store), Questions: []*remitv1.BatchQuestion{{}}})
	if err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("BatchCheck = %v, want the panic as an error", err)
	}
	if _, known := find(err); known {
		t.Errorf("clients see more of %v than an internal error", err)
	}
}

func TestListsAgreeWithCheck(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	objects, err := r.access.ListObjects(t.Context(), &remitv1.ListObjectsRequest{
		Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:anna",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"plan", "open"}, objects.Ids); diff != "" {
		t.Errorf("ListObjects (-want +got):\n%s", diff)
	}
	subjects, err := r.access.ListSubjects(t.Context(), &remitv1.ListSubjectsRequest{
		Scope: scopeOf(store), Object: "document:open", Relation: "reader", SubjectType: "user",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []*remitv1.ListedSubject{{Subject: "user:*", Excluded: []string{"bert", "carl"}}}
	if diff := cmp.Diff(want, subjects.Subjects, protocmp.Transform()); diff != "" {
		t.Errorf("ListSubjects (-want +got):\n%s", diff)
	}
	groups, err := r.access.ListSubjects(t.Context(), &remitv1.ListSubjectsRequest{
		Scope: scopeOf(store), Object: "document:plan", Relation: "reader", SubjectType: "group", SubjectRelation: "member",
	})
	if err != nil {
		t.Fatal(err)
	}
	want = []*remitv1.ListedSubject{{Subject: "group:all#member"}, {Subject: "group:design#member"}}
	if diff := cmp.Diff(want, groups.Subjects, protocmp.Transform()); diff != "" {
		t.Errorf("ListSubjects of usersets (-want +got):\n%s", diff)
	}
	actions, err := r.access.ListActions(t.Context(), &remitv1.ListActionsRequest{
		Scope: scopeOf(store), Object: "document:plan", Subject: "user:bert",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"banned"}, actions.Relations); diff != "" {
		t.Errorf("ListActions (-want +got):\n%s", diff)
	}
}

func TestStreamsSendTheWholeList(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	const n = 2*streamChunk + 17
	var tuples []string
	for i := range n {
		tuples = append(tuples, "document:d"+strconv.Itoa(i)+"#owner@user:anna", "document:shared#owner@user:u"+strconv.Itoa(i))
	}
	r.write(store, tuples...)
	for _, size := range []int{0, 1, streamChunk, streamChunk + 1, n, n + 1} {
		want := n
		if size > 0 {
			want = min(size, n)
		}
		stream, err := r.access.StreamObjects(t.Context(), &remitv1.ListObjectsRequest{
			Scope: scopeOf(store), Type: "document", Relation: "owner", Subject: "user:anna", PageSize: int32(size),
		})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		cursor := ""
		for {
			res, err := stream.Receive()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			ids, cursor = append(ids, res.Ids...), res.Cursor
		}
		if len(ids) != want || (cursor == "") != (want == n) {
			t.Errorf("StreamObjects of %d: %d ids, cursor %q", size, len(ids), cursor)
		}
		for i, id := range ids {
			if id != "d"+strconv.Itoa(i) {
				t.Fatalf("id %d = %s", i, id)
			}
		}
	}
	stream, err := r.access.StreamSubjects(t.Context(), &remitv1.ListSubjectsRequest{
		Scope: scopeOf(store), Object: "document:shared", Relation: "owner", SubjectType: "user",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for {
		res, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got += len(res.Subjects)
	}
	if got != n {
		t.Errorf("StreamSubjects sent %d, want %d", got, n)
	}
}

func TestExpandAndExplainNameTheirTuples(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	tree, err := r.access.Expand(t.Context(), &remitv1.ExpandRequest{Scope: scopeOf(store), Object: "group:all", Relation: "member", Depth: 2})
	if err != nil {
		t.Fatal(err)
	}
	want := &remitv1.ExpandNode{
		Kind: remitv1.ExpandNode_KIND_DIRECT, Userset: "group:all#member",
		Tuples: []*remitv1.Tuple{tuple(t, "group:all#member@group:design#member")},
		Children: []*remitv1.ExpandNode{{
			Kind: remitv1.ExpandNode_KIND_DIRECT, Userset: "group:design#member",
			Tuples: []*remitv1.Tuple{tuple(t, "group:design#member@user:anna")},
		}},
	}
	if diff := cmp.Diff(want, tree.Root, protocmp.Transform()); diff != "" {
		t.Errorf("Expand (-want +got):\n%s", diff)
	}

	why, err := r.access.Explain(t.Context(), &remitv1.ExplainRequest{Scope: scopeOf(store), Question: ask(t, "document:plan#reader@user:anna")})
	if err != nil {
		t.Fatal(err)
	}
	if !why.Allowed || len(why.Proof) != 4 || why.Reason.GetQuestion() != "document:plan#reader@user:anna" || why.ModelId == "" || why.At == nil {
		t.Errorf("Explain = %v", why)
	}
	not, err := r.access.Explain(t.Context(), &remitv1.ExplainRequest{Scope: scopeOf(store), Question: ask(t, "document:plan#reader@user:zoe")})
	if err != nil {
		t.Fatal(err)
	}
	if not.Allowed || len(not.Nearest) == 0 || len(not.Proof) != 0 {
		t.Errorf("Explain = %v", not)
	}
}

func conditional(t testing.TB, text, name string, context map[string]any) *remitv1.Tuple {
	m := tuple(t, text)
	m.Condition = &remitv1.Condition{Name: name}
	if context != nil {
		m.Condition.Context = fields(t, context)
	}
	return m
}

func fields(t testing.TB, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
