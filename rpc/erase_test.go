package rpc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
)

// eraser is the service of a rig.
func (r *rig) eraser(node backend.Node, files backend.Rewriter) *eraseService {
	config := r.config
	if node != nil {
		config.Node = node
	}
	reading := &reader{backend.NewReader(config.backend())}
	s := streamer{reader: reading, slow: time.Minute, draining: context.Background()}
	return &eraseService{s, backend.NewWriter(reading.Reader), files, func(context.Context, graph.Revision) ([]string, error) { return []string{"old"}, nil }}
}

// An eraseLog keeps what an erasure sends.
type eraseLog struct {
	all  []*remitv1.EraseResponse
	take func(res *remitv1.EraseResponse) error
}

func (l *eraseLog) Send(res *remitv1.EraseResponse) error {
	l.all = append(l.all, res)
	if l.take != nil {
		return l.take(res)
	}
	return nil
}

func (l *eraseLog) last() *remitv1.EraseResponse {
	if len(l.all) == 0 {
		return nil
	}
	return l.all[len(l.all)-1]
}

// anna's store: she is a subject, an object by another name, and others tell of her.
func (r *rig) annas() string {
	r.t.Helper()
	return r.store("acme", append(acme, "document:plan#owner@user:anna", "document:zoo#viewer@user:anna")...)
}

func TestAnErasureSaysWhatItFindsAndDid(t *testing.T) {
	r := newRig(t)
	store := r.annas()
	for range 3 { // past versions
		r.write(store, "document:zoo#viewer@user:anna")
	}
	s := r.eraser(nil, nil)
	ask := func(req *remitv1.EraseRequest) (*eraseLog, error) {
		req.Store = store
		l := &eraseLog{}
		err := s.erase(t.Context(), req, l)
		return l, err
	}
	seen, err := ask(&remitv1.EraseRequest{Entity: "user:anna", Preview: true})
	if err != nil || len(seen.all) != 1 {
		t.Fatalf("preview = %v, %v", seen.all, err)
	}
	if f := seen.all[0].Found; f.TuplesAsSubject != 3 || f.TuplesAsObject != 0 || f.TuplesAsUserset != 0 || !f.Known || f.Mentions != 0 || f.Document {
		t.Errorf("preview = %v", f)
	}
	seen, err = ask(&remitv1.EraseRequest{Entity: "group:design", Preview: true})
	if f := seen.last().GetFound(); err != nil || f.TuplesAsSubject != 0 || f.TuplesAsObject != 1 || f.TuplesAsUserset != 1 || !f.Known {
		t.Errorf("preview of a group = %v, %v", f, err)
	}
	if left := r.all(store); len(left) != len(acme)+2 {
		t.Fatalf("after previews %d tuples are left", len(left))
	}
	done, err := ask(&remitv1.EraseRequest{Entity: "user:anna", Reason: "by request 7"})
	if err != nil {
		t.Fatal(err)
	}
	last := done.last()
	if e := last.Erased; e.Tuples != 3 || e.Versions != 3 || e.Changes < 6 || last.Report.GetRevision() == 0 || last.Report.Mentions != 0 {
		t.Errorf("the erasure says %v", last)
	}
	if len(last.Report.Nodes) != 1 || len(last.Report.Backups) != 1 || len(last.Report.Beyond) == 0 {
		t.Errorf("the report is %v", last.Report)
	}
	for _, text := range r.all(store) {
		if strings.Contains(text, "anna") {
			t.Errorf("%s is left", text)
		}
	}
	// Whoever lost the end of the stream asks by id, and gets the same counts.
	again, err := ask(&remitv1.EraseRequest{ErasureId: last.ErasureId})
	if err != nil || again.last().Erased.GetTuples() != 3 || again.last().Report.GetRevision() != last.Report.Revision {
		t.Errorf("by its id, the erasure says %v, %v", again.last(), err)
	}
	// Once more by name: nothing is left.
	again, err = ask(&remitv1.EraseRequest{Entity: "user:anna"})
	if e := again.last().GetErased(); err != nil || again.all[0].Found.GetKnown() || e.GetTuples()+e.GetDocuments()+e.GetVersions()+e.GetChanges()+e.GetTexts()+e.GetKeys() != 0 {
		t.Errorf("the second erasure says %v, %v", again.last(), err)
	}
}

