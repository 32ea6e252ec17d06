package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/fsm"
)

// A recovery works beside the node, in preparingDir, which counts for nothing. When the new
// node is whole, the folder becomes recoveringDir by one rename: from then on the directory
// holds no node until each part of the new one has taken the place of the old one's, which
// goes into the folder. That can be carried on however often it is cut off. At last the
// folder becomes one with a date, which holds the node as it was.
const (
	preparingDir    = "recovering.new"
	recoveringDir   = "recovering"
	recoveredPrefix = "before-recovery-"

	newNodeDir    = "node"           // in the folder: the parts of the new node
	recoveredFile = "recovered.json" // and what the recovery did
)

// ErrRecoveryInterrupted says that a recovery was cut off while it changed nodes.
var ErrRecoveryInterrupted = errors.New("recovery interrupted")

// A Survivor is what a data directory holds, for who compares those that are left.
type Survivor struct {
	cluster.Survivor
	// Revision and Time are those of the state; entries behind it are in the log.
	Revision uint64    `json:"revision"`
	Time     time.Time `json:"time"` // the leader's
	// Epoch identifies the history, 0 if it has none yet.
	Epoch uint64 `json:"epoch"`
}

// Uncertain is how many entries nobody here knows to be committed.
func (s *Survivor) Uncertain() uint64 { return s.Index - min(s.Known(), s.Index) }

// RecoverConfig says which node goes on alone.
type RecoverConfig struct {
	// DataDir is the data directory of the survivor. No process may serve it.
	DataDir string
	// Log receives what happens. Default: nothing is logged.
	Log *slog.Logger
	// Clock dates what is kept. Default: time.Now.
	Clock func() time.Time
	// Progress, if given, is told how many entries of how many are replayed.
	Progress func(done, total uint64)

	step func(string) // is called between the steps, for tests
}

// Recovered tells what a recovery has done.
type Recovered struct {
	// Survivor is the node as it was.
	Survivor Survivor `json:"survivor"`
	// NodeID, Epoch and Revision are those of the new node.
	NodeID   string `json:"nodeId"`
	Epoch    uint64 `json:"epoch"`
	Revision uint64 `json:"revision"`
	// Kept is the folder that holds the node as it was.
	Kept string `json:"-"`
}

// Examine tells what a data directory holds that no process serves. As a start does, it
// removes what a crash has left over; all else stays as it is.
func Examine(config RecoverConfig) (s *Survivor, err error) {
	config.defaults()
	lock, err := config.enter()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	if err := checkRecovered(config.DataDir); err != nil {
		return nil, err
	}
	state, err := config.openState(filepath.Join(config.DataDir, stateDir))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, state.close()) }()
	return config.examine(state)
}

// Recover makes a new node of one that has lost the others: with its whole log, alone in a
// cluster with an epoch of its own, so that nobody takes up with it who knows the old one.
// Whatever it is cut off in, the directory then holds the old node as it was, or the new
// one, or none until Recover has been called again.
func Recover(ctx context.Context, config RecoverConfig) (recovered *Recovered, err error) {
	config.defaults()
	lock, err := config.enter()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	work := filepath.Join(config.DataDir, preparingDir)
	if !interrupted(config.DataDir) {
		if err := errors.Join(os.RemoveAll(work), os.MkdirAll(filepath.Join(work, newNodeDir), 0o700)); err != nil {
			return nil, fmt.Errorf("recover: %w", err)
		}
		if err := config.prepare(ctx, work); err != nil {
			return nil, errors.Join(fmt.Errorf("recover: %w", err), os.RemoveAll(work))
		}
		config.step("prepared")
		if err := renameIn(config.DataDir, preparingDir, recoveringDir); err != nil {
			return nil, fmt.Errorf("recover: %w", err)
		}
	}
	if recovered, err = config.change(); err != nil {
		return nil, fmt.Errorf("recover: %w; run it again, it goes on where it was", err)
	}
	return recovered, nil
}

func (c *RecoverConfig) defaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.step == nil {
		c.step = func(string) {}
	}
}

// enter locks the data directory, which must be there.
func (c *RecoverConfig) enter() (*dirLock, error) {
	if _, err := os.Stat(c.DataDir); err != nil {
		return nil, err
	}
	lock, err := lockDir(c.DataDir)
	if err != nil {
		return nil, err
	}
	if err := checkRestored(c.DataDir); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	if _, err := os.Stat(filepath.Join(c.DataDir, stateDir)); errors.Is(err, fs.ErrNotExist) && !interrupted(c.DataDir) {
		return nil, errors.Join(fmt.Errorf("%s holds no node: there is no folder %s", c.DataDir, stateDir), lock.release())
	}
	return lock, nil
}

// An offlineState is a state that no node feeds.
type offlineState struct {
	*fsm.State
	fatal error
}

func (c *RecoverConfig) openState(dir string) (s *offlineState, err error) {
	s = &offlineState{}
	s.State, err = fsm.Open(fsm.Config{Dir: dir, Log: c.Log, Fatal: func(err error) { s.fatal = err }})
	return s, advise(err)
}

func (s *offlineState) close() error { return errors.Join(s.fatal, s.Close()) }

// node is how the cluster sees the node in a directory with a state.
func (s *offlineState) node(dir string) cluster.Config {
	return cluster.Config{Dir: dir, FSM: s.State, Snapshots: s.Snapshots(), DurableIndex: s.DurableIndex}
}

func (c *RecoverConfig) examine(state *offlineState) (*Survivor, error) {
	found, err := cluster.Examine(state.node(filepath.Join(c.DataDir, raftDir)))
	if err != nil {
		return nil, err
	}
	root := state.Current()
	return &Survivor{Survivor: *found, Revision: uint64(root.Revision()), Time: root.Time(), Epoch: root.Epoch()}, nil
}

