package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// What an older model allowed stays, can be read and removed, and counts for nobody.
func TestTuplesOfAnOlderModelAreThereButDoNotCount(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", acme...)
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		{Kind: remitv1.Operation_KIND_CREATE, Tuple: conditional(t, "document:eu#viewer@user:anna", "in_region", map[string]any{"allowed": []any{"eu"}})},
	}}); err != nil {
		t.Fatal(err)
	}
	old, err := r.models.GetModel(t.Context(), &remitv1.GetModelRequest{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(`model
  schema 1.1
type user
type document
  relations
    define owner: [user]
    define viewer: [user] or owner
    define reader: viewer
`)}); err != nil {
		t.Fatal(err)
	}

	for _, question := range []string{"document:open#reader@user:zoe", "document:open#reader@user:*", "document:plan#reader@user:anna", "document:eu#reader@user:anna"} {
		if r.check(scopeOf(store), question) {
			t.Errorf("Check(%s) = true, want false", question)
		}
		why, err := r.access.Explain(t.Context(), &remitv1.ExplainRequest{Scope: scopeOf(store), Question: ask(t, question)})
		if err != nil || why.Allowed {
			t.Errorf("Explain(%s) = %v, %v, want denied", question, why.GetAllowed(), err)
		}
	}
	objects, err := r.access.ListObjects(t.Context(), &remitv1.ListObjectsRequest{Scope: scopeOf(store), Type: "document", Relation: "reader", Subject: "user:anna"})
	if err != nil || len(objects.Ids) != 0 {
		t.Errorf("ListObjects = %v, %v, want none", objects.GetIds(), err)
	}
	subjects, err := r.access.ListSubjects(t.Context(), &remitv1.ListSubjectsRequest{Scope: scopeOf(store), Object: "document:open", Relation: "reader", SubjectType: "user"})
	if err != nil || len(subjects.Subjects) != 0 {
		t.Errorf("ListSubjects = %v, %v, want none", subjects.GetSubjects(), err)
	}
	if !r.check(&remitv1.Scope{Store: store, ModelId: old.Model.Id}, "document:plan#reader@user:anna") {
		t.Error("Check by the older model = false, want true")
	}

	for _, filter := range []*remitv1.TupleFilter{
		{Object: "group"},
		{Object: "group:all"},
		{Relation: "banned"},
		{Subject: "group:all#member"},
		{Subject: "group"},
		{Subject: "user:*"},
	} {
		if got, _ := r.read(&remitv1.ReadRequest{Store: store, Filter: filter}); len(got) == 0 {
			t.Errorf("Read(%v) = nothing", filter)
		}
	}
	all, _ := r.read(&remitv1.ReadRequest{Store: store})
	if len(all) != len(acme)+1 {
		t.Errorf("Read = %d tuples, want %d", len(all), len(acme)+1)
	}
	for _, text := range all {
		m := tuple(t, text)
		if err := write(op(remitv1.Operation_KIND_DELETE, m.Object, m.Relation, m.Subject))(r); err != nil {
			t.Errorf("delete %s: %v", text, err)
		}
	}
	if got := r.count(store); got != 0 {
		t.Errorf("%d tuples are left", got)
	}
}

