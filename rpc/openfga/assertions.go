package openfga

import (
	"context"
	"fmt"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"google.golang.org/protobuf/proto"

	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
)

// WriteAssertions replaces what is asserted of a model.
func (s *service) WriteAssertions(ctx context.Context, req *openfgav1.WriteAssertionsRequest) (*openfgav1.WriteAssertionsResponse, error) {
	_, err := s.commit(ctx, func(root *fsm.Root, _ bool) (*fsm.Command, error) {
		head, plan, err := s.planIn(root, req.GetStoreId(), req.GetAuthorizationModelId())
		if err != nil {
			return nil, err
		}
		respondModel(ctx, plan.ID())
		size := 0
		for _, a := range req.GetAssertions() {
			size += proto.Size(a)
		}
		if size > s.config.MaxAssertionsBytes {
			return nil, entityLimit("bytes", s.config.MaxAssertionsBytes)
		}
		for _, a := range req.GetAssertions() {
			if err := checkAssertion(plan.Plan, a); err != nil {
				return nil, err
			}
		}
		// The bytes are replicated, and every node must have the same.
		content, err := (proto.MarshalOptions{Deterministic: true}).Marshal(&openfgav1.Assertions{Assertions: req.GetAssertions()})
		if err != nil {
			return nil, fmt.Errorf("encode assertions: %w", err)
		}
		id, err := fsm.ParseModelID(plan.ID())
		if err != nil {
			return nil, err
		}
		return &fsm.Command{Store: head.ID(), Body: &fsm.WriteAssertions{Model: id, Content: content}}, nil
	})
	if err != nil {
		return nil, err
	}
	return &openfgav1.WriteAssertionsResponse{}, nil
}

// ReadAssertions returns what is asserted of a model, which may be nothing.
func (s *service) ReadAssertions(ctx context.Context, req *openfgav1.ReadAssertionsRequest) (*openfgav1.ReadAssertionsResponse, error) {
	if err := s.freshen(ctx, openfgav1.ConsistencyPreference_UNSPECIFIED); err != nil {
		return nil, err
	}
	var plan *backend.Plan
	var fault error
	head, root, err := s.known(ctx, func(root *fsm.Root) (head *fsm.Store, found bool) {
		head, plan, fault = s.planIn(root, req.GetStoreId(), req.GetAuthorizationModelId())
		return head, fault == nil
	})
	if err != nil {
		return nil, err
	}
	respondToken(ctx, s.reader.Token(root.Revision()))
	if fault != nil {
		return nil, fault
	}
	respondModel(ctx, plan.ID())
	id, err := fsm.ParseModelID(plan.ID())
	if err != nil {
		return nil, err
	}
	res := &openfgav1.ReadAssertionsResponse{AuthorizationModelId: plan.ID()}
	if content, ok := head.Assertions(id); ok {
		var stored openfgav1.Assertions
		if err := proto.Unmarshal(content, &stored); err != nil {
			return nil, fmt.Errorf("assertions of model %s: %w", plan.ID(), err)
		}
		res.Assertions = stored.GetAssertions()
	}
	return res, nil
}
