package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
)

const (
	// upgradeInterval is how often a leader asks whether all members support a later cluster
	// version: a release has been installed on the last of them, and nobody is in a hurry.
	upgradeInterval = time.Minute

	// upgradeWatch is how often it looks whether the members have changed, which costs no
	// question to another node.
	upgradeWatch = 5 * time.Second

	// upgradePatience bounds one attempt.
	upgradePatience = 10 * time.Second
)

// An upgrader raises the replicated cluster version when every member can follow a later
// one: then, and no earlier, may the state machine do what only that release knows. It
// never lowers it, so who wants to go back to an earlier release must do so before the
// last node is upgraded, or restore a backup.
type upgrader struct {
	node    upgradable
	present func() uint64 // the replicated version
	known   uint64        // the latest that this program can follow
	log     *slog.Logger

	members string    // when it last asked
	asked   time.Time // when that was
}

// upgradable is what an upgrader needs of a *cluster.Node.
type upgradable interface {
	Status() cluster.Status
	Supported(ctx context.Context) (uint64, error)
	Propose(ctx context.Context, command []byte) (answer []byte, err error)
}

func newUpgrader(config *Config, state *fsm.State, node *cluster.Node) *upgrader {
	return &upgrader{
		node: node, present: func() uint64 { return state.Current().ClusterVersion() },
		known: fsm.ClusterVersion, log: config.Log,
	}
}

// run watches until ctx ends. It first asks after upgradeInterval, or when the members
// change: a node that has just started does not know yet who will come. A cluster that has
// just been made has no version at all, and nothing to lose by asking soon.
func (u *upgrader) run(ctx context.Context) {
	if u.present() != 0 {
		u.members, u.asked = memberIDs(u.node.Status()), time.Now()
	}
	again := time.NewTicker(upgradeWatch)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		u.watch(ctx)
	}
}

// watch asks and raises, if it is time and this node leads.
func (u *upgrader) watch(ctx context.Context) {
	status := u.node.Status()
	members := memberIDs(status)
	if !status.Serving || (members == u.members && time.Since(u.asked) < upgradeInterval) {
		return
	}
	u.members, u.asked = members, time.Now()
	attempt, cancel := context.WithTimeout(ctx, upgradePatience)
	defer cancel()
	from := u.present()
	to, err := u.raise(attempt, from)
	switch {
	case err != nil && ctx.Err() == nil:
		u.log.WarnContext(ctx, "cluster version not raised", "present", from, "error", err)
	case err == nil && to > from:
		u.log.InfoContext(ctx, "cluster version raised", "from", from, "to", to)
	}
}

// raise proposes the latest version that all can follow, if that is later than from.
func (u *upgrader) raise(ctx context.Context, from uint64) (to uint64, err error) {
	if from >= u.known {
		return from, nil // nobody need be asked
	}
	supported, err := u.node.Supported(ctx)
	if err != nil {
		return from, err
	}
	if to = min(supported, u.known); to <= from {
		return from, nil
	}
	command := &fsm.Command{
		Principal: "remit", Reason: "all members support it", Body: &fsm.SetClusterVersion{Version: to},
	}
	encoded, err := command.Encode()
	if err != nil {
		return from, err
	}
	answer, err := u.node.Propose(ctx, encoded)
	if err != nil {
		return from, err
	}
	result, err := fsm.DecodeResult(answer)
	if err == nil {
		err = result.Err
	}
	if err != nil {
		return from, fmt.Errorf("set the cluster version to %d: %w", to, err)
	}
	return to, nil
}

// memberIDs returns who the members are.
func memberIDs(s cluster.Status) string {
	var ids []string
	for _, m := range s.Members {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
