package rpc

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/rpc/backend"
	remitv1 "github.com/remit-authz/remit/rpc/gen/remit/v1"
	"github.com/remit-authz/remit/rpc/identity"
)

// A Cluster is what the services need of the cluster that their node is a member of:
// *cluster.Node has it. A change that returns cluster.ErrNoLeader did not happen, and one
// that was made already is no error.
type Cluster interface {
	// Status is how the node sees the cluster, and Survey asks every member how it is.
	Status() cluster.Status
	Survey(ctx context.Context) []cluster.Surveyed
	// Health is what the leader thinks of the members.
	Health(ctx context.Context) (cluster.Health, error)

	AddNonvoter(ctx context.Context, p cluster.Peer) error
	Promote(ctx context.Context, id string) error
	Demote(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	TransferLeadership(ctx context.Context, id string) error
}

// clusterService answers remit.v1.ClusterService; autopilot stands in clusterautopilot.go.
type clusterService struct {
	reader  *reader
	keyring *backend.Keyring
	cluster Cluster
	about   cluster.About // this node, as far as it does not change
}

// newClusterService makes the service of a node. Without a cluster the node is alone, and may
// know itself what there is to tell.
func newClusterService(config *Config, r *reader, k *backend.Keyring) *clusterService {
	s := &clusterService{reader: r, keyring: k, cluster: config.Cluster, about: cluster.About{
		Version: config.Version, Supports: fsm.ClusterVersion, Addr: config.Addr, GRPCAddr: config.GRPCAddr,
	}}
	if s.cluster == nil {
		s.cluster = lone{r}
		if node, ok := config.Node.(Cluster); ok {
			s.cluster = node
		}
	}
	return s
}

// GetCluster asks every member how it is.
func (s *clusterService) GetCluster(ctx context.Context, _ *remitv1.GetClusterRequest) (*remitv1.GetClusterResponse, error) {
	seen, err := s.survey(ctx)
	if err != nil {
		return nil, err
	}
	return seen.assess(), nil
}

// survey asks every member how it is, and this node what it knows beside.
func (s *clusterService) survey(ctx context.Context) (*sight, error) {
	config := &s.reader.Config
	seen := &sight{self: config.Node.ID(), begun: config.Clock()}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if h, ok := s.health(ctx); ok {
			seen.refusal = h.Refusal
		}
	}()
	seen.members = s.cluster.Survey(ctx)
	<-asked
	status := s.cluster.Status()
	// This node may be no member, and one that is alone need not know how to ask.
	mine := func(m cluster.Surveyed) bool { return m.ID == seen.self }
	if !slices.ContainsFunc(seen.members, mine) {
		own := cluster.Surveyed{Member: cluster.Member{Peer: cluster.Peer{ID: seen.self}}, Status: &cluster.MemberStatus{Status: status, Clock: seen.begun}}
		for _, m := range status.Members {
			if m.ID == seen.self {
				own.Member = m
			}
		}
		seen.members = append(seen.members, own)
		slices.SortFunc(seen.members, func(a, b cluster.Surveyed) int { return strings.Compare(a.ID, b.ID) })
	}
	// The newest state last, so that it is no older than what this node has said.
	root := config.State.Current()
	epoch := backend.EpochOf(root)
	seen.epoch, seen.version = hex.EncodeToString(epoch[:]), root.ClusterVersion()
	for i := range seen.members {
		m := &seen.members[i]
		seen.enrolled = append(seen.enrolled, slices.ContainsFunc(status.Members, func(other cluster.Member) bool { return other.ID == m.ID }))
		if mine(*m) && m.Status != nil && m.Status.StateHash == "" {
			hash := root.Hash().Bytes()
			m.Status.About = s.about
			m.Status.Revision, m.Status.StateHash = uint64(root.Revision()), hex.EncodeToString(hash[:])
		}
	}
	stored, err := backend.AutopilotIn(root)
	if err != nil {
		return nil, err
	}
	seen.autopilot = stored.Config.WithDefaults()
	return seen, nil
}

// AddMember gives a node the log.
func (s *clusterService) AddMember(ctx context.Context, req *remitv1.AddMemberRequest) (*remitv1.AddMemberResponse, error) {
	c := backend.MemberChange{Action: backend.AddMember, Node: req.Id, Addr: req.PeerAddr}
	err := s.change(ctx, req.Reason, c, func() error {
		return s.cluster.AddNonvoter(ctx, cluster.Peer{ID: req.Id, Address: req.PeerAddr})
	})
	return &remitv1.AddMemberResponse{}, err
}

// RemoveMember ends a membership.
func (s *clusterService) RemoveMember(ctx context.Context, req *remitv1.RemoveMemberRequest) (*remitv1.RemoveMemberResponse, error) {
	err := s.change(ctx, req.Reason, backend.MemberChange{Action: backend.RemoveMember, Node: req.Id}, func() error { return s.cluster.Remove(ctx, req.Id) })
	return &remitv1.RemoveMemberResponse{}, err
}

// PromoteMember gives a member a vote.
func (s *clusterService) PromoteMember(ctx context.Context, req *remitv1.PromoteMemberRequest) (*remitv1.PromoteMemberResponse, error) {
	err := s.change(ctx, req.Reason, backend.MemberChange{Action: backend.PromoteMember, Node: req.Id}, func() error { return s.cluster.Promote(ctx, req.Id) })
	return &remitv1.PromoteMemberResponse{}, err
}

