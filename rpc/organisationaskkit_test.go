package rpc

import (
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
)

// An asked organisation is one that was written whole, as its planner writes it, and the
// client that asks it.
type askedOrganisation struct {
	*rig
	org   remitv1connect.OrganisationServiceClient
	o     *crm.Organisation
	store string
	at    time.Time // of all questions
}

// organisation writes an organisation to a store of its own.
func (r *rig) organisation(name string, o *crm.Organisation, at time.Time) *askedOrganisation {
	r.t.Helper()
	if err := o.Validate(crm.DefaultLimits()); err != nil {
		r.t.Fatal(err)
	}
	id, err := backend.NewReader(r.config.backend()).NewID()
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := crm.Model(o.Modules)
	if err != nil {
		r.t.Fatal(err)
	}
	source, err := m.JSON()
	if err != nil {
		r.t.Fatal(err)
	}
	store := fsm.StoreID(id)
	r.done(&fsm.Command{Store: store, Body: &fsm.CreateStore{Name: name, Managed: true}})
	r.done(&fsm.Command{
		Store: store, Planned: true, Bumps: []string{backend.ModelScope},
		Body: &fsm.WriteModel{ID: fsm.ModelID(id), Source: source, Declarations: m.Declarations()},
	})
	a := &askedOrganisation{rig: r, org: newOrgClient(r), o: &crm.Organisation{}, store: store.String(), at: at}
	a.become(o)
	return a
}

func (r *rig) done(c *fsm.Command) {
	r.t.Helper()
	if res := r.propose(c); res.Err != nil {
		r.t.Fatal(res.Err)
	}
}

// become writes what is different in an organisation of the same modules.
func (a *askedOrganisation) become(o *crm.Organisation) {
	a.t.Helper()
	var before crm.Encoding
	if a.o.ID != "" {
		before = crm.Encode(a.o)
	}
	head, err := backend.FindStore(a.t.Context(), a.config.State.Current(), "store", a.store)
	if err != nil {
		a.t.Fatal(err)
	}
	snapshot := backend.HeadOf(head)
	plan, err := backend.NewReader(a.config.backend()).Plan(&snapshot, "", "")
	if err != nil {
		a.t.Fatal(err)
	}
	w := planned{symbols: head.Symbols(), plan: plan.Plan}
	body, err := w.write(crm.Difference(before, crm.Encode(o)))
	if err != nil {
		a.t.Fatal(err)
	}
	for some := range slices.Chunk(body.Operations, fsm.MaxOperations) {
		a.done(&fsm.Command{Store: head.ID(), Planned: true, Body: &fsm.Write{Operations: some}})
	}
	a.o = o
}

func (a *askedOrganisation) scope() *remitv1.OrganisationScope {
	return &remitv1.OrganisationScope{Store: a.store, At: timestamppb.New(a.at)}
}

func (a *askedOrganisation) as(seat string) *remitv1.OrganisationScope {
	s := a.scope()
	s.As = seat
	return s
}

// can asks one question.
func (a *askedOrganisation) can(scope *remitv1.OrganisationScope, user, action, on, field string) (bool, error) {
	res, err := a.org.Can(a.t.Context(), &remitv1.CanRequest{Scope: scope, Deed: &remitv1.Deed{User: user, Action: action, On: on, Field: field}})
	return res.GetAllowed(), err
}

func (a *askedOrganisation) batch(deeds []*remitv1.Deed) []*remitv1.BatchAnswer {
	a.t.Helper()
	var answers []*remitv1.BatchAnswer
	for some := range slices.Chunk(deeds, 10_000) {
		res, err := a.org.CanBatch(a.t.Context(), &remitv1.CanBatchRequest{Scope: a.scope(), Deeds: some})
		if err != nil {
			a.t.Fatalf("CanBatch: %v", err)
		}
		answers = append(answers, res.Answers...)
	}
	return answers
}

// records lists in pages whose sizes are told; 0 is as many as the service likes.
func (a *askedOrganisation) records(scope *remitv1.OrganisationScope, user, module, action string, size func() int32) (ids []string, pages int) {
	a.t.Helper()
	req := &remitv1.ListRecordsRequest{Scope: scope, User: user, Module: module, Action: action}
	for {
		req.PageSize = size()
		res, err := a.org.ListRecords(a.t.Context(), req)
		if err != nil {
			a.t.Fatalf("ListRecords(%s, %s, %s): %v", user, module, action, err)
		}
		if n := int32(len(res.Ids)); req.PageSize > 0 && n > req.PageSize {
			a.t.Fatalf("a page of at most %d has %d", req.PageSize, n)
		}
		ids, pages = append(ids, res.Ids...), pages+1
		if req.Cursor = res.Cursor; res.Cursor == "" {
			return ids, pages
		}
	}
}

func (a *askedOrganisation) users(scope *remitv1.OrganisationScope, record, action string, size func() int32) (ids []string, pages int) {
	a.t.Helper()
	req := &remitv1.ListUsersWithAccessRequest{Scope: scope, Record: record, Action: action}
	for {
		req.PageSize = size()
		res, err := a.org.ListUsersWithAccess(a.t.Context(), req)
		if err != nil {
			a.t.Fatalf("ListUsersWithAccess(%s, %s): %v", record, action, err)
		}
		if n := int32(len(res.Users)); req.PageSize > 0 && n > req.PageSize {
			a.t.Fatalf("a page of at most %d has %d", req.PageSize, n)
		}
		ids, pages = append(ids, res.Users...), pages+1
		if req.Cursor = res.Cursor; res.Cursor == "" {
			return ids, pages
		}
	}
}

func (a *askedOrganisation) duties(req *remitv1.OnDutyRequest, size func() int32) (duties []*remitv1.Duty, pages int) {
	a.t.Helper()
	for {
		req.PageSize = size()
		res, err := a.org.OnDuty(a.t.Context(), req)
		if err != nil {
			a.t.Fatalf("OnDuty: %v", err)
		}
		duties, pages = append(duties, res.Duties...), pages+1
		if req.Cursor = res.Cursor; res.Cursor == "" {
			return duties, pages
		}
	}
}

// all receives a stream to its end.
func all[T any](t testing.TB, stream interface{ Receive() (T, error) }, err error) (messages []T) {
	t.Helper()
	for err == nil {
		var m T
		if m, err = stream.Receive(); err == nil {
			messages = append(messages, m)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return messages
}

// sorted is a list in order, each once; it must have had nothing twice.
func sorted(t testing.TB, what string, ids []string) []string {
	t.Helper()
	list := slices.Sorted(slices.Values(ids))
	if once := slices.Compact(slices.Clone(list)); len(once) != len(list) {
		t.Errorf("%s: %q has something twice", what, ids)
	}
	return list
}

// whole is a page of any size.
func whole() int32 { return 0 }
