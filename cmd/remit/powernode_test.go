package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/remit-authz/remit/cluster"
	"github.com/remit-authz/remit/cluster/clustertest"
	"github.com/remit-authz/remit/fsm"
	"github.com/remit-authz/remit/graph"
	"github.com/remit-authz/remit/graph/model"
)

// replayLog applies the entries from first to last as Raft would hand them over.
func replayLog(s *fsm.State, logs raft.LogStore, first, last uint64) error {
	var entries []*raft.Log
	for i := first; i <= last; i++ {
		entry := new(raft.Log)
		if err := logs.GetLog(i, entry); err != nil {
			return fmt.Errorf("read entry %d of the log: %w", i, err)
		}
		if entry.Type == raft.LogCommand || entry.Type == raft.LogConfiguration {
			entries = append(entries, entry)
		}
		if len(entries) == 16 || i == last && len(entries) > 0 {
			s.ApplyBatch(entries)
			entries = nil
		}
	}
	return nil
}

// A powerNode is a state machine and its Raft node on one file system.
type powerNode struct {
	state *fsm.State
	logs  *clustertest.LogStore
	node  *cluster.Node

	fatal atomic.Pointer[error]
}

// powerStore is the one store of a powerRun, powerModel its model.
var (
	powerStore = fsm.StoreID{15: 1}
	powerModel = model.Declarations{Types: []model.TypeDeclaration{{Name: "user"}, {Name: "document", Relations: []string{"viewer"}}}}
)

func (r *powerRun) open(ctx context.Context, fs vfs.FS) (n *powerNode, err error) {
	n = &powerNode{}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	fail := func(err error) { n.fatal.CompareAndSwap(nil, &err) }
	n.state, err = fsm.Open(fsm.Config{Dir: "state", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10, Fatal: fail})
	if err != nil {
		return n, err
	}
	if n.logs, err = clustertest.NewLogStore(fs, "raft", r.sync); err != nil {
		return n, err
	}
	config := cluster.Config{
		NodeID: "node", Logs: n.logs, Stable: n.logs,
		FSM: n.state, Snapshots: n.state.Snapshots(), Seal: fsm.Seal, SplitAnswers: fsm.SplitAnswers,
		TermStart: fsm.TermStart, DurableIndex: n.state.DurableIndex, Published: n.state.Published,
		TrailingLogs: 4, KeepLog: r.keepLog, Fatal: fail,
	}
	if r.seed%3 == 0 { // Raft takes snapshots, too, even while it replays
		config.SnapshotThreshold, config.SnapshotInterval = 8, 5*time.Millisecond
	}
	n.node, err = cluster.Open(ctx, config)
	return n, err
}

func (n *powerNode) close() error {
	var errs []error
	if n.node != nil {
		errs = append(errs, n.node.Close())
	}
	if n.logs != nil {
		errs = append(errs, n.logs.Close())
	}
	if n.state != nil {
		errs = append(errs, n.state.Close())
	}
	if err := n.fatal.Load(); err != nil {
		errs = append(errs, fmt.Errorf("the node has failed: %w", *err))
	}
	return errors.Join(errs...)
}

func (n *powerNode) propose(ctx context.Context, c *fsm.Command) (*fsm.Result, error) {
	encoded, err := c.Encode()
	if err != nil {
		return nil, err
	}
	answer, err := n.node.Propose(ctx, encoded)
	if err != nil {
		return nil, err
	}
	result, err := fsm.DecodeResult(answer)
	if err == nil && result.Err != nil {
		err = fmt.Errorf("%w: %w", errLoadRefused, result.Err)
	}
	return result, err
}

func (n *powerNode) prepare(ctx context.Context) error {
	if _, err := n.propose(ctx, &fsm.Command{Store: powerStore, Body: &fsm.CreateStore{Name: "load"}}); err != nil {
		return err
	}
	_, err := n.propose(ctx, &fsm.Command{
		Store: powerStore, Body: &fsm.WriteModel{ID: fsm.ModelID{15: 1}, Source: []byte("model"), Declarations: powerModel},
	})
	return err
}

// The ids of powerModel, which are given out in its order.
const (
	powerUser     model.TypeID     = 1
	powerDocument model.TypeID     = 2
	powerViewer   model.RelationID = 1
)

func powerKey(t loadTuple) fsm.TupleKey {
	return fsm.TupleKey{
		Object: fsm.Entity{Type: powerDocument, Name: t.object()}, Relation: powerViewer,
		Subject: fsm.Entity{Type: powerUser, Name: t.subject()},
	}
}

// write implements loadTarget.
func (n *powerNode) write(ctx context.Context, writer int, b *loadBatch) (string, error) {
	w := &fsm.Write{}
	for _, e := range b.edits {
		op := fsm.Operation{
			Kind: map[loadKind]fsm.OperationKind{
				loadCreate: fsm.CreateTuple, loadTouch: fsm.TouchTuple, loadDelete: fsm.DeleteTuple,
			}[e.kind],
			Tuple: powerKey(loadTuple{writer, e.tuple}),
		}
		if e.kind != loadDelete {
			op.Expires = loadFuture + e.mark
		}
		w.Operations = append(w.Operations, op)
	}
	c := &fsm.Command{Store: powerStore, Principal: "load", Key: b.key, Body: w}
	if b.requires >= 0 {
		c.Preconditions = []fsm.Precondition{{Kind: fsm.TuplePresent, Tuple: powerKey(loadTuple{writer, b.requires})}}
	}
	result, err := n.propose(ctx, c)
	if err != nil {
		return "", err
	}
	return strconv.FormatUint(uint64(result.Revision), 10), nil
}

// check compares the state with the load, and its hash with a recount.
func (n *powerNode) check(l *load) (applied int, err error) {
	if err := checkRecount(n.state); err != nil {
		return 0, err
	}
	actual, err := n.read(context.Background())
	if err != nil {
		return 0, err
	}
	return l.check(actual)
}

// read implements loadTarget.
func (n *powerNode) read(context.Context) (map[loadTuple]int64, error) {
	view, ok := n.state.Current().Store(powerStore)
	if !ok {
		return nil, errors.New("the store is gone")
	}
	actual := map[loadTuple]int64{}
	for c := (graph.RowCursor{}); !c.Done; {
		if err := view.Rows(&c); err != nil {
			return nil, err
		}
		for _, row := range c.Rows {
			object, err := view.Name(row.Userset.Object)
			if err != nil {
				return nil, err
			}
			subject, err := view.Name(row.Edge.Subject.ID)
			if err != nil {
				return nil, err
			}
			t, err := parseLoadTuple(object, subject)
			if err != nil {
				return nil, fmt.Errorf("a tuple %s@%s: %w", object, subject, err)
			}
			actual[t] = row.Edge.Expires - loadFuture
		}
	}
	return actual, nil
}

// checkRecount compares the rolling hash with one over all rows.
func checkRecount(s *fsm.State) error {
	revision, rolling := s.StateHash()
	recounted, err := s.Recount()
	if err == nil && recounted != rolling {
		err = fmt.Errorf("at revision %d the state hash is %x, a recount %x", revision, rolling, recounted)
	}
	return err
}
