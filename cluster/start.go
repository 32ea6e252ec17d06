package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// found is what a node finds of its own at the start.
type found struct {
	durable      uint64 // A: the state machine's durable index
	snapshot     uint64 // S: the newest valid snapshot's index
	snapshotTerm uint64
	first, last  uint64 // the log
	term         uint64
	voted        bool
}

// look reads what is there.
func look(logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, durable uint64) (found, error) {
	f := found{durable: durable}
	var err error
	if f.first, err = logs.FirstIndex(); err != nil {
		return found{}, fmt.Errorf("read the log's first index: %w", err)
	}
	if f.last, err = logs.LastIndex(); err != nil {
		return found{}, fmt.Errorf("read the log's last index: %w", err)
	}
	// A store that has no term says so with this text; Raft relies on it too.
	if f.term, err = stable.GetUint64(keyTerm); err != nil && err.Error() != "not found" {
		return found{}, fmt.Errorf("read the term: %w", err)
	}
	vote, err := stable.GetUint64(keyVote)
	if err != nil && err.Error() != "not found" {
		return found{}, fmt.Errorf("read the vote: %w", err)
	}
	f.voted = vote != 0
	list, err := snapshots.List()
	if err != nil {
		return found{}, fmt.Errorf("list snapshots: %w", err)
	}
	if len(list) > 0 {
		f.snapshot, f.snapshotTerm = list[0].Index, list[0].Term
	}
	return f, nil
}

// keyTerm and keyVote are where Raft keeps its term, and the term in which it last voted,
// in the stable store.
var (
	keyTerm = []byte("CurrentTerm")
	keyVote = []byte("LastVoteTerm")
)

// fresh says whether the node has no history at all. Term 1 without a log is
// what a bootstrap leaves that was interrupted between its two writes.
func (f found) fresh() bool {
	return f.durable == 0 && f.snapshot == 0 && f.last == 0 && f.term <= 1
}

// blank says whether the node has heard of a cluster and has nothing of it: it was being
// joined when it stopped. It has not voted, so nothing rests on what it may have forgotten.
func (f found) blank() bool {
	return f.durable == 0 && f.snapshot == 0 && f.last == 0 && !f.voted
}

// restore decides whether Raft must restore the newest snapshot, or why the node
// must not start at all.
//
// The state machine is durable on its own, so normally Raft only replays what
// follows. Told so, Raft adopts the newest snapshot's index without a look at
// the state: if that snapshot had arrived but never been restored, its entries
// would be missing for ever. Hence the comparison.
func (f found) restore() (bool, error) {
	switch {
	case f.durable > f.last && f.durable > f.snapshot:
		return false, f.refuse("the state machine is ahead of the log, so the log has lost entries that were acknowledged; " +
			"restore the log beside this data or start from a backup, and do not delete either part alone")
	case f.last == 0 && f.snapshot == 0:
		return false, f.refuse("the log is empty although this node has voted before, so the log was lost; " +
			"restore the data directory from a backup, or remove it whole and start anew")
	case f.term < f.snapshotTerm:
		// The term is kept with the log, and is durable before an entry of it is.
		return false, f.refuse("the newest snapshot is of a later term than this node remembers, so the log was lost or is an old copy; " +
			"restore the log beside this data or start from a backup")
	case f.last > f.snapshot && f.first > f.snapshot+1:
		return false, f.refuse("entries between the newest snapshot and the log are missing; " +
			"restore the missing snapshot beside this data, or start from a backup")
	}
	return f.durable < f.snapshot, nil
}

func (f found) refuse(problem string) error {
	return &StartError{Problem: problem, Durable: f.durable, Snapshot: f.snapshot, First: f.first, Last: f.last}
}

// firstVoters returns whom a node without history begins a cluster with: nobody but
// itself, or those whom Config names, or those with whom it agrees, or nobody at all, and
// then it waits to be joined.
func (n *Node) firstVoters(ctx context.Context, stable raft.StableStore, address raft.ServerAddress) ([]raft.Server, error) {
	if n.cfg.Peers == nil {
		return []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(n.id), Address: address}}, nil
	}
	var voters []raft.Server
	peers := n.cfg.Bootstrap
	if len(peers) == 0 {
		var err error
		if peers, err = n.form(ctx, stable, address); err != nil {
			return nil, err
		}
	}
	for _, p := range peers {
		voters = append(voters, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address)})
	}
	self := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(n.id), Address: address}
	if len(n.cfg.Bootstrap) > 0 && !slices.Contains(voters, self) {
		return nil, fmt.Errorf("bootstrap: this is node %s at %s, which is not among the first voters %v", n.id, address, voters)
	}
	// Each of them writes this entry by itself, so it has to be the same everywhere.
	slices.SortFunc(voters, func(a, b raft.Server) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return voters, nil
}

// bootstrap gives a fresh node its first configuration.
func bootstrap(rc *raft.Config, logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore, t Transport, voters []raft.Server) error {
	// Raft refuses a node that has a term, and an interrupted bootstrap left one.
	if err := stable.SetUint64(keyTerm, 0); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	withSums := &checked{LogStore: logs, fail: func(error) {}} // nothing is read
	if err := raft.BootstrapCluster(rc, withSums, stable, snapshots, t, raft.Configuration{Servers: voters}); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// errAlone is why a log that names other servers is refused.
var errAlone = errors.New("the log belongs to a cluster of another shape")

// checkAlone verifies that the configuration in the log is this node and nobody
// else: that is what makes this node's own word a quorum.
func checkAlone(c raft.Configuration, id string) error {
	if len(c.Servers) == 1 && c.Servers[0].ID == raft.ServerID(id) && c.Servers[0].Suffrage == raft.Voter {
		return nil
	}
	return fmt.Errorf("%w: want node %s as the only voter, the log names %v; "+
		"was the file %s exchanged or the log copied from another node?", errAlone, id, c.Servers, idFile)
}
