package rpc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// diff pages through all differences and writes each on a line.
func (r *rig) diff(req *remitv1.DiffAccessRequest) (lines []string) {
	r.t.Helper()
	for {
		res, err := r.access.DiffAccess(r.t.Context(), req)
		if err != nil {
			r.t.Fatalf("DiffAccess(%v): %v", req, err)
		}
		for _, d := range res.Differences {
			lines = append(lines, differenceLine(d))
		}
		if req.Cursor = res.Cursor; req.Cursor == "" {
			return lines
		}
	}
}

func differenceLine(d *remitv1.AccessDifference) string {
	sign := map[remitv1.AccessDifference_Kind]string{remitv1.AccessDifference_KIND_GAINED: "+", remitv1.AccessDifference_KIND_LOST: "-"}[d.Kind]
	line := sign + " " + d.Name + " by " + strings.ToLower(strings.TrimPrefix(d.Cause.Kind.String(), "KIND_"))
	for _, c := range d.Cause.Changes {
		sign := "+"
		if c.Kind == remitv1.TupleChange_KIND_REMOVE {
			sign = "-"
		}
		line += fmt.Sprintf(" %s%s#%s@%s", sign, c.Tuple.Object, c.Tuple.Relation, c.Tuple.Subject)
	}
	if d.Cause.MoreChanges {
		line += " and more"
	}
	if d.Cause.PerhapsNotLast {
		line += ", perhaps not last"
	}
	return line
}

