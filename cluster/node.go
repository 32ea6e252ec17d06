package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// A Node is one running member of a cluster. Its methods may be called from any
// goroutine.
type Node struct {
	cfg      Config
	id       string
	log      *slog.Logger
	raft     *raft.Raft
	logs     *guarded
	logFile  io.Closer // nil when the caller brought the log; a rewriting changes it
	proposer *proposer
	tenure   tenure
	counters counters
	metrics  *metrics
	running  atomic.Bool // Raft and the proposer are there

	// elections tells lead what Raft decided. Raft waits for room in it, so it
	// holds more than can happen while lead waits for one entry.
	elections chan bool

	rewriting sync.Mutex // held by the Rewrite under way

	cause    atomic.Pointer[error] // why the node failed
	failures chan struct{}         // closed then

	mu     sync.Mutex
	closed bool           // guarded by mu
	calls  sync.WaitGroup // calls into Raft that Close waits for; Add under mu while not closed
	cancel context.CancelFunc
	leader sync.WaitGroup // lead
	ended  chan struct{}  // closed when Close is through
	err    error          // of Close, set before ended is closed
}

// Open starts a node and returns when it serves: it leads, its term is open and
// everything that was committed before can be read. An error, or the end of ctx,
// leaves nothing running.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg:       cfg.withDefaults(),
		elections: make(chan bool, 16),
		failures:  make(chan struct{}),
		ended:     make(chan struct{}),
	}
	n.log = n.cfg.Log
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	if err := n.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// start brings Raft up and leaves nothing open when it fails.
func (n *Node) start(ctx context.Context) (err error) {
	logs, stable := n.cfg.Logs, n.cfg.Stable
	known := n.cfg.NodeID != ""
	n.id = n.cfg.NodeID
	if n.cfg.Dir != "" {
		if err := createDir(n.cfg.Dir); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
	}
	if !known {
		if n.id, err = loadID(n.cfg.Dir); err != nil {
			return err
		}
		known = n.id != ""
	}
	if logs == nil {
		store, err := openLog(n.cfg.Dir, n.cfg.NoSync)
		if err != nil {
			return err
		}
		logs, stable, n.logFile = store, store, store
	}
	defer func() {
		if err != nil && n.logFile != nil {
			err = errors.Join(err, n.logFile.Close())
		}
	}()

	f, err := look(logs, stable, n.cfg.Snapshots, n.cfg.DurableIndex())
	if err != nil {
		return err
	}
	restore := false
	switch {
	case !known && !f.fresh():
		return f.refuse("there is data but no node id, and under a new one this node could not use its log; " +
			"restore the file " + idFile + " beside it")
	case !known:
		if n.id, err = createID(n.cfg.Dir); err != nil {
			return err
		}
	case !f.fresh():
		if restore, err = f.restore(); err != nil {
			return err
		}
	}

	transport := n.cfg.Transport
	if transport == nil {
		transport = inProcess(n.id)
	}
	rc := n.cfg.raft(n.id, restore)
	rc.Logger = newRaftLog(n.log)
	rc.NotifyCh = n.elections
	// See the end of this function.
	rc.HeartbeatTimeout++
	rc.ElectionTimeout++
	if f.fresh() {
		if err := bootstrap(rc, logs, stable, n.cfg.Snapshots, transport); err != nil {
			return errors.Join(err, transport.Close())
		}
		n.log.InfoContext(ctx, "cluster created", "node", n.id)
	}

	n.metrics = newMetrics(n.cfg.Metrics, n)
	n.logs = &guarded{logs: logs, stable: stable, fail: n.fail, metrics: n.metrics}
	cache, err := raft.NewLogCache(logCache, n.logs)
	if err != nil {
		return errors.Join(err, transport.Close())
	}
	fsm := &machine{BatchingFSM: n.cfg.FSM, fail: n.fail, metrics: n.metrics}
	fsm.durable.Store(f.durable)
	n.raft, err = raft.NewRaft(rc, fsm, cache, n.logs, n.cfg.Snapshots, transport)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), fsm.refused, transport.Close())
	}
	fsm.started.Store(true)

	err = checkAlone(n.raft.GetConfiguration().Configuration(), n.id)
	if durable := n.cfg.DurableIndex(); err == nil && restore && durable < f.snapshot {
		err = fmt.Errorf("the restored state machine is at %d, its snapshot at %d", durable, f.snapshot)
	}
	if err != nil {
		return errors.Join(err, n.raft.Shutdown().Error())
	}

	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.leader.Go(func() { n.lead(run) })
	n.proposer = newProposer(&n.cfg, &n.counters,
		func(entry []byte) raft.ApplyFuture { return n.raft.Apply(entry, 0) },
		func() bool { return n.tenure.serving() != 0 })
	n.proposer.metrics = n.metrics
	n.running.Store(true)

	// Raft waits a heartbeat's time for a leader before it holds an election. A
	// node that is alone has nobody to wait for, and shortening the timeout of a
	// running follower, be it by a nanosecond, makes it look at once.
	now := n.raft.ReloadableConfig()
	now.HeartbeatTimeout, now.ElectionTimeout = n.cfg.HeartbeatTimeout, n.cfg.ElectionTimeout
	if err := n.raft.ReloadConfig(now); err != nil {
		// Only slower: the election comes when the heartbeat's time is over.
		n.log.WarnContext(ctx, "first election not hastened", "error", err)
	}
	return nil
}

