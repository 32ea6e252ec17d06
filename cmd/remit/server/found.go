package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
)

// foundRetry is how long after a failed attempt the next one comes: a node that does not
// lead may have to wait for an election.
const foundRetry = 100 * time.Millisecond

// found waits until the group has its identity, by which tokens and nodes of another
// history are told apart, and gives a new one its own. All nodes of a new group do so at
// once: the command names the epoch that it replaces, so the first one counts.
func (s *Server) found(ctx context.Context) error {
	if s.state.Epoch() != 0 {
		return nil
	}
	for s.state.Epoch() == 0 {
		err := s.proposeEpoch(ctx)
		switch {
		case err == nil, errors.Is(err, fsm.ErrHorizon):
			// It is there, and this node will see it.
		case errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrUnknownOutcome):
		default:
			return fmt.Errorf("set the epoch: %w", err)
		}
		if s.state.Epoch() != 0 {
			break
		}
		select {
		case <-time.After(foundRetry):
		case <-ctx.Done():
			return fmt.Errorf("set the epoch: %w", ctx.Err())
		}
	}
	if s.peers == nil {
		// Nobody else has to follow, so whoever comes first need not wait for what needs it.
		u := newUpgrader(&s.config, s.state, s.node)
		if _, err := u.raise(ctx, u.present()); err != nil {
			s.config.Log.WarnContext(ctx, "cluster version not raised yet", "error", err)
		}
	}
	return nil
}

func (s *Server) proposeEpoch(ctx context.Context) error {
	epoch, err := newEpoch(0)
	if err != nil {
		return err
	}
	command := &fsm.Command{Principal: "remit", Reason: "first start", Body: &fsm.SetEpoch{To: epoch}}
	encoded, err := command.Encode()
	if err != nil {
		return err
	}
	answer, err := s.node.Propose(ctx, encoded)
	if err != nil {
		return err
	}
	result, err := fsm.DecodeResult(answer)
	if err != nil {
		return err
	}
	return result.Err
}