// A refused write leaves its key unused, and a key ends with its store.
func TestAKeyBelongsToWhatItWrote(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", "document:x#owner@user:anna")
	keyed := func(key string, o *remitv1.Operation) error {
		return r.tryWrite(&remitv1.WriteRequest{Store: "acme", Operations: []*remitv1.Operation{o}, IdempotencyKey: key})
	}
	conflicts := func(what string, err error) {
		t.Helper()
		if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_CONFLICT {
			t.Errorf("%s: %v, %s", what, detail, message)
		}
	}
	if err := keyed("a", op(remitv1.Operation_KIND_CREATE, "document:x", "owner", "user:anna")); err == nil {
		t.Error("a tuple was created twice")
	}
	if err := keyed("a", put("document:x", "owner", "user:bert")); err != nil {
		t.Errorf("the key of a refused write: %v", err)
	}
	conflicts("the key of a write", keyed("a", put("document:x", "owner", "user:carl")))

	remove := func(id string) error {
		_, err := r.stores.DeleteStore(t.Context(), &remitv1.DeleteStoreRequest{StoreId: id, IdempotencyKey: "d"})
		return err
	}
	if err := remove(store); err != nil {
		t.Fatal(err)
	}
	again := r.store("acme")
	if err := keyed("a", put("document:z", "owner", "user:anna")); err != nil || !r.check(scopeOf(again), "document:z#owner@user:anna") {
		t.Errorf("the key of a store that is gone: %v, or nothing was written", err)
	}
	conflicts("the key of another store's removal", remove(again))
}

// A list whose request brings names that the store gets to know meanwhile goes on as
// it began.
func TestPagesStayWhenTheirNamesBecomeKnown(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", "document:s1#owner@user:anna", "document:s2#owner@user:anna", "document:l#owner@user:u1")
	scope := scopeOf(store)
	scope.ContextualTuples = append(scope.ContextualTuples, tuple(t, "document:l#viewer@user:*"))
	for i := range 5 {
		scope.ContextualTuples = append(scope.ContextualTuples,
			tuple(t, fmt.Sprintf("document:new%d#owner@user:anna", i)), tuple(t, fmt.Sprintf("document:l#owner@user:n%d", i)))
	}
	objects := &remitv1.ListObjectsRequest{Scope: scope, Type: "document", Relation: "reader", Subject: "user:anna"}
	subjects := &remitv1.ListSubjectsRequest{Scope: scope, Object: "document:l", Relation: "reader", SubjectType: "user"}
	var ids, names []string
	for i := 0; i == 0 || objects.Cursor != "" || subjects.Cursor != ""; i++ {
		if i == 0 || objects.Cursor != "" {
			objects.PageSize = 1
			page, err := r.access.ListObjects(t.Context(), objects)
			if err != nil {
				t.Fatal(err)
			}
			ids, objects.Cursor = append(ids, page.Ids...), page.Cursor
		}
		if i == 0 || subjects.Cursor != "" {
			subjects.PageSize = 1
			page, err := r.access.ListSubjects(t.Context(), subjects)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.Subjects {
				names = append(names, s.Subject)
			}
			subjects.Cursor = page.Cursor
		}
		r.write(store, fmt.Sprintf("document:new%d#owner@user:bert", 4-i%5), fmt.Sprintf("document:k#owner@user:n%d", 4-i%5))
	}
	slices.Sort(ids)
	if want := []string{"l", "new0", "new1", "new2", "new3", "new4", "s1", "s2"}; !slices.Equal(ids, want) {
		t.Errorf("ListObjects = %v, want %v", ids, want)
	}
	if want := []string{"user:*", "user:u1", "user:n0", "user:n1", "user:n2", "user:n3", "user:n4"}; !slices.Equal(names, want) {
		t.Errorf("ListSubjects = %v, want %v", names, want)
	}
}

