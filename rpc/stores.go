package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// storeService answers remit.v1.StoreService.
type storeService struct {
	reader *reader
	writer *backend.Writer
}

// CreateStore makes a store.
func (s *storeService) CreateStore(ctx context.Context, req *remitv1.CreateStoreRequest) (*remitv1.CreateStoreResponse, error) {
	if err := checkStoreName(req.Name); err != nil {
		return nil, err
	}
	id, err := s.reader.NewID()
	if err != nil {
		return nil, err
	}
	h := backend.NewContentHash("create store")
	h.String(req.Name)
	hash := h.Done()
	result, err := s.writer.Do(ctx, func(*fsm.Root) (*fsm.Command, error) {
		return &fsm.Command{
			Store: id, Key: req.IdempotencyKey, Hash: hash,
			Body: &fsm.CreateStore{Name: req.Name},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	created := timestamppb.New(time.UnixMilli(result.Time))
	store := &remitv1.Store{
		Id: result.Store.String(), Name: req.Name, CreatedAt: created,
		Retention: retentionMessage(fsm.DefaultRetention), EarliestRevision: uint64(result.Revision), EarliestAt: created,
	}
	return &remitv1.CreateStoreResponse{Store: store, Token: s.reader.Token(result.Revision)}, nil
}

// checkStoreName refuses a name that would be taken for an id.
func checkStoreName(name string) error {
	if _, err := fsm.ParseStoreID(name); err == nil {
		return at("name", fmt.Errorf("%w: %q has the form of a store's id and could be taken for one", backend.ErrRequest, name))
	}
	return nil
}

// GetStore finds a store by id or by name.
func (s *storeService) GetStore(ctx context.Context, req *remitv1.GetStoreRequest) (*remitv1.GetStoreResponse, error) {
	store, err := backend.FindStore(ctx, s.reader.Config.State.Current(), "store", req.Store)
	if err != nil {
		return nil, err
	}
	m, err := s.message(store)
	return &remitv1.GetStoreResponse{Store: m}, err
}

// message describes a store.
func (s *storeService) message(store *fsm.Store) (*remitv1.Store, error) {
	revision, at, err := s.reader.Earliest(store)
	m := storeMessage(store)
	m.EarliestRevision, m.EarliestAt = uint64(revision), timestamppb.New(at)
	return m, err
}

// storeMessage describes a store as far as the store itself tells: not since when it can
// be asked about.
func storeMessage(s *fsm.Store) *remitv1.Store {
	return &remitv1.Store{
		Id: s.ID().String(), Name: s.StoreName(),
		CreatedAt: timestamppb.New(s.CreatedTime()), TupleCount: s.TupleCount(),
		Retention: retentionMessage(s.Retention()), Managed: s.Managed(),
	}
}

func retentionMessage(ms int64) *remitv1.Retention {
	if ms == fsm.Forever {
		return &remitv1.Retention{Kind: &remitv1.Retention_Forever{Forever: true}}
	}
	seconds, rest := ms/1000, ms%1000
	return &remitv1.Retention{Kind: &remitv1.Retention_Period{
		Period: &durationpb.Duration{Seconds: seconds, Nanos: int32(rest * 1e6)},
	}}
}

// retentionOf reads a retention. It may be longer than a time.Duration can be.
func retentionOf(m *remitv1.Retention) int64 {
	if m.GetForever() {
		return fsm.Forever
	}
	return m.GetPeriod().GetSeconds()*1000 + int64(m.GetPeriod().GetNanos())/1e6
}

// SetRetention changes for how long a store's past is kept.
func (s *storeService) SetRetention(ctx context.Context, req *remitv1.SetRetentionRequest) (*remitv1.SetRetentionResponse, error) {
	var id fsm.StoreID
	result, err := s.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		store, err := backend.FindStore(ctx, root, "store", req.Store)
		if err != nil {
			return nil, err
		}
		id = store.ID()
		return &fsm.Command{
			Store: id, Key: req.IdempotencyKey,
			Body: &fsm.SetRetention{Retention: retentionOf(req.Retention)},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	// The answer shows the store as this change left it, so this node must have it.
	if err := s.reader.WaitFor(ctx, result.Revision); err != nil {
		return nil, err
	}
	store, err := backend.FindStore(ctx, s.reader.Config.State.Current(), "store", id.String())
	if err != nil {
		return nil, err
	}
	m, err := s.message(store)
	return &remitv1.SetRetentionResponse{Store: m, Token: s.reader.Token(result.Revision)}, err
}

// ListStores pages through the stores in the order of their ids. Its pages are not
// pinned: a store that is made meanwhile appears at the end.
func (s *storeService) ListStores(ctx context.Context, req *remitv1.ListStoresRequest) (*remitv1.ListStoresResponse, error) {
	size, text := pageSize(req.PageSize, defaultStores), req.Cursor
	req.Cursor, req.PageSize = "", 0
	sum, err := fingerprint(req)
	if err != nil {
		return nil, err
	}
	var after fsm.StoreID
	if text != "" {
		c, err := parseCursor(text, cursorStores, sum)
		if err != nil {
			return nil, at("cursor", err)
		}
		if len(c.position) != len(after) {
			return nil, at("cursor", ErrCursor)
		}
		copy(after[:], c.position)
	}
	root := s.reader.Config.State.Current()
	res := &remitv1.ListStoresResponse{}
	emit := func(store *fsm.Store) error {
		after = store.ID()
		m, err := s.message(store)
		res.Stores = append(res.Stores, m)
		return err
	}
	more, err := take(size, func(yield func(*fsm.Store) bool) error {
		if req.Name == "" {
			backend.Stores(ctx, root, after, yield)
			return nil
		}
		for _, store := range backend.StoresNamed(ctx, root, req.Name) {
			if store.ID().Compare(after) > 0 && !yield(store) {
				break
			}
		}
		return nil
	}, emit)
	if more {
		c := cursor{kind: cursorStores, position: after[:], request: sum}
		res.Cursor = c.String()
	}
	return res, err
}

// DeleteStore removes a store.
func (s *storeService) DeleteStore(ctx context.Context, req *remitv1.DeleteStoreRequest) (*remitv1.DeleteStoreResponse, error) {
	id, err := fsm.ParseStoreID(req.StoreId)
	if err != nil {
		return nil, at("store_id", fmt.Errorf("%w: %q is not the id of a store; a store is deleted by id only", backend.ErrStoreNotFound, req.StoreId))
	}
	result, err := s.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		// That there is none may be known for a retry's sake: the first attempt deleted it.
		if _, err := backend.OpenStore(ctx, root, id); err != nil && !errors.Is(err, backend.ErrStoreNotFound) {
			return nil, err
		}
		return &fsm.Command{
			Store: id, Key: req.IdempotencyKey, Body: &fsm.DeleteStore{},
		}, nil
	})
	if errors.Is(err, fsm.ErrStoreNotFound) {
		return nil, at("store_id", fmt.Errorf("%w: no store has the id %s", backend.ErrStoreNotFound, id))
	}
	if err != nil {
		return nil, err
	}
	return &remitv1.DeleteStoreResponse{Token: s.reader.Token(result.Revision)}, nil
}
