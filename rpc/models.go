package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// modelService answers remit.v1.ModelService.
type modelService struct {
	reader *reader
	writer *backend.Writer
}

// parseSource reads the text of a model and says all that is wrong with it.
func parseSource(field string, source *remitv1.ModelSource) (*model.Model, error) {
	var m *model.Model
	var err error
	switch from := source.GetSource().(type) {
	case *remitv1.ModelSource_Dsl:
		m, err = model.ParseDSL("", from.Dsl)
	case *remitv1.ModelSource_Json:
		m, err = model.ParseJSON("", []byte(from.Json))
	case *remitv1.ModelSource_Modules:
		size := 0
		files := make([]model.File, len(from.Modules.GetFiles()))
		for i, f := range from.Modules.GetFiles() {
			files[i] = model.File{Name: f.Name, Contents: f.Contents}
			size += len(f.Contents)
		}
		if size > MaxModelBytes {
			return nil, at(field+".modules", fmt.Errorf("%w: the modules take %d bytes, at most %d are allowed", ErrTooLarge, size, MaxModelBytes))
		}
		m, err = model.ParseModules(from.Modules.GetSchema(), files)
	default:
		err = fmt.Errorf("%w: a model is given as dsl, json or modules", backend.ErrRequest)
	}
	if err != nil {
		return nil, at(field, err)
	}
	return m, nil
}

// WriteModel makes a model the store's newest.
func (s *modelService) WriteModel(ctx context.Context, req *remitv1.WriteModelRequest) (*remitv1.WriteModelResponse, error) {
	m, err := parseSource("source", req.Source)
	if err != nil {
		return nil, err
	}
	source, err := m.JSON()
	if err != nil {
		return nil, fmt.Errorf("write the model as JSON: %w", err)
	}
	if len(source) > MaxModelBytes {
		return nil, at("source", fmt.Errorf("%w: as JSON the model takes %d bytes, at most %d are allowed", ErrTooLarge, len(source), MaxModelBytes))
	}
	id, err := s.reader.NewID()
	if err != nil {
		return nil, err
	}
	h := backend.NewContentHash("write model")
	h.String(string(source))
	hash := h.Done()

	var store fsm.StoreID
	result, err := s.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		head, err := backend.FindStore(ctx, root, "store", req.Store)
		if err != nil {
			return nil, err
		}
		if err := backend.Unmanaged("store", head); err != nil {
			return nil, err
		}
		store = head.ID()
		command := &fsm.Command{
			Store: store, Key: req.IdempotencyKey, Hash: hash, Reason: req.Reason,
			Requires: []fsm.ScopeVersion{{Scope: backend.ModelScope, Version: head.ScopeVersion(backend.ModelScope)}},
		}
		if same, err := isNewest(head, m); err != nil {
			return nil, err
		} else if same {
			// The command changes nothing, but a retry finds its answer even when the model
			// is no longer the newest.
			command.Body = &fsm.Write{}
			return command, nil
		}
		command.Bumps = []string{backend.ModelScope}
		command.Body = &fsm.WriteModel{ID: id, Source: source, Declarations: m.Declarations()}
		return command, nil
	})
	if err != nil {
		return nil, err
	}
	res := &remitv1.WriteModelResponse{ModelId: result.Model.String(), Token: s.reader.Token(result.Revision), Created: true}
	if result.Model.IsZero() {
		res.Created = false
		// Another node may have given the first answer, of a revision that this one does not show.
		if err = s.reader.WaitFor(ctx, result.Revision); err == nil {
			res.ModelId, err = s.newestAt(store, result.Revision)
		}
	}
	return res, err
}

// isNewest reports whether a model says the same as the store's newest.
func isNewest(head *fsm.Store, m *model.Model) (bool, error) {
	newest, ok := head.NewestModel()
	if !ok {
		return false, nil
	}
	old, err := backend.ParseStored(newest)
	return err == nil && old.Equal(m), err
}

// newestAt is the model that was a store's newest at a revision.
func (s *modelService) newestAt(store fsm.StoreID, revision graph.Revision) (string, error) {
	head, ok := s.reader.Config.State.Current().Store(store)
	if !ok {
		return "", at("store", fmt.Errorf("%w: store %s has been deleted meanwhile", backend.ErrStoreNotFound, store))
	}
	newest := ""
	for _, m := range head.Models() {
		if m.Revision <= revision {
			newest = m.ID.String()
		}
	}
	return newest, nil
}

// ValidateModel says all that is wrong with a model.
func (s *modelService) ValidateModel(_ context.Context, req *remitv1.ValidateModelRequest) (*remitv1.ValidateModelResponse, error) {
	_, err := parseSource("source", req.Source)
	var faults *model.Error
	switch {
	case err == nil:
		return &remitv1.ValidateModelResponse{}, nil
	case !errors.As(err, &faults):
		return nil, err
	}
	res := &remitv1.ValidateModelResponse{}
	for _, f := range faults.Faults {
		res.Faults = append(res.Faults, &remitv1.ModelFault{
			Message: f.Message, File: f.File, Line: int32(f.Line), Column: int32(f.Column), Type: f.Type, Relation: f.Relation,
		})
	}
	return res, nil
}