// A deadline that has passed ends whatever takes long, with its own error.
func TestADeadlineIsNeverAnAnswer(t *testing.T) {
	r := newRig(t)
	store := r.store("acme")
	chain := make([]string, 5000)
	for i := range chain {
		chain[i] = fmt.Sprintf("group:g%d#member@group:g%d#member", i, i+1)
	}
	r.write(store, chain...)
	r.write(store, "document:far#viewer@group:g0#member", "group:g5000#member@user:anna")
	scope := scopeOf(store)
	question := ask(t, "document:far#reader@user:nobody")
	access, tuples := &accessService{reader: r.reader()}, &tupleService{streamer: streamer{reader: r.reader()}}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for name, call := range map[string]func() error{
		"Check": func() error {
			_, err := access.Check(ctx, &remitv1.CheckRequest{Scope: scope, Question: question})
			return err
		},
		"Explain": func() error {
			_, err := access.Explain(ctx, &remitv1.ExplainRequest{Scope: scope, Question: question})
			return err
		},
		"BatchCheck": func() error {
			_, err := access.BatchCheck(ctx, &remitv1.BatchCheckRequest{Scope: scope, Questions: []*remitv1.BatchQuestion{{Question: question}}})
			return err
		},
		"ListObjects": func() error {
			_, err := access.ListObjects(ctx, &remitv1.ListObjectsRequest{Scope: scope, Type: "document", Relation: "reader", Subject: "user:anna"})
			return err
		},
		"ListSubjects": func() error {
			_, err := access.ListSubjects(ctx, &remitv1.ListSubjectsRequest{Scope: scope, Object: "document:far", Relation: "reader", SubjectType: "user"})
			return err
		},
		"ListActions": func() error {
			_, err := access.ListActions(ctx, &remitv1.ListActionsRequest{Scope: scope, Object: "document:far", Subject: "user:nobody"})
			return err
		},
		"Read": func() error {
			_, err := tuples.Read(ctx, &remitv1.ReadRequest{Store: store, Filter: &remitv1.TupleFilter{Object: "group", Subject: "user"}})
			return err
		},
	} {
		if err := call(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s = %v, want context.DeadlineExceeded", name, err)
		}
	}
}

// A question is a request whose answer is kept, to be asked again of the past.
type kept struct {
	name   string
	token  string
	at     time.Time
	change func(*remitv1.Scope)
	ask    func(*remitv1.Scope) (string, error)
	answer string
}

// An exact state answers every question as it did when it was the newest: by the model
// of its time, with contextual tuples, in pages, and after expired tuples have gone.
func TestAnExactStateAnswersAsItDid(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := &clock{now: time.Now().Truncate(time.Millisecond)}
	r := newRigAt(t, c.Now)
	store := r.store("acme")
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	name := func(kind string) string { return fmt.Sprintf("%s:%s%d", kind, kind[:1], random.IntN(6)) }
	anyTuple := func() *remitv1.Tuple {
		text := ""
		switch random.IntN(6) {
		case 0:
			text = name("group") + "#member@" + pick(name("user"), name("group")+"#member")
		case 1:
			text = name("folder") + "#" + pick("owner@"+name("user"), "viewer@user:*", "viewer@"+name("group")+"#member")
		case 2:
			text = name("document") + "#parent@" + name("folder")
		case 3:
			text = name("document") + "#banned@" + name("user")
		default:
			text = name("document") + "#viewer@" + pick(name("user"), "user:*", name("group")+"#member")
		}
		m := tuple(t, text)
		if strings.HasPrefix(text, "document") && m.Relation == "viewer" && strings.HasPrefix(m.Subject, "user:u") && random.IntN(2) == 0 {
			end := c.Now().Add(time.Duration(random.IntN(200)) * time.Hour).Format(time.RFC3339)
			m.Condition = &remitv1.Condition{Name: "until", Context: fields(t, map[string]any{"end": end})}
		}
		if random.IntN(3) == 0 {
			m.ExpiresAt = timestamppb.New(c.Now().Add(time.Duration(random.IntN(100)) * time.Hour))
		}
		return m
	}
	models := []string{testModel, strings.Replace(testModel, "viewer but not banned", "viewer", 1), strings.Replace(testModel, "[user, user:*, group#member] or owner", "[user, group#member] or owner", 1)}
	h := backend.NewHousekeeper(backend.NewWriter(r.reader().Reader))

	var questions []kept
	for range 60 {
		var ops []*remitv1.Operation
		seen := map[string]bool{}
		for range 1 + random.IntN(8) {
			o := &remitv1.Operation{Kind: remitv1.Operation_KIND_TOUCH, Tuple: anyTuple()}
			if random.IntN(3) == 0 {
				o.Kind = remitv1.Operation_KIND_DELETE
			}
			if key := o.Tuple.Object + o.Tuple.Relation + o.Tuple.Subject; !seen[key] {
				seen[key] = true
				ops = append(ops, o)
			}
		}
		if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: ops}); err != nil {
			if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_TUPLE_NOT_ALLOWED {
				t.Fatal(message)
			}
			continue
		}
		if random.IntN(10) == 0 {
			if _, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(pick(models...))}); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		state := r.config.State.Current()
		for range 6 {
			q := kept{token: r.reader().Token(state.Revision()), at: state.Time(), change: func(*remitv1.Scope) {}}
			if random.IntN(2) == 0 {
				extra := anyTuple()
				extra.Condition = nil
				extra.Object = strings.Replace(extra.Object, ":", ":"+pick("", "", "later"), 1)
				if extra.Relation != "viewer" || extra.Subject != "user:*" {
					q.change = func(s *remitv1.Scope) { s.ContextualTuples = []*remitv1.Tuple{extra} }
				}
			}
			r.randomQuestion(&q, random.IntN(3), name("document"), name("user"), pick("reader", "viewer"))
			scope := &remitv1.Scope{Store: store, At: timestamppb.New(q.at)}
			q.change(scope)
			var err error
			if q.answer, err = q.ask(scope); err != nil {
				t.Fatalf("%s: %v", q.name, err)
			}
			questions = append(questions, q)
		}
		r.write(store, "document:later#owner@user:anna", "document:laterd1#owner@user:anna")
		c.Advance(time.Duration(random.IntN(20)) * time.Hour)
	}
	for _, q := range questions {
		scope := &remitv1.Scope{Store: store, Consistency: &remitv1.Consistency{Requirement: &remitv1.Consistency_AtExactSnapshot{AtExactSnapshot: q.token}}}
		q.change(scope)
		got, err := q.ask(scope)
		if err != nil || got != q.answer {
			t.Errorf("%s at %s = %s, %v, want %s", q.name, q.at, got, err, q.answer)
		}
	}
}

