package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/crm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/graph/value"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

const (
	// defaultOrganisation is the id of an organisation if the request gives none.
	defaultOrganisation = "main"

	firstRole      = "ceo"
	firstProfile   = "administrator"
	commonProfile  = "standard"
	suffixFirst    = "#first" // of the idempotency key of the first tuples
	commonInModule = crm.PermissionView | crm.PermissionCreate | crm.PermissionEdit | crm.PermissionDelete
)

// CreateOrganisation makes a managed store, its model, and the first entities, in three
// commands. Under an idempotency key each of them finds what an earlier call did.
func (s *organisationService) CreateOrganisation(ctx context.Context, req *remitv1.CreateOrganisationRequest) (*remitv1.CreateOrganisationResponse, error) {
	if err := checkStoreName(req.Name); err != nil {
		return nil, err
	}
	o, err := firstOrganisation(req)
	if err != nil {
		return nil, err
	}
	m, err := crm.Model(o.Modules)
	if err != nil {
		return nil, err
	}
	id, err := s.reader.NewID()
	if err != nil {
		return nil, err
	}
	hash := contentOf("create organisation", req, "idempotency_key", "reason")
	made, err := s.writer.Do(ctx, func(*fsm.Root) (*fsm.Command, error) {
		return &fsm.Command{
			Store: id, Key: req.IdempotencyKey, Hash: hash, Reason: req.Reason,
			Body: &fsm.CreateStore{Name: req.Name, Managed: true},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.firstModel(ctx, made.Store, m, req.Reason); err != nil {
		return nil, err
	}
	result, err := s.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		store, err := backend.OpenStore(ctx, root, made.Store)
		if err != nil {
			return nil, err
		}
		state := backend.HeadOf(store)
		plan, err := s.reader.Plan(&state, "", "")
		if err != nil {
			return nil, err
		}
		w := planned{symbols: state.Symbols, plan: plan.Plan}
		command := &fsm.Command{Store: made.Store, Hash: hash, Reason: req.Reason, Planned: true}
		if req.IdempotencyKey != "" {
			command.Key = req.IdempotencyKey + suffixFirst
		}
		none, err := w.version(o.Head().Key(), 0)
		if err != nil {
			return nil, err
		}
		command.Preconditions = []fsm.Precondition{none}
		command.Body, err = w.write(crm.Difference(crm.Encoding{}, crm.Encode(o)))
		return command, err
	})
	if err != nil {
		return nil, err
	}
	return &remitv1.CreateOrganisationResponse{Store: made.Store.String(), Token: s.reader.Token(result.Revision)}, nil
}

// firstOrganisation is what a request asks for, and is valid.
func firstOrganisation(req *remitv1.CreateOrganisationRequest) (*crm.Organisation, error) {
	seat, err := seatOf("super_admin", req.SuperAdmin)
	if err != nil {
		return nil, err
	}
	if seat.Role == "" {
		seat.Role = firstRole
	}
	if len(seat.Profiles) == 0 {
		seat.Profiles = []string{firstProfile}
	}
	o := crm.New(cmp.Or(req.Id, defaultOrganisation), req.Name, seat.ID, seat.Name)
	o.Seats = []crm.Seat{*seat}
	for _, m := range req.Modules {
		module := moduleOf(m)
		o.Modules = append(o.Modules, *module)
		for i := range o.Profiles {
			switch p := &o.Profiles[i]; p.ID {
			case firstProfile:
				insert(&p.Modules, module.ID, crm.AllPermissions())
			case commonProfile:
				insert(&p.Modules, module.ID, commonInModule)
			}
		}
	}
	if err := o.Validate(crm.DefaultLimits()); err != nil {
		return nil, firstFault(req, err)
	}
	return o, nil
}

// firstFault says which field of a request is at fault.
func firstFault(req *remitv1.CreateOrganisationRequest, err error) error {
	var faults *crm.Error
	if !errors.As(err, &faults) || len(faults.Faults) == 0 {
		return err
	}
	subject := faults.Faults[0].Subject
	for i, m := range req.Modules {
		if moduleOf(m).Key().String() == subject {
			return at(indexed("modules", i), err)
		}
	}
	switch seat := (&crm.Seat{ID: req.SuperAdmin.GetId()}).Key().String(); {
	case subject == seat, req.SuperAdmin.GetSuspended():
		return at("super_admin", err)
	case (&crm.Head{ID: cmp.Or(req.Id, defaultOrganisation)}).Key().Validate() != nil:
		return at("id", err)
	case strings.TrimSpace(req.Name) != req.Name:
		return at("name", err)
	}
	return err
}

// firstModel writes the model of an organisation that is being made, unless that was done
// before: an organisation that is there may have another one by now.
func (s *organisationService) firstModel(ctx context.Context, store fsm.StoreID, m *model.Model, reason string) error {
	_, err := s.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		head, err := backend.OpenStore(ctx, root, store)
		if err != nil {
			return nil, err
		}
		if same, err := isNewest(head, m); err != nil || same {
			return nil, err
		}
		if _, err = s.organisation("store", backend.HeadOf(head)); !errors.Is(err, ErrNoOrganisation) {
			return nil, err
		}
		return s.modelCommand(head, m, reason)
	})
	return err
}

