package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"
)

// An AutopilotConfig says what a leader does about members by itself. The zero value of
// each field is its default.
type AutopilotConfig struct {
	// Off leaves everything to people. The leader still tells who is healthy.
	Off bool `json:"off,omitempty"`
	// CleanupDeadServers removes members that have been unreachable for DeadAfter: those
	// without a vote at once, and voters if MinQuorum voters are left, so when others have
	// taken their places. A node that was removed and comes back has to be joined again.
	CleanupDeadServers bool `json:"cleanup_dead_servers,omitempty"`
	// DeadAfter is for how long a leader has not reached a member that is dead; a new
	// leader begins to count anew. Default: 10 minutes.
	DeadAfter time.Duration `json:"dead_after,omitempty"`
	// MinQuorum is how many voters removal leaves at least. Default: 3.
	MinQuorum uint `json:"min_quorum,omitempty"`
	// LastContactThreshold is how long ago a healthy member last heard of the leader, and
	// the leader of it. It is at least two rounds of questions, or all are now and then
	// unhealthy. Default: 3 s.
	LastContactThreshold time.Duration `json:"last_contact_threshold,omitempty"`
	// MaxTrailingLogs is how many entries a healthy member is behind at most. Default: 1,000.
	MaxTrailingLogs uint64 `json:"max_trailing_logs,omitempty"`
	// ServerStabilizationTime is how long a member is healthy without a break, as one
	// leader sees it, before it gets a vote. Default: 10 s.
	ServerStabilizationTime time.Duration `json:"server_stabilization_time,omitempty"`
}

// WithDefaults returns c with its zero fields set.
func (c AutopilotConfig) WithDefaults() AutopilotConfig {
	setDefault(&c.DeadAfter, 10*time.Minute)
	setDefault(&c.MinQuorum, 3)
	setDefault(&c.LastContactThreshold, 3*time.Second)
	setDefault(&c.MaxTrailingLogs, 1000)
	setDefault(&c.ServerStabilizationTime, 10*time.Second)
	return c
}

// autopilotConfig returns what holds now.
func (n *Node) autopilotConfig() AutopilotConfig {
	var c AutopilotConfig
	if n.cfg.Autopilot != nil {
		c = n.cfg.Autopilot()
	}
	return c.WithDefaults()
}

// reconcileInterval is how often promotions and removals are considered.
const reconcileInterval = 2 * time.Second

// startAutopilot starts an autopilot for one tenure. It is a new one each time, so that
// nothing that an earlier tenure saw counts. The function that it returns stops it, and
// returns when it has ended.
func (n *Node) startAutopilot(ctx context.Context) (stop func()) {
	p := &pilot{n: n, ctx: ctx}
	a := autopilot.New(p, p,
		autopilot.WithPromoter(p),
		autopilot.WithLogger(RaftLog(slog.New(mild{n.log.Handler()}))),
		autopilot.WithUpdateInterval(lookInterval),
		autopilot.WithReconcileInterval(reconcileInterval))
	a.Start(ctx)
	n.helm.set(a)
	return func() {
		n.helm.set(nil)
		<-a.Stop()
	}
}

// pilot is what an autopilot knows of the cluster and can do about it. Everything that it
// knows comes from the lookout, and what it does goes the way of all changes: one at a
// time, and judged by the members as they then are.
type pilot struct {
	n   *Node
	ctx context.Context // of the tenure; an autopilot passes none on

	before map[raft.ServerID]standing // in the last state; of NotifyState
}

var (
	_ autopilot.Raft                   = (*pilot)(nil)
	_ autopilot.ApplicationIntegration = (*pilot)(nil)
	_ autopilot.Promoter               = (*pilot)(nil)
)

// Kinds of members. One that was demoted stays without a vote until a person gives it one,
// or it starts anew.
const (
	nodeReplica autopilot.NodeType = "replica"
	nodeDemoted autopilot.NodeType = "demoted"
)

// AutopilotConfig implements autopilot.ApplicationIntegration. It is asked each round.
func (p *pilot) AutopilotConfig() *autopilot.Config {
	c := p.n.autopilotConfig()
	return &autopilot.Config{
		CleanupDeadServers:      c.CleanupDeadServers && !c.Off,
		LastContactThreshold:    c.LastContactThreshold,
		MaxTrailingLogs:         c.MaxTrailingLogs,
		MinQuorum:               c.MinQuorum,
		ServerStabilizationTime: c.ServerStabilizationTime,
		Ext:                     c,
	}
}

// NotifyState implements autopilot.ApplicationIntegration. It mends what the library
// (v0.3.0) gets wrong: a change of health is compared with itself there, so StableSince
// stays what it first was, and a member that comes and goes is stable. Each state begins
// with a copy of the one before, so what is set here lasts. Nobody else sees the state yet:
// the library holds its lock.
//
// Who loses its vote begins anew, too: it may not know yet that it was demoted.
func (p *pilot) NotifyState(s *autopilot.State) {
	before := p.before
	p.before = map[raft.ServerID]standing{}
	for id, it := range s.Servers {
		now := standing{healthy: it.Health.Healthy, votes: it.HasVotingRights()}
		p.before[id] = now
		if was, known := before[id]; known && (was.healthy != now.healthy || was.votes && !now.votes) {
			it.Health.StableSince = time.Now()
		}
	}
}