// prepare makes the new node, beside the old one.
func (c *RecoverConfig) prepare(ctx context.Context, work string) error {
	node := filepath.Join(work, newNodeDir)
	old, err := c.openState(filepath.Join(c.DataDir, stateDir))
	if err != nil {
		return err
	}
	survivor, err := c.examine(old)
	if err == nil {
		err = old.Fork(filepath.Join(node, stateDir))
	}
	if err != nil {
		return errors.Join(err, old.close())
	}
	state, err := c.openState(filepath.Join(node, stateDir))
	if err != nil {
		return errors.Join(err, old.close())
	}
	// A snapshot had arrived, and the node stopped before it was restored.
	if survivor.Durable < survivor.Snapshot {
		err = restoreNewest(old, state)
	}
	if err = errors.Join(err, old.close()); err == nil {
		err = c.build(ctx, work, survivor, state)
	}
	if err = errors.Join(err, state.close()); err != nil {
		return err
	}
	return errors.Join(syncDir(node), syncDir(work))
}

func restoreNewest(from, to *offlineState) error {
	list, err := from.Snapshots().List()
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("the newest snapshot is gone")
	}
	_, r, err := from.Snapshots().Open(list[0].ID)
	if err != nil {
		return err
	}
	return to.Restore(r)
}

// build gives the new node its history and its identity.
func (c *RecoverConfig) build(ctx context.Context, work string, survivor *Survivor, state *offlineState) error {
	c.step("forked")
	var progress func(uint64)
	if total := survivor.Uncertain(); c.Progress != nil {
		progress = func(index uint64) { c.Progress(index-survivor.Known(), total) }
	}
	if err := cluster.Replay(ctx, state.node(filepath.Join(c.DataDir, raftDir)), survivor.Known(), progress); err != nil {
		return err
	}
	c.step("replayed")
	epoch, err := newEpoch(survivor.Epoch)
	if err != nil {
		return err
	}
	reason := fmt.Sprintf("recovered: node %s, one of %d voters, goes on alone behind entry %d of term %d", survivor.ID, survivor.Voters(), survivor.Index, survivor.Term)
	if n := survivor.Uncertain(); n > 0 {
		reason += fmt.Sprintf("; whether the last %d entries had been committed was not known", n)
	}
	term, err := state.BeginHistory(epoch, reason)
	if err != nil {
		return err
	}
	c.step("begun")
	id, err := cluster.Adopt(state.node(filepath.Join(work, newNodeDir, raftDir)), term)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.step("adopted")
	told, err := json.Marshal(Recovered{Survivor: *survivor, NodeID: id, Epoch: epoch, Revision: uint64(state.Current().Revision())})
	if err != nil {
		return err
	}
	return writeSynced(filepath.Join(work, recoveredFile), told)
}

// change puts the new node in the place of the old one, as far as that is not done yet.
func (c *RecoverConfig) change() (*Recovered, error) {
	work := filepath.Join(c.DataDir, recoveringDir)
	told, err := os.ReadFile(filepath.Join(work, recoveredFile))
	if err != nil {
		return nil, err
	}
	recovered := &Recovered{}
	if err := json.Unmarshal(told, recovered); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(work, recoveredFile), err)
	}
	for _, part := range []string{stateDir, raftDir} {
		place, fresh := filepath.Join(c.DataDir, part), filepath.Join(work, newNodeDir, part)
		if _, err := os.Stat(fresh); errors.Is(err, fs.ErrNotExist) {
			continue // it is in its place
		} else if err != nil {
			return nil, err
		}
		c.step("leaving " + part)
		if err := moveTo(place, filepath.Join(work, part)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		c.step("between " + part)
		if err := moveTo(fresh, place); err != nil {
			return nil, err
		}
	}
	c.step("changed")
	if err := os.Remove(filepath.Join(work, newNodeDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for n := 0; ; n++ { // two within a second are kept both
		name := recoveredPrefix + c.Clock().UTC().Add(time.Duration(n)*time.Second).Format("20060102T150405Z")
		recovered.Kept = filepath.Join(c.DataDir, name)
		if _, err := os.Stat(recovered.Kept); errors.Is(err, fs.ErrNotExist) {
			return recovered, renameIn(c.DataDir, recoveringDir, name)
		} else if err != nil {
			return nil, err
		}
	}
}

// interrupted says whether a recovery has begun to change nodes.
func interrupted(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, recoveringDir))
	return !errors.Is(err, fs.ErrNotExist)
}

// checkRecovered refuses a directory that a recovery has not finished, and removes what one
// has left that changed nothing.
func checkRecovered(dir string) error {
	if interrupted(dir) {
		return fmt.Errorf("%w: the recovery of %s was cut off while it put the new node in its place; run "+
			"\"remit cluster recover\" on it again, it goes on where it was", ErrRecoveryInterrupted, dir)
	}
	return os.RemoveAll(filepath.Join(dir, preparingDir))
}

// renameIn renames a file of a directory, durably.
func renameIn(dir, from, to string) error {
	return errors.Join(os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)), syncDir(dir))
}

// moveTo moves a file to another directory, durably: first it is there, then no longer here.
func moveTo(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Dir(from)))
}

// writeSynced makes a file durable, but for its name.
func writeSynced(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// advise adds to a damage of the state what to do about it.
func advise(err error) error {
	if !errors.Is(err, fsm.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w; nothing was changed; keep this data directory until the data is safe. In a cluster, remove this "+
		"member and join a new node with an empty data directory in its place; a node that is alone starts from a backup. "+
		"Then look at the disk", err)
}