// DemoteMember takes a member's vote.
func (s *clusterService) DemoteMember(ctx context.Context, req *remitv1.DemoteMemberRequest) (*remitv1.DemoteMemberResponse, error) {
	err := s.change(ctx, req.Reason, backend.MemberChange{Action: backend.DemoteMember, Node: req.Id}, func() error { return s.cluster.Demote(ctx, req.Id) })
	return &remitv1.DemoteMemberResponse{}, err
}

// TransferLeadership has another voter lead.
func (s *clusterService) TransferLeadership(ctx context.Context, req *remitv1.TransferLeadershipRequest) (*remitv1.TransferLeadershipResponse, error) {
	err := s.change(ctx, req.Reason, backend.MemberChange{Action: backend.TransferLeadership, Node: req.Id}, func() error { return s.cluster.TransferLeadership(ctx, req.Id) })
	return &remitv1.TransferLeadershipResponse{LeaderId: s.reader.Config.Node.Leader()}, err
}

// change puts a change on record and then has it made: see backend.RecordMemberChange. That
// nothing can be written at present must not keep an operator from changing the members: that
// may be what mends it.
func (s *clusterService) change(ctx context.Context, reason string, c backend.MemberChange, do func() error) error {
	logger := s.reader.Config.Log.With("change", string(c.Action), "member", c.Node, "principal", identity.Principal(ctx), "actor", actorOf(ctx), "reason", reason)
	if c.Addr != "" {
		logger = logger.With("address", c.Addr)
	}
	logger.InfoContext(ctx, "change of members asked for")
	if err := s.known(c); err != nil {
		return err
	}
	if err := s.keyring.RecordMemberChange(ctx, reason, c); errors.Is(err, cluster.ErrReadOnly) {
		logger.ErrorContext(ctx, "change of members not recorded", "error", err)
	} else if err != nil {
		return err
	}
	// Of a transfer to anybody, doing it again would undo it.
	again := c.Action != backend.TransferLeadership || c.Node != ""
	err := insist(ctx, again, do)
	if err == nil {
		return nil
	}
	c.Failure = err.Error()
	if failed := s.keyring.RecordMemberChange(context.WithoutCancel(ctx), reason, c); failed != nil {
		logger.WarnContext(ctx, "failed change of members not recorded", "failure", c.Failure, "error", failed)
	}
	return err
}

// known refuses to change a member that there is none of, or where there can be none, before
// anything is put on record.
func (s *clusterService) known(c backend.MemberChange) error {
	if _, alone := s.cluster.(lone); alone {
		return errLone
	}
	if c.Action == backend.AddMember || c.Action == backend.RemoveMember || c.Node == "" {
		return nil
	}
	members := s.cluster.Status().Members
	if slices.ContainsFunc(members, func(m cluster.Member) bool { return m.ID == c.Node }) {
		return nil
	}
	return at("id", fmt.Errorf("%w: node %s is no member; add it first", cluster.ErrMembership, c.Node))
}

const (
	// changePatience is how long a change is tried again while nobody leads: a leader that is
	// changed itself hands over first, and an election may follow.
	changePatience = 15 * time.Second
	// firstChangePause and lastChangePause bound the time between two attempts.
	firstChangePause = 50 * time.Millisecond
	lastChangePause  = time.Second
)

// insist does something until nobody stands in its way. What may have been done is done
// again only if that is asked for.
func insist(ctx context.Context, again bool, do func() error) error {
	end := time.Now().Add(changePatience)
	pause := firstChangePause
	for {
		err := do()
		passing := errors.Is(err, cluster.ErrNoLeader) && !errors.Is(err, cluster.ErrMembership) || errors.Is(err, cluster.ErrOverloaded)
		if errors.Is(err, cluster.ErrUnknownOutcome) {
			passing = again
		}
		if !passing || ctx.Err() != nil || time.Now().Add(pause).After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
			pause = min(2*pause, lastChangePause)
		}
	}
}

// actorOf is whom the caller says that it acts for.
func actorOf(ctx context.Context) string {
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		return info.RequestHeader().Get(backend.HeaderActor)
	}
	return ""
}

// A lone node is the whole of its cluster.
type lone struct{ reader *reader }

// Status is the node, which leads.
func (l lone) Status() cluster.Status {
	id, revision := l.reader.Config.Node.ID(), uint64(l.reader.Config.State.Current().Revision())
	return cluster.Status{
		ID: id, Members: []cluster.Member{{Peer: cluster.Peer{ID: id, Address: id}, Voter: true, Leader: true}},
		State: "Leader", Serving: true, Commit: revision, Applied: revision,
	}
}

// Survey has nobody to ask.
func (lone) Survey(context.Context) []cluster.Surveyed { return nil }

// Health has nobody to think of.
func (lone) Health(context.Context) (cluster.Health, error) {
	return cluster.Health{}, cluster.ErrNoLeader
}

// errLone is why a lone node stays so.
var errLone = fmt.Errorf("%w: this server is no member of a cluster", cluster.ErrMembership)

// AddNonvoter implements Cluster.
func (lone) AddNonvoter(context.Context, cluster.Peer) error { return errLone }

// Promote implements Cluster.
func (lone) Promote(context.Context, string) error { return errLone }

// Demote implements Cluster.
func (lone) Demote(context.Context, string) error { return errLone }

// Remove implements Cluster.
func (lone) Remove(context.Context, string) error { return errLone }

// TransferLeadership implements Cluster.
func (lone) TransferLeadership(context.Context, string) error { return errLone }