// A standing is what a member was in a state.
type standing struct{ healthy, votes bool }

// KnownServers implements autopilot.ApplicationIntegration.
func (p *pilot) KnownServers() map[raft.ServerID]*autopilot.Server {
	seen, _ := p.n.lookout.all()
	known := map[raft.ServerID]*autopilot.Server{}
	for _, s := range p.n.servers() {
		it := seen[string(s.ID)]
		server := &autopilot.Server{
			ID: s.ID, Name: string(s.ID), Address: s.Address, NodeStatus: autopilot.NodeUnknown,
			Version: it.status.Version, RaftVersion: int(raft.ProtocolVersionMax),
			IsLeader: string(s.ID) == p.n.id, NodeType: autopilot.NodeVoter,
		}
		switch {
		case it.status.Replica:
			server.NodeType = nodeReplica
		case it.status.Demoted:
			server.NodeType = nodeDemoted
		}
		switch {
		case it.fresh() && (s.Suffrage == raft.Voter || it.err == nil):
			// Whether it is healthy the rest decides, but who wants a vote answers every time.
			server.NodeStatus = autopilot.NodeAlive
		case it.unreachable() > 0:
			server.NodeStatus = autopilot.NodeFailed
		}
		known[s.ID] = server
	}
	return known
}

// FetchServerStats implements autopilot.ApplicationIntegration. It asks nobody: the
// lookout has.
func (p *pilot) FetchServerStats(context.Context, map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	seen, _ := p.n.lookout.all()
	stats := map[raft.ServerID]*autopilot.ServerStats{}
	for id, s := range seen {
		if s.asked.IsZero() {
			continue
		}
		it := &autopilot.ServerStats{LastTerm: s.status.LastTerm, LastIndex: s.status.LastIndex, LastContact: s.status.SinceContact}
		if id != p.n.id && it.LastContact >= 0 {
			it.LastContact = max(it.LastContact, s.silent())
		}
		stats[raft.ServerID(id)] = it
	}
	return stats
}

// silent returns how long ago the member was asked for what it last said.
func (s report) silent() time.Duration { return time.Since(s.asked) }

// RemoveFailedServer implements autopilot.ApplicationIntegration.
func (p *pilot) RemoveFailedServer(s *autopilot.Server) {
	if err := p.RemoveServer(s.ID, 0, 0).Error(); err != nil && p.ctx.Err() == nil {
		p.n.log.WarnContext(p.ctx, "dead member not removed", "member", s.ID, "error", err)
	}
}

// CalculatePromotionsAndDemotions implements autopilot.Promoter. Unlike the library's own
// promoter it never waives the time for which a member is to be healthy: that one does so
// while its leader is new, and a member that comes and goes would get its vote then.
func (p *pilot) CalculatePromotionsAndDemotions(c *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	var changes autopilot.RaftChanges
	if ours, ok := c.Ext.(AutopilotConfig); !ok || ours.Off {
		return changes
	}
	now := time.Now()
	seen, _ := p.n.lookout.all()
	for id, it := range s.Servers {
		if seen[string(id)].silent() > lookInterval*3/2 {
			continue // it is being asked, and takes its time
		}
		if it.State == autopilot.RaftNonVoter && it.Server.NodeType == autopilot.NodeVoter &&
			it.Health.IsStable(now, c.ServerStabilizationTime) {
			changes.Promotions = append(changes.Promotions, id)
		}
	}
	slices.Sort(changes.Promotions)
	return changes
}

// FilterFailedServerRemovals implements autopilot.Promoter: it leaves who is dead. A member
// of which nothing was known when it was asked for is not.
func (p *pilot) FilterFailedServerRemovals(_ *autopilot.Config, _ *autopilot.State, failed *autopilot.FailedServers) *autopilot.FailedServers {
	seen, _ := p.n.lookout.all()
	after := p.n.autopilotConfig().DeadAfter
	alive := func(s *autopilot.Server) bool { return seen[string(s.ID)].unreachable() < after }
	return &autopilot.FailedServers{
		FailedVoters:    slices.DeleteFunc(failed.FailedVoters, alive),
		FailedNonVoters: slices.DeleteFunc(failed.FailedNonVoters, alive),
	}
}

// IsPotentialVoter implements autopilot.Promoter.
func (*pilot) IsPotentialVoter(t autopilot.NodeType) bool { return t == autopilot.NodeVoter }