func (r *rig) wantDiff(name string, req *remitv1.DiffAccessRequest, want ...string) {
	r.t.Helper()
	if got := r.diff(req); !slices.Equal(got, want) {
		r.t.Errorf("%s:\n  %s\nwant\n  %s", name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func ofSubject(store string, from uint64, subject, relation, kind string) *remitv1.DiffAccessRequest {
	return &remitv1.DiffAccessRequest{
		Store: store, From: asOfRevision(from), PageSize: 2,
		Of: &remitv1.DiffAccessRequest_Subject{Subject: &remitv1.SubjectAccess{Subject: subject, Relation: relation, Type: kind}},
	}
}

func ofObject(store string, from uint64, object, relation string) *remitv1.DiffAccessRequest {
	return &remitv1.DiffAccessRequest{
		Store: store, From: asOfRevision(from), PageSize: 2,
		Of: &remitv1.DiffAccessRequest_Object{Object: &remitv1.ObjectAccess{Object: object, Relation: relation, SubjectType: "user"}},
	}
}

func TestDifferencesNameTheChange(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 8, 0, 0, 0, time.UTC)}
	r := newRigAt(t, c.Now)
	hour := func() { c.Advance(time.Hour) }
	store := r.store("acme",
		"document:kept#owner@user:anna", "document:lost#owner@user:anna", "document:barred#owner@user:anna",
		"document:infolder#parent@folder:old", "folder:old#owner@user:anna",
		"document:flickers#owner@user:anna")
	from := r.revision()
	hour()
	r.write(store, "document:new#owner@user:anna", "document:else#owner@user:bert")
	hour()
	r.write(store, "group:all#member@group:eng#member", "folder:team#viewer@group:all#member", "document:shared#parent@folder:team")
	hour()
	joined := c.Now()
	r.write(store, "group:eng#member@user:anna")
	hour()
	r.remove(store, "document:lost#owner@user:anna")
	r.write(store, "document:barred#banned@user:anna", "document:plenty#owner@user:bert")
	r.remove(store, "folder:old#owner@user:anna")
	hour()
	r.remove(store, "document:flickers#owner@user:anna")
	hour()
	r.write(store, "document:flickers#owner@user:anna") // and back
	r.write(store, "document:open#viewer@user:*")
	to := r.revision()

	r.wantDiff("a subject", ofSubject(store, from, "user:anna", "reader", "document"),
		"- document:lost by tuples -document:lost#owner@user:anna",
		"- document:barred by tuples +document:barred#banned@user:anna",
		"- document:infolder by tuples -folder:old#owner@user:anna",
		"+ document:new by tuples +document:new#owner@user:anna",
		"+ document:shared by tuples +group:eng#member@user:anna",
		"+ document:open by tuples +document:open#viewer@user:*")
	r.wantDiff("an object", ofObject(store, from, "document:shared", "reader"), "+ user:anna by tuples +group:eng#member@user:anna")
	r.wantDiff("an object for everybody", ofObject(store, from, "document:open", "reader"), "+ user:* by tuples +document:open#viewer@user:*")
	r.wantDiff("a subject that nobody knows", ofSubject(store, from, "user:zoe", "reader", "document"), "+ document:open by tuples +document:open#viewer@user:*")
	r.wantDiff("an object that nobody knows", ofObject(store, from, "document:nowhere", "reader"))
	back := ofSubject(store, to-2, "user:anna", "reader", "document")
	back.Of.(*remitv1.DiffAccessRequest_Subject).Subject.Relation = "owner"
	r.wantDiff("what came back", back, "+ document:flickers by tuples +document:flickers#owner@user:anna")

	res, err := r.access.DiffAccess(t.Context(), ofObject(store, from, "document:shared", "reader"))
	if err != nil || len(res.Differences) != 1 {
		t.Fatal(res, err)
	}
	if cause := res.Differences[0].Cause; !cause.At.AsTime().Equal(joined) || cause.Revision != from+3 {
		t.Errorf("the change was %d of %v, want %d of %v", cause.Revision, cause.At.AsTime(), from+3, joined)
	}
	if res.From.Revision != from || res.To.Revision != to {
		t.Errorf("compared %v and %v, want %d and %d", res.From, res.To, from, to)
	}
	early := ofSubject(store, from, "user:anna", "reader", "document")
	early.To = asOfTime(joined.Add(-time.Millisecond))
	r.wantDiff("until an instant", early, "+ document:new by tuples +document:new#owner@user:anna")
}

func TestDifferencesBesideAWildcard(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", "document:a#viewer@user:*", "document:a#banned@user:anna", "document:a#owner@user:carl")
	from := r.revision()
	r.remove(store, "document:a#banned@user:anna", "document:a#owner@user:carl") // the wildcard keeps carl
	r.write(store, "document:a#banned@user:bert")
	r.wantDiff("exclusions", ofObject(store, from, "document:a", "reader"),
		"+ user:anna by tuples -document:a#banned@user:anna", "- user:bert by tuples +document:a#banned@user:bert")
	r.remove(store, "document:a#viewer@user:*")
	r.wantDiff("the wildcard itself", ofObject(store, from, "document:a", "reader"),
		"- user:* by tuples -document:a#viewer@user:*", "- user:carl by tuples -document:a#viewer@user:*")
}

func TestDifferencesThatTimeOrTheModelMade(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 8, 0, 0, 0, time.UTC)}
	r := newRigAt(t, c.Now)
	store := r.store("acme", "document:a#owner@user:bert")
	end := c.Now().Add(3 * time.Hour)
	late := conditional(t, "document:late#viewer@user:anna", "until", map[string]any{"end": end.Format(time.RFC3339)})
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{
		until(t, "document:a#owner@user:anna", end.Add(-time.Hour)),
		{Kind: remitv1.Operation_KIND_TOUCH, Tuple: late},
	}}); err != nil {
		t.Fatal(err)
	}
	from := r.revision()
	c.Advance(time.Hour)
	r.write(store, "document:b#owner@user:bert")
	c.Advance(10 * time.Hour)
	r.write(store, "document:c#owner@user:bert")
	lines := ofSubject(store, from, "user:anna", "reader", "document")
	r.wantDiff("time", lines, "- document:a by time -document:a#owner@user:anna", "- document:late by time")
	res, err := r.access.DiffAccess(t.Context(), ofSubject(store, from, "user:anna", "reader", "document"))
	if err != nil || len(res.Differences) != 2 {
		t.Fatal(res, err)
	}
	for i, want := range []time.Time{end.Add(-time.Hour), end} {
		if got := res.Differences[i].Cause.At.AsTime(); !got.Equal(want) {
			t.Errorf("%s turned at %v, want %v", res.Differences[i].Name, got, want)
		}
	}
	// That the rows leave the newest state later changes nothing.
	c.Advance(3 * 24 * time.Hour)
	if err := backend.NewHousekeeper(backend.NewWriter(r.reader().Reader)).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantDiff("time, long after", ofSubject(store, from, "user:anna", "reader", "document"),
		"- document:a by time -document:a#owner@user:anna", "- document:late by time")

	before := r.revision()
	written, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(strings.ReplaceAll(testModel, "or owner or viewer from parent", "or viewer from parent"))})
	if err != nil {
		t.Fatal(err)
	}
	model := ofSubject(store, before, "user:bert", "reader", "document")
	r.wantDiff("the model", model, "- document:a by model", "- document:b by model", "- document:c by model")
	res, err = r.access.DiffAccess(t.Context(), ofSubject(store, before, "user:bert", "reader", "document"))
	if err != nil || res.Differences[0].Cause.ModelId != written.ModelId {
		t.Errorf("%v, %v, want model %s", res, err, written.ModelId)
	}
	one := ofSubject(store, before, "user:bert", "reader", "document")
	one.ModelId = written.ModelId
	r.wantDiff("one model for both ends", one)
	added := strings.ReplaceAll(testModel, "define banned: [user]", "define banned: [user]\n    define auditor: owner")
	if _, err := r.models.WriteModel(t.Context(), &remitv1.WriteModelRequest{Store: store, Source: dsl(added)}); err != nil {
		t.Fatal(err)
	}
	r.wantDiff("a relation that is new", ofObject(store, before, "document:b", "auditor"), "+ user:bert by model")
}

