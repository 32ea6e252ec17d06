package openfga

import (
	"context"
	"encoding/binary"
	"fmt"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph/model"
	"github.com/remit-authz/remit/rpc/backend"
)

// WriteAuthorizationModel makes a model the store's newest, also if it says the same as
// the one before.
func (s *service) WriteAuthorizationModel(ctx context.Context, req *openfgav1.WriteAuthorizationModelRequest) (*openfgav1.WriteAuthorizationModelResponse, error) {
	message, err := modelOf(req, s.config)
	if err != nil {
		return nil, err
	}
	m, err := model.FromProto(message)
	if err != nil {
		return nil, invalidModel(err.Error()) // a rule that OpenFGA does not have
	}
	source, err := m.JSON()
	if err != nil {
		return nil, err
	}
	id, err := s.reader.NewID()
	if err != nil {
		return nil, err
	}
	result, err := s.commit(ctx, func(root *fsm.Root, _ bool) (*fsm.Command, error) {
		head := storeIn(root, req.GetStoreId())
		if head == nil {
			return nil, errStoreNotFound
		}
		if err := backend.Unmanaged("store_id", head); err != nil {
			return nil, err
		}
		return &fsm.Command{
			Store: head.ID(), Bumps: []string{backend.ModelScope},
			Body: &fsm.WriteModel{ID: id, Source: source, Declarations: m.Declarations()},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &openfgav1.WriteAuthorizationModelResponse{AuthorizationModelId: result.Model.String()}, nil
}

// ReadAuthorizationModel returns a model as it was written.
func (s *service) ReadAuthorizationModel(ctx context.Context, req *openfgav1.ReadAuthorizationModelRequest) (*openfgav1.ReadAuthorizationModelResponse, error) {
	if err := s.freshen(ctx, openfgav1.ConsistencyPreference_UNSPECIFIED); err != nil {
		return nil, err
	}
	id, err := fsm.ParseModelID(req.GetId())
	if err != nil {
		return nil, modelNotFound(req.GetId())
	}
	var stored *fsm.Model
	_, root, err := s.known(ctx, func(root *fsm.Root) (store *fsm.Store, found bool) {
		if store = storeIn(root, req.GetStoreId()); store != nil {
			stored, found = store.Model(id)
		}
		return store, found
	})
	if err != nil {
		return nil, err
	}
	respondToken(ctx, s.reader.Token(root.Revision()))
	if stored == nil {
		return nil, modelNotFound(req.GetId())
	}
	m, err := modelMessage(stored)
	if err != nil {
		return nil, err
	}
	return &openfgav1.ReadAuthorizationModelResponse{AuthorizationModel: m}, nil
}

// modelMessage is a stored model with its id.
func modelMessage(stored *fsm.Model) (*openfgav1.AuthorizationModel, error) {
	m := &openfgav1.AuthorizationModel{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(stored.Source, m); err != nil {
		return nil, fmt.Errorf("stored model %s: %w", stored.ID, err)
	}
	m.Id = stored.ID.String()
	return m, nil
}

// ReadAuthorizationModels pages through the models, newest first. A model never goes
// away, so its place in the order of writing tells where the next page begins.
func (s *service) ReadAuthorizationModels(ctx context.Context, req *openfgav1.ReadAuthorizationModelsRequest) (*openfgav1.ReadAuthorizationModelsResponse, error) {
	head, root, err := s.store(ctx, req.GetStoreId(), openfgav1.ConsistencyPreference_UNSPECIFIED)
	if err != nil {
		return nil, err
	}
	respondToken(ctx, s.reader.Token(root.Revision()))
	var id fsm.StoreID
	var models []*fsm.Model // none, if there is no such store
	if head != nil {
		id, models = head.ID(), head.Models()
	}
	position, err := positionIn(req.GetContinuationToken(), continueModels, id)
	if err != nil {
		return nil, err
	}
	begin := len(models)
	if position != nil {
		if len(position) != 8 || binary.BigEndian.Uint64(position) > uint64(len(models)) {
			return nil, errInvalidContinuationToken
		}
		begin = int(binary.BigEndian.Uint64(position))
	}
	end := max(begin-pageSize(req.GetPageSize()), 0)
	res := &openfgav1.ReadAuthorizationModelsResponse{}
	for i := begin - 1; i >= end; i-- {
		m, err := modelMessage(models[i])
		if err != nil {
			return nil, err
		}
		res.AuthorizationModels = append(res.AuthorizationModels, m)
	}
	if end > 0 {
		next := continuation{kind: continueModels, store: id, position: binary.BigEndian.AppendUint64(nil, uint64(end))}
		res.ContinuationToken = next.String()
	}
	return res, nil
}