func TestAnErasureIsRefused(t *testing.T) {
	r := newRig(t)
	store := r.annas()
	mention, err := structpb.NewStruct(map[string]any{"allowed": []any{"eu", "user:anna"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.tryWrite(&remitv1.WriteRequest{Store: store, Operations: []*remitv1.Operation{{Kind: remitv1.Operation_KIND_TOUCH, Tuple: &remitv1.Tuple{
		Object: "document:secret", Relation: "viewer", Subject: "user:bert", Condition: &remitv1.Condition{Name: "in_region", Context: mention},
	}}}}); err != nil {
		t.Fatal(err)
	}
	before := len(r.all(store))
	for _, tc := range []struct {
		name   string
		req    *remitv1.EraseRequest
		code   connect.Code
		reason remitv1.ErrorReason
		field  string
	}{
		{"nobody", &remitv1.EraseRequest{}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "entity"},
		{"no entity", &remitv1.EraseRequest{Entity: "user:anna#friend"}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "entity"},
		{"a wildcard", &remitv1.EraseRequest{Entity: "user:*"}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_TUPLE, "entity"},
		{"an unknown type", &remitv1.EraseRequest{Entity: "ship:anna"}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_TYPE_NOT_FOUND, "entity"},
		{"an unknown erasure", &remitv1.EraseRequest{ErasureId: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "erasure_id"},
		{"no id", &remitv1.EraseRequest{ErasureId: "7"}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "erasure_id"},
		{"a reason that tells", &remitv1.EraseRequest{Entity: "user:anna", Reason: "anna asked for it"}, connect.CodeInvalidArgument, remitv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "reason"},
		{"mentions", &remitv1.EraseRequest{Entity: "user:anna"}, connect.CodeFailedPrecondition, remitv1.ErrorReason_ERROR_REASON_MENTIONED, "leave_mentions"},
	} {
		tc.req.Store = store
		err := r.receiveErase(t.Context(), tc.req)
		if err == nil {
			t.Errorf("%s: no error", tc.name)
			continue
		}
		code, message, detail := detailOf(t, err)
		if code != tc.code || detail.Reason != tc.reason || detail.Field != tc.field {
			t.Errorf("%s: %v %v %q: %s", tc.name, code, detail.Reason, detail.Field, message)
		}
	}
	ctx, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set(backend.HeaderActor, "user:anna")
	if err := r.receiveErase(ctx, &remitv1.EraseRequest{Store: store, Entity: "user:anna", LeaveMentions: true}); err == nil {
		t.Error("an actor that bears the name is recorded")
	} else if _, _, detail := detailOf(t, err); detail.Field != backend.HeaderActor {
		t.Errorf("an actor that bears the name: %v", err)
	}
	if after := len(r.all(store)); after != before {
		t.Fatalf("refused erasures left %d of %d tuples", after, before)
	}
	// The mention may stay: the report says where.
	l := &eraseLog{}
	if err := r.eraser(nil, nil).erase(t.Context(), &remitv1.EraseRequest{Store: store, Entity: "user:anna", LeaveMentions: true}, l); err != nil {
		t.Fatal(err)
	}
	report := l.last().Report
	if report.GetMentions() != 1 || report.Mentioned[0].Kind != remitv1.Mention_KIND_TUPLE || report.Mentioned[0].Place != "document:secret#viewer@user:bert" {
		t.Errorf("the report is %v", report)
	}
}

func (r *rig) receiveErase(ctx context.Context, req *remitv1.EraseRequest) error {
	r.t.Helper()
	stream, err := r.erasures.Erase(ctx, req)
	for err == nil {
		_, err = stream.Receive()
	}
	if errors.Is(err, context.Canceled) || asConnect(err) == nil {
		return nil
	}
	return err
}

// An erasure that breaks off anywhere goes on where it was, by name or by id.
func TestAnErasureGoesOn(t *testing.T) {
	broken := errors.New("broken")
	for _, byID := range []bool{false, true} {
		r := newRig(t)
		store := r.fill("acme", 5000)
		req := &remitv1.EraseRequest{Store: store, Entity: "user:anna"}
		streams, last := 0, (*remitv1.EraseResponse)(nil)
		for last.GetReport() == nil {
			l := &eraseLog{}
			l.take = func(*remitv1.EraseResponse) error {
				if len(l.all) == 3 && l.last().Report == nil {
					return broken
				}
				return nil
			}
			if err := r.eraser(nil, nil).erase(t.Context(), req, l); err != nil && !errors.Is(err, broken) {
				t.Fatal(err)
			}
			if last, streams = l.last(), streams+1; byID {
				req.ErasureId, req.Entity = last.ErasureId, ""
			}
		}
		// By name, one that was over when the stream broke off is begun anew, and finds nothing.
		if streams < 3 || byID && last.Erased.GetTuples() != 5000 || len(r.all(store)) != 0 {
			t.Errorf("by id %v: after %d streams %v; %d tuples are left", byID, streams, last, len(r.all(store)))
		}
		id, err := fsm.ParseStoreID(store)
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := r.config.State.Current().Store(id); len(s.Erasures()) != 0 {
			t.Errorf("by id %v: %v is not over", byID, s.Erasures())
		}
	}
}

// Who mentions an entity while it is being erased does not keep the erasure from its end:
// a preview says that it is under way, and the report what is left.
func TestAMentionDoesNotStopWhatHasBegun(t *testing.T) {
	r := newRig(t)
	store := r.fill("acme", 5000)
	broken := errors.New("broken")
	l := &eraseLog{}
	l.take = func(res *remitv1.EraseResponse) error {
		if res.ErasureId != "" {
			return broken
		}
		return nil
	}
	if err := r.eraser(nil, nil).erase(t.Context(), &remitv1.EraseRequest{Store: store, Entity: "user:anna"}, l); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	r.write(store, "document:anna#viewer@user:bert")
	seen := &eraseLog{}
	if err := r.eraser(nil, nil).erase(t.Context(), &remitv1.EraseRequest{Store: store, Entity: "user:anna", Preview: true}, seen); err != nil {
		t.Fatal(err)
	}
	if m := seen.last(); m.ErasureId != l.last().ErasureId || m.Found.GetMentions() != 1 || m.Erased != nil {
		t.Errorf("the preview is %v, want the erasure %s and a mention", m, l.last().ErasureId)
	}
	done := &eraseLog{}
	if err := r.eraser(nil, nil).erase(t.Context(), &remitv1.EraseRequest{Store: store, Entity: "user:anna"}, done); err != nil {
		t.Fatal(err)
	}
	if last := done.last(); last.Erased.GetTuples() != 5000 || last.Report.GetMentions() != 1 {
		t.Errorf("the erasure says %v, want 5000 tuples and a mention", last)
	}
}

// A slowRewriter has rewritten the files when it has been asked often enough.
type slowRewriter struct{ asked, enough int }

func (s *slowRewriter) Rewritten() graph.Revision { return 99 }

func (s *slowRewriter) WaitRewritten(ctx context.Context, _ graph.Revision) error {
	if s.asked++; s.asked >= s.enough {
		return nil
	}
	return context.DeadlineExceeded
}

func (s *slowRewriter) Rewrite(context.Context) (graph.Revision, error) { return 99, nil }

func (s *slowRewriter) Rewriting() (backend.RewriteProgress, bool) {
	return backend.RewriteProgress{Part: "state", Rows: 5, Total: 10, Attempt: 2, Err: errors.New("no room")}, true
}

func TestAnErasureWaitsForTheFiles(t *testing.T) {
	r := newRig(t)
	store := r.annas()
	l := &eraseLog{}
	if err := r.eraser(nil, &slowRewriter{enough: 3}).erase(t.Context(), &remitv1.EraseRequest{Store: store, Entity: "user:anna"}, l); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, m := range l.all {
		if m.Rewriting.GetPart() == "state" && m.Rewriting.Rows == 5 && m.Rewriting.Failure == "no room" {
			told++
		}
	}
	if told != 2 || l.last().Report.GetNodes()[0].RewrittenRevision != 99 {
		t.Errorf("told %d times, %v", told, l.last())
	}
}

// Whoever may write may not erase, and is not told whether there is anything to erase.
func TestAnErasureNeedsAdmin(t *testing.T) {
	r := newRig(t)
	store := r.annas()
	id, err := fsm.ParseStoreID(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, preview := range []bool{true, false} {
		ctx := identity.WithCall(t.Context(), &identity.Call{
			Caller: &identity.Caller{Principal: "key:test", Grants: identity.Grants{
				Stores: map[identity.Store]identity.Permissions{id: identity.Read | identity.Write | identity.Model},
			}},
			Need: identity.Admin,
		})
		l := &eraseLog{}
		err := r.eraser(nil, nil).erase(ctx, &remitv1.EraseRequest{Store: store, Entity: "user:anna", Preview: preview}, l)
		if !errors.Is(err, identity.ErrForbidden) || len(l.all) > 0 {
			t.Errorf("preview %v: %v, %v", preview, l.all, err)
		}
	}
}