// modelCommand is the command that writes a model, if the newest is still the one that the
// store shows.
func (s *organisationService) modelCommand(head *fsm.Store, m *model.Model, reason string) (*fsm.Command, error) {
	source, err := m.JSON()
	if err != nil {
		return nil, fmt.Errorf("write the model as JSON: %w", err)
	}
	if len(source) > MaxModelBytes {
		return nil, fmt.Errorf("%w: the model of so many modules takes %d bytes, at most %d are allowed", ErrTooLarge, len(source), MaxModelBytes)
	}
	id, err := s.reader.NewID()
	if err != nil {
		return nil, err
	}
	return &fsm.Command{
		Store: head.ID(), Reason: reason, Planned: true,
		Requires: []fsm.ScopeVersion{{Scope: backend.ModelScope, Version: head.ScopeVersion(backend.ModelScope)}},
		Bumps:    []string{backend.ModelScope},
		Body:     &fsm.WriteModel{ID: id, Source: source, Declarations: m.Declarations()},
	}, nil
}

// planned turns what package crm plans into what the state machine applies.
type planned struct {
	symbols *model.Table
	plan    *model.Plan
}

// write is the body that carries changes out. That something of it cannot be written is a
// fault of ours, whatever kind of error it is.
func (w *planned) write(c crm.Changes) (*fsm.Write, error) {
	body := &fsm.Write{Operations: make([]fsm.Operation, 0, c.Tuples()+len(c.DeleteDocuments)+len(c.PutDocuments))}
	for _, t := range c.Delete {
		key, err := storedKey(w.symbols, "tuple", t)
		if err != nil {
			return nil, unwritable(t, err)
		}
		body.Operations = append(body.Operations, fsm.Operation{Kind: fsm.DeleteTuple, Tuple: key})
	}
	for _, t := range c.Put {
		op, err := putOperation(w.plan, "tuple", remitv1.Operation_KIND_TOUCH, t)
		if err != nil {
			return nil, unwritable(t, err)
		}
		body.Operations = append(body.Operations, op)
	}
	for _, name := range c.DeleteDocuments {
		e, err := w.entity(name)
		if err != nil {
			return nil, err
		}
		body.Operations = append(body.Operations, fsm.Operation{Kind: fsm.DeleteDocument, Entity: e})
	}
	for _, d := range c.PutDocuments {
		e, err := w.entity(d.Entity)
		if err != nil {
			return nil, err
		}
		fields, err := value.Encode(d.Fields)
		if err != nil {
			return nil, unwritable(d.Entity, err)
		}
		body.Operations = append(body.Operations, fsm.Operation{Kind: fsm.PutDocument, Entity: e, Fields: fields})
	}
	return body, nil
}

// version is the precondition that a document has a version; 0 is that there is none.
func (w *planned) version(name graph.ObjectName, version uint64) (fsm.Precondition, error) {
	e, err := w.entity(name)
	return fsm.Precondition{Kind: fsm.DocumentVersion, Entity: e, Version: version}, err
}

func (w *planned) entity(name graph.ObjectName) (fsm.Entity, error) {
	t, err := backend.StoredType(w.symbols, name.Type)
	if err != nil {
		return fsm.Entity{}, unwritable(name, err)
	}
	return fsm.Entity{Type: t, Name: name.ID}, nil
}

func unwritable(what fmt.Stringer, err error) error {
	return fmt.Errorf("a plan cannot be written: %s: %v", what, err) //nolint:errorlint // the client cannot mend it
}
