package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// A Survivor is what a node that is stopped holds. Of several, the most advanced is the one
// with the greatest Term, and among equals the one with the greatest Index: every write
// that was acknowledged is on a majority, and an election would choose the same.
type Survivor struct {
	ID string `json:"id"`
	// Index and Term are those of the last entry.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// Appended is when a leader made that entry, by its clock; zero if it is not in the log.
	Appended time.Time `json:"appended,omitzero"`
	// Durable is the last index that the state machine holds, Snapshot that of the newest
	// snapshot, and First and Last are the log's, 0 for none.
	Durable  uint64 `json:"durable"`
	Snapshot uint64 `json:"snapshot"`
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	// Members are those of the last configuration here, be it committed or not.
	Members []Member `json:"members"`
}

// Known is the index up to which the entries are known to be committed: the state machine
// or a snapshot has them.
func (s *Survivor) Known() uint64 { return max(s.Durable, s.Snapshot) }

// Voters is how many members have a vote.
func (s *Survivor) Voters() (n int) {
	for _, m := range s.Members {
		if m.Voter {
			n++
		}
	}
	return n
}

// Examine tells what the node in cfg.Dir holds, whose log no process may have open. Every
// entry behind the newest snapshot is read and compared with its checksum. Of cfg, Dir,
// Snapshots and DurableIndex are used. What a start would refuse is a StartError here, too.
func Examine(cfg Config) (s *Survivor, err error) {
	if id, err := loadID(cfg.Dir); err != nil {
		return nil, err
	} else if id == "" {
		return nil, fmt.Errorf("%s holds no node: there is no file %s", cfg.Dir, idFile)
	}
	store, f, err := openFound(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	s = &Survivor{Durable: f.durable, Snapshot: f.snapshot, First: f.first, Last: f.last, Index: f.snapshot, Term: f.snapshotTerm}
	if s.ID, err = identify(cfg.Dir, store, f); err != nil {
		return nil, err
	}
	if f.blank() || f.fresh() {
		return nil, f.refuse("node " + s.ID + " has nothing: it was never a member of a cluster")
	}
	if _, err := f.restore(); err != nil {
		return nil, err
	}
	var members raft.Configuration
	list, err := cfg.Snapshots.List()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	if len(list) > 0 {
		members = list[0].Configuration
	}
	err = f.readLog(store, func(e *raft.Log) (err error) {
		if e.Index <= f.snapshot {
			return nil
		}
		s.Index, s.Term, s.Appended = e.Index, e.Term, e.AppendedAt
		if e.Type == raft.LogConfiguration {
			members, err = decodeConfiguration(e.Data)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, m := range members.Servers {
		s.Members = append(s.Members, Member{
			Peer: Peer{ID: string(m.ID), Address: string(m.Address)}, Voter: m.Suffrage == raft.Voter,
		})
	}
	return s, nil
}

// openFound opens the log in cfg.Dir, which must be there, and looks at what is there.
func openFound(cfg Config) (*raftboltdb.BoltStore, found, error) {
	if _, err := os.Stat(filepath.Join(cfg.Dir, logFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, found{}, fmt.Errorf("%s holds no log: there is no file %s", cfg.Dir, logFile)
	}
	store, err := openLog(cfg.Dir, false)
	if err != nil {
		return nil, found{}, err
	}
	f, err := look(store, store, cfg.Snapshots, cfg.DurableIndex())
	if err != nil {
		return nil, found{}, errors.Join(err, store.Close())
	}
	return store, f, nil
}

// replaySlice is how many entries go to the state machine at once.
const replaySlice = 64

// Replay hands the state machine every entry of the log in cfg.Dir behind an index, whether
// it was committed or not, as Raft would: of what is not a command, it sees only changes of
// the members. For a cluster that has lost its quorum there is nobody left to ask which of
// them were acknowledged, so all are kept. Of cfg, Dir, FSM, Snapshots and DurableIndex are
// used; each is told how far it is, if given. An entry that cannot be applied is an error,
// and the state machine is of no use then.
func Replay(ctx context.Context, cfg Config, behind uint64, each func(index uint64)) (err error) {
	store, f, err := openFound(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if f.last <= behind {
		return nil
	}
	slice := make([]*raft.Log, 0, replaySlice)
	_, err = checkLog(store, behind+1, f.last, func(e *raft.Log) error {
		if e.Type == raft.LogCommand || e.Type == raft.LogConfiguration {
			own := *e
			slice = append(slice, &own)
		}
		if len(slice) < replaySlice && e.Index < f.last || len(slice) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := replay(cfg.FSM, slice); err != nil {
			return err
		}
		if each != nil {
			each(e.Index)
		}
		slice = slice[:0]
		return nil
	})
	if err != nil {
		return fmt.Errorf("replay the log behind %d: %w", behind, err)
	}
	return nil
}

// replay applies entries. A state machine panics at one that it cannot apply: on a node
// that runs, going on would be to diverge.
func replay(m raft.BatchingFSM, entries []*raft.Log) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("entries %d to %d cannot be applied: %v", entries[0].Index, entries[len(entries)-1].Index, reason)
		}
	}()
	m.ApplyBatch(entries)
	return nil
}
