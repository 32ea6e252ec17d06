package openfga

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect/v2"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
)

// CreateStore makes a store. Any name will do that the protocol's pattern admits, also
// one that reads as an id: stores are found by id only.
func (s *service) CreateStore(ctx context.Context, req *openfgav1.CreateStoreRequest) (*openfgav1.CreateStoreResponse, error) {
	id, err := s.reader.NewID()
	if err != nil {
		return nil, err
	}
	result, err := s.commit(ctx, func(*fsm.Root, bool) (*fsm.Command, error) {
		return &fsm.Command{Store: id, Body: &fsm.CreateStore{Name: req.GetName()}}, nil
	})
	if err != nil {
		return nil, err
	}
	created := timestamppb.New(time.UnixMilli(result.Time))
	return &openfgav1.CreateStoreResponse{Id: result.Store.String(), Name: req.GetName(), CreatedAt: created, UpdatedAt: created}, nil
}

// GetStore finds a store.
func (s *service) GetStore(ctx context.Context, req *openfgav1.GetStoreRequest) (*openfgav1.GetStoreResponse, error) {
	store, root, err := s.store(ctx, req.GetStoreId(), openfgav1.ConsistencyPreference_UNSPECIFIED)
	if err != nil {
		return nil, err
	}
	respondToken(ctx, s.reader.Token(root.Revision()))
	if store == nil {
		return nil, errStoreNotFound
	}
	m := storeMessage(store)
	return &openfgav1.GetStoreResponse{Id: m.Id, Name: m.Name, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt}, nil
}

// storeMessage describes a store. Nothing about it changes, so it was updated when it
// was created.
func storeMessage(s *fsm.Store) *openfgav1.Store {
	created := timestamppb.New(s.CreatedTime())
	return &openfgav1.Store{Id: s.ID().String(), Name: s.StoreName(), CreatedAt: created, UpdatedAt: created}
}

// ListStores pages through the stores, oldest first.
func (s *service) ListStores(ctx context.Context, req *openfgav1.ListStoresRequest) (*openfgav1.ListStoresResponse, error) {
	position, err := positionIn(req.GetContinuationToken(), continueStores, fsm.StoreID{})
	if err != nil {
		return nil, err
	}
	var after fsm.StoreID
	if position != nil {
		if len(position) != len(after) {
			return nil, errInvalidContinuationToken
		}
		copy(after[:], position)
	}
	if err := s.freshen(ctx, openfgav1.ConsistencyPreference_UNSPECIFIED); err != nil {
		return nil, err
	}
	root := s.reader.Config.State.Current()
	respondToken(ctx, s.reader.Token(root.Revision()))
	size := pageSize(req.GetPageSize())
	res := &openfgav1.ListStoresResponse{}
	visit := func(store *fsm.Store) bool {
		if len(res.Stores) == size {
			next := continuation{kind: continueStores, position: after[:]}
			res.ContinuationToken = next.String()
			return false
		}
		after = store.ID()
		res.Stores = append(res.Stores, storeMessage(store))
		return true
	}
	if req.GetName() == "" {
		backend.Stores(ctx, root, after, visit)
		return res, nil
	}
	for _, store := range backend.StoresNamed(ctx, root, req.GetName()) {
		if store.ID().Compare(after) > 0 && !visit(store) {
			break
		}
	}
	return res, nil
}

// DeleteStore removes a store with all that it holds. That there is none is as good.
func (s *service) DeleteStore(ctx context.Context, req *openfgav1.DeleteStoreRequest) (*openfgav1.DeleteStoreResponse, error) {
	id, err := fsm.ParseStoreID(req.GetStoreId())
	if err != nil || id.IsZero() || id == backend.SystemStore {
		return &openfgav1.DeleteStoreResponse{}, nil
	}
	_, err = s.commit(ctx, func(*fsm.Root, bool) (*fsm.Command, error) {
		return &fsm.Command{Store: id, Body: &fsm.DeleteStore{}}, nil
	})
	if err != nil && !errors.Is(err, fsm.ErrStoreNotFound) {
		return nil, err
	}
	return &openfgav1.DeleteStoreResponse{}, nil
}

