package rpc

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
)

// GetAutopilot tells what the leader does about members by itself, and what it thinks of them.
func (s *clusterService) GetAutopilot(ctx context.Context, _ *remitv1.GetAutopilotRequest) (*remitv1.GetAutopilotResponse, error) {
	stored, err := backend.AutopilotIn(s.reader.Config.State.Current())
	if err != nil {
		return nil, err
	}
	res := &remitv1.GetAutopilotResponse{Autopilot: autopilotMessage(stored.Config), Version: stored.Version, SetBy: stored.Setter}
	if stored.Version > 0 {
		res.SetAt = timestamppb.New(stored.Set)
	}
	if h, ok := s.health(ctx); ok {
		res.Health = healthMessage(&h)
	}
	return res, nil
}

// healthPatience is how long the leader may take to say what it thinks.
const healthPatience = time.Second

// health is what the leader thinks of the members; false if nobody says.
func (s *clusterService) health(ctx context.Context) (cluster.Health, bool) {
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	h, err := s.cluster.Health(ctx)
	return h, err == nil
}

func healthMessage(h *cluster.Health) *remitv1.AutopilotHealth {
	message := &remitv1.AutopilotHealth{
		LeaderId: h.Leader, Healthy: h.Healthy, FailureTolerance: int32(h.FailureTolerance), Refusal: h.Refusal,
	}
	for _, m := range h.Members {
		member := &remitv1.AutopilotHealth_Member{Id: m.ID, Voter: m.Voter, Replica: m.Replica, Demoted: m.Demoted, Healthy: m.Healthy, Lag: m.Lag}
		if !m.Since.IsZero() {
			member.Since = timestamppb.New(m.Since)
		}
		if m.Unreachable > 0 {
			member.Unreachable = durationpb.New(m.Unreachable)
		}
		message.Members = append(message.Members, member)
	}
	return message
}

// SetAutopilot replaces what the leader does about members by itself.
func (s *clusterService) SetAutopilot(ctx context.Context, req *remitv1.SetAutopilotRequest) (*remitv1.SetAutopilotResponse, error) {
	m := req.Autopilot
	config := cluster.AutopilotConfig{
		Off: m.Off, CleanupDeadServers: m.CleanupDeadServers, MinQuorum: uint(m.GetMinQuorum()),
		DeadAfter:            m.DeadAfter.AsDuration(),
		LastContactThreshold: m.LastContactThreshold.AsDuration(), MaxTrailingLogs: m.GetMaxTrailingLogs(),
		ServerStabilizationTime: m.ServerStabilizationTime.AsDuration(),
	}
	stored, err := s.keyring.SetAutopilot(ctx, backend.KeyRequest{IdempotencyKey: req.IdempotencyKey, Reason: req.Reason}, config, req.Version)
	if err != nil {
		return nil, err
	}
	return &remitv1.SetAutopilotResponse{Autopilot: autopilotMessage(stored.Config), Version: stored.Version}, nil
}

func autopilotMessage(c cluster.AutopilotConfig) *remitv1.Autopilot {
	c = c.WithDefaults()
	quorum, trailing := uint32(c.MinQuorum), c.MaxTrailingLogs
	return &remitv1.Autopilot{
		Off: c.Off, CleanupDeadServers: c.CleanupDeadServers, MinQuorum: &quorum,
		DeadAfter: durationpb.New(c.DeadAfter), LastContactThreshold: durationpb.New(c.LastContactThreshold), MaxTrailingLogs: &trailing,
		ServerStabilizationTime: durationpb.New(c.ServerStabilizationTime),
	}
}
