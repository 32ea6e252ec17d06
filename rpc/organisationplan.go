package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/gen/remit/v1/remitv1connect"
	"github.com/remit-authz/remit/rpc/identity"
	"github.com/remit-authz/remit/rpc/limit"
)

// defaultSamples is how many users are named, and records of each, if the request does not
// say.
const defaultSamples = 20

// PlanChange says what a change would do.
func (s *organisationService) PlanChange(ctx context.Context, req *remitv1.PlanChangeRequest, stream remitv1connect.OrganisationServicePlanChangeServerStream) error {
	ctx, out, done := s.outlet(ctx)
	defer done()
	p := &changePlan{outlet: out, to: stream, request: req}
	if err := p.run(ctx, s); err != nil {
		return p.end(ctx, err)
	}
	return nil
}

// A planSender takes the responses of a PlanChange.
type planSender interface {
	Send(res *remitv1.PlanChangeResponse) error
}

// A changePlan is one PlanChange under way.
type changePlan struct {
	*outlet
	to      planSender
	request *remitv1.PlanChangeRequest
	change  *organisationChange
	org     *organisation
}

func (p *changePlan) run(ctx context.Context, s *organisationService) error {
	var err error
	if p.change, err = s.newChange(p.request.Store, p.request.As, p.request.Edits); err != nil {
		return err
	}
	p.change.preview = true
	if p.request.At != nil {
		if _, err := instantOf("at", p.request.At); err != nil {
			return err
		}
	}
	if err := p.progress("plan", 0, len(p.request.Edits)); err != nil {
		return err
	}
	if err := p.make(ctx, s); err != nil {
		return err
	}
	plan := &remitv1.ChangePlan{Token: p.org.Token()}
	if err := p.tell(ctx, plan); err != nil {
		return err
	}
	if !p.request.WithoutAccess {
		access, err := p.access(ctx)
		if err != nil {
			return err
		}
		if err := p.differences(ctx, plan, access); err != nil {
			return err
		}
	}
	return p.sendMessage(&remitv1.PlanChangeResponse{Plan: plan})
}

func (p *changePlan) progress(what string, done, total int) error {
	return p.sendMessage(&remitv1.PlanChangeResponse{Progress: &remitv1.Progress{What: what, Done: int64(done), Total: int64(total)}})
}

func (p *changePlan) sendMessage(res *remitv1.PlanChangeResponse) error {
	return p.send("", func() error { return p.to.Send(res) })
}

// make plans the change at the newest state that this node shows. If it refuses, it might
// not know of what was written elsewhere a moment ago.
func (p *changePlan) make(ctx context.Context, s *organisationService) error {
	err := p.attempt(ctx, s)
	if err == nil || ctx.Err() != nil || errors.Is(err, identity.ErrForbidden) {
		return err
	}
	if err := s.reader.CatchUp(ctx); err != nil {
		return err
	}
	return p.attempt(ctx, s)
}

func (p *changePlan) attempt(ctx context.Context, s *organisationService) error {
	store, err := backend.FindStore(ctx, s.reader.Config.State.Current(), "store", p.request.Store)
	if err != nil {
		return err
	}
	if p.org, err = s.organisation("store", backend.HeadOf(store)); err != nil {
		return err
	}
	return p.change.make(ctx, p.org, store)
}

// tell says what would be written. Of records that the actor may not see it says no more than
// that they would change, and of others what the actor is shown of them: whoever deletes a
// role need not know what is shared with it.
func (p *changePlan) tell(ctx context.Context, to *remitv1.ChangePlan) error {
	plan := p.change.plan
	to.TuplesWritten, to.TuplesDeleted = int64(len(plan.Changes.Put)), int64(len(plan.Changes.Delete))
	for _, e := range plan.Edits {
		c := &remitv1.EntityChange{Kind: remitv1.EntityChange_KIND_CHANGED, Entity: entityRef(e.Key())}
		switch {
		case e.Before == nil:
			c.Kind = remitv1.EntityChange_KIND_MADE
		case e.After == nil:
			c.Kind = remitv1.EntityChange_KIND_DELETED
		default:
			before, after, err := p.org.shownBoth(ctx, p.change.actor, e)
			if err != nil {
				return err
			}
			if before == nil {
				break
			}
			if c.Differences, err = entityDifferences(before, after); err != nil {
				return err
			}
		}
		to.Entities = append(to.Entities, c)
	}
	return nil
}

