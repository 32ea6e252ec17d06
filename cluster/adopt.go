package cluster

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Adopt makes a new node of a state machine that comes from elsewhere, such as a backup:
// Open then finds a node that is alone, with a snapshot of everything up to the state
// machine's durable index and an empty log behind it. term is that of the entry at the
// index. Dir must hold no node yet. Of cfg, Dir, FSM, Snapshots and DurableIndex are
// used. After an error Dir may hold part of a node, and must be removed.
func Adopt(cfg Config, term uint64) (id string, err error) {
	index := cfg.DurableIndex()
	if index == 0 || term == 0 {
		return "", fmt.Errorf("adopt a state machine: it is at index %d of term %d", index, term)
	}
	if err := createDir(cfg.Dir); err != nil {
		return "", fmt.Errorf("create data directory: %w", err)
	}
	switch id, err = loadID(cfg.Dir); {
	case err != nil:
		return "", err
	case id != "":
		return "", fmt.Errorf("adopt a state machine: %s is the directory of node %s", cfg.Dir, id)
	}
	store, err := openLog(cfg.Dir, false)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	f, err := look(store, store, cfg.Snapshots, 0)
	if err != nil {
		return "", err
	}
	if !f.fresh() || f.term != 0 {
		return "", f.refuse("a state machine is to be adopted, but there is a log or a snapshot already")
	}
	// Before the term: identify takes a log with one for an older node's.
	if id, err = identify(cfg.Dir, store, f); err != nil {
		return "", err
	}
	// The term before the snapshot: with a snapshot of a later term than the node remembers, it would
	// seem to have lost its log.
	if err := store.SetUint64(keyTerm, term); err != nil {
		return "", fmt.Errorf("adopt a state machine: %w", err)
	}
	if err := adoptSnapshot(cfg, id, index, term); err != nil {
		return "", fmt.Errorf("adopt a state machine: %w", err)
	}
	return id, nil
}

// adoptSnapshot takes the snapshot that stands in for the log, of a cluster of one.
func adoptSnapshot(cfg Config, id string, index, term uint64) error {
	transport := inProcess(id)
	alone := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(id), Address: transport.LocalAddr(),
	}}}
	snapshot, err := cfg.FSM.Snapshot()
	if err != nil {
		return errors.Join(err, transport.Close())
	}
	defer snapshot.Release()
	sink, err := cfg.Snapshots.Create(raft.SnapshotVersionMax, index, term, alone, index, transport)
	if err != nil {
		return errors.Join(err, transport.Close())
	}
	if err := snapshot.Persist(sink); err != nil {
		return errors.Join(err, sink.Cancel(), transport.Close())
	}
	return errors.Join(sink.Close(), transport.Close())
}