// logCache is how many of the newest entries stay in memory for followers: eight
// messages' worth. At the usual cap of 256 KiB an entry that is at most 32 MiB.
const logCache = 8 * maxAppendEntries

// ID returns the node's id.
func (n *Node) ID() string { return n.id }

// Leader returns the id of the node that leads as far as this one knows, or ""
// when it knows of none. It is a hint.
func (n *Node) Leader() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// Counters returns how often things happened since Open.
func (n *Node) Counters() Counters { return n.counters.read() }

// WaitReady waits until the node serves. It returns ErrShuttingDown when it
// never will.
func (n *Node) WaitReady(ctx context.Context) error {
	for {
		term, changed := n.tenure.watch()
		if err := n.refusal(); err != nil {
			return err
		}
		if term != 0 {
			return nil
		}
		select {
		case <-changed:
		case <-n.failures:
		case <-n.ended:
		case <-ctx.Done():
			return fmt.Errorf("wait for node to serve: %w", ctx.Err())
		}
	}
}

// Propose commits command and returns the state machine's answer to it. When it
// returns an answer, the command is in the log of a quorum, synced, and applied
// here. An error that wraps ErrUnknownOutcome leaves both open; any other error
// means that the command did not happen. The command must not be changed, even
// after Propose has returned.
func (n *Node) Propose(ctx context.Context, command []byte) (answer []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(command) > n.cfg.MaxCommandBytes {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(command), n.cfg.MaxCommandBytes)
	}
	if n.tenure.serving() == 0 {
		return nil, n.idle()
	}
	answer, err = n.proposer.propose(ctx, command)
	if errors.Is(err, ErrUnknownOutcome) {
		n.counters.unknown.Add(1)
	}
	return answer, err
}

// ReadIndex returns an index such that a reader who sees it sees every write
// that was acknowledged before the call, on any node, and waits until readers
// here do.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	term := n.tenure.serving()
	if term == 0 {
		return 0, n.idle()
	}
	// The index first, then the proof that no later leader existed when it was
	// taken. Alone, this node is the quorum that any later leader would need, so
	// its own term is the proof.
	index := n.raft.CommitIndex()
	if !n.leads(term) {
		return 0, n.idle()
	}
	if err := n.cfg.Published(ctx, index); err != nil {
		return 0, fmt.Errorf("wait for revision %d: %w", index, err)
	}
	return index, nil
}

// Forward brings request to the leader's Config.Handler and returns its answer.
func (n *Node) Forward(ctx context.Context, request []byte) ([]byte, error) {
	if n.cfg.Handler == nil {
		return nil, errors.New("this node handles no forwarded requests")
	}
	if n.tenure.serving() == 0 {
		return nil, n.idle()
	}
	return n.cfg.Handler(ctx, request)
}

// Snapshot takes a snapshot of the state machine now and truncates the log
// behind it. When ctx ends first, the snapshot goes on by itself.
func (n *Node) Snapshot(ctx context.Context) error {
	if err := n.enter(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		defer n.calls.Done()
		done <- n.raft.Snapshot().Error()
	}()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("snapshot: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("snapshot: %w", ctx.Err())
	}
}

// enter counts a call into Raft that Close must wait for.
func (n *Node) enter() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrShuttingDown
	}
	n.calls.Add(1)
	return nil
}

// idle returns why the node does not serve.
func (n *Node) idle() error {
	if err := n.refusal(); err != nil {
		return err
	}
	return ErrNoLeader
}

// refusal returns why the node will never serve again, nil if it may.
func (n *Node) refusal() error {
	if cause := n.failed(); cause != nil {
		return fmt.Errorf("%w: it has failed: %w", ErrShuttingDown, cause)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrShuttingDown
	}
	return nil
}

func (n *Node) failed() error {
	if cause := n.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// fail ends the node's service for good. It is called from Raft's goroutines,
// where the entry that failed is still unanswered: if Fatal ends the process,
// nobody is told that it succeeded, and if it returns, the guarded log lets no
// later entry be committed.
func (n *Node) fail(err error) {
	if !n.cause.CompareAndSwap(nil, &err) {
		return
	}
	close(n.failures)
	n.tenure.set(0)
	n.cfg.Fatal(err)
}

// Close stops the node: it refuses new commands and those that wait, lets the
// entries in the log be applied and answered, stops Raft and closes the log. The
// caller closes the state machine afterwards. A second Close waits for the first.
func (n *Node) Close() error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	n.mu.Unlock()
	if !first {
		<-n.ended
		return n.err
	}
	n.proposer.close()
	n.cancel()
	n.leader.Wait()
	n.tenure.set(0)
	n.err = n.raft.Shutdown().Error()
	n.calls.Wait()
	n.logs.close()
	if n.logFile != nil {
		n.err = errors.Join(n.err, n.logFile.Close())
	}
	close(n.ended)
	return n.err
}