// sees reports whether the actor may know of an entity: of records, who may view them, be it
// because the change makes them.
func (p *changePlan) sees(ctx context.Context, key graph.ObjectName) (bool, error) {
	if p.change.actor.seat == "" || kindOfKey(key) != remitv1.EntityKind_ENTITY_KIND_RECORD {
		return true, nil
	}
	made := func(e crm.Edited) bool { return e.Before == nil && e.Key() == key }
	if slices.ContainsFunc(p.change.plan.Edits, made) {
		return true, nil
	}
	return p.org.may(ctx, p.change.actor.seat, key, crm.ActionView.Relation())
}

// samples are those of some records that the actor may know of.
func (p *changePlan) samples(ctx context.Context, module string, ids []string) ([]string, error) {
	var seen []string
	for _, id := range ids {
		sees, err := p.sees(ctx, graph.ObjectName{Type: module, ID: id})
		if err != nil {
			return nil, err
		}
		if sees {
			seen = append(seen, id)
		}
	}
	return seen, nil
}

// A previewed is the answer of a preview.
type previewed struct {
	access *crm.AccessPreview
	err    error
}

// access finds out who would gain and who would lose, and tells how far it is.
func (p *changePlan) access(ctx context.Context) (*crm.AccessPreview, error) {
	samples := int(p.request.Samples)
	if samples == 0 {
		samples = defaultSamples
	}
	after, err := p.modelAfter()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	helpers := limit.Helpers(ctx, runtime.GOMAXPROCS(0)-1)
	progress := make(chan crm.PreviewProgress, 1)
	preview := &crm.Preview{
		View: p.org.Base, Plan: p.org.Plan.Plan, After: after, At: p.org.At, Workers: 1 + len(helpers),
		Bounds: crm.PreviewBounds{Users: samples, Samples: samples},
		Progress: func(now crm.PreviewProgress) {
			select {
			case progress <- now:
			default: // whoever reads is behind, and shall see a later one
			}
		},
	}
	if p.request.At != nil {
		preview.At = p.request.At.AsTime()
	}
	answer := make(chan previewed, 1)
	go func() {
		access, err := preview.Access(ctx, p.change.plan.Changes)
		for _, h := range helpers {
			h.Leave()
		}
		answer <- previewed{access, err}
	}()
	for {
		select {
		case now := <-progress:
			if err := p.progress(string(now.Stage), now.Done, now.Total); err != nil {
				cancel()
				<-answer
				return nil, err
			}
		case a := <-answer:
			return a.access, a.err
		}
	}
}

// modelAfter is the model with which the change would come, by the ids of the store; nil if
// it stays.
func (p *changePlan) modelAfter() (*model.Plan, error) {
	missing, err := modelMissing(p.org.Head, p.change.plan.Model)
	if err != nil || !missing {
		return nil, err
	}
	symbols := p.org.Symbols.Clone()
	symbols.Define(p.change.plan.Model.Declarations())
	after, err := p.change.plan.Model.Compile("", symbols)
	if err != nil {
		return nil, fmt.Errorf("compile the model of a change: %w", err)
	}
	return after, nil
}

// differences says who gains and who loses.
func (p *changePlan) differences(ctx context.Context, to *remitv1.ChangePlan, access *crm.AccessPreview) error {
	to.UsersGaining, to.UsersLosing = int64(access.Gaining), int64(access.Losing)
	for i := range access.Users {
		u := &access.Users[i]
		m := &remitv1.UserDifference{User: u.User}
		var err error
		if m.Name, err = p.nameOf(u.User); err != nil {
			return err
		}
		for j := range u.Modules {
			d := &u.Modules[j]
			of := &remitv1.ModuleDifference{
				Module: d.Module, Action: string(d.Action), Gained: countMessage(d.Gained), Lost: countMessage(d.Lost),
			}
			if of.GainedSamples, err = p.samples(ctx, d.Module, d.GainedSamples); err != nil {
				return err
			}
			if of.LostSamples, err = p.samples(ctx, d.Module, d.LostSamples); err != nil {
				return err
			}
			m.Modules = append(m.Modules, of)
		}
		to.Users = append(to.Users, m)
	}
	return nil
}

func countMessage(c crm.Count) *remitv1.Count {
	return &remitv1.Count{Count: int64(c.N), AtLeast: c.AtLeast}
}

// nameOf is the name of a seat, after the change if it has one then.
func (p *changePlan) nameOf(seat string) (string, error) {
	key := (&crm.Seat{ID: seat}).Key()
	for _, e := range p.change.plan.Edits {
		if after, ok := e.After.(*crm.Seat); ok && after.ID == seat {
			return after.Name, nil
		}
	}
	e, _, err := p.org.entities.Entity(key)
	if s, ok := e.(*crm.Seat); ok {
		return s.Name, err
	}
	return "", err
}