// GetServerExt, GetStateExt and GetNodeTypes implement autopilot.Promoter; KnownServers
// has told the types.
func (*pilot) GetServerExt(*autopilot.Config, *autopilot.ServerState) any { return nil }
func (*pilot) GetStateExt(*autopilot.Config, *autopilot.State) any        { return nil }
func (*pilot) GetNodeTypes(*autopilot.Config, *autopilot.State) map[raft.ServerID]autopilot.NodeType {
	return nil
}

// A made is a change that has ended. It is a raft.IndexFuture whose index nobody asks for.
type made struct{ err error }

func (m made) Error() error  { return m.err }
func (m made) Index() uint64 { return 0 }

// do makes a change, unless the tenure ends before.
func (p *pilot) do(c change, allowed func(raft.Configuration) error) made {
	n := p.n
	select {
	case n.changing <- struct{}{}:
		defer func() { <-n.changing }()
	case <-p.ctx.Done():
		return made{p.ctx.Err()}
	}
	return made{n.reshape(p.ctx, c, allowed)}
}

// AddVoter implements autopilot.Raft: it promotes.
func (p *pilot) AddVoter(id raft.ServerID, _ raft.ServerAddress, _ uint64, _ time.Duration) raft.IndexFuture {
	return p.do(change{What: changePromote, Peer: Peer{ID: string(id)}}, func(raft.Configuration) error {
		// It was asked just now.
		if seen, _ := p.n.lookout.all(); seen[string(id)].err != nil {
			return seen[string(id)].err
		}
		return nil
	})
}

// RemoveServer implements autopilot.Raft.
func (p *pilot) RemoveServer(id raft.ServerID, _ uint64, _ time.Duration) raft.IndexFuture {
	return p.do(change{What: changeRemove, Peer: Peer{ID: string(id)}},
		func(present raft.Configuration) error { return p.expendable(id, present) })
}

// expendable says why a member that is dead must stay all the same.
func (p *pilot) expendable(id raft.ServerID, present raft.Configuration) error {
	seen, _ := p.n.lookout.all()
	c := p.n.autopilotConfig()
	if dead := seen[string(id)].unreachable(); dead < c.DeadAfter {
		return fmt.Errorf("node %s has been unreachable for %s, it counts as dead after %s", id, dead, c.DeadAfter)
	}
	left, reached, votes := uint(0), uint(0), false
	for _, s := range present.Servers {
		switch {
		case s.Suffrage != raft.Voter:
		case s.ID == id:
			votes = true
		default:
			left++
			if string(s.ID) == p.n.id || seen[string(s.ID)].err == nil && seen[string(s.ID)].fresh() {
				reached++
			}
		}
	}
	switch {
	case !votes:
		return nil
	case left < c.MinQuorum:
		return fmt.Errorf("without node %s there would be %d voters, at least %d must be left", id, left, c.MinQuorum)
	case reached < left/2+1:
		return fmt.Errorf("without node %s only %d of %d voters would be there", id, reached, left)
	}
	return nil
}

// errNotOurs is about changes that no promoter here asks for.
var errNotOurs = errors.New("an autopilot promotes and removes, and does nothing else")

// AddNonvoter, DemoteVoter and LeadershipTransferToServer implement autopilot.Raft.
func (*pilot) AddNonvoter(raft.ServerID, raft.ServerAddress, uint64, time.Duration) raft.IndexFuture {
	return made{errNotOurs}
}

// DemoteVoter is refused.
func (*pilot) DemoteVoter(raft.ServerID, uint64, time.Duration) raft.IndexFuture {
	return made{errNotOurs}
}

// LeadershipTransferToServer is refused.
func (*pilot) LeadershipTransferToServer(raft.ServerID, raft.ServerAddress) raft.Future {
	return made{errNotOurs}
}

// LastIndex implements autopilot.Raft. It is the end of the log when the members were asked
// for theirs, and not now: they would seem to be behind by what was written since.
func (p *pilot) LastIndex() uint64 {
	_, index := p.n.lookout.all()
	return index
}

// Stats implements autopilot.Raft, as far as it is looked at.
func (p *pilot) Stats() map[string]string {
	_, term := p.n.lastEntry()
	return map[string]string{"last_log_term": strconv.FormatUint(term, 10)}
}

// Leader, State and GetConfiguration implement autopilot.Raft.
func (p *pilot) Leader() raft.ServerAddress                 { return p.n.transport.LocalAddr() }
func (p *pilot) State() raft.RaftState                      { return p.n.raft.State() }
func (p *pilot) GetConfiguration() raft.ConfigurationFuture { return p.n.raft.GetConfiguration() }

// mild is a handler that takes errors for warnings: what an autopilot reports is tried
// again, and most of it comes of leadership that ends.
type mild struct{ slog.Handler }

// Handle writes a record.
func (m mild) Handle(ctx context.Context, r slog.Record) error {
	r.Level = min(r.Level, slog.LevelWarn)
	return m.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (m mild) WithAttrs(attrs []slog.Attr) slog.Handler { return mild{m.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (m mild) WithGroup(name string) slog.Handler { return mild{m.Handler.WithGroup(name)} }