// GetModel returns a version with its texts.
func (s *modelService) GetModel(ctx context.Context, req *remitv1.GetModelRequest) (*remitv1.GetModelResponse, error) {
	head, err := backend.FindStore(ctx, s.reader.Config.State.Current(), "store", req.Store)
	if err != nil {
		return nil, err
	}
	state := backend.HeadOf(head)
	stored, err := backend.FindModel(&state, "model_id", req.ModelId)
	if err != nil {
		return nil, err
	}
	message, err := fullModel(stored)
	if err != nil {
		return nil, err
	}
	return &remitv1.GetModelResponse{Model: message}, nil
}

// fullModel is a version with its texts.
func fullModel(stored *fsm.Model) (*remitv1.Model, error) {
	m, err := backend.ParseStored(stored)
	if err != nil {
		return nil, err
	}
	message := modelMessage(stored, m)
	message.Json = string(stored.Source)
	// The language is a little narrower than its JSON: then the JSON must do.
	if message.Dsl, err = m.DSL(); err != nil && !errors.Is(err, model.ErrInexpressible) {
		return nil, fmt.Errorf("write model %s as text: %w", stored.ID, err)
	}
	return message, nil
}

func modelMessage(stored *fsm.Model, m *model.Model) *remitv1.Model {
	return &remitv1.Model{Id: stored.ID.String(), CreatedAt: timestamppb.New(stored.Created), Schema: m.Schema()}
}

// ListModels pages through the versions, newest first. A version never goes away, so
// its place in the order of writing tells where the next page begins.
func (s *modelService) ListModels(ctx context.Context, req *remitv1.ListModelsRequest) (*remitv1.ListModelsResponse, error) {
	size, text := pageSize(req.PageSize, defaultModels), req.Cursor
	req.Cursor, req.PageSize = "", 0
	sum, err := fingerprint(req)
	if err != nil {
		return nil, err
	}
	head, err := backend.FindStore(ctx, s.reader.Config.State.Current(), "store", req.Store)
	if err != nil {
		return nil, err
	}
	models := head.Models()
	begin := len(models)
	if text != "" {
		c, err := parseCursor(text, cursorModels, sum)
		if err != nil {
			return nil, at("cursor", err)
		}
		d := decoder{b: c.position}
		place := d.uint64()
		if !d.done() || place > uint64(len(models)) || c.store != head.ID() {
			return nil, at("cursor", ErrCursor)
		}
		begin = int(place)
	}
	end := max(begin-size, 0)
	res := &remitv1.ListModelsResponse{}
	for i := begin - 1; i >= end; i-- {
		m, err := backend.ParseStored(models[i])
		if err != nil {
			return nil, err
		}
		res.Models = append(res.Models, modelMessage(models[i], m))
	}
	if end > 0 {
		c := cursor{kind: cursorModels, store: head.ID(), position: binary.BigEndian.AppendUint64(nil, uint64(end)), request: sum}
		res.Cursor = c.String()
	}
	return res, nil
}

var changeKinds = map[model.ChangeKind]remitv1.ModelChange_Kind{
	model.Added:   remitv1.ModelChange_KIND_ADDED,
	model.Removed: remitv1.ModelChange_KIND_REMOVED,
	model.Changed: remitv1.ModelChange_KIND_CHANGED,
}

// DiffModels says what changes in meaning between two models.
func (s *modelService) DiffModels(ctx context.Context, req *remitv1.DiffModelsRequest) (*remitv1.DiffModelsResponse, error) {
	head, err := backend.FindStore(ctx, s.reader.Config.State.Current(), "store", req.Store)
	if err != nil {
		return nil, err
	}
	state := backend.HeadOf(head)
	from, err := storedModel(&state, "from_model_id", req.FromModelId)
	if err != nil {
		return nil, err
	}
	var to *model.Model
	if source := req.GetToSource(); source != nil {
		to, err = parseSource("to_source", source)
	} else {
		to, err = storedModel(&state, "to_model_id", req.GetToModelId())
	}
	if err != nil {
		return nil, err
	}
	res := &remitv1.DiffModelsResponse{}
	for _, c := range model.Diff(from, to) {
		res.Changes = append(res.Changes, &remitv1.ModelChange{Kind: changeKinds[c.Kind], Subject: c.Subject, From: c.From, To: c.To})
	}
	return res, nil
}

func storedModel(s *backend.Snapshot, field, id string) (*model.Model, error) {
	m, err := backend.FindModel(s, field, id)
	if err != nil {
		return nil, err
	}
	return backend.ParseStored(m)
}