// freshen waits for a state as fresh as a request asks for.
func (s *service) freshen(ctx context.Context, consistency openfgav1.ConsistencyPreference) error {
	if token := requestToken(ctx); token != "" {
		if err := s.reader.AtLeast(ctx, token); err != nil {
			return fmt.Errorf("%s: %w", HeaderToken, err)
		}
	}
	if consistency == openfgav1.ConsistencyPreference_HIGHER_CONSISTENCY {
		return s.reader.CatchUp(ctx)
	}
	return nil
}

// store finds a store by its id, in a state as fresh as the request asks for, and is nil
// if there is none.
func (s *service) store(ctx context.Context, id string, consistency openfgav1.ConsistencyPreference) (*fsm.Store, *fsm.Root, error) {
	if err := s.freshen(ctx, consistency); err != nil {
		return nil, nil, err
	}
	return s.known(ctx, func(root *fsm.Root) (*fsm.Store, bool) { return storeIn(root, id), true })
}

// known looks something up in a store, which is nil if there is no such store. What seems
// not to be there may have been written on another node a moment ago, and a client of
// OpenFGA has no token to ask for it: so it is looked for once more in a state that shows
// every write acknowledged so far.
func (s *service) known(ctx context.Context, find func(root *fsm.Root) (store *fsm.Store, found bool)) (*fsm.Store, *fsm.Root, error) {
	root := s.reader.Config.State.Current()
	if store, found := find(root); store != nil && found {
		return store, root, nil
	}
	if err := s.reader.CatchUp(ctx); err != nil {
		return nil, nil, err
	}
	root = s.reader.Config.State.Current()
	store, _ := find(root)
	return store, root, nil
}

// storeIn finds a store by its id; nil if there is none.
func storeIn(root *fsm.Root, text string) *fsm.Store {
	id, err := fsm.ParseStoreID(text)
	if err != nil {
		return nil
	}
	if id == backend.SystemStore {
		return nil
	}
	store, _ := root.Store(id)
	return store
}

// planIn finds the model that a request about a store names, or the store's newest. The
// error is OpenFGA's.
func (s *service) planIn(root *fsm.Root, store, model string) (*fsm.Store, *backend.Plan, error) {
	head := storeIn(root, store)
	if head == nil {
		return nil, nil, noModel(store, model)
	}
	snapshot := backend.HeadOf(head)
	plan, err := s.reader.Plan(&snapshot, "authorization_model_id", model)
	if errors.Is(err, backend.ErrModelNotFound) {
		err = noModel(store, model)
	}
	return head, plan, err
}

// errStale says that a change cannot be planned for sure in a state that may lag behind.
var errStale = errors.New("the state may be older than what the change rests on")

// commit carries a change out, as backend.Writer.Do does, and names its state to the
// client. A plan is told whether it sees every write that was acknowledged before the
// request: if it does not and is not sure, it refuses, and is asked again.
func (s *service) commit(ctx context.Context, plan func(root *fsm.Root, fresh bool) (*fsm.Command, error)) (*fsm.Result, error) {
	fresh := false
	result, err := s.writer.Do(ctx, func(root *fsm.Root) (*fsm.Command, error) {
		command, err := plan(root, fresh)
		if err != nil {
			fresh = true // if it is asked again
			return nil, err
		}
		command.RequestID = callID(ctx)
		return command, nil
	})
	if err != nil {
		return nil, err
	}
	respondToken(ctx, s.reader.Token(result.Revision))
	return result, nil
}

// callID names the request, as the client is told it.
func callID(ctx context.Context) string {
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		return info.ResponseHeader().Get(HeaderRequestID)
	}
	return ""
}