// randomQuestion makes one of three questions; its answer is written as text.
func (r *rig) randomQuestion(q *kept, kind int, document, user, relation string) {
	switch kind {
	case 0:
		q.name = "Check(" + document + "#" + relation + "@" + user + ")"
		q.ask = func(s *remitv1.Scope) (string, error) {
			res, err := r.access.Check(r.t.Context(), &remitv1.CheckRequest{Scope: s, Question: &remitv1.Question{Object: document, Relation: relation, Subject: user}})
			return fmt.Sprint(res.GetAllowed()), err
		}
	case 1:
		q.name = "ListObjects(document#" + relation + "@" + user + ")"
		q.ask = func(s *remitv1.Scope) (answer string, err error) {
			req := &remitv1.ListObjectsRequest{Scope: s, Type: "document", Relation: relation, Subject: user, PageSize: 2}
			for {
				res, err := r.access.ListObjects(r.t.Context(), proto.CloneOf(req))
				if err != nil || res.Cursor == "" {
					return answer + fmt.Sprint(res.GetIds()), err
				}
				answer, req.Cursor = answer+fmt.Sprint(res.Ids), res.Cursor
			}
		}
	default:
		q.name = "ListSubjects(" + document + "#" + relation + "@user)"
		q.ask = func(s *remitv1.Scope) (answer string, err error) {
			req := &remitv1.ListSubjectsRequest{Scope: s, Object: document, Relation: relation, SubjectType: "user", PageSize: 2}
			for {
				res, err := r.access.ListSubjects(r.t.Context(), proto.CloneOf(req))
				if err != nil {
					return "", err
				}
				for _, l := range res.Subjects {
					answer += l.Subject + fmt.Sprint(l.Excluded) + " "
				}
				if req.Cursor = res.Cursor; req.Cursor == "" {
					return answer, nil
				}
			}
		}
	}
}