func TestDifferencesThatCannotBeAskedFor(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", "document:a#owner@user:anna")
	now := r.revision()
	good := func() *remitv1.DiffAccessRequest { return ofSubject(store, now, "user:anna", "reader", "document") }
	for name, change := range map[string]func(*remitv1.DiffAccessRequest){
		"from no moment": func(q *remitv1.DiffAccessRequest) { q.From = nil },
		"from no exact one": func(q *remitv1.DiffAccessRequest) {
			q.From = &remitv1.Consistency{Requirement: &remitv1.Consistency_FullyConsistent{FullyConsistent: true}}
		},
		"from the future":    func(q *remitv1.DiffAccessRequest) { q.From = asOfRevision(now + 100) },
		"from before":        func(q *remitv1.DiffAccessRequest) { q.From = asOfRevision(1) },
		"to before from":     func(q *remitv1.DiffAccessRequest) { q.To = asOfRevision(now - 1) },
		"of nobody":          func(q *remitv1.DiffAccessRequest) { q.Of = nil },
		"of no subject":      func(q *remitv1.DiffAccessRequest) { q.GetSubject().Subject = "anna" },
		"of no type":         func(q *remitv1.DiffAccessRequest) { q.GetSubject().Type = "deal" },
		"of no relation":     func(q *remitv1.DiffAccessRequest) { q.GetSubject().Relation = "seer" },
		"by no model":        func(q *remitv1.DiffAccessRequest) { q.ModelId = "01K7Z0Q3T9V6M2N4P8R1S5W7XY" },
		"of no store":        func(q *remitv1.DiffAccessRequest) { q.Store = "nobody" },
		"with a made cursor": func(q *remitv1.DiffAccessRequest) { q.Cursor = "x" },
	} {
		req := good()
		change(req)
		res, err := r.access.DiffAccess(t.Context(), req)
		if err == nil {
			t.Errorf("a comparison %s = %v", name, res)
			continue
		}
		if _, message, detail := detailOf(t, err); detail.Reason == remitv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			t.Errorf("a comparison %s: %q has no reason", name, message)
		}
	}
}

// Random changes: what DiffAccess says must follow from Check at the two ends, and the
// change it names must be where Check turns, for the last time.
func TestDifferencesAgreeWithChecks(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 8, 0, 0, 0, time.UTC)}
	r := newRigAt(t, c.Now)
	rng := rand.New(rand.NewPCG(1, 2))
	store := r.store("acme", "document:0#owner@user:0")
	first := r.revision()
	pick := func(kind string, n int) string { return fmt.Sprintf("%s:%d", kind, rng.IntN(n)) }
	random := func() string {
		switch rng.IntN(8) {
		case 0:
			return pick("group", 3) + "#member@" + pick("user", 5)
		case 1:
			return pick("group", 3) + "#member@" + pick("group", 3) + "#member"
		case 2:
			return pick("folder", 3) + "#viewer@" + pick("group", 3) + "#member"
		case 3:
			return pick("document", 6) + "#parent@" + pick("folder", 3)
		case 4:
			return pick("document", 6) + "#banned@" + pick("user", 5)
		case 5:
			return pick("document", 6) + "#viewer@user:*"
		case 6:
			return pick("folder", 3) + "#owner@" + pick("user", 5)
		default:
			return pick("document", 6) + "#owner@" + pick("user", 5)
		}
	}
	present := map[string]bool{}
	for range 120 {
		c.Advance(time.Minute)
		var ops []*remitv1.Operation
		for range 1 + rng.IntN(2) {
			text := random()
			op := touch(t, text)[0]
			if present[text] || strings.HasSuffix(text, "*") && rng.IntN(4) > 0 {
				op.Kind = remitv1.Operation_KIND_DELETE
			}
			present[text] = op.Kind == remitv1.Operation_KIND_TOUCH
			if !slices.ContainsFunc(ops, func(o *remitv1.Operation) bool { return o.Tuple.String() == op.Tuple.String() }) {
				ops = append(ops, op)
			}
		}
		if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: ops}); err != nil {
			t.Fatal(err)
		}
	}
	last := r.revision()
	allowed := func(rev uint64, object, subject string) bool {
		t.Helper()
		return r.check(&remitv1.Scope{Store: store, Consistency: asOfRevision(rev)}, object+"#reader@"+subject)
	}
	found := 0
	for range 25 {
		from := first + rng.Uint64N(last-first)
		to := from + rng.Uint64N(last-from+1)
		subject := pick("user", 5)
		req := ofSubject(store, from, subject, "reader", "document")
		req.To, req.PageSize = asOfRevision(to), 1+rng.Int32N(4)
		got := map[string]*remitv1.AccessDifference{}
		for {
			res, err := r.access.DiffAccess(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range res.Differences {
				got[d.Name] = d
			}
			if req.Cursor = res.Cursor; req.Cursor == "" {
				break
			}
		}
		for i := range 6 {
			object := fmt.Sprintf("document:%d", i)
			before, after := allowed(from, object, subject), allowed(to, object, subject)
			d := got[object]
			if (before != after) != (d != nil) {
				t.Fatalf("%s of %s from %d to %d: %v then %v, DiffAccess says %v", subject, object, from, to, before, after, d)
			}
			if d == nil {
				continue
			}
			found++
			turned := to
			for allowed(turned-1, object, subject) == after {
				turned--
			}
			if d.Kind == remitv1.AccessDifference_KIND_GAINED != after || d.Cause.Revision != turned || d.Cause.Kind != remitv1.AccessCause_KIND_TUPLES || len(d.Cause.Changes) == 0 {
				t.Fatalf("%s of %s from %d to %d turned to %v at %d, DiffAccess says %v", subject, object, from, to, after, turned, d)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d differences", found)
	}
}

// Of more changes than are looked at one by one, the answer says that it found one.
func TestDifferencesOfManyChanges(t *testing.T) {
	r := newRig(t)
	store := r.store("acme", "document:a#viewer@group:g0#member")
	from := r.revision()
	for i := range statesLooked + 10 {
		r.write(store, fmt.Sprintf("group:g%d#member@group:g%d#member", i, i+1))
		if i == 20 {
			r.write(store, "group:g5#member@user:anna")
		}
	}
	r.wantDiff("many changes", ofObject(store, from, "document:a", "reader"), "+ user:anna by tuples +group:g5#member@user:anna, perhaps not last")
}

func TestDifferencesOfAStateThatIsGone(t *testing.T) {
	c := &clock{now: time.Date(2026, 3, 3, 8, 0, 0, 0, time.UTC)}
	r := newRigAt(t, c.Now)
	store := r.store("acme", "document:x#owner@user:anna")
	from := r.revision()
	r.write(store, "document:a#owner@user:anna", "document:b#owner@user:anna", "document:c#owner@user:anna")
	req := ofSubject(store, from, "user:anna", "reader", "document")
	first, err := r.access.DiffAccess(t.Context(), req)
	if err != nil || first.Cursor == "" || len(first.Differences) != 2 {
		t.Fatal(first, err)
	}
	c.Advance(31 * 24 * time.Hour)
	if err := backend.NewHousekeeper(backend.NewWriter(r.reader().Reader)).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err = r.access.DiffAccess(t.Context(), req); err == nil {
		t.Error("a state that is gone can be compared")
	} else if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_REVISION_UNAVAILABLE || !strings.Contains(message, "the earliest that can be asked about is revision") {
		t.Errorf("DiffAccess from a state that is gone = %v %q", detail.Reason, message)
	}
	req.Cursor = first.Cursor
	_, err = r.access.DiffAccess(t.Context(), req)
	if _, message, detail := detailOf(t, err); detail.Reason != remitv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED {
		t.Errorf("the next page = %v %q", detail.Reason, message)
	}
}
